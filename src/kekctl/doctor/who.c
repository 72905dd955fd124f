#include "who.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/text.h"

static void name_group(struct who *who)
{
    const struct group *group = getgrgid(who->gid);
    if (group != NULL) {
        snprintf(who->group, sizeof who->group, "%s", group->gr_name);
    } else {
        snprintf(who->group, sizeof who->group, "%u", (unsigned)who->gid);
    }
}

static void take_user(struct who *who, const struct passwd *user)
{
    who->known = true;
    who->uid = user->pw_uid;
    who->gid = user->pw_gid;
    snprintf(who->name, sizeof who->name, "%s", user->pw_name);
    who->group_count = WHO_GROUPS_MAX;
    if (getgrouplist(user->pw_name, user->pw_gid, who->groups, &who->group_count) < 0) {
        who->group_count = WHO_GROUPS_MAX;
    }
    name_group(who);
}

/* By name, or by number as systemd takes it too. */
static const struct passwd *find_user(const char *text)
{
    uint64_t uid;
    const struct passwd *user = getpwnam(text);
    return user == NULL && kek_text_decimal(text, UINT32_MAX - 1, &uid) ? getpwuid((uid_t)uid)
                                                                        : user;
}

static bool add_group(void *arg, const char *word)
{
    struct who *who = arg;
    const struct group *group = getgrnam(word);
    if (group == NULL) {
        snprintf(who->missing, sizeof who->missing, "%s", word);
        return false;
    }
    if (who->group_count < WHO_GROUPS_MAX) {
        who->groups[who->group_count++] = group->gr_gid;
    }
    return true;
}

static void take_unit(struct who *who, const struct unit *unit)
{
    const char *name = unit_value(unit, "Service", "User");
    const char *group = unit_value(unit, "Service", "Group");
    const struct passwd *user = find_user(name == NULL ? "root" : name);
    snprintf(who->source, sizeof who->source, "User= of %s", unit->path);
    if (user == NULL) {
        snprintf(who->missing, sizeof who->missing, "%s", name == NULL ? "root" : name);
        return;
    }
    take_user(who, user);
    const struct group *entry = group == NULL ? NULL : getgrnam(group);
    if (group != NULL && entry == NULL) {
        snprintf(who->missing, sizeof who->missing, "%s", group);
        return;
    }
    if (entry != NULL) {
        who->gid = entry->gr_gid;
        name_group(who);
    }
    unit_each(unit, "Service", "SupplementaryGroups", add_group, who);
}

static bool take_owner(struct who *who, const char *what, const char *path, mode_t type)
{
    struct stat about;
    if (stat(path, &about) != 0 || (about.st_mode & S_IFMT) != type) {
        return false;
    }
    const struct passwd *user = getpwuid(about.st_uid);
    snprintf(who->source, sizeof who->source, "the owner of %s %s", what, path);
    if (user != NULL) {
        take_user(who, user);
        return true;
    }
    *who = (struct who){.known = true, .uid = about.st_uid, .gid = about.st_gid};
    snprintf(who->name, sizeof who->name, "%u", (unsigned)who->uid);
    name_group(who);
    return true;
}

void who_find(struct who *who, const struct unit *unit, const char *path,
              const struct kek_config *config)
{
    *who = (struct who){.known = false};
    if (unit->path[0] != '\0') {
        take_unit(who, unit);
    } else if (config == NULL) {
        (void)take_owner(who, "the configuration", path, S_IFREG);
        who->known = who->known && who->uid != 0; /* root's is everybody's */
    } else if (!take_owner(who, "the socket", config->listen, S_IFSOCK)) {
        (void)take_owner(who, "state_dir", config->state_dir, S_IFDIR);
    }
}

bool who_become(const struct who *who)
{
    const struct passwd *user = getpwuid(who->uid);
    if (user != NULL) {
        (void)setenv("HOME", user->pw_dir, 1); /* where libraries look for files of their own */
    }
    return setgroups((size_t)who->group_count, who->groups) == 0 &&
           setresgid(who->gid, who->gid, who->gid) == 0 &&
           setresuid(who->uid, who->uid, who->uid) == 0;
}
