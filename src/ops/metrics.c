#include "kek/metrics.h"

#include <dirent.h>
#include <stdio.h>
#include <stdlib.h>
#include <sys/resource.h>

#include "http.h"
#include "kek/clock.h"
#include "kek/log.h"
#include "kek/text.h"
#include "metrics_calls.h"
#include "node_page.h"

struct kek_metrics {
    struct kek_metrics_settings settings;
    struct http_server *server;
    int64_t start_ms;
    struct kek_metrics_calls calls[KEK_KMS_METHODS];
    uint64_t rejected[KEK_METRICS_STATUSES];
    struct kek_metrics_snapshot snapshot; /* of the page being made: too large for a stack */
};

/* ---- counting ---- */

void kek_metrics_observe(struct kek_metrics *metrics, const struct kek_kms_event *event)
{
    metrics_calls_add(metrics->calls, event);
}

void kek_metrics_rejected(struct kek_metrics *metrics, enum kek_rpc_status status)
{
    if ((size_t)status < KEK_METRICS_STATUSES) {
        metrics->rejected[status]++;
    }
}

/* ---- collecting: numbers that are in memory, and three of /proc and the kernel ---- */

static uint64_t count_fds(void)
{
    DIR *folder = opendir("/proc/self/fd");
    uint64_t count = 0;
    if (folder == NULL) {
        return 0;
    }
    while (readdir(folder) != NULL) {
        count++;
    }
    closedir(folder);
    return count < 3 ? 0 : count - 3; /* ".", "..", and the folder itself */
}

static void collect_process(const struct kek_metrics *metrics, struct kek_metrics_snapshot *s)
{
    size_t resident = 0;
    uv_rusage_t usage;
    struct rlimit files;
    if (uv_resident_set_memory(&resident) == 0) {
        s->process.resident_bytes = resident;
    }
    if (uv_getrusage(&usage) == 0) {
        s->process.cpu_us = (uint64_t)(usage.ru_utime.tv_sec + usage.ru_stime.tv_sec) * 1000000u +
                            (uint64_t)(usage.ru_utime.tv_usec + usage.ru_stime.tv_usec);
    }
    if (getrlimit(RLIMIT_NOFILE, &files) == 0) {
        s->process.max_fds = files.rlim_cur;
    }
    s->process.open_fds = count_fds();
    s->process.start_ms = metrics->start_ms;
}

static void collect_pools(const struct kek_roots *roots, struct kek_metrics_snapshot *s)
{
    for (size_t r = 0; r < kek_roots_count(roots); r++) {
        const struct kek_pool *pool = kek_roots_at(roots, r)->pool;
        size_t count = kek_pool_provider_count(pool);
        for (size_t i = 0; i < count && s->provider_count < KEK_CONFIG_PROVIDERS_MAX; i++) {
            size_t at = s->provider_count++;
            kek_pool_provider_get(pool, i, &s->providers[at]);
            for (size_t op = 0; op < KEK_POOL_OPS_TIMED; op++) {
                s->timings[at][op] = *kek_pool_timing(pool, i, (enum kek_pool_op)op);
            }
        }
        s->queued += kek_pool_queued(pool);
    }
}

void kek_metrics_collect(const struct kek_metrics *metrics, struct kek_metrics_snapshot *snapshot)
{
    const struct kek_metrics_settings *from = &metrics->settings;
    char healthz[KEK_KMS_HEALTHZ_MAX];
    memset(snapshot, 0, sizeof *snapshot);
    snapshot->now_ms = kek_clock_ms();
    collect_process(metrics, snapshot);
    memcpy(snapshot->calls, metrics->calls, sizeof snapshot->calls);
    memcpy(snapshot->rejected, metrics->rejected, sizeof snapshot->rejected);
    if (from->transport != NULL) {
        from->transport(from->arg, &snapshot->transport);
    }
    collect_pools(from->roots, snapshot);
    kek_datakey_stats(from->store, &snapshot->datakeys);
    kek_roots_verdict(from->roots, &snapshot->verdict);
    snapshot->remark_count =
        kek_roots_remarks(from->roots, snapshot->remarks, KEK_KEYRING_REMARKS_MAX);
    snapshot->announced = kek_roots_primary(from->roots, &snapshot->primary);
    snapshot->version_count =
        kek_roots_versions(from->roots, snapshot->versions, KEK_AUDIT_VERSIONS_MAX);
    snapshot->status_ok = kek_kms_healthz(from->kms, healthz, sizeof healthz, NULL) == KEK_OK &&
                          strcmp(healthz, "ok") == 0;
    snapshot->log_dropped = kek_log_dropped();
    if (from->audit != NULL) {
        kek_audit_stats(from->audit, &snapshot->audit);
    }
    if (from->status != NULL) {
        kek_node_status_stats(from->status, &snapshot->status);
    }
}

/* ---- the pages ---- */

static int metrics_page(struct kek_metrics *metrics, struct kek_buf *body, const char **type)
{
    struct kek_why why;
    kek_metrics_collect(metrics, &metrics->snapshot);
    if (kek_metrics_render(&metrics->snapshot, body, &why) != KEK_OK) {
        kek_log(KEK_LOG_ERROR, "metrics: %s", why.text);
        kek_buf_reset(body);
        return 500;
    }
    *type = "text/plain; version=0.0.4; charset=utf-8";
    return 200;
}

static enum kek_rc add_line(struct kek_buf *body, const char *before,
                            const struct kek_keyring_verdict *verdict)
{
    char text[KEK_KMS_HEALTHZ_MAX], line[KEK_KMS_HEALTHZ_MAX + 32];
    kek_keyring_verdict_text(verdict, text, sizeof text);
    snprintf(line, sizeof line, "%s%s\n", before, text);
    return kek_buf_append(body, kek_bytes_of(line), NULL);
}

static int readyz_page(struct kek_metrics *metrics, struct kek_buf *body)
{
    struct kek_metrics_snapshot *snapshot = &metrics->snapshot;
    kek_metrics_collect(metrics, snapshot);
    enum kek_rc rc = add_line(body, "", &snapshot->verdict);
    for (size_t i = 0; i < snapshot->remark_count && rc == KEK_OK; i++) {
        rc = add_line(body, "to be mended: ", &snapshot->remarks[i]);
    }
    if (rc != KEK_OK) {
        return 500;
    }
    return snapshot->verdict.state == KEK_KEYRING_GOOD ? 200 : 503;
}

static int page(void *arg, const char *path, struct http_reply *reply, struct kek_buf *body,
                const char **type)
{
    struct kek_metrics *metrics = arg;
    if (strcmp(path, "/metrics") == 0) {
        return metrics_page(arg, body, type);
    }
    if (strcmp(path, "/readyz") == 0) {
        return readyz_page(arg, body);
    }
    if (strcmp(path, "/healthz") == 0) {
        return kek_buf_append(body, kek_bytes_of("ok\n"), NULL) == KEK_OK ? 200 : 500;
    }
    if (strcmp(path, "/status") == 0 && metrics->settings.status != NULL) {
        return node_page(metrics->settings.status, reply);
    }
    return 404;
}

struct kek_metrics *kek_metrics_new(uv_loop_t *loop, const struct kek_metrics_settings *settings,
                                    struct kek_why *why)
{
    struct kek_metrics *metrics = calloc(1, sizeof *metrics);
    if (metrics == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for metrics");
        return NULL;
    }
    metrics->settings = *settings;
    metrics->start_ms = kek_clock_wall_ms();
    metrics->server = http_server_new(loop,
                                      &(struct http_settings){
                                          .page = page,
                                          .arg = metrics,
                                          .name = "metrics",
                                          .body_max = KEK_METRICS_TEXT_MAX,
                                          .timeout_ms = HTTP_TIMEOUT_MS,
                                          .max_connections = HTTP_CONNECTIONS_MAX,
                                      },
                                      why);
    if (metrics->server == NULL) {
        free(metrics);
        return NULL;
    }
    return metrics;
}

enum kek_rc kek_metrics_listen(struct kek_metrics *metrics, const char *host, uint16_t port,
                               struct kek_why *why)
{
    return http_server_listen(metrics->server, host, port, why);
}

uint16_t kek_metrics_port(const struct kek_metrics *metrics)
{
    return http_server_port(metrics->server);
}

void kek_metrics_free(struct kek_metrics *metrics)
{
    if (metrics != NULL) {
        http_server_free(metrics->server);
        free(metrics);
    }
}
