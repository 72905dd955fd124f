#include "flow.h"

static size_t declared(const struct kek_grpc_call *call)
{
    return KEK_GRPC_PREFIX + call->message.declared;
}

static void consume(struct kek_grpc_call *call, size_t len)
{
    nghttp2_session *http = call->session->http;
    kek_grpc_session_fault(call->session, nghttp2_session_consume_stream(http, call->stream, len));
}

static void grant(struct kek_grpc_call *call)
{
    struct kek_grpc_session *session = call->session;
    call->flow = FLOW_OPEN;
    session->waiting--;
    call->reserved = declared(call);
    session->reserved += call->reserved;
    consume(call, call->held);
    kek_grpc_session_fault(
        session, nghttp2_session_set_local_window_size(session->http, NGHTTP2_FLAG_NONE,
                                                       call->stream, (int32_t)call->reserved));
}

static struct kek_grpc_call *longest_waiting(const struct kek_grpc_session *session)
{
    struct kek_grpc_call *oldest = NULL;
    for (struct kek_grpc_call *call = session->calls; call != NULL; call = call->next) {
        oldest = call->flow == FLOW_WAITS ? call : oldest;
    }
    return oldest;
}

/* Nobody passes the first one, so that a long message is not kept waiting by shorter ones. */
static void grant_what_fits(struct kek_grpc_session *session)
{
    while (session->waiting > 0 && session->acked && !session->closed && !session->broken) {
        struct kek_grpc_call *call = longest_waiting(session);
        if (session->reserved > 0 && session->reserved + declared(call) > KEK_GRPC_RESERVED_MAX) {
            return;
        }
        grant(call);
    }
}

void kek_grpc_flow_read(struct kek_grpc_call *call, size_t len, bool last)
{
    struct kek_grpc_session *session = call->session;
    if (last) {
        return;
    }
    if (call->flow == FLOW_OPEN) {
        consume(call, len);
        return;
    }
    call->held += len;
    if (call->flow == FLOW_WAITS || call->message.prefix_len < KEK_GRPC_PREFIX) {
        return;
    }
    if (declared(call) <= KEK_GRPC_SHARE) {
        call->flow = FLOW_OPEN;
        consume(call, call->held);
        return;
    }
    call->flow = FLOW_WAITS;
    session->waiting++;
    grant_what_fits(session);
}

void kek_grpc_flow_begin(struct kek_grpc_session *session)
{
    if (session->acked) {
        return;
    }
    session->acked = true;
    kek_grpc_session_fault(session,
                           nghttp2_session_set_local_window_size(session->http, NGHTTP2_FLAG_NONE,
                                                                 0, KEK_GRPC_CONNECTION_WINDOW));
    grant_what_fits(session);
}

void kek_grpc_flow_release(struct kek_grpc_call *call)
{
    struct kek_grpc_session *session = call->session;
    session->waiting -= call->flow == FLOW_WAITS ? 1 : 0;
    session->reserved -= call->reserved;
    call->flow = FLOW_NEW;
    call->reserved = 0;
    call->held = 0;
    grant_what_fits(session);
}
