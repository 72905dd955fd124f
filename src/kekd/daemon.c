/* The rooms, wired together; start, serve, drain, stop. */
#include "kekd/daemon.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <uv.h>

#include "kek/audit.h"
#include "kek/clock.h"
#include "kek/grpc.h"
#include "kek/listen.h"
#include "kek/metrics.h"
#include "kek/notify.h"
#include "kek/sandbox.h"
#include "kekd/reap.h"
#include "kekd/warnings.h"

#define CALL_TIMEOUT_MS 10000u /* where a client names none, and the most it may name */
#define REJECTIONS_LOGGED 20u  /* a second */

/* What the log last said of a provider. */
struct told {
    enum kek_pool_health health;
    size_t workers;
    bool birth_memory;
    char text[KEK_WHY_TEXT];
    bool sessions; /* that they may not suffice */
};

struct daemon {
    const struct kek_config *config;
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t last_resort; /* ends a stop that hangs */
    struct reap reap;       /* as process 1 of a container */
    struct kek_listen *listen;
    struct kek_notify *notify;
    struct kek_pool *pool;
    struct kek_keyring *ring;
    struct kek_datakey_store *store;
    struct kek_kms *kms;
    struct kek_grpc_server *grpc;
    struct kek_audit *audit;
    struct kek_metrics *metrics;
    struct told told[KEK_CONFIG_PROVIDERS_MAX];
    struct warnings warnings;
    uint64_t rejected_in; /* the second that `rejected` counts */
    unsigned long rejected;
    bool stopping;
    int exit_code;
};

/* ---- what the rooms tell each other ---- */

static bool may_serve(void *arg, size_t provider, uint64_t worker, enum kek_pool_op op,
                      const struct kek_id *kek_id)
{
    const struct daemon *daemon = arg;
    return daemon->ring != NULL && kek_keyring_may(daemon->ring, provider, worker, op, kek_id);
}

static bool is_judged(void *arg, size_t provider, uint64_t worker)
{
    const struct daemon *daemon = arg;
    return daemon->ring != NULL && kek_keyring_judged(daemon->ring, provider, worker);
}

static void provider_changed(void *arg, size_t provider)
{
    static const char *const words[] = {
        [KEK_POOL_STARTING] = "starting",
        [KEK_POOL_READY] = "ready",
        [KEK_POOL_DOWN] = "down",
        [KEK_POOL_PIN_REFUSED] = "pin-refused",
    };
    struct daemon *daemon = arg;
    struct kek_pool_provider status;
    kek_pool_provider_get(daemon->pool, provider, &status);
    struct told *told = &daemon->told[provider];
    bool trouble = status.health == KEK_POOL_DOWN || status.health == KEK_POOL_PIN_REFUSED;
    /* An outage is news once, not at every try to start a worker. */
    bool news = told->health != status.health || told->workers != status.workers_ready ||
                (trouble && strcmp(told->text, status.why.text) != 0);
    told->health = status.health;
    told->workers = status.workers_ready;
    memcpy(told->text, status.why.text, sizeof told->text);
    kek_log(!news     ? KEK_LOG_DEBUG
            : trouble ? KEK_LOG_ERROR
                      : KEK_LOG_INFO,
            "provider %s is %s%s%s workers=%zu native=0x%lx", status.name, words[status.health],
            trouble ? ": " : "", trouble ? status.why.text : "", status.workers_ready,
            trouble ? status.why.code : 0UL);
    if (status.pin_count_low) {
        kek_log(news ? KEK_LOG_WARN : KEK_LOG_DEBUG,
                "provider %s: the token says that its PIN was tried wrongly before: "
                "few tries are left",
                status.name);
    }
    if (status.birth_memory > 0 && !told->birth_memory) {
        told->birth_memory = true;
        kek_log(KEK_LOG_WARN,
                "provider %s: a fresh worker has %llu MiB, more than recycle_memory, and is "
                "replaced once it has grown by that much more",
                status.name, (unsigned long long)(status.birth_memory >> 20));
    }
    if (status.max_sessions != 0 && status.max_sessions < status.peak_sessions && !told->sessions) {
        told->sessions = true;
        kek_log(
            KEK_LOG_WARN,
            "provider %s: the token allows %llu sessions, and kekd opens up to %u, (processes + "
            "1) x (sessions + 1): lower sessions: or processes:",
            status.name, (unsigned long long)status.max_sessions, status.peak_sessions);
    }
    warnings_of_provider(&daemon->warnings, daemon->config, daemon->pool, provider);
    kek_keyring_provider_changed(daemon->ring, provider);
}

static void notice(void *arg, enum kek_log_level level, const char *text)
{
    (void)arg;
    kek_log(level, "%s", text);
}

static void call_ended(void *arg, const struct kek_kms_event *event)
{
    struct daemon *daemon = arg;
    kek_metrics_observe(daemon->metrics, event);
    if (daemon->audit != NULL) {
        kek_audit_call(daemon->audit, event);
    }
}

static void transport_numbers(void *arg, struct kek_metrics_transport *numbers)
{
    const struct daemon *daemon = arg;
    struct kek_grpc_stats stats;
    kek_grpc_server_stats(daemon->grpc, &stats);
    *numbers = (struct kek_metrics_transport){
        .connections_open = stats.connections_open,
        .connections_total = stats.connections_total,
        .connections_refused = stats.connections_refused,
        .calls_open = stats.calls_open,
        .resets = stats.resets,
        .protocol_errors = stats.protocol_errors,
    };
}

/* ---- the keyring, for people ---- */

static void tell_people(struct daemon *daemon)
{
    struct kek_keyring_version versions[KEK_AUDIT_VERSIONS_MAX];
    struct kek_keyring_primary primary;
    struct kek_keyring_verdict verdict;
    struct kek_why why;
    char healthz[KEK_KMS_HEALTHZ_MAX], line[KEK_NOTIFY_STATUS_MAX];
    bool announced = kek_keyring_primary(daemon->ring, &primary);
    kek_keyring_verdict(daemon->ring, &verdict);
    if (daemon->audit != NULL) {
        size_t count = kek_keyring_versions(daemon->ring, versions, KEK_AUDIT_VERSIONS_MAX);
        kek_audit_keyring(daemon->audit, announced ? &primary : NULL, versions, count, &verdict);
    }
    if (kek_kms_healthz(daemon->kms, healthz, sizeof healthz, &why) != KEK_OK) {
        snprintf(healthz, sizeof healthz, "%s", why.text);
    }
    snprintf(line, sizeof line, "KEK version %u, %.200s",
             announced ? primary.generation.numbers[0] : 0, healthz);
    kek_notify_status(daemon->notify, line);
}

static void keyring_changed(void *arg)
{
    struct daemon *daemon = arg;
    kek_datakey_review(daemon->store);
    if (!daemon->stopping) {
        tell_people(daemon);
    }
}

/* The transport hands back its service, and that is the kms: there is one daemon in a process. */
static struct daemon *the_daemon;

/* Anybody who gets at the socket can be rejected as often as he likes; metrics count every one. */
static bool rejection_is_logged(struct daemon *daemon)
{
    uint64_t second = kek_clock_ms() / 1000;
    if (second != daemon->rejected_in) {
        if (daemon->rejected > REJECTIONS_LOGGED) {
            kek_log(KEK_LOG_WARN, "%lu more calls were rejected within a second",
                    daemon->rejected - REJECTIONS_LOGGED);
        }
        daemon->rejected_in = second;
        daemon->rejected = 0;
    }
    return ++daemon->rejected <= REJECTIONS_LOGGED;
}

static void call_rejected(void *service, const struct kek_rpc_peer *peer, const char *path,
                          enum kek_rpc_status status, const char *message)
{
    (void)service;
    if (rejection_is_logged(the_daemon)) {
        kek_log(KEK_LOG_WARN, "call rejected: %s status=%s path=%s peer_uid=%u peer_pid=%d",
                message, kek_rpc_status_name(status), path, (unsigned)peer->uid, (int)peer->pid);
    }
    kek_metrics_rejected(the_daemon->metrics, status);
    if (the_daemon->audit != NULL) {
        kek_audit_rejected(the_daemon->audit, peer, path, status, message);
    }
}

/* ---- stop ---- */

static void close_handle(uv_handle_t *handle)
{
    if (!uv_is_closing(handle)) {
        uv_close(handle, NULL);
    }
}

static void finish(void *arg)
{
    struct daemon *daemon = arg;
    close_handle((uv_handle_t *)&daemon->term);
    close_handle((uv_handle_t *)&daemon->interrupt);
    close_handle((uv_handle_t *)&daemon->hangup);
    close_handle((uv_handle_t *)&daemon->last_resort);
    reap_stop(&daemon->reap);
    kek_notify_free(daemon->notify);
    daemon->notify = NULL;
}

static void pool_closed(void *arg)
{
    struct daemon *daemon = arg;
    if (daemon->audit == NULL) {
        finish(daemon);
        return;
    }
    kek_audit_stop(daemon->audit, finish, daemon);
}

static void drained(void *arg)
{
    struct daemon *daemon = arg;
    if (daemon->grpc != NULL) {
        kek_grpc_server_free(daemon->grpc);
        daemon->grpc = NULL;
    }
    /* After the last call, which it counts, and before what it shows goes. */
    kek_metrics_free(daemon->metrics);
    daemon->metrics = NULL;
    if (daemon->store != NULL) {
        kek_datakey_store_stop(daemon->store);
    }
    if (daemon->ring != NULL) {
        kek_keyring_stop(daemon->ring);
    }
    if (daemon->pool == NULL) {
        pool_closed(daemon);
        return;
    }
    kek_pool_close(daemon->pool, pool_closed, daemon);
}

static void give_up(uv_timer_t *timer)
{
    (void)timer;
    kek_log(KEK_LOG_ERROR, "the stop hangs: ending without the rest");
    _exit(1);
}

static void stop(struct daemon *daemon, const char *reason)
{
    struct kek_why why;
    if (daemon->stopping) {
        return;
    }
    daemon->stopping = true;
    kek_log(KEK_LOG_INFO, "stopping: %s", reason);
    uv_timer_start(&daemon->last_resort, give_up, KEK_STOP_MS, 0);
    if (daemon->notify != NULL && kek_notify_stopping(daemon->notify, "draining", &why) != KEK_OK) {
        kek_log(KEK_LOG_WARN, "the service manager was not told: %s", why.text);
    }
    if (daemon->grpc == NULL) {
        drained(daemon);
        return;
    }
    kek_grpc_server_drain(daemon->grpc, KEK_DRAIN_MS, drained, daemon);
}

static void signalled(uv_signal_t *handle, int number)
{
    struct daemon *daemon = handle->data;
    if (number == SIGHUP) {
        if (daemon->audit != NULL) {
            kek_audit_reopen(daemon->audit);
        }
        return;
    }
    stop(daemon, number == SIGTERM ? "SIGTERM" : "SIGINT");
}

/* ---- start ---- */

static enum kek_rc start_ops(struct daemon *daemon, struct kek_why *why)
{
    const struct kek_config *config = daemon->config;
    bool switches_user = false;
    for (size_t i = 0; i < config->provider_count; i++) {
        switches_user |= config->providers[i].user != NULL || config->providers[i].groups != NULL;
    }
    enum kek_rc rc = kek_sandbox_enter(switches_user, why);
    if (rc != KEK_OK) {
        return rc;
    }
    daemon->notify = kek_notify_new(&daemon->loop, why);
    if (daemon->notify == NULL) {
        return why->rc;
    }
    if (config->audit_file == NULL) {
        return KEK_OK;
    }
    daemon->audit = kek_audit_new(&daemon->loop, config->audit_file, NULL, why);
    return daemon->audit == NULL ? why->rc : KEK_OK;
}

static enum kek_rc start_keys(struct daemon *daemon, struct kek_why *why)
{
    struct kek_pool_settings pool = {
        .config = daemon->config,
        .may = may_serve,
        .judged = is_judged,
        .provider_changed = provider_changed,
        .arg = daemon,
    };
    daemon->pool = kek_pool_new(&daemon->loop, &pool, why);
    if (daemon->pool == NULL) {
        return why->rc;
    }
    struct kek_keyring_settings ring = {
        .config = daemon->config,
        .pool = daemon->pool,
        .changed = keyring_changed,
        .notice = notice,
        .arg = daemon,
    };
    daemon->ring = kek_keyring_new(&daemon->loop, &ring, why);
    if (daemon->ring == NULL) {
        return why->rc;
    }
    struct kek_datakey_settings store = {
        .config = daemon->config,
        .pool = daemon->pool,
        .ring = daemon->ring,
    };
    daemon->store = kek_datakey_store_new(&daemon->loop, &store, why);
    return daemon->store == NULL ? why->rc : KEK_OK;
}

static enum kek_rc start_metrics(struct daemon *daemon, struct kek_why *why)
{
    const struct kek_config *config = daemon->config;
    struct kek_metrics_settings settings = {
        .pool = daemon->pool,
        .ring = daemon->ring,
        .store = daemon->store,
        .kms = daemon->kms,
        .audit = daemon->audit,
        .transport = transport_numbers,
        .arg = daemon,
    };
    daemon->metrics = kek_metrics_new(&daemon->loop, &settings, why);
    if (daemon->metrics == NULL) {
        return why->rc;
    }
    if (config->metrics_host == NULL) {
        return KEK_OK;
    }
    return kek_metrics_listen(daemon->metrics, config->metrics_host, config->metrics_port, why);
}

static enum kek_rc start_service(struct daemon *daemon, struct kek_why *why)
{
    struct kek_kms_settings kms = {
        .config = daemon->config,
        .ring = daemon->ring,
        .store = daemon->store,
        .observer = call_ended,
        .arg = daemon,
    };
    daemon->kms = kek_kms_new(&kms, why);
    if (daemon->kms == NULL) {
        return why->rc;
    }
    struct kek_grpc_settings grpc = {
        .service = daemon->kms,
        .allowed = kek_kms_allowed,
        .rejected = call_rejected,
        .max_message = KEK_GRPC_MAX_MESSAGE,
        .max_streams = KEK_GRPC_MAX_STREAMS,
        .max_connections = KEK_GRPC_MAX_CONNECTIONS,
        .max_header_list = KEK_GRPC_MAX_HEADER_LIST,
        .default_timeout_ms = CALL_TIMEOUT_MS,
    };
    grpc.methods = kek_kms_methods(&grpc.method_count);
    daemon->grpc = kek_grpc_server_new(&daemon->loop, &grpc, why);
    return daemon->grpc == NULL ? why->rc : start_metrics(daemon, why);
}

/* Who may connect is the socket's mode; who may call is allow_uids, checked on every call. */
static mode_t socket_mode(const struct kek_config *config)
{
    for (size_t i = 0; i < config->allow_uid_count; i++) {
        if (config->allow_uids[i] != 0 && config->allow_uids[i] != geteuid()) {
            return 0666;
        }
    }
    return 0600;
}

static enum kek_rc start(struct daemon *daemon, struct kek_why *why)
{
    const struct kek_config *config = daemon->config;
    enum kek_rc rc = kek_listen_open(config->listen, socket_mode(config), &daemon->listen, why);
    if (rc == KEK_OK) {
        rc = start_ops(daemon, why);
    }
    if (rc == KEK_OK) {
        rc = start_keys(daemon, why);
    }
    if (rc == KEK_OK) {
        rc = start_service(daemon, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    kek_pool_start(daemon->pool);
    kek_keyring_start(daemon->ring);
    rc = kek_grpc_server_listen(daemon->grpc, kek_listen_take(daemon->listen), why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (kek_notify_ready(daemon->notify, "serving", why) != KEK_OK) {
        kek_log(KEK_LOG_WARN, "the service manager was not told: %s", why->text);
    }
    kek_log(KEK_LOG_INFO, "serving on %s keyring=%s providers=%zu%s", config->listen,
            config->keyring, config->provider_count,
            kek_listen_inherited(daemon->listen) ? " (inherited socket)" : "");
    return KEK_OK;
}

static void handles_init(struct daemon *daemon)
{
    uv_signal_t *signals[] = {&daemon->term, &daemon->interrupt, &daemon->hangup};
    static const int numbers[] = {SIGTERM, SIGINT, SIGHUP};
    for (size_t i = 0; i < sizeof signals / sizeof signals[0]; i++) {
        uv_signal_init(&daemon->loop, signals[i]);
        signals[i]->data = daemon;
        uv_signal_start(signals[i], signalled, numbers[i]);
    }
    uv_timer_init(&daemon->loop, &daemon->last_resort);
    reap_start(&daemon->reap, &daemon->loop);
}

int kek_daemon_run(const struct kek_config *config)
{
    static struct daemon daemon;
    struct kek_why why;
    daemon = (struct daemon){.config = config};
    the_daemon = &daemon;
    /* A reader that is gone and a limit on file sizes are errors of write(2), not the end of kekd. */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN);
    int made = uv_loop_init(&daemon.loop);
    if (made != 0) {
        kek_log(KEK_LOG_ERROR, "no event loop: %s", uv_strerror(made));
        return 1;
    }
    handles_init(&daemon);
    if (start(&daemon, &why) != KEK_OK) {
        kek_log(KEK_LOG_ERROR, "cannot start: %s", why.text);
        daemon.exit_code = 1;
        stop(&daemon, "the start failed");
    }
    uv_run(&daemon.loop, UV_RUN_DEFAULT);

    kek_kms_free(daemon.kms);
    kek_datakey_store_free(daemon.store);
    kek_keyring_free(daemon.ring);
    kek_pool_free(daemon.pool);
    kek_audit_free(daemon.audit);
    kek_listen_free(daemon.listen);
    uv_loop_close(&daemon.loop);
    kek_log(KEK_LOG_INFO, "stopped");
    return daemon.exit_code;
}
