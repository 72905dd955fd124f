#include "kek/etcd.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/statvfs.h>
#include <sys/un.h>
#include <sys/wait.h>
#include <time.h>

#include "guard.h"
#include "kek/clock.h"
#include "kek/descriptors.h"
#include "kek/text.h"

#define TIMEOUT_MS (10u * 60 * 1000)
#define PAUSE_MS 50
#define LOG_TEXT 360 /* bytes of the log's end in a message, with the NUL */
#define MIB (UINT64_C(1) << 20)
#define BESIDE (160 * MIB) /* what etcd makes beside the data: two WAL files of 64 MiB, and some */
#define HASH 32            /* bytes of the SHA-256 behind the data */
#define PAGE 512           /* bytes that a bbolt file is a multiple of */
#define MAGIC_AT 16        /* in its first page (bbolt, meta.magic) */
#define MAGIC 0xed0cdaedu

#define SOCKET_MAX sizeof(((struct sockaddr_un *)0)->sun_path)

struct kek_etcd_snapshot {
    char folder[SOCKET_MAX - sizeof GUARD_CLIENT]; /* empty: none is made */
    char socket[SOCKET_MAX];
    const char *endpoints[2];
    pid_t guard;
    int fd; /* to it */
    struct kek_etcd *etcd;
};

/* ---- what there must be ---- */

static enum kek_rc check_content(int fd, const char *file, uint64_t size, struct kek_why *why)
{
    uint8_t head[MAGIC_AT + 4];
    size_t len = 0;
    if (!kek_descriptor_read(fd, head, sizeof head, &len)) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "snapshot %s", file);
    }
    uint32_t magic = len < sizeof head
                         ? 0
                         : (uint32_t)head[MAGIC_AT] | (uint32_t)head[MAGIC_AT + 1] << 8 |
                               (uint32_t)head[MAGIC_AT + 2] << 16 |
                               (uint32_t)head[MAGIC_AT + 3] << 24;
    if (magic != MAGIC) {
        return kek_fail(
            why, KEK_INVALID,
            "%s is no snapshot of an etcd: expected a file of \"etcdctl snapshot save\"", file);
    }
    if (size % PAGE == 0) {
        return kek_fail(
            why, KEK_INVALID,
            "%s has no checksum at its end: it was cut there, or copied from a data folder: "
            "expected a file of \"etcdctl snapshot save\"",
            file);
    }
    if (size % PAGE != HASH) {
        return kek_fail(why, KEK_INVALID,
                        "snapshot %s is not whole: %" PRIu64 " bytes are no snapshot's size", file,
                        size);
    }
    return KEK_OK;
}

static enum kek_rc check_file(const char *file, uint64_t *size, struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC | O_NONBLOCK);
    struct stat st;
    if (fd < 0 || fstat(fd, &st) != 0) {
        int error = errno;
        return kek_fail_native(why, error == ENOENT ? KEK_NOT_FOUND : KEK_DENIED, KEK_NATIVE_ERRNO,
                               (unsigned long)error, "snapshot %s", file);
    }
    if (!S_ISREG(st.st_mode)) {
        return kek_fail(why, KEK_INVALID, "snapshot %s: this is no file", file);
    }
    *size = (uint64_t)st.st_size;
    return check_content(fd, file, *size, why);
}

static bool find(const char *program, char path[PATH_MAX])
{
    const char *folders = getenv("PATH");
    while (folders != NULL && *folders != '\0') {
        size_t len = strcspn(folders, ":");
        int written = snprintf(path, PATH_MAX, "%.*s/%s", (int)len, folders, program);
        if (len > 0 && folders[0] == '/' && written < PATH_MAX && access(path, X_OK) == 0) {
            return true;
        }
        folders += len + (folders[len] == ':');
    }
    return false;
}

static enum kek_rc check_space(const char *folder, uint64_t size, struct kek_why *why)
{
    struct statvfs fs;
    if (statvfs(folder, &fs) != 0 || (uint64_t)fs.f_bavail * fs.f_frsize >= size + BESIDE) {
        return KEK_OK;
    }
    return kek_fail(why, KEK_EXHAUSTED,
                    "%s has %" PRIu64 " MiB left, and restoring the snapshot needs %" PRIu64
                    ": set TMPDIR to a folder with more",
                    folder, (uint64_t)fs.f_bavail * fs.f_frsize / MIB, (size + BESIDE) / MIB);
}

static enum kek_rc make_folder(struct kek_etcd_snapshot *snapshot, const char *tmp, uint64_t size,
                               struct kek_why *why)
{
    const char *of = tmp != NULL ? tmp : getenv("TMPDIR");
    of = of != NULL && of[0] != '\0' ? of : "/tmp";
    KEK_AUTO_FREE char *base = realpath(of, NULL);
    if (base == NULL) {
        return kek_fail_native(why, KEK_NOT_FOUND, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "the folder for temporary files, %s", of);
    }
    enum kek_rc rc = check_space(base, size, why);
    if (rc != KEK_OK) {
        return rc;
    }
    int len = snprintf(snapshot->folder, sizeof snapshot->folder, "%s/kek-etcd-XXXXXX", base);
    if (len < 0 || (size_t)len >= sizeof snapshot->folder) {
        snapshot->folder[0] = '\0';
        return kek_fail(why, KEK_INVALID,
                        "%s is too long a path for a Unix socket: set TMPDIR to a shorter one", of);
    }
    if (mkdtemp(snapshot->folder) == NULL) {
        int error = errno;
        snapshot->folder[0] = '\0';
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)error,
                               "no folder can be made in %s", of);
    }
    return KEK_OK;
}

/* ---- how it went ---- */

/* The last line that restore program and etcd wrote. */
static void log_end(const struct kek_etcd_snapshot *snapshot, char out[LOG_TEXT])
{
    char path[PATH_MAX + 16], text[LOG_TEXT];
    size_t len = 0;
    (void)snprintf(path, sizeof path, "%s/%s", snapshot->folder, GUARD_LOG);
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC);
    off_t size = fd < 0 ? 0 : lseek(fd, 0, SEEK_END);
    off_t from = size > (off_t)sizeof text - 1 ? size - ((off_t)sizeof text - 1) : 0;
    if (fd < 0 || lseek(fd, from, SEEK_SET) < 0 ||
        !kek_descriptor_read(fd, text, sizeof text - 1, &len)) {
        len = 0;
    }
    text[len] = '\0';
    while (len > 0 && text[len - 1] == '\n') {
        text[--len] = '\0';
    }
    const char *last = strrchr(text, '\n');
    kek_text_copy(out, LOG_TEXT, last == NULL ? text : last + 1);
}

static enum kek_rc say_ended(const struct kek_etcd_snapshot *snapshot, char what, const char *file,
                             struct kek_why *why)
{
    char text[LOG_TEXT];
    log_end(snapshot, text);
    if (what == GUARD_FAILED) {
        return kek_fail(why, KEK_INVALID, "snapshot %s cannot be restored: is it whole? %s", file,
                        text);
    }
    return kek_fail(why, KEK_UNAVAILABLE, "snapshot %s: the etcd for it ended: %s", file, text);
}

/* What the guard says within wait_ms; '\0': nothing. */
static char hear(const struct kek_etcd_snapshot *snapshot, int wait_ms)
{
    struct pollfd fd = {.fd = snapshot->fd, .events = POLLIN};
    char what = '\0';
    if (poll(&fd, 1, wait_ms) > 0 && read(snapshot->fd, &what, 1) != 1) {
        what = GUARD_ENDED;
    }
    return what;
}

static enum kek_rc wait_for_restore(const struct kek_etcd_snapshot *snapshot, const char *file,
                                    uint64_t deadline_ms, struct kek_why *why)
{
    char what = '\0';
    while (what == '\0' && kek_clock_ms() < deadline_ms) {
        what = hear(snapshot, PAUSE_MS);
    }
    if (what == '\0') {
        return kek_fail(why, KEK_DEADLINE, "snapshot %s: it is not restored in time", file);
    }
    return what == GUARD_RESTORED ? KEK_OK : say_ended(snapshot, what, file, why);
}

static enum kek_rc wait_for_etcd(struct kek_etcd_snapshot *snapshot,
                                 const struct kek_etcd_snapshot_settings *settings,
                                 uint64_t deadline_ms, struct kek_why *why)
{
    const struct kek_etcd_settings with = {.name = "of the snapshot",
                                           .endpoints = snapshot->endpoints,
                                           .socket = snapshot->socket,
                                           .user = settings->user,
                                           .password_file = settings->password_file};
    for (;;) {
        size_t count;
        enum kek_rc rc = kek_etcd_open(&with, &snapshot->etcd, why);
        if (rc == KEK_OK && kek_etcd_members(snapshot->etcd, &count)[0].leader != 0) {
            return KEK_OK;
        }
        kek_etcd_free(KEK_STEAL(snapshot->etcd));
        if (rc != KEK_OK && rc != KEK_UNAVAILABLE && rc != KEK_DEADLINE) {
            return rc;
        }
        char what = hear(snapshot, PAUSE_MS);
        if (what != '\0') {
            return say_ended(snapshot, what, settings->file, why);
        }
        if (kek_clock_ms() >= deadline_ms) {
            return kek_fail(why, KEK_DEADLINE,
                            "snapshot %s: the etcd for it does not start in time", settings->file);
        }
    }
}

/* ---- life ---- */

static enum kek_rc start_guard(struct kek_etcd_snapshot *snapshot, const char *file,
                               const char *restore, const char *etcd, struct kek_why *why)
{
    char *absolute = realpath(file, NULL);
    if (absolute == NULL) {
        return kek_fail_native(why, KEK_NOT_FOUND, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "snapshot %s", file);
    }
    const struct guard_job job = {.folder = snapshot->folder,
                                  .file = absolute,
                                  .restore = restore,
                                  .etcd = etcd,
                                  .name = strrchr(snapshot->folder, '/') + 1};
    snapshot->guard = guard_start(&job, &snapshot->fd, why);
    free(absolute);
    return snapshot->guard < 0 ? why->rc : KEK_OK;
}

static enum kek_rc begin(struct kek_etcd_snapshot *snapshot,
                         const struct kek_etcd_snapshot_settings *settings, struct kek_why *why)
{
    char restore[PATH_MAX], etcd[PATH_MAX];
    uint64_t timeout_ms = settings->timeout_ms == 0 ? TIMEOUT_MS : settings->timeout_ms;
    uint64_t deadline_ms = kek_clock_ms() + timeout_ms, size = 0;
    enum kek_rc rc = check_file(settings->file, &size, why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (!find("etcd", etcd) || (!find("etcdutl", restore) && !find("etcdctl", restore))) {
        return kek_fail(
            why, KEK_NOT_FOUND,
            "to read a snapshot, etcd and etcdutl (or an etcdctl before 3.6) must be in PATH: "
            "on Debian install etcd-server and etcd-client");
    }
    rc = make_folder(snapshot, settings->tmp, size, why);
    if (rc != KEK_OK) {
        return rc;
    }
    (void)snprintf(snapshot->socket, sizeof snapshot->socket, "%s/%s", snapshot->folder,
                   GUARD_CLIENT);
    snapshot->endpoints[0] = "http://localhost";
    rc = start_guard(snapshot, settings->file, restore, etcd, why);
    if (rc == KEK_OK) {
        rc = wait_for_restore(snapshot, settings->file, deadline_ms, why);
    }
    return rc != KEK_OK ? rc : wait_for_etcd(snapshot, settings, deadline_ms, why);
}

enum kek_rc kek_etcd_snapshot_open(const struct kek_etcd_snapshot_settings *settings,
                                   struct kek_etcd_snapshot **snapshot, struct kek_why *why)
{
    KEK_AUTO(kek_etcd_snapshot) made = calloc(1, sizeof *made);
    KEK_UNFILLED struct kek_why mine;
    why = why == NULL ? &mine : why;
    if (made == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory");
    }
    made->guard = -1;
    made->fd = -1;
    enum kek_rc rc = begin(made, settings, why);
    if (rc == KEK_OK) {
        *snapshot = KEK_STEAL(made);
    }
    return rc;
}

struct kek_etcd *kek_etcd_snapshot_etcd(struct kek_etcd_snapshot *snapshot)
{
    return snapshot->etcd;
}

void kek_etcd_snapshot_free(struct kek_etcd_snapshot *snapshot)
{
    if (snapshot == NULL) {
        return;
    }
    kek_etcd_free(snapshot->etcd);
    if (snapshot->fd >= 0) {
        (void)close(snapshot->fd);
    }
    while (snapshot->guard > 0 && waitpid(snapshot->guard, NULL, 0) < 0 && errno == EINTR) {
    }
    if (snapshot->folder[0] != '\0') {
        (void)guard_remove(snapshot->folder); /* if the guard was killed */
    }
    free(snapshot);
}
