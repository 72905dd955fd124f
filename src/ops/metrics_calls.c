#include "metrics_calls.h"

void metrics_calls_add(struct kek_metrics_calls calls[static KEK_KMS_METHODS],
                       const struct kek_kms_event *event)
{
    if ((size_t)event->method >= KEK_KMS_METHODS || (size_t)event->status >= KEK_METRICS_STATUSES) {
        return;
    }
    struct kek_metrics_calls *of = &calls[event->method];
    of->status[event->status]++;
    kek_histogram_add(&of->durations, event->duration_us);
    of->hsm_waits += event->hsm;
}
