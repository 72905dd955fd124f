/*
 * Where the configuration has an audit file, what changes a key or frees a PIN is put on record in it, and
 * is not done where it cannot be.
 */
#ifndef KEKCTL_ON_RECORD_H
#define KEKCTL_ON_RECORD_H

#include "kek/audit_act.h"
#include "kekctl/kekctl.h"

/* *fd: of the audit file, -1 where none is configured.  False after saying why it cannot be opened. */
bool ctl_audit_open(const struct ctl *ctl, const struct kek_config *config, int *fd);
/* False after saying that what was done could not be put on record. */
bool ctl_audit(const struct ctl *ctl, int fd, const struct kek_audit_act *act);

#endif
