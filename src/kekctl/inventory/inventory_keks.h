/*
 * Which versions of the keyring there are, so that the kek ids in etcd have a name: what the providers show,
 * else what this node's state file and the nodes' pages say.
 */
#ifndef KEKCTL_INVENTORY_KEKS_H
#define KEKCTL_INVENTORY_KEKS_H

#include "kekctl/key/keys.h"

#define INVENTORY_KEKS_MAX 256

struct inventory_kek {
    struct kek_id id;
    uint32_t number;
    char state
        [24]; /* "active", ...; "surplus"; "differs": not the same on all providers; "" not known */
};

struct inventory_keks {
    struct inventory_kek list[INVENTORY_KEKS_MAX]; /* by number */
    size_t count;
    const char *source; /* "providers", "nodes", "record"; NULL: nobody said anything */
    struct kek_id primary;
    const char *primary_source; /* NULL: which is the primary is not known */
    size_t answered;            /* providers */
};

/* Asks the providers, if workers run (role serve); without them the others. Says on standard error who did not
 * answer. */
void inventory_keks_look(struct inventory_keks *keks, struct keys *keys);

/* NULL: none of this keyring's, as far as is known. Borrowed. */
const struct inventory_kek *inventory_kek_find(const struct inventory_keks *keks,
                                               const struct kek_id *id);

#endif
