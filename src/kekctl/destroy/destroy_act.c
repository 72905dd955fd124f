/* What a destruction does: the quarantine, each provider's key, and what is put on record of it. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "destroy_run.h"
#include "kek/clock.h"
#include "kek/text.h"
#include "kekctl/key/key_views.h"
#include "kekctl/key/on_record.h"
#include "kekctl/rotate/rotation.h"

/* What was said on the command line of this version, for the audit log; NULL: nothing. */
static const char *words_of(const struct destroy_run *run)
{
    bool backups = run->facts.backups_checked, restarted = run->facts.api_servers_restarted;
    return backups && restarted ? "backups-checked, api-servers-restarted"
           : backups            ? "backups-checked"
           : restarted          ? "api-servers-restarted"
                                : NULL;
}

void destroy_on_record(struct destroy_run *run, const char *event, const char *outcome,
                       const char *state, const struct kek_why *why)
{
    const struct kek_audit_act act = {.event = event,
                                      .outcome = outcome,
                                      .kek_id = &run->facts.kek_id,
                                      .version = run->facts.number,
                                      .state = state,
                                      .said = words_of(run),
                                      .why = why};
    ctl_audit(run->ctl, run->keys.audit, &act);
}

/* False after saying that it is not on record, so nothing more is done. */
static bool put(struct destroy_run *run, const struct destroy_progress *progress)
{
    struct kek_why why;
    if (destroy_file_write(run->keys.config, &run->record, progress, &why) != KEK_OK) {
        ctl_say(run->ctl,
                "the destruction stops here, since step %s could not be put on record: %s",
                destroy_step_name(progress->step), why.text);
        return false;
    }
    run->facts.progress = run->record.now;
    return true;
}

static bool take_step(struct destroy_run *run, enum destroy_step step,
                      const struct moment *quarantined)
{
    struct destroy_progress progress = {.step = step,
                                        .number = run->facts.number,
                                        .kek_id = run->facts.kek_id,
                                        .since_ms = kek_clock_wall_ms(),
                                        .quarantined = *quarantined};
    const struct destroy_progress *before = &run->record.now;
    bool same = before->step != DESTROY_NONE && kek_id_equal(&before->kek_id, &progress.kek_id);
    progress.backups_checked_ms = run->facts.backups_checked ? progress.since_ms
                                  : same                     ? before->backups_checked_ms
                                                             : 0;
    progress.api_servers_restarted_ms = run->facts.api_servers_restarted ? progress.since_ms
                                        : same ? before->api_servers_restarted_ms
                                               : 0;
    kek_text_copy(progress.root, sizeof progress.root, run->facts.root);
    destroy_who(progress.who);
    return put(run, &progress);
}

/* ---- the quarantine ---- */

static void say_behind(const struct destroy_run *run)
{
    const struct changes *changes = &run->changes;
    for (size_t p = 0; p < run->facts.provider_count; p++) {
        const struct change_step *step = &changes->steps[p];
        const char *name = run->facts.providers[p].name;
        char entry[CHANGES_ENTRY_TEXT];
        if (step->outcome == CHANGE_BY_CONFIG) {
            changes_entry(changes, p, entry);
            ctl_say(run->ctl,
                    "%s cannot change this key: in every node's kekd.yaml, under providers: %s: "
                    "versions:, let the entry read %s; restart kekd there, one node after the "
                    "other, and run this again",
                    name, name, entry);
        } else if (step->outcome == CHANGE_BEHIND || step->outcome == CHANGE_UNCLEAR) {
            ctl_say(run->ctl, "%s: version %" PRIu32 " is not suspended there: %s; %s", name,
                    run->facts.number, kek_text_after_name(step->why.text, name), step->todo);
        }
    }
}

static void say_quarantined(const struct destroy_run *run)
{
    char until[ROTATION_TIME_TEXT];
    rotation_time_format(
        run->record.now.quarantined.wall_ms + (int64_t)run->facts.quarantine_ms + 999, until);
    ctl_say(run->ctl,
            "version %" PRIu32 " is suspended on every provider, and in quarantine until %s. Until "
            "then restart every API server once, one after the other, and make one more kekctl "
            "inventory; then run this again with --api-servers-restarted. %s %" PRIu32
            " gives it up",
            run->facts.number, until, kek_command(run->facts.root, "key resume").text,
            run->facts.number);
}

enum ctl_exit destroy_suspend(struct destroy_run *run)
{
    struct changes *changes = &run->changes;
    struct moment moment = {.wall_ms = 0};
    *changes = (struct changes){.keys = &run->keys,
                                .kek_id = run->facts.kek_id,
                                .number = run->facts.number,
                                .kind = CHANGE_SUSPEND};
    changes_plan(changes, &run->announced);
    if (!changes_begin(changes)) {
        return CTL_FAILED;
    }
    if (!take_step(run, DESTROY_SUSPENDING, &moment)) {
        changes_give_up(changes);
        return CTL_FAILED;
    }
    enum ctl_exit code = changes_run(changes);
    if (code != CTL_GOOD) {
        say_behind(run);
        return code;
    }
    moment_now(&moment);
    if (!take_step(run, DESTROY_QUARANTINED, &moment)) {
        return CTL_CHECK;
    }
    destroy_on_record(run, "quarantine", "ok", kek_state_name(KEK_STATE_SUSPENDED), NULL);
    say_quarantined(run);
    return CTL_GOOD;
}

/* ---- the destruction ---- */

static struct kek_audit_act act_of(const struct destroy_run *run, size_t p)
{
    return (struct kek_audit_act){
        .event = "destroy",
        .provider = run->facts.providers[p].name,
        .token = run->serials[p][0] == '\0' ? NULL : run->serials[p],
        .kek_id = &run->facts.kek_id,
        .version = run->facts.number,
        .state = "destroyed",
        .said = words_of(run),
    };
}

static void put_on_record(struct destroy_run *run, size_t p)
{
    enum change_outcome outcome = run->ends[p].outcome;
    const struct kek_why *why = &run->ends[p].why;
    struct kek_audit_act act = act_of(run, p);
    act.outcome = outcome == CHANGE_DONE ? "ok" : outcome == CHANGE_UNCLEAR ? "unclear" : "failed";
    act.why = why->rc == KEK_OK ? NULL : why;
    ctl_audit(run->ctl, run->keys.audit, &act);
}

/* False after saying why nothing is sent there. */
static bool begin(struct destroy_run *run, size_t p)
{
    const struct kek_audit_act act = act_of(run, p);
    if (login_log_begin(&run->keys.logins, run->keys.audit, &act)) {
        return true;
    }
    kek_fail(&run->ends[p].why, KEK_PRECONDITION, "that it is to be could not be put on record");
    return false;
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
    if (!begin(run, p)) {
        run->ends[p].outcome = CHANGE_BEHIND;
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

/* ---- which tokens are done, on record ---- */

static struct destroy_token *token_of(struct destroy_run *run, size_t p)
{
    const struct destroy_provider *provider = &run->facts.providers[p];
    const struct destroy_token *token =
        destroy_file_token(&run->record, provider->name, provider->serial);
    return token == NULL ? NULL : &run->record.tokens[token - run->record.tokens];
}

/* All that have the key now, beside those that are on record of a run before. */
static void note_tokens(struct destroy_run *run)
{
    struct destroy_record *record = &run->record;
    record->token_count = record->now.step == DESTROY_DESTROYING ? record->token_count : 0;
    for (size_t p = 0; p < run->facts.provider_count; p++) {
        const struct destroy_provider *provider = &run->facts.providers[p];
        struct destroy_token *token = token_of(run, p);
        if (destroy_key(&run->facts, p) == NULL) {
            continue;
        }
        if (token == NULL && record->token_count < DESTROY_TOKENS_MAX) {
            token = &record->tokens[record->token_count++];
        }
        if (token != NULL) {
            *token = (struct destroy_token){.gone_ms = 0};
            kek_text_copy(token->provider, sizeof token->provider, provider->name);
            kek_text_copy(token->serial, sizeof token->serial, provider->serial);
        }
    }
}

/* A fresh process no longer found it there. False after saying that this is not on record. */
static bool note_gone(struct destroy_run *run, size_t p)
{
    struct destroy_token *token = token_of(run, p);
    if (token == NULL || token->gone_ms > 0) {
        return true;
    }
    token->gone_ms = kek_clock_wall_ms();
    return put(run, &run->record.now);
}

static void say_done_before(const struct destroy_run *run)
{
    for (size_t i = 0; i < run->record.token_count; i++) {
        const struct destroy_token *token = &run->record.tokens[i];
        char when[ROTATION_TIME_TEXT];
        if (token->gone_ms > 0) {
            rotation_time_format(token->gone_ms, when);
            ctl_say(run->ctl, "%s (token %s): it was destroyed there before, at %s",
                    token->provider, token->serial[0] == '\0' ? "without a serial" : token->serial,
                    when);
        }
    }
}

enum ctl_exit destroy_finish(struct destroy_run *run)
{
    const struct moment quarantined = run->record.now.quarantined;
    if (run->plan.stage == DESTROY_FINISH) {
        say_done_before(run);
    }
    for (size_t p = 0; p < run->facts.provider_count; p++) {
        if (!note_gone(run, p)) {
            return CTL_CHECK;
        }
    }
    if (!take_step(run, DESTROY_DESTROYED, &quarantined)) {
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
    const struct moment quarantined = run->record.now.quarantined;
    say_done_before(run);
    note_tokens(run);
    if (!take_step(run, DESTROY_DESTROYING, &quarantined)) {
        return CTL_FAILED;
    }
    for (size_t p = 0; p < run->facts.provider_count; p++) {
        run->ends[p].outcome = destroy_key(&run->facts, p) == NULL ? CHANGE_ALREADY : CHANGE_TODO;
    }
    for (size_t p = 0; p < run->facts.provider_count; p++) {
        if (run->ends[p].outcome == CHANGE_TODO && !destroy_one(run, p)) {
            return stop(run, p, gone);
        }
        if (!note_gone(run, p)) {
            return CTL_CHECK;
        }
        gone++;
    }
    return destroy_finish(run);
}
