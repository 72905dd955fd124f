/*
 * The bodies of Cloud KMS' encrypt, decrypt and list, and of its errors: no I/O.
 *
 * What goes out has a checksum of each field; what comes back is taken only if the service says that it verified
 * them, if its own checksums match, and if version and protection are as they must be.  An absent checksum, and an
 * absent "verified", is a wrong one (proto3's JSON leaves false out).
 */
#ifndef GCPKMS_MESSAGE_H
#define GCPKMS_MESSAGE_H

#include <jansson.h>

#include "fault.h"

/* The least that may protect a version. */
enum kek_gcp_protection {
    KEK_GCP_ANY = 0,       /* software or an external key manager too */
    KEK_GCP_HSM,           /* HSM or HSM_SINGLE_TENANT */
    KEK_GCP_SINGLE_TENANT, /* HSM_SINGLE_TENANT */
};

/* Is this level, in Google's word, enough?  NULL is none. */
bool kek_gcp_protects(enum kek_gcp_protection least, const char *level);

#define KEK_GCP_BODY_MAX 4096          /* bytes of a request or answer of encrypt and decrypt */
#define KEK_GCP_PAGE_MAX (256u * 1024) /* bytes of one page of versions */
#define KEK_GCP_AAD_TEXT (24 + KEK_ID_TEXT) /* bytes of what is bound to each wrap, with its NUL */

/* What a data key's wrap is bound to beside the version itself: what it is, and by which version. */
void kek_gcp_aad(const struct kek_id *kek_id, char aad[static KEK_GCP_AAD_TEXT]);

/* Requests. `body` is empty, with a limit of KEK_GCP_BODY_MAX. False: no memory. */
bool kek_gcp_message_encrypt(struct kek_buf *body, struct kek_bytes plaintext,
                             struct kek_bytes aad) KEK_MUST_CHECK;
bool kek_gcp_message_decrypt(struct kek_buf *body, struct kek_bytes ciphertext,
                             struct kek_bytes aad) KEK_MUST_CHECK;

/* The plaintext of encrypt's, as it stands there. */
struct kek_bytes kek_gcp_message_secret(const struct kek_buf *body);

/* Answers, of a 2xx; NULL is an empty one. `version`: the name of the one that must have wrapped. */
bool kek_gcp_message_encrypted(const json_t *answer, const char *version,
                               enum kek_gcp_protection least, struct kek_provider_wrapped *wrapped,
                               struct kek_gcp_fault *fault) KEK_MUST_CHECK;
bool kek_gcp_message_decrypted(const json_t *answer, enum kek_gcp_protection least,
                               struct kek_secret **data_key,
                               struct kek_gcp_fault *fault) KEK_MUST_CHECK;

/* The fault that an answer of this HTTP status is, by Google's own word in it where it has one. `call` names
 * what was asked: "decrypt". */
bool kek_gcp_message_error(const json_t *answer, long status, const char *call,
                           struct kek_gcp_fault *fault);

#endif
