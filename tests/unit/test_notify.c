/* What the service manager hears. */
#include <errno.h>
#include <stddef.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "kek/notify.h"
#include "ops_folder.h"

/* A service manager: a datagram socket at a path or, with '@', in the abstract namespace. */
static int manager_at(const char *name)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    size_t len = strlen(name);
    ck_assert_uint_lt(len, sizeof at.sun_path);
    memcpy(at.sun_path, name, len);
    if (name[0] == '@') {
        at.sun_path[0] = '\0';
    }
    int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    socklen_t size = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, size), 0);
    setenv("NOTIFY_SOCKET", name, 1);
    return fd;
}

static void hears(int fd, const char *expected)
{
    char heard[2 * KEK_NOTIFY_STATUS_MAX];
    ssize_t n = recv(fd, heard, sizeof heard - 1, 0);
    ck_assert_int_ge(n, 0);
    heard[n] = '\0';
    ck_assert_str_eq(heard, expected);
}

static struct kek_notify *new_ok(uv_loop_t *loop)
{
    struct kek_why why = {.text = ""};
    ck_assert_int_eq(uv_loop_init(loop), 0);
    struct kek_notify *notify = kek_notify_new(loop, &why);
    ck_assert_msg(notify != NULL, "%s", why.text);
    return notify;
}

static void end(uv_loop_t *loop, struct kek_notify *notify)
{
    kek_notify_free(notify);
    uv_run(loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(loop), 0);
}

static void speak_at(const char *name)
{
    uv_loop_t loop;
    int fd = manager_at(name);
    struct kek_notify *notify = new_ok(&loop);
    ck_assert_ptr_null(getenv("NOTIFY_SOCKET"));
    ck_assert_int_eq(kek_notify_ready(notify, "serving", NULL), KEK_OK);
    hears(fd, "READY=1\nSTATUS=serving");
    kek_notify_status(notify, "line\nREADY=0\ttab \xc3\xbc \xc3");
    hears(fd, "STATUS=line?READY=0?tab \xc3\xbc ?");
    ck_assert_int_eq(kek_notify_stopping(notify, "draining", NULL), KEK_OK);
    hears(fd, "STOPPING=1\nSTATUS=draining");
    close(fd);
    end(&loop, notify);
}

START_TEST(ready_status_and_stopping_arrive_at_a_path)
{
    speak_at(folder_path("notify"));
}
END_TEST

START_TEST(ready_status_and_stopping_arrive_in_the_abstract_namespace)
{
    char name[96];
    snprintf(name, sizeof name, "@%s/abstract", folder);
    speak_at(name);
}
END_TEST

START_TEST(status_is_cut_at_its_maximum)
{
    uv_loop_t loop;
    char longer[2 * KEK_NOTIFY_STATUS_MAX], expected[sizeof longer] = "STATUS=";
    int fd = manager_at(folder_path("notify"));
    struct kek_notify *notify = new_ok(&loop);
    memset(longer, 'a', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    memcpy(expected + 7, longer, KEK_NOTIFY_STATUS_MAX);
    expected[7 + KEK_NOTIFY_STATUS_MAX] = '\0';
    kek_notify_status(notify, longer);
    hears(fd, expected);
    close(fd);
    end(&loop, notify);
}
END_TEST

START_TEST(nothing_is_said_where_nobody_listens)
{
    uv_loop_t loop;
    unsetenv("NOTIFY_SOCKET");
    setenv("WATCHDOG_USEC", "2000", 1);
    struct kek_notify *notify = new_ok(&loop);
    ck_assert_int_eq(kek_notify_ready(notify, "serving", NULL), KEK_OK);
    kek_notify_status(notify, "x");
    ck_assert_int_eq(uv_run(&loop, UV_RUN_NOWAIT), 0);
    end(&loop, notify);
    kek_notify_free(NULL);
}
END_TEST

START_TEST(a_full_or_missing_manager_fails_and_never_blocks)
{
    uv_loop_t loop;
    struct kek_why why = {.rc = KEK_OK};
    int fd = manager_at(folder_path("notify"));
    struct kek_notify *notify = new_ok(&loop);
    enum kek_rc rc = KEK_OK;
    for (int i = 0; i < 100000 && rc == KEK_OK; i++) {
        rc = kek_notify_ready(notify, "again", &why);
    }
    ck_assert_int_eq(rc, KEK_UNAVAILABLE);
    ck_assert_uint_eq(why.code, EAGAIN);
    close(fd);
    ck_assert_int_eq(kek_notify_stopping(notify, "x", &why), KEK_UNAVAILABLE);
    ck_assert_uint_eq(why.code, ECONNREFUSED);
    end(&loop, notify);
}
END_TEST

/* Turns the loop until the timer it brings has run `left` times. */
static void on_turn(uv_timer_t *timer)
{
    int *left = timer->data;
    (*left)--;
    if (*left == 0) {
        uv_close((uv_handle_t *)timer, NULL);
    }
}

static size_t pings_heard(const char *usec, const char *pid)
{
    uv_loop_t loop;
    uv_timer_t turn;
    int left = 40;
    size_t heard = 0;
    char word[64];
    int fd = manager_at(folder_path("notify"));
    setenv("WATCHDOG_USEC", usec, 1);
    if (pid != NULL) {
        setenv("WATCHDOG_PID", pid, 1);
    }
    struct kek_notify *notify = new_ok(&loop);
    ck_assert_ptr_null(getenv("WATCHDOG_USEC"));
    ck_assert_ptr_null(getenv("WATCHDOG_PID"));
    uv_timer_init(&loop, &turn);
    turn.data = &left;
    uv_timer_start(&turn, on_turn, 1, 1);
    uv_run(&loop, UV_RUN_DEFAULT); /* ends although the watchdog's timer goes on */
    while (recv(fd, word, sizeof word, 0) == 10) {
        ck_assert_int_eq(memcmp(word, "WATCHDOG=1", 10), 0);
        heard++;
    }
    close(fd);
    ck_assert_int_eq(unlink(folder_path("notify")), 0);
    end(&loop, notify);
    return heard;
}

START_TEST(watchdog_is_fed_by_the_loop_of_the_process_it_is_meant_for)
{
    char own[24];
    snprintf(own, sizeof own, "%ld", (long)getpid());
    ck_assert_uint_ge(pings_heard("4000", NULL), 2);
    ck_assert_uint_ge(pings_heard("4000", own), 2);
    ck_assert_uint_eq(pings_heard("4000", "1"), 0);
    ck_assert_uint_eq(pings_heard("3600000000", NULL), 0);
}
END_TEST

START_TEST(variables_that_make_no_sense_are_refused_by_name)
{
    static const char *const bad[][3] = {
        {"relative", NULL, NULL}, {"@", NULL, NULL},  {"", NULL, NULL},    {"/n", "", NULL},
        {"/n", "0", NULL},        {"/n", "-5", NULL}, {"/n", "10s", NULL}, {"/n", "1000", "self"},
    };
    static const char *const names[] = {"NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"};
    uv_loop_t loop;
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        size_t wrong = 0;
        for (size_t n = 0; n < 3; n++) {
            if (bad[i][n] != NULL) {
                setenv(names[n], bad[i][n], 1);
                wrong = n;
            }
        }
        struct kek_why why = {.rc = KEK_OK};
        ck_assert_ptr_null(kek_notify_new(&loop, &why));
        ck_assert_int_eq(why.rc, KEK_INVALID);
        ck_assert_msg(strstr(why.text, names[wrong]) != NULL, "%s", why.text);
        ck_assert_ptr_null(getenv(names[0]));
    }
    ck_assert_int_eq(uv_loop_close(&loop), 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("notify");
    TCase *tcase = tcase_create("notify");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, folder_make, folder_remove);
    tcase_add_test(tcase, ready_status_and_stopping_arrive_at_a_path);
    tcase_add_test(tcase, ready_status_and_stopping_arrive_in_the_abstract_namespace);
    tcase_add_test(tcase, status_is_cut_at_its_maximum);
    tcase_add_test(tcase, nothing_is_said_where_nobody_listens);
    tcase_add_test(tcase, a_full_or_missing_manager_fails_and_never_blocks);
    tcase_add_test(tcase, watchdog_is_fed_by_the_loop_of_the_process_it_is_meant_for);
    tcase_add_test(tcase, variables_that_make_no_sense_are_refused_by_name);
    return suite_run(suite);
}
