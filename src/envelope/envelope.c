#include "kek/envelope.h"

#include <string.h>

#include "iv.h"
#include "kek/text.h"
#include "suite1.h"

#define LABEL \
    "kekd/suite1" /* what the expanded key is for; the context follows (RFC 5869 section 3.2) */
#define LABEL_LEN (sizeof LABEL - 1)

struct kek_envelope_key {
    struct kek_suite1 *suite;
    struct kek_iv_pool *ivs; /* NULL until it seals */
    size_t context_len;
    uint8_t context[];
};

static struct kek_bytes own_context(const struct kek_envelope_key *key)
{
    return kek_bytes(key->context, key->context_len);
}

/* The 64-byte key of the suite, or NULL. */
static struct kek_secret *expand(const struct kek_secret *data_key, struct kek_bytes context,
                                 struct kek_why *why)
{
    uint8_t info[LABEL_LEN + KEK_ENVELOPE_CONTEXT_MAX];
    memcpy(info, LABEL, LABEL_LEN);
    if (context.len > 0) {
        memcpy(info + LABEL_LEN, context.data, context.len);
    }
    KEK_AUTO(kek_secret) expanded = kek_secret_new(SUITE1_KEY_LEN);
    if (expanded == NULL) {
        kek_fail(why, KEK_EXHAUSTED, "locked arena is full: no room for a key");
        return NULL;
    }
    enum kek_rc rc =
        kek_suite1_hkdf(kek_secret_bytes(data_key), kek_bytes(info, LABEL_LEN + context.len),
                        kek_secret_data(expanded), SUITE1_KEY_LEN, why);
    return rc == KEK_OK ? KEK_STEAL(expanded) : NULL;
}

struct kek_envelope_key *kek_envelope_key_new(const struct kek_secret *data_key,
                                              struct kek_bytes context, struct kek_why *why)
{
    size_t len = kek_secret_bytes(data_key).len;
    if (len == 0 || len % KEK_DATA_KEY_LEN != 0 ||
        len > KEK_ENVELOPE_ENTRIES_MAX * KEK_DATA_KEY_LEN) {
        kek_fail(why, KEK_INVALID, "a data key of %s: not 1 to %d times %d",
                 kek_counted(len, "byte").text, KEK_ENVELOPE_ENTRIES_MAX, KEK_DATA_KEY_LEN);
        return NULL;
    }
    if (context.len > KEK_ENVELOPE_CONTEXT_MAX) {
        kek_fail(why, KEK_INVALID, "a context of %zu bytes, at most %d may be", context.len,
                 KEK_ENVELOPE_CONTEXT_MAX);
        return NULL;
    }
    KEK_AUTO(kek_envelope_key) key = calloc(1, sizeof *key + context.len);
    if (key == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a key object");
        return NULL;
    }
    struct kek_secret *expanded = expand(data_key, context, why);
    if (expanded == NULL) {
        return NULL;
    }
    key->suite = kek_suite1_new(expanded, why);
    if (key->suite == NULL) {
        return NULL;
    }
    key->context_len = context.len;
    if (context.len > 0) {
        memcpy(key->context, context.data, context.len);
    }
    return KEK_STEAL(key);
}

void kek_envelope_key_free(struct kek_envelope_key *key)
{
    if (key == NULL) {
        return;
    }
    kek_iv_pool_free(key->ivs);
    kek_suite1_free(key->suite);
    free(key);
}

/* What could be sealed but never opened again is refused here. */
static enum kek_rc check_sealable(const struct kek_envelope_key *key, struct kek_bytes header,
                                  struct kek_bytes context, struct kek_bytes plaintext,
                                  struct kek_why *why)
{
    if (plaintext.len < 1 || plaintext.len > KEK_ENVELOPE_PLAINTEXT_MAX) {
        return kek_fail(why, KEK_INVALID, "a plaintext of %zu bytes, 1 to %u may be", plaintext.len,
                        KEK_ENVELOPE_PLAINTEXT_MAX);
    }
    KEK_UNFILLED struct kek_envelope parsed;
    if (kek_envelope_parse_header(header, &parsed, why) != KEK_OK) {
        return kek_fail_within(why, KEK_INVALID, "cannot seal under this header");
    }
    if (!kek_bytes_equal(context, own_context(key))) {
        return kek_fail(why, KEK_INVALID, "the context is not the one of the key");
    }
    return KEK_OK;
}

static bool take_iv(struct kek_envelope_key *key, uint8_t iv[static ENVELOPE_IV_LEN])
{
    if (key->ivs == NULL) {
        key->ivs = kek_iv_pool_new();
    }
    return key->ivs != NULL && kek_iv_take(key->ivs, iv);
}

enum kek_rc kek_envelope_seal(struct kek_envelope_key *key, struct kek_bytes header,
                              struct kek_bytes context, struct kek_bytes plaintext,
                              struct kek_buf *sealed, struct kek_why *why)
{
    enum kek_rc rc = check_sealable(key, header, context, plaintext, why);
    if (rc != KEK_OK) {
        return rc;
    }
    size_t len = kek_envelope_sealed_len(header.len, plaintext.len);
    KEK_UNFILLED struct kek_why mine;
    why = why == NULL ? &mine : why;
    uint8_t *out = kek_buf_reserve(sealed, len, why);
    if (out == NULL) {
        return why->rc;
    }
    memcpy(out, header.data, header.len);
    uint8_t *iv = out + header.len;
    if (!take_iv(key, iv)) {
        return kek_fail(why, KEK_INTERNAL, "no random bytes for an IV");
    }
    struct kek_suite1_aad aad = {.header = header, .context = context};
    rc = kek_suite1_encrypt(key->suite, &aad, iv, plaintext, iv + ENVELOPE_IV_LEN,
                            out + len - ENVELOPE_TAG_LEN, why);
    if (rc != KEK_OK) {
        return rc;
    }
    sealed->len += len;
    return KEK_OK;
}

enum kek_rc kek_envelope_open(struct kek_envelope_key *key, const struct kek_envelope *envelope,
                              struct kek_bytes context, struct kek_secret **plaintext,
                              struct kek_why *why)
{
    if (envelope->iv.len != ENVELOPE_IV_LEN || envelope->tag.len != ENVELOPE_TAG_LEN) {
        return kek_fail(why, KEK_DAMAGED, "not a parsed envelope");
    }
    struct kek_suite1_aad aad = {.header = envelope->header, .context = context};
    return kek_suite1_decrypt(key->suite, &aad, envelope->iv.data, envelope->ciphertext,
                              envelope->tag.data, plaintext, why);
}
