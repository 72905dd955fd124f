/* kekctl/report: the page. Nothing from outside is markup, and each kind of value has its words. */
#include "kekctl/report/page.h"

#include "suite.h"

static const struct column columns[] = {{"label", "A <label>"}, {"value", "Value"}};

static char *rendered(json_t *row)
{
    struct page page;
    json_t *list = json_pack("[O]", row);
    page_begin(&page, "T & <t>");
    page_object(&page, row, columns, 2);
    page_table(&page, list, columns, 2, "none");
    page_end(&page);
    ck_assert(page_good(&page));
    char *text = strndup((const char *)page.html.data, page.html.len);
    ck_assert_ptr_nonnull(text);
    page_done(&page);
    json_decref(list);
    json_decref(row);
    return text;
}

START_TEST(nothing_from_outside_is_markup)
{
    static const struct {
        const char *label, *shown;
    } rows[] = {
        {"<script>alert(1)</script>", "<td>&lt;script&gt;alert(1)&lt;/script&gt;</td>"},
        {"\" onload='x' &amp;", "<td>&quot; onload=&#39;x&#39; &amp;amp;</td>"},
        {"a\x1b[31mb\n", "<td>a[U+001B][31mb[U+000A]</td>"},
        {"v1\xe2\x80\xae", "<td>v1[U+202E]</td>"},
        {"\xe2\x81\xa6x\xe2\x80\x8b\xef\xbb\xbf", "<td>[U+2066]x[U+200B][U+FEFF]</td>"},
        {"a\xf3\xa0\x81\x81\xef\xb8\x8f\xe3\x85\xa4", "<td>a[U+E0041][U+FE0F][U+3164]</td>"},
        {"K\xc3\xb6nig \xf0\x9f\x94\x91", "<td>K\xc3\xb6nig \xf0\x9f\x94\x91</td>"},
        {"</td></table><img src=//x>", "<td>&lt;/td&gt;&lt;/table&gt;&lt;img src=//x&gt;</td>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = rendered(json_pack("{s:s, s:b}", "label", rows[i].label, "value", 1));
        ck_assert_msg(strstr(text, rows[i].shown) != NULL, "row %zu: %s", i, text);
        ck_assert_ptr_null(strstr(text, "<script"));
        ck_assert_ptr_null(strstr(text, "<img"));
        ck_assert_ptr_nonnull(strstr(text, "<title>T &amp; &lt;t&gt;</title>"));
        ck_assert_ptr_nonnull(strstr(text, "A &lt;label&gt;"));
        free(text);
    }
}
END_TEST

START_TEST(values_of_each_kind_are_shown_as_words)
{
    static const struct {
        const char *json, *shown;
    } rows[] = {
        {"{\"value\": true}", "<td>yes</td>"},
        {"{\"value\": false}", "<td>no</td>"},
        {"{\"value\": null}", "<td></td>"},
        {"{}", "<td></td>"},
        {"{\"value\": 42}", "<td>42</td>"},
        {"{\"value\": [\"a\", \"<b>\"]}", "<td>a<br>&lt;b&gt;</td>"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char *text = rendered(json_loads(rows[i].json, 0, NULL));
        ck_assert_msg(strstr(text, rows[i].shown) != NULL, "row %zu: %s", i, text);
        free(text);
    }
}
END_TEST

START_TEST(an_empty_table_says_so)
{
    struct page page;
    json_t *list = json_array();
    page_begin(&page, "t");
    page_table(&page, list, columns, 2, "No row.");
    char *text = strndup((const char *)page.html.data, page.html.len);
    ck_assert_ptr_nonnull(strstr(text, "<p>No row.</p>"));
    ck_assert_ptr_null(strstr(text, "<table"));
    free(text);
    page_done(&page);
    json_decref(list);
}
END_TEST

START_TEST(a_page_that_grows_past_its_maximum_is_spoilt)
{
    struct page page;
    static char text[1u << 20];
    memset(text, 'x', sizeof text - 1);
    page_begin(&page, "t");
    for (size_t i = 0; i <= PAGE_MAX / sizeof text; i++) {
        page_paragraph(&page, text);
    }
    ck_assert(!page_good(&page));
    page_done(&page);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("report_page");
    TCase *page = tcase_create("page");
    tcase_set_timeout(page, 60);
    tcase_add_test(page, nothing_from_outside_is_markup);
    tcase_add_test(page, values_of_each_kind_are_shown_as_words);
    tcase_add_test(page, an_empty_table_says_so);
    tcase_add_test(page, a_page_that_grows_past_its_maximum_is_spoilt);
    suite_add_tcase(suite, page);
    return suite_run(suite);
}
