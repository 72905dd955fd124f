#include "secrets.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "below.h"
#include "kek/small_file.h"
#include "writers.h"

#define ARENA (1u << 18)    /* the first that is made stays: as kekctl's others */
#define LINE_BYTES_MAX 8192 /* of the longest of them, a token; a PIN's own limit is its worker's */

void secrets_write(const struct doctor *doctor, const struct secret_file *file,
                   char todo[static LINES_TODO])
{
    char shown[PATH_MAX];
    lines_quote(file->path, shown, sizeof shown);
    if (file->variable == NULL) {
        doctor_give(doctor, todo,
                    "put it there, chown %s %s && chmod 0600 %s; or correct its path in "
                    "%s",
                    doctor->who.name, shown, shown, doctor->ctl.config_path);
        return;
    }
    /* By itself first: what is before a pipe does not end what is behind it. */
    doctor_give(doctor, todo,
                ": \"${%s:?}\" && printf '%%s\\n' \"$%s\" | install -m 0400 -o %s -g %s /dev/stdin "
                "%s # by a variable: read -rs %s",
                file->variable, file->variable, doctor->who.name, doctor->who.group, shown,
                file->variable);
}

static void say_to_write(struct doctor *doctor, const char *subject, const struct secret_file *file,
                         const char *seen)
{
    char todo[LINES_TODO];
    secrets_write(doctor, file, todo);
    lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo, "%s", seen);
}

/* A line where others may put another file in its place. */
static bool is_replaceable(struct doctor *doctor, const char *subject,
                           const struct secret_file *file)
{
    char folder[PATH_MAX], what[128];
    snprintf(what, sizeof what, "the folder of %s", file->what);
    const struct written written = {
        .what = what, .path = file->path, .at = folder, .so = "put another one in its place"};
    return below_folder(file->path, folder, sizeof folder) &&
           writers_judge(doctor, subject, &written);
}

/* True: nobody may use it who must not. */
static bool judge_about(struct doctor *doctor, const char *subject, const struct secret_file *file,
                        const struct stat *about)
{
    char todo[LINES_TODO], shown[PATH_MAX];
    lines_quote(file->path, shown, sizeof shown);
    doctor_give(doctor, todo, "chown %s %s && chmod 0600 %s", doctor->who.name, shown, shown);
    uid_t user = doctor_is_stranger(doctor) && doctor->who.known ? doctor->who.uid : geteuid();
    if (file->owned && about->st_uid != 0 && about->st_uid != user) {
        lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo,
                  "%s%s is of uid %u, and no worker takes it", file->what, file->path,
                  (unsigned)about->st_uid);
        return false;
    }
    if ((about->st_mode & file->forbidden) != 0) {
        lines_add(&doctor->lines, file->public, subject, todo,
                  "%s%s has mode %04o, so others may use it%s", file->what, file->path,
                  (unsigned)about->st_mode & 07777,
                  file->public == DOCTOR_FAIL ? ", and nothing takes it so" : "");
        return false;
    }
    if (!doctor_is_stranger(doctor) && about->st_uid != 0 && about->st_uid != user) {
        lines_add(&doctor->lines, DOCTOR_WARN, subject, todo,
                  "%s%s is of uid %u, who may use it, too", file->what, file->path,
                  (unsigned)about->st_uid);
        return false;
    }
    return !is_replaceable(doctor, subject, file);
}

/* In locked memory, wiped at once. */
static bool judge_line(struct doctor *doctor, const char *subject, const struct secret_file *file,
                       struct stat *about)
{
    const struct kek_small_file small = {
        .what = file->what, .path = file->path, .max = LINE_BYTES_MAX};
    KEK_AUTO(kek_secret) line = NULL;
    struct kek_why why;
    bool locked;
    enum kek_rc rc = kek_secret_setup(ARENA, &locked, &why);
    rc = rc == KEK_OK ? kek_small_file_line(&small, &line, about, &why) : rc;
    if (rc == KEK_OK) {
        return true;
    }
    if (rc == KEK_NO_MEMORY) {
        lines_add(&doctor->lines, DOCTOR_UNSEEN, subject, "ulimit -l unlimited, in this shell",
                  "not looked at: %s", why.text);
    } else {
        say_to_write(doctor, subject, file, why.text);
    }
    return false;
}

bool secrets_judge(struct doctor *doctor, const char *subject, const struct secret_file *file,
                   struct stat *about)
{
    struct stat own;
    char seen[KEK_WHY_TEXT];
    about = about == NULL ? &own : about;
    if (stat(file->path, about) != 0 && (errno == ENOENT || errno == ENOTDIR)) {
        snprintf(seen, sizeof seen, "%s%s is not there", file->what, file->path);
        say_to_write(doctor, subject, file, seen);
        return false;
    }
    if (!doctor_reaches(doctor, subject, file->path, R_OK, true) || stat(file->path, about) != 0) {
        return false;
    }
    if (!S_ISREG(about->st_mode)) {
        lines_add(&doctor->lines, DOCTOR_FAIL, subject, "correct its path, or put a file there",
                  "%s%s is no regular file", file->what, file->path);
        return false;
    }
    if (!judge_about(doctor, subject, file, about)) {
        return false;
    }
    if (file->is_line) {
        return judge_line(doctor, subject, file, about);
    }
    if (about->st_size == 0) {
        snprintf(seen, sizeof seen, "%s%s is empty", file->what, file->path);
        say_to_write(doctor, subject, file, seen);
        return false;
    }
    return true;
}

bool secrets_judge_mode(struct doctor *doctor, const char *subject, const struct secret_file *file)
{
    struct stat about;
    char todo[LINES_TODO], shown[PATH_MAX];
    if (stat(file->path, &about) != 0) {
        if (errno != ENOENT && errno != ENOTDIR) {
            return true;
        }
        lines_todo(todo, "put it there, or in %s correct its path", doctor->ctl.config_path);
        lines_add(&doctor->lines, DOCTOR_WARN, subject, todo,
                  "%s%s is not there: kekd serves, and kekctl cannot do what it is for", file->what,
                  file->path);
        return false;
    }
    if ((about.st_mode & file->forbidden) == 0) {
        return true;
    }
    lines_quote(file->path, shown, sizeof shown);
    lines_todo(todo, "chmod %s %s", (file->forbidden & S_IRGRP) != 0 ? "go-rwx" : "o-rwx,g-w",
               shown);
    lines_add(&doctor->lines, DOCTOR_WARN, subject, todo,
              "%s%s has mode %04o, so others may use it", file->what, file->path,
              (unsigned)about.st_mode & 07777);
    return false;
}
