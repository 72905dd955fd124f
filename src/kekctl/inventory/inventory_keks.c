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

/* By number, and what says another state of a key that is there makes it "differs". */
static void add(struct inventory_keks *keks, const struct kek_id *id, uint32_t number,
                const char *state)
{
    size_t at = keks->count;
    for (size_t i = 0; i < keks->count; i++) {
        if (kek_id_equal(&keks->list[i].id, id)) {
            if (strcmp(keks->list[i].state, state) != 0) {
                snprintf(keks->list[i].state, sizeof keks->list[i].state, "differs");
            }
            return;
        }
    }
    if (keks->count == INVENTORY_KEKS_MAX) {
        return;
    }
    for (; at > 0 && keks->list[at - 1].number > number; at--) {
        keks->list[at] = keks->list[at - 1];
    }
    keks->list[at] = (struct inventory_kek){.id = *id, .number = number};
    snprintf(keks->list[at].state, sizeof keks->list[at].state, "%s", state);
    keks->count++;
}

static void add_shown(struct inventory_keks *keks, const struct keys *keys,
                      const struct announced *announced)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        for (size_t i = 0; listing->rc == KEK_OK && i < listing->count; i++) {
            const struct kek_version *v = &listing->versions[i];
            const char *state = view_surplus(keys, v, announced)
                                    ? "surplus"
                                    : kek_state_name(view_state(keys, p, i, announced));
            add(keks, &v->id, v->number, state);
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
static void choose_primary(struct inventory_keks *keks, const struct keys *keys,
                           const struct announced *announced)
{
    if (announced->count > 0 &&
        (keks->answered == 0 || active_everywhere(keys, &announced->by[0].kek_id))) {
        keks->primary = announced->by[0].kek_id;
        keks->primary_source = "record";
        return;
    }
    for (size_t i = keks->count; keks->answered > 0 && i-- > 0;) {
        if (strcmp(keks->list[i].state, "surplus") != 0 &&
            active_everywhere(keys, &keks->list[i].id)) {
            keks->primary = keks->list[i].id;
            keks->primary_source = "providers";
            return;
        }
    }
}

static void ask_nodes(struct inventory_keks *keks, const struct keys *keys)
{
    const struct ctl *ctl = keys->ctl;
    NODES_AUTO struct nodes nodes = {.list = NULL};
    enum ctl_exit code;
    if (!nodes_open(&nodes, ctl, keys->config, ctl->nodes.list, ctl->nodes.count, &code)) {
        return;
    }
    (void)nodes_ask(&nodes, ctl->timeout_given ? ctl->timeout_ms : NODES_TIMEOUT_MS);
    for (size_t i = 0; i < nodes.count; i++) {
        const struct node_status *status = &nodes.list[i].status;
        if (!nodes.list[i].reachable || strcmp(status->keyring, keys->config->keyring) != 0) {
            continue;
        }
        for (size_t v = 0; v < status->version_count; v++) {
            add(keks, &status->versions[v].kek_id, status->versions[v].number, "");
            keks->source = "nodes";
        }
        if (status->announces && status->primary.version != 0 && keks->primary_source == NULL) {
            keks->primary = status->primary.kek_id;
            keks->primary_source = "nodes";
        }
    }
}

void inventory_keks_look(struct inventory_keks *keks, struct keys *keys)
{
    struct announced announced;
    struct kek_why why;
    *keks = (struct inventory_keks){.count = 0};
    keks->answered = keys->pool == NULL ? 0 : keys_list(keys, false);
    if (!announced_on_record(keys, &announced, &why)) {
        ctl_say(keys->ctl, "what this node announced last is not known: %s", why.text);
    }
    if (keks->answered > 0) {
        keks->source = "providers";
        add_shown(keks, keys, &announced);
    }
    choose_primary(keks, keys, &announced);
    if (keks->answered == 0) {
        ask_nodes(keks, keys);
    }
    for (size_t i = 0; i < announced.count; i++) {
        if (inventory_kek_find(keks, &announced.by[i].kek_id) == NULL) {
            add(keks, &announced.by[i].kek_id, announced.by[i].number, "");
            keks->source = keks->source == NULL ? "record" : keks->source;
        }
    }
}
