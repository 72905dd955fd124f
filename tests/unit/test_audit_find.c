/* The audit log's chain over files that are renamed, as logrotate does, while several processes have them open. */
#include "src/ops/audit_find.h"

#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit_help.h"
#include "src/ops/audit_head.h"

#define RAW "{\"time\":\"2006-01-02T15:04:05.678Z\",\"seq\":1,\"node\":\"a\",\"event\":\"stop\"}\n"
#define STORES 4

static struct audit_store stores[STORES]; /* the first is kekd's, the others are kekctls' */
static struct audit_store *const kekd = &stores[0], *const ctl = &stores[1];
static char path[sizeof folder + sizeof "/audit"];
static struct kek_audit_place place;
static struct kek_why why;
static unsigned renamed;

static void find_setup(void)
{
    setup();
    snprintf(path, sizeof path, "%s/audit", folder);
    place = place_of(path);
    renamed = 0;
}

static void find_teardown(void)
{
    for (size_t i = 0; i < STORES; i++) {
        audit_store_close(&stores[i]);
    }
    teardown();
}

static void open_store(struct audit_store *store)
{
    enum audit_file_missing missing = store == kekd ? AUDIT_FILE_MAKE : AUDIT_FILE_GIVE;
    ck_assert_msg(audit_store_open(store, &place, "n", missing, 0, &why) == KEK_OK, "%s", why.text);
}

static void append(struct audit_store *store, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        size_t taken = 0;
        ck_assert_msg(audit_store_append(store, kek_bytes_of(RAW), &taken, &why) == KEK_OK, "%s",
                      why.text);
        ck_assert_uint_eq(taken, strlen(RAW));
        ck_assert_str_eq(store->told, "");
        ck_assert_int_eq(store->left_fd, -1);
    }
}

/* With a line that tells of something before it. */
static void append_told(struct audit_store *store, const char *told)
{
    size_t taken = 0;
    ck_assert_int_eq(audit_store_append(store, kek_bytes_of(RAW), &taken, &why), KEK_OK);
    ck_assert_msg(strstr(store->told, told) != NULL, "%s", store->told);
    store->told[0] = '\0';
}

static void reopen(struct audit_store *store)
{
    ck_assert_msg(audit_store_reopen(store, &why) == KEK_OK, "%s", why.text);
}

/* The n-th file that was renamed, from 0. */
static const char *old_path(unsigned n)
{
    char name[32];
    snprintf(name, sizeof name, "audit.%u", n);
    return folder_path(name);
}

/* What logrotate does first. */
static void rename_file(void)
{
    ck_assert_int_eq(rename(path, old_path(renamed)), 0);
    renamed++;
}

static bool is_there(const char *name)
{
    struct stat st;
    return lstat(name, &st) == 0;
}

/* All files, in the order in which they were renamed, are one chain of so many lines, and none tells of anything. */
static void are_one_chain(size_t count)
{
    while (line_count > 0) {
        json_decref(lines[--line_count]);
    }
    for (unsigned i = 0; i < renamed; i++) {
        read_lines(old_path(i));
    }
    if (is_there(path)) {
        read_lines(path);
    }
    ck_assert_uint_eq(line_count, count);
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(number_of(lines[i], "n"), (json_int_t)i + 1);
        ck_assert_str_ne(text_of(lines[i], "event"), "broken");
        if (i > 0) {
            ck_assert_str_eq(text_of(lines[i], "prev"), text_of(lines[i - 1], "hash"));
        }
    }
}

static size_t lines_in(const char *name)
{
    size_t before = line_count, count = read_lines(name);
    while (line_count > before) {
        json_decref(lines[--line_count]);
    }
    return count;
}

START_TEST(who_held_the_file_over_a_rotation_goes_on_in_the_new_one)
{
    open_store(kekd);
    open_store(ctl);
    append(kekd, 2);
    append(ctl, 1);
    rename_file();
    reopen(kekd);
    append(kekd, 2);
    append(ctl, 1);
    append(kekd, 1);
    ck_assert_uint_eq(lines_in(old_path(0)), 3);
    are_one_chain(7);
}
END_TEST

START_TEST(until_there_is_a_new_file_all_go_on_in_the_renamed_one)
{
    open_store(kekd);
    open_store(ctl);
    append(kekd, 1);
    rename_file();
    append(ctl, 2);
    append(kekd, 2);
    append(ctl, 1);
    ck_assert(!is_there(path));
    are_one_chain(6);
    reopen(kekd);
    append(ctl, 1);
    append(kekd, 1);
    ck_assert_uint_eq(lines_in(path), 2);
    are_one_chain(8);
}
END_TEST

START_TEST(kekctl_that_starts_before_kekd_hears_of_it_makes_the_file_that_all_go_on_in)
{
    open_store(kekd);
    open_store(ctl);
    append(kekd, 2);
    rename_file();
    open_store(&stores[2]);
    append(kekd, 1); /* nobody has written there yet */
    append(&stores[2], 1);
    append(ctl, 1);
    reopen(kekd);
    append(kekd, 1);
    ck_assert_uint_eq(lines_in(path), 4);
    are_one_chain(6);
}
END_TEST

START_TEST(who_holds_a_file_that_the_chain_has_left_makes_a_new_one_where_there_is_none)
{
    open_store(kekd);
    open_store(ctl);
    append(kekd, 1);
    append(ctl, 1);
    rename_file();
    reopen(kekd);
    append(kekd, 1);
    rename_file();
    append(ctl, 1); /* in neither of the old ones */
    ck_assert_uint_eq(lines_in(path), 1);
    append(kekd, 1);
    are_one_chain(5);
    struct stat made, around;
    ck_assert_int_eq(stat(path, &made), 0);
    ck_assert_int_eq(stat(folder, &around), 0);
    ck_assert_int_eq(made.st_mode & 07777, 0600);
    ck_assert_uint_eq(made.st_uid, around.st_uid);
}
END_TEST

START_TEST(kekd_that_is_restarted_and_one_that_is_not_there_leave_one_chain)
{
    open_store(ctl);
    append(ctl, 1);
    rename_file();
    append(ctl, 1);
    open_store(kekd);
    append(kekd, 1);
    audit_store_close(kekd);
    append(ctl, 1);
    rename_file();
    open_store(&stores[2]);
    append(ctl, 1);
    append(&stores[2], 1);
    open_store(kekd);
    append(kekd, 1);
    are_one_chain(7);
}
END_TEST

START_TEST(file_that_was_removed_is_not_written_any_more)
{
    open_store(kekd);
    open_store(ctl);
    append(kekd, 2);
    ck_assert_int_eq(unlink(path), 0);
    append(ctl, 1); /* which had written nothing there */
    append_told(kekd, "with its lines up to line 2 of chain");
    ck_assert_uint_eq(read_lines(path), 3);
    for (size_t i = 0; i < line_count; i++) {
        ck_assert_int_eq(number_of(lines[i], "n"), (json_int_t)i + 3);
    }
    ck_assert_str_eq(text_of(lines[1], "event"), "broken");
}
END_TEST

START_TEST(file_that_was_removed_is_told_once_by_who_wrote_there)
{
    static char error[sizeof path + 128];
    open_store(kekd);
    open_store(ctl);
    append(kekd, 2);
    append(ctl, 1);
    ck_assert_int_eq(unlink(path), 0);
    append_told(kekd, "with its lines up to line 3 of chain");
    ck_assert_uint_eq(read_lines(path), 2);
    ck_assert_str_eq(text_of(lines[0], "event"), "broken");
    ck_assert_int_eq(number_of(lines[0], "n"), 4);
    snprintf(error, sizeof error,
             "the file %s was removed while it was open, with its lines up to line 3 of chain %s",
             path, text_of(lines[0], "chain"));
    ck_assert_str_eq(text_of(lines[0], "error"), error);
    append(kekd, 1);
    /* Also where it is told to open its path anew. */
    ck_assert_int_eq(unlink(path), 0);
    reopen(kekd);
    append_told(kekd, "with its lines up to line 6 of chain");
    /* One that has no line yet had none. */
    rename_file();
    reopen(kekd);
    ck_assert_int_eq(unlink(path), 0);
    append(kekd, 1);
}
END_TEST

/* As a process leaves it that ends between a write and its record, and another one that ends within a write. */
static void leave_unrecorded_and_torn(void)
{
    append(kekd, 1);
    struct kek_audit_end end = kekd->end;
    append(kekd, 2);
    ck_assert_int_eq(audit_head_store(kekd->head_fd, &end, &why), KEK_OK);
    put_bytes(path, "{\"a piece");
}

static void was_settled(void)
{
    ck_assert_uint_eq(read_lines_but(old_path(0), 1), 4);
    ck_assert_str_eq(text_of(lines[3], "event"), "torn");
    ck_assert_uint_eq(read_lines(path), 1);
    for (size_t i = 0; i < line_count; i++) {
        ck_assert_int_eq(number_of(lines[i], "n"), (json_int_t)i + 1);
    }
    ck_assert_str_eq(text_of(lines[4], "prev"), text_of(lines[3], "hash"));
    ck_assert_str_eq(text_of(lines[4], "event"), "stop");
}

START_TEST(what_is_not_on_record_and_a_piece_are_settled_in_the_file_that_is_left)
{
    size_t taken;
    open_store(kekd);
    open_store(ctl);
    leave_unrecorded_and_torn();
    rename_file();
    if (_i == 0) {
        put_bytes(path, "");
    } else {
        reopen(kekd);
    }
    ck_assert_int_eq(audit_store_append(kekd, kek_bytes_of(RAW), &taken, &why), KEK_OK);
    ck_assert_ptr_nonnull(strstr(kekd->told, "9 bytes of a line"));
    was_settled();
}
END_TEST

START_TEST(lines_that_somebody_put_in_are_told_in_the_file_that_is_left)
{
    size_t taken;
    open_store(kekd);
    open_store(ctl);
    append(kekd, 2);
    struct kek_audit_end end = kekd->end;
    char forged[sizeof RAW + KEK_AUDIT_LINK_MAX];
    size_t len = kek_audit_link_put(&kekd->hasher, &end, kek_bytes_of(RAW), forged);
    forged[len] = '\0';
    put_bytes(path, forged);
    rename_file();
    if (_i == 0) {
        put_bytes(path, "");
    } else {
        reopen(kekd);
    }
    ck_assert_int_eq(audit_store_append(kekd, kek_bytes_of(RAW), &taken, &why), KEK_OK);
    ck_assert_ptr_nonnull(strstr(kekd->told, "put in by somebody"));
    ck_assert_uint_eq(read_lines(old_path(0)), 4);
    ck_assert_str_eq(text_of(lines[3], "event"), "broken");
    ck_assert_uint_eq(read_lines(path), 1);
    for (size_t i = 1; i < line_count; i++) {
        ck_assert_int_eq(number_of(lines[i], "n"), (json_int_t)i + 1);
        ck_assert_str_eq(text_of(lines[i], "prev"), text_of(lines[i - 1], "hash"));
    }
}
END_TEST

START_TEST(lines_wait_while_the_file_that_the_chain_went_to_cannot_be_opened)
{
    size_t taken = 1;
    open_store(kekd);
    open_store(ctl);
    append(kekd, 1);
    rename_file();
    ck_assert_int_eq(mkdir(path, 0700), 0);
    append(kekd, 1); /* nobody went anywhere */
    ck_assert_int_eq(rmdir(path), 0);
    open_store(&stores[2]);
    append(&stores[2], 1);
    ck_assert_int_eq(rename(path, folder_path("aside")), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    ck_assert_int_eq(audit_store_append(kekd, kek_bytes_of(RAW), &taken, &why), KEK_DENIED);
    ck_assert_uint_eq(taken, 0);
    ck_assert_ptr_nonnull(strstr(why.text, path));
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(rename(folder_path("aside"), path), 0);
    append(kekd, 1);
    are_one_chain(4);
}
END_TEST

/* ---- any order of things ---- */

static unsigned draw(uint64_t *state, unsigned below)
{
    *state = *state * 6364136223846793005u + 1442695040888963407u;
    return (unsigned)(*state >> 33) % below;
}

static void step(uint64_t *state, size_t *count)
{
    struct audit_store *store = &stores[draw(state, STORES)];
    switch (draw(state, 8)) {
    case 0:
        if (is_there(path) && renamed < 40) {
            rename_file();
        }
        break;
    case 1:
        if (kekd->place != NULL) {
            reopen(kekd);
        }
        break;
    case 2:
        audit_store_close(store);
        break;
    default:
        if (store->place == NULL) {
            open_store(store);
        } else {
            size_t more = 1 + draw(state, 3);
            append(store, more);
            *count += more;
        }
    }
}

START_TEST(in_whatever_order_it_is_one_chain)
{
    uint64_t state = (uint64_t)_i;
    for (unsigned walk = 0; walk < 20; walk++) {
        size_t count = 0;
        for (unsigned i = 0; i < 120; i++) {
            step(&state, &count);
        }
        are_one_chain(count);
        find_teardown();
        find_setup();
    }
}
END_TEST

/* ---- at the same time ---- */

#define CHILDREN 3
#define ACTS 200

/* A kekctl after the other, each of which holds the file over some of its acts. */
static _Noreturn void act_for_ever(void)
{
    const struct kek_audit_act act = {.event = "login", .outcome = "ok"};
    for (unsigned done = 0; done < ACTS;) {
        struct kek_audit_acts *acts = kek_audit_acts_new(&place, NULL, &why);
        for (unsigned i = 0; acts != NULL && i < 8; i++, done++) {
            if (kek_audit_act(acts, &act, &why) != KEK_OK) {
                fprintf(stderr, "%s\n", why.text);
                _exit(1);
            }
            usleep(500);
        }
        if (acts == NULL) {
            fprintf(stderr, "%s\n", why.text);
            _exit(1);
        }
        kek_audit_acts_free(acts);
    }
    _exit(0);
}

static unsigned ended(unsigned *failed)
{
    int status;
    unsigned count = 0;
    while (waitpid(-1, &status, WNOHANG) > 0) {
        *failed += status != 0;
        count++;
    }
    return count;
}

START_TEST(three_kekctls_and_a_kekd_write_one_chain_over_files_that_are_renamed_meanwhile)
{
    struct kek_audit *audit = new_ok(path);
    unsigned left = CHILDREN, failed = 0, calls = 0;
    for (unsigned i = 0; i < CHILDREN; i++) {
        if (fork() == 0) {
            act_for_ever();
        }
    }
    for (uint64_t state = 1; left > 0; left -= ended(&failed)) {
        if (is_there(path)) {
            rename_file();
        }
        call(audit, "uid");
        calls++;
        uv_run(&loop, UV_RUN_NOWAIT);
        usleep(draw(&state, 15000));
        uv_run(&loop, UV_RUN_NOWAIT);
        if (draw(&state, 3) > 0) {
            kek_audit_reopen(audit);
        }
        usleep(draw(&state, 15000));
        uv_run(&loop, UV_RUN_NOWAIT);
    }
    ck_assert_uint_eq(failed, 0);
    stop(audit);
    ck_assert_uint_gt(renamed, 3);
    are_one_chain((size_t)CHILDREN * ACTS + calls + 2);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit find");
    TCase *tcase = tcase_create("audit find");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, find_setup, find_teardown);
    tcase_add_test(tcase, who_held_the_file_over_a_rotation_goes_on_in_the_new_one);
    tcase_add_test(tcase, until_there_is_a_new_file_all_go_on_in_the_renamed_one);
    tcase_add_test(tcase,
                   kekctl_that_starts_before_kekd_hears_of_it_makes_the_file_that_all_go_on_in);
    tcase_add_test(tcase,
                   who_holds_a_file_that_the_chain_has_left_makes_a_new_one_where_there_is_none);
    tcase_add_test(tcase, kekd_that_is_restarted_and_one_that_is_not_there_leave_one_chain);
    tcase_add_test(tcase, file_that_was_removed_is_not_written_any_more);
    tcase_add_test(tcase, file_that_was_removed_is_told_once_by_who_wrote_there);
    tcase_add_loop_test(
        tcase, what_is_not_on_record_and_a_piece_are_settled_in_the_file_that_is_left, 0, 2);
    tcase_add_loop_test(tcase, lines_that_somebody_put_in_are_told_in_the_file_that_is_left, 0, 2);
    tcase_add_test(tcase, lines_wait_while_the_file_that_the_chain_went_to_cannot_be_opened);
    tcase_add_loop_test(tcase, in_whatever_order_it_is_one_chain, 0, 4);
    tcase_add_test(tcase,
                   three_kekctls_and_a_kekd_write_one_chain_over_files_that_are_renamed_meanwhile);
    return suite_run(suite);
}
