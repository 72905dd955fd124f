/*
 * reencrypt --decrypt: which resources are to lie in clear, by the file that the API servers have.
 *
 * Whoever takes a cluster away from kekd says so by that word, names the EncryptionConfiguration in which identity
 * writes, and has what is in etcd as the proof: nothing is rewritten in clear by mistake.
 */
#ifndef KEKCTL_REENCRYPT_DECRYPT_H
#define KEKCTL_REENCRYPT_DECRYPT_H

#include "kekctl/inventory/inventory_wanted.h"
#include "reencrypt.h"

struct decrypt {
    struct wanted_scope scope; /* the file of --from; empty without --decrypt */
    struct ctl_names names;    /* of --resource, else what the file names; borrowed of either */
};

/* False after saying which of the options, the configuration or the file does not let it be done. Without --decrypt:
 * names are those of --resource, or secrets. */
bool decrypt_open(struct decrypt *decrypt, const struct ctl *ctl, const struct kek_config *config);
void decrypt_close(struct decrypt *decrypt);

#endif
