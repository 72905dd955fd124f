/* A Cloud HSM's statement: its format, taken only whole, and how it is decompressed. */
#include "suite.h"

#include <string.h>

#include <zlib.h>

#include "statement.h"

#define ATTRIBUTES 3u

/* A header of 24 bytes, one of 8, an object's of 12, its attributes, and a signature. */
static size_t make(uint8_t out[static 1024])
{
    static const uint8_t attributes[] = {
        0, 0, 0, 0,    0, 0, 0, 1, 4,          /* class: secret key */
        0, 0, 1, 0x62, 0, 0, 0, 1, 0,          /* not extractable */
        0, 0, 1, 0x61, 0, 0, 0, 4, 0, 0, 0, 32 /* of so many bytes */
    };
    size_t body = 8 + 12 + sizeof attributes, total = 24 + body + 256;
    memset(out, 0, 1024);
    out[7] = 3;
    out[10] = (uint8_t)(total >> 8);
    out[11] = (uint8_t)total;
    out[15] = (uint8_t)body;
    out[25] = 1;
    out[29] = 8;
    out[39] = ATTRIBUTES;
    out[43] = sizeof attributes;
    memcpy(out + 44, attributes, sizeof attributes);
    memset(out + total - 256, 's', 256);
    return total;
}

static enum kek_rc read_it(const uint8_t *bytes, size_t len, struct kek_gcp_statement *statement)
{
    struct kek_why why;
    return kek_gcp_statement_read(kek_bytes(bytes, len), statement, &why);
}

START_TEST(statement_is_read_with_all_that_it_says)
{
    uint8_t bytes[1024];
    struct kek_gcp_statement statement;
    uint32_t number = 7;
    size_t len = make(bytes);
    ck_assert_int_eq(read_it(bytes, len, &statement), KEK_OK);
    ck_assert_uint_eq(statement.count, ATTRIBUTES);
    ck_assert_uint_eq(statement.is_signed.len, len - 256);
    ck_assert_mem_eq(statement.signature.data, bytes + len - 256, 256);
    ck_assert(kek_gcp_statement_number(&statement, KEK_GCP_ATTR_CLASS, &number) && number == 4);
    ck_assert(kek_gcp_statement_number(&statement, KEK_GCP_ATTR_EXTRACTABLE, &number) &&
              number == 0);
    ck_assert(kek_gcp_statement_number(&statement, KEK_GCP_ATTR_VALUE_LEN, &number) &&
              number == 32);
    ck_assert(!kek_gcp_statement_number(&statement, KEK_GCP_ATTR_LOCAL, &number));
    ck_assert_ptr_null(kek_gcp_statement_find(&statement, KEK_GCP_ATTR_EKCV));
}
END_TEST

/* Each length but its own, and each length or count in it that is one too many or too few. */
START_TEST(statement_that_is_not_whole_is_refused)
{
    static const size_t lengths[] = {3, 10, 11, 14, 15, 25, 28, 29, 31, 36, 39, 40, 43, 48, 51, 60};
    uint8_t bytes[1024], more[1024];
    struct kek_gcp_statement statement;
    size_t len = make(bytes);
    for (size_t cut = 0; cut < len; cut++) {
        ck_assert_int_eq(read_it(bytes, cut, &statement), KEK_INVALID);
    }
    ck_assert_int_eq(read_it(bytes, len + 1, &statement), KEK_INVALID);
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        for (int by = -1; by <= 1; by += 2) {
            memcpy(more, bytes, sizeof more);
            more[lengths[i]] = (uint8_t)(more[lengths[i]] + by);
            ck_assert_msg(read_it(more, len, &statement) == KEK_INVALID, "byte %zu", lengths[i]);
        }
    }
}
END_TEST

static size_t gzip(const uint8_t *bytes, size_t len, uint8_t *out, size_t size)
{
    z_stream stream = {.next_in = (Bytef *)(uintptr_t)bytes,
                       .avail_in = (uInt)len,
                       .next_out = out,
                       .avail_out = (uInt)size};
    ck_assert_int_eq(deflateInit2(&stream, 9, Z_DEFLATED, 15 + 16, 8, Z_DEFAULT_STRATEGY), Z_OK);
    ck_assert_int_eq(deflate(&stream, Z_FINISH), Z_STREAM_END);
    (void)deflateEnd(&stream);
    return stream.total_out;
}

static enum kek_rc unpack(const uint8_t *bytes, size_t len, size_t *plain_len)
{
    struct kek_why why;
    KEK_AUTO_BUF struct kek_buf plain;
    kek_buf_init(&plain, KEK_GCP_STATEMENT_PLAIN);
    enum kek_rc rc = kek_gcp_statement_unpack(kek_bytes(bytes, len), &plain, &why);
    *plain_len = plain.len;
    return rc;
}

START_TEST(only_one_whole_gzip_stream_of_some_size_is_decompressed)
{
    static const uint8_t zeros[KEK_GCP_STATEMENT_PLAIN + 1];
    uint8_t packed[1024];
    size_t plain, len = gzip(zeros, sizeof zeros - 1, packed, sizeof packed);
    ck_assert_int_eq(unpack(packed, len, &plain), KEK_OK);
    ck_assert_uint_eq(plain, sizeof zeros - 1);
    for (size_t cut = 0; cut < len; cut++) {
        ck_assert_int_eq(unpack(packed, cut, &plain), KEK_INVALID);
    }
    packed[len] = 0;
    ck_assert_int_eq(unpack(packed, len + 1, &plain), KEK_INVALID);
    packed[len - 5] ^= 1; /* its checksum */
    ck_assert_int_eq(unpack(packed, len, &plain), KEK_INVALID);
    len = gzip(zeros, sizeof zeros, packed, sizeof packed);
    ck_assert_int_eq(unpack(packed, len, &plain), KEK_TOO_LARGE);
    ck_assert_uint_le(plain, KEK_GCP_STATEMENT_PLAIN);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("gcpkms_statement");
    TCase *all = tcase_create("all");
    tcase_add_test(all, statement_is_read_with_all_that_it_says);
    tcase_add_test(all, statement_that_is_not_whole_is_refused);
    tcase_add_test(all, only_one_whole_gzip_stream_of_some_size_is_decompressed);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
