/*
 * The keyring: KEK versions, which worker holds the right key for each, who is primary, and the one
 * verdict about how things are.
 *
 * The unit of truth is the worker: two processes on one token may see different keys.  For each version
 * the keyring keeps a *witness*, a small envelope that this KEK sealed; a worker serves a version once it
 * has itself opened that version's witness.  One that cannot is ended.  The unit of sealing is the
 * *generation*: the set of KEKs that a data key is wrapped under, with the key_id that names it.
 * The primary is the newest generation that is active on every provider that answers and that was proven;
 * it is on disk before it is announced, and never goes back.
 * Facts change at any time; what follows from them is worked out once, at the end of a turn of the loop.
 * One thread: the loop's.  It owns its state file and the lock on it; it borrows the pool.
 */
#ifndef KEK_KEYRING_H
#define KEK_KEYRING_H

#include "kek/envelope.h"
#include "kek/lock_file.h"
#include "kek/pool.h"

#define KEK_KEY_ID_TEXT 38 /* "kek1-" + 32 hex digits + NUL */

/* What a data key is sealed under: a KEK of each root of trust. A keyring's own has one; kek/roots.h joins them. */
struct kek_generation {
    uint8_t mode;  /* KEK_ENVELOPE_MODE_... */
    uint8_t count; /* of kek_ids and numbers */
    struct kek_id kek_ids[KEK_ENVELOPE_ENTRIES_MAX];
    uint32_t numbers[KEK_ENVELOPE_ENTRIES_MAX]; /* of the versions */
    /* Whose each is, by its place among the roots: another may know the KEK, too. 0 in a keyring's own. */
    uint8_t roots[KEK_ENVELOPE_ENTRIES_MAX];
    char key_id[KEK_KEY_ID_TEXT];
};

bool kek_generation_equal(const struct kek_generation *a, const struct kek_generation *b);

/* The key_id that an envelope with these kek ids has: SHA-256("kekd/key_id/1" | u16 length of context
 * | context | mode | kek ids). Pure. KEK_NO_MEMORY is its one failure. */
enum kek_rc kek_key_id(struct kek_bytes context, uint8_t mode, const struct kek_id *kek_ids,
                       size_t count, char key_id[static KEK_KEY_ID_TEXT],
                       struct kek_why *why) KEK_MUST_CHECK;

/* As the API server's log and metrics show a key_id: "sha256:" and the hex digest; without memory for it the
 * digest is missing. Pure. */
#define KEK_KEY_ID_HASH_TEXT 72
void kek_key_id_hash(const char *key_id, char text[static KEK_KEY_ID_HASH_TEXT]);

struct kek_keyring;

struct kek_keyring_settings {
    const struct kek_config *config; /* borrowed, outlives the keyring */
    struct kek_pool *pool;           /* borrowed */
    /* Another lock on state_dir, <keyring>.lock of all roots, which goes along where that is locked anew; borrowed.  NULL, or
     * not held: there is none. */
    struct kek_lock *claim;
    /* What this face answers may be different now: the verdict, what a version may do, the primary, what
     * is wanted. Runs from the loop, at the end of a turn, at most once a turn. */
    void (*changed)(void *arg);
    /* Something an operator wants to read once: a new primary, a worker with another key, a loss. */
    void (*notice)(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                   const char *text);
    void *arg;
};

/* Locks and reads the state file.  NULL: another kekd has it (KEK_UNAVAILABLE, with its pid), it is damaged
 * or another cluster's (never ignored: why says what to do), or out of memory. */
struct kek_keyring *kek_keyring_new(uv_loop_t *loop, const struct kek_keyring_settings *settings,
                                    struct kek_why *why);
void kek_keyring_start(struct kek_keyring *ring);
/* Cancels what is under way; every wait ends. What is known may still be asked for. */
void kek_keyring_stop(struct kek_keyring *ring);
void kek_keyring_free(struct kek_keyring *ring); /* after stop, once the loop has run dry */
KEK_DEFINE_AUTO(kek_keyring);

/* Where state_dir has no version on record of config's keyring (one root's, where there are several): another keyring that has
 * one there, and is no root's of this configuration.  The name may be misspelt then.  False: there is none. Reads files; blocks. */
#define KEK_KEYRING_NAME_TEXT 64
bool kek_keyring_beside(const struct kek_config *config, char other[static KEK_KEYRING_NAME_TEXT]);

/* What this node's kekd announced last, as its state file says, whether it runs or not: for kekctl. Reads the
 * file and locks nothing. KEK_NOT_FOUND: nothing yet; KEK_DENIED: not for this uid; KEK_DAMAGED. */
enum kek_rc kek_keyring_recorded(const struct kek_config *config, struct kek_generation *last,
                                 struct kek_why *why) KEK_MUST_CHECK;

/* The file that kek_keyring_recorded() reads. */
struct kek_keyring_record {
    char path[PATH_MAX];
    char context[256]; /* that stands in it; empty: none, or it cannot be read */
};
void kek_keyring_record_look(const struct kek_config *config, struct kek_keyring_record *record);

/* The process that holds this keyring's record now, a kekd's that runs. Takes no lock. */
struct kek_lock_holder kek_keyring_runner(const struct kek_config *config);

/* The versions on record and their witnesses, in a keyring that is never started: for kekctl, which asks tokens for
 * itself.  kek_keyring_primary(), _versions(), _witness(), _proves() and _free() may be called of it.  NULL: the file is there, and cannot
 * be read, or no memory. */
struct kek_keyring *kek_keyring_read(const struct kek_config *config, struct kek_why *why);

/* Does this data key, which somebody unwrapped, open the version's witness?  KEK_DAMAGED: it was another KEK. */
enum kek_rc kek_keyring_proves(struct kek_keyring *ring, const struct kek_id *kek_id,
                               const struct kek_secret *data_key) KEK_MUST_CHECK;

/* The pool's settings of the same names. */
bool kek_keyring_may(const struct kek_keyring *ring, size_t provider, uint64_t worker,
                     enum kek_pool_op op, const struct kek_id *kek_id);
bool kek_keyring_judged(const struct kek_keyring *ring, size_t provider, uint64_t worker);
void kek_keyring_provider_changed(struct kek_keyring *ring, size_t provider);

/* ---- the primary ---- */

/* What Status announces, and what Encrypt uses: one snapshot. */
struct kek_keyring_primary {
    struct kek_generation generation;
    uint64_t
        since_ms; /* of kek_clock_ms(): when this process announced it; 0: an earlier one did */
    int64_t announced_ms; /* since 1970: when this node announced it; 0: it is not on record */
    int64_t each_announced_ms[KEK_ENVELOPE_ENTRIES_MAX]; /* the same of each of its KEKs alone */
};

/* False: none was ever announced. */
bool kek_keyring_primary(const struct kek_keyring *ring, struct kek_keyring_primary *primary);

/* The generation that is announced as soon as a data key is wrapped under it; NULL: there is none.
 * Whoever makes data keys looks at each `changed`, makes one, and says kek_keyring_prepared(). */
const struct kek_generation *kek_keyring_wanted(const struct kek_keyring *ring);
void kek_keyring_prepared(struct kek_keyring *ring, const struct kek_generation *generation);

/* The primary seals nothing more, and a newer version is about to take its place: for 10 s at most. */
bool kek_keyring_is_changing(const struct kek_keyring *ring);

/* ---- what versions may do ---- */

enum kek_keyring_knows {
    KEK_KEYRING_UNSEEN = 0, /* nobody shows it, but some provider does not answer now */
    KEK_KEYRING_UNKNOWN,    /* every provider answers, none has it */
    KEK_KEYRING_OPENS,      /* some worker unwraps it, or will once its provider has one again */
    KEK_KEYRING_CLOSED,     /* it is or was there, and nobody may unwrap it now */
};
enum kek_keyring_knows kek_keyring_find(const struct kek_keyring *ring,
                                        const struct kek_id *kek_id);

/* Does nobody open by it, and is there a token that has it and only does not let it be used? */
bool kek_keyring_suspended(const struct kek_keyring *ring, const struct kek_id *kek_id);

/* A Decrypt came for it, whatever becomes of it. */
void kek_keyring_met(struct kek_keyring *ring, const struct kek_id *kek_id);

/* What it is called: its number, and the key_id of a generation of it alone.  False: it is not known here. */
bool kek_keyring_name(const struct kek_keyring *ring, const struct kek_id *kek_id, uint32_t *number,
                      char key_id[static KEK_KEY_ID_TEXT]);

/* May data keys be wrapped under it?  KEK_OK: by somebody, now or once a worker is ready.
 * KEK_PRECONDITION: no HSM lets it wrap, or it is lost; waiting does not help. */
enum kek_rc kek_keyring_wraps(const struct kek_keyring *ring,
                              const struct kek_generation *generation,
                              struct kek_why *why) KEK_MUST_CHECK;

/* Can a data key wrapped with `alg` be this version's? Tokens may wrap with several under one KEK, over
 * the years or side by side; but nobody who can write to etcd shall choose AES-CBC, which unwraps
 * anything to something: it is taken only where a witness or a worker shows it. */
bool kek_keyring_takes(const struct kek_keyring *ring, const struct kek_id *kek_id,
                       enum kek_wrap_alg alg);

/* Is there a witness by which a worker's "damaged" can be judged? */
bool kek_keyring_has_witness(const struct kek_keyring *ring, const struct kek_id *kek_id);

/* Does some worker show it for unwrapping that did not open its witness? Without an agreement that one may
 * have the right key, and those that opened it a wrong one. */
bool kek_keyring_doubts(const struct kek_keyring *ring, const struct kek_id *kek_id);

/* May another worker than this one unwrap it now? */
bool kek_keyring_other_unwraps(const struct kek_keyring *ring, uint64_t worker,
                               const struct kek_id *kek_id);

/* What a provider holds of a version, from the least to the most that it lets be done. */
enum kek_keyring_key {
    KEK_KEYRING_KEY_UNSEEN = 0,  /* nothing was ever shown, and no record says that it should be */
    KEK_KEYRING_KEY_ABSENT,      /* it is on record, and was not shown to this process */
    KEK_KEYRING_KEY_GONE,        /* it was shown, and is not any more */
    KEK_KEYRING_KEY_UNFIT,       /* not as a KEK must be: imported, extractable, other usages */
    KEK_KEYRING_KEY_FOREIGN,     /* another key under its id: it does not open the witness */
    KEK_KEYRING_KEY_SUSPENDED,   /* it may not unwrap */
    KEK_KEYRING_KEY_COMPROMISED, /* it is marked so: it may unwrap only, for good */
    KEK_KEYRING_KEY_DEACTIVATED, /* it may unwrap only, and it or a newer one was active */
    KEK_KEYRING_KEY_PRE_ACTIVE,  /* it may unwrap only, and is newer than every active one */
    KEK_KEYRING_KEY_ACTIVE,
};

const char *kek_keyring_key_name(enum kek_keyring_key key); /* "unseen", "absent", ... */

/* Since when something is so, as this node has seen it, over all its kekds. */
struct kek_keyring_lasting {
    int64_t since_ms; /* since 1970, by the wall clock of that moment; 0: it is not so */
    /* Of it, the time in which kekd ran, every provider answered, and it was so: what the wall clock says may be
     * set, and nobody looked while kekd was not there. A kill loses ten minutes of it at most. */
    uint64_t ms;
};

/* What this node remembers of a version's end, on record in state_dir. */
struct kek_keyring_history {
    uint32_t number;
    struct kek_id kek_id;
    struct kek_keyring_lasting inactive;   /* it may wrap on no provider, and has had its time */
    struct kek_keyring_lasting superseded; /* a newer one is announced */
    struct kek_keyring_lasting suspended;  /* it may do nothing on any provider */
    uint64_t asked;       /* Decrypts that asked for it since it is suspended or destroyed */
    int64_t asked_ms;     /* since 1970: the last of them */
    int64_t destroyed_ms; /* since 1970: when it was gone after it was suspended; 0: it is not */
    /* Likewise, when a token showed it again after that, as one that was restored from a backup; 0: none did. */
    int64_t returned_ms;
    int64_t used_ms; /* likewise, when a Decrypt first came for it since then: it is in use again */
};

/* One version over all providers, for metrics, audit and people. */
struct kek_keyring_version {
    const char *root; /* its root of trust, as the configuration calls it; "" where it names none */
    uint32_t number;
    struct kek_id kek_id;
    char key_id[KEK_KEY_ID_TEXT]; /* of a generation of this KEK alone */
    /* By provider.  What is being looked into (a key that one worker misses, that one does not open) stays
     * as it was until it is believed; so does what a provider without workers held. */
    enum kek_keyring_key held[KEK_CONFIG_PROVIDERS_MAX];
    enum kek_keyring_key state; /* the most that any provider lets be done with it */
    bool primary;
    bool surplus;     /* another key is the version of this number: it opens, and never seals */
    size_t providers; /* that show it */
    size_t providers_proven;               /* of which a worker opened its witness */
    bool proven[KEK_CONFIG_PROVIDERS_MAX]; /* which they are */
    struct {
        uint64_t opened_ms; /* of kek_clock_ms(): when a worker last opened it; 0: none has */
        bool fails;         /* a worker shows it as fit, and does not open it */
    } canary[KEK_CONFIG_PROVIDERS_MAX];
    bool in_use;       /* what it sealed still counts, as far as this node knows */
    uint64_t asked_ms; /* of kek_clock_ms(): when a Decrypt last came for it; 0: none has */
    struct kek_keyring_history history;
};
size_t kek_keyring_versions(const struct kek_keyring *ring, struct kek_keyring_version *versions,
                            size_t max);

/* What the root of trust of a KEK that is announced is called, by the versions of all roots: the one whose primary it is,
 * before another that has it, too.  Borrowed from them; "" where it is none's, or its root has no name. */
const char *kek_keyring_root_of(const struct kek_keyring_version *versions, size_t count,
                                const struct kek_id *kek_id);

/* A Decrypt asked for it. Where it is suspended, or was destroyed, that is counted, put on record and told. */
void kek_keyring_asked(struct kek_keyring *ring, const struct kek_id *kek_id);

/* Was it destroyed, as far as this node has seen?  It is no version any more then. */
bool kek_keyring_was_destroyed(const struct kek_keyring *ring, const struct kek_id *kek_id,
                               uint32_t *number);

/* The versions that were, oldest first. */
size_t kek_keyring_destroyed(const struct kek_keyring *ring, struct kek_keyring_history *list,
                             size_t max);

#define KEK_KEYRING_HISTORY_MAX 64 /* versions that a node remembers */

/* The same of the record on disk, whether kekd runs or not, and those among them that came back: for kekctl. As
 * kek_keyring_recorded(). */
enum kek_rc
kek_keyring_recorded_destroyed(const struct kek_config *config,
                               struct kek_keyring_history list[static KEK_KEYRING_HISTORY_MAX],
                               size_t *count, struct kek_why *why) KEK_MUST_CHECK;

/* ---- looking again ---- */

/* Somebody waits for the keyring. Cancelling is always possible, and then `done` does not run. */
struct kek_keyring_wait;
void kek_keyring_cancel(struct kek_keyring_wait *wait);

/* Waits for another primary to be announced, for 2 s at most.  `done` never runs before this returns.  NULL: no
 * newer version is active anywhere, or as below. */
struct kek_keyring_wait *kek_keyring_await(struct kek_keyring *ring, void (*done)(void *arg),
                                           void *arg);

/* Looks again on every provider, with fresh workers, since a library may cache what it listed.  At most
 * one look in 5 s for the whole process, and in 40 s while they find nothing new: who asks in between gets
 * the last one's outcome.  `done` never runs before this returns.  NULL: stopped, or out of memory. */
struct kek_keyring_wait *kek_keyring_look(struct kek_keyring *ring, void (*done)(void *arg),
                                          void *arg);

/* Has this worker open that version's witness, from now on: what the worker did before is proven by it.  With
 * the `handle` of a wrap that very object is to open it, since another session of the worker may know the
 * key by another one; 0: whichever it uses now.
 * `done` never runs before this returns.  It says KEK_OK: it opened; KEK_DAMAGED: the worker uses another
 * key, and is being ended; anything else: it could not be asked, and nothing is proven.
 * NULL: there is no witness, no such worker, or no memory. */
typedef void kek_keyring_checked_fn(void *arg, enum kek_rc rc);
struct kek_keyring_wait *kek_keyring_check(struct kek_keyring *ring, uint64_t worker,
                                           const struct kek_id *kek_id, uint64_t handle,
                                           kek_keyring_checked_fn *done, void *arg);

/* The version's witness as it was wrapped, for a worker that is to open it after a wrap; borrowed until the loop goes on.
 * False: there is none. */
bool kek_keyring_witness(const struct kek_keyring *ring, const struct kek_id *kek_id,
                         enum kek_wrap_alg *alg, struct kek_bytes *wrapped);

/* A worker gave this data key for it, by the object that had wrapped before: is that wrap proven by it?  If not, a
 * check tells why. */
bool kek_keyring_opened(struct kek_keyring *ring, uint64_t worker, const struct kek_id *kek_id,
                        const struct kek_secret *data_key);

/* What traffic showed: an operation that worked counts as a probe of its provider; "no such key" and "may
 * not" have that worker list its keys anew. KEK_DAMAGED of a wrap: the worker, which opens its witness, could not
 * unwrap it itself; it wraps nothing more, and is ended where another wraps. */
void kek_keyring_observe(struct kek_keyring *ring, size_t provider, uint64_t worker,
                         const struct kek_id *kek_id, enum kek_pool_op op, enum kek_rc rc);

/* A data key was wrapped under this version: what wraps by AES-GCM is counted, across restarts. */
void kek_keyring_wrapped(struct kek_keyring *ring, const struct kek_id *kek_id,
                         enum kek_wrap_alg alg);

/* ---- of several roots of trust ---- */

/* Sealing goes on without this root's KEK at this moment: who joins roots says so about once a second, as long as it is so.
 * It is on its way to the record with the first word, and remarked once it is over, until kek_keyring_put_protected() has said that
 * what was read more than six minutes later lacks this root nowhere.  A stop writes down that it ends there. */
void kek_keyring_lapsed(struct kek_keyring *ring);
/* From this moment on it does not any more: it is remarked at once.  Without that word it is over 5 s after the last one. */
void kek_keyring_lapse_over(struct kek_keyring *ring);
/* Was it ever so, by the record, and nobody has shown since that nothing lacks it? */
bool kek_keyring_has_lapsed(const struct kek_keyring *ring);

/* For kekctl, which reads etcd: what it began to read at read_ms, since 1970, lacked none of these roots anywhere.  Blocks, while another
 * process writes down what it found, too; KEK_UNAVAILABLE if that takes 10 s. */
enum kek_rc kek_keyring_put_protected(const struct kek_config *config, const char *const *roots,
                                      size_t count, int64_t read_ms,
                                      struct kek_why *why) KEK_MUST_CHECK;
/* When that last was so of the root that config is the view of; 0: nobody has said it. Blocks; any thread. */
int64_t kek_keyring_protected(const struct kek_config *config);

/* ---- the verdict ---- */

enum kek_keyring_state {
    KEK_KEYRING_GOOD = 0,
    KEK_KEYRING_STARTING, /* nothing is announced yet, or nobody who answers has opened the primary yet */
    KEK_KEYRING_OUTAGE, /* none answers, or only those without the primary while one that had it is away */
    KEK_KEYRING_SHUT, /* the primary may wrap on no token that answers: nothing new can be sealed */
    KEK_KEYRING_LOSS, /* tokens answer, and the primary is gone from all that had it */
};

const char *kek_keyring_state_name(enum kek_keyring_state state); /* "good", "starting", ... */

/* What is to be mended although this node serves. */
enum kek_keyring_remark {
    KEK_KEYRING_NO_REMARK = 0,
    KEK_KEYRING_STATE_DIR_REPLACED, /* its path does not name the folder any more that kekd locked */
    KEK_KEYRING_PROVIDER_DOWN,      /* one does not answer */
    KEK_KEYRING_WRONG_KEY,          /* a worker uses another key under a version's name */
    KEK_KEYRING_TWO_KEYS,           /* are active under one number */
    KEK_KEYRING_COMPROMISED, /* a version is marked so: what it sealed is to be sealed anew */
    KEK_KEYRING_SUSPENDED,   /* a version is: what it sealed does not open */
    KEK_KEYRING_DESTRUCTION_SCHEDULED, /* its provider destroys a version by itself, at a time that it says */
    KEK_KEYRING_UNATTESTED, /* its HSM has not stated, verifiably, what its key is, and it is used all the same */
    KEK_KEYRING_VERSION_LOST,    /* one in use, and not the primary, opens on no provider */
    KEK_KEYRING_CANARY_FAILED,   /* a provider shows it as fit, and does not open its witness */
    KEK_KEYRING_VERSION_BACK,    /* it was destroyed, and a token shows it again */
    KEK_KEYRING_VERSION_LACKING, /* one that answers does not open what another does */
    KEK_KEYRING_VERSION_WAITS,   /* it is active, and not announced after settle and a refresh */
    KEK_KEYRING_UNDER_PROTECTED, /* what was sealed for a time may not open by this root of trust */
    KEK_KEYRING_ROOT_OUT, /* one root of trust of several cannot wrap, or is sealed without */
    KEK_KEYRING_ROOT_NOT_NEEDED, /* in mode all what lacks one root of trust opens, too, for the time of a change */
    KEK_KEYRING_SOCKET_GONE, /* no client can connect: the socket is not at its path any more */
};
#define KEK_KEYRING_REMARKS_MAX 16

const char *kek_keyring_remark_name(enum kek_keyring_remark remark); /* "provider_down", ... */

/* Everything that tells how things are is rendered from this. */
struct kek_keyring_verdict {
    enum kek_keyring_state state;
    enum kek_keyring_remark remark; /* what a remark is about; none in the verdict itself */
    bool pending; /* while starting: a worker or an answer that is under way will tell */
    uint64_t since_ms;
    uint32_t version; /* the one concerned; 0: none in particular */
    size_t provider;  /* likewise; KEK_POOL_ANY: none */
    uint64_t worker;  /* likewise; 0: none */
    const char *root; /* likewise, of several roots of trust; NULL: none. Borrowed. */
    /* One line without secrets, the cause first; empty when good. */
    char what[KEK_WHY_TEXT + 128]; /* with a provider's own word, whole */
    char todo[200];                /* what to do about it; may be empty */
};

void kek_keyring_verdict(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict);
enum kek_keyring_state kek_keyring_state(const struct kek_keyring *ring); /* the verdict's alone */

/* What is to be mended besides, whatever the verdict: each worded as one, with the time since which it is so. */
size_t kek_keyring_remarks(const struct kek_keyring *ring, struct kek_keyring_verdict *remarks,
                           size_t max);

/* "ok", or what is wrong and what to do about it: one line of UTF-8, cut where `size` bytes end. */
void kek_keyring_verdict_text(const struct kek_keyring_verdict *verdict, char *text, size_t size);

#endif
