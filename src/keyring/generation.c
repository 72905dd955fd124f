/* What a data key is sealed under, and the name that the API server knows it by. */
#include "keyring/ring.h"

#include <string.h>

#include <openssl/evp.h>

#include "kek/digest.h"

bool kek_generation_equal(const struct kek_generation *a, const struct kek_generation *b)
{
    return a->mode == b->mode && a->count == b->count &&
           memcmp(a->kek_ids, b->kek_ids, a->count * sizeof a->kek_ids[0]) == 0;
}

enum kek_rc kek_key_id(struct kek_bytes context, uint8_t mode, const struct kek_id *kek_ids,
                       size_t count, char key_id[static KEK_KEY_ID_TEXT], struct kek_why *why)
{
    static const char domain[] = "kekd/key_id/1";
    uint8_t input[sizeof domain + 2 + KEK_ENVELOPE_CONTEXT_MAX + 1 +
                  KEK_ENVELOPE_ENTRIES_MAX * KEK_ID_LEN];
    uint8_t digest[32];
    size_t at = sizeof domain - 1;
    size_t len = context.len <= KEK_ENVELOPE_CONTEXT_MAX ? context.len : KEK_ENVELOPE_CONTEXT_MAX;

    memcpy(input, domain, at);
    input[at++] = (uint8_t)(len >> 8);
    input[at++] = (uint8_t)len;
    if (len > 0) {
        memcpy(input + at, context.data, len);
    }
    at += len;
    input[at++] = mode;
    for (size_t i = 0; i < count && i < KEK_ENVELOPE_ENTRIES_MAX; i++) {
        memcpy(input + at, kek_ids[i].bytes, KEK_ID_LEN);
        at += KEK_ID_LEN;
    }
    if (EVP_Digest(input, at, digest, NULL, EVP_sha256(), NULL) != 1) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to work out a key_id");
    }
    memcpy(key_id, "kek1-", 5);
    kek_hex(kek_bytes(digest, 16), key_id + 5);
    return KEK_OK;
}

void kek_key_id_hash(const char *key_id, char text[static KEK_KEY_ID_HASH_TEXT])
{
    memcpy(text, "sha256:", 8);
    (void)!kek_sha256_text(kek_bytes_of(key_id), text + 7);
}

void generation_of(const struct version *version, struct kek_generation *generation)
{
    *generation = (struct kek_generation){.mode = KEK_ENVELOPE_MODE_ANY, .count = 1};
    generation->kek_ids[0] = version->id;
    generation->numbers[0] = version->number;
    memcpy(generation->key_id, version->key_id, sizeof generation->key_id);
}
