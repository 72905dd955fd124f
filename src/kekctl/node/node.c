/* kekctl node status: which key each node of the cluster announces. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "nodes.h"
#include "kek/clock.h"
#include "kekctl/output.h"

#define VERSIONS_TEXT 512

/* Empty: it is not known. */
static const char *show_date(int64_t ms, char text[static KEK_CLOCK_TEXT])
{
    text[0] = '\0';
    return ms > 0 ? kek_clock_text_seconds(ms, text) : text;
}

/* "3 active 2/2", "site: 3 active 2/2": on how many providers of its root it is proven. */
static void show_versions(const struct node_status *status, char text[static VERSIONS_TEXT])
{
    size_t at = 0;
    text[0] = '\0';
    for (size_t i = 0; i < status->version_count && at < VERSIONS_TEXT; i++) {
        const struct node_version *version = &status->versions[i];
        const char *state =
            node_surplus(status, version) ? "surplus" : kek_keyring_key_name(version->state);
        size_t proven = 0, count = 0;
        for (size_t p = 0; p < status->provider_count; p++) {
            bool its = strcmp(status->providers[p].root, version->root) == 0;
            proven += its && version->proven[p];
            count += its;
        }
        at += (size_t)snprintf(text + at, VERSIONS_TEXT - at, "%s%s%s%" PRIu32 " %s %zu/%zu",
                               at == 0 ? "" : ", ", version->root,
                               version->root[0] == '\0' ? "" : ": ", version->number, state, proven,
                               count);
    }
}

static void show_rotation(const struct node_status *status, char text[static NODE_NAME_MAX + 64])
{
    text[0] = '\0';
    if (status->rotating) {
        snprintf(text, NODE_NAME_MAX + 64, "%s of %" PRIu32 " by %s", status->rotation.step,
                 status->rotation.version, status->rotation.node);
    }
}

/* The same keys as of one that is. */
static json_t *describe_unreachable(const struct node *node)
{
    return json_pack("{s:s, s:b, s:o, s:s, s:s, s:n, s:s, s:s, s:s, s:s, s:s, s:I, s:b, s:n}",
                     "node", node->name, "reachable", false, "error", output_text(node->why.text),
                     "calls_itself", "", "health", "not reached", "announces", "key_id", "",
                     "key_id_hash", "", "since", "", "versions", "", "rotation", "",
                     "clock_ahead_ms", (json_int_t)0, "partial", false, "page");
}

static json_t *announced(const struct node_status *status)
{
    bool known = status->announces && status->primary.version != 0;
    return known ? json_integer(status->primary.version) : json_null();
}

static json_t *describe(const struct node *node)
{
    const struct node_status *status = &node->status;
    char since[32], versions[VERSIONS_TEXT], rotation[NODE_NAME_MAX + 64];
    if (!node->reachable) {
        return describe_unreachable(node);
    }
    show_versions(status, versions);
    show_rotation(status, rotation);
    return json_pack("{s:s, s:b, s:s, s:o, s:s, s:o, s:s, s:s, s:s, s:s, s:o, s:I, s:b, s:O}",
                     "node", node->name, "reachable", true, "error", "", "calls_itself",
                     output_text(status->node), "health", node_health(status), "announces",
                     announced(status), "key_id", status->announces ? status->primary.key_id : "",
                     "key_id_hash", status->announces ? status->primary.key_id_hash : "", "since",
                     show_date(status->announces ? status->primary.announced_ms : 0, since),
                     "versions", versions, "rotation", output_text(rotation), "clock_ahead_ms",
                     (json_int_t)node->skew_ms, "partial", status->partial, "page", node->page);
}

static json_t *describe_all(const struct nodes *nodes)
{
    json_t *list = json_array();
    for (size_t i = 0; i < nodes->count; i++) {
        if (json_array_append_new(list, describe(&nodes->list[i])) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list == NULL ? NULL : json_pack("{s:o}", "nodes", list);
}

static enum ctl_exit print(const struct nodes *nodes)
{
    static const struct column columns[] = {
        {"node", "NODE"},         {"calls_itself", "CALLS-ITSELF"}, {"health", "HEALTH"},
        {"announces", "VERSION"}, {"key_id_hash", "KEY-ID-HASH"},   {"since", "SINCE"},
        {"versions", "SHOWS"},    {"rotation", "ROTATION"}};
    json_t *object = describe_all(nodes);
    if (object == NULL) {
        ctl_say(nodes->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code =
        output_list(nodes->ctl, object, "nodes", columns, sizeof columns / sizeof columns[0]);
    json_decref(object);
    return code;
}

enum ctl_exit ctl_node_status(struct ctl *ctl)
{
    enum ctl_exit code = CTL_USAGE;
    NODES_AUTO struct nodes nodes = {.list = NULL};
    struct kek_config *config = ctl_config(ctl);
    if (config != NULL &&
        nodes_open(&nodes, ctl, config, ctl->nodes.list, ctl->nodes.count, &code)) {
        size_t reached = nodes_ask(&nodes, ctl->timeout_given ? ctl->timeout_ms : NODES_TIMEOUT_MS);
        code = print(&nodes);
        bool good = nodes_say(&nodes) + nodes_say_roots(&nodes) == 0;
        (void)nodes_say_clocks(&nodes, "remark: ");
        if (code == CTL_GOOD && !good) {
            code = reached == 0 ? CTL_FAILED : CTL_CHECK;
        }
    }
    kek_config_free(config);
    return code;
}
