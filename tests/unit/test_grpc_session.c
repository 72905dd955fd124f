/* What good and careless clients get: one connection over memory. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "../../src/grpc/flow.h"
#include "grpc_rig.h"
#include "kek/clock.h"

static void check_answer(const struct peer_answer *answer, const char *body)
{
    ck_assert_int_eq(answer->http_status, 200);
    ck_assert(answer->grpc_type);
    ck_assert_int_eq(answer->grpc_status, 0);
    ck_assert(answer->end && answer->closed && !answer->reset);
    ck_assert_uint_eq(answer->body_len, 5 + strlen(body));
    const uint8_t prefix[5] = {0, 0, 0, (uint8_t)(strlen(body) >> 8), (uint8_t)strlen(body)};
    ck_assert_mem_eq(answer->body, prefix, 5);
    ck_assert_mem_eq(answer->body + 5, body, strlen(body));
}

START_TEST(settings_come_before_anything_is_read)
{
    struct rig *rig = rig_new(-1, true, NULL);
    rig_feed(rig, "", 0);
    ck_assert_uint_eq(rig->peer->settings, 1);
    ck_assert_uint_eq(rig->peer->max_streams, 64);
    ck_assert_uint_eq(rig->peer->window, KEK_GRPC_SHARE);
    ck_assert_uint_eq(rig->peer->max_header_list, KEK_GRPC_MAX_HEADER_LIST);
    rig_exchange(rig);
    ck_assert_uint_eq(rig->peer->settings_acked, 1);
    rig_free(rig);
}
END_TEST

START_TEST(call_is_answered_with_head_message_and_trailers)
{
    struct rig *rig = rig_new(-1, true, NULL);
    for (int i = 0; i < 3; i++) {
        check_answer(rig_call(rig, &(struct peer_request){.message = "hello"}), "hello");
    }
    check_answer(rig_call(rig, &(struct peer_request){.message = ""}), "");
    ck_assert_uint_eq(rig->service.started, 4);
    ck_assert_uint_eq(rig->service.rejections, 0);
    ck_assert_uint_eq(rig->service.uid, 4711);
    ck_assert_uint_eq(rig->service.deadline_ms, kek_clock_ms() + 5000);
    ck_assert_uint_eq(rig->host.stats.calls_total, 4);
    ck_assert_uint_eq(rig->woken, 0);
    ck_assert_uint_eq(kek_grpc_session_deadline(rig->session), KEK_NEVER);
    rig_free(rig);
}
END_TEST

static const char *const authorities[] = {"localhost", "%2Fvar%2Frun%2Fkms.sock",
                                          "/var/run/kms.sock", "@kms.sock", ""};

START_TEST(every_form_of_authority_is_accepted)
{
    struct rig *rig = rig_new(-1, true, NULL);
    struct peer_request request = {.authority = authorities[_i], .message = "a"};
    check_answer(rig_call(rig, &request), "a");
    request.no_authority = true;
    check_answer(rig_call(rig, &request), "a");
    rig_free(rig);
}
END_TEST

START_TEST(bytes_split_anywhere_make_the_same_call)
{
    struct rig *rig = rig_new(-1, true, NULL);
    rig->chunk = (size_t)_i;
    rig->peer->pad = true;
    const struct peer_request request = {.message = "split me", .frame = 3, .trailers = true};
    check_answer(rig_call(rig, &request), "split me");
    check_answer(rig_call(rig, &request), "split me");
    rig_free(rig);
}
END_TEST

#define RAW(text) .body = (const uint8_t *)(text), .body_len = sizeof(text) - 1

/* Requests that no method sees. */
static const struct {
    struct peer_request request;
    int http_status;
    enum kek_rpc_status status;
    const char *message; /* a part of it */
} refused[] = {
    {{.path = "/t.T/None"}, 200, KEK_RPC_UNIMPLEMENTED, "unknown method /t.T/None"},
    {{.path = "/t.T/Echo/"}, 200, KEK_RPC_UNIMPLEMENTED, "unknown method /t.T/Echo/"},
    {{.path = "/t.T/Ech"}, 200, KEK_RPC_UNIMPLEMENTED, "unknown method"},
    {{.path = ""}, 200, KEK_RPC_UNIMPLEMENTED, "unknown method"},
    {{.path = "/p%\xff"}, 200, KEK_RPC_UNIMPLEMENTED, "unknown method /p%25\\xff"},
    {{.method = "GET"}, 405, KEK_RPC_INVALID_ARGUMENT, "POST"},
    {{.content_type = ""}, 415, KEK_RPC_INVALID_ARGUMENT, "content-type"},
    {{.content_type = "application/grpcx"}, 415, KEK_RPC_INVALID_ARGUMENT, "content-type"},
    {{.content_type = "text/plain"}, 415, KEK_RPC_INVALID_ARGUMENT, "content-type"},
    {{.timeout = "5"}, 200, KEK_RPC_INVALID_ARGUMENT, "grpc-timeout"},
    {{.timeout = "0S"}, 200, KEK_RPC_DEADLINE_EXCEEDED, "no time"},
    {{.encoding = "gzip"}, 200, KEK_RPC_UNIMPLEMENTED, "grpc-encoding"},
    {{.extra_name = "x y", .extra_value = "1"}, 400, KEK_RPC_INVALID_ARGUMENT, "malformed"},
    {{.extra_name = ":path", .extra_value = "/t.T/Echo"},
     400,
     KEK_RPC_INVALID_ARGUMENT,
     "repeated"},
    {{.extra_fields = 170}, 200, KEK_RPC_RESOURCE_EXHAUSTED, "headers are over the limit of 16384"},
    {{.extra_fields = 450}, 200, KEK_RPC_RESOURCE_EXHAUSTED, "headers are over the limit of 16384"},
    {{.headers_only = true}, 200, KEK_RPC_INVALID_ARGUMENT, "no message"},
    {{RAW("")}, 200, KEK_RPC_INVALID_ARGUMENT, "no message"},
    {{RAW("\0\0\0")}, 200, KEK_RPC_INVALID_ARGUMENT, "within its message's prefix"},
    {{RAW("\0\0\0\0\3ab")}, 200, KEK_RPC_INVALID_ARGUMENT, "truncated: 2 of 3 bytes"},
    {{RAW("\0\0\0\0\1ab")}, 200, KEK_RPC_INVALID_ARGUMENT, "more than one message"},
    {{RAW("\0\0\0\0\0\0\0\0\0\0")}, 200, KEK_RPC_INVALID_ARGUMENT, "more than one message"},
    {{RAW("\1\0\0\0\1a")}, 200, KEK_RPC_UNIMPLEMENTED, "compressed"},
    {{RAW("\2\0\0\0\1a")}, 200, KEK_RPC_INVALID_ARGUMENT, "not a gRPC message"},
    {{RAW("\0\0\0\x10\1a")},
     200,
     KEK_RPC_RESOURCE_EXHAUSTED,
     "4097 bytes is over the limit of 4096"},
    {{RAW("\0\xff\xff\xff\xff")}, 200, KEK_RPC_RESOURCE_EXHAUSTED, "4294967295 bytes"},
};

START_TEST(bad_request_gets_its_status_and_changes_nothing)
{
    for (size_t chunk = 0; chunk < 2; chunk++) {
        for (int shape = 0; shape < 3; shape++) {
            struct rig *rig = rig_new(-1, true, NULL);
            rig->chunk = chunk;
            struct peer_request request = refused[_i].request;
            request.frame = shape == 1 ? 1 : 0;
            request.trailers = shape == 2 && !request.headers_only;
            const struct peer_answer *answer = rig_call(rig, &request);
            ck_assert_int_eq(answer->http_status, refused[_i].http_status);
            ck_assert(answer->grpc_type);
            ck_assert_int_eq(answer->grpc_status, refused[_i].status);
            ck_assert_msg(strstr(answer->message, refused[_i].message) != NULL, "message: %s",
                          answer->message);
            ck_assert(answer->end && answer->closed);
            ck_assert_uint_eq(answer->body_len, 0);
            ck_assert_uint_eq(rig->service.started, 0);
            ck_assert_uint_eq(rig->service.rejections, 1);
            ck_assert_int_eq(rig->service.rejected_status, refused[_i].status);
            /* The connection is as good as before. */
            check_answer(rig_call(rig, &(struct peer_request){.message = "next"}), "next");
            ck_assert_uint_eq(rig->host.stats.calls_open, 0);
            rig_free(rig);
        }
    }
}
END_TEST

START_TEST(rejection_names_the_path)
{
    struct rig *rig = rig_new(-1, true, NULL);
    rig_call(rig, &(struct peer_request){.path = "/t.T/None"});
    ck_assert_str_eq(rig->service.rejected_path, "/t.T/None");
    rig_call(rig, &(struct peer_request){.path = "/t.T/Late", .encoding = "gzip"});
    ck_assert_str_eq(rig->service.rejected_path, "/t.T/Late");
    ck_assert_str_eq(rig->service.rejected_message, "the only grpc-encoding is identity");
    rig_free(rig);
}
END_TEST

START_TEST(unfinished_bad_request_is_answered_then_reset)
{
    static const struct {
        struct peer_request request;
        uint32_t code;
    } cases[] = {
        {{.path = "/t.T/None", .unfinished = true}, NGHTTP2_NO_ERROR},
        {{RAW("\0\1\0\0\0"), .unfinished = true}, NGHTTP2_NO_ERROR},
        {{.extra_name = "x y", .extra_value = "1", .unfinished = true}, NGHTTP2_PROTOCOL_ERROR},
    };
    struct rig *rig = rig_new(-1, true, NULL);
    const struct peer_answer *answer = rig_call(rig, &cases[_i].request);
    ck_assert_int_gt(answer->grpc_status, 0);
    ck_assert(answer->end && answer->reset && answer->closed);
    ck_assert_uint_eq(answer->code, cases[_i].code);
    rig_free(rig);
}
END_TEST

START_TEST(refused_peer_is_told_its_uid_on_every_call)
{
    struct rig *rig = rig_new(-1, false, NULL);
    for (unsigned i = 1; i <= 3; i++) {
        const struct peer_answer *answer = rig_call(rig, &(struct peer_request){.message = "x"});
        ck_assert_int_eq(answer->grpc_status, KEK_RPC_PERMISSION_DENIED);
        ck_assert_str_eq(answer->message, "uid 4711 is not allowed (allow_uids)");
        ck_assert_uint_eq(rig->service.rejections, i);
    }
    /* It learns nothing about which methods there are. */
    const struct peer_answer *answer = rig_call(rig, &(struct peer_request){.path = "/none"});
    ck_assert_int_eq(answer->grpc_status, KEK_RPC_PERMISSION_DENIED);
    ck_assert_uint_eq(rig->service.started, 0);
    rig_free(rig);
}
END_TEST

START_TEST(error_of_a_method_is_encoded_in_the_trailers)
{
    struct rig *rig = rig_new(-1, true, NULL);
    const struct peer_answer *answer = rig_call(rig, &(struct peer_request){.path = "/t.T/Fail"});
    ck_assert_int_eq(answer->http_status, 200);
    ck_assert_int_eq(answer->grpc_status, KEK_RPC_FAILED_PRECONDITION);
    ck_assert_str_eq(answer->message, "100%25 gone%0A");
    ck_assert(answer->end && answer->closed && !answer->reset);
    ck_assert_uint_eq(rig->service.rejections, 0);
    rig_free(rig);
}
END_TEST

START_TEST(late_reply_wakes_the_owner)
{
    struct rig *rig = rig_new(-1, true, NULL);
    struct peer_answer *first = rig_call(rig, &(struct peer_request){.path = "/t.T/Late"});
    struct peer_answer *second = rig_call(rig, &(struct peer_request){.path = "/t.T/Late"});
    ck_assert(!first->seen && !second->seen);
    ck_assert_uint_eq(rig->host.stats.calls_open, 2);
    ck_assert_uint_eq(kek_grpc_session_deadline(rig->session), kek_clock_ms() + 5000);
    service_answer_late(&rig->service, 1, "two");
    ck_assert_uint_eq(rig->woken, 1);
    rig_exchange(rig);
    check_answer(second, "two");
    kek_rpc_fail(rig->service.late[0], KEK_RPC_UNAVAILABLE, "no HSM");
    rig->service.late[0] = NULL;
    ck_assert_uint_eq(rig->woken, 2);
    rig_exchange(rig);
    ck_assert_int_eq(first->grpc_status, KEK_RPC_UNAVAILABLE);
    ck_assert_uint_eq(rig->service.ended, 0);
    ck_assert_uint_eq(kek_grpc_session_deadline(rig->session), KEK_NEVER);
    rig_free(rig);
}
END_TEST

START_TEST(reset_cancels_the_call_once)
{
    struct rig *rig = rig_new(-1, true, NULL);
    const struct peer_request request = {.path = "/t.T/Late"};
    int32_t stream = peer_call(rig->peer, &request);
    rig_exchange(rig);
    peer_reset(rig->peer, stream);
    rig_exchange(rig);
    ck_assert_uint_eq(rig->service.ended, 1);
    ck_assert_int_eq(rig->service.ended_status, KEK_RPC_CANCELLED);
    ck_assert_uint_eq(rig->host.stats.resets, 1);
    ck_assert_uint_eq(rig->host.stats.calls_open, 0);
    rig_pass(rig, 10000);
    ck_assert_uint_eq(rig->service.ended, 1);
    rig_free(rig);
}
END_TEST

START_TEST(lost_connection_cancels_every_call)
{
    struct rig *rig = rig_new(-1, true, NULL);
    rig_call(rig, &(struct peer_request){.path = "/t.T/Late"});
    rig_call(rig, &(struct peer_request){.path = "/t.T/Late"});
    rig_call(rig, &(struct peer_request){.path = "/t.T/Late", .unfinished = true});
    kek_grpc_session_close(rig->session);
    ck_assert_uint_eq(rig->service.ended, 2);
    ck_assert_int_eq(rig->service.ended_status, KEK_RPC_CANCELLED);
    kek_grpc_session_close(rig->session);
    ck_assert_uint_eq(rig->service.ended, 2);
    ck_assert(kek_grpc_session_finished(rig->session));
    ck_assert_int_ne(kek_grpc_session_receive(rig->session, kek_bytes("x", 1), NULL), KEK_OK);
    rig_free(rig);
}
END_TEST

START_TEST(deadline_ends_a_call_at_its_own_time)
{
    struct rig *rig = rig_new(-1, true, NULL);
    struct peer_answer *fast =
        rig_call(rig, &(struct peer_request){.path = "/t.T/Late", .timeout = "100m"});
    struct peer_answer *slow =
        rig_call(rig, &(struct peer_request){.path = "/t.T/Late", .timeout = "1H"});
    ck_assert_uint_eq(rig->service.deadline_ms, kek_clock_ms() + 5000);
    rig_pass(rig, 99);
    ck_assert(!fast->seen);
    rig_pass(rig, 1);
    ck_assert_int_eq(fast->grpc_status, KEK_RPC_DEADLINE_EXCEEDED);
    ck_assert(fast->closed);
    ck_assert_uint_eq(rig->service.ended, 1);
    ck_assert_int_eq(rig->service.ended_status, KEK_RPC_DEADLINE_EXCEEDED);
    ck_assert(!slow->seen);
    rig_pass(rig, 4899);
    ck_assert(!slow->seen);
    rig_pass(rig, 1);
    ck_assert_int_eq(slow->grpc_status, KEK_RPC_DEADLINE_EXCEEDED);
    ck_assert_uint_eq(rig->service.ended, 2);
    rig_free(rig);
}
END_TEST

START_TEST(ping_is_acknowledged)
{
    struct rig *rig = rig_new(-1, true, NULL);
    peer_ping(rig->peer);
    rig_exchange(rig);
    ck_assert_uint_eq(rig->peer->pings_acked, 1);
    rig_free(rig);
}
END_TEST

START_TEST(large_reply_waits_for_the_peers_window)
{
    struct rig *rig = rig_new(1000, true, NULL);
    rig->service.big = 8000;
    const struct peer_answer *answer = rig_call(rig, &(struct peer_request){.path = "/t.T/Big"});
    ck_assert_int_eq(answer->grpc_status, 0); /* the client opens its window as it reads */
    ck_assert_uint_eq(answer->body_len, 8005);
    ck_assert_mem_eq(answer->body, "\0\0\0\x1f\x40", 5);
    rig_free(rig);
}
END_TEST

START_TEST(reply_that_is_too_large_is_an_error)
{
    struct rig *rig = rig_new(-1, true, NULL);
    rig->service.big = 4 * 1024 * 1024 + 1;
    const struct peer_answer *answer = rig_call(rig, &(struct peer_request){.path = "/t.T/Big"});
    ck_assert_int_eq(answer->grpc_status, KEK_RPC_INTERNAL);
    rig_free(rig);
}
END_TEST

START_TEST(drain_finishes_open_calls_and_takes_those_under_way)
{
    struct rig *rig = rig_new(-1, true, NULL);
    const struct peer_answer *open = rig_call(rig, &(struct peer_request){.path = "/t.T/Late"});
    rig->keep_output = true;
    kek_grpc_session_drain(rig->session);
    /* Sent before the client could know. */
    const struct peer_answer *crossing = rig_call(rig, &(struct peer_request){.message = "too"});
    rig->keep_output = false;
    rig_exchange(rig);
    check_answer(crossing, "too");
    ck_assert_uint_eq(rig->peer->goaways, 2); /* the notice and, after the PING, the real one */
    ck_assert_uint_eq(rig->peer->goaway_code, NGHTTP2_NO_ERROR);
    ck_assert_int_eq(rig->peer->goaway_last, 3);
    ck_assert(!kek_grpc_session_finished(rig->session));
    service_answer_late(&rig->service, 0, "done");
    rig_exchange(rig);
    check_answer(open, "done");
    ck_assert(kek_grpc_session_finished(rig->session));
    rig_free(rig);
}
END_TEST

START_TEST(drain_does_not_wait_for_a_ping_for_ever)
{
    struct rig *rig = rig_new(-1, true, NULL);
    rig_exchange(rig);
    kek_grpc_session_drain(rig->session);
    kek_grpc_session_drain(rig->session);
    struct kek_bytes out = kek_grpc_session_output(rig->session);
    kek_grpc_session_sent(rig->session, out.len); /* which the client never sees */
    ck_assert(!kek_grpc_session_finished(rig->session));
    rig_pass(rig, KEK_GRPC_GOAWAY_MS);
    ck_assert_uint_eq(rig->peer->goaways, 1);
    ck_assert(kek_grpc_session_finished(rig->session));
    rig_free(rig);
}
END_TEST

START_TEST(abandon_answers_what_is_left)
{
    struct rig *rig = rig_new(-1, true, NULL);
    const struct peer_answer *open = rig_call(rig, &(struct peer_request){.path = "/t.T/Late"});
    const struct peer_answer *half =
        rig_call(rig, &(struct peer_request){.path = "/t.T/Late", .unfinished = true});
    kek_grpc_session_abandon(rig->session);
    rig_exchange(rig);
    ck_assert_int_eq(open->grpc_status, KEK_RPC_UNAVAILABLE);
    ck_assert_int_eq(half->grpc_status, KEK_RPC_UNAVAILABLE);
    ck_assert_uint_eq(rig->service.ended, 1);
    ck_assert_int_eq(rig->service.ended_status, KEK_RPC_UNAVAILABLE);
    ck_assert(rig->peer->goaway);
    rig_free(rig);
}
END_TEST

static void close_session(struct service *service)
{
    struct rig *rig = (struct rig *)((char *)service - offsetof(struct rig, service));
    kek_grpc_session_close(rig->session);
}

START_TEST(method_may_close_the_connection_it_is_called_from)
{
    static const char *const paths[] = {"/t.T/Echo", "/t.T/Fail"};
    struct rig *rig = rig_new(-1, true, NULL);
    rig->service.in_start = close_session;
    const struct peer_answer *answer = rig_call(rig, &(struct peer_request){.path = paths[_i]});
    ck_assert(!answer->seen);
    ck_assert_uint_eq(rig->service.started, 1);
    ck_assert_uint_eq(rig->host.stats.calls_open, 0);
    rig_free(rig);
}
END_TEST

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
    Suite *suite = suite_create("grpc session");
    TCase *tests = tcase_create("session");
    tcase_add_test(tests, settings_come_before_anything_is_read);
    tcase_add_test(tests, call_is_answered_with_head_message_and_trailers);
    tcase_add_loop_test(tests, every_form_of_authority_is_accepted, 0, COUNT_OF(authorities));
    tcase_add_loop_test(tests, bytes_split_anywhere_make_the_same_call, 1, 40);
    tcase_add_loop_test(tests, bad_request_gets_its_status_and_changes_nothing, 0,
                        COUNT_OF(refused));
    tcase_add_test(tests, rejection_names_the_path);
    tcase_add_loop_test(tests, unfinished_bad_request_is_answered_then_reset, 0, 3);
    tcase_add_test(tests, refused_peer_is_told_its_uid_on_every_call);
    tcase_add_test(tests, error_of_a_method_is_encoded_in_the_trailers);
    tcase_add_test(tests, late_reply_wakes_the_owner);
    tcase_add_test(tests, reset_cancels_the_call_once);
    tcase_add_test(tests, lost_connection_cancels_every_call);
    tcase_add_test(tests, deadline_ends_a_call_at_its_own_time);
    tcase_add_test(tests, ping_is_acknowledged);
    tcase_add_test(tests, large_reply_waits_for_the_peers_window);
    tcase_add_test(tests, reply_that_is_too_large_is_an_error);
    tcase_add_test(tests, drain_finishes_open_calls_and_takes_those_under_way);
    tcase_add_test(tests, drain_does_not_wait_for_a_ping_for_ever);
    tcase_add_test(tests, abandon_answers_what_is_left);
    tcase_add_loop_test(tests, method_may_close_the_connection_it_is_called_from, 0, 2);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
