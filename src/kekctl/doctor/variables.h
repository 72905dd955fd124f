/* What a provider's workers have in their environment. */
#ifndef KEKCTL_DOCTOR_VARIABLES_H
#define KEKCTL_DOCTOR_VARIABLES_H

#include "kek/config.h"

/* By the provider's env, else of who runs this. NULL: it is not set. Borrowed. */
const char *variables_get(const struct kek_config_provider *provider, const char *name);

#endif
