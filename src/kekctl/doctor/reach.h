/*
 * Can this process get at a file, and if not, what on the way is shut, and by which command is it opened?  Asked of the
 * kernel folder by folder, with the effective ids.
 */
#ifndef KEKCTL_DOCTOR_REACH_H
#define KEKCTL_DOCTOR_REACH_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>

enum reach_end {
    REACH_GOOD = 0,
    REACH_SHUT,    /* a folder on the way may not be passed */
    REACH_MISSING, /* there is no such file, or no such folder on the way */
    REACH_DENIED,  /* it is there, and not for this use */
};

struct reach {
    enum reach_end end;
    char at[PATH_MAX]; /* the folder that is shut or missing, or the file itself */
    int error;         /* errno there */
};

/* path: absolute. mode: R_OK, W_OK, X_OK of access(2). */
void reach(const char *path, int mode, struct reach *reach);

#endif
