/* What kekd-pkcs11 does on a SoftHSM whose calls fail, hang or are counted (tests/faults/fault.c). */
#include "pkcs11_list.h"

static void send_wrap(struct worker *worker, const struct kek_id *id, uint64_t number)
{
    Kek__Provider__Wrap wrap = KEK__PROVIDER__WRAP__INIT;
    wrap.kek_id = (ProtobufCBinaryData){KEK_ID_LEN, (uint8_t *)id->bytes};
    wrap.data_key = (ProtobufCBinaryData){sizeof data_key, (uint8_t *)data_key};
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.op_case = KEK__PROVIDER__REQUEST__OP_WRAP;
    request.wrap = &wrap;
    request.id = number;
    worker_send(worker, &request);
}

START_TEST(a_call_that_hangs_holds_up_no_other_session_and_not_the_end)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, "C_WrapKey 1 hang");
    fault_later();
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    hello.sessions = 2;
    struct worker worker;
    worker_start_with(&worker, "serve", &hello);
    fault_now();
    for (uint64_t i = 1; i <= 20; i++) {
        send_wrap(&worker, &id, i);
    }
    uint64_t sum = 0;
    for (int i = 0; i < 19; i++) {
        Kek__Provider__Reply *reply = worker_receive(&worker);
        ck_assert_int_eq(reply->result_case, WRAPPED);
        sum += reply->id;
        reply_free(reply);
    }
    uint64_t hung = 210 - sum;
    ck_assert_msg(hung == 1 || hung == 2, "request %d hung", (int)hung);
    worker_end(&worker);
}
END_TEST

static bool is_known_cause(const Kek__Provider__Reply *reply)
{
    switch (reply->failed->cause) {
    case KEK__PROVIDER__CAUSE__LINK:
    case KEK__PROVIDER__CAUSE__BUSY:
    case KEK__PROVIDER__CAUSE__UNSUPPORTED:
    case KEK__PROVIDER__CAUSE__STATE:
    case KEK__PROVIDER__CAUSE__INTERNAL:
    case KEK__PROVIDER__CAUSE__PIN_REFUSED:
        return true;
    default:
        return false;
    }
}

static const CK_RV errors[] = {CKR_GENERAL_ERROR,          CKR_DEVICE_REMOVED,
                               CKR_SESSION_HANDLE_INVALID, CKR_HOST_MEMORY,
                               CKR_KEY_HANDLE_INVALID,     CKR_SESSION_COUNT};
#define ERRORS (sizeof errors / sizeof errors[0])

/* Each call of a start fails once, each time with a worker of its own: it starts anyway, or says
 * what failed and stays there to be asked. */
START_TEST(a_start_survives_a_failure_of_any_call)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    for (unsigned n = 1; n < 200; n++) {
        char fault[64];
        snprintf(fault, sizeof fault, "* %u rv %lx", n, errors[_i]);
        fault_put(&token, fault);
        struct worker worker;
        Kek__Provider__Hello hello;
        hello_init(&hello, fault_uri);
        worker_spawn(&worker, "serve");
        Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
        if (reply->result_case == KEK__PROVIDER__REPLY__RESULT_TOKEN) {
            reply_free(reply);
            reply = worker_login(&worker);
        }
        if (reply->result_case == FAILED) {
            ck_assert_msg(is_known_cause(reply), "%s: cause %d", fault, reply->failed->cause);
            ck_assert_msg(reply->failed->text[0] != '\0', "%s", fault);
            ck_assert_int_ne(reply->failed->step, KEK__PROVIDER__STEP__PROVIDER_CALL);
        } else {
            ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_READY);
        }
        reply_free(reply);
        worker_end(&worker);
        if (fault_count(NULL) < n) {
            ck_assert_uint_gt(n, 20);
            return;
        }
    }
    ck_abort_msg("a start takes more than 200 calls");
}
END_TEST

/* One call that fails while AES-KW is tried must not make the token one that wraps with AES-KWP. */
START_TEST(a_failure_that_passes_chooses_no_other_algorithm)
{
    static const char *const faults[] = {"C_WrapKey 1 rv 30",   "C_UnwrapKey 1 rv 5",
                                         "C_UnwrapKey 3 rv b3", "C_CreateObject 1 rv 6",
                                         "C_WrapKey 1 rv 70",   "C_WrapKey 1 rv 40"};
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, faults[_i]);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    worker_spawn(&worker, "serve");
    reply_free(worker_hello(&worker, &hello));
    Kek__Provider__Reply *reply = worker_login(&worker);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_READY);
    ck_assert_int_eq(reply->ready->alg, KEK__PROVIDER__WRAP_ALG__AES_KW);
    ck_assert(reply->ready->versions[0]->eligible);
    reply_free(reply);
    worker_end(&worker);
}
END_TEST

static void expect_works(struct worker *worker, const struct kek_id *id)
{
    Kek__Provider__Reply *reply = worker_wrap(worker, id, data_key);
    ck_assert_msg(reply->result_case == WRAPPED, "afterwards: %s",
                  reply->result_case == FAILED ? reply->failed->text : "?");
    reply_free(reply);
}

/* Each call of a wrap, an unwrap and a list fails once: a lost session is replaced unseen, the rest is
 * said as it is, nothing is ever called bad data, and the same worker goes on. */
START_TEST(an_operation_survives_a_failure_of_any_call)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    for (unsigned n = 1; n < 60; n++) {
        char fault[64];
        snprintf(fault, sizeof fault, "* %u rv %lx", n, errors[_i]);
        fault_put(&token, fault);
        fault_later();
        struct worker worker;
        worker_start(&worker, "serve", fault_uri);
        Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
        ck_assert_int_eq(blob->result_case, WRAPPED);
        fault_now();
        Kek__Provider__Reply *replies[3] = {
            worker_wrap(&worker, &id, data_key),
            worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40),
            worker_list(&worker),
        };
        bool failed = false;
        for (int i = 0; i < 3; i++) {
            if (replies[i]->result_case == FAILED) {
                failed = true;
                /* An unwrap that fails ambiguously while the token lives is all that may blame the
                 * blob: the front asks its witness then. */
                bool blamed = i == 1 && errors[_i] == CKR_GENERAL_ERROR &&
                              replies[i]->failed->cause == KEK__PROVIDER__CAUSE__DATA;
                ck_assert_msg(blamed || is_known_cause(replies[i]), "%s: %s", fault,
                              replies[i]->failed->text);
            }
            reply_free(replies[i]);
        }
        if (errors[_i] == CKR_SESSION_HANDLE_INVALID && n <= 6) {
            ck_assert_msg(!failed, "%s", fault);
        }
        unsigned long count = fault_count(NULL);
        if (count >= n) {
            expect_works(&worker, &id);
        }
        reply_free(blob);
        worker_end(&worker);
        if (count < n) {
            ck_assert_uint_gt(n, 6);
            return;
        }
    }
    ck_abort_msg("three operations take more than 60 calls");
}
END_TEST

/* A module's word that is wrong once costs no call: a second try shows it. */
START_TEST(a_failure_that_passes_fails_no_operation)
{
    static const char *const faults[] = {
        "C_WrapKey 1 rv 5",           "C_WrapKey 1 rv 70",           "C_CreateObject 1 rv 30",
        "C_CreateObject 1 rv d1",     "C_UnwrapKey 2 rv 5",          "C_UnwrapKey 2 rv 30",
        "C_GetAttributeValue 1 rv 5", "C_GetAttributeValue 2 rv 30",
    };
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, faults[_i]);
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    fault_now();
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_msg(blob->result_case == WRAPPED, "%s", faults[_i]);
    Kek__Provider__Reply *reply =
        worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40);
    ck_assert_msg(reply->result_case == UNWRAPPED, "%s", faults[_i]);
    reply_free(reply);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* What says "this blob is bad" of good blobs too says nothing of a blob. */
START_TEST(a_token_that_opens_nothing_blames_no_blob)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, "C_UnwrapKey every rv 110");
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    fault_now();
    expect_failed(worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40),
                  KEK__PROVIDER__CAUSE__LINK, "CKR_WRAPPED_KEY_INVALID");
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* Whatever call fails, each session object made is given back, or its session is closed. */
START_TEST(no_session_object_outlives_its_operation)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    static const char *const faults[] = {"", "C_WrapKey 1 rv 5", "C_GetAttributeValue 1 rv 5",
                                         "C_GetAttributeValue 1 rv 150", "C_DestroyObject 1 rv 5"};
    fault_put(&token, faults[_i]);
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    fault_now();
    reply_free(worker_wrap(&worker, &id, data_key));
    reply_free(worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40));
    ck_assert_uint_eq(fault_count("C_CreateObject") + fault_count("C_UnwrapKey"),
                      fault_count("C_DestroyObject"));
    expect_works(&worker, &id);
    ck_assert_uint_eq(fault_count("C_CloseSession"), _i == 4 ? 1 : 0);
    reply_free(blob);
    worker_end(&worker);
}
END_TEST

/* What the design promises: an unwrap is one C_UnwrapKey, a wrap is one C_WrapKey, and an object made and
 * destroyed. */
START_TEST(an_operation_costs_no_more_calls_than_it_must)
{
    struct token token;
    struct kek_id id;
    token_make_with_key(&token, &id);
    fault_put(&token, "");
    fault_later();
    struct worker worker;
    worker_start(&worker, "serve", fault_uri);
    fault_now();
    Kek__Provider__Reply *blob = worker_wrap(&worker, &id, data_key);
    ck_assert_int_eq(blob->result_case, WRAPPED);
    ck_assert_uint_eq(fault_count(NULL), 3);
    Kek__Provider__Reply *reply =
        worker_unwrap(&worker, &id, KEK_WRAP_AES_KW, blob->wrapped->blob.data, 40);
    ck_assert_int_eq(reply->result_case, UNWRAPPED);
    reply_free(reply);
    ck_assert_uint_eq(fault_count(NULL), 6);
    ck_assert_uint_eq(fault_count("C_WrapKey"), 1);
    ck_assert_uint_eq(fault_count("C_UnwrapKey"), 1);
    reply_free(blob);
    worker_end(&worker);
    ck_assert_uint_eq(fault_count("C_Finalize") + fault_count("C_Logout"), 0);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pkcs11 faults");
    TCase *c = tcase_create("faults");
    tcase_set_timeout(c, 300);
    tcase_add_test(c, a_call_that_hangs_holds_up_no_other_session_and_not_the_end);
    tcase_add_loop_test(c, a_start_survives_a_failure_of_any_call, 0, ERRORS);
    tcase_add_loop_test(c, an_operation_survives_a_failure_of_any_call, 0, ERRORS);
    tcase_add_loop_test(c, a_failure_that_passes_chooses_no_other_algorithm, 0, 6);
    tcase_add_loop_test(c, a_failure_that_passes_fails_no_operation, 0, 8);
    tcase_add_test(c, a_token_that_opens_nothing_blames_no_blob);
    tcase_add_loop_test(c, no_session_object_outlives_its_operation, 0, 5);
    tcase_add_test(c, an_operation_costs_no_more_calls_than_it_must);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return worker_tests_run(suite());
}
