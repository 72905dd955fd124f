#include "kek/small_file.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kek/descriptors.h"

#define STEP 16384 /* bytes read at a time, so that a small file takes little memory */
#define LINE_END 2 /* bytes: CR LF */

void kek_small_file_show(const char *path, char shown[static KEK_SMALL_FILE_SHOWN])
{
    const size_t max = KEK_SMALL_FILE_SHOWN - 4;
    size_t len = strlen(path);
    const char *from = path + (len > max ? len - max : 0);
    while (from > path && ((unsigned char)*from & 0xc0) == 0x80) {
        from++; /* not from the middle of a character */
    }
    snprintf(shown, KEK_SMALL_FILE_SHOWN, "%s%s", from > path ? "..." : "", from);
}

/* A file on its way in. */
struct source {
    const struct kek_small_file *file;
    char shown[KEK_SMALL_FILE_SHOWN];
    struct stat about;
    struct kek_why *why;
};

static enum kek_rc refuse(const struct source *source, enum kek_rc rc, const char *text)
{
    return kek_fail(source->why, rc, "%s%s %s", source->file->what, source->shown, text);
}

static enum kek_rc too_large(const struct source *source)
{
    return kek_fail(source->why, KEK_TOO_LARGE, "%s%s has more than %zu bytes", source->file->what,
                    source->shown, source->file->max);
}

/* Who may use a file of this kind, and how it gets there. */
static const char *remedy(mode_t forbidden)
{
    if ((forbidden & S_IRGRP) != 0) {
        return "nobody but its owner may use it: chmod 0600";
    }
    if ((forbidden & S_IROTH) != 0) {
        return "nobody but its owner and its group may read it, and its owner alone may write it: "
               "chmod 0640 or 0600";
    }
    return "nobody but its owner may write it: chmod go-w";
}

/* room: bytes past the maximum that it may have. */
static enum kek_rc check(const struct source *source, size_t room)
{
    const struct kek_small_file *file = source->file;
    const struct stat *about = &source->about;
    if (!S_ISREG(about->st_mode)) {
        return refuse(source, KEK_INVALID, "is no regular file");
    }
    if (file->owned && about->st_uid != 0 && about->st_uid != geteuid()) {
        char reader[32] = "";
        if (geteuid() != 0) {
            snprintf(reader, sizeof reader, " or of uid %u", (unsigned)geteuid());
        }
        return kek_fail(source->why, KEK_DENIED,
                        "%s%s is of uid %u: it must be of root%s, which reads it (chown)",
                        file->what, source->shown, (unsigned)about->st_uid, reader);
    }
    if ((about->st_mode & file->forbidden) != 0) {
        return kek_fail(source->why, KEK_DENIED, "%s%s has mode %04o: %s", file->what,
                        source->shown, (unsigned)(about->st_mode & 07777), remedy(file->forbidden));
    }
    if (about->st_size > 0 && (uintmax_t)about->st_size > (uintmax_t)file->max + room) {
        return too_large(source);
    }
    return KEK_OK;
}

/* Opens and looks; *fd is the caller's. */
static enum kek_rc begin(struct source *source, size_t room, int *fd)
{
    kek_small_file_show(source->file->path, source->shown);
    /* Without O_NONBLOCK, opening a named pipe would wait for its writer. */
    *fd = open(source->file->path, O_RDONLY | O_CLOEXEC | O_NONBLOCK | O_NOCTTY);
    if (*fd < 0 || fstat(*fd, &source->about) != 0) {
        int code = errno;
        return kek_fail_native(source->why, code == ENOENT ? KEK_NOT_FOUND : KEK_DENIED,
                               KEK_NATIVE_ERRNO, (unsigned long)code,
                               "%s%s cannot be opened by uid %u", source->file->what, source->shown,
                               (unsigned)geteuid());
    }
    return check(source, room);
}

static enum kek_rc read_some(const struct source *source, int fd, uint8_t *to, size_t size,
                             size_t *len)
{
    if (kek_descriptor_read(fd, to, size, len)) {
        return KEK_OK;
    }
    return kek_fail_native(source->why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                           "%s%s cannot be read", source->file->what, source->shown);
}

static enum kek_rc read_all(const struct source *source, int fd, struct kek_buf *content)
{
    size_t max = source->file->max;
    KEK_AUTO_BUF struct kek_buf all;
    kek_buf_init(&all, max + 1);
    for (;;) {
        size_t room = max + 1 - all.len;
        room = room < STEP ? room : STEP;
        uint8_t *at = kek_buf_reserve(&all, room, source->why);
        if (at == NULL) {
            return KEK_NO_MEMORY;
        }
        size_t len;
        enum kek_rc rc = read_some(source, fd, at, room, &len);
        if (rc != KEK_OK) {
            return rc;
        }
        all.len += len;
        if (all.len > max) {
            return too_large(source);
        }
        if (len < room) {
            return kek_buf_append(content, kek_buf_bytes(&all), source->why);
        }
    }
}

enum kek_rc kek_small_file_read(const struct kek_small_file *file, struct kek_buf *content,
                                struct stat *about, struct kek_why *why)
{
    struct source source = {.file = file, .why = why};
    KEK_AUTO_CLOSE int fd = -1;
    enum kek_rc rc = begin(&source, 0, &fd);
    if (rc == KEK_OK) {
        rc = read_all(&source, fd, content);
    }
    if (rc == KEK_OK && about != NULL) {
        *about = source.about;
    }
    return rc;
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

/* What no person means to be there, in words; NULL: there is none. The answer names the first one, and no byte of the
 * line. */
static const char *foreign_in(const uint8_t *text, size_t len)
{
    static const uint8_t mark[] = {0xef, 0xbb, 0xbf};
    if (len == 0) {
        return "is empty";
    }
    if (len >= sizeof mark && memcmp(text, mark, sizeof mark) == 0) {
        return "begins with a byte order mark, which some editors add: take it off";
    }
    if (memchr(text, '\0', len) != NULL) {
        return "has a NUL byte in it";
    }
    if (memchr(text, '\n', len) != NULL || memchr(text, '\r', len) != NULL) {
        return "has more than one line: expected one, with one line end at most";
    }
    for (size_t i = 0; i < len; i++) {
        if (text[i] < ' ' || text[i] == 0x7f) {
            return "has a control character in it";
        }
    }
    return NULL;
}

static enum kek_rc take_line(const struct source *source, const uint8_t *text, size_t len,
                             struct kek_secret **line)
{
    len = without_line_end(text, len);
    if (len > source->file->max) {
        return too_large(source);
    }
    const char *foreign = foreign_in(text, len);
    if (foreign != NULL) {
        return refuse(source, KEK_INVALID, foreign);
    }
    struct kek_secret *copy = kek_secret_dup(kek_bytes(text, len));
    if (copy == NULL) {
        return refuse(source, KEK_NO_MEMORY, "is not read: no locked memory is left for it");
    }
    *line = copy;
    return KEK_OK;
}

enum kek_rc kek_small_file_line(const struct kek_small_file *file, struct kek_secret **line,
                                struct stat *about, struct kek_why *why)
{
    struct source source = {.file = file, .why = why};
    size_t size = file->max + LINE_END + 1, len = 0; /* one more than may be */
    KEK_AUTO_CLOSE int fd = -1;
    enum kek_rc rc = begin(&source, LINE_END, &fd);
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO(kek_secret) whole = kek_secret_new(size);
    if (whole == NULL) {
        return refuse(&source, KEK_NO_MEMORY, "is not read: no locked memory is left for it");
    }
    rc = read_some(&source, fd, kek_secret_data(whole), size, &len);
    if (rc == KEK_OK) {
        rc = take_line(&source, kek_secret_data(whole), len, line);
    }
    if (rc == KEK_OK && about != NULL) {
        *about = source.about;
    }
    return rc;
}

enum kek_rc kek_small_file_credential(const char *name, char *path, size_t size,
                                      struct kek_why *why)
{
    const char *folder = getenv("CREDENTIALS_DIRECTORY");
    if (folder == NULL || folder[0] != '/') {
        return kek_fail(why, KEK_DENIED,
                        "credential:%s, but the service manager gave no credentials "
                        "(CREDENTIALS_DIRECTORY is not set)",
                        name);
    }
    if (name[0] == '\0' || strchr(name, '/') != NULL || strcmp(name, ".") == 0 ||
        strcmp(name, "..") == 0) {
        return kek_fail(why, KEK_INVALID, "'%s' is not the name of a credential", name);
    }
    int len = snprintf(path, size, "%s/%s", folder, name);
    return len > 0 && (size_t)len < size ? KEK_OK
                                         : kek_fail(why, KEK_INVALID, "the path is too long");
}
