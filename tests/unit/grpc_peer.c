#include "grpc_peer.h"

#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"

uint64_t test_now_us = 1000000000;

uint64_t test_clock(void)
{
    return test_now_us;
}

/* What one stream still has to send. */
struct body {
    size_t len, at, frame;
    bool unfinished, trailers;
    uint8_t data[];
};

static ssize_t read_body(nghttp2_session *http, int32_t stream, uint8_t *room, size_t length,
                         uint32_t *flags, nghttp2_data_source *source, void *arg)
{
    (void)arg;
    struct body *body = source->ptr;
    size_t left = body->len - body->at;
    size_t n = left < length ? left : length;
    if (body->frame != 0 && n > body->frame) {
        n = body->frame;
    }
    if (n == 0 && body->unfinished) {
        return NGHTTP2_ERR_DEFERRED;
    }
    memcpy(room, body->data + body->at, n);
    body->at += n;
    if (body->at == body->len && !body->unfinished) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
        if (body->trailers) {
            static const nghttp2_nv trailer = {
                .name = (uint8_t *)"x-end", .namelen = 5, .value = (uint8_t *)"1", .valuelen = 1};
            *flags |= NGHTTP2_DATA_FLAG_NO_END_STREAM;
            ck_assert_int_eq(nghttp2_submit_trailer(http, stream, &trailer, 1), 0);
        }
    }
    return (ssize_t)n;
}

struct peer_answer *peer_answer(struct peer *peer, int32_t stream)
{
    ck_assert_int_gt(stream, 0);
    ck_assert_int_lt(stream / 2, PEER_ANSWERS);
    return &peer->answers[stream / 2];
}

static int on_header(nghttp2_session *http, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t value_len, uint8_t flags,
                     void *arg)
{
    (void)http;
    (void)flags;
    struct peer_answer *answer = peer_answer(arg, frame->hd.stream_id);
    char text[1100];
    ck_assert_uint_lt(value_len, sizeof text);
    memcpy(text, value, value_len);
    text[value_len] = '\0';
    answer->seen = true;
    if (name_len == 7 && memcmp(name, ":status", 7) == 0) {
        ck_assert_int_eq(sscanf(text, "%d", &answer->http_status), 1);
    } else if (name_len == 12 && memcmp(name, "content-type", 12) == 0) {
        answer->grpc_type = strcmp(text, "application/grpc") == 0;
    } else if (name_len == 11 && memcmp(name, "grpc-status", 11) == 0) {
        ck_assert_int_eq(sscanf(text, "%d", &answer->grpc_status), 1);
    } else if (name_len == 12 && memcmp(name, "grpc-message", 12) == 0) {
        snprintf(answer->message, sizeof answer->message, "%s", text);
    } else {
        ck_abort_msg("unexpected field %.*s", (int)name_len, (const char *)name);
    }
    return 0;
}

uint32_t peer_sum(uint32_t sum, const uint8_t *data, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        sum = sum * 31 + data[i] + 1;
    }
    return sum;
}

static int on_data(nghttp2_session *http, uint8_t flags, int32_t stream, const uint8_t *data,
                   size_t len, void *arg)
{
    (void)http;
    (void)flags;
    struct peer_answer *answer = peer_answer(arg, stream);
    answer->seen = true;
    answer->received += len;
    answer->sum = peer_sum(answer->sum, data, len);
    size_t room = sizeof answer->body - answer->body_len;
    memcpy(answer->body + answer->body_len, data, len < room ? len : room);
    answer->body_len += len < room ? len : room;
    return 0;
}

static void on_settings(struct peer *peer, const nghttp2_frame *frame)
{
    if ((frame->hd.flags & NGHTTP2_FLAG_ACK) != 0) {
        peer->settings_acked++;
        return;
    }
    peer->settings++;
    for (size_t i = 0; i < frame->settings.niv; i++) {
        const nghttp2_settings_entry *entry = &frame->settings.iv[i];
        switch (entry->settings_id) {
        case NGHTTP2_SETTINGS_MAX_CONCURRENT_STREAMS:
            peer->max_streams = entry->value;
            break;
        case NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE:
            peer->window = entry->value;
            break;
        case NGHTTP2_SETTINGS_MAX_HEADER_LIST_SIZE:
            peer->max_header_list = entry->value;
            break;
        default:
            break;
        }
    }
}

static int on_frame(nghttp2_session *http, const nghttp2_frame *frame, void *arg)
{
    (void)http;
    struct peer *peer = arg;
    bool last = (frame->hd.flags & NGHTTP2_FLAG_END_STREAM) != 0;
    switch (frame->hd.type) {
    case NGHTTP2_HEADERS:
    case NGHTTP2_DATA:
        peer_answer(peer, frame->hd.stream_id)->end |= last;
        break;
    case NGHTTP2_RST_STREAM:
        peer_answer(peer, frame->hd.stream_id)->reset = true;
        break;
    case NGHTTP2_SETTINGS:
        on_settings(peer, frame);
        break;
    case NGHTTP2_PING:
        peer->pings_acked += (frame->hd.flags & NGHTTP2_FLAG_ACK) != 0 ? 1 : 0;
        break;
    case NGHTTP2_GOAWAY:
        peer->goaway = true;
        peer->goaways++;
        peer->goaway_code = frame->goaway.error_code;
        peer->goaway_last = frame->goaway.last_stream_id;
        break;
    default:
        break;
    }
    return 0;
}

static int on_close(nghttp2_session *http, int32_t stream, uint32_t code, void *arg)
{
    struct peer_answer *answer = peer_answer(arg, stream);
    answer->closed = true;
    answer->code = code;
    free(nghttp2_session_get_stream_user_data(http, stream));
    nghttp2_session_set_stream_user_data(http, stream, NULL);
    return 0;
}

static ssize_t pad(nghttp2_session *http, const nghttp2_frame *frame, size_t max, void *arg)
{
    (void)http;
    const struct peer *peer = arg;
    size_t len = frame->hd.length + (peer->pad ? 17 : 0);
    return (ssize_t)(len < max ? len : max);
}

struct peer *peer_new(int window)
{
    struct peer *peer = calloc(1, sizeof *peer);
    nghttp2_session_callbacks *callbacks;
    nghttp2_option *options;
    ck_assert_ptr_nonnull(peer);
    peer->answers = calloc(PEER_ANSWERS, sizeof *peer->answers);
    ck_assert_ptr_nonnull(peer->answers);
    for (size_t i = 0; i < PEER_ANSWERS; i++) {
        peer->answers[i].grpc_status = -1;
    }
    ck_assert_int_eq(nghttp2_session_callbacks_new(&callbacks), 0);
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    nghttp2_session_callbacks_set_select_padding_callback(callbacks, pad);
    ck_assert_int_eq(nghttp2_option_new(&options), 0);
    nghttp2_option_set_no_http_messaging(options, 1);
    nghttp2_option_set_no_closed_streams(options, 1);
    nghttp2_option_set_peer_max_concurrent_streams(options, 100);
    ck_assert_int_eq(nghttp2_session_client_new2(&peer->http, callbacks, peer, options), 0);
    nghttp2_session_callbacks_del(callbacks);
    nghttp2_option_del(options);
    const nghttp2_settings_entry entry = {NGHTTP2_SETTINGS_INITIAL_WINDOW_SIZE, (uint32_t)window};
    ck_assert_int_eq(nghttp2_submit_settings(peer->http, 0, &entry, window < 0 ? 0 : 1), 0);
    return peer;
}

void peer_free(struct peer *peer)
{
    if (peer == NULL) {
        return;
    }
    for (int32_t stream = 1; stream / 2 < PEER_ANSWERS; stream += 2) {
        free(nghttp2_session_get_stream_user_data(peer->http, stream));
    }
    nghttp2_session_del(peer->http);
    free(peer->answers);
    free(peer);
}

static void add(nghttp2_nv *fields, size_t *count, const char *name, const char *value)
{
    fields[(*count)++] = (nghttp2_nv){.name = (uint8_t *)name,
                                      .namelen = strlen(name),
                                      .value = (uint8_t *)value,
                                      .valuelen = strlen(value)};
}

static const char * or (const char *text, const char *otherwise)
{
    return text == NULL ? otherwise : text;
}

static size_t fields_of(const struct peer_request *request, nghttp2_nv *fields)
{
    static const char filler[] = "0123456789012345678901234567890123456789012345678901234567890123";
    size_t n = 0;
    const char *type = or (request->content_type, "application/grpc");
    if (request->extra_name != NULL && request->extra_name[0] == ':') {
        add(fields, &n, request->extra_name, request->extra_value);
    }
    add(fields, &n, ":method", or (request->method, "POST"));
    add(fields, &n, ":scheme", "http");
    add(fields, &n, ":path", or (request->path, "/t.T/Echo"));
    if (!request->no_authority) {
        add(fields, &n, ":authority", or (request->authority, "localhost"));
    }
    if (type[0] != '\0') {
        add(fields, &n, "content-type", type);
    }
    add(fields, &n, "user-agent", "grpc-go/1.58.3");
    add(fields, &n, "te", "trailers");
    if (request->timeout != NULL) {
        add(fields, &n, "grpc-timeout", request->timeout);
    }
    if (request->encoding != NULL) {
        add(fields, &n, "grpc-encoding", request->encoding);
    }
    if (request->extra_name != NULL && request->extra_name[0] != ':') {
        add(fields, &n, request->extra_name, request->extra_value);
    }
    for (size_t i = 0; i < request->extra_fields; i++) {
        add(fields, &n, "x-fi", filler); /* 4 + 64 + 32 = 100 */
    }
    return n;
}

static struct body *body_of(const struct peer_request *request)
{
    const char *message = or (request->message, "");
    size_t len = request->body != NULL ? request->body_len : 5 + strlen(message);
    struct body *body = calloc(1, sizeof *body + len + 1);
    ck_assert_ptr_nonnull(body);
    body->len = len;
    body->frame = request->frame;
    body->unfinished = request->unfinished;
    body->trailers = request->trailers;
    if (request->body != NULL) {
        memcpy(body->data, request->body, len);
    } else {
        body->data[3] = (uint8_t)(strlen(message) >> 8);
        body->data[4] = (uint8_t)strlen(message);
        memcpy(body->data + 5, message, strlen(message));
    }
    return body;
}

int32_t peer_call(struct peer *peer, const struct peer_request *request)
{
    nghttp2_nv fields[512];
    ck_assert_uint_lt(request->extra_fields, 500);
    size_t count = fields_of(request, fields);
    struct body *body = request->headers_only ? NULL : body_of(request);
    const nghttp2_data_provider provider = {.source = {.ptr = body}, .read_callback = read_body};
    int32_t stream = nghttp2_submit_request(peer->http, NULL, fields, count,
                                            body == NULL ? NULL : &provider, body);
    ck_assert_int_gt(stream, 0);
    return stream;
}

void peer_widen(struct peer *peer, int32_t window)
{
    ck_assert_int_eq(nghttp2_session_set_local_window_size(peer->http, 0, 0, window), 0);
}

void peer_reset(struct peer *peer, int32_t stream)
{
    ck_assert_int_eq(nghttp2_submit_rst_stream(peer->http, 0, stream, NGHTTP2_CANCEL), 0);
}

void peer_ping(struct peer *peer)
{
    static const uint8_t bdp[8] = {2, 4, 16, 16, 9, 14, 7, 7};
    ck_assert_int_eq(nghttp2_submit_ping(peer->http, 0, bdp), 0);
}

size_t peer_output(struct peer *peer, const uint8_t **data)
{
    ssize_t n = nghttp2_session_mem_send(peer->http, data);
    ck_assert_int_ge(n, 0);
    return (size_t)n;
}

void peer_input(struct peer *peer, const uint8_t *data, size_t len)
{
    ck_assert_int_eq(nghttp2_session_mem_recv(peer->http, data, len), (ssize_t)len);
}

/* The service. It asserts by ck_abort alone: ck_assert allocates, which the test of memory counts. */

static void begin(struct service *service, const struct kek_rpc *rpc)
{
    service->started++;
    service->uid = rpc->peer->uid;
    service->deadline_ms = rpc->deadline_ms;
    if (service->in_start != NULL) {
        service->in_start(service);
    }
}

static void echo(void *arg, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(arg, rpc);
    kek_rpc_reply(rpc, message);
}

static void refuse(void *arg, struct kek_rpc *rpc, struct kek_bytes message)
{
    (void)message;
    begin(arg, rpc);
    kek_rpc_fail(rpc, KEK_RPC_FAILED_PRECONDITION, "100% gone\n");
}

static void late_ended(struct kek_rpc *rpc, enum kek_rpc_status status)
{
    struct service *service = rpc->state;
    service->ended++;
    service->ended_status = status;
    for (size_t i = 0; i < service->late_count; i++) {
        if (service->late[i] == rpc) {
            service->late[i] = NULL;
            return;
        }
    }
    ck_abort_msg("a call ended that was not open");
}

static void late(void *arg, struct kek_rpc *rpc, struct kek_bytes message)
{
    struct service *service = arg;
    (void)message;
    begin(service, rpc);
    if (service->late_count == sizeof service->late / sizeof service->late[0]) {
        ck_abort_msg("too many late calls");
    }
    rpc->state = service;
    rpc->ended = late_ended;
    service->late[service->late_count++] = rpc;
}

const uint8_t *service_big(void)
{
    static uint8_t bytes[SERVICE_BIG_MAX];
    if (bytes[1] == 0) {
        for (size_t i = 0; i < sizeof bytes; i++) {
            bytes[i] = (uint8_t)(i * 7 ^ i >> 8);
        }
    }
    return bytes;
}

static void big(void *arg, struct kek_rpc *rpc, struct kek_bytes message)
{
    struct service *service = arg;
    (void)message;
    begin(service, rpc);
    kek_rpc_reply(rpc, kek_bytes(service_big(), service->big));
}

const struct kek_rpc_method service_methods[] = {
    {"/t.T/Echo", echo}, {"/t.T/Late", late}, {"/t.T/Fail", refuse}, {"/t.T/Big", big}};
const size_t service_method_count = 4;

static bool allowed(void *arg, const struct kek_rpc_peer *peer)
{
    struct service *service = arg;
    service->allowed_asked++;
    service->uid = peer->uid;
    return !service->deny;
}

static void rejected(void *arg, const struct kek_rpc_peer *peer, const char *path,
                     enum kek_rpc_status status, const char *message)
{
    struct service *service = arg;
    (void)peer;
    service->rejections++;
    service->rejected_status = status;
    snprintf(service->rejected_path, sizeof service->rejected_path, "%s", path);
    snprintf(service->rejected_message, sizeof service->rejected_message, "%s", message);
}

static void cut(void *arg, const struct kek_rpc_peer *peer, const char *why)
{
    struct service *service = arg;
    service->cuts++;
    service->cut_known = peer != NULL;
    snprintf(service->cut_why, sizeof service->cut_why, "%s", why);
}

struct kek_grpc_settings service_settings(struct service *service)
{
    return (struct kek_grpc_settings){
        .methods = service_methods,
        .method_count = service_method_count,
        .service = service,
        .allowed = allowed,
        .rejected = rejected,
        .cut = cut,
        .max_message = 4096,
        .max_streams = 64,
        .max_connections = 8,
        .max_header_list = KEK_GRPC_MAX_HEADER_LIST,
        .default_timeout_ms = 5000,
    };
}

void service_answer_late(struct service *service, size_t i, const char *message)
{
    struct kek_rpc *rpc = service->late[i];
    if (rpc == NULL) {
        ck_abort_msg("no such late call");
    }
    service->late[i] = NULL;
    kek_rpc_reply(rpc, kek_bytes_of(message));
}
