/*
 * One at a time: a lock on a file that stands beside what it is for.
 *
 * A lock is held as long as its descriptor is open, so it ends with the process however that ends; no program that the
 * process starts inherits it.  The file is made if it is not there, and stays.  Nothing waits.
 */
#ifndef KEK_LOCK_FILE_H
#define KEK_LOCK_FILE_H

#include <sys/types.h>

#include "kek/rc.h"

/* KEK_UNAVAILABLE, and nothing else is: another holds it, in this process or another (flock(2)). A file that its
 * holder removes under the lock is no lock any more: the next one makes it anew. */
enum kek_rc kek_lock_file_take(const char *path, int *fd, struct kek_why *why) KEK_MUST_CHECK;

/* The same among processes alone, whose number is in *holder where it is KEK_UNAVAILABLE (fcntl(2), F_SETLK): who
 * opens and closes the file once more in this process drops the lock. */
enum kek_rc kek_lock_file_take_for_process(const char *path, int *fd, pid_t *holder,
                                           struct kek_why *why) KEK_MUST_CHECK;

#endif
