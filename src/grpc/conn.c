#include "conn.h"

#include <errno.h>
#include <sys/socket.h>
#include <unistd.h>

#include "kek/clock.h"

#define WRITES_A_TURN 16       /* of KEK_GRPC_OUTPUT_STEP bytes, per connection */
#define PIECE 1024u            /* bytes of input that a session gets at once */
#define HALVED_MIN (4u * 1024) /* bytes of input that are answered in two writes */

struct kek_grpc_conn {
    uv_poll_t poll;
    struct kek_grpc_conns *conns;
    struct kek_grpc_conn *prev, *next;
    struct kek_grpc_session *session;
    struct kek_rpc_peer peer;
    int fd;
    int events;     /* what poll waits for */
    bool stranger;  /* its uid may not call */
    bool dirty;     /* has output that was made outside of its own turn */
    bool lingering; /* all is said; waits for the peer to close */
    bool closing;
};

void kek_grpc_conns_cut(const struct kek_grpc_conns *conns, const struct kek_rpc_peer *peer,
                        const char *why)
{
    const struct kek_grpc_settings *settings = &conns->host.settings;
    if (settings->cut != NULL && !conns->stopped) {
        settings->cut(settings->service, peer, why);
    }
}

/* Closing. */

static void on_closed(uv_handle_t *handle)
{
    struct kek_grpc_conn *conn = handle->data;
    struct kek_grpc_conns *conns = conn->conns;
    if (conn->prev != NULL) {
        conn->prev->next = conn->next;
    } else {
        conns->first = conn->next;
    }
    if (conn->next != NULL) {
        conn->next->prev = conn->prev;
    }
    conns->dirty -= conn->dirty ? 1 : 0;
    conns->strangers -= conn->stranger ? 1 : 0;
    conns->host.stats.connections_open--;
    kek_grpc_session_free(conn->session);
    free(conn);
    conns->closed(conns->arg);
}

static void conn_close(struct kek_grpc_conn *conn)
{
    if (conn->closing) {
        return;
    }
    conn->closing = true;
    const char *why = kek_grpc_session_cut(conn->session);
    if (why != NULL) {
        kek_grpc_conns_cut(conn->conns, &conn->peer, why);
    }
    kek_grpc_session_close(conn->session);
    uv_close((uv_handle_t *)&conn->poll, on_closed);
    close(conn->fd);
}

static void on_ready(uv_poll_t *poll, int status, int events);

/* The last answers of a drain must arrive: closing a Unix socket with bytes of the peer unread resets
 * it, and a peer in the middle of a write loses what it has not read. So only our half is closed; the
 * peer closes next, or the drain's deadline does. */
static void linger(struct kek_grpc_conn *conn)
{
    kek_grpc_session_close(conn->session);
    conn->lingering =
        shutdown(conn->fd, SHUT_WR) == 0 && uv_poll_start(&conn->poll, UV_READABLE, on_ready) == 0;
    if (!conn->lingering) {
        conn_close(conn);
    }
}

/* Reading and writing. False: the connection is lost. */

static bool conn_write(struct kek_grpc_conn *conn)
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

/* In pieces, each answered before the next, so that few requests at once hold memory: malloc's own cache
 * keeps seven blocks of a size.  Of much input the first half is answered before the second is looked at,
 * and the peer takes those answers meanwhile: else each end would wait while the other works. */
static bool feed(struct kek_grpc_conn *conn, struct kek_bytes bytes)
{
    size_t pause = bytes.len < HALVED_MIN ? bytes.len : bytes.len / 2;
    for (size_t at = 0; at < bytes.len;) {
        size_t len = bytes.len - at < PIECE ? bytes.len - at : PIECE;
        if (kek_grpc_session_receive(conn->session, kek_bytes(bytes.data + at, len), NULL) !=
            KEK_OK) {
            return kek_grpc_session_finished(conn->session); /* settle sees that it is */
        }
        at += len;
        if (at >= pause && at < bytes.len) {
            pause = bytes.len;
            if (!conn_write(conn)) {
                return false;
            }
        }
    }
    return true;
}

static bool conn_read(struct kek_grpc_conn *conn)
{
    uint8_t *input = conn->conns->input;
    ssize_t n = recv(conn->fd, input, KEK_GRPC_INPUT_SIZE, MSG_DONTWAIT);
    if (n < 0) {
        return errno == EAGAIN || errno == EINTR;
    }
    if (n == 0) {
        return false;
    }
    if (conn->lingering) {
        kek_wipe(input, (size_t)n);
        return true;
    }
    bool fed = feed(conn, kek_bytes(input, (size_t)n));
    kek_wipe(input, (size_t)n);
    return fed;
}

/* After anything that may have changed a connection: writes, then decides what to wait for. */
static void settle(struct kek_grpc_conn *conn)
{
    if (conn->closing || conn->lingering) {
        return;
    }
    struct kek_grpc_conns *conns = conn->conns;
    if (conn->dirty) {
        conn->dirty = false;
        conns->dirty--;
    }
    bool written = conn_write(conn);
    if (written && conns->draining && kek_grpc_session_finished(conn->session)) {
        linger(conn);
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
        if (uv_poll_start(&conn->poll, events, on_ready) != 0) {
            conn_close(conn);
            return;
        }
    }
    conns->due(conns->arg, kek_grpc_session_deadline(conn->session));
}

static void on_ready(uv_poll_t *poll, int status, int events)
{
    struct kek_grpc_conn *conn = poll->data;
    if (status < 0 || ((events & UV_READABLE) != 0 && !conn_read(conn))) {
        conn_close(conn);
        return;
    }
    settle(conn);
}

/* A service answered while another event was being handled: written before the loop sleeps, so that
 * all that this turn brings goes out in one write. */
static void on_wake(void *arg)
{
    struct kek_grpc_conn *conn = arg;
    if (!conn->dirty && !conn->closing) {
        conn->dirty = true;
        conn->conns->dirty++;
    }
}

/* Opening. */

/* A quarter of the connections at most go to peers who may not call: they must not lock out those who
 * may. NULL: there is room. */
static const char *no_room(const struct kek_grpc_conns *conns, bool stranger)
{
    size_t max = conns->host.settings.max_connections;
    if (conns->host.stats.connections_open >= max) {
        return "all connections are taken";
    }
    if (stranger && conns->strangers >= (max < 4 ? 1 : max / 4)) {
        return "all connections for peers that may not call are taken";
    }
    return NULL;
}

static void add(struct kek_grpc_conns *conns, struct kek_grpc_conn *conn)
{
    conn->poll.data = conn;
    conn->next = conns->first;
    if (conn->next != NULL) {
        conn->next->prev = conn;
    }
    conns->first = conn;
    conns->strangers += conn->stranger ? 1 : 0;
    conns->host.stats.connections_open++;
    conns->host.stats.connections_total++;
}

const char *kek_grpc_conn_open(struct kek_grpc_conns *conns, int fd,
                               const struct kek_rpc_peer *peer)
{
    static const char no_memory[] = "no memory for it";
    const struct kek_grpc_settings *settings = &conns->host.settings;
    KEK_AUTO_CLOSE int owned = fd;
    bool allowed = settings->allowed == NULL || settings->allowed(settings->service, peer);
    const char *full = conns->stopped ? "the server stops" : no_room(conns, !allowed);
    if (full != NULL) {
        return full;
    }
    KEK_AUTO_FREE struct kek_grpc_conn *conn = calloc(1, sizeof *conn);
    if (conn == NULL) {
        return no_memory;
    }
    KEK_AUTO(kek_grpc_session)
    session = kek_grpc_session_new(&conns->host, peer, allowed, on_wake, conn, NULL);
    if (session == NULL) {
        return no_memory;
    }
    int rv = uv_poll_init(conns->loop, &conn->poll, fd);
    if (rv != 0) {
        return rv == UV_ENOMEM ? no_memory : "it cannot be waited for";
    }
    conn->conns = conns;
    conn->peer = *peer;
    conn->fd = owned;
    owned = -1;
    conn->stranger = !allowed;
    conn->session = KEK_STEAL(session);
    struct kek_grpc_conn *opened = KEK_STEAL(conn);
    add(conns, opened);
    settle(opened);
    return NULL;
}

/* All of them. */

void kek_grpc_conns_flush(struct kek_grpc_conns *conns)
{
    if (conns->dirty == 0) {
        return;
    }
    for (struct kek_grpc_conn *conn = conns->first; conn != NULL; conn = conn->next) {
        if (conn->dirty) {
            settle(conn);
        }
    }
}

uint64_t kek_grpc_conns_tick(struct kek_grpc_conns *conns, uint64_t now_ms)
{
    uint64_t next = KEK_NEVER;
    for (struct kek_grpc_conn *conn = conns->first; conn != NULL && !conns->stopped;
         conn = conn->next) {
        if (!conn->closing && kek_grpc_session_deadline(conn->session) <= now_ms) {
            kek_grpc_session_expire(conn->session, now_ms);
            settle(conn);
        }
        if (!conn->closing) {
            uint64_t due = kek_grpc_session_deadline(conn->session);
            next = due < next ? due : next;
        }
    }
    return next;
}

void kek_grpc_conns_drain(struct kek_grpc_conns *conns)
{
    conns->draining = true;
    for (struct kek_grpc_conn *conn = conns->first; conn != NULL; conn = conn->next) {
        if (!conn->closing) {
            kek_grpc_session_drain(conn->session);
            settle(conn);
        }
    }
}

void kek_grpc_conns_abandon(struct kek_grpc_conns *conns)
{
    for (struct kek_grpc_conn *conn = conns->first; conn != NULL && !conns->stopped;
         conn = conn->next) {
        if (!conn->closing) {
            kek_grpc_session_abandon(conn->session);
            (void)conn_write(conn);
            kek_grpc_conns_cut(conns, &conn->peer, "the server stops, and its calls are not over");
            conn_close(conn);
        }
    }
}

void kek_grpc_conns_close(struct kek_grpc_conns *conns)
{
    conns->stopped = true;
    for (struct kek_grpc_conn *conn = conns->first; conn != NULL; conn = conn->next) {
        conn_close(conn);
    }
}
