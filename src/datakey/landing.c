/* How an opening ends: with a reference for all who wait, or a failure. */
#include "datakey/opening.h"

#include <string.h>

void opening_end(struct flight *flight)
{
    struct opening *opening = (struct opening *)flight;
    for (size_t i = 0; i < opening->header.count; i++) {
        unwrap_end(&opening->legs[i]);
        kek_secret_free(opening->shares[i]);
    }
    if (opening->shared != NULL) {
        HASH_DEL(*opening->shared, opening);
    }
    free(opening->legs);
    free(opening);
}

void opening_fail(struct opening *opening, enum kek_rc rc, const struct kek_why *why)
{
    opening->why = *why; /* it may live in a leg */
    flight_land(&opening->flight, rc, NULL, &opening->why);
}

struct kek_datakey_ref *opening_ref(const struct kek_datakey_store *store, struct kek_bytes name,
                                    const struct kek_secret *data_key, struct kek_why *why)
{
    struct kek_datakey_ref *ref = ref_new(store, name, data_key, why);
    if (ref != NULL && store->settings.config->context_accept[0] != NULL) {
        ref->data_key = kek_secret_dup(kek_secret_bytes(data_key));
    }
    return ref;
}

void opening_land(struct opening *opening, const struct kek_secret *data_key, size_t entry)
{
    struct kek_why why;
    KEK_AUTO(kek_datakey_ref)
    ref = opening_ref(opening->flight.store, kek_bytes(opening->name, opening->name_len), data_key,
                      &why);
    if (ref == NULL) {
        opening_fail(opening, why.rc, &why);
        return;
    }
    for (size_t i = 0; i < opening->header.count; i++) {
        ref->sources.of[i] = opening->legs[i].source;
    }
    ref->sources.entry = (uint8_t)entry;
    ref->keks = opening->header.mode == KEK_ENVELOPE_MODE_ALL
                    ? (uint8_t)((1u << opening->header.count) - 1)
                    : (uint8_t)(1u << entry);
    ref->sources.damaged = (uint8_t)opening->damaged;
    flight_land(&opening->flight, KEK_OK, ref, NULL);
}
