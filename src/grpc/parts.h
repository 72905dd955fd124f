/*
 * What a session is made of, for the files that are one: input.c is told by nghttp2 what it reads,
 * output.c what it writes, host.c binds the two to it, session.c is a session's life, call.c one stream
 * of it.  Private to this room.
 */
#ifndef KEK_GRPC_PARTS_H
#define KEK_GRPC_PARTS_H

#include "deadlines.h"
#include "session.h"

/* What `out` may hold: a step that is sent, one that is not, and what a frame begun within it adds. */
#define KEK_GRPC_OUTPUT_MAX (4 * KEK_GRPC_OUTPUT_STEP)

/* The opaque data of the PING whose answer says that the notice of a drain has arrived. */
extern const uint8_t kek_grpc_drain_ping[8];

struct kek_grpc_session {
    struct kek_grpc_host *host;
    nghttp2_session *http;
    struct kek_rpc_peer peer;
    bool allowed;
    bool ready;      /* the client's preface is complete */
    bool acked;      /* the client goes by our SETTINGS */
    bool draining;   /* the notice has been sent */
    bool left;       /* the client has said that it leaves */
    bool broken;     /* nothing more can be done on this connection */
    const char *cut; /* why we end it, NULL while we do not */
    bool closed;     /* kek_grpc_session_close() was here */
    unsigned busy;   /* inside a call of ours: the owner looks at the output by itself */
    void (*wake)(void *arg);
    void *arg;
    struct kek_grpc_call *reading; /* whose first header block is being read, else NULL */
    struct kek_grpc_call *calls;   /* the untimed ones first */
    size_t call_count;
    struct kek_grpc_deadlines deadlines;
    size_t unconsumed;      /* bytes of DATA in this batch of input */
    size_t buffered;        /* request bytes in `calls` */
    size_t reserved;        /* bytes that calls among them may send past their share */
    unsigned waiting;       /* calls among them that wait to reserve some */
    uint64_t now_us;        /* when this batch of input came */
    uint64_t preface_by_ms; /* these three: KEK_NEVER when not running */
    uint64_t stall_by_ms;
    uint64_t goaway_by_ms;
    struct kek_buf out;
    size_t out_at; /* sent of it */
};

/* The first reason is what it is cut for; `why` is a constant. */
static inline void kek_grpc_session_break(struct kek_grpc_session *session, const char *why)
{
    session->broken = true;
    session->cut = session->cut == NULL ? why : session->cut;
}

/* What nghttp2 returned: a fatal code ends the connection. */
static inline void kek_grpc_session_fault(struct kek_grpc_session *session, int code)
{
    if (nghttp2_is_fatal(code)) {
        kek_grpc_session_break(session, nghttp2_strerror(code));
    }
}

/* Their callbacks. */
void kek_grpc_input_register(nghttp2_session_callbacks *callbacks);
void kek_grpc_output_register(nghttp2_session_callbacks *callbacks);

/* Takes from nghttp2 what there is to write, up to a step of it. */
void kek_grpc_output_make(struct kek_grpc_session *session);

/* The last stream's number: what comes after it is not processed. */
void kek_grpc_session_goaway(struct kek_grpc_session *session);

#endif
