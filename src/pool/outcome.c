#include "front.h"

#include <utlist.h>

/* What becomes of a call: its answer, another try, or its end.  Only kek_call_finish() ends one. */

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

void kek_call_fail(struct kek_pool_call *call, const struct kek_why *why)
{
    if (call->settled) {
        finish_answered(call);
        return;
    }
    struct kek_why said = *why; /* it may be the call's own */
    kek_call_finish(call, said.rc, NULL, &said);
}

/* A token without a key or a mechanism to MAC with is one that was set up so. */
static bool has_failed(const struct kek_flight *flight, const struct kek_why *why)
{
    bool without = flight->op == KEK_POOL_MAC && why != NULL &&
                   (why->rc == KEK_NOT_FOUND || why->rc == KEK_UNIMPLEMENTED);
    return why != NULL && !without;
}

void kek_flight_done(struct kek_worker *worker, unsigned slot, struct kek_pool_result *result,
                     const struct kek_why *why)
{
    kek_timing_count(worker, slot, why == NULL ? KEK_CAME_ANSWER : KEK_CAME_FAILURE);
    struct kek_pool_call *call = detach(worker, slot, true);
    worker->backend->status.failures += has_failed(&worker->flights[slot], why);
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

/* Nobody works on the call any more, and its last failure is not an answer. */
static void try_again(struct kek_pool_call *call, enum kek_lost how)
{
    struct kek_pool *pool = call->pool;
    if (call->crashes >= KEK_CALL_CRASHES) {
        kek_poison_remember(call);
        kek_fail_within(&call->why, KEK_INTERNAL, "two workers ended while they worked on it");
        kek_call_fail(call, &call->why);
    } else if (how == KEK_LOST_BUSY) {
        unsigned doublings = call->busy < 4 ? call->busy++ : 4;
        uint64_t at = kek_pool_later(kek_clock_ms(), pool->times.busy << doublings);
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
        kek_call_fail(call, &call->why);
    } else if ((lane->worker != 0 && how != KEK_LOST_BUSY) ||
               (lane->op == KEK_POOL_MAC && how != KEK_LOST_BUSY && how != KEK_LOST_UNSENT)) {
        kek_fail_within(&call->why, KEK_UNAVAILABLE, KEK_WORKER_IS_GONE);
        kek_call_fail(call, &call->why);
    } else {
        if (how != KEK_LOST_UNSENT) {
            struct kek_pool_provider *status = &call->pool->backends[call->avoid].status;
            status->resent++;
            status->again_why = call->why;
        }
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
            kek_call_fail(lane->queue, &why);
            return true;
        }
    }
    return false;
}

void kek_call_fail_hopeless(struct kek_pool *pool)
{
    while (fail_one_hopeless(pool)) {
        /* `done` may have changed the lanes: from the first again. */
    }
}
