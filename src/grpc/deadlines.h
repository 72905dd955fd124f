/*
 * The calls of one connection that wait for something, the earliest deadline first: a binary heap
 * whose room is made once, so that adding never fails.  A call knows its place in it.
 */
#ifndef KEK_GRPC_DEADLINES_H
#define KEK_GRPC_DEADLINES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#define KEK_GRPC_NO_PLACE SIZE_MAX

struct kek_grpc_call;

struct kek_grpc_deadlines {
    struct kek_grpc_call **heap;
    size_t count, room;
};

bool kek_grpc_deadlines_init(struct kek_grpc_deadlines *deadlines, size_t room); /* false: memory */
void kek_grpc_deadlines_done(struct kek_grpc_deadlines *deadlines);

/* The call's deadline must not change while it is in here. */
void kek_grpc_deadlines_add(struct kek_grpc_deadlines *deadlines, struct kek_grpc_call *call);
void kek_grpc_deadlines_remove(struct kek_grpc_deadlines *deadlines, struct kek_grpc_call *call);

/* NULL: none. */
struct kek_grpc_call *kek_grpc_deadlines_first(const struct kek_grpc_deadlines *deadlines);

#endif
