/*
 * Chained lines, in the audit log: the one way there, for kekd's log and for an operator's acts.
 *
 * Lines are handed over as they were made and are chained as they are written, under the lock of the record in
 * state_dir (audit_head.h), so that kekd and kekctl write one chain between them.  What of a line is in the file
 * after a failed write is taken back; where a process ended in the middle of one, or the file does not end where
 * the record says, a line of its own tells.
 *
 * Lines go into the file and then on record.  Their end is put beside the record before that, so that those of a process
 * that ends between the two are known to be its own; who can write the file alone can put in none that pass for such.
 *
 * The file may be renamed at any time.  Who writes next goes on in it as long as the chain ends there and the path
 * names nothing, and else in what the path names, which is made if need be: so all of them leave a file for the same
 * one, at a line's end, and never come back.
 *
 * Without a file the log is a receiver (audit_receiver.h), which nobody can read here: only the record says where the
 * chain stands.  It is written before lines are sent, so that a process that ends between the two leaves a gap, and no
 * number is in the chain twice.  Blocks; one thread at a time.
 */
#ifndef KEK_OPS_AUDIT_STORE_H
#define KEK_OPS_AUDIT_STORE_H

#include "audit_file.h"
#include "audit_receiver.h"
#include "kek/audit_link.h"

#define AUDIT_STORE_RECEIVERS 2
/* About as much goes into one write, and then on record. */
#define AUDIT_STORE_CHUNK_BYTES (64 * 1024)
/* A chunk and its last line; more than what is not on record yet. */
#define AUDIT_STORE_OUT_BYTES (2 * AUDIT_STORE_CHUNK_BYTES)

struct audit_store {
    const struct kek_audit_place *place;
    const char *node;
    unsigned wait_ms; /* for another process that writes */
    enum audit_file_missing missing;
    int fd, head_fd;          /* fd: of the file; -1: there is none */
    int next_fd;              /* of the end of what is being written to a file; -1: there is none */
    int left_fd;              /* of a file that was left, and is still to be synced; -1: none */
    struct kek_audit_end end; /* of the chain, as it was last read or written */
    uint64_t size;            /* of the file after the last write; 0: not known */
    struct kek_audit_hasher hasher;
    char *out; /* of AUDIT_STORE_OUT_BYTES: chained lines on their way */
    struct audit_receiver receivers[AUDIT_STORE_RECEIVERS];
    struct audit_receiver *log; /* the one of them that has no file before it; NULL: none */
    bool
        gives_up; /* what is not taken at once is lost, and counted in the record; the caller's to set */
    /* Lines that the kekd before this one left behind: the next append tells of them. The caller's to set. */
    struct kek_audit_owed inherited;
    bool
        leads; /* its first line makes this the log that the chain is in (audit_home.h). The caller's to set */
    /* Of a record that was removed, replaced or, where a receiver is the log, damaged: the next append tells.  Empty: nothing. */
    char moved[KEK_WHY_TEXT];
    char removed[KEK_WHY_TEXT]; /* the same of a file that was left, and had been removed */
    bool adrift; /* the path of the record names none, and none can be made, which was told */
    /* What it had to tell in a line of its own, for whoever keeps a log; empty: nothing.  The caller's to clear. */
    char told[KEK_WHY_TEXT];
};

/* missing: where there is no file, then and later; not AUDIT_FILE_LEAVE.  wait_ms: at most, for another process that
 * writes.  `place` and `node` are borrowed as long as the store is used. */
enum kek_rc audit_store_open(struct audit_store *store, const struct kek_audit_place *place,
                             const char *node, enum audit_file_missing missing, unsigned wait_ms,
                             struct kek_why *why) KEK_MUST_CHECK;
void audit_store_close(struct audit_store *store); /* also of one that is all zeros or half open */

/* Is the receiver there that is the log?  Of a file that is open: yes.  KEK_UNAVAILABLE. */
enum kek_rc audit_store_reach(struct audit_store *store, struct kek_why *why) KEK_MUST_CHECK;

/* Before them a line tells of what is owed.  Writes the lines, each with its line feed.  *taken: bytes of them that are in the log, whole lines all of them,
 * also on failure, after which the rest may be written later.  KEK_DENIED: the file at the path, in which the chain goes
 * on, cannot be opened; else KEK_UNAVAILABLE. */
enum kek_rc audit_store_append(struct audit_store *store, struct kek_bytes lines, size_t *taken,
                               struct kek_why *why) KEK_MUST_CHECK;

/* Opens the path anew, and syncs what was written; the old file is kept if that fails.  Receivers are connected
 * to anew at their next line. */
enum kek_rc audit_store_reopen(struct audit_store *store, struct kek_why *why) KEK_MUST_CHECK;

/* File and record are on the disk; what a receiver has taken is its own to keep. */
enum kek_rc audit_store_sync(struct audit_store *store, struct kek_why *why) KEK_MUST_CHECK;

#endif
