/* What only the user of a provider's workers can say: whether a file can be read by that user. */
#ifndef KEKCTL_DOCTOR_AS_WORKER_H
#define KEKCTL_DOCTOR_AS_WORKER_H

#include "doctor.h"

/* Has `judge` look as the provider's user, in a process of its own, where this one is root; its lines become this one's, and
 * what it says to do gives things to that user.  False: this process cannot become that user, or got no answer. */
bool as_worker(struct doctor *doctor, const struct kek_config_provider *provider,
               void (*judge)(struct doctor *doctor, const struct kek_config_provider *provider));

#endif
