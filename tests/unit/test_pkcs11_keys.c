#include "keys.h"

#include "suite.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include "errors.h"

START_TEST(a_label_is_a_version_only_in_its_one_spelling)
{
    static const struct {
        const char *label;
        uint32_t number; /* 0: none */
    } cases[] = {
        {"a.b.v1", 1},          {"a.b.v9", 9},
        {"a.b.v10", 10},        {"a.b.v4294967295", UINT32_MAX},
        {"a.b.v4294967296", 0}, {"a.b.v99999999999999999999999999", 0},
        {"a.b.v0", 0},          {"a.b.v01", 0},
        {"a.b.v", 0},           {"a.b.v1 ", 0},
        {"a.b.v+1", 0},         {"a.b.v1.v2", 0},
        {"a.b.V1", 0},          {"a.b", 0},
        {"a.bc.v1", 0},         {"", 0},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        uint32_t number = 0;
        bool is = kek_p11_label_number("a.b", cases[i].label, &number);
        ck_assert_msg(is == (cases[i].number != 0), "%s", cases[i].label);
        ck_assert_uint_eq(number, cases[i].number);
    }
}
END_TEST

static struct kek_p11_facts good_facts(void)
{
    struct kek_p11_facts facts = {
        .label = "ring.v1", .id_len = 16, .key_type = CKK_AES, .value_len = 32};
    for (int i = 0; i < KEK_P11_FLAGS; i++) {
        facts.flags[i] = KEK_P11_NO;
    }
    static const enum kek_p11_flag yes[] = {
        KEK_P11_PRIVATE,           KEK_P11_SENSITIVE, KEK_P11_LOCAL, KEK_P11_ALWAYS_SENSITIVE,
        KEK_P11_NEVER_EXTRACTABLE, KEK_P11_WRAP,      KEK_P11_UNWRAP};
    for (size_t i = 0; i < sizeof yes / sizeof yes[0]; i++) {
        facts.flags[yes[i]] = KEK_P11_YES;
    }
    return facts;
}

#define AUTO KEK__PROVIDER__STRATEGY__AUTO

START_TEST(a_mark_at_the_end_of_a_label_makes_the_key_compromised)
{
    static const struct {
        const char *label, *plain;
        bool marked;
    } cases[] = {
        {"a.b.v1", "a.b.v1", false},
        {"a.b.v1.compromised", "a.b.v1", true},
        {"a.b.v1.compromised.compromised", "a.b.v1.compromised", true},
        {"a.b.v1.compromised ", "a.b.v1.compromised ", false},
        {"a.b.v1.Compromised", "a.b.v1.Compromised", false},
        {".compromised", ".compromised", false},
        {"", "", false},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        char plain[KEK_LABEL_MAX];
        ck_assert_msg(kek_p11_label_unmark(cases[i].label, plain) == cases[i].marked, "%s",
                      cases[i].label);
        ck_assert_str_eq(plain, cases[i].plain);
        struct kek_p11_facts facts = good_facts();
        struct kek_version version = {0};
        enum kek_p11_strategy strategy;
        snprintf(facts.label, sizeof facts.label, "%s", cases[i].label);
        kek_p11_judge(&facts, AUTO, NULL, true, &version, &strategy);
        ck_assert(version.eligible && version.can_unwrap);
        ck_assert(version.compromised == cases[i].marked && version.can_wrap == !cases[i].marked);
    }
}
END_TEST

START_TEST(a_named_state_takes_abilities_away_and_adds_none)
{
    static const struct {
        enum kek_state state;
        bool can_wrap, can_unwrap, compromised; /* of a key that the token lets do both */
    } cases[] = {
        {KEK_STATE_PRE_ACTIVE, false, true, false},  {KEK_STATE_ACTIVE, true, true, false},
        {KEK_STATE_DEACTIVATED, false, true, false}, {KEK_STATE_SUSPENDED, false, false, false},
        {KEK_STATE_COMPROMISED, false, true, true},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        const struct kek_p11_named named = {.number = 1, .state = cases[i].state};
        struct kek_p11_facts facts = good_facts();
        struct kek_version version = {0};
        enum kek_p11_strategy strategy;
        kek_p11_judge(&facts, AUTO, &named, true, &version, &strategy);
        ck_assert(version.eligible && version.can_wrap == cases[i].can_wrap &&
                  version.can_unwrap == cases[i].can_unwrap &&
                  version.compromised == cases[i].compromised);
        facts.flags[KEK_P11_WRAP] = facts.flags[KEK_P11_UNWRAP] = KEK_P11_NO;
        kek_p11_judge(&facts, AUTO, &named, true, &version, &strategy);
        ck_assert(version.eligible && !version.can_wrap && !version.can_unwrap);
    }
}
END_TEST

/* What each flag does to eligibility when it is wrong and when the token does not tell it. */
START_TEST(each_attribute_counts_as_the_page_says)
{
    static const struct {
        enum kek_p11_flag flag;
        const char *wrong; /* the refusal when it is not as kekd makes it; NULL: still eligible */
        const char *untold;
        bool excused; /* for a key that the configuration names */
    } rules[] = {
        {KEK_P11_PRIVATE, "CKA_PRIVATE is false", "the token does not tell CKA_PRIVATE", false},
        {KEK_P11_SENSITIVE, "CKA_SENSITIVE is false", "the token does not tell CKA_SENSITIVE",
         false},
        {KEK_P11_EXTRACTABLE, "CKA_EXTRACTABLE is true", "the token does not tell CKA_EXTRACTABLE",
         false},
        {KEK_P11_LOCAL, "CKA_LOCAL is false", NULL, true},
        {KEK_P11_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE is false", NULL, true},
        {KEK_P11_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE is false", NULL, true},
        {KEK_P11_ENCRYPT, "CKA_ENCRYPT is true", NULL, true},
        {KEK_P11_DECRYPT, "CKA_DECRYPT is true", NULL, true},
        {KEK_P11_SIGN, "CKA_SIGN is true", NULL, true},
        {KEK_P11_VERIFY, "CKA_VERIFY is true", NULL, true},
        {KEK_P11_DERIVE, "CKA_DERIVE is true", NULL, true},
    };
    const struct kek_p11_named named = {.number = 1, .state = KEK_STATE_ACTIVE};
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        struct kek_p11_facts facts = good_facts();
        struct kek_version version = {0};
        enum kek_p11_strategy strategy;
        enum kek_p11_tri *flag = &facts.flags[rules[i].flag];
        *flag = *flag == KEK_P11_YES ? KEK_P11_NO : KEK_P11_YES;
        kek_p11_judge(&facts, AUTO, NULL, true, &version, &strategy);
        ck_assert(!version.eligible);
        ck_assert_int_eq(version.refused_for, KEK_REFUSAL_KEY);
        ck_assert_str_eq(version.refusal, rules[i].wrong);
        kek_p11_judge(&facts, AUTO, &named, true, &version, &strategy);
        ck_assert_msg(version.eligible == rules[i].excused, "%s", rules[i].wrong);
        *flag = KEK_P11_UNTOLD;
        kek_p11_judge(&facts, AUTO, NULL, true, &version, &strategy);
        ck_assert_str_eq(version.refusal, rules[i].untold == NULL ? "" : rules[i].untold);
        ck_assert(version.eligible == (rules[i].untold == NULL));
    }
}
END_TEST

/* By its flags it is for the other strategy: that is said, and no state is read from flags that do not count. */
START_TEST(a_key_of_the_other_strategy_is_not_used_and_the_setting_is_named)
{
    static const struct {
        Kek__Provider__Strategy wanted;
        enum kek_p11_flag seals, opens;
        const char *refusal, *opens_only;
    } cases[] = {
        {KEK__PROVIDER__STRATEGY__ENCRYPT, KEK_P11_WRAP, KEK_P11_UNWRAP,
         "it is there for strategy wrap-key (CKA_WRAP is true), and the configuration says "
         "strategy: encrypt",
         "it is there for strategy wrap-key (CKA_UNWRAP is true), and the configuration "
         "says strategy: encrypt"},
        {KEK__PROVIDER__STRATEGY__WRAP_KEY, KEK_P11_ENCRYPT, KEK_P11_DECRYPT,
         "it is there for strategy encrypt (CKA_ENCRYPT is true), and the configuration "
         "says strategy: wrap-key",
         "it is there for strategy encrypt (CKA_DECRYPT is true), and the configuration "
         "says strategy: wrap-key"}};
    static const enum kek_p11_flag uses[] = {KEK_P11_WRAP, KEK_P11_UNWRAP, KEK_P11_ENCRYPT,
                                             KEK_P11_DECRYPT};
    const struct kek_p11_named active = {.number = 1, .state = KEK_STATE_ACTIVE};
    const struct kek_p11_named *const named[] = {NULL, &active};
    for (size_t i = 0; i < 2; i++) {
        for (size_t n = 0; n < 2; n++) {
            struct kek_p11_facts facts = good_facts();
            struct kek_version version = {0};
            enum kek_p11_strategy strategy;
            for (size_t u = 0; u < 4; u++) {
                facts.flags[uses[u]] = KEK_P11_NO;
            }
            kek_p11_judge(&facts, cases[i].wanted, named[n], true, &version, &strategy);
            ck_assert_str_eq(version.refusal, ""); /* suspended: of no strategy */
            facts.flags[cases[i].opens] = KEK_P11_YES;
            kek_p11_judge(&facts, cases[i].wanted, named[n], true, &version, &strategy);
            ck_assert(!version.eligible);
            ck_assert_int_eq(version.refused_for, KEK_REFUSAL_STRATEGY);
            ck_assert_str_eq(version.refusal, cases[i].opens_only);
            facts.flags[cases[i].seals] = KEK_P11_YES;
            kek_p11_judge(&facts, cases[i].wanted, named[n], true, &version, &strategy);
            ck_assert(!version.eligible && !version.can_wrap && !version.can_unwrap);
            ck_assert_str_eq(version.refusal, cases[i].refusal);
            ck_assert_int_eq(version.refused_for, KEK_REFUSAL_STRATEGY);
            kek_p11_judge(&facts, AUTO, named[n], true, &version, &strategy);
            ck_assert(version.eligible && version.can_wrap && version.can_unwrap);
        }
    }
}
END_TEST

START_TEST(a_token_that_never_says_local_is_not_asked_for_it)
{
    struct kek_p11_facts facts = good_facts();
    struct kek_version version = {0};
    enum kek_p11_strategy strategy;
    facts.flags[KEK_P11_LOCAL] = KEK_P11_NO;
    kek_p11_judge(&facts, AUTO, NULL, false, &version, &strategy);
    ck_assert(version.eligible);
    facts.flags[KEK_P11_NEVER_EXTRACTABLE] = KEK_P11_NO;
    kek_p11_judge(&facts, AUTO, NULL, false, &version, &strategy);
    ck_assert(!version.eligible);
}
END_TEST

START_TEST(type_length_and_id_are_exact)
{
    struct kek_version version = {0};
    enum kek_p11_strategy strategy;
    struct kek_p11_facts facts = good_facts();
    facts.key_type = CKK_DES3;
    kek_p11_judge(&facts, AUTO, NULL, true, &version, &strategy);
    ck_assert_str_eq(version.refusal, "CKA_KEY_TYPE is 0x15, not CKK_AES");
    facts = good_facts();
    facts.value_len = 24;
    kek_p11_judge(&facts, AUTO, NULL, true, &version, &strategy);
    ck_assert_str_eq(version.refusal, "CKA_VALUE_LEN is 24, not 32");
    facts.value_len = KEK_P11_UNKNOWN_ULONG;
    kek_p11_judge(&facts, AUTO, NULL, true, &version, &strategy);
    ck_assert_str_eq(version.refusal,
                     "the token does not tell CKA_VALUE_LEN: if it is an AES-256 key that was "
                     "imported, only versions: in the configuration can vouch for it");
    facts.value_len = 0;
    kek_p11_judge(&facts, AUTO, NULL, true, &version, &strategy);
    ck_assert_str_eq(
        version.refusal,
        "the token does not tell CKA_VALUE_LEN (it says 0): if it is an AES-256 key that "
        "was imported, only versions: in the configuration can vouch for it");
    facts = good_facts();
    facts.id_len = 17;
    kek_p11_judge(&facts, AUTO, NULL, true, &version, &strategy);
    ck_assert_str_eq(version.refusal, "CKA_ID has 17 bytes, not 16");
}
END_TEST

/* Whoever names a key answers for a length that the token does not tell, not for one that it does. */
START_TEST(a_named_key_may_have_a_length_that_nobody_tells)
{
    static const struct {
        CK_ULONG value_len;
        bool eligible;
    } cases[] = {{32, true}, {0, true}, {KEK_P11_UNKNOWN_ULONG, true}, {16, false}, {33, false}};
    const struct kek_p11_named named = {.number = 1, .state = KEK_STATE_ACTIVE};
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kek_p11_facts facts = good_facts();
        struct kek_version version = {0};
        enum kek_p11_strategy strategy;
        facts.value_len = cases[i].value_len;
        kek_p11_judge(&facts, AUTO, &named, true, &version, &strategy);
        ck_assert_msg(version.eligible == cases[i].eligible, "%lu: %s", cases[i].value_len,
                      version.refusal);
    }
}
END_TEST

START_TEST(usages_decide_strategy_and_abilities)
{
    static const struct {
        bool wrap, unwrap, encrypt, decrypt;
        int wanted, strategy;
        bool can_wrap, can_unwrap, eligible;
    } cases[] = {
        {1, 1, 0, 0, 0, KEK_P11_BY_WRAP_KEY, 1, 1, 1},
        {0, 1, 0, 0, 0, KEK_P11_BY_WRAP_KEY, 0, 1, 1},
        /* Wrapping without unwrapping would lose data. */
        {1, 0, 0, 0, 0, KEK_P11_BY_WRAP_KEY, 0, 0, 1},
        {0, 0, 1, 1, 0, KEK_P11_BY_ENCRYPT, 1, 1, 1},
        {0, 0, 0, 1, 0, KEK_P11_BY_ENCRYPT, 0, 1, 1},
        {0, 0, 0, 0, 0, KEK_P11_BY_NOTHING, 0, 0, 1},
        {1, 1, 0, 1, 0, KEK_P11_BY_WRAP_KEY, 1, 1, 0},
        {0, 0, 1, 1, 1, KEK_P11_BY_WRAP_KEY, 0, 0, 0},
        {1, 1, 0, 0, 2, KEK_P11_BY_ENCRYPT, 0, 0, 0},
        {0, 0, 1, 1, 2, KEK_P11_BY_ENCRYPT, 1, 1, 1},
    };
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kek_p11_facts facts = good_facts();
        facts.flags[KEK_P11_WRAP] = cases[i].wrap ? KEK_P11_YES : KEK_P11_NO;
        facts.flags[KEK_P11_UNWRAP] = cases[i].unwrap ? KEK_P11_YES : KEK_P11_NO;
        facts.flags[KEK_P11_ENCRYPT] = cases[i].encrypt ? KEK_P11_YES : KEK_P11_NO;
        facts.flags[KEK_P11_DECRYPT] = cases[i].decrypt ? KEK_P11_YES : KEK_P11_NO;
        struct kek_version version = {0};
        enum kek_p11_strategy strategy;
        kek_p11_judge(&facts, (Kek__Provider__Strategy)cases[i].wanted, NULL, true, &version,
                      &strategy);
        ck_assert_int_eq((int)strategy, cases[i].strategy);
        ck_assert_msg(version.can_wrap == cases[i].can_wrap &&
                          version.can_unwrap == cases[i].can_unwrap &&
                          version.eligible == cases[i].eligible,
                      "case %zu: %s", i, version.refusal);
    }
}
END_TEST

START_TEST(failures_carry_the_value_its_name_and_a_cause)
{
    static const struct {
        CK_RV rv;
        int cause;
        const char *text;
    } cases[] = {
        {CKR_PIN_INCORRECT, KEK__PROVIDER__CAUSE__PIN_REFUSED,
         "C_Login: CKR_PIN_INCORRECT (0xa0)"}, /* of any other call it says nothing of the PIN */
        {CKR_WRAPPED_KEY_INVALID, KEK__PROVIDER__CAUSE__LINK,
         "C_Test: CKR_WRAPPED_KEY_INVALID (0x110)"}, /* only a known answer puts it on the blob */
        {CKR_DEVICE_REMOVED, KEK__PROVIDER__CAUSE__LINK, "C_Test: CKR_DEVICE_REMOVED (0x32)"},
        {CKR_KEY_FUNCTION_NOT_PERMITTED, KEK__PROVIDER__CAUSE__STATE,
         "C_Test: CKR_KEY_FUNCTION_NOT_PERMITTED (0x68)"},
        {CKR_SESSION_COUNT, KEK__PROVIDER__CAUSE__BUSY, "C_Test: CKR_SESSION_COUNT (0xb1)"},
        {CKR_TOKEN_RESOURCE_EXCEEDED, KEK__PROVIDER__CAUSE__BUSY,
         "C_Test: CKR_TOKEN_RESOURCE_EXCEEDED (0x201)"},
        {CKR_MECHANISM_INVALID, KEK__PROVIDER__CAUSE__UNSUPPORTED,
         "C_Test: CKR_MECHANISM_INVALID (0x70)"},
        {CKR_VENDOR_DEFINED | 7, KEK__PROVIDER__CAUSE__LINK, "C_Test: vendor-defined (0x80000007)"},
        {0x4711, KEK__PROVIDER__CAUSE__LINK, "C_Test: unknown (0x4711)"},
    };
    ck_assert_int_eq(kek_p11_class_of(CKR_AEAD_DECRYPT_FAILED), KEK_P11_DATA);
    for (size_t i = 0; i < sizeof cases / sizeof cases[0]; i++) {
        struct kek_provider_failure failure = {0};
        bool login = strncmp(cases[i].text, "C_Login", 7) == 0;
        struct kek_p11_outcome outcome = {.rv = cases[i].rv, .call = login ? "C_Login" : "C_Test"};
        ck_assert(!kek_p11_fail_rv(&failure, KEK__PROVIDER__STEP__PROBE, outcome));
        ck_assert_int_eq(failure.step, KEK__PROVIDER__STEP__PROBE);
        ck_assert_int_eq(failure.cause, cases[i].cause);
        ck_assert_int_eq(failure.why.rc, kek_wire_rc(failure.cause));
        ck_assert_int_eq(failure.why.native, KEK_NATIVE_PKCS11);
        ck_assert_uint_eq(failure.why.code, cases[i].rv);
        ck_assert_str_eq(failure.why.text, cases[i].text);
    }
}
END_TEST

int main(void)
{
    Suite *s = suite_create("pkcs11 keys");
    TCase *c = tcase_create("keys");
    tcase_add_test(c, a_label_is_a_version_only_in_its_one_spelling);
    tcase_add_test(c, a_mark_at_the_end_of_a_label_makes_the_key_compromised);
    tcase_add_test(c, a_named_state_takes_abilities_away_and_adds_none);
    tcase_add_test(c, a_key_of_the_other_strategy_is_not_used_and_the_setting_is_named);
    tcase_add_test(c, each_attribute_counts_as_the_page_says);
    tcase_add_test(c, a_token_that_never_says_local_is_not_asked_for_it);
    tcase_add_test(c, type_length_and_id_are_exact);
    tcase_add_test(c, a_named_key_may_have_a_length_that_nobody_tells);
    tcase_add_test(c, usages_decide_strategy_and_abilities);
    tcase_add_test(c, failures_carry_the_value_its_name_and_a_cause);
    suite_add_tcase(s, c);
    return suite_run(s);
}
