/* What the tokens show of the keyring and what is on record of its end, as JSON: what `kekctl key list` prints. */
#ifndef KEKCTL_KEY_DESCRIBE_H
#define KEKCTL_KEY_DESCRIBE_H

#include <jansson.h>

#include "keys.h"

/* {root, keyring, providers, versions, destroyed}, as kekctl(1) describes them, of the listings that there are.
 * NULL: no memory. */
json_t *key_describe(const struct keys *keys);

#endif
