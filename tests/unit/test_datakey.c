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

struct given {
    bool done;
    struct kek_secret *data_key;
};

static void is_given(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                     const struct kek_why *why)
{
    (void)why;
    ck_assert_int_eq(rc, KEK_OK);
    *(struct given *)arg = (struct given){.done = true, .data_key = KEK_STEAL(result->data_key)};
}

static bool has_given(struct rig *r, void *arg)
{
    (void)r;
    return ((struct given *)arg)->done;
}

static struct kek_generation generation_1(void)
{
    struct kek_keyring_primary primary;
    ck_assert(kek_keyring_primary(rig.ring, &primary));
    ck_assert_uint_eq(primary.generation.count, 1);
    ck_assert(kek_id_equal(&primary.generation.kek_ids[0], &id_1));
    return primary.generation;
}

/* A key to seal with, waited for if it must be; *waited says whether. The caller frees it. */
static struct kek_datakey_ref *sealing_key(bool *waited)
{
    struct came came = {0};
    struct kek_datakey_ref *ref;
    struct kek_datakey_wait *wait;
    struct kek_why why;
    struct kek_generation generation = generation_1();
    enum kek_rc rc = kek_datakey_for_sealing(rig.store, &generation, kek_clock_ms() + CALL_MS,
                                             key_came, &came, &ref, &wait, &why);
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
    struct kek_generation generation = generation_1();
    (void)arg;
    return kek_datakey_can_seal(r->store, &generation);
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

static uint64_t asked(enum kek_pool_op op)
{
    const struct kek_histogram *durations = &kek_pool_timing(rig.pool, 0, op)->durations;
    uint64_t sum = 0;
    for (size_t i = 0; i <= KEK_HISTOGRAM_BUCKETS; i++) {
        sum += durations->counts[i];
    }
    return sum;
}

/* An idle worker opens its witness in the same go. */
START_TEST(strict_mode_asks_the_hsm_once_for_a_key_that_comes_alone)
{
    begin("data_key: {max_uses: 1}\n");
    uint64_t wraps = asked(KEK_POOL_WRAP), unwraps = asked(KEK_POOL_UNWRAP);
    seal(5);
    ck_assert_uint_eq(asked(KEK_POOL_WRAP) - wraps, 5);
    ck_assert_uint_eq(asked(KEK_POOL_UNWRAP) - unwraps, 0);
    ck_assert_uint_eq(stats().unwraps, 0);
    end();
}
END_TEST

/* Whatever a worker says that its witness gave: only what opens the envelope proves a wrap. */
START_TEST(wrap_is_proven_by_the_data_key_of_the_witness_alone)
{
    static const struct kek_id unknown = {{9}};
    struct kek_pool_worker workers[KEK_POOL_WORKERS_MAX];
    struct given given = {0};
    struct kek_why why;
    begin("");
    size_t count = kek_pool_workers(rig.pool, 0, workers);
    struct kek_pool_request request = {.op = KEK_POOL_UNWRAP,
                                       .provider = KEK_POOL_ANY,
                                       .kek_id = id_1,
                                       .deadline_ms = kek_clock_ms() + CALL_MS};
    ck_assert(!kek_keyring_witness(rig.ring, &unknown, &request.alg, &request.blob));
    ck_assert(kek_keyring_witness(rig.ring, &id_1, &request.alg, &request.blob));
    ck_assert_ptr_nonnull(kek_pool_submit(rig.pool, &request, is_given, &given, &why));
    rig_until(&rig, has_given, &given);
    KEK_AUTO(kek_secret) right = given.data_key;
    KEK_AUTO(kek_secret) wrong = kek_secret_random(KEK_DATA_KEY_LEN);
    uint64_t worker = workers[count - 1].serial;
    ck_assert(!kek_keyring_opened(rig.ring, worker, &id_1, wrong));
    ck_assert(!kek_keyring_opened(rig.ring, worker + 1000, &id_1, right));
    ck_assert(!kek_keyring_opened(rig.ring, worker, &unknown, right));
    ck_assert(kek_keyring_opened(rig.ring, worker, &id_1, right));
    ck_assert(kek_keyring_opened(rig.ring, worker, &id_1, right));
    ck_assert(!kek_keyring_opened(rig.ring, worker, &id_1, wrong));
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

/* The header of the key that seals now, as it is parsed; it borrows from `header`. */
static struct kek_envelope sealed_header(uint8_t *header, size_t size)
{
    struct kek_envelope envelope;
    bool waited;
    KEK_AUTO(kek_datakey_ref) ref = sealing_key(&waited);
    struct kek_bytes whole = kek_datakey_ref_header(ref);
    ck_assert_uint_le(whole.len, size);
    memcpy(header, whole.data, whole.len);
    ck_assert_int_eq(kek_envelope_parse_header(kek_bytes(header, whole.len), &envelope, NULL),
                     KEK_OK);
    return envelope;
}

/* A key to open with; *waited says whether the HSM was asked. The caller frees it. */
static struct kek_datakey_ref *opening_key(const struct kek_envelope *key, bool *waited)
{
    struct came came = {0};
    struct kek_datakey_ref *ref;
    struct kek_datakey_wait *wait;
    struct kek_why why;
    enum kek_rc rc =
        kek_datakey_for_opening(rig.store, key, kek_bytes_of(""), kek_clock_ms() + CALL_MS,
                                key_came, &came, &ref, &wait, &why);
    ck_assert_msg(rc == KEK_OK, "%s", why.text);
    *waited = ref == NULL;
    if (ref == NULL) {
        rig_until(&rig, has_come, &came);
        ck_assert_int_eq(came.rc, KEK_OK);
        ref = came.ref;
    }
    return ref;
}

#define KEYS 4

/* As many data keys as KEYS, none of them in the cache of the rig that runs afterwards. */
static void make_keys(uint8_t headers[KEYS][256], struct kek_envelope *keys)
{
    begin("data_key: {max_uses: 2}\n");
    for (size_t i = 0; i < KEYS; i++) {
        keys[i] = sealed_header(headers[i], 256);
        seal(1);
        for (size_t j = 0; j < i; j++) {
            ck_assert(!kek_bytes_equal(keys[i].header, keys[j].header));
        }
    }
    rig_stop(&rig);
}

static bool is_cached(const struct kek_envelope *key)
{
    return kek_datakey_cached(rig.store, key, kek_bytes_of(""));
}

static void open_verified(const struct kek_envelope *key, bool asks)
{
    bool waited;
    KEK_AUTO(kek_datakey_ref) ref = opening_key(key, &waited);
    ck_assert(waited == asks);
    kek_datakey_verified(rig.store, ref);
}

START_TEST(cache_keeps_what_verified_and_gives_up_the_least_recently_used)
{
    static uint8_t headers[KEYS][256];
    struct kek_envelope keys[KEYS];
    bool waited;
    make_keys(headers, keys);
    rig_start(&rig, "data_key: {cache_entries: 3, cache_ttl: 1h}\n");
    rig_until(&rig, can_seal, NULL); /* its own sealing key is one of the three */

    kek_datakey_ref_free(opening_key(&keys[0], &waited));
    ck_assert(!is_cached(&keys[0])); /* nothing under it has verified */
    open_verified(&keys[0], true);
    open_verified(&keys[1], true);
    open_verified(&keys[0], false);
    open_verified(&keys[2], true); /* pushes out the sealing key, which nobody opened with */
    ck_assert(is_cached(&keys[0]) && is_cached(&keys[1]) && is_cached(&keys[2]));
    open_verified(&keys[3], true);
    ck_assert(is_cached(&keys[0]) && !is_cached(&keys[1]) && is_cached(&keys[2]));
    ck_assert_uint_eq(stats().cache_entries, 3);
    ck_assert_uint_eq(stats().cache_evictions, 2);
    end();
}
END_TEST

START_TEST(cached_key_expires_by_its_unwrap_however_often_it_is_used)
{
    static uint8_t headers[KEYS][256];
    struct kek_envelope keys[KEYS];
    make_keys(headers, keys);
    rig_start(&rig, "data_key: {cache_ttl: 1h}\n");
    rig_until(&rig, can_seal, NULL);
    open_verified(&keys[0], true);
    pass_ms(HOUR_MS - 60000);
    open_verified(&keys[0], false);
    pass_ms(60000);
    open_verified(&keys[0], true);
    end();
}
END_TEST

static bool is_closed(struct rig *r, void *arg)
{
    (void)arg;
    return kek_keyring_find(r->ring, &id_1) == KEK_KEYRING_CLOSED;
}

START_TEST(key_that_comes_after_its_kek_lost_unwrap_is_not_cached)
{
    static uint8_t headers[KEYS][256];
    struct kek_envelope keys[KEYS];
    bool waited;
    make_keys(headers, keys);
    rig_start(&rig, "");
    rig_until_primary(&rig, 1);
    struct kek_datakey_ref *late = opening_key(&keys[0], &waited);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_DESTROY, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_until(&rig, is_closed, NULL);
    kek_datakey_verified(rig.store, late);
    ck_assert(!is_cached(&keys[0]));
    ck_assert_uint_eq(stats().cache_entries, 0);
    kek_datakey_ref_free(late);
    end();
}
END_TEST

START_TEST(key_seals_exactly_its_uses_and_not_past_its_age)
{
    uint8_t first[256], now[256];
    begin("data_key: {max_uses: 5, max_age: 1h}\n");
    rig_until(&rig, can_seal, NULL);
    struct kek_envelope key = sealed_header(first, sizeof first);
    for (int use = 2; use <= 5; use++) {
        rig_turn(&rig, 100);
        ck_assert(kek_bytes_equal(key.header, sealed_header(now, sizeof now).header));
    }
    uint8_t other[256];
    struct kek_envelope second = sealed_header(other, sizeof other);
    ck_assert(!kek_bytes_equal(key.header, second.header));
    pass_ms(HOUR_MS - 60000);
    ck_assert(kek_bytes_equal(second.header, sealed_header(now, sizeof now).header));
    pass_ms(60000);
    ck_assert(!kek_bytes_equal(second.header, sealed_header(now, sizeof now).header));
    end();
}
END_TEST

/* What waits to be sealed under keeps nobody from opening: each kind has its own limit. */
START_TEST(sealing_up_to_its_limit_leaves_room_to_open)
{
    static struct came came[KEK_DATAKEY_FLIGHTS_MAX + 1];
    uint8_t header[256];
    bool waited;
    struct kek_datakey_ref *ref;
    struct kek_datakey_wait *wait;
    struct kek_why why;
    begin("data_key: {max_uses: 1}\n");
    struct kek_envelope key = sealed_header(header, sizeof header);
    struct kek_generation generation = generation_1();
    uint64_t deadline = kek_clock_ms() + CALL_MS;
    for (size_t i = 0; i <= KEK_DATAKEY_FLIGHTS_MAX; i++) {
        enum kek_rc rc = kek_datakey_for_sealing(rig.store, &generation, deadline, key_came,
                                                 &came[i], &ref, &wait, &why);
        ck_assert_int_eq(rc, i < KEK_DATAKEY_FLIGHTS_MAX ? KEK_OK : KEK_EXHAUSTED);
    }
    kek_datakey_ref_free(opening_key(&key, &waited));
    ck_assert(waited);
    for (size_t i = 0; i < KEK_DATAKEY_FLIGHTS_MAX; i++) {
        rig_until(&rig, has_come, &came[i]);
        ck_assert_int_eq(came[i].rc, KEK_OK);
        kek_datakey_ref_free(came[i].ref);
    }
    end();
}
END_TEST

/* A key that opened nothing may be a wrong worker's; one that verified is right. */
START_TEST(doubted_key_is_damage_once_its_worker_opened_the_witness)
{
    static uint8_t headers[KEYS][256];
    struct kek_envelope keys[KEYS];
    struct came came = {0};
    struct kek_datakey_wait *wait;
    struct kek_why why;
    bool waited;
    make_keys(headers, keys);
    rig_start(&rig, "");
    rig_until_primary(&rig, 1);
    KEK_AUTO(kek_datakey_ref) ref = opening_key(&keys[0], &waited);
    ck_assert_int_eq(
        kek_datakey_doubted(rig.store, ref, kek_clock_ms() + CALL_MS, key_came, &came, &wait, &why),
        KEK_OK);
    ck_assert_ptr_nonnull(wait);
    ck_assert(!came.done);
    rig_until(&rig, has_come, &came);
    ck_assert_int_eq(came.rc, KEK_DAMAGED);
    kek_datakey_verified(rig.store, ref);
    ck_assert_int_eq(
        kek_datakey_doubted(rig.store, ref, kek_clock_ms() + CALL_MS, key_came, &came, &wait, &why),
        KEK_DAMAGED);
    ck_assert_ptr_null(wait);
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
    tcase_add_test(tcase, strict_mode_asks_the_hsm_once_for_a_key_that_comes_alone);
    tcase_add_test(tcase, wrap_is_proven_by_the_data_key_of_the_witness_alone);
    tcase_add_test(tcase, expired_key_leaves_the_cache_unasked);
    tcase_add_test(tcase, cache_keeps_what_verified_and_gives_up_the_least_recently_used);
    tcase_add_test(tcase, cached_key_expires_by_its_unwrap_however_often_it_is_used);
    tcase_add_test(tcase, key_that_comes_after_its_kek_lost_unwrap_is_not_cached);
    tcase_add_test(tcase, key_seals_exactly_its_uses_and_not_past_its_age);
    tcase_add_test(tcase, sealing_up_to_its_limit_leaves_room_to_open);
    tcase_add_test(tcase, doubted_key_is_damage_once_its_worker_opened_the_witness);
    return suite_run(suite);
}
