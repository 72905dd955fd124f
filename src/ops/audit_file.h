/*
 * The audit log's file: a regular file and no symbolic link, for appending.
 */
#ifndef KEK_OPS_AUDIT_FILE_H
#define KEK_OPS_AUDIT_FILE_H

#include "kek/rc.h"

/* how: O_CREAT and O_EXCL as of open(2); made with mode 0600.  A line that a crash left unfinished is
 * ended, so that it spoils only itself.  -1: why says why. */
int audit_file_open(const char *path, int how, struct kek_why *why);

#endif
