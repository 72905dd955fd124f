/* The audit log: what a line says. */
#include "audit_help.h"

START_TEST(call_says_who_asked_for_what_under_which_key_and_what_became_of_it)
{
    struct kek_audit *audit = new_ok(folder_path("audit"));
    struct kek_why why = {.rc = KEK_UNAVAILABLE,
                          .native = KEK_NATIVE_PKCS11,
                          .code = 0x30,
                          .text = "provider hsm-a: C_UnwrapKey failed: CKR_DEVICE_ERROR"};
    struct kek_kms_event event = event_of(KEK_KMS_V2_DECRYPT, KEK_RPC_UNAVAILABLE, "uid-1");
    struct kek_id kek_id = {{0xab, 0xcd}};
    event.hsm = true;
    event.why = &why;
    event.kek_id = &kek_id;
    event.version = 7;
    event.provider = hsm_b;
    kek_audit_call(audit, &event);
    event = event_of(KEK_KMS_V1_ENCRYPT, KEK_RPC_OK, "");
    kek_audit_call(audit, &event);
    stop(audit);

    ck_assert_uint_eq(read_lines(folder_path("audit")), 4);
    ck_assert_str_eq(text_of(lines[0], "event"), "start");
    ck_assert_int_eq(number_of(lines[0], "pid"), getpid());
    ck_assert_str_eq(text_of(lines[1], "event"), "call");
    ck_assert_str_eq(text_of(lines[1], "node"), "node-1");
    ck_assert_str_eq(text_of(lines[1], "api"), "v2");
    ck_assert_str_eq(text_of(lines[1], "method"), "Decrypt");
    ck_assert_str_eq(text_of(lines[1], "uid"), "uid-1");
    ck_assert_str_eq(text_of(lines[1], "key_id"), event.key_id);
    ck_assert_int_eq(number_of(lines[1], "peer_uid"), 0);
    ck_assert_int_eq(number_of(lines[1], "peer_pid"), 4321);
    ck_assert_str_eq(text_of(lines[1], "status"), "UNAVAILABLE");
    ck_assert_int_eq(number_of(lines[1], "duration_us"), 1234);
    ck_assert(json_is_true(json_object_get(lines[1], "hsm")));
    ck_assert_str_eq(text_of(lines[1], "error"), why.text);
    ck_assert_str_eq(text_of(lines[1], "origin"), "pkcs11");
    ck_assert_int_eq(number_of(lines[1], "code"), 0x30);
    ck_assert_str_eq(text_of(lines[1], "kek_id"), "abcd0000000000000000000000000000");
    ck_assert_int_eq(number_of(lines[1], "version"), 7);
    ck_assert_str_eq(text_of(lines[1], "provider"), "hsm-b");
    ck_assert_ptr_null(json_object_get(lines[2], "provider"));
    ck_assert_str_eq(text_of(lines[2], "api"), "v1beta1");
    ck_assert_str_eq(text_of(lines[2], "status"), "OK");
    ck_assert(json_is_false(json_object_get(lines[2], "hsm")));
    ck_assert_ptr_null(json_object_get(lines[2], "error"));
    ck_assert_str_eq(text_of(lines[3], "event"), "stop");
    for (int i = 0; i < 4; i++) {
        const char *time = text_of(lines[i], "time");
        ck_assert_uint_eq(strlen(time), strlen("2006-01-02T15:04:05.678Z"));
        ck_assert(time[10] == 'T' && time[19] == '.' && time[23] == 'Z');
        ck_assert_int_eq(number_of(lines[i], "seq"), i + 1);
    }
}
END_TEST

/* What stands between the words that every line has and those that chain it. */
static const char *rest_of(const char *line, size_t len, char rest[static AUDIT_LINE_MAX])
{
    const char *from = strstr(line, ",\"api\"");
    ck_assert_ptr_nonnull(from);
    snprintf(rest, AUDIT_LINE_MAX, "%.*s", (int)(len - (size_t)(from - line)), from);
    return rest;
}

#define KEK_A "aa000000000000000000000000000000"
#define KEK_B "bb000000000000000000000000000000"
#define CALLED                                                                              \
    ",\"api\":\"v2\",\"method\":\"Decrypt\",\"uid\":\"u\",\"key_id\":"                      \
    "\"kek1-00112233445566778899aabbccddeeff\",\"kek_id\":\"" KEK_A "\",\"version\":3,"     \
    "\"peer_uid\":0,\"peer_pid\":4321,\"status\":\"OK\",\"duration_us\":1234,\"hsm\":true," \
    "\"provider\":\"hsm-a\""

START_TEST(call_names_each_root_whose_kek_it_used_and_of_one_root_nothing_is_added)
{
    char out[AUDIT_LINE_MAX + 1] = "", rest[AUDIT_LINE_MAX];
    struct audit_stamp stamp = {.node = "n", .second = -1};
    struct kek_kms_event event = event_of(KEK_KMS_V2_DECRYPT, KEK_RPC_OK, "u");
    event.kek_id = &(struct kek_id){{0xaa}};
    event.version = 3;
    event.hsm = true;
    event.provider = hsm_a;
    size_t len = audit_line_call(out, &stamp, &event);
    ck_assert_str_eq(rest_of(out, len, rest), CALLED "}\n");

    const struct kek_kms_kek keks[] = {
        {.root = "site", .kek_id = {{0xaa}}, .version = 3, .provider = hsm_a},
        {.root = "spare", .kek_id = {{0xbb}}, .unopened = true},
    };
    event.keks = keks;
    event.kek_count = 2;
    len = audit_line_call(out, &stamp, &event);
    ck_assert_str_eq(rest_of(out, len, rest),
                     CALLED ",\"keks\":[{\"root\":\"site\",\"version\":3,\"kek_id\":\"" KEK_A
                            "\",\"provider\":\"hsm-a\"},{\"root\":\"spare\",\"kek_id\":\"" KEK_B
                            "\",\"opened\":false}]}\n");
    event.kek_count = 1;
    len = audit_line_call(out, &stamp, &event);
    ck_assert_str_eq(rest_of(out, len, rest),
                     CALLED ",\"keks\":[{\"root\":\"site\",\"version\":3,\"kek_id\":\"" KEK_A
                            "\",\"provider\":\"hsm-a\"}]}\n");
}
END_TEST

START_TEST(polls_that_went_well_leave_no_line_and_all_else_does)
{
    struct kek_audit *audit = new_ok(folder_path("audit"));
    for (int m = 0; m < KEK_KMS_METHODS; m++) {
        struct kek_kms_event good = event_of((enum kek_kms_method)m, KEK_RPC_OK, "good");
        struct kek_kms_event bad = event_of((enum kek_kms_method)m, KEK_RPC_INTERNAL, "bad");
        kek_audit_call(audit, &good);
        kek_audit_call(audit, &bad);
    }
    kek_audit_rejected(audit, &peer, "/v2.KeyManagementService/Encrypt", KEK_RPC_PERMISSION_DENIED,
                       "uid 1000 may not call");
    stop(audit);
    size_t good = 0, bad = 0;
    size_t count = read_lines(folder_path("audit"));
    for (size_t i = 1; i + 2 < count; i++) {
        good += strcmp(text_of(lines[i], "uid"), "good") == 0;
        bad += strcmp(text_of(lines[i], "uid"), "bad") == 0;
    }
    ck_assert_uint_eq(good, 4);
    ck_assert_uint_eq(bad, 6);
    ck_assert_str_eq(text_of(lines[count - 2], "event"), "rejected");
    ck_assert_str_eq(text_of(lines[count - 2], "path"), "/v2.KeyManagementService/Encrypt");
    ck_assert_str_eq(text_of(lines[count - 2], "status"), "PERMISSION_DENIED");
    ck_assert_str_eq(text_of(lines[count - 2], "error"), "uid 1000 may not call");
}
END_TEST

/* What a client may send as a uid, and what the line must say instead. */
START_TEST(texts_from_outside_are_escaped_and_cut)
{
    static const struct {
        const char *sent, *shown;
    } table[] = {
        {"\"},{\"a\":\"", "\"},{\"a\":\""},
        {"a\\b\n\t\x01\x7f", "a\\b\n\t\x01\x7f"},
        {"gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x91",
         "gr\xc3\xbc\xc3\x9f \xe2\x82\xac \xf0\x9f\x94\x91"},
        {"\xff", "\xef\xbf\xbd"},
        {"\xc3", "\xef\xbf\xbd"},
        {"\xc0\x80", "\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe0\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xed\xa0\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xf4\x90\x80\x80", "\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd\xef\xbf\xbd"},
        {"\xe2\x82", "\xef\xbf\xbd\xef\xbf\xbd"},
    };
    struct kek_audit *audit = new_ok(folder_path("audit"));
    char longer[1000];
    memset(longer, 'x', sizeof longer - 1);
    longer[sizeof longer - 1] = '\0';
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        call(audit, table[i].sent);
    }
    call(audit, longer);
    stop(audit);
    read_lines(folder_path("audit"));
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        ck_assert_str_eq(text_of(lines[i + 1], "uid"), table[i].shown);
    }
    const char *cut = text_of(lines[1 + sizeof table / sizeof table[0]], "uid");
    ck_assert_uint_eq(strlen(cut), 131);
    ck_assert_str_eq(cut + 126, "xx...");
}
END_TEST

START_TEST(the_longest_line_that_can_be_fits)
{
    char worst[70000], out[AUDIT_LINE_MAX];
    struct kek_why why = {.native = KEK_NATIVE_NGHTTP2, .code = UINT64_MAX};
    static const unsigned char bytes[] = {0x01, 0xff, '"', 0x7f};
    for (size_t b = 0; b < sizeof bytes; b++) {
        memset(worst, bytes[b], sizeof worst - 1);
        worst[sizeof worst - 1] = '\0';
        memset(why.text, bytes[b], sizeof why.text - 1);
        struct audit_stamp stamp = {
            .wall_ms = INT64_C(253402300799999), .seq = UINT64_MAX, .node = worst, .second = -1};
        struct kek_kms_event event =
            event_of(KEK_KMS_V1_DECRYPT, KEK_RPC_FAILED_PRECONDITION, worst);
        event.key_id = event.provider = worst;
        event.version = UINT32_MAX;
        event.kek_id = &(struct kek_id){{0xff}};
        event.duration_us = UINT64_MAX;
        event.why = &why;
        /* As long as the configuration lets it be, which takes nothing that is escaped. */
        static const char name[] = "abcdefghijklmnopqrstuvwxyz-01234";
        struct kek_kms_kek keks[KEK_ENVELOPE_ENTRIES_MAX];
        for (size_t i = 0; i < KEK_ENVELOPE_ENTRIES_MAX; i++) {
            keks[i] = (struct kek_kms_kek){
                .root = name, .version = UINT32_MAX, .provider = name, .unopened = true};
        }
        event.keks = keks;
        event.kek_count = KEK_ENVELOPE_ENTRIES_MAX;
        event.damaged_root = name;
        size_t len = audit_line_call(out, &stamp, &event);
        ck_assert_uint_gt(len, 0);
        json_t *line = json_loadb(out, len, JSON_DECODE_INT_AS_REAL, NULL);
        ck_assert_ptr_nonnull(line);
        json_decref(line);
        len = audit_line_rejected(out, &stamp, &peer, worst, KEK_RPC_FAILED_PRECONDITION, worst);
        ck_assert_uint_gt(len, 0);
    }
}
END_TEST

/* What to do often stands at its end. */
START_TEST(the_longest_reason_is_told_whole)
{
    struct kek_keyring_verdict verdict = {.state = KEK_KEYRING_LOSS};
    char out[AUDIT_LINE_MAX];
    memset(verdict.what, 'x', sizeof verdict.what - 1);
    struct audit_stamp stamp = {.node = "n", .second = -1};
    size_t len = audit_line_health(out, &stamp, &verdict, NULL);
    json_t *line = json_loadb(out, len, 0, NULL);
    ck_assert_ptr_nonnull(line);
    ck_assert_str_eq(json_string_value(json_object_get(line, "error")), verdict.what);
    json_decref(line);
}
END_TEST

START_TEST(keyring_lines_tell_each_change_once)
{
    struct kek_audit *audit = new_ok(folder_path("audit"));
    struct kek_keyring_version versions[3] = {
        {.number = 1,
         .kek_id = {{0x1a}},
         .key_id = "kek1-a",
         .held = {KEK_KEYRING_KEY_ACTIVE, KEK_KEYRING_KEY_ACTIVE}},
        {.number = 2, .kek_id = {{0x2b}}, .key_id = "kek1-b", .held = {KEK_KEYRING_KEY_PRE_ACTIVE}},
        /* Another key of that number. */
        {.number = 2, .kek_id = {{0x2c}}, .key_id = "kek1-c"},
    };
    struct kek_keyring_primary primary = {
        .generation = {.numbers = {1}, .kek_ids = {{{0x1a}}}, .key_id = "kek1-a"}};
    struct kek_keyring_verdict verdict = {.state = KEK_KEYRING_STARTING, .provider = KEK_POOL_ANY};
    kek_audit_keyring(audit, &config, NULL, versions, 0, &verdict); /* nothing yet */
    verdict.state = KEK_KEYRING_GOOD;
    for (int again = 0; again < 2; again++) {
        kek_audit_keyring(audit, &config, &primary, versions, 3, &verdict);
    }
    /* One of the two only. */
    versions[0].held[1] = KEK_KEYRING_KEY_DEACTIVATED;
    versions[1].held[1] = KEK_KEYRING_KEY_ACTIVE;
    versions[2].held[0] = KEK_KEYRING_KEY_FOREIGN;
    primary = (struct kek_keyring_primary){
        .generation = {.numbers = {2}, .kek_ids = {{{0x2b}}}, .key_id = "kek1-b"}};
    verdict = (struct kek_keyring_verdict){
        .state = KEK_KEYRING_OUTAGE, .what = "no HSM answers", .version = 2, .provider = 1};
    for (int again = 0; again < 2; again++) {
        kek_audit_keyring(audit, &config, &primary, versions, 3, &verdict);
    }
    versions[1].held[0] = KEK_KEYRING_KEY_SUSPENDED;
    versions[1].held[1] = KEK_KEYRING_KEY_GONE;
    versions[2].held[0] = KEK_KEYRING_KEY_UNFIT;
    versions[2].held[1] = KEK_KEYRING_KEY_ABSENT;
    kek_audit_keyring(audit, &config, &primary, versions, 3, &verdict);
    /* It is surplus, where it is; and compromised. */
    versions[2].surplus = true;
    for (int again = 0; again < 2; again++) {
        kek_audit_keyring(audit, &config, &primary, versions, 3, &verdict);
    }
    versions[1].held[0] = KEK_KEYRING_KEY_COMPROMISED;
    kek_audit_keyring(audit, &config, &primary, versions, 3, &verdict);
    /* The keyring forgets what nobody holds: no line for what was gone or absent before. */
    kek_audit_keyring(audit, &config, &primary, versions, 1, &verdict);
    stop(audit);

#define ID(byte) #byte "000000000000000000000000000000"
    static const char *const expected[] = {
        "start",
        "version hsm-a 1 active " ID(1a) " kek1-a",
        "version hsm-b 1 active " ID(1a) " kek1-a",
        "version hsm-a 2 pre-active " ID(2b) " kek1-b",
        "primary 1 " ID(1a) " kek1-a",
        "health good",
        "version hsm-b 1 deactivated " ID(1a) " kek1-a",
        "version hsm-b 2 active " ID(2b) " kek1-b",
        "version hsm-a 2 foreign " ID(2c) " kek1-c",
        "primary 2 " ID(2b) " kek1-b",
        "health hsm-b 2 outage no HSM answers",
        "version hsm-a 2 suspended " ID(2b) " kek1-b",
        "version hsm-b 2 gone " ID(2b) " kek1-b",
        "version hsm-a 2 unfit " ID(2c) " kek1-c",
        "version hsm-b 2 absent " ID(2c) " kek1-c",
        "version hsm-a 2 unfit " ID(2c) " kek1-c surplus",
        "version hsm-a 2 compromised " ID(2b) " kek1-b",
        "version hsm-a 2 gone " ID(2b) " kek1-b",
        "version hsm-a 2 gone " ID(2c) " kek1-c surplus",
        "stop",
    };
#undef ID
    ck_assert_uint_eq(read_lines(folder_path("audit")), sizeof expected / sizeof expected[0]);
    for (size_t i = 0; i < line_count; i++) {
        char said[256];
        in_words(lines[i], said);
        ck_assert_str_eq(said, expected[i]);
    }
}
END_TEST

/* Two roots of trust, each with the versions of its own. */
START_TEST(keyring_lines_name_the_root_where_it_has_a_name)
{
    struct kek_config_root names[2];
    struct kek_config roots = config;
    roots.roots = names;
    roots.root_count = 2;
    struct kek_audit *audit = new_ok(folder_path("audit"));
    struct kek_keyring_version versions[2] = {
        {.root = "site", .number = 1, .kek_id = {{0xaa}}, .held = {KEK_KEYRING_KEY_ACTIVE}},
        {.root = "spare",
         .number = 7,
         .kek_id = {{0xbb}},
         .held = {KEK_KEYRING_KEY_UNSEEN, KEK_KEYRING_KEY_ACTIVE},
         .canary = {{.fails = false}, {.fails = true}}},
    };
    struct kek_keyring_primary primary = {
        .generation = {
            .count = 2, .numbers = {1, 7}, .kek_ids = {{{0xaa}}, {{0xbb}}}, .key_id = "kek1-both"}};
    struct kek_keyring_verdict verdict = {.state = KEK_KEYRING_STARTING, .provider = KEK_POOL_ANY};
    kek_audit_keyring(audit, &roots, &primary, versions, 2, &verdict);
    roots.root = hsm_b; /* its view: whose worker it is */
    kek_audit_login(audit, &roots, &(struct kek_pool_login){.provider = 1, .token = "0123"});
    stop(audit);

    ck_assert_uint_eq(read_lines(folder_path("audit")), 7);
    static const char *const expected[] = {"version site", "version spare", "canary spare"};
    for (size_t i = 0; i < 3; i++) {
        char said[64];
        snprintf(said, sizeof said, "%s %s", text_of(lines[i + 1], "event"),
                 text_of(lines[i + 1], "root"));
        ck_assert_str_eq(said, expected[i]);
    }
    ck_assert_str_eq(text_of(lines[4], "event"), "primary");
    const json_t *keks = json_object_get(lines[4], "keks");
    ck_assert_uint_eq(json_array_size(keks), 2);
    ck_assert_str_eq(text_of(json_array_get(keks, 0), "root"), "site");
    ck_assert_str_eq(text_of(json_array_get(keks, 1), "root"), "spare");
    ck_assert_int_eq(number_of(json_array_get(keks, 1), "version"), 7);
    ck_assert_str_eq(text_of(json_array_get(keks, 1), "kek_id"), KEK_B);
    ck_assert_str_eq(text_of(lines[5], "root"), hsm_b);
}
END_TEST

START_TEST(login_says_which_worker_gave_a_pin_to_which_token_and_what_it_said)
{
    struct kek_audit *audit = new_ok(folder_path("audit"));
    struct kek_why why = {.native = KEK_NATIVE_PKCS11, .code = 0xa0, .text = "PIN refused"};
    struct kek_pool_login login = {.provider = 1, .worker = 17, .token = "0123abcd"};
    kek_audit_login(audit, &config, &login);
    login.why = &why;
    login.outcome = KEK_POOL_LOGIN_REFUSED;
    kek_audit_login(audit, &config, &login);
    login.outcome = KEK_POOL_LOGIN_UNCLEAR;
    kek_audit_login(audit, &config, &login);
    stop(audit);
    ck_assert_uint_eq(read_lines(folder_path("audit")), 5);
    static const char *const outcomes[] = {"ok", "refused", "unclear"};
    for (size_t i = 0; i < 3; i++) {
        const json_t *line = lines[i + 1];
        ck_assert_str_eq(text_of(line, "event"), "login");
        ck_assert_str_eq(text_of(line, "provider"), "hsm-b");
        ck_assert_str_eq(text_of(line, "token"), "0123abcd");
        ck_assert_int_eq(number_of(line, "worker"), 17);
        ck_assert_str_eq(text_of(line, "outcome"), outcomes[i]);
        ck_assert((json_object_get(line, "error") == NULL) == (i == 0));
    }
    ck_assert_int_eq(number_of(lines[2], "code"), 0xa0);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit");
    TCase *tcase = tcase_create("audit");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, call_says_who_asked_for_what_under_which_key_and_what_became_of_it);
    tcase_add_test(tcase, call_names_each_root_whose_kek_it_used_and_of_one_root_nothing_is_added);
    tcase_add_test(tcase, keyring_lines_name_the_root_where_it_has_a_name);
    tcase_add_test(tcase, polls_that_went_well_leave_no_line_and_all_else_does);
    tcase_add_test(tcase, texts_from_outside_are_escaped_and_cut);
    tcase_add_test(tcase, the_longest_line_that_can_be_fits);
    tcase_add_test(tcase, the_longest_reason_is_told_whole);
    tcase_add_test(tcase, keyring_lines_tell_each_change_once);
    tcase_add_test(tcase, login_says_which_worker_gave_a_pin_to_which_token_and_what_it_said);
    return suite_run(suite);
}
