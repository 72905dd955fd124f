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
 * A try is on disk before C_Login is sent, and taken back only where the worker's answer proves that the
 * token never saw it: a crash, a SIGKILL or a full memory in the middle leaves it there.  After
 * KEK_LOGIN_TRIES of them without a success the credential is refused like one that the token refused.
 * kekctl may run as root: what it makes belongs to the folder's owner, so that kekd can open it.
 */
#ifndef KEK_POOL_LOGIN_H
#define KEK_POOL_LOGIN_H

#include <limits.h>

#include "provider.pb-c.h"

#include "kek/config.h"
#include "kek/rc.h"

#define KEK_LOGIN_RECORD "pin-refused-"
#define KEK_LOGIN_SLOT_TEXT 17   /* 16 hex digits and a NUL */
#define KEK_LOGIN_ENTRIES_MAX 32 /* of one record; the oldest makes room */
#define KEK_LOGIN_PROVIDER_TEXT 33
#define KEK_LOGIN_TRIES 3 /* that may have been tries of the PIN, since the last success */

struct kek_backend;
struct kek_worker;

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
    unsigned long code; /* the last answer's CK_RV; 0: none came */
    int64_t time_ms;    /* of the wall clock: the last try */
};

struct kek_login_record {
    size_t count;
    struct kek_login_entry entries[KEK_LOGIN_ENTRIES_MAX];
};

/* A worker's login, from its Token to its outcome. */
struct kek_login {
    char slot[KEK_LOGIN_SLOT_TEXT]; /* empty: no Token yet */
    char path[PATH_MAX];            /* of the record */
    struct kek_login_entry now;     /* this one, as it is on record if it is */
    struct kek_login_entry before;  /* what was on record of the credential before it */
    struct kek_login_job *job;      /* it is being written down */
    bool open;                      /* sent, and no outcome yet */
};

/* What the outcome of a login says of the PIN. */
enum kek_login_end {
    KEK_LOGIN_NOT_TRIED, /* the token never saw it */
    KEK_LOGIN_GOOD,
    KEK_LOGIN_REFUSED,
    KEK_LOGIN_UNSURE, /* it may have been a try */
};

/* login_name.c */
/* The value of an attribute of a PKCS#11 URI, as it stands there (RFC 7512 section 2.3), or NULL. `name`
 * ends with "=". */
const char *kek_login_attribute(const char *uri, const char *name, size_t *len);

/* Where this role's PIN comes from, as the configuration says it; for messages. False: from a PIN pad. */
bool kek_login_pin_source(const struct kek_backend *backend, char *out, size_t size);
enum kek_rc kek_login_slot(const char *serial, char slot[static KEK_LOGIN_SLOT_TEXT],
                           struct kek_why *why) KEK_MUST_CHECK;
enum kek_rc kek_login_path(const char *state_dir, const char *head, const char *slot,
                           const char *tail, char path[static PATH_MAX],
                           struct kek_why *why) KEK_MUST_CHECK;
/* Sets worker->login by what its token says of itself. */
enum kek_rc kek_login_of(struct kek_worker *worker, const Kek__Provider__Token *token,
                         struct kek_why *why) KEK_MUST_CHECK;

/* login.c */
enum kek_rc kek_login_state_dir(const char *path, struct kek_why *why) KEK_MUST_CHECK;
/* KEK_UNAVAILABLE: another process or worker holds it. */
enum kek_rc kek_login_lock(const char *state_dir, const char *slot, int *fd,
                           struct kek_why *why) KEK_MUST_CHECK;

bool kek_login_same_pin(const struct kek_login_pin *a, const struct kek_login_pin *b);

/* May the worker, which holds the lock, log in?  KEK_OK: the try is being written down, and
 * kek_start_recorded() runs when it is on disk; or worker->login.job is NULL and there was nothing to
 * write.  KEK_DENIED, KEK_INVALID: not before somebody has changed something.  KEK_UNAVAILABLE: not for
 * *wait_ms.  Others: try again. */
enum kek_rc kek_login_begin(struct kek_worker *worker, uint64_t *wait_ms,
                            struct kek_why *why) KEK_MUST_CHECK;
/* Takes the lock from the worker and lets go of it once the outcome is on disk. What cannot be written
 * becomes the backend's `why`. */
void kek_login_end(struct kek_worker *worker, enum kek_login_end how, unsigned long code);
/* The worker goes: what is being written of it is taken back, since nothing was sent. */
void kek_login_abandon(struct kek_worker *worker);
/* KEK_DENIED: this was refused, or was one try too many without an answer; `path` is the record's. */
enum kek_rc kek_login_refusal(const struct kek_backend *backend,
                              const struct kek_login_entry *entry, const char *path,
                              struct kek_why *why) KEK_MUST_CHECK;
/* How long the next try has to wait after so many; 0 after none. */
uint64_t kek_login_pause(const struct kek_backend *backend, unsigned tries);

/* login_record.c: the record as JSON. KEK_NOT_FOUND: there is none. KEK_INVALID: it is damaged or of an
 * older format, whose refusals are refusals still: nobody logs in past it. */
enum kek_rc kek_login_record_read(const char *path, struct kek_login_record *record,
                                  struct kek_why *why) KEK_MUST_CHECK;
/* To be freed; NULL: no memory. */
char *kek_login_record_text(const struct kek_login_record *record);
void kek_login_record_drop(struct kek_login_record *record, size_t at);
void kek_login_record_add(struct kek_login_record *record, const struct kek_login_entry *entry);

#endif
