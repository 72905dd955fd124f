/* One kekctl of a node changes keys at a time: two that each look first would each find the other's version
 * still active. */
#include "changes.h"

#include <limits.h>
#include <stdio.h>

#include "kek/lock_file.h"

bool changes_lock(const struct kek_config *config, int *fd, struct kek_why *why)
{
    char path[PATH_MAX];
    pid_t holder;
    enum kek_rc rc = kek_config_state_file(config, "changing", path, why);
    if (rc != KEK_OK) {
        return false;
    }
    rc = kek_lock_file_take_for_process(path, fd, &holder, why);
    if (rc == KEK_UNAVAILABLE) {
        kek_fail(why, KEK_UNAVAILABLE,
                 "another kekctl changes keys of keyring %s (pid %d): wait for its end",
                 config->keyring, (int)holder);
    }
    return rc == KEK_OK;
}
