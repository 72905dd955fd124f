#include "who.h"

#include <grp.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kek/keyring.h"
#include "kek/text.h"
#include "lines.h"
#include "owners.h"

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

static void miss(struct who *who, const char *key, const char *name)
{
    who->missing_key = key;
    snprintf(who->missing, sizeof who->missing, "%s", name);
}

static bool add_group(void *arg, const char *word)
{
    struct who *who = arg;
    const struct group *group = getgrnam(word);
    if (group == NULL) {
        miss(who, "SupplementaryGroups", word);
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
    snprintf(who->source, sizeof who->source, "User= of %s", unit_source(unit, "Service", "User"));
    if (user == NULL) {
        miss(who, "User", name == NULL ? "root" : name);
        return;
    }
    take_user(who, user);
    const struct group *entry = group == NULL ? NULL : getgrnam(group);
    if (group != NULL && entry == NULL) {
        miss(who, "Group", group);
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

/* The kekd that runs is another user's than the unit's.  Where files are, too, it is not to be started anew as the wrong one. */
static void compare_process(struct who *who, pid_t pid, uid_t uid)
{
    char name[64];
    size_t at = strlen(who->against);
    if (uid == who->uid) {
        return;
    }
    owners_name(uid, name);
    snprintf(who->against + at, sizeof who->against - at,
             "%sprocess %d, which runs on this state_dir, is %s's", at > 0 ? ", " : "", (int)pid,
             name);
    if (at == 0) {
        snprintf(who->todo, sizeof who->todo,
                 "systemctl restart kekd.service # and end process %d first, where systemd did not "
                 "start it",
                 (int)pid);
    }
}

/* The unit's user, and files of kekd's that are most of another's: either is wrong.  What root made for others says nothing, and
 * root itself can use all of them. */
static void compare_files(struct who *who, const struct who_facts *facts)
{
    char list[WHO_TEXT - 64], name[64], place[UNIT_PLACE];
    struct owners owners;
    owners_find(&owners, facts->config);
    const struct owner *other = owners_likely(&owners);
    if (other == NULL || other->uid == 0 || other->uid == who->uid ||
        (who->uid != 0 && owners_count(&owners, other->uid) <= owners_count(&owners, who->uid))) {
        return;
    }
    owners_name(other->uid, name);
    owners_list(&owners, list, sizeof list);
    unit_place(facts->unit, "Service", "User", place);
    snprintf(who->against, sizeof who->against, "%s", list);
    snprintf(who->todo, sizeof who->todo,
             "in %s: User=%s # then systemctl daemon-reload; or, where kekd is to run as %s: give "
             "it those files",
             place, name, who->name);
}

/* A name that is mistyped, unless it is kekd's own, which its package makes. */
static void say_missing(struct who *who, const struct who_facts *facts)
{
    char place[UNIT_PLACE], name[64] = "";
    struct owners owners = {.count = 0};
    if (strcmp(who->missing, "kekd") == 0) {
        snprintf(who->todo, sizeof who->todo, "systemd-sysusers kekd.conf");
        return;
    }
    if (facts->config != NULL && strcmp(who->missing_key, "User") == 0) {
        owners_find(&owners, facts->config);
    }
    const struct owner *likely = owners_likely(&owners);
    if (likely != NULL) {
        owners_name(likely->uid, name);
    }
    unit_place(facts->unit, "Service", who->missing_key, place);
    snprintf(who->source, sizeof who->source, "%s= of %s", who->missing_key,
             unit_source(facts->unit, "Service", who->missing_key));
    snprintf(who->todo, sizeof who->todo,
             "in %s: %s=%s # the right one; then systemctl daemon-reload", place, who->missing_key,
             name);
}

/* A kekd that runs as root on another's state_dir. */
static void compare_state(struct who *who, const char *state_dir, pid_t pid)
{
    char name[64], shown[PATH_MAX];
    struct stat about;
    if (who->uid != 0 || !owner_of(state_dir, S_IFDIR, &about) || about.st_uid == 0) {
        return;
    }
    owners_name(about.st_uid, name);
    lines_quote(state_dir, shown, sizeof shown);
    snprintf(who->against, sizeof who->against, "state_dir %s is %s's", state_dir, name);
    snprintf(who->todo, sizeof who->todo,
             "end process %d, and start kekd as %s; or, where it is to run as root: "
             "chown -R root: %s",
             (int)pid, name, shown);
}

static void take_running(struct who *who, const struct who_facts *facts, uid_t uid, gid_t gid)
{
    take_id(who, uid, gid);
    snprintf(
        who->source, sizeof who->source,
        "process %d, which runs on this state_dir; no unit says User=", (int)facts->runner.pid);
    compare_state(who, facts->config->state_dir, facts->runner.pid);
}

/* Where they are of several users, one of them was given to the wrong one, and which it is nobody says. */
static void compare_owners(struct who *who, const struct owners *owners)
{
    char list[WHO_TEXT - 64];
    if (owners_agree(owners)) {
        return;
    }
    owners_list(owners, list, sizeof list);
    snprintf(who->against, sizeof who->against, "doctor cannot know whom kekd runs as: %s", list);
    if (!owners_todo(owners, who->todo)) {
        snprintf(who->todo, sizeof who->todo,
                 "--unit FILE, whose User= says it; or start kekd, and whom it runs as counts");
    }
}

static void take_owners(struct who *who, const struct who_facts *facts)
{
    const struct kek_lock_holder *runner = &facts->runner;
    bool unseen = runner->there || runner->hidden;
    struct owners owners;
    owners_find(&owners, facts->config);
    /* A kekd that is not seen is not of the user who asks. */
    const struct owner *likely =
        unseen && owners.count > 0 ? &owners.list[0] : owners_likely(&owners);
    if (likely == NULL) {
        return;
    }
    take_id(who, likely->uid, likely->gid);
    snprintf(who->source, sizeof who->source, "the owner of %s %s; no unit says User=, and %s",
             likely->what, likely->path,
             runner->there    ? "the process of the kekd that runs here is not known"
             : runner->hidden ? "whether a kekd runs here this user may not see"
                              : "no kekd runs here");
    if (!unseen) {
        compare_owners(who, &owners);
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
        bool good = who->known && who->missing[0] == '\0';
        if (who->missing[0] != '\0') {
            say_missing(who, facts);
        }
        if (good && facts->config != NULL) {
            compare_files(
                who, facts); /* a process of theirs is not to be started anew as the wrong one */
        }
        if (good && runs) {
            compare_process(who, facts->runner.pid, uid);
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
