/*
 * A file with a secret in it, by the rules of whoever reads it: may kekd's user use it, may nobody else, and is something in
 * it that can be a secret?  It is read as a worker reads it, and no byte of it is shown or tried.
 */
#ifndef KEKCTL_DOCTOR_SECRETS_H
#define KEKCTL_DOCTOR_SECRETS_H

#include <sys/stat.h>

#include "doctor.h"

struct secret_file {
    const char *what; /* stands before the path in messages: "PIN file " */
    const char *path;
    mode_t forbidden;           /* bits that its mode must not have */
    enum doctor_verdict public; /* where it has one: FAIL, or WARN where its reader takes it so */
    bool is_line;               /* one line; else it is only not empty */
    bool owned;                 /* of root or of the user who reads it */
    /* The variable that a command takes what is to stand in it from; NULL: no command makes it. */
    const char *variable;
};

/* A line, if it is not as it must be. about: of the file as it was read; may be NULL. */
bool secrets_judge(struct doctor *doctor, const char *subject, const struct secret_file *file,
                   struct stat *about);

/* Of a file that kekctl reads and kekd does not: a line where others may, or where it is missing. One that kekd's user does not
 * see is well. */
bool secrets_judge_mode(struct doctor *doctor, const char *subject, const struct secret_file *file);

/* The command that writes it anew, of nobody's but kekd's user; an unset variable writes nothing. */
void secrets_write(const struct doctor *doctor, const struct secret_file *file,
                   char todo[static LINES_TODO]);

#endif
