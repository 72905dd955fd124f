/* Several roots of trust, by keyrings whose facts are put in by hand: whose a KEK is that two of them know. */
#include "keyring_turn.h"

#include "kek/roots.h"

static struct kek_roots *roots;
static char announced[1024], said[1024];

static void hear(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                 const char *text)
{
    (void)arg;
    (void)level;
    (void)fields;
    bool primary = strstr(text, "primary of the roots of trust") != NULL;
    snprintf(primary ? announced : said, sizeof said, "%s", text);
}

static unsigned changes;

static void count_change(void *arg)
{
    (void)arg;
    changes++;
}

/* The roots `site` and `spare` are the first two nodes. */
static void join(uint8_t mode)
{
    struct kek_why why;
    struct kek_roots_settings settings = {.config = &rig.config,
                                          .mode = mode,
                                          .mode_accept = mode,
                                          .count = 2,
                                          .changed = count_change,
                                          .notice = hear};
    static const char *const names[] = {"site", "spare"};
    for (size_t i = 0; i < 2; i++) {
        settings.roots[i] = (struct kek_root){
            .name = names[i], .pool = rig.pool, .ring = nodes[i], .seals = true, .needed = true};
    }
    announced[0] = said[0] = '\0';
    roots = kek_roots_new(&rig.loop, &settings, &why);
    ck_assert_ptr_nonnull(roots);
}

static void part(void)
{
    kek_roots_stop(roots);
    uv_run(&rig.loop, UV_RUN_NOWAIT);
    kek_roots_free(roots);
}

static void node_lists(int node, const struct kek_version *seen, size_t count)
{
    ring = nodes[node];
    both_list(seen, count);
}

/* What it lists is proven and settled, and no data key is made under what it wants. */
static void node_wants(int node, const struct kek_version *seen, size_t count)
{
    ring = nodes[node];
    lists(0, seen, count);
    lists(1, seen, count);
    for (int i = 0; i < 4; i++) {
        ring->now_ms = kek_clock_ms();
        judge_holdings(ring);
        rank_drive(ring);
        prove();
        primary_drive(ring);
        write_out();
        pass(i == 2 ? SETTLE_MS : 1);
    }
    verdict_drive(ring);
    remarks_drive(ring);
    ck_assert_uint_eq(ring->wanted.count, 1);
}

static const uint8_t modes[] = {KEK_ENVELOPE_MODE_ANY, KEK_ENVELOPE_MODE_ALL};

START_TEST(kek_that_two_roots_know_is_sealed_under_by_whose_primary_it_is_and_opened_by_who_may)
{
    struct kek_version site[] = {key(1, 0, 'W'), key(2, 0, '-')};
    struct kek_version spare[] = {key(1, 0, 'W'), key(2, 0, 'W')};
    struct kek_keyring_primary primary;
    struct kek_envelope envelope = {.mode = modes[_i], .count = 2};
    envelope.entries[0] = (struct kek_envelope_entry){.kek_id = site[0].id};
    envelope.entries[1] = (struct kek_envelope_entry){.kek_id = site[1].id};
    node_lists(0, site, 2);
    node_lists(1, spare, 2);
    join(modes[_i]);
    ck_assert_str_eq(announced, "first primary of the roots of trust: site version 1, spare "
                                "version 2");
    ck_assert(kek_roots_primary(roots, &primary));
    ck_assert_int_eq(kek_roots_wraps(roots, &primary.generation, NULL), KEK_OK);
    ck_assert_str_eq(kek_roots_of(roots, &site[0].id)->name, "site");
    ck_assert_str_eq(kek_roots_of(roots, &site[1].id)->name, "spare");
    ck_assert_int_eq(kek_roots_find(roots, &envelope, NULL), KEK_KEYRING_OPENS);
    ck_assert_str_eq(said, "");
    /* Once nobody may, it is closed, and nothing more is sealed under it. */
    spare[1] = site[1];
    node_lists(1, spare, 2);
    pass(TICK_MS);
    node_lists(1, spare, 2);
    ck_assert_int_eq(kek_roots_wraps(roots, &primary.generation, NULL), KEK_PRECONDITION);
    envelope.count = 1;
    envelope.entries[0] = envelope.entries[1];
    ck_assert_int_eq(kek_roots_find(roots, &envelope, NULL), KEK_KEYRING_CLOSED);
    part();
}
END_TEST

START_TEST(root_that_comes_to_the_others_kek_is_named_and_what_was_announced_goes_on)
{
    static const char same[] = "the roots of trust site and spare have the same KEK, version 2 of "
                               "site and 2 of spare: they are one root";
    struct kek_version site[] = {key(1, 0, 'W'), key(2, 0, 'W')};
    struct kek_version spare[] = {key(2, 0, 'W'), key(3, 0, 'W')};
    struct kek_keyring_primary before, after;
    struct kek_keyring_verdict verdict, remarks[KEK_KEYRING_REMARKS_MAX];
    node_lists(0, site, 1);
    node_lists(1, spare, 1);
    join(modes[_i]);
    ck_assert(kek_roots_primary(roots, &before));
    node_wants(0, site, 2);
    kek_roots_review(roots);
    kek_roots_review(roots);
    ck_assert(kek_roots_primary(roots, &after));
    ck_assert(kek_generation_equal(&before.generation, &after.generation));
    ck_assert_ptr_null(kek_roots_wanted(roots));
    ck_assert_msg(strncmp(said, same, sizeof same - 1) == 0, "%s", said);
    ck_assert_ptr_nonnull(strstr(said, "no other is announced than before; make them one root"));
    ck_assert_ptr_nonnull(strstr(said, "kekctl key generate --root site"));
    kek_roots_verdict(roots, &verdict);
    ck_assert_int_eq(verdict.state, KEK_KEYRING_GOOD);
    ck_assert_uint_eq(kek_roots_remarks(roots, remarks, KEK_KEYRING_REMARKS_MAX), 1);
    ck_assert_int_eq(remarks[0].remark, KEK_KEYRING_VERSION_WAITS);
    ck_assert_uint_eq(remarks[0].version, 2);
    ck_assert_str_eq(remarks[0].root, "site");
    ck_assert_ptr_nonnull(strstr(remarks[0].what, same));

    /* The other may go on to a version of its own; then it is one KEK no more. */
    node_wants(1, spare, 2);
    kek_roots_review(roots);
    ck_assert_ptr_nonnull(kek_roots_wanted(roots));
    ck_assert_uint_eq(kek_roots_wanted(roots)->numbers[0], 1);
    ck_assert_uint_eq(kek_roots_wanted(roots)->numbers[1], 3);
    turn();
    kek_roots_review(roots);
    ck_assert_str_eq(said, "no two roots of trust have the same KEK any more");
    ck_assert_ptr_nonnull(kek_roots_wanted(roots));
    ck_assert_uint_eq(kek_roots_wanted(roots)->numbers[0], 2);
    ck_assert_uint_eq(kek_roots_wanted(roots)->numbers[1], 3);
    part();
}
END_TEST

START_TEST(roots_with_one_kek_from_the_start_announce_nothing_and_are_named)
{
    struct kek_version seen = key(1, 0, 'W');
    struct kek_keyring_primary primary;
    struct kek_keyring_verdict verdict;
    node_lists(0, &seen, 1);
    node_lists(1, &seen, 1);
    join(modes[_i]);
    ck_assert(!kek_roots_primary(roots, &primary));
    kek_roots_verdict(roots, &verdict);
    ck_assert_int_eq(verdict.state, KEK_KEYRING_STARTING);
    ck_assert_str_eq(verdict.what, "the roots of trust site and spare have the same KEK, version "
                                   "1 of site and 1 of spare: they are one root");
    ck_assert_ptr_nonnull(strstr(said, "they are one root, and nothing is sealed; "));
    part();
}
END_TEST

static size_t remarked(enum kek_keyring_remark kind)
{
    struct kek_keyring_verdict remarks[KEK_KEYRING_REMARKS_MAX];
    size_t found = 0, count = kek_roots_remarks(roots, remarks, KEK_KEYRING_REMARKS_MAX);
    for (size_t i = 0; i < count; i++) {
        found += remarks[i].remark == kind;
    }
    return found;
}

/* A data key is made under what is wanted. */
static void prepare(void)
{
    ck_assert_ptr_nonnull(kek_roots_wanted(roots));
    const struct kek_generation wanted = *kek_roots_wanted(roots);
    kek_roots_prepared(roots, &wanted);
    ck_assert_ptr_null(kek_roots_wanted(roots));
}

static void spare_is(enum kek_keyring_state state)
{
    nodes[1]->verdict.state = state;
    kek_roots_review(roots);
}

START_TEST(root_that_comes_back_is_out_or_what_lacks_it_is_remarked_at_every_moment)
{
    struct kek_version site = key(1, 0, 'W'), spare = key(2, 0, 'W');
    node_lists(0, &site, 1);
    node_lists(1, &spare, 1);
    join(KEK_ENVELOPE_MODE_ANY);
    for (int round = 0; round < 2; round++) {
        spare_is(KEK_KEYRING_OUTAGE);
        prepare();
        ck_assert_str_eq(announced, "new primary of the roots of trust: site version 1");
        remarks_drive(nodes[1]);
        ck_assert_uint_eq(remarked(KEK_KEYRING_ROOT_OUT), 1);
        ck_assert_uint_eq(remarked(KEK_KEYRING_UNDER_PROTECTED), 0);
        spare_is(KEK_KEYRING_GOOD);
        pass(rig.config.settle_ms);
        kek_roots_review(roots);
        ck_assert_uint_eq(remarked(KEK_KEYRING_ROOT_OUT), 1);
        prepare();
        ck_assert_str_eq(announced, "new primary of the roots of trust: site version 1, spare "
                                    "version 2");
        ck_assert_uint_eq(remarked(KEK_KEYRING_ROOT_OUT), 0);
        ck_assert_uint_eq(remarked(KEK_KEYRING_UNDER_PROTECTED), 1);
        remarks_drive(nodes[1]);
        ck_assert_uint_eq(remarked(KEK_KEYRING_UNDER_PROTECTED), 1);
    }
    part();
    write_out();
}
END_TEST

/* All roots have one state_dir: it is told once, and as no root's. */
START_TEST(state_dir_that_was_replaced_is_told_once_for_all_roots)
{
    struct kek_version seen = key(1, 0, 'W'), other = key(1, 1, 'W');
    struct kek_keyring_verdict remarks[KEK_KEYRING_REMARKS_MAX];
    node_lists(0, &seen, 1);
    node_lists(1, &other, 1);
    join(KEK_ENVELOPE_MODE_ANY);
    ck_assert_uint_eq(kek_roots_remarks(roots, remarks, KEK_KEYRING_REMARKS_MAX), 0);
    for (int i = _i; i < 2; i++) { /* both saw it, or the second one alone */
        nodes[i]->home.is = HOME_OTHER;
        remarks_drive(nodes[i]);
    }
    ck_assert_uint_eq(kek_roots_remarks(roots, remarks, KEK_KEYRING_REMARKS_MAX), 1);
    ck_assert_int_eq(remarks[0].remark, KEK_KEYRING_STATE_DIR_REPLACED);
    ck_assert_ptr_null(remarks[0].root);
    ck_assert_msg(strncmp(remarks[0].what, "state_dir ", 10) == 0, "%s", remarks[0].what);
    part();
}
END_TEST

START_TEST(what_is_told_of_the_node_is_the_last_remark_until_it_is_taken_back)
{
    struct kek_version site = key(1, 0, 'W'), spare = key(2, 0, 'W');
    struct kek_keyring_verdict remarks[KEK_KEYRING_REMARKS_MAX];
    const struct kek_keyring_verdict gone = {.remark = KEK_KEYRING_SOCKET_GONE, .what = "gone"};
    node_lists(0, &site, 1);
    node_lists(1, &spare, 1);
    join(modes[_i]);
    ck_assert_uint_eq(kek_roots_remarks(roots, remarks, KEK_KEYRING_REMARKS_MAX), 0);
    changes = 0;
    kek_roots_tell(roots, &gone);
    ck_assert_uint_eq(changes, 1);
    ck_assert_uint_eq(kek_roots_remarks(roots, remarks, 0), 0);
    ck_assert_uint_eq(kek_roots_remarks(roots, remarks, KEK_KEYRING_REMARKS_MAX), 1);
    ck_assert_int_eq(remarks[0].remark, KEK_KEYRING_SOCKET_GONE);
    ck_assert_str_eq(remarks[0].what, "gone");
    kek_roots_tell(roots, NULL);
    ck_assert_uint_eq(kek_roots_remarks(roots, remarks, KEK_KEYRING_REMARKS_MAX), 0);
    part();
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("roots");
    TCase *tcase = tcase_create("twins");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, set_up, tear_down);
    tcase_add_loop_test(
        tcase, kek_that_two_roots_know_is_sealed_under_by_whose_primary_it_is_and_opened_by_who_may,
        0, 2);
    tcase_add_loop_test(
        tcase, root_that_comes_to_the_others_kek_is_named_and_what_was_announced_goes_on, 0, 2);
    tcase_add_test(tcase, root_that_comes_back_is_out_or_what_lacks_it_is_remarked_at_every_moment);
    tcase_add_loop_test(tcase, roots_with_one_kek_from_the_start_announce_nothing_and_are_named, 0,
                        2);
    tcase_add_loop_test(tcase, state_dir_that_was_replaced_is_told_once_for_all_roots, 0, 2);
    tcase_add_loop_test(tcase, what_is_told_of_the_node_is_the_last_remark_until_it_is_taken_back,
                        0, 2);
    return suite_run(suite);
}
