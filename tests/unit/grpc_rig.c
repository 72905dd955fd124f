#include "grpc_rig.h"

#include "suite.h"

#include <string.h>

#include "kek/clock.h"

static void wake(void *arg)
{
    struct rig *rig = arg;
    rig->woken++;
}

struct rig *rig_new(int peer_window, bool is_allowed, void (*change)(struct kek_grpc_settings *))
{
    static const struct kek_rpc_peer who = {.uid = 4711, .gid = 1, .pid = 2};
    struct rig *rig = calloc(1, sizeof *rig);
    struct kek_why why;
    ck_assert_ptr_nonnull(rig);
    kek_clock_fake(test_clock);
    struct kek_grpc_settings settings = service_settings(&rig->service);
    if (change != NULL) {
        change(&settings);
    }
    ck_assert_int_eq(kek_grpc_host_init(&rig->host, &settings, &why), KEK_OK);
    rig->session = kek_grpc_session_new(&rig->host, &who, is_allowed, wake, rig, &why);
    ck_assert_ptr_nonnull(rig->session);
    rig->peer = peer_new(peer_window);
    return rig;
}

void rig_free(struct rig *rig)
{
    kek_grpc_session_free(rig->session);
    kek_grpc_host_done(&rig->host);
    peer_free(rig->peer);
    ck_assert_uint_eq(rig->host.stats.calls_open, 0);
    free(rig);
}

static bool to_peer(struct rig *rig)
{
    if (rig->keep_output) {
        return false;
    }
    bool moved = false;
    for (;;) {
        struct kek_bytes out = kek_grpc_session_output(rig->session);
        if (out.len == 0) {
            return moved;
        }
        size_t n = rig->take != 0 && rig->take < out.len ? rig->take : out.len;
        peer_input(rig->peer, out.data, n);
        kek_grpc_session_sent(rig->session, n);
        moved = true;
    }
}

static void to_session(struct rig *rig, const uint8_t *data, size_t len)
{
    size_t step = rig->chunk == 0 ? len : rig->chunk;
    for (size_t at = 0; at < len && !kek_grpc_session_finished(rig->session); at += step) {
        size_t n = len - at < step ? len - at : step;
        /* A copy of the exact size, so that a read past the end is seen. */
        uint8_t *exact = malloc(n);
        ck_assert_ptr_nonnull(exact);
        memcpy(exact, data + at, n);
        rig->rc = kek_grpc_session_receive(rig->session, kek_bytes(exact, n), NULL);
        memset(exact, 0xaa, n);
        free(exact);
    }
}

void rig_exchange(struct rig *rig)
{
    bool moved = true;
    for (int turn = 0; moved; turn++) {
        ck_assert_int_lt(turn, 100000);
        const uint8_t *data;
        size_t n = peer_output(rig->peer, &data);
        moved = n > 0;
        to_session(rig, data, n);
        moved |= to_peer(rig);
    }
}

void rig_feed(struct rig *rig, const void *data, size_t len)
{
    to_session(rig, data, len);
    to_peer(rig);
}

struct peer_answer *rig_call(struct rig *rig, const struct peer_request *request)
{
    int32_t stream = peer_call(rig->peer, request);
    rig_exchange(rig);
    return peer_answer(rig->peer, stream);
}

void rig_pass(struct rig *rig, uint64_t ms)
{
    test_now_us += ms * 1000;
    if (kek_grpc_session_deadline(rig->session) <= kek_clock_ms()) {
        kek_grpc_session_expire(rig->session, kek_clock_ms());
    }
    rig_exchange(rig);
}
