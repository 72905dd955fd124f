/*
 * Keys to open with: the cache, else one unwrap for all who ask at once.
 *
 * "Damaged" is believed only from a provider that opens its witness of that version: otherwise the
 * witness runs first, and a provider that fails it is no longer asked.  "No such key" and "may not"
 * are believed only after another look at the tokens.
 */
#include "datakey/store.h"

#include <string.h>

#include "kek/clock.h"

static void ask(struct flight *flight);

/* Comes back from a step of the keyring's. False: nobody waits any more, and the flight is gone. */
static bool still_wanted(struct flight *flight)
{
    if (flight->dropped) {
        free(flight);
        return false;
    }
    flight->step = UNWRAPPING;
    return true;
}

static void kek_of(const struct flight *flight, struct kek_id *kek_id)
{
    memcpy(kek_id->bytes, flight->name.kek_id, KEK_ID_LEN);
}

static enum kek_rc unproven(struct flight *flight)
{
    return kek_fail_within(&flight->why, KEK_UNAVAILABLE,
                           "it is not known whether that key is the right one");
}

/* The provider failed its witness: someone else is asked. It passed: the blob is bad. */
static void checked(void *arg, bool opens)
{
    struct flight *flight = arg;
    if (!still_wanted(flight)) {
        return;
    }
    if (!opens) {
        ask(flight);
        return;
    }
    struct kek_id kek_id;
    kek_of(flight, &kek_id);
    if (!kek_keyring_trusts(flight->store->settings.ring, flight->provider, &kek_id)) {
        /* Its own witness proves nothing while providers hold different keys under that name. */
        flight_land(flight, unproven(flight), NULL, &flight->why);
        return;
    }
    flight_land(flight, KEK_DAMAGED, NULL, &flight->why);
}

static void refreshed(void *arg)
{
    struct flight *flight = arg;
    struct kek_id kek_id;
    if (!still_wanted(flight)) {
        return;
    }
    kek_of(flight, &kek_id);
    if (kek_keyring_find(flight->store->settings.ring, &kek_id) == KEK_KEYRING_OPENS) {
        ask(flight);
        return;
    }
    flight_land(flight, flight->rc, NULL, &flight->why);
}

/* Without a witness (a version that may only unwrap, on a node that never saw it wrap) no provider's word
 * is worth more than another's: all that have the key are asked. False: flight->rc is what is known. */
static bool ask_another(struct flight *flight, size_t provider, const struct kek_id *kek_id)
{
    const struct kek_datakey_settings *settings = &flight->store->settings;
    bool silent = false;
    flight->denied |= UINT32_C(1) << provider;
    for (size_t p = 0; p < settings->config->provider_count; p++) {
        struct kek_pool_provider status;
        if ((flight->denied >> p & 1) != 0 ||
            !kek_keyring_may(settings->ring, p, KEK_POOL_UNWRAP, kek_id)) {
            continue;
        }
        kek_pool_provider_get(settings->pool, p, &status);
        if (status.health == KEK_POOL_READY) {
            flight->only = p;
            ask(flight);
            return true;
        }
        silent = true;
    }
    if (silent) {
        flight->rc = unproven(flight);
    }
    return false;
}

/* Looks into a failure that may be the provider's own. False: it is final. */
static bool look_into(struct flight *flight, size_t provider, enum kek_rc rc)
{
    struct kek_keyring *ring = flight->store->settings.ring;
    struct kek_id kek_id;
    kek_of(flight, &kek_id);
    if (rc == KEK_DAMAGED && provider != KEK_POOL_ANY && !kek_keyring_has_witness(ring, &kek_id)) {
        return ask_another(flight, provider, &kek_id);
    }
    if (flight->retries++ >= RETRIES_MAX) {
        return false;
    }
    if (rc == KEK_DAMAGED) {
        if (provider == KEK_POOL_ANY || kek_keyring_trusts(ring, provider, &kek_id)) {
            return false;
        }
        flight->step = CHECKING;
        if (kek_keyring_check(ring, provider, &kek_id, checked, flight)) {
            return true;
        }
        flight->rc = unproven(flight);
        return false;
    }
    if (rc == KEK_NOT_FOUND || rc == KEK_PRECONDITION) {
        flight->step = REFRESHING;
        return kek_keyring_refresh(ring, refreshed, flight);
    }
    return false;
}

/* Where other contexts may be tried, it keeps the data key for them. */
static struct kek_datakey_ref *new_ref(struct kek_datakey_store *store, const struct key_name *name,
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
    struct flight *flight = arg;
    struct kek_datakey_store *store = flight->store;
    size_t provider = result == NULL ? KEK_POOL_ANY : result->provider;
    struct kek_id kek_id;
    flight->call = NULL;
    kek_of(flight, &kek_id);
    kek_keyring_observe(store->settings.ring, provider, &kek_id, KEK_POOL_UNWRAP, rc);
    if (rc == KEK_DEADLINE && flight_has_time(flight)) {
        ask(flight);
        return;
    }
    if (rc != KEK_OK) {
        flight->rc = rc;
        flight->why = *why;
        flight->provider = provider;
        if (!look_into(flight, provider, rc)) {
            flight->step = UNWRAPPING;
            flight_land(flight, flight->rc, NULL, &flight->why);
        }
        return;
    }
    struct kek_why mine;
    KEK_AUTO(kek_datakey_ref) ref = new_ref(store, &flight->name, result->data_key, &mine);
    flight_land(flight, ref == NULL ? mine.rc : KEK_OK, ref, ref == NULL ? &mine : NULL);
}

static void ask(struct flight *flight)
{
    struct kek_datakey_store *store = flight->store;
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = flight->only,
        .alg = (enum kek_wrap_alg)flight->name.alg,
        .blob = kek_bytes(flight->name.blob, flight->name.blob_len),
        .deadline_ms = flight_deadline(flight),
    };
    kek_of(flight, &request.kek_id);
    flight->step = UNWRAPPING;
    store->stats.unwraps++;
    flight->call = kek_pool_submit(store->settings.pool, &request, unwrapped, flight, &flight->why);
    if (flight->call == NULL) {
        flight_land(flight, flight->why.rc, NULL, &flight->why);
    }
}

static bool context_index(const struct kek_datakey_store *store, struct kek_bytes context,
                          uint8_t *index)
{
    const struct kek_config *config = store->settings.config;
    for (size_t i = 0; i < UINT8_MAX; i++) {
        if (i > 0 && config->context_accept[i - 1] == NULL) {
            return false;
        }
        if (kek_bytes_equal(context, store_context(store, (uint8_t)i))) {
            *index = (uint8_t)i;
            return true;
        }
    }
    return false;
}

static struct flight *start(struct kek_datakey_store *store, const struct key_name *name,
                            struct kek_why *why)
{
    struct flight *flight = flight_new(store, why);
    if (flight == NULL) {
        return NULL;
    }
    flight->name = *name;
    flight->only = KEK_POOL_ANY;
    flight->step = UNWRAPPING;
    if (!store_strict(store)) {
        HASH_ADD(hh, store->opening, name, sizeof flight->name, flight);
        flight->shared = flight->hh.tbl != NULL; /* else out of memory: it flies alone */
    }
    return flight;
}

enum kek_rc kek_datakey_for_opening(struct kek_datakey_store *store,
                                    const struct kek_envelope_entry *entry,
                                    struct kek_bytes context, uint64_t deadline_ms,
                                    kek_datakey_done_fn *done, void *arg,
                                    struct kek_datakey_ref **ref, struct kek_datakey_wait **wait,
                                    struct kek_why *why)
{
    struct key_name name;
    struct flight *flight = NULL;
    uint8_t index;
    struct kek_why mine;
    why = why == NULL ? &mine : why;
    *ref = NULL;
    *wait = NULL;
    if (!context_index(store, context, &index) ||
        !name_fill(&name, entry->alg, &entry->kek_id, entry->wrapped, index)) {
        return kek_fail(why, KEK_INVALID, "no such context, or a wrapped data key over %d bytes",
                        BLOB_MAX);
    }
    struct kek_datakey_ref *cached = cache_get(store, &name);
    if (cached != NULL) {
        store->stats.cache_hits++;
        *ref = ref_share(cached);
        return KEK_OK;
    }
    store->stats.cache_misses++;
    HASH_FIND(hh, store->opening, &name, sizeof name, flight);
    bool joined = flight != NULL;
    if (!joined) {
        flight = start(store, &name, why);
        if (flight == NULL) {
            return why->rc;
        }
    }
    struct kek_datakey_wait *waiting = flight_join(flight, deadline_ms, done, arg, why);
    if (waiting == NULL) {
        if (!joined) {
            flight_land(flight, KEK_NO_MEMORY, NULL, why);
        }
        return KEK_NO_MEMORY;
    }
    if (joined) {
        *wait = waiting;
        return KEK_OK;
    }
    /* The first ask may be refused at once: then there is nothing to wait for. */
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = KEK_POOL_ANY,
        .kek_id = entry->kek_id,
        .alg = entry->alg,
        .blob = entry->wrapped,
        .deadline_ms = deadline_ms,
    };
    store->stats.unwraps++;
    flight->call = kek_pool_submit(store->settings.pool, &request, unwrapped, flight, why);
    if (flight->call == NULL) {
        enum kek_rc rc = why->rc;
        kek_datakey_cancel(waiting);
        return rc;
    }
    *wait = waiting;
    return KEK_OK;
}

struct kek_datakey_ref *kek_datakey_in_context(struct kek_datakey_store *store,
                                               const struct kek_datakey_ref *ref,
                                               struct kek_bytes context)
{
    struct key_name name = ref->name;
    if (ref->data_key == NULL || !context_index(store, context, &name.context)) {
        return NULL;
    }
    struct kek_datakey_ref *other = new_ref(store, &name, ref->data_key, NULL);
    if (other != NULL) {
        other->born_ms = ref->born_ms;
    }
    return other;
}

bool kek_datakey_cached(const struct kek_datakey_store *store,
                        const struct kek_envelope_entry *entry, struct kek_bytes context)
{
    struct key_name name;
    uint8_t index;
    struct kek_datakey_ref *ref = NULL;
    if (context_index(store, context, &index) &&
        name_fill(&name, entry->alg, &entry->kek_id, entry->wrapped, index)) {
        HASH_FIND(hh, store->cache, &name, sizeof name, ref);
    }
    return ref != NULL;
}
