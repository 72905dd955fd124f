#include "audit_head.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <unistd.h>

#include "kek/durable.h"
#include "kek/text.h"

#define LOOK_US 1000 /* between two tries to lock */

int audit_head_open(const char *path, struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd = open(
        path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "opening %s, the record of where the audit log's chain stands", path);
        return -1;
    }
    kek_durable_give(path, fd);
    if (kek_durable_keep_name(path, fd, why) != KEK_OK) {
        return -1;
    }
    int result = fd;
    fd = -1;
    return result;
}

enum kek_rc audit_head_lock(int fd, unsigned wait_ms, struct kek_why *why)
{
    for (unsigned i = 0; flock(fd, LOCK_EX | LOCK_NB) != 0; i++) {
        if (errno != EWOULDBLOCK && errno != EINTR) {
            return kek_fail_native(why, KEK_INTERNAL, KEK_NATIVE_ERRNO, (unsigned long)errno,
                                   "locking the record of the audit log's chain");
        }
        if (i >= wait_ms) {
            return kek_fail(why, KEK_UNAVAILABLE,
                            "another process holds the record of the audit log's chain");
        }
        usleep(LOOK_US);
    }
    return KEK_OK;
}

void audit_head_unlock(int fd)
{
    (void)flock(fd, LOCK_UN);
}

/* Moves *at past `literal`, if it stands there. */
static bool passes(const char **at, const char *literal)
{
    size_t len = strlen(literal);
    if (strncmp(*at, literal, len) != 0) {
        return false;
    }
    *at += len;
    return true;
}

static bool passes_hex(const char **at, char *text, size_t len)
{
    for (size_t i = 0; i < len; i++) {
        if (kek_hex_digit((*at)[i]) < 0) {
            return false;
        }
    }
    memcpy(text, *at, len);
    text[len] = '\0';
    *at += len;
    return true;
}

static bool parse(const char *at, struct kek_audit_end *end)
{
    struct kek_audit_end found;
    if (!passes(&at, "{\"chain\":\"") || !passes_hex(&at, found.chain, sizeof found.chain - 1) ||
        !passes(&at, "\",\"n\":") || !kek_text_digits(&at, UINT64_MAX, &found.n) ||
        !passes(&at, ",\"hash\":\"") || !passes_hex(&at, found.hash, sizeof found.hash - 1) ||
        !passes(&at, "\"}")) {
        return false;
    }
    if (strspn(at, " \n") != strlen(at)) {
        return false;
    }
    *end = found;
    return true;
}

enum kek_rc audit_head_load(int fd, struct kek_audit_end *end, struct kek_why *why)
{
    char text[AUDIT_HEAD_BYTES + 2];
    ssize_t len = pread(fd, text, sizeof text - 1, 0);
    if (len < 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "reading the record of the audit log's chain");
    }
    if (len == 0) {
        *end = (struct kek_audit_end){.n = 0};
        return KEK_OK;
    }
    text[len] = '\0';
    if (len != AUDIT_HEAD_BYTES || !parse(text, end)) {
        return kek_fail(why, KEK_DAMAGED, "the record of the audit log's chain is damaged");
    }
    return KEK_OK;
}

enum kek_rc audit_head_store(int fd, const struct kek_audit_end *end, struct kek_why *why)
{
    char text[AUDIT_HEAD_BYTES + 1];
    int len = snprintf(text, sizeof text, "{\"chain\":\"%s\",\"n\":%llu,\"hash\":\"%s\"}",
                       end->chain, (unsigned long long)end->n, end->hash);
    memset(text + len, ' ', sizeof text - 1 - (size_t)len);
    text[AUDIT_HEAD_BYTES - 1] = '\n';
    ssize_t written = pwrite(fd, text, AUDIT_HEAD_BYTES, 0);
    if (written != AUDIT_HEAD_BYTES) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO,
                               (unsigned long)(written < 0 ? errno : ENOSPC),
                               "writing the record of the audit log's chain");
    }
    return KEK_OK;
}

enum kek_rc kek_audit_record_read(const char *path, struct kek_audit_end *end, struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return kek_fail_native(why, errno == ENOENT ? KEK_NOT_FOUND : KEK_DENIED, KEK_NATIVE_ERRNO,
                               (unsigned long)errno, "opening %s", path);
    }
    enum kek_rc rc = audit_head_load(fd, end, why);
    if (rc == KEK_OK && end->chain[0] == '\0') {
        return kek_fail(why, KEK_NOT_FOUND, "%s is empty", path);
    }
    return rc;
}
