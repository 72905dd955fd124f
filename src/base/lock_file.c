#include "kek/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <sys/file.h>
#include <sys/stat.h>

#include "kek/durable.h"

#define TRIES 10 /* with a holder that was gone, or its file, once it was looked at */

static enum kek_rc open_file(const char *path, int *fd, struct kek_why *why)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
               S_IRUSR | S_IWUSR);
    if (*fd < 0) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening %s", path);
    }
    kek_durable_give(path, *fd);
    return KEK_OK;
}

static enum kek_rc failed(const char *path, int code, struct kek_why *why)
{
    return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)code, "locking %s",
                           path);
}

/* Who holds the lock may remove the file under it: then what was locked here is nothing any more. */
static bool is_still(const char *path, int fd)
{
    struct stat locked, there;
    return fstat(fd, &locked) == 0 && stat(path, &there) == 0 && locked.st_ino == there.st_ino &&
           locked.st_dev == there.st_dev;
}

enum kek_rc kek_lock_file_take(const char *path, int *fd, struct kek_why *why)
{
    for (unsigned i = 0; i < TRIES; i++) {
        KEK_AUTO_CLOSE int lock = -1;
        enum kek_rc rc = open_file(path, &lock, why);
        if (rc != KEK_OK) {
            return rc;
        }
        if (flock(lock, LOCK_EX | LOCK_NB) != 0) {
            return errno != EWOULDBLOCK
                       ? failed(path, errno, why)
                       : kek_fail(why, KEK_UNAVAILABLE, "another process holds %s", path);
        }
        if (is_still(path, lock)) {
            *fd = lock;
            lock = -1;
            return KEK_OK;
        }
    }
    return failed(path, ESTALE, why);
}

enum kek_rc kek_lock_file_take_for_process(const char *path, int *fd, pid_t *holder,
                                           struct kek_why *why)
{
    KEK_AUTO_CLOSE int lock = -1;
    enum kek_rc rc = open_file(path, &lock, why);
    if (rc != KEK_OK) {
        return rc;
    }
    for (unsigned i = 0; i < TRIES; i++) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        if (fcntl(lock, F_SETLK, &whole) == 0) {
            *fd = lock;
            lock = -1;
            return KEK_OK;
        }
        if ((errno != EACCES && errno != EAGAIN) || fcntl(lock, F_GETLK, &whole) != 0) {
            return failed(path, errno, why);
        }
        if (whole.l_type != F_UNLCK) {
            *holder = whole.l_pid;
            return kek_fail(why, KEK_UNAVAILABLE, "process %d holds %s", (int)whole.l_pid, path);
        }
    }
    return failed(path, EAGAIN, why);
}
