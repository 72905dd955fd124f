/*
 * The audit log as it lies on disk, for a report: which files it is in (its own and those that it was rotated into),
 * and what each line of them says.  Lines are read, and held against their chain, by kekctl/audit.  Blocks.
 */
#ifndef KEKCTL_REPORT_AUDIT_READ_H
#define KEKCTL_REPORT_AUDIT_READ_H

#include <stdbool.h>
#include <stdint.h>

#include <jansson.h>

#include "kek/bytes.h"
#include "kek/rc.h"

#define AUDIT_READ_FILES_MAX 400

/* A whole line, see below. Borrowed while it runs. */
typedef void audit_read_fn(void *arg, const json_t *line);

struct audit_read {
    const char *paths[AUDIT_READ_FILES_MAX + 1]; /* oldest first, the log itself last; owned */
    size_t count;
    json_t *files; /* names of those read, the oldest first; for whoever reads them to fill */
    json_t
        *not_read; /* those of the same folder that look like older ones, and why they were not */
    bool unread;   /* of those, one may have audit lines: nobody looked, or it could not be read */
    bool renamed;  /* the log itself is not there, and older ones are */
    bool spoilt;   /* there was no memory for one of them, or for a line */
    audit_read_fn *fn;
    void *arg;
    uint64_t
        whole; /* lines that are JSON objects with a time, an event and, where they list KEKs, objects there */
};

/* Finds the files.  fn gets every whole line that audit_read_line() is given.  Of older ones what cannot be read is named in
 * not_read; the log itself is there in any case.  *read is to be done with in any case.  KEK_NO_MEMORY; KEK_UNAVAILABLE: the folder or the log
 * itself cannot be read. */
enum kek_rc audit_read_find(const char *path, audit_read_fn *fn, void *arg, struct audit_read *read,
                            struct kek_why *why) KEK_MUST_CHECK;

/* Of files_line_fn's form. */
void audit_read_line(void *read, struct kek_bytes line);

/* One of `paths` was read, or was not: `why` says so. */
void audit_read_took(struct audit_read *read, const char *path);
void audit_read_unread(struct audit_read *read, const char *path, const char *why);

void audit_read_done(struct audit_read *read);

#endif
