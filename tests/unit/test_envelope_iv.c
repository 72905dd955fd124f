/* The pool of IVs: each once, none shared with a child, none without a generator. */
#include "envelope_help.h"

#include <openssl/evp.h>
#include <openssl/rand.h>
#include <sys/wait.h>

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
    qsort(ivs, MANY, sizeof ivs[0], compare);
    static const uint8_t zero[ENVELOPE_IV_LEN];
    ck_assert_mem_ne(ivs[0], zero, sizeof zero);
    for (size_t i = 1; i < MANY; i++) {
        ck_assert_mem_ne(ivs[i - 1], ivs[i], ENVELOPE_IV_LEN);
    }
}
END_TEST

START_TEST(a_child_does_not_use_what_its_parent_drew)
{
    struct kek_iv_pool *pool = kek_iv_pool_new();
    uint8_t first[ENVELOPE_IV_LEN], of_child[ENVELOPE_IV_LEN], of_parent[ENVELOPE_IV_LEN];
    int ends[2];
    /* Of the two drawn for the second, one is left. */
    ck_assert(kek_iv_take(pool, first) && kek_iv_take(pool, first));
    ck_assert_int_eq(pipe(ends), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        bool took = kek_iv_take(pool, of_child) &&
                    write(ends[1], of_child, sizeof of_child) == (ssize_t)sizeof of_child;
        _exit(took ? 0 : 1);
    }
    int status;
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    ck_assert_int_eq(read(ends[0], of_child, sizeof of_child), sizeof of_child);
    ck_assert(kek_iv_take(pool, of_parent));
    ck_assert_mem_ne(of_child, of_parent, ENVELOPE_IV_LEN);
    close(ends[0]);
    close(ends[1]);
    kek_iv_pool_free(pool);
    kek_iv_pool_free(NULL);
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
    tcase_add_test(pool, a_child_does_not_use_what_its_parent_drew);
    tcase_add_test(pool, without_a_generator_there_is_no_iv);
    suite_add_tcase(suite, pool);
    return suite_run(suite);
}
