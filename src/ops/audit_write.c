#include "audit_write.h"

#include <stdio.h>
#include <string.h>

#include "audit_file.h"
#include "audit_head.h"
#include "audit_tail.h"
#include "audit_text.h"
#include "kek/clock.h"

/* Where the chain stands after `len` bytes of whole lines in store->out. */
static struct kek_audit_end end_of(const struct audit_store *store, size_t len)
{
    struct kek_audit_link link = {.end = store->end};
    size_t before = audit_tail_whole(store->out, len - 1);
    (void)!kek_audit_link_read(kek_bytes(store->out + before, len - before), &link);
    return link.end;
}

/* What the log has, to who else wants it. */
static void copy_out(struct audit_store *store, size_t len)
{
    for (size_t i = 0; i < AUDIT_STORE_RECEIVERS; i++) {
        char told[KEK_WHY_TEXT];
        struct audit_receiver *receiver = &store->receivers[i];
        if (receiver->path != NULL && receiver != store->log &&
            audit_receiver_copy(receiver, kek_bytes(store->out, len), told)) {
            memcpy(store->told, told, sizeof store->told);
        }
    }
}

static enum kek_rc put_in_file(struct audit_store *store, size_t len, bool all, size_t *whole,
                               struct kek_why *why)
{
    struct kek_audit_end next = end_of(store, len);
    struct kek_why record_why;
    (void)!audit_head_store(store->next_fd, &next, &record_why); /* else the next writer tells */
    enum kek_rc rc = audit_file_append(store->fd, store->place->file, kek_bytes(store->out, len),
                                       all, whole, &store->size, why);
    if (*whole == 0) {
        return rc;
    }
    store->end = end_of(store, *whole);
    enum kek_rc recorded = audit_head_store(store->head_fd, &store->end, &record_why);
    if (rc == KEK_OK && recorded != KEK_OK) {
        *why = record_why;
        return recorded;
    }
    return rc;
}

/* To the receiver that is the log. */
static enum kek_rc hand_over(struct audit_store *store, size_t len, size_t *whole,
                             struct kek_why *why)
{
    struct kek_audit_end before = store->end;
    *whole = 0;
    store->end = end_of(store, len);
    enum kek_rc rc = audit_head_store(store->head_fd, &store->end, why);
    if (rc == KEK_OK) {
        rc = audit_receiver_take(store->log, kek_bytes(store->out, len), whole, why);
    }
    if (*whole < len) {
        struct kek_why record_why;
        store->end = before;
        if (*whole > 0) {
            store->end = end_of(store, *whole);
        }
        (void)!audit_head_store(store->head_fd, &store->end, &record_why); /* else there is a gap */
    }
    return rc;
}

enum kek_rc audit_write(struct audit_store *store, size_t len, bool all, size_t *whole,
                        struct kek_why *why)
{
    enum kek_rc rc = store->log == NULL ? put_in_file(store, len, all, whole, why)
                                        : hand_over(store, len, whole, why);
    if (*whole > 0) {
        copy_out(store, *whole);
    }
    return rc;
}

/* Lines of the store's own, in store->out. */
struct own {
    struct kek_audit_end end;
    size_t len;
    bool failed; /* for want of memory */
};

static void put_own(struct audit_store *store, struct own *own, struct audit_text *text, char *line)
{
    size_t len = audit_text_finish(text, line);
    size_t chained =
        kek_audit_link_put(&store->hasher, &own->end, kek_bytes(line, len), store->out + own->len);
    own->len += chained;
    own->failed = own->failed || chained == 0;
}

static enum kek_rc write_own(struct audit_store *store, const struct own *own, struct kek_why *why)
{
    size_t whole;
    return own->failed ? kek_fail(why, KEK_NO_MEMORY, "no memory for the audit log")
                       : audit_write(store, own->len, true, &whole, why);
}

static struct audit_text begin_line(const struct audit_store *store, char *line, const char *event)
{
    struct audit_stamp stamp = {.wall_ms = kek_clock_wall_ms(), .node = store->node, .second = -1};
    return audit_text_begin(line, &stamp, event);
}

static void put_broken(struct audit_store *store, struct own *own, const char *error)
{
    char line[AUDIT_LINE_MAX];
    struct audit_text text = begin_line(store, line, "broken");
    PUT(&text, ",\"error\":");
    audit_put_text(&text, error, ERROR_MAX);
    snprintf(store->told, sizeof store->told, "%s", error);
    put_own(store, own, &text, line);
}

static void put_torn(struct audit_store *store, struct own *own, struct kek_bytes piece)
{
    char digest[KEK_SHA256_TEXT], line[AUDIT_LINE_MAX];
    if (!kek_sha256_text(piece, digest)) {
        own->failed = true;
        return;
    }
    struct audit_text text = begin_line(store, line, "torn");
    PUT(&text, ",\"bytes\":");
    audit_put_uint(&text, piece.len);
    PUT(&text, ",\"sha256\":");
    audit_put_text(&text, digest, SIZE_MAX);
    snprintf(store->told, sizeof store->told,
             "%s ended with %zu bytes of a line that was never finished", store->place->file,
             piece.len);
    store->out[0] = '\n';
    own->len = 1;
    put_own(store, own, &text, line);
}

enum kek_rc audit_write_broken(struct audit_store *store, const char *error, struct kek_why *why)
{
    struct own own = {.end = store->end};
    put_broken(store, &own, error);
    return write_own(store, &own, why);
}

enum kek_rc audit_write_dropped(struct audit_store *store, const struct kek_audit_owed *owed,
                                struct kek_why *why)
{
    char line[AUDIT_LINE_MAX];
    struct own own = {.end = store->end};
    struct audit_text text = begin_line(store, line, "dropped");
    PUT(&text, ",\"lines\":");
    audit_put_uint(&text, owed->lost);
    if (owed->waiting > 0) {
        PUT(&text, ",\"at_most\":");
        audit_put_uint(&text, owed->lost + owed->waiting);
    }
    put_own(store, &own, &text, line);
    return write_own(store, &own, why);
}

enum kek_rc audit_write_found(struct audit_store *store, struct kek_bytes piece, const char *error,
                              struct kek_why *why)
{
    struct own own = {.end = store->end};
    if (piece.len > 0) {
        put_torn(store, &own, piece);
    }
    if (error[0] != '\0') {
        put_broken(store, &own, error);
    }
    return write_own(store, &own, why);
}
