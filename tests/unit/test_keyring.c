/* The keyring: key_id, the state file, who is primary, what a loss is. */
#include "suite.h"

#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <sys/stat.h>
#include <sys/wait.h>
#include <unistd.h>

#include <jansson.h>
#include <openssl/evp.h>

#include "kek/clock.h"
#include "kek/durable.h"
#include "kek/lock_file.h"
#include "rig.h"

static const struct kek_id id_1 = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static const struct kek_id id_2 = {{2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

START_TEST(key_id_is_the_published_hash)
{
    /* Computed apart from this code: SHA-256 over the bytes that docs/envelope-format.md names. */
    struct kek_id ids[2];
    char key_id[KEK_KEY_ID_TEXT];
    for (int i = 0; i < 2 * KEK_ID_LEN; i++) {
        ids[i / KEK_ID_LEN].bytes[i % KEK_ID_LEN] = (uint8_t)i;
    }
    ck_assert_int_eq(kek_key_id(kek_bytes_of("prod-eu1"), 1, ids, 1, key_id, NULL), KEK_OK);
    ck_assert_str_eq(key_id, "kek1-2d72863e5336952d237be7008e073cf6");
    ck_assert_int_eq(kek_key_id(kek_bytes_of(""), 2, ids, 2, key_id, NULL), KEK_OK);
    ck_assert_str_eq(key_id, "kek1-3059de57afee3626e16ddc2b898e56dd");
}
END_TEST

static struct rig rig;

static void write_record(const char *text)
{
    char path[128];
    snprintf(path, sizeof path, "%s/state", rig.folder);
    (void)mkdir(path, 0700);
    snprintf(path, sizeof path, "%s/state/test.json", rig.folder);
    FILE *file = fopen(path, "w");
    ck_assert_ptr_nonnull(file);
    fputs(text, file);
    fclose(file);
}

/* kekctl's word on each root; what is not as kekctl writes it says nothing of any. */
START_TEST(word_that_nothing_lacks_a_root_is_of_that_root_alone)
{
    static const char *const damaged[] = {
        "",
        "{",
        "{\"format\": 2, \"keyring\": \"k\", \"since\": {\"spare\": \"2026-01-02T03:04:05Z\"}}",
        "{\"format\": 1, \"keyring\": \"o\", \"since\": {\"spare\": \"2026-01-02T03:04:05Z\"}}",
        "{\"format\": 1, \"keyring\": \"k\", \"since\": [\"spare\"]}",
        "{\"format\": 1, \"keyring\": \"k\", \"since\": {\"spare\": \"lately\"}}",
        "{\"format\": 1, \"keyring\": \"k\", \"since\": {\"spare\": 1767323045000}}",
    };
    char folder[] = "/tmp/kekd-test-XXXXXX", path[64];
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/k.protected", folder);
    char keyring[] = "k", site[] = "site", spare[] = "spare";
    struct kek_config config = {.state_dir = folder, .keyring = keyring, .root = spare};
    struct kek_why why;
    ck_assert_int_eq(kek_keyring_protected(&config), 0);
    const char *roots[] = {site, spare};
    ck_assert_int_eq(kek_keyring_put_protected(&config, roots, 2, 1767323045000, &why), KEK_OK);
    ck_assert_int_eq(kek_keyring_put_protected(&config, roots, 1, 1767323046000, &why), KEK_OK);
    ck_assert_int_eq(kek_keyring_protected(&config), 1767323045000);
    config.root = site;
    ck_assert_int_eq(kek_keyring_protected(&config), 1767323046000);
    config.root = keyring; /* a root that it does not name */
    ck_assert_int_eq(kek_keyring_protected(&config), 0);
    config.root = spare;
    for (size_t i = 0; i < sizeof damaged / sizeof damaged[0]; i++) {
        FILE *file = fopen(path, "w");
        ck_assert_ptr_nonnull(file);
        fputs(damaged[i], file);
        fclose(file);
        ck_assert_int_eq(kek_keyring_protected(&config), 0);
    }
    ck_assert_int_eq(kek_keyring_put_protected(&config, roots, 2, 1767323045000, &why), KEK_OK);
    ck_assert_int_eq(kek_keyring_protected(&config), 1767323045000);
    unlink(path);
    snprintf(path, sizeof path, "%s/k.inventories.lock", folder);
    unlink(path);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

#define MEANWHILE_MS 500 /* in which one that does not wait has long written */

/* Another inventory, which has read the file and writes it anew: as its own word alone, if nobody waits. */
static pid_t begin_another(const char *lock, const char *path)
{
    int ready[2];
    char byte = 0;
    ck_assert_int_eq(pipe(ready), 0);
    pid_t child = fork();
    ck_assert_int_ge(child, 0);
    if (child == 0) {
        int fd;
        bool good = kek_lock_file_take(lock, &fd, NULL) == KEK_OK;
        (void)!write(ready[1], &byte, 1);
        for (int i = 0; i < MEANWHILE_MS && access(path, F_OK) != 0; i++) {
            usleep(1000);
        }
        good = good &&
               kek_durable_write_now(path,
                                     kek_bytes_of("{\"format\": 1, \"keyring\": \"k\", \"since\": "
                                                  "{\"site\": \"2026-01-02T03:04:05Z\"}}"),
                                     NULL) == KEK_OK;
        _exit(good ? 0 : 1);
    }
    ck_assert_int_eq(read(ready[0], &byte, 1), 1);
    close(ready[0]);
    close(ready[1]);
    return child;
}

START_TEST(words_of_two_inventories_at_once_are_both_kept)
{
    char folder[] = "/tmp/kekd-test-XXXXXX", path[64], lock[64];
    char keyring[] = "k", site[] = "site", spare[] = "spare";
    const char *roots[] = {spare};
    int status;
    ck_assert_ptr_nonnull(mkdtemp(folder));
    snprintf(path, sizeof path, "%s/k.protected", folder);
    snprintf(lock, sizeof lock, "%s/k.inventories.lock", folder);
    struct kek_config config = {.state_dir = folder, .keyring = keyring, .root = spare};
    struct kek_why why;
    pid_t child = begin_another(lock, path);
    ck_assert_int_eq(kek_keyring_put_protected(&config, roots, 1, 1767323046000, &why), KEK_OK);
    ck_assert_int_eq(waitpid(child, &status, 0), child);
    ck_assert_int_eq(status, 0);
    ck_assert_int_eq(kek_keyring_protected(&config), 1767323046000);
    config.root = site;
    ck_assert_int_eq(kek_keyring_protected(&config), 1767323045000);
    unlink(path);
    unlink(lock);
    ck_assert_int_eq(rmdir(folder), 0);
}
END_TEST

static const char *const damaged_records[] = {
    "",
    "{",
    "[]",
    "{\"format\": 2, \"keyring\": \"test\", \"primary\": null, \"versions\": []}",
    "{\"format\": 1, \"keyring\": \"other\", \"primary\": null, \"versions\": []}",
    "{\"format\": 1, \"keyring\": \"test\", \"primary\": null}",
    "{\"format\": 1, \"keyring\": \"test\", \"primary\": {\"number\": 1, \"kek_id\": "
    "\"0102030405060708090a0b0c0d0e0f10\"}, \"versions\": []}",
    "{\"format\": 1, \"keyring\": \"test\", \"primary\": null, \"versions\": [{\"number\": 1, "
    "\"kek_id\": \"0102030405060708090a0b0c0d0e0f10\", \"witness\": \"AAAA\"}]}",
    "{\"format\": 1, \"keyring\": \"test\", \"primary\": null, \"versions\": [{\"number\": 0, "
    "\"kek_id\": \"zz\", \"witness\": \"\"}]}",
    "{\"format\": 1, \"format\": 1, \"keyring\": \"test\", \"primary\": null, \"versions\": []}",
};

/* A state file that is not ours is neither used nor overwritten. */
START_TEST(start_is_refused_over_a_damaged_state_file)
{
    char path[128];
    struct kek_why why;
    struct kek_config config = {.keyring = (char *)"test", .context = (char *)""};
    rig_make_token(&rig);
    snprintf(path, sizeof path, "%s/state", rig.folder);
    config.state_dir = path;
    write_record(damaged_records[_i]);
    ck_assert_int_eq(uv_loop_init(&rig.loop), 0);
    struct kek_keyring_settings settings = {.config = &config};
    ck_assert_ptr_null(kek_keyring_new(&rig.loop, &settings, &why));
    ck_assert_int_eq(why.rc, KEK_DAMAGED);
    ck_assert_ptr_nonnull(strstr(why.text, "test.json"));
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    rig_remove(&rig);
}
END_TEST

START_TEST(first_version_is_announced_and_survives_a_restart_without_the_hsm)
{
    struct kek_keyring_primary before, after;
    rig_make_token(&rig);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, "");
    ck_assert(!kek_keyring_primary(rig.ring, &before));
    rig_until_primary(&rig, 1);
    ck_assert(kek_keyring_primary(rig.ring, &before));
    rig_stop(&rig);

    char tokens[128], away[128];
    snprintf(tokens, sizeof tokens, "%s/tokens", rig.folder);
    snprintf(away, sizeof away, "%s/away", rig.folder);
    ck_assert_int_eq(rename(tokens, away), 0);
    rig_start(&rig, "");
    ck_assert(kek_keyring_primary(rig.ring, &after));
    ck_assert_str_eq(before.generation.key_id, after.generation.key_id);
    rig_stop(&rig);
    rig_remove(&rig);
}
END_TEST

static bool knows_both(struct rig *r, void *arg)
{
    struct kek_keyring_version versions[8];
    (void)arg;
    return kek_keyring_versions(r->ring, versions, 8) == 2;
}

START_TEST(promoted_version_takes_over_after_settle_and_never_goes_back)
{
    struct kek_keyring_primary primary;
    struct kek_keyring_version versions[8];
    rig_make_token(&rig);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, "");
    rig_until_primary(&rig, 1);

    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 2, &id_2, KEK_STATE_PRE_ACTIVE), KEK_OK);
    rig_until(&rig, knows_both, NULL);
    ck_assert_uint_eq(kek_keyring_versions(rig.ring, versions, 8), 2);
    for (size_t i = 0; i < 2; i++) {
        ck_assert_int_eq(versions[i].state, versions[i].number == 1 ? KEK_KEYRING_KEY_ACTIVE
                                                                    : KEK_KEYRING_KEY_PRE_ACTIVE);
    }
    ck_assert(kek_keyring_primary(rig.ring, &primary));
    ck_assert_uint_eq(primary.generation.numbers[0], 1);

    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_SET_STATE, 2, &id_2, KEK_STATE_ACTIVE), KEK_OK);
    rig_until_primary(&rig, 2);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_SET_STATE, 2, &id_2, KEK_STATE_DEACTIVATED),
                     KEK_OK);
    rig_turn(&rig, 2500);
    ck_assert(kek_keyring_primary(rig.ring, &primary));
    ck_assert_uint_eq(primary.generation.numbers[0], 2);
    rig_stop(&rig);

    rig_start(&rig, "");
    ck_assert(kek_keyring_primary(rig.ring, &primary));
    ck_assert_uint_eq(primary.generation.numbers[0], 2);
    rig_turn(&rig, 1500);
    ck_assert(kek_keyring_primary(rig.ring, &primary));
    ck_assert_uint_eq(primary.generation.numbers[0], 2);
    rig_stop(&rig);
    rig_remove(&rig);
}
END_TEST

static bool has_state(struct rig *r, void *arg)
{
    struct kek_keyring_verdict verdict;
    kek_keyring_verdict(r->ring, &verdict);
    return verdict.state == *(enum kek_keyring_state *)arg;
}

static void until_state(enum kek_keyring_state state)
{
    rig_until(&rig, has_state, &state);
}

START_TEST(destroyed_primary_is_a_loss_and_a_token_away_is_an_outage)
{
    char tokens[128], away[128];
    rig_make_token(&rig);
    snprintf(tokens, sizeof tokens, "%s/tokens", rig.folder);
    snprintf(away, sizeof away, "%s/away", rig.folder);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, "");
    rig_until_primary(&rig, 1);
    until_state(KEK_KEYRING_GOOD);

    ck_assert_int_eq(rename(tokens, away), 0);
    until_state(KEK_KEYRING_OUTAGE);
    ck_assert_int_eq(rename(away, tokens), 0);
    until_state(KEK_KEYRING_GOOD);

    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_DESTROY, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    until_state(KEK_KEYRING_LOSS);
    ck_assert_int_eq(kek_keyring_find(rig.ring, &id_1), KEK_KEYRING_CLOSED);
    ck_assert_int_eq(kek_keyring_find(rig.ring, &id_2), KEK_KEYRING_UNKNOWN);
    ck_assert(kek_keyring_takes(rig.ring, &id_1, KEK_WRAP_AES_KW));
    ck_assert(!kek_keyring_takes(rig.ring, &id_1, KEK_WRAP_AES_CBC));

    /* A newer version, made active, leads out of it. */
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 2, &id_2, KEK_STATE_ACTIVE), KEK_OK);
    rig_until_primary(&rig, 2);
    until_state(KEK_KEYRING_GOOD);
    rig_stop(&rig);
    rig_remove(&rig);
}
END_TEST

START_TEST(another_key_under_the_same_id_is_refused)
{
    char command[512];
    rig_make_token(&rig);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, "");
    rig_until_primary(&rig, 1);
    rig_stop(&rig);

    /* The same label and id again, but another value: as on a replica that was never synchronised. */
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_DESTROY, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, "");
    until_state(KEK_KEYRING_LOSS);
    struct kek_pool_worker workers[KEK_POOL_WORKERS_MAX];
    size_t count = kek_pool_workers(rig.pool, 0, workers);
    ck_assert_uint_ge(count, 1);
    for (size_t i = 0; i < count; i++) {
        uint64_t serial = workers[i].serial;
        ck_assert(!kek_keyring_may(rig.ring, 0, serial, KEK_POOL_WRAP, &id_1));
        ck_assert(!kek_keyring_may(rig.ring, 0, serial, KEK_POOL_UNWRAP, &id_1));
    }
    rig_stop(&rig);
    snprintf(command, sizeof command, "grep -q '\"number\": 1' %s/state/test.json", rig.folder);
    ck_assert_int_eq(system(command), 0);
    rig_remove(&rig);
}
END_TEST

/* A state file with 63 more versions, destroyed long ago, whose witnesses nobody can open any more. */
static void fill_record(void)
{
    char path[128];
    json_error_t error;
    snprintf(path, sizeof path, "%s/state/test.json", rig.folder);
    json_t *root = json_load_file(path, 0, &error);
    json_t *versions = json_object_get(root, "versions");
    json_t *first = json_array_get(versions, 0);
    ck_assert_uint_eq(json_array_size(versions), 1);
    uint8_t witness[256];
    const char *base64 = json_string_value(json_object_get(first, "witness"));
    int len = EVP_DecodeBlock(witness, (const unsigned char *)base64, (int)strlen(base64));
    ck_assert_int_gt(len, 0);
    len -= (int)(strlen(base64) - strcspn(base64, "="));
    uint8_t *at = memmem(witness, (size_t)len, id_1.bytes, KEK_ID_LEN);
    ck_assert_ptr_nonnull(at);
    for (int i = 0; i < 63; i++) {
        char hex[KEK_ID_TEXT];
        unsigned char text[400];
        at[0] = (uint8_t)(100 + i);
        kek_hex(kek_bytes(at, KEK_ID_LEN), hex);
        EVP_EncodeBlock(text, witness, len);
        ck_assert_int_eq(
            json_array_append_new(versions, json_pack("{s:i, s:s, s:s}", "number", i + 2, "kek_id",
                                                      hex, "witness", text)),
            0);
    }
    ck_assert_int_eq(json_dump_file(root, path, 0), 0);
    json_decref(root);
}

START_TEST(versions_destroyed_long_ago_keep_no_new_one_out)
{
    rig_make_token(&rig);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, "");
    rig_until_primary(&rig, 1);
    rig_stop(&rig);
    fill_record();
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 65, &id_2, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, "");
    rig_until_primary(&rig, 65);
    ck_assert_int_eq(kek_keyring_find(rig.ring, &id_1), KEK_KEYRING_OPENS);
    rig_stop(&rig);
    rig_remove(&rig);
}
END_TEST

/* Puts a count into the state file, of whatever version is there. */
static void write_wraps(const char *wraps)
{
    char command[512];
    snprintf(command, sizeof command,
             "sed -i 's/\"gcm_wraps\": [0-9]*/\"gcm_wraps\": %s/' %s/state/test.json", wraps,
             rig.folder);
    ck_assert_int_eq(system(command), 0);
}

/* AES-GCM's random IVs are good for so many wraps; each node warns long before, and no restart forgets. */
START_TEST(wraps_by_aes_gcm_are_counted_across_restarts_and_warned_of)
{
    char command[512];
    rig_make_token(&rig);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, "");
    rig_until_primary(&rig, 1);
    rig_stop(&rig);

    write_wraps("268435454");
    rig_start(&rig, "");
    rig.warnings = 0;
    kek_keyring_wrapped(rig.ring, &id_1, KEK_WRAP_AES_KW);
    kek_keyring_wrapped(rig.ring, &id_1, KEK_WRAP_AES_CBC);
    kek_keyring_wrapped(rig.ring, &id_2, KEK_WRAP_AES_GCM);
    kek_keyring_wrapped(rig.ring, &id_1, KEK_WRAP_AES_GCM);
    ck_assert_uint_eq(rig.warnings, 0);
    for (int i = 0; i < 100; i++) {
        kek_keyring_wrapped(rig.ring, &id_1, KEK_WRAP_AES_GCM);
    }
    ck_assert_uint_eq(rig.warnings, 1);
    ck_assert_ptr_nonnull(strstr(rig.warning, "version 1 has wrapped more than 2^28"));
    rig_stop(&rig);

    /* What is on disk is ahead of what was made, and a fresh start warns by it. */
    snprintf(command, sizeof command, "grep -q '\"gcm_wraps\": 2684518' %s/state/test.json",
             rig.folder);
    ck_assert_int_eq(system(command), 0);
    rig_start(&rig, "");
    rig.warnings = 0;
    kek_keyring_wrapped(rig.ring, &id_1, KEK_WRAP_AES_GCM);
    ck_assert_uint_eq(rig.warnings, 1);
    rig_stop(&rig);

    char path[128];
    struct kek_why why;
    struct kek_config config = {
        .keyring = (char *)"test", .context = (char *)"", .state_dir = path};
    struct kek_keyring_settings settings = {.config = &config};
    snprintf(path, sizeof path, "%s/state", rig.folder);
    write_wraps("-1");
    ck_assert_int_eq(uv_loop_init(&rig.loop), 0);
    ck_assert_ptr_null(kek_keyring_new(&rig.loop, &settings, &why));
    ck_assert_int_eq(why.rc, KEK_DAMAGED);
    ck_assert_int_eq(uv_loop_close(&rig.loop), 0);
    rig_remove(&rig);
}
END_TEST

static bool is_proven(struct rig *r, void *arg)
{
    struct kek_keyring_version versions[8];
    size_t count = kek_keyring_versions(r->ring, versions, 8);
    for (size_t i = 0; i < count; i++) {
        if (versions[i].number == *(uint32_t *)arg && versions[i].providers_proven > 0) {
            return true;
        }
    }
    return false;
}

static bool records_version_1(struct rig *r, void *arg)
{
    char command[512];
    (void)arg;
    snprintf(command, sizeof command, "grep -q '\"number\": 1,' %s/state/test.json", r->folder);
    return system(command) == 0;
}

START_TEST(witness_that_could_not_be_recorded_is_recorded_later)
{
    char beside[128];
    uint32_t number = 1;
    rig_make_token(&rig);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 2, &id_2, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, "");
    rig_until_primary(&rig, 2);
    snprintf(beside, sizeof beside, "%s/state/test.json.new", rig.folder);
    ck_assert_int_eq(mkdir(beside, 0700), 0);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_until(&rig, is_proven, &number);
    rig_turn(&rig, 200);
    ck_assert(!records_version_1(&rig, NULL));
    ck_assert_int_eq(rmdir(beside), 0);
    rig_until(&rig, records_version_1, NULL);
    rig_stop(&rig);
    rig_remove(&rig);
}
END_TEST

static const struct kek_generation generation_2 = {
    .mode = KEK_ENVELOPE_MODE_ANY,
    .count = 1,
    .kek_ids = {{{2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}}},
    .numbers = {2},
};

static bool can_seal_2(struct rig *r, void *wanted)
{
    return kek_datakey_can_seal(r->store, &generation_2) == *(bool *)wanted;
}

static bool wraps_2(struct rig *r, void *arg)
{
    (void)arg;
    return kek_keyring_wraps(r->ring, &generation_2, NULL) == KEK_OK;
}

START_TEST(version_is_announced_only_with_a_data_key_made_since_it_was_promoted)
{
    char beside[128];
    bool yes = true, no = false;
    rig_make_token(&rig);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, "");
    rig_until_primary(&rig, 1);
    /* It cannot be recorded, so it is not announced; and meanwhile it is taken back once. */
    snprintf(beside, sizeof beside, "%s/state/test.json.new", rig.folder);
    ck_assert_int_eq(mkdir(beside, 0700), 0);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 2, &id_2, KEK_STATE_ACTIVE), KEK_OK);
    rig_until(&rig, can_seal_2, &yes);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_SET_STATE, 2, &id_2, KEK_STATE_DEACTIVATED),
                     KEK_OK);
    rig_until(&rig, can_seal_2, &no);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_SET_STATE, 2, &id_2, KEK_STATE_ACTIVE), KEK_OK);
    rig_until(&rig, wraps_2, NULL);
    ck_assert_int_eq(rmdir(beside), 0);
    rig_until_primary(&rig, 2);
    ck_assert(kek_datakey_can_seal(rig.store, &generation_2));
    rig_stop(&rig);
    rig_remove(&rig);
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("keyring");
    TCase *tcase = tcase_create("keyring");
    suite_add_tcase(suite, tcase);
    tcase_set_timeout(tcase, 120);
    tcase_add_test(tcase, key_id_is_the_published_hash);
    tcase_add_test(tcase, word_that_nothing_lacks_a_root_is_of_that_root_alone);
    tcase_add_test(tcase, words_of_two_inventories_at_once_are_both_kept);
    tcase_add_loop_test(tcase, start_is_refused_over_a_damaged_state_file, 0,
                        sizeof damaged_records / sizeof damaged_records[0]);
    tcase_add_test(tcase, first_version_is_announced_and_survives_a_restart_without_the_hsm);
    tcase_add_test(tcase, promoted_version_takes_over_after_settle_and_never_goes_back);
    tcase_add_test(tcase, destroyed_primary_is_a_loss_and_a_token_away_is_an_outage);
    tcase_add_test(tcase, another_key_under_the_same_id_is_refused);
    tcase_add_test(tcase, versions_destroyed_long_ago_keep_no_new_one_out);
    tcase_add_test(tcase, wraps_by_aes_gcm_are_counted_across_restarts_and_warned_of);
    tcase_add_test(tcase, witness_that_could_not_be_recorded_is_recorded_later);
    tcase_add_test(tcase, version_is_announced_only_with_a_data_key_made_since_it_was_promoted);
    return suite_run(suite);
}
