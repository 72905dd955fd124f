/*
 * What is announced of the root of trust, or of several together: one generation, with one key_id, which is what API
 * servers see.
 *
 * The kekd that runs here is asked, and says it at once while a root is out; without one it is what the roots have on record,
 * of all that seal.  Blocks, JOINT_MS at most.
 */
#ifndef KEKCTL_JOINT_H
#define KEKCTL_JOINT_H

#include <jansson.h>

#include "kek/keyring.h"
#include "kekctl/kekctl.h"

#define JOINT_MS 2000u

struct joint {
    char key_id[KEK_KEY_ID_TEXT]; /* empty: nothing is announced yet, as far as can be told */
    bool by_kekd;                 /* else by the records */
    /* Which joint_find() has said: */
    bool unheard; /* one runs here and could not be asked */
    bool unread;  /* a record is there and could not be read */
    /* The KEKs in it; count 0: the records do not say which they are. */
    struct kek_generation generation;
    size_t roots[KEK_CONFIG_ROOTS_MAX]; /* of each of those, its place in the configuration */
};

/* whole: the configuration with all its roots. */
void joint_find(const struct ctl *ctl, const struct kek_config *whole, struct joint *joint);

/* Is the root's KEK in it? */
bool joint_has(const struct joint *joint, size_t root);

/* {by, mode, key_id, key_id_hash, keks, without}, as kekctl(1) describes it; null where nothing is known. NULL: no memory. */
json_t *joint_json(const struct kek_config *whole, const struct joint *joint);

/* The same in a sentence. */
#define JOINT_TEXT 1024
void joint_text(const struct kek_config *whole, const struct joint *joint,
                char text[static JOINT_TEXT]);

#endif
