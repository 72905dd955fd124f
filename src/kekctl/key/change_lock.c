/* One kekctl of a node changes keys at a time: two that each look first would each find the other's version
 * still active. */
#include "changes.h"

#include <limits.h>

bool changes_lock(const struct kek_config *config, struct kek_lock *lock, struct kek_why *why)
{
    char path[PATH_MAX], who[KEK_LOCK_WHO];
    enum kek_rc rc = kek_config_state_file(config, "changing", path, why);
    if (rc != KEK_OK) {
        return false;
    }
    rc = kek_lock_take(path, lock, who, why);
    if (rc == KEK_UNAVAILABLE) {
        kek_fail(why, KEK_UNAVAILABLE,
                 "another kekctl changes keys of keyring %s (%s): wait for its end",
                 config->keyring, who);
    }
    return rc == KEK_OK;
}
