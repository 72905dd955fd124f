/* What a key's abilities mean beside those of the others. */
#include "suite.h"

#include <stdlib.h>

#include "kek/kek.h"

/* W: may wrap and unwrap, U: unwrap only, w: wrap only, -: neither; x before it: not eligible. */
static const struct {
    const char *abilities; /* of versions 1, 2, ... */
    const char *states;    /* Pre-active, Active, Deactivated, suspended as X */
} cases[] = {
    {"W", "A"},       {"U", "P"},     {"-", "X"},   {"w", "X"},     {"WU", "AP"},   {"UW", "DA"},
    {"WW", "AA"},     {"UWU", "DAP"}, {"UU", "PP"}, {"-WU", "XAP"}, {"WU-", "APX"}, {"WUW", "ADA"},
    {"UUWU", "DDAP"}, {"UxW", "PA"},  {"Uw", "PX"}, {"WxU", "AP"},  {"xUW", "DA"},  {"U-W", "DXA"},
};

static size_t spell(const char *abilities, struct kek_version *versions)
{
    size_t count = 0;
    for (bool eligible = true; *abilities != '\0'; abilities++) {
        if (*abilities == 'x') {
            eligible = false;
            continue;
        }
        versions[count] = (struct kek_version){
            .number = (uint32_t)count + 1,
            .can_wrap = *abilities == 'W' || *abilities == 'w',
            .can_unwrap = *abilities == 'W' || *abilities == 'U',
            .eligible = eligible,
        };
        count++;
        eligible = true;
    }
    return count;
}

START_TEST(state_follows_from_what_the_token_allows)
{
    static const char letters[] = {[KEK_STATE_PRE_ACTIVE] = 'P',
                                   [KEK_STATE_ACTIVE] = 'A',
                                   [KEK_STATE_DEACTIVATED] = 'D',
                                   [KEK_STATE_SUSPENDED] = 'X'};
    struct kek_version versions[8];
    size_t count = spell(cases[_i].abilities, versions);
    ck_assert_uint_eq(count, strlen(cases[_i].states));
    for (size_t i = 0; i < count; i++) {
        ck_assert_msg(letters[kek_version_state(versions, count, i)] == cases[_i].states[i],
                      "%s, version %zu", cases[_i].abilities, i + 1);
    }
    /* Whatever the order they are listed in. */
    for (size_t i = 0; i < count / 2; i++) {
        struct kek_version other = versions[i];
        versions[i] = versions[count - 1 - i];
        versions[count - 1 - i] = other;
    }
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(letters[kek_version_state(versions, count, i)],
                         cases[_i].states[versions[i].number - 1]);
    }
}
END_TEST

START_TEST(state_of_a_namesake_is_its_own)
{
    const struct kek_version twins[2] = {
        {.number = 1, .can_wrap = true, .can_unwrap = true, .eligible = true},
        {.number = 1, .can_unwrap = true, .eligible = true}};
    ck_assert_int_eq(kek_version_state(twins, 2, 0), KEK_STATE_ACTIVE);
    ck_assert_int_eq(kek_version_state(twins, 2, 1), KEK_STATE_PRE_ACTIVE);
}
END_TEST

START_TEST(a_marked_key_is_compromised_unless_it_is_suspended)
{
    struct kek_version versions[2] = {
        {.number = 1, .can_unwrap = true, .eligible = true, .compromised = true},
        {.number = 2, .can_unwrap = true, .eligible = true}};
    ck_assert_int_eq(kek_version_state(versions, 2, 0), KEK_STATE_COMPROMISED);
    ck_assert_int_eq(kek_version_state(versions, 2, 1), KEK_STATE_PRE_ACTIVE);
    versions[0].can_unwrap = false;
    ck_assert_int_eq(kek_version_state(versions, 2, 0), KEK_STATE_SUSPENDED);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("version");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, state_follows_from_what_the_token_allows, 0,
                        (int)(sizeof cases / sizeof cases[0]));
    tcase_add_test(all, state_of_a_namesake_is_its_own);
    tcase_add_test(all, a_marked_key_is_compromised_unless_it_is_suspended);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
