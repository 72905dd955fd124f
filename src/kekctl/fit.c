#include "fit.h"

#include <stdbool.h>
#include <stdlib.h>
#include <string.h>

#include "kek/text.h"

#define WIDTH_MIN 8 /* below it nothing can be read, whatever the terminal */

/* Bytes of the character that begins there, or of what a terminal is shown instead. */
static size_t char_len(const char *text)
{
    size_t len = kek_text_char_len((const unsigned char *)text);
    return len == 0 ? 1 : len;
}

static bool is_blank(char c)
{
    return c == ' ' || c == '\n';
}

void fit_measure(struct fit_column *column, const char *text)
{
    size_t whole = 0, word = 0;
    for (; text[0] != '\0'; text += char_len(text)) {
        whole++;
        word = is_blank(text[0]) ? 0 : word + 1;
        column->longest = word > column->longest ? word : column->longest;
    }
    column->whole = whole > column->whole ? whole : column->whole;
}

/* With no column wider than `most`, but for its longest word. Returns what all of them take. */
static size_t give(struct fit_column *columns, size_t count, size_t most, bool whole_words)
{
    size_t sum = count > 0 ? count - 1 : 0;
    for (size_t i = 0; i < count; i++) {
        struct fit_column *column = &columns[i];
        size_t limit = whole_words && column->longest > most ? column->longest : most;
        column->width = column->whole < limit ? column->whole : limit;
        sum += column->width;
    }
    return sum;
}

void fit_share(struct fit_column *columns, size_t count, size_t terminal)
{
    size_t most = terminal == 0 ? SIZE_MAX : terminal;
    bool whole_words = terminal == 0 || give(columns, count, WIDTH_MIN, true) <= terminal;
    while (give(columns, count, most, whole_words) > terminal && terminal != 0 &&
           most > WIDTH_MIN) {
        most--;
    }
}

/* How many bytes of the text make a line of at most `width`: as many words as fit, or a piece of one. */
static size_t line_len(const char *text, size_t width)
{
    size_t at = 0, end = 0;
    for (size_t shown = 0; shown < width && text[at] != '\0'; shown++) {
        if (is_blank(text[at])) {
            end = at;
        }
        at += char_len(text + at);
    }
    return text[at] == '\0' || is_blank(text[at]) || end == 0 ? at : end;
}

char *fit_break(const char *text, size_t width)
{
    char *lines = malloc(2 * strlen(text) + 1); /* at worst a line for each character */
    size_t at = 0;
    if (lines == NULL) {
        return NULL;
    }
    while (text[0] != '\0') {
        size_t len = line_len(text, width);
        if (at > 0) {
            lines[at++] = '\n';
        }
        for (size_t i = 0; i < len; i++) {
            lines[at++] = text[i] == '\n' ? ' ' : text[i];
        }
        text += len;
        text += strspn(text, " \n");
    }
    lines[at] = '\0';
    return lines;
}
