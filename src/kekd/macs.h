/*
 * The audit log's chain is MACed in an HSM, now and then: the first provider that can, of all roots.
 *
 * It never holds up a call.  A token that cannot is asked again the next time, and ever less often while it goes on: a library that
 * crashes or hangs at it takes a worker along.  Services are not asked.  Where none has a key for it, the log says so once; where one fails
 * that is not known to have none, log and audit log do, and the audit log once more if it turns out to have none.
 */
#ifndef KEK_KEKD_MACS_H
#define KEK_KEKD_MACS_H

#include <uv.h>

#include "kek/audit.h"
#include "kek/config.h"

struct daemon;

struct macs {
    struct daemon *daemon;
    uv_timer_t timer;
    struct kek_pool_call *call; /* NULL: none is under way */
    size_t root, provider;      /* whom it is with: the root, and its provider */
    struct kek_audit_end asked; /* what it is of */
    uint64_t covered;           /* the last line that a MAC is of */
    unsigned failures, skip;    /* rounds that failed in a row, and that are left out now */
    struct kek_why why;         /* of this round: what to tell if all fail */
    const char *failed;         /* and of which provider; NULL: none has a key */
    bool without[KEK_CONFIG_PROVIDERS_MAX]; /* whose token has no key, as it said last */
    enum { MACS_UNKNOWN = 0, MACS_GOOD, MACS_FAILING, MACS_WITHOUT } told;
};

/* Begins once there is an audit log, and pools. */
void macs_start(struct macs *macs, struct daemon *daemon);
void macs_stop(struct macs *macs); /* before the pools are closed; also where it never began */
void macs_close(struct macs *macs);

#endif
