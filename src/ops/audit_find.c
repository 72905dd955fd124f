#include "audit_find.h"

#include <errno.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <unistd.h>

#include "audit_file.h"
#include "audit_head.h"
#include "audit_tail.h"
#include "audit_write.h"

/* One that has a cause to be told goes on record with the line that tells it. */
static enum kek_rc begin_chain(struct audit_store *store, const char *broken, struct kek_why *why)
{
    if (!kek_audit_end_begin(&store->end)) {
        return kek_fail(why, KEK_NO_MEMORY, "no random bytes for the audit log's chain");
    }
    return broken[0] == '\0' ? audit_head_store(store->head_fd, &store->end, why) : KEK_OK;
}

/* The file ends as is on record; or with lines of this process's own, which could not be put there; or of one that ended
 * before it did that. */
static bool is_vouched_for(const struct audit_store *store, const struct kek_audit_end *record,
                           const struct kek_audit_end *end)
{
    struct kek_audit_end next;
    struct kek_why why;
    return audit_end_equal(end, record) || audit_end_equal(end, &store->end) ||
           (audit_head_load(store->next_fd, &next, &why) == KEK_OK && audit_end_equal(end, &next));
}

/* `broken` stays as it is where nothing is to be said of lines past the record. */
static void say_past(const struct audit_store *store, const struct kek_audit_end *record,
                     const struct kek_audit_end *end, char broken[static KEK_WHY_TEXT])
{
    if (!is_vouched_for(store, record, end)) {
        snprintf(
            broken, KEK_WHY_TEXT,
            "the file goes on to line %llu of chain %s, and on record is line %llu: what is "
            "past it was written as kekd or the machine was stopped, or by an older kekd that was "
            "killed (it had no .audit-next), or before state_dir was restored, or was put in "
            "by somebody",
            (unsigned long long)end->n, end->chain, (unsigned long long)record->n);
    }
}

/* Takes up the chain from record and tail. `broken` says what is not as it must be, or is empty. */
static enum kek_rc take_up(struct audit_store *store, const struct kek_audit_end *record,
                           const struct audit_tail *tail, uint64_t size,
                           char broken[static KEK_WHY_TEXT], struct kek_why *why)
{
    if (record->chain[0] == '\0') {
        return begin_chain(store, broken, why);
    }
    if (tail->follows) {
        say_past(store, record, &tail->end, broken);
        store->end = tail->end;
    } else if (tail->has && tail->end.n > record->n) {
        snprintf(broken, KEK_WHY_TEXT,
                 "the file ends with line %llu of chain %s, which does not follow line %llu, the "
                 "last one on record: a new chain begins",
                 (unsigned long long)tail->end.n, record->chain, (unsigned long long)record->n);
        return begin_chain(store, broken, why);
    } else {
        store->end = *record;
    }
    if (!tail->follows && tail->has) {
        snprintf(broken, KEK_WHY_TEXT,
                 "the file ends with line %llu of chain %s, and not as it is on record: that ends "
                 "with line %llu",
                 (unsigned long long)tail->end.n, record->chain, (unsigned long long)record->n);
    }
    if (broken[0] == '\0' && size < store->size) {
        snprintf(broken, KEK_WHY_TEXT, "the file was cut from %llu to %llu bytes",
                 (unsigned long long)store->size, (unsigned long long)size);
    }
    return KEK_OK;
}

/* The end of the open file, and what of it is no whole line, which is in store->out. */
struct seen {
    uint64_t size;
    struct audit_tail tail;
    struct kek_bytes bytes, piece;
    bool from_start; /* the bytes are all that is in the file */
};

static enum kek_rc see(struct audit_store *store, const struct kek_audit_end *record,
                       struct seen *seen, struct kek_why *why)
{
    struct stat st;
    if (fstat(store->fd, &st) != 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "looking at %s", store->place->file);
    }
    uint64_t size = (uint64_t)st.st_size,
             from = size > AUDIT_STORE_OUT_BYTES ? size - AUDIT_STORE_OUT_BYTES : 0;
    ssize_t len = pread(store->fd, store->out, AUDIT_STORE_OUT_BYTES, (off_t)from);
    if (len < 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "reading %s", store->place->file);
    }
    seen->size = size;
    seen->bytes = kek_bytes(store->out, (size_t)len);
    seen->from_start = from == 0;
    seen->tail = audit_tail_look(&store->hasher, seen->bytes, seen->from_start, record);
    seen->piece = kek_bytes(store->out + (size_t)len - seen->tail.torn, seen->tail.torn);
    return KEK_OK;
}

/* The record is empty, and this node wrote a chain here before, which is not another keyring's. */
static void say_record_lost(const struct audit_store *store, const struct seen *seen,
                            char broken[static KEK_WHY_TEXT])
{
    struct kek_audit_end end;
    if (audit_tail_of_node(seen->bytes, seen->from_start, store->node, &end) &&
        !kek_audit_is_of_another(store->place->head, end.chain, NULL, NULL)) {
        snprintf(broken, KEK_WHY_TEXT,
                 "%s was not there or empty, and the file has line %llu of chain %s, of this node: "
                 "a new chain begins",
                 store->place->head, (unsigned long long)end.n, end.chain);
    }
}

/* Tells of the end that was seen, where there is anything to tell.  What could not be told is not gone on from. */
static enum kek_rc tell(struct audit_store *store, const struct seen *seen, const char *broken,
                        const struct kek_audit_end *before, struct kek_why *why)
{
    if (seen->piece.len == 0 && broken[0] == '\0') {
        return KEK_OK;
    }
    enum kek_rc rc = audit_write_found(store, seen->piece, broken, why);
    if (rc != KEK_OK && audit_end_equal(&store->end, &seen->tail.end)) {
        store->end = *before;
    }
    return rc;
}

/* Finds the end of the chain where another process may have written since, or this one has only begun. */
static enum kek_rc look(struct audit_store *store, const struct kek_audit_end *record,
                        char broken[static KEK_WHY_TEXT], struct kek_why *why)
{
    struct seen seen;
    struct kek_audit_end before = store->end;
    enum kek_rc rc = see(store, record, &seen, why);
    if (rc == KEK_OK && record->chain[0] == '\0' && broken[0] == '\0') {
        say_record_lost(store, &seen, broken);
    }
    if (rc == KEK_OK) {
        rc = take_up(store, record, &seen.tail, seen.size, broken, why);
    }
    return rc == KEK_OK ? tell(store, &seen, broken, &before, why) : rc;
}

/* The line on record is the last one that was written here: nobody has gone on in another file. */
static bool wrote_last(const struct audit_store *store, const struct kek_audit_end *record)
{
    return store->size > 0 && record->chain[0] != '\0' && audit_end_equal(record, &store->end);
}

static bool as_left(const struct audit_store *store, const struct kek_audit_end *record)
{
    struct stat st;
    return wrote_last(store, record) && fstat(store->fd, &st) == 0 &&
           (uint64_t)st.st_size == store->size;
}

/* ---- which file the chain goes on in ---- */

/* Before the file is left: what is in it and not on record goes there, or is told where it stands; so is a piece of a line,
 * if that can be. */
static enum kek_rc settle(struct audit_store *store, struct kek_audit_end *record,
                          const struct seen *seen, struct kek_why *why)
{
    char broken[KEK_WHY_TEXT] = "";
    struct kek_audit_end before = store->end;
    struct kek_why told_why;
    if (!seen->tail.follows) {
        return KEK_OK;
    }
    say_past(store, record, &seen->tail.end, broken);
    store->end = seen->tail.end;
    enum kek_rc rc = KEK_OK;
    if (broken[0] != '\0') {
        rc = tell(store, seen, broken, &before, why);
    } else if (!audit_end_equal(record, &store->end)) {
        rc = audit_head_store(store->head_fd, &store->end, why);
    }
    if (rc == KEK_OK && broken[0] == '\0') {
        (void)!tell(store, seen, "", &before, &told_why);
    }
    if (rc == KEK_OK) {
        *record = store->end;
    }
    return rc;
}

/* A file that has no name any more, with lines of the chain: nobody finds them again once it is closed. */
static void note_removed(struct audit_store *store)
{
    struct seen seen;
    struct stat st;
    struct kek_why why;
    if (store->end.n == 0 || fstat(store->fd, &st) != 0 || st.st_nlink > 0 || st.st_size == 0) {
        return;
    }
    bool has = see(store, &store->end, &seen, &why) == KEK_OK && seen.tail.has;
    snprintf(store->removed, sizeof store->removed,
             "the file %s was removed while it was open, with its lines up to line %llu of chain "
             "%s",
             store->place->file, (unsigned long long)(has ? seen.tail.end.n : store->end.n),
             store->end.chain);
}

void audit_find_go_over(struct audit_store *store, int fd)
{
    note_removed(store);
    store->left_fd = store->fd;
    store->fd = fd;
    store->size = 0;
}

/* Not of one that was removed: what would be written there is lost. */
static bool has_name(int fd)
{
    struct stat st;
    return fstat(fd, &st) == 0 && st.st_nlink > 0;
}

/* Goes over to the file that the path names, or is to name, unless that is the open one, or there is none and the chain
 * ends in the open one, which was renamed.  *record moves with what it has not yet. */
static enum kek_rc follow(struct audit_store *store, struct kek_audit_end *record,
                          struct kek_why *why)
{
    struct seen seen = {.size = 0};
    enum audit_file_at at = audit_file_at(store->place->file, store->fd);
    bool named = has_name(store->fd);
    if (at == AUDIT_FILE_THIS || (at == AUDIT_FILE_NONE && named && wrote_last(store, record))) {
        return KEK_OK;
    }
    bool ends_here = named && see(store, record, &seen, why) == KEK_OK &&
                     (seen.tail.follows || record->chain[0] == '\0'); /* it has begun nowhere */
    if (at == AUDIT_FILE_NONE && ends_here) {
        return KEK_OK;
    }
    int fd = audit_file_open(store->place->file, store->missing, why);
    if (fd < 0) {
        return ends_here ? KEK_OK : KEK_DENIED;
    }
    enum kek_rc rc = ends_here ? settle(store, record, &seen, why) : KEK_OK;
    if (rc != KEK_OK) {
        close(fd);
        return rc;
    }
    audit_find_go_over(store, fd);
    return KEK_OK;
}

void audit_find_settle(struct audit_store *store)
{
    struct kek_audit_end record;
    struct kek_why why;
    struct seen seen;
    if (audit_head_load(store->head_fd, &record, &why) == KEK_OK &&
        see(store, &record, &seen, &why) == KEK_OK) {
        (void)!settle(store, &record, &seen, &why);
    }
}

/* ---- the end of the chain ---- */

/* The record that is as it must be after a line that was not taken shows nothing of this any more: it is kept. */
static enum kek_rc tell_or_keep(struct audit_store *store, const char broken[static KEK_WHY_TEXT],
                                struct kek_why *why)
{
    enum kek_rc rc = audit_write_broken(store, broken, why);
    if (rc != KEK_OK && store->moved[0] == '\0') {
        memcpy(store->moved, broken, sizeof store->moved);
    } else if (rc == KEK_OK && strcmp(store->moved, broken) == 0) {
        store->moved[0] = '\0'; /* it was found again */
    }
    return rc;
}

/* Without a file: takes up the chain from the record alone. */
static enum kek_rc go_on(struct audit_store *store, const struct kek_audit_end *record,
                         char broken[static KEK_WHY_TEXT], struct kek_why *why)
{
    enum kek_rc rc = KEK_OK;
    if (record->chain[0] == '\0') {
        rc = begin_chain(store, broken, why);
    } else if (strcmp(record->chain, store->end.chain) == 0 && record->n < store->end.n) {
        snprintf(broken, KEK_WHY_TEXT, "%s went back from line %llu to line %llu of chain %s",
                 store->place->head, (unsigned long long)store->end.n,
                 (unsigned long long)record->n, record->chain);
    } else {
        store->end = *record;
    }
    return rc == KEK_OK && broken[0] != '\0' ? tell_or_keep(store, broken, why) : rc;
}

static enum kek_rc find_chain(struct audit_store *store, struct kek_why *why)
{
    struct kek_audit_end record;
    char broken[KEK_WHY_TEXT] = "";
    enum kek_rc rc = audit_head_load(store->head_fd, &record, why);
    if (rc == KEK_DAMAGED) {
        record = (struct kek_audit_end){.n = 0};
        snprintf(broken, sizeof broken, "%s is damaged: a new chain begins", store->place->head);
    } else if (rc != KEK_OK) {
        return rc;
    } else if (record.chain[0] == '\0' && store->end.n > 0) {
        record = store->end;
        snprintf(broken, sizeof broken,
                 "%s was emptied: the chain goes on from line %llu, the last that was written here",
                 store->place->head, (unsigned long long)record.n);
    }
    if (store->log != NULL) {
        return go_on(store, &record, broken, why);
    }
    rc = follow(store, &record, why);
    if (rc != KEK_OK || (broken[0] == '\0' && as_left(store, &record))) {
        return rc;
    }
    return look(store, &record, broken, why);
}

/* Lines are missing here.  Forgotten only once that is told: who ends between the two has it told again. */
static enum kek_rc tell_owed(struct audit_store *store, struct kek_why *why)
{
    static const struct kek_audit_owed nothing;
    struct kek_audit_owed owed;
    struct kek_why told_why;
    audit_head_owed(store->head_fd, AUDIT_DEBTOR_ACTS, &owed);
    bool acts = kek_audit_owes(&owed), damaged = owed.damaged || store->inherited.damaged;
    owed.lost += store->inherited.lost;
    owed.waiting = store->inherited.waiting;
    enum kek_rc rc = KEK_OK;
    if (damaged) {
        char broken[KEK_WHY_TEXT];
        snprintf(broken, sizeof broken,
                 "%s has a count of lost lines that cannot be read: any number may be missing here",
                 store->place->head);
        rc = audit_write_broken(store, broken, why);
    }
    if (rc == KEK_OK && owed.lost + owed.waiting > 0) {
        rc = audit_write_dropped(store, &owed, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    store->inherited = nothing;
    if (acts) {
        (void)!audit_head_owe(store->head_fd, AUDIT_DEBTOR_ACTS, &nothing, &told_why);
    }
    return KEK_OK;
}

enum kek_rc audit_find_end(struct audit_store *store, struct kek_why *why)
{
    enum kek_rc rc = find_chain(store, why);
    if (rc == KEK_OK && store->moved[0] != '\0') {
        rc = audit_write_broken(store, store->moved, why);
        store->moved[0] = rc == KEK_OK ? '\0' : store->moved[0];
    }
    if (rc == KEK_OK && store->removed[0] != '\0') {
        rc = audit_write_broken(store, store->removed, why);
        store->removed[0] = rc == KEK_OK ? '\0' : store->removed[0];
    }
    return rc == KEK_OK ? tell_owed(store, why) : rc;
}
