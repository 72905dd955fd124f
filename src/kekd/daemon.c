/* The rooms, wired together; start, serve, drain, stop. */
#include "kekd/daemon.h"

#include <signal.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/sandbox.h"
#include "kekd/claim.h"
#include "kekd/rooms.h"

#define CALL_TIMEOUT_MS 10000u /* where a client names none, and the most it may name */
#define COUNTS_MS 1000u        /* between looks at what was left out of the log, and at the clock */

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
    macs_close(&daemon->macs);
    socket_watch_close(&daemon->socket);
    reap_stop(&daemon->reap);
    kek_notify_free(daemon->notify);
    daemon->notify = NULL;
}

static void pool_closed(void *arg)
{
    struct daemon *daemon = arg;
    if (--daemon->pools_open > 0) {
        return;
    }
    if (daemon->audit == NULL) {
        finish(daemon);
        return;
    }
    kek_audit_stop(daemon->audit, finish, daemon);
}

/* One more stands for this call itself: a start may have failed before any pool. */
static void close_pools(struct daemon *daemon)
{
    daemon->pools_open = 1;
    for (size_t i = 0; i < daemon->root_count; i++) {
        daemon->pools_open += daemon->all[i].pool != NULL;
    }
    for (size_t i = 0; i < daemon->root_count; i++) {
        if (daemon->all[i].pool != NULL) {
            kek_pool_close(daemon->all[i].pool, pool_closed, daemon);
        }
    }
    pool_closed(daemon);
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
    for (size_t i = 0; i < daemon->root_count; i++) {
        if (daemon->all[i].ring != NULL) {
            kek_keyring_stop(daemon->all[i].ring);
        }
    }
    tell_audit(daemon); /* what was heard last */
    macs_stop(&daemon->macs);
    if (daemon->roots != NULL) {
        kek_roots_stop(daemon->roots);
    }
    close_pools(daemon);
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
    return daemon->notify == NULL ? why->rc : KEK_OK;
}

/* Only once the keyrings hold state_dir: its first line must not go into another kekd's chain. */
static enum kek_rc start_audit(struct daemon *daemon, struct kek_why *why)
{
    const struct kek_config *config = daemon->config;
    char head[PATH_MAX];
    if (kek_config_audit_log(config) == NULL) {
        return KEK_OK;
    }
    enum kek_rc rc = kek_config_state_file(config, "audit", head, why);
    if (rc != KEK_OK) {
        return rc;
    }
    const struct kek_audit_place place = {.file = config->audit_file,
                                          .head = head,
                                          .journal = config->audit_journal,
                                          .syslog = config->audit_syslog};
    daemon->audit = kek_audit_new(&daemon->loop, &place, NULL, why);
    return daemon->audit == NULL ? why->rc : KEK_OK;
}

static enum kek_rc start_root(struct root *root, struct kek_why *why)
{
    struct kek_pool_settings pool = {
        .config = root->config,
        .may = tell_may_serve,
        .judged = tell_is_judged,
        .provider_changed = tell_provider_changed,
        .logged_in = tell_logged_in,
        .arg = root,
    };
    root->pool = kek_pool_new(&root->daemon->loop, &pool, why);
    if (root->pool == NULL) {
        return why->rc;
    }
    struct kek_keyring_settings ring = {
        .config = root->config,
        .pool = root->pool,
        .claim = root->index == 0 ? &root->daemon->claim : NULL,
        .changed = tell_keyring_changed,
        .notice = tell_root_notice,
        .arg = root,
    };
    root->ring = kek_keyring_new(&root->daemon->loop, &ring, why);
    return root->ring == NULL ? why->rc : KEK_OK;
}

static enum kek_rc start_keys(struct daemon *daemon, struct kek_why *why)
{
    const struct kek_config *config = daemon->config;
    struct kek_roots_settings roots = {
        .config = config,
        .mode = config->mode == KEK_CONFIG_ALL ? KEK_ENVELOPE_MODE_ALL : KEK_ENVELOPE_MODE_ANY,
        .mode_accept =
            config->mode_accept == KEK_CONFIG_ALL ? KEK_ENVELOPE_MODE_ALL : KEK_ENVELOPE_MODE_ANY,
        .count = kek_config_root_count(config),
        .changed = tell_roots_changed,
        .notice = tell_notice,
        .arg = daemon,
    };
    enum kek_rc rc = claim_state(config, &daemon->claim, why);
    if (rc != KEK_OK) {
        return rc;
    }
    for (size_t provider = 0; daemon->root_count < roots.count;) {
        struct root *root = &daemon->all[daemon->root_count];
        *root = (struct root){.daemon = daemon,
                              .index = daemon->root_count,
                              .config = kek_config_view(config, daemon->root_count),
                              .provider = provider};
        daemon->root_count++;
        rc = start_root(root, why);
        if (rc != KEK_OK) {
            return rc;
        }
        const struct kek_config_root *said =
            config->root_count == 0 ? NULL : &config->roots[root->index];
        roots.roots[root->index] = (struct kek_root){.name = root->config->root,
                                                     .pool = root->pool,
                                                     .ring = root->ring,
                                                     .seals = said == NULL || said->seals,
                                                     .needed = said == NULL || said->needed,
                                                     .provider = provider};
        provider += root->config->provider_count;
    }
    daemon->roots = kek_roots_new(&daemon->loop, &roots, why);
    if (daemon->roots == NULL) {
        return why->rc;
    }
    struct kek_datakey_settings store = {.config = config, .roots = daemon->roots};
    daemon->store = kek_datakey_store_new(&daemon->loop, &store, why);
    return daemon->store == NULL ? why->rc : KEK_OK;
}

static enum kek_rc start_status(struct daemon *daemon, struct kek_why *why)
{
    struct kek_node_status_settings settings = {
        .config = daemon->config,
        .roots = daemon->roots,
        .kms = daemon->kms,
    };
    daemon->status = kek_node_status_new(&daemon->loop, &settings, why);
    return daemon->status == NULL ? why->rc : kek_node_status_listen(daemon->status, why);
}

static enum kek_rc start_metrics(struct daemon *daemon, struct kek_why *why)
{
    const struct kek_config *config = daemon->config;
    struct kek_metrics_settings settings = {
        .roots = daemon->roots,
        .store = daemon->store,
        .kms = daemon->kms,
        .audit = daemon->audit,
        .status = daemon->status,
        .transport = tell_transport_numbers,
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
        .roots = daemon->roots,
        .store = daemon->store,
        .observer = tell_call_ended,
        .arg = daemon,
    };
    daemon->kms = kek_kms_new(&kms, why);
    if (daemon->kms == NULL) {
        return why->rc;
    }
    struct kek_grpc_settings grpc = {
        .service = daemon->kms,
        .allowed = kek_kms_allowed,
        .rejected = tell_call_rejected,
        .cut = tell_connection_cut,
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
        rc = start_audit(daemon, why);
    }
    if (rc == KEK_OK) {
        rc = start_service(daemon, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    for (size_t i = 0; i < daemon->root_count; i++) {
        kek_pool_start(daemon->all[i].pool);
        kek_keyring_start(daemon->all[i].ring);
    }
    macs_start(&daemon->macs, daemon);
    rc = kek_grpc_server_listen(daemon->grpc, kek_listen_take(daemon->listen), why);
    if (rc != KEK_OK) {
        return rc;
    }
    socket_watch_start(&daemon->socket, daemon);
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
    daemon = (struct daemon){.config = config, .claim = KEK_LOCK_NONE};
    tell_start(&daemon);
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
    kek_roots_free(daemon.roots);
    for (size_t i = 0; i < daemon.root_count; i++) {
        kek_keyring_free(daemon.all[i].ring);
        kek_pool_free(daemon.all[i].pool);
    }
    kek_audit_free(daemon.audit);
    kek_listen_free(daemon.listen);
    kek_lock_release(&daemon.claim);
    uv_loop_close(&daemon.loop);
    kek_log_often_count(true);
    kek_log(KEK_LOG_INFO, "stopped");
    return daemon.exit_code;
}
