#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <libsmartcols.h>

#include "kek/descriptors.h"
#include "kek/json.h"

struct scols {
    struct libscols_table *table;
};

static void scols_auto(struct scols *scols)
{
    if (scols->table != NULL) {
        scols_unref_table(scols->table);
    }
}

static enum ctl_exit no_memory(const struct ctl *ctl)
{
    ctl_say(ctl, "no memory for the output");
    return CTL_FAILED;
}

static enum ctl_exit flush(const struct ctl *ctl)
{
    if (fflush(stdout) != 0 || ferror(stdout)) {
        ctl_say(ctl, "cannot write to standard output: %s", strerror(errno));
        return CTL_FAILED;
    }
    return CTL_GOOD;
}

static enum ctl_exit dump(const struct ctl *ctl, const json_t *object)
{
    if (json_dumpf(object, stdout, JSON_INDENT(2)) != 0) {
        return no_memory(ctl);
    }
    putchar('\n');
    return flush(ctl);
}

/* A cell's text; NULL: no memory. The caller's to free. */
static char *cell(const json_t *value)
{
    if (json_is_string(value)) {
        return strdup(json_string_value(value));
    }
    if (value == NULL || json_is_null(value)) {
        return strdup("");
    }
    if (json_is_boolean(value)) {
        return strdup(json_is_true(value) ? "yes" : "no");
    }
    return kek_json_text(value, JSON_ENCODE_ANY | JSON_COMPACT);
}

static bool set_cell(struct libscols_line *line, size_t column, const json_t *value)
{
    char *text = cell(value);
    if (text != NULL && scols_line_refer_data(line, column, text) == 0) {
        return true;
    }
    free(text);
    return false;
}

static bool add_columns(struct libscols_table *table, const char *const *titles, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (scols_table_new_column(table, titles[i], 0, 0) == NULL) {
            return false;
        }
    }
    return true;
}

static enum ctl_exit print(const struct ctl *ctl, struct libscols_table *table)
{
    if (scols_print_table(table) != 0) {
        return no_memory(ctl);
    }
    return flush(ctl);
}

enum ctl_exit output_object(const struct ctl *ctl, const json_t *object,
                            const struct column *columns, size_t count)
{
    if (ctl->json) {
        return dump(ctl, object);
    }
    static const char *const titles[] = {"NAME", "VALUE"};
    __attribute__((cleanup(scols_auto))) struct scols scols = {scols_new_table()};
    if (scols.table == NULL || !add_columns(scols.table, titles, 2)) {
        return no_memory(ctl);
    }
    scols_table_enable_noheadings(scols.table, 1);
    for (size_t i = 0; i < count; i++) {
        struct libscols_line *line = scols_table_new_line(scols.table, NULL);
        if (line == NULL || scols_line_set_data(line, 0, columns[i].title) != 0 ||
            !set_cell(line, 1, json_object_get(object, columns[i].key))) {
            return no_memory(ctl);
        }
    }
    return print(ctl, scols.table);
}

enum ctl_exit output_list(const struct ctl *ctl, const json_t *object, const char *list,
                          const struct column *columns, size_t count)
{
    if (ctl->json) {
        return dump(ctl, object);
    }
    __attribute__((cleanup(scols_auto))) struct scols scols = {scols_new_table()};
    if (scols.table == NULL) {
        return no_memory(ctl);
    }
    for (size_t i = 0; i < count; i++) {
        if (!add_columns(scols.table, &columns[i].title, 1)) {
            return no_memory(ctl);
        }
    }
    size_t index;
    const json_t *item;
    json_array_foreach(json_object_get(object, list), index, item)
    {
        struct libscols_line *line = scols_table_new_line(scols.table, NULL);
        for (size_t i = 0; i < count; i++) {
            if (line == NULL || !set_cell(line, i, json_object_get(item, columns[i].key))) {
                return no_memory(ctl);
            }
        }
    }
    return print(ctl, scols.table);
}

enum ctl_exit output_bytes(const struct ctl *ctl, struct kek_bytes bytes)
{
    if (!kek_descriptor_write(STDOUT_FILENO, bytes.data, bytes.len)) {
        ctl_say(ctl, "cannot write to standard output: %s", strerror(errno));
        return CTL_FAILED;
    }
    return CTL_GOOD;
}

json_t *output_text(const char *text)
{
    json_t *string = json_string(text);
    return string != NULL ? string : json_string("(not UTF-8)");
}
