#include "writers.h"

#include <dirent.h>
#include <stdio.h>

/* Where it is not certain who kekd is, it may be of any group. */
static bool is_kekds_group(const struct doctor *doctor, gid_t gid)
{
    const struct who *who = &doctor->who;
    bool is = !who->known || who->against[0] != '\0' || who->gid == gid;
    for (int i = 0; i < who->group_count; i++) {
        is = is || who->groups[i] == gid;
    }
    return is;
}

/* The bits of the mode that let others write there. */
static mode_t bits_of(const struct doctor *doctor, const struct stat *about, bool is_alone)
{
    bool is_sticky = S_ISDIR(about->st_mode) && (about->st_mode & S_ISVTX) != 0;
    bool is_own = is_kekds_group(doctor, about->st_gid);
    mode_t mask = is_alone    ? S_IWOTH | S_IWGRP
                  : is_sticky ? 0
                  : is_own    ? S_IWOTH
                              : S_IWOTH | S_IWGRP;
    return about->st_mode & mask;
}

/* What takes them away, and leaves it to kekd's user. more: "-R ", where it is also of what is in it. */
static void say_what_to_do(const struct doctor *doctor, const struct written *written,
                           const struct stat *about, mode_t bits, const char *more,
                           char todo[static LINES_TODO])
{
    const struct who *who = &doctor->who;
    char shown[PATH_MAX], mode[PATH_MAX + 32];
    if (doctor_move_elsewhere(doctor, written->path, written->at, todo)) {
        return;
    }
    lines_quote(written->at, shown, sizeof shown);
    snprintf(mode, sizeof mode, "chmod %s%s%s-w %s", more, (bits & S_IWGRP) != 0 ? "g" : "",
             (bits & S_IWOTH) != 0 ? "o" : "", shown);
    if (written->is_needed && who->known && who->uid != 0 && about->st_uid != who->uid) {
        doctor_give(doctor, todo, "chown %s%s %s && %s", more, who->name, shown, mode);
    } else {
        lines_todo(todo, "%s", mode);
    }
}

bool writers_judge(struct doctor *doctor, const char *subject, const struct written *written)
{
    char todo[LINES_TODO], others[64] = "anybody";
    struct stat about;
    mode_t bits = stat(written->at, &about) == 0 ? bits_of(doctor, &about, written->is_alone) : 0;
    if (bits == 0) {
        return false;
    }
    if ((bits & S_IWOTH) == 0) {
        snprintf(others, sizeof others, "group %u", (unsigned)about.st_gid);
    }
    say_what_to_do(doctor, written, &about, bits, "", todo);
    lines_add(&doctor->lines, DOCTOR_WARN, subject, todo, "%s%s has mode %04o, so %s may %s",
              written->what, written->path, (unsigned)about.st_mode & 07777, others, written->so);
    return true;
}

bool writers_judge_files(struct doctor *doctor, const char *subject, const char *folder)
{
    const struct written written = {.path = folder, .at = folder, .is_needed = true};
    char todo[LINES_TODO];
    bool found = false;
    DIR *items = opendir(folder);
    for (const struct dirent *item = items == NULL ? NULL : readdir(items); item != NULL && !found;
         item = readdir(items)) {
        char path[PATH_MAX + 256];
        struct stat about;
        snprintf(path, sizeof path, "%s/%s", folder, item->d_name);
        mode_t bits =
            lstat(path, &about) == 0 && S_ISREG(about.st_mode) ? bits_of(doctor, &about, false) : 0;
        if (bits != 0) {
            say_what_to_do(doctor, &written, &about, S_IWGRP | S_IWOTH, "-R ", todo);
            lines_add(&doctor->lines, DOCTOR_WARN, subject, todo,
                      "%s in %s has mode %04o, so others may change it", item->d_name, folder,
                      (unsigned)about.st_mode & 07777);
            found = true;
        }
    }
    if (items != NULL) {
        (void)closedir(items);
    }
    return found;
}
