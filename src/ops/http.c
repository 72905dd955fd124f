#include "http.h"

#include <stdlib.h>

#include "http_connection.h"

struct http_server {
    uv_loop_t *loop;
    uv_tcp_t listener;
    struct http_places places;
    uint16_t port;
    uv_tcp_t *spare; /* takes, and ends, a connection that there is no memory for */
};

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
    /* Past the limit there is no TLS to be made ready. */
    bool full = server->places.count >= server->places.settings.max_connections;
    struct connection *connection = full ? NULL : connection_new(server->loop, &server->places);
    if (connection == NULL) {
        end_connection(server);
        return;
    }
    if (server->spare == NULL) {
        server->spare = malloc(sizeof *server->spare);
    }
    if (uv_accept(listener, connection_stream(connection)) != 0 || !connection_begin(connection)) {
        connection_close(connection);
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
        kek_fail(why, KEK_NO_MEMORY, "no memory for the server of %s", settings->name);
        return NULL;
    }
    server->loop = loop;
    server->places.settings = *settings;
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
        return kek_fail(why, KEK_INVALID, "%s: expected a numeric address, found %s",
                        server->places.settings.name, host);
    }
    int error = uv_tcp_bind(&server->listener, &at.any, 0);
    if (error == 0) {
        error = uv_listen((uv_stream_t *)&server->listener,
                          (int)server->places.settings.max_connections, on_connection);
    }
    if (error != 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_UV, (unsigned long)-error,
                               "%s: listening on %s port %u: %s", server->places.settings.name,
                               host, port, uv_strerror(error));
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
    return server->places.count;
}

void http_server_set_tls(struct http_server *server, const struct tls *tls)
{
    server->places.tls = tls;
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
    connections_end(&server->places);
    uv_close((uv_handle_t *)&server->listener, on_listener_closed);
}
