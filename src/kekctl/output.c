#include "output.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/ioctl.h>
#include <unistd.h>

#include <libsmartcols.h>

#include "fit.h"
#include "kek/descriptors.h"
#include "kek/json.h"
#include "kek/text.h"

#define COLUMNS_MAX 16 /* of a list */

static enum ctl_exit no_memory(const struct ctl *ctl)
{
    ctl_say(ctl, "no memory for the output");
    return CTL_FAILED;
}

static enum ctl_exit cannot_write(const struct ctl *ctl, int code)
{
    ctl_say(ctl, "cannot write to standard output: %s",
            code == 0 ? "an earlier write failed" : strerror(code));
    return CTL_FAILED;
}

enum ctl_exit output_end(const struct ctl *ctl)
{
    errno = 0;
    return fflush(stdout) != 0 || ferror(stdout) ? cannot_write(ctl, errno) : CTL_GOOD;
}

/* What printed it failed: for want of memory, or since nobody takes it. */
static enum ctl_exit not_printed(const struct ctl *ctl)
{
    int code = errno;
    return ferror(stdout) ? cannot_write(ctl, code) : no_memory(ctl);
}

static enum ctl_exit dump(const struct ctl *ctl, const json_t *object)
{
    errno = 0;
    if (json_dumpf(object, stdout, JSON_INDENT(2)) != 0) {
        return not_printed(ctl);
    }
    putchar('\n');
    return output_end(ctl);
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

/* ---- a table ---- */

struct sheet {
    const char *const *titles; /* NULL: it has no heading */
    size_t columns, rows;
    bool to_copy; /* the last column is */
    char **cells; /* row after row; of each, NULL: no memory */
    struct fit_column *fits;
    struct libscols_table *table;
};

static void sheet_done(struct sheet *sheet)
{
    for (size_t i = 0; sheet->cells != NULL && i < sheet->columns * sheet->rows; i++) {
        free(sheet->cells[i]);
    }
    free(sheet->cells);
    free(sheet->fits);
    if (sheet->table != NULL) {
        scols_unref_table(sheet->table);
    }
}
#define SHEET_AUTO __attribute__((cleanup(sheet_done)))

static bool sheet_init(struct sheet *sheet, const char *const *titles, size_t columns, size_t rows)
{
    *sheet = (struct sheet){.titles = titles, .columns = columns, .rows = rows};
    sheet->cells = calloc(columns * rows + 1, sizeof *sheet->cells);
    sheet->fits = calloc(columns + 1, sizeof *sheet->fits);
    sheet->table = scols_new_table();
    return sheet->cells != NULL && sheet->fits != NULL && sheet->table != NULL;
}

/* Columns of the terminal; 0: there is none, and lines may be as long as they are. */
static size_t terminal_width(void)
{
    struct winsize size;
    if (isatty(STDOUT_FILENO) != 1) {
        return 0;
    }
    return ioctl(STDOUT_FILENO, TIOCGWINSZ, &size) == 0 && size.ws_col > 0 ? size.ws_col : 80;
}

static bool add_column(const struct sheet *sheet, size_t i, bool narrow)
{
    const char *title = sheet->titles == NULL ? "" : sheet->titles[i];
    struct libscols_column *column =
        scols_table_new_column(sheet->table, title, 0, narrow ? SCOLS_FL_WRAP : 0);
    return column != NULL &&
           (!narrow || (scols_column_set_safechars(column, "\n") == 0 &&
                        scols_column_set_wrapfunc(column, scols_wrapnl_chunksize,
                                                  scols_wrapnl_nextchunk, NULL) == 0));
}

static bool add_cell(const struct sheet *sheet, struct libscols_line *line, size_t row, size_t i)
{
    char **cell = &sheet->cells[row * sheet->columns + i];
    const struct fit_column *fit = &sheet->fits[i];
    if (*cell != NULL && fit->width < fit->whole) {
        char *broken = fit_break(*cell, fit->width);
        free(*cell);
        *cell = broken;
    }
    return *cell != NULL && scols_line_set_data(line, i, *cell) == 0;
}

static bool is_broken(const struct sheet *sheet, size_t columns)
{
    for (size_t i = 0; i < columns; i++) {
        if (sheet->fits[i].width < sheet->fits[i].whole) {
            return true;
        }
    }
    return false;
}

/* How many of the columns stand side by side: what is to be copied stands below, where one of them had to be broken. */
static size_t share(struct sheet *sheet, size_t terminal)
{
    fit_share(sheet->fits, sheet->columns, terminal);
    if (!sheet->to_copy || !is_broken(sheet, sheet->columns)) {
        return sheet->columns;
    }
    fit_share(sheet->fits, sheet->columns - 1, terminal);
    return sheet->columns - 1;
}

/* A row, and below it what is to be copied. */
static bool print_row(const struct sheet *sheet, size_t row)
{
    struct libscols_line *line = scols_table_get_line(sheet->table, row);
    char *text = NULL, *copied = sheet->cells[(row + 1) * sheet->columns - 1];
    if (line == NULL || copied == NULL ||
        scols_table_print_range_to_string(sheet->table, line, line, &text) != 0) {
        return false;
    }
    size_t len = strlen(text);
    printf("%s%s", text, len > 0 && text[len - 1] == '\n' ? "" : "\n");
    free(text);
    if (copied[0] != '\0') {
        kek_text_clean(copied);
        printf("  %s\n", copied);
    }
    return true;
}

/* columns: side by side. */
static bool print_table(const struct sheet *sheet, size_t columns)
{
    bool good = true;
    if (columns == sheet->columns) {
        return scols_print_table(sheet->table) == 0;
    }
    for (size_t row = 0; good && row < sheet->rows; row++) {
        good = print_row(sheet, row);
    }
    return good;
}

static enum ctl_exit sheet_print(const struct ctl *ctl, struct sheet *sheet)
{
    bool good = true;
    for (size_t i = 0; i < sheet->columns; i++) {
        fit_measure(&sheet->fits[i], sheet->titles == NULL ? "" : sheet->titles[i]);
        for (size_t row = 0; row < sheet->rows; row++) {
            const char *text = sheet->cells[row * sheet->columns + i];
            fit_measure(&sheet->fits[i], text == NULL ? "" : text);
        }
    }
    size_t columns = share(sheet, terminal_width());
    for (size_t i = 0; good && i < columns; i++) {
        good = add_column(sheet, i, sheet->fits[i].width < sheet->fits[i].whole);
    }
    for (size_t row = 0; good && row < sheet->rows; row++) {
        struct libscols_line *line = scols_table_new_line(sheet->table, NULL);
        for (size_t i = 0; good && i < columns; i++) {
            good = line != NULL && add_cell(sheet, line, row, i);
        }
    }
    scols_table_enable_noheadings(sheet->table, sheet->titles == NULL);
    /* What fits was worked out above. */
    if (!good || scols_table_set_termforce(sheet->table, SCOLS_TERMFORCE_NEVER) != 0) {
        return no_memory(ctl);
    }
    errno = 0;
    return print_table(sheet, columns) ? output_end(ctl) : not_printed(ctl);
}

enum ctl_exit output_object(const struct ctl *ctl, const json_t *object,
                            const struct column *columns, size_t count)
{
    if (ctl->json) {
        return dump(ctl, object);
    }
    SHEET_AUTO struct sheet sheet;
    if (!sheet_init(&sheet, NULL, 2, count)) {
        return no_memory(ctl);
    }
    for (size_t i = 0; i < count; i++) {
        sheet.cells[2 * i] = strdup(columns[i].title);
        sheet.cells[2 * i + 1] = cell(json_object_get(object, columns[i].key));
    }
    return sheet_print(ctl, &sheet);
}

enum ctl_exit output_rows(const struct ctl *ctl, json_t *object, json_t *rows,
                          const struct column *columns, size_t count)
{
    json_t *shown = ctl->json ? json_incref(object) : json_pack("{s:O}", "rows", rows);
    enum ctl_exit code = object == NULL || shown == NULL
                             ? no_memory(ctl)
                             : output_list(ctl, shown, "rows", columns, count);
    json_decref(shown);
    json_decref(object);
    return code;
}

static enum ctl_exit print_list(const struct ctl *ctl, const json_t *object, const char *list,
                                const struct column *columns, size_t count, bool to_copy)
{
    if (ctl->json) {
        return dump(ctl, object);
    }
    const char *titles[COLUMNS_MAX];
    const json_t *items = json_object_get(object, list), *item;
    size_t row;
    SHEET_AUTO struct sheet sheet;
    for (size_t i = 0; i < count && i < COLUMNS_MAX; i++) {
        titles[i] = columns[i].title;
    }
    if (!sheet_init(&sheet, titles, count, json_array_size(items)) || count > COLUMNS_MAX) {
        return no_memory(ctl);
    }
    sheet.to_copy = to_copy;
    json_array_foreach(items, row, item)
    {
        for (size_t i = 0; i < count; i++) {
            sheet.cells[row * count + i] = cell(json_object_get(item, columns[i].key));
        }
    }
    return sheet_print(ctl, &sheet);
}

enum ctl_exit output_list(const struct ctl *ctl, const json_t *object, const char *list,
                          const struct column *columns, size_t count)
{
    return print_list(ctl, object, list, columns, count, false);
}

enum ctl_exit output_list_to_copy(const struct ctl *ctl, const json_t *object, const char *list,
                                  const struct column *columns, size_t count)
{
    return print_list(ctl, object, list, columns, count, true);
}

/* ---- what is no table ---- */

enum ctl_exit output_bytes(const struct ctl *ctl, struct kek_bytes bytes)
{
    bool written = kek_descriptor_write(STDOUT_FILENO, bytes.data, bytes.len);
    return written ? CTL_GOOD : cannot_write(ctl, errno);
}

json_t *output_text_of(struct kek_bytes bytes)
{
    const char *data = bytes.len == 0 ? "" : (const char *)bytes.data;
    json_t *string = json_stringn(data, bytes.len);
    if (string != NULL) {
        return string;
    }
    KEK_AUTO_FREE char *text = strndup(data, bytes.len);
    if (text == NULL) {
        return NULL;
    }
    kek_text_clean(text);
    return json_string(text);
}

json_t *output_text(const char *text)
{
    return output_text_of(kek_bytes_of(text));
}
