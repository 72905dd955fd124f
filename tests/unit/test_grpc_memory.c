/*
 * Out of memory, at every allocation in turn: kekd's own (the linker sends this program's malloc and
 * calloc through here) and nghttp2's (through its allocator).  Whatever fails, nothing crashes,
 * nothing leaks, every call ends once, and the next connection works.
 */
#include "suite.h"

#include <stdlib.h>
#include <string.h>

#include "../../src/grpc/call.h"
#include "grpc_rig.h"
#include "kek/clock.h"

void *__real_malloc(size_t size);
void *__real_calloc(size_t count, size_t size);
void *__wrap_malloc(size_t size);
void *__wrap_calloc(size_t count, size_t size);

static bool counting; /* only while the server's side runs */
static unsigned long allocations, failing;

static bool fails(void)
{
    return counting && ++allocations == failing;
}

void *__wrap_malloc(size_t size)
{
    return fails() ? NULL : __real_malloc(size);
}

void *__wrap_calloc(size_t count, size_t size)
{
    return fails() ? NULL : __real_calloc(count, size);
}

static void *mem_malloc(size_t size, void *arg)
{
    (void)arg;
    return fails() ? NULL : __real_malloc(size);
}

static void mem_free(void *data, void *arg)
{
    (void)arg;
    free(data);
}

static void *mem_calloc(size_t count, size_t size, void *arg)
{
    (void)arg;
    return fails() ? NULL : __real_calloc(count, size);
}

static void *mem_realloc(void *data, size_t size, void *arg)
{
    (void)arg;
    return fails() ? NULL : realloc(data, size);
}

static bool replaced;

/* Every session of nghttp2 that the room makes gets this allocator. */
int __wrap_nghttp2_session_server_new2(nghttp2_session **session,
                                       const nghttp2_session_callbacks *callbacks, void *arg,
                                       const nghttp2_option *option);

int __wrap_nghttp2_session_server_new2(nghttp2_session **session,
                                       const nghttp2_session_callbacks *callbacks, void *arg,
                                       const nghttp2_option *option)
{
    replaced = true;
    static nghttp2_mem memory = {NULL, mem_malloc, mem_free, mem_calloc, mem_realloc};
    return nghttp2_session_server_new3(session, callbacks, arg, option, &memory);
}

/* What a client sends in its first moments, made once, so that only the server's side varies. */
static size_t script(uint8_t *out, size_t room)
{
    static const struct peer_request requests[] = {
        {.message = "hello"},
        {.path = "/t.T/Late"},
        {.path = "/t.T/Late", .timeout = "1m"},
        {.path = "/t.T/Late", .unfinished = true},
        {.path = "/t.T/Fail"},
        {.path = "/none"},
        {.path = "/t.T/Big", .extra_fields = 20},
        {.body = (const uint8_t *)"\0\0\0\0\3a", .body_len = 6},
    };
    struct peer *peer = peer_new(-1);
    size_t len = 0;
    for (size_t i = 0; i < sizeof requests / sizeof requests[0]; i++) {
        peer_call(peer, &requests[i]);
    }
    peer_ping(peer);
    const uint8_t *data;
    for (size_t n = peer_output(peer, &data); n > 0; n = peer_output(peer, &data)) {
        ck_assert_uint_le(n, room - len);
        memcpy(out + len, data, n);
        len += n;
    }
    peer_free(peer);
    return len;
}

static void take_output(struct kek_grpc_session *session)
{
    for (struct kek_bytes out = kek_grpc_session_output(session); out.len > 0;
         out = kek_grpc_session_output(session)) {
        kek_grpc_session_sent(session, out.len);
    }
}

static void wake(void *arg)
{
    (void)arg;
}

/* Check's own assertions allocate even when they hold. */
static void expect_at(bool holds, const char *what)
{
    if (!holds) {
        counting = false;
        ck_abort_msg("allocation %lu: %s", failing, what);
    }
}
#define expect(condition) expect_at(condition, #condition)

/* A connection's whole life. Returns false if it could not even be opened. */
static bool live(struct kek_grpc_host *host, struct service *service, const uint8_t *input,
                 size_t len)
{
    static const struct kek_rpc_peer who = {.uid = 1};
    struct kek_why why = {.rc = KEK_OK};
    struct kek_grpc_session *session = kek_grpc_session_new(host, &who, true, wake, NULL, &why);
    if (session == NULL) {
        expect(why.rc == KEK_NO_MEMORY);
        return false;
    }
    take_output(session);
    if (kek_grpc_session_receive(session, kek_bytes(input, len), &why) != KEK_OK) {
        expect(kek_grpc_session_finished(session));
    }
    take_output(session);
    for (size_t i = 0; i < service->late_count; i++) {
        if (service->late[i] != NULL && i % 2 == 0) {
            service_answer_late(service, i, "late");
        }
    }
    take_output(session);
    test_now_us += 1000;
    kek_grpc_session_expire(session, kek_clock_ms());
    kek_grpc_session_drain(session);
    take_output(session);
    kek_grpc_session_abandon(session);
    take_output(session);
    kek_grpc_session_free(session);
    return true;
}

static void try_one(unsigned long which, const uint8_t *input, size_t len)
{
    struct service service = {.big = 3000};
    const struct kek_grpc_settings settings = service_settings(&service);
    struct kek_grpc_host host;
    struct kek_why why;
    allocations = 0;
    failing = which;
    counting = true;
    if (kek_grpc_host_init(&host, &settings, &why) == KEK_OK) {
        live(&host, &service, input, len);
        counting = false;
        expect(host.stats.calls_open == 0);
        for (size_t i = 0; i < service.late_count; i++) {
            expect(service.late[i] == NULL);
        }
        unsigned started = service.started;
        service.late_count = 0;
        expect(live(&host, &service, input, len));
        expect(service.started == started + 5);
    } else {
        expect(why.rc == KEK_NO_MEMORY);
    }
    counting = false;
    kek_grpc_host_done(&host);
}

START_TEST(every_allocation_may_fail)
{
    static uint8_t input[65536];
    kek_clock_fake(test_clock);
    size_t len = script(input, sizeof input);
    try_one(0, input, len); /* none fails: how many are there? */
    unsigned long total = allocations;
    ck_assert_uint_gt(total, 50);
    ck_assert(replaced);
    for (unsigned long which = 1; which <= total; which++) {
        try_one(which, input, len);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("grpc memory");
    TCase *tests = tcase_create("memory");
    tcase_set_timeout(tests, 60);
    tcase_add_test(tests, every_allocation_may_fail);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
