/* Stored values of each kind: what covers them, and what is refused. EncryptedObject: test_kube_object.c. */
#include "kube_help.h"

static const struct {
    const char *value;
    size_t len;
} plain[] = {
    {"", 0},
    {"{\"kind\":\"Secret\"}", 17},
    {"k8s\0\n\x0c\n\x02v1", 9},
    {"k8s", 3},
    {"k8s:enc", 7},
    {"k8s:encX", 8},
    {"K8S:ENC:aescbc:v1:a:", 20},
    {" k8s:enc:aescbc:v1:a:", 21},
};

START_TEST(what_has_no_prefix_is_plain)
{
    struct kek_kube_stored stored;
    struct kek_bytes value = kek_bytes(plain[_i].value, plain[_i].len);
    ck_assert_int_eq(kek_kube_parse(value, &stored, NULL), KEK_OK);
    ck_assert_int_eq(stored.kind, KEK_KUBE_PLAIN);
    ck_assert_uint_eq(stored.provider.len, 0);
    ck_assert_ptr_eq(stored.data.data, value.data);
    ck_assert_uint_eq(stored.data.len, value.len);
}
END_TEST

static const struct {
    const char *value, *provider;
} unknown[] = {
    {"k8s:enc:", ""},
    {"k8s:enc:aescbc", "aescbc"},
    {"k8s:enc:aescbc:v2:key:bytes", "aescbc:v2:key"},
    {"k8s:enc:kms:v3:plugin:bytes:more", "kms:v3:plugin"},
    {"k8s:enc:kms:v", "kms:v"},
    {"k8s:enc:vault:v1:\x01name:", "vault:v1:"},
    {"k8s:enc:0123456789012345678901234567890123456789012345678901234567890123456789",
     "0123456789012345678901234567890123456789012345678901234567890123"},
};

START_TEST(a_prefix_that_nobody_knows_is_told_from_plain)
{
    struct kek_kube_stored stored;
    ck_assert_int_eq(kek_kube_parse(kek_bytes_of(unknown[_i].value), &stored, NULL), KEK_OK);
    ck_assert_int_eq(stored.kind, KEK_KUBE_UNKNOWN);
    is(stored.provider, unknown[_i].provider);
}
END_TEST

static const struct {
    enum kek_kube_kind kind;
    const char *prefix;
    size_t least; /* bytes that it covers at least */
} local[] = {
    {KEK_KUBE_AESCBC, "k8s:enc:aescbc:v1:", 32},
    {KEK_KUBE_AESGCM, "k8s:enc:aesgcm:v1:", 28},
    {KEK_KUBE_SECRETBOX, "k8s:enc:secretbox:v1:", 40},
};

START_TEST(a_local_key_is_told_by_name)
{
    static const char *const names[] = {"key1", "k", "with blank", "\xc3\xbc"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct kek_kube_stored stored;
        KEK_AUTO_BUF struct kek_buf value;
        kek_buf_init(&value, VALUE_MAX);
        put_text(&value, local[_i].prefix);
        put_text(&value, names[i]);
        put_text(&value, ":");
        size_t start = value.len;
        put_times(&value, 0xee, local[_i].least);
        parses(&value, &stored);
        ck_assert_int_eq(stored.kind, local[_i].kind);
        is(stored.provider, names[i]);
        ck_assert(!stored.ambiguous);
        ck_assert_ptr_eq(stored.data.data, value.data + start);
        ck_assert_uint_eq(stored.data.len, local[_i].least);
    }
}
END_TEST

START_TEST(too_little_under_a_local_key_is_damaged)
{
    for (size_t len = 0; len < local[_i].least; len++) {
        struct kek_kube_stored stored;
        KEK_AUTO_BUF struct kek_buf value;
        kek_buf_init(&value, VALUE_MAX);
        put_text(&value, local[_i].prefix);
        put_text(&value, "key1:");
        put_times(&value, 0xee, len);
        refuses(&value, &stored, "never covers");
        ck_assert_int_eq(stored.kind, local[_i].kind);
        is(stored.provider, "key1");
    }
}
END_TEST

START_TEST(no_name_is_damaged)
{
    static const char *const values[] = {"k8s:enc:aescbc:v1:",  "k8s:enc:aescbc:v1:key",
                                         "k8s:enc:aesgcm:v1::", "k8s:enc:kms:v1:",
                                         "k8s:enc:kms:v1:name", "k8s:enc:kms:v2:",
                                         "k8s:enc:kms:v2::",    "k8s:enc:kms:v2:name"};
    for (size_t i = 0; i < sizeof values / sizeof values[0]; i++) {
        struct kek_kube_stored stored;
        KEK_AUTO_BUF struct kek_buf value;
        kek_buf_init(&value, VALUE_MAX);
        put_text(&value, values[i]);
        refuses(&value, &stored, "no name of a key or plugin");
        ck_assert_int_ne(stored.kind, KEK_KUBE_PLAIN);
        ck_assert_int_ne(stored.kind, KEK_KUBE_UNKNOWN);
        ck_assert_uint_eq(stored.provider.len, 0);
    }
}
END_TEST

START_TEST(a_v1_value_that_ends_with_its_name_is_damaged)
{
    static const struct {
        const char *rest, *provider;
    } cuts[] = {{"a:b:", "a:b"}, {"a:b:\x01", "a:b"}, {"a:b:\xff", "a"}};
    for (size_t i = 0; i < sizeof cuts / sizeof cuts[0]; i++) {
        struct kek_kube_stored stored;
        KEK_AUTO_BUF struct kek_buf value;
        kek_buf_init(&value, VALUE_MAX);
        put_text(&value, "k8s:enc:kms:v1:");
        put_text(&value, cuts[i].rest);
        refuses(&value, &stored, "offset");
        is(stored.provider, cuts[i].provider);
        ck_assert(!stored.ambiguous);
    }
}
END_TEST

/* aescbc covers whole blocks: one ':' alone leaves such. */
START_TEST(a_colon_in_a_name_of_aescbc_is_part_of_it)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    kek_buf_init(&value, VALUE_MAX);
    put_text(&value, "k8s:enc:aescbc:v1:team:a:");
    put_text(&value, "in the IV: blank"); /* 16 bytes, with a ':' */
    put_times(&value, 0xee, 16);
    parses(&value, &stored);
    is(stored.provider, "team:a");
    ck_assert(!stored.ambiguous);
    ck_assert_uint_eq(stored.data.len, 32);
}
END_TEST

START_TEST(a_colon_in_a_name_of_aesgcm_is_said_to_be_ambiguous)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    kek_buf_init(&value, VALUE_MAX);
    put_text(&value, "k8s:enc:aesgcm:v1:team:a:");
    put_times(&value, 0xee, 40);
    parses(&value, &stored);
    is(stored.provider, "team");
    ck_assert(stored.ambiguous);
}
END_TEST

/* "name:", the length of the wrapped key, the wrapped key of 0xcc, what it covers of 0xee. */
static void make_v1(struct kek_buf *value, const char *name, size_t wrapped, size_t covered)
{
    kek_buf_init(value, VALUE_MAX);
    put_text(value, "k8s:enc:kms:v1:");
    put_text(value, name);
    put_text(value, ":");
    put_byte(value, (unsigned)(wrapped >> 8));
    put_byte(value, wrapped & 0xff);
    put_times(value, 0xcc, wrapped);
    put_times(value, 0xee, covered);
}

START_TEST(a_v1_name_ends_where_the_length_begins)
{
    static const char *const names[] = {
        "kekd", "a", "a:b", ":", "a::", "host:1234:key", "\xc3\xbc:x"};
    static const size_t lens[] = {0, 1, 0x3a, 180, 255, 256, 0x3a3a % 8192, 8191};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (size_t j = 0; j < sizeof lens / sizeof lens[0]; j++) {
            struct kek_kube_stored stored;
            KEK_AUTO_BUF struct kek_buf value;
            make_v1(&value, names[i], lens[j], 28);
            parses(&value, &stored);
            is(stored.provider, names[i]);
            ck_assert_uint_eq(stored.source.len, lens[j]);
            ck_assert_uint_eq(stored.data.len, 28);
            ck_assert_int_eq(stored.source_type, KEK_KUBE_SOURCE_KEY);
            ck_assert(!stored.is_kekd && !stored.ambiguous);
        }
    }
}
END_TEST

static const struct {
    const char *name, *told;
    size_t wrapped, covered;
    bool ambiguous;
} large_keys[] = {
    {"plug:in", "plug:in", 0x2020, 28, false}, /* "in" is a length too: of more than there is */
    {"plugin", "plugin", 0x7f7f, 28, false},
    {"plugin", "plugin", 0x8080, 28, false},
    {"plugin", "plugin", 0xffff, 28, false},
    {"plug:in", "plug", 0x8080, 28, true}, /* and of no more than there is */
};

START_TEST(a_v1_key_of_more_than_8_kib_is_split_where_it_fits)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    make_v1(&value, large_keys[_i].name, large_keys[_i].wrapped, large_keys[_i].covered);
    parses(&value, &stored);
    is(stored.provider, large_keys[_i].told);
    ck_assert_int_eq(stored.ambiguous, large_keys[_i].ambiguous);
}
END_TEST

START_TEST(a_v1_envelope_of_kekd_is_taken_apart)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf sealed;
    KEK_AUTO_BUF struct kek_buf value;
    make_envelope(&sealed, 48);
    kek_buf_init(&value, VALUE_MAX);
    put_text(&value, "k8s:enc:kms:v1:kekd:");
    put_byte(&value, (unsigned)(sealed.len >> 8));
    put_byte(&value, sealed.len & 0xff);
    put(&value, sealed.data, sealed.len);
    size_t whole_source = value.len;
    put_times(&value, 0xee, 28);
    parses(&value, &stored);
    ck_assert(stored.is_kekd);
    ck_assert_uint_eq(stored.envelope.count, 1);
    ck_assert_uint_eq(stored.envelope.entries[0].kek_id.bytes[0], 0x11);
    for (size_t len = strlen("k8s:enc:kms:v1:kekd:"); len < value.len; len++) {
        struct kek_buf cut = value;
        cut.len = len;
        refuses(&cut, &stored, "offset");
        is(stored.provider, "kekd");
        ck_assert_int_eq(stored.is_kekd, len >= whole_source);
    }
}
END_TEST

START_TEST(what_begins_as_an_envelope_of_kekd_and_is_none_is_damaged)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    kek_buf_init(&value, VALUE_MAX);
    put_text(&value, "k8s:enc:kms:v1:kekd:");
    put(&value, "\0\x06KEK\x01\x09\x09", 8);
    put_times(&value, 0xee, 28);
    refuses(&value, &stored, "offset 22: a damaged kekd envelope");
    ck_assert(!stored.is_kekd);
    ck_assert_uint_eq(stored.source.len, 6);
}
END_TEST

START_TEST(each_kind_has_a_name)
{
    ck_assert_str_eq(kek_kube_kind_name(KEK_KUBE_PLAIN), "plain");
    ck_assert_str_eq(kek_kube_kind_name(KEK_KUBE_AESCBC), "aescbc");
    ck_assert_str_eq(kek_kube_kind_name(KEK_KUBE_AESGCM), "aesgcm");
    ck_assert_str_eq(kek_kube_kind_name(KEK_KUBE_SECRETBOX), "secretbox");
    ck_assert_str_eq(kek_kube_kind_name(KEK_KUBE_KMS_V1), "kms v1");
    ck_assert_str_eq(kek_kube_kind_name(KEK_KUBE_KMS_V2), "kms v2");
    ck_assert_str_eq(kek_kube_kind_name(KEK_KUBE_UNKNOWN), "unknown");
    ck_assert_str_eq(kek_kube_kind_name((enum kek_kube_kind)77), "unknown");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("kube stored");
    TCase *tests = tcase_create("stored");
    tcase_add_loop_test(tests, what_has_no_prefix_is_plain, 0, sizeof plain / sizeof plain[0]);
    tcase_add_loop_test(tests, a_prefix_that_nobody_knows_is_told_from_plain, 0,
                        sizeof unknown / sizeof unknown[0]);
    tcase_add_loop_test(tests, a_local_key_is_told_by_name, 0, sizeof local / sizeof local[0]);
    tcase_add_loop_test(tests, too_little_under_a_local_key_is_damaged, 0,
                        sizeof local / sizeof local[0]);
    tcase_add_test(tests, no_name_is_damaged);
    tcase_add_test(tests, a_v1_value_that_ends_with_its_name_is_damaged);
    tcase_add_test(tests, a_colon_in_a_name_of_aescbc_is_part_of_it);
    tcase_add_test(tests, a_colon_in_a_name_of_aesgcm_is_said_to_be_ambiguous);
    tcase_add_test(tests, a_v1_name_ends_where_the_length_begins);
    tcase_add_loop_test(tests, a_v1_key_of_more_than_8_kib_is_split_where_it_fits, 0,
                        sizeof large_keys / sizeof large_keys[0]);
    tcase_add_test(tests, a_v1_envelope_of_kekd_is_taken_apart);
    tcase_add_test(tests, what_begins_as_an_envelope_of_kekd_and_is_none_is_damaged);
    tcase_add_test(tests, each_kind_has_a_name);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
