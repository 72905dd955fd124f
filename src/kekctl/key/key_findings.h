/*
 * What is wrong with a key that kekd did not make, in words: what it is, what that means, and how much it
 * weighs.
 *
 * Pure.  The worker's own judgement, as it comes with the key, decides whether kekd would use it; what is
 * found here says why, all of it at once.
 */
#ifndef KEKCTL_KEY_FINDINGS_H
#define KEKCTL_KEY_FINDINGS_H

#include "kek/wire.h"

enum finding_weight {
    FINDING_MUST = 0, /* nothing lets kekd use such a key */
    FINDING_RISK,     /* whoever names it under `versions` accepts this */
    FINDING_NOTE,
};

const char *finding_weight_name(enum finding_weight weight); /* "must", "risk", "note" */

struct finding {
    enum finding_weight weight;
    char what[192];
    const char *means; /* static */
};

#define FINDINGS_MAX 32

struct findings {
    size_t count;
    struct finding items[FINDINGS_MAX];
};

enum finding_verdict {
    FINDING_AS_IT_IS = 0, /* kekd uses it, or would */
    FINDING_BY_ENTRY,     /* by an entry under `versions` */
    FINDING_NEVER,
};

const char *
finding_verdict_name(enum finding_verdict verdict); /* "as-it-is", "by-entry", "never" */

enum finding_verdict findings_of(const char *keyring, const struct kek_provider_object *object,
                                 struct findings *findings);

/* Does the token say yes to this attribute? */
bool finding_is_set(const struct kek_provider_object *object, const char *name);

#endif
