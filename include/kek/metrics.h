/*
 * Metrics and health over HTTP: GET /metrics (Prometheus text format 0.0.4), /healthz, /readyz, and /status
 * of kek/node_status.h.
 *
 * Four answers on a TCP port for whoever watches this node; not the KMS socket, and nothing here
 * is secret.  /healthz says that the loop turns.  /readyz says whether this node is without trouble now:
 * unlike KMS Status it has no grace, so it may say 503 while Status is still "ok".
 *
 * Rendering is pure: one snapshot in, text out.  kek_metrics_collect() fills the snapshot from the rooms;
 * a test fills it by hand.  docs/kekd-metrics.7 describes every metric, and a test compares the two.
 * One thread: the loop's.  Nothing here blocks or waits for a peer.
 */
#ifndef KEK_METRICS_H
#define KEK_METRICS_H

#include <uv.h>

#include "kek/audit.h"
#include "kek/kms.h"
#include "kek/node_status.h"

struct kek_metrics;

#define KEK_METRICS_STATUSES 17 /* the gRPC status codes */
#define KEK_METRICS_TEXT_MAX (1024u * 1024)

/* Calls of one method. */
struct kek_metrics_calls {
    uint64_t status[KEK_METRICS_STATUSES];
    struct kek_histogram durations;
    uint64_t hsm_waits;
};

/* What the transport counts: the caller fills it in, for ops and grpc do not know each other. */
struct kek_metrics_transport {
    uint64_t connections_open, connections_total, connections_refused;
    uint64_t calls_open, resets, protocol_errors;
};

struct kek_metrics_snapshot {
    struct {
        uint64_t resident_bytes, cpu_us, open_fds, max_fds;
        int64_t start_ms; /* since 1970 */
    } process;
    uint64_t now_ms; /* of kek_clock_ms(): ages are counted from here */
    struct kek_metrics_calls calls[KEK_KMS_METHODS];
    uint64_t rejected[KEK_METRICS_STATUSES];
    struct kek_metrics_transport transport;
    struct kek_pool_provider providers[KEK_CONFIG_PROVIDERS_MAX];
    struct kek_pool_timing timings[KEK_CONFIG_PROVIDERS_MAX][KEK_POOL_OPS_TIMED];
    size_t provider_count;
    size_t queued;
    struct kek_datakey_stats datakeys;
    struct kek_keyring_verdict verdict;
    struct kek_keyring_verdict remarks[KEK_KEYRING_REMARKS_MAX];
    size_t remark_count;
    bool announced; /* primary is set */
    struct kek_keyring_primary primary;
    struct kek_keyring_version versions[KEK_AUDIT_VERSIONS_MAX];
    size_t version_count;
    bool status_ok; /* what KMS Status says now */
    struct kek_audit_stats audit;
    struct kek_node_status_stats status;
    uint64_t log_dropped; /* log lines */
};

struct kek_metrics_settings {
    const struct kek_roots *roots; /* borrowed, as all of these */
    const struct kek_datakey_store *store;
    const struct kek_kms *kms;
    const struct kek_audit *audit;                                       /* NULL: no audit log */
    struct kek_node_status *status;                                      /* NULL: no page of it */
    void (*transport)(void *arg, struct kek_metrics_transport *numbers); /* NULL: all zero */
    void *arg;
};

/* Copies the settings. NULL: out of memory. */
struct kek_metrics *kek_metrics_new(uv_loop_t *loop, const struct kek_metrics_settings *settings,
                                    struct kek_why *why);

/* A KMS call that has ended; a call that never reached a method. */
void kek_metrics_observe(struct kek_metrics *metrics, const struct kek_kms_event *event);
void kek_metrics_rejected(struct kek_metrics *metrics, enum kek_rpc_status status);

/* Serves on a numeric address. KEK_INVALID: it is none; KEK_UNAVAILABLE: cannot be bound. */
enum kek_rc kek_metrics_listen(struct kek_metrics *metrics, const char *host, uint16_t port,
                               struct kek_why *why) KEK_MUST_CHECK;

/* The port it serves on (0 was asked for: a free one); 0 if it does not. */
uint16_t kek_metrics_port(const struct kek_metrics *metrics);

void kek_metrics_collect(const struct kek_metrics *metrics, struct kek_metrics_snapshot *snapshot);

/* Appends the text. Everything borrowed by the snapshot must still be there. */
enum kek_rc kek_metrics_render(const struct kek_metrics_snapshot *snapshot, struct kek_buf *text,
                               struct kek_why *why) KEK_MUST_CHECK;

/* Closes every connection. The loop must run once more before it is closed. */
void kek_metrics_free(struct kek_metrics *metrics);

#endif
