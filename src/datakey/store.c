/* References to data keys, and the cache of those that open. */
#include "datakey/store.h"

#include <string.h>

#include "kek/clock.h"

bool store_strict(const struct kek_datakey_store *store)
{
    return store->settings.config->data_key.max_uses == 1;
}

struct kek_bytes store_context(const struct kek_datakey_store *store, uint8_t context)
{
    const struct kek_config *config = store->settings.config;
    return kek_bytes_of(context == 0 ? config->context : config->context_accept[context - 1]);
}

bool name_fill(struct key_name *name, enum kek_wrap_alg alg, const struct kek_id *kek_id,
               struct kek_bytes blob, uint8_t context)
{
    if (blob.len > BLOB_MAX) {
        return false;
    }
    memset(name, 0, sizeof *name);
    name->context = context;
    name->alg = (uint8_t)alg;
    name->blob_len = (uint8_t)blob.len;
    memcpy(name->kek_id, kek_id->bytes, KEK_ID_LEN);
    memcpy(name->blob, blob.data, blob.len);
    return true;
}

struct kek_datakey_ref *ref_new(struct kek_datakey_store *store, const struct key_name *name,
                                const struct kek_secret *data_key, struct kek_why *why)
{
    struct kek_datakey_ref *ref = calloc(1, sizeof *ref);
    if (ref == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a data key");
        return NULL;
    }
    ref->refs = 1;
    ref->name = *name;
    ref->born_ms = kek_clock_ms();
    kek_buf_init(&ref->header, 256);
    ref->key = kek_envelope_key_new(data_key, store_context(store, name->context), why);
    if (ref->key == NULL) {
        kek_datakey_ref_free(ref);
        return NULL;
    }
    return ref;
}

struct kek_datakey_ref *ref_share(struct kek_datakey_ref *ref)
{
    ref->refs++;
    return ref;
}

void kek_datakey_ref_free(struct kek_datakey_ref *ref)
{
    if (ref == NULL || --ref->refs > 0) {
        return;
    }
    kek_envelope_key_free(ref->key);
    kek_secret_free(ref->data_key);
    kek_buf_done(&ref->header);
    free(ref);
}

struct kek_envelope_key *kek_datakey_ref_key(struct kek_datakey_ref *ref)
{
    return ref->key;
}

struct kek_bytes kek_datakey_ref_header(const struct kek_datakey_ref *ref)
{
    return kek_buf_bytes(&ref->header);
}

/* ---- the cache ---- */

static void cache_drop(struct kek_datakey_store *store, struct kek_datakey_ref *ref)
{
    HASH_DEL(store->cache, ref);
    DL_DELETE(store->by_use, ref);
    ref->cached = false;
    store->stats.cache_entries--;
    kek_datakey_ref_free(ref);
}

static bool expired(const struct kek_datakey_store *store, const struct kek_datakey_ref *ref)
{
    return kek_clock_ms() - ref->born_ms >= store->settings.config->data_key.cache_ttl_ms;
}

struct kek_datakey_ref *cache_get(struct kek_datakey_store *store, const struct key_name *name)
{
    struct kek_datakey_ref *ref = NULL;
    HASH_FIND(hh, store->cache, name, sizeof *name, ref);
    if (ref == NULL) {
        return NULL;
    }
    if (expired(store, ref)) {
        cache_drop(store, ref);
        return NULL;
    }
    if (ref->next != NULL) {
        DL_DELETE(store->by_use, ref);
        DL_APPEND(store->by_use, ref);
    }
    return ref;
}

/* Old keys leave memory even if nobody asks for them again. */
static void sweep(struct kek_datakey_store *store)
{
    struct kek_datakey_ref *ref, *next;
    store->swept_ms = kek_clock_ms();
    DL_FOREACH_SAFE (store->by_use, ref, next) {
        if (expired(store, ref)) {
            cache_drop(store, ref);
        }
    }
}

void cache_put(struct kek_datakey_store *store, struct kek_datakey_ref *ref)
{
    struct kek_datakey_ref *there = NULL;
    size_t limit = store->settings.config->data_key.cache_entries;
    if (store_strict(store) || store->stopped || ref->cached || limit == 0 || expired(store, ref)) {
        return;
    }
    /* The unwrap may have come back after its KEK lost that ability and the cache was purged. */
    struct kek_id kek_id;
    memcpy(kek_id.bytes, ref->name.kek_id, KEK_ID_LEN);
    if (kek_keyring_find(store->settings.ring, &kek_id) != KEK_KEYRING_OPENS) {
        return;
    }
    HASH_FIND(hh, store->cache, &ref->name, sizeof ref->name, there);
    if (there != NULL) {
        return;
    }
    while (store->stats.cache_entries >= limit) {
        cache_drop(store, store->by_use);
        store->stats.cache_evictions++;
    }
    HASH_ADD(hh, store->cache, name, sizeof ref->name, ref);
    if (ref->hh.tbl == NULL) {
        return; /* out of memory: it is simply not cached */
    }
    DL_APPEND(store->by_use, ref);
    ref->cached = true;
    ref_share(ref);
    store->stats.cache_entries++;
}

void cache_purge(struct kek_datakey_store *store, const struct kek_id *kek_id)
{
    struct kek_datakey_ref *ref, *next;
    DL_FOREACH_SAFE (store->by_use, ref, next) {
        if (kek_id == NULL || memcmp(ref->name.kek_id, kek_id->bytes, KEK_ID_LEN) == 0) {
            cache_drop(store, ref);
        }
    }
}

void kek_datakey_verified(struct kek_datakey_store *store, struct kek_datakey_ref *ref)
{
    kek_secret_free(ref->data_key);
    ref->data_key = NULL;
    cache_put(store, ref);
}

void kek_datakey_lost_unwrap(struct kek_datakey_store *store, const struct kek_id *kek_id)
{
    cache_purge(store, kek_id);
    kek_datakey_lost_wrap(store, kek_id);
}

/* ---- life ---- */

static void tend_due(uv_timer_t *timer)
{
    struct kek_datakey_store *store = timer->data;
    if (kek_clock_ms() - store->swept_ms >= SWEEP_MS) {
        sweep(store);
    }
    sealing_tend(store);
}

struct kek_datakey_store *kek_datakey_store_new(uv_loop_t *loop,
                                                const struct kek_datakey_settings *settings,
                                                struct kek_why *why)
{
    struct kek_datakey_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the data keys");
        return NULL;
    }
    store->settings = *settings;
    store->swept_ms = kek_clock_ms();
    uv_timer_init(loop, &store->timer); /* never fails */
    store->timer.data = store;
    uv_timer_start(&store->timer, tend_due, TEND_MS, TEND_MS);
    return store;
}

void kek_datakey_store_stop(struct kek_datakey_store *store)
{
    struct kek_why why;
    if (store->stopped) {
        return;
    }
    store->stopped = true;
    uv_close((uv_handle_t *)&store->timer, NULL);
    sealing_stop(store);
    kek_fail(&why, KEK_UNAVAILABLE, "kekd is stopping");
    while (store->flights != NULL) {
        flight_land(store->flights, KEK_UNAVAILABLE, NULL, &why);
    }
    cache_purge(store, NULL);
}

void kek_datakey_store_free(struct kek_datakey_store *store)
{
    free(store);
}

void kek_datakey_stats(const struct kek_datakey_store *store, struct kek_datakey_stats *stats)
{
    *stats = store->stats;
}
