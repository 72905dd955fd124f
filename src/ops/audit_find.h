/*
 * Where the audit log's chain stands, and in which file it goes on.
 *
 * Under the lock of the record.  What is not as it must be is told by a line, and never mended.  Blocks.
 */
#ifndef KEK_OPS_AUDIT_FIND_H
#define KEK_OPS_AUDIT_FIND_H

#include "audit_store.h"

/* A line tells of what is owed, and then it is not any more.  Goes over to the file that the path names, or is to name, unless that is the open one, or there is none and the chain
 * ends in the open one, which was renamed; then store->end is where the chain stands there.  A file that was left is in
 * store->left_fd.  KEK_DENIED: the chain goes on in a file that cannot be opened; KEK_UNAVAILABLE, KEK_NO_MEMORY. */
enum kek_rc audit_find_end(struct audit_store *store, struct kek_why *why) KEK_MUST_CHECK;

/* Before the file is left for another one: what is in it and not on record goes there, or is told where it stands, as a
 * piece of a line is.  What of it cannot be done is not. */
void audit_find_settle(struct audit_store *store);

/* Leaves the open file, to be synced, for `fd`, which is the store's then.  Of one that was removed the next append tells. */
void audit_find_go_over(struct audit_store *store, int fd);

#endif
