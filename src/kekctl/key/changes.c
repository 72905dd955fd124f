#include "changes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "backup.h"
#include "kek/text.h"
#include "key_views.h"
#include "on_record.h"
#include "version_entry.h"

const char *change_kind_name(enum change_kind kind)
{
    static const char *const names[] = {[CHANGE_PROMOTE] = "promote",
                                        [CHANGE_RETIRE] = "retire",
                                        [CHANGE_COMPROMISE] = "retire",
                                        [CHANGE_SUSPEND] = "suspend",
                                        [CHANGE_RESUME] = "resume"};
    return names[kind];
}

enum kek_state change_kind_state(enum change_kind kind)
{
    static const enum kek_state states[] = {[CHANGE_PROMOTE] = KEK_STATE_ACTIVE,
                                            [CHANGE_RETIRE] = KEK_STATE_DEACTIVATED,
                                            [CHANGE_COMPROMISE] = KEK_STATE_COMPROMISED,
                                            [CHANGE_SUSPEND] = KEK_STATE_SUSPENDED,
                                            [CHANGE_RESUME] = KEK_STATE_DEACTIVATED};
    return states[kind];
}

const char *change_outcome_name(enum change_outcome outcome)
{
    static const char *const names[] = {
        [CHANGE_TODO] = "todo",     [CHANGE_ALREADY] = "already", [CHANGE_DONE] = "done",
        [CHANGE_BEHIND] = "behind", [CHANGE_UNCLEAR] = "unclear", [CHANGE_BY_CONFIG] = "by-config"};
    return names[outcome];
}

bool changes_look(struct keys *keys, struct kek_why *why)
{
    if (keys_look(keys, true) == keys->config->provider_count) {
        return true;
    }
    size_t p = 0;
    while (keys->listings[p].rc == KEK_OK) {
        p++;
    }
    *why = keys->listings[p].why;
    return false;
}

static const struct kek_config_provider *config_of(const struct changes *changes, size_t provider)
{
    return &changes->keys->config->providers[provider];
}

/* ---- the plan ---- */

static bool is_so(enum change_kind kind, const struct kek_version *version)
{
    switch (kind) {
    case CHANGE_PROMOTE:
        return version->can_wrap && version->can_unwrap && !version->compromised;
    case CHANGE_RETIRE:
        return !version->can_wrap && version->can_unwrap && !version->compromised;
    case CHANGE_COMPROMISE:
        return !version->can_wrap && version->can_unwrap && version->compromised;
    case CHANGE_SUSPEND:
        return !version->can_wrap && !version->can_unwrap;
    case CHANGE_RESUME:
        break;
    }
    return version->can_unwrap;
}

/* The configuration's word on this key; NULL: it does not name it. A listing has labels as they can be
 * printed. */
static const struct kek_config_version *named_of(const struct changes *changes, size_t provider,
                                                 const struct kek_version *version)
{
    const struct kek_config_provider *config = config_of(changes, provider);
    for (size_t i = 0; i < config->version_count; i++) {
        const struct kek_config_version *named = &config->versions[i];
        char own[KEK_LABEL_MAX], label[KEK_LABEL_MAX];
        version_entry_label(changes->keys->config->keyring, named->number, own);
        kek_text_copy(label, sizeof label, named->label == NULL ? own : named->label);
        if (named->number == version->number && strcmp(label, version->label) == 0) {
            return named;
        }
    }
    return NULL;
}

/* Could the configuration make it so?  It forbids more than the token does, and allows nothing. */
static bool config_can(enum change_kind kind, const struct kek_version *version)
{
    switch (change_kind_state(kind)) {
    case KEK_STATE_ACTIVE:
        return version->can_wrap && version->can_unwrap;
    case KEK_STATE_SUSPENDED:
        return true;
    default:
        return version->can_unwrap;
    }
}

static bool same_state(enum kek_state a, enum kek_state b)
{
    a = a == KEK_STATE_PRE_ACTIVE ? KEK_STATE_DEACTIVATED : a;
    b = b == KEK_STATE_PRE_ACTIVE ? KEK_STATE_DEACTIVATED : b;
    return a == b;
}

/* Of a key whose state stands in the configuration: that is changed there, or the token forbids what stands
 * there already. */
static void plan_named(const struct changes *changes, const struct kek_config_version *named,
                       struct change_step *step)
{
    enum kek_state wanted = change_kind_state(changes->kind);
    if (!same_state(named->state, wanted)) {
        step->outcome = CHANGE_BY_CONFIG;
        return;
    }
    step->outcome = CHANGE_BEHIND;
    kek_fail(&step->why, KEK_UNIMPLEMENTED, "versions: says %s, and the token forbids more",
             kek_state_name(named->state));
    snprintf(step->todo, sizeof step->todo,
             "give the key its use back by the vendor's tools, then run this again");
}

/* Of a provider that does not answer nothing is known, and nothing is sent to it. */
static void plan_away(const struct listing *listing, struct change_step *step)
{
    step->outcome = CHANGE_UNCLEAR;
    step->why = listing->why;
    snprintf(step->todo, sizeof step->todo, "once it answers, run this again");
}

/* What is resumed is new or had its time; and one that any token has marked as compromised stays so. */
static enum kek_state state_after(const struct changes *changes, const struct announced *announced)
{
    enum kek_state state = change_kind_state(changes->kind);
    for (size_t p = 0; p < changes->keys->config->provider_count; p++) {
        const struct kek_version *version = view_find(changes->keys, p, &changes->kek_id);
        if (changes->kind == CHANGE_RESUME && version != NULL && state != KEK_STATE_COMPROMISED) {
            state = view_state_resumed(changes->keys, version, announced);
        }
    }
    return state;
}

void changes_plan(struct changes *changes, const struct announced *announced)
{
    const struct keys *keys = changes->keys;
    changes->becomes = state_after(changes, announced);
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        struct change_step *step = &changes->steps[p];
        const struct kek_version *version = view_find(keys, p, &changes->kek_id);
        *step = (struct change_step){.there = version != NULL, .outcome = CHANGE_ALREADY};
        if (keys->listings[p].rc != KEK_OK) {
            plan_away(&keys->listings[p], step);
            continue;
        }
        if (version == NULL) {
            continue;
        }
        step->before =
            view_state(keys, p, (size_t)(version - keys->listings[p].versions), announced);
        const struct kek_config_version *named = named_of(changes, p, version);
        if (is_so(changes->kind, version)) {
            continue;
        }
        step->outcome = CHANGE_TODO;
        if (named != NULL) {
            plan_named(changes, named, step);
        }
    }
}

bool changes_none(const struct changes *changes)
{
    bool none = true;
    for (size_t p = 0; p < changes->keys->config->provider_count; p++) {
        none = none && changes->steps[p].outcome == CHANGE_ALREADY;
    }
    return none;
}

/* ---- carrying it out ---- */

/* Where the token does not change the key: `versions` can, or only whoever has the vendor's tools. */
static void settle_unsupported(const struct changes *changes, const struct kek_version *version,
                               struct change_step *step)
{
    if (config_can(changes->kind, version)) {
        step->outcome = CHANGE_BY_CONFIG;
        return;
    }
    snprintf(step->todo, sizeof step->todo,
             "change the key by the vendor's tools, then run this again");
}

/* What a fresh worker lists decides; `sent`: how the request ended. */
static void settle(const struct changes *changes, size_t provider, const struct kek_why *sent,
                   struct change_step *step)
{
    const struct listing *listing = &changes->keys->listings[provider];
    const struct kek_version *version = view_find(changes->keys, provider, &changes->kek_id);
    step->why = *sent;
    if (listing->rc != KEK_OK) {
        step->outcome = CHANGE_UNCLEAR;
        step->why = sent->rc == KEK_OK ? listing->why : *sent;
        snprintf(step->todo, sizeof step->todo, "once it answers, run this again");
        return;
    }
    if (version != NULL && is_so(changes->kind, version)) {
        step->outcome = CHANGE_DONE;
        return;
    }
    step->outcome = CHANGE_BEHIND;
    if (version == NULL) {
        kek_fail(&step->why, KEK_NOT_FOUND, "the token does not show the key any more");
    } else if (sent->rc == KEK_OK) {
        kek_fail(&step->why, KEK_PRECONDITION, "the token took the change and shows the key as %s",
                 kek_state_name(kek_version_state(listing->versions, listing->count,
                                                  (size_t)(version - listing->versions))));
    } else if (sent->rc == KEK_UNIMPLEMENTED) {
        settle_unsupported(changes, version, step);
    }
    if (step->outcome == CHANGE_BEHIND && step->todo[0] == '\0') {
        snprintf(step->todo, sizeof step->todo, "when this is mended, run this again");
    }
}

/* What was said on the command line that this rests on; NULL: nothing. */
static const char *words_of(const struct changes *changes)
{
    return changes->kind == CHANGE_PROMOTE && changes->keys->ctl->has_backup ? "i-have-a-backup"
                                                                             : NULL;
}

/* status: borrowed by the act. */
static struct kek_audit_act act_of(const struct changes *changes, size_t provider,
                                   struct kek_pool_provider *status)
{
    kek_pool_provider_get(changes->keys->pool, provider, status);
    return (struct kek_audit_act){
        .event = change_kind_name(changes->kind),
        .provider = config_of(changes, provider)->name,
        .token = status->serial[0] == '\0' ? NULL : status->serial,
        .kek_id = &changes->kek_id,
        .version = changes->number,
        .state = kek_state_name(changes->becomes),
        .said = words_of(changes),
    };
}

static void put_on_record(struct changes *changes, size_t provider)
{
    const struct change_step *step = &changes->steps[provider];
    struct kek_pool_provider status;
    struct kek_audit_act act = act_of(changes, provider, &status);
    act.outcome = step->outcome == CHANGE_DONE      ? "ok"
                  : step->outcome == CHANGE_UNCLEAR ? "unclear"
                                                    : "failed";
    act.why = step->why.rc == KEK_OK ? NULL : &step->why;
    ctl_audit(changes->keys->ctl, changes->keys->audit, &act);
}

/* The steps before this one. */
static void give_up_before(struct changes *changes, size_t provider)
{
    for (size_t p = 0; p < provider; p++) {
        struct change_step *step = &changes->steps[p];
        if (step->outcome == CHANGE_TODO) {
            step->outcome = CHANGE_BEHIND;
            kek_fail(&step->why, KEK_CANCELLED,
                     "nothing was sent, since not all that goes before could be put on record");
            put_on_record(changes, p);
        }
    }
}

void changes_give_up(struct changes *changes)
{
    give_up_before(changes, changes->keys->config->provider_count);
}

bool changes_begin(struct changes *changes)
{
    struct keys *keys = changes->keys;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        struct kek_pool_provider status;
        if (changes->steps[p].outcome != CHANGE_TODO) {
            continue;
        }
        const struct kek_audit_act act = act_of(changes, p, &status);
        if (!login_log_begin(&keys->logins, keys->audit, &act)) {
            give_up_before(changes, p);
            return false;
        }
    }
    return true;
}

static void tell(const struct changes *changes, size_t provider)
{
    if (changes->progress != NULL) {
        changes->progress(changes->arg, changes, provider);
    }
}

/* Who promotes with a backup has spoken of one. */
static void remember_backup(const struct changes *changes)
{
    const struct ctl *ctl = changes->keys->ctl;
    struct kek_why why;
    if (changes->kind == CHANGE_PROMOTE && ctl->has_backup &&
        backup_take(ctl, changes->keys->config, changes->keys->audit, changes->number, &why) !=
            KEK_OK) {
        ctl_say(ctl, "that there is a backup was not put on record: %s", why.text);
        ctl_audit_lost(ctl);
    }
}

enum ctl_exit changes_run(struct changes *changes)
{
    struct keys *keys = changes->keys;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        struct change_step *step = &changes->steps[p];
        if (step->outcome != CHANGE_TODO) {
            continue;
        }
        struct kek_why sent = {.rc = KEK_OK};
        tell(changes, p);
        (void)keys_set_state(keys, p, &changes->kek_id, change_kind_state(changes->kind), &sent);
        keys_list_one(keys, p, true);
        settle(changes, p, &sent, step);
        put_on_record(changes, p);
        tell(changes, p);
    }
    enum ctl_exit code = changes_code(changes);
    if (code == CTL_GOOD) {
        remember_backup(changes);
    }
    return code;
}

enum ctl_exit changes_code(const struct changes *changes)
{
    size_t so = 0, behind = 0, open = 0;
    for (size_t p = 0; p < changes->keys->config->provider_count; p++) {
        const struct change_step *step = &changes->steps[p];
        switch (step->outcome) {
        case CHANGE_TODO:
        case CHANGE_ALREADY:
        case CHANGE_DONE:
            so += step->there;
            break;
        case CHANGE_BEHIND:
            behind++;
            break;
        case CHANGE_UNCLEAR:
        case CHANGE_BY_CONFIG:
            open++;
            break;
        }
    }
    if (behind + open == 0) {
        return CTL_GOOD;
    }
    return so + open > 0 ? CTL_CHECK : CTL_FAILED;
}

void changes_entry(const struct changes *changes, size_t provider,
                   char entry[static CHANGES_ENTRY_TEXT])
{
    const struct kek_version *version = view_find(changes->keys, provider, &changes->kek_id);
    const struct kek_config_version *named =
        version == NULL ? NULL : named_of(changes, provider, version);
    version_entry(changes->keys->config->keyring, changes->number,
                  named == NULL ? NULL : named->label, changes->becomes, entry);
}
