/* The base room: results, buffers, secrets, names. */
#include "suite.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "kek/bytes.h"
#include "kek/clock.h"
#include "kek/descriptors.h"
#include "kek/digest.h"
#include "kek/arena.h"
#include "kek/kek.h"
#include "kek/rpc.h"
#include "kek/secret.h"
#include "kek/text.h"
#include "kek/wire.h"
#include "provider.pb-c.h"

START_TEST(fail_native_keeps_the_code_and_names_errno)
{
    struct kek_why why;
    ck_assert_int_eq(
        kek_fail_native(&why, KEK_NOT_FOUND, KEK_NATIVE_ERRNO, ENOENT, "opening %s", "x"),
        KEK_NOT_FOUND);
    ck_assert_uint_eq(why.code, ENOENT);
    ck_assert_int_eq(why.native, KEK_NATIVE_ERRNO);
    ck_assert_str_eq(why.text, "opening x: No such file or directory");
}
END_TEST

START_TEST(fail_within_prefixes_and_keeps_the_native_code)
{
    struct kek_why why;
    kek_fail_native(&why, KEK_UNAVAILABLE, KEK_NATIVE_PKCS11, 0x30, "C_WrapKey failed");
    kek_fail_within(&why, KEK_INTERNAL, "provider %s", "hsm-a");
    ck_assert_str_eq(why.text, "provider hsm-a: C_WrapKey failed");
    ck_assert_uint_eq(why.code, 0x30);
    ck_assert_int_eq(why.rc, KEK_INTERNAL);
}
END_TEST

START_TEST(fail_marks_a_text_that_is_too_long)
{
    char big[2 * KEK_WHY_TEXT];
    memset(big, 'a', sizeof big);
    big[sizeof big - 1] = '\0';
    struct kek_why why;
    kek_fail(&why, KEK_INVALID, "%s", big);
    ck_assert_uint_eq(strlen(why.text), KEK_WHY_TEXT - 1);
    ck_assert_str_eq(why.text + KEK_WHY_TEXT - 4, "...");
    kek_fail_within(&why, KEK_INVALID, "%s", big);
    ck_assert_str_eq(why.text + KEK_WHY_TEXT - 4, "...");
}
END_TEST

START_TEST(every_rc_has_a_name_and_a_status)
{
    for (int rc = KEK_OK; rc <= KEK_INTERNAL; rc++) {
        ck_assert_str_ne(kek_rc_name((enum kek_rc)rc), "unknown");
        enum kek_rpc_status status = kek_rpc_status_of((enum kek_rc)rc);
        ck_assert((status == KEK_RPC_OK) == (rc == KEK_OK));
        ck_assert_str_ne(kek_rpc_status_name(status), "UNKNOWN");
    }
    ck_assert_str_eq(kek_rc_name((enum kek_rc)99), "unknown");
    ck_assert_str_eq(kek_rpc_status_name((enum kek_rpc_status)6), "UNKNOWN");
}
END_TEST

START_TEST(buffer_refuses_to_pass_its_maximum_and_stays_as_it_was)
{
    struct kek_buf buf;
    struct kek_why why;
    kek_buf_init(&buf, 100);
    ck_assert_int_eq(kek_buf_append(&buf, kek_bytes_of("hello"), &why), KEK_OK);
    ck_assert_ptr_null(kek_buf_reserve(&buf, 96, &why));
    ck_assert_int_eq(why.rc, KEK_TOO_LARGE);
    ck_assert_ptr_null(kek_buf_reserve(&buf, SIZE_MAX, NULL));
    ck_assert(kek_bytes_equal(kek_buf_bytes(&buf), kek_bytes_of("hello")));
    ck_assert_ptr_nonnull(kek_buf_reserve(&buf, 95, &why));
    kek_buf_reset(&buf);
    ck_assert_uint_eq(buf.len, 0);
    kek_buf_done(&buf);
    ck_assert_ptr_null(buf.data);
}
END_TEST

START_TEST(hex_is_lower_case)
{
    struct kek_id id;
    for (int i = 0; i < KEK_ID_LEN; i++) {
        id.bytes[i] = (uint8_t)(i * 17);
    }
    char text[KEK_ID_TEXT];
    kek_id_format(&id, text);
    ck_assert_str_eq(text, "00112233445566778899aabbccddeeff");
}
END_TEST

START_TEST(hex_digit_is_of_either_case)
{
    static const char digits[] = "0123456789abcdef0123456789ABCDEF";
    for (int c = 0; c < 256; c++) {
        const char *at = c == 0 ? NULL : strchr(digits, c);
        ck_assert_int_eq(kek_hex_digit((char)c), at == NULL ? -1 : (at - digits) % 16);
    }
}
END_TEST

/* FIPS 180-2, B.1; and of nothing. */
START_TEST(digest_is_sha256_in_hex)
{
    char text[KEK_SHA256_TEXT];
    ck_assert(kek_sha256_text(kek_bytes_of("abc"), text));
    ck_assert_str_eq(text, "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad");
    ck_assert(kek_sha256_text(kek_bytes_of(""), text));
    ck_assert_str_eq(text, "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855");
}
END_TEST

START_TEST(a_kek_id_is_read_only_as_it_is_written)
{
    static const char *const others[] = {"",
                                         "00112233445566778899aabbccddeef",
                                         "00112233445566778899aabbccddeeff0",
                                         "00112233445566778899AABBCCDDEEFF",
                                         "00:12:33:45:56:67:88:99:aa:bb:ccd",
                                         "00112233445566778899aabbccddeefg"};
    struct kek_id id = {{0}}, kept = {{1}};
    ck_assert(kek_id_parse("00112233445566778899aabbccddeeff", &id));
    for (int i = 0; i < KEK_ID_LEN; i++) {
        ck_assert_uint_eq(id.bytes[i], (unsigned)(i * 17));
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        ck_assert_msg(!kek_id_parse(others[i], &kept), "%s", others[i]);
        ck_assert_uint_eq(kept.bytes[0], 1);
    }
}
END_TEST

START_TEST(secret_is_zeroed_copied_and_compared)
{
    bool locked;
    ck_assert_int_eq(kek_secret_setup(65536, &locked, NULL), KEK_OK);
    KEK_AUTO(kek_secret) zero = kek_secret_new(32);
    KEK_AUTO(kek_secret) random = kek_secret_random(32);
    ck_assert_ptr_nonnull(zero);
    ck_assert_ptr_nonnull(random);
    ck_assert(!kek_secret_equal(zero, random));
    KEK_AUTO(kek_secret) copy = kek_secret_dup(kek_secret_bytes(random));
    ck_assert(kek_secret_equal(copy, random));
    kek_secret_data(copy)[31] ^= 1;
    ck_assert(!kek_secret_equal(copy, random));
    for (size_t i = 0; i < 32; i++) {
        ck_assert_uint_eq(kek_secret_data(zero)[i], 0);
    }
}
END_TEST

START_TEST(secret_is_null_when_the_arena_is_full)
{
    bool locked;
    ck_assert_int_eq(kek_secret_setup(65536, &locked, NULL), KEK_OK);
    ck_assert_ptr_null(kek_secret_new(0));
    ck_assert_ptr_null(kek_secret_new(SIZE_MAX));
    ck_assert_ptr_null(kek_secret_new(65537));
    struct kek_secret *held[65536 / 32];
    size_t count = 0;
    while (count < sizeof held / sizeof held[0]) {
        held[count] = kek_secret_new(8);
        if (held[count] == NULL) {
            break;
        }
        count++;
    }
    ck_assert_uint_gt(count, 1000);
    ck_assert_ptr_null(kek_secret_new(1024));
    while (count > 0) {
        kek_secret_free(held[--count]);
    }
    KEK_AUTO(kek_secret) again = kek_secret_new(1024);
    ck_assert_ptr_nonnull(again);
}
END_TEST

static const struct {
    const char *text, *clean;
} texts[] = {
    {"", ""},
    {"one line", "one line"},
    {"two\nlines\ta\x7f", "two?lines?a?"},
    {"Gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x91",
     "Gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x91"},
    {"\xc2\x9bm\xc2\xa0", "??m\xc2\xa0"}, /* U+009B begins a terminal's commands */
    {"cut \xc3", "cut ?"},
    {"cut \xe2\x82", "cut ??"},
    {"\xf0\x9f\x94", "???"},
    {"\xff\x80z", "??z"},
    {"overlong \xc0\xaf \xe0\x80\xaf", "overlong ?? ???"},
    {"surrogate \xed\xa0\x80", "surrogate ???"},
    {"past the end \xf4\x90\x80\x80", "past the end ????"},
};

START_TEST(text_is_one_line_of_utf8_when_cleaned)
{
    char text[64];
    snprintf(text, sizeof text, "%s", texts[_i].text);
    kek_text_clean(text);
    ck_assert_str_eq(text, texts[_i].clean);
}
END_TEST

START_TEST(text_is_cut_before_it_is_cleaned)
{
    char text[6];
    kek_text_copy(text, sizeof text, "1234\xe2\x82\xac");
    ck_assert_str_eq(text, "1234?");
    kek_text_copy(text, sizeof text, "a\n\xff");
    ck_assert_str_eq(text, "a??");
    kek_text_copy(text, sizeof text, NULL);
    ck_assert_str_eq(text, "");
}
END_TEST

static const struct {
    const char *text;
    size_t max, size; /* of the text, of the room */
    const char *json, *rest;
} jsons[] = {
    {"", 9, 9, "", ""},
    {"a\"b\\c", 99, 99, "a\\\"b\\\\c", ""},
    {"\x01\n\x7f", 99, 99, "\\u0001\\u000a\\u007f", ""},
    {"\xc3\xbc\xff\xc3", 99, 99, "\xc3\xbc\\ufffd\\ufffd", ""},
    {"abcd", 2, 99, "ab", "cd"},
    {"a\xe2\x82\xac!", 2, 99, "a\xe2\x82\xac", "!"}, /* it begins within them */
    {"abcd", 99, 3, "abc", "d"},
    {"ab\n", 99, 7, "ab", "\n"},
    {"ab\n", 99, 8, "ab\\u000a", ""},
    {"a\"", 99, 2, "a", "\""},
    {"a\xe2\x82\xac", 99, 3, "a", "\xe2\x82\xac"},
    {"abc", 0, 9, "", "abc"},
    {"abc", 9, 0, "", "abc"},
};

START_TEST(text_stands_in_json_as_far_as_it_fits)
{
    char out[100];
    const char *rest = jsons[_i].text;
    memset(out, '#', sizeof out);
    size_t len = kek_text_json(&rest, jsons[_i].max, out, jsons[_i].size);
    ck_assert_uint_eq(len, strlen(jsons[_i].json));
    ck_assert_mem_eq(out, jsons[_i].json, len);
    ck_assert_int_eq(out[len], '#');
    ck_assert_str_eq(rest, jsons[_i].rest);
}
END_TEST

static const struct {
    const char *text;
    uint64_t max;
    bool digits, decimal; /* taken by which */
    uint64_t number;
    const char *rest;
} numbers[] = {
    {"0", 0, true, true, 0, ""},
    {"007", 7, true, true, 7, ""},
    {"18446744073709551615", UINT64_MAX, true, true, UINT64_MAX, ""},
    {"18446744073709551616", UINT64_MAX, false, false, 0, NULL},
    {"99999999999999999999", UINT64_MAX, false, false, 0, NULL},
    {"8", 7, false, false, 0, NULL},
    {"70", 7, false, false, 0, NULL},
    {"12kB", 99, true, false, 12, "kB"},
    {"1 ", 99, true, false, 1, " "},
    {"", 99, false, false, 0, NULL},
    {"-1", 99, false, false, 0, NULL},
    {"+1", 99, false, false, 0, NULL},
    {" 1", 99, false, false, 0, NULL},
    {"0x1", 99, true, false, 0, "x1"},
};

START_TEST(text_is_a_number_only_as_digits)
{
    const char *rest = numbers[_i].text;
    uint64_t number = 4711;
    ck_assert(kek_text_digits(&rest, numbers[_i].max, &number) == numbers[_i].digits);
    ck_assert_uint_eq(number, numbers[_i].digits ? numbers[_i].number : 4711);
    ck_assert_str_eq(rest, numbers[_i].digits ? numbers[_i].rest : numbers[_i].text);
    number = 4711;
    ck_assert(kek_text_decimal(numbers[_i].text, numbers[_i].max, &number) == numbers[_i].decimal);
    ck_assert_uint_eq(number, numbers[_i].decimal ? numbers[_i].number : 4711);
}
END_TEST

/* The child's exit code: 0 if each of those closed is open, useless and no file that comes later. */
static int fill_after_closing(unsigned closed)
{
    for (int fd = 0; fd <= 2; fd++) {
        if ((closed >> fd & 1) != 0) {
            close(fd);
        }
    }
    if (!kek_descriptors_fill() || open("/dev/null", O_RDWR) <= 2) {
        return 1;
    }
    for (int fd = 0; fd <= 2; fd++) {
        char byte = 'x';
        ssize_t done = fd == 0 ? read(fd, &byte, 1) : write(fd, &byte, 1);
        if ((closed >> fd & 1) != 0 && (done != -1 || errno != EBADF)) {
            return 2;
        }
    }
    return 0;
}

START_TEST(descriptors_are_filled_so_that_using_them_still_fails)
{
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        /* What is not closed in this round must not disturb the test's own output. */
        int null = open("/dev/null", O_RDWR);
        dup2(null, 0);
        dup2(null, 1);
        dup2(null, 2);
        close(null);
        _exit(fill_after_closing((unsigned)_i));
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status));
    ck_assert_int_eq(WEXITSTATUS(status), 0);
}
END_TEST

START_TEST(all_that_comes_in_pieces_is_read_and_written)
{
    /* More than a pipe holds: neither side gets on by one call. */
    enum { LEN = 300000 };
    static uint8_t sent[LEN], got[LEN + 1];
    for (size_t i = 0; i < LEN; i++) {
        sent[i] = (uint8_t)(i * 7 >> 3);
    }
    int ends[2];
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        close(ends[0]);
        _exit(kek_descriptor_write(ends[1], sent, LEN) ? 0 : 1);
    }
    close(ends[1]);
    size_t len = 0;
    ck_assert(kek_descriptor_read(ends[0], got, 1000, &len));
    ck_assert_uint_eq(len, 1000);
    ck_assert(kek_descriptor_read(ends[0], got + 1000, LEN + 1 - 1000, &len));
    ck_assert_uint_eq(len, LEN - 1000);
    ck_assert_mem_eq(got, sent, LEN);
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);

    /* The end for reading does not write, and what is closed does neither. */
    ck_assert(!kek_descriptor_write(ends[0], sent, 1));
    ck_assert_int_eq(errno, EBADF);
    close(ends[0]);
    ck_assert(!kek_descriptor_read(ends[0], got, 1, &len));
    ck_assert_int_eq(errno, EBADF);
}
END_TEST

START_TEST(a_wrapped_data_key_is_as_long_as_its_algorithm_allows)
{
    static const struct {
        int alg;
        const char *name;
        size_t min, max; /* docs/envelope-format.md */
    } algs[] = {
        {KEK_WRAP_AES_KW, "AES-KW", 40, 40},
        {KEK_WRAP_AES_KWP, "AES-KWP", 40, 40},
        {KEK_WRAP_AES_GCM, "AES-GCM", 60, 60},
        {KEK_WRAP_AES_CBC, "AES-CBC", 48, 48},
        {KEK_WRAP_NONE, "none", 1, 0},
        {KEK_WRAP_TRANSIT, "TRANSIT", 60, 72},
        {KEK_WRAP_GCP_KMS, "GCP-KMS", 48, 512},
        {7, "none", 1, 0},
        {255, "none", 1, 0},
        {-1, "none", 1, 0},
    };
    for (size_t i = 0; i < sizeof algs / sizeof algs[0]; i++) {
        enum kek_wrap_alg alg = (enum kek_wrap_alg)algs[i].alg;
        ck_assert_str_eq(kek_wrap_alg_name(alg), algs[i].name);
        ck_assert(kek_wrap_alg_known(alg) == (algs[i].max > 0));
        for (size_t len = 0; len <= 2 * KEK_WRAPPED_MAX; len++) {
            ck_assert(kek_wrap_alg_fits(alg, len) == (len >= algs[i].min && len <= algs[i].max));
        }
        ck_assert_uint_le(algs[i].max, KEK_WRAPPED_MAX);
    }
}
END_TEST

START_TEST(every_cause_of_a_worker_has_its_class)
{
    static const struct {
        int cause;
        enum kek_rc rc;
    } causes[] = {
        {KEK__PROVIDER__CAUSE__INTERNAL, KEK_INTERNAL},
        {KEK__PROVIDER__CAUSE__DATA, KEK_DAMAGED},
        {KEK__PROVIDER__CAUSE__LINK, KEK_UNAVAILABLE},
        {KEK__PROVIDER__CAUSE__STATE, KEK_PRECONDITION},
        {KEK__PROVIDER__CAUSE__KEY_MISSING, KEK_NOT_FOUND},
        {KEK__PROVIDER__CAUSE__KEY_UNFIT, KEK_DENIED},
        {KEK__PROVIDER__CAUSE__PIN_REFUSED, KEK_DENIED},
        {KEK__PROVIDER__CAUSE__PIN_UNUSABLE, KEK_DENIED},
        {KEK__PROVIDER__CAUSE__BUSY, KEK_UNAVAILABLE},
        {KEK__PROVIDER__CAUSE__UNSUPPORTED, KEK_UNIMPLEMENTED},
        {KEK__PROVIDER__CAUSE__BAD_REQUEST, KEK_INTERNAL},
        {99, KEK_INTERNAL},
        {-1, KEK_INTERNAL},
    };
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        ck_assert_int_eq(kek_wire_rc(causes[i].cause), causes[i].rc);
    }
    /* One that is added must be given its class here too. */
    ck_assert_uint_eq(sizeof causes / sizeof causes[0] - 2,
                      kek__provider__cause__descriptor.n_values);
}
END_TEST

START_TEST(an_arena_hands_out_what_it_has_and_wipes_what_it_gave)
{
    static _Alignas(16) uint8_t bytes[64];
    struct kek_arena arena = {.bytes = bytes, .size = sizeof bytes};
    memset(bytes, 0xee, sizeof bytes);
    kek_arena_wipe(&arena); /* nothing was given */
    ck_assert_uint_eq(bytes[0], 0xee);
    ck_assert_ptr_eq(kek_arena_take(&arena, 1), bytes);
    ck_assert_ptr_eq(kek_arena_take(&arena, 17), bytes + 16);
    ck_assert_ptr_null(kek_arena_take(&arena, 17));
    ck_assert_ptr_null(kek_arena_take(&arena, SIZE_MAX));
    ck_assert_ptr_null(kek_arena_take(&arena, SIZE_MAX - 14));
    kek_arena_give(&arena, bytes + 16);
    kek_arena_wipe(&arena);
    for (size_t i = 0; i < sizeof bytes; i++) {
        ck_assert_uint_eq(bytes[i], i < 48 ? 0 : 0xee);
    }
    ck_assert_ptr_eq(kek_arena_take(&arena, sizeof bytes), bytes);
    ck_assert_ptr_null(kek_arena_take(&arena, 1));
}
END_TEST

START_TEST(a_slip_is_told_from_another_word)
{
    static const struct {
        const char *name, *meant;
        size_t slip;
    } rows[] = {{"admin-pin-sorce", "admin-pin-source", 1},
                {"pin_source", "pin-source", 1},
                {"token", "token", 0},
                {"vendor", "token", SIZE_MAX},
                {"x", "id", SIZE_MAX},
                {"aaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaaa", "token", SIZE_MAX}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_uint_eq(kek_text_slip(rows[i].name, rows[i].meant), rows[i].slip);
    }
}
END_TEST

START_TEST(a_count_has_its_noun_in_the_right_number)
{
    static const struct {
        uint64_t count;
        const char *noun, *text;
    } rows[] = {{1, "object", "1 object"},
                {0, "object", "0 objects"},
                {2, "data key", "2 data keys"},
                {1, "entry", "1 entry"},
                {3, "entry", "3 entries"},
                {2, "process", "2 processes"},
                {UINT64_MAX, "y", "18446744073709551615 ys"}};
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_str_eq(kek_counted(rows[i].count, rows[i].noun).text, rows[i].text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("base");
    TCase *tcase = tcase_create("base");
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, fail_native_keeps_the_code_and_names_errno);
    tcase_add_test(tcase, fail_within_prefixes_and_keeps_the_native_code);
    tcase_add_test(tcase, fail_marks_a_text_that_is_too_long);
    tcase_add_test(tcase, every_rc_has_a_name_and_a_status);
    tcase_add_test(tcase, buffer_refuses_to_pass_its_maximum_and_stays_as_it_was);
    tcase_add_test(tcase, hex_is_lower_case);
    tcase_add_test(tcase, hex_digit_is_of_either_case);
    tcase_add_test(tcase, digest_is_sha256_in_hex);
    tcase_add_test(tcase, a_kek_id_is_read_only_as_it_is_written);
    tcase_add_test(tcase, an_arena_hands_out_what_it_has_and_wipes_what_it_gave);
    tcase_add_test(tcase, every_cause_of_a_worker_has_its_class);
    tcase_add_test(tcase, a_wrapped_data_key_is_as_long_as_its_algorithm_allows);
    tcase_add_test(tcase, secret_is_zeroed_copied_and_compared);
    tcase_add_test(tcase, secret_is_null_when_the_arena_is_full);
    tcase_add_test(tcase, all_that_comes_in_pieces_is_read_and_written);
    tcase_add_loop_test(tcase, descriptors_are_filled_so_that_using_them_still_fails, 0, 8);
    tcase_add_test(tcase, text_is_cut_before_it_is_cleaned);
    tcase_add_test(tcase, a_slip_is_told_from_another_word);
    tcase_add_test(tcase, a_count_has_its_noun_in_the_right_number);
    tcase_add_loop_test(tcase, text_stands_in_json_as_far_as_it_fits, 0,
                        sizeof jsons / sizeof jsons[0]);
    tcase_add_loop_test(tcase, text_is_a_number_only_as_digits, 0,
                        sizeof numbers / sizeof numbers[0]);
    tcase_add_loop_test(tcase, text_is_one_line_of_utf8_when_cleaned, 0,
                        sizeof texts / sizeof texts[0]);
    return suite_run(suite);
}
