#include "keyring/moved.h"

#include <dirent.h>
#include <errno.h>
#include <inttypes.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <sys/stat.h>

#include "kek/durable.h"
#include "kek/json.h"
#include "kek/lock_file.h"

#define FORMAT 1
#define ASIDE_MAX 1000
#define RESTORE "restore it from a backup"

static bool has_root(const struct kek_config *config)
{
    return config->root != NULL && config->root[0] != '\0';
}

static enum kek_rc name_file(const struct kek_config *config, bool of_root, const char *suffix,
                             char path[static PATH_MAX], struct kek_why *why)
{
    int len = snprintf(path, PATH_MAX, "%s/%s%s%s.%s", config->state_dir, config->keyring,
                       of_root ? "@" : "", of_root ? config->root : "", suffix);
    return len > 0 && len < PATH_MAX - 16 /* it may have .new or .aside-N beside it */
               ? KEK_OK
               : kek_fail(why, KEK_INVALID, "state_dir: the path is too long");
}

enum kek_rc moved_name(const struct kek_config *config, const char *suffix,
                       char path[static PATH_MAX], struct kek_why *why)
{
    return name_file(config, has_root(config), suffix, path, why);
}

static const char *name_in(const char *path)
{
    return strrchr(path, '/') + 1;
}

/* ---- what a file says ---- */

/* Where its record went on; NULL: it is one itself. */
static const char *moved_to(const json_t *root)
{
    return json_string_value(json_object_get(root, "moved_to"));
}

static bool is_record(const json_t *root)
{
    return root != NULL && moved_to(root) == NULL;
}

static bool is_of(const json_t *root, const struct kek_config *config)
{
    const char *keyring = json_string_value(json_object_get(root, "keyring"));
    return json_integer_value(json_object_get(root, "format")) == FORMAT && keyring != NULL &&
           strcmp(keyring, config->keyring) == 0;
}

static const char *id_of(const json_t *item)
{
    const char *id = json_string_value(json_object_get(item, "kek_id"));
    return id != NULL ? id : "";
}

static json_t *find(const json_t *root, const char *list, const char *id)
{
    json_t *items = json_object_get(root, list);
    for (size_t i = 0; i < json_array_size(items); i++) {
        if (strcmp(id_of(json_array_get(items, i)), id) == 0) {
            return json_array_get(items, i);
        }
    }
    return NULL;
}

static const json_t *primary_of(const json_t *root)
{
    const json_t *primary = json_object_get(root, "primary");
    return json_is_object(primary) ? primary : NULL;
}

static json_int_t number_of(const json_t *root)
{
    return json_integer_value(json_object_get(primary_of(root), "number"));
}

static bool announces(const json_t *root, const char *id)
{
    return json_is_true(json_object_get(find(root, "versions", id), "announced")) ||
           (primary_of(root) != NULL && strcmp(id_of(primary_of(root)), id) == 0);
}

/* Has one announced what the other did, or remembers?  What only stands on a token proves nothing: another root's may
 * have a copy.  Of one that announced nothing that is all there is. */
static bool shares(const json_t *a, const json_t *b)
{
    const json_t *versions = json_object_get(a, "versions");
    bool weak = primary_of(a) == NULL || primary_of(b) == NULL;
    for (size_t i = 0; i < json_array_size(versions); i++) {
        const char *id = id_of(json_array_get(versions, i));
        bool known = announces(b, id) || find(b, "history", id) != NULL ||
                     (weak && find(b, "versions", id) != NULL);
        if (known && (weak || announces(a, id))) {
            return true;
        }
    }
    return false;
}

static bool is_related(const json_t *a, const json_t *b)
{
    return shares(a, b) || shares(b, a);
}

/* ---- which files there are ---- */

static enum kek_rc read_file(struct moved *moved, size_t i, size_t max, struct kek_why *why)
{
    json_error_t error;
    struct moved_file *file = &moved->files[i];
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, max);
    json_decref(file->root);
    file->root = NULL;
    enum kek_rc rc = kek_durable_read(file->path, max, &content, why);
    if (rc != KEK_OK) {
        return rc;
    }
    file->root =
        json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, &error);
    if (file->root != NULL) {
        return KEK_OK;
    }
    kek_fail(why, KEK_DAMAGED,
             "%s:%d:%d: not a state file of kekd: %s (" RESTORE
             ", or move it away once every node's Status shows the same key_id)",
             file->path, error.line, error.column, error.text);
    return kek_fail_reason(why, KEK_REASON_RECORD_DAMAGED);
}

/* One beside the first; what is another keyring's is left out. */
static enum kek_rc add_file(struct moved *moved, const struct kek_config *config, const char *path,
                            size_t max, struct kek_why *why)
{
    struct moved_file *file = &moved->files[moved->count];
    snprintf(file->path, sizeof file->path, "%s", path);
    struct kek_why missing;
    enum kek_rc rc = read_file(moved, moved->count, max, &missing);
    if (rc == KEK_NOT_FOUND) {
        return KEK_OK;
    }
    if (rc != KEK_OK) {
        *why = missing;
        return rc;
    }
    if (is_of(file->root, config)) {
        moved->count++;
    } else {
        json_decref(file->root);
        file->root = NULL;
    }
    return KEK_OK;
}

/* "KEYRING@ROOT.json"? */
static bool is_of_root(const struct kek_config *config, const char *name)
{
    size_t keyring = strlen(config->keyring), len = strlen(name), end = strlen(".json");
    return len > keyring + 1 + end && strncmp(name, config->keyring, keyring) == 0 &&
           name[keyring] == '@' && strcmp(name + len - end, ".json") == 0;
}

/* One that cannot be read stops only where it may be what counts. */
static enum kek_rc add_root(struct moved *moved, const struct kek_config *config, const char *path,
                            size_t max, struct kek_why *why)
{
    if (moved->count == MOVED_FILES_MAX) {
        return kek_fail(why, KEK_TOO_LARGE,
                        "%s has more than %d records of keyring %s with roots of trust: move "
                        "those of roots that are gone away",
                        config->state_dir, MOVED_FILES_MAX - 1, config->keyring);
    }
    struct kek_why unread;
    enum kek_rc rc = add_file(moved, config, path, max, &unread);
    if (rc == KEK_NO_MEMORY) {
        *why = unread;
        return rc;
    }
    if (rc != KEK_OK && moved->unread.rc == KEK_OK) {
        moved->unread = unread;
    }
    return KEK_OK;
}

static enum kek_rc add_roots(struct moved *moved, const struct kek_config *config, size_t max,
                             struct kek_why *why)
{
    DIR *folder = opendir(config->state_dir);
    enum kek_rc rc = KEK_OK;
    for (const struct dirent *item = folder == NULL ? NULL : readdir(folder);
         item != NULL && rc == KEK_OK; item = readdir(folder)) {
        char path[PATH_MAX];
        int len = snprintf(path, sizeof path, "%s/%s", config->state_dir, item->d_name);
        if (is_of_root(config, item->d_name) && len > 0 && len < PATH_MAX - 16) {
            rc = add_root(moved, config, path, max, why);
        }
    }
    if (folder != NULL) {
        (void)closedir(folder);
    }
    return rc;
}

/* Where the record of one that is not the first went on. If that says the same, kekd took it back between two reads. */
static enum kek_rc add_went_to(struct moved *moved, const struct kek_config *config,
                               const char *path, size_t max, struct kek_why *why)
{
    enum kek_rc rc = add_file(moved, config, path, max, why);
    bool both_moved = rc == KEK_OK && moved->count > 1 && !is_record(moved->files[1].root);
    return both_moved ? read_file(moved, 0, max, why) : rc;
}

/* The others first: kekctl may look while kekd takes one over, and the first is written before another gives way. */
static enum kek_rc read_all(struct moved *moved, const struct kek_config *config, size_t max,
                            struct kek_why *why)
{
    char unnamed[PATH_MAX];
    moved->count = 1;
    enum kek_rc rc = moved_name(config, "json", moved->files[0].path, why);
    if (rc == KEK_OK) {
        rc = name_file(config, false, "json", unnamed, why);
    }
    if (rc == KEK_OK && !has_root(config)) {
        rc = add_roots(moved, config, max, why);
    } else if (rc == KEK_OK && config->root_is_first) {
        rc = add_file(moved, config, unnamed, max, why);
    }
    if (rc == KEK_OK) {
        rc = read_file(moved, 0, max, why);
    }
    bool went_back = has_root(config) && rc == KEK_OK && moved_to(moved->files[0].root) != NULL;
    if (went_back && !config->root_is_first) {
        rc = add_went_to(moved, config, unnamed, max, why);
    }
    return rc == KEK_NOT_FOUND ? KEK_OK : rc;
}

/* ---- which counts ---- */

static enum kek_rc fail_unread(const struct moved *moved, struct kek_why *why)
{
    *why = moved->unread;
    return why->rc;
}

static enum kek_rc fail_away(const struct moved_file *file, const char *target, struct kek_why *why)
{
    return kek_fail(why, KEK_DAMAGED,
                    "%s: its record went on in %.300s beside it, which has none: restore that one "
                    "from a backup, or move this one away, too, once every node's Status shows the "
                    "same key_id",
                    file->path, target);
}

static bool has_version(const json_t *root)
{
    return json_array_size(json_object_get(root, "versions")) > 0;
}

/* Of several that have nothing to do with each other none is better than another, but one with a version than one without. */
static enum kek_rc only_one(struct moved *moved, struct kek_why *why)
{
    size_t found = 0;
    for (size_t i = 1; i < moved->count; i++) {
        const struct moved_file *file = &moved->files[i];
        const json_t *best = moved->files[found].root; /* none at first */
        if (!is_record(file->root) || (best != NULL && !has_version(file->root))) {
            continue;
        }
        if (has_version(best) && !is_related(best, file->root)) {
            return kek_fail(why, KEK_PRECONDITION,
                            "%s is not there, and both %s and %s may be what goes on without "
                            "roots: put `roots` back, or move the record of each other root away",
                            moved->files[0].path, name_in(moved->files[found].path),
                            name_in(file->path));
        }
        found = has_version(best) ? found : i;
    }
    moved->counts = found;
    return found != 0 ? KEK_OK : kek_fail(why, KEK_NOT_FOUND, "no record");
}

static enum kek_rc begin_with(struct moved *moved, struct kek_why *why)
{
    const struct moved_file *own = &moved->files[0];
    const char *target = moved_to(own->root);
    if (is_record(own->root)) {
        moved->counts = 0;
        return KEK_OK;
    }
    for (size_t i = 1; i < moved->count && own->root != NULL; i++) {
        if (is_record(moved->files[i].root) && strcmp(name_in(moved->files[i].path), target) == 0) {
            moved->counts = i;
            return KEK_OK;
        }
    }
    if (moved->unread.rc != KEK_OK) {
        return fail_unread(moved, why);
    }
    for (size_t i = 1; i < moved->count && own->root == NULL; i++) {
        target = moved_to(moved->files[i].root);
        if (target != NULL && strcmp(target, name_in(own->path)) == 0) {
            return fail_away(&moved->files[i], target, why);
        }
    }
    if (own->root != NULL) {
        return fail_away(own, target, why);
    }
    return only_one(moved, why);
}

/* Is `a` outranked by `b`?  By the version that each announced last, which never goes back; the same one announced twice
 * by the later time, which decides little: all of either's counts are kept. */
static bool is_outranked(const json_t *a, const json_t *b)
{
    if (number_of(a) != number_of(b)) {
        return number_of(a) < number_of(b);
    }
    return json_integer_value(json_object_get(primary_of(a), "announced_ms")) <
           json_integer_value(json_object_get(primary_of(b), "announced_ms"));
}

static enum kek_rc rank(struct moved *moved, struct kek_why *why)
{
    for (size_t i = 0; i < moved->count; i++) {
        struct moved_file *best = &moved->files[moved->counts], *file = &moved->files[i];
        if (i == moved->counts || !is_record(file->root) || !is_related(best->root, file->root)) {
            continue;
        }
        if (number_of(best->root) == number_of(file->root) && primary_of(best->root) != NULL &&
            strcmp(id_of(primary_of(best->root)), id_of(primary_of(file->root))) != 0) {
            return kek_fail(why, KEK_PRECONDITION,
                            "%s and %s are of one keyring, and both announced a version %" PRId64
                            ", which are two keys: move the one away whose key no other node's "
                            "Status shows",
                            best->path, file->path, (int64_t)number_of(best->root));
        }
        bool higher = is_outranked(best->root, file->root);
        best->outranked = higher;
        file->outranked = !higher;
        moved->counts = higher ? i : moved->counts;
    }
    return KEK_OK;
}

/* A root that was named before, and comes again behind a new first one, has its record where that one looks first. */
static enum kek_rc check_unclaimed(const struct moved *moved, const struct kek_config *config,
                                   size_t max, struct kek_why *why)
{
    const char *taken = name_in(moved->files[moved->counts].path);
    KEK_AUTO(moved) roots = calloc(1, sizeof *roots);
    if (roots == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to read the state file");
    }
    enum kek_rc rc = add_roots(roots, config, max, why);
    for (size_t i = 0; i < roots->count && rc == KEK_OK; i++) {
        const char *target = moved_to(roots->files[i].root), *from = name_in(roots->files[i].path);
        if (target != NULL && strcmp(target, taken) == 0) {
            rc = kek_fail(why, KEK_PRECONDITION,
                          "%s went on from %s: name that root first, which takes it back, or move "
                          "%s away if %s is another name of the same root",
                          moved->files[moved->counts].path, from, from, config->root);
        }
    }
    return rc == KEK_OK && roots->unread.rc != KEK_OK ? fail_unread(roots, why) : rc;
}

struct moved *moved_find(const struct kek_config *config, size_t max, struct kek_why *why)
{
    KEK_AUTO(moved) moved = calloc(1, sizeof *moved);
    if (moved == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to read the state file");
        return NULL;
    }
    enum kek_rc rc = read_all(moved, config, max, why);
    if (rc == KEK_OK) {
        rc = begin_with(moved, why);
    }
    if (rc == KEK_OK && has_root(config) && moved->files[0].root == NULL) {
        rc = check_unclaimed(moved, config, max, why);
    }
    if (rc == KEK_OK) {
        rc = rank(moved, why);
    }
    return rc == KEK_OK ? KEK_STEAL(moved) : NULL;
}

void moved_free(struct moved *moved)
{
    if (moved == NULL) {
        return;
    }
    for (size_t i = 0; i < MOVED_FILES_MAX; i++) {
        json_decref(moved->files[i].root);
    }
    free(moved);
}

/* ---- what is kept of the others ---- */

/* No IV may come twice, so the sum: too high does no harm. */
static bool keep_wraps(json_t *version, const json_t *other)
{
    long long sum;
    bool over =
        __builtin_add_overflow(json_integer_value(json_object_get(version, "gcm_wraps")),
                               json_integer_value(json_object_get(other, "gcm_wraps")), &sum);
    return json_object_set_new(version, "gcm_wraps", json_integer(over ? LLONG_MAX : sum)) == 0;
}

static bool keep_mark(json_t *version, const json_t *other, const char *mark)
{
    return !json_is_true(json_object_get(other, mark)) ||
           json_object_set_new(version, mark, json_true()) == 0;
}

static bool keep_versions(json_t *root, const json_t *other)
{
    json_t *versions = json_object_get(root, "versions");
    bool whole = true;
    for (size_t i = 0; i < json_array_size(versions); i++) {
        json_t *version = json_array_get(versions, i);
        const json_t *twin = find(other, "versions", id_of(version));
        if (twin == NULL) {
            continue;
        }
        whole = whole && keep_wraps(version, twin);
        whole = whole && keep_mark(version, twin, "announced") &&
                keep_mark(version, twin, "compromised");
    }
    return whole;
}

static json_int_t time_of(const json_t *item, const char *name)
{
    return json_integer_value(json_object_get(item, name));
}

/* From the first time that it was sealed without this root to the last. */
static bool keep_lapse(json_t *root, const json_t *other)
{
    json_t *theirs = json_object_get(other, "lapse"), *own = json_object_get(root, "lapse");
    if (!json_is_object(theirs)) {
        return true;
    }
    if (!json_is_object(own)) {
        return json_object_set(root, "lapse", theirs) == 0;
    }
    bool whole = true;
    if (time_of(theirs, "since_ms") < time_of(own, "since_ms")) {
        whole = json_object_set(own, "since_ms", json_object_get(theirs, "since_ms")) == 0;
    }
    if (time_of(theirs, "until_ms") > time_of(own, "until_ms")) {
        whole = json_object_set(own, "until_ms", json_object_get(theirs, "until_ms")) == 0 && whole;
    }
    return whole;
}

static json_t *list_in(json_t *root, const char *name)
{
    if (!json_is_array(json_object_get(root, name))) {
        (void)!json_object_set_new(root, name, json_array());
    }
    return json_object_get(root, name);
}

static void drop(json_t *root, const char *name, const char *id)
{
    json_t *items = json_object_get(root, name);
    for (size_t i = json_array_size(items); i > 0; i--) {
        if (strcmp(id_of(json_array_get(items, i - 1)), id) == 0) {
            (void)json_array_remove(items, i - 1);
        }
    }
}

/* Which keys were destroyed. The times of others are this record's own: a quarantine that it does not know of begins anew. */
static bool keep_destroyed(json_t *root, const json_t *other)
{
    const json_t *theirs = json_object_get(other, "history");
    bool whole = true;
    for (size_t i = 0; i < json_array_size(theirs); i++) {
        json_t *item = json_array_get(theirs, i);
        const char *id = id_of(item);
        bool gone = time_of(item, "destroyed_ms") > 0 && time_of(item, "returned_ms") == 0;
        bool known = time_of(find(root, "history", id), "destroyed_ms") > 0;
        if (!gone || known || strcmp(id_of(primary_of(root)), id) == 0) {
            continue;
        }
        drop(root, "versions", id);
        drop(root, "history", id);
        whole = json_array_append(list_in(root, "history"), item) == 0 && whole;
    }
    return whole;
}

static bool has_string(const json_t *list, const char *string)
{
    for (size_t i = 0; i < json_array_size(list); i++) {
        const char *item = json_string_value(json_array_get(list, i));
        if (item != NULL && strcmp(item, string) == 0) {
            return true;
        }
    }
    return false;
}

/* Theirs first: where there are too many, the first make room. */
static bool keep_tokens(json_t *root, const json_t *other)
{
    const json_t *theirs = json_object_get(other, "tokens");
    bool whole = true;
    for (size_t i = json_array_size(theirs); i > 0; i--) {
        json_t *item = json_array_get(theirs, i - 1);
        if (json_is_string(item) &&
            !has_string(json_object_get(root, "tokens"), json_string_value(item))) {
            whole = json_array_insert(list_in(root, "tokens"), 0, item) == 0 && whole;
        }
    }
    return whole;
}

char *moved_text(struct moved *moved)
{
    json_t *root = moved->files[moved->counts].root;
    bool whole = true;
    for (size_t i = 0; i < moved->count; i++) {
        if (moved->files[i].outranked) {
            const json_t *other = moved->files[i].root;
            whole = whole && keep_versions(root, other) && keep_lapse(root, other) &&
                    keep_destroyed(root, other) && keep_tokens(root, other);
        }
    }
    return whole ? kek_json_text(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
}

bool moved_is_open(const struct moved *moved)
{
    bool open = moved->counts != 0;
    for (size_t i = 0; i < moved->count; i++) {
        open = open || moved->files[i].outranked;
    }
    return open;
}

/* ---- taking over ---- */

/* KEYRING.lock is this kekd's own, and who looks at its own lock loses it. */
static bool is_claimed(const struct kek_config *config, const char *lock)
{
    char path[PATH_MAX];
    return kek_config_state_file(config, "lock", path, NULL) == KEK_OK && strcmp(path, lock) == 0;
}

bool moved_is_in_use(const struct moved *moved, const struct kek_config *config)
{
    bool used = false;
    for (size_t i = 1; i < moved->count; i++) {
        const char *path = moved->files[i].path;
        char lock[PATH_MAX];
        int len =
            snprintf(lock, sizeof lock, "%.*s.lock", (int)(strlen(path) - strlen(".json")), path);
        bool taken = i == moved->counts || moved->files[i].outranked;
        used = used || (taken && len > 0 && len < PATH_MAX && !is_claimed(config, lock) &&
                        kek_lock_look(lock).there);
    }
    return used;
}

bool moved_aside(const char *path, char aside[static PATH_MAX])
{
    struct stat about;
    for (int i = 1; i < ASIDE_MAX; i++) {
        int len = snprintf(aside, PATH_MAX, "%s.aside-%d", path, i);
        if (len > 0 && len < PATH_MAX && lstat(aside, &about) != 0 && errno == ENOENT) {
            return true;
        }
    }
    return false;
}

static enum kek_rc put(const char *path, const json_t *root, struct kek_why *why)
{
    KEK_AUTO_FREE char *text = root == NULL ? NULL : kek_json_text(root, JSON_INDENT(2));
    return text == NULL ? kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", path)
                        : kek_durable_write_now(path, kek_bytes_of(text), why);
}

static enum kek_rc keep_aside(const struct moved_file *file, struct kek_why *why)
{
    char aside[PATH_MAX];
    return moved_aside(file->path, aside)
               ? put(aside, file->root, why)
               : kek_fail(why, KEK_UNAVAILABLE, "%s.aside-1 to -%d are all there: move them away",
                          file->path, ASIDE_MAX - 1);
}

static enum kek_rc leave_word(const struct moved *moved, const struct moved_file *file,
                              struct kek_why *why)
{
    json_t *word = json_pack("{s:i, s:O, s:s}", "format", FORMAT, "keyring",
                             json_object_get(file->root, "keyring"), "moved_to",
                             name_in(moved->files[0].path));
    enum kek_rc rc = put(file->path, word, why);
    json_decref(word);
    return rc;
}

enum kek_rc moved_settle(const struct moved *moved, const char *text, struct kek_why *why)
{
    enum kek_rc rc = KEK_OK;
    for (size_t i = 0; i < moved->count && rc == KEK_OK; i++) {
        if (moved->files[i].outranked) {
            rc = keep_aside(&moved->files[i], why);
        }
    }
    if (rc == KEK_OK) {
        rc = kek_durable_write_now(moved->files[0].path, kek_bytes_of(text), why);
    }
    for (size_t i = 1; i < moved->count && rc == KEK_OK; i++) {
        if (i == moved->counts || moved->files[i].outranked) {
            rc = leave_word(moved, &moved->files[i], why);
        }
    }
    return rc;
}
