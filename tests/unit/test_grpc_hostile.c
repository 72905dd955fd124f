/* What hostile and broken clients get, and what they cannot make grow: raw frames over memory. */
#include "suite.h"

#include <string.h>

#include "../../src/grpc/call.h"
#include "grpc_rig.h"
#include "kek/clock.h"

#define MAGIC "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

/* HPACK without its tables' state: POST, http, /t.T/Echo or /t.T/Late, application/grpc. */
#define HEAD(path)                         \
    "\x83\x86\x04\x09" path "\x0f\x10\x10" \
    "application/grpc"
#define TO_ECHO HEAD("/t.T/Echo")
#define TO_LATE HEAD("/t.T/Late")

struct wire {
    uint8_t data[1 << 20];
    size_t len;
};

static void put(struct wire *wire, const void *data, size_t len)
{
    ck_assert_uint_le(len, sizeof wire->data - wire->len);
    memcpy(wire->data + wire->len, data, len);
    wire->len += len;
}

static void frame(struct wire *wire, uint8_t type, uint8_t flags, uint32_t stream,
                  const void *payload, size_t len)
{
    const uint8_t header[9] = {(uint8_t)(len >> 16),
                               (uint8_t)(len >> 8),
                               (uint8_t)len,
                               type,
                               flags,
                               (uint8_t)(stream >> 24),
                               (uint8_t)(stream >> 16),
                               (uint8_t)(stream >> 8),
                               (uint8_t)stream};
    put(wire, header, sizeof header);
    put(wire, payload, len);
}
#define FRAME(wire, type, flags, stream, text) \
    frame(wire, type, flags, stream, text, sizeof(text) - 1)

enum { END_STREAM = 1, ACK = 1, END_HEADERS = 4, PADDED = 8 };

static struct wire *wire_new(void)
{
    struct wire *wire = calloc(1, sizeof *wire);
    ck_assert_ptr_nonnull(wire);
    return wire;
}

/* A client's preface: magic and empty SETTINGS. */
static struct wire *preface(void)
{
    struct wire *wire = wire_new();
    put(wire, MAGIC, sizeof MAGIC - 1);
    FRAME(wire, NGHTTP2_SETTINGS, 0, 0, "");
    return wire;
}

/* Feeds what is on the wire, in pieces as a socket would, and empties it. */
static void feed(struct rig *rig, struct wire *wire)
{
    for (size_t at = 0; at < wire->len; at += 65536) {
        size_t n = wire->len - at < 65536 ? wire->len - at : 65536;
        rig_feed(rig, wire->data + at, n);
    }
    wire->len = 0;
}

/* The raw client's own side: what came back, by frame type and error. */
struct heard {
    unsigned frames[16], end_streams, refused;
    bool goaway;
    uint32_t goaway_code;
};

static uint32_t u32(const uint8_t *at)
{
    return (uint32_t)at[0] << 24 | (uint32_t)at[1] << 16 | (uint32_t)at[2] << 8 | at[3];
}

static struct heard hear(struct rig *rig)
{
    static uint8_t all[1 << 22];
    size_t len = 0;
    struct heard heard = {.goaway = false};
    for (;;) {
        struct kek_bytes out = kek_grpc_session_output(rig->session);
        if (out.len == 0) {
            break;
        }
        ck_assert_uint_le(out.len, sizeof all - len);
        memcpy(all + len, out.data, out.len);
        len += out.len;
        kek_grpc_session_sent(rig->session, out.len);
    }
    for (size_t at = 0; at < len;) {
        ck_assert_uint_ge(len - at, 9);
        size_t size = u32(all + at) >> 8;
        uint8_t type = all[at + 3];
        const uint8_t *payload = all + at + 9;
        ck_assert_uint_lt(type, 16);
        heard.frames[type]++;
        if (type <= NGHTTP2_HEADERS && (all[at + 4] & END_STREAM) != 0) {
            heard.end_streams++;
        } else if (type == NGHTTP2_RST_STREAM && u32(payload) == NGHTTP2_REFUSED_STREAM) {
            heard.refused++;
        } else if (type == NGHTTP2_GOAWAY) {
            heard.goaway = true;
            heard.goaway_code = u32(payload + 4);
        }
        at += 9 + size;
        ck_assert_uint_le(at, len);
    }
    return heard;
}

static struct rig *raw_rig(void (*change)(struct kek_grpc_settings *))
{
    struct rig *rig = rig_new(-1, true, change);
    rig->keep_output = true;
    return rig;
}

static const char *const garbage[] = {
    "GET / HTTP/1.1\r\nHost: localhost\r\n\r\n",
    "PRI * HTTP/2.0\r\n\r\nXX\r\n\r\n",
    "\x16\x03\x01\x02\x00\x01\x00\x01\xfc\x03\x03 a TLS hello or the like",
    "\xff\xff\xff\xff a length of nonsense",
};

START_TEST(garbage_instead_of_a_preface_ends_the_connection)
{
    struct rig *rig = raw_rig(NULL);
    rig->chunk = 1;
    rig_feed(rig, garbage[_i], strlen(garbage[_i]));
    ck_assert_int_eq(rig->rc, KEK_INVALID);
    ck_assert(kek_grpc_session_finished(rig->session));
    ck_assert_uint_eq(rig->host.stats.protocol_errors, 1);
    ck_assert_uint_eq(rig->host.stats.calls_total, 0);
    rig_free(rig);
}
END_TEST

START_TEST(unfinished_preface_ends_the_connection_in_time)
{
    static const size_t lengths[] = {0, 1, sizeof MAGIC - 1, sizeof MAGIC + 7};
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    wire->len = lengths[_i];
    feed(rig, wire);
    ck_assert_uint_eq(kek_grpc_session_deadline(rig->session),
                      kek_clock_ms() + KEK_GRPC_PREFACE_MS);
    test_now_us += (KEK_GRPC_PREFACE_MS - 1) * 1000u;
    kek_grpc_session_expire(rig->session, kek_clock_ms());
    ck_assert(!kek_grpc_session_finished(rig->session));
    test_now_us += 1000;
    kek_grpc_session_expire(rig->session, kek_clock_ms());
    ck_assert(kek_grpc_session_finished(rig->session));
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(idle_connection_stays)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    feed(rig, wire);
    ck_assert_uint_eq(kek_grpc_session_deadline(rig->session), KEK_NEVER);
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(frames_that_mean_nothing_are_ignored)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    FRAME(wire, 0xfa, 0xff, 0, "who knows");
    FRAME(wire, NGHTTP2_PRIORITY, 0, 5, "\0\0\0\3\x10");
    FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, 1, TO_ECHO);
    FRAME(wire, 0xfb, 0, 1, "");
    FRAME(wire, NGHTTP2_PRIORITY, 0, 1, "\0\0\0\0\x10");
    for (int i = 0; i < 10000; i++) {
        FRAME(wire, NGHTTP2_DATA, 0, 1, "");
    }
    FRAME(wire, NGHTTP2_DATA, PADDED, 1, "\x03\0\0\0xyz");
    FRAME(wire, NGHTTP2_DATA, PADDED, 1, "\x05xxxxx");
    FRAME(wire, NGHTTP2_DATA, 0, 1, "\0\2o");
    FRAME(wire, NGHTTP2_DATA, PADDED | END_STREAM, 1, "\x01k!");
    feed(rig, wire);
    struct heard heard = hear(rig);
    ck_assert_uint_eq(rig->service.started, 1);
    ck_assert_uint_eq(heard.frames[NGHTTP2_DATA], 1);
    ck_assert_uint_eq(heard.end_streams, 1);
    ck_assert(!kek_grpc_session_finished(rig->session));
    free(wire);
    rig_free(rig);
}
END_TEST

/* One frame each that RFC 9113 makes a connection error. */
static const struct {
    uint8_t type, flags;
    uint32_t stream;
    const char *payload;
    size_t len;
    uint32_t code;
} errors[] = {
    {NGHTTP2_DATA, 0, 0, "x", 1, NGHTTP2_PROTOCOL_ERROR},
    {NGHTTP2_HEADERS, END_HEADERS, 0, TO_ECHO, sizeof TO_ECHO - 1, NGHTTP2_PROTOCOL_ERROR},
    {NGHTTP2_HEADERS, END_HEADERS, 2, TO_ECHO, sizeof TO_ECHO - 1, NGHTTP2_PROTOCOL_ERROR},
    {NGHTTP2_HEADERS, END_HEADERS, 1, "\xff\xff\xff\xff\xff", 5, NGHTTP2_COMPRESSION_ERROR},
    {NGHTTP2_CONTINUATION, 0, 1, "x", 1, NGHTTP2_PROTOCOL_ERROR},
    {NGHTTP2_PING, 0, 0, "short", 5, NGHTTP2_FRAME_SIZE_ERROR},
    {NGHTTP2_SETTINGS, 0, 0, "\0\4\xff\xff\xff\xff", 6, NGHTTP2_FLOW_CONTROL_ERROR},
    {NGHTTP2_WINDOW_UPDATE, 0, 0, "\x7f\xff\xff\xff", 4, NGHTTP2_FLOW_CONTROL_ERROR},
    {NGHTTP2_RST_STREAM, 0, 77, "\0\0\0\x08", 4, NGHTTP2_PROTOCOL_ERROR},
};

START_TEST(connection_error_is_answered_with_goaway)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    frame(wire, errors[_i].type, errors[_i].flags, errors[_i].stream, errors[_i].payload,
          errors[_i].len);
    feed(rig, wire);
    struct heard heard = hear(rig);
    ck_assert(heard.goaway);
    ck_assert_uint_eq(heard.goaway_code, errors[_i].code);
    ck_assert(kek_grpc_session_finished(rig->session));
    ck_assert_uint_eq(rig->host.stats.protocol_errors, 1);
    ck_assert_uint_eq(rig->service.started, 0);
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(thousand_rapid_resets_leave_nothing_behind)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    for (uint32_t stream = 1; stream < 2000; stream += 2) {
        FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, stream, TO_LATE);
        FRAME(wire, NGHTTP2_DATA, END_STREAM, stream, "\0\0\0\0\0");
        FRAME(wire, NGHTTP2_RST_STREAM, 0, stream, "\0\0\0\x08");
        rig->service.late_count = 0;
        feed(rig, wire);
    }
    struct heard heard = hear(rig);
    ck_assert(!heard.goaway);
    ck_assert_uint_eq(rig->service.started, 1000);
    ck_assert_uint_eq(rig->service.ended, 1000);
    ck_assert_uint_eq(rig->host.stats.resets, 1000);
    ck_assert_uint_eq(rig->host.stats.calls_open, 0);
    ck_assert_uint_eq(rig->session->call_count, 0);
    ck_assert_uint_eq(rig->host.spare_count, 1);
    ck_assert_uint_eq(kek_grpc_session_deadline(rig->session), KEK_NEVER);
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(endless_resets_end_the_connection)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    /* Far above the burst, so that what the rate gives back meanwhile does not matter. */
    for (uint32_t stream = 1; stream < 40000; stream += 2) {
        FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, stream, TO_ECHO);
        FRAME(wire, NGHTTP2_RST_STREAM, 0, stream, "\0\0\0\x08");
        if (wire->len > 60000) {
            feed(rig, wire);
        }
    }
    struct heard heard = hear(rig);
    ck_assert(heard.goaway);
    ck_assert(kek_grpc_session_finished(rig->session));
    ck_assert_uint_lt(rig->host.stats.calls_total, 20000);
    ck_assert_uint_eq(rig->session->call_count, 0);
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(endless_continuations_end_the_connection)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    FRAME(wire, NGHTTP2_HEADERS, 0, 1, TO_ECHO);
    for (int i = 0; i < 20; i++) {
        FRAME(wire, NGHTTP2_CONTINUATION, 0, 1, "");
    }
    feed(rig, wire);
    hear(rig);
    ck_assert(kek_grpc_session_finished(rig->session));
    ck_assert_uint_eq(rig->service.started, 0);
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(pings_whose_answers_are_not_read_end_the_connection)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    for (int i = 0; i < 10000; i++) {
        FRAME(wire, NGHTTP2_PING, 0, 0, "pingping");
    }
    feed(rig, wire);
    ck_assert(kek_grpc_session_finished(rig->session));
    ck_assert_uint_le(rig->session->out.len, 2 * KEK_GRPC_OUTPUT_STEP);
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(streams_over_the_limit_are_refused)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    for (uint32_t i = 0; i < 70; i++) {
        FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, 2 * i + 1, TO_ECHO);
    }
    feed(rig, wire);
    struct heard heard = hear(rig);
    ck_assert_uint_eq(heard.refused, 6);
    ck_assert_uint_eq(rig->host.stats.calls_open, 64);
    /* A client that has acknowledged the limit and passes it breaks the protocol. */
    FRAME(wire, NGHTTP2_SETTINGS, ACK, 0, "");
    FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, 141, TO_ECHO);
    feed(rig, wire);
    ck_assert(hear(rig).goaway);
    ck_assert(kek_grpc_session_finished(rig->session));
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(half_open_streams_are_answered_at_their_deadline)
{
    static const char *const parts[] = {"", "\0\0", "\0\0\0\0\x09half"};
    static const size_t lengths[] = {0, 2, 9};
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    for (uint32_t i = 0; i < 64; i++) {
        FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, 2 * i + 1, TO_ECHO);
        frame(wire, NGHTTP2_DATA, 0, 2 * i + 1, parts[_i], lengths[_i]);
        feed(rig, wire);
        test_now_us += 1000;
    }
    hear(rig);
    test_now_us += 4936 * 1000; /* the first was opened 5 s ago, the last 4,937 ms */
    kek_grpc_session_expire(rig->session, kek_clock_ms());
    struct heard heard = hear(rig);
    ck_assert_uint_eq(heard.end_streams, 1);
    ck_assert_uint_eq(heard.frames[NGHTTP2_RST_STREAM], 1);
    test_now_us += 63 * 1000;
    kek_grpc_session_expire(rig->session, kek_clock_ms());
    ck_assert_uint_eq(hear(rig).end_streams, 63);
    ck_assert_int_eq(rig->service.rejected_status, KEK_RPC_DEADLINE_EXCEEDED);
    ck_assert_uint_eq(rig->service.rejections, 64);
    ck_assert_uint_eq(rig->session->call_count, 0);
    ck_assert_uint_eq(rig->session->buffered, 0);
    ck_assert_uint_eq(kek_grpc_session_deadline(rig->session), KEK_NEVER);
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(half_open_header_block_is_answered_at_its_deadline)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    FRAME(wire, NGHTTP2_HEADERS, 0, 1, TO_ECHO);
    feed(rig, wire);
    hear(rig);
    test_now_us += 5000 * 1000;
    kek_grpc_session_expire(rig->session, kek_clock_ms());
    hear(rig);
    ck_assert_uint_eq(rig->session->call_count, 0);
    FRAME(wire, NGHTTP2_CONTINUATION, END_HEADERS, 1, "");
    FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, 3, TO_ECHO);
    FRAME(wire, NGHTTP2_DATA, END_STREAM, 3, "\0\0\0\0\0");
    feed(rig, wire);
    ck_assert_uint_eq(hear(rig).end_streams, 1);
    ck_assert_uint_eq(rig->service.started, 1);
    free(wire);
    rig_free(rig);
}
END_TEST

static void large_messages(struct kek_grpc_settings *settings)
{
    settings->max_message = 64 * 1024;
}

/* It never acknowledges our SETTINGS, so nghttp2 must allow it a window of 65,535 on every stream. */
START_TEST(client_that_ignores_our_windows_is_refused)
{
    enum { PIECE = 16383, FIT = KEK_GRPC_BUFFERED_MAX / PIECE };
    struct rig *rig = raw_rig(large_messages);
    struct wire *wire = preface();
    static const uint8_t piece[PIECE + 5] = {[2] = 1}; /* 65536 are declared */
    feed(rig, wire);
    for (uint32_t call = 0; call <= FIT / 3; call++) {
        FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, 2 * call + 1, TO_ECHO);
        frame(wire, NGHTTP2_DATA, 0, 2 * call + 1, piece, PIECE + 1);
        frame(wire, NGHTTP2_DATA, 0, 2 * call + 1, piece + 5, PIECE);
        frame(wire, NGHTTP2_DATA, 0, 2 * call + 1, piece + 5, PIECE);
        feed(rig, wire);
        hear(rig);
        ck_assert(!kek_grpc_session_finished(rig->session));
        ck_assert_uint_le(rig->session->buffered, KEK_GRPC_BUFFERED_MAX);
    }
    ck_assert_uint_eq(rig->service.rejections, 1);
    ck_assert_uint_eq(rig->service.rejected_status, KEK_RPC_RESOURCE_EXHAUSTED);
    test_now_us += 5000 * 1000;
    kek_grpc_session_expire(rig->session, kek_clock_ms());
    ck_assert_uint_eq(rig->session->buffered, 0);
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(answer_that_the_window_never_lets_out_is_reset_past_the_deadline)
{
    struct rig *rig = rig_new(0, true, NULL);
    const struct peer_answer *answer = rig_call(rig, &(struct peer_request){.message = "stuck"});
    ck_assert_int_eq(answer->http_status, 200);
    ck_assert(!answer->end);
    ck_assert_uint_eq(rig->session->call_count, 1);
    ck_assert_uint_eq(rig->host.stats.calls_open, 0);
    rig_pass(rig, 5000);
    ck_assert(!answer->closed); /* it may have been made just now */
    rig_pass(rig, KEK_GRPC_OVERDUE_MS);
    ck_assert(answer->closed && answer->reset);
    ck_assert_uint_eq(rig->session->call_count, 0);
    rig_free(rig);
}
END_TEST

START_TEST(client_that_reads_nothing_is_not_read_then_closed)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    feed(rig, wire);
    kek_grpc_session_blocked(rig->session);
    unsigned turns = 0;
    for (uint32_t stream = 1; kek_grpc_session_wants_input(rig->session); turns++) {
        for (int i = 0; i < 1000; i++, stream += 2) {
            FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, stream, TO_ECHO);
        }
        feed(rig, wire);
        kek_grpc_session_blocked(rig->session);
        ck_assert_uint_lt(turns, 100);
    }
    ck_assert(!kek_grpc_session_finished(rig->session));
    ck_assert_uint_le(rig->session->out.len, 2 * KEK_GRPC_OUTPUT_STEP);
    ck_assert_uint_eq(kek_grpc_session_deadline(rig->session), kek_clock_ms() + 5000);
    /* One byte taken is progress, and starts the time again. */
    test_now_us += (KEK_GRPC_STALL_MS - 1) * 1000u;
    kek_grpc_session_sent(rig->session, 1);
    kek_grpc_session_blocked(rig->session);
    test_now_us += (KEK_GRPC_STALL_MS - 1) * 1000u;
    kek_grpc_session_expire(rig->session, kek_clock_ms());
    ck_assert(!kek_grpc_session_finished(rig->session));
    test_now_us += 1000;
    kek_grpc_session_expire(rig->session, kek_clock_ms());
    ck_assert(kek_grpc_session_finished(rig->session));
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(client_that_never_quite_catches_up_keeps_its_connection)
{
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    size_t taken = 0;
    feed(rig, wire);
    for (uint32_t stream = 1; taken < 64 * KEK_GRPC_OUTPUT_STEP; stream += 2) {
        FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, stream, TO_ECHO);
        frame(wire, NGHTTP2_DATA, END_STREAM, stream, (uint8_t[905]){[3] = 3, [4] = 132}, 905);
        feed(rig, wire);
        FRAME(wire, NGHTTP2_WINDOW_UPDATE, 0, 0, "\0\0\4\0");
        feed(rig, wire);
        struct kek_bytes out = kek_grpc_session_output(rig->session);
        if (out.len > KEK_GRPC_OUTPUT_STEP / 2) {
            kek_grpc_session_sent(rig->session, 1000); /* some, never all */
            taken += 1000;
        }
        ck_assert(!kek_grpc_session_finished(rig->session));
        ck_assert_uint_le(rig->session->out.cap, 4 * KEK_GRPC_OUTPUT_STEP);
    }
    ck_assert_uint_eq(rig->host.stats.calls_open, 0);
    free(wire);
    rig_free(rig);
}
END_TEST

START_TEST(deadline_of_a_header_block_in_pieces_is_kept_before_later_ones)
{
    static const char timeout[] = "\x00\x0cgrpc-timeout\x04"
                                  "100m";
    struct rig *rig = raw_rig(NULL);
    struct wire *wire = preface();
    /* Two that wait for the default's 5 s, then one whose deadline is known only with its last field. */
    FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, 1, TO_LATE);
    FRAME(wire, NGHTTP2_DATA, END_STREAM, 1, "\0\0\0\0\0");
    FRAME(wire, NGHTTP2_HEADERS, END_HEADERS, 3, TO_LATE);
    FRAME(wire, NGHTTP2_DATA, END_STREAM, 3, "\0\0\0\0\0");
    feed(rig, wire);
    FRAME(wire, NGHTTP2_HEADERS, 0, 5, TO_LATE);
    feed(rig, wire);
    FRAME(wire, NGHTTP2_CONTINUATION, END_HEADERS, 5, timeout);
    FRAME(wire, NGHTTP2_DATA, END_STREAM, 5, "\0\0\0\0\0");
    feed(rig, wire);
    ck_assert_uint_eq(rig->service.started, 3);
    ck_assert_uint_eq(kek_grpc_session_deadline(rig->session), kek_clock_ms() + 100);
    test_now_us += 100 * 1000;
    kek_grpc_session_expire(rig->session, kek_clock_ms());
    ck_assert_uint_eq(rig->service.ended, 1);
    ck_assert_int_eq(rig->service.ended_status, KEK_RPC_DEADLINE_EXCEEDED);
    test_now_us += 4900 * 1000;
    kek_grpc_session_expire(rig->session, kek_clock_ms());
    ck_assert_uint_eq(rig->service.ended, 3);
    hear(rig);
    free(wire);
    rig_free(rig);
}
END_TEST

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
    Suite *suite = suite_create("grpc hostile");
    TCase *tests = tcase_create("hostile");
    tcase_add_loop_test(tests, garbage_instead_of_a_preface_ends_the_connection, 0,
                        COUNT_OF(garbage));
    tcase_add_loop_test(tests, unfinished_preface_ends_the_connection_in_time, 0, 4);
    tcase_add_test(tests, idle_connection_stays);
    tcase_add_test(tests, frames_that_mean_nothing_are_ignored);
    tcase_add_loop_test(tests, connection_error_is_answered_with_goaway, 0, COUNT_OF(errors));
    tcase_add_test(tests, thousand_rapid_resets_leave_nothing_behind);
    tcase_add_test(tests, endless_resets_end_the_connection);
    tcase_add_test(tests, endless_continuations_end_the_connection);
    tcase_add_test(tests, pings_whose_answers_are_not_read_end_the_connection);
    tcase_add_test(tests, streams_over_the_limit_are_refused);
    tcase_add_loop_test(tests, half_open_streams_are_answered_at_their_deadline, 0, 3);
    tcase_add_test(tests, half_open_header_block_is_answered_at_its_deadline);
    tcase_add_test(tests, client_that_ignores_our_windows_is_refused);
    tcase_add_test(tests, answer_that_the_window_never_lets_out_is_reset_past_the_deadline);
    tcase_add_test(tests, client_that_reads_nothing_is_not_read_then_closed);
    tcase_add_test(tests, client_that_never_quite_catches_up_keeps_its_connection);
    tcase_add_test(tests, deadline_of_a_header_block_in_pieces_is_kept_before_later_ones);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
