/* What is worth an audit line: calls, and what of the keyring is not as it was. */
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

static void note_version(struct kek_audit *audit, uint32_t number, const char *state)
{
    struct audit_stamp *stamp;
    char *line = audit_begin(audit, &stamp);
    audit_end(audit, line == NULL ? 0 : audit_line_version(line, stamp, number, state));
}

static const struct audit_seen_version *find_seen(const struct audit_seen_version *versions,
                                                  size_t count, uint32_t number)
{
    for (size_t i = 0; i < count; i++) {
        if (versions[i].number == number) {
            return &versions[i];
        }
    }
    return NULL;
}

static void watch_versions(struct kek_audit *audit, const struct kek_keyring_version *versions,
                           size_t count)
{
    struct audit_seen *seen = audit_seen(audit);
    struct audit_seen_version now[KEK_AUDIT_VERSIONS_MAX];
    count = count > KEK_AUDIT_VERSIONS_MAX ? KEK_AUDIT_VERSIONS_MAX : count;
    for (size_t i = 0; i < count; i++) {
        now[i] = (struct audit_seen_version){versions[i].number, versions[i].state};
        const struct audit_seen_version *before =
            find_seen(seen->versions, seen->count, now[i].number);
        if (before == NULL || before->state != now[i].state) {
            note_version(audit, now[i].number, kek_state_name(now[i].state));
        }
    }
    for (size_t i = 0; i < seen->count; i++) {
        if (find_seen(now, count, seen->versions[i].number) == NULL) {
            note_version(audit, seen->versions[i].number, "gone");
        }
    }
    memcpy(seen->versions, now, count * sizeof now[0]);
    seen->count = count;
}

void kek_audit_keyring(struct kek_audit *audit, const struct kek_keyring_primary *primary,
                       const struct kek_keyring_version *versions, size_t count,
                       const struct kek_keyring_verdict *verdict)
{
    struct audit_seen *seen = audit_seen(audit);
    watch_versions(audit, versions, count);
    if (primary != NULL &&
        (!seen->announced || strcmp(seen->key_id, primary->generation.key_id) != 0)) {
        seen->announced = true;
        memcpy(seen->key_id, primary->generation.key_id, sizeof seen->key_id);
        struct audit_stamp *stamp;
        char *line = audit_begin(audit, &stamp);
        audit_end(audit, line == NULL ? 0 : audit_line_primary(line, stamp, primary));
    }
    if (verdict->state != seen->state) {
        seen->state = verdict->state;
        struct audit_stamp *stamp;
        char *line = audit_begin(audit, &stamp);
        audit_end(audit, line == NULL ? 0 : audit_line_health(line, stamp, verdict));
    }
}
