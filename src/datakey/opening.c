/*
 * Keys to open with: the cache, else one unwrap for all who ask at once.
 *
 * A worker's "damaged" is believed only once that worker has opened its witness of the version after it said
 * so; until then another is asked.  "No such key" and "may not" are believed only after another look at the
 * tokens.  A wrap that does not authenticate unwraps to something under any key: a key that opened nothing
 * is doubted in the same way.
 */
#include "datakey/store.h"

#include <string.h>

struct opening {
    struct flight flight;
    struct kek_envelope header; /* of `name` */
    size_t entry;               /* of the header: the one that is unwrapped */
    struct kek_pool_call *call;
    struct kek_keyring_wait *wait; /* a check, or a look */
    unsigned tries;
    struct kek_why why;  /* the failure that is being looked into */
    enum kek_rc rc;      /* likewise, while the tokens are looked at */
    uint64_t worker;     /* that failed so */
    uint64_t not_worker; /* not to be asked; 0: any may be */
    bool wrong_key;      /* since that one uses another key */
    size_t only;         /* the provider to ask, or KEK_POOL_ANY */
    uint32_t denied; /* a bit per provider whose word was not believed, where there is no witness */
    uint32_t denied_once;    /* likewise, by one of its workers */
    uint64_t doubted;        /* the worker that is doubted; 0: this is no doubt */
    struct opening **shared; /* where others find it; NULL: it is its waiter's alone */
    UT_hash_handle hh;       /* there, by name */
    size_t name_len;
    uint8_t name[];
};

static const struct kek_id *kek_of(const struct opening *opening)
{
    return &opening->header.entries[opening->entry].kek_id;
}

static struct kek_keyring *ring_of(const struct opening *opening)
{
    return opening->flight.store->settings.ring;
}

static void opening_end(struct flight *flight)
{
    struct opening *opening = (struct opening *)flight;
    if (opening->call != NULL) {
        kek_pool_cancel(opening->call);
    }
    if (opening->wait != NULL) {
        kek_keyring_cancel(opening->wait);
    }
    if (opening->shared != NULL) {
        HASH_DEL(*opening->shared, opening);
    }
    free(opening);
}

/* ---- one unwrap, and what is made of its failure: from the back ---- */

/* These go on with a flight. KEK_OK: something is under way again; else it fails so, and `why` says why. */

static enum kek_rc ask(struct opening *opening);

static void land_unless_ok(struct opening *opening, enum kek_rc rc)
{
    if (rc != KEK_OK) {
        flight_land(&opening->flight, rc, NULL, &opening->why);
    }
}

static enum kek_rc unproven(struct opening *opening)
{
    return kek_fail_within(&opening->why, KEK_UNAVAILABLE,
                           "it is not known whether that key is the right one");
}

static bool may_try_again(struct opening *opening)
{
    return ++opening->tries < TRIES_MAX && flight_may_go_on(&opening->flight);
}

/* It is not asked again if it uses another key, or if another can be asked. */
static void avoid(struct opening *opening, uint64_t worker, bool wrong_key)
{
    bool other = wrong_key || kek_keyring_other_unwraps(ring_of(opening), worker, kek_of(opening));
    opening->not_worker = other ? worker : 0;
    opening->wrong_key = wrong_key;
}

static enum kek_rc ask_another_worker(struct opening *opening, bool wrong_key)
{
    if (!may_try_again(opening)) {
        return unproven(opening);
    }
    avoid(opening, opening->worker, wrong_key);
    return ask(opening);
}

/* The worker opened its witness: the blob is bad.  It did not: someone else is asked. */
static void checked(void *arg, enum kek_rc rc)
{
    struct opening *opening = arg;
    opening->wait = NULL;
    land_unless_ok(opening,
                   rc == KEK_OK ? KEK_DAMAGED : ask_another_worker(opening, rc == KEK_DAMAGED));
}

/* May one of its workers that are ready unwrap that, but for one, or, where none is ready, one that will be? */
static bool provider_may(const struct kek_datakey_settings *settings, size_t provider, bool ready,
                         uint64_t except, const struct kek_id *kek_id)
{
    struct kek_pool_worker workers[KEK_POOL_WORKERS_MAX];
    if (!ready) {
        return kek_keyring_may(settings->ring, provider, 0, KEK_POOL_UNWRAP, kek_id);
    }
    size_t count = kek_pool_workers(settings->pool, provider, workers);
    for (size_t i = 0; i < count; i++) {
        if (workers[i].serial != except &&
            kek_keyring_may(settings->ring, provider, workers[i].serial, KEK_POOL_UNWRAP, kek_id)) {
            return true;
        }
    }
    return false;
}

/* Without a witness (a version that may only unwrap, on a node that never saw it wrap) no provider's word
 * is worth more than another's: all that have the key are asked, by two workers where they have two. */
static enum kek_rc ask_another_provider(struct opening *opening, size_t provider, uint64_t worker)
{
    const struct kek_datakey_settings *settings = &opening->flight.store->settings;
    const uint32_t bit = UINT32_C(1) << provider;
    bool silent = kek_keyring_doubts(settings->ring, kek_of(opening));
    bool once = (opening->denied_once & bit) != 0;
    opening->denied_once |= bit;
    if (!once && provider_may(settings, provider, true, worker, kek_of(opening))) {
        opening->only = provider;
        opening->not_worker = worker;
        return ask(opening);
    }
    opening->denied |= bit;
    opening->not_worker = 0;
    for (size_t p = 0; p < settings->config->provider_count; p++) {
        struct kek_pool_provider status;
        kek_pool_provider_get(settings->pool, p, &status);
        bool ready = status.health == KEK_POOL_READY;
        if ((opening->denied >> p & 1) != 0 ||
            !provider_may(settings, p, ready, 0, kek_of(opening))) {
            continue;
        }
        if (ready) {
            opening->only = p;
            return ask(opening);
        }
        silent = true;
    }
    return silent ? unproven(opening) : KEK_DAMAGED;
}

/* This worker says that the blob is damaged, or gave a key that opened nothing. Does it use the right key? */
static enum kek_rc doubt(struct opening *opening, size_t provider, uint64_t worker)
{
    if (!kek_keyring_has_witness(ring_of(opening), kek_of(opening))) {
        return ask_another_provider(opening, provider, worker);
    }
    opening->worker = worker;
    opening->wait =
        kek_keyring_check(ring_of(opening), worker, kek_of(opening), 0, checked, opening);
    /* A worker that is gone cannot be asked any more, and nobody will know. */
    return opening->wait != NULL ? KEK_OK : ask_another_worker(opening, false);
}

static void looked(void *arg)
{
    struct opening *opening = arg;
    opening->wait = NULL;
    bool opens = kek_keyring_find(ring_of(opening), kek_of(opening)) == KEK_KEYRING_OPENS;
    if (opens) {
        avoid(opening, opening->worker, false);
    }
    land_unless_ok(opening, opens ? ask(opening) : opening->rc);
}

/* Looks into a failure that may be that of one worker alone. */
static enum kek_rc look_into(struct opening *opening, enum kek_rc rc,
                             const struct kek_pool_result *result)
{
    if (rc == KEK_DEADLINE && flight_has_time(&opening->flight)) {
        return ask(opening);
    }
    if (rc == KEK_DAMAGED && result != NULL) {
        return doubt(opening, result->provider, result->worker);
    }
    if ((rc != KEK_NOT_FOUND && rc != KEK_PRECONDITION) || !may_try_again(opening)) {
        return rc;
    }
    opening->rc = rc;
    opening->worker = result == NULL ? 0 : result->worker;
    opening->wait = kek_keyring_look(ring_of(opening), looked, opening);
    return opening->wait != NULL ? KEK_OK : rc;
}

/* Where other contexts may be tried, it keeps the data key for them. */
static struct kek_datakey_ref *unproven_ref(const struct kek_datakey_store *store,
                                            struct kek_bytes name,
                                            const struct kek_secret *data_key, struct kek_why *why)
{
    struct kek_datakey_ref *ref = ref_new(store, name, data_key, why);
    if (ref != NULL && store->settings.config->context_accept[0] != NULL) {
        ref->data_key = kek_secret_dup(kek_secret_bytes(data_key));
    }
    return ref;
}

static void unwrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                      const struct kek_why *why)
{
    struct opening *opening = arg;
    opening->call = NULL;
    opening->flight.provider = result == NULL ? KEK_POOL_ANY : result->provider;
    kek_keyring_observe(ring_of(opening), result == NULL ? KEK_POOL_ANY : result->provider,
                        result == NULL ? 0 : result->worker, kek_of(opening), KEK_POOL_UNWRAP, rc);
    if (rc != KEK_OK) {
        opening->why = *why;
        land_unless_ok(opening, look_into(opening, rc, result));
        return;
    }
    KEK_AUTO(kek_datakey_ref)
    ref = unproven_ref(opening->flight.store, kek_bytes(opening->name, opening->name_len),
                       result->data_key, &opening->why);
    if (ref == NULL) {
        land_unless_ok(opening, opening->why.rc);
        return;
    }
    ref->source = (struct source){.provider = result->provider,
                                  .worker = result->worker,
                                  .denied = opening->denied,
                                  .denied_once = opening->denied_once};
    flight_land(&opening->flight, KEK_OK, ref, NULL);
}

static enum kek_rc ask(struct opening *opening)
{
    struct kek_datakey_store *store = opening->flight.store;
    const struct kek_envelope_entry *entry = &opening->header.entries[opening->entry];
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = opening->only,
        .kek_id = entry->kek_id,
        .alg = entry->alg,
        .blob = entry->wrapped,
        .not_worker = opening->not_worker,
        .deadline_ms = flight_deadline(&opening->flight),
    };
    store->stats.unwraps++;
    opening->call =
        kek_pool_submit(store->settings.pool, &request, unwrapped, opening, &opening->why);
    return opening->call != NULL ? KEK_OK : opening->why.rc;
}

/* ---- beginnings ---- */

/* The first entry whose KEK opens: in mode `any` one is enough. */
static size_t choose_entry(const struct kek_keyring *ring, const struct kek_envelope *header)
{
    for (size_t i = 0; i < header->count; i++) {
        const struct kek_envelope_entry *entry = &header->entries[i];
        if (kek_keyring_find(ring, &entry->kek_id) == KEK_KEYRING_OPENS &&
            kek_keyring_takes(ring, &entry->kek_id, entry->alg)) {
            return i;
        }
    }
    return 0;
}

/* A flight that nobody waits for yet, and that has asked nobody. */
static struct opening *start(struct kek_datakey_store *store, struct kek_bytes name,
                             struct opening **shared, struct kek_why *why)
{
    struct opening *opening = calloc(1, sizeof *opening + name.len);
    if (opening == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to ask the HSM");
        return NULL;
    }
    opening->only = KEK_POOL_ANY;
    opening->name_len = name.len;
    memcpy(opening->name, name.data, name.len);
    enum kek_rc rc =
        kek_envelope_parse_header(kek_bytes(opening->name, name.len - 1), &opening->header, why);
    if (rc != KEK_OK || !flight_init(&opening->flight, store, &store->to_open, opening_end, why)) {
        free(opening);
        return NULL;
    }
    opening->entry = choose_entry(store->settings.ring, &opening->header);
    if (shared != NULL && !store_strict(store)) {
        HASH_ADD_KEYPTR(hh, *shared, opening->name, opening->name_len, opening);
        opening->shared = opening->hh.tbl == NULL ? NULL : shared; /* out of memory: alone */
    }
    return opening;
}

/* Has the caller wait for this name's flight among `shared`: one that is there, and that `doubted` is right
 * for, or a new one, which *made is set to. */
static enum kek_rc board(struct kek_datakey_store *store, struct kek_bytes name,
                         struct opening **shared, uint64_t doubted, struct kek_datakey_wait *caller,
                         struct opening **made, struct kek_datakey_wait **wait, struct kek_why *why)
{
    struct opening *opening = NULL;
    *made = NULL;
    HASH_FIND(hh, *shared, name.data, name.len, opening);
    if (opening == NULL || opening->doubted != doubted) {
        opening = start(store, name, opening == NULL ? shared : NULL, why);
        if (opening == NULL) {
            return why->rc;
        }
        opening->doubted = doubted;
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
    enum kek_rc rc = board(store, kek_bytes(name.bytes, name.len), &store->opening, 0, &caller,
                           &made, wait, why);
    if (rc != KEK_OK || made == NULL) {
        return rc;
    }
    return begin(made, ask(made), wait, why);
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
    enum kek_rc rc = board(store, ref_name(ref), &store->doubting, ref->source.worker, &caller,
                           &made, wait, why);
    if (rc != KEK_OK || made == NULL) {
        return rc;
    }
    made->denied = ref->source.denied;
    made->denied_once = ref->source.denied_once;
    kek_fail(&made->why, KEK_DAMAGED, "its tag does not match, and its wrap proves nothing");
    return begin(made, doubt(made, ref->source.provider, ref->source.worker), wait, why);
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
        unproven_ref(store, kek_bytes(name.bytes, name.len), ref->data_key, NULL);
    if (other != NULL) {
        other->born_ms = ref->born_ms;
        other->source = ref->source;
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

/* Fails it if waiting cannot help; asks anybody if there is no other any more than the one avoided. */
static void review(struct opening *opening)
{
    struct kek_keyring *ring = ring_of(opening);
    if (kek_keyring_find(ring, kek_of(opening)) == KEK_KEYRING_CLOSED) {
        land_unless_ok(opening, kek_fail(&opening->why, KEK_PRECONDITION,
                                         "the KEK of this data key is missing or may not unwrap"));
        return;
    }
    if (opening->call != NULL && opening->not_worker != 0 && !opening->wrong_key &&
        !kek_keyring_other_unwraps(ring, opening->not_worker, kek_of(opening))) {
        kek_pool_cancel(opening->call);
        opening->not_worker = 0;
        land_unless_ok(opening, ask(opening));
    }
}

void opening_review(struct kek_datakey_store *store)
{
    struct flight *flight, *next;
    DL_FOREACH_SAFE (store->to_open.flights, flight, next) {
        review((struct opening *)flight);
    }
}
