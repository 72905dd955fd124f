/*
 * Keys that take turns: suspended, compromised, two of one number, and what comes after a primary that was retired
 * while this node was away.  Facts are put in by hand, and the steps of a turn taken on a clock of the test's own.
 */
#include "pool_rig.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include <openssl/evp.h>

#include "keyring/ring.h"

#define SETTLE_MS 60000u
#define DESTROY_AFTER_MS 100000u
#define NODES 3

static struct rig rig;
static struct kek_keyring *ring; /* the node that a step is about */
static struct kek_keyring *nodes[NODES];
static struct kek_config configs[NODES];
static char states[NODES][96];
static char last_text[1024], last_of_destruction[1024];
static uint64_t clock_us;

static uint64_t now_us(void)
{
    return clock_us;
}

static void notice(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                   const char *text)
{
    (void)arg;
    (void)level;
    (void)fields;
    snprintf(last_text, sizeof last_text, "%s", text);
    if (strstr(text, "destroyed") != NULL) {
        snprintf(last_of_destruction, sizeof last_of_destruction, "%s", text);
    }
}

static void open_node(int i)
{
    struct kek_why why;
    struct kek_keyring_settings settings = {
        .config = &configs[i], .pool = rig.pool, .notice = notice};
    nodes[i] = kek_keyring_new(&rig.loop, &settings, &why);
    ck_assert_msg(nodes[i] != NULL, "%s", why.text);
    ring = nodes[i];
}

static void set_up(void)
{
    static char context[] = "";
    rig_init(&rig, 2);
    rig.config.context = context;
    rig.config.refresh_ms = 15000;
    rig.config.settle_ms = SETTLE_MS;
    rig.config.destroy_after_ms = DESTROY_AFTER_MS;
    rig.config.health.probe_interval_ms = 60000;
    rig.config.health.canary_interval_ms = 600000;
    rig.providers[0].processes = rig.providers[1].processes = 1;
    rig_open(&rig);
    (void)mkdir(rig.state, 0700);
    clock_us = kek_clock_us() + UINT64_C(1000000000);
    kek_clock_fake(now_us);
    for (int i = NODES - 1; i >= 0; i--) {
        configs[i] = rig.config;
        snprintf(states[i], sizeof states[i], "%s/node-%d", rig.state, i);
        (void)mkdir(states[i], 0700);
        configs[i].state_dir = states[i];
        open_node(i);
    }
}

static void close_node(int i)
{
    kek_keyring_stop(nodes[i]);
    uv_run(&rig.loop, UV_RUN_NOWAIT);
    while (nodes[i]->record_writing) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
    kek_keyring_free(nodes[i]);
}

static void tear_down(void)
{
    kek_clock_fake(NULL);
    for (int i = 0; i < NODES; i++) {
        close_node(i);
    }
    rig_close(&rig);
    rig_done(&rig);
}

static void pass(unsigned ms)
{
    clock_us += ms * UINT64_C(1000);
}

/* W: may wrap and unwrap, U: unwrap only, -: neither. `mark`: the last byte of its CKA_ID. */
static struct kek_version key(uint32_t number, uint8_t mark, char uses)
{
    struct kek_version seen = {
        .number = number, .eligible = true, .can_wrap = uses == 'W', .can_unwrap = uses != '-'};
    seen.id.bytes[0] = (uint8_t)number;
    seen.id.bytes[KEK_ID_LEN - 1] = mark;
    return seen;
}

/* The one worker of that provider, made if it is not there, lists these. */
static struct member *lists(size_t provider, const struct kek_version *seen, size_t count)
{
    struct source *source = &ring->sources[provider];
    struct member *member = source->members;
    if (member == NULL) {
        member = calloc(1, sizeof *member);
        ck_assert_ptr_nonnull(member);
        member->source = source;
        member->serial = provider + 1;
        member->born_ms = source->youngest_ms = kek_clock_ms();
        DL_APPEND(source->members, member);
    }
    member->begun_ms = member->asked_ms = kek_clock_ms();
    member_take(member, seen, count);
    return member;
}

/* A witness that a state file takes. */
static void make_real(struct version *version)
{
    struct kek_why why;
    uint8_t wrapped[40] = {0};
    KEK_AUTO(kek_secret) data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    ck_assert_ptr_nonnull(data_key);
    ck_assert_int_eq(
        witness_seal(version, data_key, KEK_WRAP_AES_KW, kek_bytes(wrapped, sizeof wrapped), &why),
        KEK_OK);
}

/* Every worker opens whatever it may, and every version that may wrap has a witness that all agree on. */
static void prove(void)
{
    struct version *version;
    struct member *member;
    DL_FOREACH (ring->versions, version) {
        MEMBER_FOREACH (ring, member) {
            struct view *view = &member->views[version->slot];
            if (version->witness_len == 0 && !version->surplus && !version->compromised &&
                view_may(view, KEK_POOL_WRAP)) {
                make_real(version);
            }
        }
        MEMBER_FOREACH (ring, member) {
            struct view *view = &member->views[version->slot];
            if (version->witness_len > 0 && view_may(view, KEK_POOL_UNWRAP) &&
                view->witness == UNKNOWN) {
                view->witness = OPENED;
                view->since_ms = view->asked_ms = kek_clock_ms();
                view->again = false;
            }
            if (view->again) {
                view->asked_ms = kek_clock_ms();
                view->again = false;
            }
        }
    }
}

static void write_out(void)
{
    while (ring->record_writing) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
}

/* What follows, until nothing more does. */
static void turn(void)
{
    for (int i = 0; i < 6; i++) {
        ring->now_ms = kek_clock_ms();
        judge_holdings(ring);
        rank_drive(ring);
        prove();
        primary_drive(ring);
        if (ring->wanted.count > 0) {
            kek_keyring_prepared(ring, &ring->wanted);
        }
        write_out();
        pass(1);
    }
    ageing_drive(ring);
    write_out();
    verdict_drive(ring);
    remarks_drive(ring);
}

static void both_list(const struct kek_version *seen, size_t count)
{
    lists(0, seen, count);
    lists(1, seen, count);
    turn();
}

static const struct kek_id *primary(void)
{
    return ring->announced ? &ring->primary.generation.kek_ids[0] : NULL;
}

static bool leads(const struct kek_version *key)
{
    return ring->announced && kek_id_equal(primary(), &key->id);
}

static struct kek_keyring_version told(const struct kek_version *key)
{
    struct kek_keyring_version versions[VERSIONS_MAX];
    size_t count = kek_keyring_versions(ring, versions, VERSIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (kek_id_equal(&versions[i].kek_id, &key->id)) {
            return versions[i];
        }
    }
    ck_abort_msg("version %u is not known", key->number);
}

static bool may(size_t provider, enum kek_pool_op op, const struct kek_version *key)
{
    return kek_keyring_may(ring, provider, provider + 1, op, &key->id);
}

static enum kek_rc wraps(const struct kek_version *key)
{
    struct kek_generation generation = {.count = 1, .kek_ids = {key->id}, .numbers = {key->number}};
    return kek_keyring_wraps(ring, &generation, NULL);
}

/* The remark of that kind that stands; empty: none. */
static const char *remark(enum kek_keyring_remark kind)
{
    static struct kek_keyring_verdict standing[KEK_KEYRING_REMARKS_MAX];
    size_t count = kek_keyring_remarks(ring, standing, KEK_KEYRING_REMARKS_MAX);
    for (size_t i = 0; i < count; i++) {
        if (standing[i].remark == kind) {
            return standing[i].what;
        }
    }
    return "";
}

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
    ck_assert_ptr_nonnull(strstr(ring->verdict.todo, "kekctl key resume"));
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

/* ---- out of use ---- */

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
    /* A backup was restored. */
    both_list(seen, 2);
    ck_assert_ptr_nonnull(strstr(last_of_destruction, "is on an HSM again"));
    ck_assert(!kek_keyring_was_destroyed(ring, &seen[0].id, &number));
    ck_assert_ptr_nonnull(version_find(ring, &seen[0].id));
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

/* ---- away for a rotation ---- */

static const char fates[] = {'U', '-', 'c', 'd', 'o'};

/* While this node was away v3 was retired, suspended, compromised, destroyed, or nothing happened to it. */
START_TEST(node_that_was_away_for_a_rotation_announces_the_new_version_unless_the_old_one_is_good)
{
    struct kek_version before = key(3, 0, 'W'), after[2];
    char fate = fates[_i];
    size_t count = 0;
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
    TCase *ageing = tcase_create("ageing");
    suite_add_tcase(suite, ageing);
    tcase_add_checked_fixture(ageing, set_up, tear_down);
    tcase_add_test(ageing, time_out_of_use_counts_while_all_providers_show_it_so);
    tcase_add_test(ageing, time_out_of_use_is_on_record_and_a_stop_loses_none_of_it);
    tcase_add_test(ageing, version_that_was_retired_before_this_node_came_ages_over_restarts);
    tcase_add_test(ageing, version_that_waits_to_be_promoted_does_not_age);
    tcase_add_test(ageing, suspension_after_long_disuse_is_wanted_until_somebody_asks);
    tcase_add_test(ageing,
                   version_that_is_gone_after_it_was_suspended_was_destroyed_and_is_no_loss);
    tcase_add_test(ageing, version_that_is_gone_without_a_suspension_was_not_destroyed);
    tcase_add_test(states_case, compromised_primary_opens_seals_nothing_and_asks_for_a_rotation);
    tcase_add_test(states_case, mark_on_one_provider_counts_for_all_and_over_a_restart);
    tcase_add_test(states_case, suspended_primary_is_no_loss_and_comes_back);
    tcase_add_loop_test(states_case, worker_that_comes_later_opens_no_question_that_was_settled, 0,
                        2);
    tcase_add_test(states_case,
                   suspended_version_beside_the_primary_is_remarked_on_where_nobody_opens_it);
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
