/* kekctl key promote, retire, suspend and resume: one version is to be something else on every provider. */
#include <inttypes.h>
#include <stdio.h>
#include <unistd.h>

#include "changes.h"
#include "kekctl/destroy/destroy_file.h"
#include "kek/auto.h"
#include "kek/text.h"
#include "key_views.h"
#include "on_record.h"
#include "kekctl/output.h"

static const char *name_of(const struct changes *changes, size_t provider)
{
    return changes->keys->config->providers[provider].name;
}

/* ---- the table ---- */

static json_t *describe(const struct changes *changes, size_t provider)
{
    const struct change_step *step = &changes->steps[provider];
    char entry[CHANGES_ENTRY_TEXT] = "";
    if (step->outcome == CHANGE_BY_CONFIG) {
        changes_entry(changes, provider, entry);
    }
    return json_pack("{s:s, s:I, s:b, s:s, s:s, s:s, s:o, s:s, s:o}", "provider",
                     name_of(changes, provider), "version", (json_int_t)changes->number, "there",
                     step->there, "before", step->there ? kek_state_name(step->before) : "",
                     "wanted", step->there ? kek_state_name(changes->becomes) : "", "outcome",
                     change_outcome_name(step->outcome), "why",
                     output_text(step->why.rc == KEK_OK ? "" : step->why.text), "todo", step->todo,
                     "entry", output_text(entry));
}

static enum ctl_exit print(const struct changes *changes)
{
    static const struct column columns[] = {{"provider", "PROVIDER"},
                                            {"version", "VERSION"},
                                            {"before", "IS"},
                                            {"wanted", "TO-BE"},
                                            {"outcome", "OUTCOME"}};
    const struct ctl *ctl = changes->keys->ctl;
    char id[KEK_ID_TEXT];
    kek_id_format(&changes->kek_id, id);
    json_t *steps = json_array();
    bool good = steps != NULL;
    for (size_t p = 0; good && p < changes->keys->config->provider_count; p++) {
        good = json_array_append_new(steps, describe(changes, p)) == 0;
    }
    json_t *object = NULL;
    if (good) {
        object =
            json_pack("{s:s, s:I, s:s, s:s, s:b, s:O}", "change", change_kind_name(changes->kind),
                      "version", (json_int_t)changes->number, "kek_id", id, "state",
                      kek_state_name(changes->becomes), "dry_run", ctl->dry_run, "steps", steps);
    }
    json_decref(steps);
    if (object == NULL) {
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code =
        output_list(ctl, object, "steps", columns, sizeof columns / sizeof columns[0]);
    json_decref(object);
    return code;
}

/* ---- what is left to do, in words ---- */

static void say_by_config(const struct changes *changes, size_t provider)
{
    const struct change_step *step = &changes->steps[provider];
    const char *name = name_of(changes, provider);
    char entry[CHANGES_ENTRY_TEXT];
    changes_entry(changes, provider, entry);
    if (step->why.rc != KEK_OK) {
        ctl_say(changes->keys->ctl, "%s", step->why.text);
    }
    ctl_say(changes->keys->ctl,
            "%s cannot change this key. In every node's kekd.yaml, under providers: %s: versions:, "
            "let the entry read",
            name, name);
    fprintf(stderr, "      - %s\n   and restart kekd there, one node after the other\n", entry);
}

static void say(const struct changes *changes)
{
    const struct ctl *ctl = changes->keys->ctl;
    for (size_t p = 0; p < changes->keys->config->provider_count; p++) {
        const struct change_step *step = &changes->steps[p];
        const char *name = name_of(changes, p);
        const char *why = kek_text_after_name(step->why.text, name);
        switch (step->outcome) {
        case CHANGE_TODO:
            break;
        case CHANGE_ALREADY:
            if (!step->there) {
                ctl_say(ctl, "%s has no version %" PRIu32, name, changes->number);
            }
            break;
        case CHANGE_DONE:
            if (step->why.rc != KEK_OK) {
                ctl_say(ctl, "%s: it is done, though that was not confirmed: %s", name, why);
            }
            break;
        case CHANGE_BEHIND:
            ctl_say(ctl, "%s is behind, as a look at its keys shows: %s; %s", name, why,
                    step->todo);
            break;
        case CHANGE_UNCLEAR:
            ctl_say(ctl, "%s: whether it is done is not known: %s; %s", name, why, step->todo);
            break;
        case CHANGE_BY_CONFIG:
            say_by_config(changes, p);
            break;
        }
    }
}

/* Who waits at a terminal is told for whom: each step is a login. */
static void tell_progress(void *arg, const struct changes *changes, size_t provider)
{
    (void)arg;
    if (changes->steps[provider].outcome == CHANGE_TODO && isatty(STDERR_FILENO) == 1) {
        ctl_say(changes->keys->ctl, "%s: changing version %" PRIu32, name_of(changes, provider),
                changes->number);
    }
}

/* ---- the commands ---- */

static bool refuse(const struct keys *keys, const struct kek_why *why)
{
    ctl_say(keys->ctl, "nothing was changed: %s", why->text);
    return false;
}

/* What is taken out of use must be announced nowhere; for the others what is known is enough. */
static bool learn_announced(const struct changes *changes, struct announced *announced)
{
    const struct keys *keys = changes->keys;
    bool takes_away = changes->kind != CHANGE_PROMOTE && changes->kind != CHANGE_RESUME;
    bool all = true;
    struct kek_why why;
    if (!announced_by(keys, announced, &all, &why)) {
        return refuse(keys, &why);
    }
    if (!all && takes_away) {
        (void)kek_fail_within(&why, why.rc, "what each node announces is not known");
        return refuse(keys, &why);
    }
    if (!all) {
        ctl_say(keys->ctl, "what each node announces is not known: %s", why.text);
    }
    return true;
}

static bool has_backup(const struct changes *changes, const struct announced *announced)
{
    const struct ctl *ctl = changes->keys->ctl;
    if (changes->kind != CHANGE_PROMOTE || ctl->has_backup || changes_none(changes) ||
        !changes_on_one_token(changes, announced)) {
        return true;
    }
    ctl_say(ctl,
            "nothing was changed: version %" PRIu32 " is on one token alone, and with that token "
            "all would be lost that is sealed under it. Make a backup of the key or bring it to a "
            "second token; with a backup, say --i-have-a-backup",
            changes->number);
    return false;
}

/* A version that another hand ended in its quarantine is on no token, and its destruction is on record still. False after
 * saying what is so. */
static bool give_up_gone(struct keys *keys, const struct kek_why *unknown)
{
    struct destroy_record record;
    struct kek_why why;
    bool gave_up = false, there = keys->ctl->dry_run;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        there = there || keys->listings[p].rc != KEK_OK;
    }
    if (there || destroy_file_read(keys->config, &record, &why) != KEK_OK ||
        !destroy_file_names(&record, keys->config, keys->ctl->argument)) {
        return refuse(keys, unknown);
    }
    if (destroy_file_give_up(keys->config, &record.now.kek_id, &gave_up, &why) != KEK_OK) {
        return refuse(keys, &why);
    }
    if (!gave_up) { /* it was destroyed */
        return refuse(keys, unknown);
    }
    ctl_say(keys->ctl, "the quarantine of version %" PRIu32 " is given up; no provider has its key",
            record.now.number);
    keys->code = CTL_GOOD;
    return false;
}

/* What is wanted, and whether it may be; false after saying why it may not. */
static bool prepare(struct changes *changes)
{
    struct keys *keys = changes->keys;
    struct announced announced;
    struct kek_version version;
    struct kek_why why;
    size_t answered = keys_list(keys, true);
    /* What is resumed is needed now, and opens on those that answer. */
    if (answered == 0 ||
        (changes->kind != CHANGE_RESUME && answered < keys->config->provider_count)) {
        ctl_say(keys->ctl, "nothing was changed: %s provider must answer first",
                changes->kind == CHANGE_RESUME ? "a" : "every");
        return false;
    }
    if (!view_pick(keys, keys->ctl->argument, &version, &why)) {
        return changes->kind == CHANGE_RESUME ? give_up_gone(keys, &why) : refuse(keys, &why);
    }
    changes->kek_id = version.id;
    changes->number = version.number;
    if (!learn_announced(changes, &announced)) {
        return false;
    }
    changes_plan(changes, &announced);
    if (!changes_allowed(changes, &announced, &why)) {
        return refuse(keys, &why);
    }
    return has_backup(changes, &announced);
}

/* First of all that is done, so that nobody who is ended half way destroys what was to be used again. */
static bool leave_quarantine(const struct changes *changes)
{
    const struct keys *keys = changes->keys;
    struct kek_why why;
    bool gave_up;
    if (changes->kind != CHANGE_RESUME || keys->ctl->dry_run) {
        return true;
    }
    if (destroy_file_give_up(keys->config, &changes->kek_id, &gave_up, &why) != KEK_OK) {
        return refuse(keys, &why);
    }
    if (gave_up) {
        ctl_say(keys->ctl, "the quarantine of version %" PRIu32 " is given up", changes->number);
    }
    return true;
}

static bool take_lock(const struct keys *keys, enum change_kind kind, struct kek_lock *lock)
{
    struct kek_why why;
    bool free = kind != CHANGE_PROMOTE || changes_no_rotation(keys->config, &why);
    return keys->ctl->dry_run || (free && changes_lock(keys->config, lock, &why)) ||
           refuse(keys, &why);
}

static enum ctl_exit change_version(struct ctl *ctl, enum change_kind kind)
{
    KEK_AUTO_LOCK struct kek_lock lock = KEK_LOCK_NONE;
    KEYS_AUTO struct keys keys;
    struct changes changes = {.keys = &keys, .kind = kind, .progress = tell_progress};
    if (!keys_open(&keys, ctl) ||
        (!ctl->dry_run && !ctl_audit_open(ctl, keys.config, &keys.audit)) ||
        !keys_start(&keys, true) || !take_lock(&keys, kind, &lock) || !prepare(&changes) ||
        (!ctl->dry_run && !changes_begin(&changes))) {
        return keys.code;
    }
    if (!leave_quarantine(&changes)) {
        changes_give_up(&changes);
        return keys.code;
    }
    enum ctl_exit code = ctl->dry_run ? changes_code(&changes) : changes_run(&changes);
    enum ctl_exit printed = print(&changes);
    say(&changes);
    return printed != CTL_GOOD ? printed : code;
}

static enum ctl_exit change(struct ctl *ctl, enum change_kind kind)
{
    enum ctl_exit code = view_check_argument(ctl);
    return code == CTL_GOOD ? change_version(ctl, kind) : code;
}

enum ctl_exit ctl_key_promote(struct ctl *ctl)
{
    return change(ctl, CHANGE_PROMOTE);
}

enum ctl_exit ctl_key_retire(struct ctl *ctl)
{
    return change(ctl, ctl->compromised ? CHANGE_COMPROMISE : CHANGE_RETIRE);
}

enum ctl_exit ctl_key_suspend(struct ctl *ctl)
{
    return change(ctl, CHANGE_SUSPEND);
}

enum ctl_exit ctl_key_resume(struct ctl *ctl)
{
    return change(ctl, CHANGE_RESUME);
}
