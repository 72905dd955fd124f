/*
 * SIGINT and SIGTERM, as a wish that a long command stop where it can be gone on from.
 *
 * The first one is only noted, and the command looks for it; the second ends kekctl.
 */
#ifndef KEKCTL_INTERRUPTS_H
#define KEKCTL_INTERRUPTS_H

#include <signal.h>

extern volatile sig_atomic_t interrupts_met; /* the signal's number; 0: none came */

void interrupts_catch(void);

#endif
