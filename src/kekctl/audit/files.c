#include "files.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kek/descriptors.h"

#define BUFFER_BYTES (256 * 1024) /* large for few reads, and small enough for a core's cache */
#define PEEK_BYTES (64 * 1024)
#define LINE_MAX_BYTES (16 * 1024) /* more than kekd writes */
#define TIME_NAME "{\"time\":\""
#define HEADER_MAX \
    512 /* of what a syslog daemon or journalctl puts before a line, "TIME HOST TAG: " */
#define TIME_TEXT 25 /* "2006-01-02T15:04:05.678Z", with the NUL */

static enum kek_rc failed(const char *name, struct kek_why *why)
{
    return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                           "reading %s", name);
}

/* The program that compressed what begins so; NULL: none that is known. */
static const char *compressed_by(struct kek_bytes start)
{
    static const struct {
        const char *program, *magic;
    } known[] = {
        {"gzip", "\x1f\x8b"},           /* RFC 1952, 2.3.1 */
        {"xz", "\xfd\x37\x7a\x58\x5a"}, /* The .xz File Format, 2.1.1.1 */
        {"zstd", "\x28\xb5\x2f\xfd"},   /* RFC 8878, 3.1.1 */
        {"bzip2", "BZh"},
    };
    for (size_t i = 0; i < sizeof known / sizeof known[0]; i++) {
        size_t len = strlen(known[i].magic);
        if (start.len >= len && memcmp(start.data, known[i].magic, len) == 0) {
            return known[i].program;
        }
    }
    return NULL;
}

static enum kek_rc refuse_compressed(const char *name, struct kek_bytes start, struct kek_why *why)
{
    const char *program = compressed_by(start);
    return program == NULL
               ? KEK_OK
               : kek_fail(why, KEK_INVALID,
                          "%s is compressed (%s): decompress it first, into a file or into "
                          "standard input, which is read as -",
                          strcmp(name, FILES_STDIN) == 0 ? "standard input" : name, program);
}

/* The line that kekd wrote, and whether there is a header before it. */
static struct kek_bytes without_header(struct kek_bytes line, bool *has_header)
{
    size_t name = sizeof TIME_NAME - 1, within = HEADER_MAX + name;
    const uint8_t *at = memmem(line.data, line.len < within ? line.len : within, TIME_NAME, name);
    size_t len = at == NULL ? 0 : (size_t)(at - line.data);
    for (size_t i = 0; i < len; i++) {
        if (line.data[i] < ' ' || line.data[i] == '"' || line.data[i] == '{') {
            len = 0; /* a piece of a line */
        }
    }
    *has_header = len > 0;
    return kek_bytes(line.data + len, line.len - len);
}

/* ---- order ---- */

/* The first line that has a chain, or the first one. */
struct first {
    const char *name;
    bool is_stdin, takes_headers, chained;
    struct kek_audit_link link;
    char time[TIME_TEXT]; /* empty: it is no line of kekd */
};

static void take_time(struct kek_bytes line, struct first *first)
{
    size_t name = sizeof TIME_NAME - 1;
    if (line.len >= name + TIME_TEXT && memcmp(line.data, TIME_NAME, name) == 0) {
        memcpy(first->time, line.data + name, TIME_TEXT - 1);
        first->time[TIME_TEXT - 1] = '\0';
    }
}

static void look_at_lines(struct kek_bytes bytes, struct first *first)
{
    const uint8_t *next = bytes.data, *end = bytes.data + bytes.len, *feed;
    while (!first->chained && next < end &&
           (feed = memchr(next, '\n', (size_t)(end - next))) != NULL) {
        struct kek_bytes line = kek_bytes(next, (size_t)(feed + 1 - next));
        bool has_header;
        line = first->takes_headers ? without_header(line, &has_header) : line;
        first->chained = kek_audit_link_read(line, &first->link);
        if (first->chained || first->time[0] == '\0') {
            take_time(line, first);
        }
        next = feed + 1;
    }
}

static enum kek_rc peek(struct first *first, char *buffer, struct kek_why *why)
{
    struct stat st;
    size_t len;
    if (strcmp(first->name, FILES_STDIN) == 0) {
        first->is_stdin = true;
        return KEK_OK;
    }
    KEK_AUTO_CLOSE int fd = open(first->name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0 || fstat(fd, &st) != 0) {
        return failed(first->name, why);
    }
    if (!S_ISREG(st.st_mode)) {
        return kek_fail(why, KEK_INVALID,
                        "%s is no regular file (what comes by a pipe is read as -)", first->name);
    }
    if (!kek_descriptor_read(fd, buffer, PEEK_BYTES, &len)) {
        return failed(first->name, why);
    }
    look_at_lines(kek_bytes(buffer, len), first);
    return refuse_compressed(first->name, kek_bytes(buffer, len), why);
}

enum kek_rc files_look(const char *name, struct kek_why *why)
{
    struct first first = {.name = name};
    KEK_AUTO_FREE char *buffer = malloc(PEEK_BYTES);
    enum kek_rc rc = buffer == NULL ? kek_fail(why, KEK_NO_MEMORY, "no memory to read %s", name)
                                    : peek(&first, buffer, why);
    return rc == KEK_OK && first.time[0] == '\0'
               ? kek_fail(why, KEK_NOT_FOUND, "no line in %s is an audit line", name)
               : rc;
}

/* Was a written before b?  By the numbers of one chain, else by the clock. */
static bool before(const struct first *a, const struct first *b)
{
    if (a->is_stdin || b->is_stdin) {
        return a->is_stdin && !b->is_stdin;
    }
    if (a->chained && b->chained && strcmp(a->link.end.chain, b->link.end.chain) == 0) {
        return a->link.end.n < b->link.end.n;
    }
    return strcmp(a->time, b->time) < 0;
}

bool files_order(const char **names, size_t count, struct kek_why *why)
{
    KEK_AUTO_FREE struct first *all = calloc(count, sizeof *all);
    KEK_AUTO_FREE char *buffer = malloc(PEEK_BYTES);
    if (all == NULL || buffer == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the names of the files");
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        struct first first = {.name = names[i], .takes_headers = true};
        if (peek(&first, buffer, why) != KEK_OK) {
            return false;
        }
        size_t at = i;
        for (; at > 0 && before(&first, &all[at - 1]); at--) {
            all[at] = all[at - 1];
        }
        all[at] = first;
    }
    for (size_t i = 0; i < count; i++) {
        names[i] = all[i].name;
    }
    return true;
}

/* ---- lines ---- */

struct reader {
    struct check *check;
    files_line_fn *fn; /* NULL: nobody else wants the lines */
    void *arg;
    char *buffer;
    size_t len; /* bytes in it */
    bool skips; /* in a line that is too long */
};

static void take_line(const struct reader *reader, struct kek_bytes line)
{
    bool has_header = false;
    if (reader->check->takes_headers) {
        line = without_header(line, &has_header);
        reader->check->headers += has_header;
    }
    check_line(reader->check, line);
    if (reader->fn != NULL) {
        reader->fn(reader->arg, line);
    }
}

/* Hands over the whole lines, and keeps the rest at the buffer's start. */
static void hand_over(struct reader *reader)
{
    char *next = reader->buffer, *end = reader->buffer + reader->len, *feed;
    while (next < end && (feed = memchr(next, '\n', (size_t)(end - next))) != NULL) {
        size_t len = (size_t)(feed + 1 - next);
        if (!reader->skips && len > LINE_MAX_BYTES) {
            check_long(reader->check);
        } else if (!reader->skips) {
            take_line(reader, kek_bytes(next, len));
        }
        reader->skips = false;
        next = feed + 1;
    }
    reader->len = (size_t)(end - next);
    memmove(reader->buffer, next, reader->len);
    if (reader->len > LINE_MAX_BYTES) {
        if (!reader->skips) {
            check_long(reader->check);
        }
        reader->skips = true;
        reader->len = 0;
    }
}

static bool read_all(int fd, const char *name, struct reader *reader, struct kek_why *why)
{
    for (bool is_first = true;; is_first = false) {
        size_t more;
        if (!kek_descriptor_read(fd, reader->buffer + reader->len, BUFFER_BYTES - reader->len,
                                 &more)) {
            (void)failed(name, why);
            return false;
        }
        if (more == 0) {
            break;
        }
        reader->len += more;
        if (is_first &&
            refuse_compressed(name, kek_bytes(reader->buffer, reader->len), why) != KEK_OK) {
            return false;
        }
        hand_over(reader);
    }
    if (reader->len > 0 && !reader->skips) {
        check_piece(reader->check, reader->len);
    }
    return true;
}

bool files_read(const char *name, struct check *check, files_line_fn *fn, void *arg,
                struct kek_why *why)
{
    bool is_stdin = strcmp(name, FILES_STDIN) == 0;
    struct reader reader = {.check = check, .fn = fn, .arg = arg};
    KEK_AUTO_FREE char *buffer = malloc(BUFFER_BYTES);
    if (buffer == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to read %s", name);
        return false;
    }
    reader.buffer = buffer;
    check_file(check, is_stdin ? "(standard input)" : name);
    if (is_stdin) {
        return read_all(STDIN_FILENO, name, &reader, why);
    }
    KEK_AUTO_CLOSE int fd = open(name, O_RDONLY | O_CLOEXEC | O_NOCTTY | O_NONBLOCK);
    if (fd < 0) {
        (void)failed(name, why);
        return false;
    }
    return read_all(fd, name, &reader, why);
}
