/* What the configuration's `versions` say, held against what a token shows. */
#include "kek/config.h"

/* A named state takes away from what the token lets a key do, and cannot add to it. */
static const char *unmet(enum kek_state state, const struct kek_version *version)
{
    if (state == KEK_STATE_SUSPENDED) {
        return NULL;
    }
    if (!version->can_unwrap) {
        return "does not let it unwrap";
    }
    if (state == KEK_STATE_ACTIVE && version->compromised) {
        return "has it marked as compromised";
    }
    return state == KEK_STATE_ACTIVE && !version->can_wrap ? "does not let it wrap" : NULL;
}

const char *kek_config_version_unmet(const struct kek_config_version *named,
                                     const struct kek_version *versions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (versions[i].eligible && versions[i].number == named->number) {
            return unmet(named->state, &versions[i]);
        }
    }
    return "shows no such key that may be used";
}
