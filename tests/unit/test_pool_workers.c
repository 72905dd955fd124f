/* The pool's workers one by one: who may serve, who is named or excluded, who is judged, ended, retired. */
#include "pool_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

/* One provider with two ready workers; their serials, older first. */
static void start_two(struct rig *rig, uint64_t serials[static KEK_POOL_WORKERS_MAX])
{
    rig_init(rig, 1);
    rig->providers[0].processes = 2;
    rig_start(rig);
    RIG_UNTIL(rig, rig_ready(rig, 0) == 2);
    ck_assert_uint_eq(rig_serials(rig, 0, serials), 2);
}

static uint64_t bit(uint64_t serial)
{
    return UINT64_C(1) << serial;
}

/* An unwrap that names the worker. */
static struct kek_pool_request to_worker(uint64_t worker, const char *command)
{
    struct kek_pool_request request = rig_request(0, command);
    request.worker = worker;
    return request;
}

START_TEST(a_worker_serves_only_what_it_may_itself)
{
    struct rig rig;
    struct outcome out, waiting;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    start_two(&rig, serials);
    for (size_t wrong = 0; wrong < 2; wrong++) {
        rig.may_not = bit(serials[wrong]);
        for (size_t i = 0; i < 8; i++) {
            rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
            rig_check(&out, "x");
            ck_assert_uint_eq(out.worker, serials[1 - wrong]);
        }
    }
    rig.may_not = bit(serials[0]) | bit(serials[1]);
    rig_unwrap(&rig, &waiting, KEK_POOL_ANY, "later", 0);
    rig_do(&rig, &out, 0, "named", 0); /* whoever names the provider is not asked */
    rig_check(&out, "named");
    rig_pause(&rig, 30);
    ck_assert_uint_eq(waiting.ends, 0);
    rig.may_not = bit(serials[0]);
    kek_pool_recheck(rig.pool);
    rig_wait(&rig, &waiting);
    rig_check(&waiting, "later");
    ck_assert_uint_eq(waiting.worker, serials[1]);
    rig_done(&rig);
}
END_TEST

START_TEST(a_provider_serves_if_one_of_its_ready_workers_may_or_its_next_one)
{
    struct rig rig;
    struct outcome out;
    struct kek_why why;
    rig_init(&rig, 2);
    rig_write(&rig, "pin-b", "wrong");
    rig_write(&rig, "start-b", "other-token");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_health(&rig, 1) == KEK_POOL_PIN_REFUSED);
    uint64_t first = rig_serial(&rig, 0);
    /* a's ready worker may not, so b alone serves the key, and waiting for b does not help. */
    rig.may_not = bit(first);
    ck_assert_int_eq(rig_refused(&rig, "x", &why), KEK_DENIED);
    rig.may_not = 0;
    rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
    rig_check(&out, "x");
    /* Until it is judged, it may come to be allowed in a moment. */
    rig.may_not = rig.unjudged = bit(first);
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "x", 0);
    rig_pause(&rig, 20);
    ck_assert_uint_eq(out.ends, 0);
    rig.may_not = rig.unjudged = 0;
    kek_pool_recheck(rig.pool);
    rig_wait(&rig, &out);
    rig_check(&out, "x");
    /* a has no ready worker: what counts is what its next one may. */
    rig_write(&rig, "start-a", "late");
    rig_end(&rig, first, "wrong key");
    rig.may = 2;
    ck_assert_int_eq(rig_refused(&rig, "x", &why), KEK_DENIED);
    rig.may = 3;
    rig.may_not = bit(first);
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "x", 0);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out);
    rig_check(&out, "x");
    /* Nobody may now: that may change, so a call waits. */
    rig.may = 0;
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "x", 0);
    rig_pause(&rig, 20);
    ck_assert_uint_eq(out.ends, 0);
    rig.may = 1;
    kek_pool_recheck(rig.pool);
    rig_wait(&rig, &out);
    rig_check(&out, "x");
    rig_done(&rig);
}
END_TEST

START_TEST(a_call_whose_time_ends_says_that_no_worker_may_serve_it)
{
    struct rig rig;
    struct outcome out;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    start_two(&rig, serials);
    rig.may_not = bit(serials[0]) | bit(serials[1]);
    rig_do(&rig, &out, KEK_POOL_ANY, "x", 60);
    ck_assert_int_eq(out.rc, KEK_UNAVAILABLE);
    ck_assert_msg(strstr(out.why.text, "no worker that may serve it") != NULL, "%s", out.why.text);
    ck_assert_uint_eq(out.worker, 0);
    rig_done(&rig);
}
END_TEST

START_TEST(a_call_that_names_a_worker_goes_to_no_other)
{
    struct rig rig;
    struct outcome held[3], out, any;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    start_two(&rig, serials);
    struct kek_pool_request request = to_worker(serials[1], "wait");
    for (size_t i = 0; i < 3; i++) {
        rig_submit(&rig, &held[i], &request, 0);
    }
    /* It waits for room in its worker, though the other has room; and it is not sent twice. */
    struct kek_pool_request next = to_worker(serials[1], "next");
    rig_submit(&rig, &out, &next, 50000);
    rig_do(&rig, &any, KEK_POOL_ANY, "x", 0);
    ck_assert_uint_eq(any.worker, serials[0]);
    RIG_UNTIL(&rig, rig_count(&rig, "op") == 4);
    rig_pause(&rig, 30);
    ck_assert_uint_eq(rig_count(&rig, "op"), 4);
    ck_assert_uint_eq(out.ends, 0);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out);
    rig_check(&out, "next");
    ck_assert_uint_eq(out.worker, serials[1]);
    for (size_t i = 0; i < 3; i++) {
        rig_wait(&rig, &held[i]);
        ck_assert_uint_eq(held[i].worker, serials[1]);
    }
    rig_done(&rig);
}
END_TEST

/* Traffic fills its sessions and no more; a call that names the worker has a slot of its own beside it. */
START_TEST(a_call_that_names_a_worker_finds_room_beside_the_traffic)
{
    struct rig rig;
    struct outcome held[2], named, waiting;
    rig_init(&rig, 1);
    rig.providers[0].sessions = 2;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    uint64_t worker = rig_serial(&rig, 0);
    ck_assert(kek_pool_idle(rig.pool, worker));
    for (size_t i = 0; i < 2; i++) {
        rig_unwrap(&rig, &held[i], KEK_POOL_ANY, "wait", 0);
    }
    RIG_UNTIL(&rig, rig_count(&rig, "op") == 2);
    rig_unwrap(&rig, &waiting, KEK_POOL_ANY, "y", 0);
    struct kek_pool_request request = to_worker(worker, "x");
    rig_submit(&rig, &named, &request, 0);
    rig_wait(&rig, &named);
    rig_check(&named, "x");
    ck_assert_uint_eq(kek_pool_queued(rig.pool), 1);
    ck_assert_uint_eq(waiting.ends, 0);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &waiting);
    rig_check(&waiting, "y");
    for (size_t i = 0; i < 2; i++) {
        rig_wait(&rig, &held[i]);
    }
    rig_done(&rig);
}
END_TEST

START_TEST(a_call_that_names_a_worker_is_not_hedged)
{
    struct rig rig;
    struct outcome out;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    start_two(&rig, serials);
    struct kek_pool_request request = to_worker(serials[0], "wait");
    rig_submit(&rig, &out, &request, 300);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_DEADLINE);
    RIG_UNTIL(&rig, rig_count(&rig, "op") > 0);
    ck_assert_uint_eq(rig_count(&rig, "op"), 1);
    /* One that names nobody is. */
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "wait", 3000);
    RIG_UNTIL(&rig, rig_count(&rig, "op") == 3);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out);
    rig_done(&rig);
}
END_TEST

/* How the named worker is lost; a sibling that would answer is there throughout. */
static const char *const losses[] = {"kill", "crash", "exit", "hang", "link", "garbage", "shut"};

START_TEST(a_call_that_names_a_worker_fails_with_it_and_is_not_sent_again)
{
    struct rig rig;
    struct outcome out, waiting;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    const char *how = losses[_i];
    start_two(&rig, serials);
    kek_pool_times(rig.pool)->eof = 20;
    rig.providers[0].timeout_ms = strcmp(how, "hang") == 0 ? 150 : 30000;
    char command[32];
    snprintf(command, sizeof command, "%s wait", how);
    struct kek_pool_request request = to_worker(serials[0], command);
    struct kek_pool_request held = to_worker(serials[0], "wait"), next = to_worker(serials[0], "x");
    struct outcome others[2];
    for (size_t i = 0; i < 2; i++) {
        rig_submit(&rig, &others[i], &held, 0);
    }
    RIG_UNTIL(&rig, rig_count(&rig, "op") == 2);
    rig_submit(&rig, &out, &request, 0);
    rig_submit(&rig, &waiting, &next, 0); /* there is no room */
    ck_assert_uint_eq(kek_pool_queued(rig.pool), 1);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_UNAVAILABLE);
    ck_assert_msg(strstr(out.why.text, "that worker is gone") != NULL, "%s", out.why.text);
    ck_assert_uint_eq(out.worker, 0);
    rig_wait(&rig, &waiting);
    ck_assert_int_eq(waiting.rc, KEK_UNAVAILABLE);
    ck_assert_str_eq(waiting.why.text, "that worker is gone");
    rig_write(&rig, "go", "");
    for (size_t i = 0; i < 2; i++) {
        rig_wait(&rig, &others[i]);
    }
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    ck_assert_uint_eq(rig_count(&rig, "op"), 3);
    rig_done(&rig);
}
END_TEST

START_TEST(a_call_that_names_a_worker_which_is_gone_fails_at_once)
{
    struct rig rig;
    struct kek_why why;
    rig_init(&rig, 2);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_ready(&rig, 1) == 1);
    uint64_t worker = rig_serial(&rig, 0), other = rig_serial(&rig, 1);
    struct kek_pool_request request = to_worker(worker, "x");
    request.provider = 1;
    ck_assert_int_eq(rig_no(&rig, &request, &why), KEK_INVALID); /* another provider's */
    request.provider = KEK_POOL_ANY;
    ck_assert_int_eq(rig_no(&rig, &request, &why), KEK_INVALID);
    request.provider = 0;
    request.not_worker = worker;
    ck_assert_int_eq(rig_no(&rig, &request, &why), KEK_INVALID);
    request.not_worker = 0;
    request.fresh = true;
    ck_assert_int_eq(rig_no(&rig, &request, &why), KEK_INVALID);
    request.fresh = false;
    request.worker = other + 1; /* nobody's */
    ck_assert_int_eq(rig_no(&rig, &request, &why), KEK_UNAVAILABLE);
    request.worker = worker;
    rig_end(&rig, worker, "wrong key");
    ck_assert_int_eq(rig_no(&rig, &request, &why), KEK_UNAVAILABLE);
    ck_assert_str_eq(why.text, "that worker is gone");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert_int_eq(rig_no(&rig, &request, &why), KEK_UNAVAILABLE);
    rig_done(&rig);
}
END_TEST

START_TEST(a_blob_of_calls_that_name_workers_is_not_remembered_as_what_crashes_them)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    for (size_t i = 0; i < 2; i++) {
        RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
        struct kek_pool_request request = to_worker(rig_serial(&rig, 0), "crash");
        rig_submit(&rig, &out, &request, 0);
        rig_wait(&rig, &out);
        ck_assert_int_eq(out.rc, KEK_UNAVAILABLE);
    }
    ck_assert_uint_eq(rig_status(&rig, 0).crashed, 2);
    struct kek_pool_request any = rig_request(KEK_POOL_ANY, "crash");
    kek_pool_cancel(rig_submit(&rig, &out, &any, 0)); /* accepted */
    rig_done(&rig);
}
END_TEST

START_TEST(a_busy_token_is_asked_again_by_the_worker_that_is_named)
{
    struct rig rig;
    struct outcome out;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    start_two(&rig, serials);
    struct kek_pool_request request = to_worker(serials[1], "once:busy");
    rig_submit(&rig, &out, &request, 0);
    rig_wait(&rig, &out);
    rig_check(&out, "once:busy");
    ck_assert_uint_eq(out.worker, serials[1]);
    /* Unless it goes meanwhile. */
    kek_pool_times(rig.pool)->busy = 50;
    request = to_worker(serials[1], "busy");
    uint64_t failures = rig_status(&rig, 0).failures;
    rig_submit(&rig, &out, &request, 0);
    RIG_UNTIL(&rig, rig_status(&rig, 0).failures == failures + 1);
    rig_end(&rig, serials[1], "wrong key");
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_UNAVAILABLE);
    ck_assert_str_eq(out.why.text, "that worker is gone");
    rig_done(&rig);
}
END_TEST

START_TEST(a_call_that_excludes_a_worker_goes_to_any_other)
{
    struct rig rig;
    struct outcome out;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    start_two(&rig, serials);
    for (size_t i = 0; i < 8; i++) {
        struct kek_pool_request request = rig_request(i % 2 == 0 ? KEK_POOL_ANY : 0, "x");
        request.not_worker = serials[i / 4];
        rig_submit(&rig, &out, &request, 0);
        rig_wait(&rig, &out);
        rig_check(&out, "x");
        ck_assert_uint_eq(out.worker, serials[1 - i / 4]);
    }
    rig_done(&rig);
}
END_TEST

START_TEST(a_call_that_excludes_the_only_ready_worker_waits_for_another)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    uint64_t worker = rig_serial(&rig, 0);
    struct kek_pool_request request = rig_request(KEK_POOL_ANY, "x");
    request.not_worker = worker;
    rig_submit(&rig, &out, &request, 60);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_UNAVAILABLE); /* no lack of sessions, but of workers */
    rig_submit(&rig, &out, &request, 0);
    rig_pause(&rig, 30);
    ck_assert_uint_eq(out.ends, 0);
    ck_assert_uint_eq(rig_count(&rig, "op"), 0);
    rig_end(&rig, worker, "wrong key");
    rig_wait(&rig, &out);
    rig_check(&out, "x");
    ck_assert_uint_gt(out.worker, worker);
    rig_done(&rig);
}
END_TEST

START_TEST(a_hedge_never_goes_to_the_worker_that_is_excluded)
{
    struct rig rig;
    struct outcome out;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    start_two(&rig, serials);
    struct kek_pool_request request = rig_request(KEK_POOL_ANY, "wait");
    request.not_worker = serials[1];
    rig_submit(&rig, &out, &request, 400);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_DEADLINE);
    RIG_UNTIL(&rig, rig_count(&rig, "op") > 0);
    ck_assert_uint_eq(rig_count(&rig, "op"), 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_hedge_never_goes_to_a_worker_that_may_not_serve)
{
    struct rig rig;
    struct outcome out;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    start_two(&rig, serials);
    rig.may_not = bit(serials[1]);
    rig_do(&rig, &out, KEK_POOL_ANY, "wait", 400);
    ck_assert_int_eq(out.rc, KEK_DEADLINE);
    RIG_UNTIL(&rig, rig_count(&rig, "op") > 0);
    ck_assert_uint_eq(rig_count(&rig, "op"), 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_worker_that_is_ended_hands_its_calls_to_others_but_those_that_name_it)
{
    struct rig rig;
    struct outcome held[2], named, waiting;
    rig_init(&rig, 1);
    rig.providers[0].sessions = 2; /* and one slot more, for calls that name it */
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    uint64_t worker = rig_serial(&rig, 0);
    for (size_t i = 0; i < 2; i++) {
        rig_unwrap(&rig, &held[i], i == 0 ? KEK_POOL_ANY : 0, "wait", 0);
    }
    struct kek_pool_request request = to_worker(worker, "wait"), next = to_worker(worker, "x");
    rig_submit(&rig, &named, &request, 0);
    rig_submit(&rig, &waiting, &next, 0);
    ck_assert(!kek_pool_idle(rig.pool, worker));
    RIG_UNTIL(&rig, rig_count(&rig, "op") == 3);
    unsigned changes = rig.changes;
    rig_end(&rig, worker, "a: a worker holds another key");
    rig_end(&rig, worker, "again, which changes nothing");
    ck_assert_uint_eq(rig_ready(&rig, 0), 0);
    ck_assert_uint_eq(rig_status(&rig, 0).ended, 1);
    ck_assert_str_eq(rig_status(&rig, 0).why.text, "a: a worker holds another key");
    ck_assert_uint_eq(named.ends + waiting.ends, 0); /* they are told from the loop */
    rig_wait(&rig, &named);
    rig_wait(&rig, &waiting);
    ck_assert_int_eq(named.rc, KEK_UNAVAILABLE);
    ck_assert(strstr(named.why.text, "that worker is gone") != NULL);
    ck_assert_int_eq(waiting.rc, KEK_UNAVAILABLE);
    ck_assert_uint_gt(rig.changes, changes);
    rig_write(&rig, "go", "");
    for (size_t i = 0; i < 2; i++) {
        rig_wait(&rig, &held[i]);
        rig_check(&held[i], "wait");
        ck_assert_uint_gt(held[i].worker, worker);
    }
    struct kek_pool_provider status = rig_status(&rig, 0);
    ck_assert_uint_eq(status.ended, 1);
    ck_assert_uint_eq(status.killed + status.crashed + status.recycled, 0);
    ck_assert_uint_eq(status.spawned, 2);
    ck_assert_str_eq(status.why.text, "a: a worker holds another key");
    ck_assert_uint_eq(rig_count(&rig, "op"), 5);
    rig_done(&rig); /* looks for what is left of it */
}
END_TEST

START_TEST(the_sibling_of_a_worker_that_is_ended_takes_its_calls_at_once)
{
    struct rig rig;
    struct outcome out;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    start_two(&rig, serials);
    rig_write(&rig, "start", "never"); /* no successor */
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "once:hang", 0);
    RIG_UNTIL(&rig, rig_count(&rig, "op") == 1);
    rig_end(&rig, serials[0], "wrong key");
    rig_wait(&rig, &out);
    rig_check(&out, "once:hang");
    ck_assert_uint_eq(out.worker, serials[1]);
    kek_pool_times(rig.pool)->leave = 30;
    rig_done(&rig);
}
END_TEST

struct ender {
    struct rig *rig;
    struct outcome *beside;
    unsigned ends;
    bool closes;
};

static void note_closed(void *arg)
{
    ((struct rig *)arg)->closed = true;
}

static void end_who_answered(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                             const struct kek_why *why)
{
    struct ender *ender = arg;
    (void)why;
    ck_assert_int_eq(rc, KEK_OK);
    ender->ends++;
    unsigned before = ender->beside->ends;
    rig_end(ender->rig, result->worker, "wrong key");
    ck_assert_uint_eq(ender->beside->ends, before);
    if (ender->closes) {
        kek_pool_close(ender->rig->pool, note_closed, ender->rig);
    }
}

START_TEST(a_worker_is_ended_by_the_caller_it_has_just_answered)
{
    for (int way = 0; way < 3; way++) {
        struct rig rig;
        struct outcome beside;
        struct kek_why why;
        rig_init(&rig, 1);
        rig_start(&rig);
        RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
        uint64_t worker = rig_serial(&rig, 0);
        struct kek_pool_request held = to_worker(worker, "wait");
        rig_submit(&rig, &beside, &held, 0);
        struct ender ender = {.rig = &rig, .beside = &beside, .closes = way == 2};
        /* Answered well, or in the last words of a process whose end is heard in the same turn. */
        struct kek_pool_request request =
            rig_request(KEK_POOL_ANY, way == 1 ? "answer-and-exit" : "x");
        request.deadline_ms = KEK_NEVER;
        ck_assert_ptr_nonnull(kek_pool_submit(rig.pool, &request, end_who_answered, &ender, &why));
        if (way == 1) {
            siginfo_t info;
            pid_t pid = rig.pool->backends[0].workers->process.pid;
            ck_assert_int_eq(waitid(P_PID, (id_t)pid, &info, WEXITED | WNOWAIT), 0);
        }
        RIG_UNTIL(&rig, ender.ends == 1);
        rig_wait(&rig, &beside);
        ck_assert_int_eq(beside.rc, KEK_UNAVAILABLE);
        if (way < 2) {
            RIG_UNTIL(&rig, rig_status(&rig, 0).spawned == 2 && rig_ready(&rig, 0) == 1);
            ck_assert_uint_eq(rig_status(&rig, 0).ended, 1);
            ck_assert_uint_gt(rig_serial(&rig, 0), worker);
            rig_done(&rig);
            continue;
        }
        RIG_UNTIL(&rig, rig.closed);
        kek_pool_free(rig.pool);
        rig.pool = NULL;
        ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
        rig_done(&rig);
    }
}
END_TEST

START_TEST(a_call_cancelled_after_its_worker_was_ended_is_forgotten)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    struct kek_pool_call *call = rig_unwrap(&rig, &out, KEK_POOL_ANY, "wait", 0);
    RIG_UNTIL(&rig, rig_count(&rig, "op") == 1);
    rig_end(&rig, rig_serial(&rig, 0), "wrong key");
    kek_pool_cancel(call);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert_uint_eq(out.ends, 0);
    ck_assert_uint_eq(rig_count(&rig, "op"), 1);
    rig_end(&rig, 99, "nobody");
    ck_assert_uint_eq(rig_status(&rig, 0).ended, 1);
    rig_end(&rig, rig_serial(&rig, 0), "wrong key"); /* and a pool closes just after it */
    rig_done(&rig);
}
END_TEST

START_TEST(workers_that_are_ended_in_a_row_are_replaced_more_slowly)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig_start(&rig);
    kek_pool_times(rig.pool)->storm = 600000;
    uint64_t began = kek_clock_ms();
    for (int i = 0; i < 5; i++) {
        RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
        rig_end(&rig, rig_serial(&rig, 0), "wrong key");
    }
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    /* The third, fourth and fifth wait 100, 200 and 400 ms, each less a fifth. */
    ck_assert_uint_ge(kek_clock_ms() - began, 560);
    ck_assert_uint_eq(rig_status(&rig, 0).ended, 5);
    rig_done(&rig);
}
END_TEST

START_TEST(a_worker_that_is_retired_leaves_after_its_successor_is_judged)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    uint64_t old = rig_serial(&rig, 0), serials[KEK_POOL_WORKERS_MAX];
    rig.unjudged = ~bit(old);
    rig_retire(&rig, old);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    rig_pause(&rig, 30);
    ck_assert_uint_eq(rig_serials(&rig, 0, serials), 2);
    ck_assert_uint_eq(serials[0], old);
    rig_do(&rig, &out, KEK_POOL_ANY, "the old one still serves", 0);
    ck_assert_uint_eq(out.worker, old);
    struct kek_pool_request request = to_worker(old, "wait");
    rig_submit(&rig, &out, &request, 0);
    rig.unjudged = 0;
    kek_pool_recheck(rig.pool); /* nothing waits: it is looked at all the same */
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    ck_assert_uint_eq(rig_serial(&rig, 0), serials[1]);
    ck_assert_uint_eq(rig_status(&rig, 0).recycled, 0); /* its call ends first */
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out);
    rig_check(&out, "wait");
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 1);
    rig_retire(&rig, old); /* it is gone */
    rig_pause(&rig, 20);
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 2);
    rig_done(&rig);
}
END_TEST

START_TEST(a_worn_worker_stays_while_its_successor_is_not_judged)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.providers[0].recycle_after = 4;
    rig.unjudged = ~bit(1);
    rig.may_not = ~bit(1);
    rig_start(&rig);
    for (size_t i = 0; i < 12; i++) {
        rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
        rig_check(&out, "x");
        ck_assert_uint_eq(out.worker, 1);
    }
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    rig_pause(&rig, 30);
    ck_assert_uint_eq(rig_status(&rig, 0).recycled, 0);
    /* The successor, not judged, is itself replaced when somebody says so: at once, nobody misses it. */
    rig_retire(&rig, 2);
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 1 && rig_ready(&rig, 0) == 2);
    rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
    ck_assert_uint_eq(out.worker, 1);
    rig.unjudged = rig.may_not = 0;
    kek_pool_recheck(rig.pool);
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 2);
    rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
    ck_assert_uint_eq(out.worker, 3);
    rig_done(&rig);
}
END_TEST

START_TEST(one_that_is_not_judged_is_replaced_by_one_that_is)
{
    struct rig rig;
    rig_init(&rig, 1);
    rig.unjudged = bit(1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_retire(&rig, 1);
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 1);
    ck_assert_uint_eq(rig_serial(&rig, 0), 2);
    rig_done(&rig);
}
END_TEST

START_TEST(of_two_workers_the_good_one_stays_when_the_other_and_its_successor_are_not_judged)
{
    struct rig rig;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    start_two(&rig, serials);
    rig.unjudged = ~bit(serials[1]);
    rig_retire(&rig, serials[1]); /* the good one */
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 3);
    rig_pause(&rig, 30);
    ck_assert_uint_eq(rig_ready(&rig, 0), 3);
    rig.unjudged = bit(serials[0]);
    kek_pool_recheck(rig.pool);
    rig_pause(&rig, 30);
    ck_assert_uint_eq(rig_ready(&rig, 0), 3); /* one judged successor is one too few */
    rig.unjudged = 0;
    kek_pool_recheck(rig.pool);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    ck_assert_uint_eq(rig_serials(&rig, 0, serials), 2);
    ck_assert_uint_eq(serials[0], 1);
    ck_assert_uint_eq(serials[1], 3);
    rig_done(&rig);
}
END_TEST

START_TEST(a_fresh_worker_answers_beside_the_others_and_displaces_none_before_it_is_judged)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.unjudged = ~bit(1);
    rig.may_not = ~bit(1);
    rig_start(&rig);
    struct kek_pool_request list = {.op = KEK_POOL_LIST, .fresh = true};
    for (uint64_t look = 0; look < 3; look++) {
        RIG_UNTIL(&rig, rig_ready(&rig, 0) >= 1);
        /* The next one takes the place of the last that was not judged, never that of the first. */
        rig_submit(&rig, &out, &list, 0);
        rig_wait(&rig, &out);
        ck_assert_int_eq(out.rc, KEK_OK);
        ck_assert_uint_eq(out.worker, 2 + look);
        ck_assert_uint_eq(rig_alive(&rig, 0), 2);
        rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
        ck_assert_uint_eq(out.worker, 1);
    }
    ck_assert_uint_eq(rig_status(&rig, 0).recycled, 2);
    rig.unjudged = rig.may_not = 0;
    kek_pool_recheck(rig.pool);
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 3);
    ck_assert_uint_eq(rig_serial(&rig, 0), 4);
    rig_done(&rig);
}
END_TEST

START_TEST(workers_are_told_oldest_first_with_what_their_start_showed)
{
    struct rig rig;
    struct outcome out;
    struct kek_pool_worker workers[KEK_POOL_WORKERS_MAX];
    rig_init(&rig, 1);
    rig.providers[0].processes = 2;
    rig_write(&rig, "start", "number=7");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_write(&rig, "start", "number=8");
    rig_end(&rig, 1, "wrong key");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    struct kek_pool_request list = {.op = KEK_POOL_LIST};
    rig_submit(&rig, &out, &list, 0);
    rig_wait(&rig, &out);
    ck_assert_uint_eq(out.number, 2); /* that is this call's, and changes nothing in what is kept */
    rig_write(&rig, "start", "none");
    uint64_t last = 1;
    ck_assert_uint_eq(kek_pool_workers(rig.pool, 0, workers), 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_uint_gt(workers[i].serial, last);
        last = workers[i].serial;
        ck_assert_uint_eq(workers[i].version_count, 1);
        ck_assert(workers[i].versions[0].number == 7 || workers[i].versions[0].number == 8);
        ck_assert(kek_id_equal(&workers[i].versions[0].id, &rig_key));
        ck_assert(kek_pool_idle(rig.pool, workers[i].serial));
    }
    ck_assert_uint_eq(workers[1].versions[0].number, 8);
    rig_end(&rig, workers[0].serial, "wrong key");
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    ck_assert_uint_eq(kek_pool_workers(rig.pool, 0, workers), 2);
    ck_assert_uint_eq(workers[0].serial, last);
    ck_assert_uint_eq(workers[0].versions[0].number, 8);
    ck_assert_uint_eq(workers[1].version_count, 0); /* one that shows nothing is there too */
    rig_done(&rig);
}
END_TEST

START_TEST(each_worker_that_becomes_ready_or_stops_being_so_is_told_of)
{
    struct rig rig;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    struct outcome out;
    rig_init(&rig, 1);
    rig.providers[0].processes = 2;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    RIG_UNTIL(&rig, rig.changes > 0);
    unsigned before = rig.changes;
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    RIG_UNTIL(&rig, rig.changes > before); /* the second one, though the health is the same */
    rig_serials(&rig, 0, serials);
    before = rig.changes;
    rig.unjudged = ~UINT64_C(0);
    rig_retire(&rig, serials[0]);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 3);
    RIG_UNTIL(&rig, rig.changes > before); /* the successor came */
    before = rig.changes;
    rig.unjudged = 0;
    kek_pool_recheck(rig.pool);
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 1);
    RIG_UNTIL(&rig, rig.changes > before); /* the old one went */
    /* Of the two that are left, one dies and one loses its link. */
    rig_serials(&rig, 0, serials);
    static const char *const ends[] = {"kill", "link"};
    for (size_t i = 0; i < 2; i++) {
        before = rig.changes;
        rig_write(&rig, "start", "late");
        struct kek_pool_request request = to_worker(serials[i], ends[i]);
        rig_submit(&rig, &out, &request, 0);
        rig_wait(&rig, &out);
        rig_step(&rig);
        ck_assert_uint_gt(rig.changes, before);
    }
    rig_write(&rig, "go", "");
    rig_done(&rig);
}
END_TEST

/* Calls over workers that are ended and retired at random, some by a caller that is being answered. */
struct storm {
    struct rig *rig;
    uint64_t random;
    size_t submitted, ended, meddled;
};

static uint64_t draw(struct storm *storm, uint64_t below)
{
    storm->random = storm->random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (storm->random >> 33) % below;
}

static void meddle(struct storm *storm)
{
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    size_t count = rig_serials(storm->rig, draw(storm, 2), serials);
    if (count == 0) {
        return;
    }
    storm->meddled++;
    if (draw(storm, 2) == 0) {
        rig_end(storm->rig, serials[draw(storm, count)], "wrong key");
    } else {
        rig_retire(storm->rig, serials[draw(storm, count)]);
    }
}

static void storm_done(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                       const struct kek_why *why)
{
    struct storm *storm = arg;
    (void)result;
    ck_assert(!storm->rig->inside);
    storm->ended++;
    ck_assert_msg(rc == KEK_OK, "%s", why == NULL ? "" : why->text);
    if (draw(storm, 60) == 0) {
        meddle(storm);
    }
}

static void storm_named_done(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                             const struct kek_why *why)
{
    struct storm *storm = arg;
    if (rc == KEK_OK) {
        storm_done(arg, rc, result, why);
        return;
    }
    ck_assert_int_eq(rc, KEK_UNAVAILABLE);
    ck_assert_msg(strstr(why->text, "that worker is gone") != NULL, "%s", why->text);
    storm->ended++;
}

static void storm_submit(struct storm *storm)
{
    struct kek_why why;
    struct kek_pool_request request = rig_request(KEK_POOL_ANY, "x");
    request.deadline_ms = KEK_NEVER;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    size_t provider = draw(storm, 2), count = rig_serials(storm->rig, provider, serials);
    uint64_t kind = count == 0 ? 0 : draw(storm, 3);
    if (kind == 1) {
        request.provider = provider;
        request.worker = serials[draw(storm, count)];
    } else if (kind == 2) {
        request.not_worker = serials[draw(storm, count)];
    }
    kek_pool_done_fn *done = kind == 1 ? storm_named_done : storm_done;
    storm->rig->inside = true;
    ck_assert_ptr_nonnull(kek_pool_submit(storm->rig->pool, &request, done, storm, &why));
    storm->rig->inside = false;
    storm->submitted++;
}

START_TEST(every_call_ends_once_over_workers_that_are_ended_and_retired_at_random)
{
    enum { CALLS = 4000 };
    struct rig rig;
    struct storm storm = {.rig = &rig, .random = 1};
    rig_init(&rig, 2);
    for (size_t i = 0; i < 2; i++) {
        rig.providers[i].processes = 2;
        rig.providers[i].sessions = 4;
    }
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2 && rig_ready(&rig, 1) == 2);
    uint64_t until = kek_clock_ms() + RIG_PATIENCE_MS;
    while (storm.ended < CALLS) {
        ck_assert(kek_clock_ms() < until);
        while (storm.submitted < CALLS && storm.submitted - storm.ended < 48) {
            storm_submit(&storm);
        }
        if (draw(&storm, 20) == 0) {
            meddle(&storm);
        }
        rig_step(&rig);
        ck_assert_uint_le(rig_alive(&rig, 0), 3); /* processes + 1, whatever happens */
        ck_assert_uint_le(rig_alive(&rig, 1), 3);
    }
    ck_assert_uint_eq(storm.ended, CALLS);
    ck_assert_uint_gt(storm.meddled, 0);
    ck_assert_uint_gt(rig_status(&rig, 0).ended + rig_status(&rig, 1).ended, 0);
    rig_done(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool-workers");
    TCase *tcase = tcase_create("one by one");
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, a_worker_serves_only_what_it_may_itself);
    tcase_add_test(tcase, a_provider_serves_if_one_of_its_ready_workers_may_or_its_next_one);
    tcase_add_test(tcase, a_call_whose_time_ends_says_that_no_worker_may_serve_it);
    tcase_add_test(tcase, a_call_that_names_a_worker_goes_to_no_other);
    tcase_add_test(tcase, a_call_that_names_a_worker_finds_room_beside_the_traffic);
    tcase_add_test(tcase, a_call_that_names_a_worker_is_not_hedged);
    tcase_add_loop_test(tcase, a_call_that_names_a_worker_fails_with_it_and_is_not_sent_again, 0,
                        sizeof losses / sizeof losses[0]);
    tcase_add_test(tcase, a_call_that_names_a_worker_which_is_gone_fails_at_once);
    tcase_add_test(tcase, a_blob_of_calls_that_name_workers_is_not_remembered_as_what_crashes_them);
    tcase_add_test(tcase, a_busy_token_is_asked_again_by_the_worker_that_is_named);
    tcase_add_test(tcase, a_call_that_excludes_a_worker_goes_to_any_other);
    tcase_add_test(tcase, a_call_that_excludes_the_only_ready_worker_waits_for_another);
    tcase_add_test(tcase, a_hedge_never_goes_to_the_worker_that_is_excluded);
    tcase_add_test(tcase, a_hedge_never_goes_to_a_worker_that_may_not_serve);
    tcase_add_test(tcase, a_worker_that_is_ended_hands_its_calls_to_others_but_those_that_name_it);
    tcase_add_test(tcase, the_sibling_of_a_worker_that_is_ended_takes_its_calls_at_once);
    tcase_add_test(tcase, a_worker_is_ended_by_the_caller_it_has_just_answered);
    tcase_add_test(tcase, a_call_cancelled_after_its_worker_was_ended_is_forgotten);
    tcase_add_test(tcase, workers_that_are_ended_in_a_row_are_replaced_more_slowly);
    tcase_add_test(tcase, a_worker_that_is_retired_leaves_after_its_successor_is_judged);
    tcase_add_test(tcase, a_worn_worker_stays_while_its_successor_is_not_judged);
    tcase_add_test(tcase, one_that_is_not_judged_is_replaced_by_one_that_is);
    tcase_add_test(
        tcase, of_two_workers_the_good_one_stays_when_the_other_and_its_successor_are_not_judged);
    tcase_add_test(tcase,
                   a_fresh_worker_answers_beside_the_others_and_displaces_none_before_it_is_judged);
    tcase_add_test(tcase, workers_are_told_oldest_first_with_what_their_start_showed);
    tcase_add_test(tcase, each_worker_that_becomes_ready_or_stops_being_so_is_told_of);
    tcase_add_test(tcase, every_call_ends_once_over_workers_that_are_ended_and_retired_at_random);
    return suite_run(suite);
}
