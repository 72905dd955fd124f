#include "owners.h"

#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "lines.h"
#include "pins.h"
#include "secret_settings.h"

#define STATE "state_dir"
#define SOCKET "socket"
#define SECRET_MODE 077 /* nobody but its owner reads such a file */

void owners_name(uid_t uid, char name[static 64])
{
    const struct passwd *user = getpwuid(uid);
    if (user != NULL) {
        snprintf(name, 64, "%s", user->pw_name);
    } else {
        snprintf(name, 64, "%u", (unsigned)uid);
    }
}

void owners_spec(uid_t uid, char spec[static 66])
{
    char name[64];
    owners_name(uid, name);
    snprintf(spec, 66, "%s%s", name, getpwuid(uid) == NULL ? "" : ":");
}

/* ---- which there are ---- */

static void take(struct owners *owners, const char *what, const char *path, mode_t type)
{
    struct stat about;
    for (size_t i = 0; i < owners->count; i++) {
        if (strcmp(owners->list[i].path, path) == 0) {
            return; /* two providers have one PIN file */
        }
    }
    if (owners->count == OWNERS_MAX || stat(path, &about) != 0 ||
        (about.st_mode & S_IFMT) != type) {
        return;
    }
    struct owner *owner = &owners->list[owners->count++];
    *owner = (struct owner){.what = what, .uid = about.st_uid, .gid = about.st_gid};
    snprintf(owner->path, sizeof owner->path, "%s", path);
}

static void take_secrets(struct owners *owners, const struct kek_config_provider *provider)
{
    char source[PATH_MAX];
    const char *pin = pins_file(provider, source);
    if (provider->user != NULL) {
        return; /* its workers run as another user, who reads them */
    }
    if (pin != NULL) {
        take(owners, "PIN file", pin, S_IFREG);
    }
    for (size_t i = 0; i < provider->setting_count; i++) {
        const struct kek_config_setting *setting = &provider->settings[i];
        const struct secret_setting *secret = secret_setting_of(provider, setting->key);
        const char *path = secret_setting_path(setting);
        if (secret != NULL && path != NULL && !secret->officers &&
            secret->file.forbidden == SECRET_MODE) {
            take(owners, setting->key, path, S_IFREG);
        }
    }
}

void owners_find(struct owners *owners, const struct kek_config *config)
{
    owners->count = 0;
    take(owners, STATE, config->state_dir, S_IFDIR);
    for (size_t i = 0; i < config->provider_count; i++) {
        take_secrets(owners, &config->providers[i]);
    }
    if (config->audit_file != NULL) {
        take(owners, "audit file", config->audit_file, S_IFREG);
    }
    take(owners, SOCKET, config->listen, S_IFSOCK);
}

/* ---- what they say together ---- */

size_t owners_count(const struct owners *owners, uid_t uid)
{
    size_t count = 0;
    for (size_t i = 0; i < owners->count; i++) {
        count += owners->list[i].uid == uid ? 1 : 0;
    }
    return count;
}

const struct owner *owners_likely(const struct owners *owners)
{
    const struct owner *likely = NULL;
    for (size_t i = 0; i < owners->count; i++) {
        const struct owner *owner = &owners->list[i];
        if (owner->uid == 0 && strcmp(owner->what, STATE) != 0 &&
            strcmp(owner->what, SOCKET) != 0) {
            continue; /* root makes it for others, too */
        }
        bool better = likely == NULL || (likely->uid == 0 && owner->uid != 0) ||
                      (owner->uid != 0 &&
                       owners_count(owners, owner->uid) > owners_count(owners, likely->uid));
        likely = better ? owner : likely;
    }
    return likely;
}

bool owners_agree(const struct owners *owners)
{
    return owners->count == 0 || owners_count(owners, owners->list[0].uid) == owners->count;
}

void owners_list(const struct owners *owners, char *text, size_t size)
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < owners->count && at < size; i++) {
        const struct owner *owner = &owners->list[i];
        char name[64];
        owners_name(owner->uid, name);
        at += (size_t)snprintf(text + at, size - at, "%s%s %s is %s's", i == 0 ? "" : ", ",
                               owner->what, owner->path, name);
    }
}

bool owners_todo(const struct owners *owners, char todo[static OWNERS_TODO])
{
    const struct owner *odd = NULL, *most = NULL;
    char name[64], spec[66], shown[PATH_MAX];
    for (size_t i = 0; i < owners->count; i++) {
        bool is_most = 2 * owners_count(owners, owners->list[i].uid) > owners->count;
        most = is_most ? &owners->list[i] : most;
        odd = is_most ? odd : &owners->list[i];
    }
    if (most == NULL || odd == NULL || owners_count(owners, most->uid) + 1 != owners->count ||
        most->uid == 0) {
        return false; /* root makes files for others, and the odd one may be right */
    }
    owners_name(most->uid, name);
    owners_spec(most->uid, spec);
    lines_quote(odd->path, shown, sizeof shown);
    if (strcmp(odd->what, SOCKET) == 0) {
        snprintf(todo, OWNERS_TODO, "rm %s # no kekd runs here, and the next one makes it anew",
                 shown);
    } else {
        snprintf(todo, OWNERS_TODO, "chown %s%s %s # where kekd is to run as %s",
                 strcmp(odd->what, STATE) == 0 ? "-R " : "", spec, shown, name);
    }
    return true;
}
