/* One kekctl of a node changes keys at a time: two that each look first would each find the other's version
 * still active. */
#include "changes.h"

#include <limits.h>
#include <stdio.h>

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

bool changes_no_rotation(const struct kek_config *config, struct kek_why *why)
{
    char path[PATH_MAX], lock[PATH_MAX + 8], pid[32] = "";
    if (kek_config_state_file(config, "rotation", path, why) != KEK_OK) {
        return false;
    }
    snprintf(lock, sizeof lock, "%s.lock", path);
    struct kek_lock_holder holder = kek_lock_look(lock);
    if (!holder.there) {
        return true;
    }
    if (holder.pid > 0) {
        snprintf(pid, sizeof pid, ", pid %d", (int)holder.pid);
    }
    kek_fail(why, KEK_UNAVAILABLE,
             "a rotation of keyring %s runs on this node (kekctl key rotate%s), and decides which "
             "version is next: let it end, or interrupt it; run again, it goes on from there",
             config->keyring, pid);
    return false;
}
