#include "destroy.h"

#include <inttypes.h>
#include <stdio.h>

static void look(const struct destroy_facts *facts, bool *answered, bool *there, bool *suspended)
{
    *answered = *suspended = true;
    *there = false;
    for (size_t p = 0; p < facts->provider_count; p++) {
        const struct kek_version *key = destroy_key(facts, p);
        *answered = *answered && facts->providers[p].answered;
        *there = *there || key != NULL;
        *suspended = *suspended && (key == NULL || (!key->can_wrap && !key->can_unwrap));
    }
}

/* A quarantine that somebody broke begins anew. */
static enum destroy_stage stage_of(const struct destroy_facts *facts)
{
    const struct destroy_progress *progress = &facts->progress;
    bool answered, there, suspended;
    look(facts, &answered, &there, &suspended);
    if (progress->step == DESTROY_NONE || !kek_id_equal(&progress->kek_id, &facts->kek_id)) {
        return DESTROY_SUSPEND;
    }
    if (answered && !there && progress->step >= DESTROY_DESTROYING) {
        return progress->step == DESTROY_DESTROYED ? DESTROY_NOTHING : DESTROY_FINISH;
    }
    bool waits = progress->step == DESTROY_QUARANTINED || progress->step == DESTROY_DESTROYING;
    return waits && suspended && progress->quarantined.wall_ms > 0 ? DESTROY_DESTROY
                                                                   : DESTROY_SUSPEND;
}

/* Each word is of one version of one root, and is said again at each run. */
static void plan_words(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    char todo[400], version[64];
    bool named = facts->root[0] != '\0';
    snprintf(version, sizeof version, "version %" PRIu32 "%s%s", facts->number, named ? " of " : "",
             named ? facts->root : "");
    snprintf(todo, sizeof todo,
             "whoever restores an older snapshot of etcd afterwards cannot read what %s sealed in "
             "it%s: kekctl inventory --snapshot FILE tells what that would be; then say "
             "--backups-checked",
             version, named ? ", unless another root opens it" : "");
    if (facts->backups_checked) {
        destroy_met(plan, "backups", "--backups-checked was said of %s", version);
    } else {
        destroy_unmet(plan, "backups", todo, "nothing was said of backups of etcd that %s sealed",
                      version);
    }
    if (plan->stage != DESTROY_DESTROY) {
        return;
    }
    if (facts->api_servers_restarted) {
        destroy_met(plan, "api-servers", "--api-servers-restarted was said of %s", version);
    } else {
        destroy_unmet(plan, "api-servers",
                      "restart every API server once, one after the other, now that the quarantine "
                      "has begun: its own cache hides that a key is missing; then say "
                      "--api-servers-restarted",
                      "nothing was said of a restart");
    }
}

void destroy_plan(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    *plan = (struct destroy_plan){.stage = stage_of(facts)};
    if (plan->stage == DESTROY_NOTHING) {
        return;
    }
    if (plan->stage == DESTROY_FINISH) {
        (void)destroy_plan_tokens(facts, plan);
        return;
    }
    destroy_plan_use(facts, plan);
    destroy_plan_time(facts, plan);
    destroy_plan_proof(facts, plan);
    plan_words(facts, plan);
}

bool destroy_is_met(const struct destroy_plan *plan)
{
    for (size_t i = 0; i < plan->count; i++) {
        if (!plan->rows[i].met) {
            return false;
        }
    }
    return true;
}
