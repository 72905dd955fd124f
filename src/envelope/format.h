/*
 * The bytes of an envelope, without any cryptography: what the other files of this room share.
 *
 * Everything borrows from its input and nothing allocates.
 */
#ifndef ENVELOPE_FORMAT_H
#define ENVELOPE_FORMAT_H

#include "kek/envelope.h"

#define ENVELOPE_IV_LEN 16
#define ENVELOPE_BLOCK_LEN 16
#define ENVELOPE_TAG_LEN 32

/* Bytes of PKCS#7-padded ciphertext for a plaintext within the limits. */
static inline size_t kek_format_ciphertext_len(size_t plaintext_len)
{
    return (plaintext_len / ENVELOPE_BLOCK_LEN + 1) * ENVELOPE_BLOCK_LEN;
}

#endif
