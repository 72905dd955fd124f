/* kekctl/rotation.c: from facts to the next step. */
#include "kekctl/rotate/rotation.h"

#include "rotation_plan.h"

/* ---- the steps, when all goes well ---- */

START_TEST(a_rotation_claims_then_makes_the_next_number_on_the_provider_that_was_named)
{
    world.facts.maker = 1;
    world.facts.progress = (struct rotation_progress){.step = ROTATION_CHECK};
    expect(ROTATION_ACT, ROTATION_CLAIM, "cp1");
    record(ROTATION_CLAIM, 0, 0);
    expect(ROTATION_ACT, ROTATION_CREATE, "hsm-b makes version 4");
    ck_assert_uint_eq(plan.target.number, V4);
    ck_assert_uint_eq(plan.provider, 1);
}
END_TEST

START_TEST(numbers_of_keys_that_nobody_would_use_are_taken_too)
{
    world_key(&world, 1, 9, 0x99, "");
    world.keys[1][1].eligible = false;
    expect(ROTATION_ACT, ROTATION_CREATE, "version 10");
}
END_TEST

START_TEST(a_version_that_was_made_is_waited_for_on_every_provider)
{
    world_key(&world, 0, V4, 0x44, "U");
    record(ROTATION_CREATE, V4, 0x44);
    expect(ROTATION_WAIT, ROTATION_CREATE,
           "hsm-b does not show version 4 yet: bring its key there");
    ck_assert_str_eq(plan.where, "hsm-b");
}
END_TEST

START_TEST(a_version_is_promoted_once_every_node_sees_it_with_every_provider)
{
    make_v4("U");
    expect(ROTATION_ACT, ROTATION_PROMOTE, "version 4 becomes active");
    world.nodes[1].status.versions[1].held[1] = KEK_KEYRING_KEY_UNSEEN;
    expect(ROTATION_WAIT, ROTATION_SEEN, "cp2 does not show version 4 on hsm-b yet: it is unseen");
    ck_assert_str_eq(plan.node, "cp2");
    ck_assert_str_eq(plan.where, "hsm-b");
    world.nodes[1].status.providers[0].answers = false;
    expect(ROTATION_WAIT, ROTATION_SEEN, "provider hsm-a does not answer on cp2");
    world.nodes[1].status.version_count = 1;
    expect(ROTATION_WAIT, ROTATION_SEEN, "cp2 does not show version 4 yet");
}
END_TEST

START_TEST(another_key_under_the_right_id_on_one_node_is_not_the_version)
{
    make_v4("U");
    world.nodes[0].status.versions[1].held[0] = KEK_KEYRING_KEY_FOREIGN;
    expect(ROTATION_WAIT, ROTATION_SEEN, "foreign");
}
END_TEST

START_TEST(a_promotion_that_stopped_half_way_is_finished_whoever_sees_it)
{
    make_v4("U");
    key(0, 0x44)->can_wrap = true;
    world.nodes[1].status.version_count = 1;
    expect(ROTATION_ACT, ROTATION_PROMOTE, "version 4");
}
END_TEST

START_TEST(every_node_must_announce_and_the_first_that_does_not_is_named_with_its_reason)
{
    make_v4("WU");
    record(ROTATION_ANNOUNCED, V4, 0x44);
    world_announces(&world, 0, V4, 0x44);
    expect(ROTATION_WAIT, ROTATION_ANNOUNCED,
           "cp2 does not announce version 4 yet; it does so 60 s");
    ck_assert_str_eq(plan.node, "cp2");
    ck_assert_uint_eq(plan.wait_ms, 60000);
    world.nodes[1].status.versions[1].proven[1] = false;
    expect(ROTATION_WAIT, ROTATION_ANNOUNCED, "cp2 has not proven version 4 on hsm-b yet");
    world.nodes[1].status.versions[1].proven[1] = true;
    snprintf(world.nodes[1].status.health, sizeof world.nodes[1].status.health, "outage");
    snprintf(world.nodes[1].status.what, sizeof world.nodes[1].status.what, "no HSM answers");
    expect(ROTATION_WAIT, ROTATION_ANNOUNCED, "cp2 does not announce version 4: no HSM answers");
}
END_TEST

START_TEST(older_versions_retire_once_all_announce_and_none_seals_under_them)
{
    announce_v4();
    world_key(&world, 1, 2, 0x22, "WU");
    world.nodes[1].status.sealing[0] = world_id(0x33);
    world.nodes[1].status.sealing_count = 1;
    expect(ROTATION_WAIT, ROTATION_RETIRE, "cp2 may still seal under version 3");
    world.nodes[1].status.sealing_count = 0;
    expect(ROTATION_ACT, ROTATION_RETIRE, "retire");
    ck_assert_uint_eq(plan.old_count, 2);
    ck_assert_uint_eq(plan.old[0].number, V3);
    ck_assert_uint_eq(plan.old[1].number, 2);
}
END_TEST

START_TEST(it_has_ended_when_no_other_version_may_wrap_anywhere)
{
    announce_v4();
    key(0, 0x33)->can_wrap = false;
    expect(ROTATION_ACT, ROTATION_RETIRE, "version 3 retires");
    key(1, 0x33)->can_wrap = false;
    expect(ROTATION_ENDED, ROTATION_DONE, "version 4 is the only active one");
}
END_TEST

START_TEST(until_stops_before_the_next_step_and_not_before)
{
    static const struct {
        enum rotation_step until, at;
    } table[] = {
        {ROTATION_CREATE, ROTATION_CREATE},
        {ROTATION_SEEN, ROTATION_SEEN},
        {ROTATION_PROMOTE, ROTATION_PROMOTE},
        {ROTATION_ANNOUNCED, ROTATION_ANNOUNCED},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        setup();
        world.facts.until = table[i].until;
        expect(ROTATION_ACT, ROTATION_CREATE, "makes version 4");
        make_v4(table[i].until >= ROTATION_PROMOTE ? "WU" : "U");
        for (size_t k = 0; k < 2 && table[i].until >= ROTATION_ANNOUNCED; k++) {
            world_announces(&world, k, V4, 0x44);
        }
        expect(ROTATION_REACHED, table[i].at, "version 4");
    }
}
END_TEST

/* ---- where it goes on from ---- */

START_TEST(a_version_that_waits_to_be_promoted_is_taken_and_none_is_made)
{
    make_v4("U");
    record(ROTATION_CLAIM, 0, 0);
    expect(ROTATION_ACT, ROTATION_PROMOTE, "version 4");
}
END_TEST

START_TEST(what_was_in_use_before_or_may_not_be_used_is_no_version_to_promote)
{
    static const struct {
        const char *may;
        enum kek_keyring_key state;
    } table[] = {
        {"U", KEK_KEYRING_KEY_DEACTIVATED},
        {"C", KEK_KEYRING_KEY_COMPROMISED},
        {"", KEK_KEYRING_KEY_SUSPENDED},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        for (int recorded = 0; recorded < 2; recorded++) {
            setup();
            world_key_both(&world, V4, 0x44, table[i].may);
            world_shown(&world, 1, V4, 0x44, table[i].state);
            record(recorded ? ROTATION_SEEN : ROTATION_CLAIM, recorded ? V4 : 0, 0x44);
            expect(ROTATION_ACT, ROTATION_CREATE, "makes version 5");
        }
    }
}
END_TEST

START_TEST(an_id_that_was_drawn_and_is_on_no_token_was_never_made)
{
    record(ROTATION_CREATE, V4, 0x44);
    expect(ROTATION_ACT, ROTATION_CREATE, "makes version 4");
}
END_TEST

START_TEST(a_rotation_without_a_record_is_finished_where_two_are_active)
{
    announce_v4();
    record(ROTATION_CLAIM, 0, 0);
    expect(ROTATION_ACT, ROTATION_RETIRE, "version 3");
}
END_TEST

START_TEST(a_rotation_that_was_overtaken_ends_with_the_newer_version)
{
    make_v4("U");
    world_key_both(&world, 5, 0x55, "WU");
    world_announces(&world, 0, 5, 0x55);
    world_announces(&world, 1, 5, 0x55);
    expect(ROTATION_ACT, ROTATION_RETIRE, "version 3");
    ck_assert_uint_eq(plan.target.number, 5);
    ck_assert_uint_eq(plan.old_count, 1);
}
END_TEST

START_TEST(of_two_keys_with_one_number_the_smaller_id_is_the_version)
{
    make_v4("U");
    world_key_both(&world, V4, 0x40, "U");
    world_shown(&world, 0, V4, 0x40, KEK_KEYRING_KEY_PRE_ACTIVE);
    world_shown(&world, 1, V4, 0x40, KEK_KEYRING_KEY_PRE_ACTIVE);
    expect(ROTATION_ACT, ROTATION_PROMOTE, "version 4");
    struct kek_id version = world_id(0x40), surplus = world_id(0x44);
    ck_assert(kek_id_equal(&plan.target.id, &version));
    ck_assert(kek_id_equal(&plan.surplus.id, &surplus));
    key(0, 0x44)->can_wrap = key(1, 0x44)->can_wrap = true;
    world_announces(&world, 1, V4, 0x44);
    rotation_plan(&world.facts, &plan);
    ck_assert_msg(kek_id_equal(&plan.target.id, &surplus), "what was announced stands");
}
END_TEST

START_TEST(a_surplus_key_that_may_wrap_retires_with_the_older_ones)
{
    announce_v4();
    world_key_both(&world, V4, 0x50, "WU");
    expect(ROTATION_ACT, ROTATION_RETIRE, "version");
    ck_assert_uint_eq(plan.old_count, 2);
    key(0, 0x33)->can_wrap = key(1, 0x33)->can_wrap = false;
    expect(ROTATION_ACT, ROTATION_RETIRE, "the surplus key of version 4 retires");
}
END_TEST

START_TEST(what_ended_within_the_hour_is_not_begun_again_unless_told_to)
{
    announce_v4();
    key(0, 0x33)->can_wrap = key(1, 0x33)->can_wrap = false;
    record(ROTATION_CHECK, 0, 0);
    world.nodes[0].status.primary.announced_ms = WORLD_NOW - 100000;
    expect(ROTATION_NOTHING, ROTATION_DONE, "--again");
    world.facts.again = true;
    expect(ROTATION_ACT, ROTATION_CLAIM, "");
    world.facts.again = false;
    world.nodes[0].status.primary.announced_ms = WORLD_NOW - ROTATION_RECENT_MS;
    expect(ROTATION_ACT, ROTATION_CLAIM, "");
    world.nodes[0].skew_ms = 5 * ROTATION_RECENT_MS; /* a clock that is wrong says nothing else */
    world.nodes[0].status.primary.announced_ms += world.nodes[0].skew_ms;
    expect(ROTATION_ACT, ROTATION_CLAIM, "");
    world.nodes[0].skew_ms *= -1;
    world.nodes[0].status.primary.announced_ms = WORLD_NOW - 100000 + world.nodes[0].skew_ms;
    expect(ROTATION_NOTHING, ROTATION_DONE, "--again");
}
END_TEST

START_TEST(a_keyrings_first_version_is_no_rotations_outcome)
{
    world.nodes[0].status.primary.announced_ms = WORLD_NOW - 100000;
    expect(ROTATION_ACT, ROTATION_CREATE, "");
}
END_TEST

/* ---- who is not asked ---- */

START_TEST(a_node_that_does_not_answer_is_waited_for_at_every_step_but_the_promotion_under_way)
{
    for (int step = 0; step < 4; step++) {
        setup();
        if (step == 1) {
            make_v4("U");
        } else if (step > 1) {
            announce_v4();
        }
        if (step == 2) {
            world_announces(&world, 0, V3, 0x33);
        }
        world.nodes[1].reachable = false;
        snprintf(world.nodes[1].why.text, sizeof world.nodes[1].why.text, "connection refused");
        rotation_plan(&world.facts, &plan);
        ck_assert_int_eq(plan.verdict, ROTATION_WAIT);
        ck_assert_ptr_nonnull(
            strstr(plan.text, "10.0.0.2:9479 does not answer: connection refused"));
        ck_assert_ptr_nonnull(strstr(plan.text, "--without 10.0.0.2:9479"));
    }
}
END_TEST

/* What is waited for by time alone: 22 refreshes, settle and as much, 100 s. */
static void expect_times(void)
{
    make_v4("U");
    world.facts.progress.since_ms = WORLD_NOW - 1000;
    expect(ROTATION_WAIT, ROTATION_SEEN, "330 s");
    ck_assert_uint_eq(plan.wait_ms, 329000);
    world.facts.progress.since_ms = WORLD_NOW - 330000;
    /* The wall clock was set meanwhile; the node was started anew 5 s ago. */
    world.facts.progress.since_up_ms = WORLD_NOW - 1000;
    expect(ROTATION_WAIT, ROTATION_SEEN, "330 s");
    ck_assert_uint_eq(plan.wait_ms, 329000);
    world.facts.up_ms = 5000;
    expect(ROTATION_WAIT, ROTATION_SEEN, "330 s");
    ck_assert_uint_eq(plan.wait_ms, 325000);
    world.facts.up_ms = WORLD_NOW;
    world.facts.progress.since_up_ms = 0;
    expect(ROTATION_ACT, ROTATION_PROMOTE, "");
    record(ROTATION_PROMOTE, V4, 0x44);
    expect(ROTATION_ACT, ROTATION_PROMOTE, "");
    key(0, 0x44)->can_wrap = key(1, 0x44)->can_wrap = true;
    world_announces(&world, 0, V4, 0x44);
    record(ROTATION_ANNOUNCED, V4, 0x44);
    world.facts.progress.since_ms = WORLD_NOW;
    expect(ROTATION_WAIT, ROTATION_ANNOUNCED, "390 s");
    world.facts.progress.since_ms = WORLD_NOW - 390000;
    expect(ROTATION_WAIT, ROTATION_RETIRE, "100 s");
    record(ROTATION_RETIRE, V4, 0x44);
    expect(ROTATION_ACT, ROTATION_RETIRE, "");
}

START_TEST(nodes_that_nobody_named_are_given_the_stated_times)
{
    world.facts.node_count = 1;
    world.facts.alone = true;
    expect_times();
}
END_TEST

START_TEST(a_node_that_is_left_out_is_given_the_stated_times)
{
    world.nodes[1].reachable = false;
    world.facts.left_out[1] = true;
    expect_times();
}
END_TEST

START_TEST(a_single_node_is_given_none)
{
    world.facts.node_count = 1;
    world.facts.alone = world.facts.single_node = true;
    make_v4("U");
    expect(ROTATION_ACT, ROTATION_PROMOTE, "");
    key(0, 0x44)->can_wrap = key(1, 0x44)->can_wrap = true;
    world_announces(&world, 0, V4, 0x44);
    expect(ROTATION_ACT, ROTATION_RETIRE, "");
}
END_TEST

START_TEST(a_node_without_a_page_is_believed_what_it_announces_and_given_time_for_the_rest)
{
    make_v4("U");
    world.nodes[1].status.partial = true;
    world.nodes[1].status.version_count = world.nodes[1].status.provider_count = 0;
    expect(ROTATION_WAIT, ROTATION_SEEN, "330 s");
    key(0, 0x44)->can_wrap = key(1, 0x44)->can_wrap = true;
    world_announces(&world, 0, V4, 0x44);
    expect(ROTATION_WAIT, ROTATION_ANNOUNCED, "cp2");
    world_announces(&world, 1, V4, 0x44);
    expect(ROTATION_WAIT, ROTATION_RETIRE, "100 s");
}
END_TEST

START_TEST(times_of_another_version_do_not_count)
{
    make_v4("U");
    world.facts.node_count = 1;
    world.facts.alone = true;
    record(ROTATION_RETIRE, V4, 0x45);
    expect(ROTATION_WAIT, ROTATION_SEEN, "330 s");
}
END_TEST

START_TEST(a_clock_that_went_back_makes_no_wait_longer)
{
    make_v4("U");
    world.facts.node_count = 1;
    world.facts.alone = true;
    world.facts.progress.since_ms = WORLD_NOW + 1000000;
    expect(ROTATION_WAIT, ROTATION_SEEN, "330 s");
    ck_assert_uint_eq(plan.wait_ms, 330000);
}
END_TEST

static void expect_wait(enum rotation_step step, uint64_t ms, const char *text)
{
    struct rotation_wait wait;
    rotation_expect(&world.facts, step, &wait);
    ck_assert_msg(wait.ms == ms && strcmp(wait.text, text) == 0, "step %s: %u ms \"%s\"",
                  rotation_step_name(step), (unsigned)wait.ms, wait.text);
}

START_TEST(how_long_each_step_waits_is_told_by_what_is_known_of_the_nodes)
{
    world.nodes[1].status.settle_ms = 90000; /* slower than this one */
    expect_wait(ROTATION_CREATE, 0, "");
    expect_wait(ROTATION_PROMOTE, 0, "");
    expect_wait(ROTATION_SEEN, 15000,
                "some 15 s; up to 330 s where a library lists its keys but once in a process");
    expect_wait(ROTATION_ANNOUNCED, 105000,
                "some 105 s; up to 420 s where a library lists its keys but once in a process");
    expect_wait(ROTATION_RETIRE, 100000,
                "at most 100 s: so long a node may seal under the old version");
    /* Of this node alone the same is known, if there is no other. */
    world.facts.node_count = 1;
    world.facts.alone = world.facts.single_node = true;
    expect_wait(ROTATION_ANNOUNCED, 75000,
                "some 75 s; up to 390 s where a library lists its keys but once in a process");
    /* And what the others are given is, where nobody named them. */
    world.facts.single_node = false;
    expect_wait(ROTATION_SEEN, 330000, "330 s, which the nodes that were not asked are given");
    expect_wait(ROTATION_ANNOUNCED, 390000, "390 s, which the nodes that were not asked are given");
    expect_wait(ROTATION_RETIRE, 100000, "100 s, which the nodes that were not asked are given");
    /* A node without a page says what it announces, and no more. */
    world.facts.node_count = 2;
    world.facts.alone = false;
    world.nodes[1].status.partial = true;
    expect_wait(ROTATION_SEEN, 330000, "330 s, which the nodes that were not asked are given");
    expect_wait(ROTATION_ANNOUNCED, 105000,
                "some 105 s; up to 420 s where a library lists its keys but once in a process");
}
END_TEST

#define ADD(name) tcase_add_test(tcase, name)

static void add_steps(TCase *tcase)
{
    ADD(a_rotation_claims_then_makes_the_next_number_on_the_provider_that_was_named);
    ADD(numbers_of_keys_that_nobody_would_use_are_taken_too);
    ADD(a_version_that_was_made_is_waited_for_on_every_provider);
    ADD(a_version_is_promoted_once_every_node_sees_it_with_every_provider);
    ADD(another_key_under_the_right_id_on_one_node_is_not_the_version);
    ADD(a_promotion_that_stopped_half_way_is_finished_whoever_sees_it);
    ADD(every_node_must_announce_and_the_first_that_does_not_is_named_with_its_reason);
    ADD(older_versions_retire_once_all_announce_and_none_seals_under_them);
    ADD(it_has_ended_when_no_other_version_may_wrap_anywhere);
    ADD(until_stops_before_the_next_step_and_not_before);
    ADD(a_version_that_waits_to_be_promoted_is_taken_and_none_is_made);
    ADD(what_was_in_use_before_or_may_not_be_used_is_no_version_to_promote);
    ADD(an_id_that_was_drawn_and_is_on_no_token_was_never_made);
    ADD(a_rotation_without_a_record_is_finished_where_two_are_active);
    ADD(a_rotation_that_was_overtaken_ends_with_the_newer_version);
    ADD(of_two_keys_with_one_number_the_smaller_id_is_the_version);
    ADD(a_surplus_key_that_may_wrap_retires_with_the_older_ones);
    ADD(what_ended_within_the_hour_is_not_begun_again_unless_told_to);
    ADD(a_keyrings_first_version_is_no_rotations_outcome);
}

static void add_waits(TCase *tcase)
{
    ADD(a_node_that_does_not_answer_is_waited_for_at_every_step_but_the_promotion_under_way);
    ADD(nodes_that_nobody_named_are_given_the_stated_times);
    ADD(a_node_that_is_left_out_is_given_the_stated_times);
    ADD(a_single_node_is_given_none);
    ADD(a_node_without_a_page_is_believed_what_it_announces_and_given_time_for_the_rest);
    ADD(times_of_another_version_do_not_count);
    ADD(a_clock_that_went_back_makes_no_wait_longer);
    ADD(how_long_each_step_waits_is_told_by_what_is_known_of_the_nodes);
}

int main(void)
{
    Suite *suite = suite_create("rotation");
    TCase *facts = tcase_create("plan");
    tcase_add_checked_fixture(facts, setup, NULL);
    add_steps(facts);
    add_waits(facts);
    suite_add_tcase(suite, facts);
    return suite_run(suite);
}
