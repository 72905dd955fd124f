/* Where the nodes differ, in a sentence each. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/digest.h"
#include "kek/text.h"
#include "nodes.h"

#define SKEW_MAX_MS 60000
#define NAMES_MAX 300 /* bytes of a list of nodes in a sentence */

static const char *name_of(const struct node *node)
{
    return strcmp(node->name, "self") == 0 ? "this node" : node->name;
}

/* ", " and a name, as far as there is room. */
static void add_name(char *names, const char *name)
{
    size_t at = strlen(names);
    if (at < NAMES_MAX - 1) {
        snprintf(names + at, NAMES_MAX - at, "%s%s", at == 0 ? "" : ", ", name);
    }
}

/* ---- each by itself ---- */

static size_t say_unreachable(const struct nodes *nodes)
{
    size_t found = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        if (!nodes->list[i].reachable) {
            ctl_say(nodes->ctl, "%s: not reached: %s", name_of(&nodes->list[i]),
                    nodes->list[i].why.text);
            found++;
        }
    }
    return found;
}

static size_t say_health(const struct nodes *nodes)
{
    size_t found = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node_status *status = &nodes->list[i].status;
        const char *good = status->partial ? "ok" : "good";
        if (nodes->list[i].reachable && strcmp(status->health, good) != 0) {
            ctl_say(nodes->ctl, "%s: %s: %s%s%s", name_of(&nodes->list[i]), status->health,
                    status->what, status->todo[0] == '\0' ? "" : "; ", status->todo);
            found++;
        }
    }
    return found;
}

/* What one node's page says of another kind may be under way, or is said below of all nodes together. */
static bool is_of_canaries(const struct node *node, const char *reason)
{
    (void)node;
    return strcmp(reason, kek_keyring_remark_name(KEK_KEYRING_VERSION_LOST)) == 0 ||
           strcmp(reason, kek_keyring_remark_name(KEK_KEYRING_CANARY_FAILED)) == 0;
}

static bool is_of_state(const struct node *node, const char *reason)
{
    (void)node;
    return strcmp(reason, kek_keyring_remark_name(KEK_KEYRING_STATE_DIR_REPLACED)) == 0;
}

static bool is_of_roots(const struct node *node, const char *reason)
{
    (void)node;
    return strcmp(reason, kek_keyring_remark_name(KEK_KEYRING_ROOT_OUT)) == 0;
}

/* With several roots what a version waits for may be that another root has it, too, which no list of versions shows. */
static bool is_of_waiting(const struct node *node, const char *reason)
{
    return node->status.primary.root_count > 1 &&
           strcmp(reason, kek_keyring_remark_name(KEK_KEYRING_VERSION_WAITS)) == 0;
}

static const char *text_of(const json_t *remark, const char *key)
{
    const char *text = json_string_value(json_object_get(remark, key));
    return text == NULL ? "" : text;
}

/* The remarks of every node that are of this kind. means: NULL: how the node is, in a word. */
static size_t say_remarks(const struct nodes *nodes,
                          bool (*is_of_kind)(const struct node *node, const char *reason),
                          const char *means)
{
    size_t found = 0, k;
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node *node = &nodes->list[i];
        json_t *remark;
        json_array_foreach(json_object_get(node->page, "remarks"), k, remark)
        {
            char what[sizeof node->status.what], todo[sizeof node->status.todo];
            kek_text_copy(what, sizeof what, text_of(remark, "what"));
            kek_text_copy(todo, sizeof todo, text_of(remark, "todo"));
            if (node->reachable && what[0] != '\0' && is_of_kind(node, text_of(remark, "reason"))) {
                ctl_say(nodes->ctl, "%s: %s: %s%s%s", name_of(node),
                        means == NULL ? node_health(&node->status) : means, what,
                        todo[0] == '\0' ? "" : "; ", todo);
                found++;
            }
        }
    }
    return found;
}

size_t nodes_say_roots(const struct nodes *nodes)
{
    return say_remarks(nodes, is_of_roots, NULL) +
           say_remarks(nodes, is_of_waiting, "to be mended");
}

/* Another cluster's, or one whose context was written differently: what one seals the other cannot open. */
static size_t say_foreign(const struct nodes *nodes)
{
    const struct kek_config *config = nodes->config;
    char context[KEK_SHA256_TEXT] = "";
    size_t found = 0;
    bool known = kek_sha256_text(kek_bytes_of(config->context), context);
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node *node = &nodes->list[i];
        if (node->reachable && strcmp(node->status.keyring, kek_config_file_keyring(config)) != 0) {
            ctl_say(
                nodes->ctl, "%s has the keyring %s, and %s here has %s: it is another cluster's",
                name_of(node), node->status.keyring, config->path, kek_config_file_keyring(config));
            found++;
        } else if (node->reachable && known && strcmp(node->status.context_sha256, context) != 0) {
            ctl_say(nodes->ctl,
                    "%s has another context than %s here: what one of them seals, the other does "
                    "not open",
                    name_of(node), config->path);
            found++;
        }
    }
    return found;
}

size_t nodes_say_clocks(const struct nodes *nodes, const char *weight)
{
    size_t found = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node *node = &nodes->list[i];
        int64_t off = node->skew_ms < 0 ? -node->skew_ms : node->skew_ms;
        if (node->reachable && off > SKEW_MAX_MS) {
            ctl_say(nodes->ctl, "%sthe clock of %s is %" PRId64 " s %s ours", weight, name_of(node),
                    off / 1000, node->skew_ms < 0 ? "behind" : "ahead of");
            found++;
        }
    }
    return found;
}

static void say_twins(const struct nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        for (size_t j = 0; j < i; j++) {
            const struct node *one = &nodes->list[j], *other = &nodes->list[i];
            if (one->reachable && other->reachable &&
                strcmp(one->status.node, other->status.node) == 0 &&
                strcmp(one->status.config_sha256, other->status.config_sha256) == 0) {
                ctl_say(nodes->ctl, "remark: %s and %s are one node, %s", name_of(one),
                        name_of(other), one->status.node);
            }
        }
    }
}

static void say_partial(const struct nodes *nodes)
{
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node *node = &nodes->list[i];
        if (node->reachable && node->status.partial) {
            ctl_say(
                nodes->ctl,
                "remark: of %s only the KMS socket and the record were asked, since metrics is "
                "not set there: they do not say which versions it has proven, which it may still "
                "seal under, and whether a rotation is on record",
                name_of(node));
        }
    }
    if (nodes->alone) {
        ctl_say(nodes->ctl,
                "remark: %s names no other nodes (status.nodes): only this one was asked",
                nodes->config->path);
    }
}

/* ---- one against the other ---- */

static bool announces(const struct node *node)
{
    return node->reachable && node->status.announces;
}

static size_t say_silent(const struct nodes *nodes)
{
    size_t found = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        if (nodes->list[i].reachable && !nodes->list[i].status.announces) {
            ctl_say(nodes->ctl, "%s announces no key", name_of(&nodes->list[i]));
            found++;
        }
    }
    return found;
}

/* All that announce what this one does. False: an earlier one did, and was told. */
static bool group_of(const struct nodes *nodes, size_t first, char names[static NAMES_MAX])
{
    const char *key_id = nodes->list[first].status.primary.key_id;
    names[0] = '\0';
    for (size_t i = 0; i < nodes->count; i++) {
        if (announces(&nodes->list[i]) &&
            strcmp(nodes->list[i].status.primary.key_id, key_id) == 0) {
            if (i < first) {
                return false;
            }
            add_name(names, name_of(&nodes->list[i]));
        }
    }
    return true;
}

static size_t say_announced(const struct nodes *nodes)
{
    char names[NAMES_MAX];
    size_t groups = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        groups += announces(&nodes->list[i]) && group_of(nodes, i, names);
    }
    for (size_t i = 0; i < nodes->count && groups > 1; i++) {
        if (announces(&nodes->list[i]) && group_of(nodes, i, names)) {
            const struct node_primary *primary = &nodes->list[i].status.primary;
            ctl_say(nodes->ctl, "not all nodes announce one key: version %" PRIu32 " (%s) on %s",
                    primary->version, primary->key_id, names);
        }
    }
    return groups > 1 ? groups : 0;
}

static bool shows(const struct node *node, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < node->status.version_count; i++) {
        const struct node_version *version = &node->status.versions[i];
        if (kek_id_equal(&version->kek_id, kek_id) && version->state > KEK_KEYRING_KEY_UNFIT) {
            return true;
        }
    }
    return false;
}

static bool tells_versions(const struct node *node)
{
    return node->reachable && !node->status.partial;
}

/* Said once, by the first node that shows it. */
static size_t say_lacking(const struct nodes *nodes, size_t first,
                          const struct node_version *version)
{
    char names[NAMES_MAX] = "";
    for (size_t i = 0; i < nodes->count; i++) {
        if (!tells_versions(&nodes->list[i])) {
            continue;
        }
        bool shown = shows(&nodes->list[i], &version->kek_id);
        if (shown && i < first) {
            return 0;
        }
        if (!shown) {
            add_name(names, name_of(&nodes->list[i]));
        }
    }
    if (names[0] == '\0') {
        return 0;
    }
    ctl_say(nodes->ctl, "version %" PRIu32 " (%s), which %s shows, is not shown by %s",
            version->number, version->key_id, name_of(&nodes->list[first]), names);
    return 1;
}

static size_t say_versions(const struct nodes *nodes)
{
    size_t found = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node_status *status = &nodes->list[i].status;
        for (size_t v = 0; tells_versions(&nodes->list[i]) && v < status->version_count; v++) {
            if (status->versions[v].state > KEK_KEYRING_KEY_UNFIT) {
                found += say_lacking(nodes, i, &status->versions[v]);
            }
        }
    }
    return found;
}

/* Is the version one of the root of trust that the provider is of, as far as the node says? */
static bool is_of_root(const struct node_provider *provider, const struct node_version *version)
{
    return provider->root[0] == '\0' || version->root[0] == '\0' ||
           strcmp(provider->root, version->root) == 0;
}

/* One provider of its root lets less be done with a version than another, or lacks it.  What a provider that does not
 * answer holds is what it showed last. */
static size_t say_uneven_version(const struct node *node, const struct node_version *version,
                                 const struct ctl *ctl)
{
    char held[NAMES_MAX] = "";
    const enum kek_keyring_key *first = NULL;
    bool even = true;
    for (size_t p = 0; p < node->status.provider_count; p++) {
        const char *name = node->status.providers[p].name;
        char word[64];
        if (!is_of_root(&node->status.providers[p], version)) {
            continue;
        }
        first = first == NULL ? &version->held[p] : first;
        even = even && version->held[p] == *first;
        snprintf(word, sizeof word, "%s on %s", kek_keyring_key_name(version->held[p]), name);
        add_name(held, word);
    }
    if (even || version->state <= KEK_KEYRING_KEY_UNFIT) {
        return 0;
    }
    ctl_say(ctl, "%s: version %" PRIu32 " is %s: finish its change, or bring the key there",
            name_of(node), version->number, held);
    return 1;
}

static size_t say_uneven(const struct nodes *nodes)
{
    size_t found = 0;
    for (size_t i = 0; i < nodes->count; i++) {
        const struct node_status *status = &nodes->list[i].status;
        for (size_t v = 0; tells_versions(&nodes->list[i]) && v < status->version_count; v++) {
            found += say_uneven_version(&nodes->list[i], &status->versions[v], nodes->ctl);
        }
    }
    return found;
}

size_t nodes_say_troubles(const struct nodes *nodes)
{
    return say_unreachable(nodes) + say_foreign(nodes) + say_health(nodes) +
           say_remarks(nodes, is_of_canaries,
                       "to be mended, and restart neither kekd nor an API server before") +
           say_remarks(nodes, is_of_state, "to be mended, and restart kekd not before") +
           say_silent(nodes) + say_announced(nodes) + say_versions(nodes);
}

size_t nodes_say_differences(const struct nodes *nodes)
{
    size_t found = say_uneven(nodes);
    say_twins(nodes);
    say_partial(nodes);
    return found;
}

size_t nodes_say(const struct nodes *nodes)
{
    return nodes_say_troubles(nodes) + nodes_say_differences(nodes);
}
