/*
 * The cluster's own way: a StorageVersionMigration for each resource, carried out by kube-controller-manager, which
 * sends the API server the same writes that change nothing.  What is made here is removed again.
 */
#ifndef KEKCTL_REENCRYPT_MIGRATE_H
#define KEKCTL_REENCRYPT_MIGRATE_H

#include <signal.h>

#include "reencrypt.h"

/* Follows one after the other. CTL_GOOD: all succeeded. CTL_CHECK: one failed, or said nothing new for
 * `patience_ms`, or *interrupted; CTL_FAILED: none could be made. Said on standard error. */
enum ctl_exit reencrypt_migrate(struct reencrypt *reencrypt, uint64_t patience_ms,
                                const volatile sig_atomic_t *interrupted);

#endif
