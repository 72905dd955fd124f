/*
 * How long things took, counted in buckets from 50 us to 10 s: from a call answered from memory to an HSM
 * that is given up.  Pure.
 */
#ifndef KEK_HISTOGRAM_H
#define KEK_HISTOGRAM_H

#include <stdint.h>

#define KEK_HISTOGRAM_BUCKETS 17 /* upper bounds, besides +Inf */

struct kek_histogram {
    uint64_t counts[KEK_HISTOGRAM_BUCKETS + 1]; /* not cumulative; the last is +Inf */
    uint64_t sum_us;
};

struct kek_histogram_bound {
    uint64_t us;    /* inclusive */
    const char *le; /* the same in seconds, as Prometheus prints it */
};

extern const struct kek_histogram_bound kek_histogram_bounds[KEK_HISTOGRAM_BUCKETS];

void kek_histogram_add(struct kek_histogram *histogram, uint64_t us);

#endif
