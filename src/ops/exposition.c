#include "exposition.h"

#include <stdio.h>
#include <string.h>

#include "kek/text.h"

static void put(struct exposition *e, const char *bytes, size_t len)
{
    if (e->rc == KEK_OK) {
        e->rc = kek_buf_append(e->out, kek_bytes(bytes, len), &e->why);
    }
}

static void put_word(struct exposition *e, const char *word)
{
    put(e, word, strlen(word));
}

static void put_value(struct exposition *e, const char *value)
{
    const unsigned char *c = (const unsigned char *)value;
    while (*c != '\0') {
        size_t len = kek_text_char_len(c);
        if (*c == '\n') {
            put_word(e, "\\n");
        } else if (*c == '"' || *c == '\\') {
            char escape[2] = {'\\', (char)*c};
            put(e, escape, sizeof escape);
        } else if (len == 0 || *c < 0x20 || *c == 0x7f) {
            put_word(e, "?");
            len = 1;
        } else {
            put(e, (const char *)c, len);
        }
        c += len;
    }
}

void exposition_family(struct exposition *e, const char *name, const char *type, const char *help)
{
    e->family = name;
    put_word(e, "# HELP ");
    put_word(e, name);
    put_word(e, " ");
    put_word(e, help);
    put_word(e, "\n# TYPE ");
    put_word(e, name);
    put_word(e, " ");
    put_word(e, type);
    put_word(e, "\n");
}

static void sample(struct exposition *e, const char *suffix, const struct exposition_label *labels,
                   const char *value)
{
    put_word(e, e->family);
    put_word(e, suffix);
    const char *before = "{";
    for (; labels != NULL && labels->name != NULL; labels++) {
        put_word(e, before);
        put_word(e, labels->name);
        put_word(e, "=\"");
        put_value(e, labels->value);
        put_word(e, "\"");
        before = ",";
    }
    put_word(e, before[0] == ',' ? "} " : " ");
    put_word(e, value);
    put_word(e, "\n");
}

void exposition_uint(struct exposition *e, const char *suffix,
                     const struct exposition_label *labels, uint64_t value)
{
    char text[24];
    snprintf(text, sizeof text, "%llu", (unsigned long long)value);
    sample(e, suffix, labels, text);
}

void exposition_seconds(struct exposition *e, const char *suffix,
                        const struct exposition_label *labels, uint64_t us)
{
    char text[32];
    snprintf(text, sizeof text, "%llu.%06llu", (unsigned long long)(us / 1000000),
             (unsigned long long)(us % 1000000));
    sample(e, suffix, labels, text);
}
