#include "rotation_target.h"

const struct kek_version *rotation_find(const struct rotation_provider *provider,
                                        const struct kek_id *id)
{
    for (size_t i = 0; i < provider->count; i++) {
        if (provider->versions[i].eligible && kek_id_equal(&provider->versions[i].id, id)) {
            return &provider->versions[i];
        }
    }
    return NULL;
}

const struct node *rotation_announcer(const struct rotation_facts *facts, const struct kek_id *id)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        if (node->reachable && node_announces(&node->status, id)) {
            return node;
        }
    }
    return NULL;
}

/* Was it in use before, so that it is no new one whatever it may do now? */
static bool was_used(const struct rotation_facts *facts, const struct kek_id *id)
{
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node_version *v =
            facts->nodes[i].reachable ? node_version(&facts->nodes[i].status, id) : NULL;
        if (v != NULL &&
            (v->state == KEK_KEYRING_KEY_DEACTIVATED || v->state == KEK_KEYRING_KEY_COMPROMISED)) {
            return true;
        }
    }
    return rotation_announcer(facts, id) != NULL;
}

static bool is_compromised(const struct rotation_facts *facts, const struct kek_id *id)
{
    for (size_t p = 0; p < facts->provider_count; p++) {
        const struct kek_version *v = rotation_find(&facts->providers[p], id);
        if (v != NULL && v->compromised) {
            return true;
        }
    }
    return false;
}

/* Of two keys with one number the one with the smaller id is the version, unless the other is announced: as
 * kekd decides it.  False: there is none that opens. */
static bool pick(const struct rotation_facts *facts, uint32_t number, struct rotation_key *key)
{
    bool found = false;
    for (size_t p = 0; p < facts->provider_count; p++) {
        for (size_t i = 0; i < facts->providers[p].count; i++) {
            const struct kek_version *v = &facts->providers[p].versions[i];
            if (!v->eligible || !v->can_unwrap || v->number != number ||
                is_compromised(facts, &v->id)) {
                continue;
            }
            bool stands = found && rotation_announcer(facts, &key->id) != NULL;
            bool smaller = found && memcmp(v->id.bytes, key->id.bytes, KEK_ID_LEN) < 0;
            if (!found || (!stands && smaller) ||
                (!stands && rotation_announcer(facts, &v->id) != NULL)) {
                *key = (struct rotation_key){.number = number, .id = v->id};
                found = true;
            }
        }
    }
    return found;
}

/* The highest number of an active version; 0: none is. */
static uint32_t newest_active(const struct rotation_facts *facts)
{
    uint32_t newest = 0;
    for (size_t p = 0; p < facts->provider_count; p++) {
        for (size_t i = 0; i < facts->providers[p].count; i++) {
            const struct kek_version *v = &facts->providers[p].versions[i];
            bool active = v->eligible && v->can_wrap && !v->compromised;
            newest = active && v->number > newest ? v->number : newest;
        }
    }
    return newest;
}

/* The newest version above `floor` that was never in use and opens. */
static bool find_waiting(const struct rotation_facts *facts, uint32_t floor,
                         struct rotation_key *key)
{
    struct rotation_key candidate;
    bool found = false;
    for (size_t p = 0; p < facts->provider_count; p++) {
        for (size_t i = 0; i < facts->providers[p].count; i++) {
            uint32_t number = facts->providers[p].versions[i].number;
            if (number > floor && pick(facts, number, &candidate) &&
                !was_used(facts, &candidate.id)) {
                *key = candidate;
                floor = number;
                found = true;
            }
        }
    }
    return found;
}

/* One above all numbers, also of keys that nobody would use: their label is taken. 0: there is none left. */
static uint32_t next_number(const struct rotation_facts *facts)
{
    uint32_t highest = 0;
    for (size_t p = 0; p < facts->provider_count; p++) {
        for (size_t i = 0; i < facts->providers[p].count; i++) {
            uint32_t number = facts->providers[p].versions[i].number;
            highest = number > highest ? number : highest;
        }
    }
    return highest == UINT32_MAX ? 0 : highest + 1;
}

size_t rotation_others(const struct rotation_facts *facts, const struct kek_id *target,
                       struct rotation_key others[static ROTATION_OLD_MAX])
{
    size_t count = 0;
    for (size_t p = 0; p < facts->provider_count; p++) {
        for (size_t i = 0; i < facts->providers[p].count; i++) {
            const struct kek_version *v = &facts->providers[p].versions[i];
            bool is_new = v->eligible && v->can_wrap && !kek_id_equal(&v->id, target);
            for (size_t k = 0; is_new && k < count; k++) {
                is_new = !kek_id_equal(&others[k].id, &v->id);
            }
            if (is_new && count < ROTATION_OLD_MAX) {
                others[count++] = (struct rotation_key){.number = v->number, .id = v->id};
            }
        }
    }
    return count;
}

struct rotation_key rotation_surplus(const struct rotation_facts *facts,
                                     const struct rotation_key *key)
{
    for (size_t p = 0; p < facts->provider_count; p++) {
        for (size_t i = 0; i < facts->providers[p].count; i++) {
            const struct kek_version *v = &facts->providers[p].versions[i];
            if (v->eligible && v->number == key->number && !kek_id_equal(&v->id, &key->id)) {
                return (struct rotation_key){.number = v->number, .id = v->id};
            }
        }
    }
    return (struct rotation_key){.number = 0};
}

/* Is the primary what an earlier rotation came to, a moment ago?  Without an older version it is the first
 * one, and no rotation made it. */
static bool is_recent(const struct rotation_facts *facts, const struct rotation_key *primary)
{
    bool has_older = false, recent = false;
    for (size_t p = 0; p < facts->provider_count; p++) {
        for (size_t i = 0; i < facts->providers[p].count; i++) {
            const struct kek_version *v = &facts->providers[p].versions[i];
            has_older = has_older || (v->eligible && v->number < primary->number);
        }
    }
    for (size_t i = 0; i < facts->node_count; i++) {
        const struct node *node = &facts->nodes[i];
        int64_t since_ms = node->status.primary.announced_ms - node->skew_ms; /* by our clock */
        recent = recent || (node->reachable && node_announces(&node->status, &primary->id) &&
                            node->status.primary.announced_ms > 0 &&
                            facts->now_ms - since_ms < ROTATION_RECENT_MS);
    }
    return has_older && recent;
}

enum rotation_target rotation_target(const struct rotation_facts *facts, struct rotation_key *key)
{
    struct rotation_key others[ROTATION_OLD_MAX];
    uint32_t active = newest_active(facts), recorded = facts->progress.key.number;
    if (active == 0 || !pick(facts, active, key)) {
        return ROTATION_TARGET_NONE;
    }
    if (recorded > 0 && recorded <= active) {
        return ROTATION_TARGET_THERE;
    }
    struct rotation_key primary = *key;
    if ((recorded > 0 && pick(facts, recorded, key) && !was_used(facts, &key->id)) ||
        find_waiting(facts, active, key)) {
        return ROTATION_TARGET_THERE;
    }
    *key = primary;
    if (recorded == 0 && rotation_others(facts, &key->id, others) > 0) {
        return ROTATION_TARGET_THERE;
    }
    if (recorded == 0 && !facts->again && is_recent(facts, key)) {
        return ROTATION_TARGET_RECENT;
    }
    *key = (struct rotation_key){.number = next_number(facts)};
    return key->number == 0 ? ROTATION_TARGET_NONE : ROTATION_TARGET_NEW;
}
