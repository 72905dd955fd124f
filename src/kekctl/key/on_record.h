/*
 * Where the configuration has an audit log, what changes a token or frees a PIN is put on record in it, before it is done
 * and again when it is done; and it is not done where it cannot be.
 */
#ifndef KEKCTL_ON_RECORD_H
#define KEKCTL_ON_RECORD_H

#include <limits.h>

#include "kek/audit_act.h"
#include "kekctl/kekctl.h"

/* *acts: NULL where no audit log is configured.  False after saying why it cannot be opened. */
bool ctl_audit_open(const struct ctl *ctl, const struct kek_config *config,
                    struct kek_audit_acts **acts);
/* The same for who changes nothing: it is not said, and NULL with why->rc KEK_OK means that none is configured. */
struct kek_audit_acts *ctl_audit_look(const struct kek_config *config, struct kek_why *why);
/* One line is lost that such a log was for: it is counted in the record. */
void ctl_audit_count_lost(const struct kek_config *config);

/* Is its chain in another log than the configuration's, by kekd's record?  *log: which. */
bool ctl_audit_elsewhere(const struct kek_config *config, char log[static PATH_MAX]);

/* With the command, and the root of trust that it names. acts: NULL is nowhere, and KEK_OK. */
enum kek_rc ctl_audit_put(const struct ctl *ctl, struct kek_audit_acts *acts,
                          const struct kek_audit_act *act, struct kek_why *why) KEK_MUST_CHECK;

/* The same of what was done.  It says that it could not be put on record; then the exit code does, too. */
void ctl_audit(const struct ctl *ctl, struct kek_audit_acts *acts, const struct kek_audit_act *act);

/* A line of the audit log is lost, or a word that was given on the command line, which was said. */
void ctl_audit_lost(const struct ctl *ctl);

/* Puts on record what is about to be done.  False after saying that it is not done, since that could not be. */
bool ctl_audit_begin(const struct ctl *ctl, struct kek_audit_acts *acts,
                     const struct kek_audit_act *act) KEK_MUST_CHECK;

#endif
