/*
 * Keys that take turns: suspended, compromised, two of one number, and what comes after a primary that was retired
 * while this node was away.
 */
#include "keyring_turn.h"

/* ---- compromised ---- */

START_TEST(compromised_primary_opens_seals_nothing_and_asks_for_a_rotation)
{
    struct kek_version seen = key(3, 0, 'W');
    both_list(&seen, 1);
    ck_assert(leads(&seen));
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
    /* Marked, and its attributes forgotten. */
    seen.compromised = true;
    both_list(&seen, 1);
    ck_assert_int_eq(told(&seen).state, KEK_KEYRING_KEY_COMPROMISED);
    ck_assert_int_eq(told(&seen).held[0], KEK_KEYRING_KEY_COMPROMISED);
    ck_assert(may(0, KEK_POOL_UNWRAP, &seen) && !may(0, KEK_POOL_WRAP, &seen));
    ck_assert_int_eq(kek_keyring_find(ring, &seen.id), KEK_KEYRING_OPENS);
    ck_assert_int_eq(wraps(&seen), KEK_PRECONDITION);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_SHUT);
    ck_assert_str_eq(ring->verdict.what,
                     "KEK version 3 is compromised: nothing is sealed under it");
    ck_assert_ptr_nonnull(strstr(ring->verdict.todo, "kekctl key rotate"));
    ck_assert_str_eq(remark(KEK_KEYRING_COMPROMISED), "KEK version 3 is compromised");
    /* A version that is marked before it was announced never is. */
    struct kek_version both[] = {seen, key(4, 0, 'W')};
    both[1].compromised = true;
    both_list(both, 2);
    pass(SETTLE_MS);
    turn();
    ck_assert(leads(&seen));
    /* The next one is, at once. */
    both[1] = key(5, 0, 'W');
    both_list(both, 2);
    ck_assert(leads(&both[1]));
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
    ck_assert_str_eq(remark(KEK_KEYRING_COMPROMISED), "KEK version 3 is compromised");
}
END_TEST

START_TEST(mark_on_one_provider_counts_for_all_and_over_a_restart)
{
    struct kek_version seen = key(3, 0, 'W'), marked = key(3, 0, 'U');
    marked.compromised = true;
    both_list(&seen, 1);
    lists(0, &marked, 1);
    turn();
    ck_assert_int_eq(told(&seen).held[0], KEK_KEYRING_KEY_COMPROMISED);
    ck_assert_int_eq(told(&seen).held[1], KEK_KEYRING_KEY_ACTIVE); /* as that token has it */
    ck_assert_int_eq(told(&seen).state, KEK_KEYRING_KEY_COMPROMISED);
    ck_assert(!may(1, KEK_POOL_WRAP, &seen) && may(1, KEK_POOL_UNWRAP, &seen));
    pass(TICK_MS);
    lists(1, &seen, 1);
    turn();
    ck_assert_int_eq(wraps(&seen), KEK_PRECONDITION);

    /* The one that has the mark is away when the node starts again. */
    close_node(0);
    open_node(0);
    ck_assert(leads(&seen));
    lists(1, &seen, 1);
    turn();
    ck_assert_int_eq(wraps(&seen), KEK_PRECONDITION);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_SHUT);
    ck_assert_int_eq(told(&seen).state, KEK_KEYRING_KEY_COMPROMISED);
    /* It comes, and the mark is there no more: whoever set it has taken it back everywhere. */
    both_list(&seen, 1);
    turn();
    ck_assert_int_eq(wraps(&seen), KEK_OK);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
    ck_assert_str_eq(last_text, "no longer so: KEK version 3 is compromised");
}
END_TEST

/* ---- suspended ---- */

START_TEST(suspended_primary_is_no_loss_and_comes_back)
{
    struct kek_version seen = key(3, 0, 'W'), none = key(3, 0, '-');
    static char root[] = "spare";
    configs[0].root = root;
    both_list(&seen, 1);
    both_list(&none, 1);
    pass(TICK_MS);
    both_list(&none, 1);
    ck_assert_int_eq(told(&seen).state, KEK_KEYRING_KEY_SUSPENDED);
    ck_assert_int_eq(kek_keyring_find(ring, &seen.id), KEK_KEYRING_CLOSED);
    ck_assert(kek_keyring_suspended(ring, &seen.id));
    ck_assert_int_eq(wraps(&seen), KEK_PRECONDITION);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_SHUT);
    ck_assert_ptr_nonnull(strstr(ring->verdict.what, "KEK version 3 is suspended"));
    ck_assert_str_eq(ring->verdict.todo, "kekctl key resume --root spare gives it its use back, "
                                         "kekctl key rotate --root spare makes another one");
    ck_assert_str_eq(remark(KEK_KEYRING_SUSPENDED), ""); /* the verdict has said it */
    both_list(&seen, 1);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
    ck_assert_int_eq(kek_keyring_find(ring, &seen.id), KEK_KEYRING_OPENS);
    ck_assert(leads(&seen));
}
END_TEST

/* A worker that is started beside the others, as now and then, and says what they say. */
START_TEST(worker_that_comes_later_opens_no_question_that_was_settled)
{
    struct kek_version seen = key(3, 0, 'W'), less = key(3, 0, _i == 0 ? '-' : 'U');
    both_list(&seen, 1);
    both_list(&less, 1);
    pass(TICK_MS);
    both_list(&less, 1);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_SHUT);
    struct member *late = calloc(1, sizeof *late);
    ck_assert_ptr_nonnull(late);
    late->source = &ring->sources[0];
    late->serial = 9;
    late->born_ms = kek_clock_ms();
    DL_APPEND(ring->sources[0].members, late);
    member_take(late, &less, 1);
    ring->now_ms = kek_clock_ms();
    judge_holdings(ring);
    rank_drive(ring);
    primary_drive(ring);
    verdict_drive(ring);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_SHUT);
    ck_assert_int_eq(wraps(&seen), KEK_PRECONDITION);
    ck_assert_int_eq(kek_keyring_find(ring, &seen.id),
                     _i == 0 ? KEK_KEYRING_CLOSED : KEK_KEYRING_OPENS);
    lists(1, &seen, 1); /* one that says something new does */
    turn();
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
}
END_TEST

START_TEST(suspended_version_beside_the_primary_is_remarked_on_where_nobody_opens_it)
{
    struct kek_version seen[] = {key(2, 0, '-'), key(3, 0, 'W')};
    both_list(seen, 2);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
    ck_assert_str_eq(remark(KEK_KEYRING_SUSPENDED),
                     "KEK version 2 is suspended: nothing that it sealed opens");
    /* On one of the two only: the other serves, and what differs is told once it has lasted. */
    seen[0] = key(2, 0, 'U');
    lists(1, seen, 2);
    turn();
    ck_assert_str_eq(remark(KEK_KEYRING_SUSPENDED), "");
    ck_assert_int_eq(kek_keyring_find(ring, &seen[0].id), KEK_KEYRING_OPENS);
}
END_TEST

START_TEST(version_that_its_provider_is_to_destroy_is_told_with_the_date_until_it_is_not)
{
    struct kek_version seen[] = {key(2, 0, '-'), key(3, 0, 'W')};
    both_list(seen, 2);
    ck_assert_str_eq(remark(KEK_KEYRING_DESTRUCTION_SCHEDULED), "");
    seen[0].destroy_s = 1798624800;
    both_list(seen, 2);
    ck_assert_ptr_nonnull(strstr(remark(KEK_KEYRING_DESTRUCTION_SCHEDULED),
                                 "destroys KEK version 2 at 2026-12-30 10:00 UTC"));
    seen[0].destroy_s = INT64_MAX; /* no date that a calendar has */
    both_list(seen, 2);
    ck_assert_str_eq(remark(KEK_KEYRING_DESTRUCTION_SCHEDULED), "");
    seen[0] = key(2, 0, 'U');
    both_list(seen, 2);
    ck_assert_str_eq(remark(KEK_KEYRING_DESTRUCTION_SCHEDULED), "");
    seen[1].destroy_s = 1798624800; /* the announced one */
    both_list(seen, 2);
    ck_assert_ptr_nonnull(strstr(remark(KEK_KEYRING_DESTRUCTION_SCHEDULED), "KEK version 3"));
}
END_TEST

START_TEST(version_without_an_attestation_is_told_of_and_one_that_requires_it_never_leads)
{
    struct kek_version seen[] = {key(3, 0, 'W'), key(4, 0, 'W')};
    both_list(seen, 1);
    seen[0].attestation = KEK_ATTESTATION_WANTED;
    both_list(seen, 1);
    ck_assert_str_eq(remark(KEK_KEYRING_UNATTESTED),
                     "KEK version 3 of provider a has no attestation that holds, or it could not "
                     "be fetched");
    ck_assert_int_eq(wraps(&seen[0]), KEK_OK);
    /* What was announced stays, whatever is required of it by now. */
    seen[0].attestation = KEK_ATTESTATION_REQUIRED;
    both_list(seen, 1);
    ck_assert_int_eq(wraps(&seen[0]), KEK_OK);
    ck_assert_ptr_nonnull(strstr(remark(KEK_KEYRING_UNATTESTED), "KEK version 3"));
    /* A newer one waits, on whichever provider it is so. */
    seen[0].attestation = KEK_ATTESTATION_FREE;
    both_list(seen, 2);
    seen[1].attestation = KEK_ATTESTATION_REQUIRED;
    lists(1, seen, 2);
    turn();
    pass(TICK_MS);
    ck_assert(!leads(&seen[1]));
    ck_assert(leads(&seen[0]));
    ck_assert_str_eq(remark(KEK_KEYRING_UNATTESTED), "");
}
END_TEST

START_TEST(only_version_that_is_suspended_or_compromised_says_so_before_anything_is_announced)
{
    struct kek_version seen = key(1, 0, '-');
    both_list(&seen, 1);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_STARTING);
    ck_assert_ptr_nonnull(strstr(ring->verdict.what, "is active: version 1 is suspended"));
    seen = key(1, 0, 'U');
    seen.compromised = true;
    both_list(&seen, 1);
    ck_assert_ptr_nonnull(strstr(ring->verdict.what, "is active: version 1 is compromised"));
}
END_TEST

/* ---- away for a rotation ---- */

static const char fates[] = {'U', '-', 'c', 'd', 'o'};

/* While this node was away v3 was retired, suspended, compromised, destroyed, or nothing happened to it. */
START_TEST(node_that_was_away_for_a_rotation_announces_the_new_version_unless_the_old_one_is_good)
{
    struct kek_version before = key(3, 0, 'W'), after[2];
    char fate = fates[_i];
    size_t count = 0;
    snprintf(tokens[0], sizeof tokens[0], "a");
    snprintf(tokens[1], sizeof tokens[1], "b");
    both_list(&before, 1);
    close_node(0);
    open_node(0);
    ck_assert(leads(&before)); /* what the record says, as long as nothing else is known */
    if (fate != 'd') {
        after[count] = key(3, 0, fate == 'c' ? 'U' : fate == 'o' ? 'W' : fate);
        after[count++].compromised = fate == 'c';
    }
    after[count++] = key(4, 0, 'W');
    lists(0, after, count);
    lists(1, after, count);
    ring->now_ms = kek_clock_ms();
    judge_holdings(ring);
    rank_drive(ring);
    primary_drive(ring);
    verdict_drive(ring);
    ck_assert_int_eq(kek_keyring_is_changing(ring), fate != 'o');
    if (fate != 'o') { /* calls wait, and nobody is told of trouble */
        ck_assert(ring->verdict.state == KEK_KEYRING_STARTING && ring->verdict.pending);
    }
    turn();
    turn(); /* each worker opens the old one before and after the new one */
    ck_assert(leads(fate == 'o' ? &before : &after[count - 1]));
    pass(SETTLE_MS);
    turn();
    ck_assert(leads(&after[count - 1]));
    ck_assert(!kek_keyring_is_changing(ring));
}
END_TEST

/* A succession that comes to nothing is not waited for without end. */
START_TEST(successor_that_is_never_proven_ends_the_wait)
{
    struct kek_version seen[] = {key(3, 0, 'U'), key(4, 0, 'W')}, first = key(3, 0, 'W');
    both_list(&first, 1);
    lists(0, seen, 2);
    lists(1, seen, 1); /* the new one is not on that token */
    turn();
    ck_assert(leads(&first));
    ck_assert(kek_keyring_is_changing(ring));
    pass(CALL_MS);
    turn();
    ck_assert(!kek_keyring_is_changing(ring));
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_SHUT);
    ck_assert_ptr_null(kek_keyring_await(ring, NULL, NULL));
}
END_TEST

/* ---- two keys of one number ---- */

static struct kek_version old, small, large, active_small, active_large;

static void keys_of_one_number(void)
{
    set_up();
    old = key(3, 0, 'W');
    small = key(4, 1, 'U');
    large = key(4, 2, 'U');
    active_small = key(4, 1, 'W');
    active_large = key(4, 2, 'W');
}

START_TEST(smaller_id_leads_and_the_larger_neither_wraps_nor_is_proven)
{
    struct kek_version seen[] = {old, active_large, active_small};
    both_list(seen, 1);
    both_list(seen, 2);
    pass(SETTLE_MS / 2);
    both_list(seen, 3); /* the smaller one appears before the larger is announced */
    pass(SETTLE_MS / 2);
    turn();
    ck_assert(leads(&old)); /* its own settle counts */
    pass(SETTLE_MS / 2);
    turn();
    ck_assert(leads(&small));
    ck_assert(told(&large).surplus && !told(&small).surplus && !told(&old).surplus);
    ck_assert(!may(0, KEK_POOL_WRAP, &large) && may(0, KEK_POOL_UNWRAP, &large));
    ck_assert_int_eq(kek_keyring_find(ring, &large.id), KEK_KEYRING_OPENS);
    ck_assert_ptr_nonnull(strstr(remark(KEK_KEYRING_TWO_KEYS), "two keys are active as version 4"));
    /* Whatever becomes of the other, this one was announced. */
    both_list(seen, 2);
    pass(SETTLE_MS);
    turn();
    ck_assert(!leads(&old));
}
END_TEST

START_TEST(without_a_record_the_smaller_id_leads_at_once)
{
    struct kek_version seen[] = {active_large, active_small};
    both_list(seen, 2);
    ck_assert(leads(&small));
    ck_assert(told(&large).surplus);
}
END_TEST

START_TEST(larger_one_that_is_active_beside_one_that_is_not_waits_while_the_old_one_seals)
{
    struct kek_version seen[] = {old, active_large, small};
    both_list(seen, 1);
    both_list(seen, 3);
    pass(2 * SETTLE_MS);
    turn();
    ck_assert(leads(&old));
    ck_assert(told(&large).surplus);
    /* Without an old one that seals, what is active is what other nodes announce. */
    seen[0].can_wrap = false;
    both_list(seen, 3);
    ck_assert(leads(&large));
    ck_assert(told(&small).surplus && !told(&large).surplus);
    ring = nodes[1];
    both_list(seen, 3);
    ck_assert(leads(&large)); /* on a node without a record too */
}
END_TEST

START_TEST(what_was_announced_stands_and_gives_way_once_it_may_wrap_no_more)
{
    struct kek_version seen[] = {active_large, active_small};
    both_list(seen, 1);
    ck_assert(leads(&large));
    both_list(seen, 2);
    pass(2 * SETTLE_MS);
    turn();
    ck_assert(leads(&large));
    ck_assert(told(&small).surplus && !told(&large).surplus);
    ck_assert(!may(0, KEK_POOL_WRAP, &small));
    /* Every node gives the same advice, whichever of the two it announces. */
    ring = nodes[1];
    both_list(seen, 2);
    ck_assert(leads(&small));
    for (int i = 0; i < 2; i++) {
        struct kek_keyring_verdict standing[4];
        ring = nodes[i];
        ck_assert_uint_eq(kek_keyring_remarks(ring, standing, 4), 1);
        ck_assert_str_eq(standing[0].todo,
                         "retire kek id 04000000000000000000000000000002 on every provider, or the "
                         "other one if all nodes announce this");
    }
    /* Who follows it brings the nodes together; whoever does the opposite does too. */
    ring = nodes[0];
    seen[0] = large;
    both_list(seen, 2);
    ck_assert(leads(&small));
    seen[0] = active_large;
    seen[1] = small;
    both_list(seen, 2);
    pass(2 * SETTLE_MS);
    turn();
    ck_assert(leads(&small)); /* never back */
    close_node(0);
    open_node(0);
    both_list(seen, 2);
    ck_assert(leads(&small));
    ring = nodes[1];
    both_list(seen, 2);
    ck_assert(leads(&large));
}
END_TEST

START_TEST(key_that_only_one_provider_has_keeps_both_from_leading_until_the_old_one_is_retired)
{
    struct kek_version with[] = {old, active_large, active_small};
    both_list(with, 1);
    lists(0, with, 3);
    lists(1, with, 2);
    pass(2 * SETTLE_MS);
    turn();
    ck_assert(leads(&old));
    ck_assert_ptr_nonnull(strstr(remark(KEK_KEYRING_TWO_KEYS), "4"));
    with[0].can_wrap = false;
    lists(0, with, 3);
    lists(1, with, 2);
    turn();
    ck_assert(leads(&large));
}
END_TEST

/* It will never be active: it is marked, or not as a KEK must be. */
START_TEST(twin_that_cannot_be_meant_holds_nobody_back)
{
    struct kek_version seen[] = {old, active_large, small};
    seen[2].compromised = _i == 0;
    seen[2].eligible = _i == 0;
    both_list(seen, 1);
    both_list(seen, 3);
    pass(SETTLE_MS);
    turn();
    ck_assert(leads(&large));
}
END_TEST

/* Three nodes see one token change, each when it happens to look.  Two keys of one number are made, made active
 * and retired in any order; in the end one is active.  No node takes back what it announced, and when all have looked
 * all announce that one. */
static unsigned seed;

static unsigned any(unsigned below)
{
    seed = seed * 1103515245 + 12345;
    return (seed >> 16) % below;
}

static const char lives[] = {'x', 'U', 'W', 'R'}; /* not made, pre-active, active, retired */

static void look(size_t of_old, size_t of_small, size_t of_large)
{
    struct kek_version seen[3];
    size_t count = 0;
    if (of_old > 0) {
        seen[count++] = key(3, 0, lives[of_old]);
    }
    if (of_small > 0) {
        seen[count++] = key(4, 1, lives[of_small]);
    }
    if (of_large > 0) {
        seen[count++] = key(4, 2, lives[of_large]);
    }
    both_list(seen, count);
}

static void note_primary(struct kek_id *history, size_t *count)
{
    if (!ring->announced || (*count > 0 && kek_id_equal(&history[*count - 1], primary()))) {
        return;
    }
    for (size_t h = 0; h < *count; h++) {
        ck_assert_msg(!kek_id_equal(&history[h], primary()), "seed %u: a node went back", seed);
    }
    ck_assert_uint_lt(*count, 3);
    history[(*count)++] = *primary();
}

START_TEST(nodes_never_go_back_and_end_with_the_same_primary)
{
    struct kek_id history[NODES][3];
    size_t count[NODES] = {0}, of[2] = {0};
    seed = (unsigned)_i;
    size_t of_old = any(2) == 0 ? 0 : 2; /* nodes with a record, or without */
    for (int step = 0; step < 20; step++) {
        size_t which = any(2);
        /* The last one that is left is not retired. */
        of[which] += of[which] < 2 || (of[which] == 2 && of[1 - which] < 3) ? any(2) : 0;
        for (int i = 0; i < NODES; i++) {
            ring = nodes[i];
            if (any(3) > 0) {
                look(of_old, of[0], of[1]);
                pass(any(2) == 0 ? SETTLE_MS : 100);
                turn();
                note_primary(history[i], &count[i]);
            }
        }
    }
    size_t left = of[0] == 3 ? 1 : of[1] == 3 ? 0 : any(2);
    of[left] = 2;
    of[1 - left] = 3;
    for (int i = 0; i < NODES; i++) {
        ring = nodes[i];
        look(of_old > 0 ? 3 : 0, of[0], of[1]);
        pass(SETTLE_MS);
        turn();
        note_primary(history[i], &count[i]);
        ck_assert(ring->announced);
        ck_assert_msg(primary()->bytes[KEK_ID_LEN - 1] == left + 1, "seed %d: node %d differs", _i,
                      i);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring_turn");
    TCase *states_case = tcase_create("states"), *twins = tcase_create("twins");
    suite_add_tcase(suite, states_case);
    suite_add_tcase(suite, twins);
    tcase_set_timeout(states_case, 60);
    tcase_set_timeout(twins, 60);
    tcase_add_checked_fixture(states_case, set_up, tear_down);
    tcase_add_checked_fixture(twins, keys_of_one_number, tear_down);
    tcase_add_test(states_case, compromised_primary_opens_seals_nothing_and_asks_for_a_rotation);
    tcase_add_test(states_case, mark_on_one_provider_counts_for_all_and_over_a_restart);
    tcase_add_test(states_case, suspended_primary_is_no_loss_and_comes_back);
    tcase_add_loop_test(states_case, worker_that_comes_later_opens_no_question_that_was_settled, 0,
                        2);
    tcase_add_test(states_case,
                   suspended_version_beside_the_primary_is_remarked_on_where_nobody_opens_it);
    tcase_add_test(states_case,
                   version_that_its_provider_is_to_destroy_is_told_with_the_date_until_it_is_not);
    tcase_add_test(states_case,
                   version_without_an_attestation_is_told_of_and_one_that_requires_it_never_leads);
    tcase_add_test(
        states_case,
        only_version_that_is_suspended_or_compromised_says_so_before_anything_is_announced);
    tcase_add_loop_test(
        states_case,
        node_that_was_away_for_a_rotation_announces_the_new_version_unless_the_old_one_is_good, 0,
        sizeof fates);
    tcase_add_test(states_case, successor_that_is_never_proven_ends_the_wait);
    tcase_add_test(twins, smaller_id_leads_and_the_larger_neither_wraps_nor_is_proven);
    tcase_add_test(twins, without_a_record_the_smaller_id_leads_at_once);
    tcase_add_test(twins,
                   larger_one_that_is_active_beside_one_that_is_not_waits_while_the_old_one_seals);
    tcase_add_test(twins, what_was_announced_stands_and_gives_way_once_it_may_wrap_no_more);
    tcase_add_test(
        twins, key_that_only_one_provider_has_keeps_both_from_leading_until_the_old_one_is_retired);
    tcase_add_loop_test(twins, twin_that_cannot_be_meant_holds_nobody_back, 0, 2);
    tcase_add_loop_test(twins, nodes_never_go_back_and_end_with_the_same_primary, 0, 60);
    return suite_run(suite);
}
