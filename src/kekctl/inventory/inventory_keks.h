/*
 * Which versions of each root's keyring there are, so that the kek ids in etcd have a name: what the providers show,
 * else what this node's state file and the nodes' pages say.
 */
#ifndef KEKCTL_INVENTORY_KEKS_H
#define KEKCTL_INVENTORY_KEKS_H

#include "kek/root_rules.h"
#include "kekctl/key/root_keys.h"

#define INVENTORY_KEKS_MAX 256

struct inventory_kek {
    struct kek_id id;
    size_t root; /* its place among the roots of trust */
    uint32_t number;
    char state
        [24]; /* "active", ...; "surplus"; "differs": not the same on all providers; "" not known */
};

/* What is known of one root of trust. */
struct inventory_root {
    const char *name; /* "": it is the only one. Borrowed, as the keyring is */
    const char *keyring;
    bool seals;
    const char *source; /* "providers", "nodes", "record"; NULL: nobody said anything */
    struct kek_id primary;
    const char *primary_source; /* NULL: which is the primary is not known */
    size_t answered;            /* providers */
};

struct inventory_keks {
    struct inventory_kek list[INVENTORY_KEKS_MAX]; /* by root, then by number */
    size_t count;
    struct inventory_root roots[KEK_CONFIG_ROOTS_MAX];
    size_t root_count; /* 0: there is no configuration */
    /* Of several roots: which envelopes are opened, as far as the list goes. */
    struct kek_root_rules rules;
    /* What is under the primary of each root that seals; count 0: a primary is not known. */
    struct kek_root_form primary;
};

/* What the configuration alone says of its roots. Borrows from it. */
void inventory_keks_init(struct inventory_keks *keks, const struct kek_config *config);

/* Asks the providers of each root, if workers run (role serve); without them the others. Says on standard error who did
 * not answer. */
void inventory_keks_look(struct inventory_keks *keks, struct root_keys *keys);

/* The same of one root alone; `asked`: of what its providers answered last, without asking again. */
void inventory_keks_look_at(struct inventory_keks *keks, size_t root, struct keys *of, bool asked);

/* The rules of several roots; NULL: there is one. */
const struct kek_root_rules *inventory_keks_rules(const struct inventory_keks *keks);

/* NULL: none of these keyrings', as far as is known. Borrowed. */
const struct inventory_kek *inventory_kek_find(const struct inventory_keks *keks,
                                               const struct kek_id *id);

/* Is it the primary of its root? */
bool inventory_kek_is_primary(const struct inventory_keks *keks, const struct kek_id *id);

#endif
