/*
 * Who may write to a file or a folder that is kekd's: its owner, and the groups of the user that kekd runs as.  Who may write in
 * a folder may put another file in the place of one that is there, but where its sticky bit keeps that.
 */
#ifndef KEKCTL_DOCTOR_WRITERS_H
#define KEKCTL_DOCTOR_WRITERS_H

#include <sys/stat.h>

#include "doctor.h"

struct written {
    const char *what; /* stands before the path in messages: "the folder of PIN file " */
    const char *path; /* what it is about */
    const char *at;   /* what may be written: the path, or a folder that it is in */
    bool is_alone;    /* kekd's user's, and no group's, and kekd makes files there */
    bool is_needed;   /* kekd writes there itself */
    const char *so;   /* what others may do then: "put another one in its place" */
};

/* A line where others may write there; true: there is one. */
bool writers_judge(struct doctor *doctor, const char *subject, const struct written *written);

/* The same for what is in a folder that others may not write in: of the first such file. */
bool writers_judge_files(struct doctor *doctor, const char *subject, const char *folder);

#endif
