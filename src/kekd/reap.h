/*
 * Whose parent nobody is any more becomes a child of process 1, and stays a zombie until that one waits
 * for it.  In a container process 1 may be kekd: a vendor's library that starts helpers leaves them behind
 * with each worker, until the container's pids are used up.  libuv waits for its own children alone.
 *
 * Where kekd is not process 1 this does nothing.  The loop's thread; reap_stop() before the loop ends.
 */
#ifndef KEKD_REAP_H
#define KEKD_REAP_H

#include <stdbool.h>

#include <uv.h>

struct reap {
    bool started;
    uv_signal_t child;
    uv_timer_t look;
};

void reap_start(struct reap *reap, uv_loop_t *loop);
void reap_stop(struct reap *reap);

#endif
