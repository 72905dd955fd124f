/*
 * Does a chain get its MACs as often as audit.mac_interval has kekd make them?  Pure.
 *
 * Time is that between kekd's own lines, and at most an interval between two: a machine that slept, a clock that was
 * set and a kekd that had nothing to write are no MACs that are missing.
 */
#ifndef KEKCTL_AUDIT_PACE_H
#define KEKCTL_AUDIT_PACE_H

#include "telling.h"

#define PACE_INTERVALS 3 /* that may pass without a MAC, */
#define PACE_SLACK_MS \
    300000u /* and so long beyond them, for tokens that time out one after the other */

struct pace {
    bool expects;       /* there was a MAC, and no line since says that one failed */
    bool told;          /* of this wait */
    int64_t last_ms;    /* kekd's line before, wall clock; 0: none */
    uint64_t waited_ms; /* since the last MAC, or since the start after it */
};

/* One line more, of a chain with MACs each interval_ms.  True once, where it has waited for too long. */
bool pace_line(struct pace *pace, const struct telling *telling, uint64_t interval_ms);

/* Should one have come by now, of a kekd that runs?  waits_ms: when its first line was made that no MAC has come after; 0:
 * there is none. */
bool pace_is_late(int64_t waits_ms, uint64_t interval_ms, int64_t now_ms);

#endif
