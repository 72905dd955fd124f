#include "front.h"

#include <utlist.h>

/* From the queue to a worker; choose.c says to which.  After every event all that can be sent has been sent, so a
 * new call finds either a worker with room or a lane whose calls all wait for the same.  Within a lane no
 * call overtakes another: the first in it waits for a worker of its own until one has run dry, or, if a
 * provider has failed it, until another provider has room. */

#define MEMORY_EVERY 1000 /* operations between two questions for a worker's memory */
#define LIST_CALLS 10     /* a list is many HSM calls: its timeout is that many times `timeout` */

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
    return kek_pool_later(now, timeout);
}

/* The worker is asked for its memory, since kekd may not see it: where /proc is mounted with hidepid, as by
 * systemd's ProtectProc, it shows a process that is not dumpable to root alone. */
static bool memory_is_due(struct kek_worker *worker)
{
    uint64_t now = kek_clock_ms();
    /* Its first operation asks, too: growth is measured from there. */
    if (worker->operations > 0 && worker->operations - worker->memory_at_op < MEMORY_EVERY &&
        now - worker->memory_at_ms < worker->backend->pool->times.memory) {
        return false;
    }
    worker->memory_at_op = worker->operations;
    worker->memory_at_ms = now;
    return true;
}

static void launch(struct kek_pool_call *call, struct kek_worker *worker)
{
    struct kek_pool *pool = call->pool;
    unsigned slot = (unsigned)__builtin_ctzll(worker->free);
    struct kek_flight *flight = &worker->flights[slot];
    uint64_t now_us = kek_clock_us(), now = now_us / 1000;
    /* Who has nothing else to do opens the witness in the same go: to be asked for that alone costs a lone wrap as
     * much time again.  With more to do, or more that waits, one opening proves many wraps. */
    flight->opens = worker->running == 0 && pool->waiting == 0 && call->lane->op == KEK_POOL_WRAP &&
                    call->blob_len > 0;
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
    bool say_memory = memory_is_due(worker);
    kek_message_send(worker, kek_message_call(pool, flight, say_memory));
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
            /* One whose time is over is left to kek_due(), which ends it in a moment. */
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

bool kek_dispatch_second(struct kek_pool_call *call)
{
    const struct kek_worker *first = call->workers[0];
    struct kek_worker *second = kek_choose(call, first->backend->index, first);
    if (second == NULL) {
        return false;
    }
    call->hedge_ms = KEK_NEVER;
    launch(call, second);
    return true;
}
