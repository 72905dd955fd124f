/* What nghttp2 tells while it writes, and the buffer that it writes to. */
#include "parts.h"

#include <string.h>

#include "call.h"
#include "kek/clock.h"

#define OUTPUT_KEPT (16u * 1024) /* a larger empty buffer is given back */

static int on_frame_send(nghttp2_session *http, const nghttp2_frame *frame, void *arg)
{
    struct kek_grpc_session *session = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR &&
        !session->left) {
        session->host->stats.protocol_errors++;
        session->cut =
            session->cut == NULL ? nghttp2_http2_strerror(frame->goaway.error_code) : session->cut;
    }
    if (frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
        return 0;
    }
    /* The answer is complete: a client that still sends is told to stop (RFC 9113 section 8.1). */
    const struct kek_grpc_call *call = kek_grpc_call_of(http, frame->hd.stream_id);
    if (call == NULL || call->complete) {
        return 0;
    }
    return nghttp2_submit_rst_stream(http, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                     call->reset_with);
}

static size_t unsent(const struct kek_grpc_session *session)
{
    return session->out.len - session->out_at;
}

/* nghttp2 never holds a reply: it may be a plaintext, and only our own buffers are wiped.  Between two
 * frames of this kind nghttp2_session_mem_send() does not return, so it is told here when to. */
static int send_data(nghttp2_session *http, nghttp2_frame *frame, const uint8_t *header,
                     size_t length, nghttp2_data_source *source, void *arg)
{
    enum { FRAME_HEADER = 9 };
    (void)http;
    (void)frame;
    struct kek_grpc_session *session = arg;
    struct kek_grpc_call *call = source->ptr;
    if (unsent(session) >= KEK_GRPC_OUTPUT_STEP) {
        return NGHTTP2_ERR_WOULDBLOCK;
    }
    uint8_t *at = kek_buf_reserve(&session->out, FRAME_HEADER + length, NULL);
    if (at == NULL) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    memcpy(at, header, FRAME_HEADER);
    memcpy(at + FRAME_HEADER, call->reply.data + call->reply_at, length);
    session->out.len += FRAME_HEADER + length;
    call->reply_at += length;
    return 0;
}

void kek_grpc_output_register(nghttp2_session_callbacks *callbacks)
{
    nghttp2_session_callbacks_set_on_frame_send_callback(callbacks, on_frame_send);
    nghttp2_session_callbacks_set_send_data_callback(callbacks, send_data);
}

void kek_grpc_output_make(struct kek_grpc_session *session)
{
    while (!session->broken && unsent(session) < KEK_GRPC_OUTPUT_STEP) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(session->http, &data);
        if (n == 0) {
            return;
        }
        if (n < 0) {
            kek_grpc_session_break(session, nghttp2_strerror((int)n));
        } else if (kek_buf_append(&session->out, kek_bytes(data, (size_t)n), NULL) != KEK_OK) {
            kek_grpc_session_break(session, "no memory for what is to be sent");
        }
    }
}

struct kek_bytes kek_grpc_session_output(struct kek_grpc_session *session)
{
    if (session->closed) {
        return kek_bytes(NULL, 0);
    }
    session->busy++;
    kek_grpc_output_make(session);
    session->busy--;
    if (session->out.len == session->out_at) {
        return kek_bytes(NULL, 0);
    }
    return kek_bytes(session->out.data + session->out_at, session->out.len - session->out_at);
}

/* A peer that takes some and never all must not fill the buffer with what it has. */
static void drop_sent(struct kek_grpc_session *session)
{
    size_t left = session->out.len - session->out_at;
    memmove(session->out.data, session->out.data + session->out_at, left);
    kek_wipe(session->out.data + left, session->out_at);
    session->out.len = left;
    session->out_at = 0;
}

void kek_grpc_session_sent(struct kek_grpc_session *session, size_t len)
{
    session->out_at += len;
    session->stall_by_ms = KEK_NEVER;
    if (session->out_at < session->out.len) {
        if (session->out_at >= KEK_GRPC_OUTPUT_STEP) {
            drop_sent(session);
        }
        return;
    }
    session->out_at = 0;
    if (session->out.cap > OUTPUT_KEPT) {
        kek_buf_done(&session->out);
    } else {
        kek_buf_reset(&session->out);
    }
}

void kek_grpc_session_blocked(struct kek_grpc_session *session)
{
    if (session->stall_by_ms == KEK_NEVER) {
        session->stall_by_ms = kek_clock_ms() + KEK_GRPC_STALL_MS;
    }
}
