/* Metadata of objects, read from JSON that comes in pieces. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "src/kubeapi/objects.h"
#include "src/kubeapi/scan.h"

static char seen[4096];

static enum kek_rc on_object(void *arg, const struct kek_kubeapi_object *object,
                             struct kek_why *why)
{
    char name[KEK_KUBEAPI_OBJECT_TEXT];
    (void)arg;
    (void)why;
    kek_kubeapi_object_name(object, name);
    size_t at = strlen(seen);
    snprintf(seen + at, sizeof seen - at, "%s %s %s;", name, object->uid, object->resource_version);
    return KEK_OK;
}

static enum kek_rc feed(struct objects *objects, const char *json, size_t step, struct kek_why *why)
{
    size_t len = strlen(json);
    for (size_t at = 0; at < len; at += step) {
        size_t part = len - at < step ? len - at : step;
        enum kek_rc rc = objects_take(objects, kek_bytes(json + at, part), why);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    return KEK_OK;
}

static const char list[] =
    "{\"kind\":\"PartialObjectMetadataList\",\"apiVersion\":\"meta.k8s.io/v1\",\"metadata\":"
    "{\"resourceVersion\":\"900\",\"continue\":\"ey\\u004aa\",\"remainingItemCount\":7},\"items\":["
    "{\"metadata\":{\"name\":\"a\",\"namespace\":\"n\",\"uid\":\"u1\",\"resourceVersion\":\"5\","
    "\"annotations\":{\"name\":\"not me\",\"x\":\"{\\\"data\\\":[1,2]}\"},\"managedFields\":[{"
    "\"name\":\"nor me\",\"fieldsV1\":{\"f:data\":{}}}]}},\n"
    "{\"name\":\"nor "
    "me\",\"metadata\":{\"resourceVersion\":\"6\",\"name\":\"b\",\"labels\":{}}}]}\n";

/* Wherever it is cut. */
START_TEST(a_list_is_read_in_pieces_of_any_size)
{
    struct kek_why why = {.text = ""};
    struct kek_kubeapi_call call = {.done = false};
    KEK_AUTO(objects) objects = objects_new(on_object, NULL);
    seen[0] = '\0';
    enum kek_rc rc = feed(objects, list, (size_t)_i, &why);
    ck_assert_msg(rc == KEK_OK, "%s", why.text);
    rc = objects_end(objects, &call, &why);
    ck_assert_msg(rc == KEK_OK, "%s", why.text);
    ck_assert_str_eq(seen, "n/a u1 5;b  6;");
    ck_assert_str_eq(call.continue_, "eyJa");
    ck_assert_str_eq(call.list_version, "900");
    ck_assert_uint_eq(call.remaining, 7);
    ck_assert_uint_eq(call.count, 2);
    free(call.continue_);
}
END_TEST

START_TEST(a_list_that_is_cut_anywhere_is_none)
{
    for (size_t len = 0; len < sizeof list - 3; len++) {
        struct kek_why why = {.text = ""};
        struct kek_kubeapi_call call = {.done = false};
        KEK_AUTO(objects) objects = objects_new(on_object, NULL);
        seen[0] = '\0';
        ck_assert_int_eq(objects_take(objects, kek_bytes(list, len), &why), KEK_OK);
        ck_assert_int_eq(objects_end(objects, &call, &why), KEK_INVALID);
        ck_assert_ptr_null(call.continue_);
    }
}
END_TEST

START_TEST(one_object_is_read)
{
    struct kek_why why = {.text = ""};
    struct kek_kubeapi_call call = {.done = false};
    KEK_AUTO(objects) objects = objects_new(NULL, NULL);
    ck_assert_int_eq(feed(objects,
                          "{\"kind\":\"PartialObjectMetadata\",\"metadata\":{\"name\":\"a\","
                          "\"uid\":\"u\",\"resourceVersion\":\"77\",\"namespace\":\"n\"}}",
                          3, &why),
                     KEK_OK);
    ck_assert_int_eq(objects_end(objects, &call, &why), KEK_OK);
    ck_assert_str_eq(call.object.name, "a");
    ck_assert_str_eq(call.object.resource_version, "77");
}
END_TEST

/* An annotation of any size costs no memory, and is not taken for a name. */
START_TEST(a_long_value_is_dropped)
{
    struct kek_why why = {.text = ""};
    struct kek_kubeapi_call call = {.done = false};
    KEK_AUTO(objects) objects = objects_new(NULL, NULL);
    char piece[4096];
    memset(piece, 'x', sizeof piece);
    ck_assert_int_eq(
        feed(objects, "{\"kind\":\"PartialObjectMetadata\",\"metadata\":{\"labels\":\"", 100, &why),
        KEK_OK);
    for (unsigned i = 0; i < 1000; i++) {
        ck_assert_int_eq(objects_take(objects, kek_bytes(piece, sizeof piece), &why), KEK_OK);
    }
    ck_assert_int_eq(feed(objects, "\",\"name\":\"a\",\"resourceVersion\":\"1\"}}", 100, &why),
                     KEK_OK);
    ck_assert_int_eq(objects_end(objects, &call, &why), KEK_OK);
    ck_assert_str_eq(call.object.name, "a");
}
END_TEST

static const struct {
    const char *json, *says;
} wrong[] = {
    {"", "ends early"},
    {"x", "expected a value at byte 0"},
    {"[1}", "an end without a beginning"},
    {"{\"a\":1]", "an end without a beginning"},
    {"{\"a\" 1}", "expected a colon"},
    {"{a:1}", "expected a key"},
    {"{\"a\":tru}", "no such word"},
    {"{\"a\":1x}", "no such word"},
    {"{\"a\":1 2}", "expected a comma"},
    {"{\"a\":\"\\x\"}", "no such escape"},
    {"{\"a\":\"\\u00g0\"}", "four hexadecimal digits"},
    {"{\"a\":\"\\u001\x12\"}", "four hexadecimal digits"},
    {"{\"a\":\"\n\"}", "a control character"},
    {"{} {}", "something follows"},
    {"{\"kind\":\"SecretList\"}", "it does not give metadata alone (expected a Partial"},
    {"{\"kind\":\"PartialObjectMetadataList\",\"items\":[{}]}", "an object without a name"},
    {"{\"kind\":\"PartialObjectMetadataList\",\"items\":[{\"metadata\":{\"name\":\"a\"}}]}",
     "an object without a name or a resourceVersion"},
    {"{\"items\":[]}", "thing without a kind"},
};

START_TEST(what_is_no_list_is_refused)
{
    struct kek_why why = {.text = ""};
    struct kek_kubeapi_call call = {.done = false};
    KEK_AUTO(objects) objects = objects_new(on_object, NULL);
    enum kek_rc rc = feed(objects, wrong[_i].json, 1, &why);
    rc = rc == KEK_OK ? objects_end(objects, &call, &why) : rc;
    ck_assert_int_ne(rc, KEK_OK);
    ck_assert_msg(strstr(why.text, wrong[_i].says) != NULL, "%s", why.text);
}
END_TEST

START_TEST(nesting_has_a_limit)
{
    struct kek_why why = {.text = ""};
    KEK_AUTO(objects) objects = objects_new(on_object, NULL);
    enum kek_rc rc = KEK_OK;
    unsigned depth = 0;
    while (rc == KEK_OK && depth++ < 10000) {
        rc = objects_take(objects, kek_bytes_of("["), &why);
    }
    ck_assert_int_eq(rc, KEK_INVALID);
    ck_assert_uint_eq(depth, SCAN_DEPTH_MAX + 1);
    ck_assert_msg(strstr(why.text, "too deeply") != NULL, "%s", why.text);
}
END_TEST

static char value[64];

static enum kek_rc on_value(void *arg, const char (*keys)[SCAN_KEY_MAX], size_t depth,
                            const char *text, struct kek_why *why)
{
    (void)arg;
    (void)why;
    snprintf(value, sizeof value, "%zu %s %s", depth, depth == 0 ? "" : keys[depth - 1], text);
    return KEK_OK;
}

static enum kek_rc on_end(void *arg, const char (*keys)[SCAN_KEY_MAX], size_t depth,
                          struct kek_why *why)
{
    (void)arg;
    (void)keys;
    (void)depth;
    (void)why;
    return KEK_OK;
}

START_TEST(escapes_are_decoded)
{
    static const struct {
        const char *json, *says;
    } texts[] = {
        {"{\"k\":\"\\\"\\\\\\/\\b\\f\\n\\r\\t\"}", "1 k \"\\/\b\f\n\r\t"},
        {"{\"k\":\"\\u0041\\u00e9\\u20AC\\ud83d\\ude00\"}",
         "1 k A\xc3\xa9\xe2\x82\xac\xf0\x9f\x98\x80"},
        {"{\"k\":\"\\ude00x\"}", "1 k \xef\xbf\xbdx"},
        {"{\"k\":-1.5e3}", "1 k -1.5e3"},
        {"{\"k\":[false]}", "2 [] false"},
        {"{\"k\\u0000\":null}", "1  null"},
        {"{\"a key that is longer than any that is wanted\":null}", "1  null"},
    };
    for (size_t i = 0; i < sizeof texts / sizeof texts[0]; i++) {
        struct kek_why why = {.text = ""};
        const struct scan_into into = {.value = on_value, .end = on_end};
        KEK_AUTO(scan) scan = scan_new(&into);
        ck_assert_int_eq(scan_feed(scan, kek_bytes_of(texts[i].json), &why), KEK_OK);
        ck_assert_int_eq(scan_end(scan, &why), KEK_OK);
        ck_assert_str_eq(value, texts[i].says);
    }
}
END_TEST

START_TEST(versions_are_compared_as_numbers)
{
    ck_assert(kek_kubeapi_is_later("10", "9"));
    ck_assert(!kek_kubeapi_is_later("9", "10"));
    ck_assert(!kek_kubeapi_is_later("10", "10"));
    ck_assert(kek_kubeapi_is_later("11", "10"));
    ck_assert(kek_kubeapi_is_later("a", "b") && kek_kubeapi_is_later("b", "a"));
    ck_assert(!kek_kubeapi_is_later("a", "a"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kubeapi");
    TCase *tcase = tcase_create("kubeapi");
    tcase_add_loop_test(tcase, a_list_is_read_in_pieces_of_any_size, 1, 40);
    tcase_add_test(tcase, a_list_that_is_cut_anywhere_is_none);
    tcase_add_test(tcase, one_object_is_read);
    tcase_add_test(tcase, a_long_value_is_dropped);
    tcase_add_loop_test(tcase, what_is_no_list_is_refused, 0,
                        (int)(sizeof wrong / sizeof wrong[0]));
    tcase_add_test(tcase, nesting_has_a_limit);
    tcase_add_test(tcase, escapes_are_decoded);
    tcase_add_test(tcase, versions_are_compared_as_numbers);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
