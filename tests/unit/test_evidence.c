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

#define BOOT "0f3c8a52-90f1-4f0e-8c52-30b3b8a90d11"

static const struct kek_id one = {{0x11}}, two = {{0x22}}, third = {{0x33}};

static struct evidence_record sample(const char *etcd, int64_t revision)
{
    struct evidence_record record = {.cluster_id = 0xcdf818194e3a8c32,
                                     .prefix = "/registry",
                                     .context = "prod \"eu\"",
                                     .revision = revision,
                                     .begun = {1827000000123, 5000, BOOT},
                                     .ended = {1827000001000, 5877, BOOT},
                                     .objects = 12,
                                     .unreadable = 2,
                                     .disagreeing = 3,
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
    struct evidence_record bare = {.etcd = "events",
                                   .prefix = "/",
                                   .revision = 1,
                                   .begun = {.wall_ms = 1000},
                                   .ended = {.wall_ms = 1000}};
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
    ck_assert_int_eq(record->begun.wall_ms, 1827000000123);
    ck_assert_int_eq(record->ended.wall_ms, 1827000001000);
    ck_assert_int_eq(record->begun.up_ms, 5000);
    ck_assert_int_eq(record->ended.up_ms, 5877);
    ck_assert_str_eq(record->begun.boot, BOOT);
    ck_assert_str_eq(record->ended.boot, BOOT);
    ck_assert_uint_eq(record->disagreeing, 3);
    ck_assert_str_eq(all->records[1].begun.boot, "");
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

#define SINCE_BOOT(id, begun, ended) \
    "\"boot\":{\"id\":\"" id "\",\"begun_ms\":" begun ",\"ended_ms\":" ended "}"

START_TEST(a_record_is_read_as_it_is_described)
{
    static const char text[] = HEAD RECORD(
        CLUSTER, "7", BEGUN, COUNTS ",\"disagreeing\":1," SINCE_BOOT(BOOT, "1", "2")) "]}";
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

START_TEST(an_object_of_several_roots_is_counted_under_each_kek)
{
    struct kek_why why;
    struct evidence_record record = sample("main", 1);
    record.objects = 12;
    record.keks_each = 2;
    record.by_kek[0] = (struct evidence_count){one, 12};
    record.by_kek[1] = (struct evidence_count){two, 10};
    record.without[0] = (struct evidence_without){"spare", 2};
    record.without_count = 1;
    ck_assert_int_eq(evidence_append(&config, &record, &why), KEK_OK);
    KEK_AUTO_FREE struct evidence *all = evidence_load(&config, &why);
    ck_assert_msg(all != NULL, "%s", why.text);
    ck_assert_uint_eq(all->records[0].keks_each, 2);
    ck_assert_uint_eq(evidence_objects(&all->records[0], &one), 12);
    ck_assert_uint_eq(evidence_objects(&all->records[0], &two), 10);
    ck_assert_uint_eq(evidence_without(&all->records[0], "spare"), 2);
    ck_assert_uint_eq(evidence_without(&all->records[0], "site"), 0);
}
END_TEST

START_TEST(one_root_writes_what_it_always_wrote)
{
    static const char text[] =
        "{\n \"format\": 1,\n \"keyring\": \"k\",\n \"inventories\": [\n  {\n"
        "   \"etcd\": \"main\",\n   \"cluster_id\": \"cdf818194e3a8c32\",\n"
        "   \"prefix\": \"/registry\",\n   \"context\": \"prod \\\"eu\\\"\",\n"
        "   \"revision\": 5,\n   \"begun\": \"2027-11-23T20:00:00.123Z\",\n"
        "   \"ended\": \"2027-11-23T20:00:01.000Z\",\n   \"boot\": {\n"
        "    \"id\": \"" BOOT "\",\n    \"begun_ms\": 5000,\n    \"ended_ms\": 5877\n   },\n"
        "   \"objects\": 12,\n   \"unreadable\": 2,\n   \"disagreeing\": 3,\n"
        "   \"verified\": true,\n   \"by_kek\": {\n"
        "    \"11000000000000000000000000000000\": 7,\n"
        "    \"22000000000000000000000000000000\": 3\n   }\n  }\n ]\n}";
    char written[sizeof text + 64] = "";
    struct kek_why why;
    struct evidence_record record = sample("main", 5);
    record.keks_each = 1;
    ck_assert_int_eq(evidence_append(&config, &record, &why), KEK_OK);
    FILE *file = fopen(path, "r");
    (void)!fread(written, 1, sizeof written - 1, file);
    ck_assert_int_eq(fclose(file), 0);
    ck_assert_str_eq(written, text);
}
END_TEST

START_TEST(a_view_of_one_root_reads_what_was_found_of_all)
{
    struct kek_why why;
    const struct kek_config view = {.keyring = (char[]){"r"},
                                    .root = (char[]){"s"},
                                    .state_name = config.keyring,
                                    .state_dir = config.state_dir};
    append("main", 1);
    KEK_AUTO_FREE struct evidence *all = evidence_load(&view, &why);
    ck_assert_msg(all != NULL, "%s", why.text);
    ck_assert_uint_eq(all->count, 1);
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
    HEAD RECORD(CLUSTER, "7", BEGUN, COUNTS ",\"disagreeing\":4") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, COUNTS ",\"disagreeing\":-1") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, COUNTS ",\"boot\":{}") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, COUNTS "," SINCE_BOOT("x", "1", "2")) "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, COUNTS "," SINCE_BOOT(BOOT, "3", "2")) "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, COUNTS "," SINCE_BOOT(BOOT, "-1", "2")) "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, "\"objects\":-1,\"unreadable\":0,\"by_kek\":{}") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, "\"objects\":3,\"unreadable\":0,\"by_kek\":[]") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, "\"objects\":3,\"by_kek\":{}") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, COUNTS ",\"keks_each\":0") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN, COUNTS ",\"keks_each\":5") "]}",
    HEAD RECORD(CLUSTER, "7", BEGUN,
                "\"objects\":3,\"unreadable\":0,\"keks_each\":2,\"by_kek\":{\"" ID "\":4}") "]}",
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
    ck_assert_int_eq(evidence_append(&elsewhere, &record, &why), KEK_DENIED);
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

/* Two clocks: which of them was set, and when, the moments do not say; that one was, they do. */
static const struct {
    const char *what;
    struct moment earlier, later;
    bool agrees;
    int64_t passed_ms;
} moments[] = {
    {"as it should be", {1000000, 500, BOOT}, {4600000, 3600500, BOOT}, true, 3600000},
    {"slewed", {1000000, 500, BOOT}, {4610000, 3600500, BOOT}, true, 3600000},
    {"forward", {1000000, 500, BOOT}, {4620000, 3600500, BOOT}, false, 3600000},
    {"back", {1000000, 500, BOOT}, {4580000, 3600500, BOOT}, false, 3580000},
    {"swapped", {4600000, 3600500, BOOT}, {1000000, 500, BOOT}, false, -3600000},
    {"of two boots", {1000000, 9000, "another"}, {4600000, 1000, BOOT}, true, 3600000},
    {"after this boot", {4000000, 9000, "another"}, {4600000, 3600500, BOOT}, false, 600000},
    {"not known", {4000000, 0, ""}, {4600000, 3600500, BOOT}, true, 600000},
};

START_TEST(a_clock_that_was_set_between_two_moments_is_noticed)
{
    const struct moment *earlier = &moments[_i].earlier, *later = &moments[_i].later;
    ck_assert_msg(moment_agrees(earlier, later) == moments[_i].agrees, "%s", moments[_i].what);
    ck_assert_int_eq(moment_passed_ms(earlier, later), moments[_i].passed_ms);
}
END_TEST

START_TEST(now_is_of_this_boot)
{
    struct moment before, after;
    moment_now(&before);
    moment_now(&after);
    ck_assert(moment_is_boot(before.boot));
    ck_assert(moment_same_boot(&before, &after));
    ck_assert(before.up_ms > 0 && moment_agrees(&before, &after));
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
    tcase_add_test(all, an_object_of_several_roots_is_counted_under_each_kek);
    tcase_add_test(all, one_root_writes_what_it_always_wrote);
    tcase_add_test(all, a_view_of_one_root_reads_what_was_found_of_all);
    tcase_add_loop_test(all, a_damaged_file_is_told_and_never_overwritten, 0,
                        sizeof damaged / sizeof damaged[0]);
    tcase_add_test(all, nothing_is_lost_where_it_cannot_be_written);
    tcase_add_test(all, a_folder_that_is_not_there_is_said);
    tcase_add_test(all, a_second_kekctl_waits_for_the_first);
    tcase_add_loop_test(all, a_clock_that_was_set_between_two_moments_is_noticed, 0,
                        sizeof moments / sizeof moments[0]);
    tcase_add_test(all, now_is_of_this_boot);
    suite_add_tcase(suite, all);
    return suite_run(suite);
}
