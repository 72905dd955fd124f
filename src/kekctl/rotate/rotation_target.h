/*
 * Which version a rotation is about.  In this order: the one on record; the newest active one, where a newer
 * rotation has overtaken that; one that is newer than every active one and waits to be promoted; the newest
 * active one, where older ones still are active beside it, since that rotation is half way; else a new one.
 * Pure.
 */
#ifndef KEKCTL_ROTATION_TARGET_H
#define KEKCTL_ROTATION_TARGET_H

#include "rotation.h"

enum rotation_target {
    ROTATION_TARGET_NONE = 0, /* no version is active: there is nothing to go on from */
    ROTATION_TARGET_NEW,      /* it is to be made; key->number is its number */
    ROTATION_TARGET_THERE,
    ROTATION_TARGET_RECENT, /* the primary is the outcome of a rotation that has just ended */
};
enum rotation_target rotation_target(const struct rotation_facts *facts, struct rotation_key *key);

/* The other key of its number; number 0: there is none. */
struct rotation_key rotation_surplus(const struct rotation_facts *facts,
                                     const struct rotation_key *key);

/* Every other eligible key that may wrap somewhere; returns how many were written. */
size_t rotation_others(const struct rotation_facts *facts, const struct kek_id *target,
                       struct rotation_key others[static ROTATION_OLD_MAX]);

/* The provider's eligible key of this id; NULL: it shows none. */
const struct kek_version *rotation_find(const struct rotation_provider *provider,
                                        const struct kek_id *id);

/* The first reachable node that announces it; NULL: none does. */
const struct node *rotation_announcer(const struct rotation_facts *facts, const struct kek_id *id);

/* Sets verdict and text; returns false, so that a refusal is one statement. */
bool rotation_say(struct rotation_plan *plan, enum rotation_verdict verdict, const char *format,
                  ...) KEK_PRINTF(3, 4);

#endif
