#include "audit_home.h"

#include <errno.h>
#include <fcntl.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_head.h"
#include "audit_store.h"
#include "audit_tail.h"
#include "kek/audit_act.h"
#include "kek/auto.h"
#include "kek/durable.h"

/* False: the path is too long to be one. */
static bool name_record(const struct kek_audit_place *place, char path[static PATH_MAX])
{
    int len = snprintf(path, PATH_MAX, "%s-log", place->head);
    return len > 0 && len < PATH_MAX - 8; /* it has .new beside it */
}

static bool load(const struct kek_audit_place *place, char log[static PATH_MAX])
{
    char path[PATH_MAX];
    struct kek_why why;
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, PATH_MAX - 1);
    if (!name_record(place, path) ||
        kek_durable_read(path, PATH_MAX - 1, &content, &why) != KEK_OK) {
        return false;
    }
    struct kek_bytes text = kek_buf_bytes(&content);
    snprintf(log, PATH_MAX, "%.*s", (int)text.len, (const char *)text.data);
    log[strcspn(log, "\n")] = '\0';
    return log[0] != '\0';
}

void audit_home_keep(const struct kek_audit_place *place)
{
    char path[PATH_MAX], known[PATH_MAX], text[PATH_MAX];
    const char *log = kek_audit_place_log(place);
    struct kek_why why;
    if (!name_record(place, path) || (load(place, known) && strcmp(known, log) == 0)) {
        return;
    }
    int len = snprintf(text, sizeof text, "%s\n", log);
    if (len >= (int)sizeof text ||
        kek_durable_write_now(path, kek_bytes(text, (size_t)len), &why) != KEK_OK) {
        (void)unlink(path);
    }
}

/* Does the file end where the chain does?  Then it is the log, by another name or moved. */
static bool ends_here(const char *file, const struct kek_audit_end *record)
{
    struct kek_audit_hasher hasher;
    struct stat about;
    KEK_AUTO_CLOSE int fd = open(file, O_RDONLY | O_CLOEXEC | O_NOFOLLOW | O_NONBLOCK | O_NOCTTY);
    KEK_AUTO_FREE char *bytes = malloc(AUDIT_STORE_OUT_BYTES);
    if (fd < 0 || bytes == NULL || fstat(fd, &about) != 0 || !kek_audit_hasher_init(&hasher)) {
        return false;
    }
    off_t from = about.st_size > AUDIT_STORE_OUT_BYTES ? about.st_size - AUDIT_STORE_OUT_BYTES : 0;
    ssize_t len = pread(fd, bytes, AUDIT_STORE_OUT_BYTES, from);
    bool follows =
        len > 0 &&
        audit_tail_look(&hasher, kek_bytes(bytes, (size_t)len), from == 0, record).follows;
    kek_audit_hasher_done(&hasher);
    return follows;
}

bool kek_audit_elsewhere(const struct kek_audit_place *place, char log[static PATH_MAX])
{
    struct kek_audit_end record;
    struct kek_why why;
    char known[PATH_MAX];
    if (!load(place, known) || strcmp(known, kek_audit_place_log(place)) == 0 ||
        kek_audit_record_read(place->head, &record, NULL, &why) != KEK_OK ||
        (place->file != NULL && ends_here(place->file, &record))) {
        return false;
    }
    memcpy(log, known, PATH_MAX);
    return true;
}
