/* The phases of an EncryptionConfiguration: where each leads, what is refused, and that of two neighbours each reads
 * what the other writes. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "kek/encryption_config.h"

#define HEAD "apiVersion: apiserver.config.k8s.io/v1\nkind: EncryptionConfiguration\nresources:\n"
#define SECRETS "- resources: [secrets]\n  providers:\n"
#define S32 "MDEyMzQ1Njc4OWFiY2RlZjAxMjM0NTY3ODlhYmNkZWY="
#define AES "  - aescbc: {keys: [{name: key2, secret: " S32 "}, {name: key1, secret: " S32 "}]}\n"
#define BOX "  - secretbox: {keys: [{name: box, secret: " S32 "}]}\n"
#define PLAIN "  - identity: {}\n"
#define SOCKET "unix:///run/kekd/kms.sock"
#define KEKD "  - kms: {apiVersion: v2, name: kekd, endpoint: '" SOCKET "', timeout: 5s}\n"
#define OTHER "  - kms: {apiVersion: v2, name: other, endpoint: 'unix:///run/other.sock'}\n"
#define V1 "  - kms: {name: kekd, endpoint: '" SOCKET "'}\n"

enum { ADD = 0, MAKE, REMOVE, DISABLE };

/* "secrets: aescbc/key2,key1 plain kms v2/kekd/5s; configmaps: plain" */
static void put_shape(const struct kek_encryption_config *config, char *text, size_t size)
{
    text[0] = '\0';
#define PUT(...) snprintf(text + strlen(text), size - strlen(text), __VA_ARGS__)
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct kek_encryption_rule *rule = &config->rules[i];
        for (size_t j = 0; j < rule->resource_count; j++) {
            PUT("%s%s", j > 0 ? "," : i > 0 ? "; " : "", rule->resources[j]);
        }
        for (size_t j = 0; j < rule->provider_count; j++) {
            const struct kek_encryption_provider *provider = rule->providers[j];
            PUT("%s%s", j == 0 ? ": " : " ", kek_kube_kind_name(provider->kind));
            for (size_t k = 0; k < provider->key_count; k++) {
                PUT("%s%s", k == 0 ? "/" : ",", provider->keys[k].name);
            }
            if (provider->name != NULL) {
                PUT("/%s", provider->name);
            }
            if (provider->timeout != NULL) {
                PUT("/%s", provider->timeout);
            }
        }
    }
#undef PUT
}

struct request {
    const char *from; /* NULL: none */
    int phase;
    const char *resources[4];
    const char *name, *timeout, *endpoint;
};

static enum kek_rc advance(const struct request *request, struct kek_encryption_config **made,
                           struct kek_encryption_step *step, struct kek_why *why)
{
    struct kek_encryption_target target = {
        .resources = request->resources,
        .name = request->name == NULL ? "kekd" : request->name,
        .endpoint = request->endpoint == NULL ? SOCKET : request->endpoint,
        .timeout = request->timeout};
    while (target.resource_count < 4 && request->resources[target.resource_count] != NULL) {
        target.resource_count++;
    }
    *made = request->from == NULL
                ? kek_encryption_config_new()
                : kek_encryption_config_parse(kek_bytes_of(request->from), "f", why);
    ck_assert_msg(*made != NULL, "%s", why->text);
    return kek_encryption_config_advance(*made, (enum kek_encryption_phase)request->phase, &target,
                                         step, why);
}

static const struct {
    struct request request;
    enum kek_encryption_stage stage;
    bool unchanged, removes;
    const char *shape;
} leads[] = {
    /* a new cluster */
    {{NULL, MAKE, {0}}, KEK_ENCRYPTION_STAGE_WRITER, false, false, "secrets: kms v2/kekd/3s plain"},
    {{NULL, MAKE, {"secrets", "configmaps"}, .timeout = "9s"},
     KEK_ENCRYPTION_STAGE_WRITER,
     false,
     false,
     "secrets,configmaps: kms v2/kekd/9s plain"},
    /* plaintext, with no file and with one */
    {{NULL, ADD, {0}}, KEK_ENCRYPTION_STAGE_READER, false, false, "secrets: plain kms v2/kekd/3s"},
    {{HEAD SECRETS PLAIN, ADD, {0}},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "secrets: plain kms v2/kekd/3s"},
    {{HEAD SECRETS PLAIN KEKD, ADD, {0}},
     KEK_ENCRYPTION_STAGE_READER,
     true,
     false,
     "secrets: plain kms v2/kekd/5s"},
    {{HEAD SECRETS PLAIN KEKD, MAKE, {0}},
     KEK_ENCRYPTION_STAGE_WRITER,
     false,
     false,
     "secrets: kms v2/kekd/5s plain"},
    {{HEAD SECRETS KEKD PLAIN, MAKE, {0}},
     KEK_ENCRYPTION_STAGE_WRITER,
     true,
     false,
     "secrets: kms v2/kekd/5s plain"},
    {{HEAD SECRETS KEKD PLAIN, MAKE, {0}, .timeout = "3s"},
     KEK_ENCRYPTION_STAGE_WRITER,
     false,
     false,
     "secrets: kms v2/kekd/3s plain"},
    {{HEAD SECRETS KEKD PLAIN, REMOVE, {0}},
     KEK_ENCRYPTION_STAGE_ALONE,
     false,
     true,
     "secrets: kms v2/kekd/5s"},
    {{HEAD SECRETS KEKD, REMOVE, {0}},
     KEK_ENCRYPTION_STAGE_ALONE,
     true,
     true,
     "secrets: kms v2/kekd/5s"},
    /* leaving others */
    {{HEAD SECRETS AES BOX PLAIN, ADD, {0}},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "secrets: aescbc/key2,key1 kms v2/kekd/3s secretbox/box plain"},
    {{HEAD SECRETS AES KEKD BOX PLAIN, MAKE, {0}},
     KEK_ENCRYPTION_STAGE_WRITER,
     false,
     false,
     "secrets: kms v2/kekd/5s aescbc/key2,key1 secretbox/box plain"},
    {{HEAD SECRETS KEKD AES BOX PLAIN, REMOVE, {0}},
     KEK_ENCRYPTION_STAGE_ALONE,
     false,
     true,
     "secrets: kms v2/kekd/5s"},
    {{HEAD SECRETS OTHER, ADD, {0}},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "secrets: kms v2/other kms v2/kekd/3s"},
    /* v1 to v2, one socket */
    {{HEAD SECRETS V1 PLAIN, ADD, {0}, .name = "kekd-v2"},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "secrets: kms v1/kekd kms v2/kekd-v2/3s plain"},
    /* another HSM: another kekd on another socket */
    {{HEAD SECRETS KEKD, ADD, {0}, .name = "kekd-b", .endpoint = "unix:///run/kekd-b/kms.sock"},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "secrets: kms v2/kekd/5s kms v2/kekd-b/3s"},
    /* disabling */
    {{HEAD SECRETS KEKD, DISABLE, {0}},
     KEK_ENCRYPTION_STAGE_PLAIN_READER,
     false,
     false,
     "secrets: kms v2/kekd/5s plain"},
    {{HEAD SECRETS KEKD AES PLAIN, DISABLE, {0}},
     KEK_ENCRYPTION_STAGE_PLAIN_WRITER,
     false,
     false,
     "secrets: plain kms v2/kekd/5s aescbc/key2,key1"},
    {{HEAD SECRETS PLAIN KEKD, DISABLE, {0}},
     KEK_ENCRYPTION_STAGE_GONE,
     false,
     true,
     "secrets: plain"},
    {{HEAD SECRETS AES KEKD, DISABLE, {0}},
     KEK_ENCRYPTION_STAGE_GONE,
     false,
     true,
     "secrets: aescbc/key2,key1"},
    /* which list */
    {{HEAD "- resources: [configmaps]\n  providers:\n" BOX SECRETS AES, ADD, {0}},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "configmaps: secretbox/box; secrets: aescbc/key2,key1 kms v2/kekd/3s"},
    {{HEAD "- resources: [secrets, configmaps]\n  providers:\n" AES, ADD, {0}},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "secrets,configmaps: aescbc/key2,key1 kms v2/kekd/3s"},
    {{HEAD "- resources: [secrets, configmaps]\n  providers:\n" AES PLAIN, ADD, {"configmaps"}},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "configmaps: aescbc/key2,key1 kms v2/kekd/3s plain; secrets: aescbc/key2,key1 plain"},
    {{HEAD "- resources: ['*.*']\n  providers:\n" AES PLAIN, ADD, {0}},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "*.*: aescbc/key2,key1 kms v2/kekd/3s plain"},
    {{HEAD "- resources: ['*.*']\n  providers:\n" AES PLAIN, ADD, {"secrets"}},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "secrets: aescbc/key2,key1 kms v2/kekd/3s plain; *.*: aescbc/key2,key1 plain"},
    {{HEAD SECRETS AES, ADD, {"things.example.com"}},
     KEK_ENCRYPTION_STAGE_READER,
     false,
     false,
     "secrets: aescbc/key2,key1; things.example.com: plain kms v2/kekd/3s"},
    {{HEAD "- resources: [configmaps]\n  providers:\n" PLAIN KEKD SECRETS AES, MAKE, {0}},
     KEK_ENCRYPTION_STAGE_WRITER,
     false,
     false,
     "configmaps: kms v2/kekd/5s plain; secrets: aescbc/key2,key1"},
};
#define LEADS_COUNT ((int)(sizeof leads / sizeof leads[0]))

START_TEST(a_phase_leads_where_it_says)
{
    char shape[512];
    struct kek_why why = {.text = ""};
    struct kek_encryption_step step;
    KEK_AUTO(kek_encryption_config) config = NULL;
    enum kek_rc rc = advance(&leads[_i].request, &config, &step, &why);
    ck_assert_msg(rc == KEK_OK, "%s: %s", leads[_i].shape, why.text);
    put_shape(config, shape, sizeof shape);
    ck_assert_str_eq(shape, leads[_i].shape);
    ck_assert_int_eq(step.stage, leads[_i].stage);
    ck_assert_int_eq(step.unchanged, leads[_i].unchanged);
    ck_assert_int_eq(step.removes_reader, leads[_i].removes);
}
END_TEST

static const struct {
    struct request request;
    enum kek_rc rc;
    const char *says;
} refused[] = {
    {{HEAD SECRETS PLAIN, MAKE, {0}}, KEK_PRECONDITION, "f: kekd does not read there yet"},
    {{HEAD SECRETS KEKD, ADD, {0}}, KEK_PRECONDITION, "kekd writes there already"},
    {{NULL, REMOVE, {0}}, KEK_PRECONDITION, "the configuration: kekd is not there yet"},
    {{HEAD SECRETS PLAIN KEKD, REMOVE, {0}}, KEK_PRECONDITION, "--phase make-writer comes first"},
    {{NULL, DISABLE, {0}}, KEK_PRECONDITION, "no kms entry of this --name"},
    {{HEAD SECRETS AES, DISABLE, {0}}, KEK_PRECONDITION, "no kms entry of this --name"},
    /* the name is somebody's */
    {{HEAD SECRETS V1 PLAIN, ADD, {0}},
     KEK_INVALID,
     "f:6:5: \"kekd\" is the name of a KMS v1 entry here; kekd's v2 entry needs another one "
     "(--name "
     "kekd-v2)"},
    {{HEAD SECRETS KEKD, ADD, {0}, .endpoint = "unix:///run/kekd-b/kms.sock"},
     KEK_INVALID,
     "f:6:5: \"kekd\" is the name of the plugin at unix:///run/kekd/kms.sock"},
    {{HEAD SECRETS KEKD, MAKE, {"configmaps"}},
     KEK_INVALID,
     "\"kekd\" stands in the list of other resources"},
    {{HEAD SECRETS PLAIN, ADD, {0}, .name = "a:b"}, KEK_INVALID, "--name: expected 1 to 253"},
    {{HEAD SECRETS PLAIN, ADD, {0}, .name = ""}, KEK_INVALID, "--name: expected 1 to 253"},
    {{HEAD SECRETS PLAIN, ADD, {0}, .name = "a b"}, KEK_INVALID, "--name: expected printable"},
    /* the resources cannot be had */
    {{NULL, ADD, {"Secrets"}}, KEK_INVALID, "--resource Secrets: "},
    {{NULL, ADD, {"secrets", "*."}}, KEK_INVALID, "--resource *. overlaps with secrets"},
    {{HEAD SECRETS AES "- resources: [configmaps]\n  providers:\n" PLAIN,
      ADD,
      {"secrets", "configmaps"}},
     KEK_INVALID,
     "f: secrets and configmaps are not in one list there"},
    {{HEAD SECRETS AES, ADD, {"secrets", "configmaps"}}, KEK_INVALID, "are not in one list"},
    {{HEAD "- resources: [secrets, configmaps]\n  providers:\n" OTHER, ADD, {"secrets"}},
     KEK_INVALID,
     "f:4:3: this list has more resources than those of --resource, and a kms entry"},
    {{HEAD SECRETS AES SECRETS PLAIN, ADD, {0}},
     KEK_INVALID,
     "f: secrets stands in the lists at 7:3 and 4:3: make them one first"},
};
#define REFUSED_COUNT ((int)(sizeof refused / sizeof refused[0]))

START_TEST(what_cannot_be_is_refused_with_what_to_do)
{
    struct kek_why why = {.text = ""};
    struct kek_encryption_step step;
    KEK_AUTO(kek_encryption_config) config = NULL;
    enum kek_rc rc = advance(&refused[_i].request, &config, &step, &why);
    ck_assert_msg(rc == refused[_i].rc, "%s: %s", refused[_i].says, why.text);
    ck_assert_msg(strstr(why.text, refused[_i].says) != NULL, "%s\nand not\n%s", why.text,
                  refused[_i].says);
}
END_TEST

/* Whatever is first writes: every one of them must be read by the other. */
static void check_neighbours(const struct kek_encryption_config *before,
                             const struct kek_encryption_config *after)
{
    const struct kek_encryption_config *both[] = {before, after};
    static const char *const resources[] = {"secrets", "configmaps", "things.example.com"};
    for (size_t i = 0; i < 2; i++) {
        for (size_t j = 0; j < 3; j++) {
            const struct kek_encryption_rule *rule = NULL;
            for (size_t k = 0; k < both[i]->rule_count && rule == NULL; k++) {
                if (strcmp(both[i]->rules[k].resources[0], resources[j]) == 0) {
                    rule = &both[i]->rules[k];
                }
            }
            const struct kek_encryption_provider *writer = rule == NULL ? NULL : rule->providers[0];
            enum kek_kube_kind kind = writer == NULL ? KEK_KUBE_PLAIN : writer->kind;
            const char *name = writer == NULL          ? ""
                               : writer->key_count > 0 ? writer->keys[0].name
                               : writer->name == NULL  ? ""
                                                       : writer->name;
            ck_assert_msg(
                kek_encryption_config_reads(both[1 - i], resources[j], kind, kek_bytes_of(name)),
                "%s of %s %s", resources[j], kek_kube_kind_name(kind), name);
        }
    }
}

static const char *const starts[] = {
    NULL,
    HEAD SECRETS PLAIN,
    HEAD SECRETS AES PLAIN,
    HEAD SECRETS BOX,
    HEAD SECRETS OTHER PLAIN,
    HEAD SECRETS PLAIN OTHER AES,
    HEAD "- resources: [configmaps]\n  providers:\n" BOX SECRETS AES,
};
#define STARTS_COUNT ((int)(sizeof starts / sizeof starts[0]))

START_TEST(of_two_neighbours_each_reads_what_the_other_writes)
{
    static const int phases[] = {ADD, MAKE, REMOVE, DISABLE, DISABLE, DISABLE};
    KEK_AUTO_FREE char *text = starts[_i] == NULL ? NULL : strdup(starts[_i]);
    for (size_t i = 0; i < sizeof phases / sizeof phases[0]; i++) {
        struct kek_why why = {.text = ""};
        struct kek_encryption_step step;
        KEK_AUTO(kek_encryption_config)
        before = text == NULL ? kek_encryption_config_new()
                              : kek_encryption_config_parse(kek_bytes_of(text), "f", &why);
        KEK_AUTO(kek_encryption_config) after = NULL;
        enum kek_rc rc = advance(&(struct request){text, phases[i], {0}}, &after, &step, &why);
        ck_assert_msg(rc == KEK_OK, "%s", why.text);
        check_neighbours(before, after);
        KEK_AUTO_BUF struct kek_buf out;
        kek_buf_init(&out, 65536);
        ck_assert_int_eq(kek_encryption_config_write(after, NULL, &out, NULL), KEK_OK);
        free(text);
        text = strndup((const char *)out.data, out.len);
    }
}
END_TEST

START_TEST(the_most_particular_list_says_who_reads)
{
    static const char yaml[] = HEAD SECRETS KEKD "- resources: ['*.apps']\n  providers:\n" BOX
                                                 "- resources: ['*.']\n  providers:\n" AES
                                                 "- resources: ['*.*']\n  providers:\n" PLAIN OTHER;
    static const struct {
        const char *resource;
        enum kek_kube_kind kind;
        const char *provider;
        bool reads;
    } rows[] = {
        {"secrets", KEK_KUBE_KMS_V2, "kekd", true},
        {"secrets", KEK_KUBE_KMS_V1, "kekd", false},
        {"secrets", KEK_KUBE_KMS_V2, "kek", false},
        {"secrets", KEK_KUBE_PLAIN, "", false},
        {"secrets", KEK_KUBE_AESCBC, "key1", false},
        {"configmaps", KEK_KUBE_AESCBC, "key1", true},
        {"configmaps", KEK_KUBE_AESGCM, "key1", false},
        {"configmaps", KEK_KUBE_AESCBC, "key3", false},
        {"configmaps", KEK_KUBE_PLAIN, "", false},
        {"deployments.apps", KEK_KUBE_SECRETBOX, "box", true},
        {"deployments.apps", KEK_KUBE_PLAIN, "", false},
        {"things.example.com", KEK_KUBE_PLAIN, "", true},
        {"things.example.com", KEK_KUBE_KMS_V2, "other", true},
        {"things.example.com", KEK_KUBE_UNKNOWN, "other", false},
    };
    struct kek_why why = {.text = ""};
    KEK_AUTO(kek_encryption_config)
    config = kek_encryption_config_parse(kek_bytes_of(yaml), "f", &why);
    KEK_AUTO(kek_encryption_config) none = kek_encryption_config_new();
    ck_assert_msg(config != NULL, "%s", why.text);
    for (size_t i = 0; i < sizeof rows / sizeof rows[0]; i++) {
        ck_assert_msg(kek_encryption_config_reads(config, rows[i].resource, rows[i].kind,
                                                  kek_bytes_of(rows[i].provider)) == rows[i].reads,
                      "row %zu", i);
        ck_assert_int_eq(kek_encryption_config_reads(none, rows[i].resource, rows[i].kind,
                                                     kek_bytes_of(rows[i].provider)),
                         rows[i].kind == KEK_KUBE_PLAIN);
    }
}
END_TEST

/* All lists of one name are one to the API server, in the order of the file. */
START_TEST(the_first_provider_of_the_first_list_writes)
{
    static const char yaml[] =
        HEAD "- resources: [pods, secrets]\n  providers:\n" AES SECRETS KEKD PLAIN
             "- resources: ['*.*']\n  providers:\n" PLAIN;
    struct kek_why why = {.text = ""};
    KEK_AUTO(kek_encryption_config)
    config = kek_encryption_config_parse(kek_bytes_of(yaml), "f", &why);
    KEK_AUTO(kek_encryption_config) none = kek_encryption_config_new();
    ck_assert_msg(config != NULL, "%s", why.text);
    ck_assert_ptr_eq(kek_encryption_config_writer(config, "secrets"),
                     config->rules[0].providers[0]);
    ck_assert_ptr_eq(kek_encryption_config_writer(config, "configmaps"),
                     config->rules[2].providers[0]);
    ck_assert_ptr_null(kek_encryption_config_writer(none, "secrets"));
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("encryption_phase");
    TCase *all = tcase_create("all");
    tcase_add_test(all, the_first_provider_of_the_first_list_writes);
    tcase_add_loop_test(all, a_phase_leads_where_it_says, 0, LEADS_COUNT);
    tcase_add_loop_test(all, what_cannot_be_is_refused_with_what_to_do, 0, REFUSED_COUNT);
    tcase_add_loop_test(all, of_two_neighbours_each_reads_what_the_other_writes, 0, STARTS_COUNT);
    tcase_add_test(all, the_most_particular_list_says_who_reads);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
