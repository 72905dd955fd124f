/* doctor: is somebody there who takes audit lines, at the sockets of journald and of a syslog daemon? */
#include <errno.h>
#include <poll.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "doctor.h"
#include "kek/auto.h"

#define ROOM_MS 1000 /* as long as kekd gives a receiver to take a line */

/* Nothing is sent: the kernel says whether there is room in the receiver's queue (unix(7)). */
static bool has_room(int fd)
{
    struct pollfd room = {.fd = fd, .events = POLLOUT};
    int ready;
    do {
        ready = poll(&room, 1, ROOM_MS);
    } while (ready < 0 && errno == EINTR);
    return ready != 0;
}

/* As kekd connects. 0, or the error; EAGAIN: it takes nothing. */
static int connects(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    KEK_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memcpy(address.sun_path, path,
           strlen(path)); /* the configuration's reader has seen to its length */
    if (fd < 0 || connect(fd, (const struct sockaddr *)&address, sizeof address) != 0) {
        return errno;
    }
    return has_room(fd) ? 0 : EAGAIN;
}

static void judge(struct doctor *doctor, const char *path, const char *todo)
{
    bool is_log = path == kek_config_audit_log(doctor->config);
    int error = connects(path);
    char full[LINES_TODO];
    if (error == EACCES && doctor_is_stranger(doctor)) {
        doctor_say_unseen(doctor, "audit", "uid %u, who asks, may not send to %s",
                          (unsigned)geteuid(), path);
    } else if (error != 0) {
        lines_todo(full, "have whoever listens at %s read on, or start it anew", path);
        lines_add(&doctor->lines, DOCTOR_WARN, "audit", error == EAGAIN ? full : todo,
                  "user %s cannot send to %s: %s; %s", doctor->who.name, path,
                  error == EAGAIN ? "it is full, and nobody reads what is there" : strerror(error),
                  is_log
                      ? "kekd serves, lines wait and are lost in the end, and kekctl changes no key"
                      : "the copies that go there are lost");
    } else if (is_log) {
        lines_add(
            &doctor->lines, DOCTOR_OK, "audit", NULL,
            "lines go to %s, where somebody listens, and into no file: how long they are kept "
            "there was not looked at",
            path);
    }
}

void doctor_audit_sockets(struct doctor *doctor)
{
    const struct kek_config *config = doctor->config;
    char todo[LINES_TODO];
    if (config->audit_journal != NULL) {
        lines_todo(todo,
                   "systemctl start systemd-journald.socket # or in %s: audit.journal: the "
                   "journal's socket",
                   config->path);
        judge(doctor, config->audit_journal, todo);
    }
    if (config->audit_syslog != NULL) {
        lines_todo(todo,
                   "in %s: audit.syslog: the socket of a syslog daemon that runs # or start the "
                   "one it names",
                   config->path);
        judge(doctor, config->audit_syslog, todo);
    }
}
