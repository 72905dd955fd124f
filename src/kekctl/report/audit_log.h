/*
 * This node's audit log for a report: its lines gathered, and verified as by `kekctl audit verify`.
 *
 * Every line that can be read counts, whatever its chain says: what is wrong with the chain stands beside it.  Blocks.
 */
#ifndef KEKCTL_REPORT_AUDIT_LOG_H
#define KEKCTL_REPORT_AUDIT_LOG_H

#include "audit_read.h"
#include "audit_tally.h"
#include "kekctl/kekctl.h"

struct audit_log {
    struct audit_read read;
    struct audit_tally *tally; /* NULL: nothing is known of it, why says why */
    struct kek_why why;
    uint64_t lines;
    uint64_t damaged; /* of them, the ones that are not whole, as audit_read.h has it */
    /* Of the chain; `chains` and `problems` are as kekctl(1) describes them. */
    json_t *chains, *problems;
    json_t *limits;  /* sentences: what nothing vouches for */
    uint64_t more;   /* problems that are not among them */
    uint64_t before; /* lines before the first that has a chain */
    /* Of the problems, those that are lines which may be in files that nobody read, as files_not_read names them. */
    uint64_t unread;
    char *first_problem; /* a sentence; NULL: there is none but those */
    char *first_unread;  /* the same of those */
};

/* The tokens of all roots of trust are asked for MACs. */
void audit_log_take(struct audit_log *log, const struct ctl *ctl, const struct kek_config *config);
void audit_log_done(struct audit_log *log);

/* Are there lines that it lacks, or that nobody read?  Then it does not say what happened first, or last. */
bool audit_log_has_gaps(const struct audit_log *log);

/* "intact", "not intact", "not all read" (nothing is wrong but what may be in files that were not read), "none" (no line is
 * chained) or "not verified". Static. */
const char *audit_log_chain(const struct audit_log *log);

#endif
