/* The HTTP server behind metrics: its parser, its limits, and that no peer holds it up. */
#include <check.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "src/ops/http.h"

#define BIG_BODY (300u * 1024)

/* ---- the parser ---- */

static int parse(const char *text, struct http_request *request)
{
    return http_parse(text, strlen(text), request);
}

START_TEST(parse_takes_get_and_head_of_a_path)
{
    static const struct {
        const char *text, *path;
        bool head;
    } good[] = {
        {"GET /metrics HTTP/1.1\r\nHost: x\r\n\r\n", "/metrics", false},
        {"HEAD /healthz HTTP/1.1\r\nhost:x\r\n\r\n", "/healthz", true},
        {"GET /readyz?verbose=1&x=%20 HTTP/1.1\r\nHost: x\r\nAccept: */*\r\n\r\n", "/readyz",
         false},
        {"GET http://node:9478/metrics HTTP/1.1\r\nHost: node\r\n\r\n", "/metrics", false},
        {"GET HTTP://node/ HTTP/1.1\r\nHost: node\r\n\r\n", "/", false},
        {"GET / HTTP/1.0\r\n\r\n", "/", false},
        {"GET / HTTP/1.0\n\n", "/", false},
        {"GET / HTTP/1.1\r\nHost: x\r\nX-Empty:\r\nX-Bytes: \xc3\xa4\r\n\r\nbody", "/", false},
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct http_request request = {.path = "untouched"};
        size_t len = strstr(good[i].text, "body") == NULL
                         ? strlen(good[i].text)
                         : (size_t)(strstr(good[i].text, "body") - good[i].text);
        for (size_t part = 0; part < len; part++) {
            ck_assert_int_eq(http_parse(good[i].text, part, &request), 0);
            ck_assert_str_eq(request.path, "untouched");
        }
        ck_assert_msg(parse(good[i].text, &request) == 200, "%s", good[i].text);
        ck_assert_str_eq(request.path, good[i].path);
        ck_assert(request.head == good[i].head);
    }
}
END_TEST

START_TEST(parse_refuses_what_is_no_such_request)
{
    static const struct {
        const char *text;
        int status;
    } bad[] = {
        {"\r\n\r\n", 400},
        {"GET\r\n\r\n", 400},
        {"GET /\r\n\r\n", 400},
        {"GET  / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET / HTTP/1.1 \r\nHost: x\r\n\r\n", 400},
        {"GET / HTTP/1.1 x\r\nHost: x\r\n\r\n", 400},
        {"GET / http/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET / HTTP/11\r\nHost: x\r\n\r\n", 400},
        {"GET / HTTP/1.x\r\nHost: x\r\n\r\n", 400},
        {"G(T / HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET metrics HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET http://node HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /\x01 HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET /\xff HTTP/1.1\r\nHost: x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\nHost: y\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\n folded: y\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost : x\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\nno colon\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\r\n: no name\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\x01\r\n\r\n", 400},
        {"GET / HTTP/1.1\r\nHost: x\ry\r\n\r\n", 400},
        {"GET / HTTP/2.0\r\nHost: x\r\n\r\n", 505},
        {"PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n", 505},
        {"POST / HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"DELETE /metrics HTTP/1.1\r\nHost: x\r\n\r\n", 405},
        {"get / HTTP/1.1\r\nHost: x\r\n\r\n", 405},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct http_request request = {.path = "untouched"};
        ck_assert_msg(parse(bad[i].text, &request) == bad[i].status, "%d for %s",
                      parse(bad[i].text, &request), bad[i].text);
        ck_assert_str_eq(request.path, "untouched");
    }
    struct http_request request;
    static const char with_nul[] = "GET / HTTP/1.0\r\nA: \0\r\n\r\n";
    ck_assert_int_eq(http_parse(with_nul, sizeof with_nul - 1, &request), 400);
    ck_assert_int_eq(http_parse(NULL, 0, &request), 0);
}
END_TEST

START_TEST(parse_has_a_limit_and_a_long_path_is_no_page)
{
    char text[HTTP_REQUEST_MAX + 100] = "GET / HTTP/1.1\r\nHost: x\r\nX: ";
    struct http_request request;
    size_t len = strlen(text);
    memset(text + len, 'x', sizeof text - len);
    memcpy(text + HTTP_REQUEST_MAX - 4, "\r\n\r\n", 4);
    ck_assert_int_eq(http_parse(text, HTTP_REQUEST_MAX, &request), 200);
    ck_assert_int_eq(http_parse(text, HTTP_REQUEST_MAX - 1, &request), 0);
    memcpy(text + HTTP_REQUEST_MAX - 4, "x\r\n\r\n", 5);
    ck_assert_int_eq(http_parse(text, HTTP_REQUEST_MAX, &request), 431);
    ck_assert_int_eq(http_parse(text, HTTP_REQUEST_MAX + 1, &request), 431);

    memset(text, 'x', 200);
    memcpy(text, "GET /", 5);
    memcpy(text + 200, " HTTP/1.0\r\n\r\n", 14);
    ck_assert_int_eq(parse(text, &request), 200);
    ck_assert_str_eq(request.path, "");
}
END_TEST

/* ---- the server, and clients on the same loop ---- */

static uv_loop_t loop;
static struct http_server *server;

static int page(void *arg, const char *path, struct kek_buf *body, const char **type)
{
    ck_assert_ptr_eq(arg, &loop);
    if (strcmp(path, "/big") == 0) {
        uint8_t *at = kek_buf_reserve(body, BIG_BODY, NULL);
        ck_assert_ptr_nonnull(at);
        memset(at, 'b', BIG_BODY);
        body->len += BIG_BODY;
        *type = "text/big";
        return 200;
    }
    if (strcmp(path, "/down") == 0) {
        ck_assert_int_eq(kek_buf_append(body, kek_bytes_of("no HSM\n"), NULL), KEK_OK);
        return 503;
    }
    return 404;
}

static void serve(uint64_t timeout_ms, size_t max_connections)
{
    struct kek_why why = {.text = ""};
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    server = http_server_new(&loop,
                             &(struct http_settings){.page = page,
                                                     .arg = &loop,
                                                     .body_max = 2 * BIG_BODY,
                                                     .timeout_ms = timeout_ms,
                                                     .max_connections = max_connections},
                             &why);
    ck_assert_ptr_nonnull(server);
    ck_assert_uint_eq(http_server_port(server), 0);
    ck_assert_msg(http_server_listen(server, "127.0.0.1", 0, &why) == KEK_OK, "%s", why.text);
    ck_assert_uint_ne(http_server_port(server), 0);
}

static void end(void)
{
    http_server_free(server);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}

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
    char answer[BIG_BODY + 1024];
    char buffer[65536];
};

static void on_client_closed(uv_handle_t *handle)
{
    ((struct client *)handle->data)->closed = true;
}

static void client_close(struct client *client)
{
    if (!uv_is_closing((uv_handle_t *)&client->tcp)) {
        uv_close((uv_handle_t *)&client->tcp, on_client_closed);
    }
}

static void client_alloc(uv_handle_t *handle, size_t suggested, uv_buf_t *buf)
{
    (void)suggested;
    struct client *client = handle->data;
    *buf = uv_buf_init(client->buffer, sizeof client->buffer);
}

static void client_read(uv_stream_t *stream, ssize_t n, const uv_buf_t *buf)
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

static void client_send(struct client *client);

static void client_sent(uv_write_t *request, int status)
{
    struct client *client = request->data;
    if (status == 0 && !uv_is_closing((uv_handle_t *)&client->tcp)) {
        client_send(client);
    }
}

static void client_send(struct client *client)
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

static void client_connected(uv_connect_t *request, int status)
{
    struct client *client = request->data;
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(uv_read_start((uv_stream_t *)&client->tcp, client_alloc, client_read), 0);
    client_send(client);
}

static struct client *client_new(const char *text, size_t len, size_t piece)
{
    struct client *client = calloc(1, sizeof *client);
    struct sockaddr_in to;
    ck_assert_ptr_nonnull(client);
    client->text = text;
    client->len = len;
    client->piece = piece;
    client->tcp.data = client;
    client->connect.data = client;
    ck_assert_int_eq(uv_tcp_init(&loop, &client->tcp), 0);
    ck_assert_int_eq(uv_ip4_addr("127.0.0.1", http_server_port(server), &to), 0);
    ck_assert_int_eq(
        uv_tcp_connect(&client->connect, &client->tcp, (struct sockaddr *)&to, client_connected),
        0);
    return client;
}

static void client_free(struct client *client)
{
    client_close(client);
    while (!client->closed) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    free(client);
}

static void run_until_ended(struct client *client)
{
    while (!client->ended) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

/* The whole answer to `text`, sent in pieces. The caller frees it. */
static struct client *ask(const char *text, size_t piece)
{
    struct client *client = client_new(text, strlen(text), piece);
    run_until_ended(client);
    return client;
}

static void answers(const char *text, size_t piece, const char *head, const char *body)
{
    struct client *client = ask(text, piece);
    ck_assert_msg(strncmp(client->answer, head, strlen(head)) == 0, "%s", client->answer);
    const char *split = strstr(client->answer, "\r\n\r\n");
    ck_assert_ptr_nonnull(split);
    ck_assert_str_eq(split + 4, body);
    ck_assert_ptr_nonnull(strstr(client->answer, "\r\nConnection: close\r\n"));
    client_free(client);
}

START_TEST(server_answers_each_request_with_its_status)
{
    serve(HTTP_TIMEOUT_MS, HTTP_CONNECTIONS_MAX);
    static const char down[] = "GET /down HTTP/1.1\r\nHost: x\r\n\r\n";
    answers(down, 1000, "HTTP/1.1 503 Service Unavailable\r\nContent-Type: text/plain", "no HSM\n");
    answers(down, 1, "HTTP/1.1 503 ", "no HSM\n");
    answers("HEAD /down HTTP/1.1\r\nHost: x\r\n\r\n", 1000, "HTTP/1.1 503 ", "");
    answers("GET /other HTTP/1.1\r\nHost: x\r\n\r\n", 1000, "HTTP/1.1 404 Not Found\r\n",
            "Not Found\n");
    answers("GET /down\r\n\r\n", 1000, "HTTP/1.1 400 Bad Request\r\n", "Bad Request\n");
    answers("PUT /down HTTP/1.1\r\nHost: x\r\n\r\nbody", 1000,
            "HTTP/1.1 405 Method Not Allowed\r\n", "Method Not Allowed\n");
    struct client *client = ask("PUT / HTTP/1.1\r\nHost: x\r\n\r\n", 1000);
    ck_assert_ptr_nonnull(strstr(client->answer, "\r\nAllow: GET, HEAD\r\n"));
    client_free(client);
    client = ask("HEAD /down HTTP/1.1\r\nHost: x\r\n\r\n", 1000);
    ck_assert_ptr_nonnull(strstr(client->answer, "\r\nContent-Length: 7\r\n"));
    client_free(client);
    end();
}
END_TEST

START_TEST(server_answers_431_and_the_answer_arrives_whatever_else_is_sent)
{
    static char flood[256 * 1024];
    serve(HTTP_TIMEOUT_MS, HTTP_CONNECTIONS_MAX);
    memset(flood, 'x', sizeof flood - 1);
    answers(flood, 5000, "HTTP/1.1 431 Request Header Fields Too Large\r\n",
            "Request Header Fields Too Large\n");
    end();
}
END_TEST

START_TEST(server_sends_a_big_page_whole)
{
    serve(HTTP_TIMEOUT_MS, HTTP_CONNECTIONS_MAX);
    struct client *client = ask("GET /big HTTP/1.1\r\nHost: x\r\n\r\n", 1000);
    const char *split = strstr(client->answer, "\r\n\r\n");
    ck_assert_ptr_nonnull(split);
    ck_assert_uint_eq(strlen(split + 4), BIG_BODY);
    ck_assert_ptr_nonnull(strstr(client->answer, "\r\nContent-Type: text/big\r\n"));
    client_free(client);
    end();
}
END_TEST

START_TEST(server_ends_a_connection_that_asks_for_nothing)
{
    serve(20, HTTP_CONNECTIONS_MAX);
    struct client *silent = client_new("", 0, 1);
    struct client *slow = client_new("GET /big HT", 11, 1);
    run_until_ended(silent);
    run_until_ended(slow);
    ck_assert_uint_eq(silent->got + slow->got, 0);
    client_free(silent);
    client_free(slow);
    end();
}
END_TEST

START_TEST(server_closes_the_connection_past_its_limit_and_frees_places)
{
    struct client *clients[4];
    serve(HTTP_TIMEOUT_MS, 4);
    for (size_t i = 0; i < 4; i++) {
        clients[i] = client_new("", 0, 1);
    }
    while (http_server_connections(server) < 4) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    struct client *fifth = client_new("GET /down HTTP/1.1\r\nHost: x\r\n\r\n", 31, 100);
    run_until_ended(fifth);
    ck_assert_uint_eq(fifth->got, 0);
    client_free(fifth);
    client_free(clients[0]);
    while (http_server_connections(server) > 3) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    answers("GET /down HTTP/1.1\r\nHost: x\r\n\r\n", 100, "HTTP/1.1 503 ", "no HSM\n");
    for (size_t i = 1; i < 4; i++) {
        client_free(clients[i]);
    }
    end();
}
END_TEST

START_TEST(free_ends_connections_in_every_state)
{
    serve(HTTP_TIMEOUT_MS, HTTP_CONNECTIONS_MAX);
    struct client *silent = client_new("", 0, 1);
    struct client *asking = client_new("GET /big HTTP/1.1\r\nHost: x\r\n\r\n", 30, 100);
    while (http_server_connections(server) < 2) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    http_server_free(server);
    run_until_ended(silent);
    run_until_ended(asking);
    client_free(silent);
    client_free(asking);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    http_server_free(NULL);
}
END_TEST

START_TEST(listen_names_what_is_wrong_with_the_address)
{
    struct kek_why why;
    serve(HTTP_TIMEOUT_MS, HTTP_CONNECTIONS_MAX);
    struct http_server *second =
        http_server_new(&loop, &(struct http_settings){.page = page, .max_connections = 1}, &why);
    ck_assert_int_eq(http_server_listen(second, "localhost", 1, &why), KEK_INVALID);
    ck_assert_ptr_nonnull(strstr(why.text, "localhost"));
    ck_assert_int_eq(http_server_listen(second, "127.0.0.1", http_server_port(server), &why),
                     KEK_UNAVAILABLE);
    ck_assert_int_eq(why.native, KEK_NATIVE_UV);
    ck_assert_uint_eq(http_server_port(second), 0);
    http_server_free(second);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("http");
    TCase *tcase = tcase_create("http");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, parse_takes_get_and_head_of_a_path);
    tcase_add_test(tcase, parse_refuses_what_is_no_such_request);
    tcase_add_test(tcase, parse_has_a_limit_and_a_long_path_is_no_page);
    tcase_add_test(tcase, server_answers_each_request_with_its_status);
    tcase_add_test(tcase, server_answers_431_and_the_answer_arrives_whatever_else_is_sent);
    tcase_add_test(tcase, server_sends_a_big_page_whole);
    tcase_add_test(tcase, server_ends_a_connection_that_asks_for_nothing);
    tcase_add_test(tcase, server_closes_the_connection_past_its_limit_and_frees_places);
    tcase_add_test(tcase, free_ends_connections_in_every_state);
    tcase_add_test(tcase, listen_names_what_is_wrong_with_the_address);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
