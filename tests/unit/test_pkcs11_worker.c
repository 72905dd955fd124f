/* What kekd-pkcs11 makes of data keys and blobs on a real SoftHSM token, asked over its socket. */
#include "pkcs11_list.h"

#include <sched.h>

START_TEST(a_data_key_comes_back_from_another_worker)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker first, second;
    worker_start(&first, "serve", token.uri);
    worker_start(&second, "serve", token.uri);
    Kek__Provider__Reply *reply = wrapped_by(&first, &id);
    ck_assert_int_eq(reply->wrapped->alg, KEK_WRAP_AES_KW);
    ck_assert_uint_eq(reply->wrapped->blob.len, 40);
    expect_unwraps(&first, &id, KEK_WRAP_AES_KW, reply->wrapped->blob);
    expect_unwraps(&second, &id, KEK_WRAP_AES_KW, reply->wrapped->blob);
    reply_free(reply);
    worker_end(&first);
    worker_end(&second);
}
END_TEST

START_TEST(a_blob_changed_at_any_byte_is_bad_data)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *reply = wrapped_by(&worker, &id);
    ProtobufCBinaryData blob = reply->wrapped->blob;
    for (size_t i = 0; i < blob.len; i++) {
        blob.data[i] ^= 0x80;
        expect_failed(worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob.data, blob.len),
                      KEK__PROVIDER__CAUSE__DATA, "C_UnwrapKey: CKR_");
        blob.data[i] ^= 0x80;
    }
    expect_unwraps(&worker, &id, KEK_WRAP_AES_KW, blob);
    reply_free(reply);
    worker_end(&worker);
}
END_TEST

START_TEST(a_blob_of_another_length_is_bad_data)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    uint8_t blob[600] = {0};
    static const size_t lengths[] = {0, 1, 8, 32, 39, 41, 48, 512, 513, 600};
    for (size_t i = 0; i < sizeof lengths / sizeof lengths[0]; i++) {
        expect_failed(worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob, lengths[i]),
                      KEK__PROVIDER__CAUSE__DATA, "never wraps a data key in");
    }
    expect_failed(worker_unwrap(&worker, &id, 0, blob, 40), KEK__PROVIDER__CAUSE__BAD_REQUEST,
                  "known algorithm");
    expect_failed(worker_unwrap(&worker, &id, 99, blob, 40), KEK__PROVIDER__CAUSE__BAD_REQUEST,
                  "known algorithm");
    expect_failed(worker_unwrap(&worker, &id, KEK_WRAP_AES_GCM, blob, 60),
                  KEK__PROVIDER__CAUSE__DATA, "never wraps with AES-GCM");
    worker_end(&worker);
}
END_TEST

START_TEST(a_blob_of_another_key_is_bad_data)
{
    struct token token;
    struct kek_id id, other = id_of(0x22);
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "officer", token.uri);
    expect_done(worker_generate(&worker, 2, &other, KEK__PROVIDER__STATE__ACTIVE));
    Kek__Provider__Reply *reply = wrapped_by(&worker, &other);
    expect_failed(worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, reply->wrapped->blob.data, 40),
                  KEK__PROVIDER__CAUSE__DATA, "C_UnwrapKey");
    expect_unwraps(&worker, &other, KEK_WRAP_AES_KW, reply->wrapped->blob);
    reply_free(reply);
    worker_end(&worker);
}
END_TEST

/* Else its threads interrupt each other inside the module, which costs a quarter of the speed. */
START_TEST(a_worker_that_serves_lets_whoever_runs_run_on)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    reply_free(wrapped_by(&worker, &id));
    ck_assert_int_eq(sched_getscheduler(worker.pid), SCHED_BATCH);
    worker_end(&worker);
}
END_TEST

START_TEST(a_bad_blob_of_a_key_that_only_unwraps_is_no_dead_link)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "officer", token.uri);
    Kek__Provider__Reply *reply = wrapped_by(&worker, &id);
    expect_done(worker_set_state(&worker, &id, KEK__PROVIDER__STATE__DEACTIVATED));
    worker_end(&worker);
    worker_start(&worker, "serve", token.uri);
    uint8_t junk[40] = {1};
    expect_failed(worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, junk, sizeof junk),
                  KEK__PROVIDER__CAUSE__DATA, "C_UnwrapKey");
    expect_unwraps(&worker, &id, KEK_WRAP_AES_KW, reply->wrapped->blob);
    reply_free(reply);
    worker_end(&worker);
}
END_TEST

/* AES-KW by C_Encrypt is not SoftHSM's: GCM is what is left, and CBC if it was so before. */
START_TEST(strategy_encrypt_works_by_every_algorithm)
{
    static const struct {
        int earlier, alg;
        size_t len;
    } algs[] = {{KEK_WRAP_NONE, KEK_WRAP_AES_GCM, 60},
                {KEK_WRAP_AES_GCM, KEK_WRAP_AES_GCM, 60},
                {KEK_WRAP_AES_CBC, KEK_WRAP_AES_CBC, 48}};
    struct token token;
    struct kek_id id = id_of(0x66);
    token_make(&token);
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello_set(&hello, "strategy", "encrypt");
    hello.alg = (Kek__Provider__WrapAlg)algs[_i].earlier;
    struct worker worker;
    worker_start_with(&worker, "officer", &hello);
    expect_done(worker_generate(&worker, 1, &id, KEK__PROVIDER__STATE__ACTIVE));
    Kek__Provider__Reply *reply = wrapped_by(&worker, &id);
    ck_assert_int_eq((int)reply->wrapped->alg, algs[_i].alg);
    ProtobufCBinaryData blob = reply->wrapped->blob;
    ck_assert_uint_eq(blob.len, algs[_i].len);
    for (size_t i = 0; i < blob.len && algs[_i].alg == KEK_WRAP_AES_GCM; i++) {
        blob.data[i] ^= 1;
        expect_failed(worker_unwrap(&worker, &id, algs[_i].alg, blob.data, blob.len),
                      KEK__PROVIDER__CAUSE__DATA, "C_Decrypt");
        blob.data[i] ^= 1;
    }
    expect_unwraps(&worker, &id, algs[_i].alg, blob);
    worker_end(&worker);

    /* Strategy auto sees by the key's usages how it is meant. */
    worker_start(&worker, "serve", token.uri);
    expect_unwraps(&worker, &id, algs[_i].alg, blob);
    worker_end(&worker);
    hello_set(&hello, "strategy", "wrap-key");
    worker_start_with(&worker, "serve", &hello);
    expect_failed(
        worker_wrap(&worker, &id, data_key), KEK__PROVIDER__CAUSE__KEY_UNFIT,
        "it is there for strategy encrypt (CKA_ENCRYPT is true), and the configuration says "
        "strategy: wrap-key");
    worker_end(&worker);
    reply_free(reply);
}
END_TEST

/* Under AES-GCM two wraps with one IV would give both data keys away, and the key of the tags. */
START_TEST(no_two_wraps_have_one_iv)
{
    enum { WRAPS = 100, IV = 12 };
    static uint8_t ivs[WRAPS][IV];
    struct token token;
    struct kek_id id = id_of(0x67);
    token_make(&token);
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello_set(&hello, "strategy", "encrypt");
    struct worker worker;
    worker_start_with(&worker, "officer", &hello);
    expect_done(worker_generate(&worker, 1, &id, KEK__PROVIDER__STATE__ACTIVE));
    for (size_t i = 0; i < WRAPS; i++) {
        Kek__Provider__Reply *reply = wrapped_by(&worker, &id);
        ck_assert_int_eq((int)reply->wrapped->alg, KEK_WRAP_AES_GCM);
        memcpy(ivs[i], reply->wrapped->blob.data, IV);
        reply_free(reply);
        for (size_t before = 0; before < i; before++) {
            ck_assert_mem_ne(ivs[before], ivs[i], IV);
        }
    }
    worker_end(&worker);
}
END_TEST

START_TEST(a_token_taken_away_is_a_dead_link_and_a_fresh_worker_finds_it_again)
{
    struct token token;
    struct kek_id id, unknown = id_of(0x99);
    token_make_with_key(&token, &id);
    struct worker worker;
    worker_start(&worker, "serve", token.uri);
    Kek__Provider__Reply *reply = wrapped_by(&worker, &id);
    char here[PATH_MAX + 16], away[PATH_MAX + 16];
    snprintf(here, sizeof here, "%s/tokens", token.dir);
    snprintf(away, sizeof away, "%s/away", token.dir);
    ck_assert_int_eq(rename(here, away), 0);
    expect_failed(worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, reply->wrapped->blob.data, 40),
                  KEK__PROVIDER__CAUSE__LINK, "");
    expect_failed(worker_wrap(&worker, &id, data_key), KEK__PROVIDER__CAUSE__LINK, "");
    expect_failed(worker_wrap(&worker, &unknown, data_key), KEK__PROVIDER__CAUSE__LINK, "");
    expect_failed(worker_list(&worker), KEK__PROVIDER__CAUSE__LINK, "");
    worker_end(&worker);
    ck_assert_int_eq(rename(away, here), 0);
    worker_start(&worker, "serve", token.uri);
    expect_unwraps(&worker, &id, KEK_WRAP_AES_KW, reply->wrapped->blob);
    reply_free(reply);
    worker_end(&worker);
}
END_TEST

#define FLIGHT 4
#define REQUESTS 2000

/* Four sessions, always four requests under way, answered in whatever order. */
START_TEST(many_requests_at_once_each_get_their_own_answer)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    Kek__Provider__Hello hello;
    hello_init(&hello, token.uri);
    hello.sessions = FLIGHT;
    struct worker worker;
    worker_start_with(&worker, "serve", &hello);
    static bool seen[REQUESTS + 1];
    memset(seen, 0, sizeof seen);
    uint64_t sent = 0;
    for (int received = 0; received < REQUESTS;) {
        while (sent < REQUESTS && sent < (uint64_t)received + FLIGHT) {
            uint8_t key[KEK_DATA_KEY_LEN];
            memset(key, (int)(sent % 251), sizeof key);
            Kek__Provider__Wrap wrap = KEK__PROVIDER__WRAP__INIT;
            wrap.kek_id = (ProtobufCBinaryData){KEK_ID_LEN, id.bytes};
            wrap.data_key = (ProtobufCBinaryData){sizeof key, key};
            Kek__Provider__List all = KEK__PROVIDER__LIST__INIT;
            Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
            request.id = ++sent;
            if (sent % 50 == 0) {
                request.op_case = KEK__PROVIDER__REQUEST__OP_LIST;
                request.list = &all;
            } else {
                request.op_case = KEK__PROVIDER__REQUEST__OP_WRAP;
                request.wrap = &wrap;
            }
            worker_send(&worker, &request);
        }
        Kek__Provider__Reply *reply = worker_receive(&worker);
        received++;
        ck_assert_uint_le(reply->id, REQUESTS);
        ck_assert(!seen[reply->id]);
        seen[reply->id] = true;
        ck_assert_int_eq(reply->result_case, reply->id % 50 == 0 ? LISTED : WRAPPED);
        reply_free(reply);
    }
    worker_end(&worker);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pkcs11 worker");
    TCase *c = tcase_create("operations");
    tcase_set_timeout(c, 120);
    tcase_add_test(c, a_worker_that_serves_lets_whoever_runs_run_on);
    tcase_add_test(c, a_data_key_comes_back_from_another_worker);
    tcase_add_test(c, a_blob_changed_at_any_byte_is_bad_data);
    tcase_add_test(c, a_blob_of_another_length_is_bad_data);
    tcase_add_test(c, a_blob_of_another_key_is_bad_data);
    tcase_add_test(c, a_bad_blob_of_a_key_that_only_unwraps_is_no_dead_link);
    tcase_add_loop_test(c, strategy_encrypt_works_by_every_algorithm, 0, 3);
    tcase_add_test(c, no_two_wraps_have_one_iv);
    tcase_add_test(c, a_token_taken_away_is_a_dead_link_and_a_fresh_worker_finds_it_again);
    tcase_add_test(c, many_requests_at_once_each_get_their_own_answer);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return worker_tests_run(suite());
}
