#include "pin.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <limits.h>
#include <sys/stat.h>

#define CREDENTIAL "credential:"
#define FILE_URI "file:"
#define FILE_MAX (KEK_PIN_MAX + 2) /* with CR LF at its end */

struct source {
    char path[PATH_MAX];
    mode_t forbidden;    /* permission bits that no PIN file may have */
    uint64_t credential; /* what stands for its name; 0: it is a file */
};

/* FNV-1a of 64 bits: two names of one service must not look alike, nobody chooses them to. */
static uint64_t digest_of(const char *name)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    for (const unsigned char *at = (const unsigned char *)name; *at != '\0'; at++) {
        sum = (sum ^ *at) * UINT64_C(0x100000001b3);
    }
    return sum | 1;
}

static enum kek_rc resolve_credential(const char *name, struct source *source, struct kek_why *why)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (folder == NULL || folder[0] != '/') {
        return kek_fail(why, KEK_DENIED,
                        "pin-source=credential:%s, but the service manager gave no credentials "
                        "(CREDENTIALS_DIRECTORY is not set)",
                        name);
    }
    if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0) {
        return kek_fail(why, KEK_INVALID, "pin-source: '%s' is not the name of a credential", name);
    }
    int len = snprintf(source->path, sizeof source->path, "%s/%s", folder, name);
    if (len < 0 || (size_t)len >= sizeof source->path) {
        return kek_fail(why, KEK_INVALID, "pin-source: the path is too long");
    }
    source->forbidden = 037;
    source->credential = digest_of(name);
    return KEK_OK;
}

static enum kek_rc resolve(const char *text, struct source *source, struct kek_why *why)
{
    if (strncmp(text, CREDENTIAL, strlen(CREDENTIAL)) == 0) {
        return resolve_credential(text + strlen(CREDENTIAL), source, why);
    }
    const char *path = text;
    if (strncmp(text, FILE_URI, strlen(FILE_URI)) == 0) {
        path += strlen(FILE_URI);
        if (strncmp(path, "///", 3) == 0) {
            path += 2;
        }
    }
    if (path == text || path[0] != '/' || path[1] == '/') {
        return kek_fail(why, KEK_INVALID,
                        "pin-source must be file:/absolute/path or credential:NAME");
    }
    int len = snprintf(source->path, sizeof source->path, "%s", path);
    if (len < 0 || (size_t)len >= sizeof source->path) {
        return kek_fail(why, KEK_INVALID, "pin-source: the path is too long");
    }
    source->forbidden = 077;
    source->credential = 0;
    return KEK_OK;
}

static enum kek_rc check(const struct stat *about, const struct source *source, struct kek_why *why)
{
    if (!S_ISREG(about->st_mode)) {
        return kek_fail(why, KEK_DENIED, "PIN file %s is not a regular file", source->path);
    }
    if ((about->st_mode & source->forbidden) != 0) {
        return kek_fail(why, KEK_DENIED,
                        "PIN file %s has mode %04o: others may use it; make it 0600 or 0400",
                        source->path, (unsigned)(about->st_mode & 07777));
    }
    if (about->st_size > FILE_MAX) {
        return kek_fail(why, KEK_DENIED, "PIN file %s has %lld bytes; a PIN has at most %d",
                        source->path, (long long)about->st_size, KEK_PIN_MAX);
    }
    return KEK_OK;
}

/* Everything up to `size` bytes; *len says how many there were. */
static enum kek_rc read_all(int fd, uint8_t *buffer, size_t size, size_t *len, const char *path,
                            struct kek_why *why)
{
    size_t at = 0;
    while (at < size) {
        ssize_t got = read(fd, buffer + at, size - at);
        if (got == 0) {
            break;
        }
        if (got < 0 && errno != EINTR) {
            return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                                   "PIN file %s cannot be read", path);
        }
        at += got > 0 ? (size_t)got : 0;
    }
    *len = at;
    return KEK_OK;
}

/* The line's end, as a Unix or a Windows editor writes it. */
static size_t without_line_end(const uint8_t *text, size_t len)
{
    if (len > 0 && text[len - 1] == '\n') {
        len--;
        len -= len > 0 && text[len - 1] == '\r' ? 1 : 0;
    }
    return len;
}

/* What no person means to be part of a PIN, in words; NULL: there is none. Each of these would be sent to the
 * token and cost a try. The answer names the first one, and no byte of the PIN. */
static const char *foreign_in(const uint8_t *text, size_t len)
{
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};
    if (len >= sizeof mark && memcmp(text, mark, sizeof mark) == 0) {
        return "begins with a byte order mark, which some editors add: take it off";
    }
    if (memchr(text, '\0', len) != NULL) {
        return "has a NUL byte in it";
    }
    if (memchr(text, '\n', len) != NULL || memchr(text, '\r', len) != NULL) {
        return "has more than one line: a PIN is one line, with one line end at most";
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < ' ' || text[i] == 0x7f) {
            return "has a control character in it";
        }
    }
    return NULL;
}

static enum kek_rc take_line(const uint8_t *text, size_t len, const char *path,
                             struct kek_secret **pin, struct kek_why *why)
{
    len = without_line_end(text, len);
    if (len == 0) {
        return kek_fail(why, KEK_DENIED, "PIN file %s is empty", path);
    }
    if (len > KEK_PIN_MAX) {
        return kek_fail(why, KEK_DENIED, "PIN file %s has more than %d bytes", path, KEK_PIN_MAX);
    }
    const char *foreign = foreign_in(text, len);
    if (foreign != NULL) {
        return kek_fail(why, KEK_DENIED, "PIN file %s %s", path, foreign);
    }
    struct kek_secret *copy = kek_secret_dup(kek_bytes(text, len));
    if (copy == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "the arena for secrets is full");
    }
    *pin = copy;
    return KEK_OK;
}

enum kek_rc kek_pin_read(const char *text, struct kek_secret **pin, struct kek_pin_file *file,
                         struct kek_why *why)
{
    struct source source;
    enum kek_rc rc = resolve(text, &source, why);
    if (rc != KEK_OK) {
        return rc;
    }
    /* Not blocking: a FIFO must not hold the start up before it is refused. */
    KEK_AUTO_CLOSE int fd = open(source.path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0) {
        return kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "PIN file %s cannot be opened by uid %u", source.path,
                               (unsigned)geteuid());
    }
    rc = check(&about, &source, why);
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO(kek_secret) whole = kek_secret_new(FILE_MAX + 1);
    if (whole == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "the arena for secrets is full");
    }
    size_t len = 0;
    rc = read_all(fd, kek_secret_data(whole), FILE_MAX + 1, &len, source.path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = take_line(kek_secret_data(whole), len, source.path, pin, why);
    if (rc != KEK_OK) {
        return rc;
    }
    bool is_file = source.credential == 0;
    file->inode = is_file ? about.st_ino : source.credential;
    file->mtime_ns =
        is_file ? (int64_t)about.st_mtim.tv_sec * 1000000000 + about.st_mtim.tv_nsec : 0;
    file->size = (uint64_t)about.st_size;
    memcpy(file->path, source.path, sizeof file->path);
    return KEK_OK;
}
