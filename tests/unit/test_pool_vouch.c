/* The pool where every new worker has to be vouched for before it serves just anybody. */
#include "pool_rig.h"

#include <stdlib.h>

static void start(struct rig *rig)
{
    rig_init(rig, 1);
    rig->settings.vouch = true;
    rig_start(rig);
    RIG_UNTIL(rig, rig_ready(rig, 0) == 1);
}

START_TEST(a_new_worker_serves_nobody_but_who_names_it_until_it_is_vouched_for)
{
    struct rig rig;
    struct outcome any, named;
    start(&rig);
    uint64_t serial = rig_status(&rig, 0).unvouched;
    ck_assert_uint_gt(serial, 0);
    rig_unwrap(&rig, &any, KEK_POOL_ANY, "any", 0);
    rig_do(&rig, &named, 0, "named", 0);
    rig_check(&named, "named");
    rig_pause(&rig, 50);
    ck_assert_uint_eq(any.ends, 0);
    kek_pool_vouch(rig.pool, 0, serial + 1); /* of somebody who does not exist */
    rig_pause(&rig, 20);
    ck_assert_uint_eq(any.ends, 0);
    kek_pool_vouch(rig.pool, 0, serial);
    rig_wait(&rig, &any);
    rig_check(&any, "any");
    ck_assert_uint_eq(rig_status(&rig, 0).unvouched, 0);
    rig_done(&rig);
}
END_TEST

START_TEST(each_worker_that_becomes_ready_is_told_of)
{
    struct rig rig;
    struct outcome out;
    start(&rig);
    kek_pool_vouch(rig.pool, 0, rig_status(&rig, 0).unvouched);
    uint64_t first = rig.changes;
    rig_unwrap(&rig, &out, KEK_POOL_ANY, "kill", 0);
    RIG_UNTIL(&rig, rig_status(&rig, 0).unvouched > 0);
    RIG_UNTIL(&rig, rig.changes > first);
    kek_pool_vouch(rig.pool, 0, rig_status(&rig, 0).unvouched);
    RIG_UNTIL(&rig, rig_status(&rig, 0).unvouched == 0 || out.ends > 0);
    rig_done(&rig);
}
END_TEST

START_TEST(a_worn_worker_stays_until_its_successor_is_vouched_for)
{
    struct rig rig;
    struct outcome out;
    rig_init(&rig, 1);
    rig.settings.vouch = true;
    rig.providers[0].recycle_after = 4;
    rig_start(&rig);
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 1);
    uint64_t first = rig_status(&rig, 0).unvouched;
    kek_pool_vouch(rig.pool, 0, first);
    for (size_t i = 0; i < 6; i++) {
        rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
        rig_check(&out, "x");
    }
    RIG_UNTIL(&rig, rig_ready(&rig, 0) == 2);
    rig_pause(&rig, 30);
    ck_assert_uint_eq(rig_status(&rig, 0).recycled, 0);
    rig_do(&rig, &out, KEK_POOL_ANY, "the old one still serves", 0);
    rig_check(&out, "the old one still serves");
    kek_pool_vouch(rig.pool, 0, rig_status(&rig, 0).unvouched);
    RIG_UNTIL(&rig, rig_status(&rig, 0).recycled == 1);
    rig_do(&rig, &out, KEK_POOL_ANY, "x", 0);
    rig_check(&out, "x");
    rig_done(&rig);
}
END_TEST

START_TEST(a_call_from_a_serial_on_is_answered_by_no_older_worker)
{
    struct rig rig;
    struct outcome out;
    start(&rig);
    uint64_t serial = rig_status(&rig, 0).unvouched;
    static const uint8_t blob[] = "x";
    struct kek_pool_request request = {.op = KEK_POOL_UNWRAP,
                                       .kek_id = rig_key,
                                       .alg = KEK_WRAP_AES_KW,
                                       .blob = kek_bytes(blob, sizeof blob - 1),
                                       .from_serial = serial + 1};
    rig_submit(&rig, &out, &request, 80);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_DEADLINE);
    request.from_serial = serial;
    rig_submit(&rig, &out, &request, 0);
    rig_wait(&rig, &out);
    ck_assert_int_eq(out.rc, KEK_OK);
    ck_assert_uint_eq(rig_status(&rig, 0).spawned, 1); /* no worker is recycled for it */
    struct kek_why why;
    request.provider = KEK_POOL_ANY;
    ck_assert_ptr_null(kek_pool_submit(rig.pool, &request, NULL, NULL, &why));
    ck_assert_int_eq(why.rc, KEK_INVALID);
    rig_done(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pool_vouch");
    TCase *tcase = tcase_create("vouch");
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, a_new_worker_serves_nobody_but_who_names_it_until_it_is_vouched_for);
    tcase_add_test(tcase, each_worker_that_becomes_ready_is_told_of);
    tcase_add_test(tcase, a_worn_worker_stays_until_its_successor_is_vouched_for);
    tcase_add_test(tcase, a_call_from_a_serial_on_is_answered_by_no_older_worker);
    return suite_run(suite);
}
