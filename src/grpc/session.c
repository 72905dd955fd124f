#include "parts.h"

#include <string.h>

#include "call.h"
#include "flow.h"
#include "kek/clock.h"

const uint8_t kek_grpc_drain_ping[8] = "kekdrain";

static int submit_preface(struct kek_grpc_session *session)
{
    const struct kek_grpc_settings *settings = &session->host->settings;
    /* Not SETTINGS_NO_RFC7540_PRIORITIES: with it, libnghttp2 1.52 frees an item twice when it has no
     * memory to queue it (session_ob_data_push). */
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings->max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, KEK_GRPC_SHARE},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings->max_header_list},
    };
    return nghttp2_submit_settings(session->http, NGHTTP2_FLAG_NONE, entries,
                                   sizeof entries / sizeof entries[0]);
}

struct kek_grpc_session *kek_grpc_session_new(struct kek_grpc_host *host,
                                              const struct kek_rpc_peer *peer, bool allowed,
                                              void (*wake)(void *arg), void *arg,
                                              struct kek_why *why)
{
    KEK_AUTO(kek_grpc_session) session = calloc(1, sizeof *session);
    if (session == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    session->host = host;
    session->peer = *peer;
    session->allowed = allowed;
    session->wake = wake;
    session->arg = arg;
    session->now_us = kek_clock_us();
    session->preface_by_ms = session->now_us / 1000 + KEK_GRPC_PREFACE_MS;
    session->stall_by_ms = KEK_NEVER;
    session->goaway_by_ms = KEK_NEVER;
    kek_buf_init(&session->out, KEK_GRPC_OUTPUT_MAX);
    if (!kek_grpc_deadlines_init(&session->deadlines, host->settings.max_streams) ||
        nghttp2_session_server_new2(&session->http, host->callbacks, session, host->options) != 0 ||
        submit_preface(session) != 0) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    kek_grpc_output_make(session);
    return KEK_STEAL(session);
}

static uint64_t earlier(uint64_t a, uint64_t b)
{
    return a < b ? a : b;
}

uint64_t kek_grpc_session_deadline(const struct kek_grpc_session *session)
{
    if (session->broken || session->closed) {
        return KEK_NEVER;
    }
    const struct kek_grpc_call *first = kek_grpc_deadlines_first(&session->deadlines);
    uint64_t due = first == NULL ? KEK_NEVER : first->rpc.deadline_ms;
    due = earlier(due, session->preface_by_ms);
    due = earlier(due, session->stall_by_ms);
    return earlier(due, session->goaway_by_ms);
}

static void expire_call(struct kek_grpc_call *call)
{
    struct kek_grpc_session *session = call->session;
    if (call->state == CALL_RUNNING) {
        kek_grpc_call_leave(call, KEK_RPC_DEADLINE_EXCEEDED);
        kek_grpc_call_fail(call, 200, KEK_RPC_DEADLINE_EXCEEDED, "the deadline has passed");
    } else if (call->state == CALL_ANSWERED && !call->overdue) {
        /* The answer may have been made in this very turn of the loop, for the same deadline: a reset
         * now would overtake it. */
        call->overdue = true;
        call->rpc.deadline_ms = kek_clock_ms() + KEK_GRPC_OVERDUE_MS;
        kek_grpc_deadlines_add(&session->deadlines, call);
    } else if (call->state == CALL_ANSWERED) {
        /* The client does not take its answer. */
        kek_grpc_session_fault(session, nghttp2_submit_rst_stream(session->http, NGHTTP2_FLAG_NONE,
                                                                  call->stream, NGHTTP2_CANCEL));
    } else {
        struct kek_grpc_refusal refusal;
        kek_grpc_refuse(&refusal, 200, KEK_RPC_DEADLINE_EXCEEDED,
                        "the request was not complete before its deadline");
        kek_grpc_call_refuse(call, &refusal);
    }
}

void kek_grpc_session_expire(struct kek_grpc_session *session, uint64_t now_ms)
{
    if (session->broken || session->closed) {
        return;
    }
    if (session->preface_by_ms <= now_ms || session->stall_by_ms <= now_ms) {
        kek_grpc_session_break(session, session->preface_by_ms <= now_ms
                                            ? "its HTTP/2 preface did not come in time"
                                            : "it does not read what it is sent");
        session->preface_by_ms = KEK_NEVER;
        session->stall_by_ms = KEK_NEVER;
        return;
    }
    session->busy++;
    if (session->goaway_by_ms <= now_ms) {
        kek_grpc_session_goaway(session);
    }
    for (;;) {
        struct kek_grpc_call *call = kek_grpc_deadlines_first(&session->deadlines);
        if (call == NULL || call->rpc.deadline_ms > now_ms || session->closed) {
            break;
        }
        kek_grpc_deadlines_remove(&session->deadlines, call);
        expire_call(call);
    }
    session->busy--;
}

void kek_grpc_session_goaway(struct kek_grpc_session *session)
{
    session->goaway_by_ms = KEK_NEVER;
    int32_t last = nghttp2_session_get_last_proc_stream_id(session->http);
    kek_grpc_session_fault(session, nghttp2_submit_goaway(session->http, NGHTTP2_FLAG_NONE, last,
                                                          NGHTTP2_NO_ERROR, NULL, 0));
}

void kek_grpc_session_drain(struct kek_grpc_session *session)
{
    if (session->draining || session->broken || session->closed) {
        return;
    }
    session->draining = true;
    if (!session->ready) {
        /* It may have been told our SETTINGS, and have sent a call that is not read any more. */
        kek_grpc_session_goaway(session);
        return;
    }
    /* RFC 9113 section 6.8: the notice, a round trip, and only then the last stream's number. */
    kek_grpc_session_fault(session, nghttp2_submit_shutdown_notice(session->http));
    kek_grpc_session_fault(
        session, nghttp2_submit_ping(session->http, NGHTTP2_FLAG_NONE, kek_grpc_drain_ping));
    session->goaway_by_ms = kek_clock_ms() + KEK_GRPC_GOAWAY_MS;
}

void kek_grpc_session_abandon(struct kek_grpc_session *session)
{
    if (session->broken || session->closed) {
        return;
    }
    session->busy++;
    for (struct kek_grpc_call *call = session->calls; call != NULL && !session->closed;
         call = call->next) {
        if (call->state == CALL_ANSWERED) {
            continue;
        }
        kek_grpc_call_leave(call, KEK_RPC_UNAVAILABLE);
        kek_grpc_call_fail(call, 200, KEK_RPC_UNAVAILABLE, "the server is stopping");
    }
    kek_grpc_session_goaway(session);
    session->busy--;
}

const char *kek_grpc_session_cut(const struct kek_grpc_session *session)
{
    return session->cut;
}

bool kek_grpc_session_finished(const struct kek_grpc_session *session)
{
    return session->broken || session->closed ||
           (session->out.len == session->out_at && nghttp2_session_want_read(session->http) == 0 &&
            nghttp2_session_want_write(session->http) == 0);
}

void kek_grpc_session_close(struct kek_grpc_session *session)
{
    if (session->closed) {
        return;
    }
    session->closed = true;
    for (struct kek_grpc_call *call = session->calls; call != NULL; call = call->next) {
        kek_grpc_call_leave(call, KEK_RPC_CANCELLED);
    }
}

void kek_grpc_session_free(struct kek_grpc_session *session)
{
    if (session == NULL) {
        return;
    }
    kek_grpc_session_close(session);
    while (session->calls != NULL) {
        kek_grpc_call_close(session->calls);
    }
    nghttp2_session_del(session->http);
    kek_grpc_deadlines_done(&session->deadlines);
    kek_buf_done(&session->out);
    free(session);
}
