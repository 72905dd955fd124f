/* What keys_probe() found, as JSON: what `kekctl probe` prints.  NULL: no memory. */
#ifndef KEKCTL_PROBE_DESCRIBE_H
#define KEKCTL_PROBE_DESCRIBE_H

#include <jansson.h>

#include "kekctl/key/keys.h"

/* One way to wrap, as a row of `trials`. */
json_t *probe_describe_trial(const struct keys *keys, size_t provider,
                             const struct kek_provider_trial *trial);

/* The token, and whether it keeps the KEK in, as a row of `providers`; of one that did not answer, why. */
json_t *probe_describe_provider(const struct keys *keys, size_t provider);

/* "yes", "NO: ..." or "not tried: ...". */
json_t *probe_keeping_says(const struct kek_provider_keeping *keeping);

#endif
