/* Envelopes as bytes: what is parsed, what is written, and what is refused. */
#include "envelope_help.h"

#include "../../src/envelope/format.h"

#define BODY_LEN (16 + 48 + 32)
#define BIG (KEK_ENVELOPE_PLAINTEXT_MAX + 1024)

static uint8_t blob[KEK_WRAPPED_MAX];

static struct kek_envelope_entry entry_of(enum kek_wrap_alg alg, uint8_t id)
{
    struct kek_envelope_entry entry = {.alg = alg};
    memset(entry.kek_id.bytes, id, KEK_ID_LEN);
    static const size_t lens[] = {0, 40, 40, 60, 48};
    entry.wrapped = kek_bytes(blob, lens[alg]);
    return entry;
}

/* A well-formed envelope of one AES-KW entry with a ciphertext of `len` zero bytes. */
static struct kek_bytes whole(struct kek_buf *buf, size_t len)
{
    static const uint8_t zeros[BIG];
    struct kek_envelope_entry entry = entry_of(KEK_WRAP_AES_KW, 7);
    kek_buf_init(buf, 2 * BIG);
    ck_assert_int_eq(kek_envelope_header(KEK_ENVELOPE_MODE_ANY, &entry, 1, buf, NULL), KEK_OK);
    ck_assert_int_eq(kek_buf_append(buf, kek_bytes(zeros, 16 + len + 32), NULL), KEK_OK);
    return kek_buf_bytes(buf);
}

/* Refused as damaged, with a reason, and the output untouched. */
static void refuses(struct kek_bytes bytes, const char *reason)
{
    struct kek_envelope envelope = {.suite = 0x77};
    struct kek_why why = {.rc = KEK_OK};
    ck_assert_int_eq(kek_envelope_parse(bytes, &envelope, &why), KEK_DAMAGED);
    ck_assert_int_eq(why.rc, KEK_DAMAGED);
    ck_assert_msg(strstr(why.text, reason) != NULL, "\"%s\" lacks \"%s\"", why.text, reason);
    ck_assert_uint_eq(envelope.suite, 0x77);
    ck_assert_int_eq(kek_envelope_parse(bytes, &envelope, NULL), KEK_DAMAGED);
}

START_TEST(header_and_parse_agree_for_every_alg_mode_and_count)
{
    struct kek_envelope_entry entries[KEK_ENVELOPE_ENTRIES_MAX];
    for (size_t i = 0; i < sizeof blob; i++) {
        blob[i] = (uint8_t)i;
    }
    for (size_t count = 1; count <= KEK_ENVELOPE_ENTRIES_MAX; count++) {
        for (uint8_t mode = KEK_ENVELOPE_MODE_ANY; mode <= KEK_ENVELOPE_MODE_ALL; mode++) {
            for (size_t i = 0; i < count; i++) {
                entries[i] = entry_of((enum kek_wrap_alg)(1 + (i + mode) % 4), (uint8_t)(i + 1));
            }
            KEK_AUTO_BUF struct kek_buf buf;
            kek_buf_init(&buf, 4096);
            ck_assert_int_eq(kek_envelope_header(mode, entries, count, &buf, NULL), KEK_OK);
            size_t header_len = buf.len;
            struct kek_envelope alone;
            ck_assert_int_eq(kek_envelope_parse_header(kek_buf_bytes(&buf), &alone, NULL), KEK_OK);
            ck_assert_int_eq(kek_buf_append(&buf, kek_bytes(blob, BODY_LEN), NULL), KEK_OK);
            struct kek_envelope parsed;
            ck_assert_int_eq(kek_envelope_parse(kek_buf_bytes(&buf), &parsed, NULL), KEK_OK);
            ck_assert_uint_eq(parsed.suite, KEK_ENVELOPE_SUITE_1);
            ck_assert_uint_eq(parsed.mode, mode);
            ck_assert_uint_eq(parsed.count, count);
            ck_assert_uint_eq(parsed.header.len, header_len);
            for (size_t i = 0; i < count; i++) {
                ck_assert_int_eq(parsed.entries[i].alg, entries[i].alg);
                ck_assert(kek_id_equal(&parsed.entries[i].kek_id, &entries[i].kek_id));
                ck_assert(kek_bytes_equal(parsed.entries[i].wrapped, entries[i].wrapped));
            }
            ck_assert_ptr_eq(parsed.iv.data, buf.data + header_len);
            ck_assert_ptr_eq(parsed.ciphertext.data, parsed.iv.data + 16);
            ck_assert_uint_eq(parsed.ciphertext.len, 48);
            ck_assert_ptr_eq(parsed.tag.data, parsed.ciphertext.data + 48);
            ck_assert_uint_eq(parsed.tag.len, 32);
        }
    }
}
END_TEST

START_TEST(parse_refuses_every_truncation)
{
    KEK_AUTO_BUF struct kek_buf buf;
    struct kek_bytes all = whole(&buf, 16);
    for (size_t len = 0; len < all.len; len++) {
        uint8_t *exact = malloc(len == 0 ? 1 : len); /* a read past its end is an ASan error */
        memcpy(exact, all.data, len);
        refuses(kek_bytes(exact, len), "");
        free(exact);
    }
    refuses(kek_bytes(NULL, 0), "ends after 0 bytes");
}
END_TEST

START_TEST(parse_refuses_a_byte_more)
{
    KEK_AUTO_BUF struct kek_buf buf;
    whole(&buf, 48);
    for (int i = 1; i < 16; i++) {
        ck_assert_int_eq(kek_buf_append(&buf, kek_bytes("", 1), NULL), KEK_OK);
        refuses(kek_buf_bytes(&buf), "cannot be");
    }
}
END_TEST

static const struct {
    size_t at;
    int from, to; /* these values, ... */
    int good;     /* ... less these, */
    int good_too;
    const char *reason;
} bytes_that_cannot_be[] = {
    {0, 0, 255, 'K', 'K', "magic"},
    {1, 0, 255, 'E', 'E', "magic"},
    {2, 0, 255, 'K', 'K', "magic"},
    {3, 0, 255, 1, 1, "magic"},
    {4, 0, 255, 1, 1, "unknown suite"},
    {5, 0, 255, 1, 2, "unknown mode"},
    {6, 0, 0, 1, 1, "0 entries"},
    {6, 5, 255, 1, 1, "entries"},
    {7, 0, 0, 1, 1, "unknown wrap alg"},
    {7, 5, 6, 1, 1, "wrapped key of 40 bytes, which "},
    {7, 7, 255, 1, 1, "unknown wrap alg"},
    {7, 3, 4, 1, 1, "wrapped key of 40 bytes"},
    {24, 1, 255, 0, 0, "wrapped key of"},
    {25, 0, 39, 40, 40, "wrapped key of"},
    {25, 41, 255, 40, 40, "wrapped key of"},
};

START_TEST(parse_refuses_each_header_byte_that_cannot_be)
{
    KEK_AUTO_BUF struct kek_buf buf;
    struct kek_bytes all = whole(&buf, 48);
    size_t at = bytes_that_cannot_be[_i].at;
    for (int value = bytes_that_cannot_be[_i].from; value <= bytes_that_cannot_be[_i].to; value++) {
        if (value != bytes_that_cannot_be[_i].good && value != bytes_that_cannot_be[_i].good_too) {
            buf.data[at] = (uint8_t)value;
            refuses(all, bytes_that_cannot_be[_i].reason);
        }
    }
}
END_TEST

START_TEST(parse_refuses_more_entries_than_there_are)
{
    KEK_AUTO_BUF struct kek_buf buf;
    struct kek_bytes all = whole(&buf, 16);
    for (uint8_t count = 2; count <= KEK_ENVELOPE_ENTRIES_MAX; count++) {
        buf.data[6] = count;
        refuses(all, "unknown wrap alg");
    }
    /* The last byte of a wrapped key missing; the entry's last byte missing. */
    buf.data[6] = 1;
    refuses(kek_bytes(all.data, 65), "inside a wrapped key");
    refuses(kek_bytes(all.data, 25), "inside an entry");
}
END_TEST

START_TEST(parse_takes_the_largest_ciphertext_and_no_larger)
{
    KEK_AUTO_BUF struct kek_buf largest, larger, none;
    struct kek_envelope parsed;
    ck_assert_int_eq(
        kek_envelope_parse(whole(&largest, KEK_ENVELOPE_PLAINTEXT_MAX + 16), &parsed, NULL),
        KEK_OK);
    ck_assert_uint_eq(parsed.ciphertext.len, KEK_ENVELOPE_PLAINTEXT_MAX + 16);
    refuses(whole(&larger, KEK_ENVELOPE_PLAINTEXT_MAX + 32), "cannot be");
    refuses(whole(&none, 0), "too few");
}
END_TEST

static const struct {
    uint8_t mode;
    size_t count;
    int alg;
    size_t wrapped_len;
} headers_that_cannot_be[] = {
    {0, 1, KEK_WRAP_AES_KW, 40},
    {3, 1, KEK_WRAP_AES_KW, 40},
    {255, 1, KEK_WRAP_AES_KW, 40},
    {KEK_ENVELOPE_MODE_ANY, 0, KEK_WRAP_AES_KW, 40},
    {KEK_ENVELOPE_MODE_ANY, KEK_ENVELOPE_ENTRIES_MAX + 1, KEK_WRAP_AES_KW, 40},
    {KEK_ENVELOPE_MODE_ANY, SIZE_MAX, KEK_WRAP_AES_KW, 40},
    {KEK_ENVELOPE_MODE_ANY, 1, KEK_WRAP_NONE, 0},
    {KEK_ENVELOPE_MODE_ANY, 1, 5, 40},
    {KEK_ENVELOPE_MODE_ANY, 1, 257, 40},
    {KEK_ENVELOPE_MODE_ANY, 1, KEK_WRAP_AES_KW, 0},
    {KEK_ENVELOPE_MODE_ANY, 1, KEK_WRAP_AES_KW, 39},
    {KEK_ENVELOPE_MODE_ANY, 1, KEK_WRAP_AES_GCM, 40},
    {KEK_ENVELOPE_MODE_ANY, 2, KEK_WRAP_AES_KWP, KEK_WRAPPED_MAX + 1},
};

START_TEST(header_refuses_what_could_not_be_parsed)
{
    struct kek_envelope_entry entries[KEK_ENVELOPE_ENTRIES_MAX + 1];
    for (size_t i = 0; i <= KEK_ENVELOPE_ENTRIES_MAX; i++) {
        entries[i] = entry_of(KEK_WRAP_AES_KWP, 1);
    }
    struct kek_envelope_entry *last = &entries[headers_that_cannot_be[_i].count == 2 ? 1 : 0];
    last->alg = (enum kek_wrap_alg)headers_that_cannot_be[_i].alg;
    last->wrapped.len = headers_that_cannot_be[_i].wrapped_len;
    struct kek_why why;
    KEK_AUTO_BUF struct kek_buf buf;
    kek_buf_init(&buf, 4096);
    ck_assert_int_eq(kek_buf_append(&buf, kek_bytes_of("before"), NULL), KEK_OK);
    ck_assert_int_eq(kek_envelope_header(headers_that_cannot_be[_i].mode, entries,
                                         headers_that_cannot_be[_i].count, &buf, &why),
                     KEK_INVALID);
    ck_assert_int_eq(why.rc, KEK_INVALID);
    ck_assert(kek_bytes_equal(kek_buf_bytes(&buf), kek_bytes_of("before")));
}
END_TEST

START_TEST(header_that_does_not_fit_leaves_the_buffer)
{
    struct kek_envelope_entry entry = entry_of(KEK_WRAP_AES_KW, 1);
    KEK_AUTO_BUF struct kek_buf buf;
    kek_buf_init(&buf, VECTOR_HEADER_LEN);
    ck_assert_int_eq(kek_buf_append(&buf, kek_bytes_of("x"), NULL), KEK_OK);
    struct kek_why why;
    ck_assert_int_eq(kek_envelope_header(1, &entry, 1, &buf, &why), KEK_TOO_LARGE);
    ck_assert_int_eq(kek_envelope_header(1, &entry, 1, &buf, NULL), KEK_TOO_LARGE);
    ck_assert(kek_bytes_equal(kek_buf_bytes(&buf), kek_bytes_of("x")));
    kek_buf_reset(&buf);
    ck_assert_int_eq(kek_envelope_header(1, &entry, 1, &buf, &why), KEK_OK);
    ck_assert_uint_eq(buf.len, VECTOR_HEADER_LEN);
}
END_TEST

START_TEST(parse_header_wants_exactly_one_header)
{
    KEK_AUTO_BUF struct kek_buf buf;
    struct kek_bytes all = whole(&buf, 16);
    struct kek_why why;
    struct kek_envelope parsed;
    struct kek_bytes header = kek_bytes(all.data, VECTOR_HEADER_LEN);
    ck_assert_int_eq(kek_envelope_parse_header(header, &parsed, &why), KEK_OK);
    ck_assert(kek_bytes_equal(parsed.header, header) && parsed.iv.data == NULL);
    header.len++;
    ck_assert_int_eq(kek_envelope_parse_header(header, &parsed, &why), KEK_DAMAGED);
    ck_assert_ptr_nonnull(strstr(why.text, "after the header"));
    header.len -= 2;
    ck_assert_int_eq(kek_envelope_parse_header(header, &parsed, &why), KEK_DAMAGED);
    ck_assert_int_eq(kek_envelope_parse_header(kek_bytes(NULL, 0), &parsed, &why), KEK_DAMAGED);
}
END_TEST

static bool within(struct kek_bytes view, struct kek_bytes all)
{
    return view.data >= all.data && view.data + view.len <= all.data + all.len;
}

START_TEST(rebased_envelope_borrows_from_the_copy_alone)
{
    KEK_AUTO_BUF struct kek_buf buf;
    struct kek_bytes all = whole(&buf, 32);
    struct kek_envelope before, after;
    KEK_AUTO_FREE uint8_t *copy = malloc(all.len);
    ck_assert_int_eq(kek_envelope_parse(all, &before, NULL), KEK_OK);
    memcpy(copy, all.data, all.len);
    after = before;
    kek_envelope_rebase(&after, copy);
    const struct kek_bytes was[] = {before.entries[0].wrapped, before.header, before.iv,
                                    before.ciphertext, before.tag};
    const struct kek_bytes is[] = {after.entries[0].wrapped, after.header, after.iv,
                                   after.ciphertext, after.tag};
    for (size_t i = 0; i < sizeof is / sizeof is[0]; i++) {
        ck_assert(kek_bytes_equal(was[i], is[i]));
        ck_assert(within(is[i], kek_bytes(copy, all.len)));
    }
}
END_TEST

START_TEST(sealed_len_counts_a_whole_block_of_padding)
{
    static const size_t lens[][2] = {{1, 16},  {15, 16}, {16, 32},
                                     {31, 32}, {32, 48}, {65536, 65552}};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        ck_assert_uint_eq(kek_envelope_sealed_len(66, lens[i][0]), 66 + 16 + lens[i][1] + 32);
    }
    ck_assert_uint_lt(kek_envelope_sealed_len(VECTOR_HEADER_LEN, 32), 1024);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("format");
    TCase *parse = tcase_create("parse");
    tcase_add_test(parse, header_and_parse_agree_for_every_alg_mode_and_count);
    tcase_add_test(parse, parse_refuses_every_truncation);
    tcase_add_test(parse, parse_refuses_a_byte_more);
    tcase_add_loop_test(parse, parse_refuses_each_header_byte_that_cannot_be, 0,
                        sizeof bytes_that_cannot_be / sizeof bytes_that_cannot_be[0]);
    tcase_add_test(parse, parse_refuses_more_entries_than_there_are);
    tcase_add_test(parse, parse_takes_the_largest_ciphertext_and_no_larger);
    suite_add_tcase(suite, parse);
    TCase *header = tcase_create("header");
    tcase_add_loop_test(header, header_refuses_what_could_not_be_parsed, 0,
                        sizeof headers_that_cannot_be / sizeof headers_that_cannot_be[0]);
    tcase_add_test(header, header_that_does_not_fit_leaves_the_buffer);
    tcase_add_test(header, parse_header_wants_exactly_one_header);
    tcase_add_test(header, rebased_envelope_borrows_from_the_copy_alone);
    tcase_add_test(header, sealed_len_counts_a_whole_block_of_padding);
    suite_add_tcase(suite, header);
    return suite_run(suite);
}
