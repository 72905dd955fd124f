/* The pool's workers: starts, logins, back-off, recycling, users, ends. */
#include "pool_rig.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "kek/durable.h"

START_TEST(a_worker_gets_its_settings_and_an_environment_without_kekds_own)
{
    struct rig rig;
    static char keep[] = "FAKE_SHOW=from-env", args[] = "some-args", label[] = "own";
    struct kek_config_version version = {.number = 3, .label = label, .state = KEK_STATE_ACTIVE};
    rig_init(&rig, 1);
    setenv("LISTEN_FDS", "1", 1);
    setenv("FAKE_SHOW", "from-kekd", 1);
    rig.env[0][1] = keep;
    rig.providers[0].init_args = args;
    rig.providers[0].versions = &version;
    rig.providers[0].version_count = 1;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert(rig_logged(&rig, " serve uid="));
    ck_assert(rig_logged(&rig, "listen=no show=from-env"));
    ck_assert(rig_logged(&rig, "sessions=2 keyring=k init_args=some-args versions=1 alg=0"));
    rig_done(&rig);
}
END_TEST

START_TEST(the_second_worker_starts_once_the_first_has_logged_in)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig.providers[0].processes = 3;
    rig_write(&rig, "start", "late-login");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_count(&rig, "login") == 1);
    rig_pause(&rig, 50);
    ck_assert_uint_eq(rig_count(&rig, "start"), 1);
    rig_write(&rig, "go", "");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 3);
    ck_assert(rig_logged(&rig, "alg=1 strategy=0")); /* the successors are told what was proven */
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 3);
    rig_done(&rig);
}
END_TEST

START_TEST(what_was_proven_is_remembered_and_a_forced_strategy_is_passed_on_beside_it)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig.providers[0].strategy = KEK_STRATEGY_ENCRYPT;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert(rig_logged(&rig, "alg=0 strategy=2"));
    /* A successor whose keys all only unwrap proves nothing, and the next one is told all the same. */
    rig_write(&rig, "start", "proves-none");
    static const char *const ends[] = {"once:exit", "once:exit again"};
    for (size_t i = 0; i < 2; i++) {
        struct outcome out;
        rig_write(&rig, "log", "");
        rig_do(&rig, &out, KEK_POOL_ANY, ends[i], 0);
        RIG_UNTIL(&rig, rig_count(&rig, "hello") == 1 && rig_ready(&rig, 0) == 1);
        ck_assert(rig_logged(&rig, "alg=1 strategy=2"));
    }
    rig_done(&rig);
}
END_TEST

START_TEST(logins_to_one_token_are_one_at_a_time_over_all_providers)
{
    struct rig rig;
    rig_init(&rig, 2);
    rig_write(&rig, "start", "late-login");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_count(&rig, "hello") == 2 && rig_count(&rig, "login") == 1);
    rig_pause(&rig, 100);
    ck_assert_uint_eq(rig_count(&rig, "login"), 1);
    rig_write(&rig, "go", "");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_ready(&rig, 1) == 1);
    rig_done(&rig);
}
END_TEST

START_TEST(logins_to_two_tokens_do_not_wait_for_each_other)
{
    struct rig rig;
    rig_init(&rig, 2);
    rig_write(&rig, "start-a", "late-login");
    rig_write(&rig, "start-b", "other-token");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 1) == 1);
    ck_assert_uint_eq(rig_ready(&rig, 0), 0);
    rig_write(&rig, "go", "");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_done(&rig);
}
END_TEST

/* The lock file of the fake's token, held as another process would. */
static int hold_lock(struct rig *rig)
{
    char slot[KEK_LOGIN_SLOT_TEXT], path[200];
    kek_login_slot("S-1", slot);
    snprintf(path, sizeof path, "%s/login-%s.lock", rig->state, slot);
    int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC, 0600);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    return fd;
}

START_TEST(a_lock_held_elsewhere_is_waited_for_no_longer_than_start_timeout)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig.providers[0].start_timeout_ms = 100;
    rig_open(&rig);
    int fd = hold_lock(&rig);
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_DOWN);
    ck_assert(strstr(rig_status(&rig, 0).why.text, "another process") != NULL);
    ck_assert_uint_eq(rig_count(&rig, "login"), 0);
    close(fd);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_done(&rig);
}
END_TEST

/* How a start goes wrong, and what is said of it. */
static const struct {
    const char *words, *text;
    bool tried; /* C_Login was called */
} starts[] = {
    {"exit", "exited with status 3 before it was ready", false},
    {"garbage", "broke the protocol", false},
    {"other-protocol", "another version", false},
    {"module", "a: no module", false},
    {"pin-unusable", "readable by others", false},
    {"never", "not ready within", false},
    {"probe", "a: no strategy", true},
    {"never-login", "logging in", true},
    {"abort-login", "ended by signal 6 before it was ready", true},
    {"too-many", "malformed", true},
};

START_TEST(a_start_that_fails_is_told_and_tried_again)
{
    struct rig rig;
    struct outcome waiting, refused;
    struct kek_why why;
    rig_init(&rig, 1);
    rig.providers[0].start_timeout_ms = strstr(starts[_i].words, "never") != NULL ? 100 : 30000;
    rig_write(&rig, "start", starts[_i].words);
    rig_start(&rig);
    ck_assert_int_eq(rig_health(&rig, 0), KEK_POOL_STARTING);
    rig_unwrap(&rig, &waiting, KEK_POOL_ANY, "waiting", 0);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_DOWN && rig_count(&rig, "start") >= 2);
    struct kek_pool_provider status = rig_status(&rig, 0);
    ck_assert_msg(strstr(status.why.text, starts[_i].text) != NULL, "%s", status.why.text);
    ck_assert_int_eq(status.why.text[0], 'a');
    ck_assert_uint_ge(status.failures, 1);
    ck_assert_int_eq(rig_count(&rig, "login") > 0, starts[_i].tried);

    /* A call whose time ends meanwhile hears the reason; no worker for long: refused at once. */
    rig_do(&rig, &refused, KEK_POOL_ANY, "brief", 20);
    ck_assert_int_eq(refused.rc, KEK_UNAVAILABLE);
    ck_assert(strstr(refused.why.text, starts[_i].text) != NULL);
    kek_pool_times(rig.pool)->unready = 0;
    ck_assert_int_eq(rig_refused(&rig, "x", &why), KEK_UNAVAILABLE);
    ck_assert(strstr(why.text, starts[_i].text) != NULL);

    rig.providers[0].start_timeout_ms = 30000;
    rig_remove(&rig, "start");
    rig_wait(&rig, &waiting);
    rig_check(&waiting, "waiting");
    rig_done(&rig);
}
END_TEST

START_TEST(a_late_start_serves_the_calls_that_waited)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "late");
    rig_start(&rig);
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "early", 50000);
    RIG_UNTIL(&rig, rig_count(&rig, "hello") == 1);
    ck_assert_msg(rig_health(&rig, 0) == KEK_POOL_STARTING, "%s", rig_status(&rig, 0).why.text);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out);
    rig_check(&out, "early");
    rig_done(&rig);
}
END_TEST

START_TEST(a_missing_worker_program_at_spawn_is_a_failed_start)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_open(&rig);
    rig_remove(&rig, "bin/kekd-pkcs11");
    kek_pool_start(rig.pool);
    ck_assert_int_eq(rig_health(&rig, 0), KEK_POOL_DOWN);
    ck_assert(strstr(rig_status(&rig, 0).why.text, "kekd-pkcs11") != NULL);
    rig_done(&rig);
}
END_TEST

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
    char slot[KEK_LOGIN_SLOT_TEXT], record[64];
    kek_login_slot("S-1", slot);
    snprintf(record, sizeof record, "state/pin-refused-%s", slot);
    RIG_UNTIL(&rig, !rig_has(&rig, record));
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
    char slot[KEK_LOGIN_SLOT_TEXT], record[64];
    kek_login_slot("S-1", slot);
    snprintf(record, sizeof record, "state/pin-refused-%s", slot);
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
    char slot[KEK_LOGIN_SLOT_TEXT], record[64];
    rig_init(&rig, 1);
    kek_login_slot("S-1", slot);
    snprintf(record, sizeof record, "state/pin-refused-%s", slot);
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
    char slot[KEK_LOGIN_SLOT_TEXT], record[64];
    kek_login_slot("S-1", slot);
    snprintf(record, sizeof record, "state/pin-refused-%s", slot);
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
    char slot[KEK_LOGIN_SLOT_TEXT], record[64];
    kek_login_slot("S-1", slot);
    snprintf(record, sizeof record, "state/pin-refused-%s", slot);
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

START_TEST(worn_workers_are_replaced_one_by_one_without_a_failed_call)
{
    struct rig rig;
    struct outcome out;
    size_t calls = 0;
    rig_init(&rig, 1);
    rig.providers[0].processes = 2;
    rig.providers[0].recycle_after = 50;
    rig_start(&rig);
    for (uint64_t until = kek_clock_ms() + RIG_PATIENCE_MS; rig_status(&rig, 0).recycled < 4;) {
        ck_assert(kek_clock_ms() < until);
        rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
        rig_check(&out, "x");
        calls++;
    }
    ck_assert_uint_ge(calls, 80); /* nobody is recycled before 50 less a fifth */
    struct kek_pool_provider status = rig_status(&rig, 0);
    ck_assert_uint_eq(status.failures, 0);
    ck_assert_uint_eq(status.crashed + status.killed, 0);
    ck_assert_uint_eq(status.operations, calls);
    ck_assert_uint_eq(rig_count(&rig, "op"), calls);
    rig_done(&rig);
}
END_TEST

START_TEST(a_recycle_that_cannot_start_its_successor_keeps_the_old_worker)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.providers[0].recycle_after = 3;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_write(&rig, "start", "module");
    for (size_t i = 0; i < 20; i++) {
        rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
        rig_check(&out, "x");
    }
    RIG_UNTIL(&rig, rig_status(&rig, 0).spawned >= 3);
    ck_assert_uint_eq(rig_ready(&rig, 0), 1);
    ck_assert_uint_eq(rig_status(&rig, 0).recycled, 0);
    rig_remove(&rig, "start");
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_worker_that_has_grown_is_replaced)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.providers[0].recycle_memory = 1 << 30;
    rig_write(&rig, "start", "bloat");
    rig_start(&rig);
    kek_pool_times(rig.pool)->memory = 0;
    for (size_t i = 0; i < 60; i++) {
        rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
    }
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 1);
    rig.providers[0].recycle_memory = 2 << 20; /* it holds some 4 MiB now */
    rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
    rig_check(&out, "x");
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_fresh_call_is_answered_by_a_worker_that_was_spawned_after_it)
{
    struct rig rig;
    struct outcome one, two, old;
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    struct kek_pool_request list = {.op = KEK_POOL_LIST, .fresh = true};
    rig_submit(&rig, &one, &list, 0);
    rig_submit(&rig, &two, &list, 0);
    rig_unwrap(&rig, &old, 0, "not fresh", 0);
    rig_wait(&rig, &old);
    ck_assert_uint_eq(one.ends, 0); /* the old worker answers others, not these */
    rig_wait(&rig, &one);
    rig_wait(&rig, &two);
    ck_assert_int_eq(one.rc, KEK_OK);
    ck_assert_int_eq(two.rc, KEK_OK);
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 1);
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 2);
    ck_assert_uint_eq(rig_ready(&rig, 0), 1);
    /* Given up before its worker came: nothing is left to wait for. */
    kek_pool_cancel(rig_submit(&rig, &one, &list, 0));
    rig_pause(&rig, 50);
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 2);
    rig_done(&rig);
}
END_TEST

START_TEST(ready_workers_that_are_lost_in_a_row_are_replaced_more_slowly)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    kek_pool_times(rig.pool)->storm = 600000;
    uint64_t began = kek_clock_ms();
    for (int i = 0; i < 5; i++) {
        RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
        rig_do(&rig, &out, 0, i % 2 == 0 ? "once:kill even" : "once:kill odd", 0);
        char marker[64];
        snprintf(marker, sizeof marker, "once-once:kill_%s", i % 2 == 0 ? "even" : "odd");
        rig_remove(&rig, marker);
    }
    /* The third, fourth and fifth wait 100, 200 and 400 ms, each less a fifth. */
    ck_assert_uint_ge(kek_clock_ms() - began, 560);
    rig_done(&rig);
}
END_TEST

START_TEST(a_worker_that_stays_after_end_of_file_is_killed)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "ignore-eof");
    rig_start(&rig);
    kek_pool_times(rig.pool)->leave = 30;
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_done(&rig); /* looks for what is left */
}
END_TEST

START_TEST(a_pool_closes_at_any_moment_of_a_start)
{
    static const char *const words[] = {"never", "late", "late-login", "exit", "module", ""};
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        struct rig rig;
        rig_init(&rig, 2);
        rig_write(&rig, "start", words[i]);
        rig_start(&rig);
        kek_pool_times(rig.pool)->leave = 30;
        rig_pause(&rig, i * 7);
        rig_done(&rig);
    }
}
END_TEST

START_TEST(a_pool_is_not_made_when_something_is_missing)
{
    struct rig rig;
    struct kek_why why;
    static char nobody[] = "no-such-user-here", folder[] = "/nonexistent/deeper/state";
    static char none[] = "no-such-group-here", *groups[] = {none, NULL};
    rig_init(&rig, 1);
    ck_assert_int_eq(uv_loop_init(&rig.loop), 0);

    rig.config.state_dir = folder;
    ck_assert_ptr_null(kek_pool_new(&rig.loop, &rig.settings, &why));
    ck_assert_int_eq(why.rc, KEK_NOT_FOUND);
    ck_assert(strstr(why.text, "state_dir") != NULL);
    rig_write(&rig, "state", "");
    rig.config.state_dir = rig.state;
    ck_assert_ptr_null(kek_pool_new(&rig.loop, &rig.settings, &why));
    ck_assert_int_eq(why.rc, KEK_INVALID);
    rig_remove(&rig, "state");

    rig.settings.worker_dir = rig.folder;
    ck_assert_ptr_null(kek_pool_new(&rig.loop, &rig.settings, &why));
    ck_assert_int_eq(why.rc, KEK_NOT_FOUND);
    ck_assert(strstr(why.text, "kekd-pkcs11") != NULL);
    rig.settings.worker_dir = rig.workers;

    rig.providers[0].user = nobody;
    ck_assert_ptr_null(kek_pool_new(&rig.loop, &rig.settings, &why));
    ck_assert_int_eq(why.rc, KEK_NOT_FOUND);
    rig.providers[0].user = NULL;
    rig.providers[0].groups = groups;
    ck_assert_ptr_null(kek_pool_new(&rig.loop, &rig.settings, &why));
    ck_assert_int_eq(why.rc, geteuid() == 0 ? KEK_NOT_FOUND : KEK_DENIED);
    rig.providers[0].groups = NULL;

    static char big[KEK_PROVIDER_MESSAGE_MAX + 1];
    memset(big, 'x', sizeof big - 1);
    rig.providers[0].init_args = big;
    ck_assert_ptr_null(kek_pool_new(&rig.loop, &rig.settings, &why));
    ck_assert_int_eq(why.rc, KEK_TOO_LARGE);
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    struct stat st;
    ck_assert_int_eq(stat(rig.state, &st), 0);
    ck_assert_int_eq(st.st_mode & 0777, 0700);
    rig_done(&rig);
}
END_TEST

START_TEST(a_worker_runs_as_its_user_with_its_groups_alone)
{
    struct rig rig;
    struct kek_why why;
    static char user[] = "nobody", group[] = "daemon", *groups[] = {group, NULL};
    rig_init(&rig, 1);
    rig.providers[0].user = user;
    rig.providers[0].groups = groups;
    if (geteuid() != 0) {
        ck_assert_int_eq(uv_loop_init(&rig.loop), 0);
        ck_assert_ptr_null(kek_pool_new(&rig.loop, &rig.settings, &why));
        ck_assert_int_eq(why.rc, KEK_DENIED);
        ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
        rig_done(&rig);
        return;
    }
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert(rig_logged(&rig, "uid=65534 gid=65534 "));
    ck_assert(rig_logged(&rig, " groups=1,\n") || rig_logged(&rig, " groups=1, \n"));
    rig_done(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool-life");
    TCase *tcase = tcase_create("workers");
    tcase_set_timeout(tcase, 180);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, a_worker_gets_its_settings_and_an_environment_without_kekds_own);
    tcase_add_test(tcase, the_second_worker_starts_once_the_first_has_logged_in);
    tcase_add_test(tcase,
                   what_was_proven_is_remembered_and_a_forced_strategy_is_passed_on_beside_it);
    tcase_add_test(tcase, logins_to_one_token_are_one_at_a_time_over_all_providers);
    tcase_add_test(tcase, logins_to_two_tokens_do_not_wait_for_each_other);
    tcase_add_test(tcase, a_lock_held_elsewhere_is_waited_for_no_longer_than_start_timeout);
    tcase_add_loop_test(tcase, a_start_that_fails_is_told_and_tried_again, 0,
                        sizeof starts / sizeof starts[0]);
    tcase_add_test(tcase, a_late_start_serves_the_calls_that_waited);
    tcase_add_test(tcase, a_missing_worker_program_at_spawn_is_a_failed_start);
    tcase_add_test(tcase, a_wrong_pin_is_tried_once_over_restarts_and_roles_until_its_file_changes);
    tcase_add_test(tcase, a_second_wrong_pin_is_tried_once_too);
    tcase_add_test(tcase, a_removed_record_allows_one_more_try);
    tcase_add_test(tcase, a_retry_that_is_asked_for_is_one_more_try_without_a_restart);
    tcase_add_test(tcase, a_retry_forgets_one_providers_refusals_or_all);
    tcase_add_test(tcase, a_damaged_record_lets_nobody_log_in);
    tcase_add_test(tcase, an_officers_login_keeps_the_record_of_kekds_pin);
    tcase_add_test(tcase, a_refusal_that_cannot_be_recorded_still_holds_in_this_process);
    tcase_add_test(tcase, a_token_that_would_lock_itself_is_not_logged_in_to);
    tcase_add_test(tcase, a_low_count_of_tries_is_reported_and_logged_in_to);
    tcase_add_test(tcase, worn_workers_are_replaced_one_by_one_without_a_failed_call);
    tcase_add_test(tcase, a_recycle_that_cannot_start_its_successor_keeps_the_old_worker);
    tcase_add_test(tcase, a_worker_that_has_grown_is_replaced);
    tcase_add_test(tcase, a_fresh_call_is_answered_by_a_worker_that_was_spawned_after_it);
    tcase_add_test(tcase, ready_workers_that_are_lost_in_a_row_are_replaced_more_slowly);
    tcase_add_test(tcase, a_worker_that_stays_after_end_of_file_is_killed);
    tcase_add_test(tcase, a_pool_closes_at_any_moment_of_a_start);
    tcase_add_test(tcase, a_pool_is_not_made_when_something_is_missing);
    tcase_add_test(tcase, a_worker_runs_as_its_user_with_its_groups_alone);
    SRunner *runner = srunner_create(suite);
    srunner_run_all(runner, CK_NORMAL);
    int failed = srunner_ntests_failed(runner);
    srunner_free(runner);
    return failed == 0 ? 0 : 1;
}
