/* Which sockets somebody listens at, by the kernel's lists (proc_net(5)). No connection is made. */
#ifndef KEKCTL_DOCTOR_LISTENING_H
#define KEKCTL_DOCTOR_LISTENING_H

#include <stdbool.h>
#include <stddef.h>
#include <stdint.h>

#include "kek/config.h"

#define LISTENING_MAX 16

/* Inodes, as links in /proc/PID/fd name them. */
struct listening {
    uint64_t inodes[LISTENING_MAX];
    size_t count;
};

/* Those of a configuration: `listen`, and the ports of `metrics` and `status.listen`, at whichever address. */
void listening_look(struct listening *listening, const struct kek_config *config);
bool listening_has(const struct listening *listening, uint64_t inode);

/* Does somebody listen at this path? */
bool listening_at(const char *path);

#endif
