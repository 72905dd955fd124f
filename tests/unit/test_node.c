/* A node's page: what kekd renders, and what kekctl makes of it. */
#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "kek/config.h"
#include "kek/node_status.h"
#include "kekctl/node/node_parse.h"

static struct kek_node_snapshot snapshot;
static struct kek_config *config;
static struct kek_buf text;
static struct node_status status;
static json_t *page;

/* When malloc of jansson fails; 0: never. */
static unsigned long failing, allocations;

static void *take(size_t size)
{
    return failing > 0 && ++allocations == failing ? NULL : malloc(size);
}

static const char yaml[] =
    "listen: unix:///s\n"
    "keyring: k8s\n"
    "context: prod\n"
    "settle: 5s\n"
    "refresh: 7s\n"
    "status: {listen: \"127.0.0.1:1\", cert: /c, key: /k, ca: /a,\n"
    "  allow: [x], name: cp1}\n"
    "providers:\n"
    "- {name: hsm-a, type: pkcs11, uri: \"pkcs11:token=t?module-path=/m\"}\n"
    "- {name: hsm-b, type: pkcs11, uri: \"pkcs11:token=t?module-path=/m\"}\n"
    "etcd: [{name: main, endpoints: [\"https://e:2379\"]},\n"
    "  {name: events, endpoints: [\"https://f:2379\"], prefix: /events, context: c2}]\n";

static void set_generation(struct kek_generation *generation, uint8_t number)
{
    *generation =
        (struct kek_generation){.mode = KEK_ENVELOPE_MODE_ANY, .count = 1, .numbers = {number}};
    memset(generation->kek_ids[0].bytes, number, KEK_ID_LEN);
    snprintf(generation->key_id, sizeof generation->key_id, "kek1-%032x", number);
}

static void set_version(struct kek_keyring_version *version, uint8_t number,
                        enum kek_keyring_key key)
{
    *version = (struct kek_keyring_version){
        .number = number, .state = key, .held = {key, KEK_KEYRING_KEY_GONE}, .proven = {true}};
    memset(version->kek_id.bytes, number, KEK_ID_LEN);
    snprintf(version->key_id, sizeof version->key_id, "kek1-%032x", number);
}

static void setup(void)
{
    struct kek_why why = {.text = ""};
    json_set_alloc_funcs(take, free);
    config = kek_config_parse(kek_bytes_of(yaml), "f", &why);
    ck_assert_msg(config != NULL, "%s", why.text);
    snapshot = (struct kek_node_snapshot){
        .config = config,
        .wall_ms = 1790000000123,
        .now_ms = 100000,
        .verdict = {.state = KEK_KEYRING_OUTAGE,
                    .since_ms = 90000,
                    .what = "no HSM \xff answers",
                    .todo = "look"},
        .announced = true,
        .primary = {.since_ms = 99000, .announced_ms = 1789999999123},
        .sealing_count = 2,
        .version_count = 2,
        .provider_count = 2,
        .providers = {{.serial = "s\n1", .label = "l\"1", .workers_ready = 1}, {.serial = ""}},
    };
    set_generation(&snapshot.primary.generation, 2);
    set_generation(&snapshot.sealing[0], 2);
    set_generation(&snapshot.sealing[1], 1);
    set_version(&snapshot.versions[0], 1, KEK_KEYRING_KEY_DEACTIVATED);
    set_version(&snapshot.versions[1], 2, KEK_KEYRING_KEY_ACTIVE);
    kek_buf_init(&text, KEK_NODE_PAGE_MAX);
}

static void teardown(void)
{
    json_decref(page);
    page = NULL;
    kek_buf_done(&text);
    kek_config_free(config);
}

/* The page through both ends. */
static void pass_on(void)
{
    struct kek_why why = {.text = ""};
    kek_buf_reset(&text);
    ck_assert_msg(kek_node_render(&snapshot, &text, &why) == KEK_OK, "%s", why.text);
    ck_assert_int_eq(text.data[text.len - 1], '\n');
    json_decref(page);
    page = json_loadb((char *)text.data, text.len, JSON_REJECT_DUPLICATES, NULL);
    ck_assert_ptr_nonnull(page);
    ck_assert_msg(node_parse(page, "", &status, &why), "%s", why.text);
}

START_TEST(etcds_of_the_configuration_are_read_and_an_older_kekd_does_not_say_them)
{
    struct kek_why why;
    pass_on();
    ck_assert(status.says_etcds);
    ck_assert_uint_eq(status.etcd_count, 2);
    ck_assert_str_eq(status.etcds[0].name, "main");
    ck_assert_str_eq(status.etcds[0].prefix, "/registry");
    ck_assert_str_eq(status.etcds[0].context_sha256, status.context_sha256); /* by default */
    ck_assert_str_eq(status.etcds[1].name, "events");
    ck_assert_str_eq(status.etcds[1].prefix, "/events");
    ck_assert_str_ne(status.etcds[1].context_sha256, status.context_sha256);
    ck_assert_int_eq(json_object_del(page, "etcd"), 0);
    ck_assert(node_parse(page, "", &status, &why) && !status.says_etcds);
    ck_assert_int_eq(json_object_set_new(page, "etcd", json_pack("[{}]")), 0);
    ck_assert(!node_parse(page, "", &status, &why));
}
END_TEST

START_TEST(how_long_a_version_is_out_of_use_is_read_and_an_older_kekd_does_not_say_it)
{
    snapshot.versions[0].history =
        (struct kek_keyring_history){.inactive = {1789999000123, 999000},
                                     .superseded = {1789999100123, 888000},
                                     .suspended = {1789999900123, 77000},
                                     .asked = 3,
                                     .asked_ms = 1789999950123};
    snapshot.destroyed_count = 1;
    snapshot.destroyed[0] = (struct kek_keyring_history){.number = 7,
                                                         .kek_id = {{7}},
                                                         .destroyed_ms = 1789990000000,
                                                         .asked = 2,
                                                         .asked_ms = 1789990000001};
    pass_on();
    const struct node_version *version = &status.versions[0];
    ck_assert(version->ages);
    ck_assert_int_eq(version->inactive.since_ms, 1789999000123);
    ck_assert_uint_eq(version->inactive.ms, 999000);
    ck_assert_int_eq(version->superseded.since_ms, 1789999100123);
    ck_assert_uint_eq(version->superseded.ms, 888000);
    ck_assert_int_eq(version->suspended.since_ms, 1789999900123);
    ck_assert_uint_eq(version->suspended.ms, 77000);
    ck_assert_uint_eq(version->asked, 3);
    ck_assert_int_eq(version->asked_ms, 1789999950123);
    ck_assert_int_eq(status.versions[1].inactive.since_ms, 0);
    ck_assert_uint_eq(status.versions[1].asked, 0);
    ck_assert_uint_eq(status.max_age_ms, 3600000);
    ck_assert_uint_eq(status.destroyed_count, 1);
    ck_assert_uint_eq(status.destroyed[0].number, 7);
    ck_assert_int_eq(status.destroyed[0].kek_id.bytes[0], 7);
    ck_assert_int_eq(status.destroyed[0].seen_ms, 1789990000000);
    ck_assert_uint_eq(status.destroyed[0].asked, 2);
    /* As a kekd before this one has it. */
    struct kek_why why;
    json_t *first = json_array_get(json_object_get(page, "versions"), 0);
    static const char *const ages[] = {"inactive", "superseded", "suspended", "asked_for"};
    for (size_t i = 0; i < sizeof ages / sizeof ages[0]; i++) {
        json_object_del(first, ages[i]);
    }
    json_object_del(page, "destroyed");
    json_object_del(page, "max_age_ms");
    ck_assert_msg(node_parse(page, "", &status, &why), "%s", why.text);
    ck_assert(!status.versions[0].ages && status.versions[1].ages);
    ck_assert_uint_eq(status.max_age_ms, 0);
    /* What is there and wrong is no status. */
    json_object_set_new(first, "inactive", json_pack("{s:s, s:i}", "since", "yesterday", "ms", 1));
    ck_assert(!node_parse(page, "", &status, &why));
}
END_TEST

START_TEST(what_is_rendered_is_what_is_read)
{
    char id[KEK_ID_TEXT];
    pass_on();
    ck_assert_str_eq(status.node, "cp1");
    ck_assert_str_eq(status.program_version, PACKAGE_VERSION);
    ck_assert_str_eq(status.keyring, "k8s");
    ck_assert_str_eq(status.config_sha256, config->digest);
    /* printf prod | sha256sum */
    ck_assert_str_eq(status.context_sha256,
                     "6754af9632a2745e85c293e5aac0863370d9bd3330b9938c00cadfd215227d77");
    ck_assert_int_eq(status.now_ms, 1790000000123);
    ck_assert_int_eq(status.since_ms, 1789999990123);
    ck_assert_str_eq(status.health, "outage");
    ck_assert_str_eq(status.what, "no HSM ? answers");
    ck_assert_str_eq(status.todo, "look");
    ck_assert(status.announces && !status.partial && !status.rotating);
    ck_assert_uint_eq(status.primary.version, 2);
    ck_assert_str_eq(status.primary.key_id, snapshot.primary.generation.key_id);
    ck_assert_int_eq(status.primary.announced_ms, 1789999999123);
    kek_id_format(&status.primary.kek_id, id);
    ck_assert_str_eq(id, "02020202020202020202020202020202");
    ck_assert_uint_eq(status.sealing_count, 2);
    ck_assert(kek_id_equal(&status.sealing[0], &snapshot.versions[1].kek_id));
    ck_assert(kek_id_equal(&status.sealing[1], &snapshot.versions[0].kek_id));
    ck_assert_uint_eq(status.version_count, 2);
    ck_assert_uint_eq(status.versions[0].number, 1);
    ck_assert_int_eq(status.versions[0].state, KEK_KEYRING_KEY_DEACTIVATED);
    ck_assert_int_eq(status.versions[1].held[0], KEK_KEYRING_KEY_ACTIVE);
    ck_assert_int_eq(status.versions[1].held[1], KEK_KEYRING_KEY_GONE);
    ck_assert(status.versions[1].proven[0] && !status.versions[1].proven[1]);
    ck_assert_uint_eq(status.provider_count, 2);
    ck_assert_str_eq(status.providers[0].serial, "s?1");
    ck_assert_str_eq(status.providers[0].label, "l\"1");
    ck_assert(status.providers[0].answers && !status.providers[1].answers);
    ck_assert_uint_eq(status.settle_ms, 5000);
    ck_assert_uint_eq(status.refresh_ms, 7000);
    snapshot.primary.announced_ms = 0;
    pass_on();
    ck_assert_int_eq(status.primary.announced_ms, 0);
    snapshot.announced = false;
    pass_on();
    ck_assert(!status.announces);
}
END_TEST

/* What is announced has a KEK of each root that is not out. */
START_TEST(of_several_roots_the_one_that_is_asked_for_is_read)
{
    struct kek_why why;
    pass_on();
    json_t *primary = json_object_get(page, "primary");
    json_t *keks =
        json_pack("[{s:s, s:i, s:s, s:n}, {s:s, s:i, s:s, s:n}]", "root", "site", "version", 7,
                  "kek_id", "07070707070707070707070707070707", "announced_at", "root", "spare",
                  "version", 2, "kek_id", "02020202020202020202020202020202", "announced_at");
    ck_assert_int_eq(json_object_set_new(primary, "keks", keks), 0);
    ck_assert_msg(node_parse(page, "spare", &status, &why), "%s", why.text);
    ck_assert(status.announces && !status.primary.without_root);
    ck_assert_uint_eq(status.primary.version, 2);
    ck_assert_uint_eq(status.primary.root_count, 2);
    ck_assert_str_eq(status.primary.roots[0], "site");
    ck_assert_str_eq(status.primary.roots[1], "spare");
    ck_assert_msg(node_parse(page, "third", &status, &why), "%s", why.text);
    ck_assert(status.announces && status.primary.without_root); /* another's is not taken for it */
    ck_assert_uint_eq(status.primary.version, 0);
    ck_assert_str_ne(status.primary.key_id, "");
    ck_assert_msg(node_parse(page, "", &status, &why), "%s", why.text);
    ck_assert(!status.primary.without_root);
    for (size_t i = json_array_size(keks); i <= KEK_CONFIG_ROOTS_MAX; i++) {
        ck_assert_int_eq(json_array_append(keks, json_array_get(keks, 0)), 0);
    }
    ck_assert(!node_parse(page, "", &status, &why)); /* no kekd has as many */
}
END_TEST

START_TEST(a_rotation_is_whole_or_none)
{
    static const char whole[] = "{\"node\":\"cp2\",\"step\":\"seen\",\"version\":3,\"kek_id\":"
                                "\"0123456789abcdef0123456789abcdef\","
                                "\"since\":\"2026-01-02T03:04:05Z\",\"pid\":77}";
    snapshot.rotation = kek_bytes(whole, sizeof whole - 1);
    pass_on();
    ck_assert(status.rotating);
    ck_assert_str_eq(status.rotation.node, "cp2");
    ck_assert_str_eq(status.rotation.step, "seen");
    ck_assert_uint_eq(status.rotation.version, 3);
    ck_assert_int_eq(status.rotation.since_ms, 1767323045000);
    ck_assert_int_eq(status.rotation.pid, 77);
    for (size_t len = 0; len < sizeof whole - 1; len++) {
        snapshot.rotation = kek_bytes(whole, len);
        pass_on();
        ck_assert(!status.rotating);
    }
}
END_TEST

START_TEST(the_largest_page_fits)
{
    static char rotation[KEK_NODE_ROTATION_MAX];
    memset(snapshot.verdict.what, '\\', sizeof snapshot.verdict.what - 1);
    memset(snapshot.verdict.todo, '"', sizeof snapshot.verdict.todo - 1);
    snapshot.sealing_count = KEK_NODE_SEALING_MAX;
    for (size_t i = 0; i < KEK_NODE_SEALING_MAX; i++) {
        set_generation(&snapshot.sealing[i], (uint8_t)i);
        snapshot.sealing[i].count = KEK_ENVELOPE_ENTRIES_MAX;
    }
    snapshot.version_count = KEK_AUDIT_VERSIONS_MAX;
    for (size_t i = 0; i < KEK_AUDIT_VERSIONS_MAX; i++) {
        set_version(&snapshot.versions[i], (uint8_t)i, KEK_KEYRING_KEY_PRE_ACTIVE);
    }
    int head =
        snprintf(rotation, sizeof rotation,
                 "{\"step\":\"s\",\"version\":1,\"kek_id\":\"%032x\",\"since\":\"\",\"pid\":1,"
                 "\"node\":\"",
                 0);
    memset(rotation + head, '/', sizeof rotation - (size_t)head);
    memcpy(rotation + sizeof rotation - 2, "\"}", 2);
    snapshot.rotation = kek_bytes(rotation, sizeof rotation);
    pass_on();
    ck_assert(status.rotating);
    ck_assert_uint_eq(strlen(status.rotation.node), sizeof status.rotation.node - 1);
    ck_assert_uint_eq(status.version_count, KEK_PROVIDER_VERSIONS_MAX);
    ck_assert_uint_lt(text.len, KEK_NODE_PAGE_MAX / 8);
    ck_assert_uint_le(KEK_NODE_PAGE_MAX, NODE_PAGE_MAX);
}
END_TEST

/* Some of jansson's allocations it can do without. */
START_TEST(without_memory_or_room_nothing_is_rendered)
{
    struct kek_why why;
    bool reached = true;
    size_t failed = 0;
    pass_on();
    KEK_AUTO_FREE char *whole = strndup((char *)text.data, text.len);
    for (unsigned long n = 1; reached; n++) {
        kek_buf_reset(&text);
        allocations = 0;
        failing = n;
        enum kek_rc rc = kek_node_render(&snapshot, &text, &why);
        reached = allocations >= n;
        failing = 0;
        if (rc == KEK_OK) {
            ck_assert_msg(kek_bytes_equal(kek_buf_bytes(&text), kek_bytes_of(whole)), "%lu: %.*s",
                          n, (int)text.len, text.data);
        } else {
            ck_assert_int_eq(rc, KEK_NO_MEMORY);
            ck_assert_uint_eq(text.len, 0);
            failed++;
        }
    }
    ck_assert_uint_gt(failed, 100);
    struct kek_buf small;
    kek_buf_init(&small, 100);
    ck_assert_int_eq(kek_node_render(&snapshot, &small, &why), KEK_TOO_LARGE);
    ck_assert_uint_eq(small.len, 0);
    kek_buf_done(&small);
}
END_TEST

static void refused(const char *key, json_t *value)
{
    struct kek_why why = {.text = ""};
    char words[64];
    pass_on();
    if (value == NULL) {
        ck_assert_int_eq(json_object_del(page, key), 0);
    } else {
        ck_assert_int_eq(json_object_set_new(page, key, value), 0);
    }
    ck_assert_msg(!node_parse(page, "", &status, &why), "%s", key);
    ck_assert_int_eq(why.rc, KEK_INVALID);
    snprintf(words, sizeof words, "\"%s\" is missing or wrong", key);
    ck_assert_msg(strstr(why.text, words) != NULL, "%s", why.text);
}

START_TEST(a_page_without_a_part_is_none)
{
    static const char *const needed[] = {
        "node",     "version",   "keyring",   "context_sha256", "config_sha256", "now",
        "health",   "since",     "what",      "todo",           "primary",       "sealing",
        "versions", "providers", "settle_ms", "refresh_ms"};
    for (size_t i = 0; i < sizeof needed / sizeof needed[0]; i++) {
        refused(needed[i], NULL);
        refused(needed[i], json_true());
    }
    refused("now", json_string("2026-01-02 03:04:05Z"));
    refused("now", json_string("2026-01-02T03:04:05"));
    refused("now", json_string("2026-01-02T03:04:05.Z"));
    refused("settle_ms", json_integer(-1));
    struct kek_why why;
    ck_assert(!node_parse(NULL, "", &status, &why));
}
END_TEST

/* What a later kekd may say more, or call differently. */
START_TEST(words_that_are_not_known_are_borne)
{
    struct kek_why why;
    pass_on();
    json_t *version = json_array_get(json_object_get(page, "versions"), 1);
    json_object_set_new(page, "more", json_array());
    json_object_set_new(page, "health", json_string("better than ever before"));
    json_object_set_new(version, "state", json_string("frozen"));
    ck_assert(node_parse(page, "", &status, &why));
    ck_assert_int_eq(status.versions[1].state, KEK_KEYRING_KEY_UNSEEN);
    ck_assert_str_eq(status.health, "better than eve");
}
END_TEST

int main(void)
{
    Suite *suite = suite_create("node");
    TCase *tcase = tcase_create("node");
    suite_add_tcase(suite, tcase);
    tcase_add_checked_fixture(tcase, setup, teardown);
    tcase_add_test(tcase, what_is_rendered_is_what_is_read);
    tcase_add_test(tcase, etcds_of_the_configuration_are_read_and_an_older_kekd_does_not_say_them);
    tcase_add_test(tcase,
                   how_long_a_version_is_out_of_use_is_read_and_an_older_kekd_does_not_say_it);
    tcase_add_test(tcase, of_several_roots_the_one_that_is_asked_for_is_read);
    tcase_add_test(tcase, a_rotation_is_whole_or_none);
    tcase_add_test(tcase, the_largest_page_fits);
    tcase_add_test(tcase, without_memory_or_room_nothing_is_rendered);
    tcase_add_test(tcase, a_page_without_a_part_is_none);
    tcase_add_test(tcase, words_that_are_not_known_are_borne);
    return suite_run(suite);
}
