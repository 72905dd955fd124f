/* The pool's workers: which are replaced, how, and what becomes of those that do not end. */
#include "pool_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/ptrace.h>
#include <sys/stat.h>
#include <sys/wait.h>

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
        ck_assert_uint_le(rig_alive(&rig, 0), 3); /* processes + 1 */
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
    rig.providers[0].recycle_memory = 4000000;
    rig_write(&rig, "start", "memory=3000000 growth=2000000");
    rig_start(&rig);
    kek_pool_times(rig.pool)->memory = RIG_PATIENCE_MS;
    rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
    ck_assert(rig_logged(&rig, " memory")); /* the first answer is the base */
    rig_do(&rig, &out, KEK_POOL_ANY, "y", 0);
    rig_do(&rig, &out, KEK_POOL_ANY, "z", 0);
    /* It is asked now and then, not each time. */
    ck_assert_uint_eq(rig.pool->backends[0].workers->memory, 3000000);
    kek_pool_times(rig.pool)->memory = 0;
    rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
    rig_do(&rig, &out, KEK_POOL_ANY, "data", 0);
    ck_assert_int_eq(out.rc, KEK_DAMAGED);
    ck_assert_uint_eq(rig.pool->backends[0].workers->memory, 7000000);
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 1); /* it has grown by the limit, not by more */
    rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
    rig_check(&out, "x");
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 1);
    ck_assert_uint_eq(rig_status(&rig, 0).birth_memory, 0);
    rig_done(&rig);
}
END_TEST

START_TEST(a_worker_that_is_larger_than_the_limit_from_birth_is_told_of_and_kept)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.providers[0].recycle_memory = 64 << 20;
    rig_write(&rig, "start", "memory=104857600");
    rig_open(&rig);
    kek_pool_times(rig.pool)->memory = 0;
    kek_pool_start(rig.pool);
    for (int i = 0; i < 30; i++) {
        rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
    }
    ck_assert_uint_eq(rig_status(&rig, 0).birth_memory, 104857600);
    ck_assert_uint_eq(rig_status(&rig, 0).recycled, 0);
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 1);
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
    int fd = rig_hold_lock(&rig); /* the new worker cannot log in yet */
    struct kek_pool_request list = {.op = KEK_POOL_LIST, .fresh = true};
    rig_submit(&rig, &one, &list, 0);
    rig_submit(&rig, &two, &list, 0);
    rig_unwrap(&rig, &old, 0, "not fresh", 0);
    rig_wait(&rig, &old);
    ck_assert_uint_eq(one.ends, 0); /* the old worker answers others, not these */
    close(fd);
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

/* A process that traces another: that one's death is not told to its parent while this one lives, as
 * if SIGKILL had not ended it. */
static pid_t keep_from_ending(pid_t pid, int *hold)
{
    int ends[2];
    char byte;
    ck_assert_int_eq(socketpair(AF_UNIX, SOCK_STREAM | SOCK_CLOEXEC, 0, ends), 0);
    pid_t tracer = fork();
    ck_assert_int_ge(tracer, 0);
    if (tracer == 0) {
        close(ends[0]);
        bool good = ptrace(PTRACE_SEIZE, pid, NULL, NULL) == 0 && write(ends[1], "", 1) == 1;
        _exit(good && read(ends[1], &byte, 1) == 0 ? 0 : 1);
    }
    close(ends[1]);
    ck_assert_int_eq(read(ends[0], &byte, 1), 1);
    *hold = ends[0];
    return tracer;
}

static const struct kek_worker *ready_worker(struct rig *rig)
{
    RIG_UNTIL(rig, rig_ready(rig, 0) == 1);
    const struct kek_worker *worker = rig->pool->backends[0].workers;
    while (worker->state != KEK_WORKER_READY) {
        worker = worker->next;
    }
    return worker;
}

static void note(void *arg)
{
    *(bool *)arg = true;
}

START_TEST(processes_that_sigkill_does_not_end_are_replaced_and_left_behind)
{
    enum { GHOSTS = 3 };
    static const char *const hangs[GHOSTS] = {"once:hang", "once:hang two", "once:hang three"};
    struct rig rig;
    struct outcome out;
    pid_t pids[GHOSTS], tracers[GHOSTS];
    int holds[GHOSTS], status;
    bool closed = false;
    rig_init(&rig, 1);
    rig.providers[0].timeout_ms = 50;
    rig_start(&rig);
    kek_pool_times(rig.pool)->ghost = 20;
    for (size_t i = 0; i < GHOSTS; i++) {
        pids[i] = ready_worker(&rig)->process.pid;
        tracers[i] = keep_from_ending(pids[i], &holds[i]);
        rig_do(&rig, &out, KEK_POOL_ANY, hangs[i], 0);
        rig_check(&out, hangs[i]);
    }
    RIG_UNTIL(&rig, rig_status(&rig, 0).killed == GHOSTS);
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, GHOSTS + 1);
    kek_pool_close(rig.pool, note, &closed);
    RIG_UNTIL(&rig, closed);
    kek_pool_free(rig.pool);
    rig.pool = NULL;
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    for (size_t i = GHOSTS; i-- > 0;) { /* a later tracer inherited the earlier ones' holds */
        close(holds[i]);
        ck_assert_int_eq(waitpid(tracers[i], &status, 0), tracers[i]);
        ck_assert_int_eq(status, 0);
        ck_assert_int_eq(waitpid(pids[i], &status, 0), pids[i]);
        ck_assert(WIFSIGNALED(status) && WTERMSIG(status) == SIGKILL);
    }
    rig_done(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool-recycle");
    TCase *tcase = tcase_create("workers");
    tcase_set_timeout(tcase, 180);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, worn_workers_are_replaced_one_by_one_without_a_failed_call);
    tcase_add_test(tcase, a_recycle_that_cannot_start_its_successor_keeps_the_old_worker);
    tcase_add_test(tcase, a_worker_that_has_grown_is_replaced);
    tcase_add_test(tcase, a_worker_that_is_larger_than_the_limit_from_birth_is_told_of_and_kept);
    tcase_add_test(tcase, a_fresh_call_is_answered_by_a_worker_that_was_spawned_after_it);
    tcase_add_test(tcase, ready_workers_that_are_lost_in_a_row_are_replaced_more_slowly);
    tcase_add_test(tcase, a_worker_that_stays_after_end_of_file_is_killed);
    tcase_add_test(tcase, processes_that_sigkill_does_not_end_are_replaced_and_left_behind);
    return suite_run(suite);
}
