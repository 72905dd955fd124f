/* The server on real Unix sockets: draining, freeing. */
#include "grpc_site.h"

static void on_drained(void *arg)
{
    struct site *site = arg;
    site->drained++;
}

/* The last connection is gone, and no timer keeps the loop awake until the drain's deadline. */
static void check_drained(struct site *site)
{
    for (int turn = 0; turn < 50; turn++) {
        uv_run(&site->loop, UV_RUN_NOWAIT);
    }
    ck_assert_uint_eq(site->drained, 1);
    ck_assert(!uv_loop_alive(&site->loop));
}

START_TEST(drain_lets_calls_finish_and_new_clients_wait)
{
    struct site *site = site_new();
    struct client client = client_new(site);
    struct peer_answer *answer = start_late(site, &client);
    kek_grpc_server_drain(site->server, 5000, on_drained, site);
    kek_grpc_server_drain(site->server, 5000, on_drained, site);
    struct client queued = client_new(site); /* connects: the backlog is there */
    run_until(site, &client, &client.peer->goaway);
    ck_assert_uint_eq(site->drained, 0);
    service_answer_late(&site->service, 0, "last");
    run_until(site, &client, &client.lost);
    ck_assert_int_eq(answer->grpc_status, 0);
    run_some(site, &queued);
    ck_assert_uint_eq(site->drained, 0); /* the connection is the client's to close */
    client_free(&client);
    run_some(site, &queued);
    ck_assert_uint_eq(site->drained, 1);
    ck_assert(!queued.lost);
    ck_assert_uint_eq(queued.peer->settings, 0);
    client_free(&queued);
    site_free(site);
}
END_TEST

START_TEST(drain_tells_a_client_that_was_not_read_yet_to_ask_again)
{
    struct site *site = site_new();
    struct client client = client_new(site);
    uv_run(&site->loop, UV_RUN_NOWAIT); /* accepts */
    ck_assert_uint_eq(stats_of(site).connections_open, 1);
    peer_call(client.peer, &(struct peer_request){.message = "early"});
    client_move(&client);
    kek_grpc_server_drain(site->server, 5000, on_drained, site);
    run_until(site, &client, &client.lost);
    ck_assert(client.peer->goaway);
    ck_assert_uint_eq(client.peer->goaway_code, NGHTTP2_NO_ERROR);
    ck_assert_int_eq(client.peer->goaway_last, 0); /* so its call may be sent again */
    ck_assert_uint_eq(site->service.started, 0);
    client_free(&client);
    check_drained(site);
    site_free(site);
}
END_TEST

START_TEST(connection_that_breaks_while_draining_ends_its_calls)
{
    enum { PINGS = 3000 };
    static uint8_t flood[PINGS * 17];
    struct site *site = site_new();
    struct client client = client_new(site);
    start_late(site, &client);
    kek_grpc_server_drain(site->server, 60000, on_drained, site);
    run_some(site, &client);
    for (size_t i = 0; i < PINGS; i++) {
        memcpy(flood + 17 * i, "\0\0\x08\x06\0\0\0\0\0pingping", 17);
    }
    for (int floods = 0; site->service.ended == 0;
         floods++) { /* until none of the answers are taken */
        ck_assert_int_lt(floods, 100);
        ck_assert_int_eq(send(client.fd, flood, sizeof flood, MSG_NOSIGNAL), sizeof flood);
        uv_run(&site->loop, UV_RUN_NOWAIT);
    }
    ck_assert_uint_eq(site->service.ended, 1);
    ck_assert_int_eq(site->service.ended_status, KEK_RPC_CANCELLED);
    /* Nor does its deadline keep the loop awake. */
    test_now_us += 5000 * 1000;
    kek_grpc_server_tick(site->server);
    uv_run(&site->loop, UV_RUN_NOWAIT);
    ck_assert_int_ne(uv_backend_timeout(&site->loop), 0);
    client_free(&client);
    check_drained(site);
    site_free(site);
}
END_TEST

START_TEST(drain_gives_up_in_time)
{
    struct site *site = site_new();
    struct client client = client_new(site);
    struct peer_answer *answer = start_late(site, &client);
    kek_grpc_server_drain(site->server, 1000, on_drained, site);
    run_some(site, &client);
    test_now_us += 1000 * 1000;
    kek_grpc_server_tick(site->server);
    run_until(site, &client, &client.lost);
    ck_assert_int_eq(answer->grpc_status, KEK_RPC_UNAVAILABLE);
    check_cut(site, true, "the server stops, and its calls are not over");
    ck_assert_int_eq(site->service.ended_status, KEK_RPC_UNAVAILABLE);
    ck_assert_uint_eq(site->service.ended, 1);
    ck_assert_uint_eq(site->drained, 1);
    client_free(&client);
    site_free(site);
}
END_TEST

START_TEST(drain_without_connections_is_reported_later)
{
    struct site *site = site_new();
    kek_grpc_server_drain(site->server, 1000, on_drained, site);
    ck_assert_uint_eq(site->drained, 0);
    uv_run(&site->loop, UV_RUN_DEFAULT);
    ck_assert_uint_eq(site->drained, 1);
    site_free(site);
}
END_TEST

static void free_server(void *arg)
{
    struct site *site = arg;
    site->drained++;
    kek_grpc_server_free(site->server);
    site->server = NULL;
}

START_TEST(server_may_be_freed_when_drained)
{
    struct site *site = site_new();
    struct client client = client_new(site);
    call(site, &client, &(struct peer_request){.message = "a"});
    kek_grpc_server_drain(site->server, 1000, free_server, site);
    run_until(site, &client, &client.lost);
    client_free(&client);
    uv_run(&site->loop, UV_RUN_DEFAULT);
    ck_assert_uint_eq(site->drained, 1);
    site_free(site);
}
END_TEST

START_TEST(free_ends_open_calls_at_once)
{
    struct site *site = site_new();
    struct client client = client_new(site);
    start_late(site, &client);
    start_late(site, &client);
    kek_grpc_server_free(site->server);
    site->server = NULL;
    ck_assert_uint_eq(site->service.ended, 2);
    ck_assert_int_eq(site->service.ended_status, KEK_RPC_CANCELLED);
    client_free(&client);
    site_free(site);
}
END_TEST

static void free_in_start(struct service *service)
{
    struct site *site = (struct site *)((char *)service - offsetof(struct site, service));
    kek_grpc_server_free(site->server);
    site->server = NULL;
}

START_TEST(server_may_be_freed_by_a_method)
{
    struct site *site = site_new();
    struct client client = client_new(site);
    start_late(site, &client);
    site->service.in_start = free_in_start;
    peer_call(client.peer, &(struct peer_request){.message = "a"});
    run_until(site, &client, &client.lost);
    ck_assert_uint_eq(site->service.ended, 1);
    client_free(&client);
    site_free(site);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grpc drain");
    TCase *tests = tcase_create("server");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, drain_lets_calls_finish_and_new_clients_wait);
    tcase_add_test(tests, drain_tells_a_client_that_was_not_read_yet_to_ask_again);
    tcase_add_test(tests, connection_that_breaks_while_draining_ends_its_calls);
    tcase_add_test(tests, drain_gives_up_in_time);
    tcase_add_test(tests, drain_without_connections_is_reported_later);
    tcase_add_test(tests, server_may_be_freed_when_drained);
    tcase_add_test(tests, free_ends_open_calls_at_once);
    tcase_add_test(tests, server_may_be_freed_by_a_method);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
