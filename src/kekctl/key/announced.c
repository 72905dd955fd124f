#include "announced.h"

#include <stdio.h>
#include <string.h>

#include "kekctl/node/nodes.h"

static void add(struct announced *announced, const char *node, const struct kek_id *kek_id,
                uint32_t number)
{
    if (announced->count < ANNOUNCED_MAX && announced_where(announced, kek_id) == NULL) {
        snprintf(announced->by[announced->count].node, ANNOUNCED_NODE, "%s", node);
        announced->by[announced->count].kek_id = *kek_id;
        announced->by[announced->count].number = number;
        announced->count++;
    }
}

bool announced_on_record(const struct keys *keys, struct announced *announced, struct kek_why *why)
{
    struct kek_generation last;
    announced->count = 0;
    enum kek_rc rc = kek_keyring_recorded(keys->config, &last, why);
    for (size_t i = 0; rc == KEK_OK && i < last.count; i++) {
        add(announced, "this node", &last.kek_ids[i], last.numbers[i]);
    }
    return rc == KEK_OK || rc == KEK_NOT_FOUND;
}

/* The key that this key_id is of, among those that the providers show. */
static const struct kek_version *named_by(const struct keys *keys, const char *key_id)
{
    char own[KEK_KEY_ID_TEXT];
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        for (size_t i = 0; i < listing->count; i++) {
            const struct kek_version *v = &listing->versions[i];
            if (kek_key_id(kek_bytes_of(keys->config->context), KEK_ENVELOPE_MODE_ANY, &v->id, 1,
                           own, NULL) == KEK_OK &&
                strcmp(own, key_id) == 0) {
                return v;
            }
        }
    }
    return NULL;
}

/* A node that has no page says the key_id alone. */
static bool take_primary(const struct keys *keys, const struct node *node,
                         struct announced *announced, struct kek_why *why)
{
    const struct node_primary *primary = &node->status.primary;
    if (primary->without_root) {
        return true;
    }
    if (primary->version != 0) {
        add(announced, node->status.node, &primary->kek_id, primary->version);
        return true;
    }
    const struct kek_version *version = named_by(keys, primary->key_id);
    if (version == NULL) {
        kek_fail(why, KEK_PRECONDITION,
                 "%s announces %s, and no provider of this configuration shows the key of that "
                 "name: is it the configuration that kekd runs with?",
                 node->status.node, primary->key_id);
        return false;
    }
    add(announced, node->status.node, &version->id, version->number);
    return true;
}

/* What it announces, and what it may still seal under since it announced it a moment ago. */
static bool take_node(const struct keys *keys, const struct node *node, struct announced *announced,
                      struct kek_why *why)
{
    const struct node_status *status = &node->status;
    const char *keyring = kek_config_file_keyring(keys->config);
    if (strcmp(status->keyring, keyring) != 0) {
        kek_fail(why, KEK_PRECONDITION, "%s has the keyring %s, not %s: it is no node of this one",
                 node->name, status->keyring, keyring);
        return false;
    }
    if (status->announces && !take_primary(keys, node, announced, why)) {
        return false;
    }
    for (size_t i = 0; i < status->sealing_count; i++) {
        for (size_t v = 0; v < status->version_count; v++) {
            if (kek_id_equal(&status->versions[v].kek_id, &status->sealing[i])) {
                add(announced, status->node, &status->sealing[i], status->versions[v].number);
            }
        }
    }
    return true;
}

bool announced_by(const struct keys *keys, struct announced *announced, bool *all,
                  struct kek_why *why)
{
    const struct ctl *ctl = keys->ctl;
    NODES_AUTO struct nodes nodes = {.list = NULL};
    enum ctl_exit code;
    if (!announced_on_record(keys, announced, why)) {
        (void)kek_fail_within(why, why->rc, "which version this node announced last is not known");
        return false;
    }
    if (!nodes_open(&nodes, ctl, keys->config, ctl->nodes.list, ctl->nodes.count, &code)) {
        kek_fail(why, KEK_INVALID, "the nodes of the cluster are not known");
        return false;
    }
    (void)nodes_ask(&nodes, ctl->timeout_given ? ctl->timeout_ms : NODES_TIMEOUT_MS);
    *all = true;
    for (size_t i = 0; *all && i < nodes.count; i++) {
        const struct node *node = &nodes.list[i];
        if (node->reachable) {
            *all = take_node(keys, node, announced, why);
        } else if (
            !nodes.alone) { /* of this node alone, whose kekd does not run, the record is enough */
            *all = false;
            *why = node->why;
        }
    }
    return true;
}

const char *announced_where(const struct announced *announced, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < announced->count; i++) {
        if (kek_id_equal(&announced->by[i].kek_id, kek_id)) {
            return announced->by[i].node;
        }
    }
    return NULL;
}

uint32_t announced_newest(const struct announced *announced)
{
    uint32_t newest = 0;
    for (size_t i = 0; i < announced->count; i++) {
        newest = announced->by[i].number > newest ? announced->by[i].number : newest;
    }
    return newest;
}
