/* What the rooms tell each other, and people. */
#include "kekd/rooms.h"

#include <stdio.h>
#include <string.h>

#include "kek/text.h"

bool tell_may_serve(void *arg, size_t provider, uint64_t worker, enum kek_pool_op op,
                    const struct kek_id *kek_id)
{
    const struct root *root = arg;
    return root->ring != NULL && kek_keyring_may(root->ring, provider, worker, op, kek_id);
}

bool tell_is_judged(void *arg, size_t provider, uint64_t worker)
{
    const struct root *root = arg;
    return root->ring != NULL && kek_keyring_judged(root->ring, provider, worker);
}

void tell_provider_changed(void *arg, size_t provider)
{
    static const char *const words[] = {
        [KEK_POOL_STARTING] = "starting",
        [KEK_POOL_READY] = "ready",
        [KEK_POOL_DOWN] = "down",
        [KEK_POOL_PIN_REFUSED] = "pin-refused",
    };
    static const struct kek_why none;
    struct root *root = arg;
    struct daemon *daemon = root->daemon;
    struct kek_pool_provider status;
    kek_pool_provider_get(root->pool, provider, &status);
    struct told *told = &daemon->told[root->provider + provider];
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
                 kek_text_after_name(why->text, status.name));
    warnings_of_provider(&root->warnings, root->config, root->pool, provider);
    kek_keyring_provider_changed(root->ring, provider);
}

void tell_logged_in(void *arg, const struct kek_pool_login *login)
{
    const struct root *root = arg;
    if (root->daemon->audit != NULL) {
        kek_audit_login(root->daemon->audit, root->config, login);
    }
}

void tell_notice(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                 const char *text)
{
    (void)arg;
    kek_log_with(level, fields, "%s", text);
}

/* Fields stay as they are: what names the root is the text. */
void tell_root_notice(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                      const char *text)
{
    const struct root *root = arg;
    bool named = root->config->root[0] != '\0';
    kek_log_with(level, fields, "%s%s%s", root->config->root, named ? ": " : "", text);
}

void tell_call_ended(void *arg, const struct kek_kms_event *event)
{
    struct daemon *daemon = arg;
    kek_metrics_observe(daemon->metrics, event);
    if (daemon->audit != NULL) {
        kek_audit_call(daemon->audit, event);
    }
}

void tell_transport_numbers(void *arg, struct kek_metrics_transport *numbers)
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

void tell_audit(struct daemon *daemon)
{
    struct kek_keyring_version versions[KEK_AUDIT_VERSIONS_MAX];
    struct kek_keyring_primary primary;
    struct kek_keyring_verdict verdict;
    if (daemon->audit == NULL || daemon->roots == NULL) {
        return;
    }
    bool announced = kek_roots_primary(daemon->roots, &primary);
    kek_roots_verdict(daemon->roots, &verdict);
    size_t count = kek_roots_versions(daemon->roots, versions, KEK_AUDIT_VERSIONS_MAX);
    kek_audit_keyring(daemon->audit, daemon->config, announced ? &primary : NULL, versions, count,
                      &verdict);
}

static void tell_people(struct daemon *daemon)
{
    struct kek_keyring_primary primary;
    struct kek_keyring_verdict verdict;
    char how[KEK_NOTIFY_STATUS_MAX], line[KEK_NOTIFY_STATUS_MAX + 64];
    bool announced = kek_roots_primary(daemon->roots, &primary);
    kek_roots_verdict(daemon->roots, &verdict);
    bool but =
        verdict.state == KEK_KEYRING_GOOD && kek_roots_remarks(daemon->roots, &verdict, 1) == 1;
    kek_keyring_verdict_text(&verdict, how, sizeof how);
    snprintf(line, sizeof line, "KEK version %u, %s%s",
             announced ? primary.generation.numbers[0] : 0, but ? "ok, to be mended: " : "", how);
    kek_notify_status(daemon->notify, line);
}

void tell_keyring_changed(void *arg)
{
    const struct root *root = arg;
    if (root->daemon->roots != NULL) {
        kek_roots_review(root->daemon->roots);
    }
}

void tell_roots_changed(void *arg)
{
    struct daemon *daemon = arg;
    kek_datakey_review(daemon->store);
    tell_audit(daemon);
    if (!daemon->stopping) {
        warnings_of_state(&daemon->warnings, daemon->config, daemon->roots);
        tell_people(daemon);
    }
}

static struct daemon *the_daemon;

void tell_start(struct daemon *daemon)
{
    the_daemon = daemon;
}

void tell_call_rejected(void *service, const struct kek_rpc_peer *peer, const char *path,
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

void tell_connection_cut(void *service, const struct kek_rpc_peer *peer, const char *why)
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
