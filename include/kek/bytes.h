/*
 * Byte strings.
 *
 * struct kek_bytes borrows: it never owns what it points to.  struct kek_buf owns a growing buffer
 * with a hard maximum set where it is made; growing past it fails with KEK_TOO_LARGE and leaves the
 * buffer as it was.  kek_buf wipes its memory whenever it moves, shrinks or goes, so that it may
 * carry a plaintext on its way through.  Not for keys or PINs: those live in kek_secret (secret.h).
 */
#ifndef KEK_BYTES_H
#define KEK_BYTES_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kek/auto.h"
#include "kek/rc.h"

struct kek_bytes {
    const uint8_t *data;
    size_t len;
};

static inline struct kek_bytes kek_bytes(const void *data, size_t len)
{
    return (struct kek_bytes){.data = data, .len = len};
}

/* The bytes of a C string, without its NUL. NULL gives the empty string. */
struct kek_bytes kek_bytes_of(const char *text);

/* Not constant-time: for public bytes only. */
bool kek_bytes_equal(struct kek_bytes a, struct kek_bytes b);

/* Wipes memory that is about to be given back; never optimised away. */
void kek_wipe(void *data, size_t len);

struct kek_buf {
    uint8_t *data;
    size_t len;
    size_t cap; /* allocated */
    size_t max; /* never more than this */
};

void kek_buf_init(struct kek_buf *buf, size_t max);
void kek_buf_done(struct kek_buf *buf);  /* wipes and frees; the buffer may be used again */
void kek_buf_reset(struct kek_buf *buf); /* wipes the content, keeps the memory */

/* Makes room for `more` bytes after len and returns where they go, NULL on failure; does not move
 * len: the caller adds what it wrote. */
uint8_t *kek_buf_reserve(struct kek_buf *buf, size_t more, struct kek_why *why) KEK_MUST_CHECK;

enum kek_rc kek_buf_append(struct kek_buf *buf, struct kek_bytes bytes,
                           struct kek_why *why) KEK_MUST_CHECK;

static inline struct kek_bytes kek_buf_bytes(const struct kek_buf *buf)
{
    return kek_bytes(buf->data, buf->len);
}

static inline void kek_buf_auto(struct kek_buf *buf)
{
    kek_buf_done(buf);
}
/* KEK_AUTO_BUF struct kek_buf out; kek_buf_init(&out, MAX) must follow at once. */
#define KEK_AUTO_BUF __attribute__((cleanup(kek_buf_auto)))

/* Lower-case hex of `bytes` into out, which holds 2 * len + 1 chars. */
void kek_hex(struct kek_bytes bytes, char *out);

/* The value of a hex digit of either case; -1: it is none. */
int kek_hex_digit(char c);

#endif
