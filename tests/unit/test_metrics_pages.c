/* The three pages over the real rooms: a node whose workers have not been started yet. */
#include <sys/stat.h>

#include "http_client.h"
#include "kek/metrics.h"
#include "ops_folder.h"

/* All that stands behind the pages. */
static uv_loop_t loop;
static struct kek_config *config;
static struct kek_pool *pool;
static struct kek_keyring *ring;
static struct kek_roots *roots;
static struct kek_datakey_store *store;
static struct kek_kms *kms;
static struct kek_audit *audit;
static struct kek_node_status *status;
static struct kek_metrics *metrics;

static void ignore(void *arg)
{
    (void)arg;
}

static void transport_numbers(void *arg, struct kek_metrics_transport *numbers)
{
    ck_assert_ptr_eq(arg, &loop);
    numbers->connections_open = 3;
}

static void load_config(void)
{
    char yaml[1024];
    struct kek_why why = {.text = ""};
    snprintf(yaml, sizeof yaml,
             "listen: unix://%s/kms.sock\n"
             "keyring: test\n"
             "state_dir: %s/state\n"
             "providers:\n"
             "  - {name: hsm-a, type: pkcs11, uri: \"pkcs11:token=t?module-path=/nonexistent.so&"
             "pin-source=file:/nonexistent\"}\n",
             folder, folder);
    config = kek_config_parse(kek_bytes_of(yaml), "test.yaml", &why);
    ck_assert_msg(config != NULL, "%s", why.text);
}

static void setup(void)
{
    const char *workers = getenv("abs_top_builddir");
    struct kek_why why = {.text = ""};
    folder_make();
    ck_assert_int_eq(mkdir(folder_path("state"), 0700), 0);
    load_config();
    ck_assert_int_eq(uv_loop_init(&loop), 0);
    pool = kek_pool_new(&loop,
                        &(struct kek_pool_settings){.config = config,
                                                    .worker_dir = workers == NULL ? "." : workers},
                        &why);
    ck_assert_msg(pool != NULL, "%s", why.text);
    ring = kek_keyring_new(
        &loop, &(struct kek_keyring_settings){.config = config, .pool = pool, .changed = ignore},
        &why);
    ck_assert_msg(ring != NULL, "%s", why.text);
    struct kek_roots_settings one = {
        .config = config,
        .mode = KEK_ENVELOPE_MODE_ANY,
        .mode_accept = KEK_ENVELOPE_MODE_ANY,
        .roots = {{.name = "", .pool = pool, .ring = ring, .seals = true, .needed = true}},
        .count = 1};
    roots = kek_roots_new(&loop, &one, &why);
    ck_assert_msg(roots != NULL, "%s", why.text);
    store = kek_datakey_store_new(
        &loop, &(struct kek_datakey_settings){.config = config, .roots = roots}, &why);
    ck_assert_msg(store != NULL, "%s", why.text);
    kms = kek_kms_new(&(struct kek_kms_settings){.config = config, .roots = roots, .store = store},
                      &why);
    ck_assert_msg(kms != NULL, "%s", why.text);
    audit = kek_audit_new(
        &loop,
        &(struct kek_audit_place){.file = folder_path("audit"), .head = folder_path("audit.head")},
        NULL, &why);
    ck_assert_msg(audit != NULL, "%s", why.text);
    status = kek_node_status_new(
        &loop, &(struct kek_node_status_settings){.config = config, .roots = roots, .kms = kms},
        &why);
    ck_assert_msg(status != NULL, "%s", why.text);
    ck_assert_int_eq(kek_node_status_listen(status, &why), KEK_OK); /* nothing is configured */
    kek_node_status_reload(status);
    metrics = kek_metrics_new(&loop,
                              &(struct kek_metrics_settings){.roots = roots,
                                                             .store = store,
                                                             .kms = kms,
                                                             .audit = audit,
                                                             .status = status,
                                                             .transport = transport_numbers,
                                                             .arg = &loop},
                              &why);
    ck_assert_msg(metrics != NULL, "%s", why.text);
    ck_assert_msg(kek_metrics_listen(metrics, "127.0.0.1", 0, &why) == KEK_OK, "%s", why.text);
    kek_keyring_start(ring);
}

static void ignore_end(void *arg)
{
    (void)arg;
}

/* The state folder is one level below what folder_remove() clears. */
static void state_remove(void)
{
    char top[sizeof folder];
    memcpy(top, folder, sizeof folder);
    memcpy(folder + strlen(folder), "/state", sizeof "/state");
    folder_remove();
    memcpy(folder, top, sizeof folder);
}

static void teardown(void)
{
    kek_metrics_free(metrics);
    kek_node_status_free(status);
    kek_audit_stop(audit, ignore_end, NULL);
    kek_keyring_stop(ring);
    kek_roots_stop(roots);
    kek_datakey_store_stop(store);
    kek_pool_close(pool, ignore_end, NULL);
    uv_run(&loop, UV_RUN_DEFAULT);
    kek_kms_free(kms);
    kek_datakey_store_free(store);
    kek_roots_free(roots);
    kek_keyring_free(ring);
    uv_run(&loop, UV_RUN_DEFAULT);
    kek_pool_free(pool);
    kek_audit_free(audit);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert_int_eq(uv_loop_close(&loop), 0);
    kek_config_free(config);
    state_remove();
    folder_remove();
}

/* The answer to GET path; the caller frees it. */
static struct client *get(const char *path)
{
    char request[128];
    snprintf(request, sizeof request, "GET %s HTTP/1.1\r\nHost: x\r\n\r\n", path);
    return ask(&loop, kek_metrics_port(metrics), request, sizeof request);
}

static void gives(const char *path, const char *head, const char *body)
{
    struct client *client = get(path);
    ck_assert_msg(strncmp(client->answer, head, strlen(head)) == 0, "%s", client->answer);
    const char *split = strstr(client->answer, "\r\n\r\n");
    ck_assert_ptr_nonnull(split);
    ck_assert_str_eq(split + 4, body);
    client_free(client);
}

START_TEST(healthz_is_ok_and_readyz_is_not_before_a_key_is_announced)
{
    gives("/healthz", "HTTP/1.1 200 ", "ok\n");
    /* The words are the keyring's. */
    struct kek_keyring_verdict verdict;
    char line[sizeof verdict.what + sizeof verdict.todo + 2];
    kek_keyring_verdict(ring, &verdict);
    ck_assert_str_ne(verdict.what, "");
    snprintf(line, sizeof line, "%s%s%s\n", verdict.what, verdict.todo[0] == '\0' ? "" : "; ",
             verdict.todo);
    gives("/readyz", "HTTP/1.1 503 ", line);
    gives("/metricsx", "HTTP/1.1 404 ", "Not Found\n");
    gives("/", "HTTP/1.1 404 ", "Not Found\n");
}
END_TEST

START_TEST(metrics_shows_what_the_rooms_and_the_observers_say)
{
    static const char *const expected[] = {
        "\r\nContent-Type: text/plain; version=0.0.4; charset=utf-8\r\n",
        "\nkekd_ready 0\n",
        "\nkekd_kms_status_ok 0\n",
        "\nkekd_health{state=\"starting\"} 1\n",
        "\nkekd_hsm_health{provider=\"hsm-a\",state=\"starting\"} 1\n",
        "\nkekd_hsm_workers_ready{provider=\"hsm-a\"} 0\n",
        "\nkekd_kms_calls_total{method=\"v2.Encrypt\",status=\"UNAVAILABLE\"} 1\n",
        "\nkekd_grpc_rejected_total{status=\"UNIMPLEMENTED\"} 1\n",
        "\nkekd_grpc_connections 3\n",
        "\nkekd_datakey_cache_entries 0\n",
    };
    struct kek_rpc_peer peer = {.uid = 0};
    struct kek_kms_event event = {.method = KEK_KMS_V2_ENCRYPT,
                                  .status = KEK_RPC_UNAVAILABLE,
                                  .peer = &peer,
                                  .uid = "",
                                  .key_id = ""};
    kek_metrics_observe(metrics, &event);
    kek_metrics_rejected(metrics, KEK_RPC_UNIMPLEMENTED);
    kek_audit_call(audit, &event);
    struct client *client = get("/metrics");
    ck_assert_int_eq(strncmp(client->answer, "HTTP/1.1 200 ", 13), 0);
    for (size_t i = 0; i < sizeof expected / sizeof expected[0]; i++) {
        ck_assert_msg(strstr(client->answer, expected[i]) != NULL, "no %s in %s", expected[i],
                      client->answer);
    }
    client_free(client);
}
END_TEST

START_TEST(status_says_what_this_node_announces)
{
    struct client *client = get("/status");
    ck_assert_int_eq(strncmp(client->answer, "HTTP/1.1 200 ", 13), 0);
    ck_assert_ptr_nonnull(strstr(client->answer, "\r\nContent-Type: application/json\r\n"));
    ck_assert_ptr_nonnull(strstr(client->answer, "\"keyring\":\"test\""));
    ck_assert_ptr_nonnull(strstr(client->answer, "\"health\":\"starting\""));
    ck_assert_ptr_nonnull(strstr(client->answer, "\"primary\":null,\"sealing\":[]"));
    ck_assert_ptr_nonnull(strstr(client->answer, "\"rotation\":null"));
    client_free(client);
}
END_TEST

/* The rotation's file is being read when all of it goes. */
START_TEST(status_may_go_while_a_page_is_made)
{
    struct client *client = client_new(&loop, kek_metrics_port(metrics),
                                       "GET /status HTTP/1.1\r\nHost: x\r\n\r\n", 33, 100);
    while (!client->ended && client->sent < client->len) {
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    client_free(client);
}
END_TEST

START_TEST(collect_measures_this_process)
{
    static struct kek_metrics_snapshot snapshot;
    kek_metrics_collect(metrics, &snapshot);
    uint64_t fds = snapshot.process.open_fds;
    ck_assert_uint_gt(fds, 2);
    ck_assert_uint_gt(snapshot.process.max_fds, fds);
    ck_assert_uint_gt(snapshot.process.resident_bytes, 100000);
    ck_assert_int_gt(snapshot.process.start_ms, 1700000000000);
    int fd = dup(0);
    kek_metrics_collect(metrics, &snapshot);
    ck_assert_uint_eq(snapshot.process.open_fds, fds + 1);
    close(fd);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("metrics pages");
    TCase *tcase = tcase_create("metrics pages");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, healthz_is_ok_and_readyz_is_not_before_a_key_is_announced);
    tcase_add_test(tcase, metrics_shows_what_the_rooms_and_the_observers_say);
    tcase_add_test(tcase, status_says_what_this_node_announces);
    tcase_add_test(tcase, status_may_go_while_a_page_is_made);
    tcase_add_test(tcase, collect_measures_this_process);
    return suite_run(suite);
}
