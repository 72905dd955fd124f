#include "who.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/keyring.h"
#include "kek/text.h"
#include "lines.h"

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

static void take_id(struct who *who, uid_t uid, gid_t gid)
{
    const struct passwd *user = getpwuid(uid);
    if (user != NULL) {
        take_user(who, user);
        return;
    }
    who->known = true;
    who->uid = uid;
    who->gid = gid;
    snprintf(who->name, sizeof who->name, "%u", (unsigned)uid);
    name_group(who);
}

static bool owner_of(const char *path, mode_t type, struct stat *about)
{
    return stat(path, about) == 0 && (about->st_mode & S_IFMT) == type;
}

/* By its status: the owner of the folder in /proc is root's where a process hides its memory, as kekd does. */
static bool user_of_process(pid_t pid, uid_t *uid, gid_t *gid)
{
    char path[64], line[256];
    bool has_uid = false, has_gid = false;
    snprintf(path, sizeof path, "/proc/%d/status", (int)pid);
    FILE *file = pid <= 0 ? NULL : fopen(path, "re");
    while (file != NULL && fgets(line, sizeof line, file) != NULL) {
        const char *at = line + strlen("Uid:");
        uint64_t value;
        bool is_uid = strncmp(line, "Uid:", 4) == 0, is_gid = strncmp(line, "Gid:", 4) == 0;
        at += is_uid || is_gid ? strspn(at, " \t") : 0;
        if ((!is_uid && !is_gid) || !kek_text_digits(&at, UINT32_MAX, &value)) {
            continue;
        }
        *(is_uid ? uid : gid) = (uint32_t)value;
        has_uid = has_uid || is_uid;
        has_gid = has_gid || is_gid;
    }
    if (file != NULL) {
        (void)fclose(file);
    }
    return has_uid && has_gid;
}

static void name_id(uid_t uid, char name[static 64])
{
    const struct passwd *user = getpwuid(uid);
    if (user != NULL) {
        snprintf(name, 64, "%s", user->pw_name);
    } else {
        snprintf(name, 64, "%u", (unsigned)uid);
    }
}

/* The kekd that runs is another user's than the unit's. */
static void compare_process(struct who *who, pid_t pid, uid_t uid)
{
    char name[64];
    if (uid == who->uid) {
        return;
    }
    name_id(uid, name);
    snprintf(who->against, sizeof who->against, "process %d, which runs on this state_dir, is %s's",
             (int)pid, name);
    snprintf(who->todo, sizeof who->todo,
             "systemctl restart kekd.service # and end process %d first, where systemd did not "
             "start it",
             (int)pid);
}

/* Of another user than root, the line of state_dir says whether it can be used. */
static void compare_state(struct who *who, const char *state_dir)
{
    char name[64], shown[PATH_MAX];
    struct stat about;
    if (who->against[0] != '\0' || who->uid != 0 || !owner_of(state_dir, S_IFDIR, &about) ||
        about.st_uid == 0) {
        return;
    }
    name_id(about.st_uid, name);
    lines_quote(state_dir, shown, sizeof shown);
    snprintf(who->against, sizeof who->against, "state_dir %s is %s's", state_dir, name);
    snprintf(who->todo, sizeof who->todo,
             "chown -R root: %s # or User=%s in the unit, where kekd is to run as that user", shown,
             name);
}

/* Nobody runs: a socket is what the last kekd left there. */
static void compare_socket(struct who *who, const struct kek_config *config)
{
    char name[64], shown[PATH_MAX];
    struct stat about;
    if (!owner_of(config->listen, S_IFSOCK, &about) || about.st_uid == who->uid) {
        return;
    }
    name_id(about.st_uid, name);
    snprintf(who->against, sizeof who->against, "the socket %s is %s's", config->listen, name);
    if (about.st_uid == 0) {
        lines_quote(config->listen, shown, sizeof shown);
        snprintf(who->todo, sizeof who->todo,
                 "rm %s # no kekd runs here, and the next one makes it anew", shown);
        return;
    }
    lines_quote(config->state_dir, shown, sizeof shown);
    snprintf(who->todo, sizeof who->todo,
             "chown -R %s: %s # where kekd is to run as %s; else remove that socket", name, shown,
             name);
}

static void take_running(struct who *who, const struct who_facts *facts, uid_t uid, gid_t gid)
{
    take_id(who, uid, gid);
    snprintf(
        who->source, sizeof who->source,
        "process %d, which runs on this state_dir; no unit says User=", (int)facts->runner.pid);
    compare_state(who, facts->config->state_dir);
}

static void take_owners(struct who *who, const struct who_facts *facts)
{
    const char *alone =
        facts->runner.there ? "no unit says User=, and the process of the kekd that runs here is "
                              "not known"
        : facts->runner.hidden ? "no unit says User=, and whether a kekd runs here this user may "
                                 "not see"
                               : "no unit says User=, and no kekd runs here";
    const struct kek_config *config = facts->config;
    struct stat about;
    if (owner_of(config->state_dir, S_IFDIR, &about)) {
        take_id(who, about.st_uid, about.st_gid);
        snprintf(who->source, sizeof who->source, "the owner of state_dir %s; %s",
                 config->state_dir, alone);
        if (!facts->runner.there && !facts->runner.hidden) {
            compare_socket(who, config);
        }
    } else if (owner_of(config->listen, S_IFSOCK, &about)) {
        take_id(who, about.st_uid, about.st_gid);
        snprintf(who->source, sizeof who->source, "the owner of the socket %s; %s", config->listen,
                 alone);
    }
}

void who_find(struct who *who, const struct who_facts *facts)
{
    uid_t uid;
    gid_t gid;
    struct stat about;
    bool runs = user_of_process(facts->runner.pid, &uid, &gid);
    *who = (struct who){.known = false};
    if (facts->unit->path[0] != '\0') {
        take_unit(who, facts->unit);
        if (runs && who->known) {
            compare_process(who, facts->runner.pid, uid);
        }
        if (facts->config != NULL && who->known) {
            compare_state(who, facts->config->state_dir);
        }
    } else if (facts->config == NULL) {
        if (owner_of(facts->path, S_IFREG, &about) &&
            about.st_uid != 0) { /* root's is everybody's */
            take_id(who, about.st_uid, about.st_gid);
            snprintf(who->source, sizeof who->source, "the owner of the configuration %s",
                     facts->path);
        }
    } else if (runs) {
        take_running(who, facts, uid, gid);
    } else {
        take_owners(who, facts);
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
