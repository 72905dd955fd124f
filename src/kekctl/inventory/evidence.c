#include "evidence.h"

#include <errno.h>
#include <fcntl.h>
#include <inttypes.h>
#include <limits.h>
#include <stdio.h>
#include <sys/file.h>
#include <time.h>
#include <unistd.h>

#include "kek/durable.h"
#include "kek/json.h"
#include "kek/text.h"
#include "kekctl/node/node_parse.h"

#define FORMAT 1
#define FILE_MAX (2u << 20) /* EVIDENCE_MAX records of EVIDENCE_KEKS_MAX KEKs are less than 1 MiB */
#define LOCK_TRIES 100
#define LOCK_PAUSE_MS 100

uint64_t evidence_objects(const struct evidence_record *record, const struct kek_id *kek)
{
    for (size_t i = 0; i < record->kek_count; i++) {
        if (kek_id_equal(&record->by_kek[i].kek, kek)) {
            return record->by_kek[i].objects;
        }
    }
    return 0;
}

static enum kek_rc name_file(const struct kek_config *config, const char *end,
                             char path[static PATH_MAX], struct kek_why *why)
{
    int len =
        snprintf(path, PATH_MAX, "%s/%s.inventories%s", config->state_dir, config->keyring, end);
    if (len < 0 || len >= PATH_MAX) {
        return kek_fail(why, KEK_INVALID, "state_dir: the path is too long");
    }
    return KEK_OK;
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

static bool take_keks(json_t *by_kek, struct evidence_record *record)
{
    const char *hex;
    json_t *objects;
    uint64_t left = record->objects - record->unreadable;
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
        left -= count->objects;
        record->kek_count++;
    }
    return true;
}

static bool take_record(json_t *item, struct evidence_record *record)
{
    const char *etcd, *cluster, *prefix, *context, *begun, *ended;
    json_int_t revision, objects, unreadable;
    int verified;
    json_t *by_kek;
    if (json_unpack(item, "{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:I, s:I, s:b, s:o !}", "etcd",
                    &etcd, "cluster_id", &cluster, "prefix", &prefix, "context", &context,
                    "revision", &revision, "begun", &begun, "ended", &ended, "objects", &objects,
                    "unreadable", &unreadable, "verified", &verified, "by_kek", &by_kek) != 0 ||
        !json_is_object(by_kek) || revision < 1 || objects < 0 || unreadable < 0 ||
        unreadable > objects) {
        return false;
    }
    record->revision = revision;
    record->begun_ms = node_parse_date(begun);
    record->ended_ms = node_parse_date(ended);
    record->objects = (uint64_t)objects;
    record->unreadable = (uint64_t)unreadable;
    record->verified = verified != 0;
    return record->begun_ms > 0 && record->ended_ms >= record->begun_ms &&
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
        format != FORMAT || strcmp(keyring, config->keyring) != 0 || !json_is_array(items) ||
        json_array_size(items) > EVIDENCE_MAX) {
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
    enum kek_rc rc = name_file(config, "", path, why);
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
                 path, config->keyring);
        return NULL;
    }
    return KEK_STEAL(all);
}

/* Adding. */

static void format_date(int64_t ms, char text[static 32])
{
    char seconds[24];
    time_t whole = (time_t)(ms / 1000);
    struct tm utc;
    strftime(seconds, sizeof seconds, "%Y-%m-%dT%H:%M:%S", gmtime_r(&whole, &utc));
    snprintf(text, 32, "%s.%03dZ", seconds, (int)(ms % 1000));
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
    format_date(record->begun_ms, begun);
    format_date(record->ended_ms, ended);
    return json_pack("{s:s, s:s, s:s, s:s, s:I, s:s, s:s, s:I, s:I, s:b, s:o}", "etcd",
                     record->etcd, "cluster_id", cluster, "prefix", record->prefix, "context",
                     record->context, "revision", (json_int_t)record->revision, "begun", begun,
                     "ended", ended, "objects", (json_int_t)record->objects, "unreadable",
                     (json_int_t)record->unreadable, "verified", record->verified ? 1 : 0, "by_kek",
                     by_kek);
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
    json_t *root = json_pack("{s:i, s:s, s:o}", "format", FORMAT, "keyring", config->keyring,
                             "inventories", items);
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

static enum kek_rc take_lock(const struct kek_config *config, int *lock, struct kek_why *why)
{
    char path[PATH_MAX];
    enum kek_rc rc = name_file(config, ".lock", path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO_CLOSE int fd = open(path, O_RDWR | O_CREAT | O_CLOEXEC | O_NOFOLLOW, 0600);
    if (fd < 0) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "opening %s", path);
    }
    kek_durable_give(path, fd);
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    int tries = LOCK_TRIES;
    while (flock(fd, LOCK_EX | LOCK_NB) != 0) {
        if (errno != EWOULDBLOCK || --tries == 0) {
            return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                                   "locking %s, which another kekctl may hold", path);
        }
        nanosleep(&pause, NULL);
    }
    *lock = fd;
    fd = -1;
    return KEK_OK;
}

enum kek_rc evidence_append(const struct kek_config *config, const struct evidence_record *record,
                            struct kek_why *why)
{
    KEK_AUTO_CLOSE int lock = -1;
    char path[PATH_MAX];
    enum kek_rc rc = name_file(config, "", path, why);
    if (rc == KEK_OK) {
        rc = take_lock(config, &lock, why);
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
