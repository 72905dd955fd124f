/*
 * The items of a manual page, to compare with what the program says: ".It <macro> <name> ...".
 */
#ifndef TEST_MAN_ITEMS_H
#define TEST_MAN_ITEMS_H

#include "suite.h"

#include <stdbool.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define MAN_ITEMS_MAX 128

struct man_items {
    size_t count;
    char names[MAN_ITEMS_MAX][96];
    char rest[MAN_ITEMS_MAX][96]; /* what follows the name in its line */
    bool met[MAN_ITEMS_MAX];
};

/* `page` is relative to the top of the sources. */
static inline void man_items_read(struct man_items *items, const char *page, const char *macro)
{
    const char *top = getenv("abs_top_srcdir");
    char path[4096], line[512], start[32];
    snprintf(path, sizeof path, "%s/%s", top == NULL ? "." : top, page);
    int start_len = snprintf(start, sizeof start, ".It %s ", macro);
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "cannot open %s", path);
    memset(items, 0, sizeof *items);
    while (fgets(line, sizeof line, file) != NULL) {
        if (strncmp(line, start, (size_t)start_len) != 0) {
            continue;
        }
        const char *name = line + start_len;
        size_t len = strcspn(name, " \n");
        const char *rest = name + len + strspn(name + len, " ");
        size_t n = items->count++;
        ck_assert_uint_lt(n, MAN_ITEMS_MAX);
        snprintf(items->names[n], sizeof items->names[n], "%.*s", (int)(len < 95 ? len : 95), name);
        snprintf(items->rest[n], sizeof items->rest[n], "%.*s",
                 (int)(strcspn(rest, "\n") < 95 ? strcspn(rest, "\n") : 95), rest);
    }
    fclose(file);
    ck_assert_uint_gt(items->count, 0);
}

/* The program says `name`: the page must have it. Returns what follows it there. */
static inline const char *man_items_meet(struct man_items *items, const char *name)
{
    for (size_t i = 0; i < items->count; i++) {
        if (strcmp(items->names[i], name) == 0) {
            items->met[i] = true;
            return items->rest[i];
        }
    }
    ck_abort_msg("the manual lacks %s", name);
    return NULL;
}

static inline void man_items_all_met(const struct man_items *items)
{
    for (size_t i = 0; i < items->count; i++) {
        ck_assert_msg(items->met[i], "the manual has %s, the program has not", items->names[i]);
    }
}

#endif
