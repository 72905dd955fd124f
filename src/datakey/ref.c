/* References to data keys, and what they are known by. */
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

bool store_context_index(const struct kek_datakey_store *store, struct kek_bytes context,
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

bool name_fill(struct name *name, struct kek_bytes header, uint8_t context)
{
    if (header.len > HEADER_MAX) {
        return false;
    }
    memcpy(name->bytes, header.data, header.len);
    name->bytes[header.len] = context;
    name->len = header.len + 1;
    return true;
}

struct kek_datakey_ref *ref_new(const struct kek_datakey_store *store, struct kek_bytes name,
                                const struct kek_secret *data_key, struct kek_why *why)
{
    struct kek_datakey_ref *ref = calloc(1, sizeof *ref + name.len);
    if (ref == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a data key");
        return NULL;
    }
    ref->refs = 1;
    ref->name_len = name.len;
    memcpy(ref->name, name.data, name.len);
    ref->born_ms = kek_clock_ms();
    ref->key = kek_envelope_key_new(data_key, store_context(store, ref->name[name.len - 1]), why);
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
    free(ref);
}

struct kek_bytes ref_name(const struct kek_datakey_ref *ref)
{
    return kek_bytes(ref->name, ref->name_len);
}

struct kek_envelope_key *kek_datakey_ref_key(struct kek_datakey_ref *ref)
{
    return ref->key;
}

unsigned kek_datakey_ref_keks(const struct kek_datakey_ref *ref)
{
    return ref->keks;
}

struct kek_bytes kek_datakey_ref_header(const struct kek_datakey_ref *ref)
{
    return kek_bytes(ref->name, ref->name_len - 1);
}
