/*
 * What an operator did with kekctl, in kekd's audit log: a line for each act.
 *
 * Blocks. It opens the log before the act, so that nothing is done that cannot be put on record; and it
 * knows nothing of kekd, which may be running and appending to the same log and chain, or not.
 */
#ifndef KEK_AUDIT_ACT_H
#define KEK_AUDIT_ACT_H

#include <limits.h>

#include "kek/audit_link.h"
#include "kek/kek.h"
#include "kek/rc.h"

struct kek_audit_act {
    const char *event;            /* "generate", "audit-key", "pin-retry", "login", ... */
    const char *outcome;          /* "ok", "failed", "refused", "unclear", "begun" */
    const char *command;          /* of kekctl: its words; NULL: not told */
    const char *provider;         /* NULL: all */
    const char *token;            /* its serial; NULL: none in particular */
    const struct kek_id *kek_id;  /* NULL: of no key */
    uint32_t version;             /* 0: of none */
    const char *state;            /* with kek_id */
    const struct kek_id *mac_key; /* the audit log's; NULL: it is not about that */
    const char *said;             /* words of the command line that it rests on; NULL: none */
    const size_t *forgotten;      /* refused PINs; NULL: it is not about those */
    const struct kek_why *why;    /* NULL: it went well */
};

/* Is the chain in another log than this, by the record that kekd keeps of it?  *log: which.  Not where the file that is
 * here ends as the chain does: it was moved. */
bool kek_audit_elsewhere(const struct kek_audit_place *place, char log[static PATH_MAX]);

/* Opens the log; NULL: why says why, as where the chain is in another log.  root: of whose keys the acts are, and NULL or
 * empty where it has no name.  It and the sockets' paths of `place` are borrowed as long as the log is open.  A file that is
 * missing is made, mode 0600, as its folder's owner's.  Without a file the socket that is the log must take connections. */
struct kek_audit_acts;
struct kek_audit_acts *kek_audit_acts_new(const struct kek_audit_place *place, const char *root,
                                          struct kek_why *why);
void kek_audit_acts_free(struct kek_audit_acts *acts);
KEK_DEFINE_AUTO(kek_audit_acts);

/* An act whose line is lost, since kek_audit_acts_new() failed: it is counted in the record, if that can be written. */
void kek_audit_act_lost(const struct kek_audit_place *place);

/* The line is on the disk, or taken by the journal or syslog daemon that is the log, when this returns KEK_OK.  Else it is
 * lost, and counted in the record, if its lock can be had: the next line that is written tells. */
enum kek_rc kek_audit_act(struct kek_audit_acts *acts, const struct kek_audit_act *act,
                          struct kek_why *why) KEK_MUST_CHECK;

/* The same of what is about to be done, with KEK_AUDIT_BEGUN as its outcome.  Where this is not KEK_OK nothing may be done:
 * then nothing is counted. */
#define KEK_AUDIT_BEGUN "begun"
enum kek_rc kek_audit_act_begin(struct kek_audit_acts *acts, const struct kek_audit_act *act,
                                struct kek_why *why) KEK_MUST_CHECK;

#endif
