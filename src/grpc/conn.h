/*
 * The connections of a server: each is a socket, what peer sits at its other end, and a session.
 *
 * A connection reads, lets its session make of it what it will, writes, and then decides what to wait
 * for.  It tells its owner when it wants to be looked at again, and when it is gone.  Handles of libuv
 * outlive kek_grpc_conns_close(): `closed` comes once for each connection, from the loop.  Private to
 * this room.  One thread.
 */
#ifndef KEK_GRPC_CONN_H
#define KEK_GRPC_CONN_H

#include <uv.h>

#include "session.h"

#define KEK_GRPC_INPUT_SIZE (64u * 1024) /* read at once */

struct kek_grpc_conn;

struct kek_grpc_conns {
    struct kek_grpc_host host;
    uv_loop_t *loop;
    struct kek_grpc_conn *first;
    size_t strangers; /* connections of peers that may not call */
    size_t dirty;     /* connections with output that was made outside of their own turn */
    bool draining;    /* a connection that has finished lingers until its peer has read all */
    bool
        stopped; /* the owner is being freed: there will be no other, and nothing is told of these */
    void (*due)(void *arg, uint64_t when_ms); /* kek_grpc_conns_tick() has work then */
    void (*closed)(void *arg);                /* one connection is gone; may free the owner */
    void *arg;
    uint8_t input[KEK_GRPC_INPUT_SIZE];
};

/* Takes fd. Returns why it was refused, a constant; NULL: it was not. */
const char *kek_grpc_conn_open(struct kek_grpc_conns *conns, int fd,
                               const struct kek_rpc_peer *peer);

/* Says that one was refused or is ended by us. `peer` may be NULL: unknown. */
void kek_grpc_conns_cut(const struct kek_grpc_conns *conns, const struct kek_rpc_peer *peer,
                        const char *why);

/* Writes what services have answered outside of a connection's turn. */
void kek_grpc_conns_flush(struct kek_grpc_conns *conns);

/* Does what is due by now_ms. Returns when there is more to do, or KEK_NEVER. */
uint64_t kek_grpc_conns_tick(struct kek_grpc_conns *conns, uint64_t now_ms);

void kek_grpc_conns_drain(struct kek_grpc_conns *conns);   /* no new calls */
void kek_grpc_conns_abandon(struct kek_grpc_conns *conns); /* answers what is open, and closes */
void kek_grpc_conns_close(struct kek_grpc_conns *conns);   /* at once */

#endif
