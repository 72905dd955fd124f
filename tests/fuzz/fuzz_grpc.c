/*
 * One gRPC connection: what a peer may send, in pieces of any size, while calls are answered at once,
 * later, with an error or never, and time passes.  The first byte chooses: bit 0 puts a client's
 * preface before the input; bit 1 is a peer who may not call; the rest is the pieces' size.
 */
#include "fuzz.h"

#include <string.h>

#include "kek/clock.h"
#include "src/grpc/call.h"

#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n\0\0\0\4\0\0\0\0\0"

static uint64_t now_us = 1000000;

static uint64_t fake_clock(void)
{
    return now_us;
}

enum { LATE_MAX = 64 };

struct service {
    struct kek_rpc *late[LATE_MAX];
    size_t late_count, started, ended, answered;
};

/* Reads every byte of the message, so that one outside is seen. */
static unsigned sum(struct kek_bytes message)
{
    unsigned total = 0;
    for (size_t i = 0; i < message.len; i++) {
        total += message.data[i];
    }
    return total;
}

static void now(void *arg, struct kek_rpc *rpc, struct kek_bytes message)
{
    struct service *service = arg;
    service->started++;
    service->answered++;
    if (sum(message) % 7 == 6) {
        kek_rpc_fail(rpc, KEK_RPC_UNAVAILABLE, "not \x01 now %");
    } else {
        kek_rpc_reply(rpc, message);
    }
    (void)sum(message); /* still there until this returns */
}

static void forget(struct service *service, const struct kek_rpc *rpc)
{
    for (size_t i = 0; i < service->late_count; i++) {
        if (service->late[i] == rpc) {
            service->late[i] = service->late[--service->late_count];
            return;
        }
    }
    FUZZ_CHECK(!"a call ended that was not open");
}

static void ended(struct kek_rpc *rpc, enum kek_rpc_status status)
{
    struct service *service = rpc->state;
    FUZZ_CHECK(status != KEK_RPC_OK);
    service->ended++;
    forget(service, rpc);
}

static void later(void *arg, struct kek_rpc *rpc, struct kek_bytes message)
{
    struct service *service = arg;
    (void)sum(message);
    service->started++;
    if (service->late_count == LATE_MAX) {
        service->answered++;
        kek_rpc_fail(rpc, KEK_RPC_RESOURCE_EXHAUSTED, NULL);
        return;
    }
    rpc->state = service;
    rpc->ended = ended;
    service->late[service->late_count++] = rpc;
}

static void answer_one(struct service *service)
{
    if (service->late_count > 0) {
        struct kek_rpc *rpc = service->late[--service->late_count];
        service->answered++;
        kek_rpc_reply(rpc, kek_bytes("late", 4));
    }
}

static void rejected(void *arg, const struct kek_rpc_peer *peer, const char *path,
                     enum kek_rpc_status status, const char *message)
{
    (void)arg;
    (void)peer;
    FUZZ_CHECK(status != KEK_RPC_OK && message[0] != '\0');
    for (; *path != '\0'; path++) {
        FUZZ_CHECK(*path > ' ' && *path <= '~');
    }
}

static void wake(void *arg)
{
    (void)arg;
}

static void take_output(struct kek_grpc_session *session, size_t most)
{
    for (struct kek_bytes out = kek_grpc_session_output(session); out.len > 0;
         out = kek_grpc_session_output(session)) {
        kek_grpc_session_sent(session, out.len < most ? out.len : most);
    }
}

static void check_bounds(const struct kek_grpc_session *session)
{
    FUZZ_CHECK(session->call_count <= session->host->settings.max_streams);
    FUZZ_CHECK(session->buffered <= KEK_GRPC_BUFFERED_MAX);
    FUZZ_CHECK(session->out.len <= 4 * KEK_GRPC_OUTPUT_STEP);
}

static void receive(struct kek_grpc_session *session, const uint8_t *data, size_t len)
{
    uint8_t *exact = malloc(len == 0 ? 1 : len);
    FUZZ_CHECK(exact != NULL);
    memcpy(exact, data, len);
    struct kek_why why;
    if (kek_grpc_session_receive(session, kek_bytes(exact, len), &why) != KEK_OK) {
        FUZZ_CHECK(kek_grpc_session_finished(session));
    }
    free(exact);
    check_bounds(session);
}

static void converse(struct kek_grpc_session *session, struct service *service, const uint8_t *data,
                     size_t size, uint8_t choice)
{
    size_t step = choice >> 2 == 0 ? size : choice >> 2;
    if ((choice & 1) != 0) {
        receive(session, (const uint8_t *)PREFACE, sizeof PREFACE - 1);
    }
    for (size_t at = 0; at < size && !kek_grpc_session_finished(session); at += step) {
        receive(session, data + at, size - at < step ? size - at : step);
        if (at % 3 == 0) {
            answer_one(service);
        }
        if (at % 5 != 0) {
            take_output(session, at % 64 + 1);
        }
        now_us += 10000;
        if (kek_grpc_session_deadline(session) <= kek_clock_ms()) {
            kek_grpc_session_expire(session, kek_clock_ms());
        }
    }
    kek_grpc_session_drain(session);
    take_output(session, SIZE_MAX);
    answer_one(service);
    kek_grpc_session_abandon(session);
    take_output(session, SIZE_MAX);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static const struct kek_rpc_method methods[] = {{"/f.F/Now", now}, {"/f.F/Later", later}};
    static const struct kek_rpc_peer peer = {.uid = 1};
    if (size == 0) {
        return 0;
    }
    kek_clock_fake(fake_clock);
    struct service service = {.late_count = 0};
    const struct kek_grpc_settings settings = {
        .methods = methods,
        .method_count = 2,
        .service = &service,
        .rejected = rejected,
        .max_message = 1000,
        .max_streams = 20,
        .max_header_list = 500,
        .default_timeout_ms = 50,
    };
    struct kek_grpc_host host;
    FUZZ_CHECK(kek_grpc_host_init(&host, &settings, NULL) == KEK_OK);
    struct kek_grpc_session *session =
        kek_grpc_session_new(&host, &peer, (data[0] & 2) == 0, wake, NULL, NULL);
    FUZZ_CHECK(session != NULL);
    converse(session, &service, data + 1, size - 1, data[0]);
    kek_grpc_session_free(session);
    FUZZ_CHECK(service.late_count == 0);
    FUZZ_CHECK(service.started == service.answered + service.ended);
    FUZZ_CHECK(host.stats.calls_open == 0);
    kek_grpc_host_done(&host);
    return 0;
}
