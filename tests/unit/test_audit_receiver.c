/* Copies of audit lines: what a journal and a syslog daemon get, and what it costs where they take nothing. */
#include "audit_listener.h"
#include "kek/clock.h"
#include "src/ops/audit_receiver.h"

#define LINE \
    "{\"time\":\"2026-11-29T10:00:00.123Z\",\"seq\":1,\"node\":\"cp-1\",\"event\":\"stop\"}\n"

static struct audit_receiver copy;
static char told[KEK_WHY_TEXT];

static void expect(const char *message)
{
    char got[1024];
    ssize_t len = recv(receiver, got, sizeof got, 0);
    ck_assert_int_eq(len, (ssize_t)strlen(message));
    ck_assert_mem_eq(got, message, strlen(message));
}

static bool send_lines(const char *lines_text)
{
    return audit_receiver_copy(&copy, kek_bytes_of(lines_text), told);
}

static void copy_teardown(void)
{
    audit_receiver_done(&copy);
    listener_teardown();
}

START_TEST(journal_gets_fields_and_syslog_a_message_of_rfc_5424)
{
    audit_receiver_init(&copy, AUDIT_RECEIVER_JOURNAL, listen_at("s"), "cp-1");
    ck_assert(!send_lines("\n" LINE LINE)); /* the first ends a piece of a line */
    for (int i = 0; i < 2; i++) {
        expect("SYSLOG_IDENTIFIER=kekd-audit\nSYSLOG_FACILITY=13\nPRIORITY=6\nMESSAGE=" LINE);
    }
    audit_receiver_done(&copy);
    audit_receiver_init(&copy, AUDIT_RECEIVER_SYSLOG, copy.path, "cp-1");
    ck_assert(!send_lines(LINE));
    char message[] = "<110>1 2026-11-29T10:00:00.123Z cp-1 kekd - audit - " LINE;
    message[strlen(message) - 1] = '\0';
    expect(message);
    ck_assert(!send_lines("{}\n"));
    expect("<110>1 - cp-1 kekd - audit - {}");
    ck_assert_uint_eq(copy.lost, 0);
}
END_TEST

START_TEST(receiver_that_is_away_is_told_of_once_and_so_is_its_return)
{
    audit_receiver_init(&copy, AUDIT_RECEIVER_SYSLOG, folder_path("s"), "cp-1");
    char path[sizeof folder + 2];
    snprintf(path, sizeof path, "%s/s", folder);
    copy.path = path;
    ck_assert(send_lines(LINE LINE));
    ck_assert_ptr_nonnull(strstr(told, "/s are lost: No such file"));
    ck_assert(!send_lines(LINE));
    ck_assert_uint_eq(copy.lost, 3);
    (void)listen_at("s");
    ck_assert(send_lines(LINE));
    ck_assert_ptr_nonnull(strstr(told, "arrive again; 3 lines were lost"));
    leave("s"); /* it is started anew: no line is lost */
    (void)listen_at("s");
    ck_assert(!send_lines(LINE));
    ck_assert_uint_eq(copy.lost, 3);
    char got[8];
    ck_assert_int_gt(recv(receiver, got, sizeof got, 0), 0);
}
END_TEST

START_TEST(receiver_whose_queue_is_full_loses_counted_lines)
{
    audit_receiver_init(&copy, AUDIT_RECEIVER_SYSLOG, listen_at("s"), "cp-1");
    KEK_AUTO_BUF struct kek_buf many;
    kek_buf_init(&many, KEK_AUDIT_BOUND);
    for (int i = 0; i < 5000; i++) {
        ck_assert_int_eq(kek_buf_append(&many, kek_bytes_of(LINE), NULL), KEK_OK);
    }
    ck_assert(audit_receiver_copy(&copy, kek_buf_bytes(&many), told));
    ck_assert_ptr_nonnull(strstr(told, "are lost"));
    size_t arrived = 0;
    char got[8];
    while (recv(receiver, got, sizeof got, 0) > 0) {
        arrived++;
    }
    ck_assert_uint_gt(arrived, 0);
    ck_assert_uint_eq(arrived + copy.lost, 5000);
    ck_assert(send_lines(LINE));
}
END_TEST

START_TEST(path_that_no_socket_can_have_is_a_failure_like_others)
{
    char path[200];
    memset(path, 'x', sizeof path - 1);
    path[sizeof path - 1] = '\0';
    audit_receiver_init(&copy, AUDIT_RECEIVER_SYSLOG, path, "cp-1");
    ck_assert(send_lines(LINE));
    ck_assert_ptr_nonnull(strstr(told, "too long"));
}
END_TEST

START_TEST(the_log_sends_what_is_in_the_file_and_counts_what_was_not_taken)
{
    struct kek_why why;
    struct kek_audit_stats stats;
    char missing[sizeof folder + 8];
    snprintf(missing, sizeof missing, "%s/missing", folder);
    struct kek_audit_place place = place_of(folder_path("audit"));
    place.journal = listen_at("s");
    place.syslog = missing;
    struct kek_audit *audit = kek_audit_new(&loop, &place, "node-1", &why);
    ck_assert_ptr_nonnull(audit);
    call(audit, "uid-1");
    do {
        uv_run(&loop, UV_RUN_ONCE);
        kek_audit_stats(audit, &stats);
    } while (stats.lines < 2);
    ck_assert_uint_eq(stats.uncopied, 2);
    ck_assert_uint_eq(stats.dropped + stats.errors, 0);
    stop(audit);
    struct kek_audit_acts *acts = kek_audit_acts_new(&place, NULL, &why);
    ck_assert_ptr_nonnull(acts);
    const struct kek_audit_act retry = {.event = "pin-retry", .outcome = "ok"};
    ck_assert_int_eq(kek_audit_act(acts, &retry, &why), KEK_OK);
    kek_audit_acts_free(acts);
    FILE *file = fopen(folder_path("audit"), "r");
    char line[AUDIT_LINE_MAX], message[AUDIT_LINE_MAX + 128];
    for (int i = 0; i < 4; i++) {
        ck_assert_ptr_nonnull(fgets(line, sizeof line, file));
        snprintf(message, sizeof message,
                 "SYSLOG_IDENTIFIER=kekd-audit\nSYSLOG_FACILITY=13\nPRIORITY=6\nMESSAGE=%s", line);
        expect(message);
    }
    fclose(file);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit receiver");
    TCase *tcase = tcase_create("audit receiver");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, copy_teardown);
    tcase_add_test(tcase, journal_gets_fields_and_syslog_a_message_of_rfc_5424);
    tcase_add_test(tcase, receiver_that_is_away_is_told_of_once_and_so_is_its_return);
    tcase_add_test(tcase, receiver_whose_queue_is_full_loses_counted_lines);
    tcase_add_test(tcase, path_that_no_socket_can_have_is_a_failure_like_others);
    tcase_add_test(tcase, the_log_sends_what_is_in_the_file_and_counts_what_was_not_taken);
    return suite_run(suite);
}
