/* The pool's calls whose worker dies, breaks or is killed meanwhile, and those that kill it. */
#include "pool_rig.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* What one call does to the worker it meets first; all of them are read again elsewhere. */
static const struct {
    const char *command;
    unsigned killed, crashed;
    uint64_t failed, timeouts, lost; /* as the timing tells it */
} deaths[] = {
    {"once:crash", 0, 1, 0, 0, 1}, {"once:kill", 0, 1, 0, 0, 1},    {"once:exit", 0, 1, 0, 0, 1},
    {"once:shut", 1, 0, 0, 0, 1},  {"once:garbage", 1, 0, 0, 0, 1}, {"once:badid", 1, 0, 0, 0, 1},
    {"once:short", 1, 0, 0, 0, 1}, {"once:big", 1, 0, 0, 0, 1},     {"once:kind", 1, 0, 0, 0, 1},
    {"once:link", 0, 0, 1, 0, 0},  {"once:hang", 1, 0, 0, 1, 0},
};

/* Each operation is counted once, by what came first. */
static void check_timing(struct rig *rig, size_t index, uint64_t good)
{
    const struct kek_pool_timing *timing = kek_pool_timing(rig->pool, 0, KEK_POOL_UNWRAP);
    uint64_t all = 0;
    for (size_t b = 0; b <= KEK_HISTOGRAM_BUCKETS; b++) {
        all += timing->durations.counts[b];
    }
    ck_assert_uint_eq(timing->failed, deaths[index].failed);
    ck_assert_uint_eq(timing->timeouts, deaths[index].timeouts);
    ck_assert_uint_eq(timing->lost, deaths[index].lost);
    ck_assert_uint_eq(all, good + deaths[index].failed + deaths[index].timeouts);
    /* With the time that was waited: 100 ms, of a clock that is looked at in milliseconds. */
    ck_assert_uint_ge(timing->durations.sum_us, 99000 * deaths[index].timeouts);
    ck_assert_uint_eq(kek_pool_timing(rig->pool, 0, KEK_POOL_WRAP)->durations.sum_us, 0);
}

static void run_death(size_t index, size_t providers)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, providers);
    rig.providers[0].timeout_ms = strstr(deaths[index].command, "hang") != NULL ? 100 : 30000;
    rig_start(&rig);
    kek_pool_times(rig.pool)->eof = strstr(deaths[index].command, "shut") != NULL ? 20 : 30000;
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    RIG_UNTIL(&rig, rig_ready(&rig, providers - 1) == 1);
    rig_unwrap(&rig, &out, KEK_POOL_ANY, deaths[index].command, 0);
    rig.providers[0].timeout_ms = 30000; /* of what is sent after it */
    rig_wait(&rig, &out);
    rig_check(&out, deaths[index].command);
    ck_assert_uint_eq(out.provider, providers - 1);
    /* It is replaced, and the new one serves. */
    RIG_UNTIL(&rig, rig_status(&rig, 0).spawned == 2 && rig_ready(&rig, 0) == 1);
    rig_do(&rig, &out, 0, "after", 0);
    rig_check(&out, "after");
    RIG_UNTIL(&rig, rig_status(&rig, 0).killed == deaths[index].killed);
    ck_assert_uint_eq(rig_status(&rig, 0).crashed, deaths[index].crashed);
    ck_assert_uint_eq(rig_status(&rig, 0).failures, 1);
    check_timing(&rig, index, providers == 1 ? 2 : 1);
    rig_done(&rig);
}

START_TEST(a_call_whose_worker_dies_is_answered_by_its_successor)
{
    run_death((size_t)_i, 1);
}
END_TEST

START_TEST(a_call_whose_worker_dies_is_answered_by_another_provider)
{
    run_death((size_t)_i, 2);
}
END_TEST

/* The provider's only worker ends, and the loop has not heard of it yet. */
static void kill_unheard(struct rig *rig, int signal)
{
    siginfo_t info;
    pid_t pid = rig->pool->backends[0].workers->process.pid;
    ck_assert_int_eq(kill(pid, signal), 0);
    ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
}

START_TEST(a_call_that_could_not_be_sent_is_not_blamed_for_the_end_of_that_worker)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    kill_unheard(&rig, SIGABRT);
    rig_do(&rig, &out, KEK_POOL_ANY, "once:crash", 0);
    rig_check(&out, "once:crash");
    ck_assert_uint_eq(rig_status(&rig, 0).crashed, 2);
    rig_done(&rig);
}
END_TEST

START_TEST(a_second_answer_of_one_id_breaks_the_worker_and_not_the_call)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    rig_do(&rig, &out, KEK_POOL_ANY, "once:twice", 0);
    rig_check(&out, "once:twice");
    RIG_UNTIL(&rig, rig_status(&rig, 0).killed == 1);
    rig_do(&rig, &out, KEK_POOL_ANY, "after", 0);
    rig_check(&out, "after");
    rig_done(&rig);
}
END_TEST

START_TEST(an_answer_sent_just_before_the_exit_counts)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    rig_do(&rig, &out, KEK_POOL_ANY, "answer-and-exit", 0);
    rig_check(&out, "answer-and-exit");
    RIG_UNTIL(&rig, rig_status(&rig, 0).crashed == 1);
    ck_assert_uint_eq(rig_count(&rig, "op"), 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_wrap_of_the_wrong_length_breaks_the_worker)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "odd-wrap");
    rig_start(&rig);
    KEK_AUTO(kek_secret) key = kek_secret_random(KEK_DATA_KEY_LEN);
    struct kek_pool_request wrap = {
        .op = KEK_POOL_WRAP, .provider = KEK_POOL_ANY, .kek_id = rig_key, .data_key = key};
    rig_submit(&rig, &out, &wrap, 0);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_INTERNAL); /* two workers broke on it */
    ck_assert_uint_eq(rig_status(&rig, 0).killed, 2);
    rig_done(&rig);
}
END_TEST

START_TEST(a_blob_that_crashes_two_workers_fails_alone_and_is_remembered)
{
    struct rig rig;
    struct outcome poison, others[6];
    struct kek_why why;
    rig_init(&rig, 1);
    rig.providers[0].processes = 2;
    rig.providers[0].sessions = 4;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    /* Others are in service beside it, and must not be failed with it. */
    for (size_t i = 0; i < 6; i++) {
        rig_unwrap(&rig, &others[i], KEK_POOL_ANY, "wait", 0);
    }
    rig_unwrap(&rig, &poison, KEK_POOL_ANY, "crash", 0);
    RIG_UNTIL(&rig, rig_status(&rig, 0).crashed >= 1);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &poison);
    ck_assert_int_eq(poison.rc, KEK_INTERNAL);
    ck_assert(strstr(poison.why.text, "two workers") != NULL);
    for (size_t i = 0; i < 6; i++) {
        rig_wait(&rig, &others[i]);
        rig_check(&others[i], "wait");
    }
    ck_assert_uint_eq(rig_status(&rig, 0).crashed, 2);
    ck_assert_int_eq(rig_refused(&rig, "crash", &why), KEK_INTERNAL);
    rig_do(&rig, &poison, KEK_POOL_ANY, "crasy", 0);
    rig_check(&poison, "crasy");
    kek_pool_times(rig.pool)->poison = 0; /* what is remembered now is forgotten at once */
    rig_do(&rig, &poison, KEK_POOL_ANY, "crash again", 0);
    ck_assert_int_eq(poison.rc, KEK_INTERNAL);
    rig_do(&rig, &poison, KEK_POOL_ANY, "crash again", 0);
    ck_assert_int_eq(poison.rc, KEK_INTERNAL);
    ck_assert_uint_eq(rig_status(&rig, 0).crashed, 6);
    rig_done(&rig);
}
END_TEST

START_TEST(a_blob_of_kekds_own_is_not_remembered_as_what_crashes_workers)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    /* A witness: whoever names a provider asks about the provider, with a blob known to be good. */
    rig_do(&rig, &out, 0, "crash", 0);
    ck_assert_int_eq(out.rc, KEK_INTERNAL);
    rig_do(&rig, &out, 0, "crash", 0);
    ck_assert_int_eq(out.rc, KEK_INTERNAL);
    ck_assert_uint_eq(rig_status(&rig, 0).crashed, 4);
    rig_done(&rig);
}
END_TEST

static void storm(const char *first, const char *second, bool all_good)
{
    enum { CALLS = 10000 };
    struct rig rig;
    static struct outcome out[CALLS];
    rig_init(&rig, 2);
    for (size_t i = 0; i < 2; i++) {
        rig.providers[i].processes = 2;
        rig.providers[i].sessions = 4;
    }
    rig_write(&rig, "start-a", first);
    rig_write(&rig, "start-b", second);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2 && rig_ready(&rig, 1) == 2);
    size_t submitted = 0, ended = 0, failed = 0;
    while (ended < CALLS) {
        while (submitted < CALLS && submitted - ended < 64) {
            char command[24];
            snprintf(command, sizeof command, "call %zu", submitted);
            rig_unwrap(&rig, &out[submitted++], KEK_POOL_ANY, command, 0);
        }
        uv_run(&rig.loop, UV_RUN_ONCE);
        ck_assert_uint_le(rig_alive(&rig, 0), 3); /* processes + 1, whatever happens */
        ck_assert_uint_le(rig_alive(&rig, 1), 3);
        while (ended < submitted && out[ended].ends > 0) {
            ended++;
        }
    }
    for (size_t i = 0; i < CALLS; i++) {
        ck_assert_uint_eq(out[i].ends, 1);
        if (out[i].rc == KEK_OK) {
            char command[24];
            snprintf(command, sizeof command, "call %zu", i);
            rig_check(&out[i], command);
        } else {
            ck_assert_int_eq(out[i].rc, KEK_INTERNAL);
            failed++;
        }
    }
    ck_assert_uint_gt(rig_status(&rig, 0).crashed + rig_status(&rig, 1).crashed, 4);
    ck_assert_uint_le(failed, all_good ? 0 : 20);
    rig_done(&rig);
}

START_TEST(ten_thousand_calls_over_workers_that_are_killed_all_succeed_once)
{
    storm("kill-after=701", "kill-after=457", true);
}
END_TEST

START_TEST(ten_thousand_calls_over_workers_that_crash_all_end_once)
{
    storm("crash-after=701", "crash-after=457", false);
}
END_TEST

START_TEST(an_officer_operation_that_could_not_be_sent_is_sent_to_the_next_worker)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.settings.officer = true;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    kill_unheard(&rig, SIGKILL);
    struct kek_pool_request request = {.op = KEK_POOL_DESTROY, .kek_id = rig_key};
    rig_submit(&rig, &out, &request, 30000);
    rig_wait(&rig, &out);
    ck_assert_msg(out.rc == KEK_OK, "%s", out.why.text);
    ck_assert_uint_eq(rig_count(&rig, "op"), 1);
    rig_done(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool-deaths");
    TCase *tcase = tcase_create("calls");
    tcase_set_timeout(tcase, 180);
    suite_add_tcase(suite, tcase);
    int count = sizeof deaths / sizeof deaths[0];
    tcase_add_loop_test(tcase, a_call_whose_worker_dies_is_answered_by_its_successor, 0, count);
    tcase_add_loop_test(tcase, a_call_whose_worker_dies_is_answered_by_another_provider, 0, count);
    tcase_add_test(tcase, a_call_that_could_not_be_sent_is_not_blamed_for_the_end_of_that_worker);
    tcase_add_test(tcase, an_officer_operation_that_could_not_be_sent_is_sent_to_the_next_worker);
    tcase_add_test(tcase, a_second_answer_of_one_id_breaks_the_worker_and_not_the_call);
    tcase_add_test(tcase, an_answer_sent_just_before_the_exit_counts);
    tcase_add_test(tcase, a_wrap_of_the_wrong_length_breaks_the_worker);
    tcase_add_test(tcase, a_blob_that_crashes_two_workers_fails_alone_and_is_remembered);
    tcase_add_test(tcase, a_blob_of_kekds_own_is_not_remembered_as_what_crashes_workers);
    tcase_add_test(tcase, ten_thousand_calls_over_workers_that_are_killed_all_succeed_once);
    tcase_add_test(tcase, ten_thousand_calls_over_workers_that_crash_all_end_once);
    return suite_run(suite);
}
