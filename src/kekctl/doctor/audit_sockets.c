/* doctor: is somebody there to take audit lines, at the sockets of journald and of a syslog daemon? */
#include <errno.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>

#include "doctor.h"
#include "kek/auto.h"

/* As kekd connects. 0, or the error. */
static int connects(const char *path)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    KEK_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    memcpy(address.sun_path, path,
           strlen(path)); /* the configuration's reader has seen to its length */
    return fd >= 0 && connect(fd, (const struct sockaddr *)&address, sizeof address) == 0 ? 0
                                                                                          : errno;
}

static void judge(struct doctor *doctor, const char *path, const char *todo)
{
    bool is_log = path == kek_config_audit_log(doctor->config);
    int error = connects(path);
    if (error == EACCES && doctor_is_stranger(doctor)) {
        doctor_say_unseen(doctor, "audit", "uid %u, who asks, may not send to %s",
                          (unsigned)geteuid(), path);
    } else if (error != 0) {
        lines_add(&doctor->lines, DOCTOR_WARN, "audit", todo, "user %s cannot send to %s: %s; %s",
                  doctor->who.name, path, strerror(error),
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
    if (config->audit_journal != NULL) {
        judge(doctor, config->audit_journal,
              "systemctl start systemd-journald.socket # or audit.journal: the journal's socket");
    }
    if (config->audit_syslog != NULL) {
        judge(doctor, config->audit_syslog,
              "audit.syslog: the socket of a syslog daemon that runs # or start the one it names");
    }
}
