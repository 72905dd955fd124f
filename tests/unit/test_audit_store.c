/* The chain of the audit log's lines: over files, processes and crashes. */
#include <errno.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/syscall.h>
#include <sys/wait.h>
#include <unistd.h>

#include "audit_store_help.h"
#include "src/ops/audit_head.h"
#include "src/ops/audit_tail.h"

START_TEST(line_has_the_link_that_the_manual_describes)
{
    struct kek_audit_hasher hasher;
    ck_assert(kek_audit_hasher_init(&hasher));
    struct kek_audit_end end = {
        .chain = "0123456789abcdef",
        .n = 41,
        .hash = "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff"};
    char out[256 + KEK_AUDIT_LINK_MAX];
    size_t len = kek_audit_link_put(&hasher, &end, kek_bytes_of("{\"a\":1}\n"), out);
    /* The digest is that of: printf '%s\n' '{"a":1,...,"prev":"..."' | sha256sum */
    static const char expected[] =
        "{\"a\":1,\"chain\":\"0123456789abcdef\",\"n\":42,\"prev\":"
        "\"00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff\",\"hash\":"
        "\"55ddaf40896eb0dbdfad8f11eab7fe63adb22b50a67bedff8786190b1589f1e4\"}\n";
    ck_assert_uint_eq(len, strlen(expected));
    ck_assert_mem_eq(out, expected, len);
    ck_assert_uint_eq(end.n, 42);
    struct kek_audit_link link;
    ck_assert(kek_audit_link_read(kek_bytes(out, len), &link));
    ck_assert(audit_end_equal(&link.end, &end));
    ck_assert_str_eq(link.prev, "00112233445566778899aabbccddeeff00112233445566778899aabbccddeeff");
    ck_assert(kek_audit_link_holds(&hasher, kek_bytes(out, len), &link));
    kek_audit_hasher_done(&hasher);
}
END_TEST

START_TEST(no_other_byte_reads_as_the_same_line)
{
    struct kek_audit_hasher hasher;
    struct kek_audit_end end;
    ck_assert(kek_audit_hasher_init(&hasher) && kek_audit_end_begin(&end));
    char out[sizeof RAW + KEK_AUDIT_LINK_MAX];
    size_t len = kek_audit_link_put(&hasher, &end, kek_bytes_of(RAW), out);
    for (size_t i = 0; i < len; i++) {
        char was = out[i];
        for (int byte = 0; byte < 256; byte++) {
            struct kek_audit_link link;
            out[i] = (char)byte;
            if (out[i] != was) {
                ck_assert_msg(!kek_audit_link_read(kek_bytes(out, len), &link) ||
                                  !kek_audit_link_holds(&hasher, kek_bytes(out, len), &link),
                              "byte %zu as %d", i, byte);
            }
        }
        out[i] = was;
    }
    for (size_t cut = 0; cut < len; cut++) {
        struct kek_audit_link link;
        ck_assert(!kek_audit_link_read(kek_bytes(out, cut), &link));
    }
    kek_audit_hasher_done(&hasher);
}
END_TEST

START_TEST(two_processes_write_one_chain_between_them)
{
    open_store(&store);
    open_store(&other);
    for (int i = 0; i < 20; i++) {
        append(&store, 2);
        append(&other, 1);
    }
    ck_assert_uint_eq(reread(0), 60);
    is_chain(0, 1);
}
END_TEST

START_TEST(chain_goes_on_over_files_and_restarts)
{
    open_store(&store);
    append(&store, 3);
    char old[600];
    snprintf(old, sizeof old, "%s.1", place.file);
    ck_assert_int_eq(rename(place.file, old), 0);
    ck_assert_int_eq(audit_store_reopen(&store, &why), KEK_OK);
    append(&store, 2);
    audit_store_close(&store);
    open_store(&store);
    append(&store, 2);
    ck_assert_uint_eq(reread(0), 4);
    is_chain(0, 4);
    json_t *first = json_incref(lines[0]);
    reread(0);
    ck_assert_uint_eq(read_lines(old), 3);
    ck_assert_str_eq(text_of(first, "prev"), text_of(lines[6], "hash"));
    json_decref(first);
}
END_TEST

static bool syncs_fail;

/* libc's, for all of this program. */
int fdatasync(int fd)
{
    if (syncs_fail) {
        errno = EIO;
        return -1;
    }
    return (int)syscall(SYS_fdatasync, fd);
}

START_TEST(file_that_cannot_be_synced_as_it_is_left_is_told)
{
    open_store(&store);
    append(&store, 1);
    ck_assert_int_eq(audit_store_reopen(&store, &why), KEK_OK);
    ck_assert_str_eq(store.told, "");
    syncs_fail = true;
    ck_assert_int_eq(audit_store_reopen(&store, &why), KEK_OK);
    ck_assert_ptr_nonnull(strstr(store.told, "could not be synced: Input/output error"));
    ck_assert_int_eq(audit_store_sync(&store, &why), KEK_UNAVAILABLE);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), 2);
}
END_TEST

START_TEST(lines_without_a_chain_stay_and_it_begins_after_them)
{
    put_bytes(folder_path("audit"), RAW RAW);
    open_store(&store);
    append(&store, 2);
    ck_assert_uint_eq(reread(0), 4);
    is_chain(2, 1);
    ck_assert_str_eq(text_of(lines[2], "prev"),
                     "0000000000000000000000000000000000000000000000000000000000000000");
    ck_assert_str_eq(store.told, "");
}
END_TEST

/* Puts the record back to what it was after `n` lines, as a crash between a write and its record does. */
static void forget_record(const struct kek_audit_end *end)
{
    ck_assert_int_eq(audit_head_store(store.head_fd, end, &why), KEK_OK);
}

START_TEST(lines_that_are_written_and_not_yet_on_record_are_gone_on_from)
{
    open_store(&store);
    append(&store, 1);
    struct kek_audit_end end = store.end;
    append(&store, 3);
    forget_record(&end);
    audit_store_close(&store);
    open_store(&store);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), 5);
    is_chain(0, 1);
    ck_assert_str_eq(store.told, "");
}
END_TEST

static int writes_left = -1; /* then this process ends; -1: it does not */

static void end_before_a_write(void)
{
    if (writes_left == 0) {
        _exit(0);
    }
    writes_left -= writes_left > 0;
}

/* libc's, for all of this program. */
ssize_t write(int fd, const void *bytes, size_t len)
{
    end_before_a_write();
    return syscall(SYS_write, fd, bytes, len);
}

ssize_t pwrite(int fd, const void *bytes, size_t len, off_t at)
{
    end_before_a_write();
    return syscall(SYS_pwrite64, fd, bytes, len, at);
}

/* In a process of its own, which ends before the last of its writes.  There Check must hear of nothing. */
static void append_and_end(int writes)
{
    int status;
    pid_t child = fork();
    if (child == 0) {
        size_t taken;
        if (audit_store_open(&store, &place, "n", AUDIT_FILE_MAKE, 0, &why) == KEK_OK) {
            writes_left = writes;
            (void)!audit_store_append(&store, kek_bytes_of(RAW RAW RAW), &taken, &why);
        }
        _exit(1); /* it has no more writes, or none at all */
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
}

static void none_is_told(size_t count)
{
    open_store(&store);
    append(&store, 1);
    ck_assert_str_eq(store.told, "");
    audit_store_close(&store);
    ck_assert_uint_eq(reread(0), count);
    is_chain(0, 1);
}

START_TEST(process_that_ends_between_any_of_its_writes_gives_no_false_alarm)
{
    open_store(&store);
    audit_store_close(&store);
    append_and_end(0); /* before a chain was begun; then with nothing but that */
    none_is_told(1);
    append_and_end(0); /* with nothing */
    none_is_told(2);
    append_and_end(1); /* with what it is about to write */
    none_is_told(3);
    append_and_end(2); /* with lines that are not on record */
    none_is_told(7);
    ck_assert_int_eq(unlink(place.head), 0);
    ck_assert_int_eq(unlink(place.file), 0);
    append_and_end(1);
    none_is_told(1);
    ck_assert_int_eq(unlink(place.head), 0);
    ck_assert_int_eq(unlink(place.file), 0);
    append_and_end(3);
    none_is_told(4);
}
END_TEST

/* Alone, and with the record, as where state_dir is made anew. */
START_TEST(what_is_being_written_is_known_where_its_file_was_removed)
{
    char next[PATH_MAX];
    size_t taken;
    int status;
    open_store(&store);
    append(&store, 1);
    ck_assert(kek_audit_next_name(place.head, next));
    ck_assert_int_eq(unlink(next), 0);
    if (_i == 1) {
        ck_assert_int_eq(unlink(place.head), 0);
    }
    append(&store, 1);
    store.told[0] = '\0';
    pid_t child = fork();
    if (child == 0) {
        writes_left = 2; /* it ends before the record */
        (void)!audit_store_append(&store, kek_bytes_of(RAW RAW RAW), &taken, &why);
        _exit(1);
    }
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    audit_store_close(&store);
    none_is_told(6 + (size_t)_i);
}
END_TEST

/* What somebody writes who knows how, and has no more than the file. */
static void forge(const struct kek_audit_end *from, size_t count)
{
    struct kek_audit_hasher hasher;
    struct kek_audit_end end = *from;
    char forged[sizeof RAW + KEK_AUDIT_LINK_MAX];
    ck_assert(kek_audit_hasher_init(&hasher));
    for (size_t i = 0; i < count; i++) {
        size_t len = kek_audit_link_put(&hasher, &end, kek_bytes_of(RAW), forged);
        forged[len] = '\0';
        put_bytes(place.file, forged);
    }
    kek_audit_hasher_done(&hasher);
}

/* By who had the file open, by another process, and after a start. */
START_TEST(lines_that_somebody_put_in_are_told_and_gone_on_from)
{
    open_store(&store);
    open_store(&other);
    append(&store, 2);
    forge(&store.end, 2);
    struct audit_store *next = _i == 1 ? &other : &store;
    if (_i == 2) {
        audit_store_close(&store);
        open_store(&store);
    }
    append(next, 2);
    ck_assert_ptr_nonnull(strstr(next->told, "put in by somebody"));
    next->told[0] = '\0';
    append(&store, 1);
    append(&other, 1);
    ck_assert_uint_eq(reread(0), 9);
    is_chain(0, 1);
    ck_assert_str_eq(text_of(lines[4], "event"), "broken");
    const char *error = text_of(lines[4], "error");
    ck_assert_ptr_nonnull(strstr(error, "goes on to line 4 of chain "));
    ck_assert_ptr_nonnull(strstr(error, "on record is line 2:"));
    ck_assert_ptr_nonnull(strstr(error, "or by an older kekd that was killed"));
    for (size_t i = 5; i < line_count; i++) {
        ck_assert_str_eq(text_of(lines[i], "event"), "stop");
    }
}
END_TEST

START_TEST(lines_that_were_put_in_stay_unbelieved_until_that_can_be_told)
{
    open_store(&store);
    append(&store, 60); /* Check's own file must have room, too */
    struct kek_audit_end end = store.end, record;
    forge(&store.end, 1);
    put_bytes(place.file, _i == 0 ? "" : "{\"a piece");
    struct stat st;
    ck_assert_int_eq(stat(place.file, &st), 0);
    disk_holds((rlim_t)st.st_size + (_i == 0 ? 20 : 350)); /* for the piece's line alone */
    for (int i = 0; i < 2; i++) {
        size_t taken = 0;
        ck_assert_int_eq(audit_store_append(&store, kek_bytes_of(RAW), &taken, &why),
                         KEK_UNAVAILABLE);
        ck_assert_int_eq(audit_head_load(store.head_fd, &record, &why), KEK_OK);
        ck_assert(audit_end_equal(&record, &end));
    }
    disk_holds(RLIM_INFINITY);
    append(&store, 1);
    ck_assert_uint_eq(reread((size_t)_i), 63 + (size_t)_i);
    is_chain(0, 1);
    ck_assert_str_eq(text_of(lines[line_count - 2], "event"), "broken");
}
END_TEST

/* As of a process that was killed while it wrote many: which they were nobody knows. */
START_TEST(some_of_the_lines_that_were_being_written_are_told)
{
    open_store(&store);
    append(&store, 1);
    struct kek_audit_end end = store.end, next = store.end;
    next.n += 3;
    forge(&end, 2);
    ck_assert_int_eq(audit_head_store(store.next_fd, &next, &why), KEK_OK);
    audit_store_close(&store);
    open_store(&store);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), 5);
    is_chain(0, 1);
    ck_assert_str_eq(text_of(lines[3], "event"), "broken");
}
END_TEST

START_TEST(own_lines_whose_record_could_not_be_written_are_no_false_alarm)
{
    open_store(&store);
    append(&store, 1);
    struct kek_audit_end end = store.end;
    append(&store, 2);
    forget_record(&end);
    ck_assert_int_eq(ftruncate(store.next_fd, 0), 0);
    append(&store, 1);
    ck_assert_str_eq(store.told, "");
    ck_assert_uint_eq(reread(0), 4);
    is_chain(0, 1);
}
END_TEST

START_TEST(file_that_ends_before_its_record_is_told_and_keeps_the_gap)
{
    open_store(&store);
    append(&store, 2);
    struct stat st;
    ck_assert_int_eq(stat(place.file, &st), 0);
    append(&store, 3);
    ck_assert_int_eq(truncate(place.file, st.st_size), 0);
    append(&store, 1); /* this process saw it grow */
    audit_store_close(&store);
    ck_assert_uint_eq(reread(0), 4);
    ck_assert_int_eq(number_of(lines[2], "n"), 6);
    ck_assert_str_eq(text_of(lines[2], "event"), "broken");
    ck_assert_ptr_nonnull(strstr(text_of(lines[2], "error"), "ends with line 2 of chain"));
    ck_assert_ptr_nonnull(strstr(text_of(lines[2], "error"), "ends with line 5"));
    ck_assert_int_eq(truncate(place.file, st.st_size), 0);
    open_store(&store); /* this one did not */
    append(&store, 2);
    ck_assert_uint_eq(reread(0), 5);
    ck_assert_int_eq(number_of(lines[2], "n"), 8);
    ck_assert_str_eq(text_of(lines[2], "event"), "broken");
    is_chain(2, 8);
}
END_TEST

START_TEST(file_that_is_emptied_in_place_is_told)
{
    open_store(&store);
    append(&store, 2);
    ck_assert_int_eq(truncate(place.file, 0), 0);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), 2);
    ck_assert_str_eq(text_of(lines[0], "event"), "broken");
    ck_assert_ptr_nonnull(strstr(text_of(lines[0], "error"), "to 0 bytes"));
    ck_assert_ptr_nonnull(strstr(store.told, "to 0 bytes"));
    is_chain(0, 3);
}
END_TEST

START_TEST(last_line_that_is_not_the_one_on_record_is_told)
{
    open_store(&store);
    append(&store, 1);
    struct stat st;
    ck_assert_int_eq(stat(place.file, &st), 0);
    struct kek_audit_end first = store.end;
    append(&store, 1);
    /* Somebody who knows the format puts another line in its place. */
    char forged[sizeof RAW + KEK_AUDIT_LINK_MAX];
    size_t len = kek_audit_link_put(&store.hasher, &first,
                                    kek_bytes_of("{\"event\":\"nothing\"}\n"), forged);
    forged[len] = '\0';
    ck_assert_int_eq(truncate(place.file, st.st_size), 0);
    put_bytes(place.file, forged);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), 4);
    ck_assert_str_eq(text_of(lines[2], "event"), "broken");
    ck_assert_int_eq(number_of(lines[2], "n"), 3);
    ck_assert_str_ne(text_of(lines[2], "prev"), text_of(lines[1], "hash"));
}
END_TEST

START_TEST(record_of_another_time_begins_a_new_chain_and_says_so)
{
    open_store(&store);
    append(&store, 1);
    struct kek_audit_end end = store.end;
    append(&store, 2);
    end.hash[0] =
        end.hash[0] == 'a' ? 'b' : 'a'; /* as of a backup, in which the lines went on otherwise */
    forget_record(&end);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), 5);
    ck_assert_str_eq(text_of(lines[3], "event"), "broken");
    ck_assert_str_ne(text_of(lines[3], "chain"), text_of(lines[2], "chain"));
    is_chain(3, 1);
}
END_TEST

/* In the file, or in the record. */
START_TEST(new_chain_is_not_begun_until_its_cause_can_be_told)
{
    size_t taken = 0;
    open_store(&store);
    append(&store, 60); /* Check's own file must have room, too */
    if (_i == 0) {
        struct kek_audit_end end = store.end;
        end.n++;
        forge(&end, 1);
    } else {
        ck_assert_int_eq(ftruncate(store.head_fd, 100), 0);
    }
    struct stat st;
    ck_assert_int_eq(stat(place.file, &st), 0);
    disk_holds((rlim_t)st.st_size + 20);
    ck_assert_int_eq(audit_store_append(&store, kek_bytes_of(RAW), &taken, &why), KEK_UNAVAILABLE);
    disk_holds(RLIM_INFINITY);
    audit_store_close(&store);
    open_store(&store);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), 63 - (size_t)_i);
    ck_assert_str_eq(text_of(lines[line_count - 2], "event"), "broken");
    is_chain(line_count - 2, 1);
}
END_TEST

START_TEST(nodes_with_records_of_their_own_share_a_file_and_no_chain)
{
    open_store(&store);
    append(&store, 1);
    struct kek_audit_place second = {.file = place.file, .head = folder_path("second")};
    ck_assert_int_eq(audit_store_open(&other, &second, "m", AUDIT_FILE_MAKE, 0, &why), KEK_OK);
    append(&other, 2);
    append(&store, 2);
    append(&other, 1);
    ck_assert_uint_eq(reread(0), 6);
    static const json_int_t numbers[] = {1, 1, 2, 2, 3, 3};
    for (size_t i = 0; i < 6; i++) {
        bool first = i == 0 || i == 3 || i == 4;
        ck_assert_int_eq(number_of(lines[i], "n"), numbers[i]);
        ck_assert_str_eq(text_of(lines[i], "chain"), text_of(lines[first ? 0 : 1], "chain"));
    }
    ck_assert_str_ne(text_of(lines[0], "chain"), text_of(lines[1], "chain"));
    ck_assert_str_eq(store.told, "");
    ck_assert_str_eq(other.told, "");
}
END_TEST

START_TEST(who_holds_the_record_too_long_keeps_lines_waiting_and_loses_none)
{
    open_store(&store);
    append(&store, 1);
    int fd = open(place.head, O_RDONLY);
    ck_assert_int_eq(flock(fd, LOCK_EX | LOCK_NB), 0);
    size_t taken = 1;
    ck_assert_int_eq(audit_store_append(&store, kek_bytes_of(RAW), &taken, &why), KEK_UNAVAILABLE);
    ck_assert_uint_eq(taken, 0);
    close(fd);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), 2);
    is_chain(0, 1);
}
END_TEST

START_TEST(piece_on_a_full_disk_that_cannot_be_told_of_stays_for_the_next_look)
{
    open_store(&store);
    append(&store, 1);
    put_bytes(place.file, "{\"a piece");
    struct stat st;
    ck_assert_int_eq(stat(place.file, &st), 0);
    disk_holds((rlim_t)st.st_size + 20);
    size_t taken = 0;
    ck_assert_int_eq(audit_store_append(&store, kek_bytes_of(RAW), &taken, &why), KEK_UNAVAILABLE);
    ck_assert_uint_eq(taken, 0);
    disk_holds(RLIM_INFINITY);
    append(&store, 1);
    ck_assert_uint_eq(reread(1), 3);
    is_chain(0, 1);
    ck_assert_str_eq(text_of(lines[1], "event"), "torn");
    ck_assert_int_eq(number_of(lines[1], "bytes"), 9);
}
END_TEST

START_TEST(many_lines_at_once_are_one_chain)
{
    KEK_AUTO_BUF struct kek_buf all;
    kek_buf_init(&all, KEK_AUDIT_BOUND);
    for (int i = 0; i < 5000; i++) {
        ck_assert_int_eq(kek_buf_append(&all, kek_bytes_of(RAW), NULL), KEK_OK);
    }
    open_store(&store);
    size_t taken = 0;
    disk_holds(300000);
    ck_assert_int_eq(audit_store_append(&store, kek_buf_bytes(&all), &taken, &why),
                     KEK_UNAVAILABLE);
    ck_assert_uint_eq(taken % strlen(RAW), 0);
    disk_holds(RLIM_INFINITY);
    size_t rest = 0;
    struct kek_bytes left = kek_bytes(all.data + taken, all.len - taken);
    ck_assert_int_eq(audit_store_append(&store, left, &rest, &why), KEK_OK);
    ck_assert_uint_eq(taken + rest, all.len);
    ck_assert_uint_eq(reread(0), 5000);
    is_chain(0, 1);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit store");
    TCase *tcase = tcase_create("audit store");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, store_teardown);
    tcase_add_test(tcase, line_has_the_link_that_the_manual_describes);
    tcase_add_test(tcase, no_other_byte_reads_as_the_same_line);
    tcase_add_test(tcase, two_processes_write_one_chain_between_them);
    tcase_add_test(tcase, chain_goes_on_over_files_and_restarts);
    tcase_add_test(tcase, file_that_cannot_be_synced_as_it_is_left_is_told);
    tcase_add_test(tcase, lines_without_a_chain_stay_and_it_begins_after_them);
    tcase_add_test(tcase, lines_that_are_written_and_not_yet_on_record_are_gone_on_from);
    tcase_add_test(tcase, process_that_ends_between_any_of_its_writes_gives_no_false_alarm);
    tcase_add_loop_test(tcase, what_is_being_written_is_known_where_its_file_was_removed, 0, 2);
    tcase_add_loop_test(tcase, lines_that_somebody_put_in_are_told_and_gone_on_from, 0, 3);
    tcase_add_loop_test(tcase, lines_that_were_put_in_stay_unbelieved_until_that_can_be_told, 0, 2);
    tcase_add_test(tcase, some_of_the_lines_that_were_being_written_are_told);
    tcase_add_test(tcase, own_lines_whose_record_could_not_be_written_are_no_false_alarm);
    tcase_add_test(tcase, file_that_ends_before_its_record_is_told_and_keeps_the_gap);
    tcase_add_test(tcase, file_that_is_emptied_in_place_is_told);
    tcase_add_test(tcase, last_line_that_is_not_the_one_on_record_is_told);
    tcase_add_test(tcase, record_of_another_time_begins_a_new_chain_and_says_so);
    tcase_add_loop_test(tcase, new_chain_is_not_begun_until_its_cause_can_be_told, 0, 2);
    tcase_add_test(tcase, nodes_with_records_of_their_own_share_a_file_and_no_chain);
    tcase_add_test(tcase, who_holds_the_record_too_long_keeps_lines_waiting_and_loses_none);
    tcase_add_test(tcase, piece_on_a_full_disk_that_cannot_be_told_of_stays_for_the_next_look);
    tcase_add_test(tcase, many_lines_at_once_are_one_chain);
    return suite_run(suite);
}
