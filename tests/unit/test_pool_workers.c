/* The pool's workers one by one: who may serve, who is named or excluded, what goes on when one is ended. */
#include "pool_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/wait.h>

static uint64_t bit(uint64_t serial)
{
    return UINT64_C(1) << serial;
}

START_TEST(a_worker_serves_only_what_it_may_itself)
{
    struct rig rig;
    struct outcome out, waiting;
    uint64_t serials[KEK_POOL_WORKERS_MAX];
    rig_start_two(&rig, serials);
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
    rig_start_two(&rig, serials);
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
    rig_start_two(&rig, serials);
    struct kek_pool_request request = rig_to_worker(serials[1], "wait");
    for (size_t i = 0; i < 3; i++) {
        rig_submit(&rig, &held[i], &request, 0);
    }
    /* It waits for room in its worker, though the other has room; and it is not sent twice. */
    struct kek_pool_request next = rig_to_worker(serials[1], "next");
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
    struct kek_pool_request request = rig_to_worker(worker, "x");
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
    rig_start_two(&rig, serials);
    struct kek_pool_request request = rig_to_worker(serials[0], "wait");
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
    rig_start_two(&rig, serials);
    kek_pool_times(rig.pool)->eof = 20;
    rig.providers[0].timeout_ms = strcmp(how, "hang") == 0 ? 150 : 30000;
    char command[32];
    snprintf(command, sizeof command, "%s wait", how);
    struct kek_pool_request request = rig_to_worker(serials[0], command);
    struct kek_pool_request held = rig_to_worker(serials[0], "wait"),
                            next = rig_to_worker(serials[0], "x");
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
    struct kek_pool_request request = rig_to_worker(worker, "x");
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
        struct kek_pool_request request = rig_to_worker(rig_serial(&rig, 0), "crash");
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
    rig_start_two(&rig, serials);
    struct kek_pool_request request = rig_to_worker(serials[1], "once:busy");
    rig_submit(&rig, &out, &request, 0);
    rig_wait(&rig, &out);
    rig_check(&out, "once:busy");
    ck_assert_uint_eq(out.worker, serials[1]);
    /* Unless it goes meanwhile. */
    kek_pool_times(rig.pool)->busy = 50;
    request = rig_to_worker(serials[1], "busy");
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
    rig_start_two(&rig, serials);
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
    rig_start_two(&rig, serials);
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
    rig_start_two(&rig, serials);
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
    struct kek_pool_request request = rig_to_worker(worker, "wait"),
                            next = rig_to_worker(worker, "x");
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
    rig_start_two(&rig, serials);
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
        struct kek_pool_request held = rig_to_worker(worker, "wait");
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
    return suite_run(suite);
}
