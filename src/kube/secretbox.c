/*
 * XSalsa20 with Poly1305 (Bernstein: Extending the Salsa20 nonce; Cryptography in NaCl).  The tag is over the
 * ciphertext, under a key that is the first half of the stream's first block.
 */
#include "secretbox.h"

#include <string.h>

#include <openssl/crypto.h>
#include <openssl/evp.h>

#define KEY_LEN 32
#define NONCE_LEN 24
#define TAG_LEN 16
#define WORDS 16
#define DOUBLE_ROUNDS 10

static uint32_t load(const uint8_t *bytes)
{
    return (uint32_t)bytes[0] | (uint32_t)bytes[1] << 8 | (uint32_t)bytes[2] << 16 |
           (uint32_t)bytes[3] << 24;
}

static void store(uint8_t *bytes, uint32_t word)
{
    for (unsigned i = 0; i < 4; i++) {
        bytes[i] = (uint8_t)(word >> (8 * i));
    }
}

static uint32_t turn(uint32_t word, unsigned by)
{
    return word << by | word >> (32 - by);
}

static void quarter(uint32_t x[static WORDS], const uint8_t at[static 4])
{
    uint32_t *a = &x[at[0]], *b = &x[at[1]], *c = &x[at[2]], *d = &x[at[3]];
    *b ^= turn(*a + *d, 7);
    *c ^= turn(*b + *a, 9);
    *d ^= turn(*c + *b, 13);
    *a ^= turn(*d + *c, 18);
}

/* Columns, then rows. */
static void mix(uint32_t x[static WORDS])
{
    static const uint8_t quarters[8][4] = {{0, 4, 8, 12},  {5, 9, 13, 1},   {10, 14, 2, 6},
                                           {15, 3, 7, 11}, {0, 1, 2, 3},    {5, 6, 7, 4},
                                           {10, 11, 8, 9}, {15, 12, 13, 14}};
    for (unsigned i = 0; i < DOUBLE_ROUNDS * 8; i++) {
        quarter(x, quarters[i % 8]);
    }
}

static void fill(uint32_t x[static WORDS], const uint8_t *key, const uint8_t *input, size_t len)
{
    static const uint8_t sigma[] = "expand 32-byte k";
    memset(x, 0, WORDS * sizeof *x);
    for (unsigned i = 0; i < 4; i++) {
        x[5 * i] = load(sigma + 4 * (size_t)i);
        x[1 + i] = load(key + 4 * (size_t)i);
        x[11 + i] = load(key + 16 + 4 * (size_t)i);
    }
    for (size_t i = 0; i < len / 4; i++) {
        x[6 + i] = load(input + 4 * i);
    }
}

/* HSalsa20: the key of this nonce's first 16 bytes. */
static void derive(const uint8_t *key, const uint8_t *nonce, uint8_t *derived)
{
    static const uint8_t places[] = {0, 5, 10, 15, 6, 7, 8, 9};
    uint32_t x[WORDS];
    fill(x, key, nonce, 16);
    mix(x);
    for (size_t i = 0; i < sizeof places; i++) {
        store(derived + 4 * i, x[places[i]]);
    }
    kek_wipe(x, sizeof x);
}

/* Salsa20's first block, of which this is the first half. */
static void begin_stream(const uint8_t *key, const uint8_t *nonce, uint8_t *half)
{
    uint32_t x[WORDS], before[WORDS];
    fill(before, key, nonce, 8);
    memcpy(x, before, sizeof x);
    mix(x);
    for (size_t i = 0; i < WORDS / 2; i++) {
        store(half + 4 * i, x[i] + before[i]);
    }
    kek_wipe(x, sizeof x);
    kek_wipe(before, sizeof before);
}

enum kek_rc secretbox_opens(struct kek_bytes key, struct kek_bytes box)
{
    uint8_t tag[TAG_LEN];
    size_t written = 0;
    if (key.len != KEY_LEN || box.len < NONCE_LEN + TAG_LEN) {
        return KEK_DAMAGED;
    }
    KEK_AUTO(kek_secret) keys = kek_secret_new(2 * (size_t)KEY_LEN);
    if (keys == NULL) {
        return KEK_EXHAUSTED;
    }
    uint8_t *derived = kek_secret_data(keys), *mac_key = derived + KEY_LEN;
    derive(key.data, box.data, derived);
    begin_stream(derived, box.data + 16, mac_key);
    const uint8_t *said = box.data + NONCE_LEN, *ciphertext = said + TAG_LEN;
    if (EVP_Q_mac(NULL, "POLY1305", NULL, NULL, NULL, mac_key, KEY_LEN, ciphertext,
                  box.len - NONCE_LEN - TAG_LEN, tag, sizeof tag, &written) == NULL ||
        written != sizeof tag) {
        return KEK_INTERNAL;
    }
    return CRYPTO_memcmp(tag, said, sizeof tag) == 0 ? KEK_OK : KEK_DAMAGED;
}
