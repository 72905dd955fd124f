#include "page.h"

#include <stdio.h>
#include <string.h>

#include "kek/json.h"
#include "kek/text.h"

#define NUMBER_TEXT 16

static void put(struct page *page, const char *bytes, size_t len)
{
    struct kek_why why;
    if (!page->spoilt && kek_buf_append(&page->html, kek_bytes(bytes, len), &why) != KEK_OK) {
        page->spoilt = true;
    }
}

static void put_markup(struct page *page, const char *markup)
{
    put(page, markup, strlen(markup));
}

/* ---- text from outside ---- */

static uint32_t number_of(const unsigned char *at, size_t len)
{
    static const uint32_t first[] = {0, 0x7f, 0x1f, 0x0f, 0x07};
    uint32_t number = at[0] & first[len];
    for (size_t i = 1; i < len; i++) {
        number = number << 6 | (at[i] & 0x3fu);
    }
    return number;
}

/* Nobody sees it, or it turns what stands around it: controls, Unicode's bidirectional formatting (UAX #9 section 2), line
 * and paragraph separators, and what has Default_Ignorable_Code_Point (UAX #44), such as tags, which spell hidden text. */
static bool is_hidden(uint32_t number)
{
    static const struct {
        uint32_t first, last;
    } hidden[] = {{0, 0x1f},          {0x7f, 0x9f},       {0xad, 0xad},      {0x34f, 0x34f},
                  {0x61c, 0x61c},     {0x115f, 0x1160},   {0x17b4, 0x17b5},  {0x180b, 0x180f},
                  {0x200b, 0x200f},   {0x2028, 0x202e},   {0x2060, 0x206f},  {0x3164, 0x3164},
                  {0xfe00, 0xfe0f},   {0xfeff, 0xfeff},   {0xffa0, 0xffa0},  {0xfff0, 0xfffb},
                  {0x1bca0, 0x1bca3}, {0x1d173, 0x1d17a}, {0xe0000, 0xe0fff}};
    bool ascii = number >= 0x20 && number < 0x7f; /* most of all there is */
    for (size_t i = 0; !ascii && i < sizeof hidden / sizeof hidden[0]; i++) {
        if (number >= hidden[i].first && number <= hidden[i].last) {
            return true;
        }
    }
    return false;
}

static const char *entity_of(char c)
{
    switch (c) {
    case '&':
        return "&amp;";
    case '<':
        return "&lt;";
    case '>':
        return "&gt;";
    case '"':
        return "&quot;";
    case '\'':
        return "&#39;";
    default:
        return NULL;
    }
}

static void put_text(struct page *page, const char *text)
{
    struct kek_bytes left = kek_bytes_of(text);
    while (left.len > 0) {
        size_t len = kek_text_utf8_len(left);
        uint32_t number = len == 0 ? left.data[0] : number_of(left.data, len);
        const char *entity = len == 1 ? entity_of((char)left.data[0]) : NULL;
        char shown[NUMBER_TEXT];
        if (entity != NULL) {
            put_markup(page, entity);
        } else if (len == 0 || is_hidden(number)) {
            snprintf(shown, sizeof shown, len == 0 ? "[0x%02X]" : "[U+%04X]", (unsigned)number);
            put_markup(page, shown);
        } else {
            put(page, (const char *)left.data, len);
        }
        size_t step = len == 0 ? 1 : len;
        left = kek_bytes(left.data + step, left.len - step);
    }
}

static void put_element(struct page *page, const char *open, const char *text, const char *close)
{
    put_markup(page, open);
    put_text(page, text);
    put_markup(page, close);
}

/* ---- the page ---- */

static const char style[] =
    "body{font:15px/1.45 sans-serif;color:#000;background:#fff;max-width:75em;margin:2em auto;"
    "padding:0 1em}"
    "h1{font-size:1.6em}h2{font-size:1.25em;border-top:2px solid #000;padding-top:.5em;"
    "margin-top:2em}h3{font-size:1.05em}"
    "table{border-collapse:collapse;margin:.7em 0;width:100%}"
    "th,td{border:1px solid #777;padding:.25em .5em;text-align:left;vertical-align:top;"
    "overflow-wrap:anywhere;unicode-bidi:isolate}"
    "th{font-weight:bold;border-bottom-width:2px}tbody th{width:22%;border-bottom-width:1px}"
    "p.remark{border:2px solid #000;padding:.4em .7em;font-weight:bold}"
    "@media print{body{font-size:9.5pt;margin:0;max-width:none}"
    "thead{display:table-header-group}tr,p.remark{break-inside:avoid}"
    "h2,h3{break-after:avoid}a{color:#000;text-decoration:none}}"
    "@page{margin:15mm}";

void page_begin(struct page *page, const char *title)
{
    page->spoilt = false;
    kek_buf_init(&page->html, PAGE_MAX);
    put_markup(page, "<!DOCTYPE html>\n<html lang=\"en\">\n<head>\n<meta charset=\"utf-8\">\n"
                     "<meta http-equiv=\"Content-Security-Policy\" "
                     "content=\"default-src 'none'; style-src 'unsafe-inline'\">\n"
                     "<meta name=\"viewport\" content=\"width=device-width\">\n");
    put_element(page, "<title>", title, "</title>\n");
    put_markup(page, "<style>");
    put_markup(page, style);
    put_markup(page, "</style>\n</head>\n<body>\n");
}

void page_end(struct page *page)
{
    put_markup(page, "</body>\n</html>\n");
}

void page_done(struct page *page)
{
    kek_buf_done(&page->html);
}

bool page_good(const struct page *page)
{
    return !page->spoilt;
}

void page_heading(struct page *page, int level, const char *id, const char *text)
{
    char tag[8];
    snprintf(tag, sizeof tag, "h%d", level);
    put_markup(page, "<");
    put_markup(page, tag);
    if (id != NULL) {
        put_element(page, " id=\"", id, "\"");
    }
    put_element(page, ">", text, "</");
    put_markup(page, tag);
    put_markup(page, ">\n");
}

void page_paragraph(struct page *page, const char *text)
{
    put_element(page, "<p>", text, "</p>\n");
}

void page_remark(struct page *page, const char *text)
{
    put_element(page, "<p class=\"remark\">", text, "</p>\n");
}

void page_points(struct page *page, const json_t *strings)
{
    size_t i;
    const json_t *string;
    if (json_array_size(strings) == 0) {
        return;
    }
    put_markup(page, "<ul>\n");
    json_array_foreach(strings, i, string)
    {
        put_element(page, "<li>", json_string_value(string), "</li>\n");
    }
    put_markup(page, "</ul>\n");
}

static const char *text_of(const json_t *object, const char *key)
{
    const char *text = json_string_value(json_object_get(object, key));
    return text == NULL ? "" : text;
}

void page_contents(struct page *page, const json_t *sections)
{
    size_t i;
    const json_t *section;
    put_markup(page, "<ul>\n");
    json_array_foreach(sections, i, section)
    {
        put_element(page, "<li><a href=\"#", text_of(section, "name"), "\">");
        put_element(page, "", text_of(section, "title"), "</a> (filled: ");
        put_element(page, "", text_of(section, "filled"), ")</li>\n");
    }
    put_markup(page, "</ul>\n");
}

/* ---- JSON on it ---- */

static void put_value(struct page *page, const json_t *value)
{
    size_t i;
    const json_t *item;
    if (json_is_string(value)) {
        put_text(page, json_string_value(value));
    } else if (json_is_boolean(value)) {
        put_text(page, json_is_true(value) ? "yes" : "no");
    } else if (json_is_array(value)) {
        json_array_foreach(value, i, item)
        {
            put_markup(page, i == 0 ? "" : "<br>");
            put_value(page, item);
        }
    } else if (value != NULL && !json_is_null(value)) {
        KEK_AUTO_FREE char *text = kek_json_text(value, JSON_ENCODE_ANY | JSON_COMPACT);
        page->spoilt = page->spoilt || text == NULL;
        put_text(page, text == NULL ? "" : text);
    }
}

void page_object(struct page *page, const json_t *object, const struct column *columns,
                 size_t count)
{
    put_markup(page, "<table>\n<tbody>\n");
    for (size_t i = 0; i < count; i++) {
        put_element(page, "<tr><th scope=\"row\">", columns[i].title, "</th><td>");
        put_value(page, json_object_get(object, columns[i].key));
        put_markup(page, "</td></tr>\n");
    }
    put_markup(page, "</tbody>\n</table>\n");
}

void page_table(struct page *page, const json_t *list, const struct column *columns, size_t count,
                const char *none)
{
    size_t row;
    const json_t *item;
    if (json_array_size(list) == 0) {
        page_paragraph(page, none);
        return;
    }
    put_markup(page, "<table>\n<thead>\n<tr>");
    for (size_t i = 0; i < count; i++) {
        put_element(page, "<th scope=\"col\">", columns[i].title, "</th>");
    }
    put_markup(page, "</tr>\n</thead>\n<tbody>\n");
    json_array_foreach(list, row, item)
    {
        put_markup(page, "<tr>");
        for (size_t i = 0; i < count; i++) {
            put_markup(page, "<td>");
            put_value(page, json_object_get(item, columns[i].key));
            put_markup(page, "</td>");
        }
        put_markup(page, "</tr>\n");
    }
    put_markup(page, "</tbody>\n</table>\n");
}
