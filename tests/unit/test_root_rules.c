/* roots/root_rules.c: which envelopes may be opened, by mode, number and order of their KEKs. */
#include "kek/root_rules.h"

#include <ctype.h>
#include <string.h>

#include "suite.h"

/* KEKs are letters: a small one is of the root of that letter, and stands first among them; x to z are of none that is
 * known; `*` is on the tokens of A and B. */
static bool has(const void *arg, size_t root, const struct kek_id *kek_id)
{
    char letter = (char)kek_id->bytes[0];
    ck_assert_ptr_eq(arg, &has);
    return letter == '*' ? root < 2 : letter == (char)('a' + (int)root);
}

static struct kek_root_form form_of(uint8_t mode, const char *keks)
{
    struct kek_root_form form = {.mode = mode, .count = strlen(keks)};
    for (size_t i = 0; i < form.count; i++) {
        form.kek_ids[i].bytes[0] = (uint8_t)keks[i];
    }
    return form;
}

#define ANY KEK_ENVELOPE_MODE_ANY
#define ALL KEK_ENVELOPE_MODE_ALL

static const struct {
    const char
        *roots; /* a capital one seals, a small one only opens; `'` after it: it is not needed */
    uint8_t mode, accept;
    uint8_t form;
    const char *keks;
    bool opens;
    unsigned known; /* bits */
} cases[] = {
    {"A", ANY, ANY, ANY, "a", true, 1},
    {"A", ANY, ANY, ANY, "x", true, 0}, /* a version that is not seen yet */
    {"A", ANY, ANY, ANY, "ab", false, 1},
    {"A", ANY, ANY, ALL, "a", false, 1},
    {"AB", ANY, ANY, ANY, "ab", true, 3},
    {"AB", ANY, ANY, ANY, "a", true, 1},
    {"AB", ANY, ANY, ANY, "b", true, 2},
    {"AB", ANY, ANY, ANY, "ax", true, 1},
    {"AB", ANY, ANY, ANY, "ba", false, 2},
    {"AB", ANY, ANY, ANY, "aa", false, 1},
    {"AB", ANY, ANY, ANY, "abx", false, 3}, /* more KEKs than roots */
    {"AB", ANY, ANY, ANY, "**", true, 3},
    {"AB", ANY, ANY, ANY, "a*", true, 3},
    {"AB", ANY, ANY, ALL, "ab", false, 3},
    {"AB", ANY, ALL, ALL, "ab", true, 3},
    {"AB", ANY, ALL, ALL, "a", false, 1},
    {"AB", ALL, ALL, ALL, "ab", true, 3},
    {"AB", ALL, ALL, ALL, "a", false, 1},
    {"AB", ALL, ALL, ALL, "xb", true, 2},
    {"AB", ALL, ALL, ANY, "ab", false, 3},
    {"AB", ALL, ANY, ANY, "b", true, 2},
    {"aB", ANY, ANY, ANY, "a", true, 1},
    {"aB", ALL, ALL, ALL, "b", true, 2}, /* what only opens may be left out */
    {"aB", ALL, ALL, ALL, "ab", true, 3},
    {"aB", ALL, ALL, ALL, "a", false, 1},
    {"ABC", ALL, ALL, ALL, "axc", true, 5},
    {"ABC", ALL, ALL, ALL, "ac", false, 5},
    {"ABc", ALL, ALL, ALL, "abc", true, 7},  /* what comes: a node that seals under it is ahead */
    {"ABC'", ALL, ALL, ALL, "ab", true, 3},  /* a node that does not seal under it is behind */
    {"ABC'", ALL, ALL, ALL, "abc", true, 7}, /* or ahead, where the root goes */
    {"ABC'", ALL, ALL, ALL, "ac", false, 5},
    {"ABC'", ALL, ALL, ALL, "bc", false, 6},
    {"ABC'", ALL, ALL, ALL, "a", false, 1},
    {"ABC'", ALL, ALL, ALL, "xc", false, 4},
    {"ABC'", ALL, ALL, ALL, "xb", true, 2},
    {"ABC'", ALL, ALL, ALL, "ba", false, 2},
    {"ABC'", ALL, ALL, ANY, "ab", false, 3},
    {"A'BC", ALL, ALL, ALL, "bc", true, 6},
    {"A'BC", ALL, ALL, ALL, "ab", false, 3},
    {"ABC'", ANY, ALL, ALL, "ab", true, 3},
    {"ABC", ANY, ALL, ALL, "ab", false, 3},
};

START_TEST(what_opens_follows_from_mode_number_and_order)
{
    struct kek_root_rules rules = {
        .mode = cases[_i].mode, .mode_accept = cases[_i].accept, .has = has, .arg = &has};
    struct kek_why why = {.rc = KEK_OK};
    for (const char *letter = cases[_i].roots; *letter != '\0'; letter++) {
        if (*letter == '\'') {
            rules.needed[rules.count - 1] = false;
        } else {
            rules.seals[rules.count] = isupper((unsigned char)*letter) != 0;
            rules.needed[rules.count++] = true;
        }
    }
    struct kek_root_form form = form_of(cases[_i].form, cases[_i].keks);
    enum kek_rc rc = kek_root_rules_check(&rules, &form, &why);
    ck_assert_msg(rc == (cases[_i].opens ? KEK_OK : KEK_PRECONDITION), "%s, mode %u of %u: %s",
                  cases[_i].keks, cases[_i].form, cases[_i].mode, why.text);
    ck_assert(cases[_i].opens || why.text[0] != '\0');
    ck_assert_uint_eq(kek_root_rules_known(&rules, &form), cases[_i].known);
}
END_TEST

static const struct {
    const char *roots;
    uint8_t mode, form;
    const char *keks, *said;
} refusals[] = {
    {"A", ANY, ALL, "ab", "mode all with 2 KEKs, and this configuration has one root"},
    {"AB", ANY, ALL, "ab", "mode all, and this configuration has mode any: `mode_accept: all`"},
    {"AB", ALL, ANY, "ab", "mode any, and this configuration has mode all: `mode_accept: any`"},
    {"AB", ANY, ANY, "abx", "mode any with 3 KEKs, and this configuration has fewer `roots`"},
    {"AB", ALL, ALL, "a", "mode all with 1 KEK, and fewer than are needed here: `needed: false`"},
    {"AB", ANY, ANY, "ba", "in the order of `roots`: the order in which it was sealed would"},
    {"ABc", ALL, ALL, "ac", "lacks a root that is needed: `needed: false` of that root"},
};

START_TEST(who_is_refused_is_told_which_setting_would_accept_it)
{
    struct kek_root_rules rules = {.mode = refusals[_i].mode,
                                   .mode_accept = refusals[_i].mode,
                                   .count = strlen(refusals[_i].roots),
                                   .needed = {true, true, true},
                                   .has = has,
                                   .arg = &has};
    for (size_t i = 0; i < rules.count; i++) {
        rules.seals[i] = isupper((unsigned char)refusals[_i].roots[i]) != 0;
    }
    struct kek_root_form form = form_of(refusals[_i].form, refusals[_i].keks);
    struct kek_why why;
    ck_assert_int_eq(kek_root_rules_check(&rules, &form, &why), KEK_PRECONDITION);
    ck_assert_msg(strstr(why.text, refusals[_i].said) != NULL, "%s", why.text);
}
END_TEST

START_TEST(a_form_is_what_the_header_says)
{
    const struct kek_envelope envelope = {
        .mode = ALL, .count = 2, .entries = {{.kek_id = {{1}}}, {.kek_id = {{2}}}}};
    struct kek_root_form form = kek_root_form_of(&envelope);
    ck_assert_uint_eq(form.mode, ALL);
    ck_assert_uint_eq(form.count, 2);
    ck_assert_uint_eq(form.kek_ids[0].bytes[0], 1);
    ck_assert_uint_eq(form.kek_ids[1].bytes[0], 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("root_rules");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, what_opens_follows_from_mode_number_and_order, 0,
                        (int)(sizeof cases / sizeof cases[0]));
    tcase_add_loop_test(all, who_is_refused_is_told_which_setting_would_accept_it, 0,
                        (int)(sizeof refusals / sizeof refusals[0]));
    tcase_add_test(all, a_form_is_what_the_header_says);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
