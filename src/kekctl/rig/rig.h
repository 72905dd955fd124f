/*
 * The workers of one provider for a keyring of throw-away keys, each in a pool of its own, on one
 * loop.
 *
 * Nothing of the operator's keyring is known to them: they are started as kekd and kekctl start
 * theirs, take the token's login turn with all others of this node, and look for keys of that
 * keyring alone.  A question has a deadline, the provider's start_timeout and ten seconds; three
 * failed starts in a row, a refused PIN and a signal that would end the program end it sooner.  One thread.
 */
#ifndef KEKCTL_RIG_H
#define KEKCTL_RIG_H

#include "kek/pool.h"
#include "kekctl/kekctl.h"
#include "kekctl/key/login_log.h"

enum rig_role {
    RIG_OFFICER,   /* changes keys */
    RIG_RUNNING,   /* the same role: a process that was there before */
    RIG_FRESH,     /* the same role: another process for each question that says so */
    RIG_SERVE,     /* as kekd's, with one session */
    RIG_OTHER,     /* the same, another process */
    RIG_SESSIONS,  /* one such process with several sessions */
    RIG_PROCESSES, /* several of them */
    RIG_ROLES
};

#define RIG_SIGNALS 4  /* that end a run: SIGINT, SIGTERM, SIGHUP and SIGQUIT */
#define RIG_KEYRING 40 /* bytes of a keyring's name, with its NUL */

/* What one question brought; each question wipes the last one's answer. */
struct rig_answer {
    struct kek_pool_call *call; /* NULL: it is here */
    enum kek_rc rc;
    struct kek_why why;
    struct kek_id made;
    enum kek_wrap_alg alg;
    size_t blob_len;
    uint8_t blob[KEK_WRAPPED_MAX];
    struct kek_secret *data_key;
    size_t version_count;
    struct kek_version versions[KEK_PROVIDER_VERSIONS_MAX];
    struct kek_provider_tried tried;
    struct kek_provider_probed probed;
};

/* What went wrong with workers, whoever asked, since the rig was opened. */
struct rig_troubles {
    uint64_t spawned;  /* that is none by itself */
    uint64_t crashed;  /* the process ended by itself */
    uint64_t killed;   /* it did not answer in time */
    uint64_t calls;    /* whose answer was a failure, or did not come */
    uint64_t failures; /* those, and starts that failed */
    uint64_t resent;   /* calls that were sent once more after a failure that is no answer */
    uint64_t again; /* calls of the library that a worker made once more, and that went well then */
};

struct rig {
    const struct ctl *ctl;
    size_t place; /* of the provider among the operator's */
    struct login_log logins;
    char keyring[RIG_KEYRING];
    unsigned processes, sessions; /* of the last two roles */
    uv_loop_t loop;
    bool has_loop;
    uv_signal_t signals[RIG_SIGNALS];
    unsigned interrupted; /* how often */
    unsigned
        interruptible; /* a question is given up once it was interrupted more often than this */
    struct rig_answer answer;
    struct rig_troubles gone; /* of pools that are closed */
    struct kek_why last; /* how a start, or a call that went well at another try, failed last */
    struct rig_pool {
        struct rig *rig;
        struct kek_config config; /* the operator's, but for the keyring and the one provider */
        struct kek_config_provider provider; /* all borrowed of the operator's */
        struct kek_pool *pool;               /* NULL: not started */
        bool asked;
        unsigned strikes;
        uint64_t spawned; /* workers, when it was last looked at */
        uint64_t noted;   /* resent and again, when their reason was last looked at */
    } pools[RIG_ROLES];
};

/* A keyring's name: RIG_KEYRING bytes at most.  `versions`, borrowed: keys that stand under
 * other names; NULL: none. False after saying why. In both cases it is to be closed. */
bool rig_open(struct rig *rig, const struct ctl *ctl, const struct kek_config *config,
              size_t provider, const char *keyring, struct kek_config_version *versions,
              size_t version_count);
void rig_close(struct rig *rig);

/* The pool of this role, started; NULL: why says why not. Borrowed. */
struct kek_pool *rig_pool(struct rig *rig, enum rig_role role, struct kek_why *why);
/* Ends its workers, so that it has no session any more. */
void rig_end(struct rig *rig, enum rig_role role);

/* Fills in provider and deadline, and waits. Valid until the next question. */
const struct rig_answer *rig_ask(struct rig *rig, enum rig_role role,
                                 struct kek_pool_request *request);

/* Of the keys that an answer lists, the one with this CKA_ID; NULL: it is not there. */
const struct kek_version *rig_version(const struct rig_answer *answer, const struct kek_id *kek_id);

/* Asks for nothing else than a key's use. */
const struct rig_answer *rig_wrap(struct rig *rig, enum rig_role role, const struct kek_id *kek_id,
                                  const struct kek_secret *data_key);
const struct rig_answer *rig_unwrap(struct rig *rig, enum rig_role role,
                                    const struct kek_id *kek_id, enum kek_wrap_alg alg,
                                    struct kek_bytes blob);

/* How long a question may take, from now on, of kek_clock_ms(). */
uint64_t rig_deadline(const struct rig *rig);

struct rig_troubles rig_troubles(struct rig *rig);
void rig_status(const struct rig *rig, enum rig_role role, struct kek_pool_provider *status);
/* Is there room for no other keyring in its `others`, which may be more of those that kekctl made to
 * try the token by? */
bool rig_trials_unseen(const struct kek_pool_provider *status);
/* Counts the signals that came while another rig was at work. */
void rig_take_signals(struct rig *rig);

#endif
