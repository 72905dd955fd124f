#include "reencrypt_guard.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kekctl/node/node_parse.h"
#include "kekctl/node/node_self.h"
#include "kekctl/rotate/rewrite_time.h"

#define OTHERS_EVERY_MS 60000u
/* A root that goes out at another node: its API server goes on under the seed that it has for up to a minute. */
#define OTHERS_EVERY_ROOTS_MS 5000u
#define STILL_MS 2000u /* that this node's kekd has to answer in the middle of a run */

static bool has_node(const struct guard *guard, const char *name)
{
    bool found = false;
    for (size_t i = 0; i < guard->nodes.count; i++) {
        found = found || strcmp(guard->nodes.list[i].name, name) == 0;
    }
    return found;
}

bool guard_open(struct guard *guard, const struct ctl *ctl, const struct kek_config *config,
                enum ctl_exit *code)
{
    *guard = (struct guard){.ctl = ctl, .config = config};
    if (!nodes_open(&guard->nodes, ctl, config, ctl->nodes.list, ctl->nodes.count, code)) {
        return false;
    }
    for (size_t i = 0; i < ctl->without.count; i++) {
        if (!has_node(guard, ctl->without.list[i])) {
            *code = CTL_USAGE;
            ctl_say(ctl,
                    "--without: there is no node \"%s\", as --node or status.nodes of the "
                    "configuration writes it",
                    ctl->without.list[i]);
            return false;
        }
    }
    if (guard->nodes.alone && !ctl->single_node) {
        ctl_say(ctl,
                "warning: no other node is known (status.nodes), so none is asked: name them by "
                "--node, or say --single-node");
    }
    return true;
}

void guard_close(struct guard *guard)
{
    nodes_close(&guard->nodes);
}

static void leave_out(const struct guard *guard, bool left_out[static NODES_MAX])
{
    const struct ctl_names *without = &guard->ctl->without;
    for (size_t i = 0; i < guard->nodes.count; i++) {
        left_out[i] = false;
        for (size_t k = 0; k < without->count && !guard->nodes.list[i].reachable; k++) {
            left_out[i] = left_out[i] || strcmp(without->list[k], guard->nodes.list[i].name) == 0;
        }
    }
}

/* What is written in clear (--decrypt) needs no KEK, whichever root is out. */
static void take_sealing(const struct guard *guard, struct guard_rules *rules)
{
    const struct kek_config *config = guard->config;
    for (size_t i = 0; config->root_count > 1 && !guard->ctl->decrypt && i < config->root_count;
         i++) {
        if (config->roots[i].seals) {
            rules->sealing[rules->sealing_count++] = config->roots[i].name;
        }
    }
}

static enum guard_verdict ask_all(struct guard *guard, uint64_t timeout_ms,
                                  bool left_out[static NODES_MAX], int64_t *wait_ms,
                                  struct kek_why *why)
{
    (void)nodes_ask(&guard->nodes, timeout_ms);
    leave_out(guard, left_out);
    bool is_blind = guard->nodes.alone && !guard->ctl->single_node;
    struct guard_rules rules = {
        .keyring = guard->config->keyring,
        .self = guard->config->status.name,
        .needed_ms = guard->ctl->decrypt ? 0 : rewrite_needed_ms(guard->config, is_blind),
        .now_ms = kek_clock_wall_ms()};
    take_sealing(guard, &rules);
    return guard_judge(guard->nodes.list, guard->nodes.count, left_out, &rules, wait_ms, why);
}

enum guard_verdict guard_look(struct guard *guard, int64_t *wait_ms, struct kek_why *why)
{
    bool left_out[NODES_MAX];
    enum guard_verdict verdict = ask_all(guard, NODES_TIMEOUT_MS, left_out, wait_ms, why);
    for (size_t i = 0; i < guard->nodes.count && verdict == GUARD_GOOD; i++) {
        const struct node_primary *primary = &guard->nodes.list[i].status.primary;
        if (!left_out[i]) {
            memcpy(guard->key_id, primary->key_id, sizeof guard->key_id);
            guard->version = primary->version;
            guard->has_kek_id = primary->version != 0;
            break;
        }
    }
    return verdict;
}

/* The other nodes, now and then: their API servers write too. That one of them has begun to announce the key a
 * moment ago is no trouble: it announced it before, or guard_look() would not have been GOOD. */
static enum guard_verdict others_still(struct guard *guard, struct kek_why *why)
{
    bool left_out[NODES_MAX];
    int64_t wait_ms = 0;
    uint64_t now = kek_clock_ms();
    if (guard->nodes.alone || now < guard->others_ms) {
        return GUARD_GOOD;
    }
    enum guard_verdict verdict = ask_all(guard, STILL_MS, left_out, &wait_ms, why);
    bool good = verdict == GUARD_GOOD || (verdict == GUARD_WAIT && wait_ms > 0);
    guard->others_ms = !good                           ? now
                       : guard->config->root_count > 1 ? now + OTHERS_EVERY_ROOTS_MS
                                                       : now + OTHERS_EVERY_MS;
    return good ? GUARD_GOOD : verdict;
}

/* Of a newer version, or of fewer roots of trust: then the nodes say which one is out, and where. */
static enum guard_verdict say_changed(struct guard *guard, struct kek_why *why)
{
    bool left_out[NODES_MAX];
    int64_t wait_ms = 0;
    if (guard->config->root_count > 1 &&
        ask_all(guard, STILL_MS, left_out, &wait_ms, why) == GUARD_REFUSED) {
        return GUARD_REFUSED;
    }
    kek_fail(why, KEK_PRECONDITION,
             "kekd announces another key by now: what was rewritten is under the one before "
             "it; run reencrypt again");
    return GUARD_REFUSED;
}

enum guard_verdict guard_still(struct guard *guard, struct kek_why *why)
{
    static struct node_status status; /* too large for a stack */
    json_t *page = node_self(guard->config, kek_clock_ms() + STILL_MS, why);
    if (page == NULL) {
        return GUARD_WAIT;
    }
    bool parsed = node_parse(page, "", &status, why);
    json_decref(page);
    if (!parsed) {
        return GUARD_WAIT;
    }
    if (!guard_is_well(&status)) {
        kek_fail(why, KEK_PRECONDITION, "kekd is not well: %s", status.what);
        return GUARD_WAIT;
    }
    bool same = status.announces && strcmp(status.primary.key_id, guard->key_id) == 0;
    if (!same && !guard->ctl->decrypt) {
        return say_changed(guard, why);
    }
    return others_still(guard, why);
}
