/*
 * The user that kekd runs as: what root can read, kekd often cannot, so doctor becomes that user before it judges.
 */
#ifndef KEKCTL_DOCTOR_WHO_H
#define KEKCTL_DOCTOR_WHO_H

#include <sys/types.h>

#include "kek/config.h"
#include "unit.h"

#define WHO_GROUPS_MAX 64

struct who {
    bool known;
    char name[64];    /* for commands: a name, else its number */
    char group[64];   /* likewise */
    char missing[64]; /* the unit's user or group that does not exist; empty: none */
    uid_t uid;
    gid_t gid;
    gid_t groups[WHO_GROUPS_MAX];
    int group_count;
    char source[PATH_MAX + 32]; /* what says so */
};

/* Who it is: the unit's User=, else whose the socket is, else whose state_dir is. config: NULL where it cannot be read: then
 * it is whose the file at `path` is, since kekd reads root's and its own alone. */
void who_find(struct who *who, const struct unit *unit, const char *path,
              const struct kek_config *config);

/* From here on this process is that user, with that user's groups and home, for good. False: errno says why. */
bool who_become(const struct who *who);

#endif
