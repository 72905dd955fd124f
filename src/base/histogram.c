#include "kek/histogram.h"

#include <stddef.h>

const struct kek_histogram_bound kek_histogram_bounds[KEK_HISTOGRAM_BUCKETS] = {
    {50, "5e-05"},    {100, "0.0001"},  {250, "0.00025"}, {500, "0.0005"},  {1000, "0.001"},
    {2500, "0.0025"}, {5000, "0.005"},  {10000, "0.01"},  {25000, "0.025"}, {50000, "0.05"},
    {100000, "0.1"},  {250000, "0.25"}, {500000, "0.5"},  {1000000, "1"},   {2500000, "2.5"},
    {5000000, "5"},   {10000000, "10"},
};

void kek_histogram_add(struct kek_histogram *histogram, uint64_t us)
{
    size_t b = 0;
    while (b < KEK_HISTOGRAM_BUCKETS && us > kek_histogram_bounds[b].us) {
        b++;
    }
    histogram->counts[b]++;
    histogram->sum_us += us;
}
