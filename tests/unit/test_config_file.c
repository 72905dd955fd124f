/* The configuration's file: who may write it, and what is said of one that cannot be used. */
#include "config_help.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/stat.h>

struct temporary {
    char folder[64];
    char path[96];
};

static struct temporary temporary_new(const char *content, mode_t mode)
{
    struct temporary t = {.folder = "/tmp/kek-config-XXXXXX"};
    ck_assert_ptr_nonnull(mkdtemp(t.folder));
    snprintf(t.path, sizeof t.path, "%s/f", t.folder);
    int fd = open(t.path, O_WRONLY | O_CREAT | O_EXCL, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(write(fd, content, strlen(content)), (ssize_t)strlen(content));
    ck_assert_int_eq(fchmod(fd, mode), 0);
    close(fd);
    return t;
}

static void temporary_done(const struct temporary *t)
{
    unlink(t->path);
    ck_assert_int_eq(rmdir(t->folder), 0);
}

static void check_load_refused(const char *path, enum kek_rc rc, const char *after)
{
    struct kek_why why;
    char text[KEK_WHY_TEXT];
    ck_assert_ptr_null(kek_config_load(path, &why));
    ck_assert_int_eq(why.rc, rc);
    snprintf(text, sizeof text, "%s%s", path, after);
    ck_assert_str_eq(why.text, text);
}

START_TEST(load_reads_a_file_that_only_its_owner_may_write)
{
    struct temporary t = temporary_new(BASE, 0644);
    struct kek_why why;
    struct kek_config *c = kek_config_load(t.path, &why);
    ck_assert_ptr_nonnull(c);
    ck_assert_str_eq(c->path, t.path);
    kek_config_free(c);
    static const mode_t loose[] = {0664, 0646, 0622, 0620};
    for (size_t i = 0; i < sizeof loose / sizeof loose[0]; i++) {
        char said[128];
        snprintf(said, sizeof said, " has mode %04o: nobody but its owner may write it: chmod go-w",
                 (unsigned)loose[i]);
        ck_assert_int_eq(chmod(t.path, loose[i]), 0);
        check_load_refused(t.path, KEK_DENIED, said);
    }
    temporary_done(&t);
}
END_TEST

START_TEST(load_refuses_a_file_of_somebody_else)
{
    if (geteuid() != 0) {
        return; /* only root can give a file away */
    }
    struct temporary t = temporary_new(BASE, 0644);
    ck_assert_int_eq(chown(t.path, 4242, 0), 0);
    struct kek_why why;
    ck_assert_ptr_null(kek_config_load(t.path, &why));
    ck_assert_int_eq(why.rc, KEK_DENIED);
    ck_assert_ptr_nonnull(strstr(why.text, " is of uid 4242: it must be of root, which reads it"));
    temporary_done(&t);
}
END_TEST

START_TEST(load_names_the_file_in_what_is_wrong)
{
    struct temporary t = temporary_new("keyring: K\n", 0600);
    check_load_refused(t.path, KEK_INVALID,
                       ":1:10: keyring: expected 1 to 63 of a-z, 0-9, \".\" and \"-\", first a "
                       "letter or digit, found \"K\"");
    ck_assert_int_eq(truncate(t.path, KEK_CONFIG_FILE_MAX + 1), 0);
    check_load_refused(t.path, KEK_TOO_LARGE, " has more than 262144 bytes");
    check_load_refused(t.folder, KEK_INVALID, " is no regular file");
    unlink(t.path);
    ck_assert_int_eq(mkfifo(t.path, 0600), 0);
    check_load_refused(t.path, KEK_INVALID, " is no regular file");
    unlink(t.path);
    char said[80];
    snprintf(said, sizeof said, " cannot be opened by uid %u: No such file or directory",
             (unsigned)geteuid());
    check_load_refused(t.path, KEK_NOT_FOUND, said);
    ck_assert_int_eq(rmdir(t.folder), 0);
}
END_TEST

START_TEST(a_long_path_leaves_room_for_what_is_wrong)
{
    static const char folder[] = "/\xc3\xa4\xc3\xa4x";
    char path[512] = "";
    struct kek_why why;
    for (size_t i = 0; i < 64; i++) {
        memcpy(path + i * (sizeof folder - 1), folder, sizeof folder);
    }
    /* Each length cuts it at another byte, and never in the middle of a character. */
    for (size_t end = strlen(path); end > 64 * (sizeof folder - 1) - 6; end--) {
        path[end] = '\0';
        ck_assert_ptr_null(kek_config_parse(kek_bytes_of("colour: blue\n"), path, &why));
        ck_assert_int_eq(strncmp(why.text, "...", 3), 0);
        ck_assert_int_ne(why.text[3] & 0xc0, 0x80);
        const char *place = strchr(why.text, ':');
        ck_assert_ptr_nonnull(place);
        ck_assert_str_eq(place,
                         ":1:1: colour: expected one of listen, allow_uids, keyring, context, "
                         "context_accept, data_key, health, refresh, settle, destroy_after, "
                         "quarantine, state_dir, "
                         "providers, mode, mode_accept, roots, metrics, status, etcd, audit, log");
    }
    ck_assert_ptr_null(kek_config_load(path, &why));
    ck_assert_ptr_nonnull(strstr(why.text, ": No such file or directory"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config file");
    TCase *file = tcase_create("file");
    tcase_add_test(file, load_reads_a_file_that_only_its_owner_may_write);
    tcase_add_test(file, load_refuses_a_file_of_somebody_else);
    tcase_add_test(file, load_names_the_file_in_what_is_wrong);
    tcase_add_test(file, a_long_path_leaves_room_for_what_is_wrong);
    suite_add_tcase(suite, file);
    return suite_run(suite);
}
