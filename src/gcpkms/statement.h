/*
 * A Cloud HSM's statement about one key, as CAVIUM_V2_COMPRESSED has it: its bytes, and what it says of the key.
 *
 * Compressed by gzip are a response header, an info header, the key's attributes, each with type and length, and an
 * RSA signature of 256 bytes over all that is before it.  Numbers are big-endian.  The format is Marvell's
 * (LiquidSecurity key attestation, parse_v2.py); the statement of a symmetric key has one object.  Whatever is not
 * exactly so is refused: what is signed must have one meaning.  Pure; any thread.
 */
#ifndef GCPKMS_STATEMENT_H
#define GCPKMS_STATEMENT_H

#include "kek/bytes.h"
#include "kek/rc.h"

#define KEK_GCP_STATEMENT_PLAIN (32u * 1024) /* bytes, decompressed; a real one has some 1100 */
#define KEK_GCP_STATEMENT_SIGNATURE 256u
#define KEK_GCP_ATTRIBUTES_MAX 64u

/* PKCS#11's numbers, where PKCS#11 has one. */
enum kek_gcp_attribute {
    KEK_GCP_ATTR_CLASS = 0x0000,
    KEK_GCP_ATTR_KEY_TYPE = 0x0100,
    KEK_GCP_ATTR_ID = 0x0102,
    KEK_GCP_ATTR_SENSITIVE = 0x0103,
    KEK_GCP_ATTR_VALUE_LEN = 0x0161,
    KEK_GCP_ATTR_EXTRACTABLE = 0x0162,
    KEK_GCP_ATTR_LOCAL = 0x0163,
    KEK_GCP_ATTR_NEVER_EXTRACTABLE = 0x0164,
    KEK_GCP_ATTR_ALWAYS_SENSITIVE = 0x0165,
    KEK_GCP_ATTR_KCV = 0x0173,
    KEK_GCP_ATTR_EKCV = 0x1003,
};

struct kek_gcp_statement {
    struct kek_bytes is_signed, signature; /* of the decompressed bytes, like all below */
    size_t count;
    struct kek_gcp_value {
        uint32_t type;
        struct kek_bytes bytes;
    } values[KEK_GCP_ATTRIBUTES_MAX];
};

/* `plain` is empty, with a limit of KEK_GCP_STATEMENT_PLAIN.  KEK_INVALID: it is not gzip, or not one whole stream;
 * KEK_TOO_LARGE: it would be more than the limit. */
enum kek_rc kek_gcp_statement_unpack(struct kek_bytes packed, struct kek_buf *plain,
                                     struct kek_why *why) KEK_MUST_CHECK;

/* Borrows of `plain`. KEK_INVALID: it is not of the format. */
enum kek_rc kek_gcp_statement_read(struct kek_bytes plain, struct kek_gcp_statement *statement,
                                   struct kek_why *why) KEK_MUST_CHECK;

/* NULL: it does not say. */
const struct kek_bytes *kek_gcp_statement_find(const struct kek_gcp_statement *statement,
                                               enum kek_gcp_attribute type);

/* A big-endian number of 1 to 4 bytes. False: it says none. */
bool kek_gcp_statement_number(const struct kek_gcp_statement *statement,
                              enum kek_gcp_attribute type, uint32_t *number);

#endif
