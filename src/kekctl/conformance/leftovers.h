/*
 * What this run makes, and what a run that was cut off left.
 *
 * A run has a keyring of its own, "kekd-conformance-" and 16 hexadecimal digits, eight of which are
 * the second in which it began; its keys' CKA_IDs begin with KEKDTEST.  Only a key with both is
 * ever destroyed here.  As long as it runs it holds the lock of a file of that name in state_dir,
 * which goes with its keys: a file that nobody holds is a run that was cut off.  Where another
 * node, with a state_dir of its own, began it, a day tells: no run lasts that long.
 */
#ifndef KEKCTL_CONFORMANCE_LEFTOVERS_H
#define KEKCTL_CONFORMANCE_LEFTOVERS_H

#include "kekctl/rig/rig.h"

#define LEFTOVERS_PREFIX "kekd-conformance-"

struct leftovers {
    char keyring[RIG_KEYRING]; /* of this run */
    int lock;                  /* -1: none */
};

/* Names this run and takes its lock. False after saying why. */
bool leftovers_begin(struct leftovers *run, const struct ctl *ctl, const struct kek_config *config,
                     size_t provider);
/* clean: its keys are gone, and so may be its file. */
void leftovers_end(struct leftovers *run, const struct kek_config *config, bool clean);

/* A CKA_ID for a key of this run; false: no random numbers. */
bool leftovers_id(struct kek_id *kek_id);

struct leftovers_found {
    size_t removed;   /* keys */
    size_t under_way; /* other runs, of this node */
    char others[192]; /* keyrings of another node's runs of the last day; empty: none */
    char stuck[512];  /* what cannot be removed, and why; empty: nothing */
};

/* Removes what runs that were cut off left on the token of this provider, whose officer is at
 * work in `rig`. */
void leftovers_remove(const struct leftovers *run, struct rig *rig, const struct kek_config *config,
                      size_t provider, struct leftovers_found *found);

/* Destroys every key of the rig's keyring that this program made, those that it knows of and
 * those that a process sees, until neither the officer nor a fresh process sees one. *removed:
 * how many were destroyed. False: `left` says what may be left and why. */
bool leftovers_destroy(struct rig *rig, const struct kek_id *known, size_t known_count,
                       size_t *removed, char *left, size_t size);

#endif
