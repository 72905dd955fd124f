/* kekctl's gRPC client, against canned bytes on the other end of a socket pair. */
#include "suite.h"

#include <pthread.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include <nghttp2/nghttp2.h>

#include "kekctl/kms/grpc_client.h"
#include "kek/clock.h"

#define PLENTY_MS 20000 /* of a call that must not time out */
#define ROOM 200000
#define PREFACE "PRI * HTTP/2.0\r\n\r\nSM\r\n\r\n"

enum { DATA = 0, HEADERS = 1, RST_STREAM = 3, SETTINGS = 4, GOAWAY = 7, WINDOW_UPDATE = 8 };
enum { END_STREAM = 1, END_HEADERS = 4 };

/* Building frames, as RFC 9113 section 4.1 has them. */

struct bytes {
    uint8_t data[ROOM];
    size_t len;
};

static void add(struct bytes *out, const void *data, size_t len)
{
    ck_assert_uint_le(len, ROOM - out->len);
    memcpy(out->data + out->len, data, len);
    out->len += len;
}

static void add_frame(struct bytes *out, uint8_t type, uint8_t flags, const void *payload,
                      size_t len)
{
    const uint8_t head[9] = {(uint8_t)(len >> 16),
                             (uint8_t)(len >> 8),
                             (uint8_t)len,
                             type,
                             flags,
                             0,
                             0,
                             0,
                             type == SETTINGS || type == GOAWAY ? 0 : 1};
    add(out, head, sizeof head);
    add(out, payload, len);
}

/* "name: value\n" lines as literals that are not indexed (RFC 7541 section 6.2.2). */
static void add_headers(struct bytes *out, uint8_t flags, const char *lines)
{
    static struct bytes block;
    block.len = 0;
    while (*lines != '\0') {
        const char *value = strstr(lines, ": ") + 2;
        const char *end = strchr(value, '\n');
        uint8_t name_len = (uint8_t)(value - 2 - lines), value_len = (uint8_t)(end - value);
        add(&block, "", 1);
        add(&block, &name_len, 1);
        add(&block, lines, name_len);
        add(&block, &value_len, 1);
        add(&block, value, value_len);
        lines = end + 1;
    }
    add_frame(out, HEADERS, (uint8_t)(END_HEADERS | flags), block.data, block.len);
}

/* The other end. */

struct peer {
    int fd;
    bool mute;            /* never sends SETTINGS */
    bool silent;          /* never answers, until the client leaves */
    int calls;            /* answered in the same way */
    struct bytes answer;  /* after a whole request; its frames are of stream 1 */
    struct bytes further; /* after the client has made room for it */
    bool early;           /* something came before our SETTINGS that must not */
    struct bytes headers; /* the last request's, as "name: value\n" */
    struct bytes body;
    nghttp2_hd_inflater *inflater;
    pthread_t thread;
};

static bool read_exactly(int fd, void *to, size_t len)
{
    for (size_t have = 0; have < len;) {
        ssize_t got = read(fd, (uint8_t *)to + have, len - have);
        if (got <= 0) {
            return false;
        }
        have += (size_t)got;
    }
    return true;
}

/* The client may be gone already: that is its business. */
static void send_all(int fd, const void *from, size_t len)
{
    for (size_t done = 0; done < len;) {
        ssize_t put = send(fd, (const uint8_t *)from + done, len - done, MSG_NOSIGNAL);
        if (put <= 0) {
            return;
        }
        done += (size_t)put;
    }
}

static void inflate_headers(struct peer *peer, const uint8_t *in, size_t len)
{
    for (;;) {
        nghttp2_nv nv;
        int flags = 0;
        ssize_t used = nghttp2_hd_inflate_hd2(peer->inflater, &nv, &flags, in, len, 1);
        ck_assert_int_ge(used, 0);
        in += used;
        len -= (size_t)used;
        if ((flags & NGHTTP2_HD_INFLATE_EMIT) != 0) {
            add(&peer->headers, nv.name, nv.namelen);
            add(&peer->headers, ": ", 2);
            add(&peer->headers, nv.value, nv.valuelen);
            add(&peer->headers, "\n", 1);
        }
        if ((flags & NGHTTP2_HD_INFLATE_FINAL) != 0) {
            nghttp2_hd_inflate_end_headers(peer->inflater);
            return;
        }
    }
}

static void make_room(struct peer *peer, uint8_t stream, size_t len)
{
    const uint8_t update[2][13] = {{0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, 0, 0, (uint8_t)(len >> 16),
                                    (uint8_t)(len >> 8), (uint8_t)len},
                                   {0, 0, 4, WINDOW_UPDATE, 0, 0, 0, 0, stream, 0,
                                    (uint8_t)(len >> 16), (uint8_t)(len >> 8), (uint8_t)len}};
    send_all(peer->fd, update, sizeof update);
}

/* The next frame; false: the client left. */
static bool take_frame(struct peer *peer, uint8_t *type, uint8_t *flags, uint8_t *stream)
{
    uint8_t head[9];
    static uint8_t payload[ROOM];
    if (!read_exactly(peer->fd, head, sizeof head)) {
        return false;
    }
    size_t len = (size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2];
    ck_assert_uint_le(len, sizeof payload);
    if (!read_exactly(peer->fd, payload, len)) {
        return false;
    }
    *type = head[3];
    *flags = head[4];
    *stream = head[8];
    if (head[3] == HEADERS) {
        inflate_headers(peer, payload, len);
    } else if (head[3] == DATA) {
        add(&peer->body, payload, len);
        if (len > 0) {
            make_room(peer, head[8], len);
        }
    }
    return true;
}

static void set_stream(struct bytes *frames, uint8_t stream)
{
    for (size_t at = 0; at + 9 <= frames->len;) {
        uint8_t *head = frames->data + at;
        if (head[8] != 0) {
            head[8] = stream;
        }
        at += 9 + ((size_t)head[0] << 16 | (size_t)head[1] << 8 | head[2]);
    }
}

static bool serve_call(struct peer *peer)
{
    uint8_t type, flags, stream;
    peer->headers.len = 0;
    peer->body.len = 0;
    do {
        if (!take_frame(peer, &type, &flags, &stream)) {
            return false;
        }
    } while (type != DATA || (flags & END_STREAM) == 0);
    set_stream(&peer->answer, stream);
    send_all(peer->fd, peer->answer.data, peer->answer.len);
    while (peer->further.len > 0) {
        if (!take_frame(peer, &type, &flags, &stream)) {
            return false;
        }
        if (type == WINDOW_UPDATE && stream != 0) {
            send_all(peer->fd, peer->further.data, peer->further.len);
            peer->further.len = 0;
        }
    }
    return true;
}

static void *serve(void *arg)
{
    struct peer *peer = arg;
    uint8_t type, flags, stream, byte;
    char preface[sizeof PREFACE - 1];
    ck_assert(read_exactly(peer->fd, preface, sizeof preface));
    ck_assert_mem_eq(preface, PREFACE, sizeof preface);
    ck_assert(take_frame(peer, &type, &flags, &stream));
    ck_assert_uint_eq(type, SETTINGS);
    peer->early = recv(peer->fd, &byte, 1, MSG_PEEK | MSG_DONTWAIT) == 1;
    if (!peer->mute) {
        static const uint8_t settings[9] = {0, 0, 0, SETTINGS};
        send_all(peer->fd, settings, sizeof settings);
    }
    for (int i = 0; i < peer->calls; i++) {
        if (!serve_call(peer)) {
            break;
        }
    }
    while (peer->silent && read(peer->fd, &byte, 1) > 0) {
    }
    close(peer->fd);
    return NULL;
}

static struct peer *peer_new(void)
{
    bool locked;
    struct peer *peer = calloc(1, sizeof *peer);
    ck_assert_ptr_nonnull(peer);
    ck_assert_int_eq(kek_secret_setup(1 << 20, &locked, NULL), KEK_OK);
    ck_assert_int_eq(nghttp2_hd_inflate_new(&peer->inflater), 0);
    peer->calls = 1;
    return peer;
}

static struct grpc_client *peer_start(struct peer *peer)
{
    int fds[2];
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, fds), 0);
    peer->fd = fds[1];
    struct grpc_client *client = grpc_client_new(fds[0], NULL);
    ck_assert_ptr_nonnull(client);
    ck_assert_int_eq(pthread_create(&peer->thread, NULL, serve, peer), 0);
    return client;
}

static void peer_end(struct peer *peer, struct grpc_client *client)
{
    grpc_client_free(client);
    pthread_join(peer->thread, NULL);
    nghttp2_hd_inflate_del(peer->inflater);
    free(peer);
}

#define OK_HEADERS ":status: 200\ncontent-type: application/grpc\n"
#define METHOD "/v2.KeyManagementService/Status"

static void check_answer(struct peer *peer, const char *message, size_t len)
{
    struct grpc_client *client = peer_start(peer);
    struct grpc_reply reply = {0};
    struct grpc_status status = {.code = 99};
    bool good = grpc_client_call(client, METHOD, kek_bytes_of("abc"), kek_clock_ms() + PLENTY_MS,
                                 &reply, &status);
    ck_assert_msg(good, "%u: %s", status.code, status.message);
    ck_assert_uint_eq(reply.message.len, len);
    ck_assert_mem_eq(reply.message.data, message, len);
    grpc_reply_done(&reply);
    peer_end(peer, client);
}

START_TEST(call_sends_what_the_api_server_sends)
{
    struct peer *peer = peer_new();
    add_headers(&peer->answer, 0, OK_HEADERS);
    add_frame(&peer->answer, DATA, 0, "\0\0\0\0\3xyz", 8);
    add_headers(&peer->answer, END_STREAM, "grpc-status: 0\n");
    peer->calls = 2;
    struct grpc_client *client = peer_start(peer);
    for (int i = 0; i < 2; i++) {
        struct grpc_reply reply = {0};
        struct grpc_status status;
        ck_assert(grpc_client_call(client, METHOD, kek_bytes_of("abc"),
                                   kek_clock_ms() + 123456789012, &reply, &status));
        ck_assert_uint_eq(reply.message.len, 3);
        ck_assert_mem_eq(reply.message.data, "xyz", 3);
        grpc_reply_done(&reply);
    }
    grpc_client_free(client);
    pthread_join(peer->thread, NULL);
    ck_assert(!peer->early);
    add(&peer->headers, "", 1);
    ck_assert_str_eq((char *)peer->headers.data,
                     ":method: POST\n:scheme: http\n:path: " METHOD "\n:authority: localhost\n"
                     "content-type: application/grpc\nuser-agent: kekctl/" PACKAGE_VERSION "\n"
                     "te: trailers\ngrpc-timeout: 99999999m\n");
    ck_assert_uint_eq(peer->body.len, 8);
    ck_assert_mem_eq(peer->body.data, "\0\0\0\0\3abc", 8);
    nghttp2_hd_inflate_del(peer->inflater);
    free(peer);
}
END_TEST

START_TEST(call_puts_a_message_together_from_many_frames)
{
    struct peer *peer = peer_new();
    add_headers(&peer->answer, 0, OK_HEADERS);
    static const char whole[] = "\0\0\0\0\3xyz";
    for (size_t i = 0; i < 8; i++) {
        add_frame(&peer->answer, DATA, 0, whole + i, 1);
    }
    add_headers(&peer->answer, END_STREAM, "grpc-status: 0\ngrpc-message: fine\n");
    check_answer(peer, "xyz", 3);
}
END_TEST

START_TEST(call_takes_an_empty_message)
{
    struct peer *peer = peer_new();
    add_headers(&peer->answer, 0, ":status: 200\ncontent-type: application/grpc+proto\n");
    add_frame(&peer->answer, DATA, 0, "\0\0\0\0\0", 5);
    add_headers(&peer->answer, END_STREAM, "grpc-status: 0\n");
    check_answer(peer, "", 0);
}
END_TEST

START_TEST(call_moves_the_largest_messages_through_flow_control)
{
    struct peer *peer = peer_new();
    static uint8_t big[GRPC_CLIENT_MESSAGE_MAX];
    memset(big, 'b', sizeof big);
    const uint8_t prefix[5] = {0, 0, (uint8_t)(sizeof big >> 16), (uint8_t)(sizeof big >> 8),
                               (uint8_t)sizeof big};
    add_headers(&peer->answer, 0, OK_HEADERS);
    add_frame(&peer->answer, DATA, 0, prefix, sizeof prefix);
    for (size_t i = 0; i < 3; i++) {
        add_frame(&peer->answer, DATA, 0, big, 16384);
    }
    add_frame(&peer->further, DATA, 0, big, 16384);
    add_frame(&peer->further, DATA, 0, big, sizeof big - 4 * 16384);
    add_headers(&peer->further, END_STREAM, "grpc-status: 0\n");
    struct grpc_client *client = peer_start(peer);
    struct grpc_reply reply = {0};
    struct grpc_status status;
    ck_assert(grpc_client_call(client, METHOD, kek_bytes(big, sizeof big),
                               kek_clock_ms() + PLENTY_MS, &reply, &status));
    ck_assert_uint_eq(reply.message.len, sizeof big);
    ck_assert_mem_eq(reply.message.data, big, sizeof big);
    ck_assert_uint_eq(peer->body.len, sizeof big + 5);
    grpc_reply_done(&reply);
    peer_end(peer, client);
}
END_TEST

START_TEST(call_refuses_an_answer_that_is_too_large)
{
    struct peer *peer = peer_new();
    static uint8_t big[16384];
    add_headers(&peer->answer, 0, OK_HEADERS);
    add_frame(&peer->answer, DATA, 0, "\0\0\1\x14\0", 5);
    for (size_t i = 0; i < 3; i++) {
        add_frame(&peer->answer, DATA, 0, big, sizeof big);
    }
    add_frame(&peer->further, DATA, 0, big, sizeof big);
    add_frame(&peer->further, DATA, 0, big, 69632 - 4 * sizeof big + 1);
    add_headers(&peer->further, END_STREAM, "grpc-status: 0\n");
    struct grpc_client *client = peer_start(peer);
    struct grpc_reply reply = {0};
    struct grpc_status status;
    ck_assert(!grpc_client_call(client, METHOD, kek_bytes_of(""), kek_clock_ms() + PLENTY_MS,
                                &reply, &status));
    ck_assert_uint_eq(status.code, KEK_RPC_RESOURCE_EXHAUSTED);
    ck_assert_str_eq(status.message, "the answer is larger than 69632 bytes");
    ck_assert_ptr_null(reply.body);
    peer_end(peer, client);
}
END_TEST

/* Answers that are none. */

static const struct bad {
    const char *headers, *body, *trailers; /* NULL: leave out; headers without body end the call */
    size_t body_len;
    int reset; /* -1: none */
    enum kek_rpc_status code;
    const char *message;
} bad[] = {
    {OK_HEADERS "grpc-status: 9\ngrpc-message: KEK%20v1%0a is gone, 100%\n", NULL, NULL, 0, -1,
     KEK_RPC_FAILED_PRECONDITION, "KEK v1? is gone, 100%"},
    {OK_HEADERS "grpc-status: 3\n", NULL, NULL, 0, -1, KEK_RPC_INVALID_ARGUMENT, ""},
    {OK_HEADERS, "\0\0\0\0\1x", "grpc-status: 14\ngrpc-message: no\n", 6, -1, KEK_RPC_UNAVAILABLE,
     "no"},
    {OK_HEADERS "grpc-status: 99\n", NULL, NULL, 0, -1, (enum kek_rpc_status)99, ""},
    {OK_HEADERS "grpc-status: 0\n", NULL, NULL, 0, -1, KEK_RPC_INTERNAL,
     "the answer has no message"},
    {OK_HEADERS "grpc-status: \n", NULL, NULL, 0, -1, KEK_RPC_UNKNOWN,
     "the answer has no grpc-status"},
    {OK_HEADERS "grpc-status: 4294967296\n", NULL, NULL, 0, -1, KEK_RPC_UNKNOWN,
     "the answer has no grpc-status"},
    {OK_HEADERS, "\0\0\0\0\1x", NULL, 6, -1, KEK_RPC_UNKNOWN, "the answer has no grpc-status"},
    {OK_HEADERS, "\1\0\0\0\1x", "grpc-status: 0\n", 6, -1, KEK_RPC_INTERNAL,
     "the answer is compressed"},
    {OK_HEADERS, "\0\0\0\0", "grpc-status: 0\n", 4, -1, KEK_RPC_INTERNAL, "the answer is cut off"},
    {OK_HEADERS, "\0\0\0\0\2x", "grpc-status: 0\n", 6, -1, KEK_RPC_INTERNAL,
     "the answer is not one message"},
    {OK_HEADERS, "\0\0\0\0\0\0\0\0\0\0", "grpc-status: 0\n", 10, -1, KEK_RPC_INTERNAL,
     "the answer is not one message"},
    {OK_HEADERS, "\0\xff\xff\xff\xffx", "grpc-status: 0\n", 6, -1, KEK_RPC_INTERNAL,
     "the answer is not one message"},
    {":status: 200\ngrpc-status: 0\n", NULL, NULL, 0, -1, KEK_RPC_UNKNOWN,
     "the answer is not of type application/grpc"},
    {":status: 200\ncontent-type: text/html\n", NULL, NULL, 0, -1, KEK_RPC_UNKNOWN,
     "the answer is not of type application/grpc"},
    {":status: 400\n", NULL, NULL, 0, -1, KEK_RPC_INTERNAL, "HTTP status 400"},
    {":status: 403\n", NULL, NULL, 0, -1, KEK_RPC_PERMISSION_DENIED, "HTTP status 403"},
    {":status: 404\n", NULL, NULL, 0, -1, KEK_RPC_UNIMPLEMENTED, "HTTP status 404"},
    {":status: 503\n", NULL, NULL, 0, -1, KEK_RPC_UNAVAILABLE, "HTTP status 503"},
    {":status: 500\n", NULL, NULL, 0, -1, KEK_RPC_UNKNOWN, "HTTP status 500"},
    {NULL, NULL, NULL, 0, NGHTTP2_REFUSED_STREAM, KEK_RPC_UNAVAILABLE,
     "the server reset the call: REFUSED_STREAM"},
    {NULL, NULL, NULL, 0, NGHTTP2_CANCEL, KEK_RPC_CANCELLED, "the server reset the call: CANCEL"},
    {NULL, NULL, NULL, 0, NGHTTP2_ENHANCE_YOUR_CALM, KEK_RPC_RESOURCE_EXHAUSTED,
     "the server reset the call: ENHANCE_YOUR_CALM"},
    {NULL, NULL, NULL, 0, NGHTTP2_INADEQUATE_SECURITY, KEK_RPC_PERMISSION_DENIED,
     "the server reset the call: INADEQUATE_SECURITY"},
    {OK_HEADERS, "\0\0\0\0\1x", NULL, 6, NGHTTP2_INTERNAL_ERROR, KEK_RPC_INTERNAL,
     "the server reset the call: INTERNAL_ERROR"},
};

START_TEST(call_fails_with_the_status_it_deserves)
{
    const struct bad *b = &bad[_i];
    struct peer *peer = peer_new();
    if (b->headers != NULL) {
        add_headers(&peer->answer, b->body == NULL ? END_STREAM : 0, b->headers);
    }
    if (b->body != NULL) {
        bool last = b->trailers == NULL && b->reset < 0;
        add_frame(&peer->answer, DATA, last ? END_STREAM : 0, b->body, b->body_len);
    }
    if (b->trailers != NULL) {
        add_headers(&peer->answer, END_STREAM, b->trailers);
    }
    if (b->reset >= 0) {
        add_frame(&peer->answer, RST_STREAM, 0, (uint8_t[]){0, 0, 0, (uint8_t)b->reset}, 4);
    }
    struct grpc_client *client = peer_start(peer);
    struct grpc_reply reply = {0};
    struct grpc_status status = {.code = 0};
    ck_assert(!grpc_client_call(client, METHOD, kek_bytes_of(""), kek_clock_ms() + PLENTY_MS,
                                &reply, &status));
    ck_assert_str_eq(status.message, b->message);
    ck_assert_uint_eq(status.code, b->code);
    ck_assert_ptr_null(reply.body);
    peer_end(peer, client);
}
END_TEST

static void check_failure(struct peer *peer, uint64_t deadline_ms, enum kek_rpc_status code,
                          const char *message, bool untaken)
{
    struct grpc_client *client = peer_start(peer);
    struct grpc_reply reply = {0};
    struct grpc_status status = {.code = 0};
    ck_assert(!grpc_client_call(client, METHOD, kek_bytes_of(""), kek_clock_ms() + deadline_ms,
                                &reply, &status));
    ck_assert_str_eq(status.message, message);
    ck_assert_uint_eq(status.code, code);
    ck_assert_int_eq(grpc_client_untaken(client), untaken);
    peer_end(peer, client);
}

START_TEST(call_fails_when_the_server_closes_first)
{
    struct peer *peer = peer_new();
    check_failure(peer, PLENTY_MS, KEK_RPC_UNAVAILABLE, "the server closed the connection", false);
}
END_TEST

START_TEST(call_fails_when_the_server_goes_away)
{
    struct peer *peer = peer_new();
    add_frame(&peer->answer, GOAWAY, 0, "\0\0\0\0\0\0\0\0", 8);
    peer->silent = true;
    check_failure(peer, PLENTY_MS, KEK_RPC_UNAVAILABLE, "the server reset the call: REFUSED_STREAM",
                  true);
}
END_TEST

START_TEST(call_fails_when_the_server_speaks_something_else)
{
    static const char *const garbage[] = {"HTTP/1.1 400 Bad Request\r\n\r\n",
                                          "\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff"};
    for (size_t i = 0; i < 2; i++) {
        struct peer *peer = peer_new();
        add(&peer->answer, garbage[i], strlen(garbage[i]));
        peer->silent = true;
        check_failure(peer, PLENTY_MS, KEK_RPC_UNAVAILABLE,
                      "the server does not speak HTTP/2 as it must", false);
    }
}
END_TEST

START_TEST(call_fails_at_its_deadline)
{
    struct peer *peer = peer_new();
    peer->silent = true;
    check_failure(peer, 30, KEK_RPC_DEADLINE_EXCEEDED,
                  "no answer in time; is kekd well (systemctl status kekd)?", false);
    peer = peer_new();
    peer->silent = true;
    peer->mute = true;
    check_failure(peer, 30, KEK_RPC_DEADLINE_EXCEEDED,
                  "no answer in time; is kekd well (systemctl status kekd)?", false);
}
END_TEST

START_TEST(connect_names_the_socket)
{
    struct kek_why why;
    ck_assert_ptr_null(grpc_client_connect("/nonexistent/kms.sock", PLENTY_MS, &why));
    ck_assert_str_eq(why.text,
                     "cannot connect to /nonexistent/kms.sock: No such file or directory");
    char path[120];
    memset(path, 'a', sizeof path);
    path[sizeof path - 1] = '\0';
    ck_assert_ptr_null(grpc_client_connect(path, PLENTY_MS, &why));
    ck_assert_str_eq(why.text, "the socket's path is longer than 107 bytes");
    ck_assert_ptr_null(grpc_client_connect("", PLENTY_MS, &why));
    ck_assert_str_eq(why.text, "the socket's path is empty");
}
END_TEST

/* A server that is stopped: its backlog is full, and nobody makes room. */
START_TEST(connect_gives_up_on_a_full_backlog)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    char folder[] = "/tmp/kekd-test-XXXXXX";
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(at.sun_path, sizeof at.sun_path, "%s/s", folder);
    int server = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(bind(server, (const struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(server, 0), 0);
    int first = socket(AF_UNIX, SOCK_STREAM, 0);
    ck_assert_int_eq(connect(first, (const struct sockaddr *)&at, sizeof at), 0);

    struct kek_why why;
    ck_assert_ptr_null(grpc_client_connect(at.sun_path, 30, &why));
    ck_assert_int_eq(why.rc, KEK_DEADLINE);
    ck_assert_ptr_nonnull(strstr(why.text, ": nobody takes the connection in time"));
    close(first);
    close(server);
    unlink(at.sun_path);
    rmdir(folder);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kekctl_grpc");
    TCase *all = tcase_create("all");
    tcase_set_timeout(all, 60);
    tcase_add_test(all, call_sends_what_the_api_server_sends);
    tcase_add_test(all, call_puts_a_message_together_from_many_frames);
    tcase_add_test(all, call_takes_an_empty_message);
    tcase_add_test(all, call_moves_the_largest_messages_through_flow_control);
    tcase_add_test(all, call_refuses_an_answer_that_is_too_large);
    tcase_add_loop_test(all, call_fails_with_the_status_it_deserves, 0,
                        (int)(sizeof bad / sizeof bad[0]));
    tcase_add_test(all, call_fails_when_the_server_closes_first);
    tcase_add_test(all, call_fails_when_the_server_goes_away);
    tcase_add_test(all, call_fails_when_the_server_speaks_something_else);
    tcase_add_test(all, call_fails_at_its_deadline);
    tcase_add_test(all, connect_names_the_socket);
    tcase_add_test(all, connect_gives_up_on_a_full_backlog);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
