/* Is it the time to rewrite anything, by what the nodes said? Pure. */
#include "reencrypt_guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kekctl/rotate/rewrite_time.h"

static const char *name_of(const struct node *node)
{
    return node->reachable && node->status.node[0] != '\0' ? node->status.node : node->name;
}

bool guard_is_well(const struct node_status *status)
{
    return strcmp(status->health, "good") == 0 || strcmp(status->health, "ok") == 0;
}

static enum guard_verdict say(enum guard_verdict verdict, struct kek_why *why, const char *format,
                              ...) KEK_PRINTF(3, 4);

static enum guard_verdict say(enum guard_verdict verdict, struct kek_why *why, const char *format,
                              ...)
{
    char text[KEK_WHY_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    kek_fail(why, KEK_PRECONDITION, "%s", text);
    return verdict;
}

/* One node, against the first. */
static enum guard_verdict judge_one(const struct node *node, const struct node *first,
                                    const struct guard_rules *rules, struct kek_why *why)
{
    const struct node_status *status = &node->status;
    const char *name = name_of(node);
    if (!node->reachable) {
        return say(GUARD_WAIT, why,
                   "%s does not answer, and its API server may still write under an older key "
                   "(--without leaves a node out that is down with its API server): %s",
                   name, node->why.text);
    }
    if (strcmp(status->keyring, rules->keyring) != 0) {
        return say(GUARD_REFUSED, why, "%s serves keyring %s, and this configuration %s", name,
                   status->keyring, rules->keyring);
    }
    if (rules->sealing_count > 0 && status->partial) {
        return say(GUARD_REFUSED, why,
                   "%s: since when its key is announced is told by its status listener alone where "
                   "there are several roots of trust: set status.listen (kekd.conf(5))",
                   name);
    }
    if (!guard_is_well(status)) {
        return say(GUARD_WAIT, why, "kekd of %s is not well: %s", name,
                   status->what[0] != '\0' ? status->what : status->health);
    }
    if (!status->announces) {
        return say(GUARD_WAIT, why, "%s announces no key yet", name);
    }
    if (strcmp(status->primary.key_id, first->status.primary.key_id) != 0) {
        return say(GUARD_WAIT, why,
                   "%s announces version %" PRIu32 " and %s version %" PRIu32
                   ": what one API server rewrites would be under the older of them",
                   name_of(first), first->status.primary.version, name, status->primary.version);
    }
    return GUARD_GOOD;
}

static bool has_root(const struct node_primary *primary, const char *root)
{
    bool found = false;
    for (size_t i = 0; i < primary->root_count; i++) {
        found = found || strcmp(primary->roots[i], root) == 0;
    }
    return found;
}

static bool is_sealing(const struct guard_rules *rules, const char *root)
{
    bool found = false;
    for (size_t i = 0; i < rules->sealing_count; i++) {
        found = found || strcmp(rules->sealing[i], root) == 0;
    }
    return found;
}

#define ROOTS_TEXT (KEK_CONFIG_ROOTS_MAX * 40)

/* Those that seal and of which the node announces nothing, as "a and b". Returns how many. */
static size_t missing_roots(const struct node_primary *primary, const struct guard_rules *rules,
                            char text[static ROOTS_TEXT])
{
    size_t count = 0, at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < rules->sealing_count; i++) {
        if (!has_root(primary, rules->sealing[i])) {
            at += (size_t)snprintf(text + at, ROOTS_TEXT - at, "%s%.32s", count > 0 ? " and " : "",
                                   rules->sealing[i]);
            count++;
        }
    }
    return count;
}

/* In mode `any` kekd is well without a root that is out.  What is announced then is less than what lies in etcd. */
static enum guard_verdict judge_roots(const struct node *node, const struct guard_rules *rules,
                                      struct kek_why *why)
{
    const struct node_primary *primary = &node->status.primary;
    char missing[ROOTS_TEXT];
    size_t count = missing_roots(primary, rules, missing);
    if (count > 0) {
        return say(
            GUARD_REFUSED, why,
            "%.60s announces no KEK of %s: what is rewritten now would be without. It is out "
            "there, or seals nothing by that node's configuration: mend it, and run "
            "reencrypt again; where its HSM is lost for good, give that root \"seals: false\" "
            "on every node first (docs/roots.md)",
            name_of(node), missing);
    }
    for (size_t i = 0; i < primary->root_count; i++) {
        if (!is_sealing(rules, primary->roots[i])) {
            return say(GUARD_REFUSED, why,
                       "%.60s announces a KEK of %s, which seals nothing by this configuration: "
                       "bring one configuration to every node, and restart kekd there",
                       name_of(node), primary->roots[i]);
        }
    }
    return GUARD_GOOD;
}

/* Of each node that says what it announces, before anything is waited for. */
static enum guard_verdict judge_all_roots(const struct node *nodes, size_t count,
                                          const struct guard_rules *rules, struct kek_why *why)
{
    enum guard_verdict verdict = GUARD_GOOD;
    for (size_t i = 0; i < count && rules->sealing_count > 0 && verdict == GUARD_GOOD; i++) {
        const struct node_status *status = &nodes[i].status;
        if (nodes[i].reachable && status->announces && !status->partial &&
            strcmp(status->keyring, rules->keyring) == 0) {
            verdict = judge_roots(&nodes[i], rules, why);
        }
    }
    return verdict;
}

/* This node's kekd is asked in the middle of a run as well, and its API server writes, too. */
static bool has_self(const struct node *nodes, size_t count, const char *self)
{
    bool found = false;
    for (size_t i = 0; i < count; i++) {
        found = found || (nodes[i].reachable && strcmp(nodes[i].status.node, self) == 0);
    }
    return found;
}

static enum guard_verdict say_settling(const struct node *node, int64_t until_ms,
                                       struct kek_why *why)
{
    char until[REWRITE_TIME_TEXT];
    rewrite_time_format(until_ms, until);
    return say(
        GUARD_WAIT, why,
        "%s announced its key a short time ago; an API server may write under the one before "
        "until %s",
        name_of(node), until);
}

enum guard_verdict guard_judge(const struct node *nodes, size_t count, const bool *left_out,
                               const struct guard_rules *rules, int64_t *wait_ms,
                               struct kek_why *why)
{
    const struct node *first = NULL, *last = NULL;
    int64_t until_ms = 0;
    const struct node *twins[2];
    *wait_ms = 0;
    if (node_twins(nodes, count, twins)) {
        return say(
            GUARD_REFUSED, why,
            "%.60s and %.60s lead to one node, %.60s, so that another may not be asked: name "
            "each node once; where they are two, each needs a status.name of its own",
            twins[0]->name, twins[1]->name, twins[0]->status.node);
    }
    if (judge_all_roots(nodes, count, rules, why) != GUARD_GOOD) {
        return GUARD_REFUSED;
    }
    for (size_t i = 0; i < count; i++) {
        if (left_out[i]) {
            continue;
        }
        first = first == NULL ? &nodes[i] : first;
        enum guard_verdict verdict = judge_one(&nodes[i], first, rules, why);
        if (verdict != GUARD_GOOD) {
            return verdict;
        }
        int64_t after = rewrite_since_ms(&nodes[i], rules->now_ms) + rules->needed_ms;
        last = after > until_ms ? &nodes[i] : last;
        until_ms = after > until_ms ? after : until_ms;
    }
    if (first == NULL) {
        return say(GUARD_REFUSED, why, "every node was left out");
    }
    if (!has_self(nodes, count, rules->self)) {
        return say(GUARD_REFUSED, why,
                   "this node, %s, is not among the nodes that are asked: name it too, by "
                   "status.nodes or --node self",
                   rules->self);
    }
    *wait_ms = until_ms > rules->now_ms ? until_ms - rules->now_ms : 0;
    return *wait_ms > 0 ? say_settling(last, until_ms, why) : GUARD_GOOD;
}
