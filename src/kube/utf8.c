#include "utf8.h"

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

size_t kek_kube_char_len(const uint8_t *bytes, size_t len)
{
    size_t said = len == 0 ? 0 : said_len(bytes[0]);
    if (said == 0 || said > len) {
        return 0;
    }
    for (size_t i = 1; i < said; i++) {
        if ((bytes[i] & 0xc0) != 0x80) {
            return 0;
        }
    }
    /* Overlong forms, surrogates and what is past U+10FFFF show in the second byte. */
    if ((bytes[0] == 0xe0 && bytes[1] < 0xa0) || (bytes[0] == 0xed && bytes[1] > 0x9f) ||
        (bytes[0] == 0xf0 && bytes[1] < 0x90) || (bytes[0] == 0xf4 && bytes[1] > 0x8f)) {
        return 0;
    }
    return said;
}

bool kek_kube_utf8(struct kek_bytes bytes)
{
    size_t at = 0;
    while (at < bytes.len) {
        size_t len = kek_kube_char_len(bytes.data + at, bytes.len - at);
        if (len == 0) {
            return false;
        }
        at += len;
    }
    return true;
}
