#include "kek/lock_file.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/sysmacros.h>
#include <time.h>
#include <unistd.h>

#include "kek/durable.h"
#include "kek/text.h"

#define PAUSE_MS 20u /* between two looks whether it is free */
#define TRIES 10     /* with a holder that was gone, or its file, once it was looked at */

static enum kek_rc open_file(const char *path, int *fd, struct kek_why *why)
{
    *fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY,
               S_IRUSR | S_IWUSR);
    if (*fd < 0) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening %s", path);
    }
    enum kek_rc rc = kek_durable_give(path, *fd, why);
    if (rc != KEK_OK) {
        close(*fd);
        *fd = -1;
    }
    return rc;
}

static enum kek_rc failed(const char *path, int code, struct kek_why *why)
{
    return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)code, "locking %s",
                           path);
}

/* Somebody may have removed the file: then what was locked here is nothing any more. */
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

enum kek_rc kek_lock_file_wait(const char *path, unsigned wait_ms, int *fd, struct kek_why *why)
{
    const struct timespec pause = {.tv_nsec = PAUSE_MS * 1000000L};
    enum kek_rc rc = kek_lock_file_take(path, fd, why);
    for (unsigned waited = 0; rc == KEK_UNAVAILABLE && waited < wait_ms; waited += PAUSE_MS) {
        nanosleep(&pause, NULL);
        rc = kek_lock_file_take(path, fd, why);
    }
    return rc;
}

/* Of a kind that tells who has it: among processes alone (fcntl(2), F_SETLK). *holder is 0 where it cannot be told. */
static enum kek_rc take_file(const char *path, int *fd, pid_t *holder, struct kek_why *why)
{
    for (unsigned i = 0; i < TRIES; i++) {
        struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
        KEK_AUTO_CLOSE int lock = -1;
        enum kek_rc rc = open_file(path, &lock, why);
        if (rc != KEK_OK) {
            return rc;
        }
        if (fcntl(lock, F_SETLK, &whole) == 0) {
            if (is_still(path, lock)) {
                *fd = lock;
                lock = -1;
                return KEK_OK;
            }
            continue;
        }
        if ((errno != EACCES && errno != EAGAIN) || fcntl(lock, F_GETLK, &whole) != 0) {
            return failed(path, errno, why);
        }
        if (whole.l_type != F_UNLCK) {
            *holder = whole.l_pid > 0 ? whole.l_pid : 0;
            return kek_fail(why, KEK_UNAVAILABLE, "another process holds %s", path);
        }
    }
    return failed(path, EAGAIN, why);
}

/* A byte of the folder, which has none, by the file's name (FNV-1a). */
static struct flock place_of(const char *name, short type)
{
    uint64_t hash = UINT64_C(0xcbf29ce484222325);
    for (; *name != '\0'; name++) {
        hash = (hash ^ (uint8_t)*name) * UINT64_C(0x100000001b3);
    }
    return (struct flock){.l_type = type,
                          .l_whence = SEEK_SET,
                          .l_start = (off_t)(hash % (INT32_MAX - 1)),
                          .l_len = 1};
}

static int open_folder(const char *path, char folder[static PATH_MAX])
{
    const char *name = strrchr(path, '/');
    int len = name == NULL ? 0 : (int)(name - path + 1);
    snprintf(folder, PATH_MAX, "%.*s", len == 0 ? 1 : len, len == 0 ? "." : path);
    return open(folder, O_RDONLY | O_DIRECTORY | O_CLOEXEC);
}

static const char *name_in(const char *path)
{
    const char *slash = strrchr(path, '/');
    return slash == NULL ? path : slash + 1;
}

/* What is open for reading alone cannot be locked for writing: each locks for reading, and then asks whether another
 * does.  Where the file system knows no such locks it is open and no more. */
static enum kek_rc take_folder(const char *path, int *fd, struct kek_why *why)
{
    char folder[PATH_MAX];
    struct flock mine = place_of(name_in(path), F_RDLCK), others = place_of(name_in(path), F_WRLCK);
    KEK_AUTO_CLOSE int lock = open_folder(path, folder);
    if (lock < 0) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening %s", folder);
    }
    bool locks = fcntl(lock, F_OFD_SETLK, &mine) == 0 && fcntl(lock, F_OFD_GETLK, &others) == 0;
    if (locks && others.l_type != F_UNLCK) {
        return kek_fail(why, KEK_UNAVAILABLE, "another process held %s, which was removed", path);
    }
    *fd = lock;
    lock = -1;
    return KEK_OK;
}

enum kek_rc kek_lock_take(const char *path, struct kek_lock *lock, char who[static KEK_LOCK_WHO],
                          struct kek_why *why)
{
    struct kek_lock taken = KEK_LOCK_NONE;
    pid_t holder = 0;
    enum kek_rc rc = take_file(path, &taken.file, &holder, why);
    if (rc == KEK_UNAVAILABLE && holder > 0) {
        snprintf(who, KEK_LOCK_WHO, "pid %d", (int)holder);
    } else if (rc == KEK_UNAVAILABLE) {
        snprintf(who, KEK_LOCK_WHO, "pid unknown: of another container or machine");
    }
    if (rc == KEK_OK) {
        rc = take_folder(path, &taken.folder, why);
        snprintf(who, KEK_LOCK_WHO, "pid unknown: its lock file was removed");
    }
    if (rc != KEK_OK) {
        kek_lock_release(&taken);
        return rc;
    }
    *lock = taken;
    return KEK_OK;
}

/* The folder's lock of a holder whose file was removed, or stands anew. */
static bool is_folder_held(const char *path, bool *hidden)
{
    char folder[PATH_MAX];
    struct flock held = place_of(name_in(path), F_WRLCK);
    KEK_AUTO_CLOSE int fd = open_folder(path, folder);
    *hidden = *hidden || (fd < 0 && errno == EACCES);
    return fd >= 0 && fcntl(fd, F_OFD_GETLK, &held) == 0 && held.l_type != F_UNLCK;
}

struct kek_lock_holder kek_lock_look(const char *path)
{
    struct kek_lock_holder holder = {.there = false};
    struct flock whole = {.l_type = F_WRLCK, .l_whence = SEEK_SET};
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    holder.hidden = fd < 0 && errno == EACCES;
    if (fd >= 0 && fcntl(fd, F_GETLK, &whole) == 0 && whole.l_type != F_UNLCK) {
        holder.there = true;
        holder.pid = whole.l_pid > 0 ? whole.l_pid : 0;
        return holder;
    }
    holder.there = is_folder_held(path, &holder.hidden);
    holder.hidden = holder.hidden && !holder.there;
    return holder;
}

void kek_lock_release(struct kek_lock *lock)
{
    /* The folder's first: who gets the file's finds it free. */
    if (lock->folder >= 0) {
        close(lock->folder);
    }
    if (lock->file >= 0) {
        close(lock->file);
    }
    *lock = KEK_LOCK_NONE;
}

/* "1: FLOCK  ADVISORY  WRITE 7 fe:00:42 0 EOF" (proc_locks(5)); who waits has "->" before the kind. */
static bool is_lock_of(const char *line, const char *place, pid_t *pid)
{
    const char *fields[6];
    size_t lens[6];
    for (size_t i = 0; i < 6; i++) {
        line += strspn(line, " ");
        fields[i] = line;
        lens[i] = strcspn(line, " \n");
        line += lens[i];
    }
    const char *digits = fields[4];
    uint64_t number = 0;
    if (lens[1] != strlen("FLOCK") || strncmp(fields[1], "FLOCK", lens[1]) != 0 ||
        lens[5] != strlen(place) || strncmp(fields[5], place, lens[5]) != 0 ||
        !kek_text_digits(&digits, INT32_MAX, &number)) {
        return false;
    }
    *pid = (pid_t)number;
    return true;
}

struct kek_lock_holder kek_lock_file_look(const char *path)
{
    struct kek_lock_holder holder = {.there = false};
    struct stat about;
    char line[256], place[64];
    if (stat(path, &about) != 0) {
        holder.hidden = errno == EACCES;
        return holder;
    }
    snprintf(place, sizeof place, "%02x:%02x:%llu", major(about.st_dev), minor(about.st_dev),
             (unsigned long long)about.st_ino);
    FILE *file = fopen("/proc/locks", "re");
    while (file != NULL && !holder.there && fgets(line, sizeof line, file) != NULL) {
        holder.there = is_lock_of(line, place, &holder.pid);
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return holder;
}
