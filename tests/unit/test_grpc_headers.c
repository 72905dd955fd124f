/* gRPC header values, the message prefix, and the order of deadlines: the pure parts. */
#include "suite.h"

#include <string.h>

#include "../../src/grpc/call.h"

static void ignore(void *service, struct kek_rpc *rpc, struct kek_bytes message)
{
    (void)service;
    (void)rpc;
    (void)message;
}

static const struct kek_rpc_method methods[] = {{"/a.A/One", ignore}, {"/a.A/OneMore", ignore}};
static const struct kek_grpc_settings settings = {
    .methods = methods, .method_count = 2, .max_header_list = 1000, .default_timeout_ms = 5000};

static const struct {
    const char *text;
    bool good;
    uint64_t ms;
} timeouts[] = {
    {"1S", true, 1000},    {"2999580u", true, 3000},  {"99999999H", true, 99999999ull * 3600000},
    {"3M", true, 180000},  {"7m", true, 7},           {"0m", true, 0},
    {"0n", true, 0},       {"1n", true, 1},           {"1000000n", true, 1},
    {"1000001n", true, 2}, {"00000001S", true, 1000}, {"000000001S", false, 0},
    {"", false, 0},        {"S", false, 0},           {"1", false, 0},
    {"1s", false, 0},      {"-1S", false, 0},         {"1 S", false, 0},
    {"1.5S", false, 0},    {"1SS", false, 0},
};

START_TEST(timeout_parses_as_the_protocol_says)
{
    uint64_t ms = 12345;
    ck_assert_int_eq(kek_grpc_timeout_parse(kek_bytes_of(timeouts[_i].text), &ms),
                     timeouts[_i].good);
    ck_assert_uint_eq(ms, timeouts[_i].good ? timeouts[_i].ms : 12345);
}
END_TEST

static const struct {
    const char *text, *encoded;
} messages[] = {
    {"", ""},
    {"plain text ~!", "plain text ~!"},
    {"100%", "100%25"},
    {"a\nb\x7f", "a%0Ab%7F"},
    {"Gr\xc3\xbc\xc3\x9f", "Gr%C3%BC%C3%9F"},
    {"no \xff utf-8 \xc3", "no ? utf-8 ?"},
    {"\xed\xa0\x80 \xc0\xaf", "??? ??"},
    {"\xf0\x9f\x94\x91", "%F0%9F%94%91"},
};

START_TEST(message_is_percent_encoded)
{
    char out[KEK_GRPC_ENCODED_MAX];
    size_t len = kek_grpc_message_encode(messages[_i].text, out);
    ck_assert_uint_eq(len, strlen(messages[_i].encoded));
    ck_assert_mem_eq(out, messages[_i].encoded, len);
}
END_TEST

START_TEST(message_is_cut_between_characters)
{
    char text[2000];
    char out[KEK_GRPC_ENCODED_MAX];
    memset(text, 'a', sizeof text);
    text[sizeof text - 1] = '\0';
    ck_assert_uint_eq(kek_grpc_message_encode(text, out), KEK_GRPC_ENCODED_MAX);
    /* The escapes of one two-byte character need 6 bytes: with 5 left, none of them comes. */
    memcpy(text + KEK_GRPC_ENCODED_MAX - 5, "\xc3\xbc", 2);
    ck_assert_uint_eq(kek_grpc_message_encode(text, out), KEK_GRPC_ENCODED_MAX - 5);
    memcpy(text + KEK_GRPC_ENCODED_MAX - 6, "\xc3\xbc", 2);
    ck_assert_uint_eq(kek_grpc_message_encode(text, out), KEK_GRPC_ENCODED_MAX);
    ck_assert_mem_eq(out + KEK_GRPC_ENCODED_MAX - 6, "%C3%BC", 6);
}
END_TEST

static void field(struct kek_grpc_head *head, const char *name, const char *value)
{
    kek_grpc_head_field(head, &settings, kek_bytes_of(name), kek_bytes_of(value));
}

/* What one field more, before or after those of a good request, leads to. */
static const struct {
    const char *name, *value;
    bool before;
    int http_status;
    enum kek_rpc_status status;
    const char *message; /* a part of it */
} fields[] = {
    {"x-any", "thing", false, 200, KEK_RPC_OK, NULL},
    {"te", "nonsense", false, 200, KEK_RPC_OK, NULL},
    {"grpc-accept-encoding", "gzip", false, 200, KEK_RPC_OK, NULL},
    {"grpc-encoding", "identity", false, 200, KEK_RPC_OK, NULL},
    {"grpc-encoding", "gzip", false, 200, KEK_RPC_UNIMPLEMENTED, "grpc-encoding"},
    {"grpc-timeout", "x", false, 200, KEK_RPC_INVALID_ARGUMENT, "grpc-timeout"},
    {"grpc-timeout", "0m", false, 200, KEK_RPC_DEADLINE_EXCEEDED, "no time"},
    {"content-type", "application/grpc", false, 415, KEK_RPC_INVALID_ARGUMENT, "content-type"},
    {":path", "/a.A/One", false, 400, KEK_RPC_INVALID_ARGUMENT, "after a regular"},
    {":path", "/a.A/One", true, 400, KEK_RPC_INVALID_ARGUMENT, "repeated"},
    {":method", "POST", true, 400, KEK_RPC_INVALID_ARGUMENT, "repeated"},
    {":status", "200", true, 400, KEK_RPC_INVALID_ARGUMENT, "unknown pseudo"},
    {"x-first", "regular", true, 400, KEK_RPC_INVALID_ARGUMENT, "after a regular"},
    {"connection", "close", false, 400, KEK_RPC_INVALID_ARGUMENT, "connection-specific"},
    {"transfer-encoding", "chunked", false, 400, KEK_RPC_INVALID_ARGUMENT, "connection-specific"},
    {"X-Upper", "1", false, 400, KEK_RPC_INVALID_ARGUMENT, "name"},
    {"", "1", false, 400, KEK_RPC_INVALID_ARGUMENT, "name"},
    {"x-bad", "a\nb", false, 400, KEK_RPC_INVALID_ARGUMENT, "value"},
};

START_TEST(field_is_judged)
{
    struct kek_grpc_head head = {0};
    struct kek_grpc_refusal refusal;
    uint64_t timeout = 0;
    if (fields[_i].before) {
        field(&head, fields[_i].name, fields[_i].value);
    }
    field(&head, ":method", "POST");
    field(&head, ":scheme", "http");
    field(&head, ":path", "/a.A/OneMore");
    field(&head, "content-type", "application/grpc+proto");
    if (!fields[_i].before) {
        field(&head, fields[_i].name, fields[_i].value);
    }
    bool good = kek_grpc_head_check(&head, &settings, &timeout, &refusal);
    ck_assert_int_eq(good, fields[_i].status == KEK_RPC_OK);
    if (good) {
        ck_assert_ptr_eq(head.method, &methods[1]);
        ck_assert_uint_eq(timeout, 5000);
        return;
    }
    ck_assert_int_eq(refusal.http_status, fields[_i].http_status);
    ck_assert_int_eq(refusal.status, fields[_i].status);
    ck_assert_ptr_nonnull(strstr(refusal.message, fields[_i].message));
}
END_TEST

static const char *const needed[][2] = {
    {":method", "POST"}, {":scheme", "http"}, {":path", "/a.A/One"}};

START_TEST(request_without_a_pseudo_field_is_malformed)
{
    struct kek_grpc_head head = {0};
    struct kek_grpc_refusal refusal;
    uint64_t timeout;
    for (int i = 0; i < 3; i++) {
        if (i != _i) {
            field(&head, needed[i][0], needed[i][1]);
        }
    }
    field(&head, "content-type", "application/grpc");
    ck_assert(!kek_grpc_head_check(&head, &settings, &timeout, &refusal));
    ck_assert_int_eq(refusal.http_status, 400);
    ck_assert_ptr_nonnull(strstr(refusal.message, needed[_i][0]));
}
END_TEST

START_TEST(timeout_is_capped_at_the_default)
{
    static const char *const given[] = {"1S", "5S", "1H"};
    static const uint64_t got[] = {1000, 5000, 5000};
    struct kek_grpc_head head = {0};
    struct kek_grpc_refusal refusal;
    uint64_t timeout = 0;
    for (int i = 0; i < 3; i++) {
        field(&head, needed[i][0], needed[i][1]);
    }
    field(&head, "content-type", "application/grpc;x=y");
    field(&head, "grpc-timeout", given[_i]);
    ck_assert(kek_grpc_head_check(&head, &settings, &timeout, &refusal));
    ck_assert_uint_eq(timeout, got[_i]);
}
END_TEST

START_TEST(unknown_path_is_shown_printable_and_cut)
{
    struct kek_grpc_head head = {0};
    field(&head, ":path", "/a.A/One\xff\\");
    ck_assert_ptr_null(head.method);
    ck_assert_str_eq(head.path, "/a.A/One\\xff\\x5c");
    struct kek_grpc_head other = {0};
    char path[600];
    memset(path, '\\', sizeof path);
    path[sizeof path - 1] = '\0';
    field(&other, ":path", path);
    size_t len = strlen(other.path);
    ck_assert_uint_lt(len, KEK_GRPC_PATH_SHOWN);
    ck_assert_str_eq(other.path + len - 3, "...");
    ck_assert_uint_eq((len - 3) % 4, 0);
}
END_TEST

START_TEST(path_with_a_nul_is_another_path)
{
    static const char path[] = "/a.A/One\0\0\0\0\0\0\0";
    struct kek_grpc_head head = {0};
    kek_grpc_head_field(&head, &settings, kek_bytes_of(":path"), kek_bytes(path, sizeof path));
    ck_assert_ptr_null(head.method);
    ck_assert_str_eq(head.path, "/a.A/One\\x00\\x00\\x00\\x00\\x00\\x00\\x00\\x00");
}
END_TEST

START_TEST(header_list_is_counted_as_the_rfc_does)
{
    struct kek_grpc_head head = {0};
    struct kek_grpc_refusal refusal;
    uint64_t timeout;
    for (int i = 0; i < 3; i++) {
        field(&head, needed[i][0], needed[i][1]);
    }
    field(&head, "content-type", "application/grpc");
    char value[1000];
    memset(value, 'v', sizeof value);
    value[1000 - head.list_size - 33] = '\0'; /* one byte of name, 32 of overhead: 1000 in all */
    field(&head, "n", value);
    ck_assert_uint_eq(head.list_size, 1000);
    ck_assert(kek_grpc_head_check(&head, &settings, &timeout, &refusal));
    field(&head, "n", "");
    ck_assert(!kek_grpc_head_check(&head, &settings, &timeout, &refusal));
    ck_assert_int_eq(refusal.status, KEK_RPC_RESOURCE_EXHAUSTED);
}
END_TEST

START_TEST(message_is_whole_however_it_is_split)
{
    static const uint8_t bytes[] = {0, 0, 0, 0, 6, 's', 'e', 'c', 'r', 'e', 't'};
    for (size_t split = 0; split <= sizeof bytes; split++) {
        struct kek_grpc_message message = {0};
        struct kek_grpc_refusal refusal;
        ck_assert(kek_grpc_message_feed(&message, 6, kek_bytes(bytes, split), &refusal));
        ck_assert_int_eq(kek_grpc_message_end(&message, &refusal), split == sizeof bytes);
        ck_assert(kek_grpc_message_feed(&message, 6, kek_bytes(bytes + split, sizeof bytes - split),
                                        &refusal));
        ck_assert(kek_grpc_message_end(&message, &refusal));
        ck_assert(kek_bytes_equal(kek_buf_bytes(&message.body), kek_bytes(bytes + 5, 6)));
        kek_grpc_message_reset(&message);
        ck_assert(!kek_grpc_message_end(&message, &refusal));
        kek_grpc_message_done(&message);
    }
}
END_TEST

START_TEST(deadlines_come_out_in_order_whatever_is_removed)
{
    enum { COUNT = 200 };
    static struct kek_grpc_call calls[COUNT];
    struct kek_grpc_deadlines deadlines;
    ck_assert(kek_grpc_deadlines_init(&deadlines, COUNT));
    uint32_t random = 12345;
    for (size_t i = 0; i < COUNT; i++) {
        random = random * 1664525u + 1013904223u;
        calls[i].rpc.deadline_ms = random >> 24;
        calls[i].place = KEK_GRPC_NO_PLACE;
        kek_grpc_deadlines_add(&deadlines, &calls[i]);
        kek_grpc_deadlines_add(&deadlines, &calls[i]); /* once is enough */
    }
    ck_assert_uint_eq(deadlines.count, COUNT);
    for (size_t i = 0; i < COUNT; i += 3) {
        kek_grpc_deadlines_remove(&deadlines, &calls[i]);
        kek_grpc_deadlines_remove(&deadlines, &calls[i]);
    }
    uint64_t last = 0;
    size_t left = 0;
    for (;;) {
        struct kek_grpc_call *call = kek_grpc_deadlines_first(&deadlines);
        if (call == NULL) {
            break;
        }
        ck_assert_uint_ge(call->rpc.deadline_ms, last);
        ck_assert_uint_ne((size_t)(call - calls) % 3, 0);
        last = call->rpc.deadline_ms;
        left++;
        kek_grpc_deadlines_remove(&deadlines, call);
    }
    ck_assert_uint_eq(left, COUNT - (COUNT + 2) / 3);
    kek_grpc_deadlines_done(&deadlines);
}
END_TEST

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
    Suite *suite = suite_create("grpc headers");
    TCase *tests = tcase_create("pure");
    tcase_add_loop_test(tests, timeout_parses_as_the_protocol_says, 0, COUNT_OF(timeouts));
    tcase_add_loop_test(tests, message_is_percent_encoded, 0, COUNT_OF(messages));
    tcase_add_test(tests, message_is_cut_between_characters);
    tcase_add_loop_test(tests, field_is_judged, 0, COUNT_OF(fields));
    tcase_add_loop_test(tests, request_without_a_pseudo_field_is_malformed, 0, 3);
    tcase_add_loop_test(tests, timeout_is_capped_at_the_default, 0, 3);
    tcase_add_test(tests, unknown_path_is_shown_printable_and_cut);
    tcase_add_test(tests, path_with_a_nul_is_another_path);
    tcase_add_test(tests, header_list_is_counted_as_the_rfc_does);
    tcase_add_test(tests, message_is_whole_however_it_is_split);
    tcase_add_test(tests, deadlines_come_out_in_order_whatever_is_removed);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
