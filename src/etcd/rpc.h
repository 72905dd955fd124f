/*
 * One unary gRPC call on one endpoint.
 */
#ifndef ETCD_RPC_H
#define ETCD_RPC_H

#include "kek/remote.h"

#define RPC_RANGE "/etcdserverpb.KV/Range"
#define RPC_STATUS "/etcdserverpb.Maintenance/Status"
#define RPC_AUTHENTICATE "/etcdserverpb.Auth/Authenticate"

#define RPC_URL_MAX 512

/* How it ended, and so what is to be done. */
enum rpc_end {
    RPC_GOOD,
    RPC_FAILED,    /* it would fail on another endpoint, too */
    RPC_ELSEWHERE, /* another endpoint, or this one later, may answer */
    RPC_TOKEN,     /* it wants a (new) token */
    RPC_NO_AUTH,   /* users are not enabled there: no token is needed */
    RPC_COMPACTED,
};

struct rpc {
    /* In: */
    const char *endpoint; /* borrowed */
    const char *path;
    const char *socket;             /* or NULL */
    const struct kek_secret *token; /* a header line; or NULL */
    struct kek_bytes request;       /* borrowed; in its frame */
    bool secret;                    /* the request is one */
    bool needs_leader;              /* the member says so at once where there is none */
    uint64_t deadline_ms, idle_ms;
    kek_remote_take_fn *take; /* NULL: the answer goes to call.body, of MESSAGE_SMALL_MAX */
    void *arg;
    /* Inside: */
    struct kek_remote_call call;
    struct kek_remote_header headers[3];
    char url[RPC_URL_MAX];
};

/* The rpc stays where it is until rpc_finish(). */
void rpc_start(struct kek_remote *remote, struct rpc *rpc);

/* Of one whose call is done: how it ended; why says what unless RPC_GOOD. */
enum rpc_end rpc_finish(const struct rpc *rpc, struct kek_why *why);

void rpc_done(struct rpc *rpc);

#endif
