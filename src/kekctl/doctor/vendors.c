#include "vendors.h"

#include <errno.h>
#include <grp.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "environment.h"
#include "kek/text.h"
#include "kek/vendor.h"
#include "reach.h"
#include "softhsm.h"
#include "variables.h"

#define TEXT_MAX 256

static bool attribute(const struct kek_config_provider *provider, const char *name,
                      char value[static TEXT_MAX])
{
    const char *uri = kek_config_setting(provider, "uri");
    return uri != NULL && kek_config_pkcs11_attribute(uri, name, value, TEXT_MAX);
}

/* There is such a group, and the user is not in it. */
static bool lacks_group(const struct who *who, const char *name)
{
    const struct group *group = name == NULL ? NULL : getgrnam(name);
    bool has = group == NULL || who->uid == 0 || who->gid == group->gr_gid;
    for (int i = 0; i < who->group_count; i++) {
        has = has || who->groups[i] == group->gr_gid;
    }
    return !has;
}

/* What the library's variable names. NULL: it has none, or it is not set. */
static const char *configuration_of(const struct kek_config_provider *provider,
                                    const struct kek_vendor *vendor)
{
    return vendor == NULL || vendor->variable == NULL ? NULL
                                                      : variables_get(provider, vendor->variable);
}

/* was_there: a new token of that name would stand in the way of the one that has the keys. */
static void say_token(const struct doctor *doctor, const struct kek_config_provider *provider,
                      bool makes_one, bool was_there, const char *token,
                      char todo[static LINES_TODO])
{
    char shown[TEXT_MAX], before[TEXT_MAX] = "", env[LINES_TODO];
    lines_quote(token, shown, sizeof shown);
    environment_put(provider, env);
    if (was_there && makes_one) {
        lines_todo(todo,
                   "restore the token %s from its backup (docs/operations.md, Backup), and make no "
                   "new one: state_dir has a version of its key",
                   shown);
        return;
    }
    if (!makes_one) {
        lines_todo(todo, "in %s, provider %s: token= in uri: of one that is there; or %s %s%s",
                   doctor->config->path, provider->name, was_there ? "restore" : "have", shown,
                   was_there ? " from its backup (docs/operations.md, Backup)"
                             : " made by the vendor's means");
        return;
    }
    if (doctor->became) {
        snprintf(before, sizeof before, "runuser -u %s -- ", doctor->who.name);
    }
    lines_todo(
        todo,
        "%s%ssofthsm2-util --init-token --free --label %s --so-pin "
        "\"${SO_PIN:?}\" --pin \"${PIN:?}\" # for a trial; else in %s, provider %s: token= in uri:",
        before, env, shown, doctor->config->path, provider->name);
}

/* By hand, once: the token counts anew after a right one. */
static void say_login(const struct kek_config_provider *provider, char todo[static LINES_TODO])
{
    char module[TEXT_MAX], token[TEXT_MAX], shown[TEXT_MAX], shown_token[TEXT_MAX];
    char env[LINES_TODO];
    if (!attribute(provider, "module-path", module) || !attribute(provider, "token", token)) {
        lines_todo(todo, "log in once by hand, by the vendor's means");
        return;
    }
    lines_quote(module, shown, sizeof shown);
    lines_quote(token, shown_token, sizeof shown_token);
    environment_put(provider, env);
    lines_todo(todo,
               "%spkcs11-tool --module %s --token-label %s --login --list-objects # it asks for "
               "the PIN: the right one, or the token locks it",
               env, shown, shown_token);
}

/* Is what is in the way open to that group, if there is one? */
static bool is_for_group(const struct reach *found, const char *name)
{
    const struct group *group = name == NULL ? NULL : getgrnam(name);
    mode_t bit = found->end == REACH_SHUT ? S_IXGRP : S_IRGRP;
    struct stat about;
    return stat(found->at, &about) == 0 && group != NULL && about.st_gid == group->gr_gid &&
           (about.st_mode & bit) != 0;
}

/* False: it can be read, or the vendor's group is what lets it be read. */
static bool say_unread(const struct doctor *doctor, const struct kek_vendor *vendor,
                       const char *path, char todo[static LINES_TODO])
{
    struct reach found;
    struct stat about = {.st_mode = 0};
    char let[LINES_TODO];
    reach(path, R_OK, &found);
    bool by_group = vendor != NULL && lacks_group(&doctor->who, vendor->group) &&
                    is_for_group(&found, vendor->group);
    if (found.end == REACH_GOOD || by_group) {
        return false;
    }
    doctor_let(doctor, path, R_OK, false, &found, let);
    if (stat(found.at, &about) == 0) {
        lines_todo(todo, "%s # %s has mode %04o, of uid %u and gid %u", let, found.at,
                   (unsigned)about.st_mode & 07777, (unsigned)about.st_uid, (unsigned)about.st_gid);
    } else {
        lines_todo(todo, "%s", let);
    }
    return true;
}

/* All its tokens are in a folder of root's, and no group opens that. */
static bool say_shut_folder(const struct doctor *doctor, const struct kek_vendor *vendor,
                            const struct kek_config_provider *provider,
                            char todo[static LINES_TODO])
{
    char folder[PATH_MAX];
    struct reach found;
    struct stat about;
    if (doctor_is_stranger(doctor) || !vendor->is_softhsm || !softhsm_folder(provider, folder)) {
        return false;
    }
    reach(folder, R_OK | W_OK | X_OK, &found);
    if (found.end == REACH_GOOD || found.error != EACCES || is_for_group(&found, vendor->group) ||
        stat(found.at, &about) != 0 || about.st_uid != 0) {
        return false;
    }
    doctor_let(doctor, folder, R_OK | W_OK | X_OK, false, &found, todo);
    return true;
}

bool vendors_todo(const struct doctor *doctor, const struct kek_config_provider *provider,
                  bool was_there, const struct kek_why *why, char todo[static LINES_TODO])
{
    const struct kek_vendor *vendor = kek_config_vendor(provider);
    char token[TEXT_MAX];
    switch (why->reason) {
    case KEK_REASON_PIN_LOCKED:
        lines_todo(todo,
                   "have the token's officer set the PIN anew, by the vendor's means, and put it "
                   "into its file");
        return true;
    case KEK_REASON_PIN_LAST_TRY:
        say_login(provider, todo);
        return true;
    default:
        break;
    }
    bool none = why->reason == KEK_REASON_NO_TOKEN_SHOWN;
    bool no_token = none || why->reason == KEK_REASON_NO_TOKEN;
    if (no_token && attribute(provider, "token", token)) {
        bool softhsm = vendor != NULL && vendor->is_softhsm;
        if (!softhsm || (!softhsm_say_configuration(doctor, provider, false, was_there, todo) &&
                         !softhsm_say_shut(doctor, provider, was_there, todo))) {
            say_token(doctor, provider, none && softhsm, was_there, token, todo);
        }
        return true;
    }
    const char *path = configuration_of(provider, vendor);
    if (path != NULL && say_unread(doctor, vendor, path, todo)) {
        return true;
    }
    bool failed = !no_token && why->native == KEK_NATIVE_PKCS11 && vendor != NULL;
    if (failed && vendor->is_softhsm &&
        softhsm_say_configuration(doctor, provider, true, was_there, todo)) {
        return true;
    }
    if (failed && say_shut_folder(doctor, vendor, provider, todo)) {
        return true;
    }
    if (failed && lacks_group(&doctor->who, vendor->group)) {
        doctor_give(doctor, todo,
                    "usermod --append --groups %s %s # who may use what is the library's",
                    vendor->group, doctor->who.name);
        return true;
    }
    return false;
}
