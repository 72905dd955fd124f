/* Locks on files: one at a time, whoever has it is told, and nothing is left behind by one that ends. */
#include "suite.h"

#include <fcntl.h>
#include <signal.h>
#include <stdbool.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <sys/wait.h>
#include <unistd.h>

#include "apart.h"
#include "kek/lock_file.h"

static char folder[] = "/tmp/kek-lock-file-XXXXXX", path[64];

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/lock", folder);
}

static void teardown(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

enum kind { OF_ANY, OF_DAEMON };

static struct kek_lock held; /* OF_DAEMON's, whose file is *fd */

static enum kek_rc take(enum kind kind, int *fd, pid_t *holder, struct kek_why *why)
{
    if (kind == OF_DAEMON) {
        char who[KEK_LOCK_WHO];
        enum kek_rc rc = kek_lock_take(path, &held, who, why);
        *fd = rc == KEK_OK ? held.file : *fd;
        *holder = rc != KEK_UNAVAILABLE || sscanf(who, "pid %d", holder) == 1 ? *holder : 0;
        return rc;
    }
    return kek_lock_file_take(path, fd, why);
}

/* Another process that holds it until it is killed. */
static pid_t start_holder(enum kind kind)
{
    int ready[2];
    char byte = 0;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int fd;
        pid_t holder;
        byte = take(kind, &fd, &holder, NULL) == KEK_OK;
        (void)!write(ready[1], &byte, 1);
        for (;;) {
            pause();
        }
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    ck_assert_int_eq(byte, 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

START_TEST(lock_of_another_process_is_refused_and_ends_with_it)
{
    char text[160];
    struct kek_why why;
    pid_t holder = 0;
    int fd = -1;
    pid_t child = start_holder((enum kind)_i);
    ck_assert_int_eq(take((enum kind)_i, &fd, &holder, &why), KEK_UNAVAILABLE);
    ck_assert_int_eq(fd, -1);
    if (_i != OF_ANY) {
        ck_assert_int_eq(holder, child);
    }
    snprintf(text, sizeof text, "another process holds %s", path);
    ck_assert_str_eq(why.text, text);
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert_int_eq(take((enum kind)_i, &fd, &holder, &why), KEK_OK);
    struct stat st;
    ck_assert_int_eq(fstat(fd, &st), 0);
    ck_assert_uint_eq(st.st_mode & 07777, 0600);
    close(fd);
}
END_TEST

START_TEST(lock_of_this_process_is_refused_until_it_is_closed)
{
    int first = -1, second = -1;
    ck_assert_int_eq(kek_lock_file_take(path, &first, NULL), KEK_OK);
    ck_assert_int_eq(kek_lock_file_take(path, &second, NULL), KEK_UNAVAILABLE);
    close(first);
    ck_assert_int_eq(kek_lock_file_take(path, &second, NULL), KEK_OK);
    close(second);
}
END_TEST

START_TEST(file_that_its_holder_removed_is_no_lock)
{
    int first = -1, second = -1, third = -1;
    struct stat one, two;
    ck_assert_int_eq(kek_lock_file_take(path, &first, NULL), KEK_OK);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(kek_lock_file_take(path, &second, NULL), KEK_OK);
    ck_assert(stat(path, &one) == 0 && fstat(second, &two) == 0 && one.st_ino == two.st_ino);
    close(first);
    ck_assert_int_eq(kek_lock_file_take(path, &third, NULL), KEK_UNAVAILABLE);
    close(second);
}
END_TEST

START_TEST(daemons_lock_stands_though_its_file_is_removed)
{
    struct kek_lock lock = KEK_LOCK_NONE, other = KEK_LOCK_NONE;
    struct kek_why why;
    char who[KEK_LOCK_WHO], beside[80];
    pid_t child = start_holder(OF_DAEMON);
    ck_assert_int_eq(unlink(path), 0);
    for (int i = 0; i < 2; i++) { /* and once more, by the file that the first of us made anew */
        ck_assert_int_eq(kek_lock_take(path, &lock, who, &why), KEK_UNAVAILABLE);
        ck_assert_str_eq(who, "pid unknown: its lock file was removed");
        ck_assert_msg(strstr(why.text, path) != NULL, "%s", why.text);
        ck_assert(lock.file == -1 && lock.folder == -1);
    }
    /* A lock of another name in this folder is another lock. */
    snprintf(beside, sizeof beside, "%s-2", path);
    ck_assert_int_eq(kek_lock_take(beside, &other, who, &why), KEK_OK);
    kek_lock_release(&other);
    ck_assert_int_eq(unlink(beside), 0);
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert_int_eq(kek_lock_take(path, &lock, who, &why), KEK_OK);
    ck_assert_int_ge(lock.folder, 0);
    /* Another descriptor of the folder that is closed takes nothing away, as one of the file would. */
    int again = open(folder, O_RDONLY | O_DIRECTORY);
    close(again);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(kek_lock_take(path, &other, who, &why), KEK_UNAVAILABLE);
    kek_lock_release(&lock);
}
END_TEST

static void end(pid_t child)
{
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
}

START_TEST(look_tells_who_holds_it_also_once_its_file_was_removed)
{
    struct kek_lock lock = KEK_LOCK_NONE;
    char who[KEK_LOCK_WHO], beside[80];
    struct kek_lock_holder holder = kek_lock_look(path);
    ck_assert(!holder.there && !holder.hidden && holder.pid == 0);
    ck_assert_int_eq(access(path, F_OK), -1); /* a look makes nothing */
    pid_t child = start_holder(OF_DAEMON);
    holder = kek_lock_look(path);
    ck_assert(holder.there && !holder.hidden);
    ck_assert_int_eq(holder.pid, child);
    snprintf(beside, sizeof beside, "%s-2", path);
    ck_assert(!kek_lock_look(beside).there);
    ck_assert_int_eq(unlink(path), 0);
    for (int i = 0; i < 2; i++) { /* and once more, by a file that is nobody's */
        holder = kek_lock_look(path);
        ck_assert(holder.there && !holder.hidden && holder.pid == 0);
        ck_assert_int_eq(kek_lock_take(path, &lock, who, NULL), KEK_UNAVAILABLE);
    }
    end(child);
    ck_assert(!kek_lock_look(path).there);
    ck_assert_int_eq(kek_lock_take(path, &lock, who, NULL), KEK_OK); /* no look is in the way */
    kek_lock_release(&lock);
}
END_TEST

static bool is_seen_from_apart(void)
{
    struct kek_lock lock = KEK_LOCK_NONE;
    char who[KEK_LOCK_WHO] = "";
    struct kek_lock_holder holder = kek_lock_look(path);
    return holder.there && holder.pid == 0 &&
           kek_lock_take(path, &lock, who, NULL) == KEK_UNAVAILABLE &&
           strcmp(who, "pid unknown: of another container or machine") == 0;
}

START_TEST(holder_of_another_pid_namespace_is_there)
{
    pid_t child = start_holder(OF_DAEMON);
    ck_assert(apart_holds(is_seen_from_apart));
    end(child);
}
END_TEST

START_TEST(what_this_user_may_not_see_is_hidden)
{
    pid_t child = start_holder(OF_DAEMON);
    int status;
    if (geteuid() != 0) {
        end(child);
        return;
    }
    pid_t looker = fork(); /* a folder of mode 0700, and one that is open to all */
    if (looker == 0) {
        bool shut = setresuid(65534, 65534, 65534) == 0;
        struct kek_lock_holder holder = kek_lock_look(path);
        _exit(shut && holder.hidden && !holder.there ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(looker, &status, 0), looker);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(chmod(folder, 0755), 0);
    looker = fork();
    if (looker == 0) {
        bool shut = setresuid(65534, 65534, 65534) == 0;
        struct kek_lock_holder holder = kek_lock_look(path);
        _exit(shut && !holder.hidden && holder.there && holder.pid == 0 ? 0 : 1);
    }
    ck_assert_int_eq(waitpid(looker, &status, 0), looker);
    ck_assert_int_eq(status, 0);
    end(child);
}
END_TEST

/* Is what /proc/locks has of that process this file, by the number of its file system? */
static bool is_numbered_alike(pid_t pid)
{
    char line[256], of[32], place[64];
    struct stat about;
    bool alike = false;
    FILE *file = fopen("/proc/locks", "re");
    ck_assert_ptr_nonnull(file);
    ck_assert_int_eq(stat(path, &about), 0);
    snprintf(of, sizeof of, " %d ", (int)pid);
    snprintf(place, sizeof place, " %02x:%02x:%lu ", major(about.st_dev), minor(about.st_dev),
             (unsigned long)about.st_ino);
    while (fgets(line, sizeof line, file) != NULL) {
        alike = alike || (strstr(line, of) != NULL && strstr(line, place) != NULL);
    }
    (void)fclose(file);
    return alike;
}

START_TEST(look_tells_who_holds_a_lock_of_any_and_takes_none)
{
    int fd = -1;
    ck_assert(!kek_lock_file_look(path).there);
    pid_t child = start_holder(OF_ANY);
    if (!is_numbered_alike(child)) {
        printf("SKIP: /proc/locks numbers the file system of /tmp otherwise\n");
    } else {
        struct kek_lock_holder holder = kek_lock_file_look(path);
        ck_assert(holder.there && !holder.hidden);
        ck_assert_int_eq(holder.pid, child);
    }
    ck_assert_int_eq(kill(child, SIGKILL), 0);
    ck_assert_int_eq(waitpid(child, NULL, 0), child);
    ck_assert(!kek_lock_file_look(path).there);
    ck_assert_int_eq(kek_lock_file_take(path, &fd, NULL), KEK_OK);
    close(fd);
    /* A lock of the other kind is none of these. */
    pid_t other = start_holder(OF_DAEMON);
    ck_assert(!kek_lock_file_look(path).there);
    ck_assert_int_eq(kill(other, SIGKILL), 0);
    ck_assert_int_eq(waitpid(other, NULL, 0), other);
}
END_TEST

START_TEST(what_cannot_be_opened_is_named)
{
    struct kek_why why;
    int fd = -1;
    pid_t holder;
    ck_assert_int_eq(symlink("/dev/null", path), 0);
    ck_assert_int_eq(take((enum kind)_i, &fd, &holder, &why), KEK_DENIED);
    ck_assert_msg(strstr(why.text, path) != NULL, "%s", why.text);
    ck_assert_int_eq(fd, -1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("lock file");
    TCase *tests = tcase_create("lock file");
    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, lock_of_another_process_is_refused_and_ends_with_it, 0, 2);
    tcase_add_test(tests, lock_of_this_process_is_refused_until_it_is_closed);
    tcase_add_test(tests, file_that_its_holder_removed_is_no_lock);
    tcase_add_test(tests, daemons_lock_stands_though_its_file_is_removed);
    tcase_add_test(tests, look_tells_who_holds_it_also_once_its_file_was_removed);
    tcase_add_test(tests, holder_of_another_pid_namespace_is_there);
    tcase_add_test(tests, look_tells_who_holds_a_lock_of_any_and_takes_none);
    tcase_add_test(tests, what_this_user_may_not_see_is_hidden);
    tcase_add_loop_test(tests, what_cannot_be_opened_is_named, 0, 2);
    return suite_run(suite);
}
