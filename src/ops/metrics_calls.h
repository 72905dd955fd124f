/*
 * Counting calls: which status, how long.  The buckets are shared by who counts and who renders.  Pure.
 */
#ifndef KEK_OPS_METRICS_CALLS_H
#define KEK_OPS_METRICS_CALLS_H

#include "kek/metrics.h"

struct metrics_bucket {
    uint64_t us;    /* upper bound, inclusive */
    const char *le; /* the same in seconds, as it is printed */
};

extern const struct metrics_bucket metrics_buckets[KEK_METRICS_BUCKETS];

/* A method or status that is none is not counted. */
void metrics_calls_add(struct kek_metrics_calls calls[static KEK_KMS_METHODS],
                       const struct kek_kms_event *event);

#endif
