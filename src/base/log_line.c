#include "log_line.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"

#define MESSAGE_BYTES (3u * LOG_MESSAGE_MAX) /* as escaped: the rest is for the fields */
#define END_BYTES 3u                         /* of what ends a line */

struct writer {
    char *out;
    size_t len, max;
};

/* All of it or nothing. */
static bool put(struct writer *to, const char *text)
{
    size_t len = strlen(text);
    if (len > to->max - to->len) {
        return false;
    }
    memcpy(to->out + to->len, text, len);
    to->len += len;
    return true;
}

/* As a JSON string has it. False: it was cut. */
static bool put_json(struct writer *to, const char *text, size_t room)
{
    size_t left = to->max - to->len;
    to->len += kek_text_json(&text, SIZE_MAX, to->out + to->len, room < left ? room : left);
    return *text == '\0';
}

/* What is no character of one line becomes \xNN. */
static void put_escaped(struct writer *to, const char *text, size_t room)
{
    size_t left = to->max - to->len;
    size_t end = to->len + (room < left ? room : left);
    const unsigned char *c = (const unsigned char *)text;
    while (*c != '\0' && to->len + 5 <= end) {
        size_t len = kek_text_char_len(c);
        if (len == 0 || *c < 0x20 || *c == 0x7f) {
            to->len += (size_t)snprintf(to->out + to->len, 5, "\\x%02x", *c);
            len = 1;
        } else {
            memcpy(to->out + to->len, c, len);
            to->len += len;
        }
        c += len;
    }
}

/* Can it stand behind `name=` without quotes? */
static bool is_plain(const char *text)
{
    const unsigned char *c = (const unsigned char *)text;
    for (; *c != '\0'; c++) {
        if (*c <= ' ' || *c == '"' || *c == '=' || *c == '\\' || *c >= 0x7f) {
            return false;
        }
    }
    return true;
}

static bool put_value(struct writer *to, const struct kek_log_field *field, bool json)
{
    if (field->text == NULL) {
        char number[24];
        snprintf(number, sizeof number, field->hex && !json ? "0x%" PRIx64 : "%" PRIu64,
                 field->number);
        return put(to, number);
    }
    bool quotes = json || !is_plain(field->text);
    return (!quotes || put(to, "\"")) && put_json(to, field->text, SIZE_MAX) &&
           (!quotes || put(to, "\""));
}

static bool put_field(struct writer *to, const struct kek_log_field *field, bool json)
{
    return put(to, json ? ",\"" : " ") && put(to, field->name) && put(to, json ? "\":" : "=") &&
           put_value(to, field, json);
}

static void put_fields(struct writer *to, const struct kek_log_field *field, bool json)
{
    for (; field != NULL && field->name != NULL; field++) {
        size_t before = to->len;
        bool empty = field->text != NULL && field->text[0] == '\0';
        if (!empty && !put_field(to, field, json)) {
            to->len = before;
        }
    }
}

size_t log_line_write(const struct log_line *line, enum kek_log_format format,
                      char out[static LOG_LINE_MAX])
{
    bool json = format == KEK_LOG_JSON;
    struct writer to = {.out = out, .max = LOG_LINE_MAX - END_BYTES};
    int head = snprintf(out, LOG_LINE_MAX / 4,
                        json ? "%s{\"time\":\"%s\",\"program\":\"%s\",\"level\":\"%s\",\"msg\":\""
                             : "%s%s %s %s: ",
                        line->priority, line->time, line->program, line->level);
    to.len = head < LOG_LINE_MAX / 4 ? (size_t)head : LOG_LINE_MAX / 4 - 1;
    if (json) {
        (void)put_json(&to, line->message, MESSAGE_BYTES);
        (void)put(&to, "\"");
    } else {
        put_escaped(&to, line->message, MESSAGE_BYTES);
    }
    put_fields(&to, line->fields, json);
    to.max = LOG_LINE_MAX;
    (void)put(&to, json ? "}\n" : "\n");
    return to.len;
}
