/* Values as they lie in etcd, written by hand. */
#ifndef UNIT_KUBE_HELP_H
#define UNIT_KUBE_HELP_H

#include "suite.h"

#include "kek/kube.h"

#include <stdio.h>
#include <string.h>

#define VALUE_MAX (256 * 1024)

static inline void put(struct kek_buf *value, const void *bytes, size_t len)
{
    ck_assert_int_eq(kek_buf_append(value, kek_bytes(bytes, len), NULL), KEK_OK);
}

static inline void put_text(struct kek_buf *value, const char *text)
{
    put(value, text, strlen(text));
}

static inline void put_byte(struct kek_buf *value, unsigned byte)
{
    put(value, &(uint8_t){(uint8_t)byte}, 1);
}

static inline void put_times(struct kek_buf *value, unsigned byte, size_t times)
{
    for (size_t i = 0; i < times; i++) {
        put_byte(value, byte);
    }
}

static inline void put_varint(struct kek_buf *value, uint64_t number)
{
    for (; number >= 0x80; number >>= 7) {
        put_byte(value, 0x80 | (number & 0x7f));
    }
    put_byte(value, (unsigned)number);
}

/* A field of bytes. */
static inline void put_field(struct kek_buf *value, unsigned number, const void *bytes, size_t len)
{
    put_varint(value, number << 3 | 2);
    put_varint(value, len);
    put(value, bytes, len);
}

static inline void put_number(struct kek_buf *value, unsigned number, uint64_t content)
{
    put_varint(value, number << 3);
    put_varint(value, content);
}

/* A well-formed kekd envelope of `len` bytes of ciphertext under the KEK 0x11... */
static inline void make_envelope(struct kek_buf *sealed, size_t len)
{
    static const uint8_t wrapped[40] = {1, 2, 3};
    struct kek_envelope_entry entry = {.alg = KEK_WRAP_AES_KW,
                                       .wrapped = {wrapped, sizeof wrapped}};
    memset(entry.kek_id.bytes, 0x11, KEK_ID_LEN);
    kek_buf_init(sealed, VALUE_MAX);
    ck_assert_int_eq(kek_envelope_header(KEK_ENVELOPE_MODE_ANY, &entry, 1, sealed, NULL), KEK_OK);
    put_times(sealed, 0xaa, 16 + len + 32);
}

static inline void is(struct kek_bytes bytes, const char *text)
{
    ck_assert_msg(kek_bytes_equal(bytes, kek_bytes_of(text)), "\"%.*s\" is not \"%s\"",
                  (int)bytes.len, (const char *)bytes.data, text);
}

static inline void parses(const struct kek_buf *value, struct kek_kube_stored *stored)
{
    struct kek_why why = {.text = ""};
    enum kek_rc rc = kek_kube_parse(kek_buf_bytes(value), stored, &why);
    ck_assert_msg(rc == KEK_OK, "%s", why.text);
}

/* Damaged, and `reason` is part of why. */
static inline void refuses(const struct kek_buf *value, struct kek_kube_stored *stored,
                           const char *reason)
{
    struct kek_why why = {.rc = KEK_OK};
    ck_assert_int_eq(kek_kube_parse(kek_buf_bytes(value), stored, &why), KEK_DAMAGED);
    ck_assert_int_eq(why.rc, KEK_DAMAGED);
    ck_assert_msg(strstr(why.text, reason) != NULL, "\"%s\" lacks \"%s\"", why.text, reason);
    ck_assert_int_eq(kek_kube_parse(kek_buf_bytes(value), stored, NULL), KEK_DAMAGED);
}

#endif
