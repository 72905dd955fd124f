/*
 * The keyring: KEK versions, their states, who is primary, and the key_id that says so.
 *
 * It lists every provider each `refresh`, proves on each what it may serve with a witness (a small
 * envelope whose data key this KEK wrapped), and announces a primary: the newest version that is
 * active on every provider that answers and that this node has proven.  What it announces is on disk
 * before it is said, and it never goes back.  It also judges health: an outage (nobody answers) and a
 * loss (a token answers and the primary is gone) are different things.
 * One thread: the loop's.  It owns its state file; it borrows the pool.
 */
#ifndef KEK_KEYRING_H
#define KEK_KEYRING_H

#include "kek/envelope.h"
#include "kek/pool.h"

#define KEK_KEY_ID_TEXT 38 /* "kek1-" + 32 hex digits + NUL */

struct kek_keyring;

struct kek_keyring_settings {
    const struct kek_config *config; /* borrowed, outlives the keyring */
    struct kek_pool *pool;           /* borrowed */
    /* A version is about to be announced: have a data key wrapped under it, then call
     * kek_keyring_prepared(). */
    void (*prepare)(void *arg, const struct kek_id *kek_id);
    /* A version may no longer wrap (unwrap): drop what was made under it (was cached from it). */
    void (*lost_wrap)(void *arg, const struct kek_id *kek_id);
    void (*lost_unwrap)(void *arg, const struct kek_id *kek_id);
    /* Something an operator wants to read once: a new primary, a replica with another key, a loss. */
    void (*notice)(void *arg, enum kek_log_level level, const char *text);
    void *arg;
};

/* Reads the state file. NULL: it is damaged (never ignored: why says what to do) or out of memory. */
struct kek_keyring *kek_keyring_new(uv_loop_t *loop, const struct kek_keyring_settings *settings,
                                    struct kek_why *why);
void kek_keyring_start(struct kek_keyring *ring);
void kek_keyring_stop(struct kek_keyring *ring); /* cancels what is under way */
void kek_keyring_free(struct kek_keyring *ring); /* after stop, once the loop has run dry */

/* The pool's `may` and `provider_changed`. */
bool kek_keyring_may(struct kek_keyring *ring, size_t provider, enum kek_pool_op op,
                     const struct kek_id *kek_id);
void kek_keyring_provider_changed(struct kek_keyring *ring, size_t provider);

/* A data key is wrapped under this version: it may be announced. */
void kek_keyring_prepared(struct kek_keyring *ring, const struct kek_id *kek_id);

/* A data key was wrapped under this version: what wraps by AES-GCM is counted, across restarts. */
void kek_keyring_wrapped(struct kek_keyring *ring, const struct kek_id *kek_id,
                         enum kek_wrap_alg alg);

/* What Status announces, and what Encrypt uses: one snapshot. */
struct kek_keyring_primary {
    uint32_t number;
    struct kek_id kek_id;
    char key_id[KEK_KEY_ID_TEXT];
    uint64_t since_ms; /* of kek_clock_ms(): when it was announced by this process */
};

/* False: none was ever announced. */
bool kek_keyring_primary(const struct kek_keyring *ring, struct kek_keyring_primary *primary);

/* The key_id that an envelope under this kek id has: SHA-256("kekd/key_id/1" | u16 length of context
 * | context | mode | kek ids). Pure. */
void kek_keyring_key_id(struct kek_bytes context, uint8_t mode, const struct kek_id *kek_ids,
                        size_t count, char key_id[static KEK_KEY_ID_TEXT]);

enum kek_keyring_knows {
    KEK_KEYRING_UNSEEN = 0, /* nobody shows it, but some provider does not answer now */
    KEK_KEYRING_UNKNOWN,    /* every provider answers, none has it; a refresh may find it */
    KEK_KEYRING_OPENS,      /* some provider unwraps it */
    KEK_KEYRING_CLOSED,     /* it is or was there, and nobody may unwrap it now */
};
enum kek_keyring_knows kek_keyring_find(const struct kek_keyring *ring,
                                        const struct kek_id *kek_id);

/* Can a data key wrapped with `alg` be this version's? Tokens may wrap with several under one KEK, over
 * the years or side by side; but nobody who can write to etcd shall choose AES-CBC, which unwraps
 * anything to something, where nothing known (its witness, what the providers wrap with) does. */
bool kek_keyring_takes(const struct kek_keyring *ring, const struct kek_id *kek_id,
                       enum kek_wrap_alg alg);

/* May new data keys be wrapped under it, by some provider, as last seen? */
bool kek_keyring_wraps(const struct kek_keyring *ring, const struct kek_id *kek_id);

/* Looks again on every provider, at most once in 5 s for the whole process; `done` runs once, soon if
 * the limit or a refresh under way decides it. Never before this returns. False: out of memory, and
 * `done` will not run. */
bool kek_keyring_refresh(struct kek_keyring *ring, void (*done)(void *arg), void *arg);

/* What traffic showed: an operation that worked counts as a probe of it; "no such key" and "may not"
 * start a look. */
void kek_keyring_observe(struct kek_keyring *ring, size_t provider, const struct kek_id *kek_id,
                         enum kek_pool_op op, enum kek_rc rc);

/* Did this provider open its witness of this version within the last minute? */
bool kek_keyring_trusts(const struct kek_keyring *ring, size_t provider,
                        const struct kek_id *kek_id);

/* Can this node tell that version's key from another of its name, or does it know that two disagree?  If
 * not, one provider's "damaged" is worth no more than another's answer. */
bool kek_keyring_has_witness(const struct kek_keyring *ring, const struct kek_id *kek_id);

/* Runs the witness now; `done` says whether it opened, never before this returns. False: there is no
 * witness to run, or no way to run it now, and `done` will not be called. */
bool kek_keyring_check(struct kek_keyring *ring, size_t provider, const struct kek_id *kek_id,
                       void (*done)(void *arg, bool opens), void *arg) KEK_MUST_CHECK;

enum kek_keyring_state {
    KEK_KEYRING_STARTING = 0, /* nothing announced yet */
    KEK_KEYRING_GOOD,
    KEK_KEYRING_OUTAGE, /* no provider answers */
    KEK_KEYRING_LOSS,   /* a token answers, and the primary is gone from all that do */
};

struct kek_keyring_health {
    enum kek_keyring_state state;
    uint64_t since_ms;
    char text[160]; /* one short line without secrets; empty when good */
};

void kek_keyring_health(const struct kek_keyring *ring, struct kek_keyring_health *health);

/* One version over all providers, for metrics and kekctl. */
struct kek_keyring_version {
    uint32_t number;
    struct kek_id kek_id;
    enum kek_state state;
    bool primary;
    size_t providers;        /* that show it */
    size_t providers_proven; /* that opened its witness */
};
size_t kek_keyring_versions(const struct kek_keyring *ring, struct kek_keyring_version *versions,
                            size_t max);

#endif
