/* The configuration's keys and those of its manual page are the same, with the same defaults. */
#include "suite.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "../../src/config/schema.h"

#define KEYS_MAX 128

struct key {
    char path[96];
    char preset[32]; /* empty: none */
    bool required;
};

struct keys {
    size_t count;
    struct key items[KEYS_MAX];
};

static struct keys schema, page;

static void add(struct keys *keys, const char *path, const char *preset, bool required)
{
    ck_assert_uint_lt(keys->count, KEYS_MAX);
    struct key *key = &keys->items[keys->count++];
    snprintf(key->path, sizeof key->path, "%s", path);
    snprintf(key->preset, sizeof key->preset, "%s", preset);
    key->required = required;
}

/* ".It Ic data_key.max_uses : Cm 100000" or ".It Ic listen : Ar ..."; "Required." in the next line. */
static void read_page(struct keys *keys)
{
    char path[512], line[256];
    snprintf(path, sizeof path, "%s/docs/kekd.conf.5", getenv("abs_top_srcdir"));
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s", path);
    bool fresh = false;
    while (fgets(line, sizeof line, file) != NULL) {
        if (fresh && strncmp(line, "Required", 8) == 0) {
            keys->items[keys->count - 1].required = true;
        }
        line[strcspn(line, "\n")] = '\0';
        char *colon = strstr(line, " : ");
        fresh = strncmp(line, ".It Ic ", 7) == 0 && colon != NULL;
        if (fresh) {
            *colon = '\0';
            bool has_preset = strncmp(colon + 3, "Cm ", 3) == 0;
            ck_assert(has_preset || strcmp(colon + 3, "Ar ...") == 0);
            add(keys, line + 7, has_preset ? colon + 6 : "", false);
        }
    }
    fclose(file);
}

static const struct key *find(const struct keys *keys, const char *path)
{
    for (size_t i = 0; i < keys->count; i++) {
        if (strcmp(keys->items[i].path, path) == 0) {
            return &keys->items[i];
        }
    }
    return NULL;
}

/* Two types of providers may have a key of one name, which the page then has once. */
static void from_schema(void *arg, const char *path, const char *preset, bool required)
{
    const char *text = preset == NULL ? "" : preset[0] == '\0' ? "\\(dq\\(dq" : preset;
    const struct key *before = find(arg, path);
    if (before == NULL) {
        add(arg, path, text, required);
        return;
    }
    ck_assert_msg(strcmp(before->preset, text) == 0 && before->required == required,
                  "%s is two different keys", path);
}

static void setup(void)
{
    kek_config_schema_each(from_schema, &schema);
    read_page(&page);
}

START_TEST(every_key_is_in_the_manual_page_with_its_default)
{
    ck_assert_uint_gt(schema.count, 30);
    for (size_t i = 0; i < schema.count; i++) {
        const struct key *key = &schema.items[i];
        const struct key *said = find(&page, key->path);
        ck_assert_msg(said != NULL, "%s is not in the page", key->path);
        ck_assert_msg(strcmp(said->preset, key->preset) == 0,
                      "%s: the default is \"%s\", not \"%s\"", key->path, key->preset,
                      said->preset);
        ck_assert_msg(said->required == key->required, "%s: required or not?", key->path);
    }
}
END_TEST

START_TEST(every_key_of_the_manual_page_is_known)
{
    for (size_t i = 0; i < page.count; i++) {
        ck_assert_msg(find(&schema, page.items[i].path) != NULL, "%s is no key",
                      page.items[i].path);
    }
    ck_assert_uint_eq(page.count, schema.count);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config_docs");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, setup, NULL);
    tcase_add_test(all, every_key_is_in_the_manual_page_with_its_default);
    tcase_add_test(all, every_key_of_the_manual_page_is_known);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
