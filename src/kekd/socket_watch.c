#include "kekd/socket_watch.h"

#include <stdio.h>

#include "kek/clock.h"
#include "kek/text.h"
#include "kekd/rooms.h"

static void say(const struct socket_watch *watch, struct kek_keyring_verdict *remark)
{
    const struct daemon *daemon = watch->daemon;
    *remark = (struct kek_keyring_verdict){
        .remark = KEK_KEYRING_SOCKET_GONE, .since_ms = kek_clock_ms(), .provider = KEK_POOL_ANY};
    snprintf(remark->what, sizeof remark->what,
             "the socket %s %s: clients that are connected are served, and no other can connect",
             daemon->config->listen,
             watch->seen == KEK_LISTEN_GONE ? "is not there any more"
                                            : "is another than the one that kekd listens on");
    kek_text_copy(remark->todo, sizeof remark->todo,
                  kek_listen_inherited(daemon->listen)
                      ? "restart the unit of the socket and kekd: systemctl restart kekd.socket "
                        "kekd.service"
                      : "restart kekd, which makes it anew");
}

static void tell(struct socket_watch *watch)
{
    struct kek_keyring_verdict remark;
    struct daemon *daemon = watch->daemon;
    bool here = watch->seen == KEK_LISTEN_HERE;
    if (here) {
        kek_log(KEK_LOG_INFO, "the socket %s is there again", daemon->config->listen);
    } else {
        say(watch, &remark);
        kek_log(KEK_LOG_WARN, "%s; %s", remark.what, remark.todo);
    }
    kek_roots_tell(daemon->roots, here ? NULL : &remark);
}

static void run_look(uv_work_t *work)
{
    struct socket_watch *watch = work->data;
    watch->seen = kek_listen_look(watch->daemon->listen);
}

static void on_looked(uv_work_t *work, int status)
{
    struct socket_watch *watch = work->data;
    (void)status; /* nothing cancels it */
    watch->busy = false;
    if (!watch->daemon->stopping && watch->seen != watch->known) {
        tell(watch);
        watch->known = watch->seen;
    }
}

static void on_timer(uv_timer_t *timer)
{
    struct socket_watch *watch = timer->data;
    if (watch->busy || watch->daemon->stopping) {
        return;
    }
    watch->work.data = watch;
    watch->busy = uv_queue_work(&watch->daemon->loop, &watch->work, run_look, on_looked) == 0;
}

void socket_watch_start(struct socket_watch *watch, struct daemon *daemon)
{
    watch->daemon = daemon;
    uv_timer_init(&daemon->loop, &watch->timer);
    watch->timer.data = watch;
    uv_timer_start(&watch->timer, on_timer, 0, daemon->config->refresh_ms);
}

void socket_watch_close(struct socket_watch *watch)
{
    if (watch->timer.data != NULL && !uv_is_closing((uv_handle_t *)&watch->timer)) {
        uv_close((uv_handle_t *)&watch->timer, NULL);
    }
}
