/*
 * An HTML page that stands alone: a person reads and prints it, without a network, a script or colour.
 *
 * What is put on it from outside (labels, messages of libraries) is text and nothing else, whatever it has in it: it is
 * escaped, and what would be invisible or turn the direction of writing is shown by its number.  The page grows in
 * memory up to PAGE_MAX; once that is full or there is no memory, it is spoilt, and page_good() says so.
 */
#ifndef KEKCTL_REPORT_PAGE_H
#define KEKCTL_REPORT_PAGE_H

#include "kek/bytes.h"
#include "kekctl/output.h"

#define PAGE_MAX (32u << 20) /* bytes */

struct page {
    struct kek_buf html;
    bool spoilt;
};

void page_begin(struct page *page, const char *title);
void page_end(struct page *page);
void page_done(struct page *page);
bool page_good(const struct page *page);

/* Elements, each whole. level: 1 to 3; id: a word of ours, or NULL. */
void page_heading(struct page *page, int level, const char *id, const char *text);
void page_paragraph(struct page *page, const char *text);
void page_remark(struct page *page, const char *text); /* a paragraph that must not be missed */
/* A list of strings, as points; nothing where it is empty. */
void page_points(struct page *page, const json_t *strings);
/* A list of objects, each with `name` (a heading's id), `title` and `filled`, as links to those headings. */
void page_contents(struct page *page, const json_t *sections);

/* An object: a row for each column, its title before its value. */
void page_object(struct page *page, const json_t *object, const struct column *columns,
                 size_t count);
/* A list of objects: a row for each. Where there is none, `none` is said in a paragraph. */
void page_table(struct page *page, const json_t *list, const struct column *columns, size_t count,
                const char *none);

#endif
