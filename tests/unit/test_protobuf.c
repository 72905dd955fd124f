/* The wire format, byte by byte: what is a field, what is none, and the same where it comes in pieces. */
#include "suite.h"

#include <string.h>

#include "kek/protobuf.h"

#define ROWS(table) (int)(sizeof(table) / sizeof(table)[0])

/* Of the ten bytes that a varint may have. */
#define NINE "\xff\xff\xff\xff\xff\xff\xff\xff\xff"

/* How often a byte stands there. */
#define TIMES4(byte) byte byte byte byte
#define TIMES32(byte) TIMES4(TIMES4(byte)) TIMES4(TIMES4(byte))

static const struct {
    const char *wire;
    size_t len;
    uint32_t number;
    enum kek_protobuf_type type;
    uint64_t varint;
    const char *bytes;
} fields[] = {
#define ROW(wire, ...)                      \
    {                                       \
        wire, sizeof(wire) - 1, __VA_ARGS__ \
    }
    ROW("\x08\x00", 1, KEK_PROTOBUF_VARINT, 0, ""),
    ROW("\x08\x96\x01", 1, KEK_PROTOBUF_VARINT, 150, ""), /* protobuf.dev, "Encoding" */
    ROW("\x12\x07testing", 2, KEK_PROTOBUF_BYTES, 0, "testing"),
    ROW("\x12\x00", 2, KEK_PROTOBUF_BYTES, 0, ""),
    ROW("\x78\x7f", 15, KEK_PROTOBUF_VARINT, 127, ""),
    ROW("\x80\x01\x80\x01", 16, KEK_PROTOBUF_VARINT, 128, ""),
    ROW("\xf8\xff\xff\xff\x0f\x01", (1u << 29) - 1, KEK_PROTOBUF_VARINT, 1, ""),
    ROW("\x08" NINE "\x01", 1, KEK_PROTOBUF_VARINT, UINT64_MAX, ""),
    ROW("\x08\x80\x80\x80\x80\x80\x80\x80\x80\x80\x01", 1, KEK_PROTOBUF_VARINT, 1ull << 63, ""),
    /* Longer than need be, as it may. */
    ROW("\x08\x81\x80\x80\x80\x80\x80\x80\x80\x80\x00", 1, KEK_PROTOBUF_VARINT, 1, ""),
    ROW("\x88\x80\x80\x80\x80\x80\x80\x80\x80\x00\x05", 1, KEK_PROTOBUF_VARINT, 5, ""),
    ROW("\x12\x83\x00"
        "abc",
        2, KEK_PROTOBUF_BYTES, 0, "abc"),
    ROW("\x19\x01\x02\x03\x04\x05\x06\x07\x08", 3, KEK_PROTOBUF_FIXED64, 0, ""),
    ROW("\x1d\x01\x02\x03\x04", 3, KEK_PROTOBUF_FIXED32, 0, ""),
    /* A group ends where its number ends; what is in it is read past. */
    ROW("\x1b\x1c", 3, KEK_PROTOBUF_GROUP, 0, ""),
    ROW("\x1b\x08\x1c\x1a\x01\x1c\x23\x1b\x1c\x24\x19\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c\x1c", 3,
        KEK_PROTOBUF_GROUP, 0, ""),
    ROW(TIMES32("\x43") TIMES32("\x44"), 8, KEK_PROTOBUF_GROUP, 0, ""),
#undef ROW
};

START_TEST(a_field_is_taken_and_nothing_behind_it)
{
    for (size_t behind = 0; behind <= 1; behind++) {
        uint8_t wire[128];
        size_t len = fields[_i].len;
        memcpy(wire, fields[_i].wire, len);
        wire[len] = 0xff;
        struct kek_bytes rest = kek_bytes(wire, len + behind);
        struct kek_protobuf_field field;
        ck_assert(kek_protobuf_take(&rest, &field));
        ck_assert_uint_eq(field.number, fields[_i].number);
        ck_assert_int_eq(field.type, fields[_i].type);
        ck_assert_uint_eq(field.varint, fields[_i].varint);
        ck_assert(kek_bytes_equal(field.bytes, kek_bytes_of(fields[_i].bytes)));
        ck_assert(rest.data == wire + len && rest.len == behind);
        ck_assert(!kek_protobuf_take(&rest, &field)); /* none, or what is none */
        ck_assert(rest.data == wire + len && rest.len == behind);
    }
}
END_TEST

START_TEST(a_field_that_is_cut_is_none_and_nothing_moves)
{
    for (size_t len = 0; len < fields[_i].len; len++) {
        struct kek_bytes rest = kek_bytes(fields[_i].wire, len);
        struct kek_protobuf_field field = {.number = 77};
        ck_assert(!kek_protobuf_take(&rest, &field));
        ck_assert(rest.data == (const uint8_t *)fields[_i].wire && rest.len == len);
        ck_assert_uint_eq(field.number, 77);
    }
}
END_TEST

static const struct {
    const char *wire;
    size_t len;
} wrong[] = {
#define ROW(wire)              \
    {                          \
        wire, sizeof(wire) - 1 \
    }
    ROW("\x00\x00"),                      /* number 0 */
    ROW("\x02\x00"),                      /* of bytes */
    ROW("\x80\x00\x00"),                  /* written longer */
    ROW("\x80\x80\x80\x80\x10\x00"),      /* 2^29 */
    ROW("\xf8\xff\xff\xff\xff\x0f\x00"),  /* more than 32 bits */
    ROW("\x88\x80\x80\x80\x80\x01\x00"),  /* 1, and a bit that C would cut off */
    ROW("\x0e\x00"),                      /* wire type 6 */
    ROW("\x0f\x00"),                      /* wire type 7 */
    ROW("\x0c"),                          /* the end of no group */
    ROW("\x0b\x14"),                      /* of another */
    ROW("\x0b\x13\x0c\x14"),              /* of the outer before the inner */
    ROW("\x0b\x00\x0c"),                  /* number 0 in one */
    ROW("\x0b\x06\x0c"),                  /* wire type 6 in one */
    ROW("\x08" NINE "\x02"),              /* 65 bits */
    ROW("\x08" NINE "\x81\x00"),          /* eleven bytes */
    ROW("\x08" NINE "\x80\x00"),          /* that say nothing more */
    ROW(NINE "\xff\xff\xff\xff\xff\xff"), /* no tag */
    ROW("\x0a" NINE "\x01"),              /* 2^64 - 1 bytes */
    ROW("\x0a\xff\xff\xff\xff\xff\xff\xff\xff\x7f"
        "a"), /* 2^63 - 1 */
    ROW("\x0a\x80\x80\x80\x80\x10"
        "a"),                                        /* 2^32 */
    ROW(TIMES32("\x43") "\x43\x44" TIMES32("\x44")), /* one too deep */
#undef ROW
};

START_TEST(what_is_none_is_refused_and_nothing_moves)
{
    struct kek_bytes rest = kek_bytes(wrong[_i].wire, wrong[_i].len);
    struct kek_protobuf_field field = {.number = 77};
    ck_assert(!kek_protobuf_take(&rest, &field));
    ck_assert(rest.data == (const uint8_t *)wrong[_i].wire && rest.len == wrong[_i].len);
    ck_assert_uint_eq(field.number, 77);
}
END_TEST

START_TEST(fields_come_in_their_order)
{
    static const char wire[] = "\x08\x01\x12\x01"
                               "a\x1b\x12\x01z\x1c\x12\x01"
                               "b";
    struct kek_bytes rest = kek_bytes(wire, sizeof wire - 1);
    struct kek_protobuf_field field;
    const uint32_t numbers[] = {1, 2, 3, 2};
    for (size_t i = 0; i < sizeof numbers / sizeof numbers[0]; i++) {
        ck_assert(kek_protobuf_take(&rest, &field));
        ck_assert_uint_eq(field.number, numbers[i]);
    }
    ck_assert(kek_bytes_equal(field.bytes, kek_bytes_of("b")));
    ck_assert_uint_eq(rest.len, 0);
}
END_TEST

static const struct {
    const char *wire;
    size_t len;
    enum kek_protobuf_step last;
    uint64_t value;
} varints[] = {
#define ROW(wire, ...)                      \
    {                                       \
        wire, sizeof(wire) - 1, __VA_ARGS__ \
    }
    ROW("\x00", KEK_PROTOBUF_WHOLE, 0),
    ROW("\xac\x02", KEK_PROTOBUF_WHOLE, 300),
    ROW("\x80\x00", KEK_PROTOBUF_WHOLE, 0),
    ROW(NINE, KEK_PROTOBUF_MORE, INT64_MAX),
    ROW(NINE "\x01", KEK_PROTOBUF_WHOLE, UINT64_MAX),
    ROW(NINE "\x02", KEK_PROTOBUF_TOO_LONG, INT64_MAX),
    ROW(NINE "\x80", KEK_PROTOBUF_TOO_LONG, INT64_MAX),
#undef ROW
};

START_TEST(a_varint_in_pieces_is_the_same)
{
    struct kek_protobuf_varint varint = {.len = 0};
    for (size_t i = 0; i < varints[_i].len; i++) {
        ck_assert_int_eq(kek_protobuf_varint_add(&varint, (uint8_t)varints[_i].wire[i]),
                         i + 1 < varints[_i].len ? KEK_PROTOBUF_MORE : varints[_i].last);
    }
    ck_assert_uint_eq(varint.value, varints[_i].value);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("protobuf");
    TCase *tests = tcase_create("protobuf");
    suite_add_tcase(suite, tests);
    tcase_add_loop_test(tests, a_field_is_taken_and_nothing_behind_it, 0, ROWS(fields));
    tcase_add_loop_test(tests, a_field_that_is_cut_is_none_and_nothing_moves, 0, ROWS(fields));
    tcase_add_loop_test(tests, what_is_none_is_refused_and_nothing_moves, 0, ROWS(wrong));
    tcase_add_test(tests, fields_come_in_their_order);
    tcase_add_loop_test(tests, a_varint_in_pieces_is_the_same, 0, ROWS(varints));
    return suite_run(suite);
}
