/*
 * Whether what lies in etcd is as it should be, in GKE's words.
 *
 * Pure.  What should be is said for each resource: under the primary of this keyring, under the provider that
 * the API server's EncryptionConfiguration has first, or plain.  From what is counted follows the state; the
 * rule stands in kekctl(1).
 */
#ifndef KEKCTL_INVENTORY_STATE_H
#define KEKCTL_INVENTORY_STATE_H

#include "inventory_tally.h"

enum inventory_state {
    INVENTORY_ENCRYPTED = 0,
    INVENTORY_DECRYPTED,
    INVENTORY_ENCRYPTION_PENDING,
    INVENTORY_DECRYPTION_PENDING,
    INVENTORY_ENCRYPTION_ERROR,
    INVENTORY_DECRYPTION_ERROR,
};

const char *inventory_state_name(enum inventory_state state); /* "ENCRYPTED", ... */

enum inventory_wish {
    WISH_NOTHING = 0, /* nobody asked about this resource */
    WISH_KEKD,        /* under the primary, whatever the plugin is called */
    WISH_PROVIDER,    /* under the first provider of its rule; if that is kekd, under the primary */
    WISH_PLAIN,       /* its rule writes it plain */
};

struct inventory_wanted {
    enum inventory_wish wish;
    enum kek_kube_kind kind; /* of WISH_PROVIDER */
    const char *provider;    /* of WISH_PROVIDER; borrowed */
};

/* Of one resource that somebody asked about. primary: the form of what is under the primary of each root of trust that
 * seals; NULL where nobody knows that; then all must be under the same KEKs of kekd's, of every root.  unread: how many objects of it no provider that the API server has reads. */
enum inventory_state inventory_state_of(const struct tally *tally,
                                        const struct tally_resource *resource,
                                        const struct inventory_wanted *wanted,
                                        const struct kek_root_form *primary, uint64_t unread);

/* Of a resource of which there is no object. */
enum inventory_state inventory_state_none(const struct inventory_wanted *wanted);

/* Is it what was wanted? */
bool inventory_state_good(enum inventory_state state, const struct inventory_wanted *wanted);

/* Several together. */
struct inventory_sum {
    bool any;
    bool good; /* each was what was wanted */
    enum inventory_state state;
};
void inventory_sum_add(struct inventory_sum *sum, enum inventory_state state,
                       const struct inventory_wanted *wanted);

#endif
