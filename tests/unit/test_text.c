/* What is written and read as text: base64, what a URL takes, moments. */
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kek/base64.h"
#include "kek/clock.h"
#include "kek/text.h"

START_TEST(base64_goes_there_and_back_and_only_one_way)
{
    static const char *const pairs[][2] = {{"f", "Zg=="},         {"fo", "Zm8="},
                                           {"foo", "Zm9v"},       {"foob", "Zm9vYg=="},
                                           {"fooba", "Zm9vYmE="}, {"foobar", "Zm9vYmFy"}};
    static const char *const bad[] = {"",      "Z",    "Zg",   "Zg=",  "Zg==Zg==",
                                      "Zh==",  "Zm9=", "Z===", "====", "Zm9v\n",
                                      "Zm 9v", "Zm9-", "Zm9_", "=m9v", "Zm9vYmFyYg=="};
    uint8_t back[6];
    char text[16];
    size_t len;
    for (size_t i = 0; i < sizeof pairs / sizeof pairs[0]; i++) {
        kek_base64(kek_bytes_of(pairs[i][0]), text);
        ck_assert_str_eq(text, pairs[i][1]);
        ck_assert(kek_unbase64(text, back, sizeof back, &len));
        ck_assert_uint_eq(len, strlen(pairs[i][0]));
        ck_assert_mem_eq(back, pairs[i][0], len);
    }
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_msg(!kek_unbase64(bad[i], back, sizeof back, &len), "%s", bad[i]);
    }
}
END_TEST

START_TEST(text_is_escaped_as_a_url_wants_it)
{
    char out[KEK_TEXT_ESCAPED(8)];
    kek_text_escape("aZ09-._~", out);
    ck_assert_str_eq(out, "aZ09-._~");
    kek_text_escape("/ %&=+\xff\n", out);
    ck_assert_str_eq(out, "%2F%20%25%26%3D%2B%FF%0A");
    kek_text_escape("", out);
    ck_assert_str_eq(out, "");
}
END_TEST

START_TEST(a_moment_is_written_and_read_as_rfc_3339_has_it)
{
    static const char *const wrong[] = {"",
                                        "2026",
                                        "2026-01-31T08:00:00",
                                        "2026-01-31T08:00:00.Z",
                                        "2026-01-31T08:00:00.1234567890Z",
                                        "2026-1-31T08:00:00Z",
                                        "2026-13-31T08:00:00Z",
                                        "2026-01-32T08:00:00Z",
                                        "2026-01-31T24:00:00Z",
                                        " 2026-01-31T08:00:00Z",
                                        "x",
                                        "2026-01-31",
                                        "2026-01-31T08:00:00+01:00",
                                        "1970-01-01T00:00:00Z",
                                        "2026-01-31T08:00:00.123Zz"};
    char text[KEK_CLOCK_TEXT];
    const int64_t ms = INT64_C(1769846400123);
    ck_assert_str_eq(kek_clock_text(ms, text), "2026-01-31T08:00:00.123Z");
    ck_assert_int_eq(kek_clock_parse(text), ms);
    ck_assert_str_eq(kek_clock_text(ms + 877, text), "2026-01-31T08:00:01.000Z");
    ck_assert_str_eq(kek_clock_text_seconds(ms, text), "2026-01-31T08:00:00Z");
    ck_assert_int_eq(kek_clock_parse(text), ms - 123);
    ck_assert_str_eq(kek_clock_text(INT64_MAX, text), "292278994-08-17T07:12:55.807Z");
    ck_assert_int_eq(kek_clock_parse("2026-01-31T08:00:00.1Z"), ms - 23);
    ck_assert_int_eq(kek_clock_parse("2026-01-31T08:00:00.123999999Z"), ms);
    ck_assert_int_eq(kek_clock_parse(NULL), 0);
    for (size_t i = 0; i < sizeof wrong / sizeof wrong[0]; i++) {
        ck_assert_int_eq(kek_clock_parse(wrong[i]), 0);
    }
}
END_TEST

START_TEST(a_date_of_any_year_is_where_the_calendar_of_libc_has_it)
{
    for (int year = 0; year <= 9999; year += year < 1500 || year > 2500 ? 37 : 1) {
        for (int day = 0; day < 12 * 31; day++) {
            struct tm utc = {.tm_year = year - 1900, .tm_mon = day / 31, .tm_mday = 1 + day % 31};
            char text[64];
            snprintf(text, sizeof text, "%04d-%02d-%02dT00:00:01Z", year, 1 + day / 31,
                     1 + day % 31);
            ck_assert_msg(kek_clock_parse(text) == ((int64_t)timegm(&utc) + 1) * 1000, "%s", text);
        }
    }
}
END_TEST

START_TEST(a_command_names_its_root_where_there_are_several)
{
    static const char longest[] =
        "a-root-of-trust-with-a-long-name"; /* 32 bytes, as many as one may have */
    ck_assert_str_eq(kek_command(NULL, "key resume").text, "key resume");
    ck_assert_str_eq(kek_command("", "key resume").text, "key resume");
    ck_assert_str_eq(kek_command("spare", "key resume").text, "key resume --root spare");
    ck_assert_str_eq(kek_command(longest, "key generate").text,
                     "key generate --root a-root-of-trust-with-a-long-name");
}
END_TEST

START_TEST(a_message_stands_behind_its_name_once)
{
    ck_assert_str_eq(kek_text_after_name("hsm-b: no slot", "hsm-b"), "no slot");
    ck_assert_str_eq(kek_text_after_name("hsm-b: no slot", "hsm"), "hsm-b: no slot");
    ck_assert_str_eq(kek_text_after_name("hsm-b", "hsm-b"), "hsm-b");
    ck_assert_str_eq(kek_text_after_name("no slot", "hsm-b"), "no slot");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("text");
    TCase *all = tcase_create("all");
    tcase_add_test(all, base64_goes_there_and_back_and_only_one_way);
    tcase_add_test(all, a_date_of_any_year_is_where_the_calendar_of_libc_has_it);
    tcase_add_test(all, a_command_names_its_root_where_there_are_several);
    tcase_add_test(all, a_message_stands_behind_its_name_once);
    tcase_add_test(all, text_is_escaped_as_a_url_wants_it);
    tcase_add_test(all, a_moment_is_written_and_read_as_rfc_3339_has_it);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
