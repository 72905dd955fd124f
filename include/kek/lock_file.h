/*
 * One at a time: a lock on a file that stands beside what it is for.
 *
 * A lock is held as long as its descriptor is open, so it ends with the process however that ends; no program that the
 * process starts inherits it.  The file is made if it is not there, and stays.  Nothing waits
 * but kek_lock_file_wait().
 */
#ifndef KEK_LOCK_FILE_H
#define KEK_LOCK_FILE_H

#include <stdbool.h>
#include <sys/types.h>

#include "kek/rc.h"

/* KEK_UNAVAILABLE, and nothing else is: another holds it, in this process or another (flock(2)). A file that is
 * removed under its lock is no lock any more: the next one makes it anew. */
enum kek_rc kek_lock_file_take(const char *path, int *fd, struct kek_why *why) KEK_MUST_CHECK;

/* The same, waited for: KEK_UNAVAILABLE after wait_ms. Blocks. */
enum kek_rc kek_lock_file_wait(const char *path, unsigned wait_ms, int *fd,
                               struct kek_why *why) KEK_MUST_CHECK;

/* A lock among processes that stands though somebody removes the file: it is on the file and, by the file's name, on
 * the folder (fcntl(2), F_SETLK and F_OFD_SETLK).  A file system that locks no folders has the file's alone.  Who opens
 * and closes the file once more in this process drops that one. */
struct kek_lock {
    int file;   /* -1: not held */
    int folder; /* open as long as it is held, also where its file system locks none */
};
#define KEK_LOCK_NONE ((struct kek_lock){.file = -1, .folder = -1})
#define KEK_LOCK_WHO 48

/* `who` says who holds it where it is KEK_UNAVAILABLE: "pid 7", or why that cannot be told. */
enum kek_rc kek_lock_take(const char *path, struct kek_lock *lock, char who[static KEK_LOCK_WHO],
                          struct kek_why *why) KEK_MUST_CHECK;
void kek_lock_release(struct kek_lock *lock);
#define KEK_AUTO_LOCK __attribute__((cleanup(kek_lock_release)))

struct kek_lock_holder {
    bool there;  /* another process holds it */
    bool hidden; /* whether one does this user may not see */
    pid_t pid;   /* 0: it cannot be told: the file was removed, or it is of another PID namespace */
};

/* Who holds a lock of kek_lock_take() now. Takes none; not for the process that has it. */
struct kek_lock_holder kek_lock_look(const char *path);

/* The same of kek_lock_file_take(), as /proc/locks has it: not there where the file system's number there is another. */
struct kek_lock_holder kek_lock_file_look(const char *path);

#endif
