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
#include "kek/node_status.h"
#include "kek/notify.h"
#include "kek/sandbox.h"
#include "kekd/reap.h"
#include "kekd/warnings.h"

#define CALL_TIMEOUT_MS 10000u /* where a client names none, and the most it may name */
#define COUNTS_MS 1000u        /* between looks at what was left out of the log, and at the clock */

/* What the log last said of a provider. */
struct told {
    enum kek_pool_health health;
    size_t workers;
    char text[KEK_WHY_TEXT];
};

struct daemon {
    const struct kek_config *config;
    uv_loop_t loop;
    uv_signal_t term, interrupt, hangup;
    uv_timer_t last_resort; /* ends a stop that hangs */
    uv_timer_t counts;      /* each second: lines that were left out, and the certificate */
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
    struct kek_node_status *status;
    struct told told[KEK_CONFIG_PROVIDERS_MAX];
    struct warnings warnings;
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

/* The pool's words begin with the provider's name, for those who have nothing else to tell it by. */
static const char *without_name(const char *text, const char *name)
{
    size_t len = strlen(name);
    bool named = strncmp(text, name, len) == 0 && strncmp(text + len, ": ", 2) == 0;
    return named ? text + len + 2 : text;
}

static void provider_changed(void *arg, size_t provider)
{
    static const char *const words[] = {
        [KEK_POOL_STARTING] = "starting",
        [KEK_POOL_READY] = "ready",
        [KEK_POOL_DOWN] = "down",
        [KEK_POOL_PIN_REFUSED] = "pin-refused",
    };
    static const struct kek_why none;
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
    const struct kek_why *why = trouble ? &status.why : &none;
    kek_log_with(!news     ? KEK_LOG_DEBUG
                 : trouble ? KEK_LOG_ERROR
                           : KEK_LOG_INFO,
                 KEK_LOG_FIELDS(kek_log_text("provider", status.name),
                                kek_log_number("workers", status.workers_ready),
                                kek_log_origin(why), kek_log_code(why)),
                 "provider %s is %s%s%s", status.name, words[status.health], trouble ? ": " : "",
                 without_name(why->text, status.name));
    warnings_of_provider(&daemon->warnings, daemon->config, daemon->pool, provider);
    kek_keyring_provider_changed(daemon->ring, provider);
}

static void logged_in(void *arg, const struct kek_pool_login *login)
{
    struct daemon *daemon = arg;
    if (daemon->audit != NULL) {
        kek_audit_login(daemon->audit, daemon->config, login);
    }
}

static void notice(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                   const char *text)
{
    (void)arg;
    kek_log_with(level, fields, "%s", text);
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

static void audit_keyring(struct daemon *daemon)
{
    struct kek_keyring_version versions[KEK_AUDIT_VERSIONS_MAX];
    struct kek_keyring_primary primary;
    struct kek_keyring_verdict verdict;
    if (daemon->audit == NULL || daemon->ring == NULL) {
        return;
    }
    bool announced = kek_keyring_primary(daemon->ring, &primary);
    kek_keyring_verdict(daemon->ring, &verdict);
    size_t count = kek_keyring_versions(daemon->ring, versions, KEK_AUDIT_VERSIONS_MAX);
    kek_audit_keyring(daemon->audit, daemon->config, announced ? &primary : NULL, versions, count,
                      &verdict);
}

static void tell_people(struct daemon *daemon)
{
    struct kek_keyring_primary primary;
    struct kek_keyring_verdict verdict;
    char how[KEK_NOTIFY_STATUS_MAX], line[KEK_NOTIFY_STATUS_MAX + 64];
    bool announced = kek_keyring_primary(daemon->ring, &primary);
    kek_keyring_verdict(daemon->ring, &verdict);
    bool but =
        verdict.state == KEK_KEYRING_GOOD && kek_keyring_remarks(daemon->ring, &verdict, 1) == 1;
    kek_keyring_verdict_text(&verdict, how, sizeof how);
    snprintf(line, sizeof line, "KEK version %u, %s%s",
             announced ? primary.generation.numbers[0] : 0, but ? "ok, to be mended: " : "", how);
    kek_notify_status(daemon->notify, line);
}

static void keyring_changed(void *arg)
{
    struct daemon *daemon = arg;
    kek_datakey_review(daemon->store);
    audit_keyring(daemon);
    if (!daemon->stopping) {
        tell_people(daemon);
    }
}

/* The transport hands back its service, and that is the kms: there is one daemon in a process. */
static struct daemon *the_daemon;

static void call_rejected(void *service, const struct kek_rpc_peer *peer, const char *path,
                          enum kek_rpc_status status, const char *message)
{
    (void)service;
    kek_log_often(KEK_LOG_WARN, "call rejected",
                  KEK_LOG_FIELDS(kek_log_text("status", kek_rpc_status_name(status)),
                                 kek_log_text("path", path), kek_log_number("peer_uid", peer->uid),
                                 kek_log_number("peer_pid", (uint64_t)peer->pid)),
                  "call rejected: %s", message);
    kek_metrics_rejected(the_daemon->metrics, status);
    if (the_daemon->audit != NULL) {
        kek_audit_rejected(the_daemon->audit, peer, path, status, message);
    }
}

static void connection_cut(void *service, const struct kek_rpc_peer *peer, const char *why)
{
    (void)service;
    if (peer == NULL) {
        kek_log_often(KEK_LOG_WARN, "connection", NULL, "connection not accepted: %s", why);
    } else {
        kek_log_often(KEK_LOG_WARN, "connection",
                      KEK_LOG_FIELDS(kek_log_number("peer_uid", peer->uid),
                                     kek_log_number("peer_pid", (uint64_t)peer->pid)),
                      "connection cut: %s", why);
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
    close_handle((uv_handle_t *)&daemon->counts);
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
    kek_node_status_free(daemon->status);
    daemon->status = NULL;
    if (daemon->store != NULL) {
        kek_datakey_store_stop(daemon->store);
    }
    if (daemon->ring != NULL) {
        kek_keyring_stop(daemon->ring);
        audit_keyring(daemon); /* what was heard last */
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

static void reload(struct daemon *daemon)
{
    if (daemon->audit != NULL) {
        kek_audit_reopen(daemon->audit);
    }
    if (daemon->status != NULL) {
        kek_node_status_reload(daemon->status);
    }
}

static void signalled(uv_signal_t *handle, int number)
{
    struct daemon *daemon = handle->data;
    if (number == SIGHUP) {
        reload(daemon);
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
        .logged_in = logged_in,
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

static enum kek_rc start_status(struct daemon *daemon, struct kek_why *why)
{
    struct kek_node_status_settings settings = {
        .config = daemon->config,
        .pool = daemon->pool,
        .ring = daemon->ring,
        .kms = daemon->kms,
    };
    daemon->status = kek_node_status_new(&daemon->loop, &settings, why);
    return daemon->status == NULL ? why->rc : kek_node_status_listen(daemon->status, why);
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
        .status = daemon->status,
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
        .cut = connection_cut,
        .max_message = KEK_GRPC_MAX_MESSAGE,
        .max_streams = KEK_GRPC_MAX_STREAMS,
        .max_connections = KEK_GRPC_MAX_CONNECTIONS,
        .max_header_list = KEK_GRPC_MAX_HEADER_LIST,
        .default_timeout_ms = CALL_TIMEOUT_MS,
    };
    grpc.methods = kek_kms_methods(&grpc.method_count);
    daemon->grpc = kek_grpc_server_new(&daemon->loop, &grpc, why);
    if (daemon->grpc == NULL) {
        return why->rc;
    }
    enum kek_rc rc = start_status(daemon, why);
    return rc == KEK_OK ? start_metrics(daemon, why) : rc;
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
    kek_log_with(KEK_LOG_INFO,
                 KEK_LOG_FIELDS(kek_log_text("keyring", config->keyring),
                                kek_log_number("providers", config->provider_count)),
                 "serving on %s%s", config->listen,
                 kek_listen_inherited(daemon->listen) ? " (inherited socket)" : "");
    return KEK_OK;
}

static void each_second(uv_timer_t *timer)
{
    struct daemon *daemon = timer->data;
    struct kek_node_status_stats stats = {0};
    kek_log_often_count(false);
    if (daemon->status != NULL) {
        kek_node_status_stats(daemon->status, &stats);
    }
    if (stats.listens) {
        warnings_of_certificate(&daemon->warnings, daemon->config, stats.expires,
                                kek_clock_wall_ms() / 1000);
    }
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
    uv_timer_init(&daemon->loop, &daemon->counts);
    daemon->counts.data = daemon;
    uv_timer_start(&daemon->counts, each_second, COUNTS_MS, COUNTS_MS);
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
    kek_log_often_count(true);
    kek_log(KEK_LOG_INFO, "stopped");
    return daemon.exit_code;
}
