/* The pool and the PIN: refusals, their record, and what allows another try. */
#include "pool_rig.h"

#include <stdio.h>
#include <string.h>

#include "kek/durable.h"

#define RECORD_NAME 64

/* Where refused PINs of a token stand, in the rig's folder. */
static void record_name(const char *token, char record[static RECORD_NAME])
{
    char slot[KEK_LOGIN_SLOT_TEXT];
    kek_login_slot(token, slot);
    snprintf(record, RECORD_NAME, "state/pin-refused-%s", slot);
}

START_TEST(a_wrong_pin_is_tried_once_over_restarts_and_roles_until_its_file_changes)
{
    struct rig rig;
    struct outcome out;
    struct kek_why why;
    rig_init(&rig, 2);
    rig.providers[0].processes = 2;
    rig_write(&rig, "pin", "wrong");
    for (int restart = 0; restart < 5; restart++) {
        rig.settings.officer = restart == 3;
        rig_start(&rig);
        if (restart == 0) {
            /* Waits, and is failed as soon as waiting cannot help. */
            rig_unwrap(&rig, &out, KEK_POOL_ANY, "waiting", 0);
            rig_wait(&rig, &out);
            ck_assert_int_eq(out.rc, KEK_DENIED);
        }
        RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED &&
                            rig_health(&rig, 1) == KEK_POOL_PIN_REFUSED);
        size_t spawned = rig_status(&rig, 0).spawned;
        RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= spawned + 3); /* looks, no login */
        why = rig_status(&rig, 0).why;
        ck_assert_int_eq(why.native, KEK_NATIVE_PKCS11);
        ck_assert_uint_eq(why.code, 0xa0);
        ck_assert(strstr(why.text, "file:/etc/kekd/the.pin") != NULL);
        ck_assert(strstr(why.text, "0xa0") != NULL);
        ck_assert(strstr(why.text, "pin-refused-") != NULL);
        ck_assert_int_eq(rig_refused(&rig, "x", &why), KEK_DENIED);
        ck_assert_uint_eq(why.code, 0xa0);
        if (restart < 4) {
            rig_close(&rig);
        }
    }
    ck_assert_uint_eq(rig_count(&rig, "login"), 1);
    rig_write(&rig, "pin", "right");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2 && rig_ready(&rig, 1) == 1);
    ck_assert_uint_eq(rig_count(&rig, "login"), 4);
    char record[RECORD_NAME];
    record_name("S-1", record);
    RIG_UNTIL(&rig, !rig_has(&rig, record));
    rig_done(&rig);
}
END_TEST

START_TEST(a_refusal_that_comes_while_the_pool_closes_is_recorded)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "pin", "wrong");
    rig_write(&rig, "start", "slow-login");
    for (int restart = 0; restart < 3; restart++) {
        rig_start(&rig);
        kek_pool_times(rig.pool)->leave = 30;
        kek_pool_times(rig.pool)->login = RIG_PATIENCE_MS;
        RIG_UNTIL(&rig, rig_count(&rig, "login") == 1);
        if (restart > 0) {
            RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
        }
        rig_close(&rig); /* the first time in the middle of the login */
    }
    ck_assert_uint_eq(rig_count(&rig, "login"), 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_login_that_does_not_end_holds_the_close_up_for_a_while_only)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "never-login");
    rig_start(&rig);
    kek_pool_times(rig.pool)->login = 30;
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 1);
    rig_done(&rig); /* looks for what is left */
}
END_TEST

START_TEST(a_login_that_succeeds_while_the_pool_closes_leaves_nothing_behind)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "slow-login");
    rig_start(&rig);
    kek_pool_times(rig.pool)->leave = 30;
    kek_pool_times(rig.pool)->login = RIG_PATIENCE_MS;
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 1);
    rig_close(&rig);
    ck_assert(rig_logged(&rig, "logged-in"));
    rig_done(&rig);
}
END_TEST

START_TEST(a_second_wrong_pin_is_tried_once_too)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "pin", "wrong");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    rig_write(&rig, "pin", "wrong again");
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 2);
    size_t spawned = rig_status(&rig, 0).spawned;
    RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= spawned + 3);
    ck_assert_uint_eq(rig_count(&rig, "login"), 2);
    rig_done(&rig);
}
END_TEST

START_TEST(a_removed_record_allows_one_more_try)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "pin", "wrong");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    char record[RECORD_NAME];
    record_name("S-1", record);
    RIG_UNTIL(&rig, rig_has(&rig, record));
    rig_remove(&rig, record);
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 2 && rig_has(&rig, record));
    rig_done(&rig);
}
END_TEST

START_TEST(a_retry_that_is_asked_for_is_one_more_try_without_a_restart)
{
    struct rig rig;
    struct kek_why why;
    size_t forgotten = 99;
    char record[RECORD_NAME];
    rig_init(&rig, 1);
    record_name("S-1", record);
    ck_assert_int_eq(kek_pool_pin_retry(rig.state, NULL, &forgotten, &why), KEK_OK);
    ck_assert_uint_eq(forgotten, 0);
    rig_write(&rig, "pin", "wrong");
    rig_start(&rig);
    for (size_t tries = 1; tries <= 3; tries++) {
        RIG_UNTIL(&rig, rig_count(&rig, "login") == tries && rig_has(&rig, record));
        size_t spawned = rig_status(&rig, 0).spawned;
        RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= spawned + 3); /* looks, no login */
        ck_assert_uint_eq(rig_count(&rig, "login"), tries);
        ck_assert(strstr(rig_status(&rig, 0).why.text, "kekctl pin retry") != NULL);
        ck_assert_int_eq(kek_pool_pin_retry(rig.state, "nobody", &forgotten, &why), KEK_OK);
        ck_assert_uint_eq(forgotten, 0);
        ck_assert(rig_has(&rig, record));
        const char *name = tries == 1 ? NULL : rig.providers[0].name;
        ck_assert_int_eq(kek_pool_pin_retry(rig.state, name, &forgotten, &why), KEK_OK);
        ck_assert_uint_eq(forgotten, 1);
    }
    rig_done(&rig);
}
END_TEST

START_TEST(a_retry_forgets_one_providers_refusals_or_all)
{
    static const char head[] = "kekd refused PINs 1\n";
    static const char a[] = "officer=0 pin_inode=1 pin_mtime_ns=-5 pin_size=4 code=0xa0 time_ms=1 "
                            "provider=a \n";
    static const char b[] = "officer=1 pin_inode=2 pin_mtime_ns=5 pin_size=4 code=0xa0 time_ms=1 "
                            "provider=b \n";
    static const char one[] = "state/pin-refused-0123456789abcdef";
    static const char two[] = "state/pin-refused-00000000000000ff";
    static const char other[] = "state/pin-refused-000000000000000x"; /* no record's name */
    struct rig rig;
    struct kek_why why;
    char both[512], path[200];
    size_t forgotten;
    rig_init(&rig, 1);
    rig_open(&rig);
    snprintf(both, sizeof both, "%s%s%s", head, a, b);
    rig_write(&rig, one, both);
    rig_write(&rig, two, both);
    rig_write(&rig, other, both);
    ck_assert_int_eq(kek_pool_pin_retry(rig.state, "a", &forgotten, &why), KEK_OK);
    ck_assert_uint_eq(forgotten, 2);
    struct kek_buf content;
    kek_buf_init(&content, 4096);
    snprintf(path, sizeof path, "%s/%s", rig.folder, one);
    ck_assert_int_eq(kek_durable_read(path, 4095, &content, NULL), KEK_OK);
    snprintf(both, sizeof both, "%s%s", head, b);
    ck_assert(kek_bytes_equal(kek_buf_bytes(&content), kek_bytes_of(both)));
    kek_buf_done(&content);
    rig_write(&rig, two, "damaged");
    ck_assert_int_eq(kek_pool_pin_retry(rig.state, "b", &forgotten, &why), KEK_INVALID);
    ck_assert(strstr(why.text, "damaged") != NULL);
    rig_write(&rig, one, both);
    ck_assert_int_eq(kek_pool_pin_retry(rig.state, NULL, &forgotten, &why), KEK_OK);
    ck_assert_uint_eq(forgotten, 2);
    ck_assert(!rig_has(&rig, one) && !rig_has(&rig, two) && rig_has(&rig, other));
    ck_assert_int_eq(kek_pool_pin_retry("/nonexistent/state", NULL, &forgotten, &why), KEK_OK);
    ck_assert_uint_eq(forgotten, 0);
    rig_done(&rig);
}
END_TEST

START_TEST(a_damaged_record_lets_nobody_log_in)
{
    static const char *const damages[] = {
        "",
        "nonsense\n",
        "kekd refused PINs 1\nofficer=0 pin_inode=x \n",
        "kekd refused PINs 1\nofficer=0 pin_inode=1 pin_mtime_ns=-1 pin_size=1 code=0xa0",
        "kekd refused PINs 1\nofficer=0 pin_inode=1 pin_mtime_ns=1 pin_size=1 code=0xa0 time_ms=1 "
        "\n",
        "kekd refused PINs 1\nofficer=0 pin_inode=1 pin_mtime_ns=1 pin_size=1 code=0xa0 time_ms=1 "
        "provider= \n",
    };
    char record[RECORD_NAME];
    record_name("S-1", record);
    for (size_t i = 0; i < sizeof damages / sizeof damages[0]; i++) {
        struct rig rig;
        rig_init(&rig, 1);
        rig_open(&rig);
        rig_write(&rig, record, damages[i]);
        kek_pool_start(rig.pool);
        RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
        ck_assert(strstr(rig_status(&rig, 0).why.text, "damaged") != NULL);
        ck_assert_uint_eq(rig_count(&rig, "login"), 0);
        rig_remove(&rig, record);
        RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
        rig_done(&rig);
    }
}
END_TEST

START_TEST(an_officers_login_keeps_the_record_of_kekds_pin)
{
    struct rig rig;
    char record[RECORD_NAME];
    record_name("S-1", record);
    rig_init(&rig, 1);
    rig.settings.officer = true;
    rig_open(&rig);
    rig_write(&rig, record,
              "kekd refused PINs 1\n"
              "officer=0 pin_inode=1 pin_mtime_ns=-5 pin_size=4 code=0xa0 time_ms=1 provider=a \n"
              "officer=1 pin_inode=2 pin_mtime_ns=5 pin_size=4 code=0xa0 time_ms=1 provider=a \n");
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_close(&rig); /* waits for the record */
    struct kek_buf content;
    char path[200];
    snprintf(path, sizeof path, "%s/%s", rig.folder, record);
    kek_buf_init(&content, 4096);
    ck_assert_int_eq(kek_durable_read(path, 4095, &content, NULL), KEK_OK);
    ck_assert(kek_bytes_equal(kek_buf_bytes(&content),
                              kek_bytes_of("kekd refused PINs 1\nofficer=0 pin_inode=1 "
                                           "pin_mtime_ns=-5 pin_size=4 code=0xa0 time_ms=1 "
                                           "provider=a \n")));
    kek_buf_done(&content);
    rig_done(&rig);
}
END_TEST

START_TEST(a_login_takes_back_its_own_providers_refusals_alone)
{
    struct rig rig;
    struct outcome out;
    char record[RECORD_NAME];
    record_name("S-1", record);
    rig_init(&rig, 2);
    rig_write(&rig, "pin-b", "wrong");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_health(&rig, 1) == KEK_POOL_PIN_REFUSED);
    RIG_UNTIL(&rig, rig_has(&rig, record));
    /* Each login of the one whose PIN is right would be another try for the other. */
    rig_do(&rig, &out, 0, "once:kill", 0);
    RIG_UNTIL(&rig, rig_count(&rig, "login a ") == 2 && rig_ready(&rig, 0) == 1);
    size_t spawned = rig_status(&rig, 1).spawned;
    RIG_UNTIL(&rig, rig_status(&rig, 1).spawned >= spawned + 3);
    ck_assert_uint_eq(rig_count(&rig, "login b "), 1);
    ck_assert(rig_has(&rig, record));
    rig_write(&rig, "pin-b", "right");
    RIG_UNTIL(&rig, rig_ready(&rig, 1) == 1);
    RIG_UNTIL(&rig, !rig_has(&rig, record));
    rig_done(&rig);
}
END_TEST

START_TEST(a_refusal_that_cannot_be_recorded_still_holds_in_this_process)
{
    struct rig rig;
    char slot[KEK_LOGIN_SLOT_TEXT], beside[160];
    rig_init(&rig, 1);
    rig_write(&rig, "pin", "wrong");
    rig_open(&rig);
    kek_login_slot("S-1", slot);
    snprintf(beside, sizeof beside, "%s/pin-refused-%s.new", rig.state, slot);
    ck_assert_int_eq(mkdir(beside, 0700), 0); /* in the way of the new file */
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= 4);
    ck_assert_uint_eq(rig_count(&rig, "login"), 1);
    ck_assert_int_eq(rmdir(beside), 0);
    rig_done(&rig);
}
END_TEST

START_TEST(a_token_that_would_lock_itself_is_not_logged_in_to)
{
    static const char *const words[] = {"final", "locked"};
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        rig_init(&rig, 1);
        rig_write(&rig, "start", words[i]);
        rig_start(&rig);
        RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= 3);
        ck_assert_int_eq(rig_health(&rig, 0), KEK_POOL_PIN_REFUSED);
        ck_assert_uint_eq(rig_count(&rig, "login"), 0);
        rig_remove(&rig, "start"); /* its officer has set it right */
        RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
        rig_done(&rig);
    }
}
END_TEST

START_TEST(the_file_that_is_named_is_the_one_that_was_used)
{
    static char uri[] = "pkcs11:token=t?module-path=/x.so&admin-pin-source=file:/other.pin&"
                        "pin-source=file:/the.pin";
    for (int officer = 0; officer < 2; officer++) {
        struct rig rig;
        rig_init(&rig, 1);
        rig.providers[0].uri = uri;
        rig.settings.officer = officer == 1;
        rig_write(&rig, "pin", "wrong");
        rig_start(&rig);
        RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
        ck_assert(strstr(rig_status(&rig, 0).why.text,
                         officer == 1 ? "in file:/other.pin" : "in file:/the.pin") != NULL);
        rig_done(&rig);
    }
}
END_TEST

START_TEST(a_refusal_at_a_pin_pad_names_no_file)
{
    static char uri[] = "pkcs11:token=t?module-path=/x.so";
    struct rig rig;
    rig_init(&rig, 1);
    rig.providers[0].uri = uri;
    rig_write(&rig, "pin", "wrong");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_PIN_REFUSED);
    struct kek_pool_provider status = rig_status(&rig, 0);
    ck_assert_msg(strstr(status.why.text,
                         "the PIN from its PIN pad: was refused (0xa0), not tried again: run "
                         "kekctl pin retry") != NULL,
                  "%s", status.why.text);
    rig_done(&rig);
}
END_TEST

START_TEST(a_pin_that_was_not_tried_is_not_recorded_as_refused)
{
    struct rig rig;
    char record[RECORD_NAME];
    record_name("S-1", record);
    rig_init(&rig, 1);
    rig_write(&rig, "start", "final-at-login"); /* somebody else used the tries up meanwhile */
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= 3);
    ck_assert_int_eq(rig_health(&rig, 0), KEK_POOL_PIN_REFUSED);
    ck_assert(strstr(rig_status(&rig, 0).why.text, "one more wrong PIN") != NULL);
    ck_assert(!rig_has(&rig, record));
    rig_remove(&rig, "start"); /* its officer has set it right */
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_low_count_of_tries_is_reported_and_logged_in_to)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "low");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert(rig_status(&rig, 0).pin_count_low);
    rig_done(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool-pin");
    TCase *tcase = tcase_create("logins");
    tcase_set_timeout(tcase, 180);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, a_wrong_pin_is_tried_once_over_restarts_and_roles_until_its_file_changes);
    tcase_add_test(tcase, a_refusal_that_comes_while_the_pool_closes_is_recorded);
    tcase_add_test(tcase, a_login_that_does_not_end_holds_the_close_up_for_a_while_only);
    tcase_add_test(tcase, a_login_that_succeeds_while_the_pool_closes_leaves_nothing_behind);
    tcase_add_test(tcase, a_second_wrong_pin_is_tried_once_too);
    tcase_add_test(tcase, a_removed_record_allows_one_more_try);
    tcase_add_test(tcase, a_retry_that_is_asked_for_is_one_more_try_without_a_restart);
    tcase_add_test(tcase, a_retry_forgets_one_providers_refusals_or_all);
    tcase_add_test(tcase, a_damaged_record_lets_nobody_log_in);
    tcase_add_test(tcase, an_officers_login_keeps_the_record_of_kekds_pin);
    tcase_add_test(tcase, a_login_takes_back_its_own_providers_refusals_alone);
    tcase_add_test(tcase, a_refusal_that_cannot_be_recorded_still_holds_in_this_process);
    tcase_add_test(tcase, a_token_that_would_lock_itself_is_not_logged_in_to);
    tcase_add_test(tcase, the_file_that_is_named_is_the_one_that_was_used);
    tcase_add_test(tcase, a_refusal_at_a_pin_pad_names_no_file);
    tcase_add_test(tcase, a_pin_that_was_not_tried_is_not_recorded_as_refused);
    tcase_add_test(tcase, a_low_count_of_tries_is_reported_and_logged_in_to);
    return suite_run(suite);
}
