/* Which worker leaves, and when: ended, worn, retired, judged or not; and what the owner is told of it. */
#include "pool_rig.h"

#include <string.h>

static uint64_t bit(uint64_t serial)
{
    return UINT64_C(1) << serial;
}

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
    struct kek_pool_request request = rig_to_worker(old, "wait");
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
    rig_start_two(&rig, serials);
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
        struct kek_pool_request request = rig_to_worker(serials[i], ends[i]);
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
    Suite *suite = suite_create("pool-succession");
    TCase *tcase = tcase_create("succession");
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
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
