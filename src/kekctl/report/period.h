/*
 * How long a key has been in use, against what a recommendation allows: arithmetic with dates of which some are not
 * known.
 *
 * A token tells no dates.  What is on record says when something was done, or only that it was so by then.  So each end
 * of a period is a span in which it lies, and a verdict is given where it holds for every date of the span; else it is
 * not known.  Dates are milliseconds since 1970, UTC; years are calendar years.  Pure.
 */
#ifndef KEKCTL_REPORT_PERIOD_H
#define KEKCTL_REPORT_PERIOD_H

#include <stdint.h>

#define PERIOD_PAST INT64_MIN   /* `first` of a date that may be any before */
#define PERIOD_FUTURE INT64_MAX /* `last` of a date that may be any after */

/* NIST SP 800-57 Part 1 Revision 5 (May 2020), section 5.3.6 and Table 1, symmetric key-wrapping key: an
 * originator-usage period of up to two years where few keys are wrapped, and a recipient-usage period that ends no more than
 * three years after it. */
#define PERIOD_ORIGINATOR_YEARS 2
#define PERIOD_RECIPIENT_YEARS 3
#define PERIOD_RECOMMENDATION                                                       \
    "NIST SP 800-57 Part 1 Revision 5 (May 2020), section 5.3.6 and Table 1, type " \
    "\"symmetric key-wrapping key\""

/* Not before `first`, not after `last`: equal where the date is known. */
struct period_date {
    int64_t first, last;
};

static inline struct period_date period_unknown(void)
{
    return (struct period_date){PERIOD_PAST, PERIOD_FUTURE};
}

static inline struct period_date period_at(int64_t ms)
{
    return (struct period_date){ms, ms};
}

enum period_verdict {
    PERIOD_NOT_KNOWN = 0,
    PERIOD_WITHIN,
    PERIOD_EXCEEDED,
};

const char *
period_verdict_name(enum period_verdict verdict); /* "not known", "within", "exceeded" */

/* The same day, hour and so on `years` later; of 29 February the 28th where there is none.  What is not known stays so. */
int64_t period_add_years(int64_t ms, int years);

/* Did no more than `years` pass from the one to the other?  Not known where it would have ended before it began. */
enum period_verdict period_judge(struct period_date begin, struct period_date end, int years);

#endif
