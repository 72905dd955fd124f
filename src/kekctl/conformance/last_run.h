/*
 * The last result for each provider, in state_dir, where kekctl report finds it:
 * KEYRING.conformance-PROVIDER, as --output json prints it.
 */
#ifndef KEKCTL_CONFORMANCE_LAST_RUN_H
#define KEKCTL_CONFORMANCE_LAST_RUN_H

#include <jansson.h>

#include "kek/config.h"

enum kek_rc last_run_write(const struct kek_config *config, const char *provider, const json_t *run,
                           struct kek_why *why) KEK_MUST_CHECK;

/* NULL, and why->rc KEK_NOT_FOUND: it never ran. KEK_DAMAGED: that is no such file. */
json_t *last_run_read(const struct kek_config *config, const char *provider, struct kek_why *why);

#endif
