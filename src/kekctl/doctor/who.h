/*
 * The user that kekd runs as: what root can read, kekd often cannot, so doctor becomes that user before it judges.
 */
#ifndef KEKCTL_DOCTOR_WHO_H
#define KEKCTL_DOCTOR_WHO_H

#include <sys/types.h>

#include "kek/config.h"
#include "kek/lock_file.h"
#include "unit.h"

#define WHO_GROUPS_MAX 64
#define WHO_TEXT (2 * PATH_MAX)

struct who {
    bool known;
    char name[64];  /* for commands: a name, else its number */
    char group[64]; /* likewise */
    char missing
        [64]; /* the unit's user or group that does not exist; empty: none. `todo` says what to do */
    const char *missing_key; /* which of the unit's settings names it */
    uid_t uid;
    gid_t gid;
    gid_t groups[WHO_GROUPS_MAX];
    int group_count;
    char source[WHO_TEXT]; /* what says so; may be cut */
    /* Something else that says otherwise, and what brings them together; empty: there is none.  Where there is, nothing is to
     * be given to this user: it may be the wrong one. */
    char against[WHO_TEXT], todo[2 * PATH_MAX + 256];
};

/* What it is asked of. */
struct who_facts {
    const struct unit *unit;         /* without a path: there is none */
    const char *path;                /* of the configuration */
    const struct kek_config *config; /* NULL: it cannot be read */
    struct kek_lock_holder runner;   /* as kek_keyring_runner() says it, of its state_dir */
};

/* Who it is: the unit's User=, else whom the kekd that runs here is of, else whose the files are that only kekd has.
 * Where the configuration cannot be read it is, without a unit, whose that file is: kekd reads root's and its own alone. */
void who_find(struct who *who, const struct who_facts *facts);

#endif
