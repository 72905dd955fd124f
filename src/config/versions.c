/* What the configuration's `versions` say, held against what a token shows. */
#include "kek/config.h"

const char *kek_config_version_unmet(const struct kek_config_version *named,
                                     const struct kek_version *versions, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        if (versions[i].eligible && versions[i].number == named->number) {
            return named->state == KEK_STATE_ACTIVE && !versions[i].can_wrap
                       ? "does not let it wrap"
                       : NULL;
        }
    }
    return "shows no such key that may be used";
}
