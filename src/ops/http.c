#include "http.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* One connection: read until the request is there, write the answer, wait for the peer's end.  The last
 * step matters: closing with bytes unread would make the kernel reset the answer away. */
struct connection {
    uv_tcp_t tcp;
    uv_timer_t timer;
    uv_write_t write;
    uv_shutdown_t shutdown;
    unsigned handles; /* not closed yet */
    bool closing;
    bool answered;
    struct http_server *server; /* NULL once the server is gone */
    struct connection *next;
    struct kek_buf body;
    char head[256];
    char in[HTTP_REQUEST_MAX];
    size_t len;
};

struct http_server {
    uv_loop_t *loop;
    uv_tcp_t listener;
    struct http_settings settings;
    struct connection *connections;
    size_t count;
    uint16_t port;
    uv_tcp_t *spare; /* takes, and ends, a connection that there is no memory for */
};

static const char *reason(int status)
{
    switch (status) {
    case 200:
        return "OK";
    case 400:
        return "Bad Request";
    case 404:
        return "Not Found";
    case 405:
        return "Method Not Allowed";
    case 431:
        return "Request Header Fields Too Large";
    case 503:
        return "Service Unavailable";
    case 505:
        return "HTTP Version Not Supported";
    default:
        return "Internal Server Error";
    }
}

static void forget(struct connection *connection)
{
    struct http_server *server = connection->server;
    if (server == NULL) {
        return;
    }
    struct connection **link = &server->connections;
    while (*link != connection) {
        link = &(*link)->next;
    }
    *link = connection->next;
    server->count--;
}

static void on_closed(uv_handle_t *handle)
{
    struct connection *connection = handle->data;
    connection->handles--;
    if (connection->handles == 0) {
        forget(connection);
        kek_buf_done(&connection->body);
        free(connection);
    }
}

static void close_connection(struct connection *connection)
{
    if (!connection->closing) {
        connection->closing = true;
        uv_close((uv_handle_t *)&connection->tcp, on_closed);
        uv_close((uv_handle_t *)&connection->timer, on_closed);
    }
}

static void on_timeout(uv_timer_t *timer)
{
    close_connection(timer->data);
}

static void on_shutdown(uv_shutdown_t *request, int status)
{
    if (status != 0) {
        close_connection(request->data);
    }
}

static void on_written(uv_write_t *request, int status)
{
    struct connection *connection = request->data;
    if (status == UV_ECANCELED || connection->closing) {
        return;
    }
    connection->shutdown.data = connection;
    if (status != 0 ||
        uv_shutdown(&connection->shutdown, (uv_stream_t *)&connection->tcp, on_shutdown) != 0) {
        close_connection(connection);
    }
}

/* What to say when there is no page to say it; without memory, the status line has to do. */
static void short_body(struct connection *connection, int status)
{
    char text[64];
    snprintf(text, sizeof text, "%s\n", reason(status));
    if (kek_buf_append(&connection->body, kek_bytes_of(text), NULL) != KEK_OK) {
        kek_buf_reset(&connection->body);
    }
}

static void answer(struct connection *connection, int status, const struct http_request *request)
{
    struct http_server *server = connection->server;
    const char *type = "text/plain; charset=utf-8";
    connection->answered = true;
    if (status == 200) {
        status =
            server->settings.page(server->settings.arg, request->path, &connection->body, &type);
    }
    if (connection->body.len == 0) {
        short_body(connection, status);
    }
    int len = snprintf(connection->head, sizeof connection->head,
                       "HTTP/1.1 %d %s\r\nContent-Type: %s\r\nContent-Length: %zu\r\n"
                       "Cache-Control: no-store\r\n%sConnection: close\r\n\r\n",
                       status, reason(status), type, connection->body.len,
                       status == 405 ? "Allow: GET, HEAD\r\n" : "");
    uv_buf_t parts[2] = {
        uv_buf_init(connection->head, (unsigned)len),
        uv_buf_init((char *)connection->body.data, (unsigned)connection->body.len),
    };
    connection->write.data = connection;
    if (uv_write(&connection->write, (uv_stream_t *)&connection->tcp, parts, request->head ? 1 : 2,
                 on_written) != 0) {
        close_connection(connection);
    }
}

/* After the answer, what comes in is thrown away until the peer ends or the time is over. */
static void on_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    struct connection *connection = handle->data;
    (void)suggested;
    if (connection->answered) {
        connection->len = 0;
    }
    *buf = uv_buf_init(connection->in + connection->len,
                       (unsigned)(sizeof connection->in - connection->len));
}

static void on_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct connection *connection = stream->data;
    (void)buf;
    if (n < 0) {
        close_connection(connection);
        return;
    }
    if (connection->answered) {
        return;
    }
    connection->len += (size_t)n;
    struct http_request request = {0};
    int status = http_parse(connection->in, connection->len, &request);
    if (status != 0) {
        answer(connection, status, &request);
    }
}

static void on_spare_closed(uv_handle_t *handle)
{
    free(handle);
}

/* libuv takes no other connection as long as one is not accepted. */
static void end_connection(struct http_server *server)
{
    uv_tcp_t *tcp = KEK_STEAL(server->spare);
    if (tcp == NULL) {
        tcp = malloc(sizeof *tcp);
    }
    if (tcp != NULL) {
        uv_tcp_init(server->loop, tcp);
        (void)uv_accept((uv_stream_t *)&server->listener, (uv_stream_t *)tcp);
        uv_close((uv_handle_t *)tcp, on_spare_closed);
    }
}

static void on_connection(uv_stream_t *listener, int status)
{
    struct http_server *server = listener->data;
    if (status != 0) {
        return;
    }
    struct connection *connection = calloc(1, sizeof *connection);
    if (connection == NULL) {
        end_connection(server);
        return;
    }
    if (server->spare == NULL) {
        server->spare = malloc(sizeof *server->spare);
    }
    kek_buf_init(&connection->body, server->settings.body_max);
    uv_tcp_init(server->loop, &connection->tcp);
    uv_timer_init(server->loop, &connection->timer);
    connection->tcp.data = connection;
    connection->timer.data = connection;
    connection->handles = 2;
    connection->server = server;
    connection->next = server->connections;
    server->connections = connection;
    server->count++;
    if (uv_accept(listener, (uv_stream_t *)&connection->tcp) != 0 ||
        server->count > server->settings.max_connections ||
        uv_timer_start(&connection->timer, on_timeout, server->settings.timeout_ms, 0) != 0 ||
        uv_read_start((uv_stream_t *)&connection->tcp, on_alloc, on_read) != 0) {
        close_connection(connection);
    }
}

struct http_server *http_server_new(uv_loop_t *loop, const struct http_settings *settings,
                                    struct kek_why *why)
{
    struct http_server *server = calloc(1, sizeof *server);
    uv_tcp_t *spare = malloc(sizeof *spare);
    if (server == NULL || spare == NULL) {
        free(server);
        free(spare);
        kek_fail(why, KEK_NO_MEMORY, "no memory for the metrics server");
        return NULL;
    }
    server->loop = loop;
    server->settings = *settings;
    server->spare = spare;
    uv_tcp_init(loop, &server->listener);
    server->listener.data = server;
    return server;
}

static uint16_t bound_port(const uv_tcp_t *tcp)
{
    struct sockaddr_storage at;
    int len = sizeof at;
    if (uv_tcp_getsockname(tcp, (struct sockaddr *)&at, &len) != 0) {
        return 0;
    }
    return ntohs(at.ss_family == AF_INET6 ? ((struct sockaddr_in6 *)&at)->sin6_port
                                          : ((struct sockaddr_in *)&at)->sin_port);
}

enum kek_rc http_server_listen(struct http_server *server, const char *host, uint16_t port,
                               struct kek_why *why)
{
    union {
        struct sockaddr any;
        struct sockaddr_in v4;
        struct sockaddr_in6 v6;
    } at;
    if (uv_ip4_addr(host, port, &at.v4) != 0 && uv_ip6_addr(host, port, &at.v6) != 0) {
        return kek_fail(why, KEK_INVALID, "metrics: expected a numeric address, found %s", host);
    }
    int error = uv_tcp_bind(&server->listener, &at.any, 0);
    if (error == 0) {
        error = uv_listen((uv_stream_t *)&server->listener, (int)server->settings.max_connections,
                          on_connection);
    }
    if (error != 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_UV, (unsigned long)-error,
                               "metrics: listening on %s port %u: %s", host, port,
                               uv_strerror(error));
    }
    server->port = bound_port(&server->listener);
    return KEK_OK;
}

uint16_t http_server_port(const struct http_server *server)
{
    return server->port;
}

size_t http_server_connections(const struct http_server *server)
{
    return server->count;
}

static void on_listener_closed(uv_handle_t *handle)
{
    struct http_server *server = handle->data;
    free(server->spare);
    free(server);
}

void http_server_free(struct http_server *server)
{
    if (server == NULL) {
        return;
    }
    for (struct connection *c = server->connections; c != NULL; c = c->next) {
        c->server = NULL;
        close_connection(c);
    }
    uv_close((uv_handle_t *)&server->listener, on_listener_closed);
}
