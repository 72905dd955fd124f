#include "kek/notify.h"

#include <errno.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "kek/text.h"

struct kek_notify {
    int fd; /* -1: nobody to tell */
    struct sockaddr_un to;
    socklen_t to_len;
    uv_timer_t watchdog;
};

static enum kek_rc tell(struct kek_notify *notify, const char *message, struct kek_why *why)
{
    if (notify->fd < 0) {
        return KEK_OK;
    }
    size_t len = strlen(message);
    ssize_t sent = sendto(notify->fd, message, len, MSG_DONTWAIT | MSG_NOSIGNAL,
                          (const struct sockaddr *)&notify->to, notify->to_len);
    if (sent != (ssize_t)len) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "telling the service manager");
    }
    return KEK_OK;
}

/* A status line must not carry a line break: what follows one is another assignment. */
static enum kek_rc tell_status(struct kek_notify *notify, const char *before, const char *status,
                               struct kek_why *why)
{
    char message[64 + KEK_NOTIFY_STATUS_MAX];
    snprintf(message, sizeof message, "%sSTATUS=%.*s", before, KEK_NOTIFY_STATUS_MAX, status);
    kek_text_clean(message + strlen(before));
    return tell(notify, message, why);
}

static void on_watchdog(uv_timer_t *timer)
{
    (void)tell(timer->data, "WATCHDOG=1", NULL);
}

static enum kek_rc read_address(struct kek_notify *notify, const char *name, struct kek_why *why)
{
    size_t len = strlen(name);
    if ((name[0] != '/' && name[0] != '@') || len < 2 || len >= sizeof notify->to.sun_path) {
        return kek_fail(why, KEK_INVALID,
                        "NOTIFY_SOCKET: expected an absolute path or @name, found %s", name);
    }
    notify->to.sun_family = AF_UNIX;
    memcpy(notify->to.sun_path, name, len);
    notify->to_len = (socklen_t)(offsetof(struct sockaddr_un, sun_path) + len);
    if (name[0] == '@') {
        notify->to.sun_path[0] = '\0'; /* abstract: the name is exactly its bytes */
    } else {
        notify->to_len++;
    }
    notify->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC, 0);
    if (notify->fd < 0) {
        return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "making a socket for the service manager");
    }
    return KEK_OK;
}

/* Milliseconds between two pings; 0 if none are wanted of this process. */
static enum kek_rc read_watchdog(uint64_t *interval_ms, struct kek_why *why)
{
    const char *usec_text = getenv("WATCHDOG_USEC");
    const char *pid_text = getenv("WATCHDOG_PID");
    uint64_t usec = 0, pid = 0;
    *interval_ms = 0;
    if (usec_text == NULL) {
        return KEK_OK;
    }
    if (!kek_text_decimal(usec_text, UINT64_MAX, &usec) || usec == 0) {
        return kek_fail(why, KEK_INVALID, "WATCHDOG_USEC: expected microseconds, found %s",
                        usec_text);
    }
    if (pid_text != NULL && !kek_text_decimal(pid_text, INT32_MAX, &pid)) {
        return kek_fail(why, KEK_INVALID, "WATCHDOG_PID: expected a process id, found %s",
                        pid_text);
    }
    if (pid_text == NULL || pid == (uint64_t)getpid()) {
        *interval_ms = usec / 2000 == 0 ? 1 : usec / 2000;
    }
    return KEK_OK;
}

struct kek_notify *kek_notify_new(uv_loop_t *loop, struct kek_why *why)
{
    struct kek_notify *notify = calloc(1, sizeof *notify);
    if (notify == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to talk to the service manager");
        return NULL;
    }
    notify->fd = -1;
    const char *name = getenv("NOTIFY_SOCKET");
    uint64_t interval_ms = 0;
    enum kek_rc rc = name == NULL ? KEK_OK : read_address(notify, name, why);
    if (rc == KEK_OK) {
        rc = read_watchdog(&interval_ms, why);
    }
    (void)unsetenv("NOTIFY_SOCKET");
    (void)unsetenv("WATCHDOG_USEC");
    (void)unsetenv("WATCHDOG_PID");
    if (rc != KEK_OK) {
        if (notify->fd >= 0) {
            close(notify->fd);
        }
        free(notify);
        return NULL;
    }
    uv_timer_init(loop, &notify->watchdog);
    notify->watchdog.data = notify;
    uv_unref((uv_handle_t *)&notify->watchdog);
    if (notify->fd >= 0 && interval_ms > 0) {
        uv_timer_start(&notify->watchdog, on_watchdog, interval_ms, interval_ms);
    }
    return notify;
}

enum kek_rc kek_notify_ready(struct kek_notify *notify, const char *status, struct kek_why *why)
{
    return tell_status(notify, "READY=1\n", status, why);
}

enum kek_rc kek_notify_stopping(struct kek_notify *notify, const char *status, struct kek_why *why)
{
    return tell_status(notify, "STOPPING=1\n", status, why);
}

void kek_notify_status(struct kek_notify *notify, const char *status)
{
    (void)tell_status(notify, "", status, NULL);
}

static void on_closed(uv_handle_t *handle)
{
    struct kek_notify *notify = handle->data;
    if (notify->fd >= 0) {
        close(notify->fd);
    }
    free(notify);
}

void kek_notify_free(struct kek_notify *notify)
{
    if (notify != NULL) {
        uv_close((uv_handle_t *)&notify->watchdog, on_closed);
    }
}
