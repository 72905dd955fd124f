#include "chain_end.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/auto.h"
#include "record_again.h"

#define LOOKS 20 /* at a file that ends in the middle of a line: kekd may be writing it */
#define LOOK_US 10000

static enum kek_rc read_record(struct chain_end *end, const struct kek_config *config,
                               char path[static PATH_MAX], struct kek_why *why)
{
    enum kek_rc rc = kek_config_state_file(config, "audit", path, why);
    rc = rc == KEK_OK ? kek_audit_record_read(path, &end->record, &end->owed, why) : rc;
    end->has_record = rc == KEK_OK;
    return rc;
}

/* The last bytes of the file, at least one line of them whole. *from_start: the whole of it. */
static enum kek_rc read_bytes(const char *path, uint8_t *bytes, size_t *len, bool *from_start,
                              struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    struct stat about;
    if (fd < 0 || fstat(fd, &about) != 0) {
        return kek_fail_native(why, errno == ENOENT ? KEK_NOT_FOUND : KEK_DENIED, KEK_NATIVE_ERRNO,
                               (unsigned long)errno, "opening %s", path);
    }
    for (unsigned i = 0; i < LOOKS; i++) {
        off_t size = fstat(fd, &about) == 0 ? about.st_size : 0;
        off_t from = size > (off_t)CHAIN_END_BYTES ? size - (off_t)CHAIN_END_BYTES : 0;
        ssize_t got = pread(fd, bytes, CHAIN_END_BYTES, from);
        if (got < 0) {
            return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                                   "reading %s", path);
        }
        *len = (size_t)got;
        *from_start = from == 0;
        if (got == 0 || bytes[got - 1] == '\n') {
            break;
        }
        (void)usleep(LOOK_US);
    }
    return KEK_OK;
}

/* ---- lines ---- */

static void take_macs(struct chain_macs *macs, const struct telling *telling)
{
    if (telling->kind == TELLING_MAC) {
        *macs = (struct chain_macs){.last_ms = telling->wall_ms};
        return;
    }
    if (telling->kind == TELLING_MAC_FAILED) {
        macs->failed_ms = macs->failed_ms > 0          ? macs->failed_ms
                          : macs->failed_before_ms > 0 ? macs->failed_before_ms
                                                       : telling->wall_ms;
        return;
    }
    if (telling->kind == TELLING_START) {
        macs->failed_before_ms = macs->failed_ms > 0 ? macs->failed_ms : macs->failed_before_ms;
        macs->failed_ms = 0; /* a kekd says it anew */
    } else if (telling->kind == TELLING_MAC_NONE) {
        macs->failed_ms = macs->failed_before_ms = 0;
    }
    if (telling->is_kekds && macs->waits_ms == 0) {
        macs->waits_ms = telling->wall_ms;
    }
}

/* A line that tells of the piece before it, which was not read. */
static bool is_about_before(struct kek_bytes line)
{
    struct telling telling;
    telling_read(line, &telling);
    return telling.kind == TELLING_TORN;
}

static void take_line(struct chain_end *end, struct kek_bytes line)
{
    struct kek_audit_link link;
    struct telling telling;
    check_line(&end->check, line);
    end->lines++;
    if (end->has_record && kek_audit_link_read(line, &link) &&
        strcmp(link.end.chain, end->record.chain) == 0) {
        telling_read(line, &telling);
        telling_time(line, &telling);
        take_macs(&end->macs, &telling);
    }
}

static void take_lines(struct chain_end *end, const uint8_t *bytes, size_t len, bool from_start)
{
    const uint8_t *next = bytes, *stop = bytes + len, *feed;
    bool first = !from_start;
    if (!from_start) {
        feed = memchr(next, '\n', len);
        next = feed == NULL ? stop : feed + 1;
    }
    while (next < stop && (feed = memchr(next, '\n', (size_t)(stop - next))) != NULL) {
        struct kek_bytes line = kek_bytes(next, (size_t)(feed + 1 - next));
        if (!first || !is_about_before(line)) {
            take_line(end, line);
        }
        first = false;
        next = feed + 1;
    }
    if (next < stop) {
        check_piece(&end->check, (size_t)(stop - next));
    }
}

/* ---- the end ---- */

enum kek_rc chain_end_read(struct chain_end *end, const struct kek_config *config,
                           struct kek_why *why)
{
    char record[PATH_MAX];
    struct kek_why record_why;
    bool from_start = true;
    size_t len = 0;
    *end = (struct chain_end){.has_record = false};
    enum kek_rc rc = read_record(end, config, record, &record_why);
    if (rc == KEK_DENIED || rc == KEK_UNAVAILABLE || rc == KEK_INVALID) {
        *why = record_why;
        return rc;
    }
    KEK_AUTO_FREE uint8_t *bytes = malloc(CHAIN_END_BYTES);
    /* Without an interval: `check` would want the lines that MACs are of, which may stand before these. */
    if (bytes == NULL || !check_init(&end->check, end->has_record ? &end->record : NULL, 0)) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to look at the audit log");
    }
    end->check.is_end_alone = true;
    if (end->has_record) {
        record_before(&end->check, record);
    }
    rc = read_bytes(config->audit_file, bytes, &len, &from_start, why);
    end->has_file = rc == KEK_OK;
    if (rc != KEK_OK && rc != KEK_NOT_FOUND) {
        return rc;
    }
    check_file(&end->check, config->audit_file);
    if (end->has_file) {
        take_lines(end, bytes, len, from_start);
    }
    if (!end->has_record && (end->check.chain_count > 0 || record_why.rc == KEK_DAMAGED)) {
        check_no_record(&end->check, record_why.text);
    }
    if (end->owed.damaged) {
        check_damaged_count(&end->check);
    }
    if (end->has_record) {
        record_again(&end->check, record);
    }
    check_end(&end->check);
    return KEK_OK;
}

void chain_end_close(struct chain_end *end)
{
    check_done(&end->check);
}
