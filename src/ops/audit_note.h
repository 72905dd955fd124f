/*
 * How many lines would be missing if kekd ended now, on record in state_dir: never fewer than there are.
 *
 * A line costs no write: there is room for some on record, which is doubled, on libuv's thread pool, once half of it is
 * taken.  So a kekd that is killed leaves a count that the next one tells.  What is fewer than those that waited is a burst
 * of more than half the room in the moment that the write takes.  One thread: the loop's.
 */
#ifndef KEK_OPS_AUDIT_NOTE_H
#define KEK_OPS_AUDIT_NOTE_H

#include <uv.h>

#include "audit_store.h"

#define AUDIT_NOTE_ROOM 256u /* lines, where none waits for long */

struct audit_note {
    uv_loop_t *loop;
    int fd; /* of the record; borrowed */
    uint64_t room;
    uint64_t lost;                /* for certain: at the end */
    struct kek_audit_owed before; /* of the kekd before this one, until that is told */
    bool busy;                    /* `work` and what follows are the thread pool's */
    uv_work_t work;
    struct kek_audit_owed written;
    bool last;
    enum kek_rc rc;
    struct kek_why why;
    bool again;   /* something has changed since */
    bool failing; /* the last write failed: the next line that is taken has it tried again */
    bool said;
    void (*ended)(void *arg);
    void *arg;
};

/* Takes over what the kekd before this one left, also into store->inherited, and makes room.  Blocks: for start-up. */
void audit_note_open(struct audit_note *note, uv_loop_t *loop, struct audit_store *store);

/* So many lines are not in the log yet. */
void audit_note_count(struct audit_note *note, uint64_t lines);
/* The log took lines, and so many are left; told: what the kekd before this one left was told. */
void audit_note_taken(struct audit_note *note, uint64_t lines, bool told);
/* There is no kekd any more, and so many lines are lost.  `ended` runs once, when that is on record or cannot be.  Nothing is
 * noted after. */
void audit_note_end(struct audit_note *note, uint64_t lines, void (*ended)(void *arg), void *arg);

#endif
