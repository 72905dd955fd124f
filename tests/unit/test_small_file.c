/* Files that somebody else wrote: who may use them, what is in them, and what is said of those that cannot be used. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "kek/small_file.h"

#define ROWS(table) (int)(sizeof(table) / sizeof(table)[0])

static char folder[] = "/tmp/kek-small-file-XXXXXX", path[64];

static void setup(void)
{
    bool locked;
    ck_assert_int_eq(kek_secret_setup(1 << 16, &locked, NULL), KEK_OK);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/f", folder);
}

static void teardown(void)
{
    (void)unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}

static void put(const void *content, size_t len, mode_t mode)
{
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    ck_assert_uint_eq(fwrite(content, 1, len, file), len);
    ck_assert_int_eq(fchmod(fileno(file), mode), 0);
    ck_assert_int_eq(fclose(file), 0);
}

/* Both readers say the same, and how messages begin. */
static void refuses(const struct kek_small_file *file, enum kek_rc rc, const char *says)
{
    char text[KEK_WHY_TEXT];
    struct kek_why why;
    KEK_AUTO_BUF struct kek_buf content;
    KEK_AUTO(kek_secret) line = NULL;
    kek_buf_init(&content, 1024);
    snprintf(text, sizeof text, "%s%s %s", file->what, file->path, says);
    ck_assert_int_eq(kek_small_file_read(file, &content, NULL, &why), rc);
    ck_assert_str_eq(why.text, text);
    ck_assert_uint_eq(content.len, 0);
    ck_assert_int_eq(kek_small_file_line(file, &line, NULL, &why), rc);
    ck_assert_str_eq(why.text, text);
    ck_assert_ptr_null(line);
    ck_assert_int_eq(kek_small_file_line(file, &line, NULL, NULL), rc);
}

static const struct {
    mode_t forbidden;
    mode_t good, bad[4];
    const char *says;
} modes[] = {
    {077, 0600, {0601, 0640, 0604, 0620}, "nobody but its owner may use it: chmod 0600"},
    {027,
     0640,
     {0644, 0660, 0601, 04644},
     "nobody but its owner and its group may read it, and its owner alone may write it: chmod 0640 "
     "or 0600"},
    {022, 0644, {0664, 0646, 0622, 0620}, "nobody but its owner may write it: chmod go-w"},
};

START_TEST(who_may_use_it_is_checked_and_said)
{
    struct kek_small_file file = {
        .what = "key ", .path = path, .max = 100, .forbidden = modes[_i].forbidden};
    struct stat about;
    KEK_AUTO(kek_secret) line = NULL;
    for (size_t i = 0; i < 4; i++) {
        char says[160];
        put("x", 1, modes[_i].bad[i]);
        snprintf(says, sizeof says, "has mode %04o: %s", (unsigned)modes[_i].bad[i],
                 modes[_i].says);
        refuses(&file, KEK_DENIED, says);
    }
    put("x", 1, modes[_i].good);
    ck_assert_int_eq(kek_small_file_line(&file, &line, &about, NULL), KEK_OK);
    ck_assert_uint_eq(about.st_mode & 07777, modes[_i].good);
    put("x", 1, 0666);
    file.forbidden = 0;
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, 100);
    ck_assert_int_eq(kek_small_file_read(&file, &content, &about, NULL), KEK_OK);
    ck_assert_uint_eq(about.st_size, 1);
}
END_TEST

START_TEST(whose_it_is_is_checked_where_it_matters)
{
    const struct kek_small_file file = {.what = "", .path = path, .max = 100, .owned = true};
    KEK_AUTO(kek_secret) line = NULL;
    put("x", 1, 0600);
    ck_assert_int_eq(kek_small_file_line(&file, &line, NULL, NULL), KEK_OK);
    if (geteuid() == 0) { /* only root can give a file away */
        ck_assert_int_eq(chown(path, 4242, 0), 0);
        refuses(&file, KEK_DENIED, "is of uid 4242: it must be of root, which reads it (chown)");
    }
}
END_TEST

START_TEST(what_is_no_file_of_that_size_is_refused)
{
    const struct kek_small_file file = {.what = "", .path = path, .max = 3};
    char says[80];
    snprintf(says, sizeof says, "cannot be opened by uid %u: No such file or directory",
             (unsigned)geteuid());
    refuses(&file, KEK_NOT_FOUND, says);
    ck_assert_int_eq(mkfifo(path, 0600), 0);
    refuses(&file, KEK_INVALID, "is no regular file");
    ck_assert_int_eq(unlink(path), 0);
    const struct kek_small_file of_folder = {.what = "", .path = folder, .max = 3};
    refuses(&of_folder, KEK_INVALID, "is no regular file");
    put("123456", 6, 0600);
    refuses(&file, KEK_TOO_LARGE, "has more than 3 bytes");
    const struct kek_small_file grows = {.what = "", .path = "/proc/self/maps", .max = 3};
    refuses(&grows, KEK_TOO_LARGE, "has more than 3 bytes"); /* its size is said to be 0 */
}
END_TEST

START_TEST(a_long_path_leaves_room_for_what_is_wrong)
{
    char deep[1024] = "/";
    memset(deep + 1, 'x', sizeof deep - 2);
    memcpy(deep + sizeof deep - 6, "/last", 6);
    const struct kek_small_file file = {.what = "key ", .path = deep, .max = 3};
    struct kek_why why;
    KEK_AUTO(kek_secret) line = NULL;
    ck_assert_int_eq(kek_small_file_line(&file, &line, NULL, &why), KEK_DENIED);
    ck_assert_int_eq(strncmp(why.text, "key ...xxx", 10), 0);
    ck_assert_ptr_nonnull(strstr(why.text, "xxx/last cannot be opened by uid "));
}
END_TEST

static const struct {
    const char *content;
    size_t len;
    const char *line;
    const char *says; /* if there is none */
} lines[] = {
#define ROW(content, line, says)                 \
    {                                            \
        content, sizeof(content) - 1, line, says \
    }
    ROW("secret", "secret", NULL),
    ROW("secret\n", "secret", NULL),
    ROW("secret\r\n", "secret", NULL),
    ROW(" s\xc3\xbc\xc3\x9f ", " s\xc3\xbc\xc3\x9f ", NULL),
    ROW("12345678\r\n", "12345678", NULL),
    ROW("123456789", NULL, "has more than 8 bytes"),
    ROW("123456789\n", NULL, "has more than 8 bytes"),
    ROW("12345678901", NULL, "has more than 8 bytes"),
    ROW("", NULL, "is empty"),
    ROW("\n", NULL, "is empty"),
    ROW("\r\n", NULL, "is empty"),
    ROW("abc\n\n", NULL, "has more than one line"),
    ROW("abc\r\n\r\n", NULL, "has more than one line"),
    ROW("abc\n\r\n", NULL, "has more than one line"),
    ROW("abc\n\r", NULL, "has more than one line"),
    ROW("abc\r", NULL, "has more than one line"),
    ROW("\nabc", NULL, "has more than one line"),
    ROW("ab\ncd\n", NULL, "has more than one line"),
    ROW("abc\t\n", NULL, "has a control character"),
    ROW("\x7f"
        "abc",
        NULL, "has a control character"),
    ROW("\xef\xbb\xbf"
        "abc\r\n",
        NULL, "begins with a byte order mark"),
    ROW("abc\0", NULL, "has a NUL byte"),
#undef ROW
};

START_TEST(a_line_is_taken_or_refused)
{
    const struct kek_small_file file = {.what = "key ", .path = path, .max = 8, .forbidden = 077};
    struct kek_why why = {.text = ""};
    KEK_AUTO(kek_secret) line = NULL;
    put(lines[_i].content, lines[_i].len, 0600);
    enum kek_rc rc = kek_small_file_line(&file, &line, NULL, &why);
    if (lines[_i].line != NULL) {
        ck_assert_msg(rc == KEK_OK, "%s", why.text);
        ck_assert(kek_bytes_equal(kek_secret_bytes(line), kek_bytes_of(lines[_i].line)));
    } else {
        ck_assert_int_ne(rc, KEK_OK);
        ck_assert_msg(strstr(why.text, lines[_i].says) != NULL, "%s", why.text);
        ck_assert_ptr_null(line);
        ck_assert_msg(strstr(why.text, "abc") == NULL, "%s", why.text);
    }
}
END_TEST

START_TEST(what_is_read_is_all_of_it_and_is_added)
{
    const struct kek_small_file file = {.what = "", .path = path, .max = 100000};
    static char content[100000];
    KEK_AUTO_BUF struct kek_buf all;
    kek_buf_init(&all, sizeof content + 1);
    memset(content, 'y', sizeof content);
    put(content, sizeof content, 0600);
    ck_assert_int_eq(kek_buf_append(&all, kek_bytes_of("x"), NULL), KEK_OK);
    ck_assert_int_eq(kek_small_file_read(&file, &all, NULL, NULL), KEK_OK);
    ck_assert_uint_eq(all.len, sizeof content + 1);
    ck_assert(all.data[0] == 'x' && memcmp(all.data + 1, content, sizeof content) == 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("small file");
    TCase *tests = tcase_create("small file");
    suite_add_tcase(suite, tests);
    tcase_add_checked_fixture(tests, setup, teardown);
    tcase_add_loop_test(tests, who_may_use_it_is_checked_and_said, 0, ROWS(modes));
    tcase_add_test(tests, whose_it_is_is_checked_where_it_matters);
    tcase_add_test(tests, what_is_no_file_of_that_size_is_refused);
    tcase_add_test(tests, a_long_path_leaves_room_for_what_is_wrong);
    tcase_add_loop_test(tests, a_line_is_taken_or_refused, 0, ROWS(lines));
    tcase_add_test(tests, what_is_read_is_all_of_it_and_is_added);
    return suite_run(suite);
}
