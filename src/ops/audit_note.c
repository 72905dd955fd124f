#include "audit_note.h"

#include <unistd.h>

#include "audit_head.h"
#include "kek/log.h"

static struct kek_audit_owed owed_now(const struct audit_note *note)
{
    return (struct kek_audit_owed){.lost = note->before.lost + note->lost,
                                   .waiting = note->before.waiting + note->room,
                                   .damaged =
                                       note->before.damaged}; /* told before it is forgotten */
}

static void take_result(struct audit_note *note)
{
    note->failing = note->rc != KEK_OK;
    if (note->failing && !note->said) {
        kek_log(KEK_LOG_WARN,
                "audit: how many lines would be missing after a crash is not on record: %s",
                note->why.text);
    }
    note->said = note->failing;
}

static void run(uv_work_t *work)
{
    struct audit_note *note = work->data;
    note->rc = audit_head_owe(note->fd, AUDIT_DEBTOR_KEKD, &note->written, &note->why);
    if (note->last && note->written.lost > 0) {
        (void)!fdatasync(note->fd);
    }
}

static void on_run(uv_work_t *work, int status);

static void write_now(struct audit_note *note)
{
    if (note->busy) {
        note->again = true;
        return;
    }
    note->again = false;
    note->work.data = note;
    note->written = owed_now(note);
    note->last = note->ended != NULL;
    int error = uv_queue_work(note->loop, &note->work, run, on_run);
    note->busy = error == 0;
    if (error != 0) {
        note->rc = kek_fail(&note->why, KEK_UNAVAILABLE, "%s", uv_strerror(error));
        take_result(note);
    }
    if (error != 0 && note->last) {
        note->ended(note->arg);
    }
}

static void on_run(uv_work_t *work, int status)
{
    struct audit_note *note = work->data;
    (void)status; /* nothing cancels it */
    note->busy = false;
    take_result(note);
    if (note->again) {
        write_now(note);
    } else if (note->last) {
        note->ended(note->arg);
    }
}

void audit_note_open(struct audit_note *note, uv_loop_t *loop, struct audit_store *store)
{
    *note = (struct audit_note){.loop = loop, .fd = store->head_fd, .room = AUDIT_NOTE_ROOM};
    if (audit_head_lock(note->fd, store->wait_ms, &note->why) == KEK_OK) {
        (void)!audit_head_shape(note->fd, &note->why);
        audit_head_unlock(note->fd);
    }
    audit_head_owed(note->fd, AUDIT_DEBTOR_KEKD, &note->before);
    store->inherited = note->before;
    note->written = owed_now(note);
    note->rc = audit_head_owe(note->fd, AUDIT_DEBTOR_KEKD, &note->written, &note->why);
    note->failing =
        note->rc != KEK_OK; /* a record that is damaged is mended with the first lines */
}

void audit_note_count(struct audit_note *note, uint64_t lines)
{
    if (2 * lines <= note->room) {
        return;
    }
    while (2 * lines > note->room) {
        note->room *= 2;
    }
    write_now(note);
}

void audit_note_taken(struct audit_note *note, uint64_t lines, bool told)
{
    bool had = kek_audit_owes(&note->before);
    bool shrinks = note->room > AUDIT_NOTE_ROOM && 8 * lines <= note->room;
    if (told) {
        note->before = (struct kek_audit_owed){.lost = 0};
    }
    if (shrinks) {
        note->room = AUDIT_NOTE_ROOM;
        while (2 * lines > note->room) {
            note->room *= 2;
        }
    }
    if (shrinks || (told && had) || note->failing) {
        write_now(note);
    }
}

void audit_note_end(struct audit_note *note, uint64_t lines, void (*ended)(void *arg), void *arg)
{
    note->room = 0;
    note->lost = lines;
    note->ended = ended;
    note->arg = arg;
    write_now(note);
}
