/* Opening: each length of key, objects of more than one piece, and each way of not opening. */
#include "kube_help.h"

#include <openssl/evp.h>
#include <openssl/kdf.h>

#define KEY "/registry/secrets/ns/a"

static const uint8_t key_bytes[64] = {9, 8, 7, 6, 5, 4, 3, 2, 1};

static void have_arena(void)
{
    bool locked;
    ck_assert_int_eq(kek_secret_setup(64 * 1024, &locked, NULL), KEK_OK);
}

/* Through OpenSSL, the way that open.c does not go. */
static void encrypt_under(const uint8_t *key, struct kek_buf *out, const EVP_CIPHER *aes,
                          size_t iv_len, bool gcm, const void *plaintext, size_t len)
{
    static const uint8_t iv[16] = {0x42};
    EVP_CIPHER_CTX *cipher = EVP_CIPHER_CTX_new();
    int written = 0;
    kek_buf_init(out, VALUE_MAX);
    put(out, iv, iv_len);
    ck_assert_int_eq(EVP_EncryptInit_ex(cipher, aes, NULL, key, iv), 1);
    if (gcm) {
        ck_assert_int_eq(
            EVP_EncryptUpdate(cipher, NULL, &written, (const uint8_t *)KEY, (int)strlen(KEY)), 1);
    }
    uint8_t *room = kek_buf_reserve(out, len + 32, NULL);
    ck_assert_ptr_nonnull(room);
    ck_assert_int_eq(EVP_EncryptUpdate(cipher, room, &written, plaintext, (int)len), 1);
    out->len += (size_t)written;
    ck_assert_int_eq(EVP_EncryptFinal_ex(cipher, out->data + out->len, &written), 1);
    out->len += (size_t)written;
    if (gcm) {
        uint8_t tag[16];
        ck_assert_int_eq(EVP_CIPHER_CTX_ctrl(cipher, EVP_CTRL_AEAD_GET_TAG, 16, tag), 1);
        put(out, tag, 16);
    }
    EVP_CIPHER_CTX_free(cipher);
}

static void encrypt(struct kek_buf *out, const EVP_CIPHER *aes, size_t iv_len, bool gcm,
                    const void *plaintext, size_t len)
{
    encrypt_under(key_bytes, out, aes, iv_len, gcm, plaintext, len);
}

static enum kek_rc open_data(enum kek_kube_kind kind, enum kek_kube_source type,
                             struct kek_bytes data, size_t key_len)
{
    struct kek_kube_stored stored = {.kind = kind, .source_type = type, .data = data};
    struct kek_why why = {.rc = KEK_OK};
    KEK_AUTO(kek_secret) key = kek_secret_dup(kek_bytes(key_bytes, key_len));
    ck_assert_ptr_nonnull(key);
    enum kek_rc rc = kek_kube_open(&stored, kek_bytes_of(KEY), key, &why);
    if (rc == KEK_DAMAGED) {
        ck_assert_str_eq(why.text, "the object does not open under its key");
    }
    ck_assert_int_eq(why.rc, rc);
    return rc;
}

static const EVP_CIPHER *gcm_of(size_t key_len)
{
    return key_len == 16   ? EVP_aes_128_gcm()
           : key_len == 24 ? EVP_aes_192_gcm()
                           : EVP_aes_256_gcm();
}

static const EVP_CIPHER *cbc_of(size_t key_len)
{
    return key_len == 16   ? EVP_aes_128_cbc()
           : key_len == 24 ? EVP_aes_192_cbc()
                           : EVP_aes_256_cbc();
}

static const size_t lens[] = {1, 4, 15, 16, 17, 4080, 4095, 4096, 4097, 8191, 8192, 12289, 100000};

START_TEST(each_length_opens_under_each_key)
{
    static uint8_t plaintext[100000] = {'k', '8', 's', 0};
    have_arena();
    for (size_t key_len = 16; key_len <= 32; key_len += 8) {
        for (size_t i = 0; i < sizeof lens / sizeof lens[0]; i++) {
            KEK_AUTO_BUF struct kek_buf gcm;
            KEK_AUTO_BUF struct kek_buf cbc;
            encrypt(&gcm, gcm_of(key_len), 12, true, plaintext, lens[i]);
            struct kek_bytes data = kek_buf_bytes(&gcm);
            ck_assert_int_eq(open_data(KEK_KUBE_KMS_V2, KEK_KUBE_SOURCE_KEY, data, key_len),
                             KEK_OK);
            ck_assert_int_eq(open_data(KEK_KUBE_KMS_V1, KEK_KUBE_SOURCE_KEY, data, key_len),
                             KEK_OK);
            gcm.data[gcm.len - 17] ^= 1;
            ck_assert_int_eq(open_data(KEK_KUBE_KMS_V2, KEK_KUBE_SOURCE_KEY, data, key_len),
                             KEK_DAMAGED);
            encrypt(&cbc, cbc_of(key_len), 16, false, plaintext, lens[i]);
            data = kek_buf_bytes(&cbc);
            enum kek_rc rc = open_data(KEK_KUBE_KMS_V1, KEK_KUBE_SOURCE_KEY, data, key_len);
            ck_assert_int_eq(rc, lens[i] < 4 ? KEK_DAMAGED : KEK_OK);
            ck_assert_int_eq(open_data(KEK_KUBE_KMS_V2, KEK_KUBE_SOURCE_KEY, data, key_len),
                             KEK_DAMAGED);
        }
    }
}
END_TEST

/* OpenSSL's own HKDF, the seed's first `seed_len` bytes as its PRK. */
static void expand(size_t seed_len, const uint8_t *info, uint8_t key[static 32])
{
    size_t len = 32;
    EVP_PKEY_CTX *hkdf = EVP_PKEY_CTX_new_id(EVP_PKEY_HKDF, NULL);
    ck_assert_int_eq(EVP_PKEY_derive_init(hkdf), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_hkdf_mode(hkdf, EVP_PKEY_HKDEF_MODE_EXPAND_ONLY), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set_hkdf_md(hkdf, EVP_sha256()), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_set1_hkdf_key(hkdf, key_bytes, (int)seed_len), 1);
    ck_assert_int_eq(EVP_PKEY_CTX_add1_hkdf_info(hkdf, info, 32), 1);
    ck_assert_int_eq(EVP_PKEY_derive(hkdf, key, &len), 1);
    EVP_PKEY_CTX_free(hkdf);
}

/* As the API server has it: a shorter seed is none. */
START_TEST(a_seed_has_32_bytes_or_more)
{
    static const uint8_t info[32] = {0x1f};
    static const size_t seed_lens[] = {16, 24, 31, 32, 33, 64};
    have_arena();
    for (size_t i = 0; i < sizeof seed_lens / sizeof seed_lens[0]; i++) {
        uint8_t key[32];
        KEK_AUTO_BUF struct kek_buf inner;
        KEK_AUTO_BUF struct kek_buf data;
        expand(seed_lens[i], info, key);
        encrypt_under(key, &inner, EVP_aes_256_gcm(), 12, true, "{}", 2);
        kek_buf_init(&data, VALUE_MAX);
        put(&data, info, sizeof info);
        put(&data, inner.data, inner.len);
        ck_assert_int_eq(
            open_data(KEK_KUBE_KMS_V2, KEK_KUBE_SOURCE_SEED, kek_buf_bytes(&data), seed_lens[i]),
            seed_lens[i] < 32 ? KEK_DAMAGED : KEK_OK);
    }
}
END_TEST

static const struct {
    const char *plaintext;
    size_t len;
    enum kek_rc rc;
} cbc_texts[] = {
    {"{\"kind\":\"Secret\"}", 17, KEK_OK},
    {"{", 1, KEK_OK},
    {"k8s\0", 4, KEK_OK},
    {"k8s", 3, KEK_DAMAGED},
    {"", 0, KEK_DAMAGED},
    {"k8s:enc:", 8, KEK_DAMAGED},
    {"random", 6, KEK_DAMAGED},
};

/* Nothing authenticates CBC: a right padding comes about by chance once in 256 times. */
START_TEST(what_opens_under_cbc_is_an_object)
{
    have_arena();
    KEK_AUTO_BUF struct kek_buf cbc;
    encrypt(&cbc, EVP_aes_256_cbc(), 16, false, cbc_texts[_i].plaintext, cbc_texts[_i].len);
    ck_assert_int_eq(open_data(KEK_KUBE_KMS_V1, KEK_KUBE_SOURCE_KEY, kek_buf_bytes(&cbc), 32),
                     cbc_texts[_i].rc);
}
END_TEST

START_TEST(a_wrong_padding_does_not_open)
{
    static const uint8_t paddings[][16] = {
        {'{', 0},
        {'{', [15] = 0},
        {'{', [15] = 17},
        {'{', [14] = 3, [15] = 2},
        {'{', [12] = 3, [13] = 4, [14] = 4, [15] = 4},
        {'{', [15] = 255},
    };
    have_arena();
    for (size_t i = 0; i < sizeof paddings / sizeof paddings[0]; i++) {
        KEK_AUTO_BUF struct kek_buf cbc;
        encrypt(&cbc, EVP_aes_256_cbc(), 16, false, paddings[i], 16);
        ck_assert_int_eq(
            open_data(KEK_KUBE_KMS_V1, KEK_KUBE_SOURCE_KEY, kek_bytes(cbc.data, 32), 32),
            KEK_DAMAGED);
    }
}
END_TEST

START_TEST(too_short_a_value_or_a_key_of_no_length_does_not_open)
{
    static const uint8_t data[256];
    have_arena();
    for (size_t len = 0; len < sizeof data; len++) {
        struct kek_bytes bytes = kek_bytes(data, len);
        ck_assert_int_eq(open_data(KEK_KUBE_KMS_V2, KEK_KUBE_SOURCE_SEED, bytes, 32), KEK_DAMAGED);
        ck_assert_int_eq(open_data(KEK_KUBE_KMS_V2, KEK_KUBE_SOURCE_KEY, bytes, 32), KEK_DAMAGED);
        ck_assert_int_eq(open_data(KEK_KUBE_KMS_V1, KEK_KUBE_SOURCE_KEY, bytes, 32), KEK_DAMAGED);
    }
    for (size_t key_len = 1; key_len <= sizeof key_bytes; key_len++) {
        struct kek_bytes bytes = kek_bytes(data, sizeof data);
        ck_assert_int_eq(open_data(KEK_KUBE_KMS_V2, KEK_KUBE_SOURCE_SEED, bytes, key_len),
                         KEK_DAMAGED);
        ck_assert_int_eq(open_data(KEK_KUBE_KMS_V1, KEK_KUBE_SOURCE_KEY, bytes, key_len),
                         KEK_DAMAGED);
    }
}
END_TEST

START_TEST(what_is_under_no_key_is_not_opened)
{
    static const enum kek_kube_kind kinds[] = {KEK_KUBE_PLAIN, KEK_KUBE_UNKNOWN};
    have_arena();
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        static const uint8_t data[64];
        ck_assert_int_eq(open_data(kinds[i], KEK_KUBE_SOURCE_KEY, kek_bytes(data, 64), 32),
                         KEK_INVALID);
    }
}
END_TEST

START_TEST(a_full_arena_says_so)
{
    static const uint8_t data[64];
    struct kek_kube_stored stored = {
        .kind = KEK_KUBE_KMS_V2, .source_type = KEK_KUBE_SOURCE_SEED, .data = {data, sizeof data}};
    struct kek_secret *all[4096];
    size_t count = 0;
    have_arena();
    KEK_AUTO(kek_secret) key = kek_secret_dup(kek_bytes(key_bytes, 32));
    ck_assert_ptr_nonnull(key);
    while (count < 4096 && (all[count] = kek_secret_new(32)) != NULL) {
        count++;
    }
    ck_assert_uint_lt(count, 4096);
    ck_assert_int_eq(kek_kube_open(&stored, kek_bytes_of(KEY), key, NULL), KEK_EXHAUSTED);
    while (count > 0) {
        kek_secret_free(all[--count]);
    }
    ck_assert_int_eq(kek_kube_open(&stored, kek_bytes_of(KEY), key, NULL), KEK_DAMAGED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube open");
    TCase *tests = tcase_create("open");
    tcase_add_test(tests, each_length_opens_under_each_key);
    tcase_add_test(tests, a_seed_has_32_bytes_or_more);
    tcase_add_loop_test(tests, what_opens_under_cbc_is_an_object, 0,
                        (int)(sizeof cbc_texts / sizeof cbc_texts[0]));
    tcase_add_test(tests, a_wrong_padding_does_not_open);
    tcase_add_test(tests, too_short_a_value_or_a_key_of_no_length_does_not_open);
    tcase_add_test(tests, what_is_under_no_key_is_not_opened);
    tcase_add_test(tests, a_full_arena_says_so);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
