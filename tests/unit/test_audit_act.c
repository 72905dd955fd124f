/* What an operator did by kekctl, in the same file; and the manual, which lists every kind of line. */
#include <sys/stat.h>
#include <sys/syscall.h>

#include "audit_help.h"
#include "man_items.h"
#include "src/ops/audit_head.h"

static const struct kek_id made = {{0xde, 0xad}};
static const size_t two_pins = 2;
static const struct kek_why no_room = {
    .native = KEK_NATIVE_PKCS11, .code = 0x31, .text = "CKR_DEVICE_MEMORY"};
static const struct kek_audit_act acts[] = {
    {.event = "generate",
     .outcome = "ok",
     .provider = hsm_b,
     .kek_id = &made,
     .version = 5,
     .state = "pre-active"},
    {.event = "generate",
     .outcome = "failed",
     .provider = hsm_a,
     .kek_id = &made,
     .version = 6,
     .state = "pre-active",
     .why = &no_room},
    {.event = "pin-retry", .outcome = "ok", .forgotten = &two_pins},
    {.event = "login", .outcome = "refused", .provider = hsm_a, .token = "0123abcd"},
};
static const struct kek_audit_act audit_key = {
    .event = "audit-key", .outcome = "ok", .provider = hsm_a, .mac_key = &made};

static void act(const char *path)
{
    struct kek_why why = {.text = ""};
    struct kek_audit_acts *log = acts_ok(path);
    for (size_t i = 0; i < sizeof acts / sizeof acts[0]; i++) {
        ck_assert_int_eq(kek_audit_act(log, &acts[i], &why), KEK_OK);
    }
    kek_audit_acts_free(log);
}

static unsigned folders_synced;

/* libc's, for all of this program. */
int fsync(int fd)
{
    struct stat st;
    folders_synced += fstat(fd, &st) == 0 && S_ISDIR(st.st_mode);
    return (int)syscall(SYS_fsync, fd);
}

START_TEST(names_of_a_file_and_of_its_records_that_are_made_are_on_the_disk)
{
    const char *path = folder_path("audit");
    kek_audit_acts_free(acts_ok(path));
    ck_assert_uint_eq(folders_synced, 3);
    act(path);
    folders_synced = 0;
    kek_audit_acts_free(acts_ok(path));
    ck_assert_uint_eq(folders_synced, 0);
}
END_TEST

static bool groups_are_others;

/* Likewise: the kernel's answer to a user who is in no group but his own. */
int fchown(int fd, uid_t owner, gid_t group)
{
    if (groups_are_others && group != (gid_t)-1) {
        errno = EPERM;
        return -1;
    }
    return (int)syscall(SYS_fchown, fd, owner, group);
}

START_TEST(log_that_the_folders_owner_makes_stays_of_his_group_where_the_folders_is_anothers)
{
    const char *path = folder_path("audit");
    groups_are_others = true;
    kek_audit_acts_free(acts_ok(path));
    struct stat st;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    ck_assert_uint_eq(st.st_uid, geteuid());
}
END_TEST

START_TEST(act_is_not_written_into_another_log_than_the_one_that_kekds_chain_is_in)
{
    struct kek_why why = {.text = ""};
    char log[512], other[512];
    snprintf(log, sizeof log, "%s", folder_path("audit"));
    snprintf(other, sizeof other, "%s", folder_path("draft"));
    const struct kek_audit_place place = place_of(other);
    act(log);
    stop(new_ok(log));
    ck_assert_ptr_null(kek_audit_acts_new(&place, NULL, &why));
    ck_assert_int_eq(why.rc, KEK_PRECONDITION);
    ck_assert_ptr_nonnull(strstr(why.text, log));
    ck_assert_ptr_nonnull(strstr(why.text, other));
    ck_assert_int_eq(access(other, F_OK), -1);
    ck_assert_int_eq(rename(log, folder_path("audit.1")), 0); /* as logrotate does */
    act(log);
    ck_assert_int_eq(rename(log, other), 0); /* moved, as the configuration says by now */
    act(other);
    ck_assert_int_eq(rename(other, log), 0);
    stop(new_ok(other)); /* kekd has started with that */
    act(other);
    const struct kek_audit_place was = place_of(log);
    ck_assert_ptr_null(kek_audit_acts_new(&was, NULL, &why));
}
END_TEST

#define NOBODY 65534

START_TEST(log_is_made_in_a_folder_that_may_be_written_and_not_read)
{
    struct kek_why why = {.text = ""};
    const struct kek_audit_place place = place_of(folder_path("audit"));
    bool root = geteuid() == 0;
    ck_assert_int_eq(chmod(folder, S_IWUSR | S_IXUSR), 0);
    ck_assert(!root || (chown(folder, NOBODY, (gid_t)-1) == 0 && seteuid(NOBODY) == 0));
    struct kek_audit_acts *log = kek_audit_acts_new(&place, NULL, &why);
    ck_assert(!root || seteuid(0) == 0);
    ck_assert_int_eq(chmod(folder, S_IRWXU), 0);
    ck_assert_msg(log != NULL, "%s", why.text);
    kek_audit_acts_free(log);
}
END_TEST

START_TEST(acts_of_an_operator_stand_among_kekds_lines_and_in_a_file_that_kekd_can_open)
{
    static const char *const expected[] = {
        "generate hsm-b 5 pre-active dead0000000000000000000000000000",
        "generate hsm-a 6 pre-active dead0000000000000000000000000000 CKR_DEVICE_MEMORY",
        "pin-retry",
        "login hsm-a",
    };
    const char *path = folder_path("audit");
    act(path); /* before kekd has ever been started */
    struct stat st, around;
    ck_assert_int_eq(stat(path, &st), 0);
    ck_assert_int_eq(stat(folder_path("."), &around), 0);
    ck_assert_int_eq(st.st_mode & 07777, 0600);
    ck_assert_uint_eq(st.st_uid, around.st_uid);
    struct kek_audit *audit = new_ok(path);
    act(path);
    stop(audit);
    ck_assert_uint_eq(read_lines(path), 10);
    for (size_t i = 0; i < 8; i++) {
        char said[256];
        in_words(lines[i], said);
        ck_assert_str_eq(said, expected[i % 4]);
        ck_assert_int_eq(number_of(lines[i], "seq"), 0);
        ck_assert_int_eq(number_of(lines[i], "peer_uid"), getuid());
        ck_assert_int_eq(number_of(lines[i], "peer_pid"), getpid());
        ck_assert_str_eq(text_of(lines[i], "outcome"), acts[i % 4].outcome);
    }
    ck_assert_int_eq(number_of(lines[2], "forgotten"), 2);
    ck_assert_str_eq(text_of(lines[3], "token"), "0123abcd");
    ck_assert_str_eq(text_of(lines[8], "event"), "start");
}
END_TEST

START_TEST(an_act_names_the_root_whose_key_it_is_about)
{
    struct kek_why why = {.text = ""};
    static const char *const roots[] = {"spare", "", NULL};
    struct kek_audit_place place = place_of(folder_path("audit"));
    for (size_t i = 0; i < 3; i++) {
        KEK_AUTO(kek_audit_acts) log = kek_audit_acts_new(&place, roots[i], &why);
        ck_assert_msg(log != NULL, "%s", why.text);
        ck_assert_int_eq(kek_audit_act(log, &acts[0], &why), KEK_OK);
    }
    ck_assert_uint_eq(read_lines(folder_path("audit")), 3);
    ck_assert_str_eq(text_of(lines[0], "root"), "spare");
    ck_assert_ptr_null(json_object_get(lines[1], "root"));
    ck_assert_ptr_null(json_object_get(lines[2], "root"));
}
END_TEST

START_TEST(act_is_not_put_where_kekds_log_cannot_be)
{
    struct kek_why why = {.text = ""};
    ck_assert_int_eq(symlink(folder_path("target"), folder_path("link")), 0);
    static const char *const names[] = {"link", "missing/audit", "."};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        struct kek_audit_place place = place_of(folder_path(names[i]));
        ck_assert_ptr_null(kek_audit_acts_new(&place, NULL, &why));
        ck_assert_ptr_nonnull(strstr(why.text, names[i]));
    }
    disk_holds(0);
    struct kek_audit_acts *log = acts_ok(folder_path("audit"));
    ck_assert_int_eq(kek_audit_act(log, &acts[0], &why), KEK_UNAVAILABLE);
    ck_assert_int_ne(why.code, 0);
    kek_audit_acts_free(log);
    disk_holds(RLIM_INFINITY);
}
END_TEST

START_TEST(lines_that_are_lost_are_told_by_whoever_writes_next)
{
    struct kek_why why = {.text = ""};
    const char *path = folder_path("audit");
    struct kek_audit_place place = place_of(path);
    struct kek_audit_end end;
    struct kek_audit_owed owed;
    struct stat st;
    act(path);
    struct kek_audit_acts *log = acts_ok(path);
    ck_assert_int_eq(stat(path, &st), 0);
    disk_holds((rlim_t)st.st_size);
    ck_assert_int_eq(kek_audit_act_begin(log, &acts[0], &why), KEK_UNAVAILABLE);
    ck_assert_int_eq(kek_audit_record_read(place.head, &end, &owed, &why), KEK_OK);
    ck_assert_uint_eq(owed.lost, 0);
    ck_assert_int_eq(kek_audit_act(log, &acts[0], &why), KEK_UNAVAILABLE);
    ck_assert_int_eq(kek_audit_act(log, &acts[2], &why), KEK_UNAVAILABLE);
    ck_assert_int_eq(kek_audit_record_read(place.head, &end, &owed, &why), KEK_OK);
    ck_assert_uint_eq(owed.lost, 2);
    kek_audit_acts_free(log);
    disk_holds(RLIM_INFINITY);
    stop(new_ok(path));
    ck_assert_uint_eq(read_lines(path), 7);
    ck_assert_str_eq(text_of(lines[4], "event"), "dropped");
    ck_assert_int_eq(number_of(lines[4], "lines"), 2);
    ck_assert_int_eq(number_of(lines[4], "n"), 5);
    ck_assert_str_eq(text_of(lines[5], "event"), "start");
}
END_TEST

START_TEST(lines_of_a_log_that_cannot_be_opened_are_counted_and_told)
{
    struct kek_why why = {.text = ""};
    struct kek_audit_place place = place_of(folder_path("audit"));
    const char *path = place.file;
    struct kek_audit_end end;
    struct kek_audit_owed owed;
    act(path);
    ck_assert_int_eq(rename(path, folder_path("aside")), 0);
    ck_assert_int_eq(mkdir(path, 0700), 0);
    for (int i = 0; i < 2; i++) {
        ck_assert_ptr_null(kek_audit_acts_new(&place, NULL, &why));
        kek_audit_act_lost(&place);
    }
    ck_assert_int_eq(kek_audit_record_read(place.head, &end, &owed, &why), KEK_OK);
    ck_assert_uint_eq(owed.lost, 2);
    ck_assert_uint_eq(end.n, 4);
    ck_assert_int_eq(rmdir(path), 0);
    ck_assert_int_eq(rename(folder_path("aside"), path), 0);
    act(path);
    ck_assert_uint_eq(read_lines(path), 9);
    ck_assert_str_eq(text_of(lines[4], "event"), "dropped");
    ck_assert_int_eq(number_of(lines[4], "lines"), 2);
    ck_assert_int_eq(number_of(lines[4], "n"), 5);
}
END_TEST

/* What kekctl's changes of a key's state are put on record as. */
static void act_changes(const char *path)
{
    static const char *const events[] = {"promote", "retire",    "suspend", "resume", "quarantine",
                                         "destroy", "destroyed", "trial",   "backup"};
    struct kek_why why = {.text = ""};
    const struct kek_audit_place place = place_of(path);
    struct kek_audit_acts *log = kek_audit_acts_new(&place, "site", &why);
    ck_assert_msg(log != NULL, "%s", why.text);
    for (size_t i = 0; i < sizeof events / sizeof events[0]; i++) {
        const struct kek_audit_act change = {.event = events[i],
                                             .command = "key change",
                                             .said = "backups-checked",
                                             .outcome = "unclear",
                                             .provider = hsm_b,
                                             .kek_id = &made,
                                             .version = 5,
                                             .state = "active",
                                             .why = &no_room};
        ck_assert_int_eq(kek_audit_act(log, &change, &why), KEK_OK);
    }
    ck_assert_int_eq(kek_audit_act(log, &audit_key, &why), KEK_OK);
    kek_audit_acts_free(log);
}

/* Also of the objects in it. */
static void meet_fields(struct man_items *fields, const json_t *object)
{
    const char *key;
    json_t *value;
    size_t i;
    const json_t *one;
    json_object_foreach((json_t *)(uintptr_t)object, key, value)
    {
        man_items_meet(fields, key);
        json_array_foreach(value, i, one)
        {
            meet_fields(fields, one);
        }
    }
}

/* As a kekd that was killed. */
static void owe(const char *head)
{
    struct kek_why why;
    int fd = open(head, O_RDWR);
    ck_assert_int_eq(
        audit_head_owe(fd, AUDIT_DEBTOR_KEKD, &(struct kek_audit_owed){.waiting = 256}, &why),
        KEK_OK);
    close(fd);
}

/* Every field of every kind of line, and every kind, stand in the manual, and nothing else does. */
START_TEST(the_manual_lists_the_fields_and_the_events)
{
    struct kek_audit *audit = new_ok(folder_path("audit"));
    struct kek_why why = {.native = KEK_NATIVE_ERRNO, .code = 5, .text = "x"};
    struct kek_kms_event event = event_of(KEK_KMS_V2_ENCRYPT, KEK_RPC_INTERNAL, "");
    event.why = &why;
    event.damaged_root = "site";
    event.keks =
        &(struct kek_kms_kek){.root = "site", .version = 1, .provider = hsm_a, .unopened = true};
    event.kek_count = 1;
    kek_audit_call(audit, &event);
    kek_audit_rejected(audit, &peer, "/", KEK_RPC_UNIMPLEMENTED, "x");
    kek_audit_login(audit, &config, &(struct kek_pool_login){.token = "0123abcd"});
    kek_audit_keyring(audit, &config, &(struct kek_keyring_primary){.generation.numbers = {1}},
                      &(struct kek_keyring_version){
                          .number = 1, .surplus = true, .held = {KEK_KEYRING_KEY_ACTIVE}},
                      1, &(struct kek_keyring_verdict){.state = KEK_KEYRING_LOSS, .what = "x"});
    kek_audit_keyring(audit, &config, &(struct kek_keyring_primary){.generation.numbers = {1}},
                      &(struct kek_keyring_version){.number = 1,
                                                    .surplus = true,
                                                    .held = {KEK_KEYRING_KEY_ACTIVE},
                                                    .canary = {{.fails = true}}},
                      1, &(struct kek_keyring_verdict){.state = KEK_KEYRING_LOSS, .what = "x"});
    kek_audit_mac(audit, &(struct kek_audit_mac){.provider = hsm_a,
                                                 .covers = &(struct kek_audit_end){.n = 7},
                                                 .maced = &(struct kek_provider_maced){
                                                     .mechanism = "CKM_AES_CMAC", .len = 16}});
    kek_audit_mac_failed(audit, hsm_a, &why);
    kek_audit_mac_none(audit);
    stop(audit);
    read_lines(folder_path("audit"));
    char out[AUDIT_LINE_MAX];
    struct audit_stamp stamp = {.node = "", .second = -1};
    size_t len = audit_line_dropped(out, &stamp, 1);
    lines[line_count++] = json_loadb(out, len, 0, NULL);

    put_bytes(folder_path("acts"), "{\"time\"");
    put_bytes(folder_path("head"), "more than a record");
    act(folder_path("acts"));
    owe(folder_path("head"));
    stop(new_ok(folder_path("acts")));
    act_changes(folder_path("acts"));
    read_lines_but(folder_path("acts"), 1);

    struct man_items fields, events;
    man_items_read(&fields, "docs/kekd-audit.5", "Cm");
    man_items_read(&events, "docs/kekd-audit.5", "Ic");
    for (size_t i = 0; i < line_count; i++) {
        meet_fields(&fields, lines[i]);
        man_items_meet(&events, text_of(lines[i], "event"));
    }
    man_items_meet(&fields, "login_uid"); /* where somebody has logged in */
    man_items_all_met(&fields);
    man_items_all_met(&events);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("audit act");
    TCase *tcase = tcase_create("audit act");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 60);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, act_is_not_written_into_another_log_than_the_one_that_kekds_chain_is_in);
    tcase_add_test(tcase, names_of_a_file_and_of_its_records_that_are_made_are_on_the_disk);
    tcase_add_test(
        tcase, log_that_the_folders_owner_makes_stays_of_his_group_where_the_folders_is_anothers);
    tcase_add_test(tcase, log_is_made_in_a_folder_that_may_be_written_and_not_read);
    tcase_add_test(tcase,
                   acts_of_an_operator_stand_among_kekds_lines_and_in_a_file_that_kekd_can_open);
    tcase_add_test(tcase, an_act_names_the_root_whose_key_it_is_about);
    tcase_add_test(tcase, act_is_not_put_where_kekds_log_cannot_be);
    tcase_add_test(tcase, lines_that_are_lost_are_told_by_whoever_writes_next);
    tcase_add_test(tcase, lines_of_a_log_that_cannot_be_opened_are_counted_and_told);
    tcase_add_test(tcase, the_manual_lists_the_fields_and_the_events);
    return suite_run(suite);
}
