/*
 * kekd-gcpkms: a KEK of Google Cloud KMS or Cloud HSM, by its REST API, as a provider of kekd.
 *
 * A KEK version is a version of one CryptoKey: its number is Google's, its kek id is made of its resource name.
 * Each wrap names its version in the URL; which version is Google's "primary" is never asked.  An unwrap is the key's,
 * and what is bound to each wrap (the kek id) holds it to its version.
 *
 * From the left: crc32c, fields, name, file; fault; message, credential, jwt; grant; session, ask (one request),
 * versions (the list), attest, wrap, officer; provider (the table's start).  chain and statement, and verify above
 * them, say what a statement of a Cloud HSM is worth.  Each session has a connection and a list of its
 * own; they share the access token alone.
 */
#ifndef GCPKMS_GCP_H
#define GCPKMS_GCP_H

#include <limits.h>

#include "kek/bridge.h"
#include "kek/text.h"

#include "credential.h"
#include "grant.h"
#include "fields.h"
#include "message.h"
#include "name.h"

#define KEK_GCP_PATH_MAX 2048     /* bytes of what is asked, behind "/v1/" */
#define KEK_GCP_VERSIONS_MAX 2048 /* that are known of one key, destroyed ones left out */

struct kek_gcp_version {
    uint32_t number;
    struct kek_id id;
    bool enabled;
    bool fit; /* its protection, algorithm and origin are as they must be */
    char refusal[160];
    int64_t destroy_s; /* since 1970: when Google destroys it; 0: nothing is scheduled */
    bool attested;     /* its HSM's statement was fetched by this process, and all of it holds */
    bool unattested;   /* one is wanted, and does not hold or was not to be had */
    uint64_t again_ms; /* of kek_clock_ms(): when that is to be looked at; 0: it never was */
};

/* Newest first. */
struct kek_gcp_table {
    struct kek_gcp_version *items; /* the table's; NULL: empty */
    size_t count;
};

struct kek_provider {
    char key[KEK_GCP_KEY_MAX];
    char endpoint[KEK_GCP_URL_MAX]; /* without a slash at its end */
    bool plain;                     /* http://, to this machine */
    char credentials[PATH_MAX + 16], ca[PATH_MAX], proxy[KEK_GCP_URL_MAX]; /* empty: none */
    enum kek_gcp_protection protection;
    char manufacturer_root[PATH_MAX], owner_root[PATH_MAX]; /* empty: none */
    enum kek_attestation attestation; /* what a version is that has no statement which holds */
    char name[64];                    /* the last part of `key` */
    char serial[KEK_ID_TEXT], label[KEK_LABEL_MAX];
    struct kek_bridge_names named;
    uint64_t call_ms, start_ms; /* that one call, and a start, may take */
    bool officer;
    struct kek_gcp_way way;
    struct kek_bridge_token *token;
    /* What the start found: the list that each session begins with, and the version that failed its proof (0: none). */
    struct kek_gcp_table table;
    struct kek_gcp_version unproven;
};

struct kek_provider_session {
    struct kek_provider *provider;
    struct kek_remote *remote;
    struct kek_bridge_line line; /* the access token, as this session has it */
    struct kek_gcp_table table;
    uint64_t deadline_ms; /* of the provider call under way */
};

/* ---- session.c ---- */

struct kek_provider_session *kek_gcp_session_new(struct kek_provider *provider,
                                                 struct kek_provider_failure *failure);
void kek_gcp_session_free(struct kek_provider_session *session);
/* A provider call begins: all that it asks must be over before kekd gives it up. */
void kek_gcp_session_begin(struct kek_provider_session *session);
/* The same of a list, or of a change: of kekd's role one call; an officer is waited for. */
void kek_gcp_session_begin_long(struct kek_provider_session *session);

/* ---- ask.c ---- */

/* What of the API is asked. */
struct kek_gcp_ask {
    const char *call;              /* for messages: "encrypt" */
    const char *method;            /* "GET", ... */
    const char *path;              /* behind "/v1/" */
    struct kek_bytes send, secret; /* the latter is a piece of the former */
    size_t max;                    /* bytes of the answer */
    bool once; /* it changes something: not sent again where it may have arrived */
};

/* Until the session's deadline.  A refused token is made anew once, and what is transient tried once more.
 * *answer is the caller's; NULL: it was empty. */
bool kek_gcp_ask(struct kek_provider_session *session, const struct kek_gcp_ask *ask,
                 json_t **answer, struct kek_gcp_fault *fault) KEK_MUST_CHECK;

/* ---- versions.c ---- */

void kek_gcp_table_done(struct kek_gcp_table *table);

/* Reads the list anew, from Google. */
bool kek_gcp_versions_read(struct kek_provider_session *session,
                           struct kek_gcp_fault *fault) KEK_MUST_CHECK;

/* One page of it, added to the table; `next` is the next one's token, empty after the last. */
bool kek_gcp_versions_page(const struct kek_provider *provider, const json_t *answer,
                           struct kek_gcp_table *table, char *next, size_t size,
                           struct kek_gcp_fault *fault) KEK_MUST_CHECK;

/* The table as kekd sees it, for as many as there is room for: the newest. */
void kek_gcp_versions_show(const struct kek_provider_session *session,
                           struct kek_provider_versions *versions);

struct kek_gcp_version *kek_gcp_versions_find(struct kek_provider_session *session,
                                              const struct kek_id *kek_id);
/* What the configuration lets it do at most. */
enum kek_state kek_gcp_versions_limit(const struct kek_provider *provider, uint32_t number);

/* ---- attest.c ---- */

/* Of one version: what Cloud KMS has, and what of it holds. `attested` is empty. */
bool kek_gcp_attest_version(struct kek_provider_session *session, uint32_t number,
                            struct kek_provider_attested *attested,
                            struct kek_gcp_fault *fault) KEK_MUST_CHECK;

/* Marks those of the session's versions that are to be attested and are not. Asks until the session's deadline. */
void kek_gcp_attest_wanted(struct kek_provider_session *session);

/* ---- wrap.c ---- */

/* A round trip by that version: what it wraps comes back, and neither damaged nor for another purpose.  `fault`:
 * why not. */
bool kek_gcp_prove(struct kek_provider_session *session, const struct kek_gcp_version *version,
                   struct kek_gcp_fault *fault) KEK_MUST_CHECK;

/* ---- officer.c ---- */

/* As Cloud KMS lists it now. NULL: the failure says why. */
const struct kek_gcp_version *kek_gcp_look_up(struct kek_provider_session *session,
                                              const struct kek_id *kek_id,
                                              struct kek_provider_failure *failure);

/* ---- the provider's table ---- */

bool kek_gcp_open(const Kek__Provider__Hello *hello, bool officer, struct kek_provider **provider,
                  Kek__Provider__Token *token, struct kek_provider_failure *failure);
bool kek_gcp_login(struct kek_provider *provider, struct kek_provider_versions *versions,
                   enum kek_wrap_alg *alg, struct kek_provider_failure *failure);
bool kek_gcp_session_open(struct kek_provider *provider, struct kek_provider_session **session,
                          struct kek_provider_failure *failure);
bool kek_gcp_list(struct kek_provider_session *session, struct kek_provider_versions *versions,
                  struct kek_provider_failure *failure);
bool kek_gcp_wrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                  const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                  struct kek_provider_failure *failure);
bool kek_gcp_unwrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                    uint64_t handle, enum kek_wrap_alg alg, struct kek_bytes blob,
                    struct kek_secret **data_key, struct kek_provider_failure *failure);
bool kek_gcp_generate(struct kek_provider_session *session, uint32_t number,
                      const struct kek_id *kek_id, enum kek_state state, struct kek_id *made,
                      struct kek_provider_failure *failure);
bool kek_gcp_set_state(struct kek_provider_session *session, const struct kek_id *kek_id,
                       enum kek_state state, struct kek_provider_failure *failure);
bool kek_gcp_destroy(struct kek_provider_session *session, const struct kek_id *kek_id,
                     struct kek_provider_failure *failure);
bool kek_gcp_probe(struct kek_provider_session *session, struct kek_provider_probed *probed,
                   struct kek_provider_failure *failure);
bool kek_gcp_describe(struct kek_provider_session *session, struct kek_bytes name, uint32_t skip,
                      struct kek_provider_described *described,
                      struct kek_provider_failure *failure);
bool kek_gcp_attest(struct kek_provider_session *session, const struct kek_id *kek_id,
                    struct kek_provider_attested *attested, struct kek_provider_failure *failure);

#endif
