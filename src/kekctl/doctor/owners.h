/*
 * Whose the files are that only the user has whom kekd runs as: state_dir, the secrets that its workers read, the audit file,
 * and a socket that the last kekd left.  Where nothing else says who that is, they do, as long as they are of one user.
 */
#ifndef KEKCTL_DOCTOR_OWNERS_H
#define KEKCTL_DOCTOR_OWNERS_H

#include <limits.h>
#include <stdbool.h>
#include <stddef.h>
#include <sys/types.h>

#include "kek/config.h"

#define OWNERS_MAX 16
#define OWNERS_TODO (PATH_MAX + 256)

struct owners {
    struct owner {
        const char *what; /* "state_dir" */
        char path[PATH_MAX];
        uid_t uid;
        gid_t gid;
    } list[OWNERS_MAX];
    size_t count;
};

/* Those that are there and that this process sees, state_dir first. */
void owners_find(struct owners *owners, const struct kek_config *config);

/* One that is of the user kekd most likely runs as: whom most of them are of, and root, who makes files for others, too,
 * only if none is of another and a folder or socket of kekd's own is root's.  NULL: there is none. */
const struct owner *owners_likely(const struct owners *owners);

/* How many of them are of this user. */
size_t owners_count(const struct owners *owners, uid_t uid);

/* Are they all of one user? */
bool owners_agree(const struct owners *owners);

/* "state_dir /a is root's, audit file /b is kekd's". It may be cut. */
void owners_list(const struct owners *owners, char *text, size_t size);

/* What brings them together, where more than half of them are of one user, not root, and one is not. False: nobody can
 * know. */
bool owners_todo(const struct owners *owners, char todo[static OWNERS_TODO]);

/* A user as commands take it: a name, else its number. */
void owners_name(uid_t uid, char name[static 64]);
/* The same for chown(1), with its own group where it has one: "kekd:", "1001". */
void owners_spec(uid_t uid, char spec[static 66]);

#endif
