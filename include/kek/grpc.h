/*
 * A gRPC server over HTTP/2 (nghttp2) on a Unix socket, on the caller's libuv loop.
 *
 * It owns its connections, streams and their deadlines, and nothing of what the methods mean.
 * It accepts every form of :authority the API server's clients send (KMS contract section 3), sends
 * SETTINGS at accept, acknowledges PING, honours grpc-timeout, treats RST_STREAM as cancel, answers
 * identity encoding only, and has a maximum for everything a peer can make grow.
 * One thread: the loop's.
 */
#ifndef KEK_GRPC_H
#define KEK_GRPC_H

#include <uv.h>

#include "kek/rpc.h"

struct kek_grpc_server;

struct kek_grpc_settings {
    const struct kek_rpc_method *methods; /* borrowed, outlives the server */
    size_t method_count;
    void *service; /* first argument of every method's start */
    /* Peers that may call; others get PERMISSION_DENIED with their uid on every call. */
    bool (*allowed)(void *service, const struct kek_rpc_peer *peer);
    size_t max_message;       /* bytes of a request message: larger is RESOURCE_EXHAUSTED */
    uint32_t max_streams;     /* concurrent, per connection; advertised and enforced */
    size_t max_connections;   /* one more is closed at accept; peers that may not call get a
                                 quarter of them at most */
    uint32_t max_header_list; /* bytes, as RFC 9113 section 6.5.2 counts them */
    uint64_t
        default_timeout_ms; /* where the client sends no grpc-timeout, and the cap where it does */
    /* Told of every call that never reached a method (unknown path, refused peer, malformed);
     * may be NULL. */
    void (*rejected)(void *service, const struct kek_rpc_peer *peer, const char *path,
                     enum kek_rpc_status status, const char *message);
    /* Told of every connection that is not accepted, or that the server ends and not its peer, with
     * the reason. peer: NULL where nobody knows who it is. May be NULL. */
    void (*cut)(void *service, const struct kek_rpc_peer *peer, const char *why);
};

/* What the design asks for: 64 KiB, 256 streams, 32 connections, 16 KiB of headers. */
#define KEK_GRPC_MAX_MESSAGE (64u * 1024)
#define KEK_GRPC_MAX_STREAMS 256u
#define KEK_GRPC_MAX_CONNECTIONS 32u
#define KEK_GRPC_MAX_HEADER_LIST (16u * 1024)

struct kek_grpc_stats {
    uint64_t connections_open, connections_total, connections_refused;
    uint64_t calls_open, calls_total, resets, protocol_errors;
};

/* Copies the settings. NULL: out of memory. */
struct kek_grpc_server *
kek_grpc_server_new(uv_loop_t *loop, const struct kek_grpc_settings *settings, struct kek_why *why);

/* Starts accepting on a bound, listening Unix stream socket, which the server owns from here on
 * (also on failure).  It never unlinks the socket's path. */
enum kek_rc kek_grpc_server_listen(struct kek_grpc_server *server, int fd,
                                   struct kek_why *why) KEK_MUST_CHECK;

/* Stops accepting (the listening socket stays open, unread, until the server is freed, so that new
 * clients wait in its backlog), sends GOAWAY on every connection, lets open calls finish for at most
 * timeout_ms, then ends what is left.  `drained` runs once, when no connection is left. */
void kek_grpc_server_drain(struct kek_grpc_server *server, uint64_t timeout_ms,
                           void (*drained)(void *arg), void *arg);

void kek_grpc_server_stats(const struct kek_grpc_server *server, struct kek_grpc_stats *stats);

/* Ends every call and connection at once. The loop must run once more before it is closed. */
void kek_grpc_server_free(struct kek_grpc_server *server);

#endif
