/* Many calls at once with much to say, and clients that take it slowly: every answer arrives whole. */
#include "suite.h"

#include "../../src/grpc/parts.h"
#include "grpc_rig.h"

#define TOTAL_MAX (24u * 1024 * 1024) /* bytes of answers in one scene */

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

#define COUNT_OF(array) ((int)(sizeof(array) / sizeof((array)[0])))

int main(void)
{
    Suite *suite = suite_create("grpc flow");
    TCase *tests = tcase_create("flow");
    tcase_set_timeout(tests, 120);
    tcase_add_loop_test(tests, answers_of_every_size_arrive_however_they_are_read, 0,
                        COUNT_OF(sizes));
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
