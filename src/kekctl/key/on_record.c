/* What kekctl puts on record. */
#include "on_record.h"

bool ctl_audit_open(const struct ctl *ctl, const struct kek_config *config, int *fd)
{
    struct kek_why why;
    *fd = -1;
    if (config->audit_file == NULL) {
        return true;
    }
    *fd = kek_audit_act_open(config->audit_file, &why);
    if (*fd < 0) {
        ctl_say(ctl, "nothing was done, since it could not be put on record: %s", why.text);
    }
    return *fd >= 0;
}

bool ctl_audit(const struct ctl *ctl, int fd, const struct kek_audit_act *act)
{
    struct kek_why why;
    if (fd < 0 || kek_audit_act(fd, act, &why) == KEK_OK) {
        return true;
    }
    ctl_say(ctl, "what was done is not on record: %s", why.text);
    return false;
}
