/* Would kekd see a key that is made now?  SoftHSM keeps each object in a file of its own, which is its maker's alone. */
#include <pwd.h>
#include <stdio.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/vendor.h"
#include "made.h"

bool made_for_kekd(const struct keys *keys, size_t provider)
{
    const struct kek_config *config = keys->config;
    const struct kek_config_provider *asked = &config->providers[provider];
    const struct kek_vendor *vendor = kek_config_vendor(asked);
    struct stat about;
    if (asked->user != NULL || vendor == NULL || !vendor->is_softhsm ||
        stat(config->state_dir, &about) != 0 || about.st_uid == 0 || about.st_uid == geteuid()) {
        return true;
    }
    char name[64], become[128];
    const struct passwd *user = getpwuid(about.st_uid);
    if (user != NULL) {
        snprintf(name, sizeof name, "%.32s", user->pw_name);
        snprintf(become, sizeof become, "runuser -u %s --", name);
    } else {
        snprintf(name, sizeof name, "uid %u", (unsigned)about.st_uid);
        snprintf(become, sizeof become, "setpriv --reuid=%u --regid=%u --clear-groups --",
                 (unsigned)about.st_uid, (unsigned)about.st_gid);
    }
    ctl_say(keys->ctl,
            "no key was made: SoftHSM gives its file to who makes it, and kekd, which runs as %s "
            "by the owner of state_dir %s, would not see it: %s kekctl --config %s %s, "
            "with the same options",
            name, config->state_dir, become, config->path, keys->ctl->command);
    return false;
}
