/* Data keys: how long one seals, what is made ahead, what is kept to open with, and for how long. */
#include "suite.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kek/clock.h"
#include "kek/datakey.h"
#include "rig.h"

#define HOUR_MS (60u * 60 * 1000)
#define CALL_MS 20000u

static const struct kek_id id_1 = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static struct rig rig;

/* The real clock, and what the test has let pass beside it. */
static uint64_t passed_us;

static uint64_t clock_us(void)
{
    struct timespec now;
    clock_gettime(CLOCK_MONOTONIC, &now);
    return (uint64_t)now.tv_sec * 1000000u + (uint64_t)now.tv_nsec / 1000u + passed_us;
}

static void pass_ms(uint64_t ms)
{
    passed_us += ms * 1000;
}

static void begin(const char *yaml)
{
    kek_clock_fake(clock_us);
    rig_make_token(&rig);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, yaml);
    rig_until_primary(&rig, 1);
}

static void end(void)
{
    rig_stop(&rig);
    rig_remove(&rig);
    kek_clock_fake(NULL);
}

struct came {
    bool done;
    enum kek_rc rc;
    struct kek_datakey_ref *ref;
};

static void key_came(void *arg, enum kek_rc rc, struct kek_datakey_ref *ref,
                     const struct kek_why *why)
{
    struct came *came = arg;
    ck_assert(!came->done);
    ck_assert((why == NULL) == (rc == KEK_OK));
    *came = (struct came){.done = true, .rc = rc, .ref = ref};
}

static bool has_come(struct rig *r, void *arg)
{
    (void)r;
    return ((struct came *)arg)->done;
}

/* A key to seal with, waited for if it must be; *waited says whether. The caller frees it. */
static struct kek_datakey_ref *sealing_key(bool *waited)
{
    struct came came = {0};
    struct kek_datakey_ref *ref;
    struct kek_datakey_wait *wait;
    struct kek_why why;
    enum kek_rc rc = kek_datakey_for_sealing(rig.store, &id_1, kek_clock_ms() + CALL_MS, key_came,
                                             &came, &ref, &wait, &why);
    ck_assert_msg(rc == KEK_OK, "%s", why.text);
    *waited = ref == NULL;
    if (ref == NULL) {
        ck_assert_ptr_nonnull(wait);
        rig_until(&rig, has_come, &came);
        ck_assert_int_eq(came.rc, KEK_OK);
        ref = came.ref;
    }
    ck_assert_ptr_nonnull(ref);
    return ref;
}

static void seal(unsigned times)
{
    bool waited;
    for (unsigned i = 0; i < times; i++) {
        kek_datakey_ref_free(sealing_key(&waited));
    }
}

static struct kek_datakey_stats stats(void)
{
    struct kek_datakey_stats now;
    kek_datakey_stats(rig.store, &now);
    return now;
}

static bool has_wrapped(struct rig *r, void *arg)
{
    (void)r;
    return stats().wraps >= *(uint64_t *)arg && stats().flights == 0;
}

static void until_wraps(uint64_t wraps)
{
    rig_until(&rig, has_wrapped, &wraps);
}

/* An expired key that was made ahead must not keep others from being made ahead. */
START_TEST(ahead_is_made_again_after_one_grew_old)
{
    bool waited;
    begin("data_key: {max_uses: 10, max_age: 1h}\n");
    seal(6);
    until_wraps(2);
    pass_ms(2 * HOUR_MS);
    seal(1);
    uint64_t wraps = stats().wraps;
    seal(6);
    until_wraps(wraps + 1);
    for (int i = 0; i < 3; i++) {
        kek_datakey_ref_free(sealing_key(&waited));
        ck_assert(!waited);
    }
    kek_datakey_ref_free(sealing_key(&waited));
    ck_assert(!waited); /* the eleventh: it is the one that was made ahead */
    end();
}
END_TEST

static bool can_seal(struct rig *r, void *arg)
{
    (void)arg;
    return kek_datakey_can_seal(r->store, &id_1);
}

/* What an outage is bridged with must be there before anybody seals, and whether or not anybody does. */
START_TEST(key_is_in_place_after_a_restart_and_a_quiet_day)
{
    begin("data_key: {max_age: 1h}\n");
    rig_stop(&rig);
    rig_start(&rig, "data_key: {max_age: 1h}\n");
    rig_until(&rig, can_seal, NULL);
    until_wraps(1);
    for (int half_hours = 0; half_hours < 6; half_hours++) {
        uint64_t wraps = stats().wraps;
        pass_ms(HOUR_MS / 2 + 1000);
        ck_assert(can_seal(&rig, NULL));
        until_wraps(wraps + 1);
    }
    pass_ms(24 * HOUR_MS);
    ck_assert(!can_seal(&rig, NULL));
    rig_until(&rig, can_seal, NULL);
    end();
}
END_TEST

START_TEST(strict_mode_wraps_nothing_while_nobody_seals)
{
    begin("data_key: {max_uses: 1}\n");
    rig_turn(&rig, 2500);
    ck_assert_uint_eq(stats().wraps, 0);
    end();
}
END_TEST

/* The cache's time to live is a promise about memory, too: nobody needs to ask for the key again. */
START_TEST(expired_key_leaves_the_cache_unasked)
{
    begin("data_key: {max_age: 720h, cache_ttl: 1h}\n");
    seal(1);
    ck_assert_uint_eq(stats().cache_entries, 1);
    pass_ms(HOUR_MS - 30000);
    rig_turn(&rig, 1500);
    ck_assert_uint_eq(stats().cache_entries, 1);
    pass_ms(61000);
    rig_turn(&rig, 2500);
    ck_assert_uint_eq(stats().cache_entries, 0);
    end();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("datakey");
    TCase *tcase = tcase_create("datakey");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, ahead_is_made_again_after_one_grew_old);
    tcase_add_test(tcase, key_is_in_place_after_a_restart_and_a_quiet_day);
    tcase_add_test(tcase, strict_mode_wraps_nothing_while_nobody_seals);
    tcase_add_test(tcase, expired_key_leaves_the_cache_unasked);
    return suite_run(suite);
}
