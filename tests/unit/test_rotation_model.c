/*
 * kekctl/rotation.c in a world that moves: HSMs that replicate late, nodes that see late, settle and go on sealing
 * for a while, rotations on two nodes at once that are killed between any two things they do and begin again.
 *
 * A walk is a seed: what happens next is drawn from it.  Nothing may ever retire what a node announces or may seal
 * under, or promote what a node does not see; once nobody is killed any more it must end, with one active version
 * that every node announces, one new key where the nodes can see each other, and nothing on record.
 */
#include "kekctl/rotate/rotation.h"
#include "rotation_facts.h"
#include "suite.h"

#define WALKS 1500
#define TURNS_MAX 4000
#define RESTLESS 150 /* turns in which things go wrong; then they only go on */
#define NODES WORLD_NODES
#define ACTORS 2
#define TICK_MS 1000
#define SETTLE 3  /* ticks */
#define SEALING 4 /* ticks */
#define FIRST_ID 0x33

/* A kekd. What it sees is what its last look showed. */
struct model_node {
    bool hidden; /* from the rotations */
    struct kek_version seen[2][WORLD_KEYS];
    size_t seen_count[2];
    uint8_t announced, sealing; /* ids' first byte; 0: none */
    int settles, seals;         /* ticks left */
    uint8_t wanted;
    int64_t announced_ms;
};

/* What an actor has decided and not done yet. */
enum task {
    TASK_LOOK = 0,
    TASK_WRITE,          /* the step, and what it is about */
    TASK_LOOK_ONCE_MORE, /* its id is on record: is anybody else as far? */
    TASK_GENERATE,
    TASK_CHANGE, /* of one key on one provider */
    TASK_REMOVE,
};

struct actor {
    bool runs, has_ended, refused;
    bool drawn;                    /* the id on record was drawn by this run, and not sent yet */
    struct rotation_progress file; /* what a kill leaves: step CHECK if nothing */
    struct rotation_plan plan;
    enum task task;
    size_t change; /* the next one of the plan */
};

static struct {
    struct kek_version keys[2][WORLD_KEYS];
    size_t count[2];
    struct model_node nodes[NODES];
    struct actor actors[ACTORS];
    bool blind; /* nodes are hidden from the rotations, for good: time alone tells */
    uint64_t random;
    int64_t now_ms;
    uint8_t next_id;
    size_t made;
    long pid;
} model;

static struct world world;
static uint64_t seed;

static uint32_t draw(uint32_t below)
{
    model.random = model.random * UINT64_C(6364136223846793005) + UINT64_C(1442695040888963407);
    return (uint32_t)(model.random >> 33) % below;
}

static struct kek_version *find(size_t provider, uint8_t id)
{
    for (size_t i = 0; i < model.count[provider]; i++) {
        if (model.keys[provider][i].id.bytes[0] == id) {
            return &model.keys[provider][i];
        }
    }
    return NULL;
}

static void add_key(size_t provider, uint32_t number, uint8_t id, bool can_wrap)
{
    ck_assert_uint_lt(model.count[provider], WORLD_KEYS);
    model.keys[provider][model.count[provider]++] = (struct kek_version){.number = number,
                                                                         .id = world_id(id),
                                                                         .eligible = true,
                                                                         .can_wrap = can_wrap,
                                                                         .can_unwrap = true};
}

static void replicate(void)
{
    for (size_t p = 0; p < 2; p++) {
        for (size_t i = 0; i < model.count[p]; i++) {
            const struct kek_version *key = &model.keys[p][i];
            if (find(1 - p, key->id.bytes[0]) == NULL) {
                add_key(1 - p, key->number, key->id.bytes[0], false);
            }
        }
    }
}

/* ---- kekd ---- */

static bool node_sees(const struct model_node *node, size_t provider, uint8_t id, bool wrap)
{
    for (size_t i = 0; i < node->seen_count[provider]; i++) {
        const struct kek_version *key = &node->seen[provider][i];
        if (key->id.bytes[0] == id && (key->can_wrap || !wrap)) {
            return true;
        }
    }
    return false;
}

/* The newest that is active with both; of one number the smaller id, unless another was announced. */
static uint8_t node_wants(const struct model_node *node)
{
    uint8_t wanted = node->announced;
    uint32_t number = 0;
    for (size_t i = 0; i < node->seen_count[0]; i++) {
        if (node->seen[0][i].id.bytes[0] == wanted) {
            number = node->seen[0][i].number;
        }
    }
    for (size_t i = 0; i < node->seen_count[0]; i++) {
        const struct kek_version *key = &node->seen[0][i];
        uint8_t id = key->id.bytes[0];
        bool smaller = key->number == number && wanted != node->announced && id < wanted;
        if (node_sees(node, 0, id, true) && node_sees(node, 1, id, true) &&
            (key->number > number || smaller)) {
            wanted = id;
            number = key->number;
        }
    }
    return wanted;
}

static void node_lives(struct model_node *node)
{
    if (draw(3) > 0) {
        memcpy(node->seen, model.keys, sizeof node->seen);
        memcpy(node->seen_count, model.count, sizeof node->seen_count);
    }
    if (node->seals > 0 && --node->seals == 0) {
        node->sealing = 0;
    }
    uint8_t wanted = node_wants(node);
    if (wanted == node->announced) {
        node->wanted = 0;
    } else if (wanted != node->wanted) {
        node->wanted = wanted;
        node->settles = SETTLE;
    } else if (--node->settles <= 0) {
        node->sealing = node->announced;
        node->seals = SEALING;
        node->announced = wanted;
        node->announced_ms = model.now_ms;
        node->wanted = 0;
    }
}

/* ---- what a rotation sees ---- */

static void show_node(size_t i, size_t actor)
{
    const struct model_node *node = &model.nodes[i];
    struct node_status *status = &world.nodes[i].status;
    bool own = i == actor;
    world_node(&world);
    world.nodes[i].reachable = own || !node->hidden;
    world_announces(&world, i, 1, node->announced);
    status->primary.announced_ms = node->announced_ms;
    status->sealing[0] = world_id(node->sealing);
    status->sealing_count = node->sealing != 0;
    for (size_t k = 0; k < node->seen_count[0]; k++) {
        uint8_t id = node->seen[0][k].id.bytes[0];
        struct node_version *v =
            world_shown(&world, i, node->seen[0][k].number, id, KEK_KEYRING_KEY_PRE_ACTIVE);
        v->held[1] = node_sees(node, 1, id, false) ? v->held[0] : KEK_KEYRING_KEY_UNSEEN;
    }
    if (i < ACTORS && model.actors[i].file.step != ROTATION_CHECK) {
        const struct rotation_progress *file = &model.actors[i].file;
        status->rotating = true;
        status->rotation = (struct node_rotation){.version = file->key.number, .pid = file->pid};
        snprintf(status->rotation.node, sizeof status->rotation.node, "cp%zu", i + 1);
        snprintf(status->rotation.step, sizeof status->rotation.step, "%s",
                 rotation_step_name(file->step));
    }
}

static void gather(size_t actor)
{
    static const char *const names[] = {"cp1", "cp2"};
    world_init(&world, 0);
    world.facts.self = names[actor];
    world.facts.maker = actor;
    world.facts.now_ms = model.now_ms;
    world.facts.refresh_ms = TICK_MS; /* 22 of them: more than any node takes */
    world.facts.settle_ms = (uint64_t)SETTLE * TICK_MS;
    world.facts.progress = model.actors[actor].file;
    for (size_t p = 0; p < 2; p++) {
        world.facts.providers[p].versions = model.keys[p];
        world.facts.providers[p].count = model.count[p];
    }
    for (size_t i = 0; i < NODES; i++) {
        show_node(i, actor);
        world.facts.left_out[i] = model.blind;
    }
}

/* ---- what it does: one thing a turn, and it may be killed before each ---- */

static void expect_safe_to_retire(uint8_t id)
{
    for (size_t i = 0; i < NODES; i++) {
        ck_assert_msg(model.nodes[i].announced != id, "seed %lu: v%02x is announced by cp%zu",
                      (unsigned long)seed, id, i + 1);
        ck_assert_msg(model.nodes[i].sealing != id, "seed %lu: cp%zu may seal under %02x",
                      (unsigned long)seed, i + 1, id);
    }
}

static void expect_safe_to_promote(uint8_t id)
{
    for (size_t p = 0; p < 2; p++) {
        ck_assert_ptr_nonnull(find(p, id));
        for (size_t i = 0; i < NODES; i++) {
            ck_assert_msg(node_sees(&model.nodes[i], p, id, false),
                          "seed %lu: %02x is promoted and cp%zu does not see it",
                          (unsigned long)seed, id, i + 1);
        }
    }
}

static void change_one(struct actor *actor)
{
    bool promote = actor->plan.step == ROTATION_PROMOTE;
    size_t provider = actor->change % 2;
    const struct rotation_key *key =
        promote ? &actor->plan.target : &actor->plan.old[actor->change / 2];
    struct kek_version *there = find(provider, key->id.bytes[0]);
    if (promote) {
        expect_safe_to_promote(key->id.bytes[0]);
    } else {
        expect_safe_to_retire(key->id.bytes[0]);
    }
    if (there != NULL) {
        there->can_wrap = promote;
    }
    actor->change++;
    if (actor->change == 2 * (promote ? 1 : actor->plan.old_count)) {
        actor->task = TASK_LOOK;
    }
}

static void decide(struct actor *actor, size_t which)
{
    bool drawn = actor->task == TASK_LOOK_ONCE_MORE;
    struct rotation_plan *plan = &actor->plan;
    gather(which);
    rotation_plan(&world.facts, plan);
    switch (plan->verdict) {
    case ROTATION_REFUSED:
        actor->refused = true;
        actor->task = TASK_REMOVE;
        ck_assert_msg(plan->withdraw, "seed %lu: %s", (unsigned long)seed, plan->text);
        break;
    case ROTATION_NOTHING:
    case ROTATION_ENDED:
        actor->task = TASK_REMOVE;
        break;
    case ROTATION_ACT:
    case ROTATION_WAIT:
        actor->task = plan->wait_ms == ROTATION_CLAIM_MS ? TASK_LOOK : TASK_WRITE;
        if (drawn && plan->verdict == ROTATION_ACT && plan->step == ROTATION_CREATE &&
            plan->target.number == actor->file.key.number) {
            actor->task = TASK_GENERATE;
        }
        break;
    case ROTATION_REACHED:
        ck_abort_msg("nobody said --until");
        break;
    }
}

static void write_step(struct actor *actor)
{
    const struct rotation_plan *plan = &actor->plan;
    bool act = plan->verdict == ROTATION_ACT, create = act && plan->step == ROTATION_CREATE;
    struct rotation_key key = plan->target;
    if (plan->is_new && (!actor->drawn || actor->file.key.number != key.number)) {
        key.id = world_id(model.next_id);
        model.next_id += (uint8_t)(draw(2) == 0 ? 1 : 3);
        actor->drawn = true;
    } else if (plan->is_new) {
        key.id = actor->file.key.id;
    }
    if (create || actor->file.step != plan->step || !kek_id_equal(&actor->file.key.id, &key.id)) {
        actor->file = (struct rotation_progress){
            .step = plan->step, .key = key, .since_ms = model.now_ms, .pid = actor->file.pid};
    }
    actor->change = 0;
    actor->task = create ? TASK_LOOK_ONCE_MORE
                  : act && (plan->step == ROTATION_PROMOTE || plan->step == ROTATION_RETIRE)
                      ? TASK_CHANGE
                      : TASK_LOOK;
}

static void act(size_t which)
{
    struct actor *actor = &model.actors[which];
    switch (actor->task) {
    case TASK_LOOK:
    case TASK_LOOK_ONCE_MORE:
        decide(actor, which);
        break;
    case TASK_WRITE:
        write_step(actor);
        break;
    case TASK_GENERATE:
        add_key(which, actor->file.key.number, actor->file.key.id.bytes[0], false);
        model.made++;
        actor->drawn = false;
        actor->task = TASK_LOOK;
        break;
    case TASK_CHANGE:
        change_one(actor);
        break;
    case TASK_REMOVE:
        actor->file = (struct rotation_progress){.step = ROTATION_CHECK};
        actor->runs = false;
        actor->has_ended = actor->has_ended || !actor->refused;
        break;
    }
}

/* As somebody runs it, for the first time or again. */
static void begin(struct actor *actor)
{
    actor->runs = true;
    actor->refused = actor->drawn = false;
    actor->task = TASK_LOOK;
    actor->file.pid = ++model.pid;
}

static void turn(unsigned number)
{
    bool restless = number < RESTLESS;
    model.now_ms += TICK_MS;
    for (size_t i = 0; i < NODES; i++) {
        node_lives(&model.nodes[i]);
        if (!model.blind) {
            model.nodes[i].hidden = restless && draw(8) == 0;
        }
    }
    if (draw(6) == 0) {
        replicate();
    }
    for (size_t i = 0; i < ACTORS; i++) {
        struct actor *actor = &model.actors[i];
        if (!actor->runs && (i == 0 || restless) && draw(restless ? 10 : 2) == 0) {
            begin(actor);
        }
        for (unsigned n = draw(4); actor->runs && n > 0; n--) {
            if (restless && draw(6) == 0) {
                actor->runs = false; /* killed */
            } else {
                act(i);
            }
        }
    }
}

static bool is_over(void)
{
    bool over = model.actors[0].has_ended;
    for (size_t i = 0; i < ACTORS; i++) {
        over = over && !model.actors[i].runs && model.actors[i].file.step == ROTATION_CHECK;
    }
    return over;
}

static void expect_good_end(void)
{
    uint8_t primary = model.nodes[0].announced;
    ck_assert_msg(primary != FIRST_ID, "seed %lu: nothing was rotated", (unsigned long)seed);
    for (size_t i = 0; i < NODES; i++) {
        ck_assert_uint_eq(model.nodes[i].announced, primary);
    }
    for (size_t p = 0; p < 2; p++) {
        for (size_t i = 0; i < model.count[p]; i++) {
            const struct kek_version *key = &model.keys[p][i];
            ck_assert_msg(key->can_wrap == (key->id.bytes[0] == primary),
                          "seed %lu: %02x may%s wrap", (unsigned long)seed, key->id.bytes[0],
                          key->can_wrap ? "" : " not");
            ck_assert_uint_le(key->number, 2);
        }
    }
    ck_assert_msg(model.made == 1 || (model.blind && model.made <= 2),
                  "seed %lu: %zu keys were made", (unsigned long)seed, model.made);
}

static void walk(bool blind)
{
    memset(&model, 0, sizeof model);
    model.random = seed * 2 + blind;
    model.now_ms = WORLD_NOW;
    model.blind = blind;
    model.next_id = (uint8_t)(0x40 + draw(16));
    add_key(0, 1, FIRST_ID, true);
    add_key(1, 1, FIRST_ID, true);
    for (size_t i = 0; i < NODES; i++) {
        model.nodes[i].announced = FIRST_ID;
        model.nodes[i].hidden = blind;
        memcpy(model.nodes[i].seen, model.keys, sizeof model.keys);
        memcpy(model.nodes[i].seen_count, model.count, sizeof model.count);
    }
    unsigned number = 0;
    while (number < RESTLESS || !is_over()) {
        /* Whoever was refused runs the one that is half way, as it was told. */
        if (number >= RESTLESS && !model.actors[1].runs &&
            model.actors[1].file.step != ROTATION_CHECK) {
            begin(&model.actors[1]);
        }
        turn(number++);
        ck_assert_msg(number < TURNS_MAX, "seed %lu does not end: %s | %s", (unsigned long)seed,
                      model.actors[0].plan.text, model.actors[1].plan.text);
    }
    for (unsigned i = 0; i < 20; i++) {
        node_lives(&model.nodes[i % NODES]);
    }
    expect_good_end();
}

START_TEST(every_walk_ends_well_where_the_nodes_see_each_other)
{
    for (seed = 1; seed <= WALKS; seed++) {
        walk(false);
    }
}
END_TEST

START_TEST(every_walk_ends_well_where_only_time_tells)
{
    for (seed = 1; seed <= WALKS; seed++) {
        walk(true);
    }
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rotation_model");
    TCase *tcase = tcase_create("walks");
    tcase_set_timeout(tcase, 60);
    tcase_add_test(tcase, every_walk_ends_well_where_the_nodes_see_each_other);
    tcase_add_test(tcase, every_walk_ends_well_where_only_time_tells);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
