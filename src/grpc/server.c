#include "kek/grpc.h"

#include <errno.h>
#include <fcntl.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kek/clock.h"
#include "server.h"
#include "session.h"

#define INPUT_SIZE (64u * 1024)
#define ACCEPTS_A_TURN 16   /* then the connections that are there get theirs */
#define WRITES_A_TURN 16    /* of KEK_GRPC_OUTPUT_STEP bytes, per connection */
#define ACCEPT_PAUSE_MS 100 /* when there is no descriptor or memory for another connection */

struct conn {
    uv_poll_t poll;
    struct kek_grpc_server *server;
    struct conn *prev, *next;
    struct kek_grpc_session *session;
    struct kek_rpc_peer peer;
    int fd;
    int events;     /* what poll waits for */
    bool stranger;  /* its uid may not call */
    bool dirty;     /* has output that was made outside of its own turn */
    bool lingering; /* all is said; waits for the peer to close */
    bool closing;
};

/* Handles of libuv outlive kek_grpc_server_free(); the last one to close frees the memory. */
struct kek_grpc_server {
    struct kek_grpc_host host;
    uv_loop_t *loop;
    uv_timer_t timer;
    uv_prepare_t flush; /* runs before the loop sleeps */
    uv_poll_t listener;
    int listen_fd;
    unsigned handles;
    struct conn *conns;
    size_t strangers;
    size_t dirty;
    uint64_t armed_ms;  /* when the timer fires, KEK_NEVER if it does not */
    uint64_t accept_ms; /* accepting is paused until then */
    uint64_t drain_by_ms;
    bool draining, drained, freed;
    bool starved; /* the last one could not be accepted */
    void (*on_drained)(void *arg);
    void *drained_arg;
    uint8_t input[INPUT_SIZE];
};

static void on_timer(uv_timer_t *timer);
static void on_conn_closed(uv_handle_t *handle);

/* Time. */

static void arm(struct kek_grpc_server *server, uint64_t when_ms)
{
    if (when_ms >= server->armed_ms || server->freed) {
        return;
    }
    uint64_t now = kek_clock_ms();
    server->armed_ms = when_ms;
    /* libuv counts from the start of this turn of the loop, which may be some ms ago. */
    uv_update_time(server->loop);
    uv_timer_start(&server->timer, on_timer, when_ms > now ? when_ms - now : 0, 0);
}

/* One connection. */

static void cut(const struct kek_grpc_server *server, const struct kek_rpc_peer *peer,
                const char *why)
{
    const struct kek_grpc_settings *settings = &server->host.settings;
    if (settings->cut != NULL && !server->freed) {
        settings->cut(settings->service, peer, why);
    }
}

static void conn_close(struct conn *conn)
{
    if (conn->closing) {
        return;
    }
    conn->closing = true;
    const char *why = kek_grpc_session_cut(conn->session);
    if (why != NULL) {
        cut(conn->server, &conn->peer, why);
    }
    kek_grpc_session_close(conn->session);
    uv_close((uv_handle_t *)&conn->poll, on_conn_closed);
    close(conn->fd);
}

/* False: the connection is lost. */
static bool conn_write(struct conn *conn)
{
    for (int i = 0; i < WRITES_A_TURN; i++) {
        struct kek_bytes out = kek_grpc_session_output(conn->session);
        if (out.len == 0) {
            return true;
        }
        ssize_t n = send(conn->fd, out.data, out.len, MSG_NOSIGNAL | MSG_DONTWAIT);
        if (n >= 0) {
            kek_grpc_session_sent(conn->session, (size_t)n);
        } else if (errno == EAGAIN || errno == ENOBUFS || errno == ENOMEM) {
            kek_grpc_session_blocked(conn->session);
            return true;
        } else if (errno != EINTR) {
            return false;
        }
    }
    return true;
}

static void on_conn_ready(uv_poll_t *poll, int status, int events);

/* The last answers of a drain must arrive: closing a Unix socket with bytes of the peer unread resets
 * it, and a peer in the middle of a write loses what it has not read. So only our half is closed; the
 * peer closes next, or the drain's deadline does. */
static void conn_linger(struct conn *conn)
{
    kek_grpc_session_close(conn->session);
    conn->lingering = shutdown(conn->fd, SHUT_WR) == 0 &&
                      uv_poll_start(&conn->poll, UV_READABLE, on_conn_ready) == 0;
    if (!conn->lingering) {
        conn_close(conn);
    }
}

/* After anything that may have changed a connection: writes, then decides what to wait for. */
static void conn_settle(struct conn *conn)
{
    if (conn->closing || conn->lingering) {
        return;
    }
    struct kek_grpc_server *server = conn->server;
    if (conn->dirty) {
        conn->dirty = false;
        server->dirty--;
    }
    bool written = conn_write(conn);
    if (written && server->draining && kek_grpc_session_finished(conn->session)) {
        conn_linger(conn);
        return;
    }
    if (!written || kek_grpc_session_finished(conn->session)) {
        conn_close(conn);
        return;
    }
    bool unsent = kek_grpc_session_output(conn->session).len > 0;
    bool wants = kek_grpc_session_wants_input(conn->session) || !unsent;
    int events = (wants ? UV_READABLE : 0) | (unsent ? UV_WRITABLE : 0);
    if (events != conn->events) {
        conn->events = events;
        if (uv_poll_start(&conn->poll, events, on_conn_ready) != 0) {
            conn_close(conn);
            return;
        }
    }
    arm(server, kek_grpc_session_deadline(conn->session));
}

/* False: the connection is lost. */
static bool conn_read(struct conn *conn)
{
    struct kek_grpc_server *server = conn->server;
    ssize_t n = recv(conn->fd, server->input, sizeof server->input, MSG_DONTWAIT);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n == 0) {
        return false;
    }
    if (conn->lingering) {
        kek_wipe(server->input, (size_t)n);
        return true;
    }
    /* A failure leaves the session finished; conn_settle sees that. */
    enum kek_rc rc =
        kek_grpc_session_receive(conn->session, kek_bytes(server->input, (size_t)n), NULL);
    kek_wipe(server->input, (size_t)n);
    return rc == KEK_OK || kek_grpc_session_finished(conn->session);
}

static void on_conn_ready(uv_poll_t *poll, int status, int events)
{
    struct conn *conn = poll->data;
    if (status < 0 || ((events & UV_READABLE) != 0 && !conn_read(conn))) {
        conn_close(conn);
        return;
    }
    conn_settle(conn);
}

/* A service answered while another event was being handled: written before the loop sleeps, so that
 * all that this turn brings goes out in one write. */
static void on_wake(void *arg)
{
    struct conn *conn = arg;
    if (!conn->dirty && !conn->closing) {
        conn->dirty = true;
        conn->server->dirty++;
    }
}

static void on_flush(uv_prepare_t *prepare)
{
    struct kek_grpc_server *server = prepare->data;
    if (server->dirty == 0) {
        return;
    }
    for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) {
        if (conn->dirty) {
            conn_settle(conn);
        }
    }
}

/* Opening and closing. */

static void finish_drain(struct kek_grpc_server *server)
{
    if (server->draining && !server->drained && !server->freed && server->conns == NULL) {
        server->drained = true;
        server->drain_by_ms = KEK_NEVER;
        server->on_drained(server->drained_arg); /* may free the server */
    }
}

static void release(struct kek_grpc_server *server)
{
    if (--server->handles == 0) {
        kek_grpc_host_done(&server->host);
        free(server);
    }
}

static void on_server_handle_closed(uv_handle_t *handle)
{
    release(handle->data);
}

static void on_conn_closed(uv_handle_t *handle)
{
    struct conn *conn = handle->data;
    struct kek_grpc_server *server = conn->server;
    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        server->conns = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    server->dirty -= conn->dirty ? 1 : 0;
    server->strangers -= conn->stranger ? 1 : 0;
    server->host.stats.connections_open--;
    kek_grpc_session_free(conn->session);
    free(conn);
    finish_drain(server);
    release(server);
}

/* A quarter of the connections at most go to peers who may not call: they must not lock out those who
 * may. NULL: there is room. */
static const char *no_room(const struct kek_grpc_server *server, bool stranger)
{
    size_t max = server->host.settings.max_connections;
    if (server->host.stats.connections_open >= max) {
        return "all connections are taken";
    }
    if (stranger && server->strangers >= (max < 4 ? 1 : max / 4)) {
        return "all connections for peers that may not call are taken";
    }
    return NULL;
}

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

static void conn_link(struct kek_grpc_server *server, struct conn *conn)
{
    conn->poll.data = conn;
    conn->next = server->conns;
    if (conn->next != NULL) {
        conn->next->prev = conn;
    }
    server->conns = conn;
    server->handles++;
    server->strangers += conn->stranger ? 1 : 0;
    server->host.stats.connections_open++;
    server->host.stats.connections_total++;
}

/* Takes fd. Returns why it was refused, NULL if it was not. */
static const char *conn_open(struct kek_grpc_server *server, int fd,
                             const struct kek_rpc_peer *peer)
{
    static const char no_memory[] = "no memory for it";
    const struct kek_grpc_settings *settings = &server->host.settings;
    KEK_AUTO_CLOSE int owned = fd;
    bool allowed = settings->allowed == NULL || settings->allowed(settings->service, peer);
    const char *full = server->freed ? "the server stops" : no_room(server, !allowed);
    if (full != NULL) {
        return full;
    }
    KEK_AUTO_FREE struct conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return no_memory;
    }
    KEK_AUTO(kek_grpc_session)
    session = kek_grpc_session_new(&server->host, peer, allowed, on_wake, conn, NULL);
    if (session == NULL) {
        return no_memory;
    }
    int rv = uv_poll_init(server->loop, &conn->poll, fd);
    if (rv != 0) {
        return rv == UV_ENOMEM ? no_memory : "it cannot be waited for";
    }
    conn->server = server;
    conn->peer = *peer;
    conn->fd = owned;
    owned = -1;
    conn->stranger = !allowed;
    conn->session = KEK_STEAL(session);
    struct conn *opened = KEK_STEAL(conn);
    conn_link(server, opened);
    conn_settle(opened);
    return NULL;
}

/* Listening. */

static void on_listener_ready(uv_poll_t *poll, int status, int events);

static void accept_start(struct kek_grpc_server *server)
{
    server->accept_ms = KEK_NEVER;
    uv_poll_start(&server->listener, UV_READABLE, on_listener_ready);
}

static void accept_pause(struct kek_grpc_server *server, int code)
{
    if (!server->starved) {
        cut(server, NULL, strerror(code));
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
    const char *refused = known ? conn_open(server, fd, &peer) : "nobody knows whose it is";
    if (!known) {
        close(fd);
    }
    if (refused != NULL) {
        server->host.stats.connections_refused++;
        cut(server, known ? &peer : NULL, refused);
    }
}

static void on_listener_ready(uv_poll_t *poll, int status, int events)
{
    struct kek_grpc_server *server = poll->data;
    (void)events;
    if (status < 0) {
        accept_pause(server, -status);
        return;
    }
    for (int i = 0; i < ACCEPTS_A_TURN && !server->draining && !server->freed; i++) {
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
    if (server->listen_fd >= 0 || server->draining) {
        return kek_fail(why, KEK_INVALID, "this server has listened already");
    }
    if (!is_listening_unix_socket(fd)) {
        return kek_fail(why, KEK_INVALID, "descriptor %d is no listening Unix stream socket", fd);
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0) {
        return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "descriptor %d", fd);
    }
    int rv = uv_poll_init(server->loop, &server->listener, fd);
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
    uint64_t next = KEK_NEVER;
    server->armed_ms = KEK_NEVER;
    if (server->accept_ms <= now && !server->draining) {
        accept_start(server);
    }
    bool give_up = server->drain_by_ms <= now;
    for (struct conn *conn = server->conns; conn != NULL && !server->freed; conn = conn->next) {
        if (conn->closing) {
            continue;
        }
        if (give_up) {
            kek_grpc_session_abandon(conn->session);
            (void)conn_write(conn);
            cut(server, &conn->peer, "the server stops, and its calls are not over");
            conn_close(conn);
        } else if (kek_grpc_session_deadline(conn->session) <= now) {
            kek_grpc_session_expire(conn->session, now);
            conn_settle(conn);
        }
        if (!conn->closing) {
            uint64_t due = kek_grpc_session_deadline(conn->session);
            next = due < next ? due : next;
        }
    }
    if (give_up) {
        server->drain_by_ms = KEK_NEVER;
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

struct kek_grpc_server *
kek_grpc_server_new(uv_loop_t *loop, const struct kek_grpc_settings *settings, struct kek_why *why)
{
    struct kek_grpc_server *server = calloc(1, sizeof *server);
    if (server == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a gRPC server");
        return NULL;
    }
    if (kek_grpc_host_init(&server->host, settings, why) != KEK_OK) {
        free(server);
        return NULL;
    }
    server->loop = loop;
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
    if (server->draining) {
        return;
    }
    server->draining = true;
    server->on_drained = drained;
    server->drained_arg = arg;
    server->accept_ms = KEK_NEVER;
    if (server->listen_fd >= 0) {
        uv_poll_stop(&server->listener);
    }
    for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) {
        if (!conn->closing) {
            kek_grpc_session_drain(conn->session);
            conn_settle(conn);
        }
    }
    server->drain_by_ms = kek_clock_ms() + timeout_ms;
    /* With no connection there is nothing to wait for, but `drained` never runs from within here. */
    arm(server, server->conns == NULL ? kek_clock_ms() : server->drain_by_ms);
}

void kek_grpc_server_stats(const struct kek_grpc_server *server, struct kek_grpc_stats *stats)
{
    *stats = server->host.stats;
}

void kek_grpc_server_free(struct kek_grpc_server *server)
{
    if (server == NULL || server->freed) {
        return;
    }
    server->freed = true;
    for (struct conn *conn = server->conns; conn != NULL; conn = conn->next) {
        conn_close(conn);
    }
    if (server->listen_fd >= 0) {
        uv_close((uv_handle_t *)&server->listener, on_server_handle_closed);
        close(server->listen_fd);
    }
    uv_close((uv_handle_t *)&server->flush, on_server_handle_closed);
    uv_close((uv_handle_t *)&server->timer, on_server_handle_closed);
}
