#include "audit_store.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "audit_find.h"
#include "audit_head.h"
#include "audit_home.h"
#include "audit_write.h"

static void init_receivers(struct audit_store *store)
{
    const struct kek_audit_place *place = store->place;
    audit_receiver_init(&store->receivers[0], AUDIT_RECEIVER_JOURNAL, place->journal, store->node);
    audit_receiver_init(&store->receivers[1], AUDIT_RECEIVER_SYSLOG, place->syslog, store->node);
    if (place->file == NULL) {
        store->log = &store->receivers[place->journal != NULL ? 0 : 1];
    }
}

/* Without it, what a process leaves that ends while it writes is told as somebody else's. */
static int open_next(const struct audit_store *store)
{
    char path[PATH_MAX];
    struct kek_why why;
    return kek_audit_next_name(store->place->head, path) ? audit_head_open(path, &why) : -1;
}

/* It was removed, or with it the folder: what is written there nobody would read again. */
static void follow_next(struct audit_store *store)
{
    char path[PATH_MAX];
    if (store->log != NULL || !kek_audit_next_name(store->place->head, path) ||
        (store->next_fd >= 0 && audit_file_at(path, store->next_fd) == AUDIT_FILE_THIS)) {
        return;
    }
    int fd = open_next(store);
    if (fd < 0) {
        return;
    }
    if (store->next_fd >= 0) {
        close(store->next_fd);
    }
    store->next_fd = fd;
}

/* Locks the record that the path names.  Where there can be none it is the one that is open: whoever else writes has none
 * either. */
static enum kek_rc hold_record(struct audit_store *store, struct kek_why *why)
{
    const char *path = store->place->head;
    char moved[KEK_WHY_TEXT];
    enum kek_rc rc = audit_head_lock(store->head_fd, store->wait_ms, why);
    if (rc != KEK_OK || audit_file_at(path, store->head_fd) == AUDIT_FILE_THIS) {
        return rc;
    }
    rc = audit_head_go_over(store->head_fd, path, store->wait_ms, moved, why);
    if (rc == KEK_OK && moved[0] != '\0') {
        memcpy(store->moved, moved, sizeof moved);
    }
    if (rc == KEK_DENIED && !store->adrift) {
        snprintf(store->told, sizeof store->told,
                 "the record of the chain was removed, and there is no other: %.400s", why->text);
    }
    store->adrift = rc == KEK_DENIED;
    if (rc != KEK_OK && rc != KEK_DENIED) {
        audit_head_unlock(store->head_fd);
        return rc;
    }
    return KEK_OK;
}

static enum kek_rc hold(struct audit_store *store, struct kek_why *why)
{
    enum kek_rc rc = hold_record(store, why);
    if (rc == KEK_OK) {
        follow_next(store);
    }
    return rc;
}

/* Made under the lock, so that nobody meets it half made. */
static int make_file(const struct audit_store *store, struct kek_why *why)
{
    if (audit_head_lock(store->head_fd, store->wait_ms, why) != KEK_OK) {
        return -1;
    }
    int fd = audit_file_open(store->place->file, store->missing, why);
    audit_head_unlock(store->head_fd);
    return fd;
}

static bool open_parts(struct audit_store *store, struct kek_why *why)
{
    const struct kek_audit_place *place = store->place;
    bool gives = store->missing == AUDIT_FILE_GIVE, lacks = false;
    if (store->log == NULL) {
        store->fd = audit_file_open(place->file, gives ? AUDIT_FILE_LEAVE : store->missing, why);
        lacks = store->fd < 0 && gives && why->code == ENOENT;
    }
    if (store->log != NULL || store->fd >= 0 || lacks) {
        store->head_fd = audit_head_open(place->head, why);
    }
    if (store->log == NULL && store->head_fd >= 0) {
        store->next_fd = open_next(store);
    }
    if (lacks && store->head_fd >= 0) {
        store->fd = make_file(store, why);
    }
    return store->head_fd >= 0 && (store->log != NULL || store->fd >= 0);
}

enum kek_rc audit_store_open(struct audit_store *store, const struct kek_audit_place *place,
                             const char *node, enum audit_file_missing missing, unsigned wait_ms,
                             struct kek_why *why)
{
    *store = (struct audit_store){.place = place,
                                  .node = node,
                                  .wait_ms = wait_ms,
                                  .missing = missing,
                                  .fd = -1,
                                  .head_fd = -1,
                                  .next_fd = -1,
                                  .left_fd = -1};
    init_receivers(store);
    store->out = malloc(AUDIT_STORE_OUT_BYTES);
    if (store->out == NULL || !kek_audit_hasher_init(&store->hasher)) {
        audit_store_close(store);
        return kek_fail(why, KEK_NO_MEMORY, "no memory for the audit log");
    }
    if (!open_parts(store, why)) {
        audit_store_close(store);
        return KEK_DENIED;
    }
    return KEK_OK;
}

enum kek_rc audit_store_reach(struct audit_store *store, struct kek_why *why)
{
    return store->log == NULL ? KEK_OK : audit_receiver_reach(store->log, why);
}

void audit_store_close(struct audit_store *store)
{
    if (store->place == NULL) {
        return;
    }
    for (size_t i = 0; i < AUDIT_STORE_RECEIVERS; i++) {
        audit_receiver_done(&store->receivers[i]);
    }
    if (store->fd >= 0) {
        close(store->fd);
    }
    if (store->head_fd >= 0) {
        close(store->head_fd);
    }
    if (store->next_fd >= 0) {
        close(store->next_fd);
    }
    kek_audit_hasher_done(&store->hasher);
    free(store->out);
    *store = (struct audit_store){.place = NULL};
}

/* ---- lines that are handed over ---- */

/* Chains what fits of them into store->out. Returns its length, 0 for want of memory. */
static size_t chain_some(struct audit_store *store, struct kek_bytes lines)
{
    struct kek_audit_end end = store->end;
    size_t out = 0;
    for (size_t at = 0; at < lines.len && out < AUDIT_STORE_CHUNK_BYTES;) {
        const uint8_t *feed = memchr(lines.data + at, '\n', lines.len - at);
        size_t len = (size_t)(feed + 1 - (lines.data + at));
        size_t chained = kek_audit_link_put(&store->hasher, &end, kek_bytes(lines.data + at, len),
                                            store->out + out);
        if (chained == 0) {
            return 0;
        }
        out += chained;
        at += len;
    }
    return out;
}

/* Bytes that as many lines take up there as the chained ones are. */
static size_t as_many_lines(struct kek_bytes lines, const char *chained, size_t len)
{
    size_t at = 0;
    const char *next = chained;
    while (next < chained + len) {
        next = (const char *)memchr(next, '\n', (size_t)(chained + len - next)) + 1;
        at = (size_t)((const uint8_t *)memchr(lines.data + at, '\n', lines.len - at) + 1 -
                      lines.data);
    }
    return at;
}

/* Not under the lock: a disk may take its time. */
static void sync_left(struct audit_store *store)
{
    if (store->left_fd < 0) {
        return;
    }
    if (fdatasync(store->left_fd) != 0) { /* what is renamed is not written any more */
        snprintf(
            store->told, sizeof store->told,
            "the file that was %s may lack lines after a power cut: it could not be synced: %s",
            store->place->file, strerror(errno));
    }
    close(store->left_fd);
    store->left_fd = -1;
}

/* What is not taken of who does not wait: the next line that is written tells how many lines it is.  Where the record
 * cannot be written either, nothing does. */
static void give_up(struct audit_store *store, struct kek_bytes rest)
{
    uint64_t lines = 0;
    for (size_t at = 0; at < rest.len; at++) {
        lines += rest.data[at] == '\n';
    }
    if (lines > 0) {
        audit_head_lose(store->head_fd, lines);
    }
}

enum kek_rc audit_store_append(struct audit_store *store, struct kek_bytes lines, size_t *taken,
                               struct kek_why *why)
{
    *taken = 0;
    enum kek_rc rc = hold(store, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = audit_find_end(store, why);
    while (rc == KEK_OK && *taken < lines.len) {
        struct kek_bytes rest = kek_bytes(lines.data + *taken, lines.len - *taken);
        size_t whole, len = chain_some(store, rest);
        if (len == 0) {
            rc = kek_fail(why, KEK_UNAVAILABLE, "no memory for the audit log");
            break;
        }
        rc = audit_write(store, len, false, &whole, why);
        *taken += as_many_lines(rest, store->out, whole);
    }
    if (*taken > 0 && store->leads) {
        audit_home_keep(store->place);
        store->leads = false;
    }
    if (rc != KEK_OK && store->gives_up) {
        give_up(store, kek_bytes(lines.data + *taken, lines.len - *taken));
    }
    audit_head_unlock(store->head_fd);
    sync_left(store);
    return rc;
}

enum kek_rc audit_store_sync(struct audit_store *store, struct kek_why *why)
{
    if (store->fd >= 0 && fdatasync(store->fd) != 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "syncing %s", store->place->file);
    }
    if (fdatasync(store->head_fd) != 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "syncing %s", store->place->head);
    }
    return KEK_OK;
}

enum kek_rc audit_store_reopen(struct audit_store *store, struct kek_why *why)
{
    for (size_t i = 0; i < AUDIT_STORE_RECEIVERS; i++) {
        audit_receiver_leave(&store->receivers[i]);
    }
    if (store->log != NULL) {
        return KEK_OK;
    }
    struct kek_why lock_why; /* the lock is for what can be done without */
    bool locked = hold(store, &lock_why) == KEK_OK;
    int fd = audit_file_open(store->place->file, store->missing, why);
    if (fd >= 0 && locked) {
        audit_find_settle(store);
    }
    if (fd >= 0) {
        audit_find_go_over(store, fd);
    }
    if (locked) {
        audit_head_unlock(store->head_fd);
    }
    sync_left(store);
    return fd < 0 ? KEK_DENIED : KEK_OK;
}
