/*
 * Is the socket still where clients look for it?  Somebody may remove it, or put another one in its place, under a kekd that
 * listens on: who is connected is served, and nobody else can connect.  kekd does not notice by itself, so it looks, each
 * refresh, on libuv's thread pool.  What it sees is told once, in the log, and stands as a remark until it is mended.
 *
 * The loop's thread.
 */
#ifndef KEKD_SOCKET_WATCH_H
#define KEKD_SOCKET_WATCH_H

#include <uv.h>

#include "kek/listen.h"

struct daemon;

struct socket_watch {
    struct daemon *daemon;
    uv_timer_t timer;
    uv_work_t work;
    bool busy;                /* `work` and `seen` are the thread pool's */
    enum kek_listen_at seen;  /* by this look */
    enum kek_listen_at known; /* by the one before it */
};

/* Begins once there is a socket, and roots. */
void socket_watch_start(struct socket_watch *watch, struct daemon *daemon);
void socket_watch_close(struct socket_watch *watch); /* also where it never began */

#endif
