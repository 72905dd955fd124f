/* A PKCS#11 provider's PIN: its file, and what is on record of its logins. The PIN is not tried. */
#ifndef KEKCTL_DOCTOR_PINS_H
#define KEKCTL_DOCTOR_PINS_H

#include "doctor.h"

void pins_judge(struct doctor *doctor, const struct kek_config_provider *provider);

/* What is to be done where the token refuses it. */
void pins_todo(const struct doctor *doctor, const struct kek_config_provider *provider,
               char todo[static LINES_TODO]);

/* The file that the PIN is in; NULL: it is in none. In `source`, whole or its end. */
const char *pins_file(const struct kek_config_provider *provider, char source[static PATH_MAX]);

/* Is the PIN, or what a service wants in its place, a credential that the service manager gives kekd alone, and not to this
 * process?  Then its workers cannot be started here. */
bool pins_are_away(const struct kek_config_provider *provider);

#endif
