/* What systemd gives kekd by LoadCredential= and its like, "credential:NAME" in settings: does the unit give it, and is
 * there something in it? */
#ifndef KEKCTL_DOCTOR_CREDENTIALS_H
#define KEKCTL_DOCTOR_CREDENTIALS_H

#include "doctor.h"

#define CREDENTIAL "credential:"

/* The files that LoadCredential= names, which are root's. */
void credentials_look(struct outside *outside);

/* A line, if it is not as it must be. variable: of the shell, which a command takes it from; NULL: no command makes it. */
bool credentials_judge(struct doctor *doctor, const char *subject, const char *name,
                       const char *variable);

#endif
