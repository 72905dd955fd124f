/* Workers that are wrong: who is ended, who is judged, and what waits for that. */
#include "keyring_workers.h"

/* It opens the witness, so nothing else is held against it or its provider. */
START_TEST(worker_that_wraps_wrongly_wraps_no_more_and_is_ended_alone)
{
    struct kek_version seen = key(1);
    struct version *v1 = version(1, true);
    struct member *wrong = add(1, &seen, 1), *right = add(2, &seen, 1);
    check(wrong, v1, OPENED);
    check(right, v1, OPENED);
    kek_keyring_observe(ring, 0, 1, &v1->id, KEK_POOL_UNWRAP, KEK_DAMAGED);
    ck_assert(view_wraps(v1, &wrong->views[v1->slot]));
    kek_keyring_observe(ring, 0, 1, &v1->id, KEK_POOL_WRAP, KEK_DAMAGED);
    ck_assert(!view_wraps(v1, &wrong->views[v1->slot]));
    ck_assert(view_unwraps(v1, &wrong->views[v1->slot]));
    ck_assert(view_wraps(v1, &right->views[v1->slot]));
    ck_assert(!member_judged(wrong));

    member_take(wrong, &seen, 1); /* what it lists, wraps or opens later changes nothing */
    kek_keyring_observe(ring, 0, 1, &v1->id, KEK_POOL_WRAP, KEK_OK);
    ck_assert(!view_wraps(v1, &wrong->views[v1->slot]));
    check(right, v1, UNKNOWN); /* nobody else wraps: it stays */
    judge_members(ring);
    ck_assert(!wrong->ended);
    check(right, v1, OPENED);
    judge_members(ring);
    ck_assert(wrong->ended);
    ck_assert(!right->ended);
    ck_assert_uint_eq(v1->held[0].wrong, 0);
    ck_assert_uint_eq(errors, 1);
}
END_TEST

/* No record says who is right, and so all of them may be replaced, by whatever comes. */
START_TEST(workers_that_disagree_about_a_proposal_are_judged_and_may_be_replaced)
{
    struct kek_version seen = key(1);
    struct version *v1 = version(1, false);
    struct member *right = add(1, &seen, 1), *wrong = add(2, &seen, 1);
    ck_assert(!member_judged(right));
    check(right, v1, FAILED);
    check(wrong, v1, OPENED);
    ck_assert(member_judged(right));
    ck_assert(member_judged(wrong));
    v1->agreed = true;
    ck_assert(!member_judged(right));
}
END_TEST

/* A fresh node's count of absences is over once the key is there: it takes two fresh workers again. */
START_TEST(key_that_came_back_is_not_gone_on_one_workers_word)
{
    struct kek_version seen = key(1);
    struct version *v1 = version(1, true);
    v1->held[0].missing = ABSENT_LOOKS;
    struct member *member = add(1, &seen, 1);
    check(member, v1, OPENED);
    judge_holdings(ring);
    ck_assert(v1->held[0].unwraps && v1->held[0].settled);
    pass(5000);
    member_take(member, NULL, 0);
    judge_holdings(ring);
    ck_assert(v1->held[0].missed);
    ck_assert(!v1->held[0].settled);
    ck_assert(v1->held[0].unwraps);
    ck_assert_int_eq(kek_keyring_find(ring, &seen.id), KEK_KEYRING_OPENS);
}
END_TEST

/* One old version whose witness the token no longer answers for must not end all recycling. */
START_TEST(version_that_no_sibling_opens_either_keeps_no_worker_from_being_judged)
{
    struct kek_version seen[] = {key(1), key(2)};
    struct version *v1 = version(1, true), *v2 = version(2, true);
    struct member *first = add(1, seen, 2), *second = add(2, seen, 2);
    check(first, v2, OPENED);
    check(second, v2, OPENED);
    ck_assert(!member_judged(second)); /* an answer may still come */
    pass(CALL_MS);
    ck_assert(member_judged(second));
    check(first, v1, OPENED);
    ck_assert(!member_judged(second)); /* it is not as good as its sibling */
}
END_TEST

static void looked(void *arg)
{
    *(bool *)arg = true;
}

START_TEST(look_has_an_end_although_a_witness_never_comes)
{
    bool done = false;
    struct kek_version seen = key(1);
    version(1, false)->witness_len = 0;
    add(1, &seen, 1);
    judge_holdings(ring);
    struct kek_keyring_wait *wait = wait_add(&ring->looking, &done);
    ck_assert_ptr_nonnull(wait);
    wait->looked = looked;
    ring->looked_ms = ring->sources[0].fresh_ms = kek_clock_ms();
    pass(500);
    look_drive(ring);
    wait_tell(ring);
    ck_assert(!done);
    pass(CALL_MS);
    look_drive(ring);
    wait_tell(ring);
    ck_assert(done);
}
END_TEST

START_TEST(nobody_waits_for_a_keyring_that_is_stopped)
{
    bool done = false;
    kek_keyring_stop(ring);
    ck_assert_ptr_null(kek_keyring_look(ring, looked, &done));
    ck_assert_ptr_null(ring->looking);
}
END_TEST

/* "No such key" from the younger of two is looked into before it is held against it. */
START_TEST(worker_that_misses_a_key_in_use_lists_again_before_it_is_ended)
{
    struct kek_version seen = key(1);
    struct version *v1 = version(1, true);
    struct member *older = add(1, &seen, 1), *younger = add(2, &seen, 1);
    check(older, v1, OPENED);
    check(younger, v1, OPENED);
    pass(1000);
    younger->asked_ms = younger->listed_ms = kek_clock_ms();
    pass(1000);
    check(older, v1, OPENED);
    kek_keyring_observe(ring, 0, 2, &seen.id, KEK_POOL_UNWRAP, KEK_NOT_FOUND);
    judge_members(ring);
    ck_assert(!younger->ended);
    /* It lists the key again, and stays; or it does not, while the other opens it, and goes. */
    younger->relist = false;
    younger->asked_ms = kek_clock_ms();
    member_take(younger, NULL, 0);
    pass(10);
    check(older, v1, OPENED);
    judge_members(ring);
    ck_assert(younger->ended);
    ck_assert(!older->ended);
}
END_TEST

/* A disk that is full for a day is told of at each refresh, not at each tick. */
START_TEST(state_file_that_cannot_be_written_is_tried_once_a_refresh)
{
    char beside[128];
    struct kek_version seen = key(1);
    struct version *v1 = version(1, true);
    snprintf(beside, sizeof beside, "%s/k.json.new", rig.state);
    ck_assert_int_eq(mkdir(beside, 0700), 0);
    check(add(1, &seen, 1), v1, OPENED);
    judge_holdings(ring);
    for (int i = 0; i < 10; i++) {
        pass(TICK_MS);
        primary_drive(ring);
        if (v1->ready_ms > 0) {
            v1->prepared = true;
        }
        while (ring->record_writing) {
            uv_run(&rig.loop, UV_RUN_ONCE);
        }
    }
    ck_assert_uint_eq(errors, 1);
    ck_assert(!ring->announced);
    ck_assert_int_eq(rmdir(beside), 0);
    look_due(&ring->refresh);
    while (ring->record_writing) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
    primary_drive(ring);
    ck_assert(ring->announced);
    ck_assert_uint_eq(errors, 1);
}
END_TEST

/* A library that is on a wrong token for as long as its process begins opens there what it wrapped there, and only then the
 * primary's witness. */
START_TEST(worker_is_believed_of_a_new_version_if_it_opened_the_primary_before_and_after)
{
    struct kek_version seen[] = {key(1), key(2)};
    struct version *v1 = version(1, true), *v2 = version(2, false);
    struct member *one = add(1, seen, 2), *two = add(2, seen, 2);
    struct view *old = &two->views[v1->slot], *new = &two->views[v2->slot];
    ring->announced = true;
    ring->primary.generation = (struct kek_generation){
        .count = 1, .kek_ids = {v1->id}, .numbers = {1}, .key_id = "kek1-x"};
    check(one, v1, OPENED);
    pass(1);
    check(one, v2, OPENED);
    check(two, v2, OPENED); /* and v1 not yet */
    pass(1);
    check(one, v1, OPENED);
    check(two, v1, OPENED);
    judge_holdings(ring);
    primary_drive(ring);
    ck_assert(!v2->agreed);
    ck_assert(new->again && !old->again); /* is v2 what it was, now that v1 is right? */
    new->again = false;
    if (_i == 0) { /* it is not */
        pass(1);
        check(two, v2, FAILED);
        check(one, v2, OPENED);
        pass(1);
        check(two, v1, OPENED);
        primary_drive(ring);
        ck_assert(!v2->agreed);
        return;
    }
    pass(1);
    check(two, v2, OPENED);
    primary_drive(ring);
    ck_assert(!v2->agreed);
    ck_assert(old->again && !new->again);
    old->again = false;
    pass(1);
    old->asked_ms = kek_clock_ms(); /* in vain: the token did not answer */
    primary_drive(ring);
    ck_assert(!v2->agreed);
    ck_assert(old->again);
    old->again = false;
    pass(1);
    check(two, v1, OPENED);
    primary_drive(ring);
    ck_assert(v2->agreed);
}
END_TEST

/* The log, the metric and the alert say what a version waits for: the first thing that is missing. */
START_TEST(version_that_waits_says_for_what)
{
    struct kek_version seen[] = {key(1), key(2)};
    struct version *v1 = version(1, true), *v2 = version(2, false);
    struct kek_keyring_verdict is = {.provider = KEK_POOL_ANY}, standing[2];
    struct member *one = add(1, seen, 2), *two = add(2, seen, 2);
    ring->announced = true;
    ring->primary.generation = (struct kek_generation){
        .count = 1, .kek_ids = {v1->id}, .numbers = {1}, .key_id = "kek1-x"};
    rig.config.settle_ms = 60000;
    judge_holdings(ring);

    check(one, v1, FAILED);
    check(two, v1, FAILED);
    obstacle_say(ring, v2, &is);
    ck_assert_str_eq(is.what,
                     "every worker that could prove KEK version 2 uses a different key under "
                     "the name of another version");
    check(one, v1, OPENED);
    check(two, v1, OPENED);
    check(one, v2, OPENED);
    obstacle_say(ring, v2, &is);
    ck_assert_str_eq(is.what, "not every worker of provider a has proven KEK version 2");
    ck_assert_uint_eq(is.provider, 0);
    check(two, v2, OPENED);
    judge_holdings(ring);
    obstacle_say(ring, v2, &is);
    ck_assert_str_eq(is.what, "KEK version 2 is not proven on every provider");
    v2->agreed = true;
    v2->ready_ms = ring->now_ms;
    obstacle_say(ring, v2, &is);
    ck_assert_str_eq(is.what, "KEK version 2 is proven, and waits for `settle` to pass");

    /* It counts once it has lasted longer than a rotation takes, and is told once. */
    remarks_drive(ring);
    ck_assert_uint_eq(kek_keyring_remarks(ring, standing, 2), 0);
    pass(60000);
    obstacle_say(ring, v2, &is);
    ck_assert_str_eq(is.what, "no data key was wrapped under KEK version 2 yet");
    v2->prepared = true;
    pass(30000);
    ck_assert_uint_eq(warnings, 0);
    remarks_drive(ring);
    remarks_drive(ring);
    ck_assert_uint_eq(warnings, 1);
    ck_assert_uint_eq(kek_keyring_remarks(ring, standing, 2), 1);
    ck_assert_int_eq(standing[0].remark, KEK_KEYRING_VERSION_WAITS);
    ck_assert_str_eq(standing[0].what, "KEK version 2 is not on record yet");
    ck_assert_uint_eq(ring->now_ms - standing[0].since_ms, 90000);
    ring->primary.generation.numbers[0] = 2;
    ring->primary.generation.kek_ids[0] = v2->id;
    remarks_drive(ring);
    ck_assert_uint_eq(kek_keyring_remarks(ring, standing, 2), 0);
    ck_assert_uint_eq(warnings, 1);
}
END_TEST

/* More than there is room for: none is written past the end, and what came first stays. */
START_TEST(remarks_are_bounded)
{
    struct kek_keyring_verdict standing[KEK_KEYRING_REMARKS_MAX + 1];
    struct kek_version seen[20];
    for (uint32_t n = 0; n < 20; n++) {
        seen[n] = key(n + 1);
    }
    (void)add(1, seen, 20);
    judge_holdings(ring);
    remarks_drive(ring);
    pass(3600000);
    remarks_drive(ring);
    ck_assert_uint_eq(kek_keyring_remarks(ring, standing, KEK_KEYRING_REMARKS_MAX + 1),
                      KEK_KEYRING_REMARKS_MAX);
    ck_assert_uint_eq(standing[0].version, 1);
}
END_TEST

/* A probe holds on to its version, though another is the primary by now. */
START_TEST(version_that_is_being_probed_makes_no_room)
{
    struct version *v1 = version(1, true);
    v1->trips = 1;
    v1->held[0].known = true;
    for (uint32_t i = 2; i <= VERSIONS_MAX; i++) {
        version(i, true)->held[0].known = true;
    }
    version(VERSIONS_MAX + 1, true);
    struct kek_version seen[] = {key(1), key(2)};
    ck_assert_ptr_eq(version_find(ring, &seen[0].id), v1);
    ck_assert_ptr_null(version_find(ring, &seen[1].id));
}
END_TEST

/* A worker that is recycled between a probe's wrap and its unwrap is no outage of its provider. */
START_TEST(probe_whose_second_worker_left_meanwhile_breaks_no_provider)
{
    struct source *source = &ring->sources[0];
    kek_clock_fake(NULL);
    rig.settings.judged = NULL;
    rig.providers[0].processes = 1;
    kek_pool_start(rig.pool);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    source_sync(source);
    struct version *v7 = ring->versions;
    ck_assert_ptr_nonnull(v7);
    v7->witness_len = 1;
    v7->agreed = ring->announced = true;
    generation_of(v7, &ring->primary.generation);
    struct kek_version seen = key(7);
    seen.id = v7->id;
    struct member *gone = add(99, &seen, 1);
    check(gone, v7, OPENED);
    check(source->members, v7, OPENED);
    ring->now_ms = kek_clock_ms();
    source->probes = 1; /* the one that is there wraps, the other is to unwrap */
    trip_probe(source);
    ck_assert_ptr_nonnull(source->probe);
    RIG_UNTIL(&rig, source->probe == NULL);
    ck_assert(!source->broken);
    ck_assert_uint_eq(v7->trips, 0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring_workers");
    TCase *tcase = tcase_create("workers");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, worker_that_wraps_wrongly_wraps_no_more_and_is_ended_alone);
    tcase_add_test(tcase, workers_that_disagree_about_a_proposal_are_judged_and_may_be_replaced);
    tcase_add_test(tcase, key_that_came_back_is_not_gone_on_one_workers_word);
    tcase_add_test(tcase, version_that_no_sibling_opens_either_keeps_no_worker_from_being_judged);
    tcase_add_test(tcase, look_has_an_end_although_a_witness_never_comes);
    tcase_add_test(tcase, nobody_waits_for_a_keyring_that_is_stopped);
    tcase_add_test(tcase, worker_that_misses_a_key_in_use_lists_again_before_it_is_ended);
    tcase_add_test(tcase, state_file_that_cannot_be_written_is_tried_once_a_refresh);
    tcase_add_loop_test(
        tcase, worker_is_believed_of_a_new_version_if_it_opened_the_primary_before_and_after, 0, 2);
    tcase_add_test(tcase, version_that_waits_says_for_what);
    tcase_add_test(tcase, remarks_are_bounded);
    tcase_add_test(tcase, version_that_is_being_probed_makes_no_room);
    tcase_add_test(tcase, probe_whose_second_worker_left_meanwhile_breaks_no_provider);
    return suite_run(suite);
}
