/* The keys to open with: bounded, least recently used first out, each for a time from its unwrap on. */
#include "datakey/store.h"

#include <string.h>

#include "kek/clock.h"

#define KNOWN_MAX 16 /* KEKs whose answer is remembered while the whole cache is looked through */

/* What the keyring says of the KEKs met so far: a cache of thousands of keys has a few. */
struct known {
    size_t count;
    struct {
        struct kek_id kek_id;
        bool opens;
    } of[KNOWN_MAX];
};

static bool kek_opens(const struct kek_datakey_store *store, const struct kek_id *kek_id,
                      struct known *known)
{
    for (size_t i = 0; i < known->count; i++) {
        if (kek_id_equal(&known->of[i].kek_id, kek_id)) {
            return known->of[i].opens;
        }
    }
    struct kek_keyring *ring = kek_roots_of(store->settings.roots, kek_id)->ring;
    bool opens = kek_keyring_find(ring, kek_id) == KEK_KEYRING_OPENS;
    if (known->count < KNOWN_MAX) {
        known->of[known->count].kek_id = *kek_id;
        known->of[known->count++].opens = opens;
    }
    return opens;
}

/* Might the key be unwrapped now?  In mode `any` one KEK is enough, in mode `all` each is needed. */
static bool may_open(const struct kek_datakey_store *store, const struct kek_datakey_ref *ref,
                     struct known *known)
{
    struct kek_envelope header;
    if (kek_envelope_parse_header(kek_datakey_ref_header(ref), &header, NULL) != KEK_OK) {
        return false;
    }
    bool all = header.mode == KEK_ENVELOPE_MODE_ALL;
    for (size_t i = 0; i < header.count; i++) {
        if (kek_opens(store, &header.entries[i].kek_id, known) != all) {
            return !all;
        }
    }
    return all;
}

static void drop(struct kek_datakey_store *store, struct kek_datakey_ref *ref)
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

struct kek_datakey_ref *cache_get(struct kek_datakey_store *store, const struct name *name)
{
    struct kek_datakey_ref *ref = NULL;
    HASH_FIND(hh, store->cache, name->bytes, name->len, ref);
    if (ref == NULL) {
        return NULL;
    }
    if (expired(store, ref)) {
        drop(store, ref);
        return NULL;
    }
    if (ref->next != NULL) {
        DL_DELETE(store->by_use, ref);
        DL_APPEND(store->by_use, ref);
    }
    return ref;
}

bool cache_has(const struct kek_datakey_store *store, const struct name *name)
{
    struct kek_datakey_ref *ref = NULL;
    HASH_FIND(hh, store->cache, name->bytes, name->len, ref);
    return ref != NULL;
}

void cache_put(struct kek_datakey_store *store, struct kek_datakey_ref *ref)
{
    struct kek_datakey_ref *there = NULL;
    struct known known = {0};
    size_t limit = store->settings.config->data_key.cache_entries;
    if (store_strict(store) || store->stopped || ref->cached || limit == 0 || expired(store, ref)) {
        return;
    }
    /* The unwrap may have come back after its KEK lost that ability and the cache was looked through. */
    if (!may_open(store, ref, &known)) {
        return;
    }
    HASH_FIND(hh, store->cache, ref->name, ref->name_len, there);
    if (there != NULL) {
        return;
    }
    while (store->stats.cache_entries >= limit) {
        drop(store, store->by_use);
        store->stats.cache_evictions++;
    }
    HASH_ADD_KEYPTR(hh, store->cache, ref->name, ref->name_len, ref);
    if (ref->hh.tbl == NULL) {
        return; /* out of memory: it is simply not cached */
    }
    DL_APPEND(store->by_use, ref);
    ref->cached = true;
    ref_share(ref);
    store->stats.cache_entries++;
}

/* Old keys leave memory even if nobody asks for them again. */
void cache_sweep(struct kek_datakey_store *store)
{
    struct kek_datakey_ref *ref, *next;
    store->swept_ms = kek_clock_ms();
    DL_FOREACH_SAFE (store->by_use, ref, next) {
        if (expired(store, ref)) {
            drop(store, ref);
        }
    }
}

void cache_review(struct kek_datakey_store *store)
{
    struct kek_datakey_ref *ref, *next;
    struct known known = {0};
    DL_FOREACH_SAFE (store->by_use, ref, next) {
        if (!may_open(store, ref, &known)) {
            drop(store, ref);
        }
    }
}

void cache_clear(struct kek_datakey_store *store)
{
    while (store->by_use != NULL) {
        drop(store, store->by_use);
    }
}
