#include "suite.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kek/json.h"

/* When malloc of jansson fails; 0: never. */
static unsigned long failing, allocations;

static void *allocate(size_t size)
{
    return failing > 0 && ++allocations == failing ? NULL : malloc(size);
}

START_TEST(text_is_whole_or_not_there_when_memory_runs_out)
{
    static const char whole[] = "{\"number\":4,\"list\":[\"one\",\"two\"],\"object\":{\"b\":true}}";
    json_set_alloc_funcs(allocate, free);
    json_t *value = json_loads(whole, 0, NULL);
    ck_assert_ptr_nonnull(value);
    size_t failed = 0;
    for (failing = 1;; failing++) {
        allocations = 0;
        char *text = kek_json_text(value, JSON_COMPACT | JSON_PRESERVE_ORDER);
        bool ran_out = allocations >= failing;
        failed += text == NULL;
        if (text != NULL) {
            ck_assert_str_eq(text, whole);
        }
        free(text);
        if (!ran_out) {
            ck_assert_ptr_nonnull(text);
            break;
        }
    }
    failing = 0;
    ck_assert_uint_gt(failed, 0);
    json_decref(value);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("json");
    TCase *tcase = tcase_create("json");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, text_is_whole_or_not_there_when_memory_runs_out);
    return suite_run(suite);
}
