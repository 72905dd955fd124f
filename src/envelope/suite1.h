/*
 * Suite 1's cryptography, and nothing of kekd in it: A256CBC-HS512 (RFC 7518 section 5.2.5) and the
 * HKDF that makes its key, so that both can be held against published vectors.
 *
 * A kek_suite1 owns its 64-byte key.  The 256 objects of a thread that were used last also have OpenSSL contexts
 * under it: the HMAC at once, each direction's AES when it is first used; calls re-initialise them without
 * fetching or keying again.  The key is a kek_secret; what OpenSSL makes of it (the AES key schedules, the HMAC's key and
 * states) lies on the plain heap, unswappable where kek_secret_harden_process() could lock it, and
 * is wiped when the object goes, or another is keyed in its place.  One thread per object.
 */
#ifndef ENVELOPE_SUITE1_H
#define ENVELOPE_SUITE1_H

#include "format.h"

#define SUITE1_KEY_LEN 64 /* MAC key, then AES key, 32 bytes each */
#define SUITE1_HALF_LEN 32

struct kek_suite1;

/* Additional authenticated data, in the two pieces it is stored in. */
struct kek_suite1_aad {
    struct kek_bytes header, context;
};

/* HKDF-SHA-512 without salt (RFC 5869). out_len is at most 255 x 64.
 * KEK_INTERNAL: OpenSSL failed. */
enum kek_rc kek_suite1_hkdf(struct kek_bytes ikm, struct kek_bytes info, uint8_t *out,
                            size_t out_len, struct kek_why *why) KEK_MUST_CHECK;

/* Takes over `key`, of SUITE1_KEY_LEN bytes, whether or not it succeeds. NULL: KEK_NO_MEMORY or
 * KEK_INTERNAL. */
struct kek_suite1 *kek_suite1_new(struct kek_secret *key, struct kek_why *why);
void kek_suite1_free(struct kek_suite1 *suite);
KEK_DEFINE_AUTO(kek_suite1);

/* Writes kek_format_ciphertext_len(plaintext.len) bytes of ciphertext, and the tag.
 * KEK_TOO_LARGE: more than KEK_ENVELOPE_PLAINTEXT_MAX; KEK_INTERNAL: OpenSSL failed. */
enum kek_rc kek_suite1_encrypt(struct kek_suite1 *suite, const struct kek_suite1_aad *aad,
                               const uint8_t iv[static ENVELOPE_IV_LEN], struct kek_bytes plaintext,
                               uint8_t *ciphertext, uint8_t tag[static ENVELOPE_TAG_LEN],
                               struct kek_why *why) KEK_MUST_CHECK;

/* KEK_DAMAGED: the length, the tag or (under a right tag) the padding is wrong, or nothing is in
 * it; KEK_EXHAUSTED: no room for the plaintext in the locked arena; KEK_INTERNAL: OpenSSL failed. */
enum kek_rc kek_suite1_decrypt(struct kek_suite1 *suite, const struct kek_suite1_aad *aad,
                               const uint8_t iv[static ENVELOPE_IV_LEN],
                               struct kek_bytes ciphertext,
                               const uint8_t tag[static ENVELOPE_TAG_LEN],
                               struct kek_secret **plaintext, struct kek_why *why) KEK_MUST_CHECK;

#endif
