#include "front.h"

#include <utlist.h>

static bool before(const struct kek_pool_call *a, const struct kek_pool_call *b)
{
    return a->wake_ms != b->wake_ms ? a->wake_ms < b->wake_ms : a->sequence < b->sequence;
}

/* Most calls have as long as those before them: the place is sought from the end. */
void kek_queue_push(struct kek_pool_call **queue, struct kek_pool_call *call, uint64_t wake_ms)
{
    call->queue = queue;
    call->wake_ms = wake_ms;
    call->pool->waiting++;
    struct kek_pool_call *last = *queue == NULL ? NULL : (*queue)->prev, *after = last;
    while (after != NULL && before(call, after)) {
        after = after->prev == last ? NULL : after->prev;
    }
    DL_APPEND_ELEM(*queue, after, call);
}

void kek_queue_remove(struct kek_pool_call *call)
{
    DL_DELETE(*call->queue, call);
    call->queue = NULL;
    call->pool->waiting--;
}

static bool is_for(const struct kek_lane *lane, const struct kek_pool_request *request,
                   uint64_t newer_than)
{
    return lane->op == request->op && lane->provider == request->provider &&
           lane->newer_than == newer_than && lane->worker == request->worker &&
           lane->not_worker == request->not_worker && kek_id_equal(&lane->kek_id, &request->kek_id);
}

struct kek_lane *kek_lane_join(struct kek_pool *pool, const struct kek_pool_request *request,
                               uint64_t newer_than)
{
    struct kek_lane *lane;
    DL_FOREACH (pool->lanes, lane) {
        if (is_for(lane, request, newer_than)) {
            lane->calls++;
            return lane;
        }
    }
    lane = calloc(1, sizeof *lane);
    if (lane != NULL) {
        lane->op = request->op;
        lane->provider = request->provider;
        lane->kek_id = request->kek_id;
        lane->newer_than = newer_than;
        lane->worker = request->worker;
        lane->not_worker = request->not_worker;
        lane->calls = 1;
        DL_APPEND(pool->lanes, lane);
    }
    return lane;
}

void kek_lane_leave(struct kek_pool *pool, struct kek_lane *lane)
{
    lane->calls--;
    if (lane->calls == 0) {
        DL_DELETE(pool->lanes, lane);
        free(lane);
    }
}
