/* kekctl key destroy: a version's end, once it is proven that nothing needs it, and after a quarantine. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "destroy_back.h"
#include "destroy_run.h"
#include "kek/auto.h"
#include "kek/text.h"
#include "kekctl/key/key_views.h"
#include "kekctl/key/on_record.h"
#include "kekctl/output.h"
#include "kekctl/rotate/rotation.h"

/* ---- the table ---- */

static const char *stage_name(const struct destroy_run *run)
{
    static const char *const names[] = {[DESTROY_SUSPEND] = "quarantine",
                                        [DESTROY_DESTROY] = "destroy",
                                        [DESTROY_FINISH] = "finish",
                                        [DESTROY_NOTHING] = "nothing"};
    return names[run->plan.stage];
}

static json_t *rows_json(const struct destroy_plan *plan)
{
    json_t *rows = json_array();
    for (size_t i = 0; i < plan->count; i++) {
        const struct destroy_row *row = &plan->rows[i];
        json_t *item = json_pack("{s:o, s:b, s:o, s:o}", "condition", output_text(row->condition),
                                 "met", row->met, "evidence", output_text(row->evidence), "todo",
                                 output_text(row->todo));
        if (item != NULL) {
            (void)json_object_set_new(item, "state", json_string(row->met ? "met" : "NOT MET"));
        }
        if (json_array_append_new(rows, item) != 0) {
            json_decref(rows);
            return NULL;
        }
    }
    return rows;
}

static json_t *steps_json(const struct destroy_run *run, bool acted)
{
    json_t *steps = json_array();
    for (size_t p = 0; acted && p < run->facts.provider_count; p++) {
        bool suspends = run->plan.stage == DESTROY_SUSPEND;
        enum change_outcome outcome =
            suspends ? run->changes.steps[p].outcome : run->ends[p].outcome;
        const struct kek_why *why = suspends ? &run->changes.steps[p].why : &run->ends[p].why;
        json_t *item = json_pack("{s:s, s:s, s:o}", "provider", run->facts.providers[p].name,
                                 "outcome", change_outcome_name(outcome), "why",
                                 output_text(why->rc == KEK_OK ? "" : why->text));
        if (json_array_append_new(steps, item) != 0) {
            json_decref(steps);
            return NULL;
        }
    }
    return steps;
}

static json_t *describe(const struct destroy_run *run, bool acted)
{
    const struct destroy_progress *now = &run->record.now;
    char id[KEK_ID_TEXT], quarantined[ROTATION_TIME_TEXT] = "";
    bool own = now->step != DESTROY_NONE && kek_id_equal(&now->kek_id, &run->facts.kek_id);
    kek_id_format(&run->facts.kek_id, id);
    if (own && now->quarantined.wall_ms > 0) {
        rotation_time_format(now->quarantined.wall_ms, quarantined);
    }
    return json_pack("{s:I, s:s, s:s, s:b, s:s, s:s, s:o, s:o, s:o}", "version",
                     (json_int_t)run->facts.number, "kek_id", id, "next", stage_name(run),
                     "dry_run", run->ctl->dry_run, "step",
                     destroy_step_name(own ? now->step : DESTROY_NONE), "quarantined", quarantined,
                     "conditions", rows_json(&run->plan), "steps", steps_json(run, acted), "tokens",
                     own ? destroy_file_tokens_json(&run->record) : json_array());
}

/* No table of a version in use, which was said already: what else its end takes is no news yet. */
static enum ctl_exit print(const struct destroy_run *run, bool acted)
{
    static const struct column columns[] = {{"condition", "CONDITION"},
                                            {"state", "STATE"},
                                            {"evidence", "EVIDENCE"},
                                            {"todo", "TO-DO"}};
    if (run->plan.in_use != NULL && !run->ctl->json) {
        return CTL_GOOD;
    }
    json_t *object = describe(run, acted);
    if (object == NULL) {
        ctl_say(run->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code =
        output_list(run->ctl, object, "conditions", columns, sizeof columns / sizeof columns[0]);
    json_decref(object);
    return code;
}

/* ---- the command ---- */

/* The guard says no: nothing was sent to any token. */
static enum ctl_exit refuse(struct destroy_run *run)
{
    struct kek_why why = {.rc = KEK_OK};
    size_t open = 0;
    for (size_t i = 0; i < run->plan.count; i++) {
        const struct destroy_row *row = &run->plan.rows[i];
        if (!row->met && open++ == 0) {
            kek_fail(&why, KEK_PRECONDITION, "%s: %s", row->condition, row->evidence);
        }
    }
    if (run->plan.in_use != NULL) {
        ctl_say(run->ctl,
                "nothing was changed: version %" PRIu32 " is in use, %s: %s. What else its end "
                "takes, this command says then",
                run->facts.number, run->plan.in_use->evidence, run->plan.in_use->todo);
    } else {
        ctl_say(run->ctl, "nothing was changed: %zu of %s %s not met", open,
                kek_counted(run->plan.count, "condition").text, open == 1 ? "is" : "are");
    }
    if (!run->ctl->dry_run) {
        destroy_on_record(run, "destroy", "refused", "destroyed", &why);
    }
    return CTL_CHECK;
}

static enum ctl_exit act(struct destroy_run *run, bool *acted)
{
    *acted = false;
    struct destroy_back back;
    destroy_back_say(&run->keys, &run->record, &run->facts.kek_id, &back);
    if (run->plan.stage == DESTROY_NOTHING) {
        ctl_say(run->ctl, "version %" PRIu32 " was destroyed before, by %s", run->facts.number,
                run->record.now.who);
        return CTL_GOOD;
    }
    ctl_warn_of_short(run->ctl, run->keys.config);
    if (!destroy_is_met(&run->plan)) {
        return refuse(run);
    }
    if (run->ctl->dry_run) {
        return CTL_GOOD;
    }
    *acted = true;
    switch (run->plan.stage) {
    case DESTROY_SUSPEND:
        return destroy_suspend(run);
    case DESTROY_DESTROY:
        return destroy_keys(run);
    case DESTROY_FINISH:
    case DESTROY_NOTHING:
        break;
    }
    *acted = false; /* on no token */
    return destroy_finish(run);
}

static bool take_lock(const struct destroy_run *run, struct kek_lock *lock)
{
    struct kek_why why;
    if (run->ctl->dry_run || changes_lock(run->keys.config, lock, &why)) {
        return true;
    }
    ctl_say(run->ctl, "nothing was changed: %s", why.text);
    return false;
}

static enum ctl_exit destroy(struct destroy_run *run)
{
    KEK_AUTO_LOCK struct kek_lock lock = KEK_LOCK_NONE;
    enum ctl_exit code = CTL_FAILED;
    bool acted;
    if (!take_lock(run, &lock) || !destroy_look(run, &code)) {
        return code;
    }
    code = act(run, &acted);
    enum ctl_exit printed = print(run, acted);
    return printed != CTL_GOOD ? printed : code;
}

/* The configuration as it is, and what the command is about. */
static bool open_all(struct destroy_run *run, const struct ctl *ctl, enum ctl_exit *code)
{
    struct ctl whole = *ctl;
    whole.root = NULL;
    whole.roots = CTL_ROOTS_JOINED;
    bool opened = keys_open(&run->keys, ctl);
    run->whole = opened ? ctl_config(&whole) : NULL;
    *code = opened && run->whole == NULL ? CTL_USAGE : run->keys.code;
    return run->whole != NULL;
}

enum ctl_exit ctl_key_destroy(struct ctl *ctl)
{
    enum ctl_exit checked = view_check_argument(ctl);
    struct destroy_run *run = checked == CTL_GOOD ? calloc(1, sizeof *run) : NULL;
    if (checked != CTL_GOOD) {
        return checked;
    }
    if (run == NULL) {
        ctl_say(ctl, "no memory");
        return CTL_FAILED;
    }
    run->ctl = ctl;
    enum ctl_exit code;
    bool opened = open_all(run, ctl, &code);
    if (opened &&
        nodes_open(&run->nodes, ctl, run->keys.config, ctl->nodes.list, ctl->nodes.count, &code) &&
        (ctl->dry_run || ctl_audit_open(ctl, run->keys.config, &run->keys.audit)) &&
        keys_start(&run->keys, true)) {
        code = destroy(run);
    } else if (code == CTL_GOOD) {
        code = CTL_FAILED;
    }
    nodes_close(&run->nodes);
    keys_close(&run->keys);
    kek_config_free(run->whole);
    free(run->evidence);
    free(run);
    return code;
}
