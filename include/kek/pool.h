/*
 * The pool: every provider's worker processes, and the one queue in front of them.
 *
 * It owns the workers (spawn, handshake, serialised login, deadline, kill, respawn with backoff,
 * recycle) and the calls that wait for them or run in them.  A call ends exactly once: its `done`
 * runs, or the caller cancels it.  Wrap, unwrap and list may be sent again elsewhere after a link
 * failure, inside the call's own deadline, unless they name their worker; generate, set_state, destroy,
 * probe, describe, try_key, attest and mac reach one worker.
 * It knows nothing of envelopes or of who is primary: `may` tells it which worker may serve a key, since
 * two processes on one token may see different keys.  A worker is known by its serial, which no other
 * worker of the pool ever has; a younger worker's is higher.
 * One thread: the loop's.  The pool holds no PIN and no KEK handle.
 */
#ifndef KEK_POOL_H
#define KEK_POOL_H

#include <uv.h>

#include "kek/config.h"
#include "kek/histogram.h"
#include "kek/kek.h"
#include "kek/secret.h"
#include "kek/wire.h"

#define KEK_TOKEN_SERIAL_TEXT 64
#define KEK_POOL_ANY SIZE_MAX   /* any provider that may serve the key */
#define KEK_POOL_QUEUE_MAX 4096 /* calls waiting or running; one more fails with KEK_EXHAUSTED */

struct kek_pool;
struct kek_pool_call;

enum kek_pool_op {
    KEK_POOL_LIST,
    KEK_POOL_WRAP,
    KEK_POOL_UNWRAP,
    KEK_POOL_OPS_TIMED,                     /* those above are what kekd itself asks for */
    KEK_POOL_GENERATE = KEK_POOL_OPS_TIMED, /* officer pools only, as those below */
    KEK_POOL_SET_STATE,
    KEK_POOL_DESTROY,
    KEK_POOL_PROBE,
    KEK_POOL_DESCRIBE,
    KEK_POOL_TRY_KEY,
    KEK_POOL_ATTEST,
    KEK_POOL_MAC, /* any pool */
};

enum kek_pool_login_outcome {
    KEK_POOL_LOGIN_OK,
    KEK_POOL_LOGIN_REFUSED, /* the token says that the PIN is wrong */
    KEK_POOL_LOGIN_UNCLEAR, /* it may have been a try of the PIN */
};

const char *kek_pool_login_name(enum kek_pool_login_outcome outcome); /* "ok", ... */

/* How one login ended; valid while `logged_in` runs. */
struct kek_pool_login {
    size_t provider;
    uint64_t worker;
    const char *token; /* its serial number, printable */
    enum kek_pool_login_outcome outcome;
    const struct kek_why *why; /* NULL if it went well */
};

struct kek_pool_settings {
    const struct kek_config *config; /* borrowed, outlives the pool */
    bool officer;                    /* kekctl's role: one process a provider, officer operations */
    const char *worker_dir; /* where the worker programs are; NULL: beside the executable, else
                             * KEK_LIBEXECDIR */
    /* May this worker serve this key now?  Asked at dispatch for wrap and unwrap to KEK_POOL_ANY; with
     * worker 0 of a provider that has no ready one, or none that is judged: may the next one, as far as is
     * known?  NULL: yes. */
    bool (*may)(void *arg, size_t provider, uint64_t worker, enum kek_pool_op op,
                const struct kek_id *kek_id);
    /* May this worker take the place of one that is to be replaced?  NULL: yes. */
    bool (*judged)(void *arg, size_t provider, uint64_t worker);
    /* A worker became ready or stopped being so, or the provider's health or `why` changed. Runs from the
     * loop, never inside a call of this face. May be NULL. */
    void (*provider_changed)(void *arg, size_t provider);
    /* A PIN was sent to a token, or may have been.  For telling only, since it may run inside
     * kek_pool_close().  May be NULL. */
    void (*logged_in)(void *arg, const struct kek_pool_login *login);
    void *arg;
};

struct kek_pool_request {
    enum kek_pool_op op;
    size_t provider;      /* an index, or KEK_POOL_ANY (wrap and unwrap only) */
    struct kek_id kek_id; /* mac: of the audit log's key; all zeros: whichever there is */
    const struct kek_secret *data_key; /* wrap: copied */
    /* Unwrap and try_key (may be empty): what is to be opened; describe: the name.  Wrap: what the same KEK wrapped
     * before, its witness, which a worker that has nothing else to do opens after the wrap, by the object that
     * wrapped; empty: nothing.  Mac: the text.  Copied. */
    enum kek_wrap_alg alg;
    struct kek_bytes blob;
    uint64_t handle; /* unwrap by the object that wrapped before, as result.handle said; 0: any */
    uint32_t number; /* generate; describe, attest: how many to skip */
    enum kek_state state; /* generate, set_state */
    bool copy;            /* try_key: try a copy too */
    bool audit;           /* generate: the audit log's key; it has no number and no state */
    /* Only a worker spawned after this submission may answer: for what a library caches (a list). It is
     * started beside the others; the oldest leaves once the new one is judged. */
    bool fresh;
    uint64_t worker;     /* the only one that may answer: KEK_UNAVAILABLE once it is gone; 0: any */
    uint64_t not_worker; /* the one that may not answer; 0: none */
    uint64_t deadline_ms; /* of kek_clock_ms() */
};

/* What a call brought; valid while `done` runs. */
struct kek_pool_result {
    size_t provider; /* who answered */
    uint64_t worker; /* and which of its workers */
    const struct kek_version *versions;
    size_t version_count;
    enum kek_wrap_alg alg; /* wrap */
    struct kek_bytes blob; /* wrap */
    uint64_t handle;       /* wrap: of the object that did it, in that worker */
    /* Unwrap; wrap: what the witness gave, NULL where it was not opened, or did not open.  KEK_STEAL it to keep it. */
    struct kek_secret *data_key;
    const struct kek_provider_probed *probed;       /* probe */
    const struct kek_provider_described *described; /* describe */
    const struct kek_provider_tried *tried;         /* try_key */
    const struct kek_provider_attested *attested;   /* attest */
    const struct kek_provider_maced *maced;         /* mac */
    struct kek_id made; /* generate: what it is called, where the provider names its keys itself */
};

/* rc: KEK_OK; KEK_DAMAGED (the token says that the blob is bad; final only where the caller knows
 * that this provider still opens its witness); KEK_PRECONDITION (the key's state forbids it);
 * KEK_NOT_FOUND (no such key there); KEK_DENIED (PIN refused or unusable, or the key is unfit);
 * KEK_UNAVAILABLE, KEK_DEADLINE, KEK_EXHAUSTED, KEK_NO_MEMORY, KEK_UNIMPLEMENTED, KEK_INTERNAL.
 * result: NULL where nobody answered; of a provider's own failure it holds `provider` and `worker`. */
typedef void kek_pool_done_fn(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                              const struct kek_why *why);

/* Spawns nothing yet. NULL on failure: a worker program, user or group cannot be found, kekd may not
 * change to that user, state_dir cannot be made or written, out of memory. */
struct kek_pool *kek_pool_new(uv_loop_t *loop, const struct kek_pool_settings *settings,
                              struct kek_why *why);
/* What an earlier process found the tokens to wrap by: each start's proof tries it first. Before start. */
void kek_pool_prefer(struct kek_pool *pool, enum kek_wrap_alg alg);
/* A version that an earlier process saw. Before start. */
void kek_pool_know(struct kek_pool *pool, uint32_t number, const struct kek_id *kek_id);
void kek_pool_start(struct kek_pool *pool);

/* `done` never runs before this returns. NULL: not accepted, why says why (full, or waiting cannot
 * help: every provider that may serve it has its PIN refused, or none was ready for 5 s). */
struct kek_pool_call *kek_pool_submit(struct kek_pool *pool, const struct kek_pool_request *request,
                                      kek_pool_done_fn *done, void *arg, struct kek_why *why);

/* Forgets the caller; a call still queued never reaches the HSM. `done` will not run. */
void kek_pool_cancel(struct kek_pool_call *call);

/* `may` or `judged` would answer differently now: looks at the waiting calls and at the workers that are
 * to be replaced again, soon. */
void kek_pool_recheck(struct kek_pool *pool);

enum kek_pool_health {
    KEK_POOL_STARTING = 0, /* no worker has been ready yet, none has failed yet */
    KEK_POOL_READY,        /* at least one worker is ready */
    KEK_POOL_DOWN,         /* none is ready; why says the last failure; trying again */
    KEK_POOL_PIN_REFUSED,  /* not trying again until the PIN file changes */
};

struct kek_pool_provider {
    const char *name;
    enum kek_pool_health health;
    uint64_t since_ms; /* of kek_clock_ms(): when health last changed */
    size_t workers_ready;
    size_t calls_running;
    uint64_t spawned, killed, crashed, recycled, ended, operations, failures; /* since the start */
    /* What nobody noticed who asked: calls that were sent once more after a failure that is no answer; calls that a
     * worker itself made once more, and which then went well; and how the last of both failed first. */
    uint64_t resent, again;
    struct kek_why again_why;
    /* Of the token and its library; empty until a worker was ready. */
    char serial[KEK_TOKEN_SERIAL_TEXT], label[64], model[64], firmware[32], library[96];
    /* No version was there when a worker started: what other keyrings the token has keys of; the first
     * empty name ends them. */
    char others[KEK_PROVIDER_OTHERS_MAX][KEK_PROVIDER_OTHER_LEN_MAX];
    bool more_others; /* than have room there */
    /* `why` says that several tokens are alike: their serial numbers; the first empty one ends them. */
    char alike[KEK_PROVIDER_ALIKE_MAX][KEK_PROVIDER_SERIAL_LEN_MAX];
    bool pin_count_low;
    uint64_t birth_memory;  /* a fresh worker's bytes if over recycle_memory, else 0 */
    uint64_t max_sessions;  /* that the token says it allows; 0: no limit is known */
    bool names_keys;        /* it numbers and names new versions itself, and they wrap at once */
    unsigned peak_sessions; /* that kekd's workers of it open at most, while one is replaced */
    struct kek_why why;     /* the last failure; rc KEK_OK if none */
};

/* A worker that is ready. */
struct kek_pool_worker {
    uint64_t serial;
    const char *token; /* the serial of the one that it found; borrowed likewise */
    const struct kek_version
        *versions; /* as its start showed them; borrowed until the loop turns */
    size_t version_count;
};

size_t kek_pool_provider_count(const struct kek_pool *pool);
void kek_pool_provider_get(const struct kek_pool *pool, size_t provider,
                           struct kek_pool_provider *status);
/* Does it tell one token from another?  Some libraries number all of theirs 0. */
bool kek_pool_is_serial(const char *serial);
/* Another provider that has the same token, by serial and model, as far as their workers have been ready;
 * KEK_POOL_ANY: none. The first one is told. */
size_t kek_pool_twin(const struct kek_pool *pool, size_t provider);
size_t kek_pool_queued(const struct kek_pool *pool);

/* What became of one kind of operation, counted once for each worker that it was sent to. */
struct kek_pool_timing {
    /* From being sent to a worker to its answer, good or not, and where none came within `timeout`, until
     * it was given up. What waits in the queue is not in it. */
    struct kek_histogram durations;
    uint64_t failed;   /* in durations: the worker's answer was a failure */
    uint64_t timeouts; /* in durations, with the time waited: nothing was heard within `timeout` */
    uint64_t lost;     /* not in durations: its worker ended first, or never had it */
};
/* op: below KEK_POOL_OPS_TIMED. Borrowed until the loop turns. */
const struct kek_pool_timing *kek_pool_timing(const struct kek_pool *pool, size_t provider,
                                              enum kek_pool_op op);

const char *kek_pool_op_name(enum kek_pool_op op); /* "list", "wrap", "unwrap", ... */

/* The ready workers of a provider, oldest first; returns how many were written. */
#define KEK_POOL_WORKERS_MAX (KEK_CONFIG_PROCESSES_MAX + 1) /* ready ones of a provider, at most */
size_t kek_pool_workers(const struct kek_pool *pool, size_t provider,
                        struct kek_pool_worker workers[static KEK_POOL_WORKERS_MAX]);

/* Does this worker have nothing to do, but calls that name it? */
bool kek_pool_idle(const struct kek_pool *pool, uint64_t worker);

/* Does a worker of the provider start now, and log in? */
bool kek_pool_starts(const struct kek_pool *pool, size_t provider);

/* Has it replaced by a successor: that one first, once it is judged; then its calls finish, and it goes. */
void kek_pool_retire(struct kek_pool *pool, uint64_t worker);

/* Ends it now, since its keys are wrong: what was with it is sent to others. `why` is the provider's until
 * something else fails. */
void kek_pool_end(struct kek_pool *pool, uint64_t worker, const struct kek_why *why);

/* Fails every call with KEK_UNAVAILABLE, waits up to 2 s for a login in progress, closes the sockets, kills
 * the workers that have not left after 500 ms, then runs `closed` once. */
void kek_pool_close(struct kek_pool *pool, void (*closed)(void *arg), void *arg);
void kek_pool_free(struct kek_pool *pool); /* after `closed` */

#endif
