/* Who has a token's turn to log in, where a worker waited for it in vain. */
#ifndef KEKCTL_DOCTOR_TURN_H
#define KEKCTL_DOCTOR_TURN_H

#include "doctor.h"

#define TURN_SEEN 192

/* serial: the token's.  seen: "; process 7 (kekd --config ...) has it, and was stopped", or empty where that cannot be told. */
void turn_say(const struct doctor *doctor, const char *serial, char seen[static TURN_SEEN],
              char todo[static LINES_TODO]);

#endif
