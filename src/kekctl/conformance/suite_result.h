/*
 * How a case ends, and why.  "Not supported" is a token that says, or shows, that it does not do
 * this at all; "no" where it must do it, a wrong answer, or none, is a failure.  A result is zeroed
 * before its case, and has passed where nothing is said.
 */
#ifndef KEKCTL_CONFORMANCE_SUITE_RESULT_H
#define KEKCTL_CONFORMANCE_SUITE_RESULT_H

#include <stdint.h>

#include "kek/rc.h"

enum suite_outcome { SUITE_PASS = 0, SUITE_FAIL, SUITE_NOT_SUPPORTED, SUITE_SKIPPED };

#define SUITE_SAYS 720 /* bytes, with the NUL */

/* Of calls under way at once, or one after the other; latencies in microseconds. */
struct suite_measure {
    uint64_t count; /* 0: nothing was measured */
    uint64_t wrong; /* answers that were not what went in */
    uint64_t took_us, median_us, p99_us, most_us;
};

struct suite_result {
    enum suite_outcome outcome;
    char says[SUITE_SAYS]; /* why; of a pass: what was found, or empty */
    enum kek_rc cause;     /* KEK_OK: nobody refused anything */
    enum kek_native native;
    unsigned long code;
    uint64_t took_us;
    uint64_t again; /* calls, or starts, that failed and went well at another try */
    struct suite_measure wraps, unwraps;
};

/* "PASS", "NOT SUPPORTED", ... */
const char *suite_outcome_name(enum suite_outcome outcome);

/* How a case ends, and why; where it says nothing it has passed.  Who refused, and with what code, is
 * forgotten. */
void suite_pass(struct suite_result *result, const char *format, ...) KEK_PRINTF(2, 3);
void suite_fail(struct suite_result *result, const char *format, ...) KEK_PRINTF(2, 3);
void suite_lacks(struct suite_result *result, const char *format, ...) KEK_PRINTF(2, 3);
void suite_skip(struct suite_result *result, const char *format, ...) KEK_PRINTF(2, 3);
/* It says already what came of this. */
void suite_blame(struct suite_result *result, const struct kek_why *why);
/* Behind what it says already, with its outcome as it is. */
void suite_also(struct suite_result *result, const char *format, ...) KEK_PRINTF(2, 3);
/* A failure, by what a worker answered, with its code; skipped where it was interrupted. what:
 * "wrapping a data key". */
void suite_refused(struct suite_result *result, const char *what, const struct kek_why *why);
/* The same of what kekd can live without: not supported where the worker says so
 * (KEK_UNIMPLEMENTED). */
void suite_declined(struct suite_result *result, const char *what, const struct kek_why *why);

#endif
