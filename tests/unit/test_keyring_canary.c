/*
 * Canaries: when which worker is asked again for what it has opened, what a failure says of the key, and which
 * versions nobody opens any more.  Facts are put in by hand, on a clock of the test's own.
 */
#include "pool_rig.h"

#include <string.h>
#include <sys/stat.h>

#include "keyring/ring.h"

#define INTERVAL_MS 600000u
#define WORKERS 3
#define VERSIONS 4

static struct rig rig;
static struct kek_keyring *ring;
static uint64_t clock_us;

static uint64_t now_us(void)
{
    return clock_us;
}

/* What the pool says of its workers. */
static bool busy, starts;
bool __wrap_kek_pool_idle(const struct kek_pool *pool, uint64_t worker);
bool __wrap_kek_pool_starts(const struct kek_pool *pool, size_t provider);

bool __wrap_kek_pool_idle(const struct kek_pool *pool, uint64_t worker)
{
    (void)pool;
    (void)worker;
    return !busy;
}

bool __wrap_kek_pool_starts(const struct kek_pool *pool, size_t provider)
{
    (void)pool;
    return starts && provider == 0;
}

static void set_up(void)
{
    static char context[] = "";
    struct kek_why why;
    rig_init(&rig, 2);
    rig.config.context = context;
    rig.config.refresh_ms = 15000;
    rig.config.health.probe_interval_ms = 60000;
    rig.config.health.canary_interval_ms = INTERVAL_MS;
    rig_open(&rig);
    (void)mkdir(rig.state, 0700);
    struct kek_keyring_settings settings = {.config = &rig.config, .pool = rig.pool};
    ring = kek_keyring_new(&rig.loop, &settings, &why);
    ck_assert_msg(ring != NULL, "%s", why.text);
    clock_us = kek_clock_us() + UINT64_C(1000000000);
    kek_clock_fake(now_us);
    ring->now_ms = kek_clock_ms();
    busy = starts = false;
}

static void tear_down(void)
{
    kek_clock_fake(NULL);
    kek_keyring_stop(ring);
    uv_run(&rig.loop, UV_RUN_NOWAIT);
    while (ring->record_writing) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
    rig_close(&rig);
    kek_keyring_free(ring);
    rig_done(&rig);
}

static void pass(unsigned ms)
{
    clock_us += ms * UINT64_C(1000);
    ring->now_ms = kek_clock_ms();
}

/* U: unwraps only, -: neither. */
static struct kek_version key(uint32_t number, char uses)
{
    struct kek_version seen = {.number = number, .eligible = true, .can_unwrap = uses == 'U'};
    seen.id.bytes[0] = (uint8_t)number;
    return seen;
}

/* Agreed on; it has no envelope, so that nobody can really be asked for it. */
static struct version *version(uint32_t number)
{
    struct kek_version seen = key(number, 'U');
    struct version *version = version_add(ring, &seen.id, number);
    ck_assert_ptr_nonnull(version);
    version->witness_len = 1;
    version->agreed = true;
    return version;
}

static struct member *add(size_t provider, uint64_t serial)
{
    struct member *member = calloc(1, sizeof *member);
    ck_assert_ptr_nonnull(member);
    member->source = &ring->sources[provider];
    member->serial = serial;
    member->born_ms = member->source->youngest_ms = kek_clock_ms();
    DL_APPEND(member->source->members, member);
    return member;
}

static void lists(struct member *member, const struct kek_version *seen, size_t count)
{
    member->begun_ms = member->asked_ms = kek_clock_ms();
    member_take(member, seen, count);
}

static bool fails_at(struct member *member, struct version *version, uint64_t begun_us,
                     enum kek_rc rc)
{
    return canary_failed(member, version, begun_us, rc, "as told");
}

/* Each worker is asked for each version once in the interval, never two at a time, and what was opened meanwhile is
 * not. */
START_TEST(every_worker_is_asked_for_every_version_evenly_over_the_interval)
{
    struct kek_version seen[VERSIONS];
    struct member *members[WORKERS];
    struct version *versions[VERSIONS];
    uint64_t last[WORKERS][VERSIONS], start = kek_clock_ms();
    unsigned asked[WORKERS][VERSIONS] = {{0}};
    for (uint32_t v = 0; v < VERSIONS; v++) {
        seen[v] = key(v + 1, 'U');
        versions[v] = version(v + 1);
    }
    for (uint64_t m = 0; m < WORKERS; m++) {
        members[m] = add(0, m + 1);
        lists(members[m], seen, VERSIONS);
        for (size_t v = 0; v < VERSIONS; v++) {
            check_note(members[m], versions[v], KEK_OK);
            last[m][v] = start;
        }
    }
    for (unsigned second = 0; second < 3 * INTERVAL_MS / 1000; second++) {
        unsigned now = 0;
        pass(1000);
        check_note(members[0], versions[0], KEK_OK); /* traffic: it is never due */
        check_drive(ring);
        for (size_t m = 0; m < WORKERS; m++) {
            for (size_t v = m == 0; v < VERSIONS; v++) {
                if (members[m]->views[versions[v]->slot].asked_ms == last[m][v]) {
                    continue;
                }
                uint64_t age = kek_clock_ms() - last[m][v];
                ck_assert_uint_ge(age, INTERVAL_MS / 2);
                ck_assert_uint_le(age, INTERVAL_MS + INTERVAL_MS / 2);
                last[m][v] = kek_clock_ms();
                asked[m][v]++;
                now++;
            }
        }
        ck_assert_uint_le(now, 1);
    }
    for (size_t m = 0; m < WORKERS; m++) {
        for (size_t v = m == 0; v < VERSIONS; v++) {
            ck_assert_uint_ge(asked[m][v], 2);
            ck_assert_uint_le(asked[m][v], 5);
        }
    }
}
END_TEST

/* A minute before it must be asked, and a minute after. */
static void is_asked(struct member *member, const struct version *of, uint64_t age_ms)
{
    const struct view *view = &member->views[of->slot];
    uint64_t opened = view->asked_ms;
    pass((unsigned)(opened + age_ms - 60000 - kek_clock_ms()));
    check_drive(ring);
    ck_assert_uint_eq(view->asked_ms, opened);
    pass(120000);
    check_drive(ring);
    ck_assert_uint_gt(view->asked_ms, opened);
}

START_TEST(canary_waits_for_a_quiet_moment_and_longer_for_a_login_and_then_for_nothing)
{
    struct kek_version seen[] = {key(1, 'U')};
    struct version *only = version(1);
    struct member *member = add(0, 1), *elsewhere = add(1, 2);
    lists(member, seen, 1);
    lists(elsewhere, seen, 1);
    check_note(member, only, KEK_OK);
    is_asked(member, only, INTERVAL_MS / 2); /* at a quiet moment early */
    busy = true;
    is_asked(member, only, INTERVAL_MS);
    starts = true;
    is_asked(member, only, 2 * INTERVAL_MS);
    check_note(elsewhere, only, KEK_OK);
    is_asked(elsewhere, only, INTERVAL_MS); /* the other provider's logins are no matter */
}
END_TEST

START_TEST(older_version_is_asked_again_after_a_failure_once_no_worker_starts)
{
    struct kek_version seen[] = {key(1, 'U')};
    struct version *only = version(1);
    struct member *member = add(0, 1);
    const struct view *view = &member->views[only->slot];
    lists(member, seen, 1);
    ck_assert(fails_at(member, only, 0, KEK_INTERNAL));
    check_note(member, only, KEK_INTERNAL);
    uint64_t asked = view->asked_ms;
    starts = true;
    pass(2000);
    check_drive(ring);
    ck_assert_uint_eq(view->asked_ms, asked);
    starts = false;
    check_drive(ring);
    ck_assert_uint_gt(view->asked_ms, asked);
}
END_TEST

/* A worker that is gone may have gone for any reason; that another version opened since tells. */
START_TEST(lost_worker_counts_against_the_key_only_where_another_version_opened_since)
{
    struct kek_version seen[] = {key(1, 'U'), key(2, 'U')};
    struct version *old = version(1), *other = version(2);
    struct member *member = add(0, 1);
    lists(member, seen, 2);
    check_note(member, old, KEK_OK);
    uint64_t begun = kek_clock_us();
    pass(100);
    const enum kek_rc says_nothing[] = {KEK_UNAVAILABLE, KEK_DEADLINE,  KEK_PRECONDITION,
                                        KEK_NO_MEMORY,   KEK_EXHAUSTED, KEK_DAMAGED};
    for (size_t i = 0; i < sizeof says_nothing / sizeof says_nothing[0]; i++) {
        ck_assert(!fails_at(member, old, begun, says_nothing[i]));
    }
    ck_assert_uint_eq(old->held[0].canary.failures, 0);
    check_note(member, other, KEK_OK);
    ck_assert(fails_at(member, old, begun, KEK_UNAVAILABLE));
    ck_assert(fails_at(member, old, kek_clock_us(), KEK_INTERNAL)); /* it answered */
    ck_assert_uint_eq(old->held[0].canary.failures, 2);
    ck_assert_uint_eq(other->held[0].canary.failures, 0);
}
END_TEST

START_TEST(provider_fails_once_no_worker_opens_it_and_a_worker_alone_while_one_does)
{
    struct kek_version seen[] = {key(1, 'U')};
    struct version *old = version(1);
    struct member *one = add(0, 1), *two = add(0, 2);
    struct source *source = &ring->sources[0];
    lists(one, seen, 1);
    lists(two, seen, 1);
    check_note(one, old, KEK_OK);
    check_note(two, old, KEK_OK);
    judge_holdings(ring);
    ck_assert(fails_at(one, old, 0, KEK_INTERNAL));
    ck_assert(!version_fails_on(source, old) && version_failing_worker(source, old) == NULL);
    ck_assert(fails_at(one, old, 0, KEK_INTERNAL));
    ck_assert(!version_fails_on(source, old));
    ck_assert_ptr_eq(version_failing_worker(source, old), one);
    ck_assert(fails_at(two, old, 0, KEK_INTERNAL));
    ck_assert(version_fails_on(source, old));
    check_note(two, old, KEK_OK);
    ck_assert(!version_fails_on(source, old));
    ck_assert_ptr_eq(version_failing_worker(source, old), one);
    check_note(one, old, KEK_OK);
    ck_assert_ptr_null(version_failing_worker(source, old));
}
END_TEST

/* Each may cost a worker, so they come later and later; and at most an interval later. */
START_TEST(next_worker_is_asked_later_and_later_up_to_the_interval)
{
    static const unsigned pauses[] = {1, 2, 4, 8, 16, 32, 64, 128, 256, 512, 600, 600};
    struct kek_version seen[] = {key(1, 'U')};
    struct version *old = version(1);
    struct member *member = add(0, 1);
    const struct view *view = &member->views[old->slot];
    lists(member, seen, 1);
    for (size_t i = 0; i < sizeof pauses / sizeof pauses[0]; i++) {
        ck_assert(fails_at(member, old, 0, KEK_INTERNAL));
        check_note(member, old, KEK_INTERNAL);
        uint64_t asked = view->asked_ms;
        pass(pauses[i] * 1000 - 1);
        check_drive(ring);
        ck_assert_uint_eq(view->asked_ms, asked);
        pass(1);
        check_drive(ring);
        ck_assert_uint_gt(view->asked_ms, asked);
    }
}
END_TEST

/* Two providers, each with one worker that opened both versions. */
static struct member *workers[2];
static struct version *old, *newer;

static void two_providers(void)
{
    struct kek_version seen[] = {key(1, 'U'), key(2, 'U')};
    old = version(1);
    newer = version(2);
    for (size_t p = 0; p < 2; p++) {
        workers[p] = add(p, p + 1);
        lists(workers[p], seen, 2);
        check_note(workers[p], old, KEK_OK);
        check_note(workers[p], newer, KEK_OK);
    }
    judge_holdings(ring);
    ageing_drive(ring);
}

/* It shows version 1 so, or, by 0, not at all, as do fresh ones after it. */
static void shows(size_t provider, char uses)
{
    struct kek_version seen[] = {key(2, 'U'), key(1, uses)};
    pass(2000);
    lists(workers[provider], seen, uses == 0 ? 1 : 2);
    if (uses == 'U') {
        check_note(workers[provider], old, KEK_OK);
    }
    old->held[provider].missing = uses == 0 ? ABSENT_LOOKS : 0;
    judge_holdings(ring);
    ageing_drive(ring);
}

START_TEST(version_is_lost_once_no_provider_opens_it_and_each_is_named)
{
    char words[KEK_WHY_TEXT];
    two_providers();
    ck_assert(!version_is_lost(ring, old, words, sizeof words));
    shows(0, 0);
    ck_assert(!version_is_lost(ring, old, words, sizeof words));
    shows(1, '-');
    ck_assert(version_is_suspended(ring, old)); /* which has a remark of its own */
    ck_assert(!version_is_lost(ring, old, words, sizeof words));
    shows(1, 'U');
    ck_assert(!version_is_lost(ring, old, words, sizeof words));
    ck_assert(fails_at(workers[1], old, 0, KEK_INTERNAL) &&
              fails_at(workers[1], old, 0, KEK_INTERNAL));
    ck_assert(version_is_lost(ring, old, words, sizeof words));
    ck_assert_ptr_nonnull(strstr(words, ": gone, "));
    ck_assert_ptr_nonnull(strstr(words, ": does not open it"));
    ck_assert(!version_is_lost(ring, newer, words, sizeof words));
    ck_assert(!version_is_lost(ring, old, words, 8) || strlen(words) < 8);
}
END_TEST

START_TEST(version_is_in_use_until_it_goes_while_it_is_suspended)
{
    uint32_t number;
    two_providers();
    ck_assert(version_is_in_use(ring, old));
    shows(0, 0);
    shows(1, 0);
    ck_assert(version_is_in_use(ring, old)); /* gone, and nobody meant it */
    shows(0, 'U');
    shows(1, 'U');
    shows(0, '-');
    shows(1, '-');
    ck_assert(version_is_in_use(ring, old));
    shows(0, 0);
    ck_assert(version_is_in_use(ring, old));
    struct kek_id id = old->id;
    shows(1, 0); /* as a destruction goes: it is no version any more */
    ck_assert_ptr_null(version_find(ring, &id));
    ck_assert(kek_keyring_was_destroyed(ring, &id, &number));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring_canary");
    TCase *tcase = tcase_create("all");
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_test(tcase, every_worker_is_asked_for_every_version_evenly_over_the_interval);
    tcase_add_test(tcase,
                   canary_waits_for_a_quiet_moment_and_longer_for_a_login_and_then_for_nothing);
    tcase_add_test(tcase, older_version_is_asked_again_after_a_failure_once_no_worker_starts);
    tcase_add_test(tcase,
                   lost_worker_counts_against_the_key_only_where_another_version_opened_since);
    tcase_add_test(tcase, provider_fails_once_no_worker_opens_it_and_a_worker_alone_while_one_does);
    tcase_add_test(tcase, next_worker_is_asked_later_and_later_up_to_the_interval);
    tcase_add_test(tcase, version_is_lost_once_no_provider_opens_it_and_each_is_named);
    tcase_add_test(tcase, version_is_in_use_until_it_goes_while_it_is_suspended);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
