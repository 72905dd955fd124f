/*
 * What the pool's files share; nobody else includes it.
 *
 *   pool.c       the face: new, submit, cancel, status, close
 *   shared.c     what all of them need
 *   queue.c      the calls that wait, in order of when they give up
 *   choose.c     which worker a call may go to
 *   dispatch.c   from the queue to a worker
 *   outcome.c    what becomes of a call: its answer, another try, its end
 *   poison.c     blobs on which workers ended
 *   due.c        what time brings: calls that are over, timeouts, hedges
 *   timing.c     how long operations took, and what became of them
 *   supervise.c  how many workers a provider has, when the next may start, what its health is
 *   start.c      one worker's way to ready: Hello, login lock, the try on record, Login
 *   worker.c     one process and its socket
 *   answer.c     what comes out of that socket
 *   message.c    the messages themselves, and how they are sent
 *   program.c    what is run: program, arguments, environment, user
 *
 * A call waits in a lane or in `later`, or is in service in one or two workers.  A flight is a request
 * in service in one worker, which owes an answer to it; a flight outlives its call when the call ends
 * first (cancelled, answered elsewhere, out of time), because the worker is still busy with it.
 * Only kek_call_finish() ends a call.  It runs the caller's `done`, which may submit, cancel, end a worker
 * or close the pool: whoever called kek_call_finish() looks at everything afresh afterwards.
 */
#ifndef KEK_POOL_FRONT_H
#define KEK_POOL_FRONT_H

#include <limits.h>
#include <stdalign.h>

#include "provider.pb-c.h"

#include "kek/arena.h"
#include "kek/clock.h"
#include "kek/login.h"
#include "kek/pool.h"
#include "kek/wire.h"

#define KEK_CALL_FLIGHTS 2           /* workers that a call is in service in */
#define KEK_CALL_CRASHES 2           /* that many, and it is not tried again */
#define KEK_POISON_MAX 16            /* blobs remembered */
#define KEK_GHOSTS_MAX 16            /* processes of a provider that SIGKILL did not end */
#define KEK_ARENA_BYTES (96u * 1024) /* an unpacked reply */
#define KEK_PROGRAM_GROUPS_MAX 64    /* of a worker */
#define KEK_FLIGHT_BITS 6            /* of a request's id: which flight */
#define KEK_FLIGHTS_MAX (1u << KEK_FLIGHT_BITS)
_Static_assert(KEK_CONFIG_PROVIDERS_MAX <= 32, "a bit per provider");
_Static_assert(KEK_CONFIG_SESSIONS_MAX <= 1 << KEK_FLIGHT_BITS, "a flight's number fits its bits");

/* Milliseconds. The pool's own; tests shorten them. */
struct kek_pool_times {
    uint64_t lock_retry; /* between two tries for the login lock */
    uint64_t leave;      /* from a closed socket to SIGKILL */
    uint64_t login;      /* a pool that closes waits that long for a login in progress */
    uint64_t ghost;      /* from SIGKILL to giving up on the process */
    uint64_t eof;        /* from end-of-file to exit, before the worker counts as broken */
    uint64_t pin_stat;   /* between two looks at a refused PIN's file */
    uint64_t pin_look;   /* between two starts that look whether the PIN may be tried now */
    uint64_t unready;    /* without a ready worker before calls fail at once */
    uint64_t storm;      /* three ready workers lost within this: back off */
    uint64_t poison;     /* a blob that crashed two workers is remembered */
    uint64_t memory;     /* between two questions for a worker's memory */
    uint64_t busy;       /* a call waits after the first "busy"; doubles to 16 times that */
};

struct kek_lane;

struct kek_pool_call {
    struct kek_pool *pool;
    struct kek_lane *lane;
    struct kek_pool_call **queue; /* that it waits in, the first to wake first; NULL: in service */
    struct kek_pool_call *next, *prev;
    uint64_t wake_ms;
    uint64_t sequence;

    struct kek_worker *workers[KEK_CALL_FLIGHTS]; /* in service there; filled from the front */
    unsigned slots[KEK_CALL_FLIGHTS];
    size_t avoid;    /* the provider that failed it last, or KEK_POOL_ANY */
    uint32_t cannot; /* a bit per provider of which two workers said so: not asked again */
    uint64_t said_no[KEK_CONFIG_PROVIDERS_MAX]; /* the first worker of each that said so; 0: none */
    unsigned crashes, busy;
    uint64_t hedge_ms, give_up_ms, deadline_ms, span_ms;
    struct kek_why why; /* the last failure; rc KEK_OK if none */
    bool fresh;         /* a worker is started for it */
    bool settled;       /* why is an answer: no retry, only another flight can better it */
    size_t settled_by;  /* the provider that gave it */
    uint64_t settled_worker;

    uint32_t number;
    enum kek_state state;
    enum kek_wrap_alg alg;
    uint64_t handle;
    bool copy, audit;
    struct kek_secret *data_key;
    kek_pool_done_fn *done;
    void *arg;
    size_t blob_len;
    uint8_t blob[];
};

/* Calls that may go to the same workers: if the first cannot be sent, nor can the others. */
struct kek_lane {
    struct kek_lane *prev, *next;
    enum kek_pool_op op;
    size_t provider;
    struct kek_id kek_id;
    uint64_t newer_than; /* only workers with a higher serial may answer */
    uint64_t worker;     /* the only one that may answer; 0: any */
    uint64_t not_worker; /* the one that may not; 0: none */
    struct kek_pool_call *queue;
    size_t calls; /* that belong to it, waiting or not */
};

struct kek_flight {
    uint64_t id;                /* 0: free */
    struct kek_pool_call *call; /* NULL: it ended before its answer came */
    enum kek_pool_op op;
    uint64_t sent_us, due_ms;
    bool aside; /* its call names the worker */
    bool opens; /* a wrap, after which the worker opens the witness that came with it */
    bool timed_out;
    bool unsent; /* the worker was gone already: it never had the request */
};

enum kek_worker_state {
    KEK_WORKER_HELLO = 0, /* Hello is sent */
    KEK_WORKER_LOCK,      /* waiting for the login lock */
    KEK_WORKER_LOGIN,     /* Login is sent */
    KEK_WORKER_READY,
    KEK_WORKER_DRAIN,   /* a successor is ready: no new calls */
    KEK_WORKER_SUSPECT, /* a call timed out or the link is gone: no new calls */
    KEK_WORKER_EOF,     /* its end is closed: waiting to hear how it ended */
    KEK_WORKER_ENDED,   /* kek_pool_end() ended it: its calls are dealt with in a moment */
    KEK_WORKER_LEAVING, /* our end is closed: waiting for its exit */
    KEK_WORKER_KILLED,
    KEK_WORKER_GHOST, /* SIGKILL did not end it: not waited for */
    KEK_WORKER_GONE,
};

struct kek_worker {
    struct kek_worker *prev, *next;
    struct kek_backend *backend;
    enum kek_worker_state state;
    uint64_t serial;                   /* in order of spawning, over all providers */
    char token[KEK_TOKEN_SERIAL_TEXT]; /* the serial of the one that it found; empty: none yet */
    int fd;
    uv_process_t process;
    uv_poll_t poll;
    uv_timer_t timer;
    unsigned handles; /* open libuv handles; 0: it may be freed */
    bool exited, was_ready;
    bool ended_ready; /* it was ready when its socket ended, or when it was ended */
    bool alone;       /* it works on a call that a worker crashed on, and on nothing else */
    bool deaf;        /* it could not be sent to: the end of its socket is on its way */
    int exit_status, exit_signal;
    struct kek_why end_why; /* why it was ended */

    struct kek_version *versions; /* as its start showed them */
    size_t version_count;

    uint64_t start_due_ms;
    uint64_t hand_id; /* of Hello or Login */
    struct kek_login login;

    uint64_t sequence;
    uint64_t free;           /* a bit per free flight */
    unsigned running, aside; /* flights; those of calls that name it */
    uint64_t operations, recycle_at;
    uint64_t memory, memory_at_op, memory_at_ms; /* as it last said, and when it was asked */
    uint64_t memory_base;                        /* its first answer after Ready; 0: none yet */
    bool worn;                                   /* to be replaced */
    struct kek_flight flights[];
};

/* What is run for a provider's workers; it must not move. */
struct kek_program {
    char *argv[8]; /* of the texts below, NULL-terminated; the first is the path */
    char **env;    /* owned, its strings are not */
    char as[PATH_MAX], worker[PATH_MAX];
    char uid[12], gid[12], groups[KEK_PROGRAM_GROUPS_MAX * 12];
};

/* A version that was shown earlier. */
struct kek_known {
    uint32_t number;
    struct kek_id id;
};

struct kek_backend {
    struct kek_pool *pool;
    size_t index;
    const struct kek_config_provider *config;
    struct kek_program program;
    unsigned target, sessions; /* workers wanted, sessions of each for traffic */
    unsigned
        slots; /* of a worker: sessions that serve, and flights; one more, for calls that name it */
    struct kek_worker *workers;
    uv_timer_t timer; /* the next start */
    uv_fs_poll_t pin_poll;
    uint64_t next_start_ms;
    unsigned failed_starts, storms;
    uint64_t lost_ms[3];
    bool pin_blocked; /* a start only looks whether the PIN file has changed */
    struct kek_login_provider logins;
    uint64_t fresh_serial; /* the fresh calls wait for a worker with a higher serial */
    size_t fresh_calls;
    bool ever_ready, ever_failed;
    bool changed; /* provider_changed is due */
    uint64_t unready_since_ms;

    struct kek_pool_provider status; /* but for what its workers are doing now */
    bool slot_known, slot_doubted;   /* not told to the next worker while in doubt */
    struct kek_pool_timing timings[KEK_POOL_OPS_TIMED];
    uint64_t slot;
    enum kek_wrap_alg alg;
    struct kek_known known[KEK_PROVIDER_VERSIONS_MAX];
    size_t known_count;
};

struct kek_poison {
    uint64_t until_ms;
    size_t len;
    uint8_t blob[KEK_WRAPPED_MAX];
};

struct kek_pool {
    uv_loop_t *loop;
    struct kek_pool_settings settings;
    const struct kek_config *config;
    struct kek_pool_times times;
    struct kek_backend *backends;
    size_t backend_count;
    struct kek_lane *lanes;
    struct kek_pool_call *later; /* calls that a busy token sent back */
    size_t calls, waiting;
    uint64_t sequence, serial;
    uv_timer_t timer;
    uv_timer_cb on_due;
    uint64_t armed_ms;
    bool started, closing;
    bool recheck;     /* every provider is to be looked at */
    unsigned handles; /* timers and workers that libuv still knows */
    void (*closed)(void *arg);
    void *closed_arg;
    struct kek_poison poison[KEK_POISON_MAX];
    size_t poison_next;

    struct kek_provider_versions listed; /* of the answer at hand */
    struct kek_provider_tried tried;     /* the same */
    struct kek_provider_maced maced;     /* the same */
    struct kek_arena arena;              /* of arena_bytes */
    alignas(16) uint8_t arena_bytes[KEK_ARENA_BYTES];
    uint8_t in[KEK_PROVIDER_MESSAGE_MAX + 1];
    uint8_t out[KEK_PROVIDER_MESSAGE_MAX];
};

/* known.c */
void kek_known_add(struct kek_backend *backend, uint32_t number, const struct kek_id *id);
void kek_known_listed(struct kek_backend *backend, const struct kek_provider_versions *versions);

/* pool.c */
struct kek_pool_times *kek_pool_times(struct kek_pool *pool); /* for tests, before start */

/* shared.c */
void kek_pool_due(struct kek_pool *pool, uint64_t at_ms); /* look again at that time */
uint64_t kek_pool_later(uint64_t at, uint64_t span);      /* their sum, at most KEK_NEVER */
uint64_t kek_pool_jitter(uint64_t value);                 /* +-20 % */
void kek_pool_check_closed(struct kek_pool *pool);
/* The worker after that one, over all providers; NULL: the first, or the last was that. */
struct kek_worker *kek_worker_next(const struct kek_pool *pool, const struct kek_worker *worker);
#define WORKER_FOREACH(pool, worker)                               \
    for ((worker) = kek_worker_next(pool, NULL); (worker) != NULL; \
         (worker) = kek_worker_next(pool, worker))
struct kek_worker *kek_pool_worker(const struct kek_pool *pool, uint64_t serial); /* or NULL */
bool kek_pool_op_once(enum kek_pool_op op); /* must not be sent twice */

/* queue.c */
void kek_queue_push(struct kek_pool_call **queue, struct kek_pool_call *call, uint64_t wake_ms);
void kek_queue_remove(struct kek_pool_call *call);
/* A call more, or less, belongs to the lane: it is there as long as there is one. NULL: no memory. */
struct kek_lane *kek_lane_join(struct kek_pool *pool, const struct kek_pool_request *request,
                               uint64_t newer_than);
void kek_lane_leave(struct kek_pool *pool, struct kek_lane *lane);

/* choose.c */
#define KEK_WORKER_IS_GONE "that worker is gone"
/* The worker to send it to, or NULL. Never `except`; one of the provider to avoid only where no other may
 * serve and has room. */
struct kek_worker *kek_choose(const struct kek_pool_call *call, size_t avoid,
                              const struct kek_worker *except);
/* The worker answered with this failure. Is another one ready that has not, and may know better? */
bool kek_choose_another(struct kek_pool_call *call, const struct kek_worker *worker,
                        enum kek_rc rc);
bool kek_choose_judged(const struct kek_worker *worker); /* of a ready one */
bool kek_choose_serves(const struct kek_backend *backend, const struct kek_lane *lane);
bool kek_choose_ready(const struct kek_backend *backend, const struct kek_lane *lane);
/* Can waiting help? Otherwise why says what is wrong with every provider that may serve it, or that the
 * worker it names is gone. */
enum kek_rc kek_choose_hope(const struct kek_pool *pool, const struct kek_lane *lane,
                            struct kek_why *why) KEK_MUST_CHECK;

/* timing.c */
enum kek_came { KEK_CAME_ANSWER, KEK_CAME_FAILURE, KEK_CAME_TIMEOUT, KEK_CAME_NOTHING };
void kek_timing_count(const struct kek_worker *worker, unsigned slot, enum kek_came came);

/* dispatch.c */
void kek_dispatch(struct kek_pool *pool); /* sends all that can be sent */
bool kek_dispatch_one(struct kek_pool_call *call);
bool kek_dispatch_second(struct kek_pool_call *call); /* to another worker too, if one has room */
void kek_call_wait(struct kek_pool_call *call);

/* poison.c */
bool kek_poison_is(const struct kek_pool *pool, struct kek_bytes blob);
void kek_poison_remember(struct kek_pool_call *call);

/* due.c */
void kek_due(uv_timer_t *timer);

/* outcome.c */
/* The worker's flight is over. `why` is NULL if it answered well. */
void kek_flight_done(struct kek_worker *worker, unsigned slot, struct kek_pool_result *result,
                     const struct kek_why *why);
enum kek_lost {
    KEK_LOST_LINK,
    KEK_LOST_TIMEOUT,
    KEK_LOST_KILLED,
    KEK_LOST_CRASHED,
    KEK_LOST_UNSENT,
    KEK_LOST_BUSY,
};
void kek_flight_lost(struct kek_worker *worker, unsigned slot, enum kek_lost how,
                     const struct kek_why *why);
void kek_call_finish(struct kek_pool_call *call, enum kek_rc rc, struct kek_pool_result *result,
                     const struct kek_why *why);
/* Nobody answers it any more: an answer that could have been bettered stands, else it fails. */
void kek_call_fail(struct kek_pool_call *call, const struct kek_why *why);
/* Ends the waiting calls that wait for a new PIN file alone, or for a worker that is gone. */
void kek_call_fail_hopeless(struct kek_pool *pool);

/* supervise.c */
void kek_backend_ensure(struct kek_backend *backend); /* lets a worker go, starts one */
void kek_backend_tell(struct kek_backend *backend);   /* provider_changed is due, from the loop */
/* No worker starts before that many ms are over. */
void kek_backend_start_after(struct kek_backend *backend, uint64_t delay);
void kek_backend_judge(struct kek_backend *backend, const struct kek_why *why);
void kek_backend_start_failed(struct kek_backend *backend, bool at_login,
                              const struct kek_why *why);
void kek_backend_pin_refused(struct kek_backend *backend, const struct kek_why *why);
/* Looks at the PIN's file until a worker is ready; empty: there is none. */
void kek_backend_watch_pin(struct kek_backend *backend, const char *path);
void kek_backend_became_ready(struct kek_backend *backend);
void kek_backend_lost_ready(struct kek_backend *backend, const struct kek_why *why);
void kek_backend_on_timer(uv_timer_t *timer);

/* start.c */
void kek_start_begin(struct kek_worker *worker);
/* A message before ready. */
void kek_start_reply(struct kek_worker *worker, const Kek__Provider__Reply *reply);
void kek_start_on_timer(struct kek_worker *worker);
/* The pool closes: waits up to `times.login` for a login in progress; false if there is none. */
bool kek_start_hear_out(struct kek_worker *worker);
/* The worker is no use before it was ready. */
void kek_start_failed(struct kek_worker *worker, bool kill, const struct kek_why *why);

/* worker.c */
bool kek_worker_spawn(struct kek_backend *backend, struct kek_why *why);
bool kek_worker_alive(const struct kek_worker *worker); /* its process takes sessions */
void kek_worker_on_timer(uv_timer_t *timer);
void kek_worker_close(struct kek_worker *worker); /* lets it leave */
void kek_worker_kill(struct kek_worker *worker);
/* No more calls for it; it is replaced at once, and leaves or dies when its calls are over. */
void kek_worker_suspect(struct kek_worker *worker, const struct kek_why *why);
void kek_worker_drain(struct kek_worker *worker);
/* The worker's keys are wrong: nothing more is sent to it or read from it.  The caller may be the `done` of a
 * call that it owes: kek_worker_end_service() deals with those, from the loop. */
void kek_worker_end(struct kek_worker *worker, const struct kek_why *why);
void kek_worker_end_service(struct kek_worker *worker);
void kek_worker_check_over(
    struct kek_worker *worker);                  /* a flight less: time to close or to kill? */
void kek_worker_wear(struct kek_worker *worker); /* counts an operation; may start a recycle */
void kek_worker_broken(struct kek_worker *worker, const char *what);
void kek_worker_gone(struct kek_worker *worker); /* forgets the process, which may not have ended */
/* answer.c: reads all that the worker has sent. */
void kek_worker_read(struct kek_worker *worker);
void kek_worker_ended(struct kek_worker *worker); /* end-of-file */

/* message.c */
/* Packs into the pool's buffer; 0: too large. */
size_t kek_message_pack(struct kek_pool *pool, const Kek__Provider__Request *request);
/* Sends the first `len` bytes of that buffer and wipes them. */
void kek_message_send(struct kek_worker *worker, size_t len);
/* Unpacks pool->in into the arena; NULL: not a message. Good until kek_message_wipe(). */
Kek__Provider__Reply *kek_message_unpack(struct kek_pool *pool, size_t len);
void kek_message_wipe(struct kek_pool *pool);
size_t kek_message_hello(struct kek_backend *backend, uint64_t id);
size_t kek_message_call(struct kek_pool *pool, const struct kek_flight *flight, bool say_memory);
/* What was proven of a key, if anything was. */
bool kek_message_is_alg(Kek__Provider__WrapAlg alg);
bool kek_message_versions(size_t count, Kek__Provider__Version *const *wire,
                          struct kek_provider_versions *versions);
bool kek_message_probed(const Kek__Provider__Probed *message, struct kek_provider_probed *probed);
/* describe.c: the same of Described. */
bool kek_message_described(const Kek__Provider__Described *message,
                           struct kek_provider_described *described);
/* attest.c: and of Attested. */
bool kek_message_attested(const Kek__Provider__Attested *message,
                          struct kek_provider_attested *attested);
bool kek_message_maced(const Kek__Provider__Maced *message, struct kek_provider_maced *maced);
void kek_message_tried(const Kek__Provider__Tried *message, struct kek_provider_tried *tried);
void kek_message_failed(const struct kek_backend *backend, const Kek__Provider__Failed *failed,
                        struct kek_why *why);

/* program.c */
enum kek_rc kek_program_find(struct kek_program *program, const char *worker_dir,
                             const struct kek_config_provider *provider, bool officer,
                             struct kek_why *why) KEK_MUST_CHECK;
void kek_program_done(struct kek_program *program);

#endif
