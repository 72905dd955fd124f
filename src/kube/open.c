/*
 * Does an object open?  As the API server reads it: k8s.io/apiserver pkg/storage/value/encrypt/aes and
 * envelope.  A plaintext passes through one small buffer here, which is wiped, and goes nowhere.
 */
#include "kek/kube.h"

#include <string.h>

#include <openssl/evp.h>

#include "secretbox.h"

#define NONCE_LEN 12
#define TAG_LEN 16
#define BLOCK_LEN 16
#define INFO_LEN 32
#define KEY_LEN 32
#define PIECE_LEN 4096 /* of plaintext at a time; whole blocks */

struct opening {
    EVP_CIPHER_CTX *cipher;
    struct kek_bytes key;
    struct kek_bytes aad;
    uint8_t first[4];         /* the plaintext's; zeros where it is shorter */
    uint8_t last[BLOCK_LEN];  /* the last block, padding included (CBC) */
    uint8_t piece[PIECE_LEN]; /* what is being decrypted */
};

/* Go's aes.NewCipher() takes these lengths and no other. */
static const EVP_CIPHER *cipher_for(size_t key_len, bool gcm)
{
    switch (key_len) {
    case 16:
        return gcm ? EVP_aes_128_gcm() : EVP_aes_128_cbc();
    case 24:
        return gcm ? EVP_aes_192_gcm() : EVP_aes_192_cbc();
    case 32:
        return gcm ? EVP_aes_256_gcm() : EVP_aes_256_cbc();
    default:
        return NULL;
    }
}

/* A piece at a time into the one buffer; all there is to keep is the beginning and the last block. */
static bool decrypt_through(struct opening *opening, struct kek_bytes ciphertext)
{
    for (size_t done = 0; done < ciphertext.len;) {
        size_t len = ciphertext.len - done < PIECE_LEN ? ciphertext.len - done : PIECE_LEN;
        int written = 0;
        if (EVP_DecryptUpdate(opening->cipher, opening->piece, &written, ciphertext.data + done,
                              (int)len) != 1 ||
            (size_t)written != len) {
            return false;
        }
        if (done == 0) {
            memcpy(opening->first, opening->piece, len < 4 ? len : 4);
        }
        if (len >= BLOCK_LEN) {
            memcpy(opening->last, opening->piece + len - BLOCK_LEN, BLOCK_LEN);
        }
        done += len;
    }
    return true;
}

/* nonce | ciphertext | tag */
static enum kek_rc open_gcm(struct opening *opening, struct kek_bytes data)
{
    const EVP_CIPHER *aes = cipher_for(opening->key.len, true);
    if (aes == NULL || data.len < NONCE_LEN + TAG_LEN) {
        return KEK_DAMAGED;
    }
    struct kek_bytes ciphertext = kek_bytes(data.data + NONCE_LEN, data.len - NONCE_LEN - TAG_LEN);
    uint8_t tag[TAG_LEN];
    memcpy(tag, ciphertext.data + ciphertext.len, TAG_LEN);
    int written = 0;
    if (EVP_DecryptInit_ex(opening->cipher, aes, NULL, opening->key.data, data.data) != 1 ||
        EVP_DecryptUpdate(opening->cipher, NULL, &written, opening->aad.data,
                          (int)opening->aad.len) != 1 ||
        !decrypt_through(opening, ciphertext) ||
        EVP_CIPHER_CTX_ctrl(opening->cipher, EVP_CTRL_AEAD_SET_TAG, TAG_LEN, tag) != 1) {
        return KEK_INTERNAL;
    }
    return EVP_DecryptFinal_ex(opening->cipher, opening->piece, &written) == 1 ? KEK_OK
                                                                               : KEK_DAMAGED;
}

/* PKCS#7, and what the API server stores: nothing else tells a right key, CBC has no tag. */
static bool is_padded_object(const struct opening *opening)
{
    uint8_t padding = opening->last[BLOCK_LEN - 1];
    if (padding < 1 || padding > BLOCK_LEN) {
        return false;
    }
    for (size_t i = BLOCK_LEN - padding; i < BLOCK_LEN; i++) {
        if (opening->last[i] != padding) {
            return false;
        }
    }
    static const uint8_t cbor[] = {0xd9, 0xd9, 0xf7}; /* RFC 8949 section 3.4.6 */
    return opening->first[0] == '{' || memcmp(opening->first, "k8s", 4) == 0 ||
           memcmp(opening->first, cbor, sizeof cbor) == 0;
}

/* IV | ciphertext, padded: aescbc, and what KMS v1 wrote up to Kubernetes 1.24 */
static enum kek_rc open_cbc(struct opening *opening, struct kek_bytes data)
{
    const EVP_CIPHER *aes = cipher_for(opening->key.len, false);
    if (aes == NULL || data.len < 2 * BLOCK_LEN || data.len % BLOCK_LEN != 0) {
        return KEK_DAMAGED;
    }
    struct kek_bytes ciphertext = kek_bytes(data.data + BLOCK_LEN, data.len - BLOCK_LEN);
    if (EVP_DecryptInit_ex(opening->cipher, aes, NULL, opening->key.data, data.data) != 1 ||
        EVP_CIPHER_CTX_set_padding(opening->cipher, 0) != 1 ||
        !decrypt_through(opening, ciphertext)) {
        return KEK_INTERNAL;
    }
    return is_padded_object(opening) ? KEK_OK : KEK_DAMAGED;
}

/* info | nonce | ciphertext | tag under T(1) = HMAC-SHA-256(seed, info | 0x01): RFC 5869 section 2.3 */
static enum kek_rc open_seeded(struct opening *opening, struct kek_bytes data)
{
    if (opening->key.len < KEY_LEN || data.len < INFO_LEN) {
        return KEK_DAMAGED;
    }
    uint8_t info[INFO_LEN + 1];
    memcpy(info, data.data, INFO_LEN);
    info[INFO_LEN] = 1;
    KEK_AUTO(kek_secret) derived = kek_secret_new(KEY_LEN);
    if (derived == NULL) {
        return KEK_EXHAUSTED;
    }
    size_t written = 0;
    if (EVP_Q_mac(NULL, "HMAC", NULL, "SHA256", NULL, opening->key.data, opening->key.len, info,
                  sizeof info, kek_secret_data(derived), KEY_LEN, &written) == NULL ||
        written != KEY_LEN) {
        return KEK_INTERNAL;
    }
    opening->key = kek_secret_bytes(derived);
    return open_gcm(opening, kek_bytes(data.data + INFO_LEN, data.len - INFO_LEN));
}

static enum kek_rc open_with(struct opening *opening, const struct kek_kube_stored *stored)
{
    switch (stored->kind) {
    case KEK_KUBE_AESCBC:
        return open_cbc(opening, stored->data);
    case KEK_KUBE_AESGCM:
        return open_gcm(opening, stored->data);
    case KEK_KUBE_SECRETBOX:
        return secretbox_opens(opening->key, stored->data);
    default:
        break;
    }
    if (stored->source_type == KEK_KUBE_SOURCE_SEED) {
        return open_seeded(opening, stored->data);
    }
    enum kek_rc rc = open_gcm(opening, stored->data);
    if (rc == KEK_DAMAGED && stored->kind == KEK_KUBE_KMS_V1) {
        return open_cbc(opening, stored->data);
    }
    return rc;
}

/* One text for each code: whoever may change values in etcd learns no more of it. */
static enum kek_rc say(enum kek_rc rc, struct kek_why *why)
{
    switch (rc) {
    case KEK_OK:
        return KEK_OK;
    case KEK_DAMAGED:
        return kek_fail(why, rc, "the object does not open under its key");
    case KEK_EXHAUSTED:
        return kek_fail(why, rc, "locked arena is full: no room for an object's key");
    default:
        return kek_fail(why, rc, "AES, HMAC-SHA-256 or Poly1305 failed in OpenSSL");
    }
}

enum kek_rc kek_kube_open(const struct kek_kube_stored *stored, struct kek_bytes etcd_key,
                          const struct kek_secret *key, struct kek_why *why)
{
    if (stored->kind == KEK_KUBE_PLAIN || stored->kind == KEK_KUBE_UNKNOWN) {
        return kek_fail(why, KEK_INVALID, "the object is under no key, but %s",
                        kek_kube_kind_name(stored->kind));
    }
    if (etcd_key.len > INT32_MAX) {
        return kek_fail(why, KEK_INVALID, "an etcd key of %zu bytes", etcd_key.len);
    }
    KEK_UNFILLED struct opening opening;
    memset(opening.first, 0, sizeof opening.first);
    opening.key = kek_secret_bytes(key);
    opening.aad = etcd_key;
    opening.cipher = EVP_CIPHER_CTX_new();
    if (opening.cipher == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory for a cipher context");
    }
    enum kek_rc rc = open_with(&opening, stored);
    EVP_CIPHER_CTX_free(opening.cipher);
    kek_wipe(&opening, sizeof opening);
    return say(rc, why);
}
