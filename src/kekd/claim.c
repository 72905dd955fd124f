#include "kekd/claim.h"

#include <limits.h>

#include "kek/lock_file.h"

enum kek_rc claim_state(const struct kek_config *config, int *fd, struct kek_why *why)
{
    char path[PATH_MAX];
    pid_t holder;
    *fd = -1;
    if (config->root_count == 0) {
        return KEK_OK;
    }
    enum kek_rc rc = kek_config_state_file(config, "lock", path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = kek_lock_file_take_for_process(path, fd, &holder, why);
    if (rc == KEK_UNAVAILABLE) {
        return kek_fail(
            why, KEK_UNAVAILABLE,
            "%s: another kekd uses this state_dir for keyring %s (pid %d), with roots of "
            "trust of other names or none: each needs one of its own",
            path, kek_config_file_keyring(config), (int)holder);
    }
    return rc;
}
