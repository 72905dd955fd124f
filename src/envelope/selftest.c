#include "kek/envelope.h"

#include <string.h>

#include <openssl/evp.h>

#include "suite1.h"

#define TEXT "kekd"
#define TEXT_LEN 4
#define SEALED_LEN (ENVELOPE_BLOCK_LEN + ENVELOPE_TAG_LEN)

/* "kekd" under the data key 00 01 .. 1f, an IV of zeros and no context: ciphertext, tag.  Made with
 * Python's hmac and openssl enc. */
static const uint8_t expected_sealed[SEALED_LEN] = {
    0xd2, 0x95, 0x94, 0xd0, 0xab, 0x5a, 0x88, 0xc5, 0xee, 0x72, 0xed, 0x90, 0xa4, 0x7f, 0x35, 0x33,
    0x34, 0xf0, 0x2c, 0x64, 0xf0, 0x57, 0x8a, 0xc1, 0x5c, 0x47, 0x53, 0xfb, 0x4d, 0xc9, 0x9d, 0x01,
    0x7a, 0x2d, 0x50, 0xed, 0xcb, 0x1b, 0xb0, 0xb3, 0x1b, 0xaf, 0x29, 0x1d, 0x70, 0xec, 0x3f, 0xd4,
};
static const uint8_t expected_sha256[32] = {
    0x8f, 0x8e, 0xd5, 0xf6, 0x97, 0x2f, 0x7e, 0xad, 0xa9, 0xed, 0x54, 0x0b, 0xeb, 0xaa, 0xba, 0x93,
    0x17, 0xc8, 0x66, 0x9b, 0x87, 0x34, 0xfc, 0x9d, 0x28, 0x69, 0x51, 0x68, 0x45, 0xef, 0xff, 0x50,
};

/* The suite of that data key. NULL: why says why. */
static struct kek_suite1 *expanded(struct kek_why *why)
{
    uint8_t data_key[KEK_DATA_KEY_LEN];
    for (size_t i = 0; i < sizeof data_key; i++) {
        data_key[i] = (uint8_t)i;
    }
    KEK_AUTO(kek_secret) key = kek_secret_new(SUITE1_KEY_LEN);
    if (key == NULL) {
        kek_fail(why, KEK_EXHAUSTED, "locked arena is full: no room for a key");
        return NULL;
    }
    if (kek_suite1_hkdf(kek_bytes(data_key, sizeof data_key), kek_bytes_of("kekd/suite1"),
                        kek_secret_data(key), SUITE1_KEY_LEN, why) != KEK_OK) {
        return NULL;
    }
    return kek_suite1_new(KEK_STEAL(key), why);
}

enum kek_rc kek_envelope_self_test(struct kek_why *why)
{
    static const uint8_t iv[ENVELOPE_IV_LEN];
    struct kek_why mine;
    why = why == NULL ? &mine : why;
    const struct kek_suite1_aad aad = {{NULL, 0}, {NULL, 0}};
    struct kek_bytes text = kek_bytes(TEXT, TEXT_LEN);
    KEK_AUTO(kek_suite1) suite = expanded(why);
    if (suite == NULL) {
        return why->rc;
    }
    uint8_t sealed[SEALED_LEN], digest[32];
    enum kek_rc rc =
        kek_suite1_encrypt(suite, &aad, iv, text, sealed, sealed + ENVELOPE_BLOCK_LEN, why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (memcmp(sealed, expected_sealed, sizeof sealed) != 0) {
        return kek_fail(why, KEK_INTERNAL, "OpenSSL computes A256CBC-HS512 or HKDF wrongly");
    }
    KEK_AUTO(kek_secret) opened = NULL;
    rc = kek_suite1_decrypt(suite, &aad, iv, kek_bytes(sealed, ENVELOPE_BLOCK_LEN),
                            sealed + ENVELOPE_BLOCK_LEN, &opened, why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (!kek_bytes_equal(kek_secret_bytes(opened), text)) {
        return kek_fail(why, KEK_INTERNAL, "OpenSSL computes AES-256-CBC wrongly");
    }
    if (EVP_Digest(TEXT, TEXT_LEN, digest, NULL, EVP_sha256(), NULL) != 1 ||
        memcmp(digest, expected_sha256, sizeof digest) != 0) {
        return kek_fail(why, KEK_INTERNAL, "OpenSSL lacks SHA-256 or computes it wrongly");
    }
    return KEK_OK;
}
