/* What is worth an audit line: calls, logins, and what of the keyring is not as it was. */
#include <string.h>

#include "audit_log.h"
#include "kek/clock.h"

void kek_audit_call(struct kek_audit *audit, const struct kek_kms_event *event)
{
    bool poll = event->method == KEK_KMS_V2_STATUS || event->method == KEK_KMS_V1_VERSION;
    if (poll && event->status == KEK_RPC_OK) {
        return;
    }
    struct audit_stamp *stamp;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL ? 0 : audit_line_call(line, stamp, event));
}

static bool rejects_too_often(struct audit_seen *seen)
{
    uint64_t second = kek_clock_ms() / 1000;
    if (second != seen->rejected_in) {
        seen->rejected_in = second;
        seen->rejected = 0;
    }
    return ++seen->rejected > KEK_AUDIT_REJECTED_RATE;
}

void kek_audit_rejected(struct kek_audit *audit, const struct kek_rpc_peer *peer, const char *path,
                        enum kek_rpc_status status, const char *message)
{
    bool dropped = rejects_too_often(audit_seen(audit));
    struct audit_stamp *stamp;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL || dropped
                         ? 0
                         : audit_line_rejected(line, stamp, peer, path, status, message));
}

void kek_audit_login(struct kek_audit *audit, const struct kek_config *config,
                     const struct kek_pool_login *login)
{
    const char *provider = config->providers[login->provider].name;
    struct audit_stamp *stamp;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit,
              line == NULL ? 0 : audit_line_login(line, stamp, login, config->root, provider));
}

void kek_audit_mac(struct kek_audit *audit, const struct kek_audit_mac *mac)
{
    struct audit_stamp *stamp;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL ? 0 : audit_line_mac(line, stamp, mac));
}

void kek_audit_mac_failed(struct kek_audit *audit, const char *provider, const struct kek_why *why)
{
    struct audit_stamp *stamp;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL ? 0 : audit_line_mac_failed(line, stamp, provider, why));
}

void kek_audit_mac_none(struct kek_audit *audit)
{
    struct audit_stamp *stamp;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL ? 0 : audit_line_mac_none(line, stamp));
}

/* ---- the keyring: what is now, against what was said last ---- */

static const struct kek_keyring_version *find(const struct kek_keyring_version *versions,
                                              size_t count, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < count; i++) {
        if (kek_id_equal(&versions[i].kek_id, kek_id)) {
            return &versions[i];
        }
    }
    return NULL;
}

static void note_version(struct kek_audit *audit, const struct kek_keyring_version *version,
                         const char *provider, enum kek_keyring_key key)
{
    struct audit_stamp *stamp;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL ? 0 : audit_line_version(line, stamp, version, provider, key));
}

static void note_canary(struct kek_audit *audit, const struct kek_keyring_version *version,
                        const char *provider, bool fails)
{
    struct audit_stamp *stamp;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL ? 0 : audit_line_canary(line, stamp, version, provider, fails));
}

/* A line for each provider that holds it otherwise than before, that holds what came to be surplus, or that came to
 * fail to open what it shows as fit. */
static void watch_version(struct kek_audit *audit, const struct kek_config *config,
                          const struct kek_keyring_version *version,
                          const struct kek_keyring_version *before)
{
    for (size_t p = 0; p < config->provider_count; p++) {
        enum kek_keyring_key was = before == NULL ? KEK_KEYRING_KEY_UNSEEN : before->held[p];
        bool turned = before != NULL && version->surplus != before->surplus &&
                      version->held[p] > KEK_KEYRING_KEY_GONE;
        if (version->held[p] != was || turned) {
            note_version(audit, version, config->providers[p].name, version->held[p]);
        }
        if (version->canary[p].fails != (before != NULL && before->canary[p].fails)) {
            note_canary(audit, version, config->providers[p].name, version->canary[p].fails);
        }
    }
}

/* The keyring keeps no version for ever that no provider holds. */
static void watch_forgotten(struct kek_audit *audit, const struct kek_config *config,
                            const struct kek_keyring_version *before)
{
    for (size_t p = 0; p < config->provider_count; p++) {
        if (before->held[p] > KEK_KEYRING_KEY_GONE) {
            note_version(audit, before, config->providers[p].name, KEK_KEYRING_KEY_GONE);
        }
    }
}

static void watch_versions(struct kek_audit *audit, const struct kek_config *config,
                           const struct kek_keyring_version *versions, size_t count)
{
    struct audit_seen *seen = audit_seen(audit);
    count = count > KEK_AUDIT_VERSIONS_MAX ? KEK_AUDIT_VERSIONS_MAX : count;
    for (size_t i = 0; i < count; i++) {
        watch_version(audit, config, &versions[i],
                      find(seen->versions, seen->count, &versions[i].kek_id));
    }
    for (size_t i = 0; i < seen->count; i++) {
        if (find(versions, count, &seen->versions[i].kek_id) == NULL) {
            watch_forgotten(audit, config, &seen->versions[i]);
        }
    }
    memcpy(seen->versions, versions, count * sizeof versions[0]);
    seen->count = count;
}

static void watch_primary(struct kek_audit *audit, const struct kek_config *config,
                          const struct kek_keyring_primary *primary,
                          const struct kek_keyring_version *versions, size_t count)
{
    const char *roots[KEK_ENVELOPE_ENTRIES_MAX];
    struct audit_seen *seen = audit_seen(audit);
    struct audit_stamp *stamp;
    if (seen->announced && strcmp(seen->key_id, primary->generation.key_id) == 0) {
        return;
    }
    seen->announced = true;
    memcpy(seen->key_id, primary->generation.key_id, sizeof seen->key_id);
    for (size_t i = 0; i < primary->generation.count; i++) {
        roots[i] = kek_keyring_root_of(versions, count, &primary->generation.kek_ids[i]);
    }
    bool several = kek_config_root_count(config) > 1;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL ? 0 : audit_line_primary(line, stamp, primary, roots, several));
}

static void watch_health(struct kek_audit *audit, const struct kek_config *config,
                         const struct kek_keyring_verdict *verdict)
{
    struct audit_seen *seen = audit_seen(audit);
    struct audit_stamp *stamp;
    if (verdict->state == seen->state) {
        return;
    }
    seen->state = verdict->state;
    bool one = verdict->state != KEK_KEYRING_GOOD && verdict->provider < config->provider_count;
    const char *provider = one ? config->providers[verdict->provider].name : NULL;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL ? 0 : audit_line_health(line, stamp, verdict, provider));
}

void kek_audit_keyring(struct kek_audit *audit, const struct kek_config *config,
                       const struct kek_keyring_primary *primary,
                       const struct kek_keyring_version *versions, size_t count,
                       const struct kek_keyring_verdict *verdict)
{
    watch_versions(audit, config, versions, count);
    if (primary != NULL) {
        watch_primary(audit, config, primary, versions, count);
    }
    watch_health(audit, config, verdict);
}
