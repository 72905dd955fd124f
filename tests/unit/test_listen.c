/* The listening socket: made, taken over, refused, inherited. */
#include <errno.h>
#include <fcntl.h>
#include <signal.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>
#include <sys/wait.h>

#include "apart.h"
#include "kek/listen.h"
#include "ops_folder.h"

#define STARTERS 20

static struct sockaddr_un address_of(const char *path)
{
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    snprintf(at.sun_path, sizeof at.sun_path, "%s", path);
    return at;
}

static bool can_connect(const char *path)
{
    struct sockaddr_un at = address_of(path);
    KEK_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM, 0);
    return connect(fd, (struct sockaddr *)&at, sizeof at) == 0;
}

static int socket_at(const char *path, int type, bool listens)
{
    struct sockaddr_un at = address_of(path);
    int fd = socket(AF_UNIX, type, 0);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(bind(fd, (struct sockaddr *)&at, sizeof at), 0);
    if (listens) {
        ck_assert_int_eq(listen(fd, 1), 0);
    }
    return fd;
}

static bool exists(const char *path)
{
    struct stat st;
    return lstat(path, &st) == 0;
}

static struct kek_listen *open_ok(const char *path, mode_t mode)
{
    struct kek_listen *made = NULL;
    struct kek_why why = {.text = ""};
    ck_assert_msg(kek_listen_open(path, mode, &made, &why) == KEK_OK, "%s", why.text);
    ck_assert_ptr_nonnull(made);
    return made;
}

/* Fails with this class, in words that hold `says`, and leaves the output alone. */
static void open_fails(const char *path, enum kek_rc rc, const char *says)
{
    struct kek_listen *made = NULL;
    struct kek_why why = {.text = ""};
    ck_assert_int_eq(kek_listen_open(path, 0600, &made, &why), rc);
    ck_assert_ptr_null(made);
    ck_assert_int_eq(why.rc, rc);
    ck_assert_msg(strstr(why.text, says) != NULL, "\"%s\" lacks \"%s\"", why.text, says);
}

START_TEST(open_makes_a_socket_that_accepts_and_removes_it_at_the_end)
{
    const char *path = folder_path("kms.sock");
    struct kek_listen *made = open_ok(path, 0600);
    ck_assert(!kek_listen_inherited(made));
    ck_assert(can_connect(path));
    int fd = kek_listen_take(made);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(kek_listen_take(made), -1);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    close(fd);
    kek_listen_free(made);
    ck_assert(!exists(path));
    kek_listen_free(NULL);
}
END_TEST

START_TEST(open_gives_the_mode_asked_for_whatever_the_umask_is)
{
    static const mode_t modes[] = {0600, 0660, 0666}, masks[] = {0, 022, 0777};
    const char *path = folder_path("kms.sock"), *lock = folder_path("kms.sock.lock");
    for (size_t m = 0; m < 3; m++) {
        for (size_t u = 0; u < 3; u++) {
            mode_t before = umask(masks[u]);
            struct kek_listen *made = open_ok(path, modes[m]);
            ck_assert_int_eq(umask(before), masks[u]);
            struct stat st;
            ck_assert_int_eq(lstat(path, &st), 0);
            ck_assert_int_eq(st.st_mode & 07777, modes[m]);
            kek_listen_free(made);
            ck_assert_int_eq(lstat(lock, &st), 0);
            ck_assert_int_eq(st.st_mode & 07777, 0600);
            ck_assert_int_eq(unlink(lock), 0);
        }
    }
}
END_TEST

START_TEST(open_takes_over_a_socket_that_nobody_listens_on)
{
    const char *path = folder_path("kms.sock");
    close(socket_at(path, SOCK_STREAM, true));
    ck_assert(exists(path) && !can_connect(path));
    struct kek_listen *made = open_ok(path, 0600);
    ck_assert(can_connect(path));
    kek_listen_free(made);
}
END_TEST

START_TEST(open_leaves_a_live_socket_undisturbed_and_says_who_has_it)
{
    const char *path = folder_path("kms.sock");
    struct kek_listen *first = open_ok(path, 0600);
    char says[64];
    snprintf(says, sizeof says, "process %ld listens on %s", (long)getpid(), path);
    open_fails(path, KEK_PRECONDITION, says);
    ck_assert(can_connect(path));
    kek_listen_free(first);

    /* The same without our lock: a socket of another program. */
    int other = socket_at(path, SOCK_STREAM, true);
    open_fails(path, KEK_PRECONDITION, says);
    ck_assert(can_connect(path));
    close(other);
}
END_TEST

static bool is_refused_from_apart(void)
{
    struct kek_listen *made = NULL;
    struct kek_why why = {.text = ""};
    return kek_listen_open(folder_path("kms.sock"), 0600, &made, &why) == KEK_PRECONDITION &&
           strncmp(why.text, "a process of another container listens on ", 42) == 0;
}

START_TEST(open_knows_no_pid_of_a_process_of_another_pid_namespace)
{
    struct kek_listen *first = open_ok(folder_path("kms.sock"), 0600);
    ck_assert(apart_holds(is_refused_from_apart));
    kek_listen_free(first);
}
END_TEST

START_TEST(open_takes_a_full_backlog_and_a_foreign_kind_for_live)
{
    const char *path = folder_path("kms.sock");
    struct sockaddr_un at = address_of(path);
    int server = socket_at(path, SOCK_STREAM, true), clients[8], full = 0;
    for (size_t i = 0; i < 8; i++) {
        clients[i] = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK, 0);
        full = connect(clients[i], (struct sockaddr *)&at, sizeof at) != 0 ? errno : 0;
    }
    ck_assert_int_eq(full, EAGAIN);
    open_fails(path, KEK_PRECONDITION, "may be in use");
    ck_assert(exists(path));
    for (size_t i = 0; i < 8; i++) {
        close(clients[i]);
    }
    close(server);
    ck_assert_int_eq(unlink(path), 0);

    int datagram = socket_at(path, SOCK_DGRAM, false);
    open_fails(path, KEK_PRECONDITION, "may be in use");
    ck_assert(exists(path));
    close(datagram);
}
END_TEST

START_TEST(open_refuses_what_is_no_socket_and_never_removes_it)
{
    const char *path = folder_path("kms.sock");
    close(open(path, O_CREAT | O_WRONLY, 0600));
    open_fails(path, KEK_DENIED, "is not a socket");
    ck_assert(exists(path));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(symlink("/nonexistent", path), 0);
    open_fails(path, KEK_DENIED, "is not a socket");
    ck_assert(exists(path));
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    open_fails(path, KEK_DENIED, "is not a socket");
    ck_assert(exists(path));
}
END_TEST

START_TEST(open_refuses_a_folder_that_is_missing_or_open_to_all)
{
    open_fails(folder_path("missing/kms.sock"), KEK_NOT_FOUND,
               "socket's folder must be made first");
    close(open(folder_path("file"), O_CREAT | O_WRONLY, 0600));
    open_fails(folder_path("file/kms.sock"), KEK_DENIED, "not a folder");
    const char *path = folder_path("kms.sock");
    ck_assert_int_eq(chmod(folder, 0777), 0);
    open_fails(path, KEK_DENIED, "writable by everybody");
    ck_assert(!exists(path));
    ck_assert_int_eq(chmod(folder, 01777), 0);
    kek_listen_free(open_ok(path, 0600));
    if (geteuid() == 0) {
        ck_assert_int_eq(chmod(folder, 0755), 0);
        ck_assert_int_eq(chown(folder, 12345, 12345), 0);
        open_fails(path, KEK_DENIED, "belongs to uid 12345");
    }
}
END_TEST

START_TEST(open_refuses_paths_that_cannot_be)
{
    char path[200];
    open_fails("kms.sock", KEK_INVALID, "absolute path");
    open_fails("", KEK_INVALID, "absolute path");
    open_fails("/run/kekd/", KEK_INVALID, "absolute path");
    memset(path, 'a', sizeof path);
    path[0] = '/';
    path[108] = '\0';
    open_fails(path, KEK_INVALID, "at most 107");
    path[107] = '\0';
    size_t len = strlen(folder);
    memcpy(path, folder, len);
    path[len] = '/';
    kek_listen_free(open_ok(path, 0600));
}
END_TEST

START_TEST(free_leaves_what_another_put_in_its_place)
{
    const char *path = folder_path("kms.sock");
    struct kek_listen *made = open_ok(path, 0600);
    ck_assert_int_eq(unlink(path), 0);
    int other = socket_at(path, SOCK_STREAM, true);
    kek_listen_free(made);
    ck_assert(can_connect(path));
    close(other);
}
END_TEST

/* One starter: says 'W' and stays until `hold` closes, or says 'L'. */
static void starter(const char *path, int start, int tell, int hold)
{
    char byte;
    (void)!read(start, &byte, 1);
    struct kek_listen *made = NULL;
    struct kek_why why;
    enum kek_rc rc = kek_listen_open(path, 0600, &made, &why);
    char said = rc == KEK_OK ? 'W' : rc == KEK_PRECONDITION ? 'L' : '?';
    if (write(tell, &said, 1) == 1) {
        (void)!read(hold, &byte, 1);
    }
    _exit(0); /* as a crash would: nothing is removed */
}

static void race(const char *path)
{
    int start[2], tell[2], hold[2], wins = 0, losses = 0;
    pid_t children[STARTERS];
    ck_assert(pipe(start) == 0 && pipe(tell) == 0 && pipe(hold) == 0);
    for (int i = 0; i < STARTERS; i++) {
        children[i] = fork();
        ck_assert_int_ge(children[i], 0);
        if (children[i] == 0) {
            close(start[1]);
            close(hold[1]);
            starter(path, start[0], tell[1], hold[0]);
        }
    }
    close(start[0]);
    close(tell[1]);
    close(hold[0]);
    close(start[1]); /* go */
    for (int i = 0; i < STARTERS; i++) {
        char said = 0;
        ck_assert_int_eq(read(tell[0], &said, 1), 1);
        wins += said == 'W';
        losses += said == 'L';
    }
    ck_assert_int_eq(wins, 1);
    ck_assert_int_eq(losses, STARTERS - 1);
    ck_assert(can_connect(path));
    close(hold[1]);
    for (int i = 0; i < STARTERS; i++) {
        ck_assert_int_eq(waitpid(children[i], NULL, 0), children[i]);
    }
    close(tell[0]);
}

START_TEST(of_twenty_starters_exactly_one_wins_on_a_fresh_and_on_a_stale_path)
{
    const char *path = folder_path("kms.sock");
    race(path);
    ck_assert(exists(path) && !can_connect(path));
    race(path);
    kek_listen_free(open_ok(path, 0600));
}
END_TEST

/* Runs in a test's own process: descriptor 3 is what the service manager handed over; main() keeps it
 * free for that. */
static void hand_over(int fd, const char *pid, const char *count)
{
    char own[24];
    snprintf(own, sizeof own, "%ld", (long)getpid());
    if (fd != 3) {
        ck_assert_int_eq(dup2(fd, 3), 3);
        close(fd);
    }
    setenv("LISTEN_PID", pid == NULL ? own : pid, 1);
    setenv("LISTEN_FDS", count, 1);
    setenv("LISTEN_FDNAMES", "kekd.socket", 1);
}

START_TEST(open_takes_an_inherited_socket_and_never_removes_it)
{
    const char *path = folder_path("kms.sock");
    hand_over(socket_at(path, SOCK_STREAM, true), NULL, "1");
    struct kek_listen *taken = open_ok(path, 0600);
    ck_assert(kek_listen_inherited(taken));
    ck_assert_ptr_null(getenv("LISTEN_PID"));
    ck_assert_ptr_null(getenv("LISTEN_FDS"));
    ck_assert_ptr_null(getenv("LISTEN_FDNAMES"));
    ck_assert(!exists(folder_path("kms.sock.lock")));
    int fd = kek_listen_take(taken);
    ck_assert_int_eq(fd, 3);
    ck_assert_int_ne(fcntl(fd, F_GETFL) & O_NONBLOCK, 0);
    ck_assert_int_ne(fcntl(fd, F_GETFD) & FD_CLOEXEC, 0);
    kek_listen_free(taken);
    ck_assert(can_connect(path));
    close(fd);
}
END_TEST

START_TEST(open_takes_an_inherited_socket_by_another_name_of_its_path)
{
    ck_assert_int_eq(symlink(folder, folder_path("alias")), 0);
    hand_over(socket_at(folder_path("kms.sock"), SOCK_STREAM, true), NULL, "1");
    kek_listen_free(open_ok(folder_path("alias/kms.sock"), 0600));
    close(3);
}
END_TEST

START_TEST(look_tells_the_socket_from_nothing_and_from_another)
{
    const char *path = folder_path("kms.sock"), *away = folder_path("away");
    if (_i == 1) {
        hand_over(socket_at(path, SOCK_STREAM, true), NULL, "1");
    }
    struct kek_listen *open = open_ok(path, 0600);
    ck_assert_int_eq(kek_listen_inherited(open), _i == 1);
    ck_assert_int_eq(kek_listen_look(open), KEK_LISTEN_HERE);
    ck_assert_int_eq(rename(path, away), 0);
    ck_assert_int_eq(kek_listen_look(open), KEK_LISTEN_GONE);
    int other = socket_at(path, SOCK_STREAM, true);
    ck_assert_int_eq(kek_listen_look(open), KEK_LISTEN_OTHER);
    ck_assert_int_eq(rename(away, path), 0);
    ck_assert_int_eq(kek_listen_look(open), KEK_LISTEN_HERE);
    close(other);
    kek_listen_free(open);
}
END_TEST

START_TEST(look_tells_of_an_inherited_socket_that_was_gone_before)
{
    const char *path = folder_path("kms.sock");
    hand_over(socket_at(path, SOCK_STREAM, true), NULL, "1");
    ck_assert_int_eq(unlink(path), 0);
    struct kek_listen *open = open_ok(path, 0600);
    ck_assert_int_eq(kek_listen_look(open), KEK_LISTEN_GONE);
    kek_listen_free(open);
    close(3);
}
END_TEST

START_TEST(open_refuses_an_inherited_descriptor_that_does_not_fit)
{
    const char *path = folder_path("kms.sock");
    int pair[2];
    hand_over(socket_at(path, SOCK_STREAM, true), NULL, "1");
    open_fails(folder_path("other.sock"), KEK_INVALID, path);
    hand_over(socket_at(folder_path("quiet"), SOCK_STREAM, false), NULL, "1");
    open_fails(folder_path("quiet"), KEK_INVALID, "does not listen");
    hand_over(socket_at(folder_path("packets"), SOCK_SEQPACKET, true), NULL, "1");
    open_fails(folder_path("packets"), KEK_INVALID, "not a Unix stream socket");
    hand_over(open("/dev/null", O_RDONLY), NULL, "1");
    open_fails(path, KEK_INVALID, "not a Unix stream socket");
    ck_assert_int_eq(pipe(pair), 0);
    hand_over(socket(AF_INET, SOCK_STREAM, 0), NULL, "1");
    open_fails(path, KEK_INVALID, "not a Unix stream socket");
    close(3);
}
END_TEST

START_TEST(open_reads_the_activation_variables_strictly)
{
    static const struct {
        const char *pid, *count, *says;
    } bad[] = {
        {NULL, "2", "expected one socket"},
        {NULL, "", "LISTEN_FDS"},
        {NULL, "-1", "LISTEN_FDS"},
        {NULL, "1x", "LISTEN_FDS"},
        {NULL, " 1", "LISTEN_FDS"},
        {NULL, "99999999999999999999", "LISTEN_FDS"},
        {"", "1", "LISTEN_PID"},
        {"+1", "1", "LISTEN_PID"},
    };
    const char *path = folder_path("kms.sock");
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        hand_over(3, bad[i].pid, bad[i].count);
        open_fails(path, KEK_INVALID, bad[i].says);
        ck_assert_ptr_null(getenv("LISTEN_FDS"));
        ck_assert(!exists(path));
    }
}
END_TEST

START_TEST(open_makes_its_own_where_the_variables_are_meant_for_another_process)
{
    const char *path = folder_path("kms.sock");
    hand_over(3, "1", "1");
    struct kek_listen *made = open_ok(path, 0600);
    ck_assert(!kek_listen_inherited(made));
    kek_listen_free(made);
    hand_over(3, NULL, "0");
    made = open_ok(path, 0600);
    ck_assert(!kek_listen_inherited(made));
    kek_listen_free(made);
}
END_TEST

START_TEST(check_says_what_open_would_and_makes_nothing)
{
    static const char *const refused[] = {"relative", "/", "/nowhere-at-all/s"};
    struct kek_why why;
    char path[200], file[200];
    snprintf(path, sizeof path, "%s/s", folder);
    snprintf(file, sizeof file, "%s/file", folder);
    ck_assert_int_eq(kek_listen_check(path, &why), KEK_OK);
    ck_assert(!exists(path));
    int fd = socket_at(path, SOCK_STREAM, true);
    ck_assert_int_eq(kek_listen_check(path, &why), KEK_OK);
    close(fd);
    for (size_t i = 0; i < sizeof refused / sizeof refused[0]; i++) {
        ck_assert_int_ne(kek_listen_check(refused[i], &why), KEK_OK);
    }
    close(open(file, O_CREAT | O_WRONLY, 0600));
    ck_assert_int_eq(kek_listen_check(file, &why), KEK_DENIED);
    ck_assert(strstr(why.text, "is not a socket") != NULL);
    ck_assert_int_eq(chmod(folder, 0777), 0);
    ck_assert_int_eq(kek_listen_check(path, &why), KEK_DENIED);
}
END_TEST

int main(void)
{
    /* Keeps descriptor 3 for hand_over(): the test runner must not get it for its own. */
    int null = open("/dev/null", O_RDWR);
    if (null < 0 || dup2(null, 3) != 3) {
        return 1;
    }
    Suite *suite = suite_create("listen");
    TCase *tcase = tcase_create("listen");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, folder_make, folder_remove);
    tcase_add_test(tcase, open_makes_a_socket_that_accepts_and_removes_it_at_the_end);
    tcase_add_test(tcase, open_gives_the_mode_asked_for_whatever_the_umask_is);
    tcase_add_test(tcase, open_takes_over_a_socket_that_nobody_listens_on);
    tcase_add_test(tcase, open_leaves_a_live_socket_undisturbed_and_says_who_has_it);
    tcase_add_test(tcase, open_knows_no_pid_of_a_process_of_another_pid_namespace);
    tcase_add_test(tcase, open_takes_a_full_backlog_and_a_foreign_kind_for_live);
    tcase_add_test(tcase, open_refuses_what_is_no_socket_and_never_removes_it);
    tcase_add_test(tcase, open_refuses_a_folder_that_is_missing_or_open_to_all);
    tcase_add_test(tcase, open_refuses_paths_that_cannot_be);
    tcase_add_test(tcase, check_says_what_open_would_and_makes_nothing);
    tcase_add_test(tcase, free_leaves_what_another_put_in_its_place);
    tcase_add_test(tcase, of_twenty_starters_exactly_one_wins_on_a_fresh_and_on_a_stale_path);
    tcase_add_test(tcase, open_takes_an_inherited_socket_and_never_removes_it);
    tcase_add_test(tcase, open_takes_an_inherited_socket_by_another_name_of_its_path);
    tcase_add_loop_test(tcase, look_tells_the_socket_from_nothing_and_from_another, 0, 2);
    tcase_add_test(tcase, look_tells_of_an_inherited_socket_that_was_gone_before);
    tcase_add_test(tcase, open_refuses_an_inherited_descriptor_that_does_not_fit);
    tcase_add_test(tcase, open_reads_the_activation_variables_strictly);
    tcase_add_test(tcase, open_makes_its_own_where_the_variables_are_meant_for_another_process);
    return suite_run(suite);
}
