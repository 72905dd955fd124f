/* HTTP requests: what goes out, what comes back, the limits, and what is said. Certificates are
 * test_etcd.py's, test_status.py's and test_nodes.py's. */
#include "suite.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <time.h>

#include "kek/clock.h"
#include "kek/remote.h"
#include "kek/secret.h"

#define H2 "h2:" /* an answer that begins so is frames of HTTP/2, in hexadecimal digits */
#define H2_MAX 1024

/* A server that answers each request with the same bytes, then waits for the client's end. */
static const char *answer;
static unsigned drip_ms; /* between two bytes of the answer; 0: all at once */
static char asked[4096]; /* the last request, as far as one read brought it */
static unsigned connections;
static int listener;
static pthread_t thread;
static char url[64];

static size_t unhex(const char *digits, unsigned char *out)
{
    size_t len = 0;
    for (unsigned value = 0; digits[0] != '\0'; digits += digits[0] == ' ' ? 1 : 2) {
        if (digits[0] != ' ') {
            ck_assert_uint_lt(len, H2_MAX);
            char two[3] = {digits[0], digits[1], '\0'};
            value = (unsigned)strtoul(two, NULL, 16);
            out[len++] = (unsigned char)value;
        }
    }
    return len;
}

static void say(int fd, const void *bytes, size_t len)
{
    for (size_t i = 0; drip_ms > 0 && i < len; i++) {
        struct timespec pause = {.tv_nsec = drip_ms * 1000000L};
        (void)nanosleep(&pause, NULL);
        if (send(fd, (const char *)bytes + i, 1, MSG_NOSIGNAL) != 1) {
            return;
        }
    }
    if (drip_ms == 0) {
        ck_assert_int_eq(write(fd, bytes, len), (ssize_t)len);
    }
}

/* Once the DATA frame that ends the request has come, behind preface, SETTINGS, WINDOW_UPDATE and HEADERS. */
static void answer_h2(int fd)
{
    unsigned char in[4096], out[H2_MAX];
    size_t len = 0, at = 24;
    for (;;) {
        ssize_t more = read(fd, in + len, sizeof in - len);
        ck_assert_int_gt(more, 0);
        len += (size_t)more;
        while (at + 9 <= len && (in[at + 3] != 0 || in[at + 4] != 1)) {
            at += 9 + ((size_t)in[at] << 16 | (size_t)in[at + 1] << 8 | in[at + 2]);
        }
        if (at + 9 <= len) {
            say(fd, out, unhex(answer + sizeof H2 - 1, out));
            return;
        }
    }
}

static bool answer_h1(int fd)
{
    ssize_t len = read(fd, asked, sizeof asked - 1);
    const char *now = answer; /* the next test may set another */
    if (len <= 0) {
        return false;
    }
    asked[len] = '\0';
    ck_assert_ptr_nonnull(strstr(asked, " /status HTTP/1.1\r\n"));
    if (now[0] == '\0') {
        return true;
    }
    say(fd, now, strlen(now));
    if (strstr(now, "keep-alive") == NULL) {
        shutdown(fd, SHUT_WR);
    }
    return true;
}

static void *serve(void *arg)
{
    char rest[256];
    (void)arg;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        connections++;
        if (strncmp(answer, H2, sizeof H2 - 1) == 0) {
            answer_h2(fd);
        } else {
            while (answer_h1(fd) && strstr(answer, "keep-alive") != NULL) {
            }
        }
        while (read(fd, rest, sizeof rest) > 0) {
        }
        close(fd);
    }
}

static void setup(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    answer = "";
    drip_ms = 0;
    connections = 0;
    asked[0] = '\0';
    listener = socket(AF_INET, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(listener, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(listener, 8), 0);
    ck_assert_int_eq(getsockname(listener, (struct sockaddr *)&at, &len), 0);
    snprintf(url, sizeof url, "http://127.0.0.1:%u/status", ntohs(at.sin_port));
    ck_assert_int_eq(pthread_create(&thread, NULL, serve, NULL), 0);
}

static void teardown(void)
{
    shutdown(listener, SHUT_RDWR);
    pthread_join(thread, NULL);
    close(listener);
}

static struct kek_remote *make(void)
{
    struct kek_why why = {.text = ""};
    struct kek_remote *remote = kek_remote_new(&(struct kek_remote_settings){0}, &why);
    ck_assert_msg(remote != NULL, "%s", why.text);
    return remote;
}

static void start(struct kek_remote *remote, struct kek_remote_call *get, const char *of,
                  uint64_t timeout_ms, size_t max)
{
    *get = (struct kek_remote_call){
        .url = of, .plain = true, .deadline_ms = kek_clock_ms() + timeout_ms};
    kek_buf_init(&get->body, max);
    kek_remote_start(remote, get);
}

static void run(struct kek_remote *remote)
{
    while (kek_remote_turn(remote, NULL, 0, 1000) > 0) {
    }
}

static void fetch(struct kek_remote_call *get, uint64_t timeout_ms, size_t max)
{
    KEK_AUTO(kek_remote) remote = make();
    start(remote, get, url, timeout_ms, max);
    run(remote);
    ck_assert(get->done);
}

START_TEST(get_brings_the_body)
{
    struct kek_remote_call get;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    fetch(&get, 5000, 5);
    ck_assert_msg(get.rc == KEK_OK, "%s", get.why.text);
    ck_assert_int_eq(get.status, 200);
    ck_assert(kek_bytes_equal(kek_buf_bytes(&get.body), kek_bytes_of("hello")));
    kek_buf_done(&get.body);
}
END_TEST

static void fails(const char *with, enum kek_rc rc, const char *words)
{
    struct kek_remote_call get;
    answer = with;
    fetch(&get, 5000, 1000);
    ck_assert_int_eq(get.rc, rc);
    ck_assert_msg(strstr(get.why.text, words) != NULL, "%s", get.why.text);
    ck_assert_msg(strncmp(get.why.text, url, strlen(url)) == 0, "%s", get.why.text);
    kek_buf_done(&get.body);
}

START_TEST(get_says_what_came_instead)
{
    char large[3000], endless[3000];
    static const struct {
        int status;
        enum kek_rc rc;
    } by_status[] = {{302, KEK_UNAVAILABLE},  {400, KEK_INVALID},     {401, KEK_DENIED},
                     {403, KEK_DENIED},       {404, KEK_NOT_FOUND},   {408, KEK_UNAVAILABLE},
                     {409, KEK_PRECONDITION}, {410, KEK_INVALID},     {412, KEK_PRECONDITION},
                     {422, KEK_INVALID},      {429, KEK_UNAVAILABLE}, {500, KEK_UNAVAILABLE},
                     {503, KEK_UNAVAILABLE},  {304, KEK_UNAVAILABLE}};
    for (size_t i = 0; i < sizeof by_status / sizeof by_status[0]; i++) {
        char text[160], words[64];
        int status = by_status[i].status;
        snprintf(text, sizeof text,
                 "HTTP/1.1 %d No\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: %d\r\n\r\n%s",
                 status, status == 304 ? 0 : 5, status == 304 ? "" : "\"\x1b\"\n.");
        snprintf(words, sizeof words, "HTTP status %d (%s)", status, status == 304 ? "" : "\"?\"");
        fails(text, by_status[i].rc, words);
    }
    fails("hello", KEK_UNAVAILABLE, "HTTP/0.9");
    fails("HTTP/1.1 200 OK\r\nContent-Length: 50\r\n\r\nhello", KEK_UNAVAILABLE, "bytes");
    snprintf(large, sizeof large, "HTTP/1.1 200 OK\r\nContent-Length: 1001\r\n\r\n%01001d", 0);
    fails(large, KEK_TOO_LARGE, "more than 1000 bytes");
    snprintf(endless, sizeof endless, "HTTP/1.1 200 OK\r\n\r\n%01001d", 0);
    fails(endless, KEK_TOO_LARGE, "more than 1000 bytes");
}
END_TEST

START_TEST(get_ends_at_its_deadline)
{
    struct kek_remote_call get;
    uint64_t began = kek_clock_ms();
    fetch(&get, 100, 1000);
    ck_assert_int_eq(get.rc, KEK_DEADLINE);
    ck_assert_uint_ge(kek_clock_ms() - began, 100);
    ck_assert_uint_lt(kek_clock_ms() - began, 5000);
    ck_assert_ptr_nonnull(strstr(get.why.text, "no answer in time"));
    kek_buf_done(&get.body);
    fetch(&get, 0, 1000);
    ck_assert_int_eq(get.rc, KEK_DEADLINE);
    kek_buf_done(&get.body);
}
END_TEST

START_TEST(nobody_is_asked_that_may_not_be)
{
    static const struct {
        const char *url;
        bool plain;
        const char *words;
    } wrong[] = {
        {"http://127.0.0.1@evil:1/", true, "http://evil:1/: a user or password in a URL"},
        {"http://me:word@127.0.0.1:1/", true, "http://127.0.0.1:1/: a user or password"},
        {"https://127.0.0.1:1/", true, "only http://"},
        {"http://[::1", true, "this is no URL"},
        {"http://127.0.0.1:1/", false, "only https://"},
        {"file:///etc/passwd", false, "only https://"},
        {"https://127.0.0.1:1/a?token=b", false, "https://127.0.0.1:1/a: no CA is named"},
        {"https://127.0.0.1:1/\r\n", false, "this is no URL"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct kek_remote_call get = {
            .url = wrong[i].url, .plain = wrong[i].plain, .deadline_ms = kek_clock_ms() + 5000};
        KEK_AUTO(kek_remote) remote = make();
        kek_buf_init(&get.body, 100);
        kek_remote_start(remote, &get);
        run(remote);
        ck_assert(get.done);
        ck_assert_int_ne(get.rc, KEK_OK);
        ck_assert_msg(strstr(get.why.text, wrong[i].words) != NULL, "%s", get.why.text);
        kek_buf_done(&get.body);
    }
}
END_TEST

START_TEST(a_proxy_of_the_environment_is_not_taken)
{
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    struct kek_remote_call get;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    fetch(&get, 5000, 100);
    ck_assert_msg(get.rc == KEK_OK, "%s", get.why.text);
    kek_buf_done(&get.body);
}
END_TEST

/* One that hangs does not hold up one that cannot be reached, nor what else is waited for. */
START_TEST(several_are_asked_at_once)
{
    struct kek_remote_call hangs, refused;
    KEK_AUTO(kek_remote) remote = make();
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    start(remote, &hangs, url, 60000, 100);
    start(remote, &refused, "http://127.0.0.1:1/status", 60000, 100);
    while (kek_remote_turn(remote, fds, 1, 60000) > 1) {
    }
    ck_assert(refused.done);
    ck_assert_int_eq(refused.rc, KEK_UNAVAILABLE);
    ck_assert_str_eq(refused.why.text, "http://127.0.0.1:1/status: Connection refused: does the "
                                       "server run there, and listen on this address?");
    ck_assert(!hangs.done);
    uint64_t began = kek_clock_ms();
    ck_assert_int_eq(write(fds[1], "x", 1), 1);
    ck_assert_uint_eq(kek_remote_turn(remote, fds, 1, 60000), 1);
    close(fds[1]); /* the other end is gone: that is something, too */
    char byte;
    ck_assert_int_eq(read(fds[0], &byte, 1), 1);
    ck_assert_uint_eq(kek_remote_turn(remote, fds, 1, 60000), 1);
    ck_assert_uint_lt(kek_clock_ms() - began, 30000);
    close(fds[0]);
    kek_remote_free(KEK_STEAL(remote));
    ck_assert(hangs.done);
    ck_assert_int_eq(hangs.rc, KEK_CANCELLED);
    kek_buf_done(&hangs.body);
    kek_buf_done(&refused.body);
    kek_remote_free(NULL);
}
END_TEST

/* What goes out: method, headers, a credential, a body. */
START_TEST(request_is_sent_as_it_is_meant)
{
    static const char *const headers[] = {"Content-Type: application/json", "X-More: yes", NULL};
    static const char token[] = "Authorization: Bearer word";
    static const struct {
        const char *method, *send, *line;
    } cases[] = {{"PATCH", "{\"a\":1}", "PATCH /status HTTP/1.1\r\n"},
                 {"POST", "{\"a\":1}", "POST /status HTTP/1.1\r\n"},
                 {"POST", "", "POST /status HTTP/1.1\r\n"},
                 {"DELETE", "", "DELETE /status HTTP/1.1\r\n"}};
    KEK_AUTO(kek_secret) credential = kek_secret_dup(kek_bytes(token, sizeof token));
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        KEK_AUTO(kek_remote) remote = make();
        struct kek_remote_call call = {.method = cases[i].method,
                                       .url = url,
                                       .plain = true,
                                       .headers = headers,
                                       .credential = credential,
                                       .send = kek_bytes_of(cases[i].send),
                                       .deadline_ms = kek_clock_ms() + 5000};
        char length[64];
        answer = "HTTP/1.1 201 Created\r\nContent-Length: 0\r\n\r\n";
        kek_buf_init(&call.body, 100);
        ck_assert_msg(kek_remote_run(remote, &call) == KEK_OK, "%s", call.why.text);
        ck_assert_int_eq(call.status, 201);
        ck_assert_ptr_eq(strstr(asked, cases[i].line), asked);
        ck_assert_ptr_nonnull(strstr(asked, "\r\nContent-Type: application/json\r\nX-More: yes\r\n"
                                            "Authorization: Bearer word\r\n"));
        ck_assert_ptr_null(strstr(asked, "Expect:"));
        snprintf(length, sizeof length, "\r\nContent-Length: %zu\r\n", strlen(cases[i].send));
        ck_assert(strcmp(cases[i].method, "DELETE") == 0 || strstr(asked, length) != NULL);
        ck_assert_str_eq(strstr(asked, "\r\n\r\n") + 4, cases[i].send);
    }
}
END_TEST

/* By http no further than this machine, and in no message. */
START_TEST(credential_stays_here_without_tls)
{
    static const char token[] = "token: s3cret", broken[] = "token: s3cret\nHost: evil";
    static const char *const away[] = {"http://192.0.2.1:1/", "http://evil:1/", "http://127.1:1/",
                                       "http://127.0.0.1.evil:1/", "http://[2001:db8::1]:1/"};
    static const char *const here[] = {"http://127.0.0.1:1/", "http://localhost:1/",
                                       "http://[::1]:1/", "http://127.9.9.9:1/"};
    KEK_AUTO(kek_secret) credential = kek_secret_dup(kek_bytes(token, sizeof token));
    KEK_AUTO(kek_secret) two_lines = kek_secret_dup(kek_bytes(broken, sizeof broken));
    KEK_AUTO(kek_remote) remote = make();
    for (size_t i = 0; i < 2 * sizeof away / sizeof away[0]; i++) {
        struct kek_remote_call call = {.url = away[i / 2],
                                       .plain = true,
                                       .credential = i % 2 == 0 ? credential : NULL,
                                       .send = kek_bytes_of("s3cret"),
                                       .send_secret = i % 2 == 1,
                                       .deadline_ms = kek_clock_ms() + 5000};
        bool taken = strcmp(call.url, "http://127.1:1/") == 0; /* libcurl reads it as 127.0.0.1 */
        ck_assert_int_eq(kek_remote_run(remote, &call), taken ? KEK_UNAVAILABLE : KEK_INVALID);
        ck_assert(taken || strstr(call.why.text, "is sent by https:// alone") != NULL);
        ck_assert_ptr_null(strstr(call.why.text, "s3cret"));
    }
    for (size_t i = 0; i < sizeof here / sizeof here[0]; i++) {
        struct kek_remote_call call = {.url = here[i],
                                       .plain = true,
                                       .credential = credential,
                                       .deadline_ms = kek_clock_ms() + 5000};
        ck_assert_int_eq(kek_remote_run(remote, &call), KEK_UNAVAILABLE);
        call.credential = two_lines;
        ck_assert_int_eq(kek_remote_run(remote, &call), KEK_INVALID);
        ck_assert_ptr_nonnull(
            strstr(call.why.text, "control character, such as a line break, in byte 14"));
    }
    struct kek_remote_settings through = {.proxy = "http://192.0.2.1:1"};
    KEK_AUTO(kek_remote) proxied = kek_remote_new(&through, NULL);
    struct kek_remote_call call = {.url = here[0],
                                   .plain = true,
                                   .credential = credential,
                                   .deadline_ms = kek_clock_ms() + 5000};
    ck_assert_int_eq(kek_remote_run(proxied, &call), KEK_INVALID);
}
END_TEST

struct taken {
    char text[64];
    size_t pieces;
    enum kek_rc rc;
};

static enum kek_rc take(void *arg, struct kek_bytes piece, struct kek_why *why)
{
    struct taken *taken = arg;
    size_t len = strlen(taken->text);
    ck_assert_uint_lt(len + piece.len, sizeof taken->text);
    memcpy(taken->text + len, piece.data, piece.len);
    taken->pieces++;
    return taken->rc == KEK_OK ? KEK_OK : kek_fail(why, taken->rc, "enough of it");
}

/* The body in pieces, and headers that are asked for; an interim answer's are not taken for them. */
START_TEST(body_comes_in_pieces_and_headers_by_name)
{
    struct kek_remote_header wanted[] = {
        {.name = "retry-after"}, {.name = "Warning"}, {.name = "X"}};
    struct taken taken = {.rc = KEK_OK};
    struct kek_remote_call call = {.url = url,
                                   .plain = true,
                                   .take = take,
                                   .take_arg = &taken,
                                   .wanted = wanted,
                                   .wanted_count = 3};
    KEK_AUTO(kek_remote) remote = make();
    kek_buf_init(&call.body, 4);
    answer = "HTTP/1.1 103 Early Hints\r\nX: no\r\n\r\n"
             "HTTP/1.1 200 OK\r\nTransfer-Encoding: chunked\r\nRETRY-AFTER:  7 \r\nX-: no\r\n\r\n"
             "2\r\nhe\r\n3\r\nllo\r\n0\r\nWarning: late\r\n\r\n";
    call.deadline_ms = kek_clock_ms() + 5000;
    ck_assert_msg(kek_remote_run(remote, &call) == KEK_OK, "%s", call.why.text);
    ck_assert_str_eq(taken.text, "hello");
    ck_assert_uint_ge(taken.pieces, 2);
    ck_assert_uint_eq(call.body.len, 0);
    ck_assert_str_eq(wanted[0].value, "7");
    ck_assert_str_eq(wanted[1].value, "late");
    ck_assert_str_eq(wanted[2].value, "");

    /* What the taker says ends it. */
    taken = (struct taken){.rc = KEK_DAMAGED};
    call.deadline_ms = kek_clock_ms() + 5000;
    ck_assert_int_eq(kek_remote_run(remote, &call), KEK_DAMAGED);
    ck_assert_str_eq(call.why.text, "enough of it");
    ck_assert_uint_eq(taken.pieces, 1);

    /* What an error says goes to the body, as far as it fits. */
    answer = "HTTP/1.1 429 Slow\r\nRetry-After: 12\r\nContent-Length: 8\r\n\r\nslowly!!";
    taken = (struct taken){.rc = KEK_OK};
    call.deadline_ms = kek_clock_ms() + 5000;
    ck_assert_int_eq(kek_remote_run(remote, &call), KEK_UNAVAILABLE);
    ck_assert_int_eq(call.status, 429);
    ck_assert_uint_eq(taken.pieces, 0);
    ck_assert(kek_bytes_equal(kek_buf_bytes(&call.body), kek_bytes_of("slow")));
    ck_assert_str_eq(wanted[0].value, "12");
    kek_buf_done(&call.body);
}
END_TEST

START_TEST(endless_header_ends_the_call)
{
    static char large[KEK_REMOTE_HEADERS_MAX + 4096];
    size_t len = (size_t)snprintf(large, sizeof large, "HTTP/1.1 200 OK\r\n");
    while (len < KEK_REMOTE_HEADERS_MAX + 100) {
        len += (size_t)snprintf(large + len, sizeof large - len, "X: %0500d\r\n", 0);
    }
    fails(large, KEK_TOO_LARGE, "header has more than 65536 bytes");
}
END_TEST

/* A long body may take its time, as long as something comes. */
START_TEST(silence_ends_the_call)
{
    KEK_AUTO(kek_remote) remote = make();
    struct kek_remote_call call;
    drip_ms = 5;
    answer = "HTTP/1.1 200 OK\r\n\r\n"
             "0123456789012345678901234567890123456789";
    start(remote, &call, url, 60000, 100);
    kek_remote_stop(remote, &call);
    ck_assert(call.done);
    ck_assert_int_eq(call.rc, KEK_CANCELLED);
    kek_remote_stop(remote, &call); /* again: nothing */
    call.idle_ms = 150;
    ck_assert_msg(kek_remote_run(remote, &call) == KEK_OK, "%s", call.why.text);
    ck_assert_uint_eq(call.body.len, 40);

    answer = "";
    uint64_t began = kek_clock_ms();
    ck_assert_int_eq(kek_remote_run(remote, &call), KEK_DEADLINE);
    ck_assert_uint_ge(kek_clock_ms() - began, 150);
    ck_assert_uint_lt(kek_clock_ms() - began, 10000);
    ck_assert_ptr_nonnull(strstr(call.why.text, "nothing came for 150 ms"));
    kek_buf_done(&call.body);
}
END_TEST

START_TEST(connection_is_kept)
{
    KEK_AUTO(kek_remote) remote = make();
    answer = "HTTP/1.1 200 OK\r\nConnection: keep-alive\r\nContent-Length: 5\r\n\r\nhello";
    for (int i = 0; i < 3; i++) {
        struct kek_remote_call call;
        start(remote, &call, url, 5000, 100);
        run(remote);
        ck_assert_msg(call.rc == KEK_OK, "%s", call.why.text);
        kek_buf_done(&call.body);
    }
    ck_assert_uint_eq(connections, 1);
}
END_TEST

/* Frames: SETTINGS; HEADERS :status 200, content-type: application/grpc; DATA hello; HEADERS that end the
 * stream, grpc-status: 0, grpc-message: fine. */
START_TEST(http2_has_trailers)
{
    struct kek_remote_header wanted[] = {
        {.name = "content-type"}, {.name = "grpc-status"}, {.name = "grpc-message"}};
    struct kek_remote_call call = {.method = "POST",
                                   .url = url,
                                   .plain = true,
                                   .http2 = true,
                                   .send = kek_bytes_of("ask"),
                                   .wanted = wanted,
                                   .wanted_count = 3,
                                   .deadline_ms = kek_clock_ms() + 5000};
    KEK_AUTO(kek_remote) remote = make();
    kek_buf_init(&call.body, 100);
    answer = H2 "000000 04 00 00000000 "
                "000020 01 04 00000001 88 00 0c 636f6e74656e742d74797065 10 "
                "6170706c69636174696f6e2f67727063 "
                "000005 00 00 00000001 68656c6c6f "
                "000022 01 05 00000001 00 0b 677270632d737461747573 01 30 "
                "00 0c 677270632d6d657373616765 04 66696e65";
    ck_assert_msg(kek_remote_run(remote, &call) == KEK_OK, "%s", call.why.text);
    ck_assert(kek_bytes_equal(kek_buf_bytes(&call.body), kek_bytes_of("hello")));
    ck_assert_str_eq(wanted[0].value, "application/grpc");
    ck_assert_str_eq(wanted[1].value, "0");
    ck_assert_str_eq(wanted[2].value, "fine");
    kek_buf_done(&call.body);
}
END_TEST

START_TEST(unix_socket_is_asked)
{
    char folder[] = "/tmp/kek-remote-XXXXXX";
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(at.sun_path, sizeof at.sun_path, "%s/socket", folder);
    int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    ck_assert_int_eq(listen(fd, 8), 0);
    KEK_AUTO(kek_remote) remote = make();
    struct kek_remote_call call;
    start(remote, &call, "http://localhost/status", 5000, 100);
    kek_remote_stop(remote, &call);
    call.socket = at.sun_path;
    kek_remote_start(remote, &call);
    ck_assert_uint_eq(kek_remote_turn(remote, NULL, 0, 100), 1);
    int peer = accept(fd, NULL, NULL);
    ck_assert_int_ge(peer, 0);
    while (kek_remote_turn(remote, NULL, 0, 10) > 0 && recv(peer, asked, 5, MSG_DONTWAIT) != 5) {
    }
    static const char text[] = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    ck_assert_int_eq(write(peer, text, sizeof text - 1), sizeof text - 1);
    run(remote);
    ck_assert_msg(call.rc == KEK_OK, "%s", call.why.text);
    close(peer);
    close(fd);
    unlink(at.sun_path);
    rmdir(folder);
    call.url = "https://localhost/status";
    call.plain = false;
    ck_assert_int_eq(kek_remote_run(remote, &call), KEK_INVALID);
    ck_assert_ptr_nonnull(strstr(call.why.text, "a Unix socket is asked by http://"));
    kek_buf_done(&call.body);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("remote");
    TCase *tcase = tcase_create("remote");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 120);
    bool locked;
    if (kek_secret_setup(1 << 16, &locked, NULL) != KEK_OK) {
        return 1;
    }
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, get_brings_the_body);
    tcase_add_test(tcase, get_says_what_came_instead);
    tcase_add_test(tcase, get_ends_at_its_deadline);
    tcase_add_test(tcase, nobody_is_asked_that_may_not_be);
    tcase_add_test(tcase, a_proxy_of_the_environment_is_not_taken);
    tcase_add_test(tcase, several_are_asked_at_once);
    tcase_add_test(tcase, request_is_sent_as_it_is_meant);
    tcase_add_test(tcase, credential_stays_here_without_tls);
    tcase_add_test(tcase, body_comes_in_pieces_and_headers_by_name);
    tcase_add_test(tcase, endless_header_ends_the_call);
    tcase_add_test(tcase, silence_ends_the_call);
    tcase_add_test(tcase, connection_is_kept);
    tcase_add_test(tcase, http2_has_trailers);
    tcase_add_test(tcase, unix_socket_is_asked);
    return suite_run(suite);
}
