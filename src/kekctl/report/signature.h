/*
 * A detached signature of a report's bytes, by a key in a PEM file.
 *
 * Ed25519 (RFC 8032), ECDSA over P-256 with SHA-256 or P-384 with SHA-384 (a DER sequence of r and s), and RSA of 2048 bits
 * or more by PSS with SHA-256 and a salt as long as the digest.  The signature is the bytes that OpenSSL makes,
 * so that any other tool can verify it.  Blocks for reading the key.
 */
#ifndef KEKCTL_REPORT_SIGNATURE_H
#define KEKCTL_REPORT_SIGNATURE_H

#include "kek/bytes.h"
#include "kek/digest.h"

#define SIGNATURE_MAX 4096 /* bytes */

struct signature_key;

/* The private key of a PEM file that nobody else may read, the public one of any.  NULL: why says why not. */
struct signature_key *signature_key_private(const char *path, struct kek_why *why);
struct signature_key *signature_key_public(const char *path, struct kek_why *why);
void signature_key_free(struct signature_key *key);
KEK_DEFINE_AUTO(signature_key);

const char *signature_key_name(const struct signature_key *key); /* "Ed25519", ... Static. */

/* SHA-256 of the public key, as SubjectPublicKeyInfo in DER. False: no memory. */
bool signature_key_digest(const struct signature_key *key, char text[static KEK_SHA256_TEXT]);

enum kek_rc signature_make(const struct signature_key *key, struct kek_bytes content,
                           struct kek_buf *signature, struct kek_why *why) KEK_MUST_CHECK;

/* KEK_DAMAGED: it is not this key's signature of this content. */
enum kek_rc signature_check(const struct signature_key *key, struct kek_bytes content,
                            struct kek_bytes signature, struct kek_why *why) KEK_MUST_CHECK;

#endif
