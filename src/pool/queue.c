#include "front.h"

#include <utlist.h>

/* A pairing heap threaded through the calls themselves: waiting and waking allocate nothing, so a
 * call that comes back from a worker can always wait again.
 * Fredman, Sedgewick, Sleator, Tarjan, "The pairing heap", Algorithmica 1 (1986). */

static bool before(const struct kek_pool_call *a, const struct kek_pool_call *b)
{
    return a->wake_ms != b->wake_ms ? a->wake_ms < b->wake_ms : a->sequence < b->sequence;
}

/* Two trees become one. A first child's prev is its parent. */
static struct kek_pool_call *meld(struct kek_pool_call *a, struct kek_pool_call *b)
{
    if (a == NULL || b == NULL) {
        return a == NULL ? b : a;
    }
    if (before(b, a)) {
        struct kek_pool_call *first = b;
        b = a;
        a = first;
    }
    b->prev = a;
    b->next = a->child;
    if (a->child != NULL) {
        a->child->prev = b;
    }
    a->child = b;
    return a;
}

/* The children of a node that leaves: melded in pairs, then the pairs from the last to the first. */
static struct kek_pool_call *meld_children(struct kek_pool_call *first)
{
    struct kek_pool_call *pairs = NULL;
    while (first != NULL) {
        struct kek_pool_call *second = first->next;
        struct kek_pool_call *rest = second == NULL ? NULL : second->next;
        first->next = first->prev = NULL;
        if (second != NULL) {
            second->next = second->prev = NULL;
        }
        struct kek_pool_call *pair = meld(first, second);
        pair->next = pairs;
        pairs = pair;
        first = rest;
    }
    struct kek_pool_call *root = NULL;
    while (pairs != NULL) {
        struct kek_pool_call *pair = pairs;
        pairs = pair->next;
        pair->next = NULL;
        root = meld(root, pair);
    }
    return root;
}

void kek_queue_push(struct kek_queue *queue, struct kek_pool_call *call, uint64_t wake_ms)
{
    call->queue = queue;
    call->wake_ms = wake_ms;
    call->child = call->next = call->prev = NULL;
    queue->root = meld(queue->root, call);
    queue->count++;
    call->pool->waiting++;
}

void kek_queue_remove(struct kek_pool_call *call)
{
    struct kek_queue *queue = call->queue;
    struct kek_pool_call *orphans = meld_children(call->child);
    if (call == queue->root) {
        queue->root = orphans;
    } else {
        if (call->prev->child == call) {
            call->prev->child = call->next;
        } else {
            call->prev->next = call->next;
        }
        if (call->next != NULL) {
            call->next->prev = call->prev;
        }
        queue->root = meld(queue->root, orphans);
    }
    call->child = call->next = call->prev = NULL;
    call->queue = NULL;
    queue->count--;
    call->pool->waiting--;
}

static void free_lane(struct kek_pool *pool, struct kek_lane *lane)
{
    DL_DELETE(pool->lanes, lane);
    pool->lane_count--;
    free(lane);
}

static void free_idle_lanes(struct kek_pool *pool)
{
    struct kek_lane *lane, *next;
    DL_FOREACH_SAFE (pool->lanes, lane, next) {
        if (lane->calls == 0) {
            free_lane(pool, lane);
        }
    }
}

static bool is_for(const struct kek_lane *lane, const struct kek_pool_request *request,
                   uint64_t newer_than)
{
    return lane->op == request->op && lane->provider == request->provider &&
           lane->newer_than == newer_than && lane->worker == request->worker &&
           lane->not_worker == request->not_worker && kek_id_equal(&lane->kek_id, &request->kek_id);
}

struct kek_lane *kek_lane_find(struct kek_pool *pool, const struct kek_pool_request *request,
                               uint64_t newer_than)
{
    struct kek_lane *lane;
    DL_FOREACH (pool->lanes, lane) {
        if (is_for(lane, request, newer_than)) {
            return lane;
        }
    }
    if (pool->lane_count >= KEK_LANES_IDLE) {
        free_idle_lanes(pool);
    }
    lane = calloc(1, sizeof *lane);
    if (lane == NULL) {
        return NULL;
    }
    lane->op = request->op;
    lane->provider = request->provider;
    lane->kek_id = request->kek_id;
    lane->newer_than = newer_than;
    lane->worker = request->worker;
    lane->not_worker = request->not_worker;
    DL_APPEND(pool->lanes, lane);
    pool->lane_count++;
    return lane;
}

void kek_lanes_free(struct kek_pool *pool)
{
    struct kek_lane *lane, *next;
    DL_FOREACH_SAFE (pool->lanes, lane, next) {
        free_lane(pool, lane);
    }
}
