/* kekctl/evidence.c: which inventories are on record. */
#include "kekctl/inventory/evidence.h"

#include <fcntl.h>
#include <stdio.h>
#include <sys/file.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <time.h>
#include <unistd.h>

#include "suite.h"

static char folder[] = "/tmp/kek-evidence-XXXXXX";
static char path[64], lock_path[64];
static struct kek_config config = {.keyring = (char[]){"k"}};

static void make_folder(void)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    config.state_dir = folder;
    snprintf(path, sizeof path, "%s/k.inventories", folder);
    snprintf(lock_path, sizeof lock_path, "%s/k.inventories.lock", folder);
}

static void remove_folder(void)
{
    (void)unlink(path);
    (void)unlink(lock_path);
    ck_assert_int_eq(rmdir(folder), 0); /* nothing else was left in it */
}

static const struct kek_id one = {{0x11}}, two = {{0x22}}, third = {{0x33}};

static struct evidence_record sample(const char *etcd, int64_t revision)
{
    struct evidence_record record = {.cluster_id = 0xcdf818194e3a8c32,
                                     .prefix = "/registry",
                                     .context = "prod \"eu\"",
                                     .revision = revision,
                                     .begun_ms = 1827000000123,
                                     .ended_ms = 1827000001000,
                                     .objects = 12,
                                     .unreadable = 2,
                                     .verified = true,
                                     .kek_count = 2,
                                     .by_kek = {{one, 7}, {two, 3}}};
    snprintf(record.etcd, sizeof record.etcd, "%s", etcd);
    return record;
}

static void append(const char *etcd, int64_t revision)
{
    struct kek_why why;
    const struct evidence_record record = sample(etcd, revision);
    ck_assert_msg(evidence_append(&config, &record, &why) == KEK_OK, "%s", why.text);
}

START_TEST(there_is_none_without_a_file)
{
    struct kek_why why;
    KEK_AUTO_FREE struct evidence *all = evidence_load(&config, &why);
    ck_assert_ptr_nonnull(all);
    ck_assert_uint_eq(all->count, 0);
}
END_TEST

START_TEST(what_was_added_is_read)
{
    struct kek_why why;
    struct evidence_record bare = {
        .etcd = "events", .prefix = "/", .revision = 1, .begun_ms = 1000, .ended_ms = 1000};
    append("main", 1234567890123);
    ck_assert_int_eq(evidence_append(&config, &bare, &why), KEK_OK);
    KEK_AUTO_FREE struct evidence *all = evidence_load(&config, &why);
    ck_assert_msg(all != NULL, "%s", why.text);
    ck_assert_uint_eq(all->count, 2);
    const struct evidence_record *record = &all->records[0];
    ck_assert_str_eq(record->etcd, "main");
    ck_assert_uint_eq(record->cluster_id, 0xcdf818194e3a8c32);
    ck_assert_str_eq(record->prefix, "/registry");
    ck_assert_str_eq(record->context, "prod \"eu\"");
    ck_assert_int_eq(record->revision, 1234567890123);
    ck_assert_int_eq(record->begun_ms, 1827000000123);
    ck_assert_int_eq(record->ended_ms, 1827000001000);
    ck_assert_uint_eq(record->objects, 12);
    ck_assert_uint_eq(record->unreadable, 2);
    ck_assert(record->verified);
    ck_assert_uint_eq(evidence_objects(record, &one), 7);
    ck_assert_uint_eq(evidence_objects(record, &two), 3);
    ck_assert_uint_eq(evidence_objects(record, &third), 0);
    ck_assert_str_eq(all->records[1].etcd, "events");
    ck_assert_uint_eq(all->records[1].kek_count, 0);
    ck_assert(!all->records[1].verified);
}
END_TEST

START_TEST(the_last_ones_are_kept_and_one_etcd_displaces_no_other)
{
    struct kek_why why;
    append("quiet", 1);
    append("quiet", 2);
    for (int i = 0; i < EVIDENCE_MAX + 6; i++) {
        append("busy", 100 + i);
    }
    KEK_AUTO_FREE struct evidence *all = evidence_load(&config, &why);
    ck_assert_uint_eq(all->count, EVIDENCE_MAX);
    ck_assert_str_eq(all->records[1].etcd, "quiet");
    ck_assert_int_eq(all->records[1].revision, 2);
    ck_assert_int_eq(all->records[2].revision, 100 + 8); /* the oldest eight are gone */
    ck_assert_int_eq(all->records[EVIDENCE_MAX - 1].revision, 100 + EVIDENCE_MAX + 5);
}
END_TEST

START_TEST(the_largest_record_fits_as_often_as_records_are_kept)
{
    struct kek_why why;
    struct evidence_record record = sample("a-name-of-thirty-two-characters-", INT64_MAX);
    memset(record.prefix, 'p', sizeof record.prefix - 1);
    memset(record.context, '"', sizeof record.context - 1);
    record.objects = INT64_MAX;
    record.kek_count = EVIDENCE_KEKS_MAX;
    for (size_t i = 0; i < EVIDENCE_KEKS_MAX; i++) {
        record.by_kek[i] = (struct evidence_count){{{(uint8_t)i}}, INT64_MAX / 256};
    }
    for (int i = 0; i < EVIDENCE_MAX; i++) {
        ck_assert_int_eq(evidence_append(&config, &record, &why), KEK_OK);
    }
    KEK_AUTO_FREE struct evidence *all = evidence_load(&config, &why);
    ck_assert_msg(all != NULL, "%s", why.text);
    ck_assert_uint_eq(all->count, EVIDENCE_MAX);
    ck_assert_uint_eq(evidence_objects(&all->records[63], &record.by_kek[127].kek),
                      INT64_MAX / 256);
}
END_TEST

#define ID "11000000000000000000000000000000"
#define HEAD "{\"format\":1,\"keyring\":\"k\",\"inventories\":["
#define RECORD(cluster, revision, begun, counts)                                         \
    "{\"etcd\":\"m\",\"cluster_id\":\"" cluster                                          \
    "\",\"prefix\":\"/r\",\"context\":\"\",\"revision\":" revision ",\"begun\":\"" begun \
    "\",\"ended\":\"2027-01-01T00:00:01.000Z\"," counts ",\"verified\":false}"
#define CLUSTER "00000000000000ff"
#define BEGUN "2027-01-01T00:00:00.000Z"
#define COUNTS "\"objects\":3,\"unreadable\":1,\"by_kek\":{\"" ID "\":2}"

START_TEST(a_record_is_read_as_it_is_described)
{
    static const char text[] = HEAD RECORD(CLUSTER, "7", BEGUN, COUNTS) "]}";
    struct kek_why why;
    FILE *file = fopen(path, "w");
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    KEK_AUTO_FREE struct evidence *all = evidence_load(&config, &why);
    ck_assert_msg(all != NULL, "%s", why.text);
    ck_assert_uint_eq(evidence_objects(&all->records[0], &one), 2);
    ck_assert_uint_eq(all->records[0].cluster_id, 255);
}
END_TEST

/* Each is wrong in one thing alone. */
static const char *const damaged[] = {
    "",
    "{",
    "[]",
    "{\"format\":2,\"keyring\":\"k\",\"inventories\":[]}",
    "{\"format\":1,\"keyring\":\"other\",\"inventories\":[]}",
    "{\"format\":1,\"keyring\":\"k\",\"inventories\":{}}",
    "{\"format\":1,\"keyring\":\"k\",\"inventories\":[],\"more\":1}",
    HEAD "{}]}",
    HEAD RECORD("ff", "7", BEGUN, COUNTS) "]}",
    HEAD RECORD("00000000000000FF", "7", BEGUN, COUNTS) "]}",
    HEAD RECORD(CLUSTER, "0", BEGUN, COUNTS) "]}",
    HEAD RECORD(CLUSTER, "7.5", BEGUN, COUNTS) "]}",
    HEAD RECORD(CLUSTER, "7", "yesterday", COUNTS) "]}",
    HEAD RECORD(CLUSTER, "7", "2027-01-01T00:00:02.000Z", COUNTS) "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, "\"objects\":3,\"unreadable\":4,\"by_kek\":{}") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, "\"objects\":-1,\"unreadable\":0,\"by_kek\":{}") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, "\"objects\":3,\"unreadable\":0,\"by_kek\":[]") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, "\"objects\":3,\"by_kek\":{}") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN,
                "\"objects\":3,\"unreadable\":2,\"by_kek\":{\"" ID "\":2}") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN,
                "\"objects\":3,\"unreadable\":0,\"by_kek\":{\"" ID "\":0}") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, "\"objects\":3,\"unreadable\":0,\"by_kek\":{\"11\":2}") "]}",
};

START_TEST(a_damaged_file_is_told_and_never_overwritten)
{
    struct kek_why why;
    const char *text = damaged[_i];
    FILE *file = fopen(path, "w");
    ck_assert_int_ge(fputs(text, file), 0);
    ck_assert_int_eq(fclose(file), 0);
    KEK_AUTO_FREE struct evidence *all = evidence_load(&config, &why);
    ck_assert_msg(all == NULL, "%s", text);
    ck_assert_int_eq(why.rc, KEK_DAMAGED);
    ck_assert_ptr_nonnull(strstr(why.text, path));
    ck_assert_ptr_nonnull(strstr(why.text, "restore it, or move it away"));
    const struct evidence_record record = sample("main", 1);
    ck_assert_int_eq(evidence_append(&config, &record, &why), KEK_DAMAGED);
    char kept[1024] = "";
    file = fopen(path, "r");
    size_t len = fread(kept, 1, sizeof kept - 1, file);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_uint_eq(len, strlen(text));
    ck_assert_str_eq(kept, text);
}
END_TEST

START_TEST(nothing_is_lost_where_it_cannot_be_written)
{
    struct kek_why why;
    const struct evidence_record record = sample("main", 2);
    char beside[80];
    append("main", 1);
    snprintf(beside, sizeof beside, "%s.new", path);
    ck_assert_int_eq(mkdir(beside, 0700), 0);
    ck_assert_int_eq(evidence_append(&config, &record, &why), KEK_UNAVAILABLE);
    ck_assert_int_eq(rmdir(beside), 0);
    KEK_AUTO_FREE struct evidence *all = evidence_load(&config, &why);
    ck_assert_uint_eq(all->count, 1);
    ck_assert_int_eq(all->records[0].revision, 1);
}
END_TEST

START_TEST(a_folder_that_is_not_there_is_said)
{
    struct kek_why why;
    const struct evidence_record record = sample("main", 2);
    const struct kek_config elsewhere = {.keyring = config.keyring, .state_dir = (char[]){"/nil"}};
    ck_assert_int_eq(evidence_append(&elsewhere, &record, &why), KEK_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(why.text, "/nil/k.inventories.lock"));
}
END_TEST

START_TEST(a_second_kekctl_waits_for_the_first)
{
    int ready[2], status = -1;
    char mark[64];
    snprintf(mark, sizeof mark, "%s/let-go", folder);
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        const struct timespec pause = {.tv_nsec = 300 * 1000000L};
        int fd = open(lock_path, O_RDWR | O_CREAT, 0600);
        bool held = flock(fd, LOCK_EX) == 0 && write(ready[1], "x", 1) == 1;
        nanosleep(&pause, NULL);
        _exit(held && mkdir(mark, 0700) == 0 ? 0 : 1);
    }
    char byte;
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    append("main", 1);
    ck_assert_int_eq(rmdir(mark), 0); /* it was made before the lock was free */
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    close(ready[0]);
    close(ready[1]);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("evidence");
    TCase *all = tcase_create("all");
    tcase_add_checked_fixture(all, make_folder, remove_folder);
    tcase_add_test(all, there_is_none_without_a_file);
    tcase_add_test(all, what_was_added_is_read);
    tcase_add_test(all, the_last_ones_are_kept_and_one_etcd_displaces_no_other);
    tcase_add_test(all, the_largest_record_fits_as_often_as_records_are_kept);
    tcase_add_test(all, a_record_is_read_as_it_is_described);
    tcase_add_loop_test(all, a_damaged_file_is_told_and_never_overwritten, 0,
                        sizeof damaged / sizeof damaged[0]);
    tcase_add_test(all, nothing_is_lost_where_it_cannot_be_written);
    tcase_add_test(all, a_folder_that_is_not_there_is_said);
    tcase_add_test(all, a_second_kekctl_waits_for_the_first);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
