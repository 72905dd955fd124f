#include "session.h"

#include <string.h>

#include "call.h"
#include "kek/clock.h"

/* What `out` may hold: a step that is sent, one that is not, and what a frame begun within it adds. */
#define OUTPUT_MAX (4 * KEK_GRPC_OUTPUT_STEP)
#define OUTPUT_KEPT (16u * 1024)        /* a larger empty buffer is given back */
#define CONNECTION_WINDOW (1024 * 1024) /* bytes; seldom updated, so seldom a frame */

static const uint8_t drain_ping[8] = "kekdrain";

/* What nghttp2 tells while it reads. */

static struct kek_grpc_call *call_of(nghttp2_session *http, int32_t stream)
{
    return stream == 0 ? NULL : nghttp2_session_get_stream_user_data(http, stream);
}

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
    struct kek_grpc_refusal refusal;
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
    struct kek_grpc_refusal refusal;
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
    (void)flags;
    struct kek_grpc_call *call = call_of(http, stream);
    if (session->closed) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    if (call == NULL || call->state != CALL_MESSAGE) {
        return 0;
    }
    struct kek_grpc_refusal refusal;
    size_t before = call->message.body.len;
    bool good = kek_grpc_message_feed(&call->message, session->host->settings.max_message,
                                      kek_bytes(data, len), &refusal);
    session->buffered += call->message.body.len - before;
    if (good && session->buffered > KEK_GRPC_BUFFERED_MAX) {
        good = kek_grpc_refuse(&refusal, 200, KEK_RPC_RESOURCE_EXHAUSTED,
                               "unfinished requests on this connection are over %u bytes",
                               (unsigned)KEK_GRPC_BUFFERED_MAX);
    }
    if (!good) {
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

static void send_goaway(struct kek_grpc_session *session)
{
    session->goaway_by_ms = KEK_NEVER;
    int32_t last = nghttp2_session_get_last_proc_stream_id(session->http);
    kek_grpc_session_fault(session, nghttp2_submit_goaway(session->http, NGHTTP2_FLAG_NONE, last,
                                                          NGHTTP2_NO_ERROR, NULL, 0));
}

static int on_frame_recv(nghttp2_session *http, const nghttp2_frame *frame, void *arg)
{
    struct kek_grpc_session *session = arg;
    if (session->closed) {
        return NGHTTP2_ERR_CALLBACK_FAILURE;
    }
    struct kek_grpc_call *call = call_of(http, frame->hd.stream_id);
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
        }
        break;
    case NGHTTP2_PING:
        if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 && session->goaway_by_ms != KEK_NEVER &&
            memcmp(frame->ping.opaque_data, drain_ping, sizeof drain_ping) == 0) {
            send_goaway(session);
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
    struct kek_grpc_call *call = call_of(http, stream);
    if (call != NULL) {
        kek_grpc_call_close(call);
    }
    return 0;
}

/* And while it writes. */

static int on_frame_send(nghttp2_session *http, const nghttp2_frame *frame, void *arg)
{
    struct kek_grpc_session *session = arg;
    if (frame->hd.type == NGHTTP2_GOAWAY && frame->goaway.error_code != NGHTTP2_NO_ERROR) {
        session->host->stats.protocol_errors++;
    }
    if (frame->hd.type != NGHTTP2_HEADERS || (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) == 0) {
        return 0;
    }
    /* The answer is complete: a client that still sends is told to stop (RFC 9113 section 8.1). */
    const struct kek_grpc_call *call = call_of(http, frame->hd.stream_id);
    if (call == NULL || call->complete) {
        return 0;
    }
    return nghttp2_submit_rst_stream(http, NGHTTP2_FLAG_NONE, frame->hd.stream_id,
                                     call->reset_with);
}

static void make_output(struct kek_grpc_session *session)
{
    while (!session->broken && session->out.len - session->out_at < KEK_GRPC_OUTPUT_STEP) {
        const uint8_t *data;
        ssize_t n = nghttp2_session_mem_send(session->http, &data);
        if (n == 0) {
            return;
        }
        if (n < 0 || kek_buf_append(&session->out, kek_bytes(data, (size_t)n), NULL) != KEK_OK) {
            session->broken = true;
        }
    }
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

/* The host. */

enum kek_rc kek_grpc_host_init(struct kek_grpc_host *host, const struct kek_grpc_settings *settings,
                               struct kek_why *why)
{
    *host = (struct kek_grpc_host){.settings = *settings};
    if (nghttp2_session_callbacks_new(&host->callbacks) != 0 ||
        nghttp2_option_new(&host->options) != 0) {
        kek_grpc_host_done(host);
        return kek_fail(why, KEK_NO_MEMORY, "no memory for a gRPC server");
    }
    nghttp2_session_callbacks *to = host->callbacks;
    nghttp2_session_callbacks_set_on_begin_headers_callback(to, on_begin_headers);
    nghttp2_session_callbacks_set_on_header_callback(to, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(to, on_data_chunk);
    nghttp2_session_callbacks_set_on_frame_recv_callback(to, on_frame_recv);
    nghttp2_session_callbacks_set_on_stream_close_callback(to, on_stream_close);
    nghttp2_session_callbacks_set_on_frame_send_callback(to, on_frame_send);
    nghttp2_session_callbacks_set_send_data_callback(to, kek_grpc_call_send_data);
    nghttp2_option_set_no_http_messaging(host->options, 1);
    nghttp2_option_set_no_closed_streams(host->options, 1);
    nghttp2_option_set_max_outbound_ack(host->options, 1000);
    nghttp2_option_set_max_continuations(host->options, 8);
    nghttp2_option_set_stream_reset_rate_limit(host->options, KEK_GRPC_RESETS_BURST,
                                               KEK_GRPC_RESETS_RATE);
    return KEK_OK;
}

void kek_grpc_host_done(struct kek_grpc_host *host)
{
    kek_grpc_pool_free(host);
    nghttp2_session_callbacks_del(host->callbacks);
    nghttp2_option_del(host->options);
    host->callbacks = NULL;
    host->options = NULL;
}

/* The session. */

static int submit_preface(struct kek_grpc_session *session)
{
    const struct kek_grpc_settings *settings = &session->host->settings;
    size_t window = settings->max_message + KEK_GRPC_PREFIX;
    /* Not SETTINGS_NO_RFC7540_PRIORITIES: with it, libnghttp2 1.52 frees an item twice when it has no
     * memory to queue it (session_ob_data_push). */
    const nghttp2_settings_entry entries[] = {
        {NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS, settings->max_streams},
        {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, window < 65535 ? 65535 : (uint32_t)window},
        {NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE, settings->max_header_list},
    };
    int rv = nghttp2_submit_settings(session->http, NGHTTP2_FLAG_NONE, entries,
                                     sizeof entries / sizeof entries[0]);
    if (rv != 0) {
        return rv;
    }
    return nghttp2_session_set_local_window_size(session->http, NGHTTP2_FLAG_NONE, 0,
                                                 CONNECTION_WINDOW);
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
    kek_buf_init(&session->out, OUTPUT_MAX);
    if (!kek_grpc_deadlines_init(&session->deadlines, host->settings.max_streams) ||
        nghttp2_session_server_new2(&session->http, host->callbacks, session, host->options) != 0 ||
        submit_preface(session) != 0) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a connection");
        return NULL;
    }
    make_output(session);
    return KEK_STEAL(session);
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
        session->broken = true;
    } else if (!session->closed) {
        make_output(session);
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

struct kek_bytes kek_grpc_session_output(struct kek_grpc_session *session)
{
    if (session->closed) {
        return kek_bytes(NULL, 0);
    }
    session->busy++;
    make_output(session);
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
        session->broken = true;
        session->preface_by_ms = KEK_NEVER;
        session->stall_by_ms = KEK_NEVER;
        return;
    }
    session->busy++;
    if (session->goaway_by_ms <= now_ms) {
        send_goaway(session);
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

void kek_grpc_session_drain(struct kek_grpc_session *session)
{
    if (session->draining || session->broken || session->closed) {
        return;
    }
    session->draining = true;
    if (!session->ready) {
        /* It may have been told our SETTINGS, and have sent a call that is not read any more. */
        send_goaway(session);
        return;
    }
    /* RFC 9113 section 6.8: the notice, a round trip, and only then the last stream's number. */
    kek_grpc_session_fault(session, nghttp2_submit_shutdown_notice(session->http));
    kek_grpc_session_fault(session,
                           nghttp2_submit_ping(session->http, NGHTTP2_FLAG_NONE, drain_ping));
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
    send_goaway(session);
    session->busy--;
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
