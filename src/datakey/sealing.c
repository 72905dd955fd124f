/*
 * The keys to seal with: one that seals now for each generation, and the next one ahead of its time.
 * Each is drawn here; what the HSM makes of it is proof.c's.
 */
#include "datakey/store.h"

#include <string.h>

#include "kek/clock.h"

#define AHEAD_PAUSE_MS 1000u /* between tries to make a key ahead */

struct sealing {
    struct flight flight;
    struct kek_generation generation;
    struct slot *slot; /* NULL: the key is its one waiter's alone */
    struct kek_secret *data_key;
    struct proof *proof;
};

static bool spent(const struct kek_datakey_store *store, const struct kek_datakey_ref *ref,
                  uint64_t now_ms)
{
    const struct kek_config *config = store->settings.config;
    return ref->uses >= config->data_key.max_uses ||
           now_ms - ref->born_ms >= config->data_key.max_age_ms;
}

static bool half_spent(const struct kek_datakey_store *store, const struct kek_datakey_ref *ref,
                       uint64_t now_ms)
{
    const struct kek_config *config = store->settings.config;
    return ref->uses >= config->data_key.max_uses / 2 ||
           now_ms - ref->born_ms >= config->data_key.max_age_ms / 2;
}

/* A key that is spent makes room: for the one that was made ahead, or for one to be made. */
static bool has_current(const struct kek_datakey_store *store, struct slot *slot, uint64_t now_ms)
{
    if (slot->ahead != NULL && spent(store, slot->ahead, now_ms)) {
        kek_datakey_ref_free(slot->ahead);
        slot->ahead = NULL;
    }
    if (slot->current != NULL && spent(store, slot->current, now_ms)) {
        kek_datakey_ref_free(slot->current);
        slot->current = NULL;
    }
    if (slot->current == NULL) {
        slot->current = KEK_STEAL(slot->ahead);
    }
    return slot->current != NULL;
}

static struct slot *find_slot(const struct kek_datakey_store *store,
                              const struct kek_generation *generation)
{
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        if (store->slots[i].used && kek_generation_equal(&store->slots[i].generation, generation)) {
            return (struct slot *)&store->slots[i];
        }
    }
    return NULL;
}

/* A flight that is under way for it goes on. */
static void empty_slot(struct slot *slot)
{
    kek_datakey_ref_free(slot->current);
    kek_datakey_ref_free(slot->ahead);
    slot->current = NULL;
    slot->ahead = NULL;
    slot->used = slot->flight != NULL;
}

/* One that nobody seals under, or that an idle older generation leaves. NULL: there is none. */
static struct slot *free_slot(struct kek_datakey_store *store)
{
    struct kek_keyring_primary primary;
    bool announced = kek_roots_primary(store->settings.roots, &primary);
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        if (!store->slots[i].used) {
            return &store->slots[i];
        }
    }
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        struct slot *slot = &store->slots[i];
        if (slot->flight == NULL &&
            !(announced && kek_generation_equal(&slot->generation, &primary.generation))) {
            empty_slot(slot);
            return slot;
        }
    }
    return NULL;
}

/* The slot of this generation, made if there is room. */
static struct slot *take_slot(struct kek_datakey_store *store,
                              const struct kek_generation *generation)
{
    struct slot *slot = find_slot(store, generation);
    if (slot != NULL) {
        return slot;
    }
    slot = free_slot(store);
    if (slot != NULL) {
        *slot = (struct slot){.used = true, .generation = *generation};
    }
    return slot;
}

/* ---- a flight, from its end ---- */

static void sealing_end(struct flight *flight)
{
    struct sealing *sealing = (struct sealing *)flight;
    proof_end(sealing->proof);
    if (sealing->slot != NULL) {
        sealing->slot->flight = NULL;
    }
    kek_secret_free(sealing->data_key);
    free(sealing);
}

static void sealing_failed(struct sealing *sealing, enum kek_rc rc, const struct kek_why *why)
{
    if (sealing->slot != NULL) {
        sealing->slot->failed_ms = kek_clock_ms();
    }
    flight_land(&sealing->flight, rc, NULL, why);
}

static bool start_shared(struct kek_datakey_store *store, struct slot *slot, uint64_t deadline_ms,
                         struct kek_why *why);

/* The keyring announces a generation once there is a key to seal with under it. */
static void make_wanted(struct kek_datakey_store *store)
{
    struct kek_roots *roots = store->settings.roots;
    const struct kek_generation *wanted = kek_roots_wanted(roots);
    struct kek_why why;
    if (wanted == NULL) {
        return;
    }
    struct kek_generation generation = *wanted;
    if (store_strict(store)) {
        kek_roots_prepared(roots, &generation);
        return;
    }
    struct slot *slot = take_slot(store, &generation);
    if (slot == NULL) {
        return;
    }
    if (has_current(store, slot, kek_clock_ms())) {
        kek_roots_prepared(roots, &generation);
    } else if (kek_clock_ms() - slot->failed_ms >= AHEAD_PAUSE_MS) {
        (void)start_shared(store, slot, kek_clock_ms() + FLIGHT_MS, &why);
    }
}

/* The key is good: it becomes the slot's, and every waiter's. */
static void proven(void *arg, enum kek_rc rc, struct kek_bytes header, const struct kek_why *why)
{
    struct sealing *sealing = arg;
    struct kek_datakey_store *store = sealing->flight.store;
    struct kek_why mine;
    struct name name;
    if (rc != KEK_OK) {
        sealing_failed(sealing, rc, why);
        return;
    }
    (void)name_fill(&name, header, 0); /* a header that was made here fits */
    KEK_AUTO(kek_datakey_ref)
    ref = ref_new(store, kek_bytes(name.bytes, name.len), sealing->data_key, &mine);
    if (ref == NULL) {
        sealing_failed(sealing, mine.rc, &mine);
        return;
    }
    ref->verified = true;
    ref->keks = (uint8_t)((1u << sealing->generation.count) - 1);
    ref->uses = sealing->flight.waiting;
    struct slot *slot = sealing->slot;
    if (slot != NULL) {
        struct kek_datakey_ref **place =
            has_current(store, slot, kek_clock_ms()) ? &slot->ahead : &slot->current;
        kek_datakey_ref_free(*place);
        *place = ref_share(ref);
        cache_put(store, ref);
    }
    flight_land(&sealing->flight, KEK_OK, ref, NULL);
    if (slot != NULL) {
        make_wanted(store);
    }
}

/* Starts a flight for a new key; it has no waiter yet. NULL: why says why. */
static struct sealing *start(struct kek_datakey_store *store, struct slot *slot,
                             const struct kek_generation *generation, uint64_t deadline_ms,
                             struct kek_why *why)
{
    struct sealing *sealing = calloc(1, sizeof *sealing);
    if (sealing == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to ask the HSM");
        return NULL;
    }
    if (!flight_init(&sealing->flight, store, &store->to_seal, sealing_end, why)) {
        free(sealing);
        return NULL;
    }
    sealing->generation = *generation;
    size_t shares = generation->mode == KEK_ENVELOPE_MODE_ALL ? generation->count : 1;
    sealing->data_key = kek_secret_random(shares * KEK_DATA_KEY_LEN);
    if (sealing->data_key == NULL) {
        kek_fail(why, KEK_EXHAUSTED, "no locked memory for a data key");
        flight_land(&sealing->flight, KEK_EXHAUSTED, NULL, why);
        return NULL;
    }
    sealing->proof = proof_start(&sealing->flight, generation, sealing->data_key, deadline_ms,
                                 proven, sealing, why);
    if (sealing->proof == NULL) {
        flight_land(&sealing->flight, why->rc, NULL, why);
        return NULL;
    }
    sealing->slot = slot;
    sealing->flight.lingers = slot != NULL;
    return sealing;
}

static bool start_shared(struct kek_datakey_store *store, struct slot *slot, uint64_t deadline_ms,
                         struct kek_why *why)
{
    if (slot->flight == NULL) {
        slot->flight = start(store, slot, &slot->generation, deadline_ms, why);
        if (slot->flight == NULL) {
            slot->failed_ms = kek_clock_ms();
            return false;
        }
    }
    return true;
}

static void make_ahead(struct kek_datakey_store *store, struct slot *slot, uint64_t now_ms)
{
    KEK_UNFILLED struct kek_why why;
    if (slot->ahead == NULL && slot->flight == NULL && half_spent(store, slot->current, now_ms) &&
        now_ms - slot->failed_ms >= AHEAD_PAUSE_MS) {
        (void)start_shared(store, slot, now_ms + FLIGHT_MS, &why);
    }
}

/* ---- the face ---- */

static enum kek_rc wait_for(struct sealing *sealing, uint64_t deadline_ms,
                            kek_datakey_done_fn *done, void *arg, struct kek_datakey_wait **wait,
                            struct kek_why *why)
{
    struct kek_datakey_wait *joined = flight_join(&sealing->flight, deadline_ms, done, arg, why);
    if (joined == NULL && sealing->flight.waits == NULL && !sealing->flight.lingers) {
        flight_land(&sealing->flight, KEK_NO_MEMORY, NULL, why);
    }
    if (joined == NULL) {
        return KEK_NO_MEMORY;
    }
    *wait = joined;
    return KEK_OK;
}

/* A key for one payload, shared with nobody. */
static enum kek_rc wait_alone(struct kek_datakey_store *store,
                              const struct kek_generation *generation, uint64_t deadline_ms,
                              kek_datakey_done_fn *done, void *arg, struct kek_datakey_wait **wait,
                              struct kek_why *why)
{
    struct sealing *sealing = start(store, NULL, generation, deadline_ms, why);
    return sealing == NULL ? why->rc : wait_for(sealing, deadline_ms, done, arg, wait, why);
}

enum kek_rc kek_datakey_for_sealing(struct kek_datakey_store *store,
                                    const struct kek_generation *generation, uint64_t deadline_ms,
                                    kek_datakey_done_fn *done, void *arg,
                                    struct kek_datakey_ref **ref, struct kek_datakey_wait **wait,
                                    struct kek_why *why)
{
    KEK_UNFILLED struct kek_why mine;
    why = why == NULL ? &mine : why;
    *ref = NULL;
    *wait = NULL;
    uint64_t now_ms = kek_clock_ms();
    struct slot *slot = store_strict(store) ? NULL : take_slot(store, generation);
    if (slot != NULL && has_current(store, slot, now_ms)) {
        slot->current->uses++;
        *ref = ref_share(slot->current);
        make_ahead(store, slot, now_ms);
        return KEK_OK;
    }
    enum kek_rc rc = kek_roots_wraps(store->settings.roots, generation, why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (store_strict(store)) {
        return wait_alone(store, generation, deadline_ms, done, arg, wait, why);
    }
    if (slot == NULL) {
        return kek_fail(why, KEK_EXHAUSTED, "more than %d KEK versions are being sealed under",
                        SLOTS_MAX);
    }
    if (!start_shared(store, slot, deadline_ms, why)) {
        return why->rc;
    }
    if (slot->flight->flight.waiting >= store->settings.config->data_key.max_uses) {
        return wait_alone(store, generation, deadline_ms, done, arg, wait, why);
    }
    return wait_for(slot->flight, deadline_ms, done, arg, wait, why);
}

/* The roots wait with a change that only an outage asks for, as long as this lasts. */
static void tell_bridged(const struct kek_datakey_store *store, const struct slot *slot)
{
    bool lasts = slot != NULL &&
                 (slot->ahead != NULL ||
                  (slot->current != NULL && !half_spent(store, slot->current, kek_clock_ms())));
    kek_roots_bridged(store->settings.roots, lasts);
}

/* Whether or not anybody seals: an HSM that goes away after a quiet hour finds a key in place. */
static void tend_primary(struct kek_datakey_store *store)
{
    struct kek_roots *roots = store->settings.roots;
    struct kek_keyring_primary primary;
    struct kek_why why;
    if (store_strict(store) || !kek_roots_primary(roots, &primary)) {
        return;
    }
    tell_bridged(store, find_slot(store, &primary.generation));
    if (kek_roots_state(roots) != KEK_KEYRING_GOOD) {
        return;
    }
    struct slot *slot = take_slot(store, &primary.generation);
    if (slot == NULL) {
        return;
    }
    uint64_t now_ms = kek_clock_ms();
    if (has_current(store, slot, now_ms)) {
        make_ahead(store, slot, now_ms);
    } else if (now_ms - slot->failed_ms >= AHEAD_PAUSE_MS) {
        (void)start_shared(store, slot, now_ms + FLIGHT_MS, &why);
    }
}

void sealing_tend(struct kek_datakey_store *store)
{
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        if (store->slots[i].used) {
            (void)has_current(store, &store->slots[i], kek_clock_ms());
        }
    }
    tend_primary(store);
}

void sealing_review(struct kek_datakey_store *store)
{
    struct flight *flight, *next;
    struct kek_why why;
    DL_FOREACH_SAFE (store->to_seal.flights, flight, next) {
        struct sealing *sealing = (struct sealing *)flight;
        enum kek_rc rc = kek_roots_wraps(store->settings.roots, &sealing->generation, &why);
        if (rc == KEK_OK) {
            proof_review(sealing->proof);
        } else {
            sealing_failed(sealing, rc, &why);
        }
    }
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        struct slot *slot = &store->slots[i];
        if (slot->used && (slot->current != NULL || slot->ahead != NULL) &&
            kek_roots_wraps(store->settings.roots, &slot->generation, NULL) != KEK_OK) {
            empty_slot(slot);
        }
    }
    struct kek_keyring_primary primary;
    if (!store_strict(store) && kek_roots_primary(store->settings.roots, &primary)) {
        /* What was emptied bridges nothing. */
        tell_bridged(store, find_slot(store, &primary.generation));
    }
    make_wanted(store);
}

bool kek_datakey_can_seal(const struct kek_datakey_store *store,
                          const struct kek_generation *generation)
{
    struct slot *slot = find_slot(store, generation);
    return slot != NULL && has_current(store, slot, kek_clock_ms());
}

void sealing_stop(struct kek_datakey_store *store)
{
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        empty_slot(&store->slots[i]);
    }
}
