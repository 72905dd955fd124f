/*
 * Who kekd is to Google: a service account with a key of its own, an identity of another issuer that Google trusts
 * (workload identity federation), or the machine's account by its metadata server.
 *
 * The file is in Google's own format, of `gcloud iam service-accounts keys create` or `gcloud iam
 * workload-identity-pools create-cred-config`.  It is read anew for each access token, so that a new key counts
 * without a restart.  One thread at a time.
 */
#ifndef GCPKMS_CREDENTIAL_H
#define GCPKMS_CREDENTIAL_H

#include "kek/secret.h"

#define KEK_GCP_URL_MAX 512       /* bytes, with the NUL */
#define KEK_GCP_NAME_MAX 256      /* of an e-mail address, an audience, a key's id */
#define KEK_GCP_SUBJECT_MAX 16384 /* bytes of a subject token */

enum kek_gcp_kind {
    KEK_GCP_SERVICE_ACCOUNT,
    KEK_GCP_FEDERATED,
    KEK_GCP_METADATA,
};

struct kek_gcp_credential {
    enum kek_gcp_kind kind;
    char token_url[KEK_GCP_URL_MAX];
    /* A service account. */
    char email[KEK_GCP_NAME_MAX], key_id[KEK_GCP_NAME_MAX];
    struct kek_secret *key; /* PEM, without a NUL */
    /* Federated: what it is exchanged for, by which token, and whose account it then becomes (empty: none). */
    char audience[KEK_GCP_URL_MAX], subject_type[KEK_GCP_NAME_MAX];
    char impersonate_url[KEK_GCP_URL_MAX];
    struct kek_secret *subject;
};

/* `source`: the setting "credentials". The credential is zeroed; kek_gcp_credential_done() in any case. */
enum kek_rc kek_gcp_credential_read(const char *source, struct kek_gcp_credential *credential,
                                    struct kek_why *why) KEK_MUST_CHECK;
void kek_gcp_credential_done(struct kek_gcp_credential *credential);

/* https://..., or http:// to this machine itself, which is for tests. *plain: the latter. */
bool kek_gcp_url_allowed(const char *url, bool *plain);

#endif
