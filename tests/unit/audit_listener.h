/* A socket as journald's or a syslog daemon's, in the test's folder. */
#ifndef AUDIT_LISTENER_H
#define AUDIT_LISTENER_H

#include <sys/socket.h>
#include <sys/un.h>

#include "audit_help.h"

static int receiver = -1;

static inline const char *listen_at(const char *name)
{
    static struct sockaddr_un address;
    address.sun_family = AF_UNIX;
    snprintf(address.sun_path, sizeof address.sun_path, "%s/%s", folder, name);
    receiver = socket(AF_UNIX, SOCK_DGRAM | SOCK_NONBLOCK, 0);
    ck_assert_int_eq(bind(receiver, (struct sockaddr *)&address, sizeof address), 0);
    return address.sun_path;
}

static inline void leave(const char *name)
{
    close(receiver);
    ck_assert_int_eq(unlink(folder_path(name)), 0);
    receiver = -1;
}

static inline void listener_teardown(void)
{
    if (receiver >= 0) {
        close(receiver);
        receiver = -1;
    }
    teardown();
}

#endif
