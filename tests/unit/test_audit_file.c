/* The audit log's file: no line is lost without a word, whatever its disk does. */
#include <fcntl.h>
#include <sys/stat.h>

#include "audit_help.h"
#include "kek/clock.h"

static void run_until_error(struct kek_audit *audit)
{
    struct kek_audit_stats stats;
    do {
        uv_run(&loop, UV_RUN_ONCE);
        kek_audit_stats(audit, &stats);
    } while (stats.errors == 0);
}

static uint64_t standing_still(void)
{
    return 1000000000;
}

START_TEST(lines_keep_their_order_over_many_writes)
{
    struct kek_audit *audit = new_ok(folder_path("audit"));
    struct kek_audit_stats stats;
    for (int round = 0; round < 50; round++) {
        for (int i = 0; i < 200; i++) {
            call(audit, "uid");
        }
        do {
            uv_run(&loop, UV_RUN_ONCE);
            kek_audit_stats(audit, &stats);
        } while (stats.waiting > KEK_AUDIT_BOUND / 2);
    }
    stop(audit);
    size_t count = read_lines(folder_path("audit"));
    ck_assert_uint_eq(count, 10002);
    for (size_t i = 0; i < count; i++) {
        ck_assert_int_eq(number_of(lines[i], "seq"), (json_int_t)i + 1);
    }
    audit = new_ok(folder_path("audit")); /* a second run goes on in the same file */
    kek_audit_stats(audit, &stats);
    ck_assert_uint_eq(stats.lines, 0);
    ck_assert_uint_gt(stats.waiting, 0);
    stop(audit);
    ck_assert_uint_eq(read_lines(folder_path("audit")), 10004);
}
END_TEST

START_TEST(reopen_goes_on_in_a_new_file_after_a_rename)
{
    const char *path = folder_path("audit"), *old = folder_path("audit.1");
    struct kek_audit *audit = new_ok(path);
    for (int i = 0; i < 1000; i++) {
        call(audit, "before");
    }
    uv_run(&loop, UV_RUN_NOWAIT); /* a write is under way */
    ck_assert_int_eq(rename(path, old), 0);
    kek_audit_reopen(audit);
    call(audit, "after");
    stop(audit);
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    size_t in_old = read_lines(old), in_new = read_lines(path);
    ck_assert_uint_eq(in_old + in_new, 1003);
    ck_assert_uint_ge(in_new, 2);
    for (size_t i = 0; i < line_count; i++) {
        ck_assert_int_eq(number_of(lines[i], "seq"), (json_int_t)i + 1);
    }
}
END_TEST

START_TEST(reopen_keeps_the_old_file_when_the_new_one_cannot_be)
{
    const char *path = folder_path("audit"), *old = folder_path("audit.1");
    struct kek_audit *audit = new_ok(path);
    ck_assert_int_eq(rename(path, old), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    kek_audit_reopen(audit);
    call(audit, "after");
    while (uv_run(&loop, UV_RUN_ONCE) != 0) {
    }
    struct kek_audit_stats stats;
    kek_audit_stats(audit, &stats);
    ck_assert_uint_eq(stats.errors, 1);
    stop(audit);
    ck_assert_uint_eq(read_lines(old), 3);
}
END_TEST

START_TEST(who_may_not_call_pushes_out_no_line_of_who_may)
{
    const char *path = folder_path("audit");
    struct kek_audit *audit = new_ok(path);
    struct kek_audit_stats stats;
    kek_clock_fake(standing_still);
    for (int i = 0; i < 20000; i++) {
        kek_audit_rejected(audit, &peer, "/v2.KeyManagementService/Decrypt",
                           KEK_RPC_PERMISSION_DENIED, "uid 1234 is not allowed (allow_uids)");
        if (i % 1000 == 0) {
            call(audit, "allowed");
        }
    }
    kek_audit_stats(audit, &stats);
    ck_assert_uint_eq(stats.dropped, 20000 - KEK_AUDIT_REJECTED_RATE);
    stop(audit);
    size_t count = read_lines(path), rejected = 0, allowed = 0;
    json_int_t told = 0;
    for (size_t i = 0; i < count; i++) {
        const char *event = text_of(lines[i], "event");
        rejected += strcmp(event, "rejected") == 0;
        allowed += strcmp(event, "call") == 0;
        told += strcmp(event, "dropped") == 0 ? number_of(lines[i], "lines") : 0;
    }
    ck_assert_uint_eq(rejected, KEK_AUDIT_REJECTED_RATE);
    ck_assert_uint_eq(allowed, 20);
    ck_assert_uint_eq((uint64_t)told, stats.dropped);
}
END_TEST

START_TEST(a_full_disk_costs_counted_lines_only_and_the_log_goes_on)
{
    const char *path = folder_path("audit");
    struct kek_audit *audit = new_ok(path);
    struct kek_audit_stats stats;
    disk_holds(10001);
    call(audit, "first");
    for (int i = 0; i < 100; i++) {
        call(audit, "torn");
    }
    run_until_error(audit);
    for (int i = 0; i < 8000; i++) {
        call(audit, "waits or is lost");
    }
    kek_audit_stats(audit, &stats);
    uint64_t dropped = stats.dropped;
    ck_assert_uint_gt(dropped, 0);
    ck_assert_uint_le(stats.waiting, KEK_AUDIT_BOUND);
    ck_assert_uint_gt(stats.waiting, KEK_AUDIT_BOUND - AUDIT_LINE_MAX);

    disk_holds(RLIM_INFINITY);
    while (uv_run(&loop, UV_RUN_ONCE) != 0) {
    }
    call(audit, "last");
    stop(audit);

    size_t count = read_lines(path);
    json_int_t told = 0, gaps = 0;
    for (size_t i = 0; i < count; i++) {
        if (strcmp(text_of(lines[i], "event"), "dropped") == 0) {
            told += number_of(lines[i], "lines");
        }
        if (i > 0) {
            gaps += number_of(lines[i], "seq") - number_of(lines[i - 1], "seq") - 1;
        }
    }
    ck_assert_uint_eq((uint64_t)told, dropped);
    ck_assert_uint_eq((uint64_t)gaps, dropped);
    ck_assert_str_eq(text_of(lines[count - 2], "uid"), "last");
}
END_TEST

START_TEST(full_disk_leaves_no_piece_of_a_line_and_reopen_goes_on_with_that_line)
{
    const char *path = folder_path("audit"), *old = folder_path("audit.1");
    struct kek_audit *audit = new_ok(path);
    disk_holds(5001);
    for (int i = 0; i < 100; i++) {
        call(audit, "uid");
    }
    run_until_error(audit);
    size_t in_old = read_lines(path); /* whole lines all of them */
    ck_assert_uint_gt(in_old, 0);
    ck_assert_int_eq(rename(path, old), 0);
    disk_holds(RLIM_INFINITY);
    kek_audit_reopen(audit);
    stop(audit);
    ck_assert_uint_eq(in_old + read_lines(path), 102);
    for (size_t i = 0; i < line_count; i++) {
        ck_assert_int_eq(number_of(lines[i], "seq"), (json_int_t)i + 1);
        ck_assert_int_eq(number_of(lines[i], "n"), (json_int_t)i + 1);
    }
}
END_TEST

START_TEST(stop_ends_on_a_disk_that_takes_nothing)
{
    struct kek_audit *audit = new_ok(folder_path("audit"));
    disk_holds(0);
    for (int i = 0; i < 10; i++) {
        call(audit, "lost");
    }
    bool stopped = false;
    kek_audit_stop(audit, on_stopped, &stopped);
    call(audit, "too late");
    kek_audit_reopen(audit);
    uv_run(&loop, UV_RUN_DEFAULT);
    ck_assert(stopped);
    struct kek_audit_stats stats;
    kek_audit_stats(audit, &stats);
    ck_assert_uint_eq(stats.dropped, 12); /* start, ten calls, stop */
    ck_assert_uint_eq(stats.lines, 0);
    kek_audit_free(audit);
    disk_holds(RLIM_INFINITY);
}
END_TEST

START_TEST(new_ends_a_line_that_a_crash_left_unfinished_and_tells_of_it)
{
    const char *path = folder_path("audit");
    put_bytes(path, "{\"time\":\"20");
    stop(new_ok(path));
    FILE *file = fopen(path, "r");
    char text[AUDIT_LINE_MAX];
    ck_assert_ptr_nonnull(fgets(text, sizeof text, file));
    ck_assert_str_eq(text, "{\"time\":\"20\n");
    fclose(file);
    ck_assert_uint_eq(read_lines_but(path, 1), 3);
    ck_assert_str_eq(text_of(lines[0], "event"), "torn");
    ck_assert_int_eq(number_of(lines[0], "bytes"), 11);
    /* printf '{"time":"20' | sha256sum */
    ck_assert_str_eq(text_of(lines[0], "sha256"),
                     "a1182479a087d22f990003624f8fbf04ce80ac733ff5c9693062b36d1cb2d4fa");
    ck_assert_str_eq(text_of(lines[1], "event"), "start");
}
END_TEST

START_TEST(new_refuses_what_is_no_file_of_its_own)
{
    struct kek_why why;
    ck_assert_int_eq(mkfifo(folder_path("fifo"), 0600), 0);
    ck_assert_int_eq(symlink(folder_path("target"), folder_path("link")), 0);
    static const char *const names[] = {"fifo", "link", "missing/audit", "."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        why = (struct kek_why){.rc = KEK_OK};
        struct kek_audit_place place = place_of(folder_path(names[i]));
        ck_assert_ptr_null(kek_audit_new(&loop, &place, NULL, &why));
        ck_assert_int_eq(why.rc, KEK_DENIED);
        ck_assert_ptr_nonnull(strstr(why.text, names[i]));
    }
    struct kek_audit_place place = place_of("/dev/null");
    ck_assert_ptr_null(kek_audit_new(&loop, &place, NULL, &why));
    ck_assert_ptr_nonnull(strstr(why.text, "not a regular file"));
    kek_audit_free(NULL);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit file");
    TCase *tcase = tcase_create("audit file");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, lines_keep_their_order_over_many_writes);
    tcase_add_test(tcase, reopen_goes_on_in_a_new_file_after_a_rename);
    tcase_add_test(tcase, reopen_keeps_the_old_file_when_the_new_one_cannot_be);
    tcase_add_test(tcase, who_may_not_call_pushes_out_no_line_of_who_may);
    tcase_add_test(tcase, a_full_disk_costs_counted_lines_only_and_the_log_goes_on);
    tcase_add_test(tcase, full_disk_leaves_no_piece_of_a_line_and_reopen_goes_on_with_that_line);
    tcase_add_test(tcase, stop_ends_on_a_disk_that_takes_nothing);
    tcase_add_test(tcase, new_ends_a_line_that_a_crash_left_unfinished_and_tells_of_it);
    tcase_add_test(tcase, new_refuses_what_is_no_file_of_its_own);
    return suite_run(suite);
}
