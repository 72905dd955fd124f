/* Becoming a user: kekd's, or that of a provider's workers. */
#ifndef KEKCTL_DOCTOR_BECOME_H
#define KEKCTL_DOCTOR_BECOME_H

#include "who.h"

/* From here on this process is that user, with that user's groups and home, for good. False: errno says why. */
bool become(const struct who *who);

#endif
