/*
 * The audit log's file: a regular file and no symbolic link, for appending.
 */
#ifndef KEK_OPS_AUDIT_FILE_H
#define KEK_OPS_AUDIT_FILE_H

#include "kek/bytes.h"
#include "kek/rc.h"

/* Where there is no file: it stays so; or one is made, with mode 0600, which belongs to whoever makes it or is given to
 * the owner of its folder. */
enum audit_file_missing { AUDIT_FILE_LEAVE, AUDIT_FILE_MAKE, AUDIT_FILE_GIVE };

/* The name of an empty file is on the disk.  To give one takes the record's lock: until it is given, others cannot open
 * it.  -1: why says why, with ENOENT where there is none. */
int audit_file_open(const char *path, enum audit_file_missing missing, struct kek_why *why);

/* What the path names. */
enum audit_file_at {
    AUDIT_FILE_THIS,
    AUDIT_FILE_NONE,
    AUDIT_FILE_OTHER, /* or nobody can tell */
};
enum audit_file_at audit_file_at(const char *path, int fd);

/* Appends lines.  *whole: bytes of them that are in the file, whole lines all of them, also on failure; `all`: none of
 * them or all.  What is more is taken out again; a file that only grows keeps it, and the next look finds it.  *size:
 * of the file then; 0: not known.  KEK_UNAVAILABLE: the rest may be written later. */
enum kek_rc audit_file_append(int fd, const char *path, struct kek_bytes lines, bool all,
                              size_t *whole, uint64_t *size, struct kek_why *why) KEK_MUST_CHECK;

#endif
