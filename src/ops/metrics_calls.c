#include "metrics_calls.h"

const struct metrics_bucket metrics_buckets[KEK_METRICS_BUCKETS] = {
    {50, "5e-05"},    {100, "0.0001"},  {250, "0.00025"}, {500, "0.0005"},
    {1000, "0.001"},  {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},
    {25000, "0.025"}, {50000, "0.05"},  {100000, "0.1"},  {250000, "0.25"},
    {500000, "0.5"},  {1000000, "1"},   {2500000, "2.5"}, {5000000, "5"},
};

static size_t bucket_of(uint64_t us)
{
    size_t b = 0;
    while (b < KEK_METRICS_BUCKETS && us > metrics_buckets[b].us) {
        b++;
    }
    return b;
}

void metrics_calls_add(struct kek_metrics_calls calls[static KEK_KMS_METHODS],
                       const struct kek_kms_event *event)
{
    if ((size_t)event->method >= KEK_KMS_METHODS || (size_t)event->status >= KEK_METRICS_STATUSES) {
        return;
    }
    struct kek_metrics_calls *of = &calls[event->method];
    of->status[event->status]++;
    of->buckets[bucket_of(event->duration_us)]++;
    of->duration_us += event->duration_us;
    of->hsm_waits += event->hsm;
}
