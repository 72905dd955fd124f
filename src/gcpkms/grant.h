/*
 * One access token of Google's, by whichever credential there is.  It blocks until its deadline at most; any thread.
 */
#ifndef GCPKMS_GRANT_H
#define GCPKMS_GRANT_H

#include "fault.h"

#define KEK_GCP_TOKEN_MAX 12288 /* bytes: Google's own limit, of its Security Token Service */

/* How Google is reached. Borrowed texts. */
struct kek_gcp_way {
    const char *credentials; /* the setting */
    const char *ca, *proxy;  /* NULL: the system's CAs, none */
};

/* grant->token is the header line, with its NUL. */
bool kek_gcp_grant_get(const struct kek_gcp_way *way, uint64_t deadline_ms,
                       struct kek_bridge_grant *grant, struct kek_gcp_fault *fault) KEK_MUST_CHECK;

/* The token in that line, for kek_gcp_conceal(). */
struct kek_bytes kek_gcp_grant_token(const struct kek_secret *line);

#endif
