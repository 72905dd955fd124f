/* What a run of kekctl conformance leaves: JUnit's XML, and its last result. */
#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kek/config.h"
#include "kekctl/conformance/junit.h"
#include "kekctl/conformance/last_run.h"

static char folder[] = "/tmp/kek-conformance-XXXXXX";
static struct kek_config config;
static struct kek_why why;

static json_t *run_of(const char *outcome, const char *says)
{
    return json_pack(
        "{s:i, s:s, s:s, s:s, s:{s:s, s:s}, s:s, s:{s:i, s:i, s:i, s:i}, s:[{s:s, s:s, s:s, s:s, "
        "s:s, s:{s:s}, s:i}]}",
        "format", 1, "kekctl", "1", "provider", "a", "type", "pkcs11", "token", "label", says,
        "serial", "7", "began", "2026-01-31T08:00:00Z", "summary", "pass", 1, "fail", 2,
        "not_supported", 3, "skipped", 4, "cases", "name", "list", "title", "lists", "outcome",
        outcome, "says", says, "cause", "damaged", "native", "name", "CKR_X", "took_ms", 1234);
}

/* The XML of a run with one case. */
static char *xml_of(const char *outcome, const char *says)
{
    json_t *run = run_of(outcome, says);
    ck_assert_ptr_nonnull(run);
    char *xml = junit_text(run);
    json_decref(run);
    ck_assert_ptr_nonnull(xml);
    return xml;
}

static void has(const char *xml, const char *piece)
{
    ck_assert_msg(strstr(xml, piece) != NULL, "no %s in %s", piece, xml);
}

START_TEST(what_a_library_says_is_text_in_the_xml)
{
    KEK_AUTO_FREE char *xml = xml_of("FAIL", "a<b> & \"c\"\x01\n\x7f]]> \xc3\xa4");
    has(xml, "<failure type=\"CKR_X\" message=\"a&lt;b&gt; &amp; &quot;c&quot;   ]]&gt; \xc3\xa4\">"
             "lists: a&lt;b&gt; &amp; &quot;c&quot;   ]]&gt; \xc3\xa4</failure>");
    has(xml, "<property name=\"token.label\" value=\"a&lt;b&gt; &amp; &quot;c&quot;   ]]&gt; "
             "\xc3\xa4\"/>");
}
END_TEST

START_TEST(what_is_no_character_of_xml_is_replaced)
{
    KEK_AUTO_FREE char *xml = xml_of("FAIL", "a\xef\xbf\xbf"
                                             "b\xef\xbf\xbe"
                                             "c\xef\xbf\xbd"
                                             "d\xef\xbc\xa1");
    has(xml, "a\xef\xbf\xbd"
             "b\xef\xbf\xbd"
             "c\xef\xbf\xbd"
             "d\xef\xbc\xa1\"");
    ck_assert_ptr_null(strstr(xml, "\xef\xbf\xbf"));
    ck_assert_ptr_null(strstr(xml, "\xef\xbf\xbe"));
}
END_TEST

START_TEST(an_outcome_is_what_junit_has_for_it)
{
    static const struct {
        const char *outcome, *piece;
    } rows[] = {{"PASS", "<system-out>why</system-out>"},
                {"NOT SUPPORTED", "<skipped message=\"NOT SUPPORTED: why\"/>"},
                {"SKIPPED", "<skipped message=\"SKIPPED: why\"/>"},
                {"FAIL", "<failure type=\"CKR_X\" message=\"why\">lists: why</failure>"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        KEK_AUTO_FREE char *xml = xml_of(rows[i].outcome, "why");
        has(xml, rows[i].piece);
        has(xml, "<testcase name=\"list\" classname=\"kekctl.conformance.a\" time=\"1.234\">");
        has(xml, "tests=\"1\" failures=\"2\" errors=\"0\" skipped=\"7\" time=\"1.234\"");
        has(xml, "timestamp=\"2026-01-31T08:00:00\"");
    }
}
END_TEST

static void setup(void)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    config = (struct kek_config){.state_dir = folder, .keyring = (char *)(uintptr_t) "ring"};
}

static void teardown(void)
{
    static const char *const names[] = {"ring.conformance-a", "ring.conformance-a.lock"};
    char path[96];
    for (size_t i = 0; i < 2; i++) {
        snprintf(path, sizeof path, "%s/%s", folder, names[i]);
        (void)unlink(path);
    }
    ck_assert_int_eq(rmdir(folder), 0);
}

START_TEST(the_last_result_is_read_as_it_was_written)
{
    json_t *first = run_of("PASS", "one"), *second = run_of("FAIL", "two");
    ck_assert_ptr_null(last_run_read(&config, "a", &why));
    ck_assert_int_eq(why.rc, KEK_NOT_FOUND);
    ck_assert_int_eq(last_run_write(&config, "a", first, &why), KEK_OK);
    ck_assert_int_eq(last_run_write(&config, "a", second, &why), KEK_OK);
    json_t *read = last_run_read(&config, "a", &why);
    ck_assert(json_equal(read, second));
    json_decref(read);
    json_decref(first);
    json_decref(second);
}
END_TEST

START_TEST(what_is_no_result_of_this_provider_is_not_read)
{
    static const char *const texts[] = {
        "",
        "{",
        "[]",
        "{\"format\": 1}",
        "{\"format\": 2, \"provider\": \"a\", \"summary\": {}, \"cases\": []}",
        "{\"format\": 1, \"provider\": \"b\", \"summary\": {}, \"cases\": []}",
        "{\"format\": 1, \"provider\": \"a\", \"summary\": [], \"cases\": []}",
        "{\"format\": 1, \"provider\": \"a\", \"summary\": {}, \"cases\": {}}"};
    char path[96];
    snprintf(path, sizeof path, "%s/ring.conformance-a", folder);
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        FILE *file = fopen(path, "w");
        ck_assert_ptr_nonnull(file);
        fputs(texts[i], file);
        ck_assert_int_eq(fclose(file), 0);
        ck_assert_ptr_null(last_run_read(&config, "a", &why));
        ck_assert_int_eq(why.rc, KEK_DAMAGED);
        ck_assert_ptr_nonnull(strstr(why.text, path));
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("conformance");
    TCase *xml = tcase_create("xml"), *file = tcase_create("file");
    suite_add_tcase(suite, xml);
    tcase_add_test(xml, what_a_library_says_is_text_in_the_xml);
    tcase_add_test(xml, what_is_no_character_of_xml_is_replaced);
    tcase_add_test(xml, an_outcome_is_what_junit_has_for_it);
    suite_add_tcase(suite, file);
    tcase_add_checked_fixture(file, setup, teardown);
    tcase_add_test(file, the_last_result_is_read_as_it_was_written);
    tcase_add_test(file, what_is_no_result_of_this_provider_is_not_read);
    return suite_run(suite);
}
