/* What is to be done: commands that work here, and what opens a file to the user that kekd runs as. */
#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "doctor.h"
#include "reach.h"

static void put_command(const struct doctor *doctor, const char *before, const char *rest,
                        char out[static LINES_TODO])
{
    char config[PATH_MAX] = "";
    if (doctor->ctl.config_given) {
        lines_quote(doctor->ctl.config_path, config, sizeof config);
    }
    lines_todo(out, "%skekctl %s%s%s%s", before, config[0] == '\0' ? "" : "--config ", config,
               config[0] == '\0' ? "" : " ", rest);
}

void doctor_command(const struct doctor *doctor, char out[static LINES_TODO], const char *format,
                    ...)
{
    char rest[LINES_TODO];
    va_list args;
    va_start(args, format);
    lines_vtodo(rest, format, args);
    va_end(args);
    put_command(doctor, "", rest, out);
}

void doctor_user_command(const struct doctor *doctor, char out[static LINES_TODO],
                         const char *format, ...)
{
    char rest[LINES_TODO], before[128] = "";
    va_list args;
    va_start(args, format);
    lines_vtodo(rest, format, args);
    va_end(args);
    if (doctor->became) {
        snprintf(before, sizeof before, "runuser -u %s -- ", doctor->who.name);
    }
    put_command(doctor, before, rest, out);
}

void doctor_give(const struct doctor *doctor, char todo[static LINES_TODO], const char *format, ...)
{
    va_list args;
    if (doctor->who.against[0] != '\0' || doctor->who.missing[0] != '\0') {
        lines_todo(todo, "the line of user first");
        return;
    }
    if (doctor_elsewhere_waits(doctor, todo)) {
        return;
    }
    va_start(args, format);
    lines_vtodo(todo, format, args);
    va_end(args);
}

/* Folders that are everybody's: nobody gives one away, nor opens it, for the sake of a file. */
bool doctor_is_everybodys(const char *path)
{
    static const char *const shared[] = {
        "/",    "/dev", "/etc", "/home", "/opt", "/proc",    "/run",     "/root",   "/srv",
        "/sys", "/tmp", "/usr", "/var",  "/mnt", "/var/lib", "/var/log", "/var/run"};
    for (size_t i = 0; i < sizeof shared / sizeof shared[0]; i++) {
        if (strcmp(path, shared[i]) == 0) {
            return true;
        }
    }
    return false;
}

bool doctor_move_elsewhere(const struct doctor *doctor, const char *path, const char *at,
                           char todo[static LINES_TODO])
{
    if (!doctor_is_everybodys(at)) {
        return false;
    }
    lines_todo(todo,
               "put %s into a folder of its own, which user %s may use, and correct its path in "
               "%s: %s is everybody's",
               path, doctor->who.name, doctor->ctl.config_path, at);
    return true;
}

/* Another group than kekd's gets at it by its group, and would not any more: what is to be done then. */
static bool is_of_a_group(const struct doctor *doctor, const char *path, const char *at, mode_t bit,
                          char todo[static LINES_TODO])
{
    struct stat about;
    if (stat(at, &about) != 0 || about.st_gid == 0 || about.st_gid == doctor->who.gid ||
        (about.st_mode & bit) == 0) {
        return false;
    }
    lines_todo(todo,
               "put a copy of %s into a folder of its own, which user %s may use, and correct its "
               "path in %s: %s is for group %u",
               path, doctor->who.name, doctor->ctl.config_path, at, (unsigned)about.st_gid);
    return true;
}

/* Narrower than for everybody, and no wider than is asked for. */
static void let(const struct doctor *doctor, const char *path, int mode, bool secret,
                char todo[static LINES_TODO])
{
    bool passes = (mode & X_OK) != 0, writes = (mode & W_OK) != 0;
    if (secret) {
        doctor_give(doctor, todo, "chown %s %s && chmod 0600 %s", doctor->who.name, path, path);
    } else if (writes) {
        doctor_give(doctor, todo, "chown %s %s && chmod u+rw%s %s", doctor->who.name, path,
                    passes ? "x" : "", path);
    } else {
        doctor_give(doctor, todo, "chgrp %s %s && chmod g+%s %s", doctor->who.group, path,
                    passes ? "x" : "r", path);
    }
}

bool doctor_is_stranger(const struct doctor *doctor)
{
    const struct who *who = &doctor->who;
    return !doctor->became && geteuid() != 0 &&
           (who->known ? who->uid != geteuid() : doctor->runner.hidden);
}

void doctor_say_unseen(struct doctor *doctor, const char *subject, const char *format, ...)
{
    char text[LINES_TODO], todo[LINES_TODO];
    va_list args;
    va_start(args, format);
    lines_vtodo(text, format, args);
    va_end(args);
    if (doctor->became) { /* kekd's user, whom state_dir is shut to */
        lines_todo(todo, "the line of state_dir first");
    } else {
        doctor_command(doctor, todo, "doctor # as root");
    }
    lines_add(&doctor->lines, DOCTOR_UNSEEN, subject, todo, "not judged: %s", text);
}

void doctor_let(const struct doctor *doctor, const char *path, int mode, bool secret,
                const struct reach *found, char todo[static LINES_TODO])
{
    char at[PATH_MAX];
    lines_quote(found->at, at, sizeof at);
    lines_todo(todo, "put it there, or correct its path in %s", doctor->ctl.config_path);
    if (found->end != REACH_MISSING && found->error == EACCES &&
        doctor_move_elsewhere(doctor, path, found->at, todo)) {
        return;
    }
    bool shut = found->end == REACH_SHUT;
    if (found->error == EACCES && (shut || (mode == R_OK && !secret)) &&
        is_of_a_group(doctor, path, found->at, shut ? S_IXGRP : S_IRGRP, todo)) {
        return;
    }
    if (shut) {
        let(doctor, at, X_OK, false, todo);
    } else if (found->end == REACH_DENIED && found->error == EACCES) {
        let(doctor, at, mode, secret, todo);
    } else if (found->end == REACH_DENIED) {
        lines_todo(todo, "let %s be written (a file system that is not read-only)", at);
    }
}

bool doctor_reaches(struct doctor *doctor, const char *subject, const char *path, int mode,
                    bool secret)
{
    struct reach found;
    char todo[LINES_TODO];
    reach(path, mode, &found);
    if (found.end == REACH_GOOD) {
        return true;
    }
    if (doctor_is_stranger(doctor) && found.error == EACCES) {
        doctor_say_unseen(doctor, subject, "uid %u, who asks, may not use %s: %s: %s",
                          (unsigned)geteuid(), path, found.at, strerror(found.error));
        return false;
    }
    doctor_let(doctor, path, mode, secret, &found, todo);
    lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo, "user %s cannot use %s: %s: %s",
              doctor->who.name, path, found.at, strerror(found.error));
    return false;
}

void doctor_say_missing(struct doctor *doctor, enum doctor_verdict verdict, const char *subject,
                        const char *path, const char *mode)
{
    char shown[PATH_MAX], todo[LINES_TODO];
    lines_quote(path, shown, sizeof shown);
    doctor_give(doctor, todo, "install -d -m %s -o %s -g %s %s", mode, doctor->who.name,
                doctor->who.group, shown);
    lines_add(&doctor->lines, verdict, subject, todo, "%s is not there%s", path,
              verdict == DOCTOR_WARN ? " yet: kekd makes it when it starts" : "");
}
