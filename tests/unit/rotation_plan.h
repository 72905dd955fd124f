/*
 * A cluster under version 3 whose rotation goes to version 4, and what kekctl is expected to make of it.
 */
#ifndef UNIT_ROTATION_PLAN_H
#define UNIT_ROTATION_PLAN_H

#include "rotation_facts.h"
#include "suite.h"

#define V3 3
#define V4 4

static struct world world;
static struct rotation_plan plan;

/* Two nodes under version 3, which is all there is. */
static void setup(void)
{
    world_init(&world, 2);
    world_key_both(&world, V3, 0x33, "WU");
    for (size_t i = 0; i < 2; i++) {
        world_shown(&world, i, V3, 0x33, KEK_KEYRING_KEY_ACTIVE);
        world_announces(&world, i, V3, 0x33);
    }
}

static void expect(enum rotation_verdict verdict, enum rotation_step step, const char *text)
{
    rotation_plan(&world.facts, &plan);
    ck_assert_msg(plan.verdict == verdict && plan.step == step && strstr(plan.text, text) != NULL,
                  "verdict %d step %s: \"%s\", not %d %s \"%s\"", (int)plan.verdict,
                  rotation_step_name(plan.step), plan.text, (int)verdict, rotation_step_name(step),
                  text);
}

static void record(enum rotation_step step, uint32_t number, uint8_t id)
{
    world.facts.progress.step = step;
    world.facts.progress.key = (struct rotation_key){.number = number, .id = world_id(id)};
}

/* Version 4, made and brought to both, and seen by both nodes. */
static void make_v4(const char *may)
{
    world_key_both(&world, V4, 0x44, may);
    record(ROTATION_SEEN, V4, 0x44);
    for (size_t i = 0; i < 2; i++) {
        (void)world_shown(&world, i, V4, 0x44,
                          strchr(may, 'W') != NULL ? KEK_KEYRING_KEY_ACTIVE
                                                   : KEK_KEYRING_KEY_PRE_ACTIVE);
    }
}

static void announce_v4(void)
{
    make_v4("WU");
    record(ROTATION_ANNOUNCED, V4, 0x44);
    world_announces(&world, 0, V4, 0x44);
    world_announces(&world, 1, V4, 0x44);
}

static inline struct kek_version *key(size_t provider, uint8_t first)
{
    struct kek_id id = world_id(first);
    for (size_t i = 0; i < world.facts.providers[provider].count; i++) {
        if (kek_id_equal(&world.keys[provider][i].id, &id)) {
            return &world.keys[provider][i];
        }
    }
    ck_abort_msg("no such key");
    return NULL;
}

#endif
