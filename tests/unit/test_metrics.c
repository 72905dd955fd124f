/* What /metrics and /readyz say about a snapshot. */
#include "kek/metrics.h"
#include "man_items.h"
#include "src/ops/metrics_calls.h"

static struct kek_metrics_snapshot snapshot;
static struct kek_buf text;

static void name_provider(struct kek_pool_provider *provider, const char *name)
{
    *provider = (struct kek_pool_provider){.name = name,
                                           .health = KEK_POOL_READY,
                                           .since_ms = 90000,
                                           .workers_ready = 2,
                                           .calls_running = 3,
                                           .spawned = 4,
                                           .killed = 5,
                                           .crashed = 6,
                                           .recycled = 7,
                                           .operations = 8,
                                           .failures = 9,
                                           .ended = 10};
    snprintf(provider->serial, sizeof provider->serial, "0123abc");
    snprintf(provider->model, sizeof provider->model, "SoftHSM v2");
    snprintf(provider->firmware, sizeof provider->firmware, "2.6");
    snprintf(provider->library, sizeof provider->library, "SoftHSM");
}

/* A snapshot in which everything is there, and nothing is zero that has a number. */
static void setup(void)
{
    memset(&snapshot, 0, sizeof snapshot);
    snapshot.now_ms = 100000;
    snapshot.process.resident_bytes = 1234567;
    snapshot.process.cpu_us = 1500001;
    snapshot.process.open_fds = 12;
    snapshot.process.max_fds = 1024;
    snapshot.process.start_ms = 1700000000123;
    snapshot.transport = (struct kek_metrics_transport){1, 2, 3, 4, 5, 6};
    snapshot.rejected[KEK_RPC_PERMISSION_DENIED] = 77;
    snapshot.provider_count = 2;
    name_provider(&snapshot.providers[0], "hsm-a");
    name_provider(&snapshot.providers[1], "hsm-b");
    snapshot.timings[0][KEK_POOL_UNWRAP] = (struct kek_pool_timing){
        .durations = {.counts = {1, [KEK_HISTOGRAM_BUCKETS - 1] = 2}, .sum_us = 10000050},
        .failed = 31,
        .timeouts = 32,
        .lost = 33};
    snapshot.queued = 10;
    snapshot.datakeys = (struct kek_datakey_stats){11, 12, 13, 14, 15, 16, 17};
    snapshot.verdict = (struct kek_keyring_verdict){.state = KEK_KEYRING_GOOD, .since_ms = 40000};
    snapshot.announced = true;
    snapshot.primary = (struct kek_keyring_primary){
        .generation = {.mode = KEK_ENVELOPE_MODE_ANY,
                       .count = 1,
                       .numbers = {2},
                       .key_id = "kek1-00112233445566778899aabbccddeeff"}};
    snapshot.version_count = 2;
    snapshot.versions[0] = (struct kek_keyring_version){
        .number = 1, .state = KEK_KEYRING_KEY_DEACTIVATED, .providers = 2, .providers_proven = 1};
    snapshot.versions[1] = (struct kek_keyring_version){.number = 2,
                                                        .state = KEK_KEYRING_KEY_ACTIVE,
                                                        .primary = true,
                                                        .providers = 2,
                                                        .providers_proven = 2};
    snapshot.status_ok = true;
    snapshot.audit = (struct kek_audit_stats){21, 22, 23, 24, 26};
    snapshot.status = (struct kek_node_status_stats){true, 31, 32, 33, 1900000000};
    snapshot.log_dropped = 25;
    kek_buf_init(&text, KEK_METRICS_TEXT_MAX);
}

static void teardown(void)
{
    kek_buf_done(&text);
}

static void render(void)
{
    struct kek_why why = {.text = ""};
    kek_buf_reset(&text);
    ck_assert_msg(kek_metrics_render(&snapshot, &text, &why) == KEK_OK, "%s", why.text);
    ck_assert_int_eq(kek_buf_append(&text, kek_bytes("", 1), NULL), KEK_OK);
}

static bool has_line(const char *line)
{
    size_t len = strlen(line);
    for (const char *at = (const char *)text.data; at != NULL; at = strchr(at, '\n')) {
        at += *at == '\n';
        if (strncmp(at, line, len) == 0 && (at[len] == '\n' || at[len] == '\0')) {
            return true;
        }
    }
    return false;
}

static void says(const char *line)
{
    ck_assert_msg(has_line(line), "no line: %s", line);
}

static void say_all(const char *const *expected, size_t count)
{
    render();
    for (size_t i = 0; i < count; i++) {
        says(expected[i]);
    }
}

START_TEST(process_and_front_are_said_in_numbers)
{
    static const char *const expected[] = {
        "kekd_build_info{version=\"" PACKAGE_VERSION "\"} 1",
        "process_cpu_seconds_total 1.500001",
        "process_resident_memory_bytes 1234567",
        "process_open_fds 12",
        "process_max_fds 1024",
        "process_start_time_seconds 1700000000.123000",
        "kekd_grpc_rejected_total{status=\"PERMISSION_DENIED\"} 77",
        "kekd_grpc_rejected_total{status=\"UNIMPLEMENTED\"} 0",
        "kekd_grpc_connections 1",
        "kekd_grpc_connections_total 2",
        "kekd_grpc_connections_refused_total 3",
        "kekd_grpc_calls_open 4",
        "kekd_grpc_resets_total 5",
        "kekd_grpc_protocol_errors_total 6",
    };
    say_all(expected, sizeof expected / sizeof expected[0]);
}
END_TEST

START_TEST(providers_and_their_workers_are_said_in_numbers)
{
    static const char *const expected[] = {
        ("kekd_hsm_info{provider=\"hsm-a\",serial=\"0123abc\",model=\"SoftHSM "
         "v2\",firmware=\"2.6\","
         "library=\"SoftHSM\"} 1"),
        "kekd_hsm_health{provider=\"hsm-a\",state=\"ready\"} 1",
        "kekd_hsm_health{provider=\"hsm-a\",state=\"down\"} 0",
        "kekd_hsm_health_age_seconds{provider=\"hsm-b\"} 10.000000",
        "kekd_hsm_pin_count_low{provider=\"hsm-a\"} 0",
        "kekd_hsm_workers_ready{provider=\"hsm-b\"} 2",
        "kekd_hsm_calls_running{provider=\"hsm-a\"} 3",
        "kekd_hsm_workers_spawned_total{provider=\"hsm-a\"} 4",
        "kekd_hsm_workers_killed_total{provider=\"hsm-a\"} 5",
        "kekd_hsm_workers_crashed_total{provider=\"hsm-a\"} 6",
        "kekd_hsm_workers_recycled_total{provider=\"hsm-a\"} 7",
        "kekd_hsm_workers_ended_total{provider=\"hsm-a\"} 10",
        "kekd_hsm_operations_total{provider=\"hsm-a\"} 8",
        "kekd_hsm_failures_total{provider=\"hsm-a\"} 9",
    };
    say_all(expected, sizeof expected / sizeof expected[0]);
}
END_TEST

START_TEST(operations_are_said_with_their_durations_and_failures)
{
    static const char *const expected[] = {
        "kekd_hsm_operation_duration_seconds_bucket{provider=\"hsm-a\",operation=\"unwrap\","
        "le=\"5e-05\"} 1",
        "kekd_hsm_operation_duration_seconds_bucket{provider=\"hsm-a\",operation=\"unwrap\","
        "le=\"5\"} 1",
        "kekd_hsm_operation_duration_seconds_bucket{provider=\"hsm-a\",operation=\"unwrap\","
        "le=\"10\"} 3",
        "kekd_hsm_operation_duration_seconds_bucket{provider=\"hsm-a\",operation=\"unwrap\","
        "le=\"+Inf\"} 3",
        "kekd_hsm_operation_duration_seconds_sum{provider=\"hsm-a\",operation=\"unwrap\"} "
        "10.000050",
        "kekd_hsm_operation_duration_seconds_count{provider=\"hsm-a\",operation=\"unwrap\"} 3",
        "kekd_hsm_operation_duration_seconds_count{provider=\"hsm-b\",operation=\"wrap\"} 0",
        "kekd_hsm_operation_failures_total{provider=\"hsm-a\",operation=\"unwrap\",reason="
        "\"failed\"} "
        "31",
        "kekd_hsm_operation_failures_total{provider=\"hsm-a\",operation=\"unwrap\",reason="
        "\"timeout\"} "
        "32",
        "kekd_hsm_operation_failures_total{provider=\"hsm-a\",operation=\"unwrap\",reason=\"lost\"}"
        " 33",
        "kekd_hsm_operation_failures_total{provider=\"hsm-b\",operation=\"list\",reason=\"lost\"} "
        "0",
        "kekd_hsm_queue_length 10",
    };
    say_all(expected, sizeof expected / sizeof expected[0]);
}
END_TEST

START_TEST(data_keys_and_versions_are_said_in_numbers)
{
    static const char *const expected[] = {
        "kekd_datakey_wraps_total 11",
        "kekd_datakey_unwraps_total 12",
        "kekd_datakey_cache_hits_total 13",
        "kekd_datakey_cache_misses_total 14",
        "kekd_datakey_cache_evictions_total 15",
        "kekd_datakey_cache_entries 16",
        "kekd_datakey_flights 17",
        /* printf %s kek1-00112233445566778899aabbccddeeff | sha256sum */
        "kekd_kek_primary_info{version=\"2\",key_id=\"kek1-00112233445566778899aabbccddeeff\","
        "key_id_hash=\"sha256:3565b806e9b49464671727b09bc4df40726a35d7bd06043d3914d8fc301388f2\"} "
        "1",
        "kekd_kek_primary_version 2",
        "kekd_kek_version_state{version=\"1\",state=\"deactivated\"} 1",
        "kekd_kek_version_state{version=\"2\",state=\"active\"} 1",
        "kekd_kek_version_providers{version=\"1\"} 2",
        "kekd_kek_version_providers_proven{version=\"1\"} 1",
    };
    say_all(expected, sizeof expected / sizeof expected[0]);
}
END_TEST

START_TEST(health_and_the_logs_are_said_in_numbers)
{
    static const char *const expected[] = {
        "kekd_health{state=\"good\"} 1",
        "kekd_health{state=\"outage\"} 0",
        "kekd_health_age_seconds 60.000000",
        "kekd_ready 1",
        "kekd_kms_status_ok 1",
        "kekd_audit_lines_total 21",
        "kekd_audit_dropped_total 22",
        "kekd_audit_errors_total 23",
        "kekd_audit_uncopied_total 26",
        "kekd_audit_waiting_bytes 24",
        "kekd_status_clients_total{result=\"served\"} 31",
        "kekd_status_clients_total{result=\"forbidden\"} 32",
        "kekd_status_clients_total{result=\"refused\"} 33",
        "kekd_status_certificate_expiry_timestamp_seconds 1900000000",
        "kekd_log_dropped_total 25",
    };
    say_all(expected, sizeof expected / sizeof expected[0]);
}
END_TEST

START_TEST(calls_are_counted_by_method_status_and_duration)
{
    struct kek_kms_event event = {
        .method = KEK_KMS_V2_DECRYPT, .status = KEK_RPC_OK, .duration_us = 50, .hsm = true};
    static const uint64_t durations[] = {0, 50, 51, 100, 1000000, 5000000, 5000001, 60000000};
    for (size_t i = 0; i < sizeof durations / sizeof durations[0]; i++) {
        event.duration_us = durations[i];
        metrics_calls_add(snapshot.calls, &event);
    }
    event = (struct kek_kms_event){.method = KEK_KMS_V1_ENCRYPT, .status = KEK_RPC_UNAVAILABLE};
    metrics_calls_add(snapshot.calls, &event);
    event.method = KEK_KMS_METHODS;
    metrics_calls_add(snapshot.calls, &event);
    event.method = KEK_KMS_V1_ENCRYPT;
    event.status = (enum kek_rpc_status)KEK_METRICS_STATUSES;
    metrics_calls_add(snapshot.calls, &event);
    render();
    says("kekd_kms_calls_total{method=\"v2.Decrypt\",status=\"OK\"} 8");
    says("kekd_kms_calls_total{method=\"v2.Encrypt\",status=\"OK\"} 0");
    says("kekd_kms_calls_total{method=\"v2.Encrypt\",status=\"CANCELLED\"} 0");
    says("kekd_kms_calls_total{method=\"v1beta1.Encrypt\",status=\"UNAVAILABLE\"} 1");
    says("kekd_kms_hsm_waits_total{method=\"v2.Decrypt\"} 8");
    says("kekd_kms_call_duration_seconds_bucket{method=\"v2.Decrypt\",le=\"5e-05\"} 2");
    says("kekd_kms_call_duration_seconds_bucket{method=\"v2.Decrypt\",le=\"0.0001\"} 4");
    says("kekd_kms_call_duration_seconds_bucket{method=\"v2.Decrypt\",le=\"0.5\"} 4");
    says("kekd_kms_call_duration_seconds_bucket{method=\"v2.Decrypt\",le=\"1\"} 5");
    says("kekd_kms_call_duration_seconds_bucket{method=\"v2.Decrypt\",le=\"5\"} 6");
    says("kekd_kms_call_duration_seconds_bucket{method=\"v2.Decrypt\",le=\"+Inf\"} 8");
    says("kekd_kms_call_duration_seconds_sum{method=\"v2.Decrypt\"} 71.000202");
    says("kekd_kms_call_duration_seconds_count{method=\"v2.Decrypt\"} 8");
    says("kekd_kms_call_duration_seconds_count{method=\"v1beta1.Encrypt\"} 1");
}
END_TEST

START_TEST(buckets_grow_and_print_what_they_are)
{
    const struct kek_histogram_bound *bounds = kek_histogram_bounds;
    for (size_t b = 0; b < KEK_HISTOGRAM_BUCKETS; b++) {
        char *end;
        double seconds = strtod(bounds[b].le, &end);
        ck_assert(*end == '\0');
        ck_assert_double_eq_tol(seconds * 1e6, (double)bounds[b].us, 1e-6);
        ck_assert(b == 0 || bounds[b].us > bounds[b - 1].us);
    }
    ck_assert_uint_eq(bounds[0].us, 50);
    ck_assert_uint_eq(bounds[KEK_HISTOGRAM_BUCKETS - 1].us, 10000000);
}
END_TEST

START_TEST(label_values_from_a_token_are_escaped)
{
    snprintf(snapshot.providers[0].model, sizeof snapshot.providers[0].model,
             "a\"b\\c\nd\te\xff\xc3\xa9");
    render();
    says("kekd_hsm_info{provider=\"hsm-a\",serial=\"0123abc\",model=\"a\\\"b\\\\c\\nd?e?\xc3\xa9\","
         "firmware=\"2.6\",library=\"SoftHSM\"} 1");
}
END_TEST

START_TEST(an_empty_snapshot_renders_without_the_samples_that_mean_nothing)
{
    memset(&snapshot, 0, sizeof snapshot);
    snapshot.verdict.state = KEK_KEYRING_STARTING;
    render();
    says("kekd_ready 0");
    says("kekd_health{state=\"starting\"} 1");
    says("kekd_health{state=\"good\"} 0");
    says("# TYPE kekd_kek_primary_version gauge");
    ck_assert_ptr_null(strstr((char *)text.data, "\nkekd_kek_primary"));
    ck_assert_ptr_null(strstr((char *)text.data, "\nkekd_hsm_info"));
}
END_TEST

START_TEST(a_text_past_its_limit_fails_and_says_so)
{
    render();
    size_t whole = text.len - 1;
    for (size_t max = 0; max < whole; max += whole / 50 + 1) {
        struct kek_why why = {.rc = KEK_OK};
        kek_buf_done(&text);
        kek_buf_init(&text, max);
        ck_assert_int_eq(kek_metrics_render(&snapshot, &text, &why), KEK_TOO_LARGE);
        ck_assert_int_eq(why.rc, KEK_TOO_LARGE);
        ck_assert_uint_le(text.len, max);
    }
}
END_TEST

START_TEST(the_largest_snapshot_fits)
{
    snapshot.provider_count = KEK_CONFIG_PROVIDERS_MAX;
    for (size_t i = 0; i < KEK_CONFIG_PROVIDERS_MAX; i++) {
        name_provider(&snapshot.providers[i], "a-name-of-thirty-two-characters!");
        memset(snapshot.providers[i].model, '"', sizeof snapshot.providers[i].model - 1);
        memset(snapshot.timings[i], 0x7f, sizeof snapshot.timings[i]);
    }
    snapshot.version_count = KEK_AUDIT_VERSIONS_MAX;
    for (size_t m = 0; m < KEK_KMS_METHODS; m++) {
        memset(&snapshot.calls[m], 0x7f, sizeof snapshot.calls[m]);
    }
    memset(snapshot.rejected, 0xff, sizeof snapshot.rejected);
    render();
    ck_assert_uint_lt(text.len, KEK_METRICS_TEXT_MAX / 4);
}
END_TEST

/* The verdict alone: whatever providers and workers look like beside it. */
START_TEST(ready_is_the_verdict)
{
    for (int state = KEK_KEYRING_GOOD; state <= KEK_KEYRING_LOSS; state++) {
        char line[64];
        teardown();
        setup();
        snapshot.verdict.state = (enum kek_keyring_state)state;
        render();
        says(state == KEK_KEYRING_GOOD ? "kekd_ready 1" : "kekd_ready 0");
        for (int other = KEK_KEYRING_GOOD; other <= KEK_KEYRING_LOSS; other++) {
            snprintf(line, sizeof line, "kekd_health{state=\"%s\"} %d",
                     kek_keyring_state_name((enum kek_keyring_state)other), other == state);
            says(line);
        }
        says("kekd_kms_status_ok 1");
    }
}
END_TEST

START_TEST(verdict_text_is_whole_and_says_what_to_do)
{
    char said[KEK_KMS_HEALTHZ_MAX];
    struct kek_keyring_verdict verdict = {.state = KEK_KEYRING_GOOD};
    kek_keyring_verdict_text(&verdict, said, sizeof said);
    ck_assert_str_eq(said, "ok");
    memset(verdict.what, 'x', sizeof verdict.what - 1);
    snprintf(verdict.todo, sizeof verdict.todo, "promote a version");
    kek_keyring_verdict_text(&verdict, said, sizeof said);
    ck_assert_int_eq(strncmp(said, verdict.what, strlen(verdict.what)), 0);
    ck_assert_str_eq(said + strlen(verdict.what), "; promote a version");
    snprintf(verdict.what, sizeof verdict.what, "no HSM answers: \xff\n\xc3\xa9");
    verdict.todo[0] = '\0';
    kek_keyring_verdict_text(&verdict, said, sizeof said);
    ck_assert_str_eq(said, "no HSM answers: ??\xc3\xa9");
}
END_TEST

START_TEST(what_is_to_be_mended_has_a_series_each)
{
    snapshot.remarks[0] = (struct kek_keyring_verdict){
        .remark = KEK_KEYRING_PROVIDER_DOWN, .provider = 1, .what = "x"};
    snapshot.remarks[1] = (struct kek_keyring_verdict){
        .remark = KEK_KEYRING_VERSION_WAITS, .provider = KEK_POOL_ANY, .version = 2, .what = "x"};
    render();
    ck_assert_ptr_null(strstr((char *)text.data, "\nkekd_degraded{"));
    snapshot.remark_count = 2;
    render();
    says("kekd_degraded{reason=\"provider_down\",version=\"\",provider=\"hsm-b\"} 1");
    says("kekd_degraded{reason=\"version_waits\",version=\"2\",provider=\"\"} 1");
    says("kekd_ready 1");
}
END_TEST

START_TEST(two_keys_of_one_number_are_two_series)
{
    snapshot.version_count = 2;
    snapshot.versions[1] = snapshot.versions[0];
    snapshot.versions[0].surplus = true;
    snapshot.versions[0].kek_id = (struct kek_id){{0x2c}};
    snapshot.versions[0].number = snapshot.versions[1].number = 4;
    snapshot.versions[0].providers = 1;
    snapshot.versions[0].state = KEK_KEYRING_KEY_COMPROMISED;
    snapshot.versions[1].providers = 2;
    render();
    says("kekd_kek_version_providers{version=\"4\","
         "surplus=\"2c000000000000000000000000000000\"} 1");
    says("kekd_kek_version_providers{version=\"4\"} 2");
    says("kekd_kek_version_state{version=\"4\",state=\"compromised\","
         "surplus=\"2c000000000000000000000000000000\"} 1");
}
END_TEST

/* Every family stands in the manual with its type, and nothing else does. */
START_TEST(the_manual_lists_the_metrics_and_their_types)
{
    struct man_items items;
    man_items_read(&items, "docs/kekd-metrics.7", "Ic");
    render();
    size_t families = 0;
    static const char mark[] = "\n# TYPE ";
    for (const char *at = strstr((char *)text.data, mark); at != NULL; at = strstr(at + 1, mark)) {
        char name[96], type[32], expected[40];
        const char *word = at + sizeof mark - 1;
        size_t len = strcspn(word, " "), type_len = strcspn(word + len + 1, "\n");
        snprintf(name, sizeof name, "%.*s", (int)len, word);
        snprintf(type, sizeof type, "%.*s", (int)type_len, word + len + 1);
        snprintf(expected, sizeof expected, "Pq %s", type);
        const char *rest = man_items_meet(&items, name);
        ck_assert_msg(strncmp(rest, expected, strlen(expected)) == 0, "%s: %s, the manual: %s",
                      name, type, rest);
        families++;
    }
    ck_assert_uint_eq(families, items.count);
    man_items_all_met(&items);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("metrics");
    TCase *tcase = tcase_create("metrics");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, process_and_front_are_said_in_numbers);
    tcase_add_test(tcase, providers_and_their_workers_are_said_in_numbers);
    tcase_add_test(tcase, operations_are_said_with_their_durations_and_failures);
    tcase_add_test(tcase, data_keys_and_versions_are_said_in_numbers);
    tcase_add_test(tcase, health_and_the_logs_are_said_in_numbers);
    tcase_add_test(tcase, calls_are_counted_by_method_status_and_duration);
    tcase_add_test(tcase, buckets_grow_and_print_what_they_are);
    tcase_add_test(tcase, label_values_from_a_token_are_escaped);
    tcase_add_test(tcase, an_empty_snapshot_renders_without_the_samples_that_mean_nothing);
    tcase_add_test(tcase, a_text_past_its_limit_fails_and_says_so);
    tcase_add_test(tcase, the_largest_snapshot_fits);
    tcase_add_test(tcase, ready_is_the_verdict);
    tcase_add_test(tcase, verdict_text_is_whole_and_says_what_to_do);
    tcase_add_test(tcase, what_is_to_be_mended_has_a_series_each);
    tcase_add_test(tcase, two_keys_of_one_number_are_two_series);
    tcase_add_test(tcase, the_manual_lists_the_metrics_and_their_types);
    return suite_run(suite);
}
