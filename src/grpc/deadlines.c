#include "deadlines.h"

#include <stdlib.h>

#include "call.h"

bool kek_grpc_deadlines_init(struct kek_grpc_deadlines *deadlines, size_t room)
{
    *deadlines = (struct kek_grpc_deadlines){
        .heap = calloc(room, sizeof(struct kek_grpc_call *)),
        .room = room,
    };
    return deadlines->heap != NULL;
}

void kek_grpc_deadlines_done(struct kek_grpc_deadlines *deadlines)
{
    free(deadlines->heap);
    *deadlines = (struct kek_grpc_deadlines){.heap = NULL};
}

static uint64_t due(const struct kek_grpc_deadlines *deadlines, size_t place)
{
    return deadlines->heap[place]->rpc.deadline_ms;
}

static void put(struct kek_grpc_deadlines *deadlines, size_t place, struct kek_grpc_call *call)
{
    deadlines->heap[place] = call;
    call->place = place;
}

/* Moves `call`, whose place is free to be overwritten, towards the front. */
static void rise(struct kek_grpc_deadlines *deadlines, size_t place, struct kek_grpc_call *call)
{
    while (place > 0) {
        size_t parent = (place - 1) / 2;
        if (due(deadlines, parent) <= call->rpc.deadline_ms) {
            break;
        }
        put(deadlines, place, deadlines->heap[parent]);
        place = parent;
    }
    put(deadlines, place, call);
}

static void sink(struct kek_grpc_deadlines *deadlines, size_t place, struct kek_grpc_call *call)
{
    for (;;) {
        size_t child = 2 * place + 1;
        if (child >= deadlines->count) {
            break;
        }
        if (child + 1 < deadlines->count && due(deadlines, child + 1) < due(deadlines, child)) {
            child++;
        }
        if (call->rpc.deadline_ms <= due(deadlines, child)) {
            break;
        }
        put(deadlines, place, deadlines->heap[child]);
        place = child;
    }
    put(deadlines, place, call);
}

void kek_grpc_deadlines_add(struct kek_grpc_deadlines *deadlines, struct kek_grpc_call *call)
{
    if (call->place != KEK_GRPC_NO_PLACE || deadlines->count == deadlines->room) {
        return;
    }
    rise(deadlines, deadlines->count++, call);
}

void kek_grpc_deadlines_remove(struct kek_grpc_deadlines *deadlines, struct kek_grpc_call *call)
{
    size_t place = call->place;
    if (place == KEK_GRPC_NO_PLACE) {
        return;
    }
    call->place = KEK_GRPC_NO_PLACE;
    struct kek_grpc_call *last = deadlines->heap[--deadlines->count];
    if (last == call) {
        return;
    }
    if (place > 0 && last->rpc.deadline_ms < due(deadlines, (place - 1) / 2)) {
        rise(deadlines, place, last);
    } else {
        sink(deadlines, place, last);
    }
}

struct kek_grpc_call *kek_grpc_deadlines_first(const struct kek_grpc_deadlines *deadlines)
{
    return deadlines->count == 0 ? NULL : deadlines->heap[0];
}
