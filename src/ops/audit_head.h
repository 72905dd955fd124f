/*
 * Where the audit log's chain stands, on record in state_dir: kekd and kekctl go on from there, one at a time.
 *
 * The record is one JSON object of HEAD_BYTES, blanks and a line feed included, and is written over in place: it lies
 * in one page and one sector. Who reads or writes it holds its lock (flock(2)), which ends with the process.  Each member
 * has a place of its own, so that kekd, of which there is one, writes what it owes without the lock: a receiver that is
 * full keeps that for a second.  Blocks.
 *
 *     {"chain":"0123456789abcdef","n":42,"hash":"<64 hex>","lost":3,"kekd":{"lost":0,"waiting":256}}
 */
#ifndef KEK_OPS_AUDIT_HEAD_H
#define KEK_OPS_AUDIT_HEAD_H

#include "kek/audit_link.h"

#define AUDIT_HEAD_BYTES 256

/* Made with mode 0600, as its folder's owner's, if it is not there; the name of an empty one is on the disk.  -1: why
 * says why. */
int audit_head_open(const char *path, struct kek_why *why);
/* Waits up to wait_ms for another process that holds it.  KEK_UNAVAILABLE: it still does. */
enum kek_rc audit_head_lock(int fd, unsigned wait_ms, struct kek_why *why) KEK_MUST_CHECK;
void audit_head_unlock(int fd);
/* The path names another record than `fd`, whose lock is held, or none: `fd` is the one that is there from here on, made if
 * need be, with its lock, and with what the old one owes; one that is empty goes on with the old one's chain.  broken: what is
 * to be told of it; empty: nothing.  KEK_DENIED: there can be none; `fd` is as it was. */
enum kek_rc audit_head_go_over(int fd, const char *path, unsigned wait_ms,
                               char broken[static KEK_WHY_TEXT],
                               struct kek_why *why) KEK_MUST_CHECK;
/* Makes a record that is empty, or of a kekd that had no debts, one that has all places. One that is damaged stays. */
enum kek_rc audit_head_shape(int fd, struct kek_why *why) KEK_MUST_CHECK;
/* An empty record is a chain without an id. KEK_DAMAGED: it is no such record. */
enum kek_rc audit_head_load(int fd, struct kek_audit_end *end, struct kek_why *why) KEK_MUST_CHECK;
enum kek_rc audit_head_store(int fd, const struct kek_audit_end *end,
                             struct kek_why *why) KEK_MUST_CHECK;

/* Whose lines are missing: those of kekctls, which give up a line that is not taken at once; or of the one kekd, which
 * keeps them as long as it runs. */
enum audit_debtor { AUDIT_DEBTOR_ACTS, AUDIT_DEBTOR_KEKD };

/* A record without places owes nothing. */
void audit_head_owed(int fd, enum audit_debtor debtor, struct kek_audit_owed *owed);
/* kekctls owe no lines that may be missing.  KEK_UNAVAILABLE, also where the record has no place for it; KEK_DAMAGED: `owed`
 * says so, and what is there stays. */
enum kek_rc audit_head_owe(int fd, enum audit_debtor debtor, const struct kek_audit_owed *owed,
                           struct kek_why *why) KEK_MUST_CHECK;
/* So many lines more are lost of kekctls, under the lock.  What cannot be written, or added to a damaged count, is not
 * counted. */
void audit_head_lose(int fd, uint64_t lines);

#endif
