#include "audit_head.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <unistd.h>

#include "kek/durable.h"
#include "kek/text.h"

#define LOOK_US 1000 /* between two tries to lock, or two looks at a record without its lock */
#define LOOKS 20
#define NO_CHAIN "{\"chain\":\"\",\"n\":0"
/* Where the members stand, after the chain's: those have their place if their numbers are the longest. */
#define OWED_AT 144
#define KEKD_AT 184
#define RECORD_END "}\n"
#define END_AT (AUDIT_HEAD_BYTES - 2)

int audit_head_open(const char *path, struct kek_why *why)
{
    KEK_AUTO_CLOSE int fd = open(
        path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY, S_IRUSR | S_IWUSR);
    if (fd < 0) {
        kek_fail_native(why, KEK_DENIED, KEK_NATIVE_ERRNO, (unsigned long)errno,
                        "opening %s, the record of where the audit log's chain stands", path);
        return -1;
    }
    if (kek_durable_give(path, fd, why) != KEK_OK ||
        kek_durable_keep_name(path, fd, why) != KEK_OK) {
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

static bool is_blank(const char *from, const char *to)
{
    while (from < to && (*from == ' ' || *from == '\n')) {
        from++;
    }
    return from == to;
}

/* With all places; the last two bytes are never another's. */
static bool ends_object(const char text[static AUDIT_HEAD_BYTES])
{
    return memcmp(text + END_AT, RECORD_END, strlen(RECORD_END)) == 0;
}

/* Of a kekd that had no debts the object ends here; else its other members have places behind it. */
static bool parse(const char *text, struct kek_audit_end *end)
{
    struct kek_audit_end found = {.chain = ""};
    const char *at = text, *to = text + OWED_AT;
    if (passes(&at, NO_CHAIN)) {
        *end = found;
        return is_blank(at, to) && ends_object(text);
    }
    if (!passes(&at, "{\"chain\":\"") || !passes_hex(&at, found.chain, sizeof found.chain - 1) ||
        !passes(&at, "\",\"n\":") || !kek_text_digits(&at, UINT64_MAX, &found.n) ||
        !passes(&at, ",\"hash\":\"") || !passes_hex(&at, found.hash, sizeof found.hash - 1) ||
        !passes(&at, "\"")) {
        return false;
    }
    *end = found;
    return passes(&at, "}") ? is_blank(at, text + AUDIT_HEAD_BYTES)
                            : is_blank(at, to) && ends_object(text);
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

/* Has it all places? */
static bool has_places(int fd)
{
    char text[AUDIT_HEAD_BYTES + 1];
    return pread(fd, text, sizeof text, 0) == AUDIT_HEAD_BYTES && ends_object(text);
}

static enum kek_rc put(int fd, const char *bytes, size_t len, off_t at, struct kek_why *why)
{
    ssize_t written = pwrite(fd, bytes, len, at);
    if (written != (ssize_t)len) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO,
                               (unsigned long)(written < 0 ? errno : ENOSPC),
                               "writing the record of the audit log's chain");
    }
    return KEK_OK;
}

/* A record that lacks places.  One that is empty stays so where it cannot be written whole: a piece would be a damaged one. */
static enum kek_rc put_whole(int fd, const char text[static AUDIT_HEAD_BYTES], struct kek_why *why)
{
    struct stat before;
    bool known = fstat(fd, &before) == 0;
    enum kek_rc rc = put(fd, text, AUDIT_HEAD_BYTES, 0, why);
    if (rc == KEK_OK) {
        (void)!ftruncate(fd, AUDIT_HEAD_BYTES); /* of one that was damaged */
    } else if (known) {
        (void)!ftruncate(fd, before.st_size);
    }
    return rc;
}

enum kek_rc audit_head_store(int fd, const struct kek_audit_end *end, struct kek_why *why)
{
    char text[AUDIT_HEAD_BYTES + 1];
    int len = end->chain[0] == '\0'
                  ? snprintf(text, sizeof text, NO_CHAIN)
                  : snprintf(text, sizeof text, "{\"chain\":\"%s\",\"n\":%llu,\"hash\":\"%s\"",
                             end->chain, (unsigned long long)end->n, end->hash);
    memset(text + len, ' ', sizeof text - (size_t)len);
    if (has_places(fd)) {
        return put(fd, text, OWED_AT, 0, why);
    }
    memcpy(text + END_AT, RECORD_END, strlen(RECORD_END));
    return put_whole(fd, text, why);
}

enum kek_rc audit_head_shape(int fd, struct kek_why *why)
{
    struct kek_audit_end end;
    if (has_places(fd)) {
        return KEK_OK;
    }
    enum kek_rc rc = audit_head_load(fd, &end, why);
    return rc == KEK_OK ? audit_head_store(fd, &end, why) : rc;
}

/* ---- what is owed ---- */

static const struct {
    off_t at;
    size_t len;
} places[] = {[AUDIT_DEBTOR_ACTS] = {OWED_AT, KEKD_AT - OWED_AT},
              [AUDIT_DEBTOR_KEKD] = {KEKD_AT, END_AT - KEKD_AT}};

void audit_head_owed(int fd, enum audit_debtor debtor, struct kek_audit_owed *owed)
{
    char text[KEKD_AT];
    size_t len = places[debtor].len;
    struct kek_audit_owed found = {.waiting = 0};
    const char *at = text;
    *owed = found;
    if (!has_places(fd) || pread(fd, text, len, places[debtor].at) != (ssize_t)len) {
        return;
    }
    text[len] = '\0';
    bool known = debtor == AUDIT_DEBTOR_ACTS
                     ? passes(&at, ",\"lost\":") && kek_text_digits(&at, UINT64_MAX, &found.lost)
                     : passes(&at, ",\"kekd\":{\"lost\":") &&
                           kek_text_digits(&at, UINT64_MAX, &found.lost) &&
                           passes(&at, ",\"waiting\":") &&
                           kek_text_digits(&at, UINT64_MAX, &found.waiting) && passes(&at, "}");
    if (known && is_blank(at, text + len)) {
        *owed = found;
    } else {
        owed->damaged = !is_blank(text, text + len);
    }
}

enum kek_rc audit_head_owe(int fd, enum audit_debtor debtor, const struct kek_audit_owed *owed,
                           struct kek_why *why)
{
    char text[KEKD_AT];
    size_t size = places[debtor].len, len = 0;
    if (owed->damaged) {
        return kek_fail(why, KEK_DAMAGED, "the count of lost lines that is on record is damaged");
    }
    if (!has_places(fd)) {
        return kek_fail(why, KEK_UNAVAILABLE,
                        "the record of the audit log's chain has no place for lines that are lost");
    }
    if (debtor == AUDIT_DEBTOR_ACTS && owed->lost > 0) {
        len = (size_t)snprintf(text, sizeof text, ",\"lost\":%llu", (unsigned long long)owed->lost);
    } else if (debtor == AUDIT_DEBTOR_KEKD && owed->lost + owed->waiting > 0) {
        len = (size_t)snprintf(text, sizeof text, ",\"kekd\":{\"lost\":%llu,\"waiting\":%llu}",
                               (unsigned long long)owed->lost, (unsigned long long)owed->waiting);
    }
    memset(text + len, ' ', sizeof text - len);
    return put(fd, text, size, places[debtor].at, why);
}

void audit_head_lose(int fd, uint64_t lines)
{
    struct kek_audit_owed owed;
    struct kek_why why;
    if (audit_head_shape(fd, &why) != KEK_OK) {
        return;
    }
    audit_head_owed(fd, AUDIT_DEBTOR_ACTS, &owed);
    owed.lost += lines;
    (void)!audit_head_owe(fd, AUDIT_DEBTOR_ACTS, &owed, &why);
}

static void add_owed(int fd, enum audit_debtor debtor, struct kek_audit_owed *sum)
{
    struct kek_audit_owed owed;
    audit_head_owed(fd, debtor, &owed);
    sum->lost += owed.lost;
    sum->waiting += owed.waiting;
    sum->damaged = sum->damaged || owed.damaged;
}

/* ---- a record that was removed, or replaced, while it was open ---- */

static void take_debts(int from, int to)
{
    static const struct kek_audit_owed nothing;
    struct kek_audit_owed owed, there;
    struct kek_why why;
    audit_head_owed(from, AUDIT_DEBTOR_ACTS, &owed);
    if (owed.lost > 0) {
        audit_head_lose(to, owed.lost);
        (void)!audit_head_owe(from, AUDIT_DEBTOR_ACTS, &nothing, &why);
    }
    audit_head_owed(from, AUDIT_DEBTOR_KEKD, &owed);
    audit_head_owed(to, AUDIT_DEBTOR_KEKD, &there);
    if (!kek_audit_owes(&there)) {
        (void)!audit_head_owe(to, AUDIT_DEBTOR_KEKD, &owed, &why);
    }
}

static enum kek_rc take_chain(int from, int to, const char *path, char broken[static KEK_WHY_TEXT],
                              struct kek_why *why)
{
    struct kek_audit_end end, there;
    struct kek_why damage;
    bool goes_on = audit_head_load(from, &end, &damage) == KEK_OK && end.chain[0] != '\0';
    enum kek_rc rc = audit_head_load(to, &there, why);
    broken[0] = '\0';
    if (rc == KEK_DAMAGED) {
        return KEK_OK; /* who writes finds that */
    }
    if (rc != KEK_OK || !goes_on) {
        return rc == KEK_OK ? audit_head_shape(to, why) : rc;
    }
    if (there.chain[0] == '\0') {
        snprintf(
            broken, KEK_WHY_TEXT,
            "%s was removed and is made anew: the chain goes on from line %llu, the last one on "
            "record",
            path, (unsigned long long)end.n);
        return audit_head_store(to, &end, why);
    }
    snprintf(
        broken, KEK_WHY_TEXT,
        "%s was replaced: it had line %llu of chain %s, and the one that is there now has line "
        "%llu of chain %s",
        path, (unsigned long long)end.n, end.chain, (unsigned long long)there.n, there.chain);
    return audit_head_shape(to, why);
}

enum kek_rc audit_head_go_over(int fd, const char *path, unsigned wait_ms,
                               char broken[static KEK_WHY_TEXT], struct kek_why *why)
{
    KEK_AUTO_CLOSE int there = audit_head_open(path, why);
    if (there < 0) {
        return KEK_DENIED;
    }
    enum kek_rc rc = audit_head_lock(there, wait_ms, why);
    if (rc == KEK_OK) {
        rc = take_chain(fd, there, path, broken, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    take_debts(fd, there);
    if (dup3(there, fd, O_CLOEXEC) < 0) { /* others know the number */
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening %s", path);
    }
    return KEK_OK;
}

static enum kek_rc read_whole(int fd, struct kek_audit_end *end, struct kek_audit_owed *owed,
                              struct kek_why *why)
{
    *owed = (struct kek_audit_owed){.lost = 0};
    enum kek_rc rc = audit_head_load(fd, end, why);
    if (rc == KEK_OK) {
        add_owed(fd, AUDIT_DEBTOR_ACTS, owed);
        add_owed(fd, AUDIT_DEBTOR_KEKD, owed);
    }
    return rc;
}

enum kek_rc kek_audit_record_read(const char *path, struct kek_audit_end *end,
                                  struct kek_audit_owed *owed, struct kek_why *why)
{
    if (owed != NULL) {
        *owed = (struct kek_audit_owed){.lost = 0};
    }
    KEK_AUTO_CLOSE int fd = open(path, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    if (fd < 0) {
        return kek_fail_native(why, errno == ENOENT ? KEK_NOT_FOUND : KEK_DENIED, KEK_NATIVE_ERRNO,
                               (unsigned long)errno, "opening %s", path);
    }
    struct kek_audit_owed found;
    enum kek_rc rc = read_whole(fd, end, &found, why);
    for (unsigned i = 0; i < LOOKS && (rc == KEK_DAMAGED || found.damaged); i++) {
        usleep(LOOK_US);
        rc = read_whole(fd, end, &found, why);
    }
    if (rc == KEK_OK && owed != NULL) {
        *owed = found;
    }
    if (rc == KEK_OK && end->chain[0] == '\0') {
        return kek_fail(why, KEK_NOT_FOUND, "%s is empty", path);
    }
    return rc;
}

bool kek_audit_next_name(const char *path, char next[static PATH_MAX])
{
    int len = snprintf(next, PATH_MAX, "%s-next", path);
    return len > 0 && len < PATH_MAX;
}

struct kek_audit_end kek_audit_next_read(const char *path)
{
    char name[PATH_MAX];
    struct kek_audit_end next;
    struct kek_why why;
    if (!kek_audit_next_name(path, name) ||
        kek_audit_record_read(name, &next, NULL, &why) != KEK_OK) {
        next = (struct kek_audit_end){.n = 0};
    }
    return next;
}
