#include "kek/kek.h"

enum kek_state kek_version_state(const struct kek_version *versions, size_t count, size_t i)
{
    const struct kek_version *version = &versions[i];
    if (!version->can_unwrap) {
        return KEK_STATE_SUSPENDED;
    }
    if (version->compromised) {
        return KEK_STATE_COMPROMISED;
    }
    if (version->can_wrap) {
        return KEK_STATE_ACTIVE;
    }
    for (size_t j = 0; j < count; j++) {
        const struct kek_version *other = &versions[j];
        if (other->number > version->number && other->eligible && other->can_wrap &&
            other->can_unwrap) {
            return KEK_STATE_DEACTIVATED;
        }
    }
    return KEK_STATE_PRE_ACTIVE;
}
