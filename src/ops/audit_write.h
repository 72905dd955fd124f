/*
 * Writing into the audit log: chained lines, and the lines that the store itself has to say.
 *
 * Under the lock of the record, which is written with them; the store's `end` moves on.  Blocks.
 */
#ifndef KEK_OPS_AUDIT_WRITE_H
#define KEK_OPS_AUDIT_WRITE_H

#include "audit_store.h"

/* Writes `len` bytes of chained lines, which are in store->out. *whole: bytes of them that are in the log, lines all of
 * them; `all`: of a file, none or all.  KEK_UNAVAILABLE: the rest may be written later. */
enum kek_rc audit_write(struct audit_store *store, size_t len, bool all, size_t *whole,
                        struct kek_why *why) KEK_MUST_CHECK;

/* What is not as it must be, in a line of its own.  Rcs as above, and KEK_NO_MEMORY. */
enum kek_rc audit_write_broken(struct audit_store *store, const char *error,
                               struct kek_why *why) KEK_MUST_CHECK;

/* Lines that are missing, by the count on record. Rcs as above. */
enum kek_rc audit_write_dropped(struct audit_store *store, const struct kek_audit_owed *owed,
                                struct kek_why *why) KEK_MUST_CHECK;

/* What the file ends with, at once, so that none of it is told without the other: the piece of a line that a process left
 * is ended, so that it spoils only itself, and told; and what is not as it must be.  Either may be empty, not both.  `piece`
 * is in store->out.  Rcs as above. */
enum kek_rc audit_write_found(struct audit_store *store, struct kek_bytes piece, const char *error,
                              struct kek_why *why) KEK_MUST_CHECK;

#endif
