/* The audit log's file. */
#include <errno.h>
#include <fcntl.h>
#include <libgen.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_file.h"
#include "audit_tail.h"
#include "kek/auto.h"
#include "kek/durable.h"

static int open_as(const char *path, int how, struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd =
        open(path, O_RDWR | O_APPEND | how | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
             S_IRUSR | S_IWUSR);
    if (fd < 0) {
        kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "opening the audit file %s", path);
        return -1;
    }
    struct stat st;
    if (fstat(fd, &st) != 0 || !S_ISREG(st.st_mode)) {
        kek_fail(why, KEK_DENIED, "the audit file %s is not a regular file", path);
        return -1;
    }
    if ((st.st_nlink > 1 && kek_durable_is_ours(path, fd, why) != KEK_OK) ||
        kek_durable_keep_name(path, fd, why) != KEK_OK) {
        return -1;
    }
    int result = fd;
    fd = -1;
    return result;
}

/* kekd must be able to open it, and its user owns the folder.  The owner's own
 * file stays of a group that he cannot give it to: its mode lets no group in. */
static bool give(int fd, const char *path)
{
    struct stat around, made;
    KEK_AUTO_FREE char *copy = strdup(path);
    if (copy == NULL || stat(dirname(copy), &around) != 0 || fstat(fd, &made) != 0) {
        return false;
    }
    (void)!fchown(fd, (uid_t)-1, around.st_gid);
    return (made.st_uid == around.st_uid || fchown(fd, around.st_uid, (gid_t)-1) == 0) &&
           fsync(fd) == 0;
}

static enum kek_rc give_to_kekd(int fd, const char *path, struct kek_why *why)
{
    if (give(fd, path)) {
        return KEK_OK;
    }
    enum kek_rc rc =
        kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "giving the new audit file %s to the owner of its folder", path);
    unlink(path);
    return rc;
}

static int make_given(const char *path, struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd = open_as(path, O_CREAT | O_EXCL, why);
    if (fd < 0 || give_to_kekd(fd, path, why) != KEK_OK) {
        return -1;
    }
    int result = fd;
    fd = -1;
    return result;
}

int audit_file_open(const char *path, enum audit_file_missing missing, struct kek_why *why)
{
    int fd = open_as(path, missing == AUDIT_FILE_MAKE ? O_CREAT : 0, why);
    if (fd >= 0 || missing != AUDIT_FILE_GIVE || why->code != ENOENT) {
        return fd;
    }
    fd = make_given(path, why);
    return fd < 0 && why->code == EEXIST ? open_as(path, 0, why) : fd;
}

enum audit_file_at audit_file_at(const char *path, int fd)
{
    struct stat named, open_one;
    if (lstat(path, &named) != 0) {
        return errno == ENOENT ? AUDIT_FILE_NONE : AUDIT_FILE_OTHER;
    }
    bool same = fstat(fd, &open_one) == 0 && named.st_dev == open_one.st_dev &&
                named.st_ino == open_one.st_ino;
    return same ? AUDIT_FILE_THIS : AUDIT_FILE_OTHER;
}

static size_t written_of(int fd, struct kek_bytes bytes)
{
    size_t done = 0;
    while (done < bytes.len) {
        ssize_t more = write(fd, bytes.data + done, bytes.len - done);
        if (more < 0 && errno == EINTR) {
            continue;
        }
        if (more <= 0) {
            errno = more == 0 ? ENOSPC : errno;
            break;
        }
        done += (size_t)more;
    }
    return done;
}

enum kek_rc audit_file_append(int fd, const char *path, struct kek_bytes lines, bool all,
                              size_t *whole, uint64_t *size, struct kek_why *why)
{
    struct stat st;
    *whole = 0;
    if (fstat(fd, &st) != 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "looking at %s", path);
    }
    size_t done = written_of(fd, lines);
    int error = errno;
    *whole = all && done < lines.len ? 0 : audit_tail_whole((const char *)lines.data, done);
    *size = (uint64_t)st.st_size + *whole;
    if (*whole < done) {
        (void)!ftruncate(fd, (off_t)*size);
    }
    if (done < lines.len) {
        *size = 0; /* what is there now is looked at again */
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)error,
                               "writing %s", path);
    }
    return KEK_OK;
}
