#include "kekd/reap.h"

#include <signal.h>
#include <sys/wait.h>
#include <unistd.h>

#define AGAIN_MS 10 /* until libuv has heard of its own child */

struct search {
    pid_t pid;
    bool found;
};

static void compare(uv_handle_t *handle, void *arg)
{
    struct search *search = arg;
    if (uv_handle_get_type(handle) == UV_PROCESS && uv_is_active(handle) &&
        uv_process_get_pid((const uv_process_t *)handle) == search->pid) {
        search->found = true;
    }
}

/* Does libuv still wait for this one? What it has given up is ours. */
static bool is_libuvs(uv_loop_t *loop, pid_t pid)
{
    struct search search = {.pid = pid};
    uv_walk(loop, compare, &search);
    return search.found;
}

/* Looks at the first child that has ended, without taking it: the kernel shows the same one until somebody
 * has.  libuv's must be left to it, or a worker's end would never be heard of. */
static void look(uv_timer_t *timer)
{
    for (;;) {
        siginfo_t info = {0};
        if (waitid(P_ALL, 0, &info, WEXITED | WNOHANG | WNOWAIT) != 0 || info.si_pid == 0) {
            return;
        }
        if (is_libuvs(timer->loop, info.si_pid)) {
            uv_timer_start(timer, look, AGAIN_MS, 0);
            return;
        }
        (void)waitpid(info.si_pid, NULL, WNOHANG);
    }
}

/* In the next turn of the loop: by then libuv has taken its own. */
static void on_child(uv_signal_t *handle, int number)
{
    (void)number;
    struct reap *reap = handle->data;
    uv_timer_start(&reap->look, look, 0, 0);
}

void reap_start(struct reap *reap, uv_loop_t *loop)
{
    if (getpid() != 1) {
        return;
    }
    reap->started = true;
    uv_timer_init(loop, &reap->look);
    uv_signal_init(loop, &reap->child);
    reap->child.data = reap;
    uv_signal_start(&reap->child, on_child, SIGCHLD);
    uv_timer_start(&reap->look, look, 0, 0); /* what ended before is not signalled again */
}

void reap_stop(struct reap *reap)
{
    if (!reap->started) {
        return;
    }
    reap->started = false;
    uv_close((uv_handle_t *)&reap->look, NULL);
    uv_close((uv_handle_t *)&reap->child, NULL);
}
