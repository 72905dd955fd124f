/*
 * Counting calls: which status, how long.  Pure.
 */
#ifndef KEK_OPS_METRICS_CALLS_H
#define KEK_OPS_METRICS_CALLS_H

#include "kek/metrics.h"

/* A method or status that is none is not counted. */
void metrics_calls_add(struct kek_metrics_calls calls[static KEK_KMS_METHODS],
                       const struct kek_kms_event *event);

#endif
