/* The keys of a provider of type transit: what is taken, and what is said of the rest. */
#include "config_help.h"

#include <stdio.h>

#define HEAD "listen: unix:///k\nkeyring: k\nproviders: [{name: a, type: transit, "
#define ADDRESS "address: \"https://bao:8200\""
#define TOKEN ADDRESS ", token_file: /t"

static struct kek_config *parse(const char *keys, struct kek_why *why)
{
    char yaml[1024];
    snprintf(yaml, sizeof yaml, HEAD "%s}]\n", keys);
    return kek_config_parse(kek_bytes_of(yaml), "f", why);
}

START_TEST(every_way_in_reaches_the_settings)
{
    static const char *const good[] = {
        TOKEN,
        TOKEN ", ca: /ca, namespace: a/b, mount: x/transit, key: K.1_2, admin_token_file: /o, "
              "allow_exportable: true, versions: [{n: 1, state: suspended}]",
        ADDRESS ", auth: approle, role: r-1, secret_id_file: /s, auth_mount: a/b",
        ADDRESS ", auth: jwt, role: r, jwt_file: /j",
        ADDRESS ", auth: cert, cert: /c, cert_key: /k",
        "address: \"http://127.0.0.1:8200\", token_file: /t",
        "address: \"http://[::1]:8200\", token_file: /t",
        "address: \"http://localhost:8200\", token_file: /t",
    };
    for (size_t i = 0; i < sizeof good / sizeof good[0]; i++) {
        struct kek_why why = {.rc = KEK_OK};
        struct kek_config *config = parse(good[i], &why);
        ck_assert_msg(config != NULL, "%s: %s", good[i], why.text);
        const struct kek_config_provider *provider = &config->providers[0];
        ck_assert_str_eq(kek_config_setting(provider, "auth"), i < 2   ? "token"
                                                               : i < 3 ? "approle"
                                                               : i < 4 ? "jwt"
                                                               : i < 5 ? "cert"
                                                                       : "token");
        ck_assert_str_eq(kek_config_setting(provider, "mount"), i == 1 ? "x/transit" : "transit");
        ck_assert_str_eq(kek_config_setting(provider, "allow_exportable"),
                         i == 1 ? "true" : "false");
        kek_config_free(config);
    }
}
END_TEST

START_TEST(what_is_wrong_is_named)
{
    static const struct {
        const char *keys, *says;
    } bad[] = {
        {"token_file: /t", "providers[0].address: expected this key, found it missing"},
        {"address: \"http://bao:8200\", token_file: /t", "address: expected https://HOST:PORT"},
        {"address: \"https://bao\", token_file: /t", "address: expected https://HOST:PORT"},
        {"address: \"https://u@bao:1\", token_file: /t", "address: expected https://HOST:PORT"},
        {ADDRESS, "token_file: expected this key beside auth: token, found it missing"},
        {ADDRESS ", auth: approle, role: r",
         "secret_id_file: expected this key beside auth: approle"},
        {ADDRESS ", auth: jwt, jwt_file: /j", "role: expected this key beside auth: jwt"},
        {ADDRESS ", auth: cert", "cert: expected this key beside auth: cert"},
        {ADDRESS ", auth: userpass", "auth: expected token, approle, jwt or cert"},
        {TOKEN ", secret_id_file: /s", "secret_id_file: expected no such key beside another auth"},
        {TOKEN ", cert: /c", "cert: expected no such key without its partner"},
        {TOKEN ", mount: ../x", "mount: expected 1 to 255 letters"},
        {TOKEN ", mount: x/", "mount: expected 1 to 255 letters"},
        {TOKEN ", key: a/b", "key: expected 1 to 255 letters"},
        {TOKEN ", key: \"a b\"", "key: expected 1 to 255 letters"},
        {TOKEN ", ca: ca.pem", "ca: expected an absolute path"},
        {TOKEN ", allow_exportable: \"yes\"", "allow_exportable: expected false or true"},
        {TOKEN ", versions: [{n: 1, label: x, state: active}]",
         "providers[0].versions[0].label: expected no such key: a version of Transit has only its "
         "number"},
        {TOKEN ", uri: x", "uri: expected"},
        {"address: \"http://127.0.0.1:1\", token_file: /t, ca: /ca",
         "ca: expected no such key beside http://"},
    };
    for (size_t i = 0; i < sizeof bad / sizeof bad[0]; i++) {
        struct kek_why why = {.rc = KEK_OK};
        struct kek_config *config = parse(bad[i].keys, &why);
        ck_assert_msg(config == NULL, "accepted: %s", bad[i].keys);
        ck_assert_msg(strstr(why.text, bad[i].says) != NULL, "%s: %s", bad[i].keys, why.text);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("config transit");
    TCase *tests = tcase_create("transit");
    tcase_add_test(tests, every_way_in_reaches_the_settings);
    tcase_add_test(tests, what_is_wrong_is_named);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
