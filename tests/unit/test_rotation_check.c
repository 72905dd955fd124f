/* kekctl/rotation_check.c: what a rotation is refused for. */
#include "kekctl/rotate/rotation.h"

#include "rotation_plan.h"

START_TEST(a_rotation_is_refused_with_what_is_wrong_and_where)
{
    struct {
        const char *text;
        int how;
    } table[] = {
        {"version 4 would be on the token of hsm-a alone", 0},
        {"2 providers hold this keyring", 1},
        {"the keys of hsm-b and their states stand in the configuration", 2},
        {"cp2 serves keyring other, and this configuration k8s-test", 3},
        {"cp2 has another context", 4},
        {"cp2 is in trouble, and a rotation begins when all nodes are well: no HSM answers", 5},
        {"cp2 announces version 9 (kek id 99aa", 6},
        {"no version of keyring k8s-test is active", 7},
        {"no version of keyring k8s-test is active", 8},
        {"this node, cp9, is not among the nodes that are asked", 9},
        {"10.0.0.1:9479 and 10.0.0.2:9479 lead to one node, cp1, so that another", 10},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        setup();
        struct node_status *cp2 = &world.nodes[1].status;
        switch (table[i].how) {
        case 0:
            world.facts.providers[1].is_twin = true;
            break;
        case 1:
            world.facts.maker = SIZE_MAX;
            break;
        case 2:
            world.facts.providers[1].configured = true;
            break;
        case 3:
            snprintf(cp2->keyring, sizeof cp2->keyring, "other");
            break;
        case 4:
            snprintf(cp2->context_sha256, sizeof cp2->context_sha256, "c1");
            break;
        case 5:
            snprintf(cp2->health, sizeof cp2->health, "outage");
            snprintf(cp2->what, sizeof cp2->what, "no HSM answers");
            break;
        case 6:
            world_announces(&world, 1, 9, 0x99);
            break;
        case 7:
            key(0, 0x33)->can_wrap = key(1, 0x33)->can_wrap = false;
            break;
        case 9:
            world.facts.self = "cp9";
            break;
        case 10:
            snprintf(cp2->node, sizeof cp2->node, "cp1");
            break;
        default:
            world.facts.providers[0].count = world.facts.providers[1].count = 0;
            cp2->announces = world.nodes[0].status.announces = false;
            break;
        }
        expect(ROTATION_REFUSED, ROTATION_CHECK, table[i].text);
        ck_assert(!plan.withdraw);
    }
}
END_TEST

START_TEST(a_backup_is_asked_for_until_the_version_is_active)
{
    world.facts.providers[1].is_twin = true;
    world.facts.until = ROTATION_SEEN;
    expect(ROTATION_ACT, ROTATION_CREATE, "");
    world.facts.until = ROTATION_RETIRE;
    make_v4("U");
    expect(ROTATION_REFUSED, ROTATION_CHECK, "--i-have-a-backup");
    world.facts.has_backup = true;
    expect(ROTATION_ACT, ROTATION_PROMOTE, "");
    setup();
    world.facts.providers[1].is_twin = true;
    announce_v4();
    expect(ROTATION_ACT, ROTATION_RETIRE, "");
}
END_TEST

START_TEST(a_version_that_is_suspended_on_one_provider_is_to_be_resumed)
{
    make_v4("U");
    key(1, 0x44)->can_unwrap = false;
    expect(ROTATION_REFUSED, ROTATION_CHECK, "hsm-b: it is suspended there; run key resume 4");
    world.facts.root = "spare";
    expect(ROTATION_REFUSED, ROTATION_CHECK, "run key resume --root spare 4");
}
END_TEST

START_TEST(two_rotations_one_of_which_is_further_or_has_the_smaller_name)
{
    static const struct {
        enum rotation_step mine;
        const char *self, *other, *theirs;
        int64_t since;
        enum rotation_verdict verdict;
        bool withdraw;
    } table[] = {
        {ROTATION_CHECK, "cp1", "cp2", "claim", 0, ROTATION_REFUSED, true},
        {ROTATION_CHECK, "cp3", "cp2", "claim", 0, ROTATION_REFUSED, true},
        {ROTATION_CLAIM, "cp1", "cp2", "create", 0, ROTATION_REFUSED, true},
        {ROTATION_CLAIM, "cp1", "cp2", "claim", 0, ROTATION_WAIT, false},
        {ROTATION_CLAIM, "cp1", "cp2", "claim", 2000, ROTATION_ACT, false},
        {ROTATION_CLAIM, "cp3", "cp2", "claim", 9000, ROTATION_REFUSED, true},
        {ROTATION_CLAIM, "cp1", "cp1", "claim", 9000, ROTATION_REFUSED, true},
        {ROTATION_SEEN, "cp3", "cp2", "claim", 0, ROTATION_ACT, false},
        {ROTATION_CREATE, "cp1", "cp2", "create", 0, ROTATION_REFUSED, true},
        {ROTATION_SEEN, "cp1", "cp2", "retire", 0, ROTATION_ACT, false},
        {ROTATION_SEEN, "cp3", "cp2", "create", 0, ROTATION_REFUSED, true},
        {ROTATION_CLAIM, "cp1", "cp2", "a step of tomorrow", 9000, ROTATION_REFUSED, true},
    };
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        setup();
        world.facts.self = table[i].self;
        snprintf(world.nodes[0].status.node, sizeof world.nodes[0].status.node, "%s",
                 table[i].self);
        if (table[i].mine == ROTATION_SEEN) {
            make_v4("U");
        }
        record(table[i].mine, 0, 0);
        world.facts.progress.since_ms = WORLD_NOW - table[i].since;
        struct node_status *status = &world.nodes[1].status;
        status->rotating = true;
        status->rotation = (struct node_rotation){.version = V4, .since_ms = WORLD_NOW, .pid = 99};
        snprintf(status->rotation.node, sizeof status->rotation.node, "%s", table[i].other);
        snprintf(status->rotation.step, sizeof status->rotation.step, "%s", table[i].theirs);
        rotation_plan(&world.facts, &plan);
        ck_assert_msg(plan.verdict == table[i].verdict && plan.withdraw == table[i].withdraw,
                      "row %zu: %d \"%s\"", i, (int)plan.verdict, plan.text);
        ck_assert(plan.verdict != ROTATION_REFUSED || (strstr(plan.text, table[i].theirs) != NULL &&
                                                       strstr(plan.text, "2027-01-15T08:00:00Z")));
    }
}
END_TEST

START_TEST(ones_own_rotation_on_ones_own_page_is_no_other)
{
    struct node_status *status = &world.nodes[0].status;
    status->rotating = true;
    status->rotation = (struct node_rotation){.node = "cp1", .step = "claim", .pid = 4711};
    expect(ROTATION_ACT, ROTATION_CREATE, "");
}
END_TEST

#define ADD(name) tcase_add_test(facts, name)

int main(void)
{
    Suite *suite = suite_create("rotation_check");
    TCase *facts = tcase_create("refusals");
    tcase_add_checked_fixture(facts, setup, NULL);
    ADD(a_rotation_is_refused_with_what_is_wrong_and_where);
    ADD(a_backup_is_asked_for_until_the_version_is_active);
    ADD(a_version_that_is_suspended_on_one_provider_is_to_be_resumed);
    ADD(two_rotations_one_of_which_is_further_or_has_the_smaller_name);
    ADD(ones_own_rotation_on_ones_own_page_is_no_other);
    suite_add_tcase(suite, facts);
    return suite_run(suite);
}
