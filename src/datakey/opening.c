/*
 * Keys to open with: the cache, else one unwrap for all who ask at once.
 *
 * An opening has a leg for each entry of its envelopes.  In mode `any` one is asked after the other, the likeliest first,
 * until one has opened; in mode `all` every one is, at once.  A doubt is an opening, too: of a key that opened nothing.
 */
#include "datakey/opening.h"

#include <string.h>

#include "kek/clock.h"

static bool is_all(const struct opening *opening)
{
    return opening->header.mode == KEK_ENVELOPE_MODE_ALL;
}

static enum kek_rc ask(struct opening *opening, bool doubt)
{
    if (doubt) {
        return is_all(opening) ? all_doubt(opening) : any_doubt(opening);
    }
    return is_all(opening) ? all_ask(opening) : any_ask(opening);
}

/* ---- beginnings ---- */

/* A flight that nobody waits for yet, and that has asked nobody. */
static struct opening *start(struct kek_datakey_store *store, struct kek_bytes name,
                             struct opening **shared, struct kek_why *why)
{
    struct opening *opening = calloc(1, sizeof *opening + name.len);
    if (opening == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to ask the HSM");
        return NULL;
    }
    opening->name_len = name.len;
    memcpy(opening->name, name.data, name.len);
    enum kek_rc rc =
        kek_envelope_parse_header(kek_bytes(opening->name, name.len - 1), &opening->header, why);
    if (rc == KEK_OK) {
        opening->legs = calloc(opening->header.count, sizeof *opening->legs);
        rc = opening->legs != NULL ? KEK_OK
                                   : kek_fail(why, KEK_NO_MEMORY, "no memory to ask the HSM");
    }
    if (rc != KEK_OK || !flight_init(&opening->flight, store, &store->to_open, opening_end, why)) {
        free(opening->legs);
        free(opening);
        return NULL;
    }
    if (shared != NULL && !store_strict(store)) {
        HASH_ADD_KEYPTR(hh, *shared, opening->name, opening->name_len, opening);
        opening->shared = opening->hh.tbl == NULL ? NULL : shared; /* out of memory: alone */
    }
    return opening;
}

/* Is it a doubt of the same words?  A worker's serial says little without its root. */
static bool is_same_doubt(const struct opening *opening, const struct sources *doubted)
{
    bool same =
        opening->doubted.entry == doubted->entry && opening->doubted.damaged == doubted->damaged;
    for (size_t i = 0; i < opening->header.count; i++) {
        same = same && opening->doubted.of[i].worker == doubted->of[i].worker;
    }
    return same;
}

/* Has the caller wait for this name's flight among `shared`: one that is there, and of a doubt the same one, or a new
 * one, which *made is set to. doubted: NULL, it is no doubt. */
static enum kek_rc board(struct kek_datakey_store *store, struct kek_bytes name,
                         struct opening **shared, const struct sources *doubted,
                         struct kek_datakey_wait *caller, struct opening **made,
                         struct kek_datakey_wait **wait, struct kek_why *why)
{
    struct opening *opening = NULL;
    *made = NULL;
    HASH_FIND(hh, *shared, name.data, name.len, opening);
    if (opening == NULL || (doubted != NULL && !is_same_doubt(opening, doubted))) {
        opening = start(store, name, opening == NULL ? shared : NULL, why);
        if (opening == NULL) {
            return why->rc;
        }
        if (doubted != NULL) {
            opening->doubted = *doubted;
        }
        *made = opening;
    }
    *wait = flight_join(&opening->flight, caller->deadline_ms, caller->done, caller->arg, why);
    if (*wait == NULL && *made != NULL) {
        flight_land(&opening->flight, KEK_NO_MEMORY, NULL, why);
        *made = NULL;
    }
    return *wait == NULL ? KEK_NO_MEMORY : KEK_OK;
}

/* What it began with may be refused at once: then there is nothing to wait for. */
static enum kek_rc begin(struct opening *opening, enum kek_rc rc, struct kek_datakey_wait **wait,
                         struct kek_why *why)
{
    if (rc != KEK_OK) {
        *why = opening->why;
        kek_datakey_cancel(*wait);
        *wait = NULL;
    }
    return rc;
}

enum kek_rc kek_datakey_for_opening(struct kek_datakey_store *store,
                                    const struct kek_envelope *envelope, struct kek_bytes context,
                                    uint64_t deadline_ms, kek_datakey_done_fn *done, void *arg,
                                    struct kek_datakey_ref **ref, struct kek_datakey_wait **wait,
                                    struct kek_why *why)
{
    KEK_UNFILLED struct name name;
    uint8_t index;
    KEK_UNFILLED struct kek_why mine;
    why = why == NULL ? &mine : why;
    *ref = NULL;
    *wait = NULL;
    if (!store_context_index(store, context, &index) ||
        !name_fill(&name, envelope->header, index)) {
        return kek_fail(why, KEK_INVALID, "no such context, or a header over %d bytes", HEADER_MAX);
    }
    struct kek_datakey_ref *cached = cache_get(store, &name);
    if (cached != NULL) {
        store->stats.cache_hits++;
        *ref = ref_share(cached);
        return KEK_OK;
    }
    store->stats.cache_misses++;
    struct kek_datakey_wait caller = {.deadline_ms = deadline_ms, .done = done, .arg = arg};
    struct opening *made;
    enum kek_rc rc = board(store, kek_bytes(name.bytes, name.len), &store->opening, NULL, &caller,
                           &made, wait, why);
    if (rc != KEK_OK || made == NULL) {
        return rc;
    }
    return begin(made, ask(made, false), wait, why);
}

enum kek_rc kek_datakey_doubted(struct kek_datakey_store *store, const struct kek_datakey_ref *ref,
                                uint64_t deadline_ms, kek_datakey_done_fn *done, void *arg,
                                struct kek_datakey_wait **wait, struct kek_why *why)
{
    struct kek_datakey_wait caller = {.deadline_ms = deadline_ms, .done = done, .arg = arg};
    struct opening *made;
    struct kek_why mine;
    why = why == NULL ? &mine : why;
    *wait = NULL;
    if (ref->verified) {
        return kek_fail(why, KEK_DAMAGED, "its tag does not match, under a data key that is right");
    }
    enum kek_rc rc =
        board(store, ref_name(ref), &store->doubting, &ref->sources, &caller, &made, wait, why);
    if (rc != KEK_OK || made == NULL) {
        return rc;
    }
    return begin(made, ask(made, true), wait, why);
}

struct kek_datakey_ref *kek_datakey_in_context(struct kek_datakey_store *store,
                                               const struct kek_datakey_ref *ref,
                                               struct kek_bytes context)
{
    struct name name;
    uint8_t index;
    if (ref->data_key == NULL || !store_context_index(store, context, &index) ||
        !name_fill(&name, kek_datakey_ref_header(ref), index)) {
        return NULL;
    }
    struct kek_datakey_ref *other =
        opening_ref(store, kek_bytes(name.bytes, name.len), ref->data_key, NULL);
    if (other != NULL) {
        other->born_ms = ref->born_ms;
        other->sources = ref->sources;
        other->keks = ref->keks;
    }
    return other;
}

bool kek_datakey_cached(const struct kek_datakey_store *store, const struct kek_envelope *envelope,
                        struct kek_bytes context)
{
    struct name name;
    uint8_t index;
    return store_context_index(store, context, &index) &&
           name_fill(&name, envelope->header, index) && cache_has(store, &name);
}

/* A leg that waiting cannot help ends its flight, or has the next one asked. */
static void review(struct opening *opening)
{
    for (size_t i = 0; i < opening->header.count; i++) {
        struct unwrap *leg = &opening->legs[i];
        bool under_way = leg->call != NULL || leg->wait != NULL;
        enum kek_rc rc = under_way ? unwrap_review(leg) : KEK_OK;
        if (rc != KEK_OK) {
            leg->done(leg, rc, NULL);
            return;
        }
    }
}

void opening_review(struct kek_datakey_store *store)
{
    struct flight *flight, *next;
    DL_FOREACH_SAFE (store->to_open.flights, flight, next) {
        review((struct opening *)flight);
    }
}
