/* What root does in a folder of somebody else's: that one may have linked any file into it. */
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/durable.h"
#include "kek/lock_file.h"

#define OWNER 4242
#define OTHER 4243
#define CONTENT "root's own\n"

static char top[] = "/tmp/kek-durable-XXXXXX", folder[64], victim[64], path[64], beside[80];
static struct kek_why why;

static void setup(void)
{
    ck_assert_ptr_nonnull(mkdtemp(top));
    snprintf(folder, sizeof folder, "%s/state", top);
    snprintf(victim, sizeof victim, "%s/victim", top);
    snprintf(path, sizeof path, "%s/state/k", top);
    snprintf(beside, sizeof beside, "%s/state/k.new", top);
    ck_assert_int_eq(mkdir(folder, 0700), 0);
    ck_assert_int_eq(chown(folder, OWNER, OWNER), 0);
    why.text[0] = '\0';
}

static void teardown(void)
{
    (void)unlink(beside);
    (void)unlink(path);
    (void)unlink(victim);
    ck_assert_int_eq(rmdir(folder), 0);
    ck_assert_int_eq(rmdir(top), 0);
}

static void write_file(const char *name, uid_t owner)
{
    FILE *file = fopen(name, "w");
    ck_assert_ptr_nonnull(file);
    fputs(CONTENT, file);
    fclose(file);
    ck_assert_int_eq(chown(name, owner, owner), 0);
}

static uid_t owner_of(const char *name)
{
    struct stat st;
    ck_assert_int_eq(lstat(name, &st), 0);
    return st.st_uid;
}

static void is_untouched(const char *name, uid_t owner)
{
    char text[64] = "";
    FILE *file = fopen(name, "r");
    ck_assert_ptr_nonnull(file);
    ck_assert_ptr_nonnull(fgets(text, sizeof text, file));
    fclose(file);
    ck_assert_str_eq(text, CONTENT);
    ck_assert_uint_eq(owner_of(name), owner);
}

/* As each of them takes the file; what it holds is given back. */
static enum kek_rc take(int how)
{
    char who[KEK_LOCK_WHO];
    struct kek_lock lock = KEK_LOCK_NONE;
    int fd = -1;
    enum kek_rc rc =
        how == 0 ? kek_lock_file_take(path, &fd, &why) : kek_lock_take(path, &lock, who, &why);
    kek_lock_release(&lock);
    if (fd >= 0) {
        close(fd);
    }
    return rc;
}

START_TEST(file_that_was_linked_into_the_folder_is_neither_written_nor_given)
{
    for (uid_t owner = 0; owner <= OTHER; owner += OTHER) {
        write_file(victim, owner);
        ck_assert_int_eq(link(victim, path), 0);
        ck_assert_int_eq(take(_i), KEK_DENIED);
        ck_assert_msg(strstr(why.text, "may be another file that was linked here") != NULL, "%s",
                      why.text);
        is_untouched(victim, owner);
        /* Beside what is to be written: it is written all the same, as a file of its own. */
        ck_assert_int_eq(rename(path, beside), 0);
        ck_assert_int_eq(kek_durable_write_now(path, kek_bytes_of("new"), &why), KEK_OK);
        is_untouched(victim, owner);
        ck_assert_uint_eq(owner_of(path), OWNER);
        ck_assert_int_ne(access(beside, F_OK), 0);
        ck_assert_int_eq(unlink(path), 0);
    }
}
END_TEST

START_TEST(file_of_a_uid_of_before_is_said_to_be_given_and_never_to_be_removed)
{
    char cure[32];
    write_file(path, OTHER);
    ck_assert_int_eq(take(_i), KEK_DENIED);
    snprintf(cure, sizeof cure, "chown %u ", OWNER);
    ck_assert_msg(strstr(why.text, cure) != NULL, "%s", why.text);
    ck_assert_ptr_null(strstr(why.text, "remove"));
    is_untouched(path, OTHER);
    ck_assert_int_eq(chown(path, OWNER, OWNER), 0);
    ck_assert_int_eq(take(_i), KEK_OK);
}
END_TEST

START_TEST(what_is_no_file_is_left_alone)
{
    write_file(victim, 0);
    ck_assert_int_eq(symlink(victim, path), 0);
    ck_assert_int_eq(take(_i), KEK_DENIED);
    ck_assert_int_eq(rename(path, beside), 0);
    ck_assert_int_eq(kek_durable_write_now(path, kek_bytes_of("new"), &why), KEK_OK);
    is_untouched(victim, 0);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    ck_assert_int_eq(take(_i), KEK_DENIED);
    ck_assert_uint_eq(owner_of(path), 0);
}
END_TEST

START_TEST(what_root_made_there_once_is_given)
{
    write_file(path, 0);
    ck_assert_int_eq(take(_i), KEK_OK);
    ck_assert_uint_eq(owner_of(path), OWNER);
    ck_assert_int_eq(link(path, beside), 0); /* a copy that its owner keeps */
    ck_assert_int_eq(take(_i), KEK_OK);
    ck_assert_int_eq(unlink(path), 0);
    ck_assert_int_eq(take(_i), KEK_OK); /* made */
    ck_assert_uint_eq(owner_of(path), OWNER);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("durable");
    if (geteuid() != 0) {
        return suite_run(suite); /* only root is a guest in another's folder */
    }
    TCase *guest = tcase_create("guest");
    tcase_add_checked_fixture(guest, setup, teardown);
    tcase_add_loop_test(guest, file_that_was_linked_into_the_folder_is_neither_written_nor_given, 0,
                        2);
    tcase_add_loop_test(guest, file_of_a_uid_of_before_is_said_to_be_given_and_never_to_be_removed,
                        0, 2);
    tcase_add_loop_test(guest, what_is_no_file_is_left_alone, 0, 2);
    tcase_add_loop_test(guest, what_root_made_there_once_is_given, 0, 2);
    suite_add_tcase(suite, guest);
    return suite_run(suite);
}
