#include "reencrypt_guard.h"

#include <stdio.h>
#include <string.h>
#include <sys/stat.h>

#include "kek/clock.h"
#include "kekctl/node/node_parse.h"
#include "kekctl/node/node_self.h"

#define OTHERS_EVERY_MS 60000u
#define STILL_MS 2000u /* that this node's kekd has to answer in the middle of a run */

bool guard_open(struct guard *guard, const struct ctl *ctl, const struct kek_config *config,
                enum ctl_exit *code)
{
    *guard = (struct guard){.ctl = ctl, .config = config};
    if (!nodes_open(&guard->nodes, ctl, config, ctl->nodes.list, ctl->nodes.count, code)) {
        return false;
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

/* What this node announced last is on record since then, or longer. */
static int64_t record_written(const struct kek_config *config)
{
    char path[4096];
    struct stat st;
    int len = snprintf(path, sizeof path, "%s/%s.json", config->state_dir, config->keyring);
    if (len < 0 || (size_t)len >= sizeof path || stat(path, &st) != 0) {
        return 0;
    }
    return (int64_t)st.st_mtim.tv_sec * 1000 + st.st_mtim.tv_nsec / 1000000;
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

static enum guard_verdict ask_all(struct guard *guard, uint64_t timeout_ms,
                                  bool left_out[static NODES_MAX], int64_t *wait_ms,
                                  struct kek_why *why)
{
    (void)nodes_ask(&guard->nodes, timeout_ms);
    leave_out(guard, left_out);
    bool is_blind = guard->nodes.alone && !guard->ctl->single_node;
    return guard_judge(guard->nodes.list, guard->nodes.count, left_out, guard->config->keyring,
                       guard_needed_ms(guard->config, is_blind), kek_clock_wall_ms(),
                       record_written(guard->config), wait_ms, why);
}

enum guard_verdict guard_look(struct guard *guard, int64_t *wait_ms, struct kek_why *why)
{
    bool left_out[NODES_MAX];
    enum guard_verdict verdict = ask_all(guard, NODES_TIMEOUT_MS, left_out, wait_ms, why);
    for (size_t i = 0; i < guard->nodes.count && verdict == GUARD_GOOD; i++) {
        const struct node_primary *primary = &guard->nodes.list[i].status.primary;
        if (!left_out[i]) {
            memcpy(guard->key_id, primary->key_id, sizeof guard->key_id);
            guard->kek_id = primary->kek_id;
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
    guard->others_ms = good ? now + OTHERS_EVERY_MS : now;
    return good ? GUARD_GOOD : verdict;
}

enum guard_verdict guard_still(struct guard *guard, struct kek_why *why)
{
    static struct node_status status; /* too large for a stack */
    json_t *page = node_self(guard->config, kek_clock_ms() + STILL_MS, why);
    if (page == NULL) {
        return GUARD_WAIT;
    }
    bool parsed = node_parse(page, &status, why);
    json_decref(page);
    if (!parsed) {
        return GUARD_WAIT;
    }
    if (!guard_is_well(&status)) {
        kek_fail(why, KEK_PRECONDITION, "kekd is not well: %s", status.what);
        return GUARD_WAIT;
    }
    if (!status.announces || strcmp(status.primary.key_id, guard->key_id) != 0) {
        kek_fail(why, KEK_PRECONDITION,
                 "kekd announces another key by now: what was rewritten is under the one before "
                 "it; run reencrypt again");
        return GUARD_REFUSED;
    }
    return others_still(guard, why);
}
