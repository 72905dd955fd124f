/* What a destruction does: the quarantine, each provider's key, and what is put on record of it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "destroy_run.h"
#include "kek/clock.h"
#include "kekctl/key/key_views.h"
#include "kekctl/key/on_record.h"
#include "kekctl/rotate/rotation.h"

void destroy_on_record(struct destroy_run *run, const char *event, const char *outcome,
                       const char *state, const struct kek_why *why)
{
    const struct kek_audit_act act = {.event = event,
                                      .outcome = outcome,
                                      .kek_id = &run->facts.kek_id,
                                      .version = run->facts.number,
                                      .state = state,
                                      .why = why};
    if (!ctl_audit(run->ctl, run->keys.audit, &act)) {
        run->unrecorded = true;
    }
}

/* False after saying that the step is not on record, so it is not taken. */
static bool take_step(struct destroy_run *run, enum destroy_step step, int64_t quarantined_ms)
{
    struct kek_why why;
    struct destroy_progress progress = {.step = step,
                                        .number = run->facts.number,
                                        .kek_id = run->facts.kek_id,
                                        .since_ms = kek_clock_wall_ms(),
                                        .quarantined_ms = quarantined_ms};
    destroy_who(progress.who);
    if (destroy_file_write(run->keys.config, &run->record, &progress, &why) != KEK_OK) {
        ctl_say(run->ctl,
                "the destruction stops here, since step %s could not be put on record: %s",
                destroy_step_name(step), why.text);
        return false;
    }
    run->facts.progress = run->record.now;
    return true;
}

/* ---- the quarantine ---- */

static void say_behind(const struct destroy_run *run)
{
    const struct changes *changes = &run->changes;
    for (size_t p = 0; p < run->facts.provider_count; p++) {
        const struct change_step *step = &changes->steps[p];
        char entry[CHANGES_ENTRY_TEXT];
        if (step->outcome == CHANGE_BY_CONFIG) {
            changes_entry(changes, p, entry);
            ctl_say(run->ctl,
                    "%s cannot change this key: in every node's kekd.yaml, under providers: %s: "
                    "versions:, let the entry read %s; restart kekd there, one node after the "
                    "other, and run this again",
                    run->facts.providers[p].name, run->facts.providers[p].name, entry);
        } else if (step->outcome == CHANGE_BEHIND || step->outcome == CHANGE_UNCLEAR) {
            ctl_say(run->ctl, "%s: version %" PRIu32 " is not suspended there: %s; %s",
                    run->facts.providers[p].name, run->facts.number, step->why.text, step->todo);
        }
    }
}

static void say_quarantined(const struct destroy_run *run)
{
    char until[ROTATION_TIME_TEXT];
    rotation_time_format(run->record.now.quarantined_ms + (int64_t)run->facts.quarantine_ms + 999,
                         until);
    ctl_say(run->ctl,
            "version %" PRIu32 " is suspended on every provider, and in quarantine until %s. Until "
            "then restart every API server once, one after the other, and make one more kekctl "
            "inventory; then run this again with --api-servers-restarted. key resume %" PRIu32
            " gives it up",
            run->facts.number, until, run->facts.number);
}

enum ctl_exit destroy_suspend(struct destroy_run *run)
{
    struct changes *changes = &run->changes;
    *changes = (struct changes){.keys = &run->keys,
                                .kek_id = run->facts.kek_id,
                                .number = run->facts.number,
                                .kind = CHANGE_SUSPEND};
    if (!take_step(run, DESTROY_SUSPENDING, 0)) {
        return CTL_FAILED;
    }
    changes_plan(changes, &run->announced);
    enum ctl_exit code = changes_run(changes);
    run->unrecorded = run->unrecorded || changes->unrecorded;
    if (code != CTL_GOOD) {
        say_behind(run);
        return code;
    }
    if (!take_step(run, DESTROY_QUARANTINED, kek_clock_wall_ms())) {
        return CTL_CHECK;
    }
    destroy_on_record(run, "quarantine", "ok", kek_state_name(KEK_STATE_SUSPENDED), NULL);
    say_quarantined(run);
    return CTL_GOOD;
}

/* ---- the destruction ---- */

static void put_on_record(struct destroy_run *run, size_t p)
{
    enum change_outcome outcome = run->ends[p].outcome;
    const struct kek_why *why = &run->ends[p].why;
    const struct kek_audit_act act = {
        .event = "destroy",
        .outcome = outcome == CHANGE_DONE      ? "ok"
                   : outcome == CHANGE_UNCLEAR ? "unclear"
                                               : "failed",
        .provider = run->facts.providers[p].name,
        .token = run->serials[p][0] == '\0' ? NULL : run->serials[p],
        .kek_id = &run->facts.kek_id,
        .version = run->facts.number,
        .state = "destroyed",
        .why = why->rc == KEK_OK ? NULL : why,
    };
    if (!ctl_audit(run->ctl, run->keys.audit, &act)) {
        run->unrecorded = true;
    }
}

/* What a fresh worker lists decides: a reply that was lost is no failure, and one that lies no success. */
static enum change_outcome settle(const struct destroy_run *run, size_t p,
                                  const struct kek_why *sent, struct kek_why *why)
{
    const struct listing *listing = &run->keys.listings[p];
    *why = *sent;
    if (listing->rc != KEK_OK) {
        *why = sent->rc == KEK_OK ? listing->why : *sent;
        return CHANGE_UNCLEAR;
    }
    if (view_find(&run->keys, p, &run->facts.kek_id) == NULL) {
        return CHANGE_DONE;
    }
    if (sent->rc == KEK_OK) {
        kek_fail(why, KEK_PRECONDITION, "the token took the destruction and shows the key still");
    }
    return CHANGE_BEHIND;
}

/* Nodes and the providers before it took their time: key resume may have been said on another node meanwhile. */
static bool is_suspended_still(struct destroy_run *run, size_t p, struct kek_why *why)
{
    keys_list_one(&run->keys, p, true);
    const struct listing *listing = &run->keys.listings[p];
    const struct kek_version *key = view_find(&run->keys, p, &run->facts.kek_id);
    if (listing->rc != KEK_OK) {
        *why = listing->why;
        return false;
    }
    if (key != NULL && (key->can_wrap || key->can_unwrap)) {
        kek_fail(why, KEK_PRECONDITION, "it is not suspended any more");
        return false;
    }
    return true;
}

static bool destroy_one(struct destroy_run *run, size_t p)
{
    struct kek_why sent = {.rc = KEK_OK};
    if (!is_suspended_still(run, p, &run->ends[p].why)) {
        run->ends[p].outcome = CHANGE_BEHIND;
        put_on_record(run, p);
        return false;
    }
    (void)keys_destroy(&run->keys, p, &run->facts.kek_id, &sent);
    keys_list_one(&run->keys, p, true);
    run->ends[p].outcome = settle(run, p, &sent, &run->ends[p].why);
    put_on_record(run, p);
    return run->ends[p].outcome == CHANGE_DONE;
}

static enum ctl_exit stop(const struct destroy_run *run, size_t failed, size_t gone)
{
    const char *name = run->facts.providers[failed].name;
    const char *why = run->ends[failed].why.text;
    if (run->ends[failed].outcome == CHANGE_UNCLEAR) {
        ctl_say(run->ctl, "%s: whether version %" PRIu32 " is destroyed there is not known: %s",
                name, run->facts.number, why);
    } else {
        ctl_say(run->ctl, "%s: version %" PRIu32 " is not destroyed there: %s", name,
                run->facts.number, why);
    }
    for (size_t p = 0; p < run->facts.provider_count; p++) {
        if (run->ends[p].outcome == CHANGE_DONE) {
            ctl_say(run->ctl, "%s: it is destroyed there", run->facts.providers[p].name);
        }
    }
    ctl_say(run->ctl, "what is left stays as it is; once this is mended, run this again");
    return gone > 0 || run->ends[failed].outcome == CHANGE_UNCLEAR ? CTL_CHECK : CTL_FAILED;
}

enum ctl_exit destroy_finish(struct destroy_run *run)
{
    if (!take_step(run, DESTROY_DESTROYED, run->record.now.quarantined_ms)) {
        return CTL_CHECK;
    }
    destroy_on_record(run, "destroyed", "ok", "destroyed", NULL);
    ctl_say(run->ctl,
            "version %" PRIu32 " is destroyed on every provider, as fresh processes show. What may "
            "still hold its key are backups of the tokens: destroy those too",
            run->facts.number);
    return CTL_GOOD;
}

enum ctl_exit destroy_keys(struct destroy_run *run)
{
    size_t gone = 0;
    if (!take_step(run, DESTROY_DESTROYING, run->record.now.quarantined_ms)) {
        return CTL_FAILED;
    }
    for (size_t p = 0; p < run->facts.provider_count; p++) {
        run->ends[p].outcome = destroy_key(&run->facts, p) == NULL ? CHANGE_ALREADY : CHANGE_TODO;
    }
    for (size_t p = 0; p < run->facts.provider_count; p++) {
        if (run->ends[p].outcome == CHANGE_TODO && !destroy_one(run, p)) {
            return stop(run, p, gone);
        }
        gone++;
    }
    return destroy_finish(run);
}
