/*
 * What was found damaged a moment ago.  An API server asks for a damaged object again and again, and each time
 * costs an unwrap, whose data key is never kept, and a check of the worker that said so.
 */
#include "datakey/store.h"

#include <string.h>

#include <openssl/evp.h>

#include "kek/clock.h"

#define REMEMBERED_MS 30000u

/* The ciphertext and the context that it was tried in. False: no memory. */
static bool digest(struct kek_bytes sealed, uint8_t context, uint8_t sum[static 32])
{
    EVP_MD_CTX *hash = EVP_MD_CTX_new();
    bool made = hash != NULL && EVP_DigestInit_ex(hash, EVP_sha256(), NULL) == 1 &&
                EVP_DigestUpdate(hash, &context, sizeof context) == 1 &&
                EVP_DigestUpdate(hash, sealed.data, sealed.len) == 1 &&
                EVP_DigestFinal_ex(hash, sum, NULL) == 1;
    EVP_MD_CTX_free(hash);
    return made;
}

void kek_datakey_note_damaged(struct kek_datakey_store *store, struct kek_bytes sealed,
                              uint8_t context)
{
    struct damaged *place = &store->damaged[store->damaged_next % DAMAGED_MAX];
    if (!store_strict(store) && digest(sealed, context, place->sum)) {
        place->until_ms = kek_clock_ms() + REMEMBERED_MS;
        store->damaged_until_ms = place->until_ms;
        store->damaged_next++;
    }
}

bool kek_datakey_is_damaged(const struct kek_datakey_store *store, struct kek_bytes sealed,
                            uint8_t context)
{
    uint8_t sum[32];
    if (store->damaged_until_ms == 0) {
        return false;
    }
    uint64_t now = kek_clock_ms();
    if (now >= store->damaged_until_ms || !digest(sealed, context, sum)) {
        return false;
    }
    for (size_t i = 0; i < DAMAGED_MAX; i++) {
        const struct damaged *damaged = &store->damaged[i];
        if (now < damaged->until_ms && memcmp(damaged->sum, sum, sizeof sum) == 0) {
            return true;
        }
    }
    return false;
}

void damaged_forget(struct kek_datakey_store *store)
{
    memset(store->damaged, 0, sizeof store->damaged);
    store->damaged_until_ms = 0;
}
