/*
 * The running daemon: every room, wired together on one loop.  main.c reads the command line and the
 * configuration; this starts, serves until SIGTERM or SIGINT, drains and stops.
 */
#ifndef KEK_KEKD_DAEMON_H
#define KEK_KEKD_DAEMON_H

#include "kek/config.h"

#define KEK_DRAIN_MS 5000u /* how long calls in flight may take to finish */
#define KEK_STOP_MS 10000u /* from SIGTERM to the end, whatever hangs */

/* Returns the exit code: 0 after a drain, 1 after a failure, which has been logged. */
int kek_daemon_run(const struct kek_config *config);

#endif
