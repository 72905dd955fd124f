/* When a KEK version began and ceased to seal and to open, from what tokens show now and what is on record.  Pure. */
#ifndef KEKCTL_REPORT_LIFE_H
#define KEKCTL_REPORT_LIFE_H

#include "audit_tally.h"

struct life {
    bool wraps, unwraps;          /* some provider lets it, now */
    bool unseen;                  /* some provider did not answer: it may let it, too */
    bool gaps;                    /* lines of the log are missing, or were not read */
    int64_t destroyed_ms;         /* 0: it is not */
    const struct audit_key *line; /* NULL: no audit line has it */
    /* On record of kekd, as it saw it; 0: not. */
    int64_t announced_ms, inactive_ms, suspended_ms;
};

/* Has it never sealed?  Its state says so where every provider shows it as pre-active, and nothing on record says
 * otherwise. */
bool life_not_begun(const struct life *life, bool pre_active);

/* When it first sealed, or might have.  What is on record of a time after now says no date, here and below: a clock was
 * wrong. */
struct period_date life_begin(const struct life *life, int64_t now_ms);

/* When it ceased to: now, as long as it has not. */
struct period_date life_sealed_until(const struct life *life, int64_t now_ms);
struct period_date life_opened_until(const struct life *life, int64_t now_ms);

#endif
