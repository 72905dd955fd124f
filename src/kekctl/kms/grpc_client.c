#include "grpc_client.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include <nghttp2/nghttp2.h>

#include "kek/clock.h"

#define PREFIX 5 /* compressed flag, length (gRPC over HTTP/2, "Length-Prefixed-Message") */
#define READ_SIZE (16u * 1024)

struct grpc_client {
    int fd;
    nghttp2_session *session;
    struct kek_secret *input; /* what read(2) fills */
    const uint8_t *output;    /* nghttp2's, not sent yet */
    size_t output_len;
    bool greeted; /* the server's SETTINGS have come */
    int32_t last; /* stream that the server may have looked at, by its GOAWAY */
    bool untaken; /* the call that failed is of no such stream */
    struct call *call;
};

struct call {
    int32_t stream;
    uint8_t prefix[PREFIX];
    struct kek_bytes message;
    size_t sent; /* of prefix and message */
    struct kek_secret *body;
    size_t body_len;
    unsigned http_status; /* 0: no headers yet */
    bool is_grpc, has_status, too_large, closed;
    uint32_t reset; /* the error code the stream was closed with */
    struct grpc_status status;
};

/* What nghttp2 tells us. */

static bool named(const uint8_t *name, size_t len, const char *wanted)
{
    return len == strlen(wanted) && memcmp(name, wanted, len) == 0;
}

/* At most three digits: HTTP statuses and gRPC's. */
static bool take_number(const uint8_t *value, size_t len, unsigned *number)
{
    unsigned sum = 0;
    for (size_t i = 0; i < len; i++) {
        if (value[i] < '0' || value[i] > '9') {
            return false;
        }
        sum = 10 * sum + (unsigned)(value[i] - '0');
    }
    *number = sum;
    return len >= 1 && len <= 3;
}

static int on_header(nghttp2_session *session, const nghttp2_frame *frame, const uint8_t *name,
                     size_t name_len, const uint8_t *value, size_t len, uint8_t flags, void *user)
{
    (void)session;
    (void)flags;
    struct call *call = ((struct grpc_client *)user)->call;
    if (call == NULL || frame->hd.stream_id != call->stream) {
        return 0;
    }
    static const char grpc[] = "application/grpc";
    if (named(name, name_len, ":status")) {
        (void)take_number(value, len, &call->http_status);
    } else if (named(name, name_len, "content-type")) {
        call->is_grpc = len >= sizeof grpc - 1 && memcmp(value, grpc, sizeof grpc - 1) == 0;
    } else if (named(name, name_len, "grpc-status")) {
        call->has_status = take_number(value, len, &call->status.code);
    } else if (named(name, name_len, "grpc-message")) {
        grpc_status_message(&call->status, value, len);
    }
    return 0;
}

static int on_data(nghttp2_session *session, uint8_t flags, int32_t stream, const uint8_t *data,
                   size_t len, void *user)
{
    (void)session;
    (void)flags;
    struct call *call = ((struct grpc_client *)user)->call;
    if (call == NULL || stream != call->stream || call->too_large) {
        return 0;
    }
    if (len > kek_secret_bytes(call->body).len - call->body_len) {
        call->too_large = true;
        return 0;
    }
    memcpy(kek_secret_data(call->body) + call->body_len, data, len);
    call->body_len += len;
    return 0;
}

static int on_frame(nghttp2_session *session, const nghttp2_frame *frame, void *user)
{
    (void)session;
    struct grpc_client *client = user;
    if (frame->hd.type == NGHTTP2_SETTINGS && (frame->hd.flags & NGHTTP2_FLAG_ACK) == 0) {
        client->greeted = true;
    } else if (frame->hd.type == NGHTTP2_GOAWAY) {
        client->last = frame->goaway.last_stream_id;
    }
    return 0;
}

static int on_close(nghttp2_session *session, int32_t stream, uint32_t code, void *user)
{
    (void)session;
    struct call *call = ((struct grpc_client *)user)->call;
    if (call != NULL && stream == call->stream) {
        call->closed = true;
        call->reset = code;
    }
    return 0;
}

static ssize_t on_want_data(nghttp2_session *session, int32_t stream, uint8_t *out, size_t room,
                            uint32_t *flags, nghttp2_data_source *source, void *user)
{
    (void)session;
    (void)stream;
    (void)user;
    struct call *call = source->ptr;
    size_t done = 0;
    while (done < room && call->sent < PREFIX) {
        out[done++] = call->prefix[call->sent++];
    }
    size_t left = PREFIX + call->message.len - call->sent;
    size_t take = left < room - done ? left : room - done;
    if (take > 0) {
        memcpy(out + done, call->message.data + (call->sent - PREFIX), take);
        call->sent += take;
    }
    if (call->sent == PREFIX + call->message.len) {
        *flags |= NGHTTP2_DATA_FLAG_EOF;
    }
    return (ssize_t)(done + take);
}

/* Making and ending. */

static bool session_new(struct grpc_client *client)
{
    nghttp2_session_callbacks *callbacks = NULL;
    if (nghttp2_session_callbacks_new(&callbacks) != 0) {
        return false;
    }
    nghttp2_session_callbacks_set_on_header_callback(callbacks, on_header);
    nghttp2_session_callbacks_set_on_data_chunk_recv_callback(callbacks, on_data);
    nghttp2_session_callbacks_set_on_frame_recv_callback(callbacks, on_frame);
    nghttp2_session_callbacks_set_on_stream_close_callback(callbacks, on_close);
    int rc = nghttp2_session_client_new(&client->session, callbacks, client);
    nghttp2_session_callbacks_del(callbacks);
    return rc == 0 && nghttp2_submit_settings(client->session, NGHTTP2_FLAG_NONE, NULL, 0) == 0;
}

struct grpc_client *grpc_client_new(int fd, struct kek_why *why)
{
    KEK_AUTO(grpc_client) client = calloc(1, sizeof *client);
    if (client == NULL) {
        close(fd);
        kek_fail(why, KEK_NO_MEMORY, "no memory for a client");
        return NULL;
    }
    client->fd = fd;
    client->last = INT32_MAX;
    client->input = kek_secret_new(READ_SIZE);
    int flags = fcntl(fd, F_GETFL);
    if (client->input == NULL || flags < 0 || fcntl(fd, F_SETFL, flags | O_NONBLOCK) < 0 ||
        !session_new(client)) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a client");
        return NULL;
    }
    return KEK_STEAL(client);
}

void grpc_client_free(struct grpc_client *client)
{
    if (client != NULL) {
        nghttp2_session_del(client->session);
        kek_secret_free(client->input);
        close(client->fd);
        free(client);
    }
}

/* For a Unix socket, the time limit for sending is the one for connecting too (unix(7) does not say so,
 * the kernel's unix_stream_connect() does); past it, connect(2) fails with EAGAIN. */
static bool connect_within(int fd, const struct sockaddr_un *address, uint64_t timeout_ms)
{
    const struct timeval limit = {.tv_sec = (time_t)(timeout_ms / 1000),
                                  .tv_usec = (suseconds_t)(timeout_ms % 1000 * 1000)};
    return setsockopt(fd, SOL_SOCKET, SO_SNDTIMEO, &limit, sizeof limit) == 0 &&
           connect(fd, (const struct sockaddr *)address, sizeof *address) == 0;
}

struct grpc_client *grpc_client_connect(const char *socket_path, uint64_t timeout_ms,
                                        struct kek_why *why)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (socket_path[0] == '\0') {
        kek_fail(why, KEK_INVALID, "the socket's path is empty");
        return NULL;
    }
    if (strlen(socket_path) >= sizeof address.sun_path) {
        kek_fail(why, KEK_INVALID, "the socket's path is longer than %zu bytes",
                 sizeof address.sun_path - 1);
        return NULL;
    }
    snprintf(address.sun_path, sizeof address.sun_path, "%s", socket_path);
    KEK_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    if (fd < 0 || !connect_within(fd, &address, timeout_ms)) {
        kek_fail_native(why, errno == EAGAIN ? KEK_DEADLINE : KEK_UNAVAILABLE, KEK_NATIVE_ERRNO,
                        (unsigned long)errno, "cannot connect to %s%s", socket_path,
                        errno == EAGAIN ? ": nobody takes the connection in time" : "");
        return NULL;
    }
    int taken = fd;
    fd = -1;
    return grpc_client_new(taken, why);
}

const char *grpc_client_advice(const struct kek_why *why)
{
    if (why->native != KEK_NATIVE_ERRNO) {
        return "look at that path.";
    }
    switch (why->code) {
    case ENOENT:
    case ECONNREFUSED:
        return "does kekd run (systemctl status kekd)?";
    case EAGAIN:
        return "is kekd well (systemctl status kekd)?";
    case EACCES:
    case EPERM:
        return "root may use it, and whom allow_uids names beside kekd's user.";
    default:
        return "see systemctl status kekd.";
    }
}

void grpc_reply_done(struct grpc_reply *reply)
{
    kek_secret_free(reply->body);
    *reply = (struct grpc_reply){0};
}

/* Moving bytes. */

static bool read_some(struct grpc_client *client, struct grpc_status *status)
{
    ssize_t got = read(client->fd, kek_secret_data(client->input), READ_SIZE);
    if (got < 0) {
        return errno == EAGAIN || errno == EINTR ||
               grpc_status_fail(status, KEK_RPC_UNAVAILABLE, "the connection broke: %s",
                                strerror(errno));
    }
    if (got == 0) {
        return grpc_status_fail(status, KEK_RPC_UNAVAILABLE, "the server closed the connection");
    }
    ssize_t taken =
        nghttp2_session_mem_recv(client->session, kek_secret_data(client->input), (size_t)got);
    kek_wipe(kek_secret_data(client->input), (size_t)got);
    if (taken < 0) {
        return grpc_status_fail(status, KEK_RPC_UNAVAILABLE, "the server does not speak HTTP/2: %s",
                                nghttp2_strerror((int)taken));
    }
    return true;
}

static bool write_some(struct grpc_client *client, struct grpc_status *status)
{
    ssize_t put = send(client->fd, client->output, client->output_len, MSG_NOSIGNAL);
    if (put < 0) {
        return errno == EAGAIN || errno == EINTR ||
               grpc_status_fail(status, KEK_RPC_UNAVAILABLE, "the connection broke: %s",
                                strerror(errno));
    }
    client->output += put;
    client->output_len -= (size_t)put;
    return true;
}

static bool wait_for_socket(struct grpc_client *client, uint64_t deadline_ms, short *events,
                            struct grpc_status *status)
{
    uint64_t now = kek_clock_ms();
    if (now >= deadline_ms) {
        return grpc_status_fail(status, KEK_RPC_DEADLINE_EXCEEDED,
                                "no answer in time; is kekd well (systemctl status kekd)?");
    }
    uint64_t left = deadline_ms - now;
    struct pollfd poll_fd = {.fd = client->fd, .events = POLLIN};
    if (client->output_len > 0) {
        poll_fd.events |= POLLOUT;
    }
    int ready = poll(&poll_fd, 1, left > 60000 ? 60000 : (int)left);
    if (ready < 0 && errno != EINTR) {
        return grpc_status_fail(status, KEK_RPC_INTERNAL, "poll: %s", strerror(errno));
    }
    *events = ready > 0 ? poll_fd.revents : 0;
    return true;
}

/* Reads and writes once. What is to be read goes first: a server that refuses a call and closes has
 * said why. */
static bool step(struct grpc_client *client, uint64_t deadline_ms, struct grpc_status *status)
{
    if (client->output_len == 0) {
        ssize_t len = nghttp2_session_mem_send(client->session, &client->output);
        if (len < 0) {
            return grpc_status_fail(status, KEK_RPC_INTERNAL, "%s", nghttp2_strerror((int)len));
        }
        client->output_len = (size_t)len;
    }
    if (client->output_len == 0 && nghttp2_session_want_read(client->session) == 0 &&
        nghttp2_session_want_write(client->session) == 0) {
        return grpc_status_fail(status, KEK_RPC_UNAVAILABLE,
                                "the server does not speak HTTP/2 as it must");
    }
    short events;
    if (!wait_for_socket(client, deadline_ms, &events, status)) {
        return false;
    }
    if ((events & (POLLIN | POLLHUP | POLLERR)) != 0) {
        return read_some(client, status);
    }
    return (events & POLLOUT) == 0 || write_some(client, status);
}

/* One call. */

#define HEADER(n, v)                                                                             \
    {                                                                                            \
        .name = (uint8_t *)(uintptr_t)(n), .namelen = strlen(n),                                 \
        .value = (uint8_t *)(uintptr_t)(v), .valuelen = strlen(v), .flags = NGHTTP2_NV_FLAG_NONE \
    }

static bool submit(struct grpc_client *client, struct call *call, const char *path,
                   uint64_t deadline_ms, struct grpc_status *status)
{
    char timeout[24];
    uint64_t now = kek_clock_ms();
    uint64_t left = deadline_ms > now ? deadline_ms - now : 1;
    /* At most eight digits may stand there; that is more than a day. */
    snprintf(timeout, sizeof timeout, "%" PRIu64 "m", left < 99999999 ? left : 99999999);
    const nghttp2_nv headers[] = {
        HEADER(":method", "POST"),
        HEADER(":scheme", "http"),
        HEADER(":path", path),
        HEADER(":authority", "localhost"),
        HEADER("content-type", "application/grpc"),
        HEADER("user-agent", "kekctl/" PACKAGE_VERSION),
        HEADER("te", "trailers"),
        HEADER("grpc-timeout", timeout),
    };
    nghttp2_data_provider body = {.source.ptr = call, .read_callback = on_want_data};
    call->stream = nghttp2_submit_request(client->session, NULL, headers,
                                          sizeof headers / sizeof headers[0], &body, NULL);
    if (call->stream < 0) {
        return grpc_status_fail(status, KEK_RPC_INTERNAL, "%s", nghttp2_strerror(call->stream));
    }
    return true;
}

static bool unframe(const struct call *call, struct grpc_status *status)
{
    if (call->body_len == 0) {
        return grpc_status_fail(status, KEK_RPC_INTERNAL, "the answer has no message");
    }
    const uint8_t *body = kek_secret_bytes(call->body).data;
    if (call->body_len < PREFIX || body[0] != 0) {
        return grpc_status_fail(status, KEK_RPC_INTERNAL, "the answer is %s",
                                call->body_len < PREFIX ? "cut off" : "compressed");
    }
    size_t len = (size_t)body[1] << 24 | (size_t)body[2] << 16 | (size_t)body[3] << 8 | body[4];
    if (len != call->body_len - PREFIX) {
        return grpc_status_fail(status, KEK_RPC_INTERNAL, "the answer is not one message");
    }
    return true;
}

/* The stream is closed: what does that mean? */
static bool judge(const struct call *call, struct grpc_status *status)
{
    if (call->too_large) {
        return grpc_status_fail(status, KEK_RPC_RESOURCE_EXHAUSTED,
                                "the answer is larger than %u bytes", GRPC_CLIENT_MESSAGE_MAX);
    }
    if (call->http_status == 0 || (!call->has_status && call->reset != 0)) {
        return grpc_status_fail(status, grpc_status_of_reset(call->reset),
                                "the server reset the call: %s",
                                nghttp2_http2_strerror(call->reset));
    }
    if (call->http_status != 200) {
        return grpc_status_fail(status, grpc_status_of_http(call->http_status), "HTTP status %u",
                                call->http_status);
    }
    if (!call->is_grpc) {
        return grpc_status_fail(status, KEK_RPC_UNKNOWN,
                                "the answer is not of type application/grpc");
    }
    if (!call->has_status) {
        return grpc_status_fail(status, KEK_RPC_UNKNOWN, "the answer has no grpc-status");
    }
    *status = call->status;
    return status->code == KEK_RPC_OK && unframe(call, status);
}

static bool run(struct grpc_client *client, struct call *call, const char *path,
                uint64_t deadline_ms, struct grpc_status *status)
{
    while (!client->greeted) {
        if (!step(client, deadline_ms, status)) {
            return false;
        }
    }
    if (!submit(client, call, path, deadline_ms, status)) {
        return false;
    }
    while (!call->closed) {
        if (!step(client, deadline_ms, status)) {
            return false;
        }
    }
    return judge(call, status);
}

bool grpc_client_call(struct grpc_client *client, const char *path, struct kek_bytes message,
                      uint64_t deadline_ms, struct grpc_reply *reply, struct grpc_status *status)
{
    if (message.len > UINT32_MAX) {
        return grpc_status_fail(status, KEK_RPC_RESOURCE_EXHAUSTED, "the message is too large");
    }
    struct call call = {
        .prefix = {0, (uint8_t)(message.len >> 24), (uint8_t)(message.len >> 16),
                   (uint8_t)(message.len >> 8), (uint8_t)message.len},
        .message = message,
    };
    KEK_AUTO(kek_secret) body = kek_secret_new(PREFIX + GRPC_CLIENT_MESSAGE_MAX);
    if (body == NULL) {
        return grpc_status_fail(status, KEK_RPC_RESOURCE_EXHAUSTED,
                                "no locked memory for the answer");
    }
    call.body = body;
    client->call = &call;
    bool good = run(client, &call, path, deadline_ms, status);
    client->call = NULL;
    if (!good) {
        client->untaken = status->code == KEK_RPC_UNAVAILABLE && call.http_status == 0 &&
                          (call.stream == 0 || call.stream > client->last ||
                           call.reset == NGHTTP2_REFUSED_STREAM);
        return false;
    }
    reply->message = kek_bytes(kek_secret_data(body) + PREFIX, call.body_len - PREFIX);
    reply->body = KEK_STEAL(body);
    return true;
}

bool grpc_client_untaken(const struct grpc_client *client)
{
    return client->untaken;
}
