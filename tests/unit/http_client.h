/*
 * An HTTP client on the loop of what it asks: it sends its text in pieces, as slowly as a test likes, and
 * keeps what comes until the server ends.
 */
#ifndef TEST_HTTP_CLIENT_H
#define TEST_HTTP_CLIENT_H

#include "suite.h"

#include <stdbool.h>
#include <stdint.h>
#include <stdlib.h>
#include <string.h>
#include <uv.h>

#define CLIENT_ANSWER_MAX (400u * 1024)

/* Sends `text` in pieces of `piece` bytes, and keeps what comes until the server ends. */
struct client {
    uv_tcp_t tcp;
    uv_connect_t connect;
    uv_write_t write;
    const char *text;
    size_t len, piece, sent;
    bool ended; /* the server closed, in whatever way */
    bool closed;
    size_t got;
    char answer[CLIENT_ANSWER_MAX];
    char buffer[65536];
};

static inline void on_client_closed(uv_handle_t *handle)
{
    ((struct client *)handle->data)->closed = true;
}

static inline void client_close(struct client *client)
{
    if (!uv_is_closing((uv_handle_t *)&client->tcp)) {
        uv_close((uv_handle_t *)&client->tcp, on_client_closed);
    }
}

static inline void client_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct client *client = handle->data;
    *buf = uv_buf_init(client->buffer, sizeof client->buffer);
}

static inline void client_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
{
    struct client *client = stream->data;
    if (n < 0) {
        client->ended = true;
        client_close(client);
        return;
    }
    ck_assert_uint_lt(client->got + (size_t)n, sizeof client->answer);
    memcpy(client->answer + client->got, buf->base, (size_t)n);
    client->got += (size_t)n;
    client->answer[client->got] = '\0';
}

static inline void client_send(struct client *client);

static inline void client_sent(uv_write_t *request, int status)
{
    struct client *client = request->data;
    if (status == 0 && !uv_is_closing((uv_handle_t *)&client->tcp)) {
        client_send(client);
    }
}

static inline void client_send(struct client *client)
{
    size_t left = client->len - client->sent;
    size_t len = left < client->piece ? left : client->piece;
    if (len == 0) {
        return;
    }
    uv_buf_t piece = uv_buf_init((char *)client->text + client->sent, (unsigned)len);
    client->sent += len;
    client->write.data = client;
    ck_assert_int_eq(uv_write(&client->write, (uv_stream_t *)&client->tcp, &piece, 1, client_sent),
                     0);
}

static inline void client_connected(uv_connect_t *request, int status)
{
    struct client *client = request->data;
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(uv_read_start((uv_stream_t *)&client->tcp, client_alloc, client_read), 0);
    client_send(client);
}

static inline struct client *client_new(uv_loop_t *loop, uint16_t port, const char *text,
                                        size_t len, size_t piece)
{
    struct client *client = calloc(1, sizeof *client);
    struct sockaddr_in to;
    ck_assert_ptr_nonnull(client);
    client->text = text;
    client->len = len;
    client->piece = piece;
    client->tcp.data = client;
    client->connect.data = client;
    ck_assert_int_eq(uv_tcp_init(loop, &client->tcp), 0);
    ck_assert_int_eq(uv_ip4_addr("127.0.0.1", port, &to), 0);
    ck_assert_int_eq(
        uv_tcp_connect(&client->connect, &client->tcp, (struct sockaddr *)&to, client_connected),
        0);
    return client;
}

static inline void client_free(struct client *client)
{
    client_close(client);
    while (!client->closed) {
        uv_run(client->tcp.loop, UV_RUN_ONCE);
    }
    free(client);
}

static inline void run_until_ended(struct client *client)
{
    while (!client->ended) {
        uv_run(client->tcp.loop, UV_RUN_ONCE);
    }
}

/* The whole answer to `text`, sent in pieces. The caller frees it. */
static inline struct client *ask(uv_loop_t *loop, uint16_t port, const char *text, size_t piece)
{
    struct client *client = client_new(loop, port, text, strlen(text), piece);
    run_until_ended(client);
    return client;
}

#endif
