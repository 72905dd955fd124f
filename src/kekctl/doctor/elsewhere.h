/*
 * A kekd that runs here, and not on the record that the configuration names: state_dir or keyring was mistyped or changed under
 * it, or the folder was replaced.  Which of the two is right is to be settled before anything is made, ended or started.
 *
 * It is known by its command line, which names the same configuration, or by the socket or port that it listens at, and its
 * record by the lock that it holds (/proc/PID/fd).  What the caller may not see there is not found.
 */
#ifndef KEKCTL_DOCTOR_ELSEWHERE_H
#define KEKCTL_DOCTOR_ELSEWHERE_H

#include <limits.h>
#include <stdbool.h>
#include <sys/types.h>

#include "kek/config.h"

struct elsewhere {
    pid_t pid;                /* 0: there is none */
    bool is_started_so;       /* with the same configuration; else it listens where that says */
    char state_dir[PATH_MAX]; /* of its record */
    char keyring[256];        /* likewise */
    bool is_gone;             /* that folder was removed under it */
    bool is_here;             /* that folder is the configuration's: the keyring is another */
};

/* path: of the configuration. */
void elsewhere_find(struct elsewhere *found, const struct kek_config *config, const char *path);

/* Is it one of the configuration's keyrings? */
bool elsewhere_is_keyring(const struct kek_config *config, const char *keyring);

#endif
