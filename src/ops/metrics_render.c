#include "kek/metrics.h"

#include <stdio.h>

#include "exposition.h"
#include "metrics_calls.h"

static const char *const methods[KEK_KMS_METHODS] = {
    [KEK_KMS_V2_STATUS] = "v2.Status",        [KEK_KMS_V2_ENCRYPT] = "v2.Encrypt",
    [KEK_KMS_V2_DECRYPT] = "v2.Decrypt",      [KEK_KMS_V1_VERSION] = "v1beta1.Version",
    [KEK_KMS_V1_ENCRYPT] = "v1beta1.Encrypt", [KEK_KMS_V1_DECRYPT] = "v1beta1.Decrypt",
};

static void family_uint(struct exposition *e, const char *name, const char *type, const char *help,
                        uint64_t value)
{
    exposition_family(e, name, type, help);
    exposition_uint(e, "", NULL, value);
}

static void render_process(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    exposition_family(e, "kekd_build_info", "gauge", "The running kekd.");
    exposition_uint(e, "", LABELS({"version", PACKAGE_VERSION}), 1);
    exposition_family(e, "process_cpu_seconds_total", "counter",
                      "User and system time of kekd itself, without its workers.");
    exposition_seconds(e, "", NULL, s->process.cpu_us);
    family_uint(e, "process_resident_memory_bytes", "gauge",
                "Resident memory of kekd itself, without its workers.", s->process.resident_bytes);
    family_uint(e, "process_open_fds", "gauge", "Open file descriptors.", s->process.open_fds);
    family_uint(e, "process_max_fds", "gauge", "The limit of open file descriptors.",
                s->process.max_fds);
    exposition_family(e, "process_start_time_seconds", "gauge",
                      "When kekd started, in seconds since 1970-01-01 UTC.");
    exposition_seconds(e, "", NULL, (uint64_t)s->process.start_ms * 1000);
}

/* A series that is there from the start lets rate() see its first increment: those of calls that are no failure always are,
 * so that what they leave of all calls is the failures. */
static void render_call_counts(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    exposition_family(e, "kekd_kms_calls_total", "counter",
                      "KMS calls that have ended, by method and gRPC status.");
    for (size_t m = 0; m < KEK_KMS_METHODS; m++) {
        for (int status = 0; status < KEK_METRICS_STATUSES; status++) {
            uint64_t count = s->calls[m].status[status];
            if (status == KEK_RPC_OK || status == KEK_RPC_CANCELLED || count > 0) {
                exposition_uint(
                    e, "",
                    LABELS({"method", methods[m]},
                           {"status", kek_rpc_status_name((enum kek_rpc_status)status)}),
                    count);
            }
        }
    }
    exposition_family(e, "kekd_kms_hsm_waits_total", "counter",
                      "KMS calls that waited for an HSM operation.");
    for (size_t m = 0; m < KEK_KMS_METHODS; m++) {
        exposition_uint(e, "", LABELS({"method", methods[m]}), s->calls[m].hsm_waits);
    }
    exposition_family(e, "kekd_grpc_rejected_total", "counter",
                      "Calls that never reached a method: refused peer, unknown path, malformed.");
    for (int status = 1; status < KEK_METRICS_STATUSES; status++) {
        if (status == KEK_RPC_PERMISSION_DENIED || status == KEK_RPC_UNIMPLEMENTED ||
            s->rejected[status] > 0) {
            exposition_uint(e, "",
                            LABELS({"status", kek_rpc_status_name((enum kek_rpc_status)status)}),
                            s->rejected[status]);
        }
    }
}

/* A histogram of one set of labels, two at most. */
static void render_histogram(struct exposition *e, const struct kek_histogram *histogram,
                             struct exposition_label first, struct exposition_label second)
{
    uint64_t sum = 0;
    for (size_t b = 0; b <= KEK_HISTOGRAM_BUCKETS; b++) {
        struct exposition_label le = {
            "le", b == KEK_HISTOGRAM_BUCKETS ? "+Inf" : kek_histogram_bounds[b].le};
        sum += histogram->counts[b];
        exposition_uint(e, "_bucket",
                        second.name == NULL ? LABELS(first, le) : LABELS(first, second, le), sum);
    }
    exposition_seconds(e, "_sum", LABELS(first, second), histogram->sum_us);
    exposition_uint(e, "_count", LABELS(first, second), sum);
}

static void render_durations(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    exposition_family(e, "kekd_kms_call_duration_seconds", "histogram",
                      "From a request's header to its answer, by method.");
    for (size_t m = 0; m < KEK_KMS_METHODS; m++) {
        render_histogram(e, &s->calls[m].durations, (struct exposition_label){"method", methods[m]},
                         (struct exposition_label){NULL, NULL});
    }
}

static void render_transport(struct exposition *e, const struct kek_metrics_transport *t)
{
    family_uint(e, "kekd_grpc_connections", "gauge", "Open client connections.",
                t->connections_open);
    family_uint(e, "kekd_grpc_connections_total", "counter", "Client connections accepted.",
                t->connections_total);
    family_uint(e, "kekd_grpc_connections_refused_total", "counter",
                "Connections closed at accept: the limit was reached.", t->connections_refused);
    family_uint(e, "kekd_grpc_calls_open", "gauge", "Calls under way.", t->calls_open);
    family_uint(e, "kekd_grpc_resets_total", "counter", "Calls that the client gave up.",
                t->resets);
    family_uint(e, "kekd_grpc_protocol_errors_total", "counter",
                "Connections ended for breaking HTTP/2.", t->protocol_errors);
}

static const char *const pool_health[] = {
    [KEK_POOL_STARTING] = "starting",
    [KEK_POOL_READY] = "ready",
    [KEK_POOL_DOWN] = "down",
    [KEK_POOL_PIN_REFUSED] = "pin_refused",
};

static uint64_t age_us(const struct kek_metrics_snapshot *s, uint64_t since_ms)
{
    return s->now_ms > since_ms ? (s->now_ms - since_ms) * 1000 : 0;
}

static void render_provider_health(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    exposition_family(e, "kekd_hsm_info", "gauge", "The token behind a provider, once known.");
    for (size_t i = 0; i < s->provider_count; i++) {
        const struct kek_pool_provider *p = &s->providers[i];
        if (p->serial[0] != '\0') {
            exposition_uint(e, "",
                            LABELS({"provider", p->name}, {"serial", p->serial},
                                   {"model", p->model}, {"firmware", p->firmware},
                                   {"library", p->library}),
                            1);
        }
    }
    exposition_family(e, "kekd_hsm_health", "gauge",
                      "1 for the state that a provider is in, 0 for the others.");
    for (size_t i = 0; i < s->provider_count; i++) {
        for (size_t h = 0; h < sizeof pool_health / sizeof pool_health[0]; h++) {
            exposition_uint(e, "",
                            LABELS({"provider", s->providers[i].name}, {"state", pool_health[h]}),
                            (size_t)s->providers[i].health == h);
        }
    }
    exposition_family(e, "kekd_hsm_health_age_seconds", "gauge",
                      "How long a provider has been in its state.");
    for (size_t i = 0; i < s->provider_count; i++) {
        exposition_seconds(e, "", LABELS({"provider", s->providers[i].name}),
                           age_us(s, s->providers[i].since_ms));
    }
    exposition_family(e, "kekd_hsm_pin_count_low", "gauge",
                      "1 if the token says that a wrong PIN was tried before.");
    for (size_t i = 0; i < s->provider_count; i++) {
        exposition_uint(e, "", LABELS({"provider", s->providers[i].name}),
                        s->providers[i].pin_count_low);
    }
}

/* One number of each provider. */
struct provider_number {
    const char *name, *type, *help;
    size_t offset; /* in kek_pool_provider */
    bool is_size;  /* a size_t; else a uint64_t */
};

#define OF(field) offsetof(struct kek_pool_provider, field)

static const struct provider_number provider_numbers[] = {
    {"kekd_hsm_operations_total", "counter", "Operations that a provider's workers answered.",
     OF(operations), false},
    {"kekd_hsm_failures_total", "counter", "Operations that failed on a provider.", OF(failures),
     false},
    {"kekd_hsm_calls_running", "gauge", "Operations that a provider's workers are at.",
     OF(calls_running), true},
    {"kekd_hsm_workers_ready", "gauge", "Worker processes that can take an operation.",
     OF(workers_ready), true},
    {"kekd_hsm_workers_spawned_total", "counter", "Worker processes started.", OF(spawned), false},
    {"kekd_hsm_workers_killed_total", "counter", "Worker processes killed for not answering.",
     OF(killed), false},
    {"kekd_hsm_workers_crashed_total", "counter", "Worker processes that ended by themselves.",
     OF(crashed), false},
    {"kekd_hsm_workers_recycled_total", "counter",
     "Worker processes replaced for their age or memory.", OF(recycled), false},
    {"kekd_hsm_workers_ended_total", "counter",
     "Worker processes ended because they used a wrong key or saw none.", OF(ended), false},
};

static void render_provider_numbers(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    for (size_t n = 0; n < sizeof provider_numbers / sizeof provider_numbers[0]; n++) {
        const struct provider_number *number = &provider_numbers[n];
        exposition_family(e, number->name, number->type, number->help);
        for (size_t i = 0; i < s->provider_count; i++) {
            const char *field = (const char *)&s->providers[i] + number->offset;
            uint64_t value = number->is_size ? *(const size_t *)(const void *)field
                                             : *(const uint64_t *)(const void *)field;
            exposition_uint(e, "", LABELS({"provider", s->providers[i].name}), value);
        }
    }
    family_uint(e, "kekd_hsm_queue_length", "gauge", "Operations that wait for a worker.",
                s->queued);
}

static void render_provider_timings(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    exposition_family(e, "kekd_hsm_operation_duration_seconds", "histogram",
                      "From sending an operation to a worker to its answer, good or not, or until "
                      "it timed out.");
    for (size_t i = 0; i < s->provider_count; i++) {
        for (size_t op = 0; op < KEK_POOL_OPS_TIMED; op++) {
            const char *name = kek_pool_op_name((enum kek_pool_op)op);
            render_histogram(e, &s->timings[i][op].durations,
                             (struct exposition_label){"provider", s->providers[i].name},
                             (struct exposition_label){"operation", name});
        }
    }
    exposition_family(e, "kekd_hsm_operation_failures_total", "counter",
                      "Operations that brought no good answer, by what came instead.");
    for (size_t i = 0; i < s->provider_count; i++) {
        for (size_t op = 0; op < KEK_POOL_OPS_TIMED; op++) {
            const struct kek_pool_timing *timing = &s->timings[i][op];
            const struct exposition_label of[] = {
                {"provider", s->providers[i].name},
                {"operation", kek_pool_op_name((enum kek_pool_op)op)}};
            exposition_uint(e, "", LABELS(of[0], of[1], {"reason", "failed"}), timing->failed);
            exposition_uint(e, "", LABELS(of[0], of[1], {"reason", "timeout"}), timing->timeouts);
            exposition_uint(e, "", LABELS(of[0], of[1], {"reason", "lost"}), timing->lost);
        }
    }
}

static void render_datakeys(struct exposition *e, const struct kek_datakey_stats *d)
{
    family_uint(e, "kekd_datakey_wraps_total", "counter", "Data keys wrapped in an HSM.", d->wraps);
    family_uint(e, "kekd_datakey_unwraps_total", "counter", "Data keys unwrapped in an HSM.",
                d->unwraps);
    family_uint(e, "kekd_datakey_cache_hits_total", "counter",
                "Data keys for opening that were in the cache.", d->cache_hits);
    family_uint(e, "kekd_datakey_cache_misses_total", "counter",
                "Data keys for opening that were not.", d->cache_misses);
    family_uint(e, "kekd_datakey_cache_evictions_total", "counter",
                "Data keys that left the cache for want of room or for their age.",
                d->cache_evictions);
    family_uint(e, "kekd_datakey_cache_entries", "gauge", "Data keys in the cache.",
                d->cache_entries);
    family_uint(e, "kekd_datakey_flights", "gauge", "HSM operations under way for data keys.",
                d->flights);
}

/* Labels that tell a version from all others: its root of trust, where that has a name, and of a surplus key its kek id,
 * since a number may then be two keys'. */
struct version_labels {
    char number[16], kek_id[KEK_ID_TEXT];
    struct exposition_label labels[6]; /* with room for two more, and the end */
    size_t count;
};

static void label(struct version_labels *l, const char *name, const char *value)
{
    l->labels[l->count++] = (struct exposition_label){name, value};
}

static void label_version(struct version_labels *l, const struct kek_keyring_version *version)
{
    *l = (struct version_labels){.count = 0};
    snprintf(l->number, sizeof l->number, "%u", version->number);
    kek_id_format(&version->kek_id, l->kek_id);
    if (version->root != NULL && version->root[0] != '\0') {
        label(l, "root", version->root);
    }
    label(l, "version", l->number);
}

static void label_surplus(struct version_labels *l, const struct kek_keyring_version *version)
{
    if (version->surplus) {
        label(l, "surplus", l->kek_id);
    }
}

/* A line for each root of trust that the generation has a KEK of. */
static void render_primary_family(struct exposition *e, const struct kek_metrics_snapshot *s,
                                  bool info)
{
    const struct kek_generation *generation = &s->primary.generation;
    char hash[KEK_KEY_ID_HASH_TEXT];
    kek_key_id_hash(generation->key_id, hash);
    for (size_t i = 0; s->announced && i < generation->count; i++) {
        const struct kek_keyring_version of = {
            .root = kek_keyring_root_of(s->versions, s->version_count, &generation->kek_ids[i]),
            .number = generation->numbers[i],
            .kek_id = generation->kek_ids[i]};
        struct version_labels l;
        label_version(&l, &of);
        if (info) {
            label(&l, "key_id", generation->key_id);
            label(&l, "key_id_hash", hash);
            exposition_uint(e, "", l.labels, 1);
        } else {
            bool named = of.root != NULL && of.root[0] != '\0';
            l.labels[1] = (struct exposition_label){NULL, NULL};
            exposition_uint(e, "", named ? l.labels : NULL, of.number);
        }
    }
}

static void render_primary(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    exposition_family(e, "kekd_kek_primary_info", "gauge",
                      "The announced KEK version; key_id_hash is as in kube-apiserver's metrics.");
    render_primary_family(e, s, true);
    exposition_family(e, "kekd_kek_primary_version", "gauge",
                      "The number of the announced KEK version.");
    render_primary_family(e, s, false);
}

/* `state`: NULL, or that label. */
static void render_version(struct exposition *e, const struct kek_keyring_version *version,
                           const char *state, uint64_t value)
{
    struct version_labels l;
    label_version(&l, version);
    if (state != NULL) {
        label(&l, "state", state);
    }
    label_surplus(&l, version);
    exposition_uint(e, "", l.labels, value);
}

static void render_version_states(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    const struct kek_keyring_version *version, *end = s->versions + s->version_count;
    exposition_family(e, "kekd_kek_version_state", "gauge",
                      "1 for the state that a KEK version is in.");
    for (version = s->versions; version < end; version++) {
        render_version(e, version, kek_keyring_key_name(version->state), 1);
    }
    exposition_family(e, "kekd_kek_version_providers", "gauge",
                      "Providers that show a KEK version.");
    for (version = s->versions; version < end; version++) {
        render_version(e, version, NULL, version->providers);
    }
    exposition_family(e, "kekd_kek_version_providers_proven", "gauge",
                      "Providers that have opened this node's witness of a KEK version.");
    for (version = s->versions; version < end; version++) {
        render_version(e, version, NULL, version->providers_proven);
    }
    exposition_family(e, "kekd_kek_version_asked_for_total", "counter",
                      "Decrypts that asked for a KEK version since it is suspended.");
    for (version = s->versions; version < end; version++) {
        if (version->state == KEK_KEYRING_KEY_SUSPENDED) {
            render_version(e, version, NULL, version->history.asked);
        }
    }
}

/* By provider, of those that have opened it or should have. */
static void render_canaries(struct exposition *e, const struct kek_metrics_snapshot *s, bool age)
{
    for (size_t i = 0; i < s->version_count; i++) {
        const struct kek_keyring_version *version = &s->versions[i];
        for (size_t p = 0; p < s->provider_count; p++) {
            struct version_labels l;
            uint64_t opened_ms = version->canary[p].opened_ms;
            bool fails = version->canary[p].fails;
            label_version(&l, version);
            label(&l, "provider", s->providers[p].name);
            label_surplus(&l, version);
            if (age && opened_ms > 0) {
                exposition_seconds(e, "", l.labels, age_us(s, opened_ms));
            } else if (!age && (opened_ms > 0 || fails)) {
                exposition_uint(e, "", l.labels,
                                !fails && version->proven[p] &&
                                    version->held[p] > KEK_KEYRING_KEY_SUSPENDED);
            }
        }
    }
}

static void render_uses(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    exposition_family(e, "kekd_kek_canary_age_seconds", "gauge",
                      "How long ago a worker of the provider last opened its witness.");
    render_canaries(e, s, true);
    exposition_family(
        e, "kekd_kek_canary_ok", "gauge",
        "1 if the provider opens its witness, 0 if it has opened it and does not now, "
        "or shows the key as fit and fails.");
    render_canaries(e, s, false);
    exposition_family(e, "kekd_kek_version_asked_age_seconds", "gauge",
                      "How long ago a Decrypt last came for a KEK version.");
    for (size_t i = 0; i < s->version_count; i++) {
        if (s->versions[i].asked_ms > 0) {
            struct version_labels l;
            label_version(&l, &s->versions[i]);
            exposition_seconds(e, "", l.labels, age_us(s, s->versions[i].asked_ms));
        }
    }
}

static void render_health(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    exposition_family(e, "kekd_health", "gauge",
                      "1 for the state that the keyring is in, 0 for the others.");
    for (int h = KEK_KEYRING_GOOD; h <= KEK_KEYRING_LOSS; h++) {
        exposition_uint(e, "", LABELS({"state", kek_keyring_state_name((enum kek_keyring_state)h)}),
                        (int)s->verdict.state == h);
    }
    exposition_family(e, "kekd_health_age_seconds", "gauge",
                      "How long the keyring has been in its state.");
    exposition_seconds(e, "", NULL, age_us(s, s->verdict.since_ms));
    family_uint(e, "kekd_ready", "gauge", "1 if /readyz says ok.",
                s->verdict.state == KEK_KEYRING_GOOD);
    family_uint(
        e, "kekd_kms_status_ok", "gauge",
        "1 if KMS Status says ok, which it goes on saying for the grace period of an outage.",
        s->status_ok);
}

static void render_remarks(struct exposition *e, const struct kek_metrics_snapshot *s)
{
    exposition_family(e, "kekd_degraded", "gauge",
                      "1 for each thing that is to be mended although this node serves.");
    for (size_t i = 0; i < s->remark_count; i++) {
        const struct kek_keyring_verdict *remark = &s->remarks[i];
        char number[16] = "";
        if (remark->version != 0) {
            snprintf(number, sizeof number, "%u", remark->version);
        }
        exposition_uint(e, "",
                        LABELS({"reason", kek_keyring_remark_name(remark->remark)},
                               {"version", number},
                               {"provider", remark->provider < s->provider_count
                                                ? s->providers[remark->provider].name
                                                : ""},
                               {remark->root == NULL ? NULL : "root", remark->root}),
                        1);
    }
}

static void render_audit(struct exposition *e, const struct kek_audit_stats *a)
{
    family_uint(e, "kekd_audit_lines_total", "counter", "Audit lines written.", a->lines);
    family_uint(e, "kekd_audit_dropped_total", "counter", "Audit lines lost.", a->dropped);
    family_uint(e, "kekd_audit_errors_total", "counter",
                "Writes and reopenings of the audit log that failed.", a->errors);
    family_uint(e, "kekd_audit_uncopied_total", "counter",
                "Copies of audit lines that journal or syslog did not take.", a->uncopied);
    family_uint(e, "kekd_audit_waiting_bytes", "gauge", "Audit lines that wait to be written.",
                a->waiting);
}

static void render_status(struct exposition *e, const struct kek_node_status_stats *s)
{
    exposition_family(e, "kekd_status_clients_total", "counter",
                      "Clients of the status listener: served, forbidden (not in status.allow), or "
                      "refused (no certificate, a wrong one, no TLS).");
    if (s->listens) {
        exposition_uint(e, "", LABELS({"result", "served"}), s->served);
        exposition_uint(e, "", LABELS({"result", "forbidden"}), s->forbidden);
        exposition_uint(e, "", LABELS({"result", "refused"}), s->refused);
    }
    exposition_family(e, "kekd_status_certificate_expiry_timestamp_seconds", "gauge",
                      "When the certificate of the status listener ends to be valid.");
    if (s->listens && s->expires > 0) {
        exposition_uint(e, "", NULL, (uint64_t)s->expires);
    }
}

enum kek_rc kek_metrics_render(const struct kek_metrics_snapshot *snapshot, struct kek_buf *text,
                               struct kek_why *why)
{
    struct exposition e = {.out = text, .rc = KEK_OK};
    render_process(&e, snapshot);
    render_call_counts(&e, snapshot);
    render_durations(&e, snapshot);
    render_transport(&e, &snapshot->transport);
    render_provider_health(&e, snapshot);
    render_provider_numbers(&e, snapshot);
    render_provider_timings(&e, snapshot);
    render_datakeys(&e, &snapshot->datakeys);
    render_primary(&e, snapshot);
    render_version_states(&e, snapshot);
    render_uses(&e, snapshot);
    render_health(&e, snapshot);
    render_remarks(&e, snapshot);
    render_audit(&e, &snapshot->audit);
    render_status(&e, &snapshot->status);
    family_uint(&e, "kekd_log_dropped_total", "counter", "Log lines lost.", snapshot->log_dropped);
    if (e.rc != KEK_OK && why != NULL) {
        *why = e.why;
    }
    return e.rc;
}
