/* What the envelope room's tests share: hex constants, an arena, and the published test vector of
 * docs/envelope-format.md. */
#ifndef ENVELOPE_HELP_H
#define ENVELOPE_HELP_H

#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "kek/envelope.h"

#define ARENA (64 * 1024)

/* Fails unless the text is exactly `len` bytes of hex. */
static inline void unhex(const char *text, uint8_t *out, size_t len)
{
    ck_assert_uint_eq(strlen(text), 2 * len);
    for (size_t i = 0; i < len; i++) {
        char pair[3] = {text[2 * i], text[2 * i + 1], '\0'};
        char *end;
        out[i] = (uint8_t)strtoul(pair, &end, 16);
        ck_assert_ptr_eq(end, pair + 2);
    }
}

static inline void have_arena(void)
{
    bool locked;
    ck_assert_int_eq(kek_secret_setup(ARENA, &locked, NULL), KEK_OK);
}

static inline struct kek_secret *secret_of(const char *hex, size_t len)
{
    have_arena();
    struct kek_secret *secret = kek_secret_new(len);
    ck_assert_ptr_nonnull(secret);
    unhex(hex, kek_secret_data(secret), len);
    return secret;
}

#define VECTOR_CONTEXT "prod-eu1"
#define VECTOR_PLAINTEXT "thirty-two bytes are one DEK ok."
#define VECTOR_DATA_KEY "00112233445566778899aabbccddeeff000102030405060708090a0b0c0d0e0f"
#define VECTOR_HEADER                        \
    "4b454b01010101"                         \
    "01a0a1a2a3a4a5a6a7a8a9aaabacadaeaf0028" \
    "28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21"
#define VECTOR_HEADER_LEN 66
#define VECTOR_ENVELOPE_LEN 162

#endif
