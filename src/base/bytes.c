#include "kek/bytes.h"

#include <string.h>

struct kek_bytes kek_bytes_of(const char *text)
{
    return kek_bytes(text, text == NULL ? 0 : strlen(text));
}

bool kek_bytes_equal(struct kek_bytes a, struct kek_bytes b)
{
    return a.len == b.len && (a.len == 0 || memcmp(a.data, b.data, a.len) == 0);
}

/* OPENSSL_cleanse() does the same eight bytes at a time, and every call wipes more than a KiB. */
void kek_wipe(void *data, size_t len)
{
    if (len > 0) {
        explicit_bzero(data, len);
    }
}

void kek_buf_init(struct kek_buf *buf, size_t max)
{
    *buf = (struct kek_buf){.max = max};
}

void kek_buf_done(struct kek_buf *buf)
{
    if (buf->data != NULL) {
        kek_wipe(buf->data, buf->cap);
        free(buf->data);
    }
    *buf = (struct kek_buf){.max = buf->max};
}

void kek_buf_reset(struct kek_buf *buf)
{
    if (buf->data != NULL) {
        kek_wipe(buf->data, buf->len);
    }
    buf->len = 0;
}

static size_t grown(const struct kek_buf *buf, size_t need)
{
    size_t cap = buf->cap < 64 ? 64 : buf->cap;
    while (cap < need) {
        cap *= 2;
    }
    return cap > buf->max ? buf->max : cap;
}

uint8_t *kek_buf_reserve(struct kek_buf *buf, size_t more, struct kek_why *why)
{
    size_t need;
    if (__builtin_add_overflow(buf->len, more, &need) || need > buf->max) {
        kek_fail(why, KEK_TOO_LARGE, "%zu more bytes would pass the limit of %zu", more, buf->max);
        return NULL;
    }
    if (need > buf->cap || buf->data == NULL) {
        size_t cap = grown(buf, need);
        uint8_t *data = malloc(cap == 0 ? 1 : cap);
        if (data == NULL) {
            kek_fail(why, KEK_NO_MEMORY, "no memory for %zu bytes", cap);
            return NULL;
        }
        if (buf->data != NULL) {
            memcpy(data, buf->data, buf->len);
            kek_wipe(buf->data, buf->cap);
            free(buf->data);
        }
        buf->data = data;
        buf->cap = cap;
    }
    return buf->data + buf->len;
}

enum kek_rc kek_buf_append(struct kek_buf *buf, struct kek_bytes bytes, struct kek_why *why)
{
    KEK_UNFILLED struct kek_why mine;
    why = why == NULL ? &mine : why;
    uint8_t *at = kek_buf_reserve(buf, bytes.len, why);
    if (at == NULL) {
        return why->rc;
    }
    if (bytes.len > 0) {
        memcpy(at, bytes.data, bytes.len);
    }
    buf->len += bytes.len;
    return KEK_OK;
}

void kek_hex(struct kek_bytes bytes, char *out)
{
    static const char digits[] = "0123456789abcdef";
    for (size_t i = 0; i < bytes.len; i++) {
        out[2 * i] = digits[bytes.data[i] >> 4];
        out[2 * i + 1] = digits[bytes.data[i] & 15];
    }
    out[2 * bytes.len] = '\0';
}

int kek_hex_digit(char c)
{
    if (c >= '0' && c <= '9') {
        return c - '0';
    }
    c |= 0x20;
    return c >= 'a' && c <= 'f' ? c - 'a' + 10 : -1;
}
