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
#include "session.h"

enum kek_grpc_state { CALL_HEAD = 0, CALL_MESSAGE, CALL_RUNNING, CALL_ANSWERED };

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
};

struct kek_grpc_session {
    struct kek_grpc_host *host;
    nghttp2_session *http;
    struct kek_rpc_peer peer;
    bool allowed;
    bool ready;    /* the client's preface is complete */
    bool draining; /* the notice has been sent */
    bool broken;   /* nothing more can be done on this connection */
    bool closed;   /* kek_grpc_session_close() was here */
    unsigned busy; /* inside a call of ours: the owner looks at the output by itself */
    void (*wake)(void *arg);
    void *arg;
    struct kek_grpc_call *reading; /* whose first header block is being read, else NULL */
    struct kek_grpc_call *calls;   /* the untimed ones first */
    size_t call_count;
    struct kek_grpc_deadlines deadlines;
    size_t buffered;        /* request bytes in `calls` */
    uint64_t now_us;        /* when this batch of input came */
    uint64_t preface_by_ms; /* these three: KEK_NEVER when not running */
    uint64_t stall_by_ms;
    uint64_t goaway_by_ms;
    struct kek_buf out;
    size_t out_at; /* sent of it */
};

/* What nghttp2 returned: a fatal code ends the connection. */
static inline void kek_grpc_session_fault(struct kek_grpc_session *session, int code)
{
    if (nghttp2_is_fatal(code)) {
        session->broken = true;
    }
}

extern const struct kek_rpc_transport kek_grpc_transport;

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

/* For a session's callbacks: puts the payload of a DATA frame into the output. */
int kek_grpc_call_send_data(nghttp2_session *http, nghttp2_frame *frame, const uint8_t *header,
                            size_t length, nghttp2_data_source *source, void *arg);

void kek_grpc_pool_free(struct kek_grpc_host *host);

#endif
