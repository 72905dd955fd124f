/*
 * A small file that a crash never tears: written beside it, synced, renamed over it, folder synced.
 *
 * kek_durable_write() works on libuv's thread pool and never blocks the loop; it copies what it is
 * given.  Writes to one path are the caller's to order: one at a time.  Reading is for start-up.
 */
#ifndef KEK_DURABLE_H
#define KEK_DURABLE_H

#include <uv.h>

#include "kek/bytes.h"

typedef void kek_durable_done_fn(void *arg, enum kek_rc rc, const struct kek_why *why);

/* mode 0600. `done` runs on the loop, once, never before this returns; on failure to begin, it is
 * not called and rc says why. */
enum kek_rc kek_durable_write(uv_loop_t *loop, const char *path, struct kek_bytes content,
                              kek_durable_done_fn *done, void *arg,
                              struct kek_why *why) KEK_MUST_CHECK;

/* The same in a folder that the caller holds open until then, whatever the path's folder is by now: the path's last part is the
 * file's name there, and all of it stands in messages. */
enum kek_rc kek_durable_write_in(uv_loop_t *loop, int folder, const char *path,
                                 struct kek_bytes content, kek_durable_done_fn *done, void *arg,
                                 struct kek_why *why) KEK_MUST_CHECK;

/* As kek_durable_write(), here and now: for a program without a loop. Blocks. */
enum kek_rc kek_durable_write_now(const char *path, struct kek_bytes content,
                                  struct kek_why *why) KEK_MUST_CHECK;

/* May root write that file, and give it away, in a folder of somebody else's?  A regular one of the folder's owner, or root's own
 * with this name alone: who owns the folder may have linked any other into it.  KEK_DENIED: no.  For others than root all is well. */
enum kek_rc kek_durable_is_ours(const char *path, int fd, struct kek_why *why) KEK_MUST_CHECK;

/* What root makes in a folder of somebody else's becomes that user's, who may have to write it the next
 * time.  What is written here is given so already. KEK_DENIED: see above; nothing was given. */
enum kek_rc kek_durable_give(const char *path, int fd, struct kek_why *why) KEK_MUST_CHECK;

/* Where it was made, so that its name outlasts a power cut, too: a file's own sync is of what is in it. Blocks. */
enum kek_rc kek_durable_sync_folder(const char *path, struct kek_why *why) KEK_MUST_CHECK;

/* The same, of an open file that is empty: it may just have been made.  Where the folder may not be read, the file itself is
 * synced. */
enum kek_rc kek_durable_keep_name(const char *path, int fd, struct kek_why *why) KEK_MUST_CHECK;

/* Reads a whole regular file of at most max bytes. KEK_NOT_FOUND if there is none. Blocks. What comes
 * is added to `content`. */
enum kek_rc kek_durable_read(const char *path, size_t max, struct kek_buf *content,
                             struct kek_why *why) KEK_MUST_CHECK;

/* Is the folder, or the nearest one above it that exists, on a file system that lives in memory? */
bool kek_durable_forgets(const char *folder);

#endif
