/* PKCS#11 URIs as a provider's uri. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "kek/config.h"
#include "kek/vendor.h"

#define REST "?module-path=/m.so&pin-source=file:/p"

static const char *const right[] = {
    "pkcs11:token=t" REST,
    "pkcs11:serial=0123456789abcdef" REST,
    "pkcs11:slot-id=0" REST,
    "pkcs11:token=my%20token;manufacturer=a:b@c!d;model=m" REST,
    "pkcs11:token=a&b;library-version=2.6;library-manufacturer=x;library-description=y" REST,
    "pkcs11:token=t;slot-description=d;slot-manufacturer=m" REST,
    "pkcs11:token=%C3%A4" REST,
    "pkcs11:token=t?module-name=softhsm2&pin-source=credential:hsm.pin",
    "pkcs11:token=t?module-path=/a%20b.so&pin-source=file:///p",
    "pkcs11:token=t" REST "&admin-pin-source=file:/q",
    "pkcs11:token=t?admin-pin-source=credential:officer&module-path=/m.so&pin-source=file:/p",
    /* A token may need no PIN, or have a pad for it; the officers may have one though kekd has none. */
    "pkcs11:token=t?module-path=/m.so",
    "pkcs11:token=t?module-path=/m.so&admin-pin-source=file:/p",
    "pkcs11:token=t?vendor=1&vendor=2&module-path=/m|x?y&pin-source=file:/p",
};

START_TEST(uri_accepted)
{
    struct kek_why why = {.rc = KEK_OK};
    enum kek_rc rc = kek_config_check_pkcs11_uri(right[_i], &why);
    ck_assert_msg(rc == KEK_OK, "%s: %s", right[_i], why.text);
}
END_TEST

static const struct wrong {
    const char *uri, *said;
} wrong[] = {
    {"", "expected a URI that starts with pkcs11:"},
    {"PKCS11:token=t" REST, "expected a URI that starts with pkcs11:"},
    {"token=t" REST, "expected a URI that starts with pkcs11:"},
    {"pkcs11:" REST, "expected token, serial or slot-id, found none of them"},
    {"pkcs11:model=m" REST, "expected token, serial or slot-id, found none of them"},
    {"pkcs11:token=t", "expected module-path or module-name, found neither"},
    {"pkcs11:token=t?", "expected module-path or module-name, found neither"},
    {"pkcs11:token=t" REST "&module-name=m", "expected module-path or module-name, found both"},
    {"pkcs11:token=t;token=u" REST, "expected token once, found it again"},
    {"pkcs11:token=t" REST "&pin-source=file:/q", "expected pin-source once, found it again"},
    {"pkcs11:token=t;v=1" REST, "expected only attributes of RFC 7512 before the question mark, "
                                "found another at character 16"},
    {"pkcs11:token=t;module-path=/m.so?pin-source=file:/p",
     "expected module-path after the question mark"},
    {"pkcs11:" REST "&token=t", "expected token before the question mark"},
    {"pkcs11:token" REST, "expected name=value at character 8"},
    {"pkcs11:=t" REST, "expected name=value at character 8"},
    {"pkcs11:token=t;;model=y" REST, "expected name=value at character 16"},
    {"pkcs11:token=t;" REST, "expected name=value at the end"},
    {"pkcs11:token=t" REST "&", "expected name=value at the end"},
    {"pkcs11:to%6ben=t" REST, "expected name=value at character 8"},
    {"pkcs11:token=" REST, "expected a value for token, found none"},
    {"pkcs11:token=a b" REST, "character 15 must be written as %20 in a PKCS#11 URI"},
    {"pkcs11:token=a/b" REST, "character 15 must be written as %2F in a PKCS#11 URI"},
    {"pkcs11:token=\xc3\xa4" REST, "character 14 must be written as %C3 in a PKCS#11 URI"},
    {"pkcs11:token=t%2" REST, "expected two hex digits, not 00, after the % at character 15"},
    {"pkcs11:token=t%zz" REST, "expected two hex digits, not 00, after the % at character 15"},
    {"pkcs11:token=t%2g" REST, "expected two hex digits, not 00, after the % at character 15"},
    {"pkcs11:token=t%00" REST, "expected two hex digits, not 00, after the % at character 15"},
    {"pkcs11:token=123456789012345678901234567890123" REST, "expected at most 32 bytes as token"},
    {"pkcs11:serial=12345678901234567" REST, "expected at most 16 bytes as serial"},
    {"pkcs11:slot-id=1x" REST, "expected a decimal number as slot-id"},
    {"pkcs11:slot-id=" REST, "expected a decimal number as slot-id"},
    {"pkcs11:token=t;object=k" REST,
     "expected a URI of a token, found object, which names an object (keys are found by the "
     "keyring)"},
    {"pkcs11:token=t;id=%01" REST,
     "expected a URI of a token, found id, which names an object (keys are found by the keyring)"},
    {"pkcs11:token=t;type=secret-key" REST,
     "expected a URI of a token, found type, which names an object (keys are found by the "
     "keyring)"},
    {"pkcs11:token=t?module-path=m.so&pin-source=file:/p",
     "expected an absolute path as module-path"},
    {"pkcs11:token=t?module-name=/m.so&pin-source=file:/p",
     "expected a name without a path as module-name"},
    {"pkcs11:token=t?module-path=/m.so&pin-source=/p",
     "expected file:/absolute/path or credential:NAME as pin-source"},
    {"pkcs11:token=t?module-path=/m.so&pin-source=file:p",
     "expected file:/absolute/path or credential:NAME as pin-source"},
    {"pkcs11:token=t?module-path=/m.so&pin-source=file:",
     "expected file:/absolute/path or credential:NAME as pin-source"},
    {"pkcs11:token=t?module-path=/m.so&pin-source=file:/p/",
     "expected file:/absolute/path or credential:NAME as pin-source"},
    {"pkcs11:token=t?module-path=/m.so&pin-source=file://host/p",
     "expected file:/absolute/path or credential:NAME as pin-source"},
    {"pkcs11:token=t?module-path=/m.so&pin-source=file:////p",
     "expected file:/absolute/path or credential:NAME as pin-source"},
    {"pkcs11:token=t?module-path=/m.so&pin-source=file://p",
     "expected file:/absolute/path or credential:NAME as pin-source"},
    {"pkcs11:token=t?module-path=/m.so&pin-source=credential:",
     "expected file:/absolute/path or credential:NAME as pin-source"},
    {"pkcs11:token=t" REST "&admin-pin-source=/q",
     "expected file:/absolute/path or credential:NAME as admin-pin-source"},
    {"pkcs11:token=t" REST "&admin-pin-source=file:/q&admin-pin-source=file:/q",
     "expected admin-pin-source once, found it again"},
    {"pkcs11:token=t;admin-pin-source=file:/q" REST,
     "expected admin-pin-source after the question mark"},
    {"pkcs11:token=t" REST "&admin-pin-sorce=file:/q",
     "expected a known attribute at character 53, did you mean \"admin-pin-source\"?"},
    {"pkcs11:token=t?module-path=/m.so&pin_source=file:/p",
     "expected a known attribute at character 34, did you mean \"pin-source\"?"},
    {"pkcs11:tokn=t" REST, "expected a known attribute at character 8, did you mean \"token\"?"},
    {"pkcs11:token=t&module-path=/m.so&pin-source=file:/p",
     "expected \"?\" before module-path, found \"&\" at character 15"},
    {"pkcs11:token=t&serial=1" REST, "expected \";\" before serial, found \"&\" at character 15"},
    {"pkcs11:token=t?module-path=/m.so;pin-source=file:/p",
     "expected \"&\" before pin-source, found \";\" at character 33"},
    {"pkcs11:token=t?module-path=/m.so?pin-source=file:/p",
     "expected \"&\" before pin-source, found \"?\" at character 33"},
    {"pkcs11:token=t?module-path=/m.so&pin-source=credential:../p",
     "expected file:/absolute/path or credential:NAME as pin-source"},
    {"pkcs11:token=t?module-path=/m.so&pin-source=credential:a%2Fp",
     "expected file:/absolute/path or credential:NAME as pin-source"},
};

START_TEST(uri_refused)
{
    struct kek_why why = {.rc = KEK_OK};
    ck_assert_int_eq(kek_config_check_pkcs11_uri(wrong[_i].uri, &why), KEK_INVALID);
    ck_assert_str_eq(why.text, wrong[_i].said);
    ck_assert_int_eq(kek_config_check_pkcs11_uri(wrong[_i].uri, NULL), KEK_INVALID);
}
END_TEST

/* In whatever way it is wrong besides. */
static const char *const pins[] = {
    "pkcs11:token=t?module-path=/m.so&pin-value=987654",
    ("pkcs11:token=t" REST "&pin-value=987654"),
    ("pkcs11:token=t;pin-value=987654" REST),
    "pkcs11:token=t?pin-value=987654%zz",
    "pkcs11:token=t?pin-value=987654 ",
    "pkcs11:token=t?pin-source=987654&module-path=/m.so",
    "pkcs11:token=t?pin-value%3d987654",
    "pkcs11:token=t&pin-value=987654?module-path=/m.so",
    "pkcs11:token=t?module-path=/m.so;pin-value=987654",
    "pkcs11:token=t" REST "&pin-valu=987654",
    "pkcs11:987654?module-path=/m.so",
    "pkcs11:token=t?987654=x&987654=y",
    "pkcs11:token=t;a987654=x;a987654=y",
    "pkcs11:slot-id=987654x",
};

START_TEST(uri_refused_without_showing_a_pin)
{
    struct kek_why why;
    ck_assert_int_eq(kek_config_check_pkcs11_uri(pins[_i], &why), KEK_INVALID);
    ck_assert_msg(strstr(why.text, "987654") == NULL, "%s", why.text);
    /* Those with the attribute itself say what is wrong with it. */
    ck_assert(strstr(pins[_i], "pin-value=") == NULL || strstr(why.text, "found pin-value"));
}
END_TEST

START_TEST(uri_refused_when_there_is_too_much_of_it)
{
    char uri[2048];
    struct kek_why why;
    size_t at = (size_t)snprintf(uri, sizeof uri, "pkcs11:token=t?module-path=/");
    memset(uri + at, 'a', 1100);
    uri[at + 1100] = '\0';
    ck_assert_int_eq(kek_config_check_pkcs11_uri(uri, &why), KEK_INVALID);
    ck_assert_str_eq(why.text, "expected values of at most 1023 bytes");
    at = (size_t)snprintf(uri, sizeof uri, "pkcs11:token=t");
    for (int i = 0; i < 32; i++) {
        at += (size_t)snprintf(uri + at, sizeof uri - at, "%cv%d=x", i == 0 ? '?' : '&', i);
    }
    ck_assert_int_eq(kek_config_check_pkcs11_uri(uri, &why), KEK_INVALID);
    ck_assert_str_eq(why.text, "expected at most 32 attributes");
}
END_TEST

START_TEST(an_attribute_is_given_decoded_and_by_its_whole_name)
{
    static const char uri[] = "pkcs11:token=a%20b;serial=1?module-path=/m%2cx&pin-source=file:/p";
    char value[32] = "before";
    ck_assert(kek_config_pkcs11_attribute(uri, "token", value, sizeof value));
    ck_assert_str_eq(value, "a b");
    ck_assert(kek_config_pkcs11_attribute(uri, "module-path", value, sizeof value));
    ck_assert_str_eq(value, "/m,x");
    ck_assert(kek_config_pkcs11_attribute(uri, "pin-source", value, sizeof value));
    ck_assert_str_eq(value, "file:/p");
    ck_assert(!kek_config_pkcs11_attribute(uri, "module", value, sizeof value));
    ck_assert(!kek_config_pkcs11_attribute(uri, "pin-source", value, 7));
    ck_assert_str_eq(value, "file:/p");
}
END_TEST

static const struct {
    const char *uri, *library; /* NULL: none */
    bool is_softhsm;
} libraries[] = {
    {"pkcs11:token=t?module-path=/usr/lib/softhsm/libsofthsm2.so", "libsofthsm2", true},
    {"pkcs11:token=t?module-path=/opt/libsofthsm2-2.6.so", "libsofthsm2", true},
    {"pkcs11:token=t?module-name=softhsm2", "libsofthsm2", true},
    {"pkcs11:token=t?module-path=/usr/lib/libtpm2_pkcs11.so.1", "libtpm2_pkcs11", false},
    {"pkcs11:token=t?module-name=yubihsm_pkcs11", "yubihsm_pkcs11", false},
    {"pkcs11:token=t?module-path=/libsofthsm2/other.so", NULL, false},
    {"pkcs11:token=t?module-path=/softhsm2.so", NULL, false},
    {NULL, NULL, false}, /* another type's */
};

START_TEST(a_library_is_known_by_its_files_name)
{
    struct kek_config_setting setting = {.key = (char *)"uri", .value = (char *)libraries[_i].uri};
    const struct kek_config_provider provider = {.settings = &setting,
                                                 .setting_count = setting.value != NULL};
    const struct kek_vendor *vendor = kek_config_vendor(&provider);
    ck_assert_int_eq(vendor != NULL, libraries[_i].library != NULL);
    if (vendor != NULL) {
        ck_assert_str_eq(vendor->library, libraries[_i].library);
        ck_assert_int_eq(vendor->is_softhsm, libraries[_i].is_softhsm);
    }
}
END_TEST

#define COUNT(array) (int)(sizeof(array) / sizeof(array)[0])

int main(void)
{
    Suite *suite = suite_create("config_uri");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, uri_accepted, 0, COUNT(right));
    tcase_add_loop_test(all, uri_refused, 0, COUNT(wrong));
    tcase_add_loop_test(all, uri_refused_without_showing_a_pin, 0, COUNT(pins));
    tcase_add_test(all, uri_refused_when_there_is_too_much_of_it);
    tcase_add_test(all, an_attribute_is_given_decoded_and_by_its_whole_name);
    tcase_add_loop_test(all, a_library_is_known_by_its_files_name, 0, COUNT(libraries));
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
