/* doctor: a kekd that runs here, and not on the record that the configuration names. */
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "doctor.h"

#define SUBJECT "kekd"

bool doctor_elsewhere_waits(const struct doctor *doctor, char todo[static LINES_TODO])
{
    if (doctor->elsewhere.pid == 0) {
        return false;
    }
    lines_todo(todo, "the line of " SUBJECT " first");
    return true;
}

/* Of a folder that stands under another name than the configuration's only the lock was removed. */
static bool is_to_be_made(const struct doctor *doctor)
{
    struct stat about;
    const char *folder = doctor->elsewhere.state_dir;
    return strcmp(folder, doctor->config->state_dir) == 0 || stat(folder, &about) != 0;
}

/* Its own configuration may be another one: then the two disagree about a socket or port. */
static void say_todo(const struct doctor *doctor, char todo[static LINES_TODO])
{
    const struct elsewhere *found = &doctor->elsewhere;
    const char *file = doctor->config->path;
    if (found->is_here) {
        lines_todo(todo, "in %s: keyring: %s", file, found->keyring);
    } else if (found->is_gone && is_to_be_made(doctor)) {
        lines_todo(todo,
                   "make %s anew, empty and user %s's: process %d puts there what it announced; "
                   "leave it alone till then # docs/operations.md, state_dir",
                   found->state_dir, doctor->who.name, (int)found->pid);
    } else {
        lines_todo(todo, "in %s: state_dir: %s # or, where that folder was moved, move it back",
                   file, found->state_dir);
    }
    if (!found->is_started_so) {
        size_t at = strlen(todo);
        snprintf(todo + at, LINES_TODO - at,
                 "; or, where that kekd is another cluster's: another listen, metrics and "
                 "status.listen");
    }
}

void doctor_elsewhere(struct doctor *doctor)
{
    const struct elsewhere *found = &doctor->elsewhere;
    char todo[LINES_TODO];
    if (doctor->config == NULL || found->pid == 0) {
        return;
    }
    say_todo(doctor, todo);
    lines_add(
        &doctor->lines, DOCTOR_FAIL, SUBJECT, todo,
        "process %d, a kekd %s, runs on state_dir %s%s, keyring %s, and not on %s, keyring %s: "
        "one that starts there does not know what it announced",
        (int)found->pid,
        found->is_started_so ? "with this configuration"
                             : "that listens where this configuration says",
        found->state_dir, found->is_gone ? " (which is gone)" : "", found->keyring,
        doctor->config->state_dir, doctor->config->keyring);
}
