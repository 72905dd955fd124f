/* What nghttp2 tells while it reads. */
#include "parts.h"

#include <string.h>

#include "call.h"
#include "flow.h"
#include "kek/clock.h"

static int on_begin_headers(nghttp2_session *http, const nghttp2_frame *frame, void *arg)
{
    struct kek_grpc_session *session = arg;
    if (session->closed) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    session->reading = NULL;
    if (frame->headers.cat != NGHTTP2_HCAT_REQUEST) {
        return 0;
    }
    int32_t stream = frame->hd.stream_id;
    struct kek_grpc_call *call = kek_grpc_call_open(session, stream);
    if (call == NULL) {
        return nghttp2_submit_rst_stream(http, NGHTTP2_FLAG_NONE, stream, NGHTTP2_REFUSED_STREAM);
    }
    session->reading = call;
    return nghttp2_session_set_stream_user_data(http, stream, call);
}

static int on_header(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    const struct kek_grpc_session *session = arg;
    (void)http;
    (void)frame;
    (void)flags;
    if (session->reading != NULL) {
        kek_grpc_head_field(&session->reading->head, &session->host->settings,
                            kek_bytes(name, name_len), kek_bytes(value, value_len));
    }
    return 0;
}

static void refuse_as_malformed(struct kek_grpc_call *call, const char *what)
{
    struct kek_grpc_refusal refusal;
    kek_grpc_refuse(&refusal, 400, KEK_RPC_INVALID_ARGUMENT, "malformed request: %s", what);
    kek_grpc_call_refuse(call, &refusal);
}

static void head_complete(struct kek_grpc_call *call)
{
    struct kek_grpc_session *session = call->session;
    const struct kek_grpc_settings *settings = &session->host->settings;
    KEK_UNFILLED struct kek_grpc_refusal refusal;
    uint64_t timeout_ms;
    bool good = kek_grpc_head_check(&call->head, settings, &timeout_ms, &refusal);
    if (!session->allowed && (good || refusal.http_status == 200)) {
        good = kek_grpc_refuse(&refusal, 200, KEK_RPC_PERMISSION_DENIED,
                               "uid %lu is not allowed (allow_uids)",
                               (unsigned long)session->peer.uid);
    }
    if (!good) {
        kek_grpc_call_refuse(call, &refusal);
        return;
    }
    /* If its header block came in pieces, it is among the deadlines already, by the default's. */
    kek_grpc_deadlines_remove(&session->deadlines, call);
    call->rpc.deadline_ms = call->rpc.started_us / 1000 + timeout_ms;
    if (call->timed) {
        kek_grpc_deadlines_add(&session->deadlines, call);
    }
    call->state = CALL_MESSAGE;
}

static void request_complete(struct kek_grpc_call *call)
{
    struct kek_grpc_session *session = call->session;
    call->complete = true;
    if (call->state != CALL_MESSAGE) {
        return;
    }
    KEK_UNFILLED struct kek_grpc_refusal refusal;
    if (!kek_grpc_message_end(&call->message, &refusal)) {
        kek_grpc_call_refuse(call, &refusal);
        return;
    }
    call->state = CALL_RUNNING;
    call->head.method->start(session->host->settings.service, &call->rpc,
                             kek_buf_bytes(&call->message.body));
    kek_grpc_call_drop_message(call);
}

static int on_data_chunk(nghttp2_session *http, uint8_t flags, int32_t stream, const uint8_t *data,
                         size_t len, void *arg)
{
    struct kek_grpc_session *session = arg;
    struct kek_grpc_call *call = kek_grpc_call_of(http, stream);
    if (session->closed) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    session->unconsumed += len;
    if (call == NULL || call->state != CALL_MESSAGE) {
        return 0;
    }
    KEK_UNFILLED struct kek_grpc_refusal refusal;
    size_t before = call->message.body.len;
    bool good = kek_grpc_message_feed(&call->message, session->host->settings.max_message,
                                      kek_bytes(data, len), &refusal);
    session->buffered += call->message.body.len - before;
    if (good && session->buffered > KEK_GRPC_BUFFERED_MAX) {
        good = kek_grpc_refuse(&refusal, 200, KEK_RPC_RESOURCE_EXHAUSTED,
                               "unfinished requests on this connection are over %u bytes",
                               (unsigned)KEK_GRPC_BUFFERED_MAX);
    }
    if (good) {
        kek_grpc_flow_read(call, len, (flags & NGHTTP2_FLAG_END_STREAM) != 0);
    } else {
        kek_grpc_call_refuse(call, &refusal);
    }
    return 0;
}

static void on_headers(const nghttp2_frame *frame, struct kek_grpc_call *call)
{
    bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    if (call->state == CALL_HEAD) {
        head_complete(call);
    } else if (call->state == CALL_MESSAGE && !last) {
        refuse_as_malformed(call, "header fields in the middle of it");
    }
    if (last) {
        request_complete(call);
    }
}

static int on_frame_recv(nghttp2_session *http, const nghttp2_frame *frame, void *arg)
{
    struct kek_grpc_session *session = arg;
    if (session->closed) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    struct kek_grpc_call *call = kek_grpc_call_of(http, frame->hd.stream_id);
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
        if (call != NULL) {
            on_headers(frame, call);
        }
        break;
    case NGHTTP2_DATA:
        if (call != NULL && (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0) {
            request_complete(call);
        }
        break;
    case NGHTTP2_SETTINGS:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
            session->ready = true;
            session->preface_by_ms = KEK_NEVER;
        } else {
            kek_grpc_flow_begin(session);
        }
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && session->goaway_by_ms != KEK_NEVER &&
            memcmp(frame->ping.opaque_data, kek_grpc_drain_ping, sizeof kek_grpc_drain_ping) == 0) {
            kek_grpc_session_goaway(session);
        }
        break;
    case NGHTTP2_RST_STREAM:
        session->host->stats.resets++;
        break;
    default:
        break;
    }
    /* A method may have closed this session. */
    return session->closed ? NGHTTP2_ERR_CALLBACK_FAILURE : 0;
}

static int on_stream_close(nghttp2_session *http, int32_t stream, uint32_t error_code, void *arg)
{
    (void)arg;
    (void)error_code;
    struct kek_grpc_call *call = kek_grpc_call_of(http, stream);
    if (call != NULL) {
        kek_grpc_call_close(call);
    }
    return 0;
}

/* grpc-go 1.79 closes with a GOAWAY that names its own last stream, where the number of one of ours belongs
 * (RFC 9113 section 6.8).  nghttp2 calls that a protocol error; it is a goodbye. */
static int on_invalid_frame(nghttp2_session *http, const nghttp2_frame *frame, int code, void *arg)
{
    struct kek_grpc_session *session = arg;
    (void)http;
    (void)code;
    session->left = session->left || (frame->hd.type == NGHTTP2_GOAWAY &&
                                      frame->goaway.error_code == NGHTTP2_NO_ERROR);
    return 0;
}

void kek_grpc_input_register(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_begin_headers_callback(callbacks, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame_recv);
    nghttp2_session_callbacks_set_on_invalid_frame_recv_callback(callbacks, on_invalid_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_stream_close);
}

/* Calls that survived their first turn wait for something: from now on they have a timer. */
static void time_new_calls(struct kek_grpc_session *session)
{
    for (struct kek_grpc_call *call = session->calls; call != NULL && !call->timed;
         call = call->next) {
        call->timed = true;
        kek_grpc_deadlines_add(&session->deadlines, call);
    }
}

enum kek_rc kek_grpc_session_receive(struct kek_grpc_session *session, struct kek_bytes bytes,
                                     struct kek_why *why)
{
    if (session->broken || session->closed) {
        return kek_fail(why, KEK_INVALID, "the connection has ended");
    }
    session->busy++;
    session->now_us = kek_clock_us();
    ssize_t n = nghttp2_session_mem_recv(session->http, bytes.data, bytes.len);
    if (n < 0) {
        kek_grpc_session_break(session, nghttp2_strerror((int)n));
    } else if (!session->closed) {
        /* Once for all: the connection's window is no limit (flow.h). */
        kek_grpc_session_fault(
            session, nghttp2_session_consume_connection(session->http, session->unconsumed));
        session->unconsumed = 0;
        kek_grpc_output_make(session);
        time_new_calls(session);
    }
    session->busy--;
    if (session->closed) {
        return KEK_OK;
    }
    if (n >= 0) {
        return KEK_OK;
    }
    bool memory = n == NGHTTP2_ERR_NOMEM;
    session->host->stats.protocol_errors += memory ? 0 : 1;
    return kek_fail_native(why, memory ? KEK_NO_MEMORY : KEK_INVALID, KEK_NATIVE_NGHTTP2,
                           (unsigned long)-n, "%s", nghttp2_strerror((int)n));
}

bool kek_grpc_session_wants_input(const struct kek_grpc_session *session)
{
    return !session->broken && !session->closed &&
           nghttp2_session_get_outbound_queue_size(session->http) <= KEK_GRPC_QUEUE_MAX &&
           nghttp2_session_want_read(session->http) != 0;
}
