/*
 * The cluster's own way: a StorageVersionMigration for each resource, carried out by kube-controller-manager, which
 * sends the API server the same writes that change nothing.  What is made here is removed again.
 */
#ifndef KEKCTL_REENCRYPT_MIGRATE_H
#define KEKCTL_REENCRYPT_MIGRATE_H

#include <signal.h>

#include "reencrypt.h"
#include "reencrypt_guard.h"

/* Follows one after the other. CTL_GOOD: all succeeded. CTL_CHECK: one failed, or said nothing new for
 * `patience_ms`, or *interrupted, or another key is announced by now; CTL_FAILED: none could be made. Said on standard
 * error. */
enum ctl_exit reencrypt_migrate(struct reencrypt *reencrypt, struct guard *guard,
                                uint64_t patience_ms, const volatile sig_atomic_t *interrupted);

#endif
