/* HTTP GET of kekctl: its limits, and what it says. Certificates are test_status.py's and
 * test_kekctl_nodes.py's. */
#include "suite.h"

#include <arpa/inet.h>
#include <pthread.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>

#include "kek/clock.h"
#include "kek/remote.h"

/* A server that answers whoever connects with the same bytes, then waits for the client's end. */
static const char *answer;
static int listener;
static pthread_t thread;
static char url[64];

static void *serve(void *arg)
{
    (void)arg;
    for (;;) {
        int fd = accept(listener, NULL, NULL);
        if (fd < 0) {
            return NULL;
        }
        char request[2048];
        ssize_t len = read(fd, request, sizeof request - 1);
        ck_assert_int_gt(len, 0);
        request[len] = '\0';
        ck_assert_ptr_nonnull(strstr(request, "GET /status HTTP/1.1\r\n"));
        const char *now = answer; /* the next test may set another */
        if (now[0] != '\0') {
            ck_assert_int_eq(write(fd, now, strlen(now)), (ssize_t)strlen(now));
            shutdown(fd, SHUT_WR);
        }
        while (read(fd, request, sizeof request) > 0) {
        }
        close(fd);
    }
}

static void setup(void)
{
    struct sockaddr_in at = {.sin_family = AF_INET, .sin_addr.s_addr = htonl(INADDR_LOOPBACK)};
    socklen_t len = sizeof at;
    answer = "";
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

static void start(struct kek_remote *remote, struct kek_remote_get *get, const char *of,
                  uint64_t timeout_ms, size_t max)
{
    *get = (struct kek_remote_get){
        .url = of, .plain = true, .deadline_ms = kek_clock_ms() + timeout_ms};
    kek_buf_init(&get->body, max);
    kek_remote_start(remote, get);
}

static void run(struct kek_remote *remote)
{
    while (kek_remote_turn(remote, NULL, 0, 1000) > 0) {
    }
}

static void fetch(struct kek_remote_get *get, uint64_t timeout_ms, size_t max)
{
    KEK_AUTO(kek_remote) remote = make();
    start(remote, get, url, timeout_ms, max);
    run(remote);
    ck_assert(get->done);
}

START_TEST(get_brings_the_body)
{
    struct kek_remote_get get;
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
    struct kek_remote_get get;
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
    fails("HTTP/1.1 302 Found\r\nLocation: http://127.0.0.1:1/\r\nContent-Length: 0\r\n\r\n",
          KEK_UNAVAILABLE, "HTTP status 302 ()");
    fails("HTTP/1.1 404 Not Found\r\nContent-Length: 10\r\n\r\nNot Found\n", KEK_UNAVAILABLE,
          "HTTP status 404 (Not Found): no kekd serves its status there");
    fails("HTTP/1.1 403 Forbidden\r\nContent-Length: 5\r\n\r\n\"\x1b\"\n.", KEK_DENIED,
          "HTTP status 403 (\"?\"): have its status.allow name");
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
    struct kek_remote_get get;
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
        {"http://localhost:1/", true, "a numeric address"},
        {"http://127.0.0.1@evil:1/", true, "a numeric address"},
        {"https://127.0.0.1:1/", true, "a numeric address"},
        {"http://[::1", true, "libcurl|URL"},
        {"http://127.0.0.1:1/", false, "only https://"},
        {"file:///etc/passwd", false, "only https://"},
        {"https://127.0.0.1:1/", false, "names no certificate"},
    };
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        struct kek_remote_get get = {
            .url = wrong[i].url, .plain = wrong[i].plain, .deadline_ms = kek_clock_ms() + 5000};
        KEK_AUTO(kek_remote) remote = make();
        kek_buf_init(&get.body, 100);
        kek_remote_start(remote, &get);
        run(remote);
        ck_assert(get.done);
        ck_assert_int_ne(get.rc, KEK_OK);
        ck_assert_msg(strchr(wrong[i].words, '|') != NULL ||
                          strstr(get.why.text, wrong[i].words) != NULL,
                      "%s", get.why.text);
        kek_buf_done(&get.body);
    }
}
END_TEST

START_TEST(a_proxy_of_the_environment_is_not_taken)
{
    setenv("http_proxy", "http://127.0.0.1:1", 1);
    setenv("ALL_PROXY", "http://127.0.0.1:1", 1);
    struct kek_remote_get get;
    answer = "HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello";
    fetch(&get, 5000, 100);
    ck_assert_msg(get.rc == KEK_OK, "%s", get.why.text);
    kek_buf_done(&get.body);
}
END_TEST

/* One that hangs does not hold up one that cannot be reached, nor what else is waited for. */
START_TEST(several_are_asked_at_once)
{
    struct kek_remote_get hangs, refused;
    KEK_AUTO(kek_remote) remote = make();
    int fds[2];
    ck_assert_int_eq(pipe(fds), 0);
    start(remote, &hangs, url, 60000, 100);
    start(remote, &refused, "http://127.0.0.1:1/status", 60000, 100);
    while (kek_remote_turn(remote, fds, 1, 60000) > 1) {
    }
    ck_assert(refused.done);
    ck_assert_int_eq(refused.rc, KEK_UNAVAILABLE);
    ck_assert_str_eq(refused.why.text, "http://127.0.0.1:1/status: Connection refused: does kekd "
                                       "run there, and listen on this address?");
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

int main(void)
{
    Suite *suite = suite_create("remote");
    TCase *tcase = tcase_create("remote");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 120);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, get_brings_the_body);
    tcase_add_test(tcase, get_says_what_came_instead);
    tcase_add_test(tcase, get_ends_at_its_deadline);
    tcase_add_test(tcase, nobody_is_asked_that_may_not_be);
    tcase_add_test(tcase, a_proxy_of_the_environment_is_not_taken);
    tcase_add_test(tcase, several_are_asked_at_once);
    return suite_run(suite);
}
