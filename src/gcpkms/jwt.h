/*
 * The assertion by which a service account proves its key: a JSON Web Token signed with RS256 (RFC 7519, 7518
 * section 3.3), as Google's token endpoint takes it for an access token (RFC 7523).  Pure but for OpenSSL.
 */
#ifndef GCPKMS_JWT_H
#define GCPKMS_JWT_H

#include "kek/secret.h"

#define KEK_GCP_JWT_MAX 4096 /* bytes */
#define KEK_GCP_JWT_LIFE 300 /* seconds; Google takes at most 3600 */

struct kek_gcp_claims {
    const char *issuer, *key_id, *scope, *audience; /* borrowed; printable, without quotes */
    int64_t now;                                    /* seconds since 1970 */
};

/* `pem`: an RSA key. The token goes to `jwt`, which has a limit of KEK_GCP_JWT_MAX. */
enum kek_rc kek_gcp_jwt_sign(const struct kek_gcp_claims *claims, const struct kek_secret *pem,
                             struct kek_buf *jwt, struct kek_why *why) KEK_MUST_CHECK;

#endif
