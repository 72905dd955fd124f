/* What the tests of the audit log's store and of its record share: two stores on one file. */
#ifndef AUDIT_STORE_HELP_H
#define AUDIT_STORE_HELP_H

#include "audit_help.h"
#include "src/ops/audit_store.h"

#define RAW "{\"time\":\"2006-01-02T15:04:05.678Z\",\"seq\":1,\"node\":\"a\",\"event\":\"stop\"}\n"

static struct audit_store store, other;
static struct kek_audit_place place;
static struct kek_why why;

static inline void open_store(struct audit_store *s)
{
    static char path[sizeof folder + sizeof "/audit"];
    snprintf(path, sizeof path, "%s/audit", folder);
    place = place_of(path);
    ck_assert_msg(audit_store_open(s, &place, "n", AUDIT_FILE_MAKE, 0, &why) == KEK_OK, "%s",
                  why.text);
}

static inline void append(struct audit_store *s, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t taken = 0;
        ck_assert_msg(audit_store_append(s, kek_bytes_of(RAW), &taken, &why) == KEK_OK, "%s",
                      why.text);
        ck_assert_uint_eq(taken, strlen(RAW));
    }
}

/* Reads the file anew. */
static inline size_t reread(size_t broken)
{
    while (line_count > 0) {
        json_decref(lines[--line_count]);
    }
    return read_lines_but(place.file, broken);
}

/* The lines from `first` on are one chain, numbered from n. */
static inline void is_chain(size_t first, json_int_t n)
{
    for (size_t i = first; i < line_count; i++, n++) {
        ck_assert_int_eq(number_of(lines[i], "n"), n);
        if (i > first) {
            ck_assert_str_eq(text_of(lines[i], "prev"), text_of(lines[i - 1], "hash"));
            ck_assert_str_eq(text_of(lines[i], "chain"), text_of(lines[i - 1], "chain"));
        }
    }
}

static inline void store_teardown(void)
{
    audit_store_close(&store);
    audit_store_close(&other);
    teardown();
}

#endif
