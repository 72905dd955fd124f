/* One kekctl of a node changes keys at a time: two that each look first would each find the other's version
 * still active. */
#include "changes.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <unistd.h>

#include "kek/durable.h"

bool changes_lock(const struct kek_config *config, int *fd, struct kek_why *why)
{
    char path[PATH_MAX];
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    int len = snprintf(path, sizeof path, "%s/%s.changing", config->state_dir, config->keyring);
    if (len < 0 || (size_t)len >= sizeof path) {
        kek_fail(why, KEK_INVALID, "state_dir: the path is too long");
        return false;
    }
    KEK_AUTO_CLOSE int lock = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (lock < 0) {
        kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno, "opening %s",
                        path);
        return false;
    }
    kek_durable_give(path, lock);
    if (fcntl(lock, F_SETLK, &whole) != 0) {
        int error = errno;
        bool held = (error == EACCES || error == EAGAIN) && fcntl(lock, F_GETLK, &whole) == 0 &&
                    whole.l_type != F_UNLCK;
        if (held) {
            kek_fail(why, KEK_UNAVAILABLE,
                     "another kekctl changes keys of keyring %s (pid %d): wait for its end",
                     config->keyring, (int)whole.l_pid);
        } else {
            kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)error,
                            "locking %s", path);
        }
        return false;
    }
    *fd = lock;
    lock = -1;
    return true;
}
