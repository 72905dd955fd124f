/*
 * The listening Unix socket: inherited from the service manager, or made here.
 *
 * Two kekd never share a path.  Whoever makes a socket holds a lock on "<path>.lock" for as long as it
 * lives, so of any number of starters exactly one wins; a socket that somebody listens on is left
 * alone, one that connect() proves dead is taken over, and anything that is not a socket is refused,
 * never removed.  The socket has its final mode from the moment it exists.  The lock file stays behind:
 * removing it would let two starters hold locks on two different files of one name.
 *
 * An inherited socket belongs to the service manager and is never removed; it is what lets clients wait
 * in the backlog over a restart.  One that was made here is removed at the end if it is still the one
 * that was made.  For start-up, before the loop runs: these functions block, briefly.
 */
#ifndef KEK_LISTEN_H
#define KEK_LISTEN_H

#include <stdbool.h>
#include <sys/types.h>

#include "kek/rc.h"

struct kek_listen;

/* Takes what socket activation handed over (LISTEN_PID is this process, LISTEN_FDS is 1), else makes
 * the socket.  `path` is absolute and fits sun_path (107 bytes); its folder exists, belongs to root or
 * to the effective user, and is not writable by all unless it is sticky.
 * KEK_PRECONDITION: somebody serves this path already, why says who.  KEK_DENIED: the folder is unsafe,
 * or something that is not a socket stands there.  KEK_INVALID: a path that cannot be, or an inherited
 * descriptor that is not a listening Unix stream socket at `path`.  KEK_NOT_FOUND: no such folder.
 * KEK_NO_MEMORY, KEK_INTERNAL.
 * The activation variables are removed from the environment, whatever the outcome. */
enum kek_rc kek_listen_open(const char *path, mode_t mode, struct kek_listen **listen,
                            struct kek_why *why) KEK_MUST_CHECK;

/* Could a socket be made at `path`, by this user? As kek_listen_open() asks, without making anything and without a
 * connection: whether somebody listens there is not asked. */
enum kek_rc kek_listen_check(const char *path, struct kek_why *why) KEK_MUST_CHECK;

/* The descriptor, non-blocking and close-on-exec, is the caller's from here on. Once only. */
int kek_listen_take(struct kek_listen *listen);

/* Did the service manager make it? */
bool kek_listen_inherited(const struct kek_listen *listen);

/* What the path names now.  Of a socket that was inherited, that is what it named when it was.  Blocks; on any thread. */
enum kek_listen_at {
    KEK_LISTEN_HERE = 0, /* the socket; or nobody can tell */
    KEK_LISTEN_GONE,     /* nothing */
    KEK_LISTEN_OTHER,
};
enum kek_listen_at kek_listen_look(const struct kek_listen *listen);

/* Removes the path if it is still the socket that was made here, and lets go of the lock. */
void kek_listen_free(struct kek_listen *listen);
KEK_DEFINE_AUTO(kek_listen);

#endif
