/* Sealing and opening: the published vector, round trips, and everything that must not open. */
#include "envelope_help.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

static const char vector[] =
    VECTOR_HEADER "f0f1f2f3f4f5f6f7f8f9fafbfcfdfeff"
                  "c4610c5ffadce336cfd2cde87ff81585e8e8571fc84c878496e5c60dc6ca08d4"
                  "022a64c91d69d6726e341051b686698a"
                  "b18df443bb91e45a4681370e393376a00ae9bf5cbad119deae57c77589c93e62";

static struct kek_envelope_key *key_of(const char *hex, const char *context)
{
    KEK_AUTO(kek_secret) data_key = secret_of(hex, strlen(hex) / 2);
    struct kek_envelope_key *key = kek_envelope_key_new(data_key, kek_bytes_of(context), NULL);
    ck_assert_ptr_nonnull(key);
    return key;
}

static struct kek_envelope_key *vector_key(void)
{
    return key_of(VECTOR_DATA_KEY, VECTOR_CONTEXT);
}

static struct kek_bytes vector_header(void)
{
    static uint8_t header[VECTOR_HEADER_LEN];
    unhex(VECTOR_HEADER, header, sizeof header);
    return kek_bytes(header, sizeof header);
}

/* Parses and opens; the parse may be what refuses. */
static enum kek_rc open_bytes(struct kek_envelope_key *key, struct kek_bytes sealed,
                              const char *context, struct kek_secret **plaintext,
                              struct kek_why *why)
{
    struct kek_envelope envelope;
    enum kek_rc rc = kek_envelope_parse(sealed, &envelope, why);
    if (rc != KEK_OK) {
        return rc;
    }
    return kek_envelope_open(key, &envelope, kek_bytes_of(context), plaintext, why);
}

static void refuses(struct kek_envelope_key *key, struct kek_bytes sealed, const char *context,
                    const char *what, size_t at)
{
    struct kek_secret *opened = NULL;
    struct kek_why why = {.rc = KEK_OK};
    enum kek_rc rc = open_bytes(key, sealed, context, &opened, &why);
    ck_assert_msg(rc == KEK_DAMAGED && opened == NULL, "%s %zu: %s", what, at, kek_rc_name(rc));
    ck_assert_int_eq(why.rc, KEK_DAMAGED);
    ck_assert_str_ne(why.text, "");
}

START_TEST(vector_opens)
{
    KEK_AUTO(kek_envelope_key) key = vector_key();
    uint8_t sealed[VECTOR_ENVELOPE_LEN];
    unhex(vector, sealed, sizeof sealed);
    for (int i = 0; i < 3; i++) {
        KEK_AUTO(kek_secret) opened = NULL;
        ck_assert_int_eq(
            open_bytes(key, kek_bytes(sealed, sizeof sealed), VECTOR_CONTEXT, &opened, NULL),
            KEK_OK);
        ck_assert(kek_bytes_equal(kek_secret_bytes(opened), kek_bytes_of(VECTOR_PLAINTEXT)));
    }
}
END_TEST

START_TEST(every_flipped_bit_is_damage)
{
    KEK_AUTO(kek_envelope_key) key = vector_key();
    uint8_t sealed[VECTOR_ENVELOPE_LEN];
    unhex(vector, sealed, sizeof sealed);
    for (size_t bit = 0; bit < 8 * sizeof sealed; bit++) {
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
        refuses(key, kek_bytes(sealed, sizeof sealed), VECTOR_CONTEXT, "bit", bit);
        sealed[bit / 8] ^= (uint8_t)(1u << bit % 8);
    }
    KEK_AUTO(kek_secret) opened = NULL;
    ck_assert_int_eq(
        open_bytes(key, kek_bytes(sealed, sizeof sealed), VECTOR_CONTEXT, &opened, NULL), KEK_OK);
}
END_TEST

START_TEST(every_truncation_and_extension_is_damage)
{
    KEK_AUTO(kek_envelope_key) key = vector_key();
    uint8_t sealed[VECTOR_ENVELOPE_LEN + 32] = {0};
    unhex(vector, sealed, VECTOR_ENVELOPE_LEN);
    for (size_t len = 0; len < sizeof sealed; len++) {
        if (len != VECTOR_ENVELOPE_LEN) {
            refuses(key, kek_bytes(sealed, len), VECTOR_CONTEXT, "length", len);
        }
    }
    /* A block cut out of the middle, the tag kept: a well-formed envelope of another plaintext. */
    memmove(sealed + VECTOR_HEADER_LEN + 32, sealed + VECTOR_HEADER_LEN + 48, 64);
    refuses(key, kek_bytes(sealed, VECTOR_ENVELOPE_LEN - 16), VECTOR_CONTEXT, "block cut", 1);
}
END_TEST

START_TEST(another_context_or_key_does_not_open)
{
    static const char *const contexts[] = {"", "prod-eu", "prod-eu12", "prod-eu2", "Prod-eu1"};
    KEK_AUTO(kek_envelope_key) key = vector_key();
    uint8_t sealed[VECTOR_ENVELOPE_LEN];
    unhex(vector, sealed, sizeof sealed);
    struct kek_bytes all = kek_bytes(sealed, sizeof sealed);
    for (size_t i = 0; i < sizeof contexts / sizeof contexts[0]; i++) {
        KEK_AUTO(kek_envelope_key) other = key_of(VECTOR_DATA_KEY, contexts[i]);
        refuses(other, all, contexts[i], "key and AAD of context", i);
        refuses(other, all, VECTOR_CONTEXT, "key of context", i);
        refuses(key, all, contexts[i], "AAD of context", i);
    }
    KEK_AUTO(kek_envelope_key) twice = key_of(VECTOR_DATA_KEY VECTOR_DATA_KEY, VECTOR_CONTEXT);
    refuses(twice, all, VECTOR_CONTEXT, "shares", 2);
}
END_TEST

/* The header's bytes and the context's are both AAD; moving the border between them must show. */
START_TEST(context_cannot_trade_bytes_with_the_header)
{
    KEK_AUTO(kek_envelope_key) key = vector_key();
    uint8_t sealed[VECTOR_ENVELOPE_LEN];
    unhex(vector, sealed, sizeof sealed);
    struct kek_envelope envelope;
    ck_assert_int_eq(kek_envelope_parse(kek_bytes(sealed, sizeof sealed), &envelope, NULL), KEK_OK);
    envelope.header.len -= 1;
    struct kek_secret *opened = NULL;
    ck_assert_int_eq(kek_envelope_open(key, &envelope, kek_bytes_of(VECTOR_CONTEXT), &opened, NULL),
                     KEK_DAMAGED);
    envelope.tag.len -= 1;
    ck_assert_int_eq(kek_envelope_open(key, &envelope, kek_bytes_of(VECTOR_CONTEXT), &opened, NULL),
                     KEK_DAMAGED);
    ck_assert_ptr_null(opened);
}
END_TEST

START_TEST(seals_open_at_every_size)
{
    static const size_t sizes[] = {1,   2,   15,  16,  17,  31,   32,    33,    47,   48,
                                   255, 256, 351, 352, 353, 1000, 65520, 65535, 65536};
    bool locked;
    ck_assert_int_eq(kek_secret_setup(1024 * 1024, &locked, NULL), KEK_OK);
    KEK_AUTO(kek_envelope_key) key = vector_key();
    uint8_t plaintext[65536];
    ck_assert_int_eq(RAND_bytes(plaintext, sizeof plaintext), 1);
    for (size_t i = 0; i < sizeof sizes / sizeof sizes[0]; i++) {
        KEK_AUTO_BUF struct kek_buf sealed;
        kek_buf_init(&sealed, kek_envelope_sealed_len(VECTOR_HEADER_LEN, sizes[i]));
        ck_assert_int_eq(kek_envelope_seal(key, vector_header(), kek_bytes_of(VECTOR_CONTEXT),
                                           kek_bytes(plaintext, sizes[i]), &sealed, NULL),
                         KEK_OK);
        ck_assert_uint_eq(sealed.len, sealed.max);
        KEK_AUTO(kek_secret) opened = NULL;
        ck_assert_int_eq(open_bytes(key, kek_buf_bytes(&sealed), VECTOR_CONTEXT, &opened, NULL),
                         KEK_OK);
        ck_assert(kek_bytes_equal(kek_secret_bytes(opened), kek_bytes(plaintext, sizes[i])));
    }
}
END_TEST

START_TEST(another_key_object_of_the_same_data_key_opens)
{
    KEK_AUTO(kek_envelope_key) sealing = key_of(VECTOR_DATA_KEY VECTOR_DATA_KEY, "");
    KEK_AUTO(kek_envelope_key) opening = key_of(VECTOR_DATA_KEY VECTOR_DATA_KEY, "");
    KEK_AUTO_BUF struct kek_buf sealed;
    kek_buf_init(&sealed, 1024);
    ck_assert_int_eq(kek_envelope_seal(sealing, vector_header(), kek_bytes(NULL, 0),
                                       kek_bytes_of("ping"), &sealed, NULL),
                     KEK_OK);
    KEK_AUTO(kek_secret) opened = NULL;
    ck_assert_int_eq(open_bytes(opening, kek_buf_bytes(&sealed), "", &opened, NULL), KEK_OK);
    ck_assert(kek_bytes_equal(kek_secret_bytes(opened), kek_bytes_of("ping")));
}
END_TEST

/* More keys than OpenSSL's contexts are kept for, used in turn and in no order: each seals and opens as ever, and
 * only what is its own; one that goes takes nobody's contexts along. */
START_TEST(many_keys_in_turn_open_their_own_and_no_other)
{
    enum { KEYS = 400 };
    static struct kek_envelope_key *keys[KEYS];
    static struct kek_buf sealed[KEYS];
    have_arena();
    for (size_t i = 0; i < KEYS; i++) {
        KEK_AUTO(kek_secret) data_key = kek_secret_random(KEK_DATA_KEY_LEN);
        keys[i] = kek_envelope_key_new(data_key, kek_bytes_of("x"), NULL);
        ck_assert_ptr_nonnull(keys[i]);
    }
    for (size_t i = 0; i < KEYS; i++) {
        uint8_t plain[2] = {(uint8_t)i, (uint8_t)(i >> 8)};
        kek_buf_init(&sealed[i], 1024);
        ck_assert_int_eq(kek_envelope_seal(keys[i], vector_header(), kek_bytes_of("x"),
                                           kek_bytes(plain, sizeof plain), &sealed[i], NULL),
                         KEK_OK);
    }
    for (size_t step = 0; step < 4 * KEYS; step++) {
        size_t i = step * 7919 % KEYS;
        uint8_t plain[2] = {(uint8_t)i, (uint8_t)(i >> 8)};
        KEK_AUTO(kek_secret) opened = NULL;
        ck_assert_int_eq(open_bytes(keys[i], kek_buf_bytes(&sealed[i]), "x", &opened, NULL),
                         KEK_OK);
        ck_assert(kek_bytes_equal(kek_secret_bytes(opened), kek_bytes(plain, sizeof plain)));
        refuses(keys[(i + 1) % KEYS], kek_buf_bytes(&sealed[i]), "x", "key", i);
        if (step % 5 == 0) { /* it goes, and another takes its place */
            KEK_AUTO(kek_secret) data_key = kek_secret_random(KEK_DATA_KEY_LEN);
            kek_envelope_key_free(keys[i]);
            keys[i] = kek_envelope_key_new(data_key, kek_bytes_of("x"), NULL);
            kek_buf_reset(&sealed[i]);
            ck_assert_int_eq(kek_envelope_seal(keys[i], vector_header(), kek_bytes_of("x"),
                                               kek_bytes(plain, sizeof plain), &sealed[i], NULL),
                             KEK_OK);
        }
    }
    for (size_t i = 0; i < KEYS; i++) {
        kek_envelope_key_free(keys[i]);
        kek_buf_done(&sealed[i]);
    }
}
END_TEST

START_TEST(sealed_many_times_differs_every_time)
{
    enum { TIMES = 300 };
    static uint8_t seen[TIMES][16 + 48 + 32];
    KEK_AUTO(kek_envelope_key) key = vector_key();
    for (size_t i = 0; i < TIMES; i++) {
        KEK_AUTO_BUF struct kek_buf sealed;
        kek_buf_init(&sealed, 1024);
        ck_assert_int_eq(kek_envelope_seal(key, vector_header(), kek_bytes_of(VECTOR_CONTEXT),
                                           kek_bytes_of(VECTOR_PLAINTEXT), &sealed, NULL),
                         KEK_OK);
        memcpy(seen[i], sealed.data + VECTOR_HEADER_LEN, sizeof seen[i]);
        for (size_t j = 0; j < i; j++) {
            ck_assert_mem_ne(seen[i], seen[j], 16);           /* IV */
            ck_assert_mem_ne(seen[i] + 16, seen[j] + 16, 16); /* first block */
            ck_assert_mem_ne(seen[i] + 64, seen[j] + 64, 32); /* tag */
        }
    }
}
END_TEST

START_TEST(seal_appends_and_never_passes_the_maximum)
{
    KEK_AUTO(kek_envelope_key) key = vector_key();
    struct kek_bytes plaintext = kek_bytes_of(VECTOR_PLAINTEXT);
    struct kek_bytes context = kek_bytes_of(VECTOR_CONTEXT);
    for (size_t max = 6; max <= 6 + VECTOR_ENVELOPE_LEN; max++) {
        KEK_AUTO_BUF struct kek_buf sealed;
        kek_buf_init(&sealed, max);
        ck_assert_int_eq(kek_buf_append(&sealed, kek_bytes_of("before"), NULL), KEK_OK);
        struct kek_why why;
        enum kek_rc rc = kek_envelope_seal(key, vector_header(), context, plaintext, &sealed, &why);
        if (max < 6 + VECTOR_ENVELOPE_LEN) {
            ck_assert_int_eq(rc, KEK_TOO_LARGE);
            ck_assert_int_eq(
                kek_envelope_seal(key, vector_header(), context, plaintext, &sealed, NULL),
                KEK_TOO_LARGE);
            ck_assert(kek_bytes_equal(kek_buf_bytes(&sealed), kek_bytes_of("before")));
        } else {
            ck_assert_int_eq(rc, KEK_OK);
            ck_assert_uint_eq(sealed.len, max);
            ck_assert_mem_eq(sealed.data, "before", 6);
        }
    }
}
END_TEST

/* What would seal but never open. */
START_TEST(seal_refuses_what_could_not_be_opened)
{
    static const uint8_t large[KEK_ENVELOPE_PLAINTEXT_MAX + 1];
    KEK_AUTO(kek_envelope_key) key = vector_key();
    struct kek_bytes header = vector_header(), context = kek_bytes_of(VECTOR_CONTEXT);
    const struct {
        struct kek_bytes header, context, plaintext;
    } calls[] = {
        {header, context, kek_bytes(NULL, 0)},
        {header, context, kek_bytes(large, sizeof large)},
        {header, context, kek_bytes(large, SIZE_MAX)},
        {header, kek_bytes_of("prod-eu2"), kek_bytes_of("ping")},
        {header, kek_bytes(NULL, 0), kek_bytes_of("ping")},
        {kek_bytes(header.data, header.len - 1), context, kek_bytes_of("ping")},
        {kek_bytes(NULL, 0), context, kek_bytes_of("ping")},
    };
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        KEK_AUTO_BUF struct kek_buf sealed;
        kek_buf_init(&sealed, 2 * sizeof large);
        struct kek_why why = {.rc = KEK_OK};
        ck_assert_int_eq(kek_envelope_seal(key, calls[i].header, calls[i].context,
                                           calls[i].plaintext, &sealed, &why),
                         KEK_INVALID);
        ck_assert_int_eq(why.rc, KEK_INVALID);
        ck_assert_uint_eq(sealed.len, 0);
    }
}
END_TEST

START_TEST(key_refuses_lengths_that_cannot_be)
{
    static const size_t lens[] = {1, 16, 31, 33, 64 - 1, 5 * 32};
    static const uint8_t context[KEK_ENVELOPE_CONTEXT_MAX + 1];
    struct kek_why why;
    have_arena();
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        KEK_AUTO(kek_secret) data_key = kek_secret_new(lens[i]);
        ck_assert_ptr_null(kek_envelope_key_new(data_key, kek_bytes(NULL, 0), &why));
        ck_assert_int_eq(why.rc, KEK_INVALID);
    }
    for (size_t shares = 1; shares <= KEK_ENVELOPE_ENTRIES_MAX; shares++) {
        KEK_AUTO(kek_secret) data_key = kek_secret_new(shares * KEK_DATA_KEY_LEN);
        ck_assert_ptr_null(kek_envelope_key_new(data_key, kek_bytes(context, 256), &why));
        ck_assert_int_eq(why.rc, KEK_INVALID);
        KEK_AUTO(kek_envelope_key)
        key = kek_envelope_key_new(data_key, kek_bytes(context, 255), NULL);
        ck_assert_ptr_nonnull(key);
    }
    kek_envelope_key_free(NULL);
}
END_TEST

START_TEST(a_full_arena_is_a_clean_error)
{
    KEK_AUTO(kek_envelope_key) key = vector_key();
    KEK_AUTO(kek_secret) data_key = secret_of(VECTOR_DATA_KEY, 32);
    uint8_t sealed[VECTOR_ENVELOPE_LEN];
    unhex(vector, sealed, sizeof sealed);
    struct kek_secret *held[ARENA / 32];
    size_t count = 0;
    while (count < sizeof held / sizeof held[0]) {
        held[count] = kek_secret_new(8);
        if (held[count] == NULL) {
            break;
        }
        count++;
    }
    struct kek_why why;
    struct kek_secret *opened = NULL;
    ck_assert_ptr_null(kek_envelope_key_new(data_key, kek_bytes_of(VECTOR_CONTEXT), &why));
    ck_assert_int_eq(why.rc, KEK_EXHAUSTED);
    struct kek_bytes all = kek_bytes(sealed, sizeof sealed);
    ck_assert_int_eq(open_bytes(key, all, VECTOR_CONTEXT, &opened, &why), KEK_EXHAUSTED);
    ck_assert_ptr_null(opened);
    while (count > 0) {
        kek_secret_free(held[--count]);
    }
    ck_assert_int_eq(open_bytes(key, all, VECTOR_CONTEXT, &opened, &why), KEK_OK);
    kek_secret_free(opened);
}
END_TEST

static int no_bytes(unsigned char *out, int len)
{
    (void)out;
    (void)len;
    return 0;
}

START_TEST(nothing_is_sealed_without_random_bytes)
{
    static const RAND_METHOD broken = {.bytes = no_bytes};
    KEK_AUTO(kek_envelope_key) key = vector_key();
#pragma GCC diagnostic push
#pragma GCC diagnostic ignored "-Wdeprecated-declarations"
    ck_assert_int_eq(RAND_set_rand_method(&broken), 1);
#pragma GCC diagnostic pop
    KEK_AUTO_BUF struct kek_buf sealed;
    kek_buf_init(&sealed, 1024);
    struct kek_why why;
    ck_assert_int_eq(kek_envelope_seal(key, vector_header(), kek_bytes_of(VECTOR_CONTEXT),
                                       kek_bytes_of("ping"), &sealed, &why),
                     KEK_INTERNAL);
    ck_assert_uint_eq(sealed.len, 0);
}
END_TEST

START_TEST(the_self_test_passes_here_and_not_without_its_algorithms)
{
    struct kek_why why;
    have_arena();
    ck_assert_int_eq(kek_envelope_self_test(&why), KEK_OK);
    ck_assert_int_eq(EVP_set_default_properties(NULL, "provider=none"), 1);
    ck_assert_int_eq(kek_envelope_self_test(&why), KEK_INTERNAL);
    ck_assert_ptr_nonnull(strstr(why.text, "OpenSSL"));
    ck_assert_int_eq(kek_envelope_self_test(NULL), KEK_INTERNAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("envelope");
    TCase *opening = tcase_create("open");
    tcase_add_test(opening, vector_opens);
    tcase_add_test(opening, every_flipped_bit_is_damage);
    tcase_add_test(opening, every_truncation_and_extension_is_damage);
    tcase_add_test(opening, another_context_or_key_does_not_open);
    tcase_add_test(opening, context_cannot_trade_bytes_with_the_header);
    suite_add_tcase(suite, opening);
    TCase *sealing = tcase_create("seal");
    tcase_add_test(sealing, seals_open_at_every_size);
    tcase_add_test(sealing, another_key_object_of_the_same_data_key_opens);
    tcase_add_test(sealing, sealed_many_times_differs_every_time);
    tcase_add_test(sealing, seal_appends_and_never_passes_the_maximum);
    tcase_add_test(sealing, seal_refuses_what_could_not_be_opened);
    tcase_add_test(sealing, key_refuses_lengths_that_cannot_be);
    tcase_add_test(sealing, many_keys_in_turn_open_their_own_and_no_other);
    tcase_add_test(sealing, a_full_arena_is_a_clean_error);
    tcase_add_test(sealing, nothing_is_sealed_without_random_bytes);
    tcase_add_test(sealing, the_self_test_passes_here_and_not_without_its_algorithms);
    suite_add_tcase(suite, sealing);
    return suite_run(suite);
}
