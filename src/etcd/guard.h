/*
 * The process that looks after a throw-away etcd: it restores the snapshot, starts etcd, and once nobody holds the
 * other end of its pipe any more, ends etcd and removes the folder.  So nothing stays behind whatever ends the
 * program that wanted it, kill -9 included.
 */
#ifndef ETCD_GUARD_H
#define ETCD_GUARD_H

#include <stdbool.h>
#include <sys/types.h>

#include "kek/rc.h"

#define GUARD_CLIENT \
    "client:1"          /* the socket's name in the folder: etcd wants something like a port */
#define GUARD_LOG "log" /* what restore program and etcd say */

/* What the pipe brings. */
#define GUARD_RESTORED 'R'
#define GUARD_FAILED 'F' /* the restore did */
#define GUARD_ENDED 'E'  /* etcd did */

struct guard_job {
    const char *folder;  /* absolute; it is removed in the end */
    const char *file;    /* absolute */
    const char *restore; /* path of etcdutl or etcdctl */
    const char *etcd;    /* path */
    const char *name;    /* of the member and its cluster; no other has it */
};

/* The guard's pid, and in *fd where it tells what happens; closing that ends it all. -1: it cannot be started. */
pid_t guard_start(const struct guard_job *job, int *fd, struct kek_why *why);

/* Removes the folder with all that is in it. False: errno says why something is left. */
bool guard_remove(const char *folder);

#endif
