/* EncryptionConfigurations: what is read, what is refused and where, and that what is written is what was read. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "kek/encryption_config.h"

#define HEAD "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\n"
#define RULE HEAD "resources:\n- resources: [secrets]\n  providers:\n"
#define S16 "MDEyMzQ1Njc4OWFiY2RlZg=="
#define S32 "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
#define KMS "  - kms: {apiVersion: v2, name: kekd, endpoint: 'unix:///run/kekd/kms.sock'}\n"

static const char *const good[] = {
    RULE "  - identity: {}\n",
    RULE "  - aescbc: {keys: [{name: key1, secret: " S32 "}, {name: \"12\", secret: " S16 "}]}\n"
         "  - aesgcm: {keys: [{name: a, secret: " S16 "}]}\n"
         "  - secretbox: {keys: [{name: \"yes\", secret: " S32 "}]}\n"
         "  - identity: {}\n",
    RULE KMS "  - identity: {}\n",
    RULE "  - kms: {name: \"a:b\", endpoint: 'unix:///a b', cachesize: -1, timeout: 1m0.5s}\n",
    RULE
    "  - kms: {apiVersion: '', name: a, endpoint: 'unix:@abstract', cachesize: ~, timeout: null}\n",
    RULE "  - kms: {name: a, endpoint: 'unix:///1'}\n  - kms: {name: a, endpoint: 'unix:///2'}\n",
    HEAD "resources:\n- resources: [events]\n  providers: [{identity: {}}]\n"
         "- resources: [secrets, things.example.com, '*.apps']\n  providers: [{identity: {}}]\n"
         "- resources: ['*.*']\n  providers:\n" KMS,
    "kind: EncryptionConfig\napiVersion: v1\nresources:\n- resources: [secrets]\n  providers:\n"
    "  - identity: {}\n",
    "{\"apiVersion\": \"apiserver.config.k8s.io/v1\", \"kind\": \"EncryptionConfiguration\",\n"
    " \"resources\": [{\"resources\": [\"secrets\"], \"providers\": [{\"identity\": {}}]}]}\n",
    RULE "  - aescbc: {keys: [{name: \"a\\\"\\\\\\x07\xc3\xa9\", secret: " S32 "}]}\n",
};
#define GOOD_COUNT ((int)(sizeof good / sizeof good[0]))

static const struct {
    const char *yaml, *says;
} bad[] = {
    {"", "f:1:1: expected a mapping, found nothing"},
    {"[]", "f:1:1: expected a mapping"},
    {"kind: Pod\napiVersion: v1\nresources: []\n",
     "f:1:7: expected kind EncryptionConfiguration of"},
    {"kind: EncryptionConfiguration\napiVersion: apiserver.config.k8s.io/v2\nresources: []\n",
     "f:2:13: expected apiVersion apiserver.config.k8s.io/v1, found apiserver.config.k8s.io/v2"},
    {HEAD, "f:1:1: resources: expected a list with at least one item"},
    {HEAD "resources: []\n", "f:3:12: resources: expected a list with at least one item"},
    {HEAD "resource: []\n", "f:3:1: unknown field \"resource\": is it \"resources\"?"},
    {HEAD "metadata: {}\n", "f:3:1: unknown field \"metadata\""},
    {HEAD "kind: EncryptionConfiguration\n", "f:3:1: \"kind\" stands here twice (first at 2:1)"},
    {HEAD "resources:\n- providers: [{identity: {}}]\n",
     "f:4:3: resources[0].resources: expected a list with at least one item"},
    {HEAD "resources:\n- resources: [secrets]\n",
     "f:4:3: resources[0].providers: expected a list with at least one item"},
    {HEAD "resources:\n- resources: [secrets, 12]\n  providers: [{identity: {}}]\n",
     "f:4:24: resources[0].resources[1]: expected a text: a number, yes or no must stand in "
     "quotes"},
    {HEAD "resources:\n- resources: [Secrets]\n  providers: [{identity: {}}]\n",
     "f:4:15: resources[0].resources[0]: a resource's name has no capital letters"},
    {HEAD "resources:\n- resources: ['*']\n  providers: [{identity: {}}]\n", "f:4:15: "},
    {HEAD "resources:\n- resources: ['pods.*']\n  providers: [{identity: {}}]\n", "f:4:15: "},
    {HEAD "resources:\n- resources: [serviceipallocations]\n  providers: [{identity: {}}]\n",
     "f:4:15: resources[0].resources[0]: resources without a REST API"},
    {HEAD "resources:\n- resources: [a.events.k8s.io]\n  providers: [{identity: {}}]\n",
     "f:4:15: "},
    {HEAD "resources:\n- resources: [a.extensions]\n  providers: [{identity: {}}]\n", "f:4:15: "},
    {HEAD "resources:\n- resources: [secrets, secrets]\n  providers: [{identity: {}}]\n",
     "f:4:24: resources[0].resources[1]: overlaps with item 0 of the same list"},
    {HEAD "resources:\n- resources: [secrets, '*.']\n  providers: [{identity: {}}]\n",
     "f:4:24: resources[0].resources[1]: overlaps with item 0 of the same list"},
    {HEAD "resources:\n- resources: ['*.*']\n  providers: [{identity: {}}]\n"
          "- resources: [secrets]\n  providers: [{identity: {}}]\n",
     "f:6:15: resources[1].resources[0]: is masked by resources[0] before it"},
    {RULE "  - {}\n",
     "f:6:5: resources[0].providers[0]: expected aescbc, aesgcm, secretbox, identity"},
    {RULE "  - identity:\n", "f:6:5: resources[0].providers[0]: expected aescbc"},
    {RULE "  - identity: {a: 1}\n",
     "f:6:16: resources[0].providers[0].identity: unknown field \"a\""},
    {RULE "  - identity: {}\n    aescbc: {}\n",
     "resources[0].providers[0]: more than one provider"},
    {RULE "  - aes: {}\n", "f:6:5: resources[0].providers[0]: unknown field \"aes\""},
    {RULE "  - aescbc: {}\n", "f:6:13: resources[0].providers[0].aescbc.keys: expected a list"},
    {RULE "  - aescbc: {keys: [{secret: " S32 "}]}\n",
     "f:6:21: resources[0].providers[0].aescbc.keys[0].name: expected a text"},
    {RULE "  - aescbc: {keys: [{name: a}]}\n",
     "f:6:21: resources[0].providers[0].aescbc.keys[0].secret: expected a text"},
    {RULE "  - aescbc: {keys: [{name: a, secret: U0VDUkVUU0VDUkVU}]}\n",
     "f:6:39: resources[0].providers[0].aescbc.keys[0].secret: expected 16, 24 or 32 bytes in "
     "base64, "
     "found 12"},
    {RULE "  - secretbox: {keys: [{name: a, secret: U0VDUkVUU0VDUkVUISEhIQ==}]}\n",
     "secret: expected 32 bytes in base64, found 16"},
    {RULE "  - aesgcm: {keys: [{name: a, secret: SECRETSECRET!}]}\n", "secret: expected base64"},
    {RULE "  - aesgcm: {keys: [{name: a, secret: ''}]}\n", "secret: expected a text"},
    {RULE "  - kms: {apiVersion: v3, name: a, endpoint: 'unix:///a'}\n",
     "f:6:23: resources[0].providers[0].kms.apiVersion: expected v1 or v2, found \"v3\""},
    {RULE "  - kms: {apiVersion: v2, endpoint: 'unix:///a'}\n",
     "f:6:10: resources[0].providers[0].kms.name: expected a text"},
    {RULE "  - kms: {apiVersion: v2, name: 'a:b', endpoint: 'unix:///a'}\n",
     "f:6:33: resources[0].providers[0].kms: the name of a v2 plugin has no \":\""},
    {RULE "  - kms: {apiVersion: v2, name: a}\n", "kms.endpoint: expected a text"},
    {RULE "  - kms: {apiVersion: v2, name: a, endpoint: /run/a}\n",
     "f:6:46: resources[0].providers[0].kms.endpoint: expected a URL unix://..., found \"/run/a\""},
    {RULE "  - kms: {name: a, endpoint: 'unix:///%zz'}\n", "endpoint: expected a URL"},
    {RULE "  - kms: {name: a, endpoint: 'unix:///a', timeout: 3}\n",
     "timeout: expected a text: a number"},
    {RULE "  - kms: {name: a, endpoint: 'unix:///a', timeout: 0s}\n",
     "timeout: expected a duration above 0, as \"3s\", found \"0s\""},
    {RULE "  - kms: {name: a, endpoint: 'unix:///a', timeout: -3s}\n",
     "timeout: expected a duration"},
    {RULE "  - kms: {name: a, endpoint: 'unix:///a', timeout: 3d}\n",
     "timeout: expected a duration"},
    {RULE "  - kms: {name: a, endpoint: 'unix:///a', cachesize: 0}\n",
     "cachesize: expected a whole"},
    {RULE "  - kms: {name: a, endpoint: 'unix:///a', cachesize: 2147483648}\n",
     "cachesize: expected"},
    {RULE "  - kms: {name: a, endpoint: 'unix:///a', cachesize: '7'}\n", "cachesize: expected"},
    {RULE "  - kms: {apiVersion: v2, name: a, endpoint: 'unix:///a', cachesize: 7}\n",
     "cachesize: is for apiVersion v1 alone"},
    {RULE "  - kms: {name: a, endpoint: 'unix:///a', cachsize: 7}\n",
     "f:6:43: resources[0].providers[0].kms: unknown field \"cachsize\": is it \"cachesize\"?"},
    {RULE KMS KMS, "f:7:5: resources[0].providers[1]: the kms name \"kekd\" is taken at 6:5"},
    {RULE KMS "  - kms: {name: kekd, endpoint: 'unix:///v1'}\n", "the kms name \"kekd\" is taken"},
    {RULE "  - kms: {name: kekd, endpoint: 'unix:///v1'}\n" KMS, "the kms name \"kekd\" is taken"},
    {RULE "  - &a identity: {}\n", "anchors (&) are not accepted"},
};
#define BAD_COUNT ((int)(sizeof bad / sizeof bad[0]))

static struct kek_encryption_config *parse(const char *yaml, struct kek_why *why)
{
    return kek_encryption_config_parse(kek_bytes_of(yaml), "f", why);
}

static char *written(const struct kek_encryption_config *config)
{
    KEK_AUTO_BUF struct kek_buf out;
    kek_buf_init(&out, 65536);
    ck_assert_int_eq(kek_encryption_config_write(config, NULL, &out, NULL), KEK_OK);
    return strndup((const char *)out.data, out.len);
}

START_TEST(what_is_good_is_written_as_it_was_read)
{
    struct kek_why why = {.text = ""};
    KEK_AUTO(kek_encryption_config) first = parse(good[_i], &why);
    ck_assert_msg(first != NULL, "%s: %s", good[_i], why.text);
    KEK_AUTO_FREE char *once = written(first);
    KEK_AUTO(kek_encryption_config) second = parse(once, &why);
    ck_assert_msg(second != NULL, "%s: %s", once, why.text);
    KEK_AUTO_FREE char *twice = written(second);
    ck_assert_str_eq(once, twice);
    ck_assert_uint_eq(first->rule_count, second->rule_count);
    for (size_t i = 0; i < first->rule_count; i++) {
        ck_assert_uint_eq(first->rules[i].provider_count, second->rules[i].provider_count);
        for (size_t j = 0; j < first->rules[i].provider_count; j++) {
            const struct kek_encryption_provider *a = first->rules[i].providers[j];
            const struct kek_encryption_provider *b = second->rules[i].providers[j];
            ck_assert_int_eq(a->kind, b->kind);
            ck_assert_pstr_eq(a->name, b->name);
            ck_assert_pstr_eq(a->endpoint, b->endpoint);
            ck_assert_pstr_eq(a->timeout, b->timeout);
            ck_assert_pstr_eq(a->cachesize, b->cachesize);
            ck_assert_uint_eq(a->key_count, b->key_count);
            for (size_t k = 0; k < a->key_count; k++) {
                ck_assert_str_eq(a->keys[k].name, b->keys[k].name);
                ck_assert_str_eq(a->keys[k].secret, b->keys[k].secret);
            }
        }
    }
}
END_TEST

START_TEST(what_is_bad_is_refused_with_its_place)
{
    struct kek_why why = {.text = ""};
    ck_assert_msg(parse(bad[_i].yaml, &why) == NULL, "%s", bad[_i].yaml);
    ck_assert_int_eq(why.rc, KEK_INVALID);
    ck_assert_msg(strstr(why.text, bad[_i].says) != NULL, "%s\nand not\n%s", why.text,
                  bad[_i].says);
    ck_assert_msg(strncmp(why.text, "f:", 2) == 0, "%s", why.text);
    ck_assert_msg(strstr(why.text, "SECRET") == NULL && strstr(why.text, "U0VD") == NULL, "%s",
                  why.text);
}
END_TEST

START_TEST(a_file_cut_anywhere_is_refused_or_read)
{
    const char *whole = good[1];
    for (size_t len = 0; len < strlen(whole); len++) {
        struct kek_why why = {.text = ""};
        KEK_AUTO(kek_encryption_config)
        config = kek_encryption_config_parse(kek_bytes(whole, len), "f", &why);
        ck_assert(config != NULL || why.rc == KEK_INVALID);
    }
}
END_TEST

START_TEST(a_comment_stands_above_and_a_full_buffer_is_told)
{
    struct kek_why why = {.text = ""};
    KEK_AUTO(kek_encryption_config) config = parse(good[2], &why);
    for (size_t max = 0;; max++) {
        KEK_AUTO_BUF struct kek_buf out;
        kek_buf_init(&out, max);
        enum kek_rc rc = kek_encryption_config_write(config, "# comment\n", &out, &why);
        if (rc == KEK_OK) {
            ck_assert_uint_eq(out.len, max);
            ck_assert_int_eq(strncmp((const char *)out.data, "# comment\napiVersion: ", 22), 0);
            break;
        }
        ck_assert_int_eq(rc, KEK_TOO_LARGE);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encryption_config");
    TCase *all = tcase_create("all");
    tcase_add_loop_test(all, what_is_good_is_written_as_it_was_read, 0, GOOD_COUNT);
    tcase_add_loop_test(all, what_is_bad_is_refused_with_its_place, 0, BAD_COUNT);
    tcase_add_test(all, a_file_cut_anywhere_is_refused_or_read);
    tcase_add_test(all, a_comment_stands_above_and_a_full_buffer_is_told);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
