/* Many calls at once that have much to say or to hear: every one is answered, within bounded memory. */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

#include "../../src/grpc/flow.h"
#include "grpc_rig.h"

#define TOTAL_MAX (24u * 1024 * 1024) /* bytes of answers in one scene */
#define FRAMES_MAX 20000u             /* of requests in one scene */

static void many_streams(struct kek_grpc_settings *settings)
{
    settings->max_message = KEK_GRPC_MAX_MESSAGE;
    settings->max_streams = KEK_GRPC_MAX_STREAMS;
}

/* Bytes of a reply: around a DATA frame's 16,384 with the prefix of 5, and around a step of output. */
static const size_t sizes[] = {0,     1,     1000,  16378, 16379,  16380,
                               16384, 32763, 65531, 65536, 262144, 1048576};
static const unsigned counts[] = {1, 2, 3, 4, 5, 15, 16, 17, 63, 64, 128, 255, 256};

/* How a client reads. */
static const struct {
    int stream_window; /* negative: the default of 65,535 */
    int32_t connection_window;
    size_t take;
} readers[] = {
    {16 * 1024 * 1024, 1 << 30, 0},
    {16 * 1024 * 1024, 1 << 30, 10000},
    {16 * 1024 * 1024, 1 << 30, KEK_GRPC_OUTPUT_STEP + 1},
    {-1, 65535, 0},
    {-1, 1 << 20, 4096},
    {20000, 1 << 30, 0},
};

static void answers_arrive(size_t size, unsigned count, size_t reader)
{
    struct rig *rig = rig_new(readers[reader].stream_window, true, many_streams);
    rig->take = readers[reader].take;
    rig->service.big = size;
    peer_widen(rig->peer, readers[reader].connection_window);
    rig_exchange(rig);
    struct peer_answer *answers[KEK_GRPC_MAX_STREAMS];
    for (unsigned i = 0; i < count; i++) {
        answers[i] = peer_answer(rig->peer,
                                 peer_call(rig->peer, &(struct peer_request){.path = "/t.T/Big"}));
    }
    /* All are asked before one answer is taken. */
    rig->keep_output = true;
    rig_exchange(rig);
    ck_assert_uint_eq(rig->service.started, count);
    rig->keep_output = false;
    rig_exchange(rig);
    ck_assert_msg(!kek_grpc_session_finished(rig->session),
                  "%u answers of %zu bytes, reader %zu: the connection has ended", count, size,
                  reader);
    ck_assert_uint_le(rig->session->out.cap, KEK_GRPC_OUTPUT_MAX);
    const uint8_t prefix[5] = {0, (uint8_t)(size >> 24), (uint8_t)(size >> 16),
                               (uint8_t)(size >> 8), (uint8_t)size};
    uint32_t sum = peer_sum(peer_sum(0, prefix, sizeof prefix), service_big(), size);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_int_eq(answers[i]->grpc_status, 0);
        ck_assert(answers[i]->closed && !answers[i]->reset);
        ck_assert_uint_eq(answers[i]->received, sizeof prefix + size);
        ck_assert_uint_eq(answers[i]->sum, sum);
    }
    rig_free(rig);
}

START_TEST(answers_of_every_size_arrive_however_they_are_read)
{
    size_t size = sizes[_i];
    for (size_t c = 0; c < sizeof counts / sizeof counts[0]; c++) {
        for (size_t reader = 0; reader < sizeof readers / sizeof readers[0]; reader++) {
            if (size * counts[c] <= TOTAL_MAX) {
                answers_arrive(size, counts[c], reader);
            }
        }
    }
}
END_TEST

/* A good message of `size` bytes with its prefix. */
static uint8_t *message_of(size_t size)
{
    uint8_t *message = malloc(KEK_GRPC_PREFIX + size);
    ck_assert_ptr_nonnull(message);
    memcpy(message,
           (const uint8_t[]){0, (uint8_t)(size >> 24), (uint8_t)(size >> 16), (uint8_t)(size >> 8),
                             (uint8_t)size},
           KEK_GRPC_PREFIX);
    memcpy(message + KEK_GRPC_PREFIX, service_big(), size);
    return message;
}

/* Bytes of a request: around a share, and as many as there may be. */
static const size_t asked[] = {1, 2000, 4090, 4091, 4092, 16384, 32768, 65535, 65536};

static const struct {
    size_t frame; /* bytes of a DATA frame */
    bool pad;
    bool early; /* before the client knows of our SETTINGS */
} writers[] = {
    {0, false, false}, {0, true, false}, {0, false, true}, {900, true, true}, {50, true, false}};

static void requests_are_served(size_t size, unsigned count, size_t writer)
{
    struct rig *rig = rig_new(1 << 20, true, many_streams);
    uint8_t *message = message_of(size);
    const struct peer_request request = {
        .body = message, .body_len = KEK_GRPC_PREFIX + size, .frame = writers[writer].frame};
    rig->peer->pad = writers[writer].pad;
    peer_widen(rig->peer, 1 << 30);
    if (!writers[writer].early) {
        rig_exchange(rig);
    }
    struct peer_answer *answers[KEK_GRPC_MAX_STREAMS];
    for (unsigned i = 0; i < count; i++) {
        answers[i] = peer_answer(rig->peer, peer_call(rig->peer, &request));
    }
    rig_exchange(rig);
    uint32_t sum = peer_sum(0, message, request.body_len);
    for (unsigned i = 0; i < count; i++) {
        ck_assert_msg(answers[i]->grpc_status == 0, "call %u of %u, %zu bytes, writer %zu: %d %s",
                      i, count, size, writer, answers[i]->grpc_status, answers[i]->message);
        ck_assert_uint_eq(answers[i]->sum, sum);
    }
    ck_assert_uint_eq(rig->session->reserved, 0);
    ck_assert_uint_eq(rig->session->waiting, 0);
    free(message);
    rig_free(rig);
}

START_TEST(valid_calls_are_served_however_many_and_long)
{
    static const unsigned at_once[] = {1, 16, 17, 64, 256};
    for (size_t c = 0; c < sizeof at_once / sizeof at_once[0]; c++) {
        for (size_t writer = 0; writer < sizeof writers / sizeof writers[0]; writer++) {
            size_t frame = writers[writer].frame == 0 ? 16384 : writers[writer].frame;
            if (asked[_i] / frame * at_once[c] <= FRAMES_MAX) {
                requests_are_served(asked[_i], at_once[c], writer);
            }
        }
    }
}
END_TEST

START_TEST(long_messages_wait_for_room_and_short_ones_do_not)
{
    enum { LONG = 64 * 1024, FIT = KEK_GRPC_RESERVED_MAX / (LONG + KEK_GRPC_PREFIX), CALLS = 200 };
    struct rig *rig = rig_new(-1, true, many_streams);
    rig_exchange(rig);
    uint8_t *message = message_of(LONG);
    const struct peer_request slow = {
        .body = message, .body_len = KEK_GRPC_PREFIX + LONG - 1, .unfinished = true};
    const struct peer_request good = {.body = message, .body_len = KEK_GRPC_PREFIX + LONG};
    int32_t streams[CALLS];
    for (int i = 0; i < CALLS; i++) {
        streams[i] = peer_call(rig->peer, &slow);
        rig_exchange(rig);
    }
    ck_assert_uint_eq(rig->session->waiting, CALLS - FIT);
    ck_assert_uint_eq(rig->session->reserved, FIT * (LONG + KEK_GRPC_PREFIX));
    /* What waits holds its share, and what does not its message. */
    ck_assert_uint_le(rig->session->buffered, KEK_GRPC_RESERVED_MAX + CALLS * KEK_GRPC_SHARE);
    const struct peer_answer *last = rig_call(rig, &good);
    ck_assert(!last->seen);
    ck_assert_int_eq(rig_call(rig, &(struct peer_request){.message = "short"})->grpc_status, 0);
    /* Room goes to those that have waited longest. */
    for (int i = 0; i < CALLS; i++) {
        ck_assert(last->seen == (i > CALLS - FIT));
        peer_reset(rig->peer, streams[i]);
        rig_exchange(rig);
    }
    ck_assert_int_eq(last->grpc_status, 0);
    ck_assert_uint_eq(rig->session->reserved, 0);
    ck_assert_uint_eq(rig->session->buffered, 0);
    ck_assert_uint_eq(rig->service.rejections, 0);
    free(message);
    rig_free(rig);
}
END_TEST

START_TEST(call_that_waits_for_room_ends_at_its_deadline)
{
    enum { LONG = 64 * 1024, CALLS = 17 };
    struct rig *rig = rig_new(-1, true, many_streams);
    rig_exchange(rig);
    uint8_t *message = message_of(LONG);
    const struct peer_request slow = {
        .body = message, .body_len = KEK_GRPC_PREFIX + LONG - 1, .unfinished = true};
    const struct peer_answer *last = NULL;
    for (int i = 0; i < CALLS; i++) {
        last = rig_call(rig, &slow);
    }
    ck_assert_uint_eq(rig->session->waiting, 2);
    rig_pass(rig, 5000);
    ck_assert_int_eq(last->grpc_status, KEK_RPC_DEADLINE_EXCEEDED);
    ck_assert_uint_eq(rig->session->waiting, 0);
    ck_assert_uint_eq(rig->session->reserved, 0);
    free(message);
    rig_free(rig);
}
END_TEST

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
    Suite *suite = suite_create("grpc flow");
    TCase *tests = tcase_create("flow");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, answers_of_every_size_arrive_however_they_are_read, 0,
                        COUNT_OF(sizes));
    tcase_add_loop_test(tests, valid_calls_are_served_however_many_and_long, 0, COUNT_OF(asked));
    tcase_add_test(tests, long_messages_wait_for_room_and_short_ones_do_not);
    tcase_add_test(tests, call_that_waits_for_room_ends_at_its_deadline);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
