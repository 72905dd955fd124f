/* doctor: the addresses at which kekd's HTTP listeners are to be: is each this machine's, and free? */
#include <errno.h>
#include <netdb.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <unistd.h>

#include "doctor.h"
#include "kek/auto.h"

/* Errno of a bind as libuv makes it for kekd; 0: it is good. Nobody can connect: there is no listen(2). */
static int try_bind(const char *host, uint16_t port)
{
    static const int on = 1;
    const struct addrinfo hints = {.ai_flags = AI_NUMERICHOST | AI_NUMERICSERV,
                                   .ai_socktype = SOCK_STREAM};
    struct addrinfo *at = NULL;
    char service[16];
    snprintf(service, sizeof service, "%u", (unsigned)port);
    if (getaddrinfo(host, service, &hints, &at) != 0) {
        return EADDRNOTAVAIL;
    }
    KEK_AUTO_CLOSE int fd = socket(at->ai_family, SOCK_STREAM | SOCK_CLOEXEC, 0);
    bool bound = fd >= 0 && setsockopt(fd, SOL_SOCKET, SO_REUSEADDR, &on, sizeof on) == 0 &&
                 bind(fd, at->ai_addr, at->ai_addrlen) == 0;
    int error = bound ? 0 : errno;
    freeaddrinfo(at);
    return error;
}

/* Taken by the kekd that runs on this state_dir, as far as can be told: whether it answers there is asked with the nodes.
 * A port below 1024 is bound by a right that the unit may give. */
static bool is_kekds(const struct doctor *doctor, int error)
{
    return error == 0 || (error == EADDRINUSE && doctor->runner.there) ||
           (error == EACCES && unit_lists(&doctor->outside.unit, "Service", "AmbientCapabilities",
                                          "CAP_NET_BIND_SERVICE"));
}

static void judge(struct doctor *doctor, const char *subject, const char *setting, const char *host,
                  uint16_t port)
{
    char todo[LINES_TODO];
    int error = host == NULL ? 0 : try_bind(host, port);
    if (is_kekds(doctor, error)) {
        return;
    }
    if (error == EADDRINUSE && doctor->runner.hidden) {
        doctor_say_unseen(doctor, subject,
                          "%s port %u (%s) is taken, and uid %u may not see whether by the kekd on "
                          "%s",
                          host, (unsigned)port, setting, (unsigned)geteuid(),
                          doctor->config->state_dir);
        return;
    }
    if (error == EADDRINUSE) {
        lines_todo(todo,
                   "ss -ltnp sport = :%u # who has it: end that, or in %s: %s: another "
                   "port",
                   (unsigned)port, doctor->config->path, setting);
        (void)doctor_elsewhere_waits(doctor, todo);
    } else if (error == EADDRNOTAVAIL) {
        lines_todo(todo, "in %s: %s: an address of this machine (ip -brief address)",
                   doctor->config->path, setting);
    } else {
        lines_todo(todo, "in %s: %s: another address or port", doctor->config->path, setting);
    }
    lines_add(&doctor->lines, DOCTOR_FAIL, subject, todo,
              "kekd cannot listen on %s port %u (%s): %s", host, (unsigned)port, setting,
              strerror(error));
}

void doctor_listeners(struct doctor *doctor)
{
    const struct kek_config *config = doctor->config;
    judge(doctor, "metrics", "metrics", config->metrics_host, config->metrics_port);
    judge(doctor, "status", "status.listen", config->status.host, config->status.port);
}
