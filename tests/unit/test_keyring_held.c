/* What a provider holds, where one of its workers says otherwise or a use says otherwise than a list. */
#include "keyring_workers.h"

static void list(struct member *member, const struct kek_version *seen)
{
    member->relist = false;
    member->begun_ms = member->asked_ms = kek_clock_ms();
    member_take(member, seen, 1);
    judge_holdings(ring);
}

/* One of two still says what it met in a moment that has passed; then the other, which was good, ends. */
START_TEST(old_word_of_the_worker_that_is_left_is_not_its_providers)
{
    struct kek_generation generation = {.count = 1, .numbers = {1}};
    struct kek_version good = key(1), bad[] = {key(1), key(1), key(1)};
    struct version *v1 = version(1, true);
    bad[0].can_wrap = false;
    bad[1].can_unwrap = bad[1].can_wrap = false;
    bad[2].eligible = false;
    generation.kek_ids[0] = good.id;
    for (uint64_t i = 0; i < 3; i++) {
        struct member *first = add(10 + i, &good, 1), *second = add(20 + i, &bad[i], 1);
        check(first, v1, OPENED);
        check(second, v1, OPENED);
        pass(500);
        judge_holdings(ring);
        member_drop(first);
        pass(1);
        judge_holdings(ring);
        ck_assert(second->relist);
        ck_assert_int_eq(kek_keyring_find(ring, &good.id), KEK_KEYRING_OPENS);
        ck_assert_int_eq(kek_keyring_wraps(ring, &generation, NULL), KEK_OK);
        /* It looks, and the moment has passed. */
        list(second, &good);
        ck_assert(v1->held[0].settled);
        ck_assert_int_eq(kek_keyring_wraps(ring, &generation, NULL), KEK_OK);
        pass(500);
        /* What it lists from now on is how it is. */
        list(second, &bad[i]);
        pass(1);
        list(second, &bad[i]);
        ck_assert(v1->held[0].settled);
        ck_assert_int_eq(kek_keyring_wraps(ring, &generation, NULL), KEK_PRECONDITION);
        ck_assert_int_eq(kek_keyring_find(ring, &good.id),
                         i == 0 ? KEK_KEYRING_OPENS : KEK_KEYRING_CLOSED);
        member_drop(second);
    }
}
END_TEST

/* A library that lists from memory says that the key may be used; the token refuses each time. */
START_TEST(key_that_each_use_is_refused_of_is_refused_whatever_is_listed)
{
    struct kek_generation generation = {.count = 1, .numbers = {1}};
    struct kek_version seen = key(1);
    struct version *v1 = version(1, true);
    struct member *member = add(1, &seen, 1);
    generation.kek_ids[0] = seen.id;
    check(member, v1, OPENED);
    judge_holdings(ring);
    pass(500);
    kek_keyring_observe(ring, 0, 1, &seen.id, KEK_POOL_WRAP, KEK_PRECONDITION);
    judge_holdings(ring);
    ck_assert(!kek_keyring_may(ring, 0, 1, KEK_POOL_WRAP, &seen.id)); /* it is to list */
    ck_assert_int_eq(kek_keyring_wraps(ring, &generation, NULL), KEK_OK);
    list(member, &seen);
    ck_assert(kek_keyring_may(ring, 0, 1, KEK_POOL_WRAP, &seen.id)); /* once more */
    for (unsigned pause = TICK_MS; pause <= 4 * TICK_MS; pause *= 2) {
        pass(1);
        kek_keyring_observe(ring, 0, 1, &seen.id, KEK_POOL_WRAP, KEK_PRECONDITION);
        list(member, &seen);
        ck_assert_int_eq(kek_keyring_wraps(ring, &generation, NULL), KEK_PRECONDITION);
        ck_assert(kek_keyring_may(ring, 0, 1, KEK_POOL_UNWRAP, &seen.id));
        pass(pause - 1);
        judge_holdings(ring);
        ck_assert(!kek_keyring_may(ring, 0, 1, KEK_POOL_WRAP, &seen.id));
        pass(1);
        judge_holdings(ring);
        ck_assert_int_eq(kek_keyring_wraps(ring, &generation, NULL),
                         KEK_OK); /* it is tried again */
    }
    /* What it refused is old once a sibling could since, and that one is gone. */
    kek_keyring_observe(ring, 0, 1, &seen.id, KEK_POOL_WRAP, KEK_PRECONDITION);
    list(member, &seen);
    struct member *sibling = add(2, &seen, 1);
    check(sibling, v1, OPENED);
    pass(1);
    kek_keyring_observe(ring, 0, 2, &seen.id, KEK_POOL_WRAP, KEK_OK);
    list(member, &seen);
    ck_assert(!kek_keyring_may(ring, 0, 1, KEK_POOL_WRAP, &seen.id));
    pass(1);
    member_drop(sibling);
    list(member, &seen);
    ck_assert_int_eq(kek_keyring_wraps(ring, &generation, NULL), KEK_OK);
    ck_assert(kek_keyring_may(ring, 0, 1, KEK_POOL_WRAP, &seen.id));
    /* A list that says something new, and a use that works, end it. */
    kek_keyring_observe(ring, 0, 1, &seen.id, KEK_POOL_WRAP, KEK_OK);
    ck_assert_uint_eq(member->views[v1->slot].to_wrap.count, 0);
    kek_keyring_observe(ring, 0, 1, &seen.id, KEK_POOL_WRAP, KEK_PRECONDITION);
    kek_keyring_observe(ring, 0, 1, &seen.id, KEK_POOL_WRAP, KEK_PRECONDITION);
    struct kek_version retired = seen;
    retired.can_wrap = false;
    list(member, &retired);
    list(member, &seen);
    ck_assert(kek_keyring_may(ring, 0, 1, KEK_POOL_WRAP, &seen.id));
}
END_TEST

/* What a provider is told to hold; version `number` is known. */
static enum kek_keyring_key held(uint32_t number)
{
    struct kek_keyring_version versions[VERSIONS_MAX];
    size_t count = kek_keyring_versions(ring, versions, VERSIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (versions[i].number == number) {
            ck_assert_int_eq(versions[i].state, versions[i].held[0]); /* of the one provider */
            return versions[i].held[0];
        }
    }
    ck_abort_msg("version %u is not known", number);
}

/* The member's next list. */
static void lists(struct member *member, const struct kek_version *seen, size_t count)
{
    pass(1);
    member->begun_ms = member->asked_ms = kek_clock_ms();
    member_take(member, seen, count);
    judge_holdings(ring);
}

/* The token refused for a moment what a key is tried with; or it is so, and the next worker says it again. */
START_TEST(key_that_is_unfit_at_a_start_is_missed_before_it_is_believed)
{
    struct kek_version seen = key(1);
    struct version *v1 = version(1, true);
    seen.eligible = false;
    add(1, &seen, 1);
    v1->held[0].missing = 1;
    judge_holdings(ring);
    ck_assert(v1->held[0].missed);
    ck_assert(!v1->held[0].settled);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_UNSEEN);
    v1->held[0].missing = ABSENT_LOOKS;
    judge_holdings(ring);
    ck_assert(v1->held[0].settled);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_UNFIT);
}
END_TEST

START_TEST(what_a_provider_holds_has_a_word_of_its_own_for_each_way_of_not_serving)
{
    struct version *v1 = version(1, true), *v2;
    struct kek_version seen[2] = {key(1), key(2)};
    struct member *member = add(1, NULL, 0);
    judge_holdings(ring);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_UNSEEN); /* one look that misses it proves nothing */
    lists(member, seen, 1);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_ACTIVE);
    seen[1].can_wrap = false;
    lists(member, seen, 2);
    ck_assert_int_eq(held(2), KEK_KEYRING_KEY_PRE_ACTIVE);
    seen[0].can_wrap = false;
    lists(member, seen, 2);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_PRE_ACTIVE); /* none is active, and none ever was */
    generation_of(v1, &ring->primary.generation);
    ring->announced = true;
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_DEACTIVATED);
    ck_assert_int_eq(held(2), KEK_KEYRING_KEY_PRE_ACTIVE);
    seen[0].can_unwrap = false;
    lists(member, seen, 2);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_SUSPENDED);
    seen[0].eligible = false;
    lists(member, seen, 2);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_UNFIT);
    v2 = version_find(ring, &seen[1].id);
    v2->agreed = true;
    v2->witness_len = 1;
    check(member, v2, FAILED);
    judge_holdings(ring);
    ck_assert_int_eq(held(2), KEK_KEYRING_KEY_PRE_ACTIVE); /* this worker may be wrong alone */
    v2->held[0].wrong = 2;
    lists(member, seen, 2);
    ck_assert_int_eq(held(2), KEK_KEYRING_KEY_FOREIGN);
}
END_TEST

START_TEST(key_is_gone_once_two_fresh_workers_missed_it_and_not_when_one_did_and_left)
{
    struct version *v1 = version(1, true);
    struct kek_version seen = key(1);
    struct holding *holding = &v1->held[0];
    struct member *member = add(1, &seen, 1);
    judge_holdings(ring);
    lists(member, NULL, 0);
    ck_assert(holding->missed);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_ACTIVE);
    member_drop(member);
    judge_holdings(ring);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_ACTIVE);
    add(2, NULL, 0);
    holding->missing = 2;
    judge_holdings(ring);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_GONE);
    /* On record from before, and never shown to this process: as far as it knows it was never there. */
    struct version *v3 = version(3, true);
    v3->held[0].missing = 2;
    judge_holdings(ring);
    ck_assert_int_eq(held(3), KEK_KEYRING_KEY_ABSENT);
}
END_TEST

/* A library that lists from memory does not make the line go back and forth. */
START_TEST(key_whose_use_is_refused_twice_is_deactivated_until_a_use_works)
{
    struct version *v1 = version(1, true);
    struct kek_version seen = key(1);
    struct member *member = add(1, &seen, 1);
    generation_of(v1, &ring->primary.generation);
    ring->announced = true;
    check(member, v1, OPENED);
    judge_holdings(ring);
    for (unsigned tries = 1; tries <= 4; tries++) {
        kek_keyring_observe(ring, 0, 1, &seen.id, KEK_POOL_WRAP, KEK_PRECONDITION);
        lists(member, &seen, 1);
        ck_assert_int_eq(held(1), tries < 2 ? KEK_KEYRING_KEY_ACTIVE : KEK_KEYRING_KEY_DEACTIVATED);
        pass(4 * TICK_MS);
        lists(member, &seen, 1);
        ck_assert_int_eq(held(1), tries < 2 ? KEK_KEYRING_KEY_ACTIVE : KEK_KEYRING_KEY_DEACTIVATED);
    }
    kek_keyring_observe(ring, 0, 1, &seen.id, KEK_POOL_WRAP, KEK_OK);
    lists(member, &seen, 1);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_ACTIVE);
}
END_TEST

START_TEST(what_was_heard_in_the_turn_of_the_stop_is_known_after_it)
{
    struct kek_version seen = key(1);
    struct member *member = add(1, &seen, 1);
    judge_holdings(ring);
    seen.can_unwrap = false;
    pass(1);
    member->begun_ms = member->asked_ms = kek_clock_ms();
    member_take(member, &seen, 1);
    kek_keyring_stop(ring);
    ck_assert_int_eq(held(1), KEK_KEYRING_KEY_SUSPENDED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring_held");
    TCase *tcase = tcase_create("workers");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, key_that_each_use_is_refused_of_is_refused_whatever_is_listed);
    tcase_add_test(tcase, old_word_of_the_worker_that_is_left_is_not_its_providers);
    tcase_add_test(tcase, key_that_is_unfit_at_a_start_is_missed_before_it_is_believed);
    tcase_add_test(tcase, what_a_provider_holds_has_a_word_of_its_own_for_each_way_of_not_serving);
    tcase_add_test(tcase,
                   key_is_gone_once_two_fresh_workers_missed_it_and_not_when_one_did_and_left);
    tcase_add_test(tcase, key_whose_use_is_refused_twice_is_deactivated_until_a_use_works);
    tcase_add_test(tcase, what_was_heard_in_the_turn_of_the_stop_is_known_after_it);
    return suite_run(suite);
}
