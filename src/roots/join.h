/*
 * What the files of this room share, each calling only those above it:
 *
 *   wait.c     who waits for the roots, and whether there is something to wait for
 *   twins.c    whether two of them have the same KEK
 *   form.c     which envelopes may be opened, and by which entry
 *   join.c     the generation of all roots: who is in it, what is announced, what is wanted
 *   say.c      the verdicts of all roots as one
 *   roots.c    the face
 */
#ifndef KEK_ROOTS_JOIN_H
#define KEK_ROOTS_JOIN_H

#include "kek/roots.h"

#include <utlist.h>

/* Somebody who waits: for every one of its keyrings' waits, or on a list of the roots' own. */
struct kek_roots_wait {
    struct kek_roots *roots;
    void (*done)(void *arg);
    void *arg;
    struct part {
        struct kek_roots_wait *whole;
        struct kek_keyring_wait *wait; /* NULL: it is over, or was not begun */
    } parts[KEK_ROOTS_MAX];
    uint64_t until_ms; /* on `awaiting`; 0: it is not there */
    struct kek_roots_wait *prev, *next;
};

/* One of two roots that have the same KEK. */
struct twin {
    const struct kek_root *root; /* NULL: no two have */
    uint32_t number;             /* of the version that it is to that root */
    bool next;                   /* it would be announced, and was not */
};

struct kek_roots {
    struct kek_roots_settings settings;
    bool stopped;
    uint64_t since_ms; /* it is there */
    uv_timer_t tick;   /* started where there are several roots */
    /* Several roots: what is announced of them together, and of which. */
    bool announced;
    struct kek_keyring_primary primary;
    unsigned members; /* a bit for each root that the primary's generation has a KEK of */
    struct kek_generation wanted; /* count 0: none */
    unsigned wanted_members;
    bool bridged;
    struct twin twins[2];
    bool twins_seal;                 /* something was announced, when they were last told of */
    uint64_t twins_ms;               /* since when it is so */
    uint64_t good_ms[KEK_ROOTS_MAX]; /* since when its keyring is good; 0: it is not */
    uint64_t
        idle_ms[KEK_ROOTS_MAX]; /* since when it is at the beginning, and nothing is under way */
    bool out[KEK_ROOTS_MAX];    /* it cannot wrap; it may, where that is not known yet */
    struct kek_roots_wait *awaiting; /* another primary */
    struct kek_keyring_verdict told; /* a remark on the node itself; or none */
};

static inline bool is_one(const struct kek_roots *roots)
{
    return roots->settings.count == 1;
}

static inline struct kek_keyring *ring_at(const struct kek_roots *roots, size_t root)
{
    return roots->settings.roots[root].ring;
}

/* wait.c */
void wait_end_all(struct kek_roots *roots);  /* another primary is announced, or none will be */
void wait_end_late(struct kek_roots *roots); /* whose time is over */

/* twins.c */
/* Does another root that seals have that KEK as its primary?  Then this one does not come to announce it, also while that
 * one is out: after a restart nothing could be announced of both. */
bool twins_taken(const struct kek_roots *roots, size_t root, const struct kek_id *kek_id);
void twins_look(struct kek_roots *roots); /* and tells what is new */
/* The root's part of it. NULL: it has none. */
const struct twin *twins_of(const struct kek_roots *roots, size_t root);
/* Of two that are there. */
void twins_say(const struct kek_roots *roots, char *what, size_t what_size, char *todo,
               size_t todo_size);

/* join.c */
/* Works out who is in the generation and what is wanted. True: something that the face tells is different. */
bool join_drive(struct kek_roots *roots);

#endif
