/* When a session proves a key again: the provider in this process, by a clock that is ours. */
#include "p11.h"

#include "fault.h"

#include "kek/clock.h"

static uint64_t now_us = 1000000;

static uint64_t clock_of_test(void)
{
    return now_us;
}

static void pass_hours(uint64_t hours)
{
    now_us += hours * 3600 * 1000000;
}

/* Both live as long as their process, as in a worker. */
static struct kek_provider *provider;
static struct kek_provider_session *session;

static void start(void)
{
    static struct kek_provider_versions versions;
    struct kek_provider_failure failure;
    struct kek_why why;
    enum kek_wrap_alg alg;
    bool locked;
    Kek__Provider__Hello hello;
    Kek__Provider__Token token = KEK__PROVIDER__TOKEN__INIT;
    hello_init(&hello, fault_uri);
    kek_clock_fake(clock_of_test);
    ck_assert_int_eq(kek_secret_setup(64 * 1024, &locked, &why), KEK_OK);
    ck_assert(kek_p11_open(&hello, false, &provider, &token, &failure));
    ck_assert(kek_p11_login_and_prove(provider, &versions, &alg, &failure));
    ck_assert(kek_p11_session_open(provider, &session, &failure));
}

static bool list(struct kek_provider_failure *failure)
{
    static struct kek_provider_versions versions;
    return kek_p11_list(session, &versions, failure);
}

START_TEST(a_key_is_proven_again_once_a_day_with_damage_and_all)
{
    struct token token;
    struct kek_id id;
    struct kek_provider_failure failure;
    token_make_with_key(&token, &id);
    fault_put(&token, "");
    start();
    fault_now();
    pass_hours(23);
    ck_assert(list(&failure));
    ck_assert_uint_eq(fault_count("C_WrapKey"), 0);
    for (unsigned day = 1; day <= 2; day++) {
        pass_hours(day == 1 ? 1 : 24);
        ck_assert(list(&failure));
        ck_assert_uint_eq(fault_count("C_WrapKey"), day);
        ck_assert_uint_eq(fault_count("C_UnwrapKey"),
                          3 * day); /* the second is the damaged blob's */
        ck_assert(list(&failure));
        ck_assert_uint_eq(fault_count("C_WrapKey"), day);
    }
}
END_TEST

START_TEST(a_key_that_is_not_proven_again_ends_the_worker_unless_it_passes_or_was_retired)
{
    static const struct {
        const char *fault;
        bool good;
    } faults[] = {{"C_UnwrapKey every rv 5", false}, {"C_WrapKey every rv 70", false},
                  {"C_WrapKey every rv 32", false},  {"C_UnwrapKey 1 rv 5", true},
                  {"C_WrapKey every rv 68", true},   {"C_CreateObject every rv 31", true}};
    struct token token;
    struct kek_id id;
    struct kek_provider_failure failure;
    token_make_with_key(&token, &id);
    fault_put(&token, faults[_i].fault);
    fault_later();
    start();
    fault_now();
    pass_hours(24);
    ck_assert_int_eq(list(&failure), faults[_i].good);
    if (!faults[_i].good) {
        ck_assert_int_eq(failure.cause, KEK__PROVIDER__CAUSE__LINK);
    }
    fault_later();
    ck_assert(list(&failure));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("pkcs11 proof");
    TCase *tcase = tcase_create("proof");
    tcase_set_timeout(tcase, 120);
    suite_add_tcase(suite, tcase);
    tcase_add_test(tcase, a_key_is_proven_again_once_a_day_with_damage_and_all);
    tcase_add_loop_test(
        tcase, a_key_that_is_not_proven_again_ends_the_worker_unless_it_passes_or_was_retired, 0,
        6);
    return worker_tests_run(suite);
}
