/*
 * What an operator did with kekctl, in the file that kekd's audit log is in: a line for each act.
 *
 * Blocks. It opens the file before the act, so that nothing is done that cannot be put on record; and it
 * knows nothing of kekd, which may be running and appending to the same file, or not.
 */
#ifndef KEK_AUDIT_ACT_H
#define KEK_AUDIT_ACT_H

#include "kek/kek.h"
#include "kek/rc.h"

struct kek_audit_act {
    const char *event;           /* "generate", "pin-retry", "login" */
    const char *outcome;         /* "ok", "failed", "refused", "unclear" */
    const char *provider;        /* NULL: all */
    const char *token;           /* its serial; NULL: none in particular */
    const struct kek_id *kek_id; /* NULL: of no key */
    uint32_t version;            /* with kek_id, as is state */
    const char *state;
    const size_t *forgotten;   /* refused PINs; NULL: it is not about those */
    const struct kek_why *why; /* NULL: it went well */
};

/* The descriptor; -1: why says why.  Made if it is missing, mode 0600, as its folder's owner's. */
int kek_audit_act_open(const char *path, struct kek_why *why);
enum kek_rc kek_audit_act(int fd, const struct kek_audit_act *act,
                          struct kek_why *why) KEK_MUST_CHECK;

#endif
