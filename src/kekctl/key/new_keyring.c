#include "new_keyring.h"

#include <stdio.h>

#include "kek/keyring.h"
#include "kek/text.h"

bool new_keyring_is_meant(const struct keys *keys, const char *undone)
{
    const struct kek_config *config = keys->config;
    char other[KEK_KEYRING_NAME_TEXT];
    if (keys->ctl->new_keyring || !kek_keyring_beside(config, other)) {
        return true;
    }
    ctl_say(keys->ctl,
            "%s: %s has a record of keyring %s, and none of %s: write \"keyring: %s\" in %s, or, "
            "where %s is to begin here beside it, add --new-keyring",
            undone, config->state_dir, other, config->keyring, other, config->path,
            config->keyring);
    return false;
}

bool new_keyring_has_begun(const struct keys *keys, const char *undone)
{
    const struct kek_config *config = keys->config;
    char other[KEK_KEYRING_NAME_TEXT];
    if (!kek_keyring_beside(config, other)) {
        return true;
    }
    ctl_say(keys->ctl,
            "%s: %s has a record of keyring %s, and none of %s: write \"keyring: %s\" in %s; where "
            "%s is to begin here beside it, kekctl %s --new-keyring makes its first version, and "
            "kekd announces it",
            undone, config->state_dir, other, config->keyring, other, config->path, config->keyring,
            kek_command(config->root, "key generate").text);
    return false;
}

void new_keyring_hint(const struct keys *keys, char hint[static NEW_KEYRING_HINT])
{
    const struct kek_config *config = keys->config;
    char other[KEK_KEYRING_NAME_TEXT];
    if (kek_keyring_beside(config, other)) {
        snprintf(hint, NEW_KEYRING_HINT,
                 "state_dir has a record of keyring %s, and none of %s: is the configuration's "
                 "keyring misspelt?",
                 other, config->keyring);
    } else {
        snprintf(hint, NEW_KEYRING_HINT, "%s makes the first",
                 kek_command(config->root, "key generate").text);
    }
}
