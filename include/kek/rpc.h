/*
 * One unary call as a method sees it, whoever carries it.
 *
 * A transport (src/grpc) makes the kek_rpc and knows services only as a table of kek_rpc_method; a
 * service (src/kms) answers through it and knows no transport.  A call ends exactly once: by
 * kek_rpc_reply, by kek_rpc_fail, or by the transport calling `ended` (peer gone, stream reset,
 * deadline passed).  After any of these the kek_rpc no longer exists.  One thread: the loop's.
 */
#ifndef KEK_RPC_H
#define KEK_RPC_H

#include <stdint.h>
#include <sys/types.h>

#include "kek/bytes.h"

/* The gRPC status codes, by their numbers in the gRPC specification. */
enum kek_rpc_status {
    KEK_RPC_OK = 0,
    KEK_RPC_CANCELLED = 1,
    KEK_RPC_UNKNOWN = 2,
    KEK_RPC_INVALID_ARGUMENT = 3,
    KEK_RPC_DEADLINE_EXCEEDED = 4,
    KEK_RPC_NOT_FOUND = 5,
    KEK_RPC_PERMISSION_DENIED = 7,
    KEK_RPC_RESOURCE_EXHAUSTED = 8,
    KEK_RPC_FAILED_PRECONDITION = 9,
    KEK_RPC_UNIMPLEMENTED = 12,
    KEK_RPC_INTERNAL = 13,
    KEK_RPC_UNAVAILABLE = 14,
};

const char *kek_rpc_status_name(enum kek_rpc_status status); /* "INVALID_ARGUMENT", ... */
enum kek_rpc_status kek_rpc_status_of(enum kek_rc rc);

/* Room that a service may use per connection, zeroed when the connection opens. It must need no
 * destructor. */
#define KEK_RPC_PEER_ROOM 144

struct kek_rpc_peer {
    uid_t uid; /* SO_PEERCRED */
    gid_t gid;
    pid_t pid;
    _Alignas(16) uint8_t room[KEK_RPC_PEER_ROOM];
};

struct kek_rpc;

struct kek_rpc_transport {
    void (*reply)(struct kek_rpc *rpc, struct kek_bytes message); /* message is copied */
    void (*error)(struct kek_rpc *rpc, enum kek_rpc_status status, const char *message);
};

struct kek_rpc {
    const struct kek_rpc_transport *transport;
    struct kek_rpc_peer *peer; /* the connection's; valid while the call is */
    uint64_t deadline_ms;      /* of kek_clock_ms(); always set, the transport has a default */
    uint64_t started_us;       /* of kek_clock_us() */
    /* Set by the service before its `start` returns, if the call is still open then. */
    void (*ended)(struct kek_rpc *rpc, enum kek_rpc_status status);
    void *state; /* the service's, for this call */
};

struct kek_rpc_method {
    const char *path; /* "/v2.KeyManagementService/Status" */
    /* `message` is the request without its gRPC prefix, valid until start returns. */
    void (*start)(void *service, struct kek_rpc *rpc, struct kek_bytes message);
};

static inline void kek_rpc_reply(struct kek_rpc *rpc, struct kek_bytes message)
{
    rpc->transport->reply(rpc, message);
}

static inline void kek_rpc_fail(struct kek_rpc *rpc, enum kek_rpc_status status,
                                const char *message)
{
    rpc->transport->error(rpc, status, message);
}

#endif
