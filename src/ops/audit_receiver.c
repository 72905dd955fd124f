#include "audit_receiver.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/un.h>
#include <unistd.h>

#include "kek/clock.h"

#define HEADER_MAX 512 /* what stands before the line */
#define TIME_AT (sizeof "{\"time\":\"" - 1)
#define TIME_LEN (sizeof "2006-01-02T15:04:05.678Z" - 1)
/* Facility 13, log audit, and severity 6, informational (RFC 5424, 6.2.1). */
#define PRIVAL "<110>"

void audit_receiver_init(struct audit_receiver *receiver, enum audit_receiver_form form,
                         const char *path, const char *node)
{
    *receiver = (struct audit_receiver){.form = form, .path = path, .node = node, .fd = -1};
}

void audit_receiver_leave(struct audit_receiver *receiver)
{
    if (receiver->fd >= 0) {
        close(receiver->fd);
        receiver->fd = -1;
    }
}

void audit_receiver_done(struct audit_receiver *receiver)
{
    if (receiver->path != NULL) {
        audit_receiver_leave(receiver);
    }
}

/* False: errno says why. */
static bool connected(struct audit_receiver *receiver)
{
    struct sockaddr_un address = {.sun_family = AF_UNIX};
    if (receiver->fd >= 0) {
        return true;
    }
    if (strlen(receiver->path) >= sizeof address.sun_path) {
        errno = ENAMETOOLONG;
        return false;
    }
    memcpy(address.sun_path, receiver->path, strlen(receiver->path));
    receiver->fd = socket(AF_UNIX, SOCK_DGRAM | SOCK_CLOEXEC | SOCK_NONBLOCK, 0);
    if (receiver->fd >= 0 &&
        connect(receiver->fd, (const struct sockaddr *)&address, sizeof address) == 0) {
        return true;
    }
    int error = errno;
    audit_receiver_leave(receiver);
    errno = error;
    return false;
}

/* What stands before the line: "<110>1 TIME HOSTNAME kekd - audit - ", or the journal's fields. */
static size_t header(const struct audit_receiver *receiver, struct kek_bytes line,
                     char out[static HEADER_MAX])
{
    if (receiver->form == AUDIT_RECEIVER_JOURNAL) {
        return (size_t)snprintf(out, HEADER_MAX,
                                "SYSLOG_IDENTIFIER=kekd-audit\nSYSLOG_FACILITY=13\nPRIORITY=6\n"
                                "MESSAGE=");
    }
    bool timed = line.len > TIME_AT + TIME_LEN;
    return (size_t)snprintf(out, HEADER_MAX, PRIVAL "1 %.*s %.255s kekd - audit - ",
                            timed ? (int)TIME_LEN : 1,
                            timed ? (const char *)line.data + TIME_AT : "-", receiver->node);
}

/* One datagram; the journal's fields end by a line feed, a syslog message by the datagram. */
static bool send_once(struct audit_receiver *receiver, struct kek_bytes line)
{
    char before[HEADER_MAX];
    size_t len = receiver->form == AUDIT_RECEIVER_JOURNAL ? line.len : line.len - 1;
    struct iovec parts[] = {{.iov_base = before, .iov_len = header(receiver, line, before)},
                            {.iov_base = (void *)(uintptr_t)line.data, .iov_len = len}};
    const struct msghdr message = {.msg_iov = parts, .msg_iovlen = 2};
    return sendmsg(receiver->fd, &message, MSG_NOSIGNAL) >= 0;
}

/* False: it is full still, when that time has come; errno is as it was. */
static bool has_room(const struct audit_receiver *receiver, uint64_t until_ms)
{
    struct pollfd room = {.fd = receiver->fd, .events = POLLOUT};
    int ready, error = errno;
    do {
        uint64_t now = kek_clock_ms();
        ready = now < until_ms ? poll(&room, 1, (int)(until_ms - now)) : 0;
    } while (ready < 0 && errno == EINTR);
    errno = error;
    return ready == 1;
}

/* Waits while the receiver's queue is full, until then.  A receiver that was started anew is connected to anew, once. */
static bool send_line(struct audit_receiver *receiver, struct kek_bytes line, uint64_t until_ms)
{
    for (int renewed = 0;;) {
        if (!connected(receiver)) {
            return false;
        }
        if (send_once(receiver, line)) {
            return true;
        }
        if (errno == EINTR || (errno == EAGAIN && has_room(receiver, until_ms))) {
            continue;
        }
        if ((errno != ECONNREFUSED && errno != ENOTCONN) || renewed++ > 0) {
            return false;
        }
        audit_receiver_leave(receiver);
    }
}

enum kek_rc audit_receiver_reach(struct audit_receiver *receiver, struct kek_why *why)
{
    return connected(receiver)
               ? KEK_OK
               : kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                                 "connecting to %s, which the audit log goes to", receiver->path);
}

/* The line that stands there, with its line feed. */
static struct kek_bytes line_at(struct kek_bytes lines, size_t at)
{
    const uint8_t *line = lines.data + at;
    const uint8_t *feed = memchr(line, '\n', lines.len - at);
    return kek_bytes(line, (size_t)(feed + 1 - line));
}

bool audit_receiver_copy(struct audit_receiver *receiver, struct kek_bytes lines,
                         char told[static KEK_WHY_TEXT])
{
    bool failed = receiver->failing;
    uint64_t until = kek_clock_ms() + AUDIT_RECEIVER_COPY_MS;
    for (size_t at = 0; at < lines.len;) {
        struct kek_bytes line = line_at(lines, at);
        at += line.len;
        if (line.len == 1) {
            continue; /* the end of a piece of a line */
        }
        receiver->failing = !send_line(receiver, line, until);
        if (receiver->failing) {
            receiver->lost++;
            snprintf(told, KEK_WHY_TEXT, "copies to %s are lost: %s", receiver->path,
                     strerror(errno));
        }
    }
    if (failed && !receiver->failing) {
        snprintf(told, KEK_WHY_TEXT, "copies to %s arrive again; %llu lines were lost",
                 receiver->path, (unsigned long long)receiver->lost);
    }
    return failed != receiver->failing;
}

enum kek_rc audit_receiver_take(struct audit_receiver *receiver, struct kek_bytes lines,
                                size_t *taken, struct kek_why *why)
{
    uint64_t until = kek_clock_ms() + AUDIT_RECEIVER_TAKE_MS;
    for (*taken = 0; *taken < lines.len;) {
        struct kek_bytes line = line_at(lines, *taken);
        if (!send_line(receiver, line, until)) {
            return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                                   "sending audit lines to %s", receiver->path);
        }
        *taken += line.len;
    }
    return KEK_OK;
}
