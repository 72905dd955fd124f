/* The pool's calls while they wait: order, room, cancellation, deadlines. */
#include "pool_rig.h"

#include <stdio.h>
#include <string.h>

START_TEST(calls_go_to_the_first_provider_that_may_serve_and_has_room)
{
    struct rig rig;
    struct outcome out, held[4];
    rig_init(&rig, 2);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_ready(&rig, 1) == 1);
    rig_do(&rig, &out, KEK_POOL_ANY, "first", 0);
    ck_assert_uint_eq(out.provider, 0);
    rig.may = 2;
    rig_do(&rig, &out, KEK_POOL_ANY, "second", 0);
    ck_assert_uint_eq(out.provider, 1);
    rig_do(&rig, &out, 0, "named", 0); /* whoever names a provider is not asked */
    ck_assert_uint_eq(out.provider, 0);
    rig.may = 3;
    for (size_t i = 0; i < 4; i++) {
        rig_unwrap(&rig, &held[i], KEK_POOL_ANY, "wait", 0);
    }
    ck_assert_uint_eq(rig_status(&rig, 0).calls_running, 2);
    ck_assert_uint_eq(rig_status(&rig, 1).calls_running, 2);
    rig_write(&rig, "go", "");
    for (size_t i = 0; i < 4; i++) {
        rig_wait(&rig, &held[i]);
        rig_check(&held[i], "wait");
    }
    rig_done(&rig);
}
END_TEST

START_TEST(no_more_than_sessions_are_outstanding_and_the_load_is_spread)
{
    struct rig rig;
    struct outcome held[9];
    rig_init(&rig, 1);
    rig.providers[0].processes = 2;
    rig.providers[0].sessions = 4;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    for (size_t i = 0; i < 9; i++) {
        rig_unwrap(&rig, &held[i], KEK_POOL_ANY, "wait", 0);
    }
    ck_assert_uint_eq(rig_status(&rig, 0).calls_running, 8);
    ck_assert_uint_eq(kek_pool_queued(rig.pool), 1);
    RIG_UNTIL(&rig, rig_count(&rig, "op") == 8);
    rig_pause(&rig, 30);
    ck_assert_uint_eq(rig_count(&rig, "op"), 8);
    rig_write(&rig, "go", "");
    for (size_t i = 0; i < 9; i++) {
        rig_wait(&rig, &held[i]);
        rig_check(&held[i], "wait");
    }
    rig_done(&rig);
}
END_TEST

START_TEST(waiting_calls_are_served_in_order_of_their_deadlines)
{
    struct rig rig;
    struct outcome held, late, early, never;
    rig_init(&rig, 1);
    rig.providers[0].sessions = 1;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_unwrap(&rig, &held, KEK_POOL_ANY, "wait", 0);
    rig_unwrap(&rig, &never, KEK_POOL_ANY, "never", 0);
    rig_unwrap(&rig, &late, KEK_POOL_ANY, "late", 50000);
    rig_unwrap(&rig, &early, 0, "early", 40000); /* another lane, the same order */
    rig_write(&rig, "go", "");
    rig_wait(&rig, &never);
    ck_assert_uint_eq(held.order, 0);
    ck_assert_uint_eq(early.order, 1);
    ck_assert_uint_eq(late.order, 2);
    ck_assert_uint_eq(never.order, 3);
    rig_done(&rig);
}
END_TEST

START_TEST(a_cancelled_call_in_the_queue_never_reaches_a_worker)
{
    struct rig rig;
    struct outcome held, out[3];
    struct kek_pool_call *calls[3];
    rig_init(&rig, 1);
    rig.providers[0].sessions = 1;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_unwrap(&rig, &held, KEK_POOL_ANY, "wait", 0);
    for (size_t i = 0; i < 3; i++) {
        calls[i] = rig_unwrap(&rig, &out[i], KEK_POOL_ANY, "queued", 10000 + i);
    }
    kek_pool_cancel(calls[1]);
    kek_pool_cancel(calls[0]);
    ck_assert_uint_eq(kek_pool_queued(rig.pool), 1);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out[2]);
    rig_check(&out[2], "queued");
    ck_assert_uint_eq(out[0].ends + out[1].ends, 0);
    ck_assert_uint_eq(rig_count(&rig, "op"), 2);
    rig_done(&rig);
}
END_TEST

START_TEST(a_cancelled_call_in_service_keeps_its_session_until_the_answer)
{
    struct rig rig;
    struct outcome held, out;
    rig_init(&rig, 1);
    rig.providers[0].sessions = 1;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    kek_pool_cancel(rig_unwrap(&rig, &held, KEK_POOL_ANY, "wait", 0));
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "next", 0);
    ck_assert_uint_eq(kek_pool_queued(rig.pool), 1);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out);
    rig_check(&out, "next");
    ck_assert_uint_eq(held.ends, 0);
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_worker_that_hangs_on_a_cancelled_call_is_still_killed)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.providers[0].timeout_ms = 50;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    kek_pool_cancel(rig_unwrap(&rig, &out, KEK_POOL_ANY, "hang", 0));
    RIG_UNTIL(&rig, rig_status(&rig, 0).killed == 1 && rig_ready(&rig, 0) == 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_deadline_in_the_queue_ends_the_call_just_before_it)
{
    struct rig rig;
    struct outcome held, out;
    rig_init(&rig, 1);
    rig.providers[0].sessions = 1;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_unwrap(&rig, &held, KEK_POOL_ANY, "wait", 0);
    rig_do(&rig, &out, KEK_POOL_ANY, "queued", 100);
    ck_assert_int_eq(out.rc, KEK_DEADLINE);
    struct kek_pool_request past = {.op = KEK_POOL_LIST};
    ck_assert_ptr_nonnull(rig_submit(&rig, &out, &past, 0));
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "past", 1);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_DEADLINE);
    ck_assert_uint_eq(rig_count(&rig, "op"), 1);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &held);
    rig_done(&rig);
}
END_TEST

START_TEST(a_call_whose_time_is_over_never_reaches_a_worker)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig.may = 0;
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "late", 5);
    usleep(20000); /* something else keeps the loop */
    rig.may = 1;
    kek_dispatch(rig.pool); /* as an answer to another call does: now there is room */
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_DEADLINE);
    rig_do(&rig, &out, 0, "after", 0);
    rig_check(&out, "after");
    ck_assert_uint_eq(rig_count(&rig, "op"), 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_deadline_in_service_ends_the_call_and_not_the_worker)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_do(&rig, &out, KEK_POOL_ANY, "wait", 100);
    ck_assert_int_eq(out.rc, KEK_DEADLINE);
    rig_write(&rig, "go", "");
    rig_do(&rig, &out, KEK_POOL_ANY, "after", 0);
    rig_check(&out, "after");
    ck_assert_uint_eq(rig_status(&rig, 0).killed, 0);
    rig_done(&rig);
}
END_TEST

START_TEST(a_hung_worker_finishes_its_other_calls_before_it_is_killed)
{
    struct rig rig;
    struct outcome hung, other, next;
    rig_init(&rig, 1);
    rig.providers[0].timeout_ms = 100;
    rig.providers[0].sessions = 2;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    rig_unwrap(&rig, &hung, KEK_POOL_ANY, "once:hang", 0);
    rig.providers[0].timeout_ms = 30000; /* of what is sent after it */
    rig_unwrap(&rig, &other, 0, "wait", 0);
    /* The first times out: retried on the successor while the old worker still has the other. */
    rig_wait(&rig, &hung);
    rig_check(&hung, "once:hang");
    rig_unwrap(&rig, &next, 0, "next", 0);
    rig_wait(&rig, &next);
    rig_check(&next, "next");
    ck_assert_uint_eq(rig_status(&rig, 0).killed, 0);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &other);
    rig_check(&other, "wait");
    RIG_UNTIL(&rig, rig_status(&rig, 0).killed == 1);
    ck_assert_uint_eq(rig_count(&rig, "op"), 4); /* the other was sent once */
    rig_done(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool-queue");
    TCase *tcase = tcase_create("waiting");
    tcase_set_timeout(tcase, 180);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, calls_go_to_the_first_provider_that_may_serve_and_has_room);
    tcase_add_test(tcase, no_more_than_sessions_are_outstanding_and_the_load_is_spread);
    tcase_add_test(tcase, waiting_calls_are_served_in_order_of_their_deadlines);
    tcase_add_test(tcase, a_cancelled_call_in_the_queue_never_reaches_a_worker);
    tcase_add_test(tcase, a_cancelled_call_in_service_keeps_its_session_until_the_answer);
    tcase_add_test(tcase, a_worker_that_hangs_on_a_cancelled_call_is_still_killed);
    tcase_add_test(tcase, a_deadline_in_the_queue_ends_the_call_just_before_it);
    tcase_add_test(tcase, a_call_whose_time_is_over_never_reaches_a_worker);
    tcase_add_test(tcase, a_deadline_in_service_ends_the_call_and_not_the_worker);
    tcase_add_test(tcase, a_hung_worker_finishes_its_other_calls_before_it_is_killed);
    return suite_run(suite);
}
