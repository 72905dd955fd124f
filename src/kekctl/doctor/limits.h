/* Numbers that doctor works out. Pure. */
#ifndef KEKCTL_DOCTOR_LIMITS_H
#define KEKCTL_DOCTOR_LIMITS_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

/* The soft limit of that name in the text of /proc/PID/limits; UINT64_MAX: unlimited. False: it is not there. */
bool limits_of_process(const char *text, const char *name, uint64_t *limit);

/* Sessions that a cluster opens at most on one token: `nodes` times what one kekd may have while a worker of each is
 * replaced, and one kekctl's. */
struct limits_sessions {
    uint64_t nodes, processes, sessions;
};
uint64_t limits_sessions(const struct limits_sessions *of);

/* The most `sessions:` with which they fit into so many; 0: not even 1. */
uint64_t limits_sessions_fit(const struct limits_sessions *of, uint64_t max);

#endif
