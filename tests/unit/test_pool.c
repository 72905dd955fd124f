/* The pool's calls: answers, retries, hedging, witnesses, limits, closing. */
#include "pool_rig.h"

#include <stdio.h>
#include <string.h>

START_TEST(wrap_unwrap_and_list_bring_what_the_worker_said)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    rig_do(&rig, &out, KEK_POOL_ANY, "hello", 0); /* waits for the start */
    rig_check(&out, "hello");

    KEK_AUTO(kek_secret) key = kek_secret_random(KEK_DATA_KEY_LEN);
    struct kek_pool_request wrap = {
        .op = KEK_POOL_WRAP, .provider = KEK_POOL_ANY, .kek_id = rig_key, .data_key = key};
    rig_submit(&rig, &out, &wrap, 0);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_OK);
    ck_assert_int_eq(out.alg, KEK_WRAP_AES_KW);
    ck_assert_uint_eq(out.blob_len, 40);
    for (size_t i = 0; i < KEK_DATA_KEY_LEN; i++) {
        ck_assert_uint_eq(out.blob[8 + i] ^ 0x5a, kek_secret_bytes(key).data[i]);
    }

    struct kek_pool_request list = {.op = KEK_POOL_LIST};
    rig_submit(&rig, &out, &list, 0);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_OK);
    ck_assert_uint_eq(out.version_count, 1);
    ck_assert_uint_eq(out.number, 2);
    ck_assert_str_eq(out.label, "k.v1");
    ck_assert_uint_eq(out.worker, rig_serial(&rig, 0));
    struct kek_pool_provider status = rig_status(&rig, 0);
    ck_assert_uint_eq(status.operations, 3);
    ck_assert_uint_eq(status.failures, 0);
    ck_assert_uint_eq(status.calls_running, 0);
    ck_assert_str_eq(status.serial, "S-1");
    ck_assert_str_eq(status.model, "fake?model");
    ck_assert_int_eq(status.why.rc, KEK_OK);
    ck_assert_uint_gt(rig.changes, 0);
    rig_done(&rig);
}
END_TEST

static const struct {
    const char *command;
    enum kek_rc rc;
} causes[] = {
    {"data", KEK_DAMAGED},        {"state", KEK_PRECONDITION},
    {"missing", KEK_NOT_FOUND},   {"unfit", KEK_DENIED},
    {"pin", KEK_DENIED},          {"unusable", KEK_DENIED},
    {"internal", KEK_INTERNAL},   {"unsupported", KEK_UNIMPLEMENTED},
    {"badrequest", KEK_INTERNAL}, {"future", KEK_INTERNAL},
};

START_TEST(an_answer_that_is_a_failure_ends_the_call_with_its_class_and_native_code)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 2);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_ready(&rig, 1) == 1);
    for (size_t i = 0; i < sizeof causes / sizeof causes[0]; i++) {
        rig_do(&rig, &out, KEK_POOL_ANY, causes[i].command, 0);
        ck_assert_int_eq(out.rc, causes[i].rc);
        ck_assert_int_eq(out.why.native, KEK_NATIVE_PKCS11);
        ck_assert_uint_eq(out.why.code, 0x42);
        ck_assert(strstr(out.why.text, ": told so") == out.why.text + 1);
        /* Who said so is told too. */
        ck_assert_uint_eq(out.worker, rig_serial(&rig, out.provider));
    }
    /* No worker was punished for it. */
    ck_assert_uint_eq(rig_count(&rig, "start"), 2);
    rig_done(&rig);
}
END_TEST

START_TEST(a_mac_that_the_token_has_no_means_for_is_told_and_counts_as_no_failure)
{
    static const struct {
        const char *command;
        enum kek_rc rc;
        unsigned failures;
    } macs[] = {{"missing", KEK_NOT_FOUND, 0},
                {"unsupported", KEK_UNIMPLEMENTED, 0},
                {"unfit", KEK_DENIED, 1},
                {"internal", KEK_INTERNAL, 1}};
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig_start(&rig);
    uint64_t failures = 0;
    for (size_t i = 0; i < sizeof macs / sizeof macs[0]; i++) {
        struct kek_pool_request mac = {.op = KEK_POOL_MAC, .blob = kek_bytes_of(macs[i].command)};
        rig_submit(&rig, &out, &mac, 0);
        rig_wait(&rig, &out);
        ck_assert_int_eq(out.rc, macs[i].rc);
        ck_assert_ptr_nonnull(strstr(out.why.text, "told so"));
        failures += macs[i].failures;
        ck_assert_uint_eq(rig_status(&rig, 0).failures, failures);
    }
    /* A KEK that is missing is another matter. */
    rig_do(&rig, &out, 0, "missing", 0);
    ck_assert_int_eq(out.rc, KEK_NOT_FOUND);
    ck_assert_uint_eq(rig_status(&rig, 0).failures, failures + 1);
    rig_done(&rig);
}
END_TEST

START_TEST(what_one_provider_cannot_do_another_is_asked_for)
{
    static const char *const cannot[] = {"unsupported", "unfit", "internal"};
    struct rig rig;
    struct outcome out;
    char command[32];
    rig_init(&rig, 2);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_ready(&rig, 1) == 1);
    for (size_t i = 0; i < sizeof cannot / sizeof cannot[0]; i++) {
        snprintf(command, sizeof command, "%s@a", cannot[i]);
        rig_do(&rig, &out, KEK_POOL_ANY, command, 0);
        rig_check(&out, command);
        ck_assert_uint_eq(out.provider, 1);
        /* Its "no" stands where nobody else can be asked: by name, by right, by being there. */
        rig_do(&rig, &out, 0, command, 0);
        ck_assert_int_ne(out.rc, KEK_OK);
        rig.may = 1;
        rig_do(&rig, &out, KEK_POOL_ANY, command, 0);
        ck_assert_int_ne(out.rc, KEK_OK);
        rig.may = ~0u;
        snprintf(command, sizeof command, "%s@a kill@b", cannot[i]);
        rig_do(&rig, &out, KEK_POOL_ANY, command, 0);
        ck_assert(out.rc != KEK_OK && out.rc != KEK_DEADLINE);
        ck_assert(strstr(out.why.text, "a: told so") != NULL);
        RIG_UNTIL(&rig, rig_ready(&rig, 1) == 1);
    }
    /* Both asked at once, and both cannot: neither is asked again. */
    size_t before = rig_count(&rig, "op");
    uint64_t failures = rig_status(&rig, 1).failures;
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "wait@a unsupported@a unsupported@b", 6000);
    RIG_UNTIL(&rig, rig_status(&rig, 1).failures > failures);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_UNIMPLEMENTED);
    ck_assert_uint_eq(rig_count(&rig, "op"), before + 2);
    /* What a caller can look into is his to look into. */
    rig_do(&rig, &out, KEK_POOL_ANY, "data@a", 0);
    ck_assert_int_eq(out.rc, KEK_DAMAGED);
    rig_done(&rig);
}
END_TEST

START_TEST(what_one_worker_cannot_do_another_of_its_provider_is_asked_for)
{
    static const char *const cannot[] = {"unsupported", "unfit", "internal"};
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.providers[0].processes = 3;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 3);
    for (size_t i = 0; i < sizeof cannot / sizeof cannot[0]; i++) {
        char command[32];
        snprintf(command, sizeof command, "once:%s", cannot[i]);
        rig_do(&rig, &out, KEK_POOL_ANY, command, 0);
        rig_check(&out, command);
        /* Two are asked, then it is the provider that cannot. */
        size_t before = rig_count(&rig, "op");
        rig_do(&rig, &out, KEK_POOL_ANY, cannot[i], 0);
        ck_assert(out.rc != KEK_OK && strstr(out.why.text, "told so") != NULL);
        ck_assert_uint_ne(out.worker, 0);
        ck_assert_uint_eq(rig_count(&rig, "op"), before + 2);
    }
    /* What a caller can look into is his to look into. */
    rig_do(&rig, &out, KEK_POOL_ANY, "once:data", 0);
    ck_assert_int_eq(out.rc, KEK_DAMAGED);
    rig_done(&rig);
}
END_TEST

START_TEST(an_answer_stands_when_nobody_betters_it_in_time)
{
    struct rig rig;
    struct outcome out, held[2];
    rig_init(&rig, 2);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_ready(&rig, 1) == 1);
    /* In service in another worker when its time ends, or waiting for one that has no room. */
    for (int busy = 0; busy < 2; busy++) {
        for (int i = 0; busy == 1 && i < 2; i++) {
            rig_unwrap(&rig, &held[i], 1, "wait", 0);
        }
        rig_do(&rig, &out, KEK_POOL_ANY, "unfit@a wait@b", 200);
        ck_assert_int_eq(out.rc, KEK_DENIED);
        ck_assert_uint_eq(out.provider, 0);
        ck_assert_uint_eq(out.worker, rig_serial(&rig, 0));
        ck_assert(strstr(out.why.text, "a: told so") != NULL);
        rig_write(&rig, "go", "");
        RIG_UNTIL(&rig, rig_status(&rig, 1).calls_running == 0);
        rig_remove(&rig, "go");
    }
    rig_done(&rig);
}
END_TEST

static struct kek_pool_request wrap_with_witness(const struct kek_secret *key)
{
    struct kek_pool_request wrap = rig_request(KEK_POOL_ANY, "the witness");
    wrap.op = KEK_POOL_WRAP;
    wrap.data_key = key;
    return wrap;
}

/* With anything else to do, one opening of it proves many wraps. */
/* Three wraps at once, of which those in `brings` bring what their witness gave. */
static void check_three_wraps(unsigned sessions, const bool brings[static 3])
{
    static const uint8_t none[KEK_DATA_KEY_LEN];
    struct rig rig;
    struct outcome outs[3];
    rig_init(&rig, 1);
    rig.providers[0].sessions = sessions;
    rig_write(&rig, "start", "wait-wrap");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    KEK_AUTO(kek_secret) key = kek_secret_random(KEK_DATA_KEY_LEN);
    struct kek_pool_request wrap = wrap_with_witness(key);
    for (size_t i = 0; i < 3; i++) {
        rig_submit(&rig, &outs[i], &wrap, 0);
    }
    rig_write(&rig, "go", "");
    size_t count = 0;
    for (size_t i = 0; i < 3; i++) {
        rig_wait(&rig, &outs[i]);
        ck_assert_int_eq(outs[i].rc, KEK_OK);
        ck_assert_uint_eq(outs[i].blob_len, 40);
        ck_assert_int_eq(memcmp(outs[i].key, none, sizeof none) != 0, brings[i]);
        count += brings[i];
    }
    rig_check(&outs[0], "the witness");
    ck_assert_uint_eq(rig_count(&rig, "op"), 3);
    ck_assert_uint_eq(rig_count(&rig, "witness"), count);
    rig_done(&rig);
}

START_TEST(a_witness_comes_with_a_wrap_for_a_worker_that_has_nothing_else_to_do)
{
    check_three_wraps(3, (const bool[]){true, false, false});
}
END_TEST

/* One session, so each finds the worker without work. */
START_TEST(a_witness_comes_with_no_wrap_behind_which_others_wait)
{
    check_three_wraps(1, (const bool[]){true, false, true});
}
END_TEST

/* It is two operations of the HSM: one that takes most of `timeout` for each is slow, and not hung. */
START_TEST(a_wrap_with_a_witness_has_the_time_of_two_operations)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.providers[0].timeout_ms = 300;
    rig_write(&rig, "start", "wait-wrap");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    KEK_AUTO(kek_secret) key = kek_secret_random(KEK_DATA_KEY_LEN);
    struct kek_pool_request wrap = wrap_with_witness(key);
    uint64_t begun = kek_clock_ms();
    rig_submit(&rig, &out, &wrap, 0);
    RIG_UNTIL(&rig, rig_status(&rig, 0).killed == 1);
    ck_assert_uint_ge(kek_clock_ms() - begun, 600);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out);
    rig_check(&out, "the witness");
    rig_done(&rig);
}
END_TEST

START_TEST(a_wrap_stands_where_its_witness_did_not_open)
{
    struct rig rig;
    struct outcome out;
    static const uint8_t none[KEK_DATA_KEY_LEN];
    rig_init(&rig, 1);
    rig_write(&rig, "start", "deaf-to-witness");
    rig_start(&rig);
    KEK_AUTO(kek_secret) key = kek_secret_random(KEK_DATA_KEY_LEN);
    struct kek_pool_request wrap = wrap_with_witness(key);
    rig_submit(&rig, &out, &wrap, 0);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_OK);
    ck_assert_uint_eq(out.blob_len, 40);
    ck_assert_mem_eq(out.key, none, sizeof none);
    ck_assert_uint_eq(rig_count(&rig, "witness"), 1);
    rig_done(&rig);
}
END_TEST

START_TEST(a_witness_that_is_odd_or_unasked_for_breaks_the_worker)
{
    static const char *const odd[] = {"odd-witness", "unasked-witness"};
    for (size_t i = 0; i < 2; i++) {
        struct rig rig;
        struct outcome out;
        rig_init(&rig, 1);
        KEK_AUTO(kek_secret) key = kek_secret_random(KEK_DATA_KEY_LEN);
        rig_write(&rig, "start", odd[i]);
        rig_start(&rig);
        struct kek_pool_request wrap = wrap_with_witness(key);
        wrap.blob = i == 0 ? wrap.blob : kek_bytes(NULL, 0);
        rig_submit(&rig, &out, &wrap, 0);
        rig_wait(&rig, &out);
        ck_assert_int_eq(out.rc, KEK_INTERNAL);
        ck_assert_uint_eq(rig_status(&rig, 0).killed, 2);
        rig_done(&rig);
    }
}
END_TEST

START_TEST(a_busy_token_is_asked_again_and_the_other_provider_first)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 2);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_ready(&rig, 1) == 1);
    rig_do(&rig, &out, KEK_POOL_ANY, "busy@a", 0);
    rig_check(&out, "busy@a");
    ck_assert_uint_eq(out.provider, 1);
    rig_do(&rig, &out, 0, "once:busy", 0);
    rig_check(&out, "once:busy");
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 1);
    rig_do(&rig, &out, 0, "busy", 300);
    ck_assert_int_eq(out.rc, KEK_DEADLINE);
    ck_assert(strstr(out.why.text, "told so") != NULL);
    ck_assert_uint_gt(rig_count(&rig, "op a"), 3);
    rig_done(&rig);
}
END_TEST

START_TEST(a_slow_call_is_also_sent_to_another_provider_and_the_first_answer_wins)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 2);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_ready(&rig, 1) == 1);
    rig_do(&rig, &out, KEK_POOL_ANY, "wait@a", 6000);
    rig_check(&out, "wait@a");
    ck_assert_uint_eq(out.provider, 1);
    ck_assert_uint_eq(rig_status(&rig, 0).calls_running, 1);
    rig_write(&rig, "go", "");
    RIG_UNTIL(&rig, rig_status(&rig, 0).calls_running == 0);
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 1);
    ck_assert_uint_eq(rig_count(&rig, "op"), 2);
    rig_done(&rig);
}
END_TEST

START_TEST(a_list_has_ten_times_the_timeout_and_its_end_says_so)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.providers[0].timeout_ms = 20;
    rig_write(&rig, "start", "hang-list");
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    struct kek_pool_request request = {.op = KEK_POOL_LIST};
    struct kek_pool_call *call = rig_submit(&rig, &out, &request, 0);
    uint64_t began = kek_clock_ms();
    RIG_UNTIL(&rig, rig_status(&rig, 0).killed == 1);
    ck_assert_uint_ge(kek_clock_ms() - began, 190);
    struct kek_why why = rig_status(&rig, 0).why;
    ck_assert_msg(strstr(why.text, "no answer to list within 200 ms") != NULL, "%s", why.text);
    kek_pool_cancel(call);
    rig_done(&rig);
}
END_TEST

START_TEST(a_failure_of_one_of_two_workers_waits_for_the_other)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 2);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1 && rig_ready(&rig, 1) == 1);
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "wait@a data@b", 6000);
    RIG_UNTIL(&rig, rig_status(&rig, 1).failures == 1);
    ck_assert_uint_eq(out.ends, 0);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out);
    rig_check(&out, "wait@a data@b");
    ck_assert_uint_eq(out.provider, 0);
    /* Without a better one, the answer that there is counts. */
    rig_remove(&rig, "go");
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "wait@a kill@a data@b", 6000);
    RIG_UNTIL(&rig, rig_status(&rig, 1).failures == 2);
    rig_write(&rig, "go", "");
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_DAMAGED);
    rig_done(&rig);
}
END_TEST

START_TEST(the_queue_has_a_limit)
{
    struct rig rig;
    static struct outcome out[KEK_POOL_QUEUE_MAX];
    struct kek_why why;
    rig_init(&rig, 1);
    rig_write(&rig, "start", "late");
    rig_start(&rig);
    for (size_t i = 0; i < KEK_POOL_QUEUE_MAX; i++) {
        rig_unwrap(&rig, &out[i], KEK_POOL_ANY, "x", i % 3 == 0 ? 0 : 50000 + i % 97);
    }
    ck_assert_int_eq(rig_refused(&rig, "x", &why), KEK_EXHAUSTED);
    rig_write(&rig, "go", "");
    for (size_t i = 0; i < KEK_POOL_QUEUE_MAX; i++) {
        rig_wait(&rig, &out[i]);
        rig_check(&out[i], "x");
    }
    rig_do(&rig, &out[0], KEK_POOL_ANY, "x", 0);
    rig_check(&out[0], "x");
    rig_done(&rig);
}
END_TEST

START_TEST(malformed_requests_are_refused)
{
    struct rig rig;
    struct kek_why why;
    rig_init(&rig, 1);
    rig_start(&rig);
    static const uint8_t big[KEK_WRAPPED_MAX + 1];
    KEK_AUTO(kek_secret) odd = kek_secret_random(31);
    const struct kek_pool_request bad[] = {
        {.op = KEK_POOL_LIST, .provider = KEK_POOL_ANY},
        {.op = KEK_POOL_LIST, .provider = 1},
        {.op = KEK_POOL_WRAP},
        {.op = KEK_POOL_WRAP, .data_key = odd},
        {.op = KEK_POOL_UNWRAP},
        {.op = KEK_POOL_UNWRAP, .blob = {big, sizeof big}},
        {.op = KEK_POOL_UNWRAP, .provider = KEK_POOL_ANY, .fresh = true, .blob = {big, 40}},
        {.op = KEK_POOL_GENERATE},
        {.op = KEK_POOL_DESTROY},
        {.op = KEK_POOL_PROBE},
        {.op = KEK_POOL_ATTEST},
        {.op = KEK_POOL_DESCRIBE, .blob = {big, 1}},
        {.op = KEK_POOL_MAC},
        {.op = KEK_POOL_MAC, .blob = {big, KEK_PROVIDER_MAC_TEXT_MAX + 1}},
        {.op = KEK_POOL_MAC, .provider = KEK_POOL_ANY, .blob = {big, 1}},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        ck_assert_ptr_null(kek_pool_submit(rig.pool, &bad[i], NULL, NULL, &why));
        ck_assert_int_eq(why.rc, KEK_INVALID);
    }
    rig_done(&rig);
}
END_TEST

static void set_true(void *arg)
{
    *(bool *)arg = true;
}

START_TEST(closing_fails_every_call_once_and_refuses_new_ones)
{
    struct rig rig;
    struct outcome held[2], queued, busy;
    struct kek_why why;
    rig_init(&rig, 1);
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    kek_pool_times(rig.pool)->busy = 30000;
    rig_unwrap(&rig, &busy, KEK_POOL_ANY, "busy", 0);
    RIG_UNTIL(&rig, rig_status(&rig, 0).failures == 1);
    for (size_t i = 0; i < 2; i++) {
        rig_unwrap(&rig, &held[i], KEK_POOL_ANY, "wait", 0);
    }
    rig_unwrap(&rig, &queued, KEK_POOL_ANY, "queued", 0);
    rig_close(&rig);
    ck_assert_int_eq(held[0].rc, KEK_UNAVAILABLE);
    ck_assert_int_eq(held[1].rc, KEK_UNAVAILABLE);
    ck_assert_int_eq(queued.rc, KEK_UNAVAILABLE);
    ck_assert_int_eq(busy.rc, KEK_UNAVAILABLE);
    ck_assert_uint_eq(held[0].ends + held[1].ends + queued.ends + busy.ends, 4);
    /* One that was never started closes too; what is submitted meanwhile is refused. */
    rig_open(&rig);
    bool closed = false;
    kek_pool_close(rig.pool, set_true, &closed);
    ck_assert_int_eq(rig_refused(&rig, "late", &why), KEK_UNAVAILABLE);
    RIG_UNTIL(&rig, closed);
    kek_pool_free(rig.pool);
    rig.pool = NULL;
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    rig_done(&rig);
}
END_TEST

START_TEST(officer_operations_are_sent_once)
{
    static const enum kek_pool_op ops[] = {KEK_POOL_GENERATE, KEK_POOL_SET_STATE, KEK_POOL_DESTROY};
    static const char *const ways[] = {"", "abort-officer", "hang-officer"};
    for (size_t w = 0; w < 3; w++) {
        for (size_t i = 0; i < 3; i++) {
            struct rig rig;
            struct outcome out;
            rig_init(&rig, 1);
            rig.settings.officer = true;
            rig.providers[0].processes = 2;
            rig.providers[0].timeout_ms = 50;
            rig_write(&rig, "start", ways[w]);
            rig_start(&rig);
            RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
            struct kek_pool_request request = {
                .op = ops[i], .kek_id = rig_key, .number = 2, .state = KEK_STATE_ACTIVE};
            rig_submit(&rig, &out, &request, w == 2 ? 200 : 30000);
            rig_wait(&rig, &out);
            ck_assert_int_eq(out.rc, w == 0 ? KEK_OK : KEK_UNAVAILABLE);
            ck_assert(w == 0 || strstr(out.why.text, "unknown") != NULL);
            rig_pause(&rig, 30);
            ck_assert_uint_eq(rig_count(&rig, "op"), 1);
            ck_assert(rig_logged(&rig, " officer "));
            rig_done(&rig);
        }
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool");
    TCase *tcase = tcase_create("calls");
    tcase_set_timeout(tcase, 180);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, wrap_unwrap_and_list_bring_what_the_worker_said);
    tcase_add_test(tcase, an_answer_that_is_a_failure_ends_the_call_with_its_class_and_native_code);
    tcase_add_test(tcase, a_mac_that_the_token_has_no_means_for_is_told_and_counts_as_no_failure);
    tcase_add_test(tcase, what_one_provider_cannot_do_another_is_asked_for);
    tcase_add_test(tcase, what_one_worker_cannot_do_another_of_its_provider_is_asked_for);
    tcase_add_test(tcase, an_answer_stands_when_nobody_betters_it_in_time);
    tcase_add_test(tcase, a_witness_comes_with_a_wrap_for_a_worker_that_has_nothing_else_to_do);
    tcase_add_test(tcase, a_witness_comes_with_no_wrap_behind_which_others_wait);
    tcase_add_test(tcase, a_wrap_with_a_witness_has_the_time_of_two_operations);
    tcase_add_test(tcase, a_wrap_stands_where_its_witness_did_not_open);
    tcase_add_test(tcase, a_witness_that_is_odd_or_unasked_for_breaks_the_worker);
    tcase_add_test(tcase, a_busy_token_is_asked_again_and_the_other_provider_first);
    tcase_add_test(tcase, a_slow_call_is_also_sent_to_another_provider_and_the_first_answer_wins);
    tcase_add_test(tcase, a_list_has_ten_times_the_timeout_and_its_end_says_so);
    tcase_add_test(tcase, a_failure_of_one_of_two_workers_waits_for_the_other);
    tcase_add_test(tcase, the_queue_has_a_limit);
    tcase_add_test(tcase, malformed_requests_are_refused);
    tcase_add_test(tcase, closing_fails_every_call_once_and_refuses_new_ones);
    tcase_add_test(tcase, officer_operations_are_sent_once);
    return suite_run(suite);
}
