#include "front.h"

#include <errno.h>
#include <grp.h>
#include <linux/capability.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/syscall.h>

extern char **environ;

#define RUN_AS "kekd-as" /* becomes the worker's user, then the worker */

/* True if folder/name can be executed; its path is then in `path`. */
static bool is_there(const char *folder, const char *name, char path[static PATH_MAX])
{
    int len = snprintf(path, PATH_MAX, "%s/%s", folder, name);
    return len > 0 && len < PATH_MAX && access(path, X_OK) == 0;
}

/* Where our own executable is; empty if that cannot be said. */
static void own_folder(char folder[static PATH_MAX])
{
    size_t size = PATH_MAX;
    folder[0] = '\0';
    if (uv_exepath(folder, &size) != 0) {
        return;
    }
    char *slash = strrchr(folder, '/');
    if (slash != NULL) {
        *slash = '\0';
    }
}

static enum kek_rc locate(const char *worker_dir, const char *name, char path[static PATH_MAX],
                          struct kek_why *why)
{
    char own[PATH_MAX];
    if (worker_dir != NULL) {
        return is_there(worker_dir, name, path)
                   ? KEK_OK
                   : kek_fail(why, KEK_NOT_FOUND, "the worker program %s is not in %s", name,
                              worker_dir);
    }
    own_folder(own);
    if (is_there(own, name, path) || is_there(KEK_LIBEXECDIR, name, path)) {
        return KEK_OK;
    }
    return kek_fail(why, KEK_NOT_FOUND, "the worker program %s is neither in %s nor in %s", name,
                    own, KEK_LIBEXECDIR);
}

static bool has_name_of(const char *entry, const char *other)
{
    size_t len = strcspn(other, "=");
    return strncmp(entry, other, len) == 0 && entry[len] == '=';
}

/* What belongs to kekd's own talk with the service manager, or is set anew by `env:`. */
static bool is_left_out(const char *entry, char *const *added)
{
    if (strncmp(entry, "LISTEN_", 7) == 0 || strncmp(entry, "WATCHDOG_", 9) == 0 ||
        strncmp(entry, "NOTIFY_SOCKET=", 14) == 0) {
        return true;
    }
    for (; added != NULL && *added != NULL; added++) {
        if (has_name_of(entry, *added)) {
            return true;
        }
    }
    return false;
}

static size_t count_strings(char *const *strings)
{
    size_t count = 0;
    while (strings != NULL && strings[count] != NULL) {
        count++;
    }
    return count;
}

/* The strings stay whose they are. */
static char **make_environment(char **added)
{
    char **env = calloc(count_strings(environ) + count_strings(added) + 1, sizeof *env);
    size_t count = 0;
    for (char **at = environ; env != NULL && *at != NULL; at++) {
        if (!is_left_out(*at, added)) {
            env[count++] = *at;
        }
    }
    for (char **at = added; env != NULL && at != NULL && *at != NULL; at++) {
        env[count++] = *at;
    }
    return env;
}

/* May we become somebody else, and kill what we then started? */
static bool may_change_user(void)
{
    struct __user_cap_header_struct head = {.version = _LINUX_CAPABILITY_VERSION_3};
    struct __user_cap_data_struct data[2] = {0};
    const uint32_t needed = 1u << CAP_SETUID | 1u << CAP_SETGID | 1u << CAP_KILL;
    return syscall(SYS_capget, &head, data) == 0 && (data[0].effective & needed) == needed;
}

/* "1,2,3", or "-" for none. */
static enum kek_rc list_groups(const struct kek_config_provider *provider, char *out, size_t size,
                               struct kek_why *why)
{
    size_t at = 0, count = count_strings(provider->groups);
    if (count > KEK_PROGRAM_GROUPS_MAX) {
        return kek_fail(why, KEK_INVALID, "provider %s: more than %d groups", provider->name,
                        KEK_PROGRAM_GROUPS_MAX);
    }
    snprintf(out, size, "-");
    for (size_t i = 0; i < count; i++) {
        const struct group *group = getgrnam(provider->groups[i]);
        if (group == NULL) {
            return kek_fail(why, KEK_NOT_FOUND, "provider %s: there is no group %s", provider->name,
                            provider->groups[i]);
        }
        at += (size_t)snprintf(out + at, size - at, "%s%u", i == 0 ? "" : ",", group->gr_gid);
    }
    return KEK_OK;
}

/* The arguments that change the user; libuv's own flags would keep kekd's groups in silence where
 * setgroups(2) fails, and cannot set any. */
static enum kek_rc run_as(struct kek_program *program, const char *worker_dir,
                          const struct kek_config_provider *provider, struct kek_why *why)
{
    uid_t uid = geteuid();
    gid_t gid = getegid();
    if (provider->user != NULL) {
        const struct passwd *user = getpwnam(provider->user);
        if (user == NULL) {
            return kek_fail(why, KEK_NOT_FOUND, "provider %s: there is no user %s", provider->name,
                            provider->user);
        }
        uid = user->pw_uid;
        gid = user->pw_gid;
    }
    if (!may_change_user()) {
        return kek_fail(why, KEK_DENIED,
                        "provider %s: user and groups need root, or CAP_SETUID, CAP_SETGID and "
                        "CAP_KILL",
                        provider->name);
    }
    snprintf(program->uid, sizeof program->uid, "%u", uid);
    snprintf(program->gid, sizeof program->gid, "%u", gid);
    enum kek_rc rc = list_groups(provider, program->groups, sizeof program->groups, why);
    return rc == KEK_OK ? locate(worker_dir, RUN_AS, program->as, why) : rc;
}

enum kek_rc kek_program_find(struct kek_program *program, const char *worker_dir,
                             const struct kek_config_provider *provider, bool officer,
                             struct kek_why *why)
{
    static char role[] = "--role", roles[][8] = {"serve", "officer"};
    char name[64];
    char *as[] = {program->as, program->uid, program->gid, program->groups};
    char *worker[] = {program->worker, role, roles[officer]};
    size_t count = 0;
    program->env = make_environment(provider->env);
    if (program->env == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory for provider %s", provider->name);
    }
    if (provider->user != NULL || provider->groups != NULL) {
        enum kek_rc rc = run_as(program, worker_dir, provider, why);
        if (rc != KEK_OK) {
            return rc;
        }
        memcpy(program->argv, as, sizeof as);
        count = sizeof as / sizeof as[0];
    }
    memcpy(program->argv + count, worker, sizeof worker);
    snprintf(name, sizeof name, "kekd-%s", provider->type);
    return locate(worker_dir, name, program->worker, why);
}

void kek_program_done(struct kek_program *program)
{
    free(program->env);
    program->env = NULL;
}
