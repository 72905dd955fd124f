/*
 * For how long what must be so has been so, as every node has seen it itself.  The node that has seen least
 * counts.  Of what a node says, the lesser of two counts: since when by its wall clock, which may have been set, and
 * the time in which its kekd ran and saw it.
 */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "destroy.h"
#include "kek/text.h"

enum span { SPAN_INACTIVE, SPAN_SUPERSEDED, SPAN_SUSPENDED };

static const struct node_lasting *lasting_of(const struct node_version *version, enum span span)
{
    return span == SPAN_INACTIVE     ? &version->inactive
           : span == SPAN_SUPERSEDED ? &version->superseded
                                     : &version->suspended;
}

/* -1: it is not so there, or not known. */
static int64_t seen_for(const struct destroy_facts *facts, const struct node *node, enum span span)
{
    const struct node_version *version =
        node->reachable ? node_version(&node->status, &facts->kek_id) : NULL;
    if (version == NULL || !version->ages || lasting_of(version, span)->since_ms == 0) {
        return -1;
    }
    const struct node_lasting *lasting = lasting_of(version, span);
    int64_t wall = node->status.now_ms - lasting->since_ms;
    int64_t counted = lasting->ms > INT64_MAX ? INT64_MAX : (int64_t)lasting->ms;
    int64_t least = wall < counted ? wall : counted;
    return least < 0 ? 0 : least;
}

/* What all nodes have seen. */
struct seen {
    const struct node *node; /* that lacks most; NULL: there is no node */
    int64_t ms;              /* of it; -1: not so there */
    int64_t lacks_ms;        /* below 0: it is longer than it must be */
};

/* Whatever a page says, sums of it are no less. */
static uint64_t capped(uint64_t ms)
{
    return ms < DESTROY_SPAN_MAX_MS ? ms : DESTROY_SPAN_MAX_MS;
}

static int64_t needs(const struct destroy_facts *facts, const struct node *node, enum span span)
{
    switch (span) {
    case SPAN_INACTIVE:
        return (int64_t)facts->destroy_after_ms;
    case SPAN_SUSPENDED:
        return (int64_t)facts->quarantine_ms;
    case SPAN_SUPERSEDED:
        break;
    }
    return (int64_t)(capped(node->status.max_age_ms) + capped(node->status.refresh_ms)) +
           DESTROY_SLACK_MS;
}

static struct seen look(const struct destroy_facts *facts, enum span span)
{
    struct seen seen = {.node = NULL};
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        int64_t ms = seen_for(facts, node, span);
        int64_t lacks = ms < 0 ? INT64_MAX : needs(facts, node, span) - ms;
        if (seen.node == NULL || lacks > seen.lacks_ms) {
            seen = (struct seen){node, ms, lacks};
        }
    }
    return seen;
}

/* Why a node has not seen it at all. */
static const char *why_not(const struct destroy_facts *facts, const struct node *node,
                           const char *otherwise)
{
    const struct node_version *version =
        node->reachable ? node_version(&node->status, &facts->kek_id) : NULL;
    return !node->reachable  ? "does not answer"
           : version == NULL ? "does not know the version"
           : !version->ages  ? "has a kekd that does not say it: update it"
                             : otherwise;
}

/* A row of what each node must have seen for so long. */
static bool plan_span(const struct destroy_facts *facts, struct destroy_plan *plan, enum span span,
                      const char *condition, const char *is, const char *otherwise)
{
    char has[DESTROY_SPAN_TEXT], need[DESTROY_SPAN_TEXT], left[DESTROY_SPAN_TEXT], todo[200];
    struct seen seen = look(facts, span);
    if (seen.node == NULL || seen.ms < 0) {
        const char *name = seen.node == NULL ? "no node" : destroy_node_name(seen.node);
        destroy_unmet(plan, condition, "see kekctl node status, and key list on that node", "%s %s",
                      name, seen.node == NULL ? "is known" : why_not(facts, seen.node, otherwise));
        return false;
    }
    destroy_span(seen.ms, has);
    destroy_span(needs(facts, seen.node, span), need);
    destroy_span(seen.lacks_ms + 999, left);
    if (seen.lacks_ms > 0) {
        snprintf(todo, sizeof todo, "wait for %s more, in which its kekd runs", left);
        destroy_unmet(plan, condition, todo, "%s has seen it %s for %s, of %s that it takes",
                      destroy_node_name(seen.node), is, has, need);
        return false;
    }
    destroy_met(plan, condition, "every node has seen it %s for %s or more, of %s that it takes",
                is, has, need);
    return true;
}

/* ---- a newer one is announced ---- */

static const struct node *still_seals(const struct destroy_facts *facts)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        if (facts->nodes[i].reachable && node_seals(&facts->nodes[i].status, &facts->kek_id)) {
            return &facts->nodes[i];
        }
    }
    return NULL;
}

static const struct node *no_newer(const struct destroy_facts *facts)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        if (!node->reachable || !node->status.announces ||
            node->status.primary.version <= facts->number || node->status.max_age_ms == 0) {
            return node;
        }
    }
    return NULL;
}

/* What it will announce of that root next it does not say. */
static const struct node *without_root(const struct destroy_facts *facts)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        if (node->reachable && node->status.announces && node->status.primary.without_root) {
            return node;
        }
    }
    return NULL;
}

static void plan_superseded(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    const struct node *node = still_seals(facts);
    if (node != NULL) {
        destroy_unmet(plan, "superseded", "wait two minutes",
                      "an Encrypt of %s may still seal under it", destroy_node_name(node));
        return;
    }
    node = without_root(facts);
    if (node != NULL) {
        destroy_unmet(
            plan, "superseded",
            "see kekctl node status: it is out there, or seals nothing by the configuration",
            "%s announces no version of root %s at all", destroy_node_name(node), facts->root);
        return;
    }
    node = no_newer(facts);
    if (node != NULL) {
        destroy_unmet(plan, "superseded", "see kekctl node status; each must announce a newer one",
                      "%s %s", destroy_node_name(node),
                      node->reachable && node->status.announces &&
                              node->status.primary.version > facts->number
                          ? "has a kekd that does not say how long a data key lives: update it"
                          : "does not announce a newer version");
        return;
    }
    if (plan_span(facts, plan, SPAN_SUPERSEDED, "superseded", "superseded",
                  "does not announce a newer version")) {
        plan->superseded_ms = facts->now.wall_ms + look(facts, SPAN_SUPERSEDED).lacks_ms;
    }
}

/* ---- the quarantine ---- */

static void plan_asked(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        const struct node_version *version =
            node->reachable ? node_version(&node->status, &facts->kek_id) : NULL;
        if (version != NULL && version->asked > 0) {
            char todo[200];
            snprintf(todo, sizeof todo,
                     "it is in use: %s %" PRIu32
                     ", find what it sealed by kekctl inventory, and have that written anew",
                     kek_command(facts->root, "key resume").text, facts->number);
            destroy_unmet(plan, "asked-for", todo, "%s asked %s for it since it is suspended",
                          kek_counted(version->asked, "Decrypt").text, destroy_node_name(node));
            return;
        }
    }
    destroy_met(plan, "asked-for", "no Decrypt asked any node for it while it was suspended");
}

static int64_t quarantined_since(const struct destroy_facts *facts)
{
    int64_t latest = facts->progress.quarantined.wall_ms;
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        const struct node_version *version =
            node->reachable ? node_version(&node->status, &facts->kek_id) : NULL;
        if (version != NULL && version->suspended.since_ms - node->skew_ms > latest) {
            latest = version->suspended.since_ms - node->skew_ms;
        }
    }
    return latest;
}

static void plan_quarantine(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    int64_t passed = moment_passed_ms(&facts->progress.quarantined, &facts->now);
    int64_t left = (int64_t)facts->quarantine_ms - passed;
    char text[DESTROY_SPAN_TEXT], todo[200];
    plan->quarantined_ms = quarantined_since(facts);
    if (left <= 0) {
        (void)plan_span(facts, plan, SPAN_SUSPENDED, "quarantine", "suspended",
                        "does not see it suspended on every provider");
        return;
    }
    destroy_span(left + 999, text);
    snprintf(todo, sizeof todo,
             "wait for %s more, and restart every API server once meanwhile; %s %" PRIu32
             " gives it up",
             text, kek_command(facts->root, "key resume").text, facts->number);
    destroy_span((int64_t)facts->quarantine_ms, text);
    destroy_unmet(plan, "quarantine", todo, "it has not lasted %s", text);
}

void destroy_plan_time(const struct destroy_facts *facts, struct destroy_plan *plan)
{
    (void)plan_span(facts, plan, SPAN_INACTIVE, "deactivated", "out of use on every provider",
                    "does not see it out of use on every provider");
    plan_superseded(facts, plan);
    plan_asked(facts, plan);
    if (plan->stage == DESTROY_DESTROY) {
        plan_quarantine(facts, plan);
    }
}
