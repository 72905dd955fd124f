#include "kek/base64.h"

#include <string.h>

#include <openssl/evp.h>

void kek_base64(struct kek_bytes bytes, char *out)
{
    out[0] = '\0';
    if (bytes.len > 0) {
        (void)EVP_EncodeBlock((unsigned char *)out, bytes.data, (int)bytes.len);
    }
}

bool kek_unbase64(const char *text, uint8_t *out, size_t size, size_t *len)
{
    static const char digits[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    size_t chars = strlen(text), padding = 0, at = 0;
    while (padding < 2 && chars > padding && text[chars - 1 - padding] == '=') {
        padding++;
    }
    if (chars == 0 || chars % 4 != 0 || chars / 4 * 3 - padding > size) {
        return false;
    }
    uint32_t bits = 0;
    unsigned held = 0;
    for (size_t i = 0; i < chars - padding; i++) {
        const char *digit = text[i] == '\0' ? NULL : strchr(digits, text[i]);
        if (digit == NULL) {
            return false;
        }
        bits = bits << 6 | (uint32_t)(digit - digits);
        held += 6;
        if (held >= 8) {
            held -= 8;
            out[at++] = (uint8_t)(bits >> held);
            bits &= (1u << held) - 1;
        }
    }
    *len = at;
    return bits == 0; /* what is over says nothing, so that each byte string has one text */
}
