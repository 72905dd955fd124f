/*
 * What a token does with changes of a key's state: a key is made for it, changed, used by three processes, copied and
 * destroyed (docs/provider-protocol.md, States and TryKey).  This is the one part of a probe that makes an object
 * that would outlive it; it is destroyed in the end, also if a step fails, and proven to be gone.  What a probe that was
 * cut off left is destroyed before (rig/leftovers.h).
 */
#ifndef KEKCTL_PROBE_STATES_H
#define KEKCTL_PROBE_STATES_H

#include <jansson.h>

#include "kek/config.h"
#include "kek/wire.h"
#include "kekctl/kekctl.h"

#define PROBE_CHANGES 6
#define PROBE_SAYS (KEK_WHY_TEXT + 64) /* bytes of a reason, with its NUL */

enum probe_word { PROBE_UNTRIED = 0, PROBE_YES, PROBE_NO, PROBE_FRESH_ONLY };

struct probe_change {
    enum kek_state from, to;
    enum probe_word taken; /* by the token; NO and UNTRIED: says and code have why */
    char says[PROBE_SAYS];
    unsigned long code;
    enum probe_word enforced; /* it refuses what the new state forbids, and does what it allows */
    char enforced_says[192];
    enum probe_word running, fresh; /* processes that see it */
};

struct probe_states {
    struct probe_change changes[PROBE_CHANGES];
    bool copied; /* a copy was tried: */
    struct kek_provider_tried copy;
    char copy_says[PROBE_SAYS]; /* where none was: why */
    char left[512];             /* a key that may be left on the token; empty: none */
    bool leftovers;             /* of another probe may be there, which was said */
    bool untried;               /* since it could not be put on record */
    bool interrupted;
    bool failed; /* on this machine, which was said; nothing was asked */
};

/* Says on standard error what an operator has to do something about. */
void probe_states(const struct ctl *ctl, const struct kek_config *config, size_t provider,
                  struct probe_states *states);

/* Appends this provider's rows to the two lists; for_people: in few words, all of them to the first. */
bool probe_states_rows(const struct probe_states *states, const char *provider, bool for_people,
                       json_t *changes, json_t *copies);

#endif
