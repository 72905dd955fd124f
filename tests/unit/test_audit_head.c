/* The record of where the audit log's chain stands: damaged, lost, replaced, and what it counts. */
#include "src/ops/audit_head.h"

#include <sys/stat.h>
#include <unistd.h>

#include "audit_store_help.h"
#include "src/ops/audit_tail.h"

/* What is in the record. */
static json_t *record(void)
{
    json_error_t error;
    json_t *object = json_load_file(place.head, JSON_REJECT_DUPLICATES, &error);
    ck_assert_msg(object != NULL, "%s", error.text);
    return object;
}

static struct kek_audit_owed owed_by(enum audit_debtor debtor)
{
    struct kek_audit_owed owed;
    audit_head_owed(store.head_fd, debtor, &owed);
    return owed;
}

START_TEST(record_is_one_object_whose_members_change_one_by_one)
{
    static const struct kek_audit_owed all = {.lost = INT64_MAX, .waiting = INT64_MAX};
    const struct kek_audit_owed few = {.lost = 3}, some = {.lost = 1, .waiting = 256};
    open_store(&store);
    ck_assert_int_eq(audit_head_owe(store.head_fd, AUDIT_DEBTOR_KEKD, &some, &why),
                     KEK_UNAVAILABLE);
    ck_assert_int_eq(audit_head_shape(store.head_fd, &why), KEK_OK);
    ck_assert_int_eq(audit_head_owe(store.head_fd, AUDIT_DEBTOR_KEKD, &all, &why), KEK_OK);
    json_decref(record());
    append(&store, 1);
    ck_assert_int_eq(audit_head_owe(store.head_fd, AUDIT_DEBTOR_ACTS, &all, &why), KEK_OK);
    json_decref(record());
    ck_assert_uint_eq(owed_by(AUDIT_DEBTOR_ACTS).lost, INT64_MAX);
    ck_assert_uint_eq(owed_by(AUDIT_DEBTOR_KEKD).waiting, INT64_MAX);
    ck_assert_int_eq(audit_head_owe(store.head_fd, AUDIT_DEBTOR_KEKD, &some, &why), KEK_OK);
    ck_assert_int_eq(audit_head_owe(store.head_fd, AUDIT_DEBTOR_ACTS, &few, &why), KEK_OK);
    json_t *object = record(), *kekd = json_object_get(object, "kekd");
    ck_assert_int_eq(number_of(object, "n"), 1);
    ck_assert_int_eq(number_of(object, "lost"), 3);
    ck_assert_int_eq(number_of(kekd, "lost"), 1);
    ck_assert_int_eq(number_of(kekd, "waiting"), 256);
    json_decref(object);
    append(&store, 2); /* tells of the three, and leaves kekd's to the next kekd */
    ck_assert_uint_eq(reread(0), 4);
    is_chain(0, 1);
    ck_assert_str_eq(text_of(lines[1], "event"), "dropped");
    ck_assert_uint_eq(owed_by(AUDIT_DEBTOR_ACTS).lost, 0);
    ck_assert_uint_eq(owed_by(AUDIT_DEBTOR_KEKD).waiting, 256);
}
END_TEST

static enum kek_rc read_record(struct kek_audit_owed *owed)
{
    struct kek_audit_end end;
    return kek_audit_record_read(place.head, &end, owed, &why);
}

/* Where the first count stands in the record, and what it looks like. */
static const struct {
    enum audit_debtor debtor;
    struct kek_audit_owed owed;
    const char *text;
} counts[] = {{AUDIT_DEBTOR_ACTS, {.lost = 7}, ",\"lost\":7"},
              {AUDIT_DEBTOR_KEKD, {.waiting = 256}, ",\"kekd\":{\"lost\":0,\"waiting\":256}"}};

static off_t where(int fd, const char *text)
{
    char bytes[AUDIT_HEAD_BYTES + 1] = "";
    ck_assert_int_eq(pread(fd, bytes, AUDIT_HEAD_BYTES, 0), AUDIT_HEAD_BYTES);
    const char *at = strstr(bytes, text);
    ck_assert_ptr_nonnull(at);
    return at - bytes;
}

START_TEST(count_of_which_any_byte_is_not_as_it_was_written_is_damaged)
{
    const size_t len = strlen(counts[_i].text);
    struct kek_audit_owed owed;
    open_store(&store);
    append(&store, 1);
    ck_assert_int_eq(audit_head_owe(store.head_fd, counts[_i].debtor, &counts[_i].owed, &why),
                     KEK_OK);
    off_t at = where(store.head_fd, counts[_i].text);
    for (size_t i = 0; i <= len; i++) { /* the one behind it, too */
        char was = i < len ? counts[_i].text[i] : ' ';
        ck_assert_int_eq(pwrite(store.head_fd, "x", 1, at + (off_t)i), 1);
        ck_assert_int_eq(read_record(&owed), KEK_OK);
        ck_assert_msg(owed.damaged && owed.lost + owed.waiting == 0, "byte %zu", i);
        ck_assert_int_eq(audit_head_owe(store.head_fd, counts[_i].debtor, &owed, &why),
                         KEK_DAMAGED);
        ck_assert_int_eq(pwrite(store.head_fd, &was, 1, at + (off_t)i), 1);
    }
    ck_assert_int_eq(read_record(&owed), KEK_OK);
    ck_assert(!owed.damaged);
    ck_assert_uint_eq(owed.lost, counts[_i].owed.lost);
    ck_assert_uint_eq(owed.waiting, counts[_i].owed.waiting);
}
END_TEST

/* What kekctls owe, by the next line of anybody; what kekd owes, by the next kekd's first. */
START_TEST(damaged_count_is_told_once_and_until_then_kept)
{
    struct kek_audit_owed owed;
    open_store(&store);
    append(&store, 1);
    ck_assert_int_eq(audit_head_owe(store.head_fd, counts[_i].debtor, &counts[_i].owed, &why),
                     KEK_OK);
    ck_assert_int_eq(pwrite(store.head_fd, "x", 1, where(store.head_fd, counts[_i].text) + 1), 1);
    audit_head_lose(store.head_fd, 2);
    ck_assert_int_eq(read_record(&owed), KEK_OK);
    ck_assert(owed.damaged);
    if (counts[_i].debtor == AUDIT_DEBTOR_KEKD) {
        audit_head_owed(store.head_fd, AUDIT_DEBTOR_KEKD, &store.inherited);
    }
    append(&store, 1);
    ck_assert_uint_eq(reread(0), counts[_i].debtor == AUDIT_DEBTOR_KEKD ? 4 : 3);
    is_chain(0, 1);
    ck_assert_str_eq(text_of(lines[1], "event"), "broken");
    ck_assert_ptr_nonnull(strstr(text_of(lines[1], "error"), "count of lost lines"));
    ck_assert(!store.inherited.damaged);
    ck_assert(!owed_by(AUDIT_DEBTOR_ACTS).damaged);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), counts[_i].debtor == AUDIT_DEBTOR_KEKD ? 5 : 4);
}
END_TEST

START_TEST(no_byte_of_a_record_changes_unseen)
{
    struct kek_audit_end end;
    struct kek_audit_owed owed;
    char bytes[AUDIT_HEAD_BYTES];
    open_store(&store);
    append(&store, 1);
    ck_assert_int_eq(audit_head_owe(store.head_fd, counts[0].debtor, &counts[0].owed, &why),
                     KEK_OK);
    ck_assert_int_eq(audit_head_owe(store.head_fd, counts[1].debtor, &counts[1].owed, &why),
                     KEK_OK);
    ck_assert_int_eq(pread(store.head_fd, bytes, sizeof bytes, 0), AUDIT_HEAD_BYTES);
    for (off_t i = 0; i < AUDIT_HEAD_BYTES; i++) {
        ck_assert_int_eq(pwrite(store.head_fd, bytes[i] == '9' ? "8" : "9", 1, i), 1);
        enum kek_rc rc = kek_audit_record_read(place.head, &end, &owed, &why);
        bool as_it_was = rc == KEK_OK && audit_end_equal(&end, &store.end) && !owed.damaged &&
                         owed.lost == 7 && owed.waiting == 256;
        ck_assert_msg(!as_it_was, "byte %d", (int)i);
        ck_assert_int_eq(pwrite(store.head_fd, bytes + i, 1, i), 1);
    }
}
END_TEST

/* Its last two bytes are what says that it has counts. */
START_TEST(record_without_its_end_is_damaged)
{
    struct kek_audit_owed owed;
    open_store(&store);
    append(&store, 1);
    audit_head_lose(store.head_fd, 3);
    ck_assert_int_eq(pwrite(store.head_fd, "x", 1, AUDIT_HEAD_BYTES - 2 + _i), 1);
    ck_assert_int_eq(read_record(&owed), KEK_DAMAGED);
    ck_assert_int_eq(audit_head_shape(store.head_fd, &why), KEK_DAMAGED);
    append(&store, 1);
    ck_assert_ptr_nonnull(strstr(store.told, "is damaged"));
}
END_TEST

START_TEST(record_of_a_kekd_that_had_no_debts_is_gone_on_from)
{
    char text[AUDIT_HEAD_BYTES + 1];
    open_store(&store);
    append(&store, 2);
    int len = snprintf(text, sizeof text, "{\"chain\":\"%s\",\"n\":%d,\"hash\":\"%s\"}",
                       store.end.chain, 2, store.end.hash);
    memset(text + len, ' ', sizeof text - (size_t)len);
    text[AUDIT_HEAD_BYTES - 1] = '\n';
    ck_assert_int_eq(pwrite(store.head_fd, text, AUDIT_HEAD_BYTES, 0), AUDIT_HEAD_BYTES);
    audit_store_close(&store);
    open_store(&store);
    append(&store, 1);
    ck_assert_str_eq(store.told, "");
    ck_assert_uint_eq(reread(0), 3);
    is_chain(0, 1);
    json_t *object = record();
    ck_assert_int_eq(number_of(object, "n"), 3);
    json_decref(object);
}
END_TEST

static void open_as_node_of_lines(struct audit_store *s)
{
    ck_assert_int_eq(audit_store_open(s, &place, "a", AUDIT_FILE_MAKE, 0, &why), KEK_OK);
}

static void lose_record(bool removed)
{
    ck_assert_int_eq(removed ? unlink(place.head) : truncate(place.head, 0), 0);
}

START_TEST(record_that_is_lost_is_told_where_the_file_has_a_chain_of_this_node)
{
    open_store(&store);
    append(&store, 2);
    audit_store_close(&store);
    lose_record(_i == 0);
    open_as_node_of_lines(&store);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), 4);
    ck_assert_str_eq(text_of(lines[2], "event"), "broken");
    ck_assert_ptr_nonnull(strstr(text_of(lines[2], "error"), "has line 2 of chain "));
    ck_assert_ptr_nonnull(strstr(text_of(lines[2], "error"), text_of(lines[1], "chain")));
    is_chain(2, 1);
    /* Nothing tells of it in a file that was begun since. */
    audit_store_close(&store);
    ck_assert_int_eq(rename(place.file, folder_path("old")), 0);
    lose_record(_i == 0);
    open_as_node_of_lines(&store);
    append(&store, 1);
    ck_assert_str_eq(store.told, "");
    ck_assert_uint_eq(reread(0), 1);
    is_chain(0, 1);
}
END_TEST

/* Two keyrings of one state_dir share a file. */
START_TEST(record_that_is_not_there_yet_is_not_lost_where_another_keyring_has_the_chain)
{
    open_store(&store);
    append(&store, 2);
    audit_store_close(&store);
    ck_assert_int_eq(rename(place.head, folder_path(_i == 0 ? "other.audit" : "other.gone")), 0);
    open_as_node_of_lines(&store);
    append(&store, 1);
    ck_assert_uint_eq(reread(0), _i == 0 ? 3 : 4);
    ck_assert_str_eq(text_of(lines[2], "event"), _i == 0 ? "stop" : "broken");
}
END_TEST

START_TEST(record_that_is_lost_while_it_is_open_is_told_and_the_chain_goes_on)
{
    const struct kek_audit_owed few = {.lost = 3}, some = {.lost = 1, .waiting = 256};
    open_store(&store);
    append(&store, 2);
    ck_assert_int_eq(audit_head_owe(store.head_fd, AUDIT_DEBTOR_KEKD, &some, &why), KEK_OK);
    ck_assert_int_eq(audit_head_owe(store.head_fd, AUDIT_DEBTOR_ACTS, &few, &why), KEK_OK);
    lose_record(_i == 0);
    append(&store, 2);
    bool counted = _i == 0; /* what was in it is in the other */
    ck_assert_uint_eq(reread(0), counted ? 6 : 5);
    is_chain(0, 1);
    ck_assert_str_eq(text_of(lines[2], "event"), "broken");
    ck_assert_ptr_nonnull(strstr(text_of(lines[2], "error"), "goes on from line 2"));
    ck_assert_ptr_nonnull(strstr(store.told, place.head));
    json_t *object = record();
    ck_assert_int_eq(number_of(object, "n"), (json_int_t)line_count);
    if (counted) {
        ck_assert_str_eq(text_of(lines[3], "event"), "dropped");
        ck_assert_int_eq(number_of(lines[3], "lines"), 3);
        ck_assert_int_eq(number_of(json_object_get(object, "kekd"), "waiting"), 256);
    }
    json_decref(object);
}
END_TEST

START_TEST(record_that_was_made_anew_by_another_is_gone_over_to_and_told)
{
    open_store(&store);
    audit_store_close(&store);
    open_as_node_of_lines(&store);
    append(&store, 2);
    lose_record(true);
    open_as_node_of_lines(&other);
    append(&other, 1);
    append(&store, 1);
    append(&other, 1);
    ck_assert_uint_eq(reread(0), 7);
    is_chain(2, 1);
    ck_assert_str_eq(text_of(lines[2], "event"), "broken");
    ck_assert_str_eq(text_of(lines[4], "event"), "broken");
    ck_assert_ptr_nonnull(strstr(text_of(lines[4], "error"), "was replaced: it had line 2 of"));
    ck_assert_ptr_nonnull(strstr(text_of(lines[4], "error"), text_of(lines[0], "chain")));
    ck_assert_ptr_nonnull(strstr(text_of(lines[4], "error"), text_of(lines[2], "chain")));
}
END_TEST

/* By whoever had the old one open: it is the next kekd's to tell. */
START_TEST(damaged_count_of_a_record_that_is_gone_over_to_is_kept)
{
    const struct kek_audit_owed some = {.lost = 1, .waiting = 256};
    open_store(&store);
    append(&store, 1);
    ck_assert_int_eq(audit_head_owe(store.head_fd, AUDIT_DEBTOR_KEKD, &some, &why), KEK_OK);
    lose_record(true);
    open_store(&other);
    append(&other, 1);
    ck_assert_int_eq(audit_head_owe(other.head_fd, AUDIT_DEBTOR_KEKD, &counts[1].owed, &why),
                     KEK_OK);
    ck_assert_int_eq(pwrite(other.head_fd, "x", 1, where(other.head_fd, counts[1].text) + 1), 1);
    append(&store, 1);
    ck_assert(owed_by(AUDIT_DEBTOR_KEKD).damaged);
}
END_TEST

START_TEST(record_whose_place_is_taken_is_gone_on_with_which_is_said_once)
{
    open_store(&store);
    append(&store, 1);
    ck_assert_int_eq(rename(place.head, folder_path("aside")), 0);
    ck_assert_int_eq(mkdir(place.head, 0700), 0);
    append(&store, 1);
    ck_assert_ptr_nonnull(strstr(store.told, "there is no other: opening "));
    store.told[0] = '\0';
    append(&store, 1);
    ck_assert_int_eq(rmdir(place.head), 0);
    ck_assert_int_eq(rename(folder_path("aside"), place.head), 0);
    append(&store, 1);
    ck_assert_str_eq(store.told, "");
    ck_assert_uint_eq(reread(0), 4);
    is_chain(0, 1);
}
END_TEST

START_TEST(record_that_finds_no_room_stays_empty)
{
    size_t taken;
    struct stat st;
    struct rlimit limit, full;
    open_store(&store);
    signal(SIGXFSZ, SIG_IGN);
    ck_assert_int_eq(getrlimit(RLIMIT_FSIZE, &limit), 0);
    full = (struct rlimit){.rlim_cur = AUDIT_HEAD_BYTES - 1, .rlim_max = limit.rlim_max};
    /* Check's own messages need the disk, too. */
    setrlimit(RLIMIT_FSIZE, &full);
    enum kek_rc appended = audit_store_append(&store, kek_bytes_of(RAW), &taken, &why);
    enum kek_rc shaped = audit_head_shape(store.head_fd, &why);
    setrlimit(RLIMIT_FSIZE, &limit);
    ck_assert_int_eq(appended, KEK_UNAVAILABLE);
    ck_assert_int_eq(shaped, KEK_UNAVAILABLE);
    ck_assert_int_eq(fstat(store.head_fd, &st), 0);
    ck_assert_int_eq(st.st_size, 0);
    append(&store, 1);
    ck_assert_str_eq(store.told, "");
    ck_assert_uint_eq(reread(0), 1);
    is_chain(0, 1);
}
END_TEST

/* Its owner may have linked root's own files into the folder: no line of root's goes there. */
START_TEST(what_was_linked_in_is_neither_the_record_nor_the_log_to_root)
{
    char victim[] = "/tmp/kek-victim-XXXXXX", path[sizeof folder + sizeof "/audit"];
    struct stat st;
    if (geteuid() != 0) {
        return;
    }
    int fd = mkstemp(victim);
    ck_assert_int_ge(fd, 0);
    close(fd);
    ck_assert_int_eq(chown(folder, 4242, 4242), 0);
    snprintf(path, sizeof path, "%s/audit", folder);
    place = place_of(path);
    const char *linked = _i == 0 ? place.head : place.file;
    ck_assert_int_eq(link(victim, linked), 0);
    ck_assert_int_eq(audit_store_open(&store, &place, "n", AUDIT_FILE_GIVE, 0, &why), KEK_DENIED);
    ck_assert_msg(strstr(why.text, "linked here") != NULL, "%s", why.text);
    ck_assert_int_eq(stat(victim, &st), 0);
    ck_assert_uint_eq(st.st_uid, 0);
    ck_assert_int_eq(st.st_size, 0);
    ck_assert_int_eq(unlink(linked), 0);
    ck_assert_msg(audit_store_open(&store, &place, "n", AUDIT_FILE_GIVE, 0, &why) == KEK_OK, "%s",
                  why.text);
    ck_assert_int_eq(stat(linked, &st), 0);
    ck_assert_uint_eq(st.st_uid, 4242);
    unlink(victim);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit record");
    TCase *tcase = tcase_create("audit record");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, store_teardown);
    tcase_add_test(tcase, record_is_one_object_whose_members_change_one_by_one);
    tcase_add_loop_test(tcase, count_of_which_any_byte_is_not_as_it_was_written_is_damaged, 0, 2);
    tcase_add_loop_test(tcase, damaged_count_is_told_once_and_until_then_kept, 0, 2);
    tcase_add_test(tcase, no_byte_of_a_record_changes_unseen);
    tcase_add_loop_test(tcase, record_without_its_end_is_damaged, 0, 2);
    tcase_add_test(tcase, record_of_a_kekd_that_had_no_debts_is_gone_on_from);
    tcase_add_test(tcase, record_that_finds_no_room_stays_empty);
    tcase_add_loop_test(tcase, record_that_is_lost_is_told_where_the_file_has_a_chain_of_this_node,
                        0, 2);
    tcase_add_loop_test(
        tcase, record_that_is_not_there_yet_is_not_lost_where_another_keyring_has_the_chain, 0, 2);
    tcase_add_loop_test(tcase, record_that_is_lost_while_it_is_open_is_told_and_the_chain_goes_on,
                        0, 2);
    tcase_add_test(tcase, record_that_was_made_anew_by_another_is_gone_over_to_and_told);
    tcase_add_test(tcase, damaged_count_of_a_record_that_is_gone_over_to_is_kept);
    tcase_add_test(tcase, record_whose_place_is_taken_is_gone_on_with_which_is_said_once);
    tcase_add_loop_test(tcase, what_was_linked_in_is_neither_the_record_nor_the_log_to_root, 0, 2);
    return suite_run(suite);
}
