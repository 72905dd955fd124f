/* MACs of the audit log's chain, asked of the tokens that made them. */
#ifndef KEKCTL_AUDIT_MACS_H
#define KEKCTL_AUDIT_MACS_H

#include "check.h"
#include "kekctl/key/keys.h"

struct macs {
    const struct ctl *ctl;
    struct keys keys;
    bool opened, started; /* only once there is a MAC to ask about */
};

/* Checks the MAC of each chain that waits; what is wrong with one is a problem of `check`. Blocks. */
void macs_check(struct macs *macs, struct check *check);
void macs_close(struct macs *macs);

#endif
