/*
 * Facts for a rotation, built up by a test: a cluster of two HSMs and some nodes, in one static world.
 */
#ifndef UNIT_ROTATION_FACTS_H
#define UNIT_ROTATION_FACTS_H

#include <stdio.h>

#include "kekctl/rotate/rotation.h"

#define WORLD_KEYS 16
#define WORLD_NODES 3
#define WORLD_NOW INT64_C(1800000000000)

struct world {
    struct kek_version keys[2][WORLD_KEYS]; /* by provider */
    struct node nodes[WORLD_NODES];
    struct rotation_facts facts;
};

static const char *const world_providers[] = {"hsm-a", "hsm-b"};

static inline struct kek_id world_id(uint8_t first)
{
    return (struct kek_id){.bytes = {first, 0xaa}};
}

/* A key on one provider; `may`: "W", "U", "WU", "C" (marked compromised) or "". */
static inline void world_key(struct world *world, size_t provider, uint32_t number, uint8_t id,
                             const char *may)
{
    struct rotation_provider *p = &world->facts.providers[provider];
    struct kek_version *key = &world->keys[provider][p->count++];
    *key = (struct kek_version){.number = number,
                                .id = world_id(id),
                                .eligible = true,
                                .can_wrap = strchr(may, 'W') != NULL,
                                .can_unwrap = strpbrk(may, "UC") != NULL,
                                .compromised = strchr(may, 'C') != NULL};
}

static inline void world_key_both(struct world *world, uint32_t number, uint8_t id, const char *may)
{
    world_key(world, 0, number, id, may);
    world_key(world, 1, number, id, may);
}

/* As the node's page shows it with both providers. */
static inline struct node_version *world_shown(struct world *world, size_t node, uint32_t number,
                                               uint8_t id, enum kek_keyring_key state)
{
    struct node_status *status = &world->nodes[node].status;
    struct node_version *v = &status->versions[status->version_count++];
    *v = (struct node_version){.number = number,
                               .kek_id = world_id(id),
                               .state = state,
                               .held = {state, state},
                               .proven = {true, true}};
    return v;
}

static inline void world_announces(struct world *world, size_t node, uint32_t number, uint8_t id)
{
    struct node_status *status = &world->nodes[node].status;
    status->announces = true;
    status->primary = (struct node_primary){.version = number, .kek_id = world_id(id)};
}

static inline void world_node(struct world *world)
{
    size_t i = world->facts.node_count++;
    struct node *node = &world->nodes[i];
    *node = (struct node){.reachable = true};
    snprintf(node->name, sizeof node->name, "10.0.0.%zu:9479", i + 1);
    snprintf(node->status.node, sizeof node->status.node, "cp%zu", i + 1);
    snprintf(node->status.keyring, sizeof node->status.keyring, "k8s-test");
    snprintf(node->status.context_sha256, sizeof node->status.context_sha256, "c0");
    snprintf(node->status.health, sizeof node->status.health, "good");
    node->status.settle_ms = 60000;
    node->status.provider_count = 2;
    for (size_t p = 0; p < 2; p++) {
        struct node_provider *provider = &node->status.providers[p];
        snprintf(provider->name, sizeof provider->name, "%s", world_providers[p]);
        provider->answers = true;
    }
}

/* Two HSMs, `nodes` nodes, this one is cp1; it has claimed the rotation a while ago. No key is there yet. */
static inline void world_init(struct world *world, size_t nodes)
{
    *world = (struct world){
        .facts = {.until = ROTATION_RETIRE,
                  .keyring = "k8s-test",
                  .context_sha256 = "c0",
                  .self = "cp1",
                  .refresh_ms = 15000,
                  .settle_ms = 60000,
                  .now_ms = WORLD_NOW,
                  .up_ms = WORLD_NOW, /* it has been up since 1970 */
                  .progress = {.step = ROTATION_CLAIM, .since_ms = WORLD_NOW - 10000, .pid = 4711},
                  .provider_count = 2}};
    world->facts.nodes = world->nodes;
    for (size_t p = 0; p < 2; p++) {
        world->facts.providers[p] =
            (struct rotation_provider){.name = world_providers[p], .versions = world->keys[p]};
    }
    for (size_t i = 0; i < nodes; i++) {
        world_node(world);
    }
}

#endif
