#include "front.h"

#include <utlist.h>

/* Which worker a call may go to, and whether waiting for one can help.  Two processes on one token may see
 * different keys, so the keyring is asked for each worker; a caller may also name or exclude one. */

/* May this worker of the provider (0: one that is not there yet) serve the lane's key? */
static bool may(const struct kek_backend *backend, uint64_t worker, const struct kek_lane *lane)
{
    if (lane->provider != KEK_POOL_ANY) {
        return lane->provider == backend->index;
    }
    const struct kek_pool_settings *settings = &backend->pool->settings;
    return settings->may == NULL ||
           settings->may(settings->arg, backend->index, worker, lane->op, &lane->kek_id);
}

/* Does the lane's caller want this worker's answer? */
static bool is_wanted(const struct kek_worker *worker, const struct kek_lane *lane)
{
    return worker->serial > lane->newer_than && worker->serial != lane->not_worker &&
           (lane->worker == 0 || lane->worker == worker->serial);
}

bool kek_choose_judged(const struct kek_worker *worker)
{
    const struct kek_pool_settings *settings = &worker->backend->pool->settings;
    return settings->judged == NULL ||
           settings->judged(settings->arg, worker->backend->index, worker->serial);
}

/* A provider serves the lane if one of its ready workers may.  One that has no judged worker yet counts by what
 * its next one may, as far as is known: the keyring judges a new worker in a moment. */
bool kek_choose_serves(const struct kek_backend *backend, const struct kek_lane *lane)
{
    bool any_judged = false;
    const struct kek_worker *worker;
    DL_FOREACH (backend->workers, worker) {
        if (worker->state != KEK_WORKER_READY) {
            continue;
        }
        if (may(backend, worker->serial, lane)) {
            return true;
        }
        any_judged = any_judged || kek_choose_judged(worker);
    }
    return !any_judged && may(backend, 0, lane);
}

/* Is it ready to answer, busy or not? */
static bool answers_now(const struct kek_worker *worker, const struct kek_lane *lane)
{
    return worker->state == KEK_WORKER_READY && is_wanted(worker, lane) &&
           may(worker->backend, worker->serial, lane);
}

bool kek_choose_ready(const struct kek_backend *backend, const struct kek_lane *lane)
{
    const struct kek_worker *worker;
    DL_FOREACH (backend->workers, worker) {
        if (answers_now(worker, lane)) {
            return true;
        }
    }
    return false;
}

/* A worker has a slot more than `sessions`.  It is for calls that name the worker, its checks and lists: they
 * take no room from the traffic that waits for them.
 * A call that was in service in a worker that crashed is tried again alone: if that worker crashes
 * too, it is known which call did it, and no other call is failed with it. */
static bool has_room(const struct kek_worker *worker, const struct kek_pool_call *call)
{
    const struct kek_backend *backend = worker->backend;
    if (worker->state != KEK_WORKER_READY || worker->deaf || worker->alone) {
        return false;
    }
    if (call->crashes > 0) {
        return worker->running == 0;
    }
    bool for_traffic = worker->running - worker->aside < backend->sessions;
    return worker->running < backend->slots && (for_traffic || call->lane->worker != 0);
}

/* Has this worker said that it cannot, or have two of its provider? */
static bool said_no(const struct kek_pool_call *call, const struct kek_worker *worker)
{
    size_t provider = worker->backend->index;
    return (call->cannot >> provider & 1) != 0 || call->said_no[provider] == worker->serial;
}

static struct kek_worker *least_loaded(const struct kek_backend *backend,
                                       const struct kek_pool_call *call,
                                       const struct kek_worker *except)
{
    struct kek_worker *best = NULL, *worker;
    DL_FOREACH (backend->workers, worker) {
        if (worker != except && has_room(worker, call) && is_wanted(worker, call->lane) &&
            !said_no(call, worker) && (best == NULL || worker->running < best->running) &&
            may(backend, worker->serial, call->lane)) {
            best = worker;
        }
    }
    return best;
}

/* The providers are asked in the order of the configuration, the one to avoid last. */
struct kek_worker *kek_choose(const struct kek_pool_call *call, size_t avoid,
                              const struct kek_worker *except)
{
    const struct kek_pool *pool = call->pool;
    for (size_t i = 0; i <= pool->backend_count; i++) {
        size_t index = i < pool->backend_count ? i : avoid;
        if ((i < pool->backend_count) == (index == avoid) || index >= pool->backend_count) {
            continue;
        }
        struct kek_worker *worker = least_loaded(&pool->backends[index], call, except);
        if (worker != NULL) {
            return worker;
        }
    }
    return NULL;
}

/* A worker that cannot do what its start proved, or is not let use the key, may be wrong alone, and so may
 * its provider: the pool asks the others, two workers of each provider at most, before the caller hears that.
 * Damage, a missing key and a key's state go to the caller at once, who knows more about them than the pool. */
bool kek_choose_another(struct kek_pool_call *call, const struct kek_worker *worker, enum kek_rc rc)
{
    if (call->lane->provider != KEK_POOL_ANY ||
        (rc != KEK_UNIMPLEMENTED && rc != KEK_INTERNAL && rc != KEK_DENIED)) {
        return false;
    }
    size_t provider = worker->backend->index;
    if (call->said_no[provider] == 0) {
        call->said_no[provider] = worker->serial;
    } else {
        call->cannot |= UINT32_C(1) << provider;
    }
    call->avoid = provider;
    const struct kek_worker *other;
    WORKER_FOREACH (call->pool, other) {
        if (answers_now(other, call->lane) && !said_no(call, other)) {
            return true;
        }
    }
    return false;
}

/* The providers that a call in this lane could go to; if the keyring names none now, any. */
static bool is_candidate(const struct kek_backend *backend, const struct kek_lane *lane, bool any)
{
    return any ? lane->provider == KEK_POOL_ANY : kek_choose_serves(backend, lane);
}

static bool is_ready(const struct kek_pool *pool, uint64_t serial)
{
    const struct kek_worker *worker = kek_pool_worker(pool, serial);
    return worker != NULL && worker->state == KEK_WORKER_READY;
}

enum kek_rc kek_choose_hope(const struct kek_pool *pool, const struct kek_lane *lane,
                            struct kek_why *why)
{
    if (lane->worker != 0) {
        return is_ready(pool, lane->worker) ? KEK_OK
                                            : kek_fail(why, KEK_UNAVAILABLE, KEK_WORKER_IS_GONE);
    }
    uint64_t now = kek_clock_ms();
    const struct kek_backend *worst = NULL;
    bool all_pin = true;
    for (unsigned any = 0; any < 2 && worst == NULL; any++) {
        for (size_t i = 0; i < pool->backend_count; i++) {
            const struct kek_backend *backend = &pool->backends[i];
            if (!is_candidate(backend, lane, any == 1)) {
                continue;
            }
            bool pin = backend->status.health == KEK_POOL_PIN_REFUSED;
            if (backend->status.health == KEK_POOL_READY ||
                (!pin && now - backend->unready_since_ms < pool->times.unready)) {
                return KEK_OK;
            }
            worst = worst == NULL ? backend : worst;
            all_pin = all_pin && pin;
        }
    }
    if (worst == NULL) {
        return KEK_OK;
    }
    enum kek_rc rc = all_pin ? KEK_DENIED : KEK_UNAVAILABLE;
    if (worst->status.why.rc == KEK_OK) {
        return kek_fail(why, rc, "%s: no worker is ready yet", worst->config->name);
    }
    if (why != NULL) {
        *why = worst->status.why;
        why->rc = rc;
    }
    return rc;
}
