/* How long operations took, and what became of them. */
#include "front.h"

void kek_timing_count(const struct kek_worker *worker, unsigned slot, enum kek_came came)
{
    const struct kek_flight *flight = &worker->flights[slot];
    if (flight->op >= KEK_POOL_OPS_TIMED || flight->timed_out) {
        return; /* what timed out is counted already, whatever came of it later */
    }
    struct kek_pool_timing *timing = &worker->backend->timings[flight->op];
    if (came != KEK_CAME_NOTHING) {
        kek_histogram_add(&timing->durations, kek_clock_us() - flight->sent_us);
    }
    timing->failed += came == KEK_CAME_FAILURE;
    timing->timeouts += came == KEK_CAME_TIMEOUT;
    timing->lost += came == KEK_CAME_NOTHING;
}

const struct kek_pool_timing *kek_pool_timing(const struct kek_pool *pool, size_t provider,
                                              enum kek_pool_op op)
{
    return &pool->backends[provider].timings[op];
}
