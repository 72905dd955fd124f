/* The pool's workers: starts, turns at the login, back-off, users. */
#include "pool_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>

START_TEST(a_worker_gets_its_settings_and_an_environment_without_kekds_own)
{
    struct rig rig;
    static char keep[] = "FAKE_SHOW=from-env", args[] = "some-args", label[] = "own";
    struct kek_config_version version = {.number = 3, .label = label, .state = KEK_STATE_ACTIVE};
    rig_init(&rig, 1);
    setenv("LISTEN_FDS", "1", 1);
    setenv("FAKE_SHOW", "from-kekd", 1);
    rig.env[0][1] = keep;
    rig_set(&rig, 0, "init_args", args);
    rig.providers[0].versions = &version;
    rig.providers[0].version_count = 1;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert(rig_logged(&rig, " serve uid="));
    ck_assert(rig_logged(&rig, "listen=no show=from-env"));
    ck_assert(rig_logged(&rig, "sessions=3 keyring=k versions=1 alg=0 uri=pkcs11:token=t"));
    ck_assert(rig_logged(&rig, " init_args=some-args"));
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
    ck_assert(rig_logged(&rig, "alg=1 ")); /* the successors are told what was proven */
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 3);
    rig_done(&rig);
}
END_TEST

START_TEST(what_was_proven_is_remembered_and_a_forced_strategy_is_passed_on_beside_it)
{
    struct rig rig;
    rig_init(&rig, 1);
    static char encrypt[] = "encrypt";
    rig_set(&rig, 0, "strategy", encrypt);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert(rig_logged(&rig, "alg=0 uri="));
    ck_assert(rig_logged(&rig, " strategy=encrypt"));
    ck_assert(rig_logged(&rig, " known=0 "));
    /* A successor whose keys all only unwrap proves nothing, and the next one is told all the same. */
    rig_write(&rig, "start", "proves-none");
    static const char *const ends[] = {"once:exit", "once:exit again"};
    for (size_t i = 0; i < 2; i++) {
        struct outcome out;
        rig_write(&rig, "log", "");
        rig_do(&rig, &out, KEK_POOL_ANY, ends[i], 0);
        RIG_UNTIL(&rig, rig_count(&rig, "hello") == 1 && rig_ready(&rig, 0) == 1);
        ck_assert(rig_logged(&rig, "alg=1 uri="));
        /* Nor does it forget which versions there were. */
        ck_assert(rig_logged(&rig, " known=") && !rig_logged(&rig, " known=0 "));
    }
    rig_done(&rig);
}
END_TEST

START_TEST(what_a_token_allows_can_be_compared_with_what_all_workers_open)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig.providers[0].processes = 2;
    rig.providers[0].sessions = 4;
    rig_write(&rig, "start", "few-sessions");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    ck_assert_uint_eq(rig_status(&rig, 0).max_sessions, 8);
    ck_assert_uint_eq(rig_status(&rig, 0).peak_sessions, 15);
    ck_assert(rig_logged(&rig, "peak=15"));
    rig_done(&rig);
    rig_init(&rig, 1);
    rig.providers[0].sessions = 4;
    rig.settings.officer = true; /* one of one session, which says what kekd needs */
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert_uint_eq(rig_status(&rig, 0).max_sessions, 0);
    ck_assert(rig_logged(&rig, "sessions=1 "));
    ck_assert(rig_logged(&rig, "peak=10"));
    rig_done(&rig);
}
END_TEST

/* Ends the ready worker and waits for the next. */
static void replace_worker(struct rig *rig, const char *end)
{
    struct outcome out;
    size_t hellos = rig_count(rig, "hello");
    rig_do(rig, &out, KEK_POOL_ANY, end, 0);
    RIG_UNTIL(rig, rig_count(rig, "hello") > hellos && rig_ready(rig, 0) == 1);
}

START_TEST(a_worker_is_told_where_an_earlier_one_found_the_token)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert(rig_logged(&rig, "seen=-1/"));
    ck_assert(!rig_logged(&rig, "seen=7/S-1"));
    /* Whoever asks the other slots now waits for a dead one for ever. */
    rig_write(&rig, "start", "dead-elsewhere");
    replace_worker(&rig, "once:exit");
    ck_assert(rig_logged(&rig, "seen=7/S-1"));
    replace_worker(&rig, "once:exit again");
    rig_done(&rig);
}
END_TEST

/* Whether it is that slot or another one that is dead, nobody can tell from a worker that hangs. */
START_TEST(a_start_that_hangs_is_tried_the_other_way)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig.providers[0].start_timeout_ms = 200;
    rig_write(&rig, "start", "dead-there");
    rig_write(&rig, "log", "");
    replace_worker(&rig, "once:exit");
    ck_assert_uint_eq(rig_count(&rig, "hello"), 2);
    ck_assert(rig_logged(&rig, "seen=7/S-1"));
    ck_assert(rig_logged(&rig, "seen=-1/"));
    /* Both are dead for a while: the slot is not forgotten. */
    struct outcome out;
    rig_write(&rig, "start", "never");
    rig_do(&rig, &out, KEK_POOL_ANY, "once:exit again", 50);
    RIG_UNTIL(&rig, rig_count(&rig, "hello") >= 5);
    rig_write(&rig, "log", "");
    rig_write(&rig, "start", "dead-elsewhere");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
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

START_TEST(a_lock_held_elsewhere_is_waited_for_no_longer_than_start_timeout)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig.providers[0].start_timeout_ms = 100;
    rig_open(&rig);
    int fd = rig_hold_lock(&rig);
    kek_pool_start(rig.pool);
    /* A start that takes long is told for that: the next one then. */
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_DOWN &&
                        strstr(rig_status(&rig, 0).why.text, "another process") != NULL);
    ck_assert_uint_eq(rig_count(&rig, "login"), 0);
    rig.providers[0].start_timeout_ms = 30000;
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
    rig.providers[0].start_timeout_ms = strstr(starts[_i].words, "never") != NULL ? 400 : 30000;
    rig_write(&rig, "start", starts[_i].words);
    rig_start(&rig);
    ck_assert_int_eq(rig_health(&rig, 0), KEK_POOL_STARTING);
    rig_unwrap(&rig, &waiting, KEK_POOL_ANY, "waiting", 0);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_DOWN && rig_count(&rig, "start") >= 2 &&
                        strstr(rig_status(&rig, 0).why.text, starts[_i].text) != NULL);
    struct kek_pool_provider status = rig_status(&rig, 0);
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

START_TEST(failed_starts_are_further_and_further_apart_up_to_a_second_or_a_login_to_half_a_minute)
{
    struct rig rig;
    struct kek_why why;
    rig_init(&rig, 1);
    rig_open(&rig);
    struct kek_backend *backend = rig.pool->backends;
    kek_fail(&why, KEK_UNAVAILABLE, "a: no");
    for (int at_login = 0; at_login < 2; at_login++) {
        uint64_t most = at_login ? 30000 : 1000, pause = 100;
        bool spread = false;
        backend->failed_starts = 0;
        for (int i = 0; i < 12; i++) {
            backend->next_start_ms = 0;
            uint64_t before = kek_clock_ms();
            kek_backend_start_failed(backend, at_login, &why);
            ck_assert_uint_ge(backend->next_start_ms, before + pause - pause / 5);
            ck_assert_uint_le(backend->next_start_ms, kek_clock_ms() + pause + pause / 5);
            spread = spread || backend->next_start_ms - kek_clock_ms() > pause + pause / 100 ||
                     backend->next_start_ms - before < pause - pause / 100;
            pause = 2 * pause < most ? 2 * pause : most;
        }
        ck_assert(spread);
    }
    rig_done(&rig);
}
END_TEST

/* Only what may have to do with the PIN makes the next start wait for longer than a second. */
static const struct {
    const char *words;
    bool at_login;
} pauses[] = {
    {"exit", false},       {"module", false},     {"never", false},     {"probe", false},
    {"abort-login", true}, {"never-login", true}, {"link-login", true},
};

START_TEST(a_start_that_fails_while_logging_in_is_the_one_to_wait_for)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig.providers[0].start_timeout_ms = strstr(pauses[_i].words, "never") != NULL ? 100 : 30000;
    rig_write(&rig, "start", pauses[_i].words);
    rig_open(&rig);
    struct kek_backend *backend = rig.pool->backends;
    backend->failed_starts = 9;
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, rig_health(&rig, 0) == KEK_POOL_DOWN);
    uint64_t limit = backend->status.since_ms + 1200;
    ck_assert_int_eq(backend->next_start_ms > limit, pauses[_i].at_login);
    rig_done(&rig);
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
        kek_pool_times(rig.pool)->leave = kek_pool_times(rig.pool)->login = 30;
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
    rig_set(&rig, 0, "init_args", big);
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
    tcase_add_test(tcase, what_a_token_allows_can_be_compared_with_what_all_workers_open);
    tcase_add_test(tcase, a_worker_is_told_where_an_earlier_one_found_the_token);
    tcase_add_test(tcase, a_start_that_hangs_is_tried_the_other_way);
    tcase_add_test(tcase, logins_to_one_token_are_one_at_a_time_over_all_providers);
    tcase_add_test(tcase, logins_to_two_tokens_do_not_wait_for_each_other);
    tcase_add_test(tcase, a_lock_held_elsewhere_is_waited_for_no_longer_than_start_timeout);
    tcase_add_loop_test(tcase, a_start_that_fails_is_told_and_tried_again, 0,
                        sizeof starts / sizeof starts[0]);
    tcase_add_test(tcase, a_late_start_serves_the_calls_that_waited);
    tcase_add_test(tcase, a_missing_worker_program_at_spawn_is_a_failed_start);
    tcase_add_test(
        tcase,
        failed_starts_are_further_and_further_apart_up_to_a_second_or_a_login_to_half_a_minute);
    tcase_add_loop_test(tcase, a_start_that_fails_while_logging_in_is_the_one_to_wait_for, 0,
                        sizeof pauses / sizeof pauses[0]);
    tcase_add_test(tcase, a_pool_closes_at_any_moment_of_a_start);
    tcase_add_test(tcase, a_pool_is_not_made_when_something_is_missing);
    tcase_add_test(tcase, a_worker_runs_as_its_user_with_its_groups_alone);
    return suite_run(suite);
}
