/* The HTTP server behind metrics: its parser, its limits, and that no peer holds it up. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "http_client.h"
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
static struct http_reply *later; /* whose page is yet to be made */

static int page(void *arg, const char *path, struct http_reply *reply, struct kek_buf *body,
                const char **type)
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
    if (strcmp(path, "/later") == 0) {
        later = reply;
        return HTTP_LATER;
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
                                                     .name = "test",
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

static void answers(const char *text, size_t piece, const char *head, const char *body)
{
    struct client *client = ask(&loop, http_server_port(server), text, piece);
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
    struct client *client =
        ask(&loop, http_server_port(server), "PUT / HTTP/1.1\r\nHost: x\r\n\r\n", 1000);
    ck_assert_ptr_nonnull(strstr(client->answer, "\r\nAllow: GET, HEAD\r\n"));
    client_free(client);
    client = ask(&loop, http_server_port(server), "HEAD /down HTTP/1.1\r\nHost: x\r\n\r\n", 1000);
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
    struct client *client =
        ask(&loop, http_server_port(server), "GET /big HTTP/1.1\r\nHost: x\r\n\r\n", 1000);
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
    struct client *silent = client_new(&loop, http_server_port(server), "", 0, 1);
    struct client *slow = client_new(&loop, http_server_port(server), "GET /big HT", 11, 1);
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
        clients[i] = client_new(&loop, http_server_port(server), "", 0, 1);
    }
    while (http_server_connections(server) < 4) {
        uv_run(&loop, UV_RUN_ONCE);
    }
    struct client *fifth = client_new(&loop, http_server_port(server),
                                      "GET /down HTTP/1.1\r\nHost: x\r\n\r\n", 31, 100);
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
    struct client *silent = client_new(&loop, http_server_port(server), "", 0, 1);
    struct client *asking = client_new(&loop, http_server_port(server),
                                       "GET /big HTTP/1.1\r\nHost: x\r\n\r\n", 30, 100);
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

static void wait_for_later(void)
{
    while (later == NULL) {
        uv_run(&loop, UV_RUN_ONCE);
    }
}

START_TEST(server_answers_later_when_the_page_is_there)
{
    serve(HTTP_TIMEOUT_MS, HTTP_CONNECTIONS_MAX);
    struct client *client = client_new(&loop, http_server_port(server),
                                       "GET /later HTTP/1.1\r\nHost: x\r\n\r\n", 32, 100);
    wait_for_later();
    ck_assert_uint_eq(client->got, 0);
    ck_assert_int_eq(kek_buf_append(http_reply_body(later), kek_bytes_of("now\n"), NULL), KEK_OK);
    http_reply_done(later, 200, "text/later");
    run_until_ended(client);
    ck_assert_ptr_nonnull(
        strstr(client->answer, "HTTP/1.1 200 OK\r\nContent-Type: text/later\r\n"));
    ck_assert_ptr_nonnull(strstr(client->answer, "\r\n\r\nnow\n"));
    client_free(client);
    end();
}
END_TEST

/* Whoever does not wait for his page keeps its place until it is made, and no longer. */
START_TEST(a_page_that_comes_too_late_is_let_go)
{
    serve(20, HTTP_CONNECTIONS_MAX);
    struct client *client = client_new(&loop, http_server_port(server),
                                       "GET /later HTTP/1.1\r\nHost: x\r\n\r\n", 32, 100);
    wait_for_later();
    run_until_ended(client);
    ck_assert_uint_eq(client->got, 0);
    client_free(client);
    ck_assert_uint_eq(http_server_connections(server), 1);
    http_reply_done(later, 200, "text/later");
    ck_assert_uint_eq(http_server_connections(server), 0);
    end();
}
END_TEST

START_TEST(a_page_may_outlive_its_server)
{
    serve(HTTP_TIMEOUT_MS, HTTP_CONNECTIONS_MAX);
    struct client *client = client_new(&loop, http_server_port(server),
                                       "GET /later HTTP/1.1\r\nHost: x\r\n\r\n", 32, 100);
    wait_for_later();
    http_server_free(server);
    run_until_ended(client);
    client_free(client);
    http_reply_done(later, 200, "text/later");
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
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
    tcase_add_test(tcase, server_answers_later_when_the_page_is_there);
    tcase_add_test(tcase, a_page_that_comes_too_late_is_let_go);
    tcase_add_test(tcase, a_page_may_outlive_its_server);
    tcase_add_test(tcase, listen_names_what_is_wrong_with_the_address);
    return suite_run(suite);
}
