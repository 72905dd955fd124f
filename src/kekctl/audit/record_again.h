/*
 * The record of the audit log's chain again, once the last line was read: there are no lines that it has not.  And those of
 * other keyrings beside it, which may write to the same file.
 *
 * No lock is taken.  Who writes to a file does so before the record, so it is looked at until it has come so far: LOOKS times,
 * LOOK_US apart.  Blocks so long.
 */
#ifndef KEKCTL_AUDIT_RECORD_AGAIN_H
#define KEKCTL_AUDIT_RECORD_AGAIN_H

#include "check.h"

/* Before any line is read: the records of all keyrings beside this path. */
void record_before(struct check *check, const char *path);
/* path: of the record.  Where it cannot be read any more, nothing is said of lines that it may not have. */
void record_again(struct check *check, const char *path);

#endif
