/* The pool and the PIN: logins without a clear answer, which may have been tries. */
#include "pool_record.h"

/* How a login ends without a clear answer, and what is said of it. */
static const struct {
    const char *words, *text;
} unclear[] = {
    {"link-login", "an answer to C_Login that may have been a try of the PIN (0x30), 2 of 3"},
    {"abort-login", "no answer to C_Login that may have been a try of the PIN, 2 of 3"},
    {"kill-login", "no answer to C_Login that may have been a try of the PIN, 2 of 3"},
    {"never-login", "no answer to C_Login that may have been a try of the PIN, 2 of 3"},
};

START_TEST(what_may_have_been_a_try_is_bounded_over_workers_restarts_and_roles)
{
    struct rig rig;
    struct kek_why why;
    size_t forgotten;
    char record[RECORD_NAME];
    record_name("S-1", record);
    rig_init(&rig, 1);
    rig.providers[0].start_timeout_ms = strcmp(unclear[_i].words, "never-login") == 0 ? 300 : 30000;
    rig_write(&rig, "start", unclear[_i].words);
    rig_open(&rig);
    rig.pool->backends[0].logins.unsure_ms = 50;
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, strstr(rig_status(&rig, 0).why.text, unclear[_i].text) != NULL);
    ck_assert_uint_eq(rig_count(&rig, "login"), 2);
    for (int restart = 0; restart < 3; restart++) {
        rig_close(&rig);
        ck_assert(record_says(&rig, record, restart == 0 ? "\"tries\": 2" : "\"tries\": 3"));
        rig.settings.officer = restart == 1;
        rig_open(&rig);
        rig.pool->backends[0].logins.unsure_ms = 50;
        kek_pool_start(rig.pool);
        RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
        size_t spawned = rig_status(&rig, 0).spawned;
        RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= spawned + 3); /* looks, no login */
        why = rig_status(&rig, 0).why;
        ck_assert_uint_eq(rig_count(&rig, "login"), 3);
        ck_assert_uint_eq(rig.logins[KEK_POOL_LOGIN_UNCLEAR], 3);
        ck_assert(strstr(why.text, "may have been tried 3 times") != NULL);
        ck_assert(strstr(why.text, "kekctl pin retry") != NULL);
        ck_assert_uint_eq(why.code, strcmp(unclear[_i].words, "link-login") == 0 ? 0x30 : 0);
    }
    /* The operator's word frees it, and so does a changed file. */
    RIG_UNTIL(&rig, record_says(&rig, record, "\"tries\": 3"));
    ck_assert_int_eq(kek_login_retry(rig.state, rig.providers[0].name, &forgotten, &why), KEK_OK);
    ck_assert_uint_eq(forgotten, 1);
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 6 && rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    rig_write(&rig, "pin", "wrong");
    rig_write(&rig, "pin", "right");
    rig_remove(&rig, "start");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    RIG_UNTIL(&rig, !rig_has(&rig, record));
    rig_done(&rig);
}
END_TEST

START_TEST(a_service_is_spoken_of_without_the_words_of_a_token)
{
    static const struct {
        const char *words, *says, *end;
    } cases[] = {
        {"link-login", "an answer to the login that may have been a try of the PIN (HTTP 48), 2 of",
         "3 times without a clear answer (last HTTP 48)"},
        {"kill-login", "no answer to the login that may have been a try of the PIN, 2 of 3",
         "3 times without a clear answer (last none)"},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct rig rig;
        rig_init(&rig, 1);
        rig.providers[0].setting_count = 0; /* no URI of a token: it is a service */
        rig_write(&rig, "start", cases[i].words);
        rig_open(&rig);
        rig.pool->backends[0].logins.unsure_ms = 400;
        kek_pool_start(rig.pool);
        RIG_UNTIL(&rig, strstr(rig_status(&rig, 0).why.text, cases[i].says) != NULL);
        /* Another kekd that comes too soon after it says the same. */
        rig_close(&rig);
        rig_open(&rig);
        kek_pool_start(rig.pool);
        RIG_UNTIL(&rig, strstr(rig_status(&rig, 0).why.text, ": the next one follows ") != NULL);
        ck_assert_ptr_nonnull(strstr(rig_status(&rig, 0).why.text, cases[i].says));
        ck_assert_int_ne(rig_status(&rig, 0).why.native, KEK_NATIVE_PKCS11);
        rig_close(&rig);
        rig_open(&rig);
        rig.pool->backends[0].logins.unsure_ms = 1;
        kek_pool_start(rig.pool);
        RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
        ck_assert_ptr_nonnull(strstr(rig_status(&rig, 0).why.text, cases[i].end));
        rig_done(&rig);
    }
}
END_TEST

START_TEST(a_success_forgets_what_may_have_been_a_try)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_open(&rig);
    kek_pool_start(rig.pool);
    for (int round = 0; round < 4; round++) {
        char blob[32];
        RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
        rig_write(&rig, "start", "link-login");
        snprintf(blob, sizeof blob, "once:kill %d", round);
        rig_unwrap(&rig, &out, 0, blob, 0);
        RIG_UNTIL(&rig, strstr(rig_status(&rig, 0).why.text, "1 of 3") != NULL);
        rig_remove(&rig, "start");
        rig_wait(&rig, &out);
        rig_check(&out, blob);
    }
    rig_done(&rig);
}
END_TEST

START_TEST(a_token_that_was_away_at_the_login_costs_no_try)
{
    static const char *const words[] = {"away-login", "probe"}; /* before it, and after it */
    struct rig rig;
    char record[RECORD_NAME];
    record_name("S-1", record);
    rig_init(&rig, 1);
    rig_write(&rig, "start", words[_i]);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_count(&rig, "login") >= 6); /* within seconds: quick, and without an end */
    ck_assert_int_eq(rig_health(&rig, 0), KEK_POOL_DOWN);
    ck_assert(strstr(rig_status(&rig, 0).why.text, "try of the PIN") == NULL);
    rig_remove(&rig, "start");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_close(&rig);
    ck_assert(!rig_has(&rig, record));
    rig_done(&rig);
}
END_TEST

START_TEST(the_pauses_after_what_may_have_been_a_try_grow_and_outlast_a_restart)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "link-login");
    rig_open(&rig);
    ck_assert_uint_eq(kek_login_pause(&rig.pool->backends[0].logins, 0), 0);
    ck_assert_uint_eq(kek_login_pause(&rig.pool->backends[0].logins, 1), 1000);
    ck_assert_uint_eq(kek_login_pause(&rig.pool->backends[0].logins, 2), 30000);
    rig.pool->backends[0].logins.unsure_ms = RIG_PATIENCE_MS * 10;
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_DOWN);
    ck_assert_uint_ge(rig.pool->backends[0].next_start_ms, kek_clock_ms() + RIG_PATIENCE_MS);
    rig_close(&rig);
    rig_remove(&rig, "start");
    rig_open(&rig);
    rig.pool->backends[0].logins.unsure_ms = RIG_PATIENCE_MS * 10;
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, strstr(rig_status(&rig, 0).why.text, "the next one follows") != NULL);
    ck_assert_uint_ge(rig.pool->backends[0].next_start_ms, kek_clock_ms() + RIG_PATIENCE_MS);
    ck_assert_uint_eq(rig_count(&rig, "login"), 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_try_is_on_record_before_it_is_made)
{
    struct rig rig;
    char record[RECORD_NAME];
    record_name("S-1", record);
    rig_init(&rig, 1);
    rig_write(&rig, "start", "late-login");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 1);
    ck_assert(record_says(&rig, record, "\"tries\": 1") && record_says(&rig, record, "\"unsure\""));
    rig_write(&rig, "go", "");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && !rig_has(&rig, record));
    rig_done(&rig);
}
END_TEST

START_TEST(a_pool_that_closes_before_the_login_is_sent_takes_its_try_back)
{
    char record[RECORD_NAME];
    record_name("S-1", record);
    for (int turns = 0; turns < 40; turns++) {
        struct rig rig;
        rig_init(&rig, 1);
        rig_start(&rig);
        RIG_UNTIL(&rig, rig.pool->backends[0].logins.writes > 0 || rig_count(&rig, "login") > 0);
        rig_close(&rig);
        size_t tried = rig_count(&rig, "login");
        ck_assert_msg(tried > 0 || !rig_has(&rig, record), "a try that was none is on record");
        rig_done(&rig);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool-tries");
    TCase *tcase = tcase_create("logins");
    tcase_set_timeout(tcase, 180);
    suite_add_tcase(suite, tcase);
    tcase_add_loop_test(tcase, what_may_have_been_a_try_is_bounded_over_workers_restarts_and_roles,
                        0, (int)(sizeof unclear / sizeof unclear[0]));
    tcase_add_test(tcase, a_service_is_spoken_of_without_the_words_of_a_token);
    tcase_add_test(tcase, a_success_forgets_what_may_have_been_a_try);
    tcase_add_loop_test(tcase, a_token_that_was_away_at_the_login_costs_no_try, 0, 2);
    tcase_add_test(tcase, the_pauses_after_what_may_have_been_a_try_grow_and_outlast_a_restart);
    tcase_add_test(tcase, a_try_is_on_record_before_it_is_made);
    tcase_add_test(tcase, a_pool_that_closes_before_the_login_is_sent_takes_its_try_back);
    return suite_run(suite);
}
