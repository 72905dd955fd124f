#include "evidence.h"

#include <inttypes.h>
#include <limits.h>
#include <stdio.h>

#include "kek/durable.h"
#include "kek/clock.h"
#include "kek/json.h"
#include "kek/lock_file.h"
#include "kek/text.h"

#define FORMAT 1
#define FILE_MAX (2u << 20) /* EVIDENCE_MAX records of EVIDENCE_KEKS_MAX KEKs are less than 1 MiB */
#define LOCK_WAIT_MS 10000u

uint64_t evidence_objects(const struct evidence_record *record, const struct kek_id *kek)
{
    for (size_t i = 0; i < record->kek_count; i++) {
        if (kek_id_equal(&record->by_kek[i].kek, kek)) {
            return record->by_kek[i].objects;
        }
    }
    return 0;
}

uint64_t evidence_without(const struct evidence_record *record, const char *root)
{
    for (size_t i = 0; i < record->without_count; i++) {
        if (strcmp(record->without[i].root, root) == 0) {
            return record->without[i].objects;
        }
    }
    return 0;
}

/* Reading. */

static bool take_text(const char *text, char *out, size_t size)
{
    size_t len = strlen(text);
    if (len >= size) {
        return false;
    }
    memcpy(out, text, len + 1);
    return true;
}

static bool take_cluster(const char *hex, uint64_t *cluster)
{
    if (strlen(hex) != 16 || strspn(hex, "0123456789abcdef") != 16) {
        return false;
    }
    *cluster = strtoull(hex, NULL, 16);
    return true;
}

/* What was counted once leaves less for the others; an object of several KEKs is counted under each. */
static bool take_keks(json_t *by_kek, struct evidence_record *record)
{
    const char *hex;
    json_t *objects;
    bool once = record->keks_each == 1;
    uint64_t left = once ? record->objects - record->unreadable : record->objects;
    if (json_object_size(by_kek) > EVIDENCE_KEKS_MAX) {
        return false;
    }
    json_object_foreach(by_kek, hex, objects)
    {
        struct evidence_count *count = &record->by_kek[record->kek_count];
        json_int_t number = json_integer_value(objects);
        if (!kek_id_parse(hex, &count->kek) || number < 1 || (uint64_t)number > left) {
            return false;
        }
        count->objects = (uint64_t)number;
        left -= once ? count->objects : 0;
        record->kek_count++;
    }
    return true;
}

/* Of no more roots than there may be; NULL: none is without any. */
static bool take_without(json_t *without, struct evidence_record *record)
{
    const char *root;
    json_t *objects;
    if (without == NULL) {
        return true;
    }
    if (!json_is_object(without) || json_object_size(without) > KEK_CONFIG_ROOTS_MAX) {
        return false;
    }
    json_object_foreach(without, root, objects)
    {
        struct evidence_without *row = &record->without[record->without_count];
        json_int_t number = json_integer_value(objects);
        if (!take_text(root, row->root, sizeof row->root) || number < 1 ||
            (uint64_t)number > record->objects) {
            return false;
        }
        row->objects = (uint64_t)number;
        record->without_count++;
    }
    return true;
}

/* An older kekctl wrote none. */
static bool take_boot(json_t *boot, struct evidence_record *record)
{
    const char *id;
    json_int_t begun_ms, ended_ms;
    if (json_unpack(boot, "{s:s, s:I, s:I !}", "id", &id, "begun_ms", &begun_ms, "ended_ms",
                    &ended_ms) != 0 ||
        !moment_is_boot(id) || begun_ms < 0 || ended_ms < begun_ms) {
        return false;
    }
    record->begun.up_ms = begun_ms;
    record->ended.up_ms = ended_ms;
    return take_text(id, record->begun.boot, sizeof record->begun.boot) &&
           take_text(id, record->ended.boot, sizeof record->ended.boot);
}

static bool take_record(json_t *item, struct evidence_record *record)
{
    const char *etcd, *cluster, *prefix, *context, *begun, *ended;
    json_int_t revision, objects, unreadable, disagreeing = 0, keks_each = 1;
    int verified;
    json_t *by_kek, *boot = NULL, *without = NULL;
    if (json_unpack(
            item,
            "{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s?:o, s:I, s:I, s?:I, s:b, s?:I, s?:o, s:o !}",
            "etcd", &etcd, "cluster_id", &cluster, "prefix", &prefix, "context", &context,
            "revision", &revision, "begun", &begun, "ended", &ended, "boot", &boot, "objects",
            &objects, "unreadable", &unreadable, "disagreeing", &disagreeing, "verified", &verified,
            "keks_each", &keks_each, "under_protected", &without, "by_kek", &by_kek) != 0 ||
        !json_is_object(by_kek) || revision < 1 || objects < 0 || unreadable < 0 ||
        unreadable > objects || disagreeing < 0 || disagreeing > objects || keks_each < 1 ||
        keks_each > KEK_CONFIG_ROOTS_MAX) {
        return false;
    }
    record->revision = revision;
    record->begun.wall_ms = kek_clock_parse(begun);
    record->ended.wall_ms = kek_clock_parse(ended);
    record->objects = (uint64_t)objects;
    record->unreadable = (uint64_t)unreadable;
    record->disagreeing = (uint64_t)disagreeing;
    record->verified = verified != 0;
    record->keks_each = (unsigned)keks_each;
    return record->begun.wall_ms > 0 && record->ended.wall_ms >= record->begun.wall_ms &&
           (boot == NULL || take_boot(boot, record)) && take_without(without, record) &&
           take_text(etcd, record->etcd, sizeof record->etcd) &&
           take_cluster(cluster, &record->cluster_id) &&
           take_text(prefix, record->prefix, sizeof record->prefix) &&
           take_text(context, record->context, sizeof record->context) && take_keks(by_kek, record);
}

static bool take_root(const json_t *root, const struct kek_config *config, struct evidence *all)
{
    const char *keyring;
    json_int_t format;
    json_t *items, *item;
    size_t i;
    /* jansson's json_unpack() reads alone, but takes what it may write. */
    if (json_unpack((json_t *)(uintptr_t)root, "{s:I, s:s, s:o !}", "format", &format, "keyring",
                    &keyring, "inventories", &items) != 0 ||
        format != FORMAT || strcmp(keyring, kek_config_file_keyring(config)) != 0 ||
        !json_is_array(items) || json_array_size(items) > EVIDENCE_MAX) {
        return false;
    }
    json_array_foreach(items, i, item)
    {
        if (!take_record(item, &all->records[i])) {
            return false;
        }
        all->count++;
    }
    return true;
}

struct evidence *evidence_load(const struct kek_config *config, struct kek_why *why)
{
    char path[PATH_MAX];
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, FILE_MAX);
    KEK_AUTO_FREE struct evidence *all = calloc(1, sizeof *all);
    if (all == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to read the inventories on record");
        return NULL;
    }
    enum kek_rc rc = kek_config_state_file(config, "inventories", path, why);
    if (rc == KEK_OK) {
        rc = kek_durable_read(path, FILE_MAX, &content, why);
    }
    if (rc == KEK_NOT_FOUND) {
        return KEK_STEAL(all);
    }
    if (rc != KEK_OK) {
        return NULL;
    }
    json_t *root =
        json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, NULL);
    bool good = take_root(root, config, all);
    json_decref(root);
    if (!good) {
        kek_fail(why, KEK_DAMAGED,
                 "%s is not what kekctl inventory writes for keyring %s: restore it, or move it "
                 "away; a key can then be destroyed only after new inventories",
                 path, kek_config_file_keyring(config));
        return NULL;
    }
    return KEK_STEAL(all);
}

/* Adding. */

static void format_date(int64_t ms, char text[static 32])
{
    kek_clock_text(ms, text);
}

/* NULL where no object is without a root, or *good is false: no memory. */
static json_t *without_json(const struct evidence_record *record, bool *good)
{
    json_t *object = record->without_count == 0 ? NULL : json_object();
    *good = record->without_count == 0 || object != NULL;
    for (size_t i = 0; *good && i < record->without_count; i++) {
        *good = json_object_set_new(object, record->without[i].root,
                                    json_integer((json_int_t)record->without[i].objects)) == 0;
    }
    return object;
}

static json_t *pack_record(const struct evidence_record *record)
{
    char cluster[17], begun[32], ended[32], hex[KEK_ID_TEXT];
    json_t *by_kek = json_object();
    bool whole = by_kek != NULL;
    for (size_t i = 0; whole && i < record->kek_count; i++) {
        kek_id_format(&record->by_kek[i].kek, hex);
        whole = json_object_set_new(by_kek, hex,
                                    json_integer((json_int_t)record->by_kek[i].objects)) == 0;
    }
    if (!whole) {
        json_decref(by_kek);
        return NULL;
    }
    snprintf(cluster, sizeof cluster, "%016" PRIx64, record->cluster_id);
    format_date(record->begun.wall_ms, begun);
    format_date(record->ended.wall_ms, ended);
    /* "boot" is left out where it is not known. */
    json_t *boot = record->begun.boot[0] == '\0'
                       ? NULL
                       : json_pack("{s:s, s:I, s:I}", "id", record->begun.boot, "begun_ms",
                                   (json_int_t)record->begun.up_ms, "ended_ms",
                                   (json_int_t)record->ended.up_ms);
    bool good_without = true;
    json_t *without = without_json(record, &good_without);
    /* So is "keks_each" where each object has one KEK: an older kekctl reads what it might have written. */
    json_t *keks_each = record->keks_each > 1 ? json_integer(record->keks_each) : NULL;
    if ((boot == NULL && record->begun.boot[0] != '\0') ||
        (keks_each == NULL && record->keks_each > 1) || !good_without) {
        json_decref(by_kek);
        json_decref(boot);
        json_decref(keks_each);
        json_decref(without);
        return NULL;
    }
    return json_pack(
        "{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:o*, s:I, s:I, s:I, s:b, s:o*, s:o*, s:o}", "etcd",
        record->etcd, "cluster_id", cluster, "prefix", record->prefix, "context", record->context,
        "revision", (json_int_t)record->revision, "begun", begun, "ended", ended, "boot", boot,
        "objects", (json_int_t)record->objects, "unreadable", (json_int_t)record->unreadable,
        "disagreeing", (json_int_t)record->disagreeing, "verified", record->verified ? 1 : 0,
        "keks_each", keks_each, "under_protected", without, "by_kek", by_kek);
}

/* NULL: no memory. */
static char *render(const struct kek_config *config, const struct evidence *all)
{
    json_t *items = json_array();
    bool whole = items != NULL;
    for (size_t i = 0; whole && i < all->count; i++) {
        whole = json_array_append_new(items, pack_record(&all->records[i])) == 0;
    }
    if (!whole) {
        json_decref(items);
        return NULL;
    }
    json_t *root = json_pack("{s:i, s:s, s:o}", "format", FORMAT, "keyring",
                             kek_config_file_keyring(config), "inventories", items);
    char *text = root == NULL ? NULL : kek_json_text(root, JSON_INDENT(1));
    json_decref(root);
    return text;
}

static size_t count_of(const struct evidence *all, const char *etcd)
{
    size_t count = 0;
    for (size_t i = 0; i < all->count; i++) {
        count += strcmp(all->records[i].etcd, etcd) == 0 ? 1 : 0;
    }
    return count;
}

/* One etcd that is looked at every minute takes no other's evidence away. */
static void make_room(struct evidence *all)
{
    size_t victim = 0, most = 0;
    for (size_t i = 0; i < all->count; i++) {
        size_t count = count_of(all, all->records[i].etcd);
        if (count > most) {
            most = count;
            victim = i;
        }
    }
    memmove(&all->records[victim], &all->records[victim + 1],
            (all->count - victim - 1) * sizeof all->records[0]);
    all->count--;
}

enum kek_rc evidence_append(const struct kek_config *config, const struct evidence_record *record,
                            struct kek_why *why)
{
    KEK_AUTO_CLOSE int lock = -1;
    char path[PATH_MAX], locked[PATH_MAX];
    enum kek_rc rc = kek_config_state_file(config, "inventories", path, why);
    if (rc == KEK_OK) {
        rc = kek_config_state_file(config, "inventories.lock", locked, why);
    }
    if (rc == KEK_OK) {
        rc = kek_lock_file_wait(locked, LOCK_WAIT_MS, &lock, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    struct kek_why unread;
    KEK_AUTO_FREE struct evidence *all = evidence_load(config, &unread);
    if (all == NULL) {
        return kek_fail(why, unread.rc, "%s", unread.text);
    }
    if (all->count == EVIDENCE_MAX) {
        make_room(all);
    }
    all->records[all->count++] = *record;
    KEK_AUTO_FREE char *text = render(config, all);
    if (text == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", path);
    }
    return kek_durable_write_now(path, kek_bytes_of(text), why);
}
