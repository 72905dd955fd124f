/* A state_dir that is moved, removed or replaced under a keyring: what it tells, what it writes where, and what it does not
 * announce meanwhile. */
#include "keyring_turn.h"

#include <sys/stat.h>
#include <unistd.h>

static char home[96], away[112]; /* state_dir, and where it is moved */
static struct kek_lock other_lock;
static unsigned heard; /* notices of the state file */

static void hear(void *arg, enum kek_log_level level, const struct kek_log_field *fields,
                 const char *text)
{
    notice(arg, level, fields, text);
    heard +=
        (level == KEK_LOG_WARN || level == KEK_LOG_ERROR) && strstr(text, "state file") != NULL;
}

static void set_up_home(void)
{
    set_up();
    snprintf(home, sizeof home, "%s", states[0]);
    snprintf(away, sizeof away, "%s.away", home);
    ring = nodes[0];
    ring->settings.notice = hear;
    heard = 0;
    other_lock = KEK_LOCK_NONE;
}

static void look(void)
{
    home_look(ring, record_seen);
    while (ring->home.looking) {
        uv_run(&rig.loop, UV_RUN_ONCE);
    }
    write_out();
    remarks_drive(ring);
}

static const char *path_in(const char *folder, const char *name)
{
    static char path[160];
    snprintf(path, sizeof path, "%s/%s", folder, name);
    return path;
}

static bool has(const char *folder, const char *name)
{
    return access(path_in(folder, name), F_OK) == 0;
}

static json_int_t recorded(const char *folder)
{
    json_t *record = json_load_file(path_in(folder, "k.json"), 0, NULL);
    json_int_t number =
        json_integer_value(json_object_get(json_object_get(record, "primary"), "number"));
    json_decref(record);
    return number;
}

static const char *said(void)
{
    static char text[2048];
    struct kek_keyring_verdict remarks[KEK_KEYRING_REMARKS_MAX];
    size_t count = kek_keyring_remarks(ring, remarks, KEK_KEYRING_REMARKS_MAX);
    text[0] = '\0';
    for (size_t i = 0; i < count; i++) {
        if (remarks[i].remark == KEK_KEYRING_STATE_DIR_REPLACED) {
            kek_keyring_verdict_text(&remarks[i], text, sizeof text);
        }
    }
    return text;
}

static void move_away(void)
{
    ck_assert_int_eq(rename(home, away), 0);
}

static void replace(void)
{
    move_away();
    ck_assert_int_eq(mkdir(home, 0700), 0);
}

static void bring_back(void)
{
    (void)rmdir(home);
    ck_assert_int_eq(rename(away, home), 0);
}

/* Version 1 is announced, and version 2 about to be, once settle is over. */
static void follow(const struct kek_version *seen)
{
    both_list(seen, 1);
    ck_assert(leads(&seen[0]));
    both_list(seen, 2);
    ck_assert(leads(&seen[0]));
}

static void (*const wrongs[])(void) = {replace, move_away};
#define WRONGS (int)(sizeof wrongs / sizeof wrongs[0])

START_TEST(nothing_new_is_announced_until_the_folder_is_back)
{
    struct kek_version seen[] = {key(1, 0, 'W'), key(2, 0, 'W')};
    follow(seen);
    look();
    ck_assert_str_eq(said(), "");
    wrongs[_i]();
    look();
    ck_assert_msg(strstr(said(), home) != NULL, "%s", said());
    ck_assert_msg(strstr(said(), away) != NULL, "%s", said()); /* where it is */
    pass(SETTLE_MS);
    both_list(seen, 2);
    ck_assert(leads(&seen[0]));
    ck_assert_int_eq(wraps(&seen[0]), KEK_OK);
    ck_assert_int_eq(ring->verdict.state, KEK_KEYRING_GOOD);
    ck_assert_int_eq(recorded(away), 1);
    ck_assert(!has(home, "k.json"));
    pass(15000); /* a refresh later, as what waits is told */
    turn();
    ck_assert_msg(
        strstr(remark(KEK_KEYRING_VERSION_WAITS), "KEK version 2 waits until state_dir ") != NULL,
        "%s", remark(KEK_KEYRING_VERSION_WAITS));
    bring_back();
    look();
    ck_assert_str_eq(said(), "");
    turn();
    ck_assert(leads(&seen[1]));
    ck_assert_int_eq(recorded(home), 2);
}
END_TEST

/* The write is in the folder that is held, whole, and what it was to announce is not. */
START_TEST(folder_that_goes_while_a_version_is_put_on_record_keeps_it_from_being_announced)
{
    struct kek_version seen[] = {key(1, 0, 'W'), key(2, 0, 'W')};
    follow(seen);
    pass(SETTLE_MS);
    ring->now_ms = kek_clock_ms();
    judge_holdings(ring);
    primary_drive(ring);
    kek_keyring_prepared(ring, &ring->wanted);
    primary_drive(ring);
    ck_assert(ring->record_writing);
    wrongs[_i]();
    write_out();
    turn();
    ck_assert(leads(&seen[0]));
    ck_assert(!has(home, "k.json"));
    ck_assert_str_ne(said(), "");
    look_due(&ring->refresh); /* it goes from the record again */
    look();
    ck_assert_int_eq(recorded(away), 1);
    bring_back();
    look();
    turn();
    ck_assert(leads(&seen[1]));
    ck_assert_int_eq(recorded(home), 2);
}
END_TEST

START_TEST(what_else_is_put_on_record_goes_into_the_folder_that_is_locked)
{
    struct kek_version seen = key(1, 0, 'W');
    both_list(&seen, 1);
    replace();
    kek_keyring_wrapped(ring, &seen.id, KEK_WRAP_AES_GCM);
    write_out();
    ck_assert(!has(home, "k.json"));
    json_t *record = json_load_file(path_in(away, "k.json"), 0, NULL);
    json_t *v1 = json_array_get(json_object_get(record, "versions"), 0);
    ck_assert_int_gt(json_integer_value(json_object_get(v1, "gcm_wraps")), 1);
    json_decref(record);
    ck_assert_uint_eq(heard, 0);
    bring_back();
}
END_TEST

static void remove_folder(void)
{
    move_away();
    ck_assert_int_eq(unlink(path_in(away, "k.json")), 0);
    ck_assert_int_eq(unlink(path_in(away, "k.lock")), 0);
    ck_assert_int_eq(rmdir(away), 0);
}

static void put_nothing(void)
{
}

static void put_a_record(void)
{
    ck_assert_int_eq(mkdir(home, 0700), 0);
    FILE *file = fopen(path_in(home, "k.json"), "w");
    ck_assert_ptr_nonnull(file);
    fclose(file);
}

/* By another descriptor, as another process has it. */
static void put_a_lock(void)
{
    char who[KEK_LOCK_WHO];
    struct kek_why why;
    ck_assert_int_eq(mkdir(home, 0700), 0);
    ck_assert_int_eq(kek_lock_take(path_in(home, "k.lock"), &other_lock, who, &why), KEK_OK);
}

static const struct {
    void (*put)(void);
    const char *says;
} others[] = {
    {put_nothing, "memory alone; make it again"},
    {put_a_record, "not put into the folder that is there now: it has a k.json of its own"},
    {put_a_lock, "not put into the folder that is there now: another process held "},
};
#define OTHERS (int)(sizeof others / sizeof others[0])

START_TEST(folder_that_was_removed_is_told_until_another_can_take_its_place)
{
    struct kek_version seen = key(1, 0, 'W');
    both_list(&seen, 1);
    remove_folder();
    others[_i].put();
    look();
    ck_assert_msg(strstr(said(), others[_i].says) != NULL, "%s", said());
    ck_assert_msg(strstr(said(), "was removed: what this node announced is in kekd's memory") !=
                      NULL,
                  "%s", said());
    ck_assert_int_eq(wraps(&seen), KEK_OK);
    kek_keyring_wrapped(ring, &seen.id, KEK_WRAP_AES_GCM);
    write_out();
    look_due(&ring->refresh);
    look();
    ck_assert_int_eq(recorded(home), 0);
    ck_assert_uint_eq(heard, 0);
    /* Once there is one that nobody else has, it is locked, and has it all. */
    kek_lock_release(&other_lock);
    (void)unlink(path_in(home, "k.json"));
    (void)mkdir(home, 0700);
    look();
    ck_assert_str_eq(said(), "");
    ck_assert_int_eq(recorded(home), 1);
    ck_assert(
        kek_keyring_runner(&configs[0]).there); /* by the folder, which another descriptor sees */
    move_away();
    look();
    ck_assert_msg(strstr(said(), away) != NULL, "%s", said());
    bring_back();
}
END_TEST

static void remove_file(void)
{
    ck_assert_int_eq(unlink(path_in(home, "k.json")), 0);
}

static void empty_file(void)
{
    FILE *file = fopen(path_in(home, "k.json"), "w");
    ck_assert_ptr_nonnull(file);
    fclose(file);
}

static void link_file(void)
{
    remove_file();
    ck_assert_int_eq(symlink("nowhere", path_in(home, "k.json")), 0);
}

static void (*const losses[])(void) = {remove_file, link_file, empty_file};
#define LOSSES (int)(sizeof losses / sizeof losses[0])

START_TEST(state_file_alone_that_is_removed_or_changed_is_told_once_and_written_at_last)
{
    struct kek_version seen = key(1, 0, 'W');
    look();
    ck_assert(!has(home, "k.json")); /* there is nothing to be put on record yet */
    both_list(&seen, 1);
    if (_i % 2 == 1) { /* as it was read, too */
        close_node(0);
        open_node(0);
        ring->settings.notice = hear;
        write_out();
        both_list(&seen, 1);
        record_save(ring);
        write_out();
    }
    look();
    ck_assert_uint_eq(heard, 0);
    losses[_i / 2]();
    look();
    ck_assert_uint_eq(heard, 1);
    ck_assert_int_eq(recorded(home), losses[_i / 2] == empty_file ? 0 : 1);
    ck_assert_str_eq(said(), "");
    look();
    ck_assert_uint_eq(heard, 1);
    kek_keyring_wrapped(ring, &seen.id, KEK_WRAP_AES_GCM);
    write_out();
    look();
    ck_assert_uint_eq(heard, 1);
    ck_assert_int_eq(recorded(home), 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring-home");
    TCase *tcase = tcase_create("home");
    tcase_add_checked_fixture(tcase, set_up_home, tear_down);
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_loop_test(tcase, nothing_new_is_announced_until_the_folder_is_back, 0, WRONGS);
    tcase_add_loop_test(
        tcase, folder_that_goes_while_a_version_is_put_on_record_keeps_it_from_being_announced, 0,
        WRONGS);
    tcase_add_test(tcase, what_else_is_put_on_record_goes_into_the_folder_that_is_locked);
    tcase_add_loop_test(tcase, folder_that_was_removed_is_told_until_another_can_take_its_place, 0,
                        OTHERS);
    tcase_add_loop_test(
        tcase, state_file_alone_that_is_removed_or_changed_is_told_once_and_written_at_last, 0,
        2 * LOSSES);
    return suite_run(suite);
}
