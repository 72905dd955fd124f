/*
 * The sealed format: pure bytes in, bytes out, no I/O.  docs/envelope-format.md specifies it.
 *
 *   "KEK" 0x01 | suite | mode | n | n x (wrap alg | kek id [16] | length u16 | wrapped) | IV [16]
 *   | ciphertext | tag [32]
 *
 * Parsing checks every length before it reads and borrows from its input.  Opening checks the tag in
 * constant time before it decrypts, and fails with one message for every kind of damage
 * (KEK_DAMAGED); the native detail is for the log.  Limits: n <= 4, wrapped <= KEK_WRAPPED_MAX,
 * plaintext 1 byte to 64 KiB, context <= 255 bytes.
 * One thread per key object; nothing else is shared.
 */
#ifndef KEK_ENVELOPE_H
#define KEK_ENVELOPE_H

#include "kek/bytes.h"
#include "kek/kek.h"
#include "kek/secret.h"

#define KEK_ENVELOPE_SUITE_1 1u
#define KEK_ENVELOPE_MODE_ANY 1u
#define KEK_ENVELOPE_MODE_ALL 2u
#define KEK_ENVELOPE_ENTRIES_MAX 4
#define KEK_ENVELOPE_PLAINTEXT_MAX (64u * 1024)
#define KEK_ENVELOPE_CONTEXT_MAX 255

/* One wrapped data key. */
struct kek_envelope_entry {
    enum kek_wrap_alg alg;
    struct kek_id kek_id;
    struct kek_bytes wrapped; /* borrowed; as long as kek_wrap_alg_fits() allows */
};

/* A parsed envelope; every view borrows from the bytes it was parsed from. */
struct kek_envelope {
    uint8_t suite;
    uint8_t mode;
    uint8_t count;
    struct kek_envelope_entry entries[KEK_ENVELOPE_ENTRIES_MAX];
    struct kek_bytes header; /* every byte before the IV */
    struct kek_bytes iv, ciphertext, tag;
};

/* KEK_DAMAGED for anything that is not a complete, well-formed envelope of a known suite and mode;
 * why->text names what and at which offset. */
enum kek_rc kek_envelope_parse(struct kek_bytes sealed, struct kek_envelope *envelope,
                               struct kek_why *why) KEK_MUST_CHECK;

/* The same of a header alone, to its last byte: what seals may build on. IV, ciphertext and tag stay
 * empty. */
enum kek_rc kek_envelope_parse_header(struct kek_bytes header, struct kek_envelope *envelope,
                                      struct kek_why *why) KEK_MUST_CHECK;

/* `copy` holds the bytes that `envelope` was parsed from: its views borrow from there now. */
void kek_envelope_rebase(struct kek_envelope *envelope, const uint8_t *copy);

/* Known answers of all the cryptography that kekd asks of OpenSSL.  Once, at the start, after
 * kek_secret_setup(): what OpenSSL sets up when it is first used and could not (no memory, a broken
 * configuration) it may never have again in this process.
 * KEK_INTERNAL, KEK_EXHAUSTED or KEK_NO_MEMORY: nothing can be sealed or opened. */
enum kek_rc kek_envelope_self_test(struct kek_why *why) KEK_MUST_CHECK;

/* The suite's 64-byte key, expanded from a data key (or the shares in order, concatenated) and a
 * context: HKDF-SHA-512(ikm, no salt, info = "kekd/suite1" | context), RFC 5869. Keeps its cipher
 * contexts for its next use. */
struct kek_envelope_key;

struct kek_envelope_key *kek_envelope_key_new(const struct kek_secret *data_key,
                                              struct kek_bytes context, struct kek_why *why);
void kek_envelope_key_free(struct kek_envelope_key *key);
KEK_DEFINE_AUTO(kek_envelope_key);

/* Writes the header for n = `count` entries; the same header serves every envelope under them. */
enum kek_rc kek_envelope_header(uint8_t mode, const struct kek_envelope_entry *entries,
                                size_t count, struct kek_buf *header,
                                struct kek_why *why) KEK_MUST_CHECK;

/* The size of an envelope: header + IV + padded ciphertext + tag. */
size_t kek_envelope_sealed_len(size_t header_len, size_t plaintext_len);

/* Appends a whole envelope to `sealed`: a fresh random IV, AES-256-CBC with PKCS#7, then
 * HMAC-SHA-512 truncated to 32 bytes over header | context | IV | ciphertext | bit length of
 * (header | context) as u64 big-endian (RFC 7518 section 5.2.2.1). */
enum kek_rc kek_envelope_seal(struct kek_envelope_key *key, struct kek_bytes header,
                              struct kek_bytes context, struct kek_bytes plaintext,
                              struct kek_buf *sealed, struct kek_why *why) KEK_MUST_CHECK;

/* KEK_DAMAGED: the tag or the padding is wrong. `context` must be the one of key_new. */
enum kek_rc kek_envelope_open(struct kek_envelope_key *key, const struct kek_envelope *envelope,
                              struct kek_bytes context, struct kek_secret **plaintext,
                              struct kek_why *why) KEK_MUST_CHECK;

#endif
