#include "kek/grpc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kek/clock.h"
#include "conn.h"
#include "server.h"

#define ACCEPTS_A_TURN 16   /* then the connections that are there get theirs */
#define ACCEPT_PAUSE_MS 100 /* when there is no descriptor or memory for another connection */

/* Handles of libuv outlive kek_grpc_server_free(); the last one to close frees the memory. */
struct kek_grpc_server {
    struct kek_grpc_conns conns;
    uv_timer_t timer;
    uv_prepare_t flush; /* runs before the loop sleeps */
    uv_poll_t listener;
    int listen_fd;
    unsigned handles;   /* the connections' among them */
    uint64_t armed_ms;  /* when the timer fires, KEK_NEVER if it does not */
    uint64_t accept_ms; /* accepting is paused until then */
    uint64_t drain_by_ms;
    bool drained;
    bool starved; /* the last one could not be accepted */
    void (*on_drained)(void *arg);
    void *drained_arg;
};

static void on_timer(uv_timer_t *timer);

/* Time. */

static void arm(struct kek_grpc_server *server, uint64_t when_ms)
{
    if (when_ms >= server->armed_ms || server->conns.stopped) {
        return;
    }
    uint64_t now = kek_clock_ms();
    server->armed_ms = when_ms;
    /* libuv counts from the start of this turn of the loop, which may be some ms ago. */
    uv_update_time(server->conns.loop);
    uv_timer_start(&server->timer, on_timer, when_ms > now ? when_ms - now : 0, 0);
}

/* What its connections tell it. */

static void on_due(void *arg, uint64_t when_ms)
{
    arm(arg, when_ms);
}

static void finish_drain(struct kek_grpc_server *server)
{
    if (server->conns.draining && !server->drained && !server->conns.stopped &&
        server->conns.first == NULL) {
        server->drained = true;
        server->drain_by_ms = KEK_NEVER;
        server->armed_ms = KEK_NEVER; /* nothing is due any more, and no loop waits for it */
        uv_timer_stop(&server->timer);
        server->on_drained(server->drained_arg); /* may free the server */
    }
}

static void release(struct kek_grpc_server *server)
{
    if (--server->handles == 0) {
        kek_grpc_host_done(&server->conns.host);
        free(server);
    }
}

static void on_server_handle_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_conn_closed(void *arg)
{
    struct kek_grpc_server *server = arg;
    finish_drain(server);
    release(server);
}

/* Listening. */

static bool peer_of(int fd, struct kek_rpc_peer *peer)
{
    struct ucred cred;
    socklen_t len = sizeof cred;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &cred, &len) != 0) {
        return false;
    }
    *peer = (struct kek_rpc_peer){.uid = cred.uid, .gid = cred.gid, .pid = cred.pid};
    return true;
}

static void on_listener_ready(uv_poll_t *poll, int status, int events);

static void accept_start(struct kek_grpc_server *server)
{
    server->accept_ms = KEK_NEVER;
    uv_poll_start(&server->listener, UV_READABLE, on_listener_ready);
}

static void accept_pause(struct kek_grpc_server *server, int code)
{
    if (!server->starved) {
        kek_grpc_conns_cut(&server->conns, NULL, strerror(code));
    }
    server->starved = true;
    uv_poll_stop(&server->listener);
    server->accept_ms = kek_clock_ms() + ACCEPT_PAUSE_MS;
    arm(server, server->accept_ms);
}

static void accepted(struct kek_grpc_server *server, int fd)
{
    struct kek_rpc_peer peer;
    bool known = peer_of(fd, &peer);
    const char *refused =
        known ? kek_grpc_conn_open(&server->conns, fd, &peer) : "nobody knows whose it is";
    if (!known) {
        close(fd);
    }
    if (refused == NULL) {
        server->handles++;
        return;
    }
    server->conns.host.stats.connections_refused++;
    kek_grpc_conns_cut(&server->conns, known ? &peer : NULL, refused);
}

static void on_listener_ready(uv_poll_t *poll, int status, int events)
{
    struct kek_grpc_server *server = poll->data;
    (void)events;
    if (status < 0) {
        accept_pause(server, -status);
        return;
    }
    for (int i = 0; i < ACCEPTS_A_TURN && !server->conns.draining && !server->conns.stopped; i++) {
        int fd = accept4(server->listen_fd, NULL, NULL, SOCK_CLOEXEC | SOCK_NONBLOCK);
        if (fd >= 0) {
            server->starved = false;
            accepted(server, fd);
        } else if (errno == EAGAIN) {
            return;
        } else if (errno != EINTR && errno != ECONNABORTED) {
            accept_pause(server, errno);
            return;
        }
    }
}

static bool is_listening_unix_socket(int fd)
{
    int domain = 0;
    int type = 0;
    int listening = 0;
    socklen_t len = sizeof domain;
    return getsockopt(fd, SOL_SOCKET, SO_DOMAIN, &domain, &len) == 0 && domain == AF_UNIX &&
           getsockopt(fd, SOL_SOCKET, SO_TYPE, &type, &len) == 0 && type == SOCK_STREAM &&
           getsockopt(fd, SOL_SOCKET, SO_ACCEPTCONN, &listening, &len) == 0 && listening != 0;
}

enum kek_rc kek_grpc_server_listen(struct kek_grpc_server *server, int fd, struct kek_why *why)
{
    KEK_AUTO_CLOSE int owned = fd;
    if (server->listen_fd >= 0 || server->conns.draining) {
        return kek_fail(why, KEK_INVALID, "this server has listened already");
    }
    if (!is_listening_unix_socket(fd)) {
        return kek_fail(why, KEK_INVALID, "descriptor %d is no listening Unix stream socket", fd);
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "descriptor %d", fd);
    }
    int rv = uv_poll_init(server->conns.loop, &server->listener, fd);
    if (rv != 0) {
        return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_UV, (unsigned long)-rv,
                               "cannot wait for connections: %s", uv_strerror(rv));
    }
    server->listener.data = server;
    server->handles++;
    server->listen_fd = owned;
    owned = -1;
    accept_start(server);
    return KEK_OK;
}

/* The server. */

void kek_grpc_server_tick(struct kek_grpc_server *server)
{
    uint64_t now = kek_clock_ms();
    server->armed_ms = KEK_NEVER;
    if (server->accept_ms <= now && !server->conns.draining) {
        accept_start(server);
    }
    uint64_t next = KEK_NEVER;
    if (server->drain_by_ms <= now) {
        server->drain_by_ms = KEK_NEVER;
        kek_grpc_conns_abandon(&server->conns);
    } else {
        next = kek_grpc_conns_tick(&server->conns, now);
    }
    finish_drain(server);
    arm(server, next);
    arm(server, server->accept_ms);
    arm(server, server->drain_by_ms);
}

static void on_timer(uv_timer_t *timer)
{
    kek_grpc_server_tick(timer->data);
}

static void on_flush(uv_prepare_t *prepare)
{
    struct kek_grpc_server *server = prepare->data;
    kek_grpc_conns_flush(&server->conns);
}

struct kek_grpc_server *
kek_grpc_server_new(uv_loop_t *loop, const struct kek_grpc_settings *settings, struct kek_why *why)
{
    struct kek_grpc_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a gRPC server");
        return NULL;
    }
    if (kek_grpc_host_init(&server->conns.host, settings, why) != KEK_OK) {
        free(server);
        return NULL;
    }
    server->conns.loop = loop;
    server->conns.due = on_due;
    server->conns.closed = on_conn_closed;
    server->conns.arg = server;
    server->listen_fd = -1;
    server->armed_ms = KEK_NEVER;
    server->accept_ms = KEK_NEVER;
    server->drain_by_ms = KEK_NEVER;
    uv_timer_init(loop, &server->timer);
    uv_prepare_init(loop, &server->flush);
    server->timer.data = server;
    server->flush.data = server;
    server->handles = 2;
    uv_prepare_start(&server->flush, on_flush);
    uv_unref((uv_handle_t *)&server->flush);
    return server;
}

void kek_grpc_server_drain(struct kek_grpc_server *server, uint64_t timeout_ms,
                           void (*drained)(void *arg), void *arg)
{
    if (server->conns.draining) {
        return;
    }
    server->on_drained = drained;
    server->drained_arg = arg;
    server->accept_ms = KEK_NEVER;
    if (server->listen_fd >= 0) {
        uv_poll_stop(&server->listener);
    }
    kek_grpc_conns_drain(&server->conns);
    server->drain_by_ms = kek_clock_ms() + timeout_ms;
    /* With no connection there is nothing to wait for, but `drained` never runs from within here. */
    arm(server, server->conns.first == NULL ? kek_clock_ms() : server->drain_by_ms);
}

void kek_grpc_server_stats(const struct kek_grpc_server *server, struct kek_grpc_stats *stats)
{
    *stats = server->conns.host.stats;
}

void kek_grpc_server_free(struct kek_grpc_server *server)
{
    if (server == NULL || server->conns.stopped) {
        return;
    }
    kek_grpc_conns_close(&server->conns);
    if (server->listen_fd >= 0) {
        uv_close((uv_handle_t *)&server->listener, on_server_handle_closed);
        close(server->listen_fd);
    }
    uv_close((uv_handle_t *)&server->flush, on_server_handle_closed);
    uv_close((uv_handle_t *)&server->timer, on_server_handle_closed);
}
