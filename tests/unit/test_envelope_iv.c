/* The pool of IVs: each once, none without a generator. */
#include "envelope_help.h"

#include <openssl/evp.h>
#include <openssl/rand.h>

#include "../../src/envelope/iv.h"

#define MANY 10000

static int compare(const void *a, const void *b)
{
    return memcmp(a, b, ENVELOPE_IV_LEN);
}

START_TEST(ivs_of_many_batches_are_all_distinct)
{
    static uint8_t ivs[MANY][ENVELOPE_IV_LEN];
    struct kek_iv_pool *pool = kek_iv_pool_new();
    ck_assert_ptr_nonnull(pool);
    for (size_t i = 0; i < MANY; i++) {
        ck_assert(kek_iv_take(pool, ivs[i]));
    }
    kek_iv_pool_free(pool);
    kek_iv_pool_free(NULL);
    qsort(ivs, MANY, sizeof ivs[0], compare);
    static const uint8_t zero[ENVELOPE_IV_LEN];
    ck_assert_mem_ne(ivs[0], zero, sizeof zero);
    for (size_t i = 1; i < MANY; i++) {
        ck_assert_mem_ne(ivs[i - 1], ivs[i], ENVELOPE_IV_LEN);
    }
}
END_TEST

START_TEST(without_a_generator_there_is_no_iv)
{
    ck_assert_int_eq(RAND_set_DRBG_type(NULL, "NO-SUCH-DRBG", NULL, NULL, NULL), 1);
    struct kek_iv_pool *pool = kek_iv_pool_new();
    uint8_t iv[ENVELOPE_IV_LEN];
    ck_assert(!kek_iv_take(pool, iv));
    ck_assert(!kek_iv_take(pool, iv));
    kek_iv_pool_free(pool);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("iv");
    TCase *pool = tcase_create("pool");
    tcase_add_test(pool, ivs_of_many_batches_are_all_distinct);
    tcase_add_test(pool, without_a_generator_there_is_no_iv);
    suite_add_tcase(suite, pool);
    return suite_run(suite);
}
