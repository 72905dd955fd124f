/*
 * A version's witness: a small envelope whose data key one KEK wrapped.  A worker that opens it uses that very
 * key; one that cannot uses another under the same name.  AES-CBC opens anything to something, and the
 * envelope's tag tells.
 */
#include "keyring/ring.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

/* Witnesses have a context of their own, so that no cluster's ciphertext passes for one. */
static const char witness_context[] = "kekd/witness/1";
static const char witness_text[] = "kekd";

/* Of a witness and a data key. False: no memory. */
static bool digest(const struct version *version, const struct kek_secret *data_key,
                   uint8_t sum[static 32])
{
    uint8_t input[KEK_DATA_KEY_LEN + WITNESS_MAX];
    struct kek_bytes key = kek_secret_bytes(data_key);
    if (key.len != KEK_DATA_KEY_LEN) {
        return false;
    }
    memcpy(input, key.data, KEK_DATA_KEY_LEN);
    memcpy(input + KEK_DATA_KEY_LEN, version->witness, version->witness_len);
    bool made = EVP_Digest(input, KEK_DATA_KEY_LEN + version->witness_len, sum, NULL, EVP_sha256(),
                           NULL) == 1;
    kek_wipe(input, KEK_DATA_KEY_LEN);
    return made;
}

static enum kek_rc open_envelope(const struct version *version, const struct kek_secret *data_key)
{
    struct kek_envelope envelope;
    struct kek_why why;
    struct kek_bytes context = kek_bytes_of(witness_context);
    KEK_AUTO(kek_envelope_key) key = kek_envelope_key_new(data_key, context, &why);
    KEK_AUTO(kek_secret) text = NULL;
    if (key == NULL) {
        return why.rc;
    }
    enum kek_rc rc =
        kek_envelope_parse(kek_bytes(version->witness, version->witness_len), &envelope, &why);
    return rc != KEK_OK ? rc : kek_envelope_open(key, &envelope, context, &text, &why);
}

bool witness_wrapped(const struct version *version, enum kek_wrap_alg *alg,
                     struct kek_bytes *wrapped)
{
    struct kek_envelope envelope;
    struct kek_bytes sealed = kek_bytes(version->witness, version->witness_len);
    if (sealed.len == 0 || kek_envelope_parse(sealed, &envelope, NULL) != KEK_OK) {
        return false;
    }
    *alg = envelope.entries[0].alg;
    *wrapped = envelope.entries[0].wrapped;
    return true;
}

bool kek_keyring_witness(const struct kek_keyring *ring, const struct kek_id *kek_id,
                         enum kek_wrap_alg *alg, struct kek_bytes *wrapped)
{
    const struct version *version = version_find(ring, kek_id);
    return version != NULL && witness_wrapped(version, alg, wrapped);
}

enum kek_rc kek_keyring_proves(struct kek_keyring *ring, const struct kek_id *kek_id,
                               const struct kek_secret *data_key)
{
    struct version *version = version_find(ring, kek_id);
    return version == NULL || version->witness_len == 0 ? KEK_NOT_FOUND
                                                        : witness_open(version, data_key);
}

/* In strict mode each lone Encrypt brings a witness.  What opened it before is known by a digest, which takes a tenth of
 * the time. */
enum kek_rc witness_open(struct version *version, const struct kek_secret *data_key)
{
    uint8_t sum[32];
    bool made = digest(version, data_key, sum);
    if (made && CRYPTO_memcmp(sum, version->opened_by, sizeof sum) == 0) {
        return KEK_OK;
    }
    enum kek_rc rc = open_envelope(version, data_key);
    if (made && rc == KEK_OK) {
        memcpy(version->opened_by, sum, sizeof sum);
    }
    return rc;
}

enum kek_rc witness_seal(struct version *version, const struct kek_secret *data_key,
                         enum kek_wrap_alg alg, struct kek_bytes wrapped, struct kek_why *why)
{
    struct kek_envelope_entry entry = {.alg = alg, .kek_id = version->id, .wrapped = wrapped};
    struct kek_bytes context = kek_bytes_of(witness_context);
    KEK_AUTO_BUF struct kek_buf header;
    kek_buf_init(&header, WITNESS_MAX);
    KEK_AUTO_BUF struct kek_buf sealed;
    kek_buf_init(&sealed, WITNESS_MAX);
    KEK_AUTO(kek_envelope_key) key = kek_envelope_key_new(data_key, context, why);
    if (key == NULL) {
        return why->rc;
    }
    enum kek_rc rc = kek_envelope_header(KEK_ENVELOPE_MODE_ANY, &entry, 1, &header, why);
    if (rc == KEK_OK) {
        rc = kek_envelope_seal(key, kek_buf_bytes(&header), context, kek_bytes_of(witness_text),
                               &sealed, why);
    }
    if (rc == KEK_OK) {
        memcpy(version->witness, sealed.data, sealed.len);
        version->witness_len = sealed.len;
        version->witness_alg = alg;
    }
    return rc;
}
