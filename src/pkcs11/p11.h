/*
 * What the files of this folder share: the provider (a loaded module and its token), its sessions,
 * and the table of keys that each session keeps for itself.
 *
 * The provider is written by the main thread until login ends and only read afterwards.  A session
 * belongs to one thread; it knows keys by kek id, and every handle in its table came from a search
 * of its own, from login, or from another session that found it (an object has one handle in all
 * sessions of a process).  There is no lock that anybody waits for, so a call that hangs in the
 * module holds up nobody but its own session.
 */
#ifndef KEK_PKCS11_P11_H
#define KEK_PKCS11_P11_H

#include <stdatomic.h>

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

/* A key among those with its CKA_ID.  One of them stands for the version; the others are refused. */
enum kek_p11_standing {
    KEK_P11_CHOSEN = 0,
    KEK_P11_COPY,  /* opens what the chosen one wrapped: the same key, in reserve */
    KEK_P11_RIVAL, /* another key, or nobody could tell yet */
};

struct kek_p11_entry {
    struct kek_version version;
    CK_OBJECT_HANDLE handle;
    bool has_id;                 /* its CKA_ID is a kek id */
    bool flag_wrap, flag_unwrap; /* the token's own flags, of either strategy */
    enum kek_p11_standing standing;
    bool was_chosen; /* while a table is made: it is the key that stood for the version before */
    bool contested; /* it was chosen, and nothing has shown yet that a rival is not the right one */
    enum kek_p11_strategy strategy;
    const struct kek_p11_way *way; /* proven for this key, or for another one of its strategy */
    struct kek_p11_known known;
};

struct kek_p11_table {
    size_t count;
    struct kek_p11_entry entries[KEK_PROVIDER_VERSIONS_MAX];
    /* Of a look at all keys: the names of keyrings that are not ours; the first empty one ends them. */
    char others[KEK_PROVIDER_OTHERS_MAX][KEK_PROVIDER_OTHER_LEN_MAX];
    bool more_others; /* than have room there */
};

#define KEK_P11_SWEEP_SKIP 2048 /* handles that are passed over at once */
#define KEK_P11_UNREADABLE_MAX 16

/* What the sessions of a process tell each other, without waiting: 0 is an empty place. */
struct kek_p11_shared {
    /* Keys of ours that some session found: all look at them, so that none lists fewer. */
    _Atomic CK_OBJECT_HANDLE found[KEK_PROVIDER_VERSIONS_MAX];
    /* Of keys that share a CKA_ID: those that opened a blob of that kek id. */
    _Atomic CK_OBJECT_HANDLE opened[KEK_PROVIDER_VERSIONS_MAX];
    _Atomic CK_OBJECT_HANDLE unreadable[KEK_P11_UNREADABLE_MAX]; /* each is named once */
    bool unsearchable; /* set at login: the token does not find by label what it shows */
    /* The sweep: how many keys the Lists of this round have looked at, and room for handles.  It belongs to
     * whoever could set the flag. */
    atomic_flag sweeping;
    size_t swept;
    CK_OBJECT_HANDLE sweep_batch[KEK_P11_SWEEP_SKIP];
};

struct kek_provider_session {
    const struct kek_provider *provider;
    CK_SESSION_HANDLE handle;
    bool broken; /* an operation may be left open in it: a new one before the next use */
    int rung;    /* of the C_UnwrapKey templates; -1: none has worked yet */
    enum { KEK_P11_LOCAL_UNASKED = 0, KEK_P11_LOCAL_TOLD, KEK_P11_LOCAL_UNTOLD } local;
    unsigned turn; /* which of the numbers further on the next List looks for */
    struct kek_p11_table table;
};

#define KEK_P11_MECHANISMS_MAX 1024

struct kek_provider {
    CK_FUNCTION_LIST *f;
    CK_SLOT_ID slot;
    struct kek_pin_file pin_file;
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
    struct kek_p11_shared *shared; /* made at login */
    /* Opened at login, and the first that serves: a token forgets its login with its last session, so
     * this one is never closed before its successor is open. */
    struct kek_provider_session anchor;
    bool anchor_serves;
};

/* module.c, login.c, session.c, requests.c, mac.c, audit_key.c, officer.c, states.c, trial.c, try_key.c: the
 * provider's table. */
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
                    uint64_t handle, enum kek_wrap_alg alg, struct kek_bytes blob,
                    struct kek_secret **data_key, struct kek_provider_failure *failure);
bool kek_p11_mac(struct kek_provider_session *session, const struct kek_id *key_id,
                 struct kek_bytes text, struct kek_provider_maced *maced,
                 struct kek_provider_failure *failure);
bool kek_p11_make_audit_key(struct kek_provider_session *session, const struct kek_id *key_id,
                            struct kek_provider_failure *failure);
bool kek_p11_generate(struct kek_provider_session *session, uint32_t number,
                      const struct kek_id *kek_id, enum kek_state state, struct kek_id *made,
                      struct kek_provider_failure *failure);
bool kek_p11_set_state(struct kek_provider_session *session, const struct kek_id *kek_id,
                       enum kek_state state, struct kek_provider_failure *failure);
bool kek_p11_destroy(struct kek_provider_session *session, const struct kek_id *kek_id,
                     struct kek_provider_failure *failure);

bool kek_p11_try_key(struct kek_provider_session *session, const struct kek_id *kek_id,
                     enum kek_wrap_alg alg, struct kek_bytes blob, bool copy,
                     struct kek_provider_tried *tried, struct kek_provider_failure *failure);

bool kek_p11_probe(struct kek_provider_session *session, struct kek_provider_probed *probed,
                   struct kek_provider_failure *failure);

/* describe.c */
bool kek_p11_describe(struct kek_provider_session *session, struct kek_bytes name, uint32_t skip,
                      struct kek_provider_described *described,
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

/* scan.c: fills the session's table; what was proven of a key stays known.  All fail with the table
 * untouched. */

/* Looks at every secret key on the token: at a start, and for an officer. */
bool kek_p11_scan(struct kek_provider_session *session, Kek__Provider__Step step,
                  struct kek_provider_failure *failure);
/* Looks at the keys that are known and for the numbers that come next, and at a few of all others:
 * for List, in a number of calls that does not grow with what else is on the token. */
bool kek_p11_refresh(struct kek_provider_session *session, struct kek_provider_failure *failure);
/* Looks for the keys with one CKA_ID alone, whatever their number. */
bool kek_p11_find_key(struct kek_provider_session *session, const struct kek_id *kek_id,
                      struct kek_provider_failure *failure);
/* What the configuration says of the key with this label, or with this label and the mark. */
const struct kek_p11_named *kek_p11_named_of(const struct kek_provider *provider,
                                             const char *label);

/* objects.c: one object.  Gone is one that another process destroyed since it was found. */
bool kek_p11_is_gone(struct kek_p11_outcome outcome);
/* A failure that may be that object's alone: a general, device or vendor code. */
bool kek_p11_is_of_object(struct kek_p11_outcome outcome);
/* Reads the label alone; *ours says whether it is that of a version, `other` names another keyring whose
 * version it is, else it is empty.  A failure that may pass is
 * tried twice by this and the next one. */
struct kek_p11_outcome kek_p11_read_label(struct kek_provider_session *session,
                                          CK_OBJECT_HANDLE object, bool *ours,
                                          char other[static KEK_PROVIDER_OTHER_LEN_MAX]);
/* Reads all that counts of a key; *entry is filled if *ours. */
struct kek_p11_outcome kek_p11_read_entry(struct kek_provider_session *session,
                                          CK_OBJECT_HANDLE object, struct kek_p11_entry *entry,
                                          bool *ours);
/* What the token says of any secret key; a label that is longer than facts->label is cut, and *label_len more. */
struct kek_p11_outcome kek_p11_read_facts(struct kek_provider_session *session,
                                          CK_OBJECT_HANDLE object, struct kek_p11_facts *facts,
                                          CK_ULONG *label_len);
/* Does the token say LOCAL=true of a key that it just made? NSS does not. A token that makes no session key is
 * believed: what it then calls not local is refused. */
bool kek_p11_tells_local(struct kek_provider_session *session);
/* Says once in a process that an object cannot be read. */
void kek_p11_name_unreadable(const struct kek_provider *provider, CK_OBJECT_HANDLE object,
                             struct kek_p11_outcome outcome);

/* search.c: what the token finds.  A session that is lost is opened anew, once. */

/* Secret keys with one attribute of that value, the first `max`. */
struct kek_p11_outcome kek_p11_find_exact(struct kek_provider_session *session,
                                          CK_ATTRIBUTE_TYPE type, const void *value, size_t len,
                                          CK_OBJECT_HANDLE *objects, size_t max, size_t *count);
#define KEK_P11_OURS_MAX 256
/* What a look at the label of every AES key on the token found. */
struct kek_p11_streamed {
    CK_OBJECT_HANDLE ours[KEK_P11_OURS_MAX];
    size_t ours_count;              /* more than KEK_P11_OURS_MAX: not all stand there */
    size_t read, gone;              /* objects */
    size_t unreadable;              /* objects that were passed over */
    struct kek_p11_outcome trouble; /* of the last such one, or of the last that was gone */
    char others[KEK_PROVIDER_OTHERS_MAX]
               [KEK_PROVIDER_OTHER_LEN_MAX]; /* keyrings that are not ours */
    bool more_others;                        /* than have room there */
};
struct kek_p11_outcome kek_p11_stream(struct kek_provider_session *session,
                                      struct kek_p11_streamed *streamed);
/* Looks at the next few keys of the token and puts those of ours among the found. */
void kek_p11_sweep(struct kek_provider_session *session);
void kek_p11_found_add(struct kek_p11_shared *shared, CK_OBJECT_HANDLE object);
void kek_p11_found_drop(struct kek_p11_shared *shared, CK_OBJECT_HANDLE object);

/* copies.c: which of several keys with one CKA_ID is the version. */

/* What was proven of the keys in the session's table goes over to those of `new` that are the same.
 * False: a key was exchanged under its CKA_ID. */
bool kek_p11_carry_over(struct kek_provider_session *session, struct kek_p11_table *new,
                        Kek__Provider__Step step, struct kek_provider_failure *failure);
/* Chooses one of each CKA_ID (or of that one, if not NULL); the entries are as they were judged. */
void kek_p11_choose_copies(const struct kek_provider *provider, struct kek_p11_table *table,
                           const struct kek_id *only);
/* Has the rivals of a proven key open what it wrapped. */
void kek_p11_compare_copies(struct kek_provider_session *session);
/* This one opened a blob: it is the one that is meant, for every session. */
void kek_p11_settle_copies(struct kek_provider_session *session, struct kek_p11_entry *entry);
/* Of the keys with the CKA_ID of `entry` the one that is meant, by what this session or another one
 * found out since; NULL: nobody knows yet. */
struct kek_p11_entry *kek_p11_meant(struct kek_provider_session *session,
                                    struct kek_p11_entry *entry);

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
enum kek_verdict kek_p11_try(struct kek_provider_session *session, enum kek_p11_strategy strategy,
                             const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                             struct kek_p11_known *known, struct kek_p11_outcome *outcome);
/* The same, and once more where it was refused: a failure that passes must not pick a weaker mechanism for good.
 * believes_no: but not where the token says that it does not do this. */
enum kek_verdict kek_p11_try_twice(struct kek_provider_session *session,
                                   enum kek_p11_strategy strategy, const struct kek_p11_way *way,
                                   CK_OBJECT_HANDLE kek, bool believes_no,
                                   struct kek_p11_known *known, struct kek_p11_outcome *outcome);
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
/* Tried twice: a failure that passes must not make another kind of key. */
struct kek_p11_outcome kek_p11_throwaway_make(const struct kek_provider *provider,
                                              enum kek_p11_strategy strategy,
                                              struct kek_p11_throwaway *throwaway);
void kek_p11_throwaway_end(const struct kek_provider *provider,
                           const struct kek_p11_throwaway *throwaway);

/* keep.c: whether a key made like a KEK for this strategy stays inside. *keeping on success; what was made
 * for it is gone again. False: the token is. */
bool kek_p11_keep(const struct kek_provider *provider, enum kek_p11_strategy strategy,
                  struct kek_provider_keeping *keeping, struct kek_provider_failure *failure);

/* mac.c */
#define KEK_P11_AUDIT_LABEL (KEK_LABEL_MAX + sizeof ".audit")
/* "<keyring>.audit". */
void kek_p11_audit_label(const struct kek_provider *provider,
                         char label[static KEK_P11_AUDIT_LABEL]);
/* What a key of this type signs with; name: NULL where there is nothing. */
struct kek_p11_mac_way {
    CK_KEY_TYPE key_type;
    CK_MECHANISM_TYPE type;
    const char *name;
};
struct kek_p11_mac_way kek_p11_mac_way_of(CK_KEY_TYPE key_type);
struct kek_p11_outcome kek_p11_mac_by(struct kek_provider_session *session, CK_OBJECT_HANDLE key,
                                      const struct kek_p11_mac_way *way, struct kek_bytes text,
                                      struct kek_provider_maced *maced);

/* officer.c */
/* The one key of the keyring with this CKA_ID, as the token shows it now.  NULL after saying why not: the
 * token cannot be written, there is none, or two. */
struct kek_p11_entry *kek_p11_pick(struct kek_provider_session *session,
                                   const struct kek_id *kek_id,
                                   struct kek_provider_failure *failure);
/* The first thing that an officer's operation asks. */
bool kek_p11_may_change(const struct kek_provider *provider, struct kek_provider_failure *failure);
/* Destroys a key that nothing is under yet, and that kekd would not use; by the handle in hand, since a search may not
 * find it. */
void kek_p11_take_back(struct kek_provider_session *session, CK_OBJECT_HANDLE key,
                       struct kek_provider_failure *failure);
/* Looks anew: is the key there, of use, and in that state by its own attributes? */
bool kek_p11_is_in_state(struct kek_provider_session *session, const struct kek_id *kek_id,
                         enum kek_state state, struct kek_provider_failure *failure);

/* trial.c */
/* What a key without any usage flag was made for, where strategy is auto and no other version is a wrap-key
 * one: wrap-key where a new key would be made for that and no other version encrypts; encrypt where a new
 * one would be made for that, and another version is such a one or no wrap-key one works here; else
 * BY_NOTHING, for nobody knows.  On failure the token is away or busy. */
struct kek_p11_outcome kek_p11_guess_strategy(struct kek_provider_session *session,
                                              bool others_encrypt, enum kek_p11_strategy *strategy);
/* How a new key is to wrap: as the configuration says; else by the first strategy that authenticates,
 * else by the first that works. *way is NULL if none was proven. On failure the token is away or busy,
 * and nothing was decided. */
struct kek_p11_outcome kek_p11_choose(struct kek_provider_session *session,
                                      enum kek_p11_strategy *strategy,
                                      const struct kek_p11_way **way);

#endif
