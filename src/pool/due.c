#include "front.h"

#include <utlist.h>

/* What time brings: calls whose time is over, workers that do not answer, second tries, and what others left to be done
 * from the loop. */

#define NONE_READY "no worker that may serve it became ready in time"

/* Its time in the queue is over. */
static void give_up(struct kek_pool_call *call)
{
    const struct kek_pool *pool = call->pool;
    struct kek_why why;
    bool ready = false;
    const struct kek_backend *failed = NULL;
    for (size_t i = 0; i < pool->backend_count; i++) {
        const struct kek_backend *backend = &pool->backends[i];
        ready = ready || kek_choose_ready(backend, call->lane);
        if (failed == NULL && backend->status.why.rc != KEK_OK &&
            kek_choose_serves(backend, call->lane)) {
            failed = backend;
        }
    }
    if (call->why.rc != KEK_OK) {
        why = call->why;
        kek_fail_within(&why, ready ? KEK_DEADLINE : KEK_UNAVAILABLE, "no answer in time");
    } else if (ready) {
        kek_fail(&why, KEK_DEADLINE, "waited %llu ms for a free session",
                 (unsigned long long)call->span_ms);
    } else if (failed != NULL) {
        why = failed->status.why;
        kek_fail_within(&why, KEK_UNAVAILABLE, NONE_READY);
    } else {
        kek_fail(&why, KEK_UNAVAILABLE, NONE_READY);
    }
    kek_call_fail(call, &why);
}

static struct kek_pool_call *first_waiting(struct kek_pool *pool)
{
    struct kek_pool_call *first = pool->later;
    struct kek_lane *lane;
    DL_FOREACH (pool->lanes, lane) {
        struct kek_pool_call *call = lane->queue;
        if (call != NULL && (first == NULL || call->wake_ms < first->wake_ms)) {
            first = call;
        }
    }
    return first;
}

static void wake_waiting(struct kek_pool *pool, uint64_t now)
{
    for (;;) {
        struct kek_pool_call *call = first_waiting(pool);
        if (call == NULL || call->wake_ms > now) {
            return;
        }
        if (call->give_up_ms <= now) {
            give_up(call);
        } else {
            kek_queue_remove(call);
            kek_call_wait(call);
        }
    }
}

static void out_of_time(struct kek_pool_call *call)
{
    struct kek_why why;
    const char *name = call->workers[0]->backend->config->name;
    if (kek_pool_op_once(call->lane->op)) {
        kek_fail(&why, KEK_UNAVAILABLE,
                 "%s: no answer in time: the outcome of %s is unknown, list the keys to see", name,
                 kek_pool_op_name(call->lane->op));
    } else {
        kek_fail(&why, KEK_DEADLINE, "%s: no answer within the call's deadline", name);
    }
    kek_call_fail(call, &why);
}

static void time_out(struct kek_worker *worker, unsigned slot)
{
    struct kek_flight *flight = &worker->flights[slot];
    struct kek_why why;
    kek_fail(&why, KEK_UNAVAILABLE, "%s: no answer to %s within %llu ms",
             worker->backend->config->name, kek_pool_op_name(flight->op),
             (unsigned long long)(flight->due_ms - flight->sent_us / 1000));
    kek_timing_count(worker, slot, KEK_CAME_TIMEOUT);
    flight->timed_out = true;
    kek_worker_suspect(worker, &why);
    kek_flight_lost(worker, slot, KEK_LOST_TIMEOUT, &why);
}

/* A third of the call's time is gone: another worker that has room works on it too. */
static void hedge(struct kek_pool_call *call, uint64_t now)
{
    if (!kek_dispatch_second(call)) {
        call->hedge_ms = kek_pool_later(now, 1 + (call->deadline_ms - now) / 3);
    }
}

static void look_at(struct kek_worker *worker, unsigned slot, uint64_t now)
{
    struct kek_flight *flight = &worker->flights[slot];
    struct kek_pool_call *call = flight->call;
    if (flight->id == 0 || flight->timed_out) {
        return;
    }
    if (call != NULL && now >= call->deadline_ms) {
        out_of_time(call);
    }
    if (flight->id != 0 && now >= flight->due_ms) {
        time_out(worker, slot);
    } else if (flight->call != NULL && now >= flight->call->hedge_ms &&
               flight->call->workers[1] == NULL) {
        hedge(flight->call, now);
    }
}

static uint64_t due_of(const struct kek_flight *flight)
{
    if (flight->id == 0 || flight->timed_out) {
        return KEK_NEVER;
    }
    uint64_t due = flight->due_ms;
    const struct kek_pool_call *call = flight->call;
    if (call != NULL) {
        due = call->deadline_ms < due ? call->deadline_ms : due;
        due = call->hedge_ms < due && call->workers[1] == NULL ? call->hedge_ms : due;
    }
    return due;
}

static void sweep_flights(struct kek_pool *pool, uint64_t now)
{
    struct kek_worker *worker;
    WORKER_FOREACH (pool, worker) {
        for (unsigned slot = 0; slot < worker->backend->slots; slot++) {
            look_at(worker, slot, now);
        }
    }
}

static uint64_t next_due(struct kek_pool *pool)
{
    const struct kek_pool_call *first = first_waiting(pool);
    uint64_t due = first == NULL ? KEK_NEVER : first->wake_ms;
    const struct kek_worker *worker;
    WORKER_FOREACH (pool, worker) {
        for (unsigned slot = 0; slot < worker->backend->slots; slot++) {
            uint64_t at = due_of(&worker->flights[slot]);
            due = at < due ? at : due;
        }
    }
    return due;
}

static void say_changed(struct kek_pool *pool)
{
    for (size_t i = 0; i < pool->backend_count && !pool->closing; i++) {
        struct kek_backend *backend = &pool->backends[i];
        if (backend->changed) {
            backend->changed = false;
            if (pool->settings.provider_changed != NULL) {
                pool->settings.provider_changed(pool->settings.arg, i);
            }
        }
    }
}

static void look_at_providers(struct kek_pool *pool)
{
    bool all = pool->recheck;
    pool->recheck = false;
    for (size_t i = 0; i < pool->backend_count; i++) {
        if (all || pool->backends[i].fresh_calls > 0) {
            kek_backend_ensure(&pool->backends[i]);
        }
    }
}

/* What kek_pool_end() left to do. */
static void end_services(struct kek_pool *pool)
{
    struct kek_worker *worker;
    WORKER_FOREACH (pool, worker) {
        if (worker->state == KEK_WORKER_ENDED) {
            kek_worker_end_service(worker);
        }
    }
}

void kek_due(uv_timer_t *timer)
{
    struct kek_pool *pool = timer->data;
    pool->armed_ms = KEK_NEVER;
    end_services(pool);
    say_changed(pool);
    look_at_providers(pool);
    uint64_t now = kek_clock_ms();
    wake_waiting(pool, now);
    kek_call_fail_hopeless(pool);
    sweep_flights(pool, now);
    kek_dispatch(pool);
    kek_pool_due(pool, next_due(pool));
}
