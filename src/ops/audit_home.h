/*
 * Which log the chain is in, on record beside the record of where it stands: the path of its file, or of its socket.
 *
 * kekd writes it with its first line.  A kekctl whose configuration names another one writes nothing there, or the chain
 * would be in two logs.  A file that is renamed changes nothing here: this is what the configuration calls it.  Blocks.
 */
#ifndef KEK_OPS_AUDIT_HOME_H
#define KEK_OPS_AUDIT_HOME_H

#include "kek/audit_link.h"

/* Under the lock of the record.  Where it cannot be written there is none: better than a wrong one. */
void audit_home_keep(const struct kek_audit_place *place);

#endif
