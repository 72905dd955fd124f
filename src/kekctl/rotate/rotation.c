#include "rotation.h"

#include <inttypes.h>
#include <stdio.h>

#include "rotation_check.h"

/* Is there a node that cannot be asked about this, so that only time tells?  `page`: what is asked for stands on
 * the status page alone. */
static bool is_blind(const struct rotation_facts *facts, bool page)
{
    bool blind = facts->alone && !facts->single_node;
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        blind = blind || !node->reachable || (page && node->status.partial);
    }
    return blind;
}

/* Since the step began, at least: by the clock that says less, since a wall clock is set, and the other begins anew
 * with the node. */
static int64_t passed_since(const struct rotation_facts *facts)
{
    const struct rotation_progress *began = &facts->progress;
    int64_t wall = facts->now_ms - began->since_ms;
    int64_t up =
        facts->up_ms < began->since_up_ms ? facts->up_ms : facts->up_ms - began->since_up_ms;
    return wall < up ? wall : up;
}

/* False: the nodes that cannot be asked have had less than `ms` since the step began. */
static bool has_waited(const struct rotation_facts *facts, enum rotation_step step, uint64_t ms,
                       struct rotation_plan *plan)
{
    bool same = kek_id_equal(&facts->progress.key.id, &plan->target.id);
    if (same && facts->progress.step > step) {
        return true;
    }
    bool begun = same && facts->progress.step == step;
    int64_t passed = begun ? passed_since(facts) : 0;
    plan->wait_ms = passed < 0 ? ms : (uint64_t)passed >= ms ? 0 : ms - (uint64_t)passed;
    return plan->wait_ms == 0 ||
           rotation_say(plan, ROTATION_WAIT,
                        "the nodes that were not asked are given %" PRIu64 " s for it", ms / 1000);
}

/* False: a node that counts does not answer. */
static bool all_answer(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    const struct node *node = rotation_away(facts);
    if (node == NULL) {
        return true;
    }
    plan->node = rotation_node_name(node);
    return rotation_say(plan, ROTATION_WAIT, "%s%s%s (--without %s goes on without it)", plan->node,
                        node->why.text[0] != '\0' ? " does not answer: " : " does not answer",
                        node->why.text, node->name);
}

/* ---- seen ---- */

static bool on_providers(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    for (size_t p = 0; p < facts->provider_count; p++) {
        if (rotation_find(&facts->providers[p], &plan->target.id) == NULL) {
            plan->where = facts->providers[p].name;
            return rotation_say(plan, ROTATION_WAIT,
                                "%s does not show version %" PRIu32
                                " yet: bring its key there by the vendor's replication",
                                plan->where, plan->target.number);
        }
    }
    return true;
}

/* Does the node see the key with each of its providers? */
static bool node_sees(const struct node *node, struct rotation_plan *plan)
{
    const struct node_version *v = node_version(&node->status, &plan->target.id);
    plan->node = rotation_node_name(node);
    if (v == NULL) {
        return rotation_say(plan, ROTATION_WAIT, "%s does not show version %" PRIu32 " yet",
                            plan->node, plan->target.number);
    }
    for (size_t i = 0; i < node->status.provider_count; i++) {
        plan->where = node->status.providers[i].name;
        if (!node->status.providers[i].answers) {
            return rotation_say(plan, ROTATION_WAIT, "provider %s does not answer on %s",
                                plan->where, plan->node);
        }
        if (v->held[i] < KEK_KEYRING_KEY_DEACTIVATED) {
            return rotation_say(plan, ROTATION_WAIT,
                                "%s does not show version %" PRIu32 " on %s yet: it is %s there",
                                plan->node, plan->target.number, plan->where,
                                kek_keyring_key_name(v->held[i]));
        }
    }
    plan->node = plan->where = NULL;
    return true;
}

static bool is_seen(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    if (!all_answer(facts, plan)) {
        return false;
    }
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        if (node->reachable && !node->status.partial && !node_sees(node, plan)) {
            return false;
        }
    }
    return !is_blind(facts, true) ||
           has_waited(facts, ROTATION_SEEN, ROTATION_LOOKS * facts->refresh_ms, plan);
}

/* ---- announced ---- */

static bool has_announced(const struct node *node, struct rotation_plan *plan)
{
    const struct node_status *status = &node->status;
    if (node_announces(status, &plan->target.id)) {
        return true;
    }
    const struct node_version *v = node_version(status, &plan->target.id);
    plan->node = rotation_node_name(node);
    for (size_t i = 0; v != NULL && i < status->provider_count; i++) {
        if (!v->proven[i]) {
            plan->where = status->providers[i].name;
            return rotation_say(plan, ROTATION_WAIT,
                                "%s has not proven version %" PRIu32 " on %s yet", plan->node,
                                plan->target.number, plan->where);
        }
    }
    if (strcmp(status->health, "good") != 0 && status->what[0] != '\0') {
        return rotation_say(plan, ROTATION_WAIT, "%s does not announce version %" PRIu32 ": %s",
                            plan->node, plan->target.number, status->what);
    }
    plan->wait_ms = status->settle_ms;
    return rotation_say(plan, ROTATION_WAIT,
                        "%s does not announce version %" PRIu32 " yet; it does so %" PRIu64
                        " s after it has proven it",
                        plan->node, plan->target.number, status->settle_ms / 1000);
}

static bool is_announced(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    if (!all_answer(facts, plan)) {
        return false;
    }
    for (size_t i = 0; i < facts->node_count; i++) {
        if (facts->nodes[i].reachable && !has_announced(&facts->nodes[i], plan)) {
            return false;
        }
    }
    return !is_blind(facts, false) ||
           has_waited(facts, ROTATION_ANNOUNCED,
                      facts->settle_ms + ROTATION_LOOKS * facts->refresh_ms, plan);
}

/* ---- retire ---- */

static bool node_lets_go(const struct node *node, struct rotation_plan *plan)
{
    for (size_t k = 0; k < plan->old_count; k++) {
        if (node_seals(&node->status, &plan->old[k].id)) {
            plan->node = rotation_node_name(node);
            plan->wait_ms = ROTATION_SEALING_MS;
            return rotation_say(plan, ROTATION_WAIT,
                                "%s may still seal under version %" PRIu32
                                ", for at most %u s after a change",
                                plan->node, plan->old[k].number, ROTATION_SEALING_MS / 1000);
        }
    }
    return true;
}

static bool may_retire(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        if (facts->nodes[i].reachable && !node_lets_go(&facts->nodes[i], plan)) {
            return false;
        }
    }
    return !is_blind(facts, true) || has_waited(facts, ROTATION_RETIRE, ROTATION_SEALING_MS, plan);
}

/* ---- the steps ---- */

static bool is_active(const struct rotation_facts *facts, const struct kek_id *id, bool everywhere)
{
    for (size_t p = 0; p < facts->provider_count; p++) {
        const struct kek_version *v = rotation_find(&facts->providers[p], id);
        if ((v != NULL && v->can_wrap) != everywhere) {
            return !everywhere;
        }
    }
    return everywhere;
}

static void plan_create(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    plan->step = ROTATION_CREATE;
    if (all_answer(facts, plan)) {
        (void)rotation_say(plan, ROTATION_ACT, "%s makes version %" PRIu32,
                           facts->providers[plan->provider].name, plan->target.number);
    }
}

/* What is active somewhere may be sealed under already: then it is finished, whoever sees it. */
static bool plan_promote(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    plan->step = ROTATION_CREATE; /* the nodes' time begins once the key is everywhere */
    if (!on_providers(facts, plan)) {
        return false;
    }
    plan->step = ROTATION_SEEN;
    if (!is_active(facts, &plan->target.id, false) && !is_seen(facts, plan)) {
        return false;
    }
    if (facts->until < ROTATION_PROMOTE) {
        return rotation_say(plan, ROTATION_REACHED, "every node sees version %" PRIu32,
                            plan->target.number);
    }
    plan->step = ROTATION_PROMOTE;
    return is_active(facts, &plan->target.id, true) ||
           rotation_say(plan, ROTATION_ACT, "version %" PRIu32 " becomes active",
                        plan->target.number);
}

static void plan_retire(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    plan->step = ROTATION_RETIRE;
    plan->old_count = rotation_others(facts, &plan->target.id, plan->old);
    if (plan->old_count == 0) {
        plan->step = ROTATION_DONE;
        (void)rotation_say(plan, ROTATION_ENDED, "version %" PRIu32 " is the only active one",
                           plan->target.number);
    } else if (may_retire(facts, plan)) {
        (void)rotation_say(plan, ROTATION_ACT, "%sversion %" PRIu32 "%s",
                           plan->old[0].number == plan->target.number ? "the surplus key of " : "",
                           plan->old[0].number,
                           plan->old_count > 1 ? " and others retire" : " retires");
    }
}

static void plan_steps(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    plan->surplus = rotation_surplus(facts, &plan->target);
    if (facts->until <= ROTATION_CREATE) {
        plan->step = ROTATION_CREATE;
        (void)rotation_say(plan, ROTATION_REACHED, "version %" PRIu32 " is there",
                           plan->target.number);
        return;
    }
    if (!plan_promote(facts, plan)) {
        return;
    }
    if (facts->until == ROTATION_PROMOTE) {
        (void)rotation_say(plan, ROTATION_REACHED, "version %" PRIu32 " is active",
                           plan->target.number);
        return;
    }
    plan->step = ROTATION_ANNOUNCED;
    if (!is_announced(facts, plan)) {
        return;
    }
    if (facts->until == ROTATION_ANNOUNCED) {
        (void)rotation_say(plan, ROTATION_REACHED, "every node announces version %" PRIu32,
                           plan->target.number);
        return;
    }
    plan_retire(facts, plan);
}

void rotation_plan(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    *plan = (struct rotation_plan){.step = ROTATION_CHECK};
    enum rotation_target kind = rotation_target(facts, &plan->target);
    plan->is_new = kind == ROTATION_TARGET_NEW;
    if (!rotation_check(facts, kind, plan)) {
        return;
    }
    switch (kind) {
    case ROTATION_TARGET_NONE: /* rotation_check() has refused it */
        break;
    case ROTATION_TARGET_RECENT:
        plan->step = ROTATION_DONE;
        (void)rotation_say(plan, ROTATION_NOTHING,
                           "a rotation to version %" PRIu32
                           " ended less than an hour ago, and nothing was changed; --again begins "
                           "another",
                           plan->target.number);
        break;
    case ROTATION_TARGET_NEW:
    case ROTATION_TARGET_THERE:
        if (facts->progress.step == ROTATION_CHECK) {
            plan->step = ROTATION_CLAIM;
            (void)rotation_say(plan, ROTATION_ACT, "%s tells the others that it rotates",
                               facts->self);
        } else if (facts->progress.step == ROTATION_CLAIM && rotation_away(facts) != NULL) {
            plan->step = ROTATION_CLAIM; /* what is claimed is not won while one may claim it too */
            (void)all_answer(facts, plan);
        } else if (kind == ROTATION_TARGET_NEW) {
            plan_create(facts, plan);
        } else {
            plan_steps(facts, plan);
        }
        break;
    }
}

/* ---- how long it takes ---- */

static uint64_t seconds(uint64_t ms)
{
    return (ms + 999) / 1000;
}

/* Of the slowest node. */
static uint64_t settles_within(const struct rotation_facts *facts)
{
    uint64_t longest = facts->settle_ms;
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        if (node->reachable && node->status.settle_ms > longest) {
            longest = node->status.settle_ms;
        }
    }
    return longest;
}

/* For a look at the tokens, and then for `more_ms`. */
static void expect_look(const struct rotation_facts *facts, bool blind, uint64_t more_ms,
                        struct rotation_wait *wait)
{
    uint64_t longest = ROTATION_LOOKS * facts->refresh_ms + more_ms;
    wait->ms = blind ? longest : facts->refresh_ms + more_ms;
    if (blind) {
        snprintf(wait->text, sizeof wait->text,
                 "%" PRIu64 " s, which the nodes that were not asked are given", seconds(longest));
    } else {
        snprintf(wait->text, sizeof wait->text,
                 "some %" PRIu64 " s; up to %" PRIu64
                 " s where a library lists its keys but once in a process",
                 seconds(wait->ms), seconds(longest));
    }
}

void rotation_expect(const struct rotation_facts *facts, enum rotation_step step,
                     struct rotation_wait *wait)
{
    *wait = (struct rotation_wait){.ms = 0};
    switch (step) {
    case ROTATION_SEEN:
        expect_look(facts, is_blind(facts, true), 0, wait);
        break;
    case ROTATION_ANNOUNCED:
        expect_look(facts, is_blind(facts, false),
                    is_blind(facts, false) ? facts->settle_ms : settles_within(facts), wait);
        break;
    case ROTATION_RETIRE:
        wait->ms = ROTATION_SEALING_MS;
        snprintf(wait->text, sizeof wait->text, "%s%u s%s", is_blind(facts, true) ? "" : "at most ",
                 ROTATION_SEALING_MS / 1000,
                 is_blind(facts, true) ? ", which the nodes that were not asked are given"
                                       : ": so long a node may seal under the old version");
        break;
    default:
        break;
    }
}
