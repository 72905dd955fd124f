/* How long a version is out of use, that it was suspended on purpose, asked for, and destroyed: what each node remembers. */
#include "keyring_turn.h"

/* So much time passes, in turns. */
static void live(unsigned ms)
{
    for (unsigned step = 0; step < ms; step += TICK_MS) {
        pass(TICK_MS);
        turn();
    }
}

static struct kek_keyring_history history(const struct kek_version *key)
{
    return told(key).history;
}

/* v2 may open only, v3 is announced: both providers say so. */
static void retire_v2(struct kek_version seen[static 2])
{
    seen[0] = key(2, 0, 'W');
    both_list(seen, 1);
    seen[0] = key(2, 0, 'U');
    seen[1] = key(3, 0, 'W');
    both_list(seen, 2);
    live(2000);
    ck_assert(leads(&seen[1]));
}

START_TEST(time_out_of_use_counts_while_all_providers_show_it_so)
{
    struct kek_version seen[2];
    retire_v2(seen);
    ck_assert_int_eq(history(&seen[1]).inactive.since_ms, 0);
    ck_assert_int_eq(history(&seen[1]).superseded.since_ms, 0);
    int64_t since_ms = history(&seen[0]).inactive.since_ms;
    uint64_t before = history(&seen[0]).inactive.ms;
    ck_assert_int_gt(since_ms, 0);
    live(10000);
    uint64_t ten = history(&seen[0]).inactive.ms - before;
    ck_assert(ten >= 10000 && ten <= 10200);
    ck_assert(history(&seen[0]).superseded.ms >= ten);
    /* What nobody looked at does not count: kekd was stopped in between. */
    pass(3600000);
    turn();
    before = history(&seen[0]).inactive.ms;
    ck_assert_uint_le(before, ten + 10000);
    /* Nor does what one provider alone says. */
    member_drop(ring->sources[1].members);
    live(10000);
    ck_assert_uint_le(history(&seen[0]).inactive.ms, before + 10);
    ck_assert_int_eq(history(&seen[0]).inactive.since_ms, since_ms);
    ck_assert_uint_ge(history(&seen[0]).superseded.ms, before + 10000);
    /* Active on one of two is active, and it begins anew. */
    both_list(seen, 2);
    seen[0] = key(2, 0, 'W');
    lists(1, seen, 2);
    turn();
    ck_assert_int_eq(history(&seen[0]).inactive.since_ms, 0);
    seen[0] = key(2, 0, 'U');
    live(1000);
    both_list(seen, 2);
    live(1000);
    ck_assert_int_ge(history(&seen[0]).inactive.since_ms, since_ms);
    ck_assert_uint_le(history(&seen[0]).inactive.ms, 1100);
}
END_TEST

START_TEST(time_out_of_use_is_on_record_and_a_stop_loses_none_of_it)
{
    struct kek_version seen[2];
    retire_v2(seen);
    struct kek_keyring_history before = history(&seen[0]);
    int64_t announced_ms = ring->primary.announced_ms;
    ck_assert_int_gt(announced_ms, 0);
    for (int i = 0; i < 130; i++) {
        pass(5000);
        turn();
    }
    uint64_t stopped_at = history(&seen[0]).inactive.ms;
    close_node(0);
    open_node(0);
    ck_assert_int_eq(ring->primary.announced_ms, announced_ms);
    /* Not before the tokens show it again. */
    pass(5000);
    turn();
    both_list(seen, 2);
    ck_assert_int_eq(history(&seen[0]).inactive.since_ms, before.inactive.since_ms);
    ck_assert_int_eq(history(&seen[0]).superseded.since_ms, before.superseded.since_ms);
    ck_assert_uint_ge(stopped_at, 600000);
    ck_assert_uint_ge(history(&seen[0]).inactive.ms, stopped_at);
    ck_assert_uint_le(history(&seen[0]).inactive.ms, stopped_at + 5000);
}
END_TEST

/* It has no witness here, so it is on record only by its history. */
START_TEST(version_that_was_retired_before_this_node_came_ages_over_restarts)
{
    struct kek_version seen[] = {key(2, 0, 'U'), key(3, 0, 'W')};
    both_list(seen, 2);
    live(2000);
    int64_t since_ms = history(&seen[0]).inactive.since_ms;
    ck_assert_int_gt(since_ms, 0);
    close_node(0);
    open_node(0);
    both_list(seen, 2);
    ck_assert_int_eq(history(&seen[0]).inactive.since_ms, since_ms);
}
END_TEST

START_TEST(version_that_waits_to_be_promoted_does_not_age)
{
    struct kek_version seen[] = {key(3, 0, 'W'), key(4, 0, 'U')};
    both_list(seen, 2);
    live(2000);
    ck_assert_int_eq(history(&seen[1]).inactive.since_ms, 0);
}
END_TEST

static void suspend_v2(struct kek_version seen[static 2])
{
    seen[0] = key(2, 0, '-');
    both_list(seen, 2);
    pass(TICK_MS);
    both_list(seen, 2);
    ck_assert_int_eq(told(&seen[0]).state, KEK_KEYRING_KEY_SUSPENDED);
}

START_TEST(suspension_after_long_disuse_is_wanted_until_somebody_asks)
{
    struct kek_version seen[2];
    retire_v2(seen);
    kek_keyring_asked(ring, &seen[0].id); /* it opens: nothing to count */
    suspend_v2(seen);
    ck_assert_str_ne(remark(KEK_KEYRING_SUSPENDED), ""); /* it was in use a moment ago */
    seen[0] = key(2, 0, 'U');
    both_list(seen, 2);
    live(DESTROY_AFTER_MS);
    suspend_v2(seen);
    ck_assert_str_eq(remark(KEK_KEYRING_SUSPENDED), "");
    live(5000);
    ck_assert_uint_ge(history(&seen[0]).suspended.ms, 5000);
    ck_assert_uint_eq(history(&seen[0]).asked, 0);
    kek_keyring_asked(ring, &seen[0].id);
    ck_assert_str_eq(
        last_text, "a Decrypt asked for KEK version 2, which is suspended: it is in use, and must "
                   "not be destroyed; kekctl key resume gives it its use back");
    kek_keyring_asked(ring, &seen[0].id);
    kek_keyring_asked(ring, &seen[1].id);
    turn();
    ck_assert_uint_eq(history(&seen[0]).asked, 2);
    ck_assert_uint_eq(history(&seen[1]).asked, 0);
    ck_assert_str_eq(remark(KEK_KEYRING_SUSPENDED),
                     "KEK version 2 is suspended, and was asked for: nothing that it sealed opens");
    /* It is remembered over a restart. */
    close_node(0);
    open_node(0);
    both_list(seen, 2);
    ck_assert_uint_ge(history(&seen[0]).asked, 1);
    ck_assert_int_gt(history(&seen[0]).asked_ms, 0);
    /* Once it opens again, a new suspension begins with nothing. */
    seen[0] = key(2, 0, 'U');
    both_list(seen, 2);
    live(2000);
    ck_assert_uint_eq(history(&seen[0]).asked, 0);
    ck_assert_int_eq(history(&seen[0]).suspended.since_ms, 0);
}
END_TEST

/* Both list what is left, by fresh workers, as often as it takes to be believed. */
static void is_gone(const struct kek_version *left)
{
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        for (size_t p = 0; p < ring->source_count; p++) {
            version->held[p].missing = ABSENT_LOOKS;
        }
    }
    both_list(left, 1);
}

START_TEST(version_that_is_gone_after_it_was_suspended_was_destroyed_and_is_no_loss)
{
    struct kek_version seen[2];
    struct kek_keyring_history list[KEK_KEYRING_HISTORY_MAX];
    uint32_t number = 0;
    retire_v2(seen);
    suspend_v2(seen);
    ck_assert(kek_keyring_has_witness(ring, &seen[0].id));
    ck_assert_uint_eq(kek_keyring_destroyed(ring, list, KEK_KEYRING_HISTORY_MAX), 0);
    lists(0, &seen[1], 1); /* on one of two it is there still */
    live(2000);
    ck_assert_uint_eq(kek_keyring_destroyed(ring, list, KEK_KEYRING_HISTORY_MAX), 0);
    is_gone(&seen[1]);
    ck_assert_str_eq(
        last_of_destruction,
        "KEK version 2 was destroyed: every HSM that had it shows it no more, after it "
        "was suspended on all of them");
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
    ck_assert_ptr_null(version_find(ring, &seen[0].id));
    ck_assert(kek_keyring_was_destroyed(ring, &seen[0].id, &number));
    ck_assert_uint_eq(number, 2);
    ck_assert(!kek_keyring_was_destroyed(ring, &seen[1].id, &number));
    close_node(0);
    open_node(0);
    ck_assert_ptr_null(version_find(ring, &seen[0].id)); /* nor is its witness on record */
    ck_assert_uint_eq(kek_keyring_destroyed(ring, list, KEK_KEYRING_HISTORY_MAX), 1);
    ck_assert_uint_eq(list[0].number, 2);
    ck_assert_int_gt(list[0].destroyed_ms, 0);
    size_t count = 0;
    struct kek_why why;
    ck_assert_int_eq(kek_keyring_recorded_destroyed(&configs[0], list, &count, &why), KEK_OK);
    ck_assert_uint_eq(count, 1);
    both_list(&seen[1], 1);
    kek_keyring_asked(ring, &seen[0].id);
    ck_assert(strstr(last_text, "asked for KEK version 2, which was destroyed") != NULL);
    /* A backup was restored, of one of two. */
    both_list(&seen[1], 1);
    lists(1, seen, 2);
    turn();
    ck_assert_ptr_nonnull(strstr(last_of_destruction, "which was destroyed, is back on b:"));
    ck_assert(!kek_keyring_was_destroyed(ring, &seen[0].id, &number));
    ck_assert_ptr_nonnull(version_find(ring, &seen[0].id));
}
END_TEST

/* As it was before its quarantine, so that it may even wrap, on one of two. */
static void come_back(struct kek_version seen[static 2])
{
    retire_v2(seen);
    suspend_v2(seen);
    is_gone(&seen[1]);
    seen[0] = key(2, 0, 'W');
    lists(1, seen, 2);
    turn();
    live(SETTLE_MS + 20000);
    ck_assert_str_eq(remark(KEK_KEYRING_VERSION_BACK),
                     "KEK version 2, which was destroyed, is back on b: its token was restored "
                     "from a backup that has the key");
    ck_assert_str_eq(remark(KEK_KEYRING_VERSION_LACKING), "");
    ck_assert_str_eq(remark(KEK_KEYRING_VERSION_LOST), "");
}

START_TEST(version_that_came_back_and_goes_again_is_no_loss_unless_it_was_needed)
{
    for (int used = 0; used < 2; used++) {
        struct kek_version seen[2];
        struct kek_keyring_history list[KEK_KEYRING_HISTORY_MAX];
        size_t count = 0;
        struct kek_why why;
        come_back(seen);
        version_find(ring, &seen[0].id)->agreed = true; /* this node has a witness of it again */
        make_real(version_find(ring, &seen[0].id));
        close_node(0); /* what it is goes over a restart */
        open_node(0);
        ck_assert_int_eq(kek_keyring_recorded_destroyed(&configs[0], list, &count, &why), KEK_OK);
        ck_assert_uint_eq(count, 1);
        ck_assert_uint_eq(kek_keyring_destroyed(ring, list, KEK_KEYRING_HISTORY_MAX), 0);
        lists(0, &seen[1], 1);
        lists(1, seen, 2);
        turn();
        if (used == 1) {
            kek_keyring_met(ring, &seen[0].id);
        }
        is_gone(&seen[1]);
        live(2000);
        ck_assert_uint_eq(kek_keyring_destroyed(ring, list, KEK_KEYRING_HISTORY_MAX),
                          used == 1 ? 0 : 1);
        ck_assert_int_eq(remark(KEK_KEYRING_VERSION_LOST)[0] != '\0', used == 1);
        tear_down();
        set_up();
    }
}
END_TEST

START_TEST(version_that_may_be_used_again_after_a_suspension_is_told)
{
    struct kek_version seen[2];
    retire_v2(seen);
    suspend_v2(seen);
    seen[0] = key(2, 0, 'U');
    lists(1, seen, 2);
    turn();
    ck_assert_str_eq(last_of_destruction,
                     "KEK version 2, which was suspended on every HSM, may be used again on b: by "
                     "kekctl key resume, or since the token was restored to an older state");
    ck_assert_str_eq(remark(KEK_KEYRING_VERSION_LOST), "");
}
END_TEST

START_TEST(version_that_is_gone_without_a_suspension_was_not_destroyed)
{
    struct kek_version seen[2];
    uint32_t number;
    retire_v2(seen);
    is_gone(&seen[1]);
    ck_assert_int_eq(told(&seen[0]).state, KEK_KEYRING_KEY_GONE);
    ck_assert(!kek_keyring_was_destroyed(ring, &seen[0].id, &number));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring-ageing");
    TCase *ageing = tcase_create("ageing");
    tcase_add_checked_fixture(ageing, set_up, tear_down);
    suite_add_tcase(suite, ageing);
    tcase_set_timeout(ageing, 60);
    tcase_add_test(ageing, time_out_of_use_counts_while_all_providers_show_it_so);
    tcase_add_test(ageing, time_out_of_use_is_on_record_and_a_stop_loses_none_of_it);
    tcase_add_test(ageing, version_that_was_retired_before_this_node_came_ages_over_restarts);
    tcase_add_test(ageing, version_that_waits_to_be_promoted_does_not_age);
    tcase_add_test(ageing, suspension_after_long_disuse_is_wanted_until_somebody_asks);
    tcase_add_test(ageing,
                   version_that_is_gone_after_it_was_suspended_was_destroyed_and_is_no_loss);
    tcase_add_test(ageing, version_that_is_gone_without_a_suspension_was_not_destroyed);
    tcase_add_test(ageing, version_that_came_back_and_goes_again_is_no_loss_unless_it_was_needed);
    tcase_add_test(ageing, version_that_may_be_used_again_after_a_suspension_is_told);
    return suite_run(suite);
}
