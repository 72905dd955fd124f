/*
 * One call: a stream of a session, from its first header field to the stream's end.
 *
 * HEAD, then MESSAGE, then RUNNING (its method has it; the service's kek_rpc exists only here), then
 * ANSWERED until nghttp2 closes the stream.  Every way out of RUNNING goes through
 * kek_grpc_call_leave(), so it happens once.  Private to this room.
 */
#ifndef KEK_GRPC_CALL_H
#define KEK_GRPC_CALL_H

#include "deadlines.h"
#include "message.h"
#include "parts.h"

enum kek_grpc_state { CALL_HEAD = 0, CALL_MESSAGE, CALL_RUNNING, CALL_ANSWERED };

/* May its peer send the message: nothing of it is known yet, it waits for room, or yes. */
enum kek_grpc_flow { FLOW_NEW = 0, FLOW_WAITS, FLOW_OPEN };

struct kek_grpc_call {
    struct kek_rpc rpc; /* first: a service's kek_rpc is its call */
    struct kek_grpc_session *session;
    struct kek_grpc_call *prev, *next; /* the session's, newest first; in the pool: next alone */
    size_t place;                      /* in the session's deadlines */
    int32_t stream;
    enum kek_grpc_state state;
    bool overdue;         /* answered, and its deadline has passed */
    bool timed;           /* has been among the deadlines */
    bool complete;        /* the client has ended its side */
    uint32_t reset_with;  /* if it has not by the end of the answer */
    size_t reply_at;      /* bytes of `reply` that are in the output */
    struct kek_buf reply; /* with its prefix */
    struct kek_grpc_head head;
    struct kek_grpc_message message;
    enum kek_grpc_flow flow;
    size_t held; /* bytes read of its stream before the flow was open: its window is less by them */
    size_t reserved; /* bytes of the session's; 0: it needs no more than its share */
};

extern const struct kek_rpc_transport kek_grpc_transport;

/* NULL: stream 0, or one that has no call. */
static inline struct kek_grpc_call *kek_grpc_call_of(nghttp2_session *http, int32_t stream)
{
    return stream == 0 ? NULL : nghttp2_session_get_stream_user_data(http, stream);
}

/* Opens a call on a stream whose first HEADERS has begun; NULL: out of memory or too many. */
struct kek_grpc_call *kek_grpc_call_open(struct kek_grpc_session *session, int32_t stream);
void kek_grpc_call_close(struct kek_grpc_call *call); /* the stream is gone */

/* Out of RUNNING without an answer: tells the service. Anything else: nothing. */
void kek_grpc_call_leave(struct kek_grpc_call *call, enum kek_rpc_status status);

/* Wipes what has come of its request. */
void kek_grpc_call_drop_message(struct kek_grpc_call *call);

/* Answers with an error a call that no method has seen, and reports it. */
void kek_grpc_call_refuse(struct kek_grpc_call *call, const struct kek_grpc_refusal *refusal);

/* Answers with an error a call that its service has left or never seen. */
void kek_grpc_call_fail(struct kek_grpc_call *call, int http_status, enum kek_rpc_status status,
                        const char *message);

void kek_grpc_pool_free(struct kek_grpc_host *host);

#endif
