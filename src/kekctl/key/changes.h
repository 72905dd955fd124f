/*
 * What one version is to be on every provider: worked out as a table of steps, sent, and verified.
 *
 * The caller has an officer's pool that runs, and a fresh listing of every provider (changes_look); where a version is
 * resumed, of those that answer.
 * changes_plan() makes the table from those listings, changes_allowed() holds it against the rules, and
 * changes_run() sends each step that is to do, once, provider after provider.  It believes only what a fresh
 * worker process of that provider then lists: so a reply that was lost is told from a change that was not
 * made, and since what was done before is left alone, a run that was ended anywhere is finished by the next.
 * A step that fails stops none of the others: the rules hold whichever of them are done.
 * Nothing here prints; `progress` tells.  Each step that was sent is put on record as an audit line,
 * as it was before (changes_begin).
 */
#ifndef KEKCTL_CHANGES_H
#define KEKCTL_CHANGES_H

#include "announced.h"
#include "kek/lock_file.h"
#include "keys.h"

enum change_kind {
    CHANGE_PROMOTE = 0, /* it wraps and unwraps */
    CHANGE_RETIRE,      /* it unwraps only */
    CHANGE_COMPROMISE,  /* the same, marked, and for ever */
    CHANGE_SUSPEND,     /* it does neither */
    CHANGE_RESUME, /* it unwraps again, where it was suspended; elsewhere it is left as it is */
};

const char *change_kind_name(enum change_kind kind);     /* "promote", "retire", ... */
enum kek_state change_kind_state(enum change_kind kind); /* what a worker is told */

enum change_outcome {
    CHANGE_TODO = 0, /* of a plan: not sent yet */
    CHANGE_ALREADY,  /* it was so before, or the provider has no such key */
    CHANGE_DONE,     /* a fresh worker shows it so; why.rc: KEK_OK, or why this was not confirmed */
    CHANGE_BEHIND,   /* it is not so, and why says why */
    CHANGE_UNCLEAR,  /* no fresh list tells whether it is so, and why says why */
    CHANGE_BY_CONFIG, /* only `versions` of the configuration can do it: changes_entry(); why may say more */
};

const char *change_outcome_name(enum change_outcome outcome); /* "todo", "already", ... */

struct change_step {
    bool there;            /* the provider shows the key */
    enum kek_state before; /* of a key that is there: by the listing that the plan was made from */
    enum change_outcome outcome;
    struct kek_why why;
    char todo[200]; /* what to do about it; may be empty */
};

struct changes {
    struct keys *keys; /* borrowed */
    struct kek_id kek_id;
    uint32_t number;
    enum change_kind kind;
    enum kek_state becomes; /* by changes_plan(): what `key list` calls it once this is done */
    struct change_step steps[KEK_CONFIG_PROVIDERS_MAX]; /* by the provider's index */
    /* Of that provider: its step begins (outcome TODO), or has ended. May be NULL. */
    void (*progress)(void *arg, const struct changes *changes, size_t provider);
    void *arg;
};

/* Holds the node's lock on changes of the keyring until it is released, from before changes_look().  False:
 * why names who has it. state_dir is there. */
bool changes_lock(const struct kek_config *config, struct kek_lock *lock, struct kek_why *why);
/* For who makes a version or promotes one, and is no rotation itself. False, and why: one runs on this node. */
bool changes_no_rotation(const struct kek_config *config, struct kek_why *why);

/* Has every provider list its keys afresh. False: not all answered; `why` names the first that did not, and
 * each listing has its own. Nothing may be changed then. */
bool changes_look(struct keys *keys, struct kek_why *why);

/* Fills `becomes` and `steps` from the listings. A provider that did not answer is unclear, and is left alone. */
void changes_plan(struct changes *changes, const struct announced *announced);

/* Is there nothing to do? */
bool changes_none(const struct changes *changes);

/* Does this change lose nothing, whichever of its steps are done?  False: why says what is in the way, where,
 * and what to do. */
bool changes_allowed(const struct changes *changes, const struct announced *announced,
                     struct kek_why *why);

/* Is the key on one token alone, so that the token's end would be the end of what it seals?  False for a
 * keyring's first version, which has sealed nothing yet. */
bool changes_on_one_token(const struct changes *changes, const struct announced *announced);

/* Puts on record what each step that is to do will send, before any of them is: so that the log knows of each.  False after
 * saying that nothing is sent, since that could not be. */
bool changes_begin(struct changes *changes) KEK_MUST_CHECK;

/* Of what has begun nothing is sent: that is put on record, too. */
void changes_give_up(struct changes *changes);

/* Carries the plan out, once it has begun.  CTL_GOOD: it is so everywhere.  CTL_CHECK: some provider is behind.  CTL_FAILED:
 * no provider was changed, and none was so before. */
enum ctl_exit changes_run(struct changes *changes);

/* How a plan, or what was made of it, stands: as changes_run() returns it; what is to do is not behind. */
enum ctl_exit changes_code(const struct changes *changes);

/* The entry of `versions` that makes the provider's key what is wanted: "{n: 4, state: active}", with the
 * label where it is not the default. */
#define CHANGES_ENTRY_TEXT (4 * KEK_LABEL_MAX + 64)
void changes_entry(const struct changes *changes, size_t provider,
                   char entry[static CHANGES_ENTRY_TEXT]);

#endif
