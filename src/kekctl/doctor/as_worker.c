#include "as_worker.h"

#include <fcntl.h>
#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/wait.h>
#include <unistd.h>

#include "become.h"

/* As kekd starts them: with the groups that are named, and no others. */
static bool find(const struct kek_config_provider *provider, struct who *who)
{
    const struct passwd *user = getpwnam(provider->user);
    if (user == NULL) {
        return false;
    }
    *who = (struct who){.known = true, .uid = user->pw_uid, .gid = user->pw_gid};
    snprintf(who->name, sizeof who->name, "%s", provider->user);
    const struct group *own = getgrgid(who->gid);
    if (own != NULL) {
        snprintf(who->group, sizeof who->group, "%s", own->gr_name);
    } else {
        snprintf(who->group, sizeof who->group, "%u", (unsigned)who->gid);
    }
    for (size_t i = 0; provider->groups != NULL && provider->groups[i] != NULL; i++) {
        const struct group *group = getgrnam(provider->groups[i]);
        if (group == NULL || who->group_count == WHO_GROUPS_MAX) {
            return false;
        }
        who->groups[who->group_count++] = group->gr_gid;
    }
    return true;
}

/* In the process of its own. */
static _Noreturn void
judge_and_leave(struct doctor *doctor, const struct kek_config_provider *provider,
                const struct who *who, int out,
                void (*judge)(struct doctor *doctor, const struct kek_config_provider *provider))
{
    size_t before = json_array_size(doctor->lines.list);
    doctor->who = *who;
    if (!become(who)) {
        _exit(1);
    }
    judge(doctor, provider);
    for (size_t i = 0; i < before; i++) {
        (void)json_array_remove(doctor->lines.list, 0);
    }
    _exit(doctor->lines.no_memory || json_dumpfd(doctor->lines.list, out, 0) != 0);
}

bool as_worker(struct doctor *doctor, const struct kek_config_provider *provider,
               void (*judge)(struct doctor *doctor, const struct kek_config_provider *provider))
{
    struct who who;
    int ends[2], status = 1;
    if (doctor->became || geteuid() != 0 || !find(provider, &who) || pipe2(ends, O_CLOEXEC) != 0) {
        return false;
    }
    pid_t child = fork();
    if (child == 0) {
        judge_and_leave(doctor, provider, &who, ends[1], judge);
    }
    close(ends[1]);
    json_t *list = child < 0 ? NULL : json_loadfd(ends[0], 0, NULL);
    close(ends[0]);
    bool good = child > 0 && waitpid(child, &status, 0) == child && status == 0 && list != NULL;
    if (good) {
        lines_take(&doctor->lines, list);
    }
    json_decref(list);
    return good;
}
