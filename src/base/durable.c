#include "kek/durable.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/vfs.h>

#include <linux/magic.h>

#include "kek/descriptors.h"
#include "kek/small_file.h"

#define PATH_BYTES 4096

/* One write, carried to libuv's thread pool and back. */
struct write_job {
    uv_work_t work;
    int folder; /* AT_FDCWD: the one that the path names */
    char path[PATH_BYTES];
    struct kek_buf content;
    kek_durable_done_fn *done;
    void *arg;
    enum kek_rc rc;
    struct kek_why why;
};

static enum kek_rc write_all(int fd, struct kek_bytes content, const char *path,
                             struct kek_why *why)
{
    if (!kek_descriptor_write(fd, content.data, content.len)) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "writing %s.new", path);
    }
    if (fsync(fd) != 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "syncing %s.new", path);
    }
    return KEK_OK;
}

static void folder_of(const char *path, char folder[static PATH_BYTES])
{
    const char *slash = strrchr(path, '/');
    if (slash == NULL) {
        memcpy(folder, ".", 2);
    } else {
        size_t len = slash == path ? 1 : (size_t)(slash - path);
        memcpy(folder, path, len);
        folder[len] = '\0';
    }
}

static void give(const struct stat *folder, int fd)
{
    if (geteuid() == 0 && folder->st_uid != 0) {
        (void)!fchown(fd, folder->st_uid, folder->st_gid);
    }
}

/* Is it root that is in somebody else's folder? */
static bool is_guest(const char *path, struct stat *folder_is)
{
    char folder[PATH_BYTES];
    folder_of(path, folder);
    return geteuid() == 0 && stat(folder, folder_is) == 0 && folder_is->st_uid != 0;
}

/* One with this name alone may be the owner's all the same: of a folder that was restored, or given to another user. */
static enum kek_rc refuse(const char *path, const struct stat *is, const struct stat *folder,
                          struct kek_why *why)
{
    unsigned uid = (unsigned)is->st_uid, owner = (unsigned)folder->st_uid;
    if (!S_ISREG(is->st_mode)) {
        return kek_fail(why, KEK_DENIED,
                        "%s is left alone: it is no regular file; find out who put it there", path);
    }
    if (is->st_nlink == 1) {
        return kek_fail(why, KEK_DENIED,
                        "%s is left alone: it is uid %u's, and its folder is uid %u's; if it is "
                        "kekd's, as after a restore: chown %u %s",
                        path, uid, owner, owner, path);
    }
    return kek_fail(why, KEK_DENIED,
                    "%s is left alone: it is uid %u's and has %lu names, so it may be another file "
                    "that was linked here; find out who did that, and remove this name",
                    path, uid, (unsigned long)is->st_nlink);
}

enum kek_rc kek_durable_is_ours(const char *path, int fd, struct kek_why *why)
{
    struct stat folder, st;
    if (!is_guest(path, &folder)) {
        return KEK_OK;
    }
    if (fstat(fd, &st) != 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "looking at %s", path);
    }
    bool own = st.st_uid == folder.st_uid || (st.st_uid == 0 && st.st_nlink == 1);
    return S_ISREG(st.st_mode) && own ? KEK_OK : refuse(path, &st, &folder, why);
}

enum kek_rc kek_durable_give(const char *path, int fd, struct kek_why *why)
{
    struct stat folder;
    enum kek_rc rc = kek_durable_is_ours(path, fd, why);
    if (rc == KEK_OK && is_guest(path, &folder)) {
        give(&folder, fd);
    }
    return rc;
}

enum kek_rc kek_durable_sync_folder(const char *path, struct kek_why *why)
{
    char folder[PATH_BYTES];
    folder_of(path, folder);
    KEK_AUTO_CLOSE int fd = open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
    if (fd < 0 || fsync(fd) != 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "syncing %s", folder);
    }
    return KEK_OK;
}

enum kek_rc kek_durable_keep_name(const char *path, int fd, struct kek_why *why)
{
    struct stat st;
    if (fstat(fd, &st) != 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "looking at %s", path);
    }
    if (st.st_size > 0) {
        return KEK_OK;
    }
    struct kek_why unsynced;
    enum kek_rc rc = kek_durable_sync_folder(path, &unsynced);
    /* A folder that may not be read, or that its file system does not sync: the file's own sync takes the name along, where
     * anything does. */
    bool cannot = rc != KEK_OK && (unsynced.code == EACCES || unsynced.code == EINVAL);
    if (rc == KEK_OK || (cannot && fsync(fd) == 0)) {
        return KEK_OK;
    }
    *why = unsynced;
    return rc;
}

/* What this process has just made. */
static void give_made(int folder, const char *path, int fd)
{
    char named[PATH_BYTES];
    struct stat st;
    folder_of(path, named);
    if ((folder == AT_FDCWD ? stat(named, &st) : fstat(folder, &st)) == 0) {
        give(&st, fd);
    }
}

static enum kek_rc sync_folder(int folder, const char *path, struct kek_why *why)
{
    if (folder == AT_FDCWD) {
        return kek_durable_sync_folder(path, why);
    }
    return fsync(folder) == 0
               ? KEK_OK
               : kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                                 "syncing the folder of %s", path);
}

/* Anew: what is there already is of a write that a crash ended, or somebody else's file under another name. */
static int make(int folder, const char *name)
{
    int fd = -1;
    for (int i = 0; fd < 0 && i < 2; i++) {
        fd = openat(folder, name, O_WRONLY | O_CREAT | O_EXCL | O_CLOEXEC | O_NOFOLLOW,
                    S_IRUSR | S_IWUSR);
        if (fd < 0 && (errno != EEXIST || i > 0 || unlinkat(folder, name, 0) != 0)) {
            return -1;
        }
    }
    return fd;
}

/* In the folder that is open, whose file the path names. */
static enum kek_rc write_to(int folder, const char *path, struct kek_bytes content,
                            struct kek_why *why)
{
    const char *slash = folder == AT_FDCWD ? NULL : strrchr(path, '/');
    const char *name = slash == NULL ? path : slash + 1;
    char beside[PATH_BYTES + 8];
    snprintf(beside, sizeof beside, "%s.new", name);
    KEK_AUTO_CLOSE int fd = make(folder, beside);
    if (fd < 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "creating %s.new", path);
    }
    give_made(folder, path, fd);
    enum kek_rc rc = write_all(fd, content, path, why);
    if (rc == KEK_OK && renameat(folder, beside, folder, name) != 0) {
        rc = kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                             "renaming %s.new to %s", path, path);
    }
    if (rc != KEK_OK) {
        (void)unlinkat(folder, beside, 0);
        return rc;
    }
    return sync_folder(folder, path, why);
}

/* The folder that the path names may become another one meanwhile: it is opened first, where it may be read. */
static enum kek_rc write_in(int folder, const char *path, struct kek_bytes content,
                            struct kek_why *why)
{
    char named[PATH_BYTES];
    if (strlen(path) >= PATH_BYTES) {
        return kek_fail(why, KEK_INVALID, "a path of %zu bytes is too long", strlen(path));
    }
    folder_of(path, named);
    KEK_AUTO_CLOSE int opened =
        folder == AT_FDCWD ? open(named, O_RDONLY | O_DIRECTORY | O_CLOEXEC) : -1;
    return write_to(opened >= 0 ? opened : folder, path, content, why);
}

enum kek_rc kek_durable_write_now(const char *path, struct kek_bytes content, struct kek_why *why)
{
    return write_in(AT_FDCWD, path, content, why);
}

static void run(uv_work_t *work)
{
    struct write_job *job = work->data;
    job->rc = write_in(job->folder, job->path, kek_buf_bytes(&job->content), &job->why);
}

static void finish(uv_work_t *work, int status)
{
    struct write_job *job = work->data;
    if (status != 0) {
        job->rc = kek_fail_native(&job->why, KEK_CANCELLED, KEK_NATIVE_UV, (unsigned long)-status,
                                  "writing %s was cancelled", job->path);
    }
    job->done(job->arg, job->rc, job->rc == KEK_OK ? NULL : &job->why);
    kek_buf_done(&job->content);
    free(job);
}

enum kek_rc kek_durable_write_in(uv_loop_t *loop, int folder, const char *path,
                                 struct kek_bytes content, kek_durable_done_fn *done, void *arg,
                                 struct kek_why *why)
{
    size_t len = strlen(path);
    if (len >= PATH_BYTES) {
        return kek_fail(why, KEK_INVALID, "a path of %zu bytes is too long", len);
    }
    struct write_job *job = calloc(1, sizeof *job);
    if (job == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", path);
    }
    job->folder = folder;
    memcpy(job->path, path, len + 1);
    kek_buf_init(&job->content, content.len);
    job->done = done;
    job->arg = arg;
    job->work.data = job;
    enum kek_rc rc = kek_buf_append(&job->content, content, why);
    if (rc == KEK_OK) {
        int queued = uv_queue_work(loop, &job->work, run, finish);
        if (queued == 0) {
            return KEK_OK;
        }
        rc = kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_UV, (unsigned long)-queued,
                             "cannot queue the write of %s", path);
    }
    kek_buf_done(&job->content);
    free(job);
    return rc;
}

enum kek_rc kek_durable_write(uv_loop_t *loop, const char *path, struct kek_bytes content,
                              kek_durable_done_fn *done, void *arg, struct kek_why *why)
{
    return kek_durable_write_in(loop, AT_FDCWD, path, content, done, arg, why);
}

enum kek_rc kek_durable_read(const char *path, size_t max, struct kek_buf *content,
                             struct kek_why *why)
{
    const struct kek_small_file file = {.what = "", .path = path, .max = max};
    return kek_small_file_read(&file, content, NULL, why);
}

bool kek_durable_forgets(const char *folder)
{
    char path[PATH_BYTES];
    struct statfs about;
    snprintf(path, sizeof path, "%s", folder);
    while (statfs(path, &about) != 0) {
        char *slash = strrchr(path, '/');
        if (slash == NULL || path[1] == '\0') {
            return false;
        }
        slash[slash == path ? 1 : 0] = '\0';
    }
    return about.f_type == TMPFS_MAGIC || about.f_type == RAMFS_MAGIC;
}
