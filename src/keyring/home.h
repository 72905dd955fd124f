/*
 * Whether the record is where the next kekd will look for it.
 *
 * Somebody may move state_dir away under a live kekd, remove it, put another folder in its place, or mount one over it.  The
 * record goes on being written in the folder that was locked at the start, by its descriptor, wherever that is by now: never
 * into one that another kekd may have locked.  So nothing is lost once that folder is back; but what is on record there alone
 * the next kekd would not know, and nothing new is announced as long as the path names another folder, or none.
 *
 * One that was removed nobody can bring back.  Where there is a folder again without a record of this keyring, and nobody has
 * locked it, it is locked in its place, and what was on record is put there from memory.
 *
 * It is looked at with each `refresh` and after each write that is to announce something, on libuv's pool: a disk may hang.
 * So is the file: one that was removed there is written anew, and one that somebody else changed is told.
 */
#ifndef KEK_KEYRING_HOME_H
#define KEK_KEYRING_HOME_H

#include <limits.h>
#include <stdbool.h>

#include "kek/digest.h"
#include "kek/rc.h"

struct kek_keyring;
struct kek_keyring_verdict;

enum home_is {
    HOME_HERE = 0, /* the path names the folder that is locked */
    HOME_AWAY,     /* it names none */
    HOME_OTHER,    /* it names another one */
    HOME_REMOVED,  /* the one that is locked has no name any more, whatever the path names */
};

struct home {
    enum home_is is;    /* as it was last seen */
    int error;          /* of HOME_AWAY: why it names none */
    char now[PATH_MAX]; /* where the folder is now; empty: that cannot be told */
    bool lost,
        changed; /* so was the file: removed, or no file any more; written by somebody else */
    /* Of one that was removed: why the folder that is there now cannot take its place; empty: there is none. */
    char why[KEK_WHY_TEXT];
    bool moved; /* one has taken it, and has no record yet */
    bool looking;
    bool again, confirms; /* once more after that; and the record waits for it */
    /* Of the file as this kekd last read or wrote it, as it is being written, and as it was last seen; empty: there is none, or it
     * is unknown. */
    char digest[KEK_SHA256_TEXT], written[KEK_SHA256_TEXT], found[KEK_SHA256_TEXT];
    unsigned writes; /* that began */
};

/* Runs from the loop, once it was looked; confirms: for home_confirm(). */
typedef void home_seen_fn(struct kek_keyring *ring, bool confirms);

void home_look(struct kek_keyring *ring, home_seen_fn *seen);
/* A look that begins now. False: there is no memory for it. */
bool home_confirm(struct kek_keyring *ring, home_seen_fn *seen);
bool home_is_here(const struct kek_keyring *ring);
/* Words it, where it is not: what is so and what is to be done. */
void home_say(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict);

#endif
