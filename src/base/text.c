#include "kek/text.h"

#include <stdio.h>
#include <string.h>

static bool tail(unsigned char c)
{
    return (c & 0xc0) == 0x80;
}

/* Each condition reads a byte only if the one before it was no NUL. */
size_t kek_text_char_len(const unsigned char *text)
{
    unsigned char first = text[0];
    if (first < 0x80) {
        return 1;
    }
    if (first >= 0xc2 && first <= 0xdf) {
        bool control = first == 0xc2 && text[1] < 0xa0; /* C1: a terminal obeys them */
        return tail(text[1]) && !control ? 2 : 0;
    }
    if (first >= 0xe0 && first <= 0xef) {
        bool overlong = first == 0xe0 && text[1] < 0xa0;
        bool surrogate = first == 0xed && text[1] > 0x9f;
        return tail(text[1]) && !overlong && !surrogate && tail(text[2]) ? 3 : 0;
    }
    if (first >= 0xf0 && first <= 0xf4) {
        bool overlong = first == 0xf0 && text[1] < 0x90;
        bool beyond = first == 0xf4 && text[1] > 0x8f;
        return tail(text[1]) && !overlong && !beyond && tail(text[2]) && tail(text[3]) ? 4 : 0;
    }
    return 0;
}

void kek_text_clean(char *text)
{
    unsigned char *c = (unsigned char *)text;
    while (*c != '\0') {
        size_t len = kek_text_char_len(c);
        if (len == 0 || *c < 0x20 || *c == 0x7f) {
            *c = '?';
            len = 1;
        }
        c += len;
    }
}

void kek_text_copy(char *out, size_t size, const char *text)
{
    snprintf(out, size, "%s", text == NULL ? "" : text);
    kek_text_clean(out);
}

/* One character of `len` bytes, 0 for a byte that is none, as JSON has it. */
static size_t json_char(const unsigned char *c, size_t len, char out[static 6])
{
    static const char hex[] = "0123456789abcdef";
    if (len == 0) {
        memcpy(out, "\\ufffd", 6);
        return 6;
    }
    if (*c < 0x20 || *c == 0x7f) {
        memcpy(out, "\\u00", 4);
        out[4] = hex[*c >> 4];
        out[5] = hex[*c & 15];
        return 6;
    }
    size_t at = 0;
    if (*c == '"' || *c == '\\') {
        out[at++] = '\\';
    }
    memcpy(out + at, c, len);
    return at + len;
}

size_t kek_text_json(const char **text, size_t max, char *out, size_t size)
{
    const unsigned char *c = (const unsigned char *)*text;
    const char *from = *text;
    size_t at = 0;
    while (*c != '\0' && (size_t)((const char *)c - from) < max) {
        if (*c >= 0x20 && *c < 0x7f && *c != '"' && *c != '\\' && at < size) {
            out[at++] = (char)*c++; /* nearly every byte of a log */
            continue;
        }
        char shown[6];
        size_t len = kek_text_char_len(c);
        size_t shown_len = json_char(c, len, shown);
        if (shown_len > size - at) {
            break;
        }
        memcpy(out + at, shown, shown_len);
        at += shown_len;
        c += len == 0 ? 1 : len;
    }
    *text = (const char *)c;
    return at;
}

bool kek_text_digits(const char **text, uint64_t max, uint64_t *number)
{
    const char *at = *text;
    uint64_t sum = 0;
    for (; *at >= '0' && *at <= '9'; at++) {
        if (__builtin_mul_overflow(sum, 10u, &sum) ||
            __builtin_add_overflow(sum, (uint64_t)(*at - '0'), &sum) || sum > max) {
            return false;
        }
    }
    if (at == *text) {
        return false;
    }
    *text = at;
    *number = sum;
    return true;
}

bool kek_text_decimal(const char *text, uint64_t max, uint64_t *number)
{
    uint64_t value = 0;
    if (!kek_text_digits(&text, max, &value) || *text != '\0') {
        return false;
    }
    *number = value;
    return true;
}

#define SLIP_LEN_MAX 32

size_t kek_text_slip(const char *name, const char *meant)
{
    size_t row[SLIP_LEN_MAX + 1];
    size_t name_len = strlen(name), meant_len = strlen(meant);
    if (name_len > SLIP_LEN_MAX || meant_len > SLIP_LEN_MAX) {
        return SIZE_MAX;
    }
    for (size_t j = 0; j <= meant_len; j++) {
        row[j] = j;
    }
    for (size_t i = 1; i <= name_len; i++) {
        size_t diagonal = row[0];
        row[0] = i;
        for (size_t j = 1; j <= meant_len; j++) {
            size_t best = diagonal + (name[i - 1] != meant[j - 1]);
            diagonal = row[j];
            best = row[j] + 1 < best ? row[j] + 1 : best;
            row[j] = row[j - 1] + 1 < best ? row[j - 1] + 1 : best;
        }
    }
    return row[meant_len] <= name_len / 3 + 1 ? row[meant_len] : SIZE_MAX;
}
