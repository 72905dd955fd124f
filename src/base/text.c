#include "kek/text.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

/* How many bytes a character has that begins so; 0: none does. */
static size_t said_len(uint8_t first)
{
    if (first < 0x80) {
        return 1;
    }
    if (first < 0xc2 || first > 0xf4) {
        return 0;
    }
    return first < 0xe0 ? 2 : first < 0xf0 ? 3 : 4;
}

size_t kek_text_utf8_len(struct kek_bytes bytes)
{
    const uint8_t *c = bytes.data;
    size_t said = bytes.len == 0 ? 0 : said_len(c[0]);
    if (said == 0 || said > bytes.len) {
        return 0;
    }
    for (size_t i = 1; i < said; i++) {
        if ((c[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* Overlong forms, surrogates and what is past U+10FFFF show in the second byte. */
    if ((c[0] == 0xe0 && c[1] < 0xa0) || (c[0] == 0xed && c[1] > 0x9f) ||
        (c[0] == 0xf0 && c[1] < 0x90) || (c[0] == 0xf4 && c[1] > 0x8f)) {
        return 0;
    }
    return said;
}

bool kek_text_is_utf8(struct kek_bytes bytes)
{
    for (size_t at = 0; at < bytes.len;) {
        uint64_t eight;
        size_t left = bytes.len - at, len;
        if (left >= sizeof eight) {
            memcpy(&eight, bytes.data + at, sizeof eight);
            if ((eight & 0x8080808080808080u) == 0) {
                at += sizeof eight; /* ASCII, as nearly all of it is */
                continue;
            }
        }
        len = kek_text_utf8_len(kek_bytes(bytes.data + at, left));
        if (len == 0) {
            return false;
        }
        at += len;
    }
    return true;
}

size_t kek_text_char_len(const unsigned char *text)
{
    if (text[0] < 0x80) {
        return 1;
    }
    bool control = text[0] == 0xc2 && text[1] < 0xa0;
    return control ? 0 : kek_text_utf8_len(kek_bytes(text, strnlen((const char *)text, 4)));
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

static bool ends_in(const char *word, size_t len, const char *end)
{
    size_t end_len = strlen(end);
    return len >= end_len && strcmp(word + len - end_len, end) == 0;
}

struct kek_counted kek_counted(uint64_t count, const char *noun)
{
    struct kek_counted counted;
    size_t len = strlen(noun);
    const char *end = "s";
    if (count == 1) {
        end = "";
    } else if (ends_in(noun, len, "y") && len > 1 && strchr("aeiou", noun[len - 2]) == NULL) {
        end = "ies";
        len--;
    } else if (ends_in(noun, len, "s") || ends_in(noun, len, "x") || ends_in(noun, len, "ch") ||
               ends_in(noun, len, "sh")) {
        end = "es";
    }
    snprintf(counted.text, sizeof counted.text, "%" PRIu64 " %.*s%s", count, (int)len, noun, end);
    return counted;
}

void kek_text_escape(const char *text, char *out)
{
    static const char plain[] =
        "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789-._~";
    for (; *text != '\0'; text++) {
        if (strchr(plain, *text) != NULL) {
            *out++ = *text;
        } else {
            out += snprintf(out, 4, "%%%02X", (unsigned char)*text);
        }
    }
    *out = '\0';
}

const char *kek_text_after_name(const char *text, const char *name)
{
    size_t len = strlen(name);
    bool named = strncmp(text, name, len) == 0 && strncmp(text + len, ": ", 2) == 0;
    return named ? text + len + 2 : text;
}

struct kek_command kek_command(const char *root, const char *words)
{
    struct kek_command command;
    bool several = root != NULL && root[0] != '\0';
    snprintf(command.text, sizeof command.text, "%.31s%s%.32s", words, several ? " --root " : "",
             several ? root : "");
    return command;
}
