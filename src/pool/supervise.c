#include "front.h"

#include <utlist.h>

/* How many workers a provider has, when the next one may start, and what its health is. */

#define STORM_LOSSES 3
#define BACKOFF_FIRST 100 /* ms, doubled with every failure in a row */
#define BACKOFF_START 1000
#define BACKOFF_LOGIN 30000

struct census {
    unsigned ready, starting, alive, ghosts;
    unsigned judged, worn; /* of the ready ones */
    uint64_t newest;       /* serial of the newest that starts or is ready */
};

static struct census count_workers(const struct kek_backend *backend)
{
    struct census census = {0};
    struct kek_worker *worker;
    DL_FOREACH (backend->workers, worker) {
        bool ready = worker->state == KEK_WORKER_READY;
        bool starting = worker->state < KEK_WORKER_READY;
        census.ready += ready;
        census.judged += ready && kek_choose_judged(worker);
        census.worn += ready && worker->worn;
        census.starting += starting;
        census.alive += kek_worker_alive(worker);
        census.ghosts += worker->state == KEK_WORKER_GHOST;
        if ((ready || starting) && worker->serial > census.newest) {
            census.newest = worker->serial;
        }
    }
    return census;
}

void kek_backend_tell(struct kek_backend *backend)
{
    backend->changed = true;
    kek_pool_due(backend->pool, 0);
}

void kek_backend_judge(struct kek_backend *backend, const struct kek_why *why)
{
    enum kek_pool_health health = KEK_POOL_STARTING;
    if (count_workers(backend).ready > 0) {
        health = KEK_POOL_READY;
    } else if (backend->pin_blocked) {
        health = KEK_POOL_PIN_REFUSED;
    } else if (backend->ever_ready || backend->ever_failed) {
        health = KEK_POOL_DOWN;
    }
    uint64_t now = kek_clock_ms();
    if (health != backend->status.health) {
        if (backend->status.health == KEK_POOL_READY) {
            backend->unready_since_ms = now;
        }
        backend->status.health = health;
        backend->status.since_ms = now;
        kek_backend_tell(backend);
    }
    if (why != NULL) {
        backend->status.why = *why;
        kek_backend_tell(backend);
    }
}

static uint64_t back_off(unsigned failures, uint64_t most)
{
    uint64_t delay = BACKOFF_FIRST;
    for (unsigned i = 1; i < failures && delay < most; i++) {
        delay *= 2;
    }
    return kek_pool_jitter(delay < most ? delay : most);
}

void kek_backend_start_after(struct kek_backend *backend, uint64_t delay)
{
    uint64_t at = kek_clock_ms() + delay;
    if (at > backend->next_start_ms) {
        backend->next_start_ms = at;
    }
}

void kek_backend_start_failed(struct kek_backend *backend, bool at_login, const struct kek_why *why)
{
    struct kek_pool *pool = backend->pool;
    backend->ever_failed = true;
    backend->failed_starts++;
    backend->status.failures++;
    uint64_t most = at_login ? BACKOFF_LOGIN : BACKOFF_START;
    kek_backend_start_after(backend, backend->pin_blocked ? pool->times.pin_look
                                                          : back_off(backend->failed_starts, most));
    kek_backend_judge(backend, why);
}

void kek_backend_pin_refused(struct kek_backend *backend, const struct kek_why *why)
{
    backend->pin_blocked = true;
    kek_backend_start_failed(backend, true, why);
}

/* Another worker says what the PIN's file is now; in between, one looks each `pin_look`, since kekd may not
 * see the file, and `kekctl pin retry` changes none. */
static void on_pin_changed(uv_fs_poll_t *poll, int status, const uv_stat_t *before,
                           const uv_stat_t *now)
{
    struct kek_backend *backend = poll->data;
    (void)status;
    (void)before;
    (void)now;
    if (backend->pin_blocked) {
        backend->next_start_ms = 0;
        kek_backend_ensure(backend);
    }
}

void kek_backend_watch_pin(struct kek_backend *backend, const char *path)
{
    if (path[0] != '\0') {
        (void)uv_fs_poll_start(&backend->pin_poll, on_pin_changed, path,
                               (unsigned)backend->pool->times.pin_stat);
    }
}

void kek_backend_became_ready(struct kek_backend *backend)
{
    backend->ever_ready = true;
    backend->failed_starts = 0;
    backend->pin_blocked = false;
    uv_fs_poll_stop(&backend->pin_poll);
    kek_backend_tell(backend);
    kek_backend_judge(backend, NULL);
    kek_backend_ensure(backend);
    kek_dispatch(backend->pool);
}

void kek_backend_lost_ready(struct kek_backend *backend, const struct kek_why *why)
{
    uint64_t now = kek_clock_ms();
    uint64_t third_last = backend->lost_ms[STORM_LOSSES - 2];
    for (size_t i = STORM_LOSSES - 1; i > 0; i--) {
        backend->lost_ms[i] = backend->lost_ms[i - 1];
    }
    backend->lost_ms[0] = now;
    if (third_last != 0 && now - third_last < backend->pool->times.storm) {
        backend->storms++;
        kek_backend_start_after(backend, back_off(backend->storms, BACKOFF_START));
    } else {
        backend->storms = 0;
    }
    kek_backend_judge(backend, why);
    kek_backend_ensure(backend);
}

/* Does a call wait for a younger worker than any that starts or is ready? */
static bool wants_fresh(const struct kek_backend *backend, const struct census *census)
{
    return backend->fresh_calls > 0 && census->newest <= backend->fresh_serial;
}

/* The worker that is to leave now that one more than the target is ready: a worn one, else the oldest.  It
 * stays until as many others as the target are judged, so that a successor with the wrong keys, or with none,
 * never displaces it.  Such a successor leaves itself when a fresh call needs a younger worker. */
static struct kek_worker *choose_leaver(const struct kek_backend *backend,
                                        const struct census *census)
{
    if (census->ready <= backend->target) {
        return NULL;
    }
    struct kek_worker *worker, *unjudged = NULL;
    bool oldest = true;
    DL_FOREACH (backend->workers, worker) {
        if (worker->state != KEK_WORKER_READY) {
            continue;
        }
        bool judged = kek_choose_judged(worker);
        bool leaves = census->worn > 0 ? worker->worn : oldest;
        if (leaves && census->judged - judged >= backend->target) {
            return worker;
        }
        unjudged = judged ? unjudged : worker;
        oldest = false;
    }
    return wants_fresh(backend, census) ? unjudged : NULL;
}

static bool may_start(const struct kek_backend *backend, const struct census *census,
                      unsigned wanted)
{
    if (census->ready + census->starting >= wanted || census->alive > backend->target ||
        census->ghosts >= KEK_GHOSTS_MAX) {
        return false;
    }
    /* The first login shows whether logging in works at all: no other worker tries before. */
    bool alone = census->ready == 0 || backend->failed_starts > 0 || backend->pin_blocked;
    return !alone || census->starting == 0;
}

void kek_backend_ensure(struct kek_backend *backend)
{
    struct kek_pool *pool = backend->pool;
    if (pool->closing || !pool->started) {
        return;
    }
    struct census census = count_workers(backend);
    struct kek_worker *leaver = choose_leaver(backend, &census);
    if (leaver != NULL) {
        kek_worker_drain(leaver);
        census = count_workers(backend);
    }
    bool replaces = census.worn > 0 || wants_fresh(backend, &census);
    unsigned wanted = backend->target + (replaces ? 1 : 0);
    if (!may_start(backend, &census, wanted)) {
        return;
    }
    struct kek_why why;
    if (kek_clock_ms() >= backend->next_start_ms && !kek_worker_spawn(backend, &why)) {
        kek_backend_start_failed(backend, false, &why);
    }
    /* One at a time from here; more follow from the loop. */
    uint64_t now = kek_clock_ms();
    uint64_t wait = backend->next_start_ms > now ? backend->next_start_ms - now : 0;
    uv_timer_start(&backend->timer, kek_backend_on_timer, wait, 0);
}

void kek_backend_on_timer(uv_timer_t *timer)
{
    kek_backend_ensure(timer->data);
}
