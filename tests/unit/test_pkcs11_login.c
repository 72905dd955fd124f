/* The PIN and the login of kekd-pkcs11 on a SoftHSM whose calls fail or are late (tests/faults/fault.c). */
#include "fault.h"

#include <stdio.h>
#include <string.h>
#include <sys/prctl.h>
#include <sys/wait.h>
#include <unistd.h>

#define FAILED KEK__PROVIDER__REPLY__RESULT_FAILED

START_TEST(a_wrong_pin_is_tried_once)
{
    struct token token;
    char path[PATH_MAX + 8];
    token_make(&token);
    fault_put(&token, "");
    snprintf(path, sizeof path, "%s/pin", token.dir);
    worker_write(path, "not the pin", 11, 0600);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    worker_spawn(&worker, "serve");
    Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_TOKEN);
    ck_assert_uint_eq(reply->token->pin_size, 11);
    ck_assert(!reply->token->pin_count_low);
    reply_free(reply);
    reply = worker_login(&worker);
    ck_assert_int_eq(reply->result_case, FAILED);
    ck_assert_int_eq(reply->failed->step, KEK__PROVIDER__STEP__LOGIN);
    ck_assert_uint_eq(reply->failed->native, CKR_PIN_INCORRECT);
    ck_assert_str_eq(reply->failed->text, "C_Login: CKR_PIN_INCORRECT (0xa0)");
    expect_failed(reply, KEK__PROVIDER__CAUSE__PIN_REFUSED, "");
    expect_failed(worker_login(&worker), KEK__PROVIDER__CAUSE__BAD_REQUEST, "start has failed");
    expect_failed(worker_list(&worker), KEK__PROVIDER__CAUSE__BAD_REQUEST, "start has failed");
    worker_end(&worker);
    ck_assert_uint_eq(fault_count("C_Login"), 1);

    worker_spawn(&worker, "serve");
    reply = worker_hello(&worker, &hello);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_TOKEN);
    ck_assert(reply->token->pin_count_low);
    reply_free(reply);
    worker_end(&worker);
    ck_assert_uint_eq(fault_count("C_Login"), 1);
}
END_TEST

START_TEST(a_pin_is_not_tried_where_one_more_try_could_lock_it)
{
    static const char *const flags[] = {"C_GetTokenInfo every flags 20000",
                                        "C_GetTokenInfo every flags 40000"};
    static const char *const texts[] = {"FINAL_TRY", "LOCKED"};
    struct token token;
    token_make(&token);
    fault_put(&token, flags[_i]);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    worker_spawn(&worker, "serve");
    Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
    ck_assert_int_eq(reply->result_case, KEK__PROVIDER__REPLY__RESULT_TOKEN);
    ck_assert_int_eq(reply->token->pin_final_try, _i == 0);
    ck_assert_int_eq(reply->token->pin_locked, _i == 1);
    reply_free(reply);
    expect_failed(worker_login(&worker), KEK__PROVIDER__CAUSE__PIN_REFUSED, texts[_i]);
    worker_end(&worker);
    ck_assert_uint_eq(fault_count("C_Login"), 0);
}
END_TEST

/* "No such token" is not what an HSM that does not answer should look like. */
START_TEST(a_token_that_cannot_be_asked_is_not_just_missing)
{
    static const char *const faults[] = {"C_GetTokenInfo every rv 30", "C_GetSlotInfo every rv 30"};
    struct token token;
    token_make(&token);
    fault_put(&token, faults[_i]);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    worker_spawn(&worker, "serve");
    Kek__Provider__Reply *reply = worker_hello(&worker, &hello);
    ck_assert_int_eq(reply->result_case, FAILED);
    ck_assert_uint_eq(reply->failed->native, CKR_DEVICE_ERROR);
    ck_assert_int_eq(reply->failed->step, KEK__PROVIDER__STEP__TOKEN);
    ck_assert_ptr_nonnull(strstr(reply->failed->text, "no token matches"));
    expect_failed(reply, KEK__PROVIDER__CAUSE__LINK, "CKR_DEVICE_ERROR (0x30)");
    worker_end(&worker);
}
END_TEST

/* How C_Login failed, and whether that proves that the PIN was not tried (step TOKEN). */
static const struct {
    const char *fault;
    Kek__Provider__Step step;
    Kek__Provider__Cause cause;
} logins[] = {
    {"C_OpenSession every rv 30", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 3", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 32", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv b0", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv b3", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv e0", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv e1", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 190", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 102", KEK__PROVIDER__STEP__TOKEN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 5", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 6", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 30", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 101", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 80000123", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__LINK},
    {"C_Login every rv 2", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__BUSY},
    {"C_Login every rv 54", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__UNSUPPORTED},
    {"C_Login every rv a0", KEK__PROVIDER__STEP__LOGIN, KEK__PROVIDER__CAUSE__PIN_REFUSED},
    /* Once it is logged in nothing counts as a try any more. */
    {"C_OpenSession 2 rv b1", KEK__PROVIDER__STEP__PROBE, KEK__PROVIDER__CAUSE__BUSY},
    {"C_FindObjectsInit every rv 30", KEK__PROVIDER__STEP__PROBE, KEK__PROVIDER__CAUSE__LINK},
};

START_TEST(only_what_proves_that_the_token_was_away_is_no_try_of_the_pin)
{
    struct token token;
    token_make(&token);
    fault_put(&token, logins[_i].fault);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    hello.sessions = 2;
    worker_spawn(&worker, "serve");
    reply_free(worker_hello(&worker, &hello));
    Kek__Provider__Reply *reply = worker_login(&worker);
    ck_assert_int_eq(reply->result_case, FAILED);
    ck_assert_int_eq(reply->failed->step, logins[_i].step);
    expect_failed(reply, logins[_i].cause, "");
    worker_end(&worker);
}
END_TEST

/* The token says by its flags what its answer does not: that was a wrong PIN. */
START_TEST(an_unclear_answer_after_which_the_token_counts_a_wrong_pin_is_a_refusal)
{
    static const char *const answers[] = {"rv 5", "rv 102"};
    static const char *const texts[] = {"C_Login: CKR_GENERAL_ERROR (0x5)",
                                        "C_Login: CKR_USER_PIN_NOT_INITIALIZED (0x102)"};
    static const CK_RV codes[] = {CKR_GENERAL_ERROR, CKR_USER_PIN_NOT_INITIALIZED};
    char faults[128];
    struct token token;
    token_make(&token);
    snprintf(faults, sizeof faults, "C_Login every %s", answers[_i]);
    fault_put(&token, faults);
    struct worker worker;
    Kek__Provider__Hello hello;
    hello_init(&hello, fault_uri);
    for (size_t last = 0, round = 0; round < 2; round++) {
        worker_spawn(&worker, "serve");
        reply_free(worker_hello(&worker, &hello));
        Kek__Provider__Reply *reply = worker_login(&worker);
        ck_assert_uint_eq(reply->failed->native, codes[_i]);
        expect_failed(reply,
                      round == 0 ? KEK__PROVIDER__CAUSE__LINK : KEK__PROVIDER__CAUSE__PIN_REFUSED,
                      texts[_i]);
        worker_end(&worker);
        last = fault_count("C_GetTokenInfo");
        snprintf(faults, sizeof faults, "C_Login every %s\nC_GetTokenInfo %zu flags 10000",
                 answers[_i], last);
        fault_put(&token, faults);
    }
}
END_TEST

/* SoftHSM truncates its token file at a login: killed there with its parent, a worker would take the
 * token along. Somebody else holds the socket open, so that only the parent's death can tell it. */
START_TEST(a_worker_whose_parent_dies_finishes_its_login_first)
{
    struct token token;
    token_make(&token);
    fault_put(&token, "C_Login every delay 400");
    ck_assert_int_eq(prctl(PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0), 0);
    int hold[2], tell[2];
    ck_assert_int_eq(pipe(hold), 0);
    ck_assert_int_eq(pipe(tell), 0);
    pid_t parent = fork();
    ck_assert_int_ge(parent, 0);
    if (parent == 0) {
        struct worker worker;
        Kek__Provider__Hello hello;
        Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
        Kek__Provider__Login login = KEK__PROVIDER__LOGIN__INIT;
        close(hold[1]);
        hello_init(&hello, fault_uri);
        worker_spawn(&worker, "serve");
        reply_free(worker_hello(&worker, &hello));
        if (fork() == 0) {
            char byte;
            _exit(read(hold[0], &byte, 1) == 0 ? 0 : 1);
        }
        request.id = 77;
        request.op_case = KEK__PROVIDER__REQUEST__OP_LOGIN;
        request.login = &login;
        worker_send(&worker, &request);
        while (fault_count("C_Login") == 0) {
            usleep(1000);
        }
        _exit(write(tell[1], &worker.pid, sizeof worker.pid) == sizeof worker.pid ? 0 : 1);
    }
    close(hold[0]);
    pid_t pid;
    ck_assert_int_eq(read(tell[0], &pid, sizeof pid), (ssize_t)sizeof pid);
    int status;
    ck_assert_int_eq(waitpid(parent, &status, 0), parent);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(waitpid(pid, &status, 0), pid);
    ck_assert(WIFEXITED(status) && WEXITSTATUS(status) == 0);
    close(hold[1]);
    ck_assert_int_gt(wait(&status), 0);

    fault_later();
    struct worker next;
    worker_start(&next, "serve", token.uri);
    worker_end(&next);
}
END_TEST

static Suite *suite(void)
{
    Suite *s = suite_create("pkcs11 login");
    TCase *c = tcase_create("login");
    tcase_set_timeout(c, 300);
    tcase_add_test(c, a_wrong_pin_is_tried_once);
    tcase_add_loop_test(c, a_pin_is_not_tried_where_one_more_try_could_lock_it, 0, 2);
    tcase_add_loop_test(c, a_token_that_cannot_be_asked_is_not_just_missing, 0, 2);
    tcase_add_loop_test(c, only_what_proves_that_the_token_was_away_is_no_try_of_the_pin, 0,
                        (int)(sizeof logins / sizeof logins[0]));
    tcase_add_loop_test(c, an_unclear_answer_after_which_the_token_counts_a_wrong_pin_is_a_refusal,
                        0, 2);
    tcase_add_test(c, a_worker_whose_parent_dies_finishes_its_login_first);
    suite_add_tcase(s, c);
    return s;
}

int main(void)
{
    return worker_tests_run(suite());
}
