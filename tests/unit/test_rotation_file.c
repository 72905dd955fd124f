/* kekctl/rotation_file.c: the file that says how far a rotation is. */
#include "kekctl/rotate/rotation_file.h"

#include <sys/stat.h>
#include <unistd.h>

#include "rotation_facts.h"
#include "suite.h"

static char folder[] = "/tmp/kek-rotation-XXXXXX";
static struct kek_config config = {.keyring = (char[]){"k"}};

static void make_folder(void)
{
    memcpy(folder + sizeof folder - 7, "XXXXXX", 6);
    ck_assert_ptr_nonnull(mkdtemp(folder));
    config.state_dir = folder;
}

static void remove_folder(void)
{
    ck_assert_int_eq(rmdir(folder), 0); /* nothing was left in it */
}

static const struct rotation_progress sample = {.step = ROTATION_SEEN,
                                                .key = {.number = 4, .id = {{0x44}}},
                                                .since_ms = WORLD_NOW,
                                                .since_up_ms = 123456,
                                                .pid = 17};

START_TEST(what_was_written_is_read_and_gone_at_the_end)
{
    struct rotation_file file;
    struct rotation_progress progress;
    struct kek_why why;
    ck_assert_int_eq(rotation_file_open(&file, &config, "cp1", &progress, &why), KEK_OK);
    ck_assert_int_eq(progress.step, ROTATION_CHECK);
    for (enum rotation_step step = ROTATION_CLAIM; step < ROTATION_STEPS; step++) {
        struct rotation_progress written = sample;
        written.step = step;
        ck_assert_int_eq(rotation_file_write(&file, &written, &why), KEK_OK);
        rotation_file_close(&file);
        ck_assert_int_eq(rotation_file_open(&file, &config, "cp1", &progress, &why), KEK_OK);
        ck_assert_int_eq(progress.step, step);
        ck_assert_uint_eq(progress.key.number, written.key.number);
        ck_assert(kek_id_equal(&progress.key.id, &written.key.id));
        ck_assert_int_eq(progress.since_ms, WORLD_NOW);
        ck_assert_int_eq(progress.since_up_ms, 123456);
        ck_assert_int_eq(progress.pid, 17);
    }
    ck_assert_int_eq(rotation_file_remove(&file, &why), KEK_OK);
    rotation_file_close(&file);
}
END_TEST

START_TEST(a_second_rotation_on_one_node_hears_how_far_the_first_is)
{
    struct rotation_file first, second;
    struct rotation_progress progress;
    struct kek_why why;
    ck_assert_int_eq(rotation_file_open(&first, &config, "cp1", &progress, &why), KEK_OK);
    ck_assert_int_eq(rotation_file_open(&second, &config, "cp1", &progress, &why), KEK_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(why.text, "just begun on this node, cp1"));
    ck_assert_int_eq(unlink(first.lock_path), 0); /* it runs all the same */
    ck_assert_int_eq(rotation_file_open(&second, &config, "cp1", &progress, &why), KEK_UNAVAILABLE);
    ck_assert_int_eq(rotation_file_write(&first, &sample, &why), KEK_OK);
    ck_assert_int_eq(rotation_file_open(&second, &config, "cp1", &progress, &why), KEK_UNAVAILABLE);
    ck_assert_ptr_nonnull(strstr(
        why.text,
        "on this node, cp1, already: step seen since 2027-01-15T08:00:00Z, version 4, pid 17"));
    ck_assert_int_eq(rotation_file_look(&second, &config, "cp1", &progress, &why), KEK_OK);
    ck_assert_int_eq(progress.step, ROTATION_SEEN);
    ck_assert_int_eq(rotation_file_remove(&first, &why), KEK_OK);
    rotation_file_close(&first);
    ck_assert_int_eq(rotation_file_open(&second, &config, "cp1", &progress, &why), KEK_OK);
    rotation_file_close(&second);
}
END_TEST

static void put(const char *path, const char *text)
{
    FILE *out = fopen(path, "w");
    ck_assert_ptr_nonnull(out);
    fputs(text, out);
    fclose(out);
}

START_TEST(a_file_that_is_none_is_refused_and_named)
{
    static const char *const table[] = {
        "",
        "{}",
        "[]",
        "{\"node\":\"a\",\"step\":\"dance\",\"version\":4,\"kek_id\":"
        "\"44000000000000000000000000000000\",\"since\":\"2027-01-15T08:00:00Z\",\"since_boot_ms\":"
        "5,\"pid\":1}",
        "{\"node\":\"a\",\"step\":\"seen\",\"version\":4,\"kek_id\":\"44\",\"since\":\"2027-01-"
        "15T08:00:00Z\",\"since_boot_ms\":5,\"pid\":1}",
        "{\"node\":\"a\",\"step\":\"seen\",\"version\":4,\"kek_id\":"
        "\"4400000000000000000000000000000G\",\"since\":\"2027-01-15T08:00:00Z\",\"since_boot_ms\":"
        "5,\"pid\":1}",
        "{\"node\":\"a\",\"step\":\"seen\",\"version\":0,\"kek_id\":"
        "\"44000000000000000000000000000000\",\"since\":\"2027-01-15T08:00:00Z\",\"since_boot_ms\":"
        "5,\"pid\":1}",
        "{\"node\":\"a\",\"step\":\"seen\",\"version\":4,\"kek_id\":"
        "\"44000000000000000000000000000000\",\"since\":\"yesterday\",\"since_boot_ms\":5,\"pid\":"
        "1}",
        "{\"node\":\"a\",\"step\":\"seen\",\"version\":4,\"kek_id\":"
        "\"44000000000000000000000000000000\",\"since\":\"2027-01-15T08:00:00Z\",\"since_boot_ms\":"
        "-1,\"pid\":1}",
        "{\"node\":\"a\",\"step\":\"seen\",\"version\":4,\"kek_id\":"
        "\"44000000000000000000000000000000\",\"since\":\"2027-01-15T08:00:00Z\",\"pid\":1}",
        "{\"node\":\"a\",\"step\":\"seen\",\"version\":4,\"kek_id\":"
        "\"44000000000000000000000000000000\",\"since\":\"2027-01-15T08:00:00Z\",\"since_boot_ms\":"
        "5,\"pid\":0}",
    };
    char path[128];
    struct rotation_file file;
    struct rotation_progress progress;
    struct kek_why why;
    snprintf(path, sizeof path, "%s/k.rotation", folder);
    for (size_t i = 0; i < sizeof table / sizeof table[0]; i++) {
        put(path, table[i]);
        ck_assert_msg(rotation_file_open(&file, &config, "cp1", &progress, &why) == KEK_DAMAGED,
                      "row %zu was taken", i);
        ck_assert_ptr_nonnull(strstr(why.text, path));
    }
    /* And what they all are but for one thing is taken. */
    put(path, "{\"node\":\"a\",\"step\":\"seen\",\"version\":4,\"kek_id\":"
              "\"44000000000000000000000000000000\",\"since\":\"2027-01-15T08:00:00Z\",\"since_"
              "boot_ms\":5,\"pid\":1}");
    ck_assert_int_eq(rotation_file_open(&file, &config, "cp1", &progress, &why), KEK_OK);
    rotation_file_close(&file);
    unlink(path);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("rotation file");
    TCase *tcase = tcase_create("file");
    tcase_add_checked_fixture(tcase, make_folder, remove_folder);
    tcase_add_test(tcase, what_was_written_is_read_and_gone_at_the_end);
    tcase_add_test(tcase, a_second_rotation_on_one_node_hears_how_far_the_first_is);
    tcase_add_test(tcase, a_file_that_is_none_is_refused_and_named);
    suite_add_tcase(suite, tcase);
    return suite_run(suite);
}
