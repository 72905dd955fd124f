/*
 * A rotation of this node, on record in state_dir/KEYRING.rotation from its claim to its end: other nodes see it
 * on this node's status page, and whoever runs after a kill goes on from it.
 *
 * One at a time on a node: KEYRING.rotation.lock is locked meanwhile, and is gone afterwards.  Both belong to the
 * folder's owner, since kekd reads them.  Blocks.
 */
#ifndef KEKCTL_ROTATION_FILE_H
#define KEKCTL_ROTATION_FILE_H

#include <limits.h>

#include "kek/lock_file.h"
#include "rotation.h"

struct rotation_file {
    char path[PATH_MAX], lock_path[PATH_MAX + 8];
    const char *node; /* borrowed: this node's name */
    struct kek_lock lock;
};

/* Takes the lock and reads what is on record; *progress is zeroed if nothing is.  KEK_UNAVAILABLE: another
 * rotation runs on this node, and why says how far it is; KEK_DAMAGED: the file is not one, and why says what
 * to do; others as reading and locking fail. */
enum kek_rc rotation_file_open(struct rotation_file *file, const struct kek_config *config,
                               const char *node, struct rotation_progress *progress,
                               struct kek_why *why) KEK_MUST_CHECK;
/* Reads it, and takes no lock: for who changes nothing. */
enum kek_rc rotation_file_look(struct rotation_file *file, const struct kek_config *config,
                               const char *node, struct rotation_progress *progress,
                               struct kek_why *why) KEK_MUST_CHECK;
enum kek_rc rotation_file_write(const struct rotation_file *file,
                                const struct rotation_progress *progress,
                                struct kek_why *why) KEK_MUST_CHECK;
/* The rotation has ended, or gives way to another. */
enum kek_rc rotation_file_remove(const struct rotation_file *file,
                                 struct kek_why *why) KEK_MUST_CHECK;
/* Gives up the lock. What is on record stays. */
void rotation_file_close(struct rotation_file *file);

#endif
