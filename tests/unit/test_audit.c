/* The audit log: what a line says, and that none is lost without a word. */
#include <fcntl.h>
#include <jansson.h>
#include <signal.h>
#include <sys/resource.h>
#include <sys/stat.h>

#include "kek/audit.h"
#include "kek/audit_act.h"
#include "kek/clock.h"
#include "man_items.h"
#include "ops_folder.h"
#include "src/ops/audit_line.h"

#define LINES_MAX 40000

static uv_loop_t loop;
static json_t *lines[LINES_MAX]; /* of the files read so far */
static size_t line_count;

static const struct kek_rpc_peer peer = {.uid = 0, .gid = 0, .pid = 4321};

static char hsm_a[] = "hsm-a", hsm_b[] = "hsm-b";
static struct kek_config_provider two[] = {{.name = hsm_a}, {.name = hsm_b}};
static const struct kek_config config = {.providers = two, .provider_count = 2};

static void setup(void)
{
    folder_make();
    ck_assert_int_eq(uv_loop_init(&loop), 0);
}

static void teardown(void)
{
    while (line_count > 0) {
        json_decref(lines[--line_count]);
    }
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    folder_remove();
}

static struct kek_audit *new_ok(const char *path)
{
    struct kek_why why = {.text = ""};
    struct kek_audit *audit = kek_audit_new(&loop, path, "node-1", &why);
    ck_assert_msg(audit != NULL, "%s", why.text);
    return audit;
}

static void on_stopped(void *arg)
{
    bool *stopped = arg;
    ck_assert(!*stopped);
    *stopped = true;
}

static void stop(struct kek_audit *audit)
{
    bool stopped = false;
    kek_audit_stop(audit, on_stopped, &stopped);
    ck_assert(!stopped);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert(stopped);
    kek_audit_free(audit);
}

static struct kek_kms_event event_of(enum kek_kms_method method, enum kek_rpc_status status,
                                     const char *uid)
{
    return (struct kek_kms_event){
        .method = method,
        .status = status,
        .duration_us = 1234,
        .peer = &peer,
        .uid = uid,
        .key_id = "kek1-00112233445566778899aabbccddeeff",
    };
}

static void call(struct kek_audit *audit, const char *uid)
{
    struct kek_kms_event event = event_of(KEK_KMS_V2_DECRYPT, KEK_RPC_OK, uid);
    kek_audit_call(audit, &event);
}

/* Every line of the file must be a JSON object, the last one complete; returns how many. */
static size_t read_lines(const char *path)
{
    FILE *file = fopen(path, "r");
    ck_assert_msg(file != NULL, "%s", path);
    char text[2 * AUDIT_LINE_MAX];
    size_t first = line_count;
    while (fgets(text, sizeof text, file) != NULL) {
        json_error_t error;
        ck_assert_uint_lt(line_count, LINES_MAX);
        ck_assert_msg(strchr(text, '\n') != NULL, "%s: unfinished: %s", path, text);
        lines[line_count] = json_loads(text, JSON_REJECT_DUPLICATES, &error);
        ck_assert_msg(lines[line_count] != NULL, "%s: %s: %s", path, error.text, text);
        line_count++;
    }
    fclose(file);
    return line_count - first;
}

static const char *text_of(const json_t *line, const char *key)
{
    const char *text = json_string_value(json_object_get(line, key));
    ck_assert_msg(text != NULL, "no text \"%s\"", key);
    return text;
}

static json_int_t number_of(const json_t *line, const char *key)
{
    const json_t *value = json_object_get(line, key);
    ck_assert_msg(json_is_integer(value), "no number \"%s\"", key);
    return json_integer_value(value);
}

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

/* The line in words: its event, and the values of these fields in their order. */
static void in_words(const json_t *line, char said[static 256])
{
    static const char *const keys[] = {"provider", "version", "state", "kek_id",
                                       "key_id",   "health",  "error"};
    int at = snprintf(said, 256, "%s", text_of(line, "event"));
    for (size_t k = 0; k < sizeof keys / sizeof keys[0]; k++) {
        const json_t *value = json_object_get(line, keys[k]);
        if (json_is_integer(value)) {
            at += snprintf(said + at, 256 - (size_t)at, " %d", (int)json_integer_value(value));
        } else if (value != NULL) {
            at += snprintf(said + at, 256 - (size_t)at, " %s", json_string_value(value));
        }
    }
}

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
        "version hsm-a 2 gone " ID(2b) " kek1-b",
        "version hsm-a 2 gone " ID(2c) " kek1-c",
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

START_TEST(lines_keep_their_order_over_many_writes)
{
    struct kek_audit *audit = new_ok(folder_path("audit"));
    struct kek_audit_stats stats;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 200; i++) {
            call(audit, "uid");
        }
        do {
            uv_run(&loop, UV_RUN_ONCE);
            kek_audit_stats(audit, &stats);
        } while (stats.waiting > KEK_AUDIT_BOUND / 2);
    }
    stop(audit);
    size_t count = read_lines(folder_path("audit"));
    ck_assert_uint_eq(count, 10002);
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(number_of(lines[i], "seq"), (json_int_t)i + 1);
    }
    audit = new_ok(folder_path("audit")); /* a second run goes on in the same file */
    kek_audit_stats(audit, &stats);
    ck_assert_uint_eq(stats.lines, 0);
    ck_assert_uint_gt(stats.waiting, 0);
    stop(audit);
    ck_assert_uint_eq(read_lines(folder_path("audit")), 10004);
}
END_TEST

START_TEST(reopen_goes_on_in_a_new_file_after_a_rename)
{
    const char *path = folder_path("audit"), *old = folder_path("audit.1");
    struct kek_audit *audit = new_ok(path);
    for (int i = 0; i < 1000; i++) {
        call(audit, "before");
    }
    uv_run(&loop, UV_RUN_NOWAIT); /* a write is under way */
    ck_assert_int_eq(rename(path, old), 0);
    kek_audit_reopen(audit);
    call(audit, "after");
    stop(audit);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    size_t in_old = read_lines(old), in_new = read_lines(path);
    ck_assert_uint_eq(in_old + in_new, 1003);
    ck_assert_uint_ge(in_new, 2);
    for (size_t i = 0; i < line_count; i++) {
        ck_assert_int_eq(number_of(lines[i], "seq"), (json_int_t)i + 1);
    }
}
END_TEST

START_TEST(reopen_keeps_the_old_file_when_the_new_one_cannot_be)
{
    const char *path = folder_path("audit"), *old = folder_path("audit.1");
    struct kek_audit *audit = new_ok(path);
    ck_assert_int_eq(rename(path, old), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    kek_audit_reopen(audit);
    call(audit, "after");
    while (uv_run(&loop, UV_RUN_ONCE) != 0) {
    }
    struct kek_audit_stats stats;
    kek_audit_stats(audit, &stats);
    ck_assert_uint_eq(stats.errors, 1);
    stop(audit);
    ck_assert_uint_eq(read_lines(old), 3);
}
END_TEST

/* A disk of `bytes`: writing past them is cut short, then fails. */
static void disk_holds(rlim_t bytes)
{
    struct rlimit limit;
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    limit.rlim_cur = bytes < limit.rlim_max ? bytes : limit.rlim_max;
    ck_assert_int_eq(setrlimit(RLIMIT_FSIZE, &limit), 0);
}

static void run_until_error(struct kek_audit *audit)
{
    struct kek_audit_stats stats;
    do {
        uv_run(&loop, UV_RUN_ONCE);
        kek_audit_stats(audit, &stats);
    } while (stats.errors == 0);
}

static uint64_t standing_still(void)
{
    return 1000000000;
}

START_TEST(who_may_not_call_pushes_out_no_line_of_who_may)
{
    const char *path = folder_path("audit");
    struct kek_audit *audit = new_ok(path);
    struct kek_audit_stats stats;
    kek_clock_fake(standing_still);
    for (int i = 0; i < 20000; i++) {
        kek_audit_rejected(audit, &peer, "/v2.KeyManagementService/Decrypt",
                           KEK_RPC_PERMISSION_DENIED, "uid 1234 is not allowed (allow_uids)");
        if (i % 1000 == 0) {
            call(audit, "allowed");
        }
    }
    kek_audit_stats(audit, &stats);
    ck_assert_uint_eq(stats.dropped, 20000 - KEK_AUDIT_REJECTED_RATE);
    stop(audit);
    size_t count = read_lines(path), rejected = 0, allowed = 0;
    json_int_t told = 0;
    for (size_t i = 0; i < count; i++) {
        const char *event = text_of(lines[i], "event");
        rejected += strcmp(event, "rejected") == 0;
        allowed += strcmp(event, "call") == 0;
        told += strcmp(event, "dropped") == 0 ? number_of(lines[i], "lines") : 0;
    }
    ck_assert_uint_eq(rejected, KEK_AUDIT_REJECTED_RATE);
    ck_assert_uint_eq(allowed, 20);
    ck_assert_uint_eq((uint64_t)told, stats.dropped);
}
END_TEST

START_TEST(a_full_disk_costs_counted_lines_only_and_the_log_goes_on)
{
    const char *path = folder_path("audit");
    struct kek_audit *audit = new_ok(path);
    struct kek_audit_stats stats;
    disk_holds(10001);
    call(audit, "first");
    for (int i = 0; i < 100; i++) {
        call(audit, "torn");
    }
    run_until_error(audit);
    for (int i = 0; i < 8000; i++) {
        call(audit, "waits or is lost");
    }
    kek_audit_stats(audit, &stats);
    uint64_t dropped = stats.dropped;
    ck_assert_uint_gt(dropped, 0);
    ck_assert_uint_le(stats.waiting, KEK_AUDIT_BOUND);
    ck_assert_uint_gt(stats.waiting, KEK_AUDIT_BOUND - AUDIT_LINE_MAX);

    disk_holds(RLIM_INFINITY);
    while (uv_run(&loop, UV_RUN_ONCE) != 0) {
    }
    call(audit, "last");
    stop(audit);

    size_t count = read_lines(path);
    json_int_t told = 0, gaps = 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text_of(lines[i], "event"), "dropped") == 0) {
            told += number_of(lines[i], "lines");
        }
        if (i > 0) {
            gaps += number_of(lines[i], "seq") - number_of(lines[i - 1], "seq") - 1;
        }
    }
    ck_assert_uint_eq((uint64_t)told, dropped);
    ck_assert_uint_eq((uint64_t)gaps, dropped);
    ck_assert_str_eq(text_of(lines[count - 2], "uid"), "last");
}
END_TEST

START_TEST(reopen_on_a_full_disk_moves_the_cut_line_whole_to_the_new_file)
{
    const char *path = folder_path("audit"), *old = folder_path("audit.1");
    struct kek_audit *audit = new_ok(path);
    disk_holds(5001);
    for (int i = 0; i < 100; i++) {
        call(audit, "uid");
    }
    run_until_error(audit);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_size, 5001); /* in the middle of a line */
    ck_assert_int_eq(rename(path, old), 0);
    disk_holds(RLIM_INFINITY);
    kek_audit_reopen(audit);
    stop(audit);

    /* The old file ends with a piece; what it is a piece of comes first in the new one. */
    size_t in_new = read_lines(path);
    json_int_t first = number_of(lines[0], "seq");
    ck_assert_int_eq((json_int_t)in_new, 102 - first + 1);
    int fd = open(old, O_WRONLY | O_APPEND);
    ck_assert_int_eq(write(fd, "\n", 1), 1);
    close(fd);
    FILE *file = fopen(old, "r");
    char text[2 * AUDIT_LINE_MAX];
    json_int_t whole = 0, broken = 0;
    while (fgets(text, sizeof text, file) != NULL) {
        json_t *line = json_loads(text, 0, NULL);
        whole += line != NULL;
        broken += line == NULL;
        json_decref(line);
    }
    fclose(file);
    ck_assert_int_eq(whole, first - 1);
    ck_assert_int_eq(broken, 1);
}
END_TEST

START_TEST(stop_ends_on_a_disk_that_takes_nothing)
{
    struct kek_audit *audit = new_ok(folder_path("audit"));
    disk_holds(0);
    for (int i = 0; i < 10; i++) {
        call(audit, "lost");
    }
    bool stopped = false;
    kek_audit_stop(audit, on_stopped, &stopped);
    call(audit, "too late");
    kek_audit_reopen(audit);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert(stopped);
    struct kek_audit_stats stats;
    kek_audit_stats(audit, &stats);
    ck_assert_uint_eq(stats.dropped, 12); /* start, ten calls, stop */
    ck_assert_uint_eq(stats.lines, 0);
    kek_audit_free(audit);
    disk_holds(RLIM_INFINITY);
}
END_TEST

static const struct kek_id made = {{0xde, 0xad}};
static const size_t two_pins = 2;
static const struct kek_why no_room = {
    .native = KEK_NATIVE_PKCS11, .code = 0x31, .text = "CKR_DEVICE_MEMORY"};
static const struct kek_audit_act acts[] = {
    {.event = "generate",
     .outcome = "ok",
     .provider = hsm_b,
     .kek_id = &made,
     .version = 5,
     .state = "pre-active"},
    {.event = "generate",
     .outcome = "failed",
     .provider = hsm_a,
     .kek_id = &made,
     .version = 6,
     .state = "pre-active",
     .why = &no_room},
    {.event = "pin-retry", .outcome = "ok", .forgotten = &two_pins},
    {.event = "login", .outcome = "refused", .provider = hsm_a, .token = "0123abcd"},
};

static void act(const char *path)
{
    struct kek_why why = {.text = ""};
    int fd = kek_audit_act_open(path, &why);
    ck_assert_msg(fd >= 0, "%s", why.text);
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        ck_assert_int_eq(kek_audit_act(fd, &acts[i], &why), KEK_OK);
    }
    close(fd);
}

START_TEST(acts_of_an_operator_stand_among_kekds_lines_and_in_a_file_that_kekd_can_open)
{
    static const char *const expected[] = {
        "generate hsm-b 5 pre-active dead0000000000000000000000000000",
        "generate hsm-a 6 pre-active dead0000000000000000000000000000 CKR_DEVICE_MEMORY",
        "pin-retry",
        "login hsm-a",
    };
    const char *path = folder_path("audit");
    act(path); /* before kekd has ever been started */
    struct stat st, around;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(stat(folder_path("."), &around), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    ck_assert_uint_eq(st.st_uid, around.st_uid);
    struct kek_audit *audit = new_ok(path);
    act(path);
    stop(audit);
    ck_assert_uint_eq(read_lines(path), 10);
    for (size_t i = 0; i < 8; i++) {
        char said[256];
        in_words(lines[i], said);
        ck_assert_str_eq(said, expected[i % 4]);
        ck_assert_int_eq(number_of(lines[i], "seq"), 0);
        ck_assert_int_eq(number_of(lines[i], "peer_uid"), getuid());
        ck_assert_int_eq(number_of(lines[i], "peer_pid"), getpid());
        ck_assert_str_eq(text_of(lines[i], "outcome"), acts[i % 4].outcome);
    }
    ck_assert_int_eq(number_of(lines[2], "forgotten"), 2);
    ck_assert_str_eq(text_of(lines[3], "token"), "0123abcd");
    ck_assert_str_eq(text_of(lines[8], "event"), "start");
}
END_TEST

START_TEST(act_is_not_put_where_kekds_log_cannot_be)
{
    struct kek_why why = {.text = ""};
    ck_assert_int_eq(symlink(folder_path("target"), folder_path("link")), 0);
    static const char *const names[] = {"link", "missing/audit", "."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        ck_assert_int_lt(kek_audit_act_open(folder_path(names[i]), &why), 0);
        ck_assert_ptr_nonnull(strstr(why.text, names[i]));
    }
    disk_holds(0);
    int fd = kek_audit_act_open(folder_path("audit"), &why);
    ck_assert_int_ge(fd, 0);
    ck_assert_int_eq(kek_audit_act(fd, &acts[0], &why), KEK_UNAVAILABLE);
    ck_assert_int_ne(why.code, 0);
    close(fd);
    disk_holds(RLIM_INFINITY);
}
END_TEST

START_TEST(new_ends_a_line_that_a_crash_left_unfinished)
{
    const char *path = folder_path("audit");
    int fd = open(path, O_CREAT | O_WRONLY, 0600);
    ck_assert_int_eq(write(fd, "{\"time\":\"20", 11), 11);
    close(fd);
    stop(new_ok(path));
    FILE *file = fopen(path, "r");
    char text[AUDIT_LINE_MAX];
    ck_assert_ptr_nonnull(fgets(text, sizeof text, file));
    ck_assert_str_eq(text, "{\"time\":\"20\n");
    ck_assert_ptr_nonnull(fgets(text, sizeof text, file));
    ck_assert_int_eq(strncmp(text, "{\"time\":\"", 9), 0);
    ck_assert_ptr_nonnull(strstr(text, "\"event\":\"start\""));
    fclose(file);
}
END_TEST

START_TEST(new_refuses_what_is_no_file_of_its_own)
{
    struct kek_why why;
    ck_assert_int_eq(mkfifo(folder_path("fifo"), 0600), 0);
    ck_assert_int_eq(symlink(folder_path("target"), folder_path("link")), 0);
    static const char *const names[] = {"fifo", "link", "missing/audit", "."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        why = (struct kek_why){.rc = KEK_OK};
        ck_assert_ptr_null(kek_audit_new(&loop, folder_path(names[i]), NULL, &why));
        ck_assert_int_eq(why.rc, KEK_DENIED);
        ck_assert_ptr_nonnull(strstr(why.text, names[i]));
    }
    ck_assert_ptr_null(kek_audit_new(&loop, "/dev/null", NULL, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "not a regular file"));
    kek_audit_free(NULL);
}
END_TEST

/* Every field of every kind of line, and every kind, stand in the manual, and nothing else does. */
/* What kekctl's changes of a key's state are put on record as. */
static void act_changes(const char *path)
{
    static const char *const events[] = {"promote", "retire", "suspend", "resume"};
    struct kek_why why = {.text = ""};
    int fd = kek_audit_act_open(path, &why);
    ck_assert_msg(fd >= 0, "%s", why.text);
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        const struct kek_audit_act change = {.event = events[i],
                                             .outcome = "unclear",
                                             .provider = hsm_b,
                                             .kek_id = &made,
                                             .version = 5,
                                             .state = "active",
                                             .why = &no_room};
        ck_assert_int_eq(kek_audit_act(fd, &change, &why), KEK_OK);
    }
    close(fd);
}

START_TEST(the_manual_lists_the_fields_and_the_events)
{
    struct kek_audit *audit = new_ok(folder_path("audit"));
    struct kek_why why = {.native = KEK_NATIVE_ERRNO, .code = 5, .text = "x"};
    struct kek_kms_event event = event_of(KEK_KMS_V2_ENCRYPT, KEK_RPC_INTERNAL, "");
    event.why = &why;
    kek_audit_call(audit, &event);
    kek_audit_rejected(audit, &peer, "/", KEK_RPC_UNIMPLEMENTED, "x");
    kek_audit_login(audit, &config, &(struct kek_pool_login){.token = "0123abcd"});
    kek_audit_keyring(audit, &config, &(struct kek_keyring_primary){.generation.numbers = {1}},
                      &(struct kek_keyring_version){.number = 1, .held = {KEK_KEYRING_KEY_ACTIVE}},
                      1, &(struct kek_keyring_verdict){.state = KEK_KEYRING_LOSS, .what = "x"});
    stop(audit);
    read_lines(folder_path("audit"));
    char out[AUDIT_LINE_MAX];
    struct audit_stamp stamp = {.node = "", .second = -1};
    size_t len = audit_line_dropped(out, &stamp, 1);
    lines[line_count++] = json_loadb(out, len, 0, NULL);

    act(folder_path("acts"));
    act_changes(folder_path("acts"));
    read_lines(folder_path("acts"));

    struct man_items fields, events;
    man_items_read(&fields, "docs/kekd-audit.5", "Cm");
    man_items_read(&events, "docs/kekd-audit.5", "Ic");
    for (size_t i = 0; i < line_count; i++) {
        const char *key;
        json_t *value;
        json_object_foreach(lines[i], key, value)
        {
            man_items_meet(&fields, key);
        }
        man_items_meet(&events, text_of(lines[i], "event"));
    }
    man_items_meet(&fields, "login_uid"); /* where somebody has logged in */
    man_items_all_met(&fields);
    man_items_all_met(&events);
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
    tcase_add_test(tcase, polls_that_went_well_leave_no_line_and_all_else_does);
    tcase_add_test(tcase, texts_from_outside_are_escaped_and_cut);
    tcase_add_test(tcase, the_longest_line_that_can_be_fits);
    tcase_add_test(tcase, the_longest_reason_is_told_whole);
    tcase_add_test(tcase, keyring_lines_tell_each_change_once);
    tcase_add_test(tcase, login_says_which_worker_gave_a_pin_to_which_token_and_what_it_said);
    tcase_add_test(tcase, lines_keep_their_order_over_many_writes);
    tcase_add_test(tcase, reopen_goes_on_in_a_new_file_after_a_rename);
    tcase_add_test(tcase, reopen_keeps_the_old_file_when_the_new_one_cannot_be);
    tcase_add_test(tcase, who_may_not_call_pushes_out_no_line_of_who_may);
    tcase_add_test(tcase, a_full_disk_costs_counted_lines_only_and_the_log_goes_on);
    tcase_add_test(tcase, reopen_on_a_full_disk_moves_the_cut_line_whole_to_the_new_file);
    tcase_add_test(tcase, stop_ends_on_a_disk_that_takes_nothing);
    tcase_add_test(tcase,
                   acts_of_an_operator_stand_among_kekds_lines_and_in_a_file_that_kekd_can_open);
    tcase_add_test(tcase, act_is_not_put_where_kekds_log_cannot_be);
    tcase_add_test(tcase, new_ends_a_line_that_a_crash_left_unfinished);
    tcase_add_test(tcase, new_refuses_what_is_no_file_of_its_own);
    tcase_add_test(tcase, the_manual_lists_the_fields_and_the_events);
    return suite_run(suite);
}
