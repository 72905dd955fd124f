/*
 * The fault module (tests/faults/README.md) in place of a test's SoftHSM, and one fault in its control
 * file. One at a time for a process and the workers that it starts.
 */
#ifndef KEK_TESTS_FAULT_H
#define KEK_TESTS_FAULT_H

#include "worker.h"

extern char fault_uri[4 * PATH_MAX]; /* of the token of the last fault_put() */

/* The token's URI with the fault module, into fault_uri; `fault` is in place and calls count from now. */
void fault_put(const struct token *token, const char *fault);
void fault_later(void); /* nothing fails and nothing is counted until fault_now() */
void fault_now(void);   /* from here on calls count, and the fault is waited for */

/* How often a function was called; all of them if name is NULL. */
unsigned long fault_count(const char *name);

#endif
