/*
 * What this run makes, and what a run that was cut off left.
 *
 * A run has a keyring of its own, its kind's prefix and 16 hexadecimal digits, eight of which are
 * the second in which it began, by its node's clock.  It makes a version or two of it, by
 * CKA_IDs that begin with KEKDTEST, and marks the last one as compromised.  Only an AES key with such a
 * label and such a CKA_ID is ever destroyed here.
 *
 * Before its first key is made a file of that name is in state_dir, which says what token it is on
 * and goes with its keys.  The run holds the file's lock: a file that nobody holds is a run that was
 * cut off.  Where another node, with a state_dir of its own, began it, a day tells: no run lasts that
 * long.
 */
#ifndef KEKCTL_RIG_LEFTOVERS_H
#define KEKCTL_RIG_LEFTOVERS_H

#include "rig.h"

#define LEFTOVERS_TEXT 400

/* One kind sees to no other's. */
struct leftovers_kind {
    const char *prefix; /* of its keyrings */
    unsigned versions;  /* that a run makes, from 1 on */
};
extern const struct leftovers_kind leftovers_of_conformance, leftovers_of_probe;

struct leftovers {
    const struct leftovers_kind *kind;
    char keyring[RIG_KEYRING]; /* of this run */
    int lock;                  /* -1: none */
};

/* Names this run, and looks whether it could be put on record. False after saying why. */
bool leftovers_begin(struct leftovers *run, const struct leftovers_kind *kind,
                     const struct ctl *ctl, const struct kek_config *config);
/* Puts it on record and takes its lock, before a key is made on this token. */
enum kek_rc leftovers_record(struct leftovers *run, const struct kek_config *config,
                             const struct kek_pool_provider *token,
                             struct kek_why *why) KEK_MUST_CHECK;
/* clean: its keys are gone, and so may be its file. */
void leftovers_end(struct leftovers *run, const struct kek_config *config, bool clean);

/* A CKA_ID for a key of this run; false: no random numbers. */
bool leftovers_id(struct kek_id *kek_id);

struct leftovers_found {
    size_t removed;            /* keys */
    size_t under_way;          /* other runs, of this node */
    bool unseen;               /* there may be more runs than were shown */
    char others[192];          /* keyrings of another node's runs of the last day; empty: none */
    char kept[LEFTOVERS_TEXT]; /* what no run can have made, and what is on another token */
    char stuck[512];           /* what cannot be removed, and why; empty: nothing */
    struct kek_why why;        /* the last such reason */
};

/* Removes what runs that were cut off left on the token whose officer is at work in `rig`, and sees
 * no key there. */
void leftovers_remove(const struct leftovers *run, struct rig *rig, const struct kek_config *config,
                      size_t provider, struct leftovers_found *found);

struct leftovers_gone {
    size_t removed;            /* keys that were destroyed */
    char kept[LEFTOVERS_TEXT]; /* keys of that keyring that no run can have made; empty: none */
    char left[LEFTOVERS_TEXT]; /* what may be left, and why */
    struct kek_why why;        /* that reason; rc KEK_OK: nobody failed */
};

/* Destroys every key of the rig's keyring that a run can have made, those that it knows of and those
 * that a process sees, until neither the officer nor a fresh process sees one. False: some may be
 * left. */
bool leftovers_destroy(struct rig *rig, const struct kek_id *known, size_t known_count,
                       struct leftovers_gone *gone);

#endif
