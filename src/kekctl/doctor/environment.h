/* The environment that a vendor's program needs, to see what the provider's workers see. */
#ifndef KEKCTL_DOCTOR_ENVIRONMENT_H
#define KEKCTL_DOCTOR_ENVIRONMENT_H

#include "kek/config.h"
#include "lines.h"

/* What stands before the program in a shell, after what becomes a user: "env NAME=VALUE ... ", by the provider's env; "" where
 * it has none.  What is too long to be shown is a variable that the shell refuses while nobody sets it. */
void environment_put(const struct kek_config_provider *provider, char out[static LINES_TODO]);

#endif
