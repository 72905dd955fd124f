/*
 * Does what lies in etcd open?  Each kekd envelope by its data key and context, and then the object by what
 * the envelope held; nothing of an object's content is kept.
 *
 * Told apart are what is damaged and what could not be looked at now: inventory_datakeys.h.  Memory does not
 * grow with the objects.  One thread; blocks while a data key is opened.
 */
#ifndef KEKCTL_INVENTORY_OPEN_H
#define KEKCTL_INVENTORY_OPEN_H

#include "inventory_datakeys.h"
#include "inventory_tally.h"

#define OPENER_NAMED_MAX 200 /* objects that do not open and are named; all are counted */

/* Of what did not open, what each KEK came to; all together, once that is known at the end. */
struct opener_verdict {
    uint8_t mode;
    size_t count;
    struct opener_leg {
        struct datakey_kek *kek;
        enum opening opening;
        uint32_t asked;
        bool unasked;
    } legs[KEK_ENVELOPE_ENTRIES_MAX];
};

struct opener_named {
    struct tally_named place;
    enum opening opening;
    struct opener_verdict verdict; /* OPENING_UNDECIDED: it decides */
};

/* Objects of the same verdict, which is not known before the end. */
struct opener_doubt {
    struct opener_verdict verdict;
    uint64_t objects;
};

#define OPENER_DOUBTS_MAX 64

struct opener_result {
    uint64_t counts[OPENING_OUTCOMES]; /* objects under kekd */
    uint64_t data_keys;                /* that were tried */
    /* Of several roots of trust: objects whose data key, or share, each opens and does not open. */
    struct opener_root {
        uint64_t opens, fails;
    } roots[KEK_CONFIG_ROOTS_MAX];
    size_t named_count;
    struct opener_named named[OPENER_NAMED_MAX];
};

struct opener;

/* contexts: all that are tried, in this order, of which the first `own` are those that the kekd of this etcd opens;
 * borrowed, as keks and keys are (keys NULL: nobody can be asked).  NULL: no memory. */
struct opener *opener_new(struct root_keys *keys, const struct inventory_keks *keks,
                          const char *const *contexts, size_t count, size_t own);
void opener_free(struct opener *opener);
KEK_DEFINE_AUTO(opener);

/* Looks at one object.  What is in trouble already (inventory_tally.h: damaged as it lies there) or under no
 * kekd is left out.  The tally's resource learns what is lost. KEK_NO_MEMORY and KEK_INTERNAL alone. */
enum kek_rc opener_take(struct opener *opener, struct tally *tally, struct kek_bytes key,
                        struct kek_bytes value, struct kek_why *why) KEK_MUST_CHECK;

/* Once all was looked at. Borrowed of the opener. */
const struct opener_result *opener_finish(struct opener *opener);

#endif
