/*
 * What should be: which resources are to be encrypted, by what, and what the API server can read at all.
 *
 * Said by --encryption-config (the API server's own EncryptionConfiguration), by --resource, or nobody: then
 * Secrets are to be under the primary.
 */
#ifndef KEKCTL_INVENTORY_WANTED_H
#define KEKCTL_INVENTORY_WANTED_H

#include "inventory_state.h"
#include "kek/encryption_config.h"
#include "kekctl/kekctl.h"

struct wanted_scope {
    const struct ctl_names *resources;  /* borrowed; used where there is no file */
    struct kek_encryption_config *file; /* NULL: none was given */
};

/* CTL_USAGE after saying why the file is none of these, or that a resource's name is none; CTL_FAILED: the file cannot
 * be read. */
enum ctl_exit wanted_open(struct wanted_scope *scope, const struct ctl *ctl);
void wanted_close(struct wanted_scope *scope);
#define WANTED_AUTO __attribute__((cleanup(wanted_close)))

/* Of a resource, as kek_kube_resource() writes it. */
struct inventory_wanted wanted_of(const struct wanted_scope *scope, const char *resource);

/* The i-th resource that was named without a wildcard; NULL: there are no more. Borrowed. */
const char *wanted_named(const struct wanted_scope *scope, size_t i);

/* How many objects of it no provider that the API server has reads; without a file nobody knows: 0. */
uint64_t wanted_unread(const struct wanted_scope *scope, const struct tally *tally,
                       const struct tally_resource *resource);

#endif
