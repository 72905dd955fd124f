/* Log lines: both shapes of one list of fields, the journal's priorities, and the first of each kind. */
#include <fcntl.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include <jansson.h>

#include "kek/clock.h"
#include "kek/log.h"
#include "suite.h"

#define SAID_MAX (256 * 1024)

static int ends[2], stderr_before;
static char said[SAID_MAX];
static uint64_t clock_us;

static uint64_t now_us(void)
{
    return clock_us;
}

static void listen_in(void)
{
    ck_assert_int_eq(pipe2(ends, O_CLOEXEC | O_NONBLOCK), 0);
    ck_assert_int_ge(fcntl(ends[1], F_SETPIPE_SZ, SAID_MAX), 0);
    stderr_before = dup(STDERR_FILENO);
    ck_assert_int_ge(dup2(ends[1], STDERR_FILENO), 0);
    clock_us = 1000000;
    kek_clock_fake(now_us);
    unsetenv("JOURNAL_STREAM");
    kek_log_setup("test", KEK_LOG_INFO, KEK_LOG_TEXT);
}

static void listen_no_more(void)
{
    kek_clock_fake(NULL);
    dup2(stderr_before, STDERR_FILENO);
    close(stderr_before);
    close(ends[0]);
    close(ends[1]);
}

/* What was logged since the last time. */
static const char *heard(void)
{
    ssize_t len = read(ends[0], said, sizeof said - 1);
    said[len > 0 ? len : 0] = '\0';
    return said;
}

static size_t lines(const char *text)
{
    size_t count = 0;
    for (; *text != '\0'; text++) {
        count += *text == '\n';
    }
    return count;
}

/* From "test LEVEL" on, which follows the time. */
static void ends_as(const char *text, const char *expected)
{
    const char *at = strstr(text, " test ");
    ck_assert_msg(at != NULL && strcmp(at, expected) == 0, "%s", text);
}

static const struct {
    enum kek_log_format format;
    const char *end;
} logged[] = {
    {KEK_LOG_TEXT, " test warn: a\\x0ab \"\\ Gr\xc3\xbc\xc3\x9f \\xff \\xc3\n"},
    {KEK_LOG_JSON,
     "\"level\":\"warn\",\"msg\":\"a\\u000ab \\\"\\\\ Gr\xc3\xbc\xc3\x9f \\ufffd \\ufffd\"}\n"},
};

START_TEST(line_is_one_line_of_utf8)
{
    kek_log_setup("test", KEK_LOG_INFO, logged[_i].format);
    kek_log(KEK_LOG_WARN, "a\nb \"\\ %s", "Gr\xc3\xbc\xc3\x9f \xff \xc3");
    const char *line = heard();
    ck_assert_uint_ge(strlen(line), strlen(logged[_i].end));
    ck_assert_str_eq(line + strlen(line) - strlen(logged[_i].end), logged[_i].end);
}
END_TEST

static void log_fields(void)
{
    const struct kek_why why = {.native = KEK_NATIVE_PKCS11, .code = 0x30};
    const struct kek_why none = {.native = KEK_NATIVE_NONE, .code = 5};
    kek_log_with(KEK_LOG_WARN,
                 KEK_LOG_FIELDS(kek_log_text("uid", "1-2"), kek_log_text("key_id", ""),
                                kek_log_text("path", NULL), kek_log_text("token", "a \"b\"\n"),
                                kek_log_number("workers", 0), kek_log_origin(&why),
                                kek_log_code(&why), kek_log_origin(&none), kek_log_code(&none)),
                 "it %s", "failed");
}

START_TEST(fields_stand_behind_the_sentence_in_text)
{
    log_fields();
    ends_as(heard(), " test warn: it failed uid=1-2 token=\"a \\\"b\\\"\\u000a\" workers=0 "
                     "origin=pkcs11 code=0x30\n");
}
END_TEST

START_TEST(codes_are_written_as_those_who_number_them_do)
{
    static const struct {
        enum kek_native native;
        unsigned long code;
        const char *says;
    } rows[] = {{KEK_NATIVE_PKCS11, 0xa0, " test warn: it failed origin=pkcs11 code=0xa0\n"},
                {KEK_NATIVE_HTTP, 503, " test warn: it failed origin=http code=503\n"},
                {KEK_NATIVE_ERRNO, 110, " test warn: it failed origin=errno code=110\n"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        const struct kek_why why = {.native = rows[i].native, .code = rows[i].code};
        kek_log_with(KEK_LOG_WARN, KEK_LOG_FIELDS(kek_log_origin(&why), kek_log_code(&why)),
                     "it failed");
        ends_as(heard(), rows[i].says);
    }
}
END_TEST

START_TEST(fields_are_members_of_their_own_in_json)
{
    kek_log_setup("test", KEK_LOG_INFO, KEK_LOG_JSON);
    log_fields();
    json_t *line = json_loads(heard(), JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(line);
    ck_assert_uint_eq(json_object_size(line), 9);
    ck_assert_str_eq(json_string_value(json_object_get(line, "msg")), "it failed");
    ck_assert_str_eq(json_string_value(json_object_get(line, "uid")), "1-2");
    ck_assert_str_eq(json_string_value(json_object_get(line, "token")), "a \"b\"\n");
    ck_assert(json_is_integer(json_object_get(line, "workers")));
    ck_assert_str_eq(json_string_value(json_object_get(line, "origin")), "pkcs11");
    ck_assert_int_eq(json_integer_value(json_object_get(line, "code")), 0x30);
    json_decref(line);
}
END_TEST

START_TEST(line_ends_whole_whatever_does_not_fit)
{
    char longer[3000];
    memset(longer, '\x01', sizeof longer - 1); /* six bytes each in JSON */
    longer[sizeof longer - 1] = '\0';
    for (int format = KEK_LOG_TEXT; format <= KEK_LOG_JSON; format++) {
        kek_log_setup("test", KEK_LOG_INFO, (enum kek_log_format)format);
        kek_log_with(KEK_LOG_WARN,
                     KEK_LOG_FIELDS(kek_log_text("long", longer), kek_log_text("short", "x")), "%s",
                     longer);
        const char *line = heard();
        ck_assert_uint_le(strlen(line), 4096);
        ck_assert_ptr_null(strstr(line, "long"));
        ck_assert_uint_eq(lines(line), 1);
        if (format == KEK_LOG_JSON) {
            json_t *object = json_loads(line, 0, NULL);
            ck_assert_str_eq(json_string_value(json_object_get(object, "short")), "x");
            json_decref(object);
        } else {
            ck_assert_ptr_nonnull(strstr(line, " short=x\n"));
        }
    }
}
END_TEST

static void name_journal(dev_t device, ino_t inode)
{
    char name[64];
    snprintf(name, sizeof name, "%ju:%ju", (uintmax_t)device, (uintmax_t)inode);
    setenv("JOURNAL_STREAM", name, 1);
}

START_TEST(lines_to_the_journal_begin_with_their_priority)
{
    static const char *const priorities[] = {"<3>", "<4>", "<6>", "<7>"};
    struct stat st;
    ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
    name_journal(st.st_dev, st.st_ino);
    for (int level = KEK_LOG_ERROR; level <= KEK_LOG_DEBUG; level++) {
        for (int format = KEK_LOG_TEXT; format <= KEK_LOG_JSON; format++) {
            kek_log_setup("test", KEK_LOG_DEBUG, (enum kek_log_format)format);
            kek_log((enum kek_log_level)level, "x");
            const char *line = heard();
            ck_assert_msg(strncmp(line, priorities[level], 3) == 0, "%s", line);
            ck_assert_int_ne(line[3], '<');
        }
    }
}
END_TEST

START_TEST(lines_elsewhere_have_none_though_the_variable_is_inherited)
{
    struct stat st;
    ck_assert_int_eq(fstat(STDERR_FILENO, &st), 0);
    for (int i = 0; i < 4; i++) {
        switch (i) {
        case 0:
            name_journal(st.st_dev, st.st_ino + 1);
            break;
        case 1:
            name_journal(st.st_dev + 1, st.st_ino);
            break;
        case 2:
            setenv("JOURNAL_STREAM", "", 1);
            break;
        default:
            unsetenv("JOURNAL_STREAM");
        }
        kek_log_setup("test", KEK_LOG_INFO, KEK_LOG_TEXT);
        kek_log(KEK_LOG_ERROR, "x");
        ck_assert_int_ne(heard()[0], '<');
        ck_assert_str_eq(kek_log_priority(KEK_LOG_ERROR), "");
    }
}
END_TEST

static void fail_call(const char *what, uint64_t call)
{
    kek_log_often(KEK_LOG_WARN, "calls", KEK_LOG_FIELDS(kek_log_number("call", call)),
                  "it failed: %s", what);
}

START_TEST(of_a_flood_the_first_line_and_a_count_are_logged)
{
    for (uint64_t i = 0; i < 30000; i++) {
        fail_call("no HSM answers", i);
    }
    fail_call("another cause", 1);
    const char *text = heard();
    ck_assert_uint_eq(lines(text), 2);
    ck_assert_ptr_nonnull(strstr(text, "it failed: no HSM answers call=0\n"));
    ck_assert_ptr_nonnull(strstr(text, "it failed: another cause call=1\n"));
    clock_us += 9999000;
    kek_log_often_count(false);
    ck_assert_str_eq(heard(), "");
    clock_us += 1000;
    kek_log_often_count(false);
    ends_as(heard(), " test warn: 29999 more of the same in 10 s: it failed: no HSM answers\n");
    fail_call("no HSM answers", 7);
    ends_as(heard(), " test warn: it failed: no HSM answers call=7\n");
    kek_log_often_count(true);
    ck_assert_str_eq(heard(), "");
}
END_TEST

START_TEST(a_count_that_is_over_is_logged_by_the_next_line_too)
{
    fail_call("x", 0);
    fail_call("x", 1);
    clock_us += 12000000;
    (void)heard();
    fail_call("x", 2);
    const char *text = heard();
    ck_assert_uint_eq(lines(text), 2);
    ck_assert_ptr_nonnull(strstr(text, ": 1 more of the same in 12 s: it failed: x\n"));
    ck_assert_ptr_nonnull(strstr(text, ": it failed: x call=2\n"));
    kek_log_often_count(true);
}
END_TEST

/* A client that makes up a new cause for each call. */
START_TEST(causes_without_end_are_counted_together_and_hide_no_other_group)
{
    for (uint64_t i = 0; i < 1000; i++) {
        char what[24];
        snprintf(what, sizeof what, "cause %" PRIu64, i);
        fail_call(what, i);
    }
    ck_assert_uint_eq(lines(heard()), KEK_LOG_KINDS);
    kek_log_often(KEK_LOG_WARN, "others", NULL, "cause");
    ends_as(heard(), " test warn: cause\n");
    kek_log_often_count(true);
    ends_as(heard(), " test warn: 992 more of other kinds in 0 s: calls\n");
    fail_call("cause 999", 0);
    ck_assert_uint_eq(lines(heard()), 1);
    kek_log_often_count(true);
}
END_TEST

START_TEST(groups_without_end_are_counted_together)
{
    static char groups[100][8];
    for (size_t i = 0; i < 100; i++) {
        snprintf(groups[i], sizeof groups[i], "%zu", i);
        kek_log_often(KEK_LOG_WARN, groups[i], NULL, "x");
    }
    ck_assert_uint_eq(lines(heard()), 64);
    kek_log_often_count(true);
    ends_as(heard(), " test warn: 36 more of other kinds in 0 s: of any group\n");
}
END_TEST

START_TEST(kinds_differ_by_level_too_and_what_is_not_logged_is_not_counted)
{
    kek_log_often(KEK_LOG_DEBUG, "calls", NULL, "x");
    kek_log_often(KEK_LOG_INFO, "calls", NULL, "x");
    kek_log_often(KEK_LOG_ERROR, "calls", NULL, "x");
    ck_assert_uint_eq(lines(heard()), 2);
    kek_log_often_count(true);
    ck_assert_str_eq(heard(), "");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("log");
    TCase *tcase = tcase_create("log");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, listen_in, listen_no_more);
    tcase_add_loop_test(tcase, line_is_one_line_of_utf8, 0, sizeof logged / sizeof logged[0]);
    tcase_add_test(tcase, fields_stand_behind_the_sentence_in_text);
    tcase_add_test(tcase, codes_are_written_as_those_who_number_them_do);
    tcase_add_test(tcase, fields_are_members_of_their_own_in_json);
    tcase_add_test(tcase, line_ends_whole_whatever_does_not_fit);
    tcase_add_test(tcase, lines_to_the_journal_begin_with_their_priority);
    tcase_add_test(tcase, lines_elsewhere_have_none_though_the_variable_is_inherited);
    tcase_add_test(tcase, of_a_flood_the_first_line_and_a_count_are_logged);
    tcase_add_test(tcase, a_count_that_is_over_is_logged_by_the_next_line_too);
    tcase_add_test(tcase, causes_without_end_are_counted_together_and_hide_no_other_group);
    tcase_add_test(tcase, groups_without_end_are_counted_together);
    tcase_add_test(tcase, kinds_differ_by_level_too_and_what_is_not_logged_is_not_counted);
    return suite_run(suite);
}
