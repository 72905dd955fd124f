/*
 * Mode any: one entry after the other, the likeliest first, until one has opened.  What one root calls damaged another may
 * open, and each has half of the time that there is, as long as there is another.
 */
#include "datakey/opening.h"

#include "kek/clock.h"

static bool ask_next(struct opening *opening);
static void end_all_late(uv_timer_t *timer);

/* The entries that were not asked, and their places in the whole; places may be NULL. */
static struct kek_envelope not_tried(const struct opening *opening, size_t *places)
{
    struct kek_envelope left = opening->header;
    left.count = 0;
    for (size_t i = 0; i < opening->header.count; i++) {
        if ((opening->tried >> i & 1) != 0) {
            continue;
        }
        if (places != NULL) {
            places[left.count] = i;
        }
        left.entries[left.count++] = opening->header.entries[i];
    }
    return left;
}

/* The likeliest that was not asked. False: none is left that may open. */
static bool choose_entry(const struct opening *opening, size_t *entry)
{
    size_t places[KEK_ENVELOPE_ENTRIES_MAX], chosen;
    struct kek_envelope left = not_tried(opening, places);
    if (left.count == 0) {
        return false;
    }
    const struct kek_roots *roots = opening->flight.store->settings.roots;
    bool opens = kek_roots_find(roots, &left, &chosen) == KEK_KEYRING_OPENS;
    *entry = places[chosen];
    return opens || opening->tried == 0;
}

/* Half of the time there is, as long as another could be asked in the other half. */
static uint64_t share_of_time(const struct opening *opening)
{
    size_t other;
    uint64_t now_ms = kek_clock_ms(), end_ms = flight_deadline(&opening->flight);
    return choose_entry(opening, &other) && end_ms > now_ms ? now_ms + (end_ms - now_ms) / 2 : 0;
}

/* The leg ends when its part of the time does, whatever it then waits for. */
static void end_at(struct kek_datakey_store *store, uint64_t at_ms)
{
    if (at_ms != 0 && (store->late_ms == 0 || at_ms < store->late_ms)) {
        uint64_t now_ms = kek_clock_ms();
        store->late_ms = at_ms;
        uv_timer_start(&store->late, end_all_late, at_ms > now_ms ? at_ms - now_ms : 0, 0);
    }
}

/* What one root calls damaged another may open; and what another root does not answer for may be whole. */
static void any_failed(struct opening *opening, size_t entry, enum kek_rc rc)
{
    const struct unwrap *leg = &opening->legs[entry];
    if (rc == KEK_DAMAGED) {
        opening->damaged |= 1u << entry;
        opening->flight.damage =
            (struct kek_datakey_damage){.root = leg->root->name, .why = leg->why};
    } else {
        opening->failed = rc;
        opening->why = leg->why;
    }
}

/* Nobody is left to be asked: what is it?  Not damaged as long as one root might still open it. */
static enum kek_rc any_verdict(struct opening *opening)
{
    size_t entry;
    if (opening->failed != KEK_OK) {
        return opening->failed;
    }
    struct kek_envelope left = not_tried(opening, NULL);
    enum kek_keyring_knows knows =
        left.count == 0 ? KEK_KEYRING_UNKNOWN
                        : kek_roots_find(opening->flight.store->settings.roots, &left, &entry);
    opening->why = opening->flight.damage.why;
    if (knows == KEK_KEYRING_UNKNOWN) {
        return KEK_DAMAGED;
    }
    return kek_fail_within(
        &opening->why, knows == KEK_KEYRING_CLOSED ? KEK_PRECONDITION : KEK_UNAVAILABLE,
        "another root of trust may open it, and %s; root of trust %s calls it damaged",
        knows == KEK_KEYRING_CLOSED ? "may not unwrap now" : "does not answer",
        opening->flight.damage.root);
}

static void any_done(struct unwrap *leg, enum kek_rc rc, struct kek_pool_result *result)
{
    struct opening *opening = (struct opening *)leg->flight;
    size_t entry = (size_t)(leg - opening->legs);
    if (rc == KEK_OK) {
        opening_land(opening, result->data_key, entry);
        return;
    }
    any_failed(opening, entry, rc);
    if (!ask_next(opening)) {
        rc = any_verdict(opening);
        opening_fail(opening, rc, &opening->why);
    }
}

/* False: nobody can be asked, or none is left. */
static bool ask_next(struct opening *opening)
{
    size_t entry;
    while (choose_entry(opening, &entry)) {
        struct unwrap *leg = &opening->legs[entry];
        opening->tried |= 1u << entry;
        unwrap_init(leg, &opening->flight, &opening->header, entry, any_done);
        leg->until_ms = share_of_time(opening);
        enum kek_rc rc = unwrap_ask(leg);
        if (rc == KEK_OK) {
            end_at(opening->flight.store, leg->until_ms);
            return true;
        }
        any_failed(opening, entry, rc);
    }
    return false;
}

enum kek_rc any_ask(struct opening *opening)
{
    return ask_next(opening) ? KEK_OK : any_verdict(opening);
}

/* The worker that gave the key that opened nothing is doubted first; then come the other roots. */
enum kek_rc any_doubt(struct opening *opening)
{
    size_t entry = opening->doubted.entry;
    struct unwrap *leg = &opening->legs[entry];
    opening->damaged = opening->doubted.damaged;
    opening->tried = opening->damaged | 1u << entry;
    unwrap_init(leg, &opening->flight, &opening->header, entry, any_done);
    leg->until_ms = share_of_time(opening);
    enum kek_rc rc = unwrap_doubt(leg, &opening->doubted.of[entry]);
    if (rc == KEK_OK) {
        end_at(opening->flight.store, leg->until_ms);
        return KEK_OK;
    }
    any_failed(opening, entry, rc);
    return any_ask(opening);
}

/* Legs of mode all have the whole time, and until_ms 0. */
static void end_late(struct opening *opening, uint64_t now_ms)
{
    for (size_t i = 0; i < opening->header.count; i++) {
        struct unwrap *leg = &opening->legs[i];
        bool under_way = leg->call != NULL || leg->wait != NULL;
        if (!under_way || leg->until_ms == 0) {
            continue;
        }
        if (leg->until_ms > now_ms) {
            end_at(opening->flight.store, leg->until_ms);
        } else if (leg->wait != NULL) { /* a call has that deadline itself */
            unwrap_end(leg);
            leg->done(leg,
                      kek_fail(&leg->why, KEK_DEADLINE,
                               "root of trust %s has had its part of the time", leg->root->name),
                      NULL);
            return;
        }
    }
}

static void end_all_late(uv_timer_t *timer)
{
    struct kek_datakey_store *store = timer->data;
    struct flight *flight, *next;
    store->late_ms = 0;
    DL_FOREACH_SAFE (store->to_open.flights, flight, next) {
        end_late((struct opening *)flight, kek_clock_ms());
    }
}
