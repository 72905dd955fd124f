/* Values that Kubernetes' own code wrote (tests/kube/stored.golden, which its Go test has Kubernetes read). */
#include "kek/encryption_config.h"
#include "kube_help.h"

#define ROWS_MAX 64
#define LINE_FIELDS 9

struct golden {
    char *line;
    const char *label, *kind, *provider, *key_id, *seed, *prefix, *key;
    struct kek_buf dek, value;
};

static struct golden rows[ROWS_MAX];
static int row_count;

static void unhex_into(struct kek_buf *out, const char *text)
{
    kek_buf_init(out, VALUE_MAX);
    for (; strcmp(text, "-") != 0 && text[0] != '\0'; text += 2) {
        char pair[3] = {text[0], text[1], '\0'};
        char *end;
        put_byte(out, (unsigned)strtoul(pair, &end, 16));
        ck_assert_ptr_eq(end, pair + 2);
    }
}

static const char *dash(const char *text)
{
    return strcmp(text, "-") == 0 ? "" : text;
}

static void take_line(struct golden *row, char *line)
{
    const char *fields[LINE_FIELDS] = {0};
    char *rest = NULL;
    row->line = line;
    for (size_t i = 0; i < LINE_FIELDS; i++) {
        fields[i] = strtok_r(i == 0 ? line : NULL, " \n", &rest);
        ck_assert_ptr_nonnull(fields[i]);
    }
    row->label = fields[0];
    row->kind = fields[1];
    row->provider = dash(fields[2]);
    row->key_id = dash(fields[3]);
    row->seed = fields[4];
    unhex_into(&row->dek, fields[5]);
    row->prefix = fields[6];
    row->key = fields[7];
    unhex_into(&row->value, fields[8]);
}

static void load_rows(void)
{
    char path[4096];
    char *line = NULL;
    size_t size = 0;
    (void)snprintf(path, sizeof path, "%s/tests/kube/stored.golden", getenv("abs_top_srcdir"));
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "cannot read %s", path);
    while (getline(&line, &size, file) > 0) {
        if (line[0] != '#') {
            ck_assert_int_lt(row_count, ROWS_MAX);
            take_line(&rows[row_count++], line);
            line = NULL;
        }
    }
    free(line);
    (void)fclose(file);
    bool locked;
    ck_assert_int_eq(kek_secret_setup(64 * 1024, &locked, NULL), KEK_OK);
    ck_assert_int_ge(row_count, 22);
}

static void free_rows(void)
{
    for (; row_count > 0; row_count--) {
        free(rows[row_count - 1].line);
        kek_buf_done(&rows[row_count - 1].dek);
        kek_buf_done(&rows[row_count - 1].value);
    }
}

static bool is_kms(const struct golden *row)
{
    return strncmp(row->kind, "kms", 3) == 0;
}

/* All under KMS but what an API server up to 1.24 wrote. */
static bool is_authenticated(const struct golden *row)
{
    return is_kms(row) && strcmp(row->label, "one-cbc") != 0;
}

static enum kek_rc open_row(const struct golden *row, const struct kek_kube_stored *stored,
                            const char *key)
{
    KEK_AUTO(kek_secret) dek = kek_secret_dup(kek_buf_bytes(&row->dek));
    ck_assert_ptr_nonnull(dek);
    return kek_kube_open(stored, kek_bytes_of(key), dek, NULL);
}

START_TEST(each_is_told_for_what_it_is)
{
    for (const struct golden *row = rows; row < rows + row_count; row++) {
        struct kek_kube_stored stored;
        struct kek_kube_name name;
        char resource[64];
        parses(&row->value, &stored);
        ck_assert_int_eq(strncmp(kek_kube_kind_name(stored.kind), row->kind, 3), 0);
        ck_assert_str_eq(strrchr(kek_kube_kind_name(stored.kind), row->kind[strlen(row->kind) - 1]),
                         row->kind + strlen(row->kind) - 1);
        is(stored.provider, row->provider);
        is(stored.key_id, row->key_id);
        ck_assert_int_eq((int)stored.source_type, row->seed[0] - '0');
        ck_assert_int_eq(stored.is_kekd, strncmp(row->provider, "kekd", 4) == 0);
        ck_assert(kek_kube_name(kek_bytes_of(row->key), kek_bytes_of(row->prefix), &name));
        (void)kek_kube_resource(&name, resource, sizeof resource);
        ck_assert_str_eq(resource,
                         strstr(row->key, "/secrets/") != NULL ? "secrets" : "things.example.com");
        is(name.ns, "default");
        is(name.name, row->label);
    }
}
END_TEST

START_TEST(each_opens_at_its_place_alone)
{
    for (const struct golden *row = rows; row < rows + row_count; row++) {
        struct kek_kube_stored stored;
        parses(&row->value, &stored);
        if (!is_kms(row)) {
            continue;
        }
        ck_assert_int_eq(open_row(row, &stored, row->key), KEK_OK);
        ck_assert_int_eq(open_row(row, &stored, row->key + 1),
                         is_authenticated(row) ? KEK_DAMAGED : KEK_OK);
        for (size_t i = 0; i < row->dek.len; i++) {
            row->dek.data[i] ^= 1;
            ck_assert_int_eq(open_row(row, &stored, row->key), KEK_DAMAGED);
            row->dek.data[i] ^= 1;
        }
    }
}
END_TEST

/* What ends an EncryptedObject may be its annotations, which are the plugin's: without them it is whole. */
START_TEST(none_opens_when_it_is_cut_but_for_annotations)
{
    for (const struct golden *row = rows; row < rows + row_count; row++) {
        struct kek_kube_stored whole;
        parses(&row->value, &whole);
        for (size_t len = 0; is_authenticated(row) && len < row->value.len; len++) {
            struct kek_kube_stored stored;
            enum kek_rc rc = kek_kube_parse(kek_bytes(row->value.data, len), &stored, NULL);
            if (len < strlen("k8s:enc:kms:v1:")) {
                ck_assert(stored.kind == KEK_KUBE_UNKNOWN || stored.kind == KEK_KUBE_PLAIN);
                continue;
            }
            ck_assert_int_eq(stored.kind, whole.kind);
            if (rc == KEK_OK && open_row(row, &stored, row->key) == KEK_OK) {
                ck_assert_str_eq(row->label, "other-key");
                ck_assert_uint_eq(stored.source.len, whole.source.len);
                is(stored.key_id, row->key_id);
            }
        }
    }
}
END_TEST

/* Whatever is flipped: what is authenticated does not open, and the rest is told or refused. */
START_TEST(none_opens_when_a_byte_of_its_data_is_changed)
{
    for (const struct golden *row = rows; row < rows + row_count; row++) {
        struct kek_kube_stored whole;
        parses(&row->value, &whole);
        size_t start = (size_t)(whole.data.data - row->value.data);
        for (size_t i = 0; i < row->value.len; i++) {
            struct kek_kube_stored stored;
            row->value.data[i] ^= 0x10;
            enum kek_rc rc = kek_kube_parse(kek_buf_bytes(&row->value), &stored, NULL);
            ck_assert(rc == KEK_OK || rc == KEK_DAMAGED);
            if (is_authenticated(row) && i >= start && i < start + whole.data.len) {
                ck_assert_int_eq(rc, KEK_OK);
                ck_assert_int_eq(open_row(row, &stored, row->key), KEK_DAMAGED);
            }
            row->value.data[i] ^= 0x10;
        }
    }
}
END_TEST

/* In base64: "kekd test key 32" twice (tests/kube/stored_test.go), and one that is another from its last byte on. */
#define RIGHT_KEY "a2VrZCB0ZXN0IGtleSAzMmtla2QgdGVzdCBrZXkgMzI="
#define WRONG_KEY "a2VrZCB0ZXN0IGtleSAzMmtla2QgdGVzdCBrZXkgMzM="
#define CONFIG(keys)                                                                      \
    "{apiVersion: apiserver.config.k8s.io/v1, kind: EncryptionConfiguration, resources: " \
    "[{resources: ['*.*'], providers: [" keys ", {identity: {}}]}]}"
#define KEYS(kind, secret)                                         \
    "{" kind ": {keys: [{name: key1, secret: " secret "}, {name: " \
    "'team:a', secret: " secret "}]}}"
#define ALL(secret) \
    KEYS("aescbc", secret) ", " KEYS("aesgcm", secret) ", " KEYS("secretbox", secret)

static enum kek_rc open_by(const char *yaml, const struct golden *row, const char *key)
{
    struct kek_why why = {.text = ""};
    struct kek_kube_stored stored;
    KEK_AUTO(kek_encryption_config)
    config = kek_encryption_config_parse(kek_bytes_of(yaml), "f", &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    parses(&row->value, &stored);
    enum kek_rc rc =
        kek_encryption_config_open(config, "secrets", &stored, kek_bytes_of(key), &why);
    ck_assert(strstr(why.text, RIGHT_KEY) == NULL && strstr(why.text, "test key") == NULL);
    return rc;
}

START_TEST(what_has_its_key_in_the_file_opens_by_it_and_by_no_other_of_the_name)
{
    int tried = 0;
    for (const struct golden *row = rows; row < rows + row_count; row++) {
        if (is_kms(row) || strcmp(row->kind, "plain") == 0) {
            ck_assert_int_eq(open_by(CONFIG(ALL(RIGHT_KEY)), row, row->key), KEK_NOT_FOUND);
            continue;
        }
        tried++;
        ck_assert_int_eq(open_by(CONFIG(ALL(RIGHT_KEY)), row, row->key), KEK_OK);
        ck_assert_int_eq(open_by(CONFIG(ALL(WRONG_KEY)), row, row->key), KEK_DAMAGED);
        /* The API server tries each that has the name. */
        ck_assert_int_eq(open_by(CONFIG(ALL(WRONG_KEY) ", " ALL(RIGHT_KEY)), row, row->key),
                         KEK_OK);
        ck_assert_int_eq(open_by(CONFIG("{identity: {}}"), row, row->key), KEK_NOT_FOUND);
        bool at_its_place = strcmp(row->kind, "aesgcm") == 0;
        ck_assert_int_eq(open_by(CONFIG(ALL(RIGHT_KEY)), row, "/registry/secrets/default/other"),
                         at_its_place ? KEK_DAMAGED : KEK_OK);
        row->value.data[row->value.len - 1] ^= 1;
        ck_assert_int_eq(open_by(CONFIG(ALL(RIGHT_KEY)), row, row->key), KEK_DAMAGED);
        row->value.data[row->value.len - 1] ^= 1;
    }
    ck_assert_int_eq(tried, 8);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube golden");
    TCase *tests = tcase_create("golden");
    tcase_add_checked_fixture(tests, load_rows, free_rows);
    tcase_add_test(tests, each_is_told_for_what_it_is);
    tcase_add_test(tests, each_opens_at_its_place_alone);
    tcase_add_test(tests, none_opens_when_it_is_cut_but_for_annotations);
    tcase_add_test(tests, none_opens_when_a_byte_of_its_data_is_changed);
    tcase_add_test(tests, what_has_its_key_in_the_file_opens_by_it_and_by_no_other_of_the_name);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
