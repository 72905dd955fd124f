/*
 * Many data keys wrapped and unwrapped at once, each compared with what went in.
 */
#ifndef KEKCTL_CONFORMANCE_LOAD_H
#define KEKCTL_CONFORMANCE_LOAD_H

#include "suite.h"

struct load {
    struct suite *suite;
    enum rig_role role;
    unsigned at_once, pairs; /* data keys under way, and in all; a pair is a wrap and an unwrap */
    uint64_t most_ms;        /* none is begun later than that */
    /* Once, when half of them is done, or half of the time is over; again where it is false. NULL: nothing. */
    bool (*midway)(struct load *load);
    /* What came of it. */
    bool was_midway;
    uint64_t wrong, failed;
    struct kek_why why; /* the first failure */
    struct suite_measure wraps, unwraps;
};

#define LOAD_AT_ONCE_MAX 64

/* False: no pool, or no memory: `why` says why. */
bool load_run(struct load *load);

/* Waits until as many workers of the role are ready; false: `why` says why not. */
bool load_wait_ready(struct suite *suite, enum rig_role role, unsigned count, struct kek_why *why);

#endif
