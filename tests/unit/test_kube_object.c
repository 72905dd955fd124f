/* kms v2's EncryptedObject: each field, each rule of the API server, and protobuf that is none. */
#include "kube_help.h"

#define PREFIX "k8s:enc:kms:v2:kekd:"

/* What the fields are, where a test says nothing else. */
#define KEY_ID "kek1-0123456789abcdef0123456789abcdef"

static void begin(struct kek_buf *value)
{
    kek_buf_init(value, VALUE_MAX);
    put_text(value, PREFIX);
}

static void put_data(struct kek_buf *value, size_t len)
{
    static const uint8_t data[60] = {0xda};
    put_field(value, 1, data, len);
}

/* All fields that must be there, the type left out. */
static void put_rest(struct kek_buf *value)
{
    put_data(value, 60);
    put_field(value, 2, KEY_ID, strlen(KEY_ID));
    put_field(value, 3, "source", 6);
}

static void put_annotation(struct kek_buf *value, const char *key, size_t value_len)
{
    KEK_AUTO_BUF struct kek_buf entry;
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&entry, VALUE_MAX);
    kek_buf_init(&content, VALUE_MAX);
    put_times(&content, 0x55, value_len);
    put_field(&entry, 1, key, strlen(key));
    put_field(&entry, 2, content.data, content.len);
    put_field(value, 4, entry.data, entry.len);
}

START_TEST(an_object_of_a_seed_under_kekd_is_taken_apart)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    KEK_AUTO_BUF struct kek_buf sealed;
    make_envelope(&sealed, 48);
    begin(&value);
    put_data(&value, 60);
    put_field(&value, 2, KEY_ID, strlen(KEY_ID));
    put_field(&value, 3, sealed.data, sealed.len);
    put_annotation(&value, "one.example.com", 3);
    put_number(&value, 5, 1);
    parses(&value, &stored);
    ck_assert_int_eq(stored.kind, KEK_KUBE_KMS_V2);
    is(stored.provider, "kekd");
    is(stored.key_id, KEY_ID);
    ck_assert_int_eq(stored.source_type, KEK_KUBE_SOURCE_SEED);
    ck_assert_uint_eq(stored.data.len, 60);
    ck_assert_uint_eq(stored.data.data[0], 0xda);
    ck_assert(!stored.ambiguous && stored.is_kekd);
    ck_assert_uint_eq(stored.envelope.entries[0].kek_id.bytes[KEK_ID_LEN - 1], 0x11);
    for (size_t len = strlen("k8s:enc:kms:v2:"); len < value.len; len++) {
        struct kek_buf cut = value;
        cut.len = len;
        enum kek_rc rc = kek_kube_parse(kek_buf_bytes(&cut), &stored, NULL);
        ck_assert_int_eq(stored.kind, KEK_KUBE_KMS_V2);
        /* What is cut off between two fields is a whole message of fewer fields. */
        ck_assert(rc == KEK_DAMAGED || (stored.is_kekd && stored.key_id.len > 0));
    }
}
END_TEST

START_TEST(an_object_without_a_type_is_under_a_key)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    begin(&value);
    put_rest(&value);
    parses(&value, &stored);
    ck_assert_int_eq(stored.source_type, KEK_KUBE_SOURCE_KEY);
    ck_assert(!stored.is_kekd);
    is(stored.source, "source");
}
END_TEST

START_TEST(the_last_of_several_counts)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    begin(&value);
    put_rest(&value);
    put_number(&value, 5, 7);
    put_field(&value, 2, "second", 6);
    put_field(&value, 3, "third", 5);
    put_field(&value, 1, "0123456789012345678901234567", 28);
    put_number(&value, 5, (1ull << 32)); /* Go keeps 32 bits of an enum */
    parses(&value, &stored);
    is(stored.key_id, "second");
    is(stored.source, "third");
    is(stored.data, "0123456789012345678901234567");
    ck_assert_int_eq(stored.source_type, KEK_KUBE_SOURCE_KEY);
}
END_TEST

START_TEST(what_is_not_known_or_of_another_wire_type_is_passed_over)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    begin(&value);
    put_rest(&value);
    put_number(&value, 5, 1);
    put_number(&value, 6, UINT64_MAX);
    put_number(&value, 3, 1);
    put_field(&value, 5, "type", 4);
    put_field(&value, 1000000, "x", 1);
    put_varint(&value, 1 << 3 | 1);
    put_times(&value, 0, 8);
    put_varint(&value, 2 << 3 | 5);
    put_times(&value, 0, 4);
    /* A group, with one of another number in it that has a field of bytes. */
    put_varint(&value, 3 << 3 | 3);
    put_varint(&value, 9 << 3 | 3);
    put_field(&value, 3, "inner", 5);
    put_varint(&value, 9 << 3 | 4);
    put_varint(&value, 3 << 3 | 4);
    parses(&value, &stored);
    is(stored.key_id, KEY_ID);
    is(stored.source, "source");
    ck_assert_uint_eq(stored.data.len, 60);
    ck_assert_int_eq(stored.source_type, KEK_KUBE_SOURCE_SEED);
}
END_TEST

static const struct {
    const char *bytes;
    size_t len;
} no_protobuf[] = {
    {"\x00", 1},                                          /* number 0 */
    {"\x00\x00", 2},                                      /* number 0 */
    {"\x36", 1},                                          /* wire type 6 */
    {"\x37", 1},                                          /* wire type 7 */
    {"\x34", 1},                                          /* the end of no group */
    {"\x33", 1},                                          /* a group that does not end */
    {"\x33\x3c", 2},                                      /* one that ends another */
    {"\x33\x0a\x05", 3},                                  /* one that ends in a field */
    {"\x0a", 1},                                          /* no length */
    {"\x0a\x01", 2},                                      /* nothing of it */
    {"\x0a\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 11}, /* a length of 2^64-1 */
    {"\x30", 1},                                          /* no number */
    {"\x30\x80", 2},                                      /* half of one */
    {"\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\x02", 11}, /* more than 64 bits */
    {"\x30\xff\xff\xff\xff\xff\xff\xff\xff\xff\xff\x01", 12},
    {"\x31\x00\x00\x00\x00\x00\x00\x00", 8}, /* seven bytes of eight */
    {"\x35\x00\x00\x00", 4},                 /* three of four */
    {"\x80\x80\x80\x80\x10\x00", 6},         /* a number of more than 29 bits */
};

START_TEST(what_is_no_protobuf_is_damaged_and_says_where)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    begin(&value);
    put_rest(&value);
    char where[64];
    (void)snprintf(where, sizeof where, "offset %zu: EncryptedObject", value.len);
    put(&value, no_protobuf[_i].bytes, no_protobuf[_i].len);
    refuses(&value, &stored, where);
    is(stored.provider, "kekd");
    is(stored.key_id, KEY_ID);
    is(stored.source, "source");
}
END_TEST

START_TEST(groups_in_groups_have_a_limit)
{
    for (size_t depth = 32; depth <= 33; depth++) {
        struct kek_kube_stored stored;
        KEK_AUTO_BUF struct kek_buf value;
        begin(&value);
        put_rest(&value);
        put_times(&value, 8 << 3 | 3, depth);
        put_times(&value, 8 << 3 | 4, depth);
        enum kek_rc rc = kek_kube_parse(kek_buf_bytes(&value), &stored, NULL);
        ck_assert_int_eq(rc, depth == 32 ? KEK_OK : KEK_DAMAGED);
    }
}
END_TEST

static const struct {
    size_t data, key_id, source;
    uint64_t type;
    const char *reason;
} rules[] = {
    {60, 1024, 1024, 1, NULL},
    {60, 1, 1, 0, NULL},
    {28, 9, 9, 0, NULL},
    {0, 9, 9, 0, "no encryptedData"},
    {27, 9, 9, 0, "27 bytes, which kms v2 never covers"},
    {59, 9, 9, 1, "59 bytes, which kms v2 never covers"},
    {60, 0, 9, 0, "a keyID of 0 bytes"},
    {60, 1025, 9, 0, "a keyID of 1025 bytes"},
    {60, 9, 0, 0, "an encryptedDEKSource of 0 bytes"},
    {60, 9, 1025, 0, "an encryptedDEKSource of 1025 bytes"},
    {60, 9, 9, 2, "an encryptedDEKSourceType of 2"},
    {60, 9, 9, UINT64_MAX, "an encryptedDEKSourceType of -1"},
};

START_TEST(the_api_servers_rules_hold)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    char text[1025];
    memset(text, 'k', sizeof text);
    begin(&value);
    put_data(&value, rules[_i].data);
    put_field(&value, 2, text, rules[_i].key_id);
    put_field(&value, 3, text, rules[_i].source);
    put_number(&value, 5, rules[_i].type);
    if (rules[_i].reason == NULL) {
        parses(&value, &stored);
    } else {
        refuses(&value, &stored, rules[_i].reason);
    }
    ck_assert_uint_eq(stored.key_id.len, rules[_i].key_id);
    ck_assert_uint_eq(stored.source.len, rules[_i].source);
}
END_TEST

static const struct {
    const char *key_id;
    bool valid;
} key_ids[] = {
    {"\xc3\xbc", true},
    {"\xed\x9f\xbf", true},
    {"\xf4\x8f\xbf\xbf", true},
    {"\xc3", false},
    {"\x80", false},
    {"\xc0\x80", false},
    {"\xe0\x9f\xbf", false},
    {"\xed\xa0\x80", false},
    {"\xf0\x8f\xbf\xbf", false},
    {"\xf4\x90\x80\x80", false},
    {"\xf5\x80\x80\x80", false},
    {"\xe2\x82"
     "a",
     false},
};

START_TEST(a_key_id_is_utf8)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    begin(&value);
    put_rest(&value);
    put_field(&value, 2, key_ids[_i].key_id, strlen(key_ids[_i].key_id));
    put_number(&value, 17, 1); /* its tag would go on with a character that was cut */
    if (key_ids[_i].valid) {
        parses(&value, &stored);
    } else {
        refuses(&value, &stored, "the keyID is not UTF-8");
    }
}
END_TEST

static const struct {
    const char *key;
    bool valid;
} annotations[] = {
    {"kms.example.com", true},
    {"a.b", true},
    {"a-b.c-d.io.", true},
    {"0.1", true},
    {".", false},
    {"...", false},
    {".io", false},
    {"com", false},
    {"", false},
    {"Dev.k8s.io", false},
    {"*.example.com", false},
    {"under_score.io", false},
    {"foo@bar.example.com", false},
    {"-a.io", false},
    {"a-.io", false},
    {"a..io", false},
    {"a.io..", false},
    {"a.io/b", false},
    {"\xff.io", false},
    {"x23456789012345678901234567890123456789012345678901234567890123.io", true},
    {"x234567890123456789012345678901234567890123456789012345678901234.io", false},
};

START_TEST(an_annotations_key_is_a_domain_name)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    begin(&value);
    put_rest(&value);
    put_annotation(&value, annotations[_i].key, 3);
    if (annotations[_i].valid) {
        parses(&value, &stored);
    } else {
        refuses(&value, &stored, "an annotation's key is no");
    }
}
END_TEST

START_TEST(annotations_have_a_limit_in_all)
{
    for (size_t over = 0; over <= 1; over++) {
        struct kek_kube_stored stored;
        KEK_AUTO_BUF struct kek_buf value;
        begin(&value);
        put_rest(&value);
        put_annotation(&value, "a.io", 16 * 1024 - 4);
        put_annotation(&value, "b.io", 16 * 1024 - 4 + over);
        if (over == 0) {
            parses(&value, &stored);
        } else {
            refuses(&value, &stored, "annotations of 32769 bytes");
        }
    }
}
END_TEST

START_TEST(an_annotation_is_read_as_protobuf_is)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    KEK_AUTO_BUF struct kek_buf entry;
    begin(&value);
    put_rest(&value);
    kek_buf_init(&entry, VALUE_MAX);
    put_number(&entry, 1, 1);
    put_number(&entry, 9, 1);
    put_field(&entry, 1, "NOT ONE", 7);
    put_field(&entry, 1, "last.example.com", 16);
    put_field(&value, 4, entry.data, entry.len);
    parses(&value, &stored);
    put_byte(&entry, 0x0a);
    put_field(&value, 4, entry.data, entry.len);
    refuses(&value, &stored, "an annotation that is no protobuf");
}
END_TEST

START_TEST(an_annotations_key_that_is_no_text_is_damaged_though_another_follows)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    KEK_AUTO_BUF struct kek_buf entry;
    begin(&value);
    put_rest(&value);
    kek_buf_init(&entry, VALUE_MAX);
    put_field(&entry, 1, "\xff", 1);
    put_field(&entry, 1, "last.example.com", 16);
    put_field(&value, 4, entry.data, entry.len);
    refuses(&value, &stored, "an annotation's key is not UTF-8");
}
END_TEST

START_TEST(an_annotations_key_has_253_bytes_at_most)
{
    for (size_t over = 0; over <= 1; over++) {
        struct kek_kube_stored stored;
        KEK_AUTO_BUF struct kek_buf value;
        char key[255];
        memset(key, 'a', sizeof key);
        key[63] = key[127] = key[191] = '.';
        key[253 + over] = '\0';
        begin(&value);
        put_rest(&value);
        put_annotation(&value, key, 1);
        if (over == 0) {
            parses(&value, &stored);
        } else {
            refuses(&value, &stored, "an annotation's key is no domain name");
        }
    }
}
END_TEST

START_TEST(an_envelope_is_told_whatever_else_is_wrong)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    KEK_AUTO_BUF struct kek_buf sealed;
    make_envelope(&sealed, 48);
    begin(&value);
    put_field(&value, 3, sealed.data, sealed.len);
    put_byte(&value, 0x0a);
    refuses(&value, &stored, "EncryptedObject ends here");
    ck_assert(stored.is_kekd);
    ck_assert_uint_eq(stored.envelope.entries[0].kek_id.bytes[0], 0x11);
}
END_TEST

START_TEST(the_first_of_two_faults_is_told)
{
    struct kek_kube_stored stored;
    KEK_AUTO_BUF struct kek_buf value;
    begin(&value);
    put_field(&value, 3, "KEK\x01", 4);
    put_byte(&value, 0x0a);
    struct kek_why why = {.rc = KEK_OK};
    ck_assert_int_eq(kek_kube_parse(kek_buf_bytes(&value), &stored, &why), KEK_DAMAGED);
    ck_assert_ptr_nonnull(strstr(why.text, "EncryptedObject ends here"));
    ck_assert_ptr_null(strstr(why.text, "kekd envelope"));
    ck_assert(!stored.is_kekd);
}
END_TEST

#define ROWS(table) (int)(sizeof(table) / sizeof(table)[0])

int main(void)
{
    Suite *suite = suite_create("kube object");
    TCase *tests = tcase_create("object");
    tcase_add_test(tests, an_object_of_a_seed_under_kekd_is_taken_apart);
    tcase_add_test(tests, an_object_without_a_type_is_under_a_key);
    tcase_add_test(tests, the_last_of_several_counts);
    tcase_add_test(tests, what_is_not_known_or_of_another_wire_type_is_passed_over);
    tcase_add_loop_test(tests, what_is_no_protobuf_is_damaged_and_says_where, 0, ROWS(no_protobuf));
    tcase_add_test(tests, groups_in_groups_have_a_limit);
    tcase_add_loop_test(tests, the_api_servers_rules_hold, 0, ROWS(rules));
    tcase_add_loop_test(tests, a_key_id_is_utf8, 0, ROWS(key_ids));
    tcase_add_loop_test(tests, an_annotations_key_is_a_domain_name, 0, ROWS(annotations));
    tcase_add_test(tests, annotations_have_a_limit_in_all);
    tcase_add_test(tests, an_annotation_is_read_as_protobuf_is);
    tcase_add_test(tests, an_annotations_key_that_is_no_text_is_damaged_though_another_follows);
    tcase_add_test(tests, an_annotations_key_has_253_bytes_at_most);
    tcase_add_test(tests, an_envelope_is_told_whatever_else_is_wrong);
    tcase_add_test(tests, the_first_of_two_faults_is_told);
    suite_add_tcase(suite, tests);
    return suite_run(suite);
}
