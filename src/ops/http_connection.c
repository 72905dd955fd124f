#include "http_connection.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* Bytes of a peer that TLS may be given until the request is there. What a session keeps, and what it says
 * by itself, is bounded by this. */
#define TLS_INPUT_MAX (64u * 1024)

/* The last step matters: closing with bytes unread would make the kernel reset the answer away. */
struct connection {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    uv_shutdown_t shutdown;
    unsigned handles; /* not closed yet, and a page that is being made */
    bool closing;     /* the stream is */
    bool answered;
    bool head_only;
    bool holds;                 /* its place, until the time is over */
    struct http_places *places; /* NULL once the server is gone */
    struct connection *next;
    struct tls_session *tls; /* NULL: plain */
    size_t received;         /* bytes that TLS was given */
    unsigned flights;        /* of TLS, being written */
    struct kek_buf body;
    char head[HTTP_HEAD_MAX];
    char in[HTTP_REQUEST_MAX];
    size_t len;
    char raw[4096]; /* as it came, under TLS */
};

/* Bytes of TLS on their way out. */
struct flight {
    uv_write_t write;
    char bytes[];
};

/* ---- its end ---- */

static void forget(struct connection *connection)
{
    struct http_places *places = connection->places;
    if (places == NULL) {
        return;
    }
    struct connection **link = &places->first;
    while (*link != connection) {
        link = &(*link)->next;
    }
    *link = connection->next;
    places->count--;
}

static void release(struct connection *connection)
{
    connection->handles--;
    if (connection->handles == 0) {
        forget(connection);
        kek_buf_done(&connection->body);
        free(connection);
    }
}

static void on_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
    if (handle == (uv_handle_t *)&connection->tcp) {
        /* A place that is held needs no more than its timer. */
        tls_session_free(connection->tls);
        connection->tls = NULL;
    }
    release(connection);
}

static void close_timer(struct connection *connection)
{
    if (!uv_is_closing((uv_handle_t *)&connection->timer)) {
        uv_close((uv_handle_t *)&connection->timer, on_closed);
    }
}

void connection_close(struct connection *connection)
{
    if (!connection->closing) {
        connection->closing = true;
        uv_close((uv_handle_t *)&connection->tcp, on_closed);
    }
    if (!connection->holds) {
        close_timer(connection);
    }
}

static void on_timeout(uv_timer_t *timer)
{
    struct connection *connection = timer->data;
    connection->holds = false;
    connection_close(connection);
}

void connections_end(struct http_places *places)
{
    for (struct connection *c = places->first; c != NULL; c = c->next) {
        c->places = NULL;
        c->holds = false;
        connection_close(c);
    }
    places->first = NULL;
}

/* ---- the answer ---- */

static void on_shutdown(uv_shutdown_t *request, int status)
{
    if (status != 0) {
        connection_close(request->data);
    }
}

static void end_output(struct connection *connection)
{
    connection->shutdown.data = connection;
    if (uv_shutdown(&connection->shutdown, (uv_stream_t *)&connection->tcp, on_shutdown) != 0) {
        connection_close(connection);
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct connection *connection = request->data;
    if (status == UV_ECANCELED || connection->closing) {
        return;
    }
    if (status != 0) {
        connection_close(connection);
        return;
    }
    end_output(connection);
}

static void on_flown(uv_write_t *request, int status)
{
    struct connection *connection = request->data;
    free(request); /* the flight begins with it */
    connection->flights--;
    if (status == UV_ECANCELED || connection->closing) {
        return;
    }
    if (status != 0) {
        connection_close(connection);
    } else if (connection->answered && connection->flights == 0) {
        end_output(connection);
    }
}

/* Sends what TLS has to say. */
static void fly(struct connection *connection)
{
    struct kek_bytes output = tls_output(connection->tls);
    if (output.len == 0 || connection->closing) {
        return;
    }
    struct flight *flight = malloc(sizeof *flight + output.len);
    if (flight == NULL) {
        connection_close(connection);
        return;
    }
    memcpy(flight->bytes, output.data, output.len);
    tls_output_sent(connection->tls);
    flight->write.data = connection;
    uv_buf_t part = uv_buf_init(flight->bytes, (unsigned)output.len);
    if (uv_write(&flight->write, (uv_stream_t *)&connection->tcp, &part, 1, on_flown) != 0) {
        free(flight);
        connection_close(connection);
        return;
    }
    connection->flights++;
}

/* What to say when there is no page to say it; without memory, the status line has to do. */
static void say_shortly(struct connection *connection, const char *text)
{
    if (kek_buf_append(&connection->body, kek_bytes_of(text), NULL) != KEK_OK) {
        kek_buf_reset(&connection->body);
    }
}

static void send_plain(struct connection *connection, size_t head_len)
{
    uv_buf_t parts[2] = {
        uv_buf_init(connection->head, (unsigned)head_len),
        uv_buf_init((char *)connection->body.data, (unsigned)connection->body.len),
    };
    connection->write.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, parts,
                 connection->head_only ? 1 : 2, on_written) != 0) {
        connection_close(connection);
    }
}

static void send_tls(struct connection *connection, size_t head_len)
{
    struct kek_bytes body = kek_buf_bytes(&connection->body);
    if (!tls_say(connection->tls, kek_bytes(connection->head, head_len),
                 connection->head_only ? kek_bytes(NULL, 0) : body)) {
        connection_close(connection);
        return;
    }
    fly(connection);
}

static void say(struct connection *connection, int status, const char *type)
{
    if (connection->body.len == 0) {
        char text[64];
        snprintf(text, sizeof text, "%s\n", http_reason(status));
        say_shortly(connection, text);
    }
    size_t len = http_head(status, type, connection->body.len, connection->head);
    if (connection->tls == NULL) {
        send_plain(connection, len);
    } else {
        send_tls(connection, len);
    }
}

struct kek_buf *http_reply_body(struct http_reply *reply)
{
    return &((struct connection *)(void *)reply)->body;
}

void http_reply_done(struct http_reply *reply, int status, const char *type)
{
    struct connection *connection = (struct connection *)(void *)reply;
    if (!connection->closing) {
        say(connection, status, type);
    }
    release(connection);
}

static void observe(struct connection *connection, enum http_outcome outcome, const char *why)
{
    const struct http_settings *settings = &connection->places->settings;
    struct sockaddr_storage at;
    int len = sizeof at;
    char peer[INET6_ADDRSTRLEN] = "";
    if (settings->observed == NULL) {
        return;
    }
    if (uv_tcp_getpeername(&connection->tcp, (struct sockaddr *)&at, &len) == 0) {
        (void)uv_ip_name((struct sockaddr *)&at, peer, sizeof peer);
    }
    const struct http_event event = {
        .outcome = outcome,
        .peer = peer,
        .subject = connection->tls == NULL ? "" : tls_subject(connection->tls),
        .why = why,
    };
    settings->observed(settings->arg, &event);
}

/* A client that shows who it is need not wait for its place to be free again. */
static bool let_in(struct connection *connection)
{
    if (connection->tls == NULL) {
        return true;
    }
    bool allowed = tls_allowed(connection->tls);
    connection->holds = !allowed;
    observe(connection, allowed ? HTTP_SERVED : HTTP_FORBIDDEN, "");
    return allowed;
}

static void say_forbidden(struct connection *connection)
{
    char text[TLS_SUBJECT_MAX + 64];
    snprintf(text, sizeof text, "\"%s\" is not in status.allow of this node\n",
             tls_subject(connection->tls));
    say_shortly(connection, text);
}

static void answer(struct connection *connection, int status, const struct http_request *request)
{
    const struct http_settings *settings = &connection->places->settings;
    const char *type = "text/plain; charset=utf-8";
    connection->answered = true;
    connection->head_only = request->head;
    if (!let_in(connection)) {
        status = 403;
        say_forbidden(connection);
    }
    if (status == 200) {
        connection->handles++; /* the reply's */
        status = settings->page(settings->arg, request->path, (struct http_reply *)connection,
                                &connection->body, &type);
        if (status == HTTP_LATER) {
            return;
        }
        connection->handles--;
    }
    say(connection, status, type);
}

/* ---- what comes in ---- */

static void parse(struct connection *connection)
{
    struct http_request request = {0};
    int status = http_parse(connection->in, connection->len, &request);
    if (status != 0) {
        answer(connection, status, &request);
    }
}

/* To somebody who asks for http:// where https:// is. */
static void answer_no_tls(struct connection *connection)
{
    static const char text[] =
        "This port speaks TLS: ask for https://, with a client certificate.\n";
    connection->answered = true;
    observe(connection, HTTP_REFUSED, "plain HTTP");
    tls_session_free(connection->tls);
    connection->tls = NULL;
    say_shortly(connection, text);
    say(connection, 400, "text/plain; charset=utf-8");
}

/* An alert says why to the peer, if OpenSSL made one. */
static void refuse_handshake(struct connection *connection)
{
    connection->answered = true;
    observe(connection, HTTP_REFUSED, tls_why(connection->tls));
    fly(connection);
    if (connection->flights == 0) {
        connection_close(connection);
    }
}

static void take_tls(struct connection *connection, size_t n)
{
    size_t got = 0;
    connection->received += n;
    if (connection->received > TLS_INPUT_MAX) {
        connection_close(connection);
        return;
    }
    enum tls_state state =
        tls_take(connection->tls, connection->raw, n, connection->in + connection->len,
                 sizeof connection->in - connection->len, &got);
    connection->len += got;
    switch (state) {
    case TLS_NO_TLS:
        answer_no_tls(connection);
        return;
    case TLS_FAILED:
        refuse_handshake(connection);
        return;
    case TLS_SHAKING:
    case TLS_OPEN:
    case TLS_ENDED:
        break;
    }
    connection->holds = true;
    fly(connection);
    if (got > 0 && !connection->closing) {
        parse(connection);
    }
    if (state == TLS_ENDED && !connection->answered) {
        connection_close(connection);
    }
}

/* After the answer, what comes in is thrown away until the peer ends or the time is over. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct connection *connection = handle->data;
    (void)suggested;
    if (connection->tls != NULL || connection->answered) {
        *buf = uv_buf_init(connection->raw, sizeof connection->raw);
    } else {
        *buf = uv_buf_init(connection->in + connection->len,
                           (unsigned)(sizeof connection->in - connection->len));
    }
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct connection *connection = stream->data;
    (void)buf;
    if (n < 0) {
        connection_close(connection);
        return;
    }
    if (connection->answered || n == 0) {
        return;
    }
    if (connection->tls != NULL) {
        take_tls(connection, (size_t)n);
        return;
    }
    connection->len += (size_t)n;
    parse(connection);
}

/* ---- its beginning ---- */

struct connection *connection_new(uv_loop_t *loop, struct http_places *places)
{
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        return NULL;
    }
    if (places->tls != NULL) {
        connection->tls = tls_session_new(places->tls);
        if (connection->tls == NULL) {
            free(connection);
            return NULL;
        }
    }
    kek_buf_init(&connection->body, places->settings.body_max);
    uv_tcp_init(loop, &connection->tcp);
    uv_timer_init(loop, &connection->timer);
    connection->tcp.data = connection;
    connection->timer.data = connection;
    connection->handles = 2;
    connection->places = places;
    connection->next = places->first;
    places->first = connection;
    places->count++;
    return connection;
}

uv_stream_t *connection_stream(struct connection *connection)
{
    return (uv_stream_t *)&connection->tcp;
}

bool connection_begin(struct connection *connection)
{
    const struct http_settings *settings = &connection->places->settings;
    return uv_timer_start(&connection->timer, on_timeout, settings->timeout_ms, 0) == 0 &&
           uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read) == 0;
}
