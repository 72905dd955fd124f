/* What a worker makes of copies and namesakes of its keys. */
#include "pkcs11_list.h"

/* pkcs11-tool --keygen --key-type AES:16 --label ring.v1 --id 01, beside a running worker. */
START_TEST(an_unfit_namesake_is_listed_and_stops_nothing)
{
    static CK_ULONG sixteen = 16;
    const struct odd_key namesake = {
        .label = "ring.v1",
        .id = "\1",
        .id_len = 1,
        .change = {{CKA_VALUE_LEN, &sixteen, sizeof sixteen}},
        .change_count = 1,
    };
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker running, fresh;
    worker_start(&running, "serve", token.uri);
    token_make_key(&token, &namesake);
    worker_start(&fresh, "serve", token.uri);
    struct worker *workers[] = {&running, &fresh};
    for (int w = 0; w < 2; w++) {
        Kek__Provider__Reply *list = NULL;
        do { /* a sweep of the running one brings it */
            reply_free(list);
            list = listed_by(workers[w]);
            ck_assert_ptr_nonnull(row(list, 1, true));
        } while (list->listed->n_versions < 2);
        /* What is refused comes first: a reader that keeps the last word keeps the good one. */
        ck_assert(!list->listed->versions[0]->eligible && list->listed->versions[1]->eligible);
        ck_assert_str_eq(row(list, 1, false)->refusal, "CKA_ID has 1 byte, not 16");
        reply_free(list);
        reply_free(wrapped_by(workers[w], &id));
        worker_end(workers[w]);
    }
}
END_TEST

/* Which of them is the primary is not the worker's to say. */
START_TEST(two_keys_of_one_number_are_both_listed)
{
    struct token token;
    struct kek_id a = id_of(1), b = id_of(2), c = id_of(3);
    token_make(&token);
    plant(&token, "ring.v1", a);
    plant(&token, "ring.v1", b);
    struct worker worker;
    worker_start(&worker, "officer", token.uri);
    Kek__Provider__Reply *list = listed_by(&worker);
    ck_assert_uint_eq(list->listed->n_versions, 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert(list->listed->versions[i]->eligible);
        ck_assert_uint_eq(list->listed->versions[i]->number, 1);
    }
    reply_free(list);
    reply_free(wrapped_by(&worker, &a));
    reply_free(wrapped_by(&worker, &b));
    expect_failed(worker_generate(&worker, 1, &c, KEK__PROVIDER__STATE__ACTIVE),
                  KEK__PROVIDER__CAUSE__STATE, "version 1 exists already");
    expect_failed(worker_generate(&worker, 2, &b, KEK__PROVIDER__STATE__ACTIVE),
                  KEK__PROVIDER__CAUSE__STATE, "CKA_ID exists already");
    worker_end(&worker);
}
END_TEST

START_TEST(a_second_copy_of_a_key_stops_nothing)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *blob = wrapped_by(&worker, &id);
    worker_end(&worker);
    token_multiply_key(&token, 2);
    worker_start(&worker, "officer", token.uri);
    Kek__Provider__Reply *list = listed_by(&worker);
    ck_assert_uint_eq(list->listed->n_versions, 3);
    ck_assert(list->listed->versions[2]->eligible && list->listed->versions[2]->can_wrap);
    for (size_t i = 0; i < 2; i++) {
        ck_assert(!list->listed->versions[i]->eligible);
        ck_assert_str_eq(list->listed->versions[i]->refusal,
                         "it has the same CKA_ID as ring.v1, which is used, and is the same key");
    }
    reply_free(list);
    expect_opens(&worker, &id, blob);
    reply_free(wrapped_by(&worker, &id));
    expect_failed(worker_destroy(&worker, &id), KEK__PROVIDER__CAUSE__KEY_UNFIT, "two keys");
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

static bool destroy_first(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, void *arg)
{
    CK_ATTRIBUTE by_id = {CKA_ID, arg, KEK_ID_LEN};
    CK_OBJECT_HANDLE key;
    CK_ULONG count = 0;
    return f->C_FindObjectsInit(session, &by_id, 1) == CKR_OK &&
           f->C_FindObjects(session, &key, 1, &count) == CKR_OK && count == 1 &&
           f->C_FindObjectsFinal(session) == CKR_OK && f->C_DestroyObject(session, key) == CKR_OK;
}

/* Whichever of the copies goes, the other serves on, in the same process. */
START_TEST(a_copy_takes_the_place_of_a_key_that_is_deleted)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    token_multiply_key(&token, 1);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *blob = wrapped_by(&worker, &id);
    token_do(&token, destroy_first, &id);
    expect_opens(&worker, &id, blob);
    reply_free(wrapped_by(&worker, &id));
    Kek__Provider__Reply *list = listed_by(&worker);
    ck_assert_uint_eq(list->listed->n_versions, 1);
    ck_assert(list->listed->versions[0]->eligible);
    reply_free(list);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

START_TEST(a_module_that_lists_each_object_twice_has_each_key_once)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, "C_FindObjects every repeat");
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    for (int i = 0; i < 3; i++) {
        Kek__Provider__Reply *list = listed_by(&worker);
        ck_assert_uint_eq(list->listed->n_versions, 1);
        ck_assert(list->listed->versions[0]->eligible);
        reply_free(list);
        reply_free(wrapped_by(&worker, &id));
    }
    worker_end(&worker);
}
END_TEST

/* Another key under the id of ours, and under a higher number: who knew ours goes on with it; who did
 * not wraps nothing until one of the two has opened something. */
START_TEST(another_key_under_the_same_id_is_put_aside)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker running, fresh;
    worker_start(&running, "serve", token.uri);
    Kek__Provider__Reply *blob = wrapped_by(&running, &id);
    plant(&token, "ring.v9", id);
    for (int i = 0; i < 8; i++) {
        Kek__Provider__Reply *list = listed_by(&running);
        ck_assert_ptr_nonnull(row(list, 1, true));
        ck_assert_ptr_null(row(list, 9, true));
        if (i == 7) { /* told under the number of the version that it is not */
            ck_assert_str_eq(row(list, 1, false)->label, "ring.v9");
            ck_assert_str_eq(
                row(list, 1, false)->refusal,
                "it has the same CKA_ID as ring.v1, which is used, and is another key");
        }
        reply_free(list);
        reply_free(wrapped_by(&running, &id));
        expect_opens(&running, &id, blob);
    }
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.sessions = 3;
    worker_start_with(&fresh, "serve", &hello);
    expect_failed(worker_wrap(&fresh, &id, data_key), KEK__PROVIDER__CAUSE__KEY_UNFIT,
                  "another key has the same CKA_ID");
    expect_opens(&fresh, &id, blob);
    for (int i = 0; i < 12; i++) { /* every session learns of it */
        Kek__Provider__Reply *other = wrapped_by(&fresh, &id);
        expect_opens(&running, &id, other);
        reply_free(other);
    }
    reply_free(blob);
    worker_end(&fresh);
    worker_end(&running);
}
END_TEST

/* The right one may be the one that nobody would have chosen. */
START_TEST(of_two_keys_with_one_id_the_one_that_opens_is_meant)
{
    struct token token;
    struct kek_id id = id_of(0x33);
    token_make(&token);
    plant(&token, "ring.v5", id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *blob = wrapped_by(&worker, &id);
    worker_end(&worker);
    plant(&token, "ring.v2", id);
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.sessions = 3;
    worker_start_with(&worker, "serve", &hello);
    expect_opens(&worker, &id, blob);
    for (int i = 0; i < 12; i++) { /* every session learns of it */
        Kek__Provider__Reply *other = wrapped_by(&worker, &id);
        expect_opens(&worker, &id, other);
        reply_free(other);
    }
    for (int i = 0; i < 6; i++) {
        Kek__Provider__Reply *list = listed_by(&worker);
        ck_assert_ptr_nonnull(row(list, 5, true));
        ck_assert_ptr_null(row(list, 2, true));
        ck_assert_str_eq(row(list, 5, false)->label, "ring.v2");
        reply_free(list);
    }
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* Every key opens every blob of AES-CBC to something, so only who knew the right one can tell. */
START_TEST(under_aes_cbc_another_key_with_the_same_id_opens_nothing)
{
    static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    struct token token;
    struct kek_id id = id_of(0x33);
    struct odd_key key = {
        .label = "ring.v1",
        .id = id.bytes,
        .id_len = KEK_ID_LEN,
        .change = {{CKA_WRAP, &no, 1},
                   {CKA_UNWRAP, &no, 1},
                   {CKA_ENCRYPT, &yes, 1},
                   {CKA_DECRYPT, &yes, 1}},
        .change_count = 4,
    };
    token_make(&token);
    token_make_key(&token, &key);
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.alg = KEK__PROVIDER__WRAP_ALG__AES_CBC;
    struct worker running, fresh;
    worker_start_with(&running, "serve", &hello);
    Kek__Provider__Reply *blob = wrapped_by(&running, &id);
    ck_assert_int_eq((int)blob->wrapped->alg, KEK_WRAP_AES_CBC);
    key.label = "ring.v2";
    token_make_key(&token, &key);
    Kek__Provider__Reply *list = listed_by(&running);
    ck_assert_ptr_nonnull(row(list, 1, true));
    ck_assert_str_eq(row(list, 1, false)->refusal,
                     "it has the same CKA_ID as ring.v1, which is used, and is another key");
    reply_free(list);
    expect_opens(&running, &id, blob);
    worker_start_with(&fresh, "serve", &hello);
    expect_failed(worker_unwrap(&fresh, &id, KEK_WRAP_AES_CBC, blob->wrapped->blob.data,
                                blob->wrapped->blob.len),
                  KEK__PROVIDER__CAUSE__KEY_UNFIT, "another key has the same CKA_ID");
    expect_failed(worker_wrap(&fresh, &id, data_key), KEK__PROVIDER__CAUSE__KEY_UNFIT,
                  "another key has the same CKA_ID");
    reply_free(blob);
    worker_end(&fresh);
    worker_end(&running);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pkcs11 copies");
    TCase *c = tcase_create("namesakes");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, an_unfit_namesake_is_listed_and_stops_nothing);
    tcase_add_test(c, two_keys_of_one_number_are_both_listed);
    tcase_add_test(c, a_second_copy_of_a_key_stops_nothing);
    tcase_add_test(c, a_copy_takes_the_place_of_a_key_that_is_deleted);
    tcase_add_test(c, a_module_that_lists_each_object_twice_has_each_key_once);
    tcase_add_test(c, another_key_under_the_same_id_is_put_aside);
    tcase_add_test(c, of_two_keys_with_one_id_the_one_that_opens_is_meant);
    tcase_add_test(c, under_aes_cbc_another_key_with_the_same_id_opens_nothing);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return worker_tests_run(suite());
}
