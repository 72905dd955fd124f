/* What a vendor's library asks of a node and no error code says: a group, or a token that somebody has to make. */
#ifndef KEKCTL_DOCTOR_VENDORS_H
#define KEKCTL_DOCTOR_VENDORS_H

#include "doctor.h"

/* What to do about a provider whose worker did not start.  was_there: by the record its token had a version, so that no new
 * token is offered.  False: nothing better is known than its configuration. */
bool vendors_todo(const struct doctor *doctor, const struct kek_config_provider *provider,
                  bool was_there, const struct kek_why *why, char todo[static LINES_TODO]);

#endif
