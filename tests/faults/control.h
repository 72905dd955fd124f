/*
 * The control file of the fault module: which call fails how, and how often each was called.
 *
 * It is looked at before each call, so that a process that runs already can be told.  Its first page
 * is text (tests/faults/README.md), its second is counters that all processes share: a fault of "the
 * third call" is that of the third call whoever makes it.  A new file has new counters.  Any thread.
 */
#ifndef KEK_FAULT_CONTROL_H
#define KEK_FAULT_CONTROL_H

#include <stdbool.h>
#include <stddef.h>

#define CONTROL_ANY (~0UL)
#define CONTROL_FLIPS 2

struct control_verdict {
    bool fails;
    unsigned long rv; /* if it fails: what it returns */
    bool misleads;    /* it shall use another key of the token */
    bool wrongkey;    /* it shall use a key that is on no token, the one of this number */
    unsigned long other;
    bool blind;         /* its process finds no object any more */
    bool caching;       /* its process knows nothing newer than what it found first */
    bool repeats;       /* it shall list each object twice */
    unsigned long sick; /* what it returns for an object whose label begins so; 0: as it is */
    unsigned long mute; /* the attribute that it cannot tell; 0: none */
    unsigned long flags;
    unsigned long no_flags;
    bool pads_by_nul;
    unsigned long readonly; /* what a read-write session is refused with; 0: it is not */
    unsigned long sessions; /* that the token says it allows; 0: as it is */
    bool has_pad;           /* a PIN is entered at the token */
    bool forges;            /* a copy is a key that may leave */
    bool stale;             /* it shall unwrap what the call before it was given */
    unsigned flip_count;
    unsigned long flips[CONTROL_FLIPS]; /* the yes-or-no attributes that a new key has otherwise */
    unsigned long shortens; /* the attribute that a key gets half of; CONTROL_ANY: none */
    unsigned long keeps;    /* the attribute that a change leaves as it is; CONTROL_ANY: none */
};

/* As control_call(), of a call by the token's key of that CKA_ID (len 0: it is not known). */
struct control_verdict control_call_by(const char *function, const unsigned char *id, size_t len);
/* Counts the call and does to the process what the file wants done: wait, leak, crash. */
struct control_verdict control_call(const char *function);
/* The same of a call that names a slot. */
struct control_verdict control_call_at(const char *function, unsigned long slot);
/* Raised by each "renumber" that came due in this process. */
unsigned control_renumbered(void);

#endif
