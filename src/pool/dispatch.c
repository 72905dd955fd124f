#include "front.h"

#include <stdio.h>
#include <string.h>

#include <utlist.h>

/* From the queue to a worker and back; choose.c says to which.  After every event all that can be sent has been sent, so a new
 * call finds either a worker with room or a lane whose calls all wait for the same.  Within a lane no
 * call overtakes another: the first in it waits for a worker of its own until one has run dry, or, if a
 * provider has failed it, until another provider has room. */

#define NONE_READY "no worker that may serve it became ready in time"
#define LIST_CALLS 10 /* a list is many HSM calls: its timeout is that many times `timeout` */

static uint64_t later(uint64_t at, uint64_t span)
{
    uint64_t sum;
    return __builtin_add_overflow(at, span, &sum) ? KEK_NEVER : sum;
}

static uint64_t time_limit(const struct kek_flight *flight, const struct kek_worker *worker,
                           uint64_t now)
{
    const struct kek_pool_call *call = flight->call;
    uint64_t timeout = worker->backend->config->timeout_ms;
    if (call->lane->op == KEK_POOL_LIST) {
        timeout *= LIST_CALLS;
    } else if (flight->opens) {
        timeout *= 2; /* it is two operations */
    } else if (kek_pool_op_once(call->lane->op)) {
        return call->deadline_ms; /* cutting it short would only leave its outcome unknown */
    }
    return later(now, timeout);
}

static void launch(struct kek_pool_call *call, struct kek_worker *worker)
{
    struct kek_pool *pool = call->pool;
    unsigned slot = (unsigned)__builtin_ctzll(worker->free);
    struct kek_flight *flight = &worker->flights[slot];
    uint64_t now_us = kek_clock_us(), now = now_us / 1000;
    /* Who has nothing else to do opens the witness in the same go: to be asked for that alone costs a lone wrap as
     * much time again.  With more to do, one opening proves many wraps. */
    flight->opens = worker->running == 0 && call->lane->op == KEK_POOL_WRAP && call->blob_len > 0;
    worker->free &= ~(UINT64_C(1) << slot);
    worker->running++;
    flight->aside = call->lane->worker != 0;
    worker->aside += flight->aside;
    worker->alone = call->crashes > 0;
    flight->id = ++worker->sequence << KEK_FLIGHT_BITS | slot;
    flight->call = call;
    flight->op = call->lane->op;
    flight->timed_out = flight->unsent = false;
    flight->sent_us = now_us;
    flight->due_ms = time_limit(flight, worker, now);
    unsigned at = call->workers[0] == NULL ? 0 : 1;
    call->workers[at] = worker;
    call->slots[at] = slot;
    uint64_t due = flight->due_ms < call->deadline_ms ? flight->due_ms : call->deadline_ms;
    kek_pool_due(pool, due < call->hedge_ms ? due : call->hedge_ms);
    bool say_memory = kek_worker_memory_due(worker);
    kek_worker_send_packed(worker, kek_message_call(pool, flight, say_memory));
    flight->unsent = worker->deaf;
}

bool kek_dispatch_one(struct kek_pool_call *call)
{
    struct kek_worker *worker = kek_choose(call, call->avoid, NULL);
    if (worker == NULL) {
        return false;
    }
    launch(call, worker);
    return true;
}

void kek_dispatch(struct kek_pool *pool)
{
    while (pool->waiting > 0) {
        struct kek_pool_call *first = NULL;
        struct kek_worker *to = NULL;
        struct kek_lane *lane;
        uint64_t now = kek_clock_ms();
        DL_FOREACH (pool->lanes, lane) {
            struct kek_pool_call *call = lane->queue;
            /* One whose time is over is left to kek_dispatch_due(), which ends it in a moment. */
            if (call == NULL || call->give_up_ms <= now ||
                (first != NULL && first->wake_ms <= call->wake_ms)) {
                continue;
            }
            struct kek_worker *worker = kek_choose(call, call->avoid, NULL);
            if (worker != NULL) {
                first = call;
                to = worker;
            }
        }
        if (first == NULL) {
            return;
        }
        kek_queue_remove(first);
        launch(first, to);
    }
}

void kek_call_wait(struct kek_pool_call *call)
{
    kek_queue_push(&call->lane->queue, call, call->give_up_ms);
    kek_pool_due(call->pool, call->give_up_ms);
}

/* The call is no longer in service in this worker. */
static void leave_worker(struct kek_pool_call *call, const struct kek_worker *worker)
{
    unsigned at = call->workers[0] == worker ? 0 : 1;
    if (at == 0) {
        call->workers[0] = call->workers[1];
        call->slots[0] = call->slots[1];
    }
    call->workers[1] = NULL;
}

/* The flight ends, or lives on without its call; returns the call. */
static struct kek_pool_call *detach(struct kek_worker *worker, unsigned slot, bool ends)
{
    struct kek_flight *flight = &worker->flights[slot];
    struct kek_pool_call *call = flight->call;
    flight->call = NULL;
    if (call != NULL) {
        leave_worker(call, worker);
    }
    if (ends) {
        flight->id = 0;
        worker->free |= UINT64_C(1) << slot;
        worker->running--;
        worker->aside -= flight->aside;
        worker->alone = worker->alone && worker->running > 0;
    }
    return call;
}

void kek_call_finish(struct kek_pool_call *call, enum kek_rc rc, struct kek_pool_result *result,
                     const struct kek_why *why)
{
    struct kek_pool *pool = call->pool;
    while (call->workers[0] != NULL) {
        detach(call->workers[0], call->slots[0], false);
    }
    if (call->queue != NULL) {
        kek_queue_remove(call);
    }
    if (call->fresh) {
        pool->backends[call->lane->provider].fresh_calls--;
    }
    kek_lane_leave(pool, call->lane);
    pool->calls--;
    if (call->done != NULL) {
        call->done(call->arg, rc, result, why);
    }
    kek_secret_free(call->data_key);
    free(call);
}

/* The caller hears who said so: a "no" may be the worker's own fault, not the blob's. */
static void finish_answered(struct kek_pool_call *call)
{
    struct kek_why said = call->why;
    struct kek_pool_result result = {.provider = call->settled_by, .worker = call->settled_worker};
    kek_call_finish(call, said.rc, &result, &said);
}

/* Nobody answers the call any more: an answer that could have been bettered stands. */
static void finish_failed(struct kek_pool_call *call, const struct kek_why *why)
{
    if (call->settled) {
        finish_answered(call);
        return;
    }
    struct kek_why said = *why; /* it may be the call's own */
    kek_call_finish(call, said.rc, NULL, &said);
}

void kek_flight_done(struct kek_worker *worker, unsigned slot, struct kek_pool_result *result,
                     const struct kek_why *why)
{
    kek_timing_count(worker, slot, why == NULL ? KEK_CAME_ANSWER : KEK_CAME_FAILURE);
    struct kek_pool_call *call = detach(worker, slot, true);
    worker->backend->status.failures += why != NULL;
    kek_worker_wear(worker);
    kek_worker_check_over(worker);
    kek_dispatch(worker->backend->pool); /* fills the worker's room before the caller is told */
    if (call == NULL) {
        return;
    }
    if (why == NULL) {
        kek_call_finish(call, KEK_OK, result, NULL);
        return;
    }
    call->why = *why; /* an answer that only another worker's can better */
    call->settled = true;
    call->settled_by = worker->backend->index;
    call->settled_worker = worker->serial;
    bool another = kek_choose_another(call, worker, why->rc);
    if (call->workers[0] == NULL && !another) {
        finish_answered(call);
    } else if (call->workers[0] == NULL) {
        kek_call_wait(call);
        kek_dispatch(call->pool);
    }
}

/* A blob of a call that names a provider is not remembered: it is kekd's own, by which the next worker
 * is to be judged too. */
static void remember_poison(struct kek_pool_call *call)
{
    struct kek_pool *pool = call->pool;
    if (call->lane->op != KEK_POOL_UNWRAP || call->lane->provider != KEK_POOL_ANY) {
        return;
    }
    struct kek_poison *poison = &pool->poison[pool->poison_next++ % KEK_POISON_MAX];
    poison->until_ms = later(kek_clock_ms(), pool->times.poison);
    poison->len = call->blob_len;
    memcpy(poison->blob, call->blob, call->blob_len);
}

/* Nobody works on the call any more, and its last failure is not an answer. */
static void try_again(struct kek_pool_call *call, enum kek_lost how)
{
    struct kek_pool *pool = call->pool;
    if (call->crashes >= KEK_CALL_CRASHES) {
        remember_poison(call);
        kek_fail_within(&call->why, KEK_INTERNAL, "two workers ended while they worked on it");
        finish_failed(call, &call->why);
    } else if (how == KEK_LOST_BUSY) {
        unsigned doublings = call->busy < 4 ? call->busy++ : 4;
        uint64_t at = later(kek_clock_ms(), pool->times.busy << doublings);
        at = at < call->give_up_ms ? at : call->give_up_ms;
        kek_queue_push(&pool->later, call, at);
        kek_pool_due(pool, at);
    } else {
        kek_call_wait(call);
    }
}

/* The call's only flight is lost. */
static void lost_last(struct kek_pool_call *call, enum kek_lost how)
{
    const struct kek_lane *lane = call->lane;
    if (call->settled) {
        finish_answered(call);
    } else if (kek_pool_op_once(lane->op) && how != KEK_LOST_UNSENT) {
        if (how != KEK_LOST_BUSY) {
            kek_fail_within(&call->why, KEK_UNAVAILABLE,
                            "the outcome of %s is unknown, list the keys to see",
                            kek_pool_op_name(lane->op));
        }
        finish_failed(call, &call->why);
    } else if (lane->worker != 0 && how != KEK_LOST_BUSY) {
        kek_fail_within(&call->why, KEK_UNAVAILABLE, KEK_WORKER_IS_GONE);
        finish_failed(call, &call->why);
    } else {
        try_again(call, how);
    }
}

void kek_flight_lost(struct kek_worker *worker, unsigned slot, enum kek_lost how,
                     const struct kek_why *why)
{
    struct kek_pool *pool = worker->backend->pool;
    bool said = how == KEK_LOST_LINK || how == KEK_LOST_BUSY;
    kek_timing_count(worker, slot, said ? KEK_CAME_FAILURE : KEK_CAME_NOTHING);
    struct kek_pool_call *call = detach(worker, slot, how != KEK_LOST_TIMEOUT);
    worker->backend->status.failures++;
    kek_worker_check_over(worker);
    if (call != NULL) {
        call->avoid = worker->backend->index;
        if (how == KEK_LOST_CRASHED) {
            call->crashes++;
            call->hedge_ms = KEK_NEVER;
        }
        if (!call->settled) {
            call->why = *why;
        }
        if (call->workers[0] == NULL) { /* else the other worker may still answer */
            lost_last(call, how);
        }
    }
    kek_dispatch(pool);
}

static bool fail_one_hopeless(struct kek_pool *pool)
{
    struct kek_lane *lane;
    DL_FOREACH (pool->lanes, lane) {
        struct kek_why why;
        if (lane->queue == NULL) {
            continue;
        }
        enum kek_rc rc = kek_choose_hope(pool, lane, &why);
        if (rc == KEK_DENIED || (rc != KEK_OK && lane->worker != 0)) {
            finish_failed(lane->queue, &why);
            return true;
        }
    }
    return false;
}

void kek_dispatch_fail_hopeless(struct kek_pool *pool)
{
    while (fail_one_hopeless(pool)) {
        /* `done` may have changed the lanes: from the first again. */
    }
}

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
    finish_failed(call, &why);
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
    finish_failed(call, &why);
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
    const struct kek_worker *first = call->workers[0];
    struct kek_worker *second = kek_choose(call, first->backend->index, first);
    if (second == NULL) {
        call->hedge_ms = later(now, 1 + (call->deadline_ms - now) / 3);
        return;
    }
    call->hedge_ms = KEK_NEVER;
    launch(call, second);
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

void kek_dispatch_due(uv_timer_t *timer)
{
    struct kek_pool *pool = timer->data;
    pool->armed_ms = KEK_NEVER;
    end_services(pool);
    say_changed(pool);
    look_at_providers(pool);
    uint64_t now = kek_clock_ms();
    wake_waiting(pool, now);
    kek_dispatch_fail_hopeless(pool);
    sweep_flights(pool, now);
    kek_dispatch(pool);
    kek_pool_due(pool, next_due(pool));
}
