#include "kekd/claim.h"

#include <limits.h>

enum kek_rc claim_state(const struct kek_config *config, struct kek_lock *lock, struct kek_why *why)
{
    char path[PATH_MAX], who[KEK_LOCK_WHO];
    if (config->root_count == 0) {
        return KEK_OK;
    }
    enum kek_rc rc = kek_config_state_file(config, "lock", path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = kek_lock_take(path, lock, who, why);
    if (rc == KEK_UNAVAILABLE) {
        return kek_fail(why, KEK_UNAVAILABLE,
                        "%s: another kekd uses this state_dir for keyring %s (%s), with roots of "
                        "trust of other names or none: each needs one of its own",
                        path, kek_config_file_keyring(config), who);
    }
    return rc;
}
