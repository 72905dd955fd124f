/*
 * The rewriting itself: names from a source, up to --parallel of them under way at the API server, each to its end.
 *
 * An object is written at most once by a run: what is not known for sure after a lost answer is asked for again by
 * its resourceVersion, and an object that was written meanwhile answers 409, which says so.  One that the server or
 * a webhook refuses stops none of the others.
 */
#ifndef KEKCTL_REENCRYPT_RUN_H
#define KEKCTL_REENCRYPT_RUN_H

#include <signal.h>

#include "reencrypt.h"
#include "reencrypt_pace.h"

#define REENCRYPT_PARALLEL_MAX 256

enum reencrypt_end {
    REENCRYPT_DONE = 0,    /* every name that the source has was handled */
    REENCRYPT_INTERRUPTED, /* what was under way is finished */
    REENCRYPT_STOPPED,     /* why says why */
};

/* What runs beside it. */
struct reencrypt_beside {
    /* Each turn. GOOD: go on; CHECK: begin nothing for now; FAILED: stop, `why` says why. */
    enum ctl_exit (*look)(void *arg, struct kek_why *why);
    /* Each turn, to tell and to put on record. left: names not begun, as far as is known. */
    void (*tell)(void *arg, uint64_t left);
    /* Now and then while no object comes to its end: what is in the way. */
    void (*stalled)(void *arg, const struct kek_why *why);
    void *arg;
};

struct reencrypt_settings {
    size_t parallel;
    uint64_t rate;        /* a second; 0: no limit */
    uint64_t patience_ms; /* without any object's end, all of them failing */
    bool first_only;      /* no more than one is written, for the source's check */
    const volatile sig_atomic_t *interrupted;
};

enum reencrypt_end reencrypt_run(struct reencrypt *reencrypt, struct reencrypt_source *source,
                                 const struct reencrypt_beside *beside,
                                 const struct reencrypt_settings *settings, struct kek_why *why);

#endif
