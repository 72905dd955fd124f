#include "inventory_keks.h"

#include <stdio.h>
#include <string.h>

#include "kekctl/key/key_views.h"
#include "kekctl/node/nodes.h"

const struct inventory_kek *inventory_kek_find(const struct inventory_keks *keks,
                                               const struct kek_id *id)
{
    for (size_t i = 0; i < keks->count; i++) {
        if (kek_id_equal(&keks->list[i].id, id)) {
            return &keks->list[i];
        }
    }
    return NULL;
}

bool inventory_kek_is_primary(const struct inventory_keks *keks, const struct kek_id *id)
{
    bool primary = false;
    for (size_t i = 0; i < keks->root_count; i++) {
        const struct inventory_root *root = &keks->roots[i];
        primary = primary || (root->primary_source != NULL && kek_id_equal(&root->primary, id));
    }
    return primary;
}

/* Its place in the list; `count`: it is not there. A token may have a copy of another root's KEK. */
static size_t place_of(const struct inventory_keks *keks, size_t root, const struct kek_id *id)
{
    size_t at = 0;
    while (at < keks->count &&
           (keks->list[at].root != root || !kek_id_equal(&keks->list[at].id, id))) {
        at++;
    }
    return at;
}

static bool has(const void *arg, size_t root, const struct kek_id *id)
{
    const struct inventory_keks *keks = arg;
    return place_of(keks, root, id) < keks->count;
}

/* By root and number, and what says another state of a key that is there makes it "differs". */
static void add(struct inventory_keks *keks, size_t root, const struct kek_id *id, uint32_t number,
                const char *state)
{
    size_t at = place_of(keks, root, id);
    if (at < keks->count) {
        if (strcmp(keks->list[at].state, state) != 0) {
            snprintf(keks->list[at].state, sizeof keks->list[at].state, "differs");
        }
        return;
    }
    if (keks->count == INVENTORY_KEKS_MAX) {
        return;
    }
    for (; at > 0 && (keks->list[at - 1].root > root ||
                      (keks->list[at - 1].root == root && keks->list[at - 1].number > number));
         at--) {
        keks->list[at] = keks->list[at - 1];
    }
    keks->list[at] = (struct inventory_kek){.id = *id, .root = root, .number = number};
    snprintf(keks->list[at].state, sizeof keks->list[at].state, "%s", state);
    keks->count++;
}

static void add_shown(struct inventory_keks *keks, size_t root, const struct keys *keys,
                      const struct announced *announced)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        for (size_t i = 0; listing->rc == KEK_OK && i < listing->count; i++) {
            const struct kek_version *v = &listing->versions[i];
            const char *state = view_surplus(keys, v, announced)
                                    ? "surplus"
                                    : kek_state_name(view_state(keys, p, i, announced));
            add(keks, root, &v->id, v->number, state);
        }
    }
}

/* May data keys be wrapped under it by every provider that answered? */
static bool active_everywhere(const struct keys *keys, const struct kek_id *id)
{
    bool active = true;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_version *v = view_find(keys, p, id);
        active = active && (keys->listings[p].rc != KEK_OK || (v != NULL && view_active(v)));
    }
    return active;
}

/* What this node announced, unless the tokens say that it may wrap no more; else the newest that may. */
static void choose_primary(struct inventory_keks *keks, size_t at, const struct keys *keys,
                           const struct announced *announced)
{
    struct inventory_root *root = &keks->roots[at];
    if (announced->count > 0 &&
        (root->answered == 0 || active_everywhere(keys, &announced->by[0].kek_id))) {
        root->primary = announced->by[0].kek_id;
        root->primary_source = "record";
        return;
    }
    for (size_t i = keks->count; root->answered > 0 && i-- > 0;) {
        if (keks->list[i].root == at && strcmp(keks->list[i].state, "surplus") != 0 &&
            active_everywhere(keys, &keks->list[i].id)) {
            root->primary = keks->list[i].id;
            root->primary_source = "providers";
            return;
        }
    }
}

static void ask_nodes(struct inventory_keks *keks, size_t at, const struct keys *keys)
{
    const struct ctl *ctl = keys->ctl;
    struct inventory_root *root = &keks->roots[at];
    NODES_AUTO struct nodes nodes = {.list = NULL};
    enum ctl_exit code;
    if (!nodes_open(&nodes, ctl, keys->config, ctl->nodes.list, ctl->nodes.count, &code)) {
        return;
    }
    (void)nodes_ask(&nodes, ctl->timeout_given ? ctl->timeout_ms : NODES_TIMEOUT_MS);
    for (size_t i = 0; i < nodes.count; i++) {
        const struct node_status *status = &nodes.list[i].status;
        if (!nodes.list[i].reachable ||
            strcmp(status->keyring, kek_config_file_keyring(keys->config)) != 0) {
            continue;
        }
        for (size_t v = 0; v < status->version_count; v++) {
            add(keks, at, &status->versions[v].kek_id, status->versions[v].number, "");
            root->source = "nodes";
        }
        if (status->announces && status->primary.version != 0 && root->primary_source == NULL) {
            root->primary = status->primary.kek_id;
            root->primary_source = "nodes";
        }
    }
}

static size_t count_answers(const struct keys *keys)
{
    size_t count = 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        count += keys->listings[p].rc == KEK_OK;
    }
    return count;
}

void inventory_keks_look_at(struct inventory_keks *keks, size_t at, struct keys *keys, bool asked)
{
    struct inventory_root *root = &keks->roots[at];
    struct announced announced;
    struct kek_why why;
    root->answered = keys->pool == NULL ? 0 : asked ? count_answers(keys) : keys_list(keys, false);
    if (!announced_on_record(keys, &announced, &why)) {
        ctl_say(keys->ctl, "what this node announced last is not known: %s", why.text);
    }
    if (root->answered > 0) {
        root->source = "providers";
        add_shown(keks, at, keys, &announced);
    }
    choose_primary(keks, at, keys, &announced);
    if (root->answered == 0) {
        ask_nodes(keks, at, keys);
    }
    for (size_t i = 0; i < announced.count; i++) {
        if (place_of(keks, at, &announced.by[i].kek_id) == keks->count) {
            add(keks, at, &announced.by[i].kek_id, announced.by[i].number, "");
            root->source = root->source == NULL ? "record" : root->source;
        }
    }
}

/* All of the roots that seal, in their order. */
static void join_primaries(struct inventory_keks *keks)
{
    struct kek_root_form form = {.mode = keks->rules.mode};
    for (size_t i = 0; i < keks->root_count; i++) {
        const struct inventory_root *root = &keks->roots[i];
        if (root->seals && root->primary_source == NULL) {
            return;
        }
        if (root->seals) {
            form.kek_ids[form.count++] = root->primary;
        }
    }
    keks->primary = form;
}

static uint8_t mode_of(enum kek_config_mode mode)
{
    return mode == KEK_CONFIG_ALL ? KEK_ENVELOPE_MODE_ALL : KEK_ENVELOPE_MODE_ANY;
}

void inventory_keks_init(struct inventory_keks *keks, const struct kek_config *config)
{
    *keks = (struct inventory_keks){.root_count = kek_config_root_count(config)};
    keks->rules = (struct kek_root_rules){.mode = mode_of(config->mode),
                                          .mode_accept = mode_of(config->mode_accept),
                                          .count = keks->root_count,
                                          .has = has,
                                          .arg = keks};
    for (size_t i = 0; i < keks->root_count; i++) {
        const struct kek_config *view = kek_config_view(config, i);
        bool seals = config->root_count == 0 || config->roots[i].seals;
        keks->roots[i] = (struct inventory_root){
            .name = config->root_count > 1 ? view->root : "",
            .keyring = config->root_count > 1 ? view->keyring : config->keyring};
        keks->roots[i].seals = keks->rules.seals[i] = seals;
        keks->rules.needed[i] = config->root_count == 0 || config->roots[i].needed;
    }
}

void inventory_keks_look(struct inventory_keks *keks, struct root_keys *keys)
{
    for (size_t i = 0; i < keks->root_count; i++) {
        inventory_keks_look_at(keks, i, &keys->list[i], false);
    }
    join_primaries(keks);
}

const struct kek_root_rules *inventory_keks_rules(const struct inventory_keks *keks)
{
    return keks->root_count > 1 ? &keks->rules : NULL;
}
