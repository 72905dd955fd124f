/* Where the name of a key or plugin ends, in a value whose prefix ends before the name. */
#ifndef KEK_KUBE_SPLIT_H
#define KEK_KUBE_SPLIT_H

#include "kek/kube.h"

/* `rest` is "name:" and what the key covers. Returns the name's length, and whether the name may be another
 * one. SIZE_MAX: there is no ':' behind a name. */
size_t kek_kube_name_len(enum kek_kube_kind kind, struct kek_bytes rest, bool *ambiguous);

/* Can what the key covers have `len` bytes? (kms v2: of a seed's object or, if `seed` is false, a key's) */
bool kek_kube_data_fits(enum kek_kube_kind kind, bool seed, size_t len);

#endif
