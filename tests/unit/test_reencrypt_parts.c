/* kekctl reencrypt without its surroundings: the pace, the time to begin, and what is shown. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "kekctl/reencrypt/reencrypt_guard.h"
#include "kekctl/reencrypt/reencrypt_pace.h"
#include "kekctl/reencrypt/reencrypt_show.h"
#include "kekctl/rotate/rewrite_time.h"

/* ---- the pace ---- */

START_TEST(pace_begins_as_many_as_it_may)
{
    struct pace pace;
    pace_init(&pace, 3, 0);
    ck_assert(pace_may(&pace, 0, 1000) && pace_may(&pace, 2, 1000));
    ck_assert(!pace_may(&pace, 3, 1000));
    ck_assert_uint_eq(pace_wait_ms(&pace, 1000), 0);
}
END_TEST

START_TEST(pace_halves_on_trouble_and_comes_back)
{
    struct pace pace;
    pace_init(&pace, 16, 0);
    ck_assert_uint_eq(pace_bad(&pace, 0, 1000), 1250);
    ck_assert_uint_eq(pace_bad(&pace, 0, 1001), 1250); /* of the same moment */
    ck_assert_uint_eq(pace.now, 8);
    ck_assert(!pace_may(&pace, 0, 1249) && pace_may(&pace, 0, 1250) && !pace_may(&pace, 8, 1250));
    ck_assert_uint_eq(pace_bad(&pace, 0, 1300), 1800); /* again at once: twice as long */
    ck_assert_uint_eq(pace.now, 4);
    for (unsigned i = 0; i < 4 * (4 + 5 + 6 + 7 + 8 + 9 + 10 + 11 + 12 + 13 + 14 + 15); i++) {
        pace_good(&pace);
    }
    ck_assert_uint_eq(pace.now, 16);
    for (unsigned i = 0; i < 1000; i++) {
        pace_good(&pace);
    }
    ck_assert_uint_eq(pace.now, 16);
    ck_assert_uint_eq(pace_bad(&pace, 0, 9000), 9250);
}
END_TEST

START_TEST(pace_keeps_away_for_as_long_as_it_is_told_and_never_stops)
{
    struct pace pace;
    uint64_t now = 1000;
    pace_init(&pace, 2, 0);
    ck_assert_uint_eq(pace_bad(&pace, 7000, now), 8000);
    ck_assert_uint_eq(pace_bad(&pace, 9000, 1500), 10500);
    ck_assert_uint_eq(pace_wait_ms(&pace, 2000), 8500);
    for (unsigned i = 0; i < 100; i++) {
        now = pace_bad(&pace, 0, now + 20000);
    }
    ck_assert_uint_eq(pace.now, 1);
    ck_assert(pace_may(&pace, 0, now));
    ck_assert_uint_eq(pace_bad(&pace, 0, now) - now, 16000);
}
END_TEST

START_TEST(pace_keeps_a_rate_without_making_up_for_a_long_pause)
{
    struct pace pace;
    unsigned begun = 0;
    pace_init(&pace, 100, 50);
    for (uint64_t now = 10000; now < 12000; now++) {
        while (pace_may(&pace, 0, now)) {
            pace_begun(&pace, now);
            begun++;
        }
    }
    ck_assert_uint_ge(begun, 99);
    ck_assert_uint_le(begun, 107);
    for (begun = 0; pace_may(&pace, 0, 60000); begun++) {
        pace_begun(&pace, 60000);
    }
    ck_assert_uint_le(begun, 6);
}
END_TEST

/* ---- the time to begin ---- */

#define NOW INT64_C(1000000000)
#define NEEDED (60000 + 90000 + REWRITE_API_SERVER_MS)

static struct node nodes[2]; /* too large for a stack */

/* Two nodes that have announced the same key for long enough. */
static void all_is_well(void)
{
    memset(nodes, 0, sizeof nodes);
    for (size_t i = 0; i < 2; i++) {
        struct node_status *status = &nodes[i].status;
        nodes[i].reachable = true;
        snprintf(nodes[i].name, sizeof nodes[i].name, "cp%zu:9", i);
        snprintf(status->node, sizeof status->node, "cp%zu", i);
        snprintf(status->keyring, sizeof status->keyring, "k");
        snprintf(status->health, sizeof status->health, "good");
        snprintf(status->primary.key_id, sizeof status->primary.key_id, "kek1-aa");
        status->primary.version = 2;
        status->primary.announced_ms = NOW - NEEDED;
        status->announces = true;
    }
}

static enum guard_verdict judge(int64_t *wait_ms, struct kek_why *why)
{
    static const bool none[2];
    const struct guard_rules rules = {
        .keyring = "k", .self = "cp0", .needed_ms = NEEDED, .now_ms = NOW};
    why->text[0] = '\0';
    return guard_judge(nodes, 2, none, &rules, wait_ms, why);
}

START_TEST(all_nodes_well_for_long_enough_is_good)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_GOOD);
    ck_assert_int_eq(wait_ms, 0);
}
END_TEST

static const struct guard_rules several_roots = {.keyring = "k",
                                                 .self = "cp0",
                                                 .sealing = {"site", "spare"},
                                                 .sealing_count = 2,
                                                 .needed_ms = NEEDED,
                                                 .now_ms = NOW};

/* What that node announces has a KEK of each. "": of none. */
static void announce(size_t node, const char *one, const char *other)
{
    struct node_primary *primary = &nodes[node].status.primary;
    primary->root_count = (one[0] == '\0' ? 0 : 1) + (other[0] == '\0' ? 0 : 1);
    snprintf(primary->roots[0], sizeof primary->roots[0], "%s", one);
    snprintf(primary->roots[1], sizeof primary->roots[1], "%s", other);
}

/* Each on the second node alone; the first one need not answer for that. */
START_TEST(a_root_that_a_node_announces_nothing_of_is_refused_at_once)
{
    static const struct {
        const char *one, *other, *says;
    } cases[] = {{"site", "", "cp1 announces no KEK of spare: "},
                 {"spare", "", "cp1 announces no KEK of site: "},
                 {"", "", "cp1 announces no KEK of site and spare: "},
                 {"site", "third", "cp1 announces no KEK of spare: "}};
    static const bool none[2];
    struct kek_why why;
    int64_t wait_ms;
    for (int answers = 0; answers < 2; answers++) {
        all_is_well();
        announce(0, "site", "spare");
        announce(1, cases[_i].one, cases[_i].other);
        nodes[0].reachable = answers == 1;
        ck_assert_int_eq(guard_judge(nodes, 2, none, &several_roots, &wait_ms, &why),
                         GUARD_REFUSED);
        ck_assert_msg(strstr(why.text, cases[_i].says) != NULL, "%s", why.text);
        ck_assert_ptr_nonnull(strstr(why.text, "docs/roots.md")); /* it is not cut */
        ck_assert_int_eq(wait_ms, 0);
    }
}
END_TEST

/* kekctl inventory wants the primaries of the roots that seal by this configuration, and no more. */
START_TEST(a_root_that_seals_nothing_here_is_refused_where_it_is_announced)
{
    static const bool none[2];
    struct guard_rules rules = several_roots;
    struct kek_why why;
    int64_t wait_ms;
    rules.sealing_count = 1;
    all_is_well();
    announce(0, "site", "");
    announce(1, "site", "spare");
    ck_assert_int_eq(guard_judge(nodes, 2, none, &rules, &wait_ms, &why), GUARD_REFUSED);
    ck_assert_ptr_nonnull(strstr(why.text, "cp1 announces a KEK of spare, which seals nothing"));
}
END_TEST

/* A record is of one root's KEK: that it was announced long ago says nothing of all of them together. */
START_TEST(with_several_roots_a_node_must_say_itself_since_when)
{
    static const bool none[2];
    struct guard_rules rules = several_roots;
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    announce(0, "site", "spare");
    announce(1, "site", "spare");
    ck_assert_int_eq(guard_judge(nodes, 2, none, &rules, &wait_ms, &why), GUARD_GOOD);
    nodes[1].status.partial = true;
    ck_assert_int_eq(guard_judge(nodes, 2, none, &rules, &wait_ms, &why), GUARD_REFUSED);
    ck_assert_ptr_nonnull(strstr(why.text, "cp1: since when its key is announced"));
    ck_assert_ptr_nonnull(strstr(why.text, "set status.listen"));
    rules.sealing_count = 0; /* --decrypt */
    ck_assert_int_eq(guard_judge(nodes, 2, none, &rules, &wait_ms, &why), GUARD_GOOD);
}
END_TEST

/* Each of them wrong on the second node alone. */
START_TEST(one_node_that_is_not_so_is_waited_for)
{
    static const char *const says[] = {
        "cp1:9 does not answer", "kekd of cp1 is not well: no HSM", "cp1 announces no key yet",
        "cp0 announces version 2 and cp1 version 3", "cp1 announced its key a short time ago"};
    struct kek_why why;
    int64_t wait_ms;
    struct node_status *status = &nodes[1].status;
    all_is_well();
    switch (_i) {
    case 0:
        nodes[1].reachable = false;
        break;
    case 1:
        snprintf(status->health, sizeof status->health, "outage");
        snprintf(status->what, sizeof status->what, "no HSM");
        break;
    case 2:
        status->announces = false;
        break;
    case 3:
        snprintf(status->primary.key_id, sizeof status->primary.key_id, "kek1-bb");
        status->primary.version = 3;
        break;
    default:
        status->primary.announced_ms += 1500;
        break;
    }
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_WAIT);
    ck_assert_msg(strstr(why.text, says[_i]) != NULL, "%s", why.text);
    ck_assert_int_eq(wait_ms, _i == 4 ? 1500 : 0);
}
END_TEST

/* One that nobody asks may see the key by a library that caches. */
START_TEST(nodes_that_are_not_known_are_given_more_time)
{
    const struct kek_config config = {.settle_ms = 60000, .refresh_ms = 90000};
    ck_assert_int_eq(rewrite_needed_ms(&config, false), NEEDED);
    ck_assert_int_eq(rewrite_needed_ms(&config, true), NEEDED + 21 * 90000);
}
END_TEST

START_TEST(a_node_of_another_keyring_is_refused)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    snprintf(nodes[1].status.keyring, sizeof nodes[1].status.keyring, "other");
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_REFUSED);
    ck_assert_msg(strstr(why.text, "cp1 serves keyring other") != NULL, "%s", why.text);
}
END_TEST

START_TEST(two_names_that_lead_to_one_node_are_refused)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    snprintf(nodes[1].status.node, sizeof nodes[1].status.node, "cp0");
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_REFUSED);
    ck_assert_msg(strstr(why.text, "cp0:9 and cp1:9 lead to one node, cp0") != NULL, "%s",
                  why.text);
    snprintf(nodes[1].status.context_sha256, sizeof nodes[1].status.context_sha256, "c1");
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_GOOD); /* another cluster's may have its name */
}
END_TEST

START_TEST(a_clock_that_is_off_is_counted_by_ours)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    nodes[1].skew_ms = -60000;
    nodes[1].status.primary.announced_ms -= 60000;
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_GOOD);
    nodes[1].skew_ms = -61000;
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_WAIT);
    ck_assert_int_eq(wait_ms, 1000);
}
END_TEST

/* A record of before has no time: since kekd is well, at the latest. Where nothing is said: since it was heard. */
START_TEST(what_is_not_said_is_taken_as_late_as_it_can_be)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    nodes[1].status.primary.announced_ms = 0;
    nodes[1].status.since_ms = NOW - NEEDED + 5000;
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_WAIT);
    ck_assert_int_eq(wait_ms, 5000);
    nodes[1].status.since_ms = 0;
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_WAIT);
    ck_assert_int_eq(wait_ms, NEEDED);
    nodes[1].heard_ms = NOW - 7000;
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_WAIT);
    ck_assert_int_eq(wait_ms, NEEDED - 7000);
}
END_TEST

/* A clock that was ahead when it announced, and was set right since. */
START_TEST(a_time_to_come_is_taken_for_the_one_at_which_it_was_heard)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    nodes[1].status.primary.announced_ms = NOW + 100 * NEEDED;
    nodes[1].heard_ms = NOW - NEEDED + 3000;
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_WAIT);
    ck_assert_int_eq(wait_ms, 3000);
}
END_TEST

/* What waits is told by one node, and what is wrong by another. */
START_TEST(a_node_that_is_not_well_is_no_matter_of_time)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    nodes[0].status.primary.announced_ms = NOW;
    nodes[1].reachable = false;
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_WAIT);
    ck_assert_int_eq(wait_ms, 0);
    ck_assert_msg(strstr(why.text, "cp1:9 does not answer") != NULL, "%s", why.text);
}
END_TEST

START_TEST(this_node_is_to_be_among_them)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    snprintf(nodes[0].status.node, sizeof nodes[0].status.node, "cp2");
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_REFUSED);
    ck_assert_msg(strstr(why.text, "this node, cp0, is not among the nodes") != NULL, "%s",
                  why.text);
}
END_TEST

/* As `key rotate` tells it. */
START_TEST(the_last_node_says_from_when_on)
{
    const struct kek_id id = {.bytes = {1}}, other = {.bytes = {2}};
    bool left_out[2] = {false, false};
    struct kek_why why;
    int64_t wait_ms;
    char text[REWRITE_TIME_TEXT];
    all_is_well();
    nodes[0].status.primary.kek_id = nodes[1].status.primary.kek_id = id;
    nodes[1].status.primary.announced_ms += 1500;
    ck_assert_int_eq(rewrite_after_ms(nodes, 2, left_out, &id, NEEDED, NOW), NOW + 1500);
    ck_assert_int_eq(rewrite_after_ms(nodes, 2, left_out, &id, NEEDED, NOW + 60000), NOW + 1500);
    nodes[1].skew_ms = 1900; /* of the network, or of a page that has whole seconds */
    ck_assert_int_eq(rewrite_after_ms(nodes, 2, left_out, &id, NEEDED, NOW), NOW + 1500);
    rewrite_time_format(NOW + 1500, text);
    ck_assert_int_eq(judge(&wait_ms, &why), GUARD_WAIT);
    ck_assert_msg(strstr(why.text, text) != NULL, "%s", why.text);
    ck_assert_int_eq(rewrite_after_ms(nodes, 2, left_out, &other, NEEDED, NOW), 0);
    nodes[1].reachable = false;
    ck_assert_int_eq(rewrite_after_ms(nodes, 2, left_out, &id, NEEDED, NOW), 0);
    left_out[1] = true;
    ck_assert_int_eq(rewrite_after_ms(nodes, 2, left_out, &id, NEEDED, NOW), NOW);
}
END_TEST

/* ---- what is shown ---- */

START_TEST(a_line_says_how_far_how_fast_and_how_long)
{
    static const struct {
        uint64_t seen, left;
        double rate;
        bool bar;
        const char *line;
    } rows[] = {
        {50, 50, 10, true, "[############------------] 50 of 100 objects, 10/s, 6 s left"},
        {0, 0, 0, true, "[------------------------] 0 of 0 objects, 0/s, unknown left"},
        {100, 0, 10, true, "[########################] 100 of 100 objects, 10/s, 0 s left"},
        {1000, 99000, 1400, false, "1000 of 100000 objects, 1400/s, 1 min 11 s left"},
        {0, 1000000, 100, false, "0 of 1000000 objects, 100/s, 2 h 46 min left"},
    };
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        char line[REENCRYPT_LINE];
        reencrypt_show_line(rows[i].seen, rows[i].left, rows[i].rate, rows[i].bar, line);
        ck_assert_str_eq(line, rows[i].line);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("reencrypt");
    TCase *tcase = tcase_create("reencrypt");
    tcase_add_test(tcase, pace_begins_as_many_as_it_may);
    tcase_add_test(tcase, pace_halves_on_trouble_and_comes_back);
    tcase_add_test(tcase, pace_keeps_away_for_as_long_as_it_is_told_and_never_stops);
    tcase_add_test(tcase, pace_keeps_a_rate_without_making_up_for_a_long_pause);
    tcase_add_test(tcase, all_nodes_well_for_long_enough_is_good);
    tcase_add_loop_test(tcase, a_root_that_a_node_announces_nothing_of_is_refused_at_once, 0, 4);
    tcase_add_test(tcase, a_root_that_seals_nothing_here_is_refused_where_it_is_announced);
    tcase_add_test(tcase, with_several_roots_a_node_must_say_itself_since_when);
    tcase_add_loop_test(tcase, one_node_that_is_not_so_is_waited_for, 0, 5);
    tcase_add_test(tcase, nodes_that_are_not_known_are_given_more_time);
    tcase_add_test(tcase, a_node_of_another_keyring_is_refused);
    tcase_add_test(tcase, two_names_that_lead_to_one_node_are_refused);
    tcase_add_test(tcase, a_clock_that_is_off_is_counted_by_ours);
    tcase_add_test(tcase, what_is_not_said_is_taken_as_late_as_it_can_be);
    tcase_add_test(tcase, a_time_to_come_is_taken_for_the_one_at_which_it_was_heard);
    tcase_add_test(tcase, a_node_that_is_not_well_is_no_matter_of_time);
    tcase_add_test(tcase, this_node_is_to_be_among_them);
    tcase_add_test(tcase, the_last_node_says_from_when_on);
    tcase_add_test(tcase, a_line_says_how_far_how_fast_and_how_long);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
