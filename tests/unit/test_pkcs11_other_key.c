/* kekd-pkcs11 on a SoftHSM whose handle of a key means another key (tests/faults/handles.c). */
#include "pkcs11_list.h"

/* A handle came to mean another key while something was wrapped by it.  A blob from before that the same handle
 * is to open shows it, whether the session still uses that handle (`lists` is false) or has found the key
 * anew; and it shows nothing against a handle that is good. */
START_TEST(a_handle_that_means_another_key_is_found_out_by_what_it_opens)
{
    static const struct {
        const char *fault;
        bool lists;
    } faults[] = {{"C_WrapKey 1 renumber", false},
                  {"C_WrapKey 1 renumber", true},
                  {"C_CreateObject 1 renumber", false},
                  {"C_CreateObject 1 renumber", true}};
    struct token token;
    struct kek_id id, other = id_of(0x22);
    token_make_with_key(&token, &id);
    plant(&token, "other.v1", other);
    fault_put(&token, faults[_i].fault);
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    Kek__Provider__Reply *witness = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(witness->result_case, WRAPPED);
    const uint8_t *known = witness->wrapped->blob.data;
    Kek__Provider__Reply *reply =
        worker_unwrap_by(&worker, &id, witness->wrapped->handle, KEK_WRAP_AES_KW, known, 40);
    ck_assert_int_eq(reply->result_case, UNWRAPPED);
    reply_free(reply);
    fault_now();
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    ck_assert_uint_ne(blob->wrapped->handle, 0);
    if (faults[_i].lists) {
        reply = worker_list(&worker);
        ck_assert_int_eq(reply->result_case, LISTED);
        reply_free(reply);
        reply = worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, known, 40);
        ck_assert_int_eq(reply->result_case, UNWRAPPED);
        reply_free(reply);
    }
    expect_failed(worker_unwrap_by(&worker, &id, blob->wrapped->handle, KEK_WRAP_AES_KW, known, 40),
                  KEK__PROVIDER__CAUSE__LINK, faults[_i].lists ? "means another key now" : "");
    reply_free(blob);
    reply_free(witness);
    worker_end(&worker);
}
END_TEST

/* A module that lies for C_WrapKey alone: what it wraps is another key's, and no other call shows it. */
START_TEST(what_was_wrapped_with_another_key_does_not_open)
{
    struct token token;
    struct kek_id id, other = id_of(0x22);
    token_make_with_key(&token, &id);
    plant(&token, "other.v1", other);
    fault_put(&token, "C_WrapKey 1+ mislead");
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    fault_now();
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    Kek__Provider__Reply *reply =
        worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40);
    ck_assert_int_eq(reply->result_case, FAILED);
    reply_free(reply);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* The same of a module that uses the other key for everything and still shows the right attributes: a blob
 * from before tells.  AES-CBC opens any blob, so there it is what comes out that tells. */
START_TEST(a_handle_that_means_another_key_for_everything_opens_nothing_from_before)
{
    static const struct {
        int alg;
        const char *strategy;
        const char *fault;
    } ways[] = {
        {KEK_WRAP_AES_KW, "wrap-key", "C_WrapKey every mislead\nC_UnwrapKey every mislead"},
        {KEK_WRAP_AES_GCM, "encrypt", "C_EncryptInit every mislead\nC_DecryptInit every mislead"},
        {KEK_WRAP_AES_CBC, "encrypt", "C_EncryptInit every mislead\nC_DecryptInit every mislead"},
    };
    struct token token;
    struct kek_id id = id_of(0x11), other = id_of(0x22);
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    struct odd_key keys[2] = {
        {.label = "ring.v1", .id = id.bytes, .id_len = sizeof id.bytes},
        {.label = "other.v1", .id = other.bytes, .id_len = sizeof other.bytes}};
    token_make(&token);
    for (int i = 0; i < 2; i++) {
        if (strcmp(ways[_i].strategy, "encrypt") == 0) {
            keys[i].change[0] = (CK_ATTRIBUTE){CKA_WRAP, &no, sizeof no};
            keys[i].change[1] = (CK_ATTRIBUTE){CKA_UNWRAP, &no, sizeof no};
            keys[i].change[2] = (CK_ATTRIBUTE){CKA_ENCRYPT, &yes, sizeof yes};
            keys[i].change[3] = (CK_ATTRIBUTE){CKA_DECRYPT, &yes, sizeof yes};
            keys[i].change_count = 4;
        }
        token_make_key(&token, &keys[i]);
    }
    fault_put(&token, ways[_i].fault);
    fault_later();
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    hello_set(&hello, "strategy", ways[_i].strategy);
    hello.alg = (Kek__Provider__WrapAlg)ways[_i].alg;
    struct worker worker;
    worker_start_with(&worker, "serve", &hello);
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    ck_assert_int_eq((int)blob->wrapped->alg, ways[_i].alg);
    fault_now();
    reply_free(worker_wrap(&worker, &id, data_key));
    Kek__Provider__Reply *reply =
        worker_unwrap_by(&worker, &id, blob->wrapped->handle, ways[_i].alg,
                         blob->wrapped->blob.data, blob->wrapped->blob.len);
    if (ways[_i].alg == KEK_WRAP_AES_CBC) {
        ck_assert_int_eq(reply->result_case, UNWRAPPED);
        ck_assert_mem_ne(reply->unwrapped->data_key.data, data_key, KEK_DATA_KEY_LEN);
        reply_free(reply);
    } else {
        expect_failed(reply, KEK__PROVIDER__CAUSE__LINK, "");
    }
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pkcs11 other key");
    TCase *c = tcase_create("other key");
    tcase_set_timeout(c, 300);
    tcase_add_loop_test(c, a_handle_that_means_another_key_is_found_out_by_what_it_opens, 0, 4);
    tcase_add_test(c, what_was_wrapped_with_another_key_does_not_open);
    tcase_add_loop_test(c, a_handle_that_means_another_key_for_everything_opens_nothing_from_before,
                        0, 3);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return worker_tests_run(suite());
}
