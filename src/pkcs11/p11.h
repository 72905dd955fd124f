/*
 * What the files of this folder share: the provider (a loaded module and its token), its sessions,
 * and the table of keys that each session keeps for itself.
 *
 * The provider is written by the main thread until login ends and only read afterwards.  A session
 * belongs to one thread; it knows keys by kek id, and every handle in its table came from a search
 * of its own or from login.  There is no lock, so a call that hangs in the module holds up nobody
 * but its own session.
 */
#ifndef KEK_PKCS11_P11_H
#define KEK_PKCS11_P11_H

#include "errors.h"
#include "keys.h"
#include "pin.h"

#define KEK_P11_BLOB_MAX 64 /* no algorithm's wrapped data key is longer */

/* One way to wrap: a mechanism and what goes with it. */
struct kek_p11_way {
    CK_MECHANISM_TYPE type;
    const char *name;
    enum kek_wrap_alg alg;
    enum { KEK_P11_IV_NONE, KEK_P11_IV_OURS, KEK_P11_IV_TOKEN } iv;
    bool vendor; /* tried only where the token lists it */
};

/* A blob that a key wrapped and opened, and what is in it: never used for anything else. */
struct kek_p11_known {
    size_t len; /* 0: there is none */
    uint8_t blob[KEK_P11_BLOB_MAX];
    uint8_t sum[32];    /* SHA-256 of the data key, since AES-CBC opens anything */
    uint64_t proven_ms; /* by kek_clock_ms() */
};

struct kek_p11_entry {
    struct kek_version version;
    CK_OBJECT_HANDLE handle;
    bool has_id; /* its CKA_ID is a kek id */
    enum kek_p11_strategy strategy;
    const struct kek_p11_way *way; /* proven for this key, or for another one of its strategy */
    struct kek_p11_known known;
    uint64_t wraps_checked_ms; /* by kek_clock_ms(); 0: never */
};

struct kek_p11_table {
    size_t count;
    struct kek_p11_entry entries[KEK_PROVIDER_VERSIONS_MAX];
};

struct kek_provider_session {
    const struct kek_provider *provider;
    CK_SESSION_HANDLE handle;
    bool broken; /* an operation may be left open in it: a new one before the next use */
    int rung;    /* of the C_UnwrapKey templates; -1: none has worked yet */
    enum { KEK_P11_LOCAL_UNASKED = 0, KEK_P11_LOCAL_TOLD, KEK_P11_LOCAL_UNTOLD } local;
    struct kek_p11_table table;
};

#define KEK_P11_MECHANISMS_MAX 1024

struct kek_provider {
    CK_FUNCTION_LIST *f;
    CK_SLOT_ID slot;
    struct kek_secret *pin; /* until login; NULL: a PIN pad, or none is known */
    bool needs_login;       /* the token says so (CKF_LOGIN_REQUIRED) */
    bool write_protected;   /* and this (CKF_WRITE_PROTECTED) */
    bool read_only;         /* so are all sessions: found out at login */
    CK_ULONG max_sessions;  /* that the token allows; 0: no limit is known */
    unsigned peak_sessions; /* that kekd opens at most, in all its workers together */
    char keyring[KEK_LABEL_MAX];
    Kek__Provider__Strategy strategy;
    enum kek_wrap_alg preferred; /* an earlier start's outcome, tried first */
    size_t named_count;
    struct kek_p11_named named[KEK_PROVIDER_VERSIONS_MAX];
    size_t mechanism_count;
    CK_MECHANISM_TYPE mechanisms[KEK_P11_MECHANISMS_MAX];
    char label[33], manufacturer[33], model[17], serial[17], firmware[16], library[80];
    /* Opened at login and idle ever after: a token forgets its login with its last session. */
    struct kek_provider_session anchor;
};

/* module.c, login.c, session.c, requests.c, officer.c, trial.c: the provider's table. */
bool kek_p11_open(const Kek__Provider__Hello *hello, bool officer, struct kek_provider **provider,
                  Kek__Provider__Token *token, struct kek_provider_failure *failure);
bool kek_p11_login_and_prove(struct kek_provider *provider, struct kek_provider_versions *versions,
                             enum kek_wrap_alg *alg, struct kek_provider_failure *failure);
bool kek_p11_session_open(struct kek_provider *provider, struct kek_provider_session **session,
                          struct kek_provider_failure *failure);
bool kek_p11_list(struct kek_provider_session *session, struct kek_provider_versions *versions,
                  struct kek_provider_failure *failure);
bool kek_p11_wrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                  const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                  struct kek_provider_failure *failure);
bool kek_p11_unwrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                    enum kek_wrap_alg alg, struct kek_bytes blob, struct kek_secret **data_key,
                    struct kek_provider_failure *failure);
bool kek_p11_generate(struct kek_provider_session *session, uint32_t number,
                      const struct kek_id *kek_id, enum kek_state state,
                      struct kek_provider_failure *failure);
bool kek_p11_set_state(struct kek_provider_session *session, const struct kek_id *kek_id,
                       enum kek_state state, struct kek_provider_failure *failure);
bool kek_p11_destroy(struct kek_provider_session *session, const struct kek_id *kek_id,
                     struct kek_provider_failure *failure);

bool kek_p11_probe(struct kek_provider_session *session, struct kek_provider_probed *probed,
                   struct kek_provider_failure *failure);

/* session.c */
struct kek_p11_outcome kek_p11_session_handle(const struct kek_provider *provider,
                                              CK_SESSION_HANDLE *handle);
/* A session that could not be opened: with the limits, where that is it. False. */
bool kek_p11_session_fail(const struct kek_provider *provider, Kek__Provider__Step step,
                          struct kek_p11_outcome outcome, struct kek_provider_failure *failure);
struct kek_p11_outcome kek_p11_session_begin(struct kek_provider_session *session);
/* Opens it anew if it is broken; to be called before each use. */
struct kek_p11_outcome kek_p11_session_ready(struct kek_provider_session *session);
/* Whether the token still does its work, found out by a known answer where there is one. */
bool kek_p11_session_alive(struct kek_provider_session *session);
struct kek_p11_entry *kek_p11_session_entry(struct kek_provider_session *session,
                                            const struct kek_id *kek_id);
void kek_p11_session_versions(const struct kek_provider_session *session,
                              struct kek_provider_versions *versions);

/* scan.c: reads every version of the keyring into the session's table; what was proven of a key
 * stays known. */
bool kek_p11_scan(struct kek_provider_session *session, Kek__Provider__Step step,
                  struct kek_provider_failure *failure);
const struct kek_p11_named *kek_p11_named_of(const struct kek_provider *provider,
                                             const char *label);

/* wrap.c: one wrap or unwrap, without judgement. No object of theirs outlives them. */
#define KEK_P11_WAYS 11
const struct kek_p11_way *kek_p11_ways(size_t *count);
bool kek_p11_way_listed(const struct kek_provider *provider, const struct kek_p11_way *way);
struct kek_p11_outcome kek_p11_wrap_by(struct kek_provider_session *session,
                                       enum kek_p11_strategy strategy,
                                       const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                                       const struct kek_secret *data_key,
                                       struct kek_provider_wrapped *wrapped);
struct kek_p11_outcome kek_p11_unwrap_by(struct kek_provider_session *session,
                                         enum kek_p11_strategy strategy,
                                         const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                                         struct kek_bytes blob, struct kek_secret **data_key);

/* Whether this call looked at a blob, so that its failure may be the blob's. */
bool kek_p11_read_blob(struct kek_p11_outcome outcome);

/* probe.c: one real round trip, tampering included. */
enum kek_p11_verdict {
    KEK_P11_WORKS,     /* and refuses a damaged blob */
    KEK_P11_MALLEABLE, /* takes a damaged blob, and another key comes out */
    KEK_P11_WRONG,     /* a good blob gives another key, or a damaged one the same */
    KEK_P11_REFUSED,   /* *outcome says by which call */
    KEK_P11_LOST,      /* so is the token */
};
enum kek_p11_verdict kek_p11_try(struct kek_provider_session *session,
                                 enum kek_p11_strategy strategy, const struct kek_p11_way *way,
                                 CK_OBJECT_HANDLE kek, struct kek_p11_known *known,
                                 struct kek_p11_outcome *outcome);
/* The first way that a round trip proves.  On failure *outcome is the last thing that went wrong. */
bool kek_p11_prove(struct kek_provider_session *session, enum kek_p11_strategy strategy,
                   CK_OBJECT_HANDLE kek, const struct kek_p11_way **way,
                   struct kek_p11_known *known, struct kek_p11_outcome *outcome);
/* Has a handle open what an entry's key wrapped: `same` says whether it is that key. */
struct kek_p11_outcome kek_p11_ask_known(struct kek_provider_session *session,
                                         const struct kek_p11_entry *entry, CK_OBJECT_HANDLE kek,
                                         bool *same);
/* Proves every version that may wrap and is not proven yet; the others of the same strategy take
 * over what was proven. One that fails is refused. False: the token is gone. */
bool kek_p11_prove_all(struct kek_provider_session *session, struct kek_provider_failure *failure);

/* Proves once more, damage included, what was proven a day ago. False: it is not so any more, or the
 * token is gone, and this process should go. */
bool kek_p11_prove_old(struct kek_provider_session *session, struct kek_provider_failure *failure);

/* make.c: an AES-256 key that never leaves the token. */
struct kek_p11_making {
    bool on_token;
    const char *label;
    const struct kek_id *kek_id;
    enum kek_p11_strategy strategy;
    enum kek_state state; /* ACTIVE, or it unwraps alone */
};
struct kek_p11_outcome kek_p11_make_key(const struct kek_provider *provider,
                                        CK_SESSION_HANDLE session,
                                        const struct kek_p11_making *making, CK_OBJECT_HANDLE *key);

/* Such a key that ends with its session, for trials. */
struct kek_p11_throwaway {
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE key;
};
struct kek_p11_outcome kek_p11_throwaway_make(const struct kek_provider *provider,
                                              enum kek_p11_strategy strategy,
                                              struct kek_p11_throwaway *throwaway);
void kek_p11_throwaway_end(const struct kek_provider *provider,
                           const struct kek_p11_throwaway *throwaway);

/* keep.c: whether a key made like a KEK for this strategy stays inside. *keeping on success; what was made
 * for it is gone again. False: the token is. */
bool kek_p11_keep(const struct kek_provider *provider, enum kek_p11_strategy strategy,
                  struct kek_provider_keeping *keeping, struct kek_provider_failure *failure);

/* trial.c */
/* How a new key is to wrap: as the configuration says; else by the first strategy that authenticates,
 * else by the first that works. *way is NULL if none was proven. On failure the token is away or busy,
 * and nothing was decided. */
struct kek_p11_outcome kek_p11_choose(struct kek_provider_session *session,
                                      enum kek_p11_strategy *strategy,
                                      const struct kek_p11_way **way);

#endif
