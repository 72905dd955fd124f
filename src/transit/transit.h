/*
 * The provider `transit`: a key of the Transit secrets engine of OpenBao or HashiCorp Vault.
 *
 * settings.c reads what Hello brings, open.c looks whether the server serves, auth.c gets the token, call.c asks and
 * tells what a refusal means, key.c reads the key and its versions, crypt.c and wrap.c use them, prove.c finds out that
 * they work, session.c logs in and lists, officer.c changes them, probe.c tells what they can do.  A session is one HTTP connection and what it last read of
 * the key; nothing that changes is shared but the token (kek/bridge.h).
 */
#ifndef TRANSIT_TRANSIT_H
#define TRANSIT_TRANSIT_H

#include "kek/bridge.h"

#include "provider.pb-c.h"

#define TRANSIT_TEXT_MAX 256  /* bytes of a name in the settings, with the NUL */
#define TRANSIT_PATH_MAX 4001 /* of a file's path */
#define TRANSIT_URL_MAX 1200
#define TRANSIT_ANSWER_MAX (256 * 1024)

enum transit_auth { TRANSIT_TOKEN = 0, TRANSIT_APPROLE, TRANSIT_JWT, TRANSIT_CERT };

struct transit_settings {
    char address[TRANSIT_TEXT_MAX + 64]; /* "https://HOST:PORT" */
    bool plain;
    char mount[TRANSIT_TEXT_MAX], key[TRANSIT_TEXT_MAX], space[TRANSIT_TEXT_MAX];
    enum transit_auth auth;
    char auth_mount[TRANSIT_TEXT_MAX], role[TRANSIT_TEXT_MAX];
    char credential
        [TRANSIT_PATH_MAX];      /* the file of the token, secret id or JWT; empty: TLS alone */
    const char *credential_name; /* of its setting */
    char ca[TRANSIT_PATH_MAX], cert[TRANSIT_PATH_MAX], cert_key[TRANSIT_PATH_MAX];
    bool allow_exportable;
    struct kek_bridge_names named;
};

/* One version, as the server shows it or as this process saw it before. */
struct transit_version {
    uint32_t number;
    struct kek_id id;
    bool proven;
    char failed[124]; /* why it could not be, the last time; empty: it was not tried */
    /* What it wrapped then, and to what that opens: its SHA-256. */
    uint8_t blob[KEK_WRAPPED_MAX];
    size_t blob_len;
    uint8_t opens_to[32];
};

/* The key, as it was read last. */
struct transit_key {
    bool read; /* it was there at least once */
    bool soft_deleted;
    uint32_t latest, min_available, min_decryption, min_encryption; /* the last may be 0 */
    char type[48];
    char refusal[160]; /* why none of its versions is used; empty: nothing is wrong */
    bool imported, kept_in, deletion_allowed;
    struct transit_version versions[KEK_PROVIDER_VERSIONS_MAX]; /* by number */
    size_t count;
};

struct kek_provider {
    struct transit_settings settings;
    uint64_t call_ms, start_ms, start_due_ms;
    bool officer;
    struct kek_remote_settings remote;
    char space_line[TRANSIT_TEXT_MAX + 32];
    const char *headers[4];
    struct kek_bridge_token *token;
    struct kek_remote *token_remote; /* of whoever gets the token */
    char serial[96], version[48];
    struct transit_key key; /* as login found it; read-only after */
};

struct kek_provider_session {
    const struct kek_provider *provider;
    struct kek_remote *remote;
    struct kek_bridge_line line;
    uint64_t due_ms; /* of what is being done */
    struct transit_key key;
};

/* ---- settings.c ---- */

bool transit_settings_read(const struct Kek__Provider__Hello *hello, bool officer,
                           struct transit_settings *settings, struct kek_provider_failure *failure);

/* ---- open.c ---- */

bool transit_open(const struct Kek__Provider__Hello *hello, bool officer,
                  struct kek_provider **provider, struct Kek__Provider__Token *token,
                  struct kek_provider_failure *failure);

/* ---- auth.c: a kek_bridge_grant_fn; arg is the provider ---- */

bool transit_grant(void *arg, const struct kek_secret *renew, uint64_t deadline_ms,
                   struct kek_bridge_grant *grant, struct kek_provider_failure *failure);

/* ---- call.c ---- */

/* From now on until it is begun anew: the time that kekd gives one call, or an officer. */
void transit_begin(struct kek_provider_session *session);

/* Fills url with the address, "/v1/" and the rest. */
void transit_url(const struct kek_provider *provider, char url[static TRANSIT_URL_MAX],
                 const char *format, ...) KEK_PRINTF(3, 4);

/* With the headers of every request, and no credential yet. `body`: NULL is none; else it is secret. */
struct kek_bridge_request transit_request(const struct kek_provider *provider, const char *method,
                                          const char *url, const struct kek_buf *body,
                                          uint64_t deadline_ms);

/* Asks with the session's token, and once more with a new one where this one is not taken any more. True: *answer
 * has a 2xx. False with answer->status 400 or 404: whoever asked knows what that means; in every case failure is filled
 * as if he did not. */
bool transit_ask(struct kek_provider_session *session, const char *method, const char *url,
                 const struct kek_buf *body, struct kek_bridge_answer *answer,
                 struct kek_provider_failure *failure);

/* What a service that refused said, if it may be shown: ": permission denied", or "". */
void transit_words(const struct kek_bridge_answer *answer, const struct kek_secret *line,
                   char *text, size_t size);

/* Fills failure from an answer that is no 2xx. */
bool transit_refused(const struct kek_bridge_answer *answer, const struct kek_secret *line,
                     struct kek_provider_failure *failure);

/* For a text that needs no escape in JSON. */
bool transit_add(struct kek_buf *buf, const char *format, ...) KEK_PRINTF(2, 3);

/* ---- key.c ---- */

/* Reads the key anew. What the session knew of its versions stays with those that are the same. */
bool transit_look(struct kek_provider_session *session, struct kek_provider_failure *failure);

/* NULL: none has this kek id. */
struct transit_version *transit_find(struct kek_provider_session *session,
                                     const struct kek_id *kek_id);

/* The same, after another look if it must be. NULL: failure says what that means. */
struct transit_version *transit_need(struct kek_provider_session *session,
                                     const struct kek_id *kek_id,
                                     struct kek_provider_failure *failure);

/* What the server and the configuration let it do. */
bool transit_may_wrap(const struct kek_provider_session *session,
                      const struct transit_version *version);
bool transit_may_unwrap(const struct kek_provider_session *session,
                        const struct transit_version *version);

/* Why the version is not used whatever it may do; NULL: nothing stands against it. */
const char *transit_refusal(const struct kek_provider_session *session,
                            const struct transit_version *version);

void transit_show(struct kek_provider_session *session, struct kek_provider_versions *versions);

/* ---- crypt.c ---- */

/* By a version whatever it may do; the server says what it refuses. */
bool transit_encrypt(struct kek_provider_session *session, const struct transit_version *version,
                     const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                     struct kek_bridge_answer *answer, struct kek_provider_failure *failure);
bool transit_decrypt(struct kek_provider_session *session, const struct transit_version *version,
                     struct kek_bytes blob, struct kek_secret **data_key,
                     struct kek_bridge_answer *answer, struct kek_provider_failure *failure);

/* ---- wrap.c ---- */

bool transit_wrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                  const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                  struct kek_provider_failure *failure);
bool transit_unwrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                    uint64_t handle, enum kek_wrap_alg alg, struct kek_bytes blob,
                    struct kek_secret **data_key, struct kek_provider_failure *failure);

/* ---- prove.c ---- */

/* Wraps, opens, and has a damaged blob and another associated data refused. */
bool transit_prove(struct kek_provider_session *session, struct transit_version *version,
                   struct kek_provider_failure *failure);
/* Does what it wrapped then still open? */
bool transit_still_opens(struct kek_provider_session *session,
                         const struct transit_version *version);

/* ---- session.c ---- */

bool transit_login(struct kek_provider *provider, struct kek_provider_versions *versions,
                   enum kek_wrap_alg *alg, struct kek_provider_failure *failure);
bool transit_session_open(struct kek_provider *provider, struct kek_provider_session **session,
                          struct kek_provider_failure *failure);
bool transit_list(struct kek_provider_session *session, struct kek_provider_versions *versions,
                  struct kek_provider_failure *failure);

/* ---- officer.c ---- */

bool transit_generate(struct kek_provider_session *session, uint32_t number,
                      const struct kek_id *kek_id, enum kek_state state, struct kek_id *made,
                      struct kek_provider_failure *failure);
bool transit_set_state(struct kek_provider_session *session, const struct kek_id *kek_id,
                       enum kek_state state, struct kek_provider_failure *failure);
bool transit_destroy(struct kek_provider_session *session, const struct kek_id *kek_id,
                     struct kek_provider_failure *failure);

/* ---- probe.c ---- */

bool transit_probe(struct kek_provider_session *session, struct kek_provider_probed *probed,
                   struct kek_provider_failure *failure);
bool transit_describe(struct kek_provider_session *session, struct kek_bytes name, uint32_t skip,
                      struct kek_provider_described *described,
                      struct kek_provider_failure *failure);

/* ---- shorthands for proto/provider.proto ---- */

#define STEP(name) KEK__PROVIDER__STEP__##name
#define CAUSE(name) KEK__PROVIDER__CAUSE__##name
#define CALL_STEP STEP(PROVIDER_CALL)

#endif
