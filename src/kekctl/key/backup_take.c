/* The word about a backup, with its line in the audit log. */
#include "backup.h"
#include "on_record.h"

enum kek_rc backup_take(const struct ctl *ctl, const struct kek_config *config,
                        struct kek_audit_acts *acts, uint32_t version, struct kek_why *why)
{
    const struct kek_audit_act act = {
        .event = "backup", .outcome = "ok", .version = version, .said = "i-have-a-backup"};
    enum kek_rc rc = ctl_audit_put(ctl, acts, &act, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = backup_say(config, version, why);
    if (rc != KEK_OK) {
        struct kek_audit_act failed = act;
        failed.outcome = "failed";
        failed.why = why;
        ctl_audit(ctl, acts, &failed);
    }
    return rc;
}
