#include "rotation_check.h"

#include <inttypes.h>

#include "kek/text.h"

const char *rotation_node_name(const struct node *node)
{
    return node->reachable && node->status.node[0] != '\0' ? node->status.node : node->name;
}

const struct node *rotation_away(const struct rotation_facts *facts)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        if (!facts->nodes[i].reachable && !facts->left_out[i]) {
            return &facts->nodes[i];
        }
    }
    return NULL;
}

static bool is_own(const struct rotation_facts *facts, const struct node_rotation *rotation)
{
    return strcmp(rotation->node, facts->self) == 0 && rotation->pid == facts->progress.pid;
}

/* Another node's rotation: whoever is further goes on; of two that are equally far, the smaller name.  But a
 * key that is not made yet is not made beside another that may be under way. */
static bool check_other(const struct rotation_facts *facts, const struct node *node,
                        enum rotation_target kind, struct rotation_plan *plan)
{
    const struct node_rotation *other = &node->status.rotation;
    enum rotation_step theirs, mine = facts->progress.step;
    char since[ROTATION_TIME_TEXT];
    if (!rotation_step_parse(other->step, &theirs)) {
        theirs = ROTATION_CREATE; /* of a newer kekctl */
    }
    bool both_claim = mine == ROTATION_CLAIM && theirs == ROTATION_CLAIM;
    bool both_go_on = mine > ROTATION_CLAIM && theirs > ROTATION_CLAIM;
    bool is_first = strcmp(facts->self, other->node) < 0;
    if ((mine > ROTATION_CLAIM && theirs == ROTATION_CLAIM) ||
        (both_go_on && is_first && kind != ROTATION_TARGET_NEW)) {
        return true; /* that one withdraws */
    }
    if (both_claim && is_first) {
        if (facts->now_ms - facts->progress.since_ms >= ROTATION_CLAIM_MS) {
            return true;
        }
        plan->wait_ms = ROTATION_CLAIM_MS;
        plan->node = rotation_node_name(node);
        return rotation_say(plan, ROTATION_WAIT, "%s is about to rotate too, and withdraws",
                            other->node);
    }
    plan->withdraw = true;
    rotation_time_format(other->since_ms, since);
    return rotation_say(
        plan, ROTATION_REFUSED,
        "%s rotates already: step %s since %s, version %" PRIu32 ", pid %" PRId64
        "; let it end, or, if nobody runs it any more, finish it there by key rotate",
        other->node, other->step, since, other->version, other->pid);
}

static bool check_node(const struct rotation_facts *facts, const struct node *node,
                       enum rotation_target kind, struct rotation_plan *plan)
{
    const struct node_status *status = &node->status;
    if (strcmp(status->keyring, facts->keyring) != 0) {
        return rotation_say(plan, ROTATION_REFUSED,
                            "%s serves keyring %s, and this configuration %s: it is no node of "
                            "this cluster, or one of the two is misspelt",
                            rotation_node_name(node), status->keyring, facts->keyring);
    }
    if (strcmp(status->context_sha256, facts->context_sha256) != 0) {
        return rotation_say(plan, ROTATION_REFUSED,
                            "%s has another context than this configuration, so their key_ids "
                            "never agree: correct the one that is wrong",
                            rotation_node_name(node));
    }
    if (status->rotating && !is_own(facts, &status->rotation)) {
        return check_other(facts, node, kind, plan);
    }
    return true;
}

/* A node that announces what no token here has is of another HSM, or its key is lost. */
static bool check_announced(const struct rotation_facts *facts, const struct node *node,
                            struct rotation_plan *plan)
{
    char id[KEK_ID_TEXT];
    if (node->status.primary.without_root) {
        return rotation_say(
            plan, ROTATION_REFUSED,
            "%s announces no version of this root of trust: it is out there, or seals "
            "nothing by the configuration",
            rotation_node_name(node));
    }
    for (size_t p = 0; p < facts->provider_count; p++) {
        const struct kek_version *v =
            rotation_find(&facts->providers[p], &node->status.primary.kek_id);
        if (v != NULL && v->can_unwrap) {
            return true;
        }
    }
    kek_id_format(&node->status.primary.kek_id, id);
    return rotation_say(plan, ROTATION_REFUSED,
                        "%s announces version %" PRIu32 " (kek id %s), which no provider here "
                        "opens: that node uses another HSM, or the key is lost; a new one would "
                        "hide the loss",
                        rotation_node_name(node), node->status.primary.version, id);
}

/* What this node seals under is as much in use as what the others do. */
static bool check_self(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        if (!node->reachable || strcmp(node->status.node, facts->self) == 0) {
            return true; /* one that is away may be this one */
        }
    }
    return rotation_say(plan, ROTATION_REFUSED,
                        "this node, %s, is not among the nodes that are asked, and its kekd may "
                        "seal under what is retired: name it too, by status.nodes or --node self",
                        facts->self);
}

static bool check_nodes(const struct rotation_facts *facts, enum rotation_target kind,
                        struct rotation_plan *plan)
{
    const struct node *twins[2];
    if (node_twins(facts->nodes, facts->node_count, twins)) {
        return rotation_say(
            plan, ROTATION_REFUSED,
            "%s and %s lead to one node, %s, so that another may not be asked: name "
            "each node once; where they are two, each needs a status.name of its "
            "own",
            twins[0]->name, twins[1]->name, twins[0]->status.node);
    }
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        if (!node->reachable) {
            continue;
        }
        if (!check_node(facts, node, kind, plan) ||
            (node->status.announces && !check_announced(facts, node, plan))) {
            return false;
        }
        if (kind == ROTATION_TARGET_NEW && strcmp(node->status.health, "good") != 0) {
            return rotation_say(plan, ROTATION_REFUSED,
                                "%s is in trouble, and a rotation begins when all nodes are well: "
                                "%s",
                                rotation_node_name(node),
                                node->status.what[0] != '\0' ? node->status.what
                                                             : node->status.health);
        }
    }
    return true;
}

static size_t tokens(const struct rotation_facts *facts)
{
    size_t count = 0;
    for (size_t p = 0; p < facts->provider_count; p++) {
        count += !facts->providers[p].is_twin;
    }
    return count;
}

static bool is_active_somewhere(const struct rotation_facts *facts, const struct kek_id *id)
{
    for (size_t p = 0; p < facts->provider_count; p++) {
        const struct kek_version *v = rotation_find(&facts->providers[p], id);
        if (v != NULL && v->can_wrap) {
            return true;
        }
    }
    return false;
}

/* Said before the key is made, since whoever hears it only then has half a rotation. */
static bool check_backup(const struct rotation_facts *facts, enum rotation_target kind,
                         struct rotation_plan *plan)
{
    bool is_new = kind == ROTATION_TARGET_NEW ||
                  (kind == ROTATION_TARGET_THERE && !is_active_somewhere(facts, &plan->target.id));
    if (!is_new || tokens(facts) > 1 || facts->has_backup || facts->until < ROTATION_PROMOTE) {
        return true;
    }
    const struct kek_command rotate = kek_command(facts->root, "key rotate");
    return rotation_say(plan, ROTATION_REFUSED,
                        "version %" PRIu32 " would be on the token of %s alone, and be lost with "
                        "it: run %s --until seen, back up the token, then %s --i-have-a-backup",
                        plan->target.number, facts->providers[0].name, rotate.text, rotate.text);
}

static bool check_maker(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    if (facts->maker == SIZE_MAX && facts->provider_count > 1) {
        return rotation_say(plan, ROTATION_REFUSED,
                            "%zu providers hold this keyring, and each would make a key of its "
                            "own: name by --provider the one that makes version %" PRIu32
                            "; the vendor's replication brings it to the others",
                            facts->provider_count, plan->target.number);
    }
    plan->provider = facts->maker == SIZE_MAX ? 0 : facts->maker;
    return true;
}

static bool check_configured(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    for (size_t p = 0; p < facts->provider_count; p++) {
        if (facts->providers[p].configured) {
            return rotation_say(plan, ROTATION_REFUSED,
                                "the keys of %s and their states stand in the configuration "
                                "(versions), which only you change: take each step by hand, on "
                                "every node",
                                facts->providers[p].name);
        }
    }
    return true;
}

/* A version that waits to be promoted may have been taken out of use on one of several tokens. */
static bool check_opens(const struct rotation_facts *facts, struct rotation_plan *plan)
{
    for (size_t p = 0; p < facts->provider_count; p++) {
        const struct kek_version *v = rotation_find(&facts->providers[p], &plan->target.id);
        if (v != NULL && !v->can_unwrap) {
            return rotation_say(plan, ROTATION_REFUSED,
                                "version %" PRIu32 " may not unwrap on %s: it is suspended there; "
                                "run %s %" PRIu32,
                                v->number, facts->providers[p].name,
                                kek_command(facts->root, "key resume").text, v->number);
        }
    }
    return true;
}

bool rotation_check(const struct rotation_facts *facts, enum rotation_target kind,
                    struct rotation_plan *plan)
{
    if (!check_configured(facts, plan) || !check_self(facts, plan) ||
        !check_nodes(facts, kind, plan)) {
        return false;
    }
    if (kind == ROTATION_TARGET_NONE) {
        return rotation_say(plan, ROTATION_REFUSED,
                            "no version of keyring %s is active, so there is nothing to rotate "
                            "from: key list shows the states, %s makes the first version",
                            facts->keyring, kek_command(facts->root, "key generate").text);
    }
    if (kind == ROTATION_TARGET_THERE && !check_opens(facts, plan)) {
        return false;
    }
    return check_backup(facts, kind, plan) &&
           (kind != ROTATION_TARGET_NEW || check_maker(facts, plan));
}
