/* kekctl reencrypt without its surroundings: the pace, the time to begin, and what is shown. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "kekctl/reencrypt/reencrypt_guard.h"
#include "kekctl/reencrypt/reencrypt_pace.h"
#include "kekctl/reencrypt/reencrypt_show.h"

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
#define NEEDED (60000 + 90000 + REENCRYPT_API_SERVER_MS)

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

static enum guard_verdict judge(int64_t record_ms, int64_t *wait_ms, struct kek_why *why)
{
    static const bool none[2];
    why->text[0] = '\0';
    return guard_judge(nodes, 2, none, "k", NEEDED, NOW, record_ms, wait_ms, why);
}

START_TEST(all_nodes_well_for_long_enough_is_good)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    ck_assert_int_eq(judge(0, &wait_ms, &why), GUARD_GOOD);
    ck_assert_int_eq(wait_ms, 0);
}
END_TEST

/* Each of them wrong on the second node alone. */
START_TEST(one_node_that_is_not_so_is_waited_for)
{
    static const char *const says[] = {
        "cp1:9 does not answer", "kekd of cp1 is not well: no HSM", "cp1 announces no key yet",
        "cp0 announces version 2 and cp1 version 3", "cp1 announces its key since a short time"};
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
    ck_assert_int_eq(judge(0, &wait_ms, &why), GUARD_WAIT);
    ck_assert_msg(strstr(why.text, says[_i]) != NULL, "%s", why.text);
    ck_assert_int_eq(wait_ms, _i == 4 ? 1500 : 0);
}
END_TEST

/* One that nobody asks may see the key by a library that caches. */
START_TEST(nodes_that_are_not_known_are_given_more_time)
{
    const struct kek_config config = {.settle_ms = 60000, .refresh_ms = 90000};
    ck_assert_int_eq(guard_needed_ms(&config, false), NEEDED);
    ck_assert_int_eq(guard_needed_ms(&config, true), NEEDED + 21 * 90000);
}
END_TEST

START_TEST(a_node_of_another_keyring_is_refused)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    snprintf(nodes[1].status.keyring, sizeof nodes[1].status.keyring, "other");
    ck_assert_int_eq(judge(0, &wait_ms, &why), GUARD_REFUSED);
    ck_assert_msg(strstr(why.text, "cp1 serves keyring other") != NULL, "%s", why.text);
}
END_TEST

START_TEST(a_clock_that_is_off_is_counted_by_ours)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    nodes[1].skew_ms = -60000;
    nodes[1].status.primary.announced_ms -= 60000;
    ck_assert_int_eq(judge(0, &wait_ms, &why), GUARD_GOOD);
    nodes[1].skew_ms = -61000;
    ck_assert_int_eq(judge(0, &wait_ms, &why), GUARD_WAIT);
    ck_assert_int_eq(wait_ms, 1000);
}
END_TEST

/* A kekd that was restarted does not say since when it announces: since it was well, at the latest. A node that is
 * asked by its socket alone says nothing: its record was written then or later. */
START_TEST(what_is_not_said_is_taken_as_late_as_it_can_be)
{
    struct kek_why why;
    int64_t wait_ms;
    all_is_well();
    nodes[1].status.primary.announced_ms = 0;
    nodes[1].status.since_ms = NOW - NEEDED + 5000;
    ck_assert_int_eq(judge(NOW - 10 * NEEDED, &wait_ms, &why), GUARD_WAIT);
    ck_assert_int_eq(wait_ms, 5000);
    nodes[1].status.since_ms = 0;
    ck_assert_int_eq(judge(NOW - 10 * NEEDED, &wait_ms, &why), GUARD_WAIT);
    ck_assert_int_eq(wait_ms, NEEDED);
    nodes[1].status.partial = true;
    ck_assert_int_eq(judge(NOW - 10 * NEEDED, &wait_ms, &why), GUARD_GOOD);
    ck_assert_int_eq(judge(0, &wait_ms, &why), GUARD_WAIT);
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
    tcase_add_loop_test(tcase, one_node_that_is_not_so_is_waited_for, 0, 5);
    tcase_add_test(tcase, nodes_that_are_not_known_are_given_more_time);
    tcase_add_test(tcase, a_node_of_another_keyring_is_refused);
    tcase_add_test(tcase, a_clock_that_is_off_is_counted_by_ours);
    tcase_add_test(tcase, what_is_not_said_is_taken_as_late_as_it_can_be);
    tcase_add_test(tcase, a_line_says_how_far_how_fast_and_how_long);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
