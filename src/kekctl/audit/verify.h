/*
 * The audit log against all that vouches for it here: lines against their chains, these against what is on record in
 * state_dir, and MACs against the tokens that made them.  The log's files are read one after the other, oldest first.
 * Blocks.
 */
#ifndef KEKCTL_AUDIT_VERIFY_H
#define KEKCTL_AUDIT_VERIFY_H

#include <limits.h>

#include <jansson.h>

#include "files.h"
#include "macs.h"

struct verify {
    bool has_config; /* without it only the chains are looked at */
    struct kek_audit_end record;
    struct kek_audit_owed owed; /* on record, too */
    bool kekd_runs;             /* so that what waits is not missing */
    struct kek_why record_why;  /* KEK_OK: both are there */
    char record_path[PATH_MAX]; /* empty: not known */
    struct check *check;
    struct macs macs;
};

/* ctl: the tokens that are asked for MACs are its configuration's; borrowed.  config: NULL where it was not given.  Reads the record, before any
 * file: lines that kekd writes meanwhile are more than it says, never fewer.  To be closed in any case.  KEK_NO_MEMORY alone:
 * a record that cannot be read is a problem, and record_why says why. */
enum kek_rc verify_open(struct verify *verify, const struct ctl *ctl,
                        const struct kek_config *config, struct kek_why *why) KEK_MUST_CHECK;
void verify_close(struct verify *verify);
#define VERIFY_AUTO __attribute__((cleanup(verify_close)))

/* The last MAC of a file vouches for all of it before.  See files_read(). */
bool verify_file(struct verify *verify, const char *name, files_line_fn *fn, void *arg,
                 struct kek_why *why) KEK_MUST_CHECK;
/* There are no more.  The record is read again. */
void verify_end(struct verify *verify);

/* What nobody has looked at, and what nothing vouches for: sentences. */
void verify_limits(const struct verify *verify, void (*say)(void *arg, const char *sentence),
                   void *arg);

#define VERIFY_PROBLEM_TEXT (PATH_MAX + CHECK_TEXT + 48)
/* "FILE:LINE: ...", with a run of lines as one. */
void verify_problem_text(const struct check_problem *problem,
                         char text[static VERIFY_PROBLEM_TEXT]);

/* "3 lines", "3 to 259 lines", "up to 256 lines" */
#define VERIFY_COUNT_TEXT 64
void verify_count(uint64_t least, uint64_t most, char text[static VERIFY_COUNT_TEXT]);

/* As kekctl(1) has them, `chains` and `problems`. NULL: no memory. */
json_t *verify_chains_json(const struct check *check);
json_t *verify_problems_json(const struct check *check);

#endif
