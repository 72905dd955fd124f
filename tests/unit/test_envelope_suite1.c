/* Suite 1 against published vectors, and what it does with forged or impossible ciphertexts. */
#include "envelope_help.h"

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/hmac.h>
#include <openssl/kdf.h>

#include "../../src/envelope/suite1.h"

/* RFC 7518 appendix B.3. */
static const char b3_plaintext[] =
    "A cipher system must not be required to be secret, and it must be "
    "able to fall into the hands of the enemy without inconvenience";
static const char b3_aad[] = "The second principle of Auguste Kerckhoffs";
static const char b3_key[] = "000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f"
                             "202122232425262728292a2b2c2d2e2f303132333435363738393a3b3c3d3e3f";
static const char b3_iv[] = "1af38c2dc2b96ffdd86694092341bc04";
static const char b3_ciphertext[] =
    "4affaaadb78c31c5da4b1b590d10ffbd3dd8d5d302423526912da037ecbcc7bd"
    "822c301dd67c373bccb584ad3e9279c2e6d12a1374b77f077553df829410446b"
    "36ebd97066296ae6427ea75c2e0846a11a09ccf5370dc80bfecbad28c73f09b3"
    "a3b75e662a2594410ae496b2e2e6609e31e6e02cc837f053d21f37ff4f51950b"
    "be2638d09dd7a4930930806d0703b1f6";
static const char b3_tag[] = "4dd3b4c088a7f45c216839645b2012bf2e6269a8c56a816dbc1b267761955bc5";
#define B3_LEN 144

static struct kek_suite1 *b3_suite(void)
{
    struct kek_suite1 *suite = kek_suite1_new(secret_of(b3_key, SUITE1_KEY_LEN), NULL);
    ck_assert_ptr_nonnull(suite);
    return suite;
}

START_TEST(rfc7518_b3_encrypts_to_the_published_bytes)
{
    KEK_AUTO(kek_suite1) suite = b3_suite();
    uint8_t iv[ENVELOPE_IV_LEN], expected[B3_LEN], expected_tag[ENVELOPE_TAG_LEN];
    unhex(b3_iv, iv, sizeof iv);
    unhex(b3_ciphertext, expected, sizeof expected);
    unhex(b3_tag, expected_tag, sizeof expected_tag);
    ck_assert_uint_eq(kek_format_ciphertext_len(strlen(b3_plaintext)), B3_LEN);
    /* However the AAD is cut in two, and every time anew. */
    for (size_t cut = 0; cut <= strlen(b3_aad); cut++) {
        struct kek_suite1_aad aad = {.header = kek_bytes(b3_aad, cut),
                                     .context = kek_bytes_of(b3_aad + cut)};
        uint8_t ciphertext[B3_LEN], tag[ENVELOPE_TAG_LEN];
        ck_assert_int_eq(
            kek_suite1_encrypt(suite, &aad, iv, kek_bytes_of(b3_plaintext), ciphertext, tag, NULL),
            KEK_OK);
        ck_assert_mem_eq(ciphertext, expected, sizeof expected);
        ck_assert_mem_eq(tag, expected_tag, sizeof expected_tag);
        /* Nothing of another message, of any number of blocks, is left in the next. */
        ck_assert_int_eq(kek_suite1_encrypt(suite, &aad, expected_tag, kek_bytes(b3_plaintext, cut),
                                            ciphertext, tag, NULL),
                         KEK_OK);
    }
}
END_TEST

START_TEST(rfc7518_b3_decrypts_to_the_published_plaintext)
{
    KEK_AUTO(kek_suite1) suite = b3_suite();
    uint8_t iv[ENVELOPE_IV_LEN], ciphertext[B3_LEN], tag[ENVELOPE_TAG_LEN];
    unhex(b3_iv, iv, sizeof iv);
    unhex(b3_ciphertext, ciphertext, sizeof ciphertext);
    unhex(b3_tag, tag, sizeof tag);
    struct kek_suite1_aad aad = {.header = kek_bytes_of(b3_aad)};
    for (int i = 0; i < 3; i++) {
        KEK_AUTO(kek_secret) opened = NULL;
        ck_assert_int_eq(
            kek_suite1_decrypt(suite, &aad, iv, kek_bytes(ciphertext, B3_LEN), tag, &opened, NULL),
            KEK_OK);
        ck_assert(kek_bytes_equal(kek_secret_bytes(opened), kek_bytes_of(b3_plaintext)));
    }
}
END_TEST

/* The inputs of RFC 5869 appendix A.3 with SHA-512 in place of SHA-256; no salt, no info. */
START_TEST(hkdf_without_salt_gives_the_published_bytes)
{
    uint8_t ikm[22], okm[42], expected[42];
    memset(ikm, 0x0b, sizeof ikm);
    unhex("f5fa02b18298a72a8c23898a8703472c6eb179dc204c03425c970e3b164bf90f"
          "ff22d04836d0e2343bac",
          expected, sizeof expected);
    ck_assert_int_eq(
        kek_suite1_hkdf(kek_bytes(ikm, sizeof ikm), kek_bytes(NULL, 0), okm, sizeof okm, NULL),
        KEK_OK);
    ck_assert_mem_eq(okm, expected, sizeof expected);
}
END_TEST

/* OpenSSL's, at lengths around whole blocks, with and without an info. */
static void hkdf_of_openssl(struct kek_bytes ikm, struct kek_bytes info, uint8_t *out, size_t len)
{
    OSSL_PARAM params[] = {
        OSSL_PARAM_construct_utf8_string(OSSL_KDF_PARAM_DIGEST, (char *)"SHA512", 0),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_KEY, (void *)ikm.data, ikm.len),
        OSSL_PARAM_construct_octet_string(OSSL_KDF_PARAM_INFO, (void *)info.data, info.len),
        OSSL_PARAM_construct_end(),
    };
    EVP_KDF *hkdf = EVP_KDF_fetch(NULL, "HKDF", NULL);
    EVP_KDF_CTX *ctx = EVP_KDF_CTX_new(hkdf);
    ck_assert_int_eq(EVP_KDF_derive(ctx, out, len, params), 1);
    EVP_KDF_CTX_free(ctx);
    EVP_KDF_free(hkdf);
}

START_TEST(hkdf_is_the_same_as_openssls)
{
    static const size_t lens[] = {1, 63, 64, 65, 127, 128, 129, 1000, 255 * 64};
    static const char *const infos[] = {"", "some info"};
    static uint8_t expected[255 * 64], okm[255 * 64];
    uint8_t ikm[64];
    memset(ikm, 0x5a, sizeof ikm);
    for (size_t i = 0; i < 2 * sizeof lens / sizeof lens[0]; i++) {
        struct kek_bytes info = kek_bytes_of(infos[i % 2]);
        size_t len = lens[i / 2];
        hkdf_of_openssl(kek_bytes(ikm, i < 9 ? 32 : 64), info, expected, len);
        ck_assert_int_eq(kek_suite1_hkdf(kek_bytes(ikm, i < 9 ? 32 : 64), info, okm, len, NULL),
                         KEK_OK);
        ck_assert_mem_eq(okm, expected, len);
    }
}
END_TEST

START_TEST(hkdf_refuses_more_than_255_blocks)
{
    struct kek_why why;
    uint8_t ikm[32] = {1};
    static uint8_t too_long[255 * 64 + 1];
    ck_assert_int_eq(kek_suite1_hkdf(kek_bytes(ikm, sizeof ikm), kek_bytes_of("x"), too_long,
                                     sizeof too_long, &why),
                     KEK_INTERNAL);
    ck_assert_str_eq(why.text, "HKDF-SHA-512 failed");
}
END_TEST

/* RFC 3394 section 4.6: what wrap alg 1 means, byte for byte. */
START_TEST(rfc3394_46_has_the_layout_of_wrap_alg_aes_kw)
{
    uint8_t kek[32], data[32], expected[40], wrapped[48], unwrapped[48];
    unhex("000102030405060708090a0b0c0d0e0f101112131415161718191a1b1c1d1e1f", kek, sizeof kek);
    unhex(VECTOR_DATA_KEY, data, sizeof data);
    unhex("28c9f404c4b810f4cbccb35cfb87f8263f5786e2d80ed326cbc7f0e71a99f43bfb988b9b7a02dd21",
          expected, sizeof expected);
    EVP_CIPHER *wrap = EVP_CIPHER_fetch(NULL, "AES-256-WRAP", NULL);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    int len = 0;
    ck_assert_int_eq(EVP_EncryptInit_ex2(ctx, wrap, kek, NULL, NULL), 1);
    ck_assert_int_eq(EVP_EncryptUpdate(ctx, wrapped, &len, data, sizeof data), 1);
    ck_assert(kek_wrap_alg_fits(KEK_WRAP_AES_KW, (size_t)len));
    ck_assert_mem_eq(wrapped, expected, sizeof expected);
    ck_assert_int_eq(EVP_DecryptInit_ex2(ctx, wrap, kek, NULL, NULL), 1);
    ck_assert_int_eq(EVP_DecryptUpdate(ctx, unwrapped, &len, wrapped, sizeof expected), 1);
    ck_assert_int_eq(len, KEK_DATA_KEY_LEN);
    ck_assert_mem_eq(unwrapped, data, sizeof data);
    wrapped[7] ^= 1;
    ck_assert_int_eq(EVP_DecryptInit_ex2(ctx, wrap, kek, NULL, NULL), 1);
    ck_assert_int_le(EVP_DecryptUpdate(ctx, unwrapped, &len, wrapped, sizeof expected), 0);
    EVP_CIPHER_CTX_free(ctx);
    EVP_CIPHER_free(wrap);
}
END_TEST

/* Encrypts whole blocks as they are, and gives them their right tag, without suite1.c. */
static void forge(const uint8_t *iv, const uint8_t *blocks, size_t len, uint8_t *ciphertext,
                  uint8_t *tag)
{
    uint8_t key[SUITE1_KEY_LEN], message[16 + 64 + 8] = {0}, mac[64];
    int written;
    unsigned mac_len;
    ck_assert_uint_le(len, 64);
    unhex(b3_key, key, sizeof key);
    EVP_CIPHER_CTX *ctx = EVP_CIPHER_CTX_new();
    EVP_EncryptInit_ex(ctx, EVP_aes_256_cbc(), NULL, key + 32, iv);
    EVP_CIPHER_CTX_set_padding(ctx, 0);
    ck_assert_int_eq(EVP_EncryptUpdate(ctx, ciphertext, &written, blocks, (int)len), 1);
    EVP_CIPHER_CTX_free(ctx);
    memcpy(message, iv, 16);
    memcpy(message + 16, ciphertext, len);
    HMAC(EVP_sha512(), key, 32, message, 16 + len + 8, mac, &mac_len);
    memcpy(tag, mac, ENVELOPE_TAG_LEN);
}

static const struct {
    const char *what;
    size_t len;
    uint8_t fill, byte_before_last, last;
    enum kek_rc rc;
    size_t plaintext;
    const char *text;
} paddings[] = {
    {"one byte", 16, 'x', 'x', 1, KEK_OK, 15, NULL},
    {"two bytes", 32, 'x', 2, 2, KEK_OK, 30, NULL},
    {"a whole block", 32, 16, 16, 16, KEK_OK, 16, NULL},
    {"nothing but padding", 16, 16, 16, 16, KEK_DAMAGED, 0, "no plaintext"},
    {"zero", 32, 'x', 'x', 0, KEK_DAMAGED, 0, "padding"},
    {"more than a block", 32, 17, 17, 17, KEK_DAMAGED, 0, "padding"},
    {"255", 32, 0xff, 0xff, 0xff, KEK_DAMAGED, 0, "padding"},
    {"not all alike", 32, 3, 2, 3, KEK_DAMAGED, 0, "padding"},
    {"first of it wrong", 32, 'x', 3, 3, KEK_DAMAGED, 0, "padding"},
};

START_TEST(decrypt_checks_the_padding_under_a_right_tag)
{
    KEK_AUTO(kek_suite1) suite = b3_suite();
    const struct kek_suite1_aad aad = {.header = kek_bytes(NULL, 0)};
    uint8_t blocks[64], ciphertext[64], tag[ENVELOPE_TAG_LEN], iv[ENVELOPE_IV_LEN] = {9};
    struct kek_why why;
    memset(blocks, paddings[_i].fill, sizeof blocks);
    blocks[paddings[_i].len - 2] = paddings[_i].byte_before_last;
    blocks[paddings[_i].len - 1] = paddings[_i].last;
    forge(iv, blocks, paddings[_i].len, ciphertext, tag);
    KEK_AUTO(kek_secret) opened = NULL;
    enum kek_rc rc = kek_suite1_decrypt(suite, &aad, iv, kek_bytes(ciphertext, paddings[_i].len),
                                        tag, &opened, &why);
    ck_assert_msg(rc == paddings[_i].rc, "%s: %s", paddings[_i].what, kek_rc_name(rc));
    if (rc != KEK_OK) {
        ck_assert_ptr_null(opened);
        ck_assert_ptr_nonnull(strstr(why.text, paddings[_i].text));
        return;
    }
    ck_assert_uint_eq(kek_secret_bytes(opened).len, paddings[_i].plaintext);
    ck_assert_mem_eq(kek_secret_bytes(opened).data, blocks, paddings[_i].plaintext);
}
END_TEST

/* The whole message in one block, as RFC 7518 writes it. */
static void expect_tag(struct kek_bytes aad, const uint8_t *iv, struct kek_bytes ciphertext,
                       const uint8_t tag[static ENVELOPE_TAG_LEN])
{
    static uint8_t message[8192];
    uint8_t key[SUITE1_KEY_LEN], mac[64];
    unsigned mac_len;
    size_t len = aad.len + 16 + ciphertext.len;
    ck_assert_uint_le(len + 8, sizeof message);
    unhex(b3_key, key, sizeof key);
    memcpy(message, aad.data, aad.len);
    memcpy(message + aad.len, iv, 16);
    memcpy(message + aad.len + 16, ciphertext.data, ciphertext.len);
    memset(message + len, 0, 6);
    message[len + 6] = (uint8_t)(aad.len * 8 >> 8);
    message[len + 7] = (uint8_t)(aad.len * 8);
    HMAC(EVP_sha512(), key, 32, message, len + 8, mac, &mac_len);
    ck_assert_mem_eq(tag, mac, ENVELOPE_TAG_LEN);
}

START_TEST(tag_covers_everything_in_order_at_every_size)
{
    static const size_t plaintexts[] = {1, 32, 463, 464, 495, 496, 511, 512, 513, 5000};
    static uint8_t aad_bytes[1024], plaintext[5000], ciphertext[5016];
    KEK_AUTO(kek_suite1) suite = b3_suite();
    uint8_t iv[ENVELOPE_IV_LEN] = {3}, tag[ENVELOPE_TAG_LEN];
    for (size_t i = 0; i < sizeof aad_bytes; i++) {
        aad_bytes[i] = (uint8_t)(i * 7 + i / 256);
    }
    for (size_t i = 0; i < sizeof plaintexts / sizeof plaintexts[0]; i++) {
        for (size_t len = 0; len <= 800; len++) {
            size_t cut = len < 250 ? len / 3 : len - 250;
            struct kek_suite1_aad aad = {.header = kek_bytes(aad_bytes, cut),
                                         .context = kek_bytes(aad_bytes + cut, len - cut)};
            ck_assert_int_eq(kek_suite1_encrypt(suite, &aad, iv,
                                                kek_bytes(plaintext, plaintexts[i]), ciphertext,
                                                tag, NULL),
                             KEK_OK);
            expect_tag(kek_bytes(aad_bytes, len), iv,
                       kek_bytes(ciphertext, kek_format_ciphertext_len(plaintexts[i])), tag);
        }
    }
}
END_TEST

START_TEST(lengths_that_cannot_be_are_refused_before_anything_is_read)
{
    KEK_AUTO(kek_suite1) suite = b3_suite();
    const struct kek_suite1_aad aad = {.header = kek_bytes(NULL, 0)};
    static const size_t lens[] = {0, 1, 15, 17, 31, KEK_ENVELOPE_PLAINTEXT_MAX + 32, SIZE_MAX};
    uint8_t iv[ENVELOPE_IV_LEN] = {0}, tag[ENVELOPE_TAG_LEN] = {0};
    for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
        struct kek_secret *opened = NULL;
        struct kek_why why;
        ck_assert_int_eq(
            kek_suite1_decrypt(suite, &aad, iv, kek_bytes(NULL, lens[i]), tag, &opened, &why),
            KEK_DAMAGED);
        ck_assert_ptr_null(opened);
        ck_assert_ptr_nonnull(strstr(why.text, "cannot be"));
    }
    ck_assert_int_eq(kek_suite1_encrypt(suite, &aad, iv,
                                        kek_bytes(NULL, KEK_ENVELOPE_PLAINTEXT_MAX + 1), NULL, tag,
                                        NULL),
                     KEK_TOO_LARGE);
}
END_TEST

START_TEST(without_its_algorithms_nothing_pretends_to_work)
{
    have_arena();
    ck_assert_int_eq(EVP_set_default_properties(NULL, "provider=none"), 1);
    struct kek_why why;
    uint8_t ikm[32] = {1}, out[64];
    ck_assert_int_eq(
        kek_suite1_hkdf(kek_bytes(ikm, sizeof ikm), kek_bytes(NULL, 0), out, sizeof out, &why),
        KEK_INTERNAL);
    ck_assert_ptr_null(kek_suite1_new(kek_secret_new(SUITE1_KEY_LEN), &why));
    ck_assert_int_eq(why.rc, KEK_INTERNAL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("suite1");
    TCase *vectors = tcase_create("published vectors");
    tcase_add_test(vectors, rfc7518_b3_encrypts_to_the_published_bytes);
    tcase_add_test(vectors, rfc7518_b3_decrypts_to_the_published_plaintext);
    tcase_add_test(vectors, hkdf_without_salt_gives_the_published_bytes);
    tcase_add_test(vectors, hkdf_is_the_same_as_openssls);
    tcase_add_test(vectors, rfc3394_46_has_the_layout_of_wrap_alg_aes_kw);
    tcase_add_test(vectors, tag_covers_everything_in_order_at_every_size);
    suite_add_tcase(suite, vectors);
    TCase *refusals = tcase_create("refusals");
    tcase_add_loop_test(refusals, decrypt_checks_the_padding_under_a_right_tag, 0,
                        sizeof paddings / sizeof paddings[0]);
    tcase_add_test(refusals, lengths_that_cannot_be_are_refused_before_anything_is_read);
    tcase_add_test(refusals, hkdf_refuses_more_than_255_blocks);
    tcase_add_test(refusals, without_its_algorithms_nothing_pretends_to_work);
    suite_add_tcase(suite, refusals);
    return suite_run(suite);
}
