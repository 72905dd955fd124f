/*
 * Logins, and what is remembered of them in state_dir for every process that logs in to one token:
 *
 *   login-<slot>.lock    held (flock) from before a try of the PIN until its outcome is on disk
 *   pin-refused-<slot>   the tries that were refused, and those that got no clear answer
 *
 * <slot> is the first half of SHA-256 of the token's serial number: the lock may be shared by tokens that
 * share a number, a verdict may not.  A verdict is of one credential: a PIN file (or credential) as it was,
 * on one token, reached by one way.
 *
 * A try is on disk before the login (C_Login, or a service's) is sent, and taken back only where the worker's answer proves that the
 * token never saw it: a crash, a SIGKILL or a full memory in the middle leaves it there.  After
 * KEK_LOGIN_TRIES of them without a success the credential is refused like one that the token refused.
 * One thread: the loop's.  What leads to a login lies in one struct per login, which its worker holds; what is
 * kept between them in one per provider.
 * kekctl may run as root: what it makes belongs to the folder's owner, so that kekd can open it.
 */
#ifndef KEK_LOGIN_H
#define KEK_LOGIN_H

#include <limits.h>

#include <uv.h>

#include "provider.pb-c.h"

#include "kek/config.h"
#include "kek/lock_file.h"
#include "kek/rc.h"

#define KEK_LOGIN_SLOT_TEXT 17 /* 16 hex digits and a NUL */
#define KEK_LOGIN_PROVIDER_TEXT 33
#define KEK_LOGIN_TRIES 3 /* that may have been tries of the PIN, since the last success */

/* The PIN's file as the worker opened it; size 0: there is none (a PIN pad, or no login at all). Its path
 * is left out: one file by two names is one PIN. */
struct kek_login_pin {
    uint64_t inode;
    int64_t mtime_ns;
    uint64_t size;
};

struct kek_login_credential {
    char token[KEK_LOGIN_SLOT_TEXT]; /* digest of serial, label, manufacturer and model */
    char way
        [KEK_LOGIN_SLOT_TEXT]; /* digest of module, slot-id, init_args, env: which of several tokens
                                      * that all say the same of themselves */
    struct kek_login_pin pin;
};

/* One line of a record. */
struct kek_login_entry {
    struct kek_login_credential credential;
    char provider[KEK_LOGIN_PROVIDER_TEXT]; /* whose login it was */
    bool officer;
    bool refused;       /* the token said so; else `tries` got no clear answer */
    unsigned tries;     /* 0: none */
    unsigned long code; /* the last answer's: a CK_RV, a service's HTTP status; 0: none came */
    int64_t time_ms;    /* of the wall clock: the last try */
};

/* Whose logins they are: those of one provider of a pool. */
struct kek_login_provider {
    uv_loop_t *loop; /* borrowed, as the next two */
    const char *state_dir;
    const struct kek_config_provider *config;
    bool officer;
    uint64_t unsure_ms; /* a pause after one unclear login; 30 times that after two */
    /* Runs after each write, from the loop or from within kek_login_end(). `why` is NULL, or an outcome could
     * not be put on record. */
    void (*written)(void *arg, const struct kek_why *why);
    void *arg;
    size_t writes;      /* under way */
    char pin_path[160]; /* of the credential's file, as the last Token had it, for messages */
    /* What the record may be unable to say, since it is written later or cannot be. */
    struct kek_login_entry refused; /* its `refused` says whether it is one */
    bool is_proven;                 /* `proven` has logged in, and nothing unclear has come since */
    struct kek_login_pin proven;
};

/* One login, from the worker's Token to its outcome. Zeroed, with lock_fd -1, it is none yet. */
struct kek_login {
    struct kek_login_provider *provider;
    char slot[KEK_LOGIN_SLOT_TEXT]; /* empty: no Token yet */
    char path[PATH_MAX];            /* of the record */
    struct kek_login_entry now;     /* this one, as it is on record if it is */
    struct kek_login_entry before;  /* what was on record of the credential before it */
    int lock_fd;                    /* -1: it does not hold the lock */
    struct kek_login_job *job;      /* it is being written down */
    void (*recorded)(void *arg, const struct kek_why *why);
    void *arg;
    bool open; /* sent, and no outcome yet */
};

/* What the outcome of a login says of the PIN. */
enum kek_login_end {
    KEK_LOGIN_NOT_TRIED, /* the token never saw it */
    KEK_LOGIN_GOOD,
    KEK_LOGIN_REFUSED,
    KEK_LOGIN_UNSURE, /* it may have been a try */
};

/* Makes the folder if it is not there. KEK_INVALID, KEK_DENIED, KEK_NOT_FOUND: it cannot be used. */
enum kek_rc kek_login_state_dir(const char *path, struct kek_why *why) KEK_MUST_CHECK;

/* The value of an attribute of a PKCS#11 URI, as it stands there (RFC 7512 section 2.3), or NULL. `name`
 * ends with "=". */
const char *kek_login_attribute(const char *uri, const char *name, size_t *len);
/* Where this role's PIN comes from, as the configuration says it; for messages. False: from a PIN pad. */
bool kek_login_pin_source(const struct kek_login_provider *provider, char *out, size_t size);
enum kek_rc kek_login_slot(const char *serial, char slot[static KEK_LOGIN_SLOT_TEXT],
                           struct kek_why *why) KEK_MUST_CHECK;

/* By what the token says of itself. */
enum kek_rc kek_login_init(struct kek_login *login, struct kek_login_provider *provider,
                           const Kek__Provider__Token *token, struct kek_why *why) KEK_MUST_CHECK;
/* KEK_UNAVAILABLE: another process or worker holds the token's lock. */
enum kek_rc kek_login_lock(struct kek_login *login, struct kek_why *why) KEK_MUST_CHECK;
/* Has anybody logged in to a token with that serial, or begun to, since the folder was made? */
bool kek_login_was(const char *state_dir, const char *serial);
/* Who holds it now, of the token with that serial. Takes none. */
struct kek_lock_holder kek_login_turn(const char *state_dir, const char *serial);
/* May it, which holds the lock, go on?  KEK_OK: the try is being written down, and `recorded` runs when it is
 * on disk (`why` NULL) or could not be written; or login->job is NULL and there was nothing to write.
 * KEK_DENIED, KEK_INVALID: not before somebody has changed something.  KEK_UNAVAILABLE: not for *wait_ms.
 * Others: try again. */
enum kek_rc kek_login_begin(struct kek_login *login,
                            void (*recorded)(void *arg, const struct kek_why *why), void *arg,
                            uint64_t *wait_ms, struct kek_why *why) KEK_MUST_CHECK;
/* A full disk must not keep a provider from replacing its workers: where this very PIN has logged in before,
 * one try that is not on record may be taken until the next success. False: it was, or may not. */
bool kek_login_unrecorded(struct kek_login *login);
/* Takes the lock, and lets go of it once the outcome is on disk. */
void kek_login_end(struct kek_login *login, enum kek_login_end how, unsigned long code);
/* No answer will come: what is on record of it stays. */
void kek_login_unanswered(struct kek_login *login);
/* Gives the lock up. What is being written of the try is taken back, since nothing was sent. */
void kek_login_unlock(struct kek_login *login);
/* KEK_DENIED: it was refused, or was one try too many without an answer. */
enum kek_rc kek_login_refusal(const struct kek_login *login, struct kek_why *why) KEK_MUST_CHECK;
/* How many ms the next try has to wait after so many; 0 after none. */
uint64_t kek_login_pause(const struct kek_login_provider *provider, unsigned tries);

#define KEK_LOGIN_SAID 112
/* "no answer to C_Login that may have been a try of the PIN", or "an answer to ... (0x5)" with its code: both in the words
 * of the provider's type. */
void kek_login_say_unsure(const struct kek_login_provider *provider, unsigned long code,
                          char said[static KEK_LOGIN_SAID]);

/* What is on record in state_dir of this provider's logins, the worst of them that is still about its PIN file (or
 * of any, where `pin` is NULL): tries 0: nothing.  Reads without a lock.  KEK_INVALID: a record is damaged, so nobody
 * logs in to its token. */
enum kek_rc kek_login_on_record(const char *state_dir, const char *provider,
                                const struct kek_login_pin *pin, struct kek_login_entry *worst,
                                struct kek_why *why) KEK_MUST_CHECK;

/* Forgets the refused PINs on record in state_dir, or those that this provider's logins met (kekd's and
 * the officers'), so that each is tried once more; *forgotten says how many there were.  It waits at most
 * 10 s a token for a login under way. KEK_INVALID: a record is damaged, and only forgetting all (provider
 * NULL) removes it. */
enum kek_rc kek_login_retry(const char *state_dir, const char *provider, size_t *forgotten,
                            struct kek_why *why) KEK_MUST_CHECK;

#endif
