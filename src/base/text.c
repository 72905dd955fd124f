#include "kek/text.h"

#include <stdbool.h>

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
