/*
 * What a token is believed that shows nothing of what is on record: a replica that nobody filled while the others are away,
 * another token with keys of the same names, or the right one after a rotation that this node did not see.
 */
#include "keyring_turn.h"

/* What workers that begin from now on find. */
static void comes(size_t provider, const char *serial)
{
    snprintf(tokens[provider], sizeof tokens[provider], "%s", serial);
}

static void goes(size_t provider)
{
    member_drop(ring->sources[provider].members);
    turn();
}

/* Long enough for whatever could come to lead; fresh workers missed what these miss, too. */
static void wait_long(void)
{
    for (int i = 0; i < 4; i++) {
        struct version *version;
        DL_FOREACH (ring->versions, version) {
            for (size_t p = 0; p < ring->source_count; p++) {
                struct holding *holding = &version->held[p];
                holding->missing = holding->present ? 0 : ABSENT_LOOKS;
            }
        }
        pass(SETTLE_MS);
        turn();
    }
}

static void announces(const struct kek_version *seen)
{
    comes(0, "a");
    comes(1, "a");
    both_list(seen, 1);
    ck_assert(leads(seen));
}

static void loses(const struct kek_version *seen)
{
    announces(seen);
    both_list(NULL, 0);
    wait_long();
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_LOSS);
}

/* As a process that starts on the record, with what its two tokens list then. */
static void start_anew(const char *serial, const struct kek_version *seen, size_t count)
{
    close_node(0);
    open_node(0);
    comes(0, serial);
    comes(1, serial);
    both_list(seen, count);
}

/* Its own key is of the primary's number, or of a newer one; and it may have an older version of this keyring's. */
START_TEST(replica_that_lacks_the_primary_brings_nothing_of_its_own_while_the_others_are_away)
{
    struct kek_version right[] = {key(2, 0, 'U'), key(3, 0, 'W')};
    struct kek_version own[] = {key(2, 0, 'U'), key(_i % 2 == 0 ? 3 : 4, 9, 'W')};
    bool knows_older = _i / 2 == 1;
    comes(0, "a");
    comes(1, "b");
    right[0].can_wrap = true;
    both_list(right, 1);
    right[0].can_wrap = false;
    both_list(right, 2);
    ck_assert(leads(&right[1]));
    lists(1, knows_older ? own : own + 1, knows_older ? 2 : 1);
    turn();
    wait_long();
    lists(1, knows_older ? own : own + 1, knows_older ? 2 : 1);
    wait_long();
    ck_assert(leads(&right[1]));
    goes(0);
    turn();
    ck_assert(leads(&right[1]));
    ck_assert(!kek_keyring_is_changing(ring));
    if (knows_older && _i % 2 == 1) {
        return; /* a token of this keyring's with a newer version that all who answer have: it may lead in time */
    }
    wait_long();
    ck_assert(leads(&right[1]));
    ck_assert_int_ne(ring->verdict.state, KEK_KEYRING_GOOD);
    ck_assert_int_ne(ring->verdict.state, KEK_KEYRING_LOSS);
    ck_assert(!may(1, KEK_POOL_WRAP, &own[1]) || !leads(&own[1]));
    lists(0, right, 2);
    wait_long();
    ck_assert(leads(&right[1]));
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
}
END_TEST

START_TEST(key_made_anew_under_the_name_of_a_lost_one_ends_no_loss)
{
    struct kek_version seen = key(3, 0, 'W'), anew = key(3, 9, 'W');
    loses(&seen);
    ck_assert_ptr_null(strstr(ring->verdict.todo, "right token")); /* its serial says so */
    both_list(&anew, 1);
    wait_long();
    ck_assert(leads(&seen));
    ck_assert_str_eq(remark(KEK_KEYRING_TWO_KEYS), ""); /* of which one is gone */
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_LOSS);
    ck_assert_int_eq(wraps(&seen), KEK_PRECONDITION);
    start_anew("a", &anew, 1);
    wait_long();
    ck_assert(leads(&seen));
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_LOSS);
    both_list(&seen, 1);
    wait_long();
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
    ck_assert_str_eq(last_of_loss, "the primary KEK is there again");
}
END_TEST

START_TEST(wrong_token_with_keys_of_the_same_names_is_a_loss)
{
    struct kek_version seen = key(3, 0, 'W'), others[] = {key(3, 9, 'U'), key(4, 9, 'W')};
    announces(&seen);
    /* Some libraries number all their tokens 0, and that one tells nothing. */
    start_anew(_i == 0 ? "b" : "0000", others, 2);
    wait_long();
    ck_assert(leads(&seen));
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_LOSS);
    ck_assert_ptr_nonnull(strstr(ring->verdict.todo, "whether it is the right token"));
    ck_assert_ptr_nonnull(strstr(remark(KEK_KEYRING_VERSION_WAITS), "it may be the wrong token"));
    start_anew("a", &seen, 1);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
}
END_TEST

/* The same token, on which the only version of the record was destroyed: and one of two providers that does not answer might know
 * better. */
START_TEST(right_token_after_a_rotation_that_was_not_seen_is_known_by_its_serial)
{
    struct kek_version seen = key(3, 0, 'W'), next = key(4, 0, 'W');
    announces(&seen);
    close_node(0);
    open_node(0);
    comes(0, "a");
    comes(1, "a");
    lists(1, &next, 1);
    turn();
    wait_long();
    ck_assert(leads(&seen));
    lists(0, &next, 1);
    turn();
    ck_assert(leads(&next));
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
}
END_TEST

/* Workers that are on their way out tell nothing, whatever token they were on. */
START_TEST(provider_whose_workers_are_all_ended_vouches_for_nothing)
{
    struct kek_version seen = key(3, 0, 'W');
    loses(&seen);
    ck_assert(source_vouches(&ring->sources[0])); /* by its serial */
    ring->sources[0].members->ended = true;
    ck_assert(!source_vouches(&ring->sources[0]));
    ck_assert(source_vouches(&ring->sources[1]));
    ring->sources[0].members->ended = false;
}
END_TEST

START_TEST(newer_version_after_a_loss_is_told_as_what_it_is)
{
    struct kek_version seen = key(3, 0, 'W'), next = key(4, 0, 'W');
    loses(&seen);
    both_list(&next, 1);
    ck_assert(leads(&next));
    ck_assert_str_eq(last_of_loss,
                     "KEK version 4 is the primary now; what version 3 sealed opens on no HSM");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring_tokens");
    TCase *tcase = tcase_create("tokens");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(
        tcase, replica_that_lacks_the_primary_brings_nothing_of_its_own_while_the_others_are_away,
        0, 4);
    tcase_add_test(tcase, key_made_anew_under_the_name_of_a_lost_one_ends_no_loss);
    tcase_add_loop_test(tcase, wrong_token_with_keys_of_the_same_names_is_a_loss, 0, 2);
    tcase_add_test(tcase, right_token_after_a_rotation_that_was_not_seen_is_known_by_its_serial);
    tcase_add_test(tcase, provider_whose_workers_are_all_ended_vouches_for_nothing);
    tcase_add_test(tcase, newer_version_after_a_loss_is_told_as_what_it_is);
    return suite_run(suite);
}
