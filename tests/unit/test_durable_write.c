/* Files that are written whole or not at all, wherever their folder goes meanwhile, and read. */
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>
#include <unistd.h>

#include <linux/magic.h>

#include "kek/bytes.h"
#include "kek/durable.h"

struct outcome {
    int calls;
    enum kek_rc rc;
};

static void note(void *arg, enum kek_rc rc, const struct kek_why *why)
{
    struct outcome *outcome = arg;
    outcome->calls++;
    outcome->rc = rc;
    ck_assert((why == NULL) == (rc == KEK_OK));
}

static enum kek_rc write_in(int folder, const char *path, const char *text)
{
    uv_loop_t loop;
    struct outcome outcome = {0};
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    ck_assert_int_eq(
        folder < 0
            ? kek_durable_write(&loop, path, kek_bytes_of(text), note, &outcome, NULL)
            : kek_durable_write_in(&loop, folder, path, kek_bytes_of(text), note, &outcome, NULL),
        KEK_OK);
    ck_assert_int_eq(outcome.calls, 0);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    ck_assert_int_eq(outcome.calls, 1);
    return outcome.rc;
}

static enum kek_rc write_now(const char *path, const char *text)
{
    return write_in(-1, path, text);
}

START_TEST(durable_write_replaces_the_whole_file_or_nothing)
{
    char folder[] = "/tmp/kek-base-XXXXXX", path[64], beside[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/state", folder);
    snprintf(beside, sizeof beside, "%s/state.new", folder);

    ck_assert_int_eq(write_now(path, "a longer first content"), KEK_OK);
    ck_assert_int_eq(write_now(path, "second"), KEK_OK);
    struct kek_buf content;
    kek_buf_init(&content, 100);
    ck_assert_int_eq(kek_durable_read(path, 100, &content, NULL), KEK_OK);
    ck_assert(kek_bytes_equal(kek_buf_bytes(&content), kek_bytes_of("second")));
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0600);
    ck_assert_int_ne(access(beside, F_OK), 0);

    /* A folder where the new file should be: the write fails and the old content stays. */
    ck_assert_int_eq(mkdir(beside, 0700), 0);
    ck_assert_int_eq(write_now(path, "third"), KEK_UNAVAILABLE);
    kek_buf_reset(&content);
    ck_assert_int_eq(kek_durable_read(path, 100, &content, NULL), KEK_OK);
    ck_assert(kek_bytes_equal(kek_buf_bytes(&content), kek_bytes_of("second")));
    kek_buf_done(&content);
    rmdir(beside);

    /* What root makes is the folder owner's; and a program without a loop writes the same way. */
    uid_t owner = geteuid() == 0 ? 4242 : geteuid();
    ck_assert_int_eq(chown(folder, owner, -1), 0);
    ck_assert_int_eq(kek_durable_write_now(path, kek_bytes_of("fourth"), NULL), KEK_OK);
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_uint_eq(st.st_uid, owner);
    ck_assert_uint_eq(st.st_size, strlen("fourth"));

    unlink(path);
    rmdir(folder);
}
END_TEST

static void check_content(const char *path, const char *text)
{
    struct kek_buf content;
    kek_buf_init(&content, 100);
    ck_assert_int_eq(kek_durable_read(path, 100, &content, NULL), KEK_OK);
    ck_assert(kek_bytes_equal(kek_buf_bytes(&content), kek_bytes_of(text)));
    kek_buf_done(&content);
}

START_TEST(durable_write_into_a_folder_that_is_open_follows_it_and_no_path)
{
    char folder[] = "/tmp/kek-base-XXXXXX", path[64], away[64], there[80];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/state", folder);
    snprintf(away, sizeof away, "%s.away", folder);
    snprintf(there, sizeof there, "%s/state", away);
    int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write_in(fd, path, "first"), KEK_OK);
    check_content(path, "first");

    ck_assert_int_eq(rename(folder, away), 0);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ck_assert_int_eq(write_in(fd, path, "second"), KEK_OK);
    check_content(there, "second");
    ck_assert_int_eq(rmdir(folder), 0); /* nothing was left in it */

    ck_assert_int_eq(unlink(there), 0);
    ck_assert_int_eq(rmdir(away), 0);
    ck_assert_int_eq(write_in(fd, path, "third"), KEK_UNAVAILABLE);
    close(fd);
}
END_TEST

START_TEST(durable_read_names_what_is_wrong)
{
    struct kek_buf content;
    struct kek_why why;
    kek_buf_init(&content, 1 << 20);
    ck_assert_int_eq(kek_durable_read("/nonexistent/x", 10, &content, &why), KEK_NOT_FOUND);
    ck_assert_int_eq(kek_durable_read("/dev/null", 10, &content, &why), KEK_INVALID);
    ck_assert_int_eq(kek_durable_read("/proc/self/maps", 10, &content, &why), KEK_TOO_LARGE);
    ck_assert_uint_eq(content.len, 0);
}
END_TEST

START_TEST(a_folder_in_memory_forgets)
{
    struct statfs about;
    if (statfs("/dev/shm", &about) == 0 && about.f_type == TMPFS_MAGIC) {
        ck_assert(kek_durable_forgets("/dev/shm"));
        ck_assert(kek_durable_forgets("/dev/shm/kek-nowhere/below"));
    }
    ck_assert(!kek_durable_forgets("/proc"));
    ck_assert(!kek_durable_forgets("/proc/kek-nowhere"));
    ck_assert(!kek_durable_forgets("kek-nowhere"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("durable_write");
    TCase *tcase = tcase_create("durable_write");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, durable_write_replaces_the_whole_file_or_nothing);
    tcase_add_test(tcase, durable_write_into_a_folder_that_is_open_follows_it_and_no_path);
    tcase_add_test(tcase, durable_read_names_what_is_wrong);
    tcase_add_test(tcase, a_folder_in_memory_forgets);
    return suite_run(suite);
}
