/* The server on real Unix sockets: accepting, peers, limits, timers. */
#include "grpc_site.h"

START_TEST(settings_are_sent_to_a_silent_client)
{
    struct site *site = site_new();
    int fd = connect_to(site);
    uint8_t first[64];
    ssize_t n = -1;
    for (int turn = 0; n < 0 && turn < TURNS_MAX; turn++) {
        uv_run(&site->loop, UV_RUN_NOWAIT);
        n = recv(fd, first, sizeof first, 0);
    }
    ck_assert_int_ge(n, 9);
    ck_assert_uint_eq(first[3], NGHTTP2_SETTINGS);
    close(fd);
    site_free(site);
}
END_TEST

START_TEST(peer_is_known_by_its_uid)
{
    struct site *site = site_new();
    struct client client = client_new(site);
    const struct peer_answer *answer = call(site, &client, &(struct peer_request){.message = "a"});
    ck_assert_int_eq(answer->grpc_status, 0);
    ck_assert_mem_eq(answer->body, "\0\0\0\0\1a", 6);
    ck_assert_uint_eq(site->service.uid, getuid());
    ck_assert_uint_eq(site->service.allowed_asked, 1);
    client_free(&client);
    site_free(site);
}
END_TEST

START_TEST(refused_peer_is_told_and_cannot_take_every_connection)
{
    struct site *site = site_new();
    site->service.deny = true;
    struct client client = client_new(site);
    const struct peer_answer *answer = call(site, &client, &(struct peer_request){.message = "a"});
    ck_assert_int_eq(answer->grpc_status, KEK_RPC_PERMISSION_DENIED);
    char text[64];
    snprintf(text, sizeof text, "uid %u is not allowed (allow_uids)", (unsigned)getuid());
    ck_assert_str_eq(answer->message, text);
    ck_assert_uint_eq(site->service.started, 0);
    /* 2 of the 8 connections are the most for such peers. */
    struct client second = client_new(site);
    struct client third = client_new(site);
    run_until(site, &third, &third.lost);
    run_some(site, &second);
    ck_assert(!second.lost);
    ck_assert_uint_eq(stats_of(site).connections_refused, 1);
    check_cut(site, true, "all connections for peers that may not call are taken");
    site->service.deny = false;
    struct client welcome = client_new(site);
    answer = call(site, &welcome, &(struct peer_request){.message = "a"});
    ck_assert_int_eq(answer->grpc_status, 0);
    client_free(&client);
    client_free(&second);
    client_free(&third);
    client_free(&welcome);
    site_free(site);
}
END_TEST

START_TEST(one_connection_too_many_is_closed_and_counted)
{
    struct site *site = site_new();
    struct client clients[9];
    for (int i = 0; i < 9; i++) {
        clients[i] = client_new(site);
    }
    run_until(site, &clients[8], &clients[8].lost);
    ck_assert_uint_eq(stats_of(site).connections_open, 8);
    ck_assert_uint_eq(stats_of(site).connections_total, 8);
    ck_assert_uint_eq(stats_of(site).connections_refused, 1);
    check_cut(site, true, "all connections are taken");
    call(site, &clients[0], &(struct peer_request){.message = "still here"});
    /* One leaves, one comes. */
    close(clients[1].fd);
    clients[1].fd = -1;
    run_some(site, &clients[0]);
    ck_assert_uint_eq(stats_of(site).connections_open, 7);
    ck_assert_uint_eq(site->service.cuts, 1); /* who leaves was not cut */
    struct client next = client_new(site);
    ck_assert_int_eq(call(site, &next, &(struct peer_request){.message = "x"})->grpc_status, 0);
    client_free(&next);
    for (int i = 0; i < 9; i++) {
        client_free(&clients[i]);
    }
    site_free(site);
}
END_TEST

START_TEST(late_replies_are_written_without_more_input)
{
    struct site *site = site_new();
    struct client client = client_new(site);
    struct peer_answer *first = start_late(site, &client);
    struct peer_answer *second = start_late(site, &client);
    service_answer_late(&site->service, 0, "1");
    service_answer_late(&site->service, 1, "2");
    uv_run(&site->loop, UV_RUN_NOWAIT);
    client_move(&client); /* one write had both */
    ck_assert(first->closed && second->closed);
    client_free(&client);
    site_free(site);
}
END_TEST

static int watched_fd;
static ssize_t answered_by[64]; /* bytes that the client could read when this call was started */

static void look_at_answers(struct service *service)
{
    static uint8_t bytes[65536];
    size_t call = service->started - 1;
    if (call < sizeof answered_by / sizeof answered_by[0]) {
        answered_by[call] = recv(watched_fd, bytes, sizeof bytes, MSG_PEEK);
    }
}

START_TEST(first_answers_leave_before_the_last_calls_are_started)
{
    enum { CALLS = sizeof answered_by / sizeof answered_by[0] };
    struct site *site = site_new();
    struct client client = client_new(site);
    struct peer_answer *answers[CALLS];
    char message[65] = "";
    memset(message, 'm', sizeof message - 1); /* so that all of them are more than 4 KiB */
    run_some(site, &client);
    for (size_t i = 0; i < CALLS; i++) {
        const struct peer_request request = {.message = message};
        answers[i] = peer_answer(client.peer, peer_call(client.peer, &request));
    }
    watched_fd = client.fd;
    site->service.in_start = look_at_answers;
    client_move(&client);
    while (site->service.started == 0) {
        uv_run(&site->loop, UV_RUN_NOWAIT);
    }
    ck_assert_uint_eq(site->service.started, CALLS); /* in one turn */
    ck_assert_int_lt(answered_by[0], 0);
    ck_assert_int_gt(answered_by[CALLS - 1], 0);
    run_some(site, &client);
    for (size_t i = 0; i < CALLS; i++) {
        ck_assert_int_eq(answers[i]->grpc_status, 0);
        ck_assert_uint_eq(answers[i]->body_len, 5 + sizeof message - 1);
    }
    client_free(&client);
    site_free(site);
}
END_TEST

START_TEST(timer_ends_a_call_at_its_deadline)
{
    struct site *site = site_new();
    struct client client = client_new(site);
    struct peer_answer *answer = start_late(site, &client);
    test_now_us += 4999 * 1000;
    kek_grpc_server_tick(site->server);
    run_some(site, &client);
    ck_assert(!answer->seen);
    test_now_us += 1000;
    kek_grpc_server_tick(site->server);
    run_until(site, &client, &answer->closed);
    ck_assert_int_eq(answer->grpc_status, KEK_RPC_DEADLINE_EXCEEDED);
    ck_assert_int_eq(site->service.ended_status, KEK_RPC_DEADLINE_EXCEEDED);
    client_free(&client);
    site_free(site);
}
END_TEST

START_TEST(timer_fires_by_itself)
{
    struct site *site = site_new();
    kek_clock_fake(NULL);
    struct client client = client_new(site);
    const struct peer_request late = {.path = "/t.T/Late", .timeout = "20m"};
    const struct peer_answer *answer = peer_answer(client.peer, peer_call(client.peer, &late));
    for (int turn = 0;; turn++) {
        ck_assert_int_lt(turn, TURNS_MAX);
        client_move(&client);
        if (answer->closed) {
            break;
        }
        uv_run(&site->loop, UV_RUN_ONCE); /* sleeps until the timer or input */
    }
    ck_assert_int_eq(answer->grpc_status, KEK_RPC_DEADLINE_EXCEEDED);
    client_free(&client);
    site_free(site);
}
END_TEST

START_TEST(silent_connection_is_closed_and_an_idle_one_stays)
{
    struct site *site = site_new();
    struct client idle = client_new(site);
    call(site, &idle, &(struct peer_request){.message = "a"});
    struct client silent = {.peer = peer_new(-1), .fd = connect_to(site)};
    run_some(site, &idle);
    test_now_us += KEK_GRPC_PREFACE_MS * 1000u;
    kek_grpc_server_tick(site->server);
    for (int turn = 0; turn < 50; turn++) {
        uv_run(&site->loop, UV_RUN_NOWAIT);
    }
    ck_assert_uint_eq(stats_of(site).connections_open, 1);
    check_cut(site, true, "its HTTP/2 preface did not come in time");
    test_now_us += 3600u * 1000 * 1000;
    kek_grpc_server_tick(site->server);
    ck_assert_int_eq(call(site, &idle, &(struct peer_request){.message = "b"})->grpc_status, 0);
    client_free(&idle);
    client_free(&silent);
    site_free(site);
}
END_TEST

/* One whole call to /t.T/Echo, without any state of HPACK's. */
static size_t raw_call(uint8_t out[static 128], uint32_t stream)
{
    static const char head[] = "\x83\x86\x04\x09/t.T/Echo\x0f\x10\x10"
                               "application/grpc";
    const uint8_t id[4] = {(uint8_t)(stream >> 24), (uint8_t)(stream >> 16), (uint8_t)(stream >> 8),
                           (uint8_t)stream};
    const size_t len = sizeof head - 1;
    memcpy(out, (const uint8_t[]){0, 0, (uint8_t)len, NGHTTP2_HEADERS, 4}, 5);
    memcpy(out + 5, id, 4);
    memcpy(out + 9, head, len);
    memcpy(out + 9 + len, (const uint8_t[]){0, 0, 5, NGHTTP2_DATA, 1}, 5);
    memcpy(out + 14 + len, id, 4);
    memset(out + 18 + len, 0, 5);
    return 23 + len;
}

START_TEST(client_that_never_reads_harms_nobody_and_is_closed)
{
    static const char preface[] = "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0";
    struct site *site = site_new();
    struct client good = client_new(site);
    int bad = connect_to(site);
    ck_assert_int_eq(send(bad, preface, sizeof preface, 0), sizeof preface);
    /* Until the server has stopped reading: both buffers of the socket are full. */
    uint32_t stream = 1;
    for (int quiet = 0; quiet < 20;) {
        uint8_t frames[128];
        size_t len = raw_call(frames, stream);
        ssize_t n = send(bad, frames, len, MSG_NOSIGNAL);
        if (n < 0) {
            ck_assert_int_eq(errno, EAGAIN);
            quiet++;
            uv_run(&site->loop, UV_RUN_NOWAIT);
            continue;
        }
        ck_assert_int_eq(n, (ssize_t)len);
        quiet = 0;
        stream += 2;
        ck_assert_uint_lt(stream, 1000000);
    }
    ck_assert_uint_eq(stats_of(site).connections_open, 2);
    ck_assert_int_eq(call(site, &good, &(struct peer_request){.message = "a"})->grpc_status, 0);
    test_now_us += KEK_GRPC_STALL_MS * 1000u;
    kek_grpc_server_tick(site->server);
    run_some(site, &good);
    ck_assert_uint_eq(stats_of(site).connections_open, 1);
    ck_assert_uint_eq(stats_of(site).calls_open, 0);
    check_cut(site, true, "it does not read what it is sent");
    close(bad);
    client_free(&good);
    site_free(site);
}
END_TEST

START_TEST(garbage_closes_one_connection_only)
{
    struct site *site = site_new();
    struct client good = client_new(site);
    struct client bad = {.peer = peer_new(-1), .fd = connect_to(site)};
    ck_assert_int_eq(send(bad.fd, "GET / HTTP/1.1\r\nHost: x\r\n\r\n", 27, 0), 27);
    call(site, &good, &(struct peer_request){.message = "a"});
    run_some(site, &good);
    ck_assert_uint_eq(stats_of(site).connections_open, 1);
    ck_assert_uint_eq(stats_of(site).protocol_errors, 1);
    check_cut(site, true, nghttp2_strerror(NGHTTP2_ERR_BAD_CLIENT_MAGIC));
    client_free(&good);
    client_free(&bad);
    site_free(site);
}
END_TEST

START_TEST(no_descriptor_left_pauses_accepting)
{
    struct site *site = site_new();
    struct client good = client_new(site);
    call(site, &good, &(struct peer_request){.message = "a"});
    struct client waiting = client_new(site);
    struct rlimit before;
    ck_assert_int_eq(getrlimit(RLIMIT_NOFILE, &before), 0);
    const struct rlimit none = {0, before.rlim_max};
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &none), 0);
    run_some(site, &good);
    for (int pause = 0; pause < 5; pause++) {
        test_now_us += 100 * 1000;
        kek_grpc_server_tick(site->server);
        run_some(site, &good);
    }
    ck_assert_int_eq(setrlimit(RLIMIT_NOFILE, &before), 0);
    /* Each pause ends in the same way, and that is said once. */
    check_cut(site, false, strerror(EMFILE));
    /* Paused: even with descriptors nobody is accepted before the time has come. */
    run_some(site, &good);
    ck_assert_uint_eq(stats_of(site).connections_open, 1);
    test_now_us += 100 * 1000;
    kek_grpc_server_tick(site->server);
    ck_assert_int_eq(call(site, &waiting, &(struct peer_request){.message = "a"})->grpc_status, 0);
    client_free(&good);
    client_free(&waiting);
    site_free(site);
}
END_TEST

START_TEST(listen_refuses_what_is_no_listening_unix_socket)
{
    struct site *site = site_new();
    const struct kek_grpc_settings settings = service_settings(&site->service);
    struct kek_why why;
    struct kek_grpc_server *other = kek_grpc_server_new(&site->loop, &settings, &why);
    const int fds[] = {open("/dev/null", O_RDONLY), socket(AF_UNIX, SOCK_STREAM, 0),
                       socket(AF_UNIX, SOCK_DGRAM, 0), socket(AF_INET, SOCK_STREAM, 0)};
    for (size_t i = 0; i < sizeof fds / sizeof fds[0]; i++) {
        ck_assert_int_ge(fds[i], 0);
        ck_assert_int_eq(kek_grpc_server_listen(other, fds[i], &why), KEK_INVALID);
        ck_assert_int_eq(fcntl(fds[i], F_GETFD), -1); /* owned also on failure */
    }
    kek_grpc_server_free(other);
    site_free(site);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grpc server");
    TCase *tests = tcase_create("server");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, settings_are_sent_to_a_silent_client);
    tcase_add_test(tests, peer_is_known_by_its_uid);
    tcase_add_test(tests, refused_peer_is_told_and_cannot_take_every_connection);
    tcase_add_test(tests, one_connection_too_many_is_closed_and_counted);
    tcase_add_test(tests, late_replies_are_written_without_more_input);
    tcase_add_test(tests, first_answers_leave_before_the_last_calls_are_started);
    tcase_add_test(tests, timer_ends_a_call_at_its_deadline);
    tcase_add_test(tests, timer_fires_by_itself);
    tcase_add_test(tests, silent_connection_is_closed_and_an_idle_one_stays);
    tcase_add_test(tests, client_that_never_reads_harms_nobody_and_is_closed);
    tcase_add_test(tests, garbage_closes_one_connection_only);
    tcase_add_test(tests, no_descriptor_left_pauses_accepting);
    tcase_add_test(tests, listen_refuses_what_is_no_listening_unix_socket);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
