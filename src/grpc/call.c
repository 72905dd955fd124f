#include "call.h"

#include <stdio.h>
#include <string.h>

#include "flow.h"
#include "kek/clock.h"

#define POOL_MAX 64u                 /* calls kept for use again, per server */
#define REPLY_KEPT 4096u             /* a larger buffer is not kept with them */
#define REPLY_MAX (4u * 1024 * 1024) /* what clients accept by default */

#define FIELD(field_name, field_value)                                          \
    {                                                                           \
        .name = (uint8_t *)(field_name), .namelen = sizeof(field_name) - 1,     \
        .value = (uint8_t *)(field_value), .valuelen = sizeof(field_value) - 1, \
        .flags = NGHTTP2_NV_FLAG_NO_COPY_NAME | NGHTTP2_NV_FLAG_NO_COPY_VALUE,  \
    }

/* The pool. */

static struct kek_grpc_call *take(struct kek_grpc_host *host)
{
    struct kek_grpc_call *call = host->spare;
    if (call == NULL) {
        call = calloc(1, sizeof *call);
        if (call != NULL) {
            kek_buf_init(&call->reply, KEK_GRPC_PREFIX + REPLY_MAX);
        }
        return call;
    }
    host->spare = call->next;
    host->spare_count--;
    return call;
}

static void destroy(struct kek_grpc_call *call)
{
    kek_grpc_message_done(&call->message);
    kek_buf_done(&call->reply);
    free(call);
}

static void give_back(struct kek_grpc_host *host, struct kek_grpc_call *call)
{
    if (host->spare_count >= POOL_MAX) {
        destroy(call);
        return;
    }
    kek_grpc_message_reset(&call->message);
    if (call->reply.cap > REPLY_KEPT) {
        kek_buf_done(&call->reply);
    } else {
        kek_buf_reset(&call->reply);
    }
    call->next = host->spare;
    host->spare = call;
    host->spare_count++;
}

void kek_grpc_pool_free(struct kek_grpc_host *host)
{
    while (host->spare != NULL) {
        struct kek_grpc_call *call = host->spare;
        host->spare = call->next;
        destroy(call);
    }
    host->spare_count = 0;
}

/* A call's life. */

static void begin(struct kek_grpc_call *call, struct kek_grpc_session *session, int32_t stream)
{
    call->session = session;
    call->stream = stream;
    call->state = CALL_HEAD;
    call->place = KEK_GRPC_NO_PLACE;
    call->timed = false;
    call->overdue = false;
    call->complete = false;
    call->reset_with = NGHTTP2_NO_ERROR;
    call->reply_at = 0;
    memset(&call->head, 0, offsetof(struct kek_grpc_head, path) + 1);
    call->rpc = (struct kek_rpc){
        .transport = &kek_grpc_transport,
        .peer = &session->peer,
        .started_us = session->now_us,
        .deadline_ms = session->now_us / 1000 + session->host->settings.default_timeout_ms,
    };
}

struct kek_grpc_call *kek_grpc_call_open(struct kek_grpc_session *session, int32_t stream)
{
    if (session->call_count >= session->host->settings.max_streams) {
        return NULL;
    }
    struct kek_grpc_call *call = take(session->host);
    if (call == NULL) {
        return NULL;
    }
    begin(call, session, stream);
    call->prev = NULL;
    call->next = session->calls;
    if (call->next != NULL) {
        call->next->prev = call;
    }
    session->calls = call;
    session->call_count++;
    session->host->stats.calls_total++;
    session->host->stats.calls_open++;
    return call;
}

static void answered(struct kek_grpc_call *call)
{
    if (call->state != CALL_ANSWERED) {
        call->state = CALL_ANSWERED;
        call->session->host->stats.calls_open--;
    }
}

void kek_grpc_call_drop_message(struct kek_grpc_call *call)
{
    call->session->buffered -= call->message.body.len;
    kek_grpc_message_reset(&call->message);
    kek_grpc_flow_release(call);
}

void kek_grpc_call_leave(struct kek_grpc_call *call, enum kek_rpc_status status)
{
    if (call->state != CALL_RUNNING) {
        return;
    }
    answered(call);
    if (call->rpc.ended != NULL) {
        call->rpc.ended(&call->rpc, status);
    }
}

void kek_grpc_call_close(struct kek_grpc_call *call)
{
    struct kek_grpc_session *session = call->session;
    kek_grpc_call_leave(call, KEK_RPC_CANCELLED);
    answered(call);
    kek_grpc_call_drop_message(call);
    kek_grpc_deadlines_remove(&session->deadlines, call);
    if (session->reading == call) {
        session->reading = NULL;
    }
    if (call->prev != NULL) {
        call->prev->next = call->next;
    } else {
        session->calls = call->next;
    }
    if (call->next != NULL) {
        call->next->prev = call->prev;
    }
    session->call_count--;
    give_back(session->host, call);
}

/* Answers. */

static const char *http_status_text(int http_status)
{
    switch (http_status) {
    case 400:
        return "400";
    case 405:
        return "405";
    case 415:
        return "415";
    default:
        return "200";
    }
}

static nghttp2_nv field(const char *name, const char *value, size_t value_len, uint8_t flags)
{
    return (nghttp2_nv){
        .name = (uint8_t *)name,
        .namelen = strlen(name),
        .value = (uint8_t *)value,
        .valuelen = value_len,
        .flags = (uint8_t)(NGHTTP2_NV_FLAG_NO_COPY_NAME | flags),
    };
}

void kek_grpc_call_fail(struct kek_grpc_call *call, int http_status, enum kek_rpc_status status,
                        const char *message)
{
    struct kek_grpc_session *session = call->session;
    answered(call);
    if (session->closed || session->broken) {
        return;
    }
    char encoded[KEK_GRPC_ENCODED_MAX];
    size_t encoded_len = message == NULL ? 0 : kek_grpc_message_encode(message, encoded);
    char number[16];
    int number_len = snprintf(number, sizeof number, "%d", (int)status);
    /* The message would only push better fields out of the compression's table. */
    const nghttp2_nv fields[] = {
        field(":status", http_status_text(http_status), 3, NGHTTP2_NV_FLAG_NO_COPY_VALUE),
        FIELD("content-type", "application/grpc"),
        field("grpc-status", number, (size_t)number_len, 0),
        field("grpc-message", encoded, encoded_len, NGHTTP2_NV_FLAG_NO_INDEX),
    };
    int rv = nghttp2_submit_response(session->http, call->stream, fields, encoded_len == 0 ? 3 : 4,
                                     NULL);
    kek_grpc_session_fault(session, rv);
}

void kek_grpc_call_refuse(struct kek_grpc_call *call, const struct kek_grpc_refusal *refusal)
{
    const struct kek_grpc_settings *settings = &call->session->host->settings;
    if (settings->rejected != NULL) {
        const char *path = call->head.method != NULL ? call->head.method->path : call->head.path;
        settings->rejected(settings->service, &call->session->peer, path, refusal->status,
                           refusal->message);
    }
    /* RFC 9113 section 8.1.1: a malformed request may be answered, and is a stream error. */
    call->reset_with = refusal->http_status == 400 ? NGHTTP2_PROTOCOL_ERROR : NGHTTP2_NO_ERROR;
    kek_grpc_call_drop_message(call);
    kek_grpc_call_fail(call, refusal->http_status, refusal->status, refusal->message);
}

/* How much of the reply goes into this DATA frame; the last one is followed by the trailers. */
static ssize_t read_reply(nghttp2_session *http, int32_t stream, uint8_t *room, size_t length,
                          uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    static const nghttp2_nv trailers[] = {FIELD("grpc-status", "0")};
    (void)room;
    (void)arg;
    const struct kek_grpc_call *call = source->ptr;
    size_t left = call->reply.len - call->reply_at;
    *flags |= NGHTTP2_DATA_FLAG_NO_COPY;
    if (left > length) {
        return (ssize_t)length;
    }
    *flags |= NGHTTP2_DATA_FLAG_EOF | NGHTTP2_DATA_FLAG_NO_END_STREAM;
    if (nghttp2_submit_trailer(http, stream, trailers, 1) != 0) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    return (ssize_t)left;
}

static void woken(struct kek_grpc_session *session)
{
    if (session->busy == 0) {
        session->wake(session->arg);
    }
}

static void transport_error(struct kek_rpc *rpc, enum kek_rpc_status status, const char *message)
{
    struct kek_grpc_call *call = (struct kek_grpc_call *)rpc;
    if (call->state != CALL_RUNNING) {
        return;
    }
    kek_grpc_call_fail(call, 200, status == KEK_RPC_OK ? KEK_RPC_INTERNAL : status, message);
    woken(call->session);
}

static void transport_reply(struct kek_rpc *rpc, struct kek_bytes message)
{
    static const nghttp2_nv head[] = {
        FIELD(":status", "200"),
        FIELD("content-type", "application/grpc"),
    };
    struct kek_grpc_call *call = (struct kek_grpc_call *)rpc;
    struct kek_grpc_session *session = call->session;
    if (call->state != CALL_RUNNING) {
        return;
    }
    if (message.len > REPLY_MAX) {
        transport_error(rpc, KEK_RPC_INTERNAL, "the reply is too large");
        return;
    }
    const uint8_t prefix[KEK_GRPC_PREFIX] = {0, (uint8_t)(message.len >> 24),
                                             (uint8_t)(message.len >> 16),
                                             (uint8_t)(message.len >> 8), (uint8_t)message.len};
    uint8_t *at = kek_buf_reserve(&call->reply, sizeof prefix + message.len, NULL);
    if (at == NULL) {
        transport_error(rpc, KEK_RPC_RESOURCE_EXHAUSTED, "out of memory");
        return;
    }
    memcpy(at, prefix, sizeof prefix);
    if (message.len > 0) {
        memcpy(at + sizeof prefix, message.data, message.len);
    }
    call->reply.len += sizeof prefix + message.len;
    answered(call);
    if (session->closed || session->broken) {
        return;
    }
    const nghttp2_data_provider provider = {.source = {.ptr = call}, .read_callback = read_reply};
    kek_grpc_session_fault(
        session, nghttp2_submit_response(session->http, call->stream, head, 2, &provider));
    woken(session);
}

const struct kek_rpc_transport kek_grpc_transport = {
    .reply = transport_reply,
    .error = transport_error,
};
