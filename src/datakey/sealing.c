/*
 * Sealing keys.  One is drawn here, wrapped by the HSM, and then unwrapped again and compared before
 * anything is sealed under it: what the HSM cannot give back must not be in anybody's etcd.  Strict
 * mode leaves that second operation out, by its definition of one HSM wrap for each Encrypt.
 */
#include "datakey/store.h"

#include <string.h>

#include "kek/clock.h"

#define AHEAD_PAUSE_MS 1000u /* between tries to make a key ahead */

static bool spent(const struct kek_datakey_store *store, const struct kek_datakey_ref *ref)
{
    const struct kek_config *config = store->settings.config;
    return ref->uses >= config->data_key.max_uses ||
           kek_clock_ms() - ref->born_ms >= config->data_key.max_age_ms;
}

static bool half_spent(const struct kek_datakey_store *store, const struct kek_datakey_ref *ref)
{
    const struct kek_config *config = store->settings.config;
    return ref->uses >= config->data_key.max_uses / 2 ||
           kek_clock_ms() - ref->born_ms >= config->data_key.max_age_ms / 2;
}

/* A key that is spent makes room: for the one that was made ahead, or for one to be made. */
static bool has_current(const struct kek_datakey_store *store, struct slot *slot)
{
    if (slot->ahead != NULL && spent(store, slot->ahead)) {
        kek_datakey_ref_free(slot->ahead);
        slot->ahead = NULL;
    }
    if (slot->current != NULL && spent(store, slot->current)) {
        kek_datakey_ref_free(slot->current);
        slot->current = NULL;
    }
    if (slot->current == NULL) {
        slot->current = KEK_STEAL(slot->ahead);
    }
    return slot->current != NULL;
}

static struct slot *find_slot(const struct kek_datakey_store *store, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        if (store->slots[i].used && kek_id_equal(&store->slots[i].kek_id, kek_id)) {
            return (struct slot *)&store->slots[i];
        }
    }
    return NULL;
}

static void empty_slot(struct slot *slot)
{
    kek_datakey_ref_free(slot->current);
    kek_datakey_ref_free(slot->ahead);
    slot->current = NULL;
    slot->ahead = NULL;
    if (slot->flight != NULL) {
        slot->flight->slot = NULL;
        slot->flight = NULL;
    }
    slot->used = false;
}

/* The slot of this version; an idle older one makes room. */
static struct slot *take_slot(struct kek_datakey_store *store, const struct kek_id *kek_id)
{
    struct slot *slot = find_slot(store, kek_id);
    struct kek_keyring_primary primary;
    bool announced = kek_keyring_primary(store->settings.ring, &primary);
    for (size_t i = 0; slot == NULL && i < SLOTS_MAX; i++) {
        if (!store->slots[i].used) {
            slot = &store->slots[i];
        }
    }
    for (size_t i = 0; slot == NULL && i < SLOTS_MAX; i++) {
        if (store->slots[i].flight == NULL &&
            !(announced && kek_id_equal(&store->slots[i].kek_id, &primary.kek_id))) {
            slot = &store->slots[i];
            empty_slot(slot);
        }
    }
    if (slot != NULL && !slot->used) {
        *slot = (struct slot){.used = true, .kek_id = *kek_id};
    }
    return slot;
}

static void sealing_failed(struct flight *flight, enum kek_rc rc, const struct kek_why *why)
{
    if (flight->slot != NULL) {
        flight->slot->failed_ms = kek_clock_ms();
    }
    flight_land(flight, rc, NULL, why);
}

/* The key is good: it becomes the slot's, and every waiter's. */
static void sealing_done(struct flight *flight)
{
    struct kek_datakey_store *store = flight->store;
    struct kek_why why;
    KEK_AUTO(kek_datakey_ref) ref = ref_new(store, &flight->name, flight->data_key, &why);
    if (ref == NULL) {
        sealing_failed(flight, why.rc, &why);
        return;
    }
    struct kek_envelope_entry entry = {.alg = (enum kek_wrap_alg)flight->name.alg,
                                       .wrapped =
                                           kek_bytes(flight->name.blob, flight->name.blob_len)};
    memcpy(entry.kek_id.bytes, flight->name.kek_id, KEK_ID_LEN);
    enum kek_rc rc = kek_envelope_header(KEK_ENVELOPE_MODE_ANY, &entry, 1, &ref->header, &why);
    if (rc != KEK_OK) {
        sealing_failed(flight, rc, &why);
        return;
    }
    ref->uses = flight->waiting;
    struct slot *slot = flight->slot;
    bool prepared = false;
    if (slot != NULL) {
        struct kek_datakey_ref **place = has_current(store, slot) ? &slot->ahead : &slot->current;
        kek_datakey_ref_free(*place);
        *place = ref_share(ref);
        cache_put(store, ref);
        prepared = slot->preparing;
        slot->preparing = false;
    }
    flight_land(flight, KEK_OK, ref, NULL);
    if (prepared) {
        kek_keyring_prepared(store->settings.ring, &entry.kek_id);
    }
}

static bool ask_wrap(struct flight *flight, uint64_t deadline_ms, struct kek_why *why);

/* A key that is gone or may not wrap there may still be good elsewhere. */
static bool refused_by_one(struct flight *flight, const struct kek_id *kek_id, enum kek_rc rc)
{
    return (rc == KEK_NOT_FOUND || rc == KEK_PRECONDITION) && flight->retries++ < RETRIES_MAX &&
           kek_keyring_wraps(flight->store->settings.ring, kek_id);
}

/* Wraps it once more where that can help: somebody who waits has more time than the one who asked, or
 * one provider refused what another may do. */
static bool again(struct flight *flight, enum kek_pool_op op, enum kek_rc rc,
                  const struct kek_pool_result *result)
{
    struct kek_id kek_id;
    struct kek_why why;
    memcpy(kek_id.bytes, flight->name.kek_id, KEK_ID_LEN);
    kek_keyring_observe(flight->store->settings.ring,
                        result == NULL ? KEK_POOL_ANY : result->provider, &kek_id, op, rc);
    if (!(rc == KEK_DEADLINE && flight_has_time(flight)) && !refused_by_one(flight, &kek_id, rc)) {
        return false;
    }
    if (!ask_wrap(flight, flight_deadline(flight), &why)) {
        sealing_failed(flight, why.rc, &why);
    }
    return true;
}

static void verified(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                     const struct kek_why *why)
{
    struct flight *flight = arg;
    struct kek_why mine;
    flight->call = NULL;
    if (again(flight, KEK_POOL_UNWRAP, rc, result)) {
        return;
    }
    if (rc != KEK_OK) {
        sealing_failed(flight, rc == KEK_DAMAGED ? KEK_INTERNAL : rc, why);
        return;
    }
    if (!kek_secret_equal(result->data_key, flight->data_key)) {
        kek_fail(&mine, KEK_INTERNAL,
                 "the HSM wrapped a data key and gave back another one: it is not used");
        sealing_failed(flight, KEK_INTERNAL, &mine);
        return;
    }
    sealing_done(flight);
}

static void wrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                    const struct kek_why *why)
{
    struct flight *flight = arg;
    struct kek_datakey_store *store = flight->store;
    struct kek_id kek_id;
    struct kek_why mine;
    flight->call = NULL;
    memcpy(kek_id.bytes, flight->name.kek_id, KEK_ID_LEN);
    if (again(flight, KEK_POOL_WRAP, rc, result)) {
        return;
    }
    if (rc != KEK_OK) {
        sealing_failed(flight, rc, why);
        return;
    }
    kek_keyring_wrapped(store->settings.ring, &kek_id, result->alg);
    if (!name_fill(&flight->name, result->alg, &kek_id, result->blob, 0)) {
        kek_fail(&mine, KEK_INTERNAL, "a wrapped data key of %zu bytes", result->blob.len);
        sealing_failed(flight, KEK_INTERNAL, &mine);
        return;
    }
    if (store_strict(store)) {
        sealing_done(flight);
        return;
    }
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = KEK_POOL_ANY,
        .kek_id = kek_id,
        .alg = result->alg,
        .blob = kek_bytes(flight->name.blob, flight->name.blob_len),
        .deadline_ms = flight_deadline(flight),
    };
    flight->step = VERIFYING;
    store->stats.unwraps++;
    flight->call = kek_pool_submit(store->settings.pool, &request, verified, flight, &mine);
    if (flight->call == NULL) {
        sealing_failed(flight, mine.rc, &mine);
    }
}

static bool ask_wrap(struct flight *flight, uint64_t deadline_ms, struct kek_why *why)
{
    struct kek_datakey_store *store = flight->store;
    struct kek_pool_request request = {
        .op = KEK_POOL_WRAP,
        .provider = KEK_POOL_ANY,
        .data_key = flight->data_key,
        .deadline_ms = deadline_ms,
    };
    memcpy(request.kek_id.bytes, flight->name.kek_id, KEK_ID_LEN);
    flight->step = WRAPPING;
    store->stats.wraps++;
    flight->call = kek_pool_submit(store->settings.pool, &request, wrapped, flight, why);
    return flight->call != NULL;
}

/* Starts a flight for a new key; it has no waiter yet. NULL: why says why. */
static struct flight *start(struct kek_datakey_store *store, const struct kek_id *kek_id,
                            uint64_t deadline_ms, struct kek_why *why)
{
    struct flight *flight = flight_new(store, why);
    if (flight == NULL) {
        return NULL;
    }
    memcpy(flight->name.kek_id, kek_id->bytes, KEK_ID_LEN);
    flight->data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    if (flight->data_key == NULL) {
        kek_fail(why, KEK_EXHAUSTED, "no locked memory for a data key");
        flight_land(flight, KEK_EXHAUSTED, NULL, why);
        return NULL;
    }
    if (!ask_wrap(flight, deadline_ms, why)) {
        flight_land(flight, why->rc, NULL, why);
        return NULL;
    }
    return flight;
}

static bool start_shared(struct kek_datakey_store *store, struct slot *slot, uint64_t deadline_ms,
                         struct kek_why *why)
{
    if (slot->flight == NULL) {
        slot->flight = start(store, &slot->kek_id, deadline_ms, why);
        if (slot->flight == NULL) {
            slot->failed_ms = kek_clock_ms();
            return false;
        }
        slot->flight->slot = slot;
    }
    return true;
}

static void make_ahead(struct kek_datakey_store *store, struct slot *slot)
{
    struct kek_why why;
    if (slot->ahead == NULL && slot->flight == NULL && half_spent(store, slot->current) &&
        kek_clock_ms() - slot->failed_ms >= AHEAD_PAUSE_MS) {
        (void)start_shared(store, slot, kek_clock_ms() + FLIGHT_MS, &why);
    }
}

static enum kek_rc wait_for(struct flight *flight, uint64_t deadline_ms, kek_datakey_done_fn *done,
                            void *arg, struct kek_datakey_wait **wait, struct kek_why *why)
{
    struct kek_datakey_wait *joined = flight_join(flight, deadline_ms, done, arg, why);
    if (joined == NULL) {
        return KEK_NO_MEMORY;
    }
    *wait = joined;
    return KEK_OK;
}

/* A key for one payload, shared with nobody. */
static enum kek_rc wait_alone(struct kek_datakey_store *store, const struct kek_id *kek_id,
                              uint64_t deadline_ms, kek_datakey_done_fn *done, void *arg,
                              struct kek_datakey_wait **wait, struct kek_why *why)
{
    struct flight *flight = start(store, kek_id, deadline_ms, why);
    return flight == NULL ? why->rc : wait_for(flight, deadline_ms, done, arg, wait, why);
}

enum kek_rc kek_datakey_for_sealing(struct kek_datakey_store *store, const struct kek_id *kek_id,
                                    uint64_t deadline_ms, kek_datakey_done_fn *done, void *arg,
                                    struct kek_datakey_ref **ref, struct kek_datakey_wait **wait,
                                    struct kek_why *why)
{
    struct kek_why mine;
    why = why == NULL ? &mine : why;
    *ref = NULL;
    *wait = NULL;
    if (store_strict(store)) {
        return wait_alone(store, kek_id, deadline_ms, done, arg, wait, why);
    }
    struct slot *slot = take_slot(store, kek_id);
    if (slot == NULL) {
        return kek_fail(why, KEK_EXHAUSTED, "more than %d KEK versions are being sealed under",
                        SLOTS_MAX);
    }
    if (!has_current(store, slot)) {
        if (!start_shared(store, slot, deadline_ms, why)) {
            return why->rc;
        }
        if (slot->flight->waiting >= store->settings.config->data_key.max_uses) {
            return wait_alone(store, kek_id, deadline_ms, done, arg, wait, why);
        }
        return wait_for(slot->flight, deadline_ms, done, arg, wait, why);
    }
    slot->current->uses++;
    *ref = ref_share(slot->current);
    make_ahead(store, slot);
    return KEK_OK;
}

void kek_datakey_prepare(struct kek_datakey_store *store, const struct kek_id *kek_id)
{
    struct kek_why why;
    if (store_strict(store)) {
        kek_keyring_prepared(store->settings.ring, kek_id);
        return;
    }
    struct slot *slot = take_slot(store, kek_id);
    if (slot == NULL) {
        return;
    }
    if (has_current(store, slot)) {
        kek_keyring_prepared(store->settings.ring, kek_id);
        return;
    }
    slot->preparing = start_shared(store, slot, kek_clock_ms() + FLIGHT_MS, &why);
}

/* Whether or not anybody seals: an HSM that goes away after a quiet hour finds a key in place. */
void sealing_tend(struct kek_datakey_store *store)
{
    struct kek_keyring *ring = store->settings.ring;
    struct kek_keyring_primary primary;
    struct kek_keyring_health health;
    struct kek_why why;
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        if (store->slots[i].used) {
            (void)has_current(store, &store->slots[i]);
        }
    }
    kek_keyring_health(ring, &health);
    if (store_strict(store) || health.state != KEK_KEYRING_GOOD ||
        !kek_keyring_primary(ring, &primary) || !kek_keyring_wraps(ring, &primary.kek_id)) {
        return;
    }
    struct slot *slot = take_slot(store, &primary.kek_id);
    if (slot == NULL) {
        return;
    }
    if (has_current(store, slot)) {
        make_ahead(store, slot);
    } else if (kek_clock_ms() - slot->failed_ms >= AHEAD_PAUSE_MS) {
        (void)start_shared(store, slot, kek_clock_ms() + FLIGHT_MS, &why);
    }
}

void kek_datakey_lost_wrap(struct kek_datakey_store *store, const struct kek_id *kek_id)
{
    struct slot *slot = find_slot(store, kek_id);
    if (slot != NULL) {
        empty_slot(slot);
    }
}

bool kek_datakey_can_seal(const struct kek_datakey_store *store, const struct kek_id *kek_id)
{
    struct slot *slot = find_slot(store, kek_id);
    return slot != NULL && has_current(store, slot);
}

void sealing_stop(struct kek_datakey_store *store)
{
    for (size_t i = 0; i < SLOTS_MAX; i++) {
        if (store->slots[i].used) {
            empty_slot(&store->slots[i]);
        }
    }
}
