/* kekctl/kube_judge.c: which stored objects would have no reader. */
#include "kekctl/kube/kube_judge.h"

#include "kube_help.h"

#define HEAD "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
#define SECRETS "- resources: [secrets]\n  providers:\n"
#define KEY "{name: key1, secret: MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY=}"
#define AES "  - aescbc: {keys: [" KEY "]}\n"
#define PLAIN "  - identity: {}\n"
#define KEKD "  - kms: {apiVersion: v2, name: kekd, endpoint: 'unix:///run/kekd/kms.sock'}\n"

static struct tally *tally;
static const char *name; /* of kekd's entry */
static char said[4][KEK_WHY_TEXT];
static size_t said_count;

static void setup(void)
{
    bool locked;
    name = "kekd-v2";
    ck_assert_int_eq(kek_secret_setup(64 * 1024, &locked, NULL), KEK_OK);
    tally = tally_new(kek_bytes_of("/registry"), NULL, 0, 0);
    ck_assert_ptr_nonnull(tally);
}

static void teardown(void)
{
    tally_free(tally);
}

static void say(const struct ctl *ctl, const char *format, ...) KEK_PRINTF(2, 3);

static void say(const struct ctl *ctl, const char *format, ...)
{
    va_list args;
    (void)ctl;
    va_start(args, format);
    ck_assert_uint_lt(said_count, 4);
    vsnprintf(said[said_count++], KEK_WHY_TEXT, format, args);
    va_end(args);
}

static void take(const char *key, const char *value)
{
    struct kek_why why;
    ck_assert_int_eq(tally_take(tally, kek_bytes_of(key), kek_bytes_of(value), &why), KEK_OK);
}

static struct kek_encryption_config *parse(const char *yaml)
{
    struct kek_why why = {.text = ""};
    struct kek_encryption_config *config =
        yaml == NULL ? kek_encryption_config_new()
                     : kek_encryption_config_parse(kek_bytes_of(yaml), "f", &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    return config;
}

static bool removes_reader;

/* How many groups are told of. */
static size_t judge(const char *before, const char *after)
{
    struct ctl ctl = {.from = before == NULL ? NULL : "present.yaml"};
    struct kube_change change = {.ctl = &ctl,
                                 .name = name,
                                 .before = parse(before),
                                 .after = parse(after),
                                 .step.removes_reader = removes_reader};
    said_count = 0;
    size_t found = kube_judge(&change, tally, say);
    ck_assert_uint_eq(found, said_count);
    kek_encryption_config_free(change.before);
    kek_encryption_config_free(change.after);
    return found;
}

START_TEST(nothing_stored_is_nothing_to_lose)
{
    ck_assert_uint_eq(judge(HEAD SECRETS AES PLAIN, HEAD SECRETS KEKD), 0);
}
END_TEST

START_TEST(what_only_an_old_provider_reads_is_counted_by_resource_and_key)
{
    take("/registry/secrets/default/a", "k8s:enc:aescbc:v1:key1:0123456789abcdef0123456789abcdef");
    take("/registry/secrets/default/b", "k8s:enc:aescbc:v1:key1:0123456789abcdef0123456789abcdef");
    take("/registry/secrets/default/c", "{}");
    take("/registry/secrets/default/d", "k8s:enc:kms:v2:kekd:x");
    take("/registry/configmaps/default/a", "{}");
    take("/registry/ranges/serviceips", "{}");
    ck_assert_uint_eq(judge(HEAD SECRETS AES KEKD PLAIN, HEAD SECRETS KEKD AES PLAIN), 0);
    ck_assert_uint_eq(judge(HEAD SECRETS KEKD AES PLAIN, HEAD SECRETS KEKD PLAIN), 1);
    ck_assert_str_eq(said[0],
                     "secrets: 2 under aescbc, key key1: no API server could read them after this "
                     "phase; have them rewritten (kekctl reencrypt), and check again");
    ck_assert_uint_eq(judge(HEAD SECRETS KEKD AES PLAIN, HEAD SECRETS KEKD), 2);
    ck_assert_str_eq(said[1],
                     "secrets: 1 in clear: no API server could read it after this phase; have "
                     "it rewritten (kekctl reencrypt), and check again");
    ck_assert_uint_eq(judge(HEAD SECRETS PLAIN KEKD AES, HEAD SECRETS PLAIN AES), 1);
    ck_assert_ptr_nonnull(strstr(said[0], "secrets: 1 under the kms v2 entry kekd: no API server"));
}
END_TEST

START_TEST(what_the_present_file_does_not_read_either_is_another_sentence)
{
    take("/registry/secrets/default/a",
         "k8s:enc:secretbox:v1:box:0123456789abcdef0123456789abcdef0123456789");
    ck_assert_uint_eq(judge(HEAD SECRETS PLAIN, HEAD SECRETS PLAIN KEKD), 1);
    ck_assert_str_eq(said[0],
                     "secrets: 1 under secretbox, key box: nothing in present.yaml reads it: it "
                     "is not what the API servers have, or they cannot read it either "
                     "(kekctl inventory tells what is damaged)");
    ck_assert_uint_eq(judge(NULL, HEAD SECRETS KEKD PLAIN), 1);
    ck_assert_ptr_nonnull(
        strstr(said[0], "must have an EncryptionConfiguration already that reads it"));
}
END_TEST

START_TEST(what_is_encrypted_under_a_key_that_is_no_objects_keeps_its_reader)
{
    take("/registry/odd", "{}");
    removes_reader = true;
    ck_assert_uint_eq(judge(HEAD SECRETS KEKD AES, HEAD SECRETS KEKD), 0);
    take("/registry/strange", "k8s:enc:aescbc:v1:key1:0123456789abcdef0123456789abcdef");
    ck_assert_uint_eq(judge(HEAD SECRETS KEKD AES, HEAD SECRETS KEKD), 1);
    ck_assert_ptr_nonnull(strstr(said[0], "under keys that are no object's"));
    removes_reader = false;
    ck_assert_uint_eq(judge(HEAD SECRETS AES, HEAD SECRETS AES KEKD), 0);
}
END_TEST

START_TEST(a_name_that_was_used_before_is_told_of_before_it_is_used_again)
{
    take("/registry/secrets/default/a", "k8s:enc:kms:v2:kekd:x");
    ck_assert_uint_eq(judge(HEAD SECRETS PLAIN, HEAD SECRETS PLAIN KEKD), 1);
}
END_TEST

START_TEST(what_no_list_has_must_be_plain)
{
    take("/registry/configmaps/default/a", "{}");
    take("/registry/example.com/things/default/a", "k8s:enc:kms:v2:kekd:x");
    ck_assert_uint_eq(judge(HEAD SECRETS KEKD, HEAD SECRETS KEKD PLAIN), 1);
    ck_assert_ptr_nonnull(strstr(said[0], "things.example.com: 1 under the kms v2 entry kekd"));
}
END_TEST

START_TEST(a_key_of_the_right_name_that_is_another_key_is_not_safe)
{
    tally->file = parse(HEAD SECRETS AES KEKD);
    take("/registry/secrets/default/a", "k8s:enc:aescbc:v1:key1:0123456789abcdef0123456789abcdef");
    ck_assert_uint_eq(judge(HEAD SECRETS AES KEKD, HEAD SECRETS KEKD AES), 1);
    ck_assert_ptr_nonnull(strstr(said[0], "1 object does not open by the key of that name"));
    ck_assert_ptr_nonnull(strstr(said[0], "present.yaml"));
    ck_assert_str_eq(tally->named[TALLY_KEY][0].why, "the file's aescbc key key1 does not open it");
    ck_assert_uint_eq(tally->opened, 0);
    kek_encryption_config_free((struct kek_encryption_config *)(uintptr_t)tally->file);
}
END_TEST

/* aesgcm's first ':' may be the name's own. */
START_TEST(a_name_with_a_colon_has_its_reader)
{
    static const char colon[] = HEAD SECRETS
        "  - aesgcm: {keys: [{name: 'team:a', secret: MDEyMzQ1Njc4OWFiY2RlZg==}]}\n" KEKD;
    tally->file = parse(colon);
    take("/registry/secrets/default/a",
         "k8s:enc:aesgcm:v1:team:a:0123456789abcdef0123456789abcdef");
    ck_assert_uint_eq(judge(colon, colon), 1); /* it does not open, and nothing else is wrong */
    ck_assert_ptr_nonnull(strstr(said[0], "1 object does not open by the key of that name"));
    ck_assert_str_eq(tally->named[TALLY_KEY][0].why,
                     "the file's aesgcm key team:a does not open it");
    kek_encryption_config_free((struct kek_encryption_config *)(uintptr_t)tally->file);
}
END_TEST

START_TEST(what_another_plugin_wrote_under_the_name_has_no_reader)
{
    take("/registry/secrets/default/a", "k8s:enc:kms:v2:kekd:x");
    name = "kekd";
    ck_assert_uint_eq(judge(HEAD SECRETS KEKD PLAIN, HEAD SECRETS KEKD), 1);
    ck_assert_ptr_nonnull(strstr(said[0], "secrets: 1 under the entry kekd, and not kekd's"));
}
END_TEST

START_TEST(what_nobody_knows_is_not_safe)
{
    take("/registry/secrets/default/a", "k8s:enc:new:v9:a:x");
    ck_assert_uint_eq(judge(HEAD SECRETS KEKD PLAIN, HEAD SECRETS KEKD PLAIN), 1);
    ck_assert_ptr_nonnull(strstr(said[0], "secrets: 1 under something that kekctl does not know"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube_judge");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, setup, teardown);
    tcase_add_test(all, nothing_stored_is_nothing_to_lose);
    tcase_add_test(all, what_only_an_old_provider_reads_is_counted_by_resource_and_key);
    tcase_add_test(all, what_the_present_file_does_not_read_either_is_another_sentence);
    tcase_add_test(all, what_is_encrypted_under_a_key_that_is_no_objects_keeps_its_reader);
    tcase_add_test(all, a_name_that_was_used_before_is_told_of_before_it_is_used_again);
    tcase_add_test(all, what_no_list_has_must_be_plain);
    tcase_add_test(all, a_key_of_the_right_name_that_is_another_key_is_not_safe);
    tcase_add_test(all, a_name_with_a_colon_has_its_reader);
    tcase_add_test(all, what_another_plugin_wrote_under_the_name_has_no_reader);
    tcase_add_test(all, what_nobody_knows_is_not_safe);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
