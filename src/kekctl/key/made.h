/* A key that a token was told to make: is it there, and what stands on record of it? */
#ifndef KEKCTL_MADE_H
#define KEKCTL_MADE_H

#include "keys.h"

/* The provider's key of this kek id in its last listing; NULL: it shows none. Borrowed. */
const struct kek_version *made_find(const struct keys *keys, size_t provider,
                                    const struct kek_id *kek_id);

/* Would kekd see a key that this process has the provider make?  False after saying who is to make it. */
bool made_for_kekd(const struct keys *keys, size_t provider) KEK_MUST_CHECK;

/* What a new version of this number is made as: the first one is active, and one that wraps at once cannot be
 * anything else. */
enum kek_state made_state(const struct keys *keys, size_t provider, uint32_t number);

/* Lists the provider afresh and says what is not as it must be. CTL_GOOD: it is there, and as it must be; CTL_CHECK:
 * it is there; CTL_FAILED: it is not, or nobody knows. `failed`: how making it failed; NULL: it did not. */
enum ctl_exit made_verify(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                          enum kek_state state, const struct kek_why *failed);

/* Puts on record that the key is about to be made.  False after saying why it is not. */
bool made_begin(struct keys *keys, size_t provider, uint32_t number, const struct kek_id *kek_id,
                enum kek_state state) KEK_MUST_CHECK;
/* Puts on record that it is there, that it is not, or that the token did not say. */
void made_on_record(const struct keys *keys, size_t provider, uint32_t number,
                    const struct kek_id *kek_id, enum kek_state state,
                    const struct kek_why *failed);

#endif
