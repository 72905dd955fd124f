/*
 * What the service manager is told (the protocol of sd_notify(3)): READY, STOPPING, STATUS, WATCHDOG.
 *
 * Where NOTIFY_SOCKET is not set, every function does nothing and succeeds.  Nothing blocks: a datagram
 * that does not fit into the manager's socket is lost, and the caller is told.  A watchdog ping is sent
 * from the loop, so it says that the loop turns, and nothing more.  One thread: the loop's.
 */
#ifndef KEK_NOTIFY_H
#define KEK_NOTIFY_H

#include <uv.h>

#include "kek/rc.h"

struct kek_notify;

#define KEK_NOTIFY_STATUS_MAX \
    1088 /* bytes of a status line: a verdict, and more; the rest is cut off */

/* Reads NOTIFY_SOCKET (a path, or "@name" in the abstract namespace), WATCHDOG_USEC and WATCHDOG_PID, and
 * takes all three out of the environment.  With a watchdog it pings at half its interval.
 * NULL: one of them makes no sense, or out of memory. */
struct kek_notify *kek_notify_new(uv_loop_t *loop, struct kek_why *why);

/* READY=1 or STOPPING=1, with a status line. KEK_UNAVAILABLE: it was not delivered. */
enum kek_rc kek_notify_ready(struct kek_notify *notify, const char *status,
                             struct kek_why *why) KEK_MUST_CHECK;
enum kek_rc kek_notify_stopping(struct kek_notify *notify, const char *status,
                                struct kek_why *why) KEK_MUST_CHECK;

/* One line for `systemctl status`; one that cannot be delivered is not worth a failure. */
void kek_notify_status(struct kek_notify *notify, const char *status);

/* No ping after this. The loop must run once more before it is closed. */
void kek_notify_free(struct kek_notify *notify);

#endif
