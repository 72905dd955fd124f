#include "kek/listen.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stddef.h>
#include <stdint.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>
#include <sys/stat.h>
#include <sys/un.h>

#include "kek/lock_file.h"
#include "kek/text.h"

#define PATH_BYTES sizeof((struct sockaddr_un *)NULL)->sun_path
#define LOCK_SUFFIX ".lock"
#define INHERITED_FD 3 /* SD_LISTEN_FDS_START */

struct kek_listen {
    int fd;   /* -1 once taken */
    int lock; /* -1: inherited */
    /* O_PATH on the socket that was made: while it is open, no other file gets its inode number. */
    int node;
    char path[PATH_BYTES];
    /* The file of the socket, which is no other's while the socket is bound to it. */
    bool known;
    dev_t dev;
    ino_t ino;
};

static enum kek_rc errno_why(struct kek_why *why, enum kek_rc rc, const char *doing,
                             const char *path)
{
    return kek_fail_native(why, rc, KEK_NATIVE_ERRNO, (unsigned long)errno, "%s %s", doing, path);
}

static struct kek_listen *listen_new(const char *path, struct kek_why *why)
{
    struct kek_listen *listen = malloc(sizeof *listen);
    if (listen == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the listening socket");
        return NULL;
    }
    *listen = (struct kek_listen){.fd = -1, .lock = -1, .node = -1};
    memcpy(listen->path, path, strlen(path) + 1);
    return listen;
}

static enum kek_rc check_path(const char *path, struct kek_why *why)
{
    size_t len = strlen(path);
    if (path[0] != '/' || path[len - 1] == '/') {
        return kek_fail(why, KEK_INVALID,
                        "listen: expected the absolute path of a socket, found %s", path);
    }
    if (len >= PATH_BYTES) {
        return kek_fail(why, KEK_INVALID,
                        "listen: %s has %zu bytes; a socket's path has at most %zu", path, len,
                        PATH_BYTES - 1);
    }
    return KEK_OK;
}

/* Whoever may write the folder may put a socket of his own there, and the API server would hand its
 * keys to it. */
static enum kek_rc check_folder(const char *path, struct kek_why *why)
{
    char folder[PATH_BYTES];
    size_t len = (size_t)(strrchr(path, '/') - path);
    len = len == 0 ? 1 : len;
    memcpy(folder, path, len);
    folder[len] = '\0';

    struct stat st;
    if (stat(folder, &st) != 0) {
        if (errno == ENOENT) {
            return errno_why(why, KEK_NOT_FOUND,
                             "listen: the socket's folder must be made first (mode 0755, of root "
                             "or of kekd's user):",
                             folder);
        }
        return errno_why(why, KEK_DENIED, "listen: looking at", folder);
    }
    if (!S_ISDIR(st.st_mode)) {
        return kek_fail(why, KEK_DENIED, "%s is not a folder", folder);
    }
    if (st.st_uid != 0 && st.st_uid != geteuid()) {
        return kek_fail(
            why, KEK_DENIED,
            "%s belongs to uid %u: the socket's folder must belong to root or to uid %u", folder,
            (unsigned)st.st_uid, (unsigned)geteuid());
    }
    if ((st.st_mode & S_IWOTH) != 0 && (st.st_mode & S_ISVTX) == 0) {
        return kek_fail(why, KEK_DENIED, "%s is writable by everybody: anybody could replace %s",
                        folder, path);
    }
    return KEK_OK;
}

static enum kek_rc not_a_socket(const char *path, struct kek_why *why)
{
    return kek_fail(why, KEK_DENIED, "%s exists and is not a socket: it is left alone", path);
}

enum kek_rc kek_listen_check(const char *path, struct kek_why *why)
{
    struct stat st;
    enum kek_rc rc = check_path(path, why);
    rc = rc == KEK_OK ? check_folder(path, why) : rc;
    return rc == KEK_OK && lstat(path, &st) == 0 && !S_ISSOCK(st.st_mode) ? not_a_socket(path, why)
                                                                          : rc;
}

/* Errno of a connection attempt that never waits: 0 if somebody accepts, with *pid who listens. */
static int try_connect(const char *path, pid_t *pid)
{
    KEK_AUTO_CLOSE int fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (fd < 0) {
        return errno;
    }
    struct sockaddr_un to = {.sun_family = AF_UNIX};
    memcpy(to.sun_path, path, strlen(path) + 1);
    if (connect(fd, (const struct sockaddr *)&to, sizeof to) != 0) {
        return errno;
    }
    struct ucred peer;
    socklen_t len = sizeof peer;
    if (getsockopt(fd, SOL_SOCKET, SO_PEERCRED, &peer, &len) == 0) {
        *pid = peer.pid;
    }
    return 0;
}

/* pid 0: the process is of another PID namespace, another container's. */
static enum kek_rc refuse_second(const char *path, pid_t pid, struct kek_why *why)
{
    char who[48] = "a process of another container";
    if (pid > 0) {
        snprintf(who, sizeof who, "process %ld", (long)pid);
    }
    return kek_fail(why, KEK_PRECONDITION,
                    "%s listens on %s: a second kekd on one socket is refused", who, path);
}

/* Only ECONNREFUSED proves that nobody listens; a full backlog (EAGAIN) proves the opposite. */
static enum kek_rc remove_if_stale(const char *path, struct kek_why *why)
{
    struct stat st;
    if (lstat(path, &st) != 0) {
        return errno == ENOENT ? KEK_OK : errno_why(why, KEK_DENIED, "looking at", path);
    }
    if (!S_ISSOCK(st.st_mode)) {
        return not_a_socket(path, why);
    }
    pid_t pid = 0;
    int error = try_connect(path, &pid);
    if (error == 0) {
        return refuse_second(path, pid, why);
    }
    if (error != ECONNREFUSED && error != ENOENT) {
        return kek_fail_native(why, KEK_PRECONDITION, KEK_NATIVE_ERRNO, (unsigned long)error,
                               "%s may be in use", path);
    }
    if (unlink(path) != 0 && errno != ENOENT) {
        return errno_why(why, KEK_DENIED, "removing the stale socket", path);
    }
    return KEK_OK;
}

static enum kek_rc lock_path(struct kek_listen *listen, struct kek_why *why)
{
    char name[PATH_BYTES + sizeof LOCK_SUFFIX];
    snprintf(name, sizeof name, "%s%s", listen->path, LOCK_SUFFIX);
    mode_t before = umask(0);
    enum kek_rc rc = kek_lock_file_take(name, &listen->lock, why);
    (void)umask(before);
    if (rc != KEK_UNAVAILABLE) {
        return rc;
    }
    pid_t pid = 0;
    if (try_connect(listen->path, &pid) != 0) {
        return kek_fail(why, KEK_PRECONDITION, "another kekd is starting, or still stopping, on %s",
                        listen->path);
    }
    return refuse_second(listen->path, pid, why);
}

/* The umask gives the socket its mode as it comes into being; nothing is changed afterwards. */
static enum kek_rc bind_socket(struct kek_listen *self, mode_t mode, struct kek_why *why)
{
    self->fd = socket(AF_UNIX, SOCK_STREAM | SOCK_NONBLOCK | SOCK_CLOEXEC, 0);
    if (self->fd < 0) {
        return errno_why(why, KEK_INTERNAL, "making the socket", self->path);
    }
    struct sockaddr_un at = {.sun_family = AF_UNIX};
    memcpy(at.sun_path, self->path, strlen(self->path) + 1);
    mode_t before = umask((mode_t)0777 & ~mode);
    int bound = bind(self->fd, (const struct sockaddr *)&at, sizeof at);
    int error = errno;
    (void)umask(before);
    if (bound != 0) {
        errno = error;
        return errno_why(why, KEK_DENIED, "binding", self->path);
    }
    self->node = open(self->path, O_PATH | O_NOFOLLOW | O_CLOEXEC);
    if (self->node < 0) {
        return errno_why(why, KEK_INTERNAL, "looking at", self->path);
    }
    /* Until here connecting is refused, as before the bind; the lock keeps other starters away. */
    if (listen(self->fd, SOMAXCONN) != 0) {
        return errno_why(why, KEK_INTERNAL, "listening on", self->path);
    }
    return KEK_OK;
}

static enum kek_rc make_socket(const char *path, mode_t mode, struct kek_listen **made,
                               struct kek_why *why)
{
    enum kek_rc rc = check_folder(path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO(kek_listen) listen = listen_new(path, why);
    if (listen == NULL) {
        return KEK_NO_MEMORY;
    }
    rc = lock_path(listen, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = remove_if_stale(path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = bind_socket(listen, mode, why);
    if (rc != KEK_OK) {
        return rc;
    }
    *made = KEK_STEAL(listen);
    return KEK_OK;
}

static bool same_socket(const char *a, const char *b)
{
    struct stat one, two;
    return strcmp(a, b) == 0 || (stat(a, &one) == 0 && stat(b, &two) == 0 &&
                                 one.st_dev == two.st_dev && one.st_ino == two.st_ino);
}

static int socket_option(int fd, int name)
{
    int value = -1;
    socklen_t len = sizeof value;
    return getsockopt(fd, SOL_SOCKET, name, &value, &len) == 0 ? value : -1;
}

static enum kek_rc check_inherited(int fd, const char *path, struct kek_why *why)
{
    if (socket_option(fd, SO_DOMAIN) != AF_UNIX || socket_option(fd, SO_TYPE) != SOCK_STREAM) {
        return kek_fail(why, KEK_INVALID,
                        "socket activation: descriptor %d is not a Unix stream socket", fd);
    }
    if (socket_option(fd, SO_ACCEPTCONN) != 1) {
        return kek_fail(why, KEK_INVALID,
                        "socket activation: descriptor %d does not listen (Accept=no is needed)",
                        fd);
    }
    struct sockaddr_un at;
    socklen_t len = sizeof at;
    char name[PATH_BYTES + 1] = "";
    if (getsockname(fd, (struct sockaddr *)&at, &len) == 0 &&
        len > offsetof(struct sockaddr_un, sun_path)) {
        memcpy(name, at.sun_path, len - offsetof(struct sockaddr_un, sun_path));
    }
    if (!same_socket(name, path)) {
        return kek_fail(why, KEK_INVALID,
                        "socket activation: the socket is at \"%s\", the configuration says %s",
                        name, path);
    }
    if (fcntl(fd, F_SETFD, FD_CLOEXEC) != 0 ||
        fcntl(fd, F_SETFL, fcntl(fd, F_GETFL) | O_NONBLOCK) != 0) {
        return errno_why(why, KEK_INTERNAL, "preparing", path);
    }
    return KEK_OK;
}

/* How many descriptors are meant for this process; an environment that is another's counts as none. */
static enum kek_rc activation_count(uint64_t *count, struct kek_why *why)
{
    const char *pid_text = getenv("LISTEN_PID");
    const char *fds_text = getenv("LISTEN_FDS");
    uint64_t pid = 0, fds = 0;
    if (pid_text == NULL || fds_text == NULL) {
        *count = 0;
        return KEK_OK;
    }
    if (!kek_text_decimal(pid_text, INT_MAX, &pid)) {
        return kek_fail(why, KEK_INVALID, "LISTEN_PID: expected a process id");
    }
    if (!kek_text_decimal(fds_text, INT_MAX, &fds)) {
        return kek_fail(why, KEK_INVALID, "LISTEN_FDS: expected a whole number");
    }
    if (pid != (uint64_t)getpid()) {
        *count = 0;
        return KEK_OK;
    }
    if (fds > 1) {
        return kek_fail(why, KEK_INVALID,
                        "socket activation: expected one socket, found %llu descriptors",
                        (unsigned long long)fds);
    }
    *count = fds;
    return KEK_OK;
}

static enum kek_rc inherit_socket(const char *path, struct kek_listen **inherited,
                                  struct kek_why *why)
{
    enum kek_rc rc = check_inherited(INHERITED_FD, path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    struct kek_listen *listen = listen_new(path, why);
    if (listen == NULL) {
        return KEK_NO_MEMORY;
    }
    listen->fd = INHERITED_FD;
    *inherited = listen;
    return KEK_OK;
}

static void note_file(struct kek_listen *listen)
{
    struct stat file;
    if ((listen->node >= 0 ? fstat(listen->node, &file) : stat(listen->path, &file)) == 0) {
        listen->known = true;
        listen->dev = file.st_dev;
        listen->ino = file.st_ino;
    }
}

enum kek_rc kek_listen_open(const char *path, mode_t mode, struct kek_listen **listen,
                            struct kek_why *why)
{
    uint64_t inherited = 0;
    enum kek_rc rc = activation_count(&inherited, why);
    (void)unsetenv("LISTEN_PID");
    (void)unsetenv("LISTEN_FDS");
    (void)unsetenv("LISTEN_FDNAMES");
    if (rc != KEK_OK) {
        return rc;
    }
    rc = check_path(path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = inherited == 1 ? inherit_socket(path, listen, why) : make_socket(path, mode, listen, why);
    if (rc == KEK_OK) {
        note_file(*listen);
    }
    return rc;
}

int kek_listen_take(struct kek_listen *listen)
{
    int fd = listen->fd;
    listen->fd = -1;
    return fd;
}

bool kek_listen_inherited(const struct kek_listen *listen)
{
    return listen->lock < 0;
}

enum kek_listen_at kek_listen_look(const struct kek_listen *listen)
{
    struct stat there;
    if (stat(listen->path, &there) != 0) {
        return errno == ENOENT || errno == ENOTDIR ? KEK_LISTEN_GONE : KEK_LISTEN_HERE;
    }
    bool same = !listen->known || (there.st_dev == listen->dev && there.st_ino == listen->ino);
    return same ? KEK_LISTEN_HERE : KEK_LISTEN_OTHER;
}

static bool still_ours(const struct kek_listen *listen)
{
    struct stat made, there;
    return listen->node >= 0 && fstat(listen->node, &made) == 0 &&
           lstat(listen->path, &there) == 0 && made.st_dev == there.st_dev &&
           made.st_ino == there.st_ino;
}

void kek_listen_free(struct kek_listen *listen)
{
    if (listen == NULL) {
        return;
    }
    if (still_ours(listen)) {
        (void)unlink(listen->path);
    }
    if (listen->fd >= 0) {
        close(listen->fd);
    }
    if (listen->node >= 0) {
        close(listen->node);
    }
    if (listen->lock >= 0) {
        close(listen->lock); /* last: from here on the path is another's to take */
    }
    free(listen);
}
