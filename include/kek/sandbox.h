/*
 * What kekd gives up once it has started.
 *
 * no_new_privs, and every capability that neither the front nor a worker can need.  It is irrevocable
 * and inherited by the workers.  System call filters and file system views are the service manager's to
 * set (deploy/kekd.service): only the operator knows what a vendor's library has to reach.
 * For a kekd that runs as root this takes away ways into the kernel, not root's hold on its own files;
 * the strong form is to run kekd as a user of its own, where there is nothing left to drop.
 */
#ifndef KEK_SANDBOX_H
#define KEK_SANDBOX_H

#include <stdbool.h>

#include "kek/rc.h"

/* Kept always, if there: CAP_DAC_OVERRIDE and CAP_DAC_READ_SEARCH (root's access to state, audit and PIN
 * files of other owners), CAP_IPC_LOCK (a worker's locked memory).  Kept with `switches_user`, which
 * says that some provider has `user:` or `groups:`: CAP_SETUID, CAP_SETGID, and CAP_KILL to end that
 * user's workers.  Before any thread starts: capabilities are a thread's, and the threads made later
 * inherit these.  KEK_INTERNAL: the kernel refused. */
enum kek_rc kek_sandbox_enter(bool switches_user, struct kek_why *why) KEK_MUST_CHECK;

#endif
