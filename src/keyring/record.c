/*
 * The state file, <state_dir>/<keyring>.json, or <keyring>@<root>.json where roots of trust have names: the last announced primary and the witness of every version
 * that was agreed on.  Written whole and durably before a primary is announced; a file that cannot be read
 * as one of ours is never overwritten or ignored.  <state_dir>/<keyring>.lock is locked while kekd runs.
 */
#include "keyring/ring.h"

#include <errno.h>
#include <fcntl.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include <jansson.h>

#include "kek/base64.h"
#include "kek/clock.h"
#include "kek/durable.h"
#include "kek/json.h"
#include "kek/text.h"
#include "keyring/moved.h"

#define FORMAT 1
#define RESTORE \
    "restore it from a backup, or move it away once every node's Status shows the same key_id"

static bool load_version(struct kek_keyring *ring, json_t *item)
{
    const char *hex, *base64;
    json_int_t number, wraps = 0;
    int announced = 0, compromised = 0;
    struct kek_id id;
    uint8_t witness[WITNESS_MAX];
    struct kek_envelope envelope;
    if (json_unpack(item, "{s:I, s:s, s:s, s?:I, s?:b, s?:b}", "number", &number, "kek_id", &hex,
                    "witness", &base64, "gcm_wraps", &wraps, "announced", &announced, "compromised",
                    &compromised) != 0 ||
        number < 1 || number > UINT32_MAX || wraps < 0 || !kek_id_parse(hex, &id)) {
        return false;
    }
    size_t len = 0;
    if (!kek_unbase64(base64, witness, sizeof witness, &len) ||
        kek_envelope_parse(kek_bytes(witness, len), &envelope, NULL) != KEK_OK ||
        !kek_id_equal(&envelope.entries[0].kek_id, &id) || version_find(ring, &id) != NULL) {
        return false;
    }
    struct version *version = version_add(ring, &id, (uint32_t)number);
    if (version == NULL) {
        return false;
    }
    memcpy(version->witness, witness, len);
    version->witness_len = len;
    version->witness_alg = envelope.entries[0].alg;
    version->agreed = true;
    version->announced = announced != 0;
    version->compromised = compromised != 0;
    version->gcm_wraps = version->gcm_reserved = (uint64_t)wraps;
    return true;
}

static bool load_primary(struct kek_keyring *ring, json_t *primary)
{
    const char *hex;
    json_int_t number, announced_ms = 0;
    struct kek_id id;
    if (primary == NULL || json_is_null(primary)) {
        return true;
    }
    if (json_unpack(primary, "{s:I, s:s, s?:I}", "number", &number, "kek_id", &hex, "announced_ms",
                    &announced_ms) != 0 ||
        number < 1 || number > UINT32_MAX || announced_ms < 0 || !kek_id_parse(hex, &id) ||
        version_find(ring, &id) == NULL) {
        return false;
    }
    /* since_ms stays 0: no connection of this process can remember an older one. */
    struct version *version = version_find(ring, &id);
    generation_of(version, &ring->primary.generation);
    ring->announced = version->announced = true;
    ring->primary.announced_ms = ring->primary.each_announced_ms[0] = announced_ms;
    return true;
}

static bool load_root(struct kek_keyring *ring, json_t *root)
{
    json_t *versions, *primary = NULL, *history = NULL, *lapse = NULL, *tokens = NULL, *item;
    const char *keyring;
    json_int_t format;
    size_t i;
    if (json_unpack(root, "{s:I, s:s, s:o, s?:o, s?:o, s?:o, s?:o}", "format", &format, "keyring",
                    &keyring, "versions", &versions, "primary", &primary, "history", &history,
                    "lapse", &lapse, "tokens", &tokens) != 0 ||
        format != FORMAT || strcmp(keyring, ring->settings.config->keyring) != 0 ||
        !json_is_array(versions)) {
        return false;
    }
    json_array_foreach(versions, i, item)
    {
        if (!load_version(ring, item)) {
            return false;
        }
    }
    history_load(ring, history);
    lapse_load(ring, lapse);
    tokens_load(ring, tokens);
    return load_primary(ring, primary);
}

/* A file from before the context stood in it has none. */
static enum kek_rc check_context(const struct kek_keyring *ring, const json_t *root,
                                 struct kek_why *why)
{
    const struct kek_config *config = ring->settings.config;
    const char *context = json_string_value(json_object_get(root, "context"));
    if (context == NULL || strcmp(context, config->context) == 0) {
        return KEK_OK;
    }
    for (size_t i = 0; config->context_accept != NULL && config->context_accept[i] != NULL; i++) {
        if (strcmp(context, config->context_accept[i]) == 0) {
            return KEK_OK;
        }
    }
    kek_fail(why, KEK_DAMAGED,
             "%s: it is of context '%s', and the configuration says '%s': one of them is "
             "mistyped, or it is another cluster's state_dir; one that was renamed on "
             "purpose stands in context_accept",
             ring->record_path, context, config->context);
    return kek_fail_reason(why, KEK_REASON_RECORD_CONTEXT);
}

enum kek_rc record_parse(struct kek_keyring *ring, struct kek_bytes content, struct kek_why *why)
{
    json_error_t error;
    json_t *root =
        json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, &error);
    if (root == NULL) {
        kek_fail(why, KEK_DAMAGED, "%s:%d:%d: not a state file of kekd: %s (" RESTORE ")",
                 ring->record_path, error.line, error.column, error.text);
        return kek_fail_reason(why, KEK_REASON_RECORD_DAMAGED);
    }
    bool good = load_root(ring, root);
    enum kek_rc rc = good ? check_context(ring, root, why) : KEK_OK;
    json_decref(root);
    if (rc != KEK_OK) {
        return rc;
    }
    ring->record_dirty = true; /* an old context that is accepted gives way to the new one */
    if (!good) {
        kek_fail(why, KEK_DAMAGED, "%s: not a state file of keyring %s in format %d (" RESTORE ")",
                 ring->record_path, ring->settings.config->keyring, FORMAT);
        return kek_fail_reason(why, KEK_REASON_RECORD_DAMAGED);
    }
    return KEK_OK;
}

struct kek_lock_holder kek_keyring_runner(const struct kek_config *config)
{
    char path[PATH_MAX];
    struct kek_why why;
    if (moved_name(config, "lock", path, &why) != KEK_OK) {
        return (struct kek_lock_holder){.there = false};
    }
    return kek_lock_look(path);
}

static enum kek_rc lock(struct kek_keyring *ring, struct kek_why *why)
{
    const struct kek_config *config = ring->settings.config;
    char path[PATH_MAX], who[KEK_LOCK_WHO];
    enum kek_rc rc = moved_name(config, "lock", path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    rc = kek_lock_take(path, &ring->lock, who, why);
    if (rc == KEK_UNAVAILABLE) {
        return kek_fail(why, KEK_UNAVAILABLE,
                        "%s: another kekd uses this state_dir for keyring %s (%s): each needs "
                        "one of its own",
                        path, config->keyring, who);
    }
    return rc;
}

/* What counts, in whichever file it is. Messages name that one; what is written from now on goes to the ring's own. */
static enum kek_rc parse_found(struct kek_keyring *ring, const struct moved *moved,
                               const char *text, struct kek_why *why)
{
    char *own = ring->record_path;
    ring->record_path = (char *)moved->files[moved->counts].path;
    enum kek_rc rc = record_parse(ring, kek_bytes_of(text), why);
    ring->record_path = own;
    return rc;
}

static void tell_moved(const struct kek_keyring *ring, const struct moved *moved)
{
    const char *from = moved->files[moved->counts].path;
    for (size_t i = 0; i < moved->count; i++) {
        if (moved->files[i].outranked) {
            ring_notice(ring, KEK_LOG_WARN,
                        "%s and %s are of one keyring; the first announced what is newer, and "
                        "counts; what the other said is kept as %s.aside-N",
                        from, moved->files[i].path, moved->files[i].path);
        }
    }
    if (moved->counts != 0) {
        ring_notice(ring, KEK_LOG_INFO, "the state file goes on from %s, in %s", from,
                    ring->record_path);
    }
}

/* What cannot be written now is decided again, alike, at the next start. */
static void settle(const struct kek_keyring *ring, const struct moved *moved, const char *text)
{
    struct kek_why why;
    tell_moved(ring, moved);
    if (moved_settle(moved, text, &why) != KEK_OK) {
        ring_notice(ring, KEK_LOG_ERROR, "taking over %s: %s", moved->files[moved->counts].path,
                    why.text);
    }
}

void kek_keyring_record_look(const struct kek_config *config, struct kek_keyring_record *record)
{
    struct kek_why why;
    *record = (struct kek_keyring_record){.path = ""};
    KEK_AUTO(moved) moved = moved_find(config, RECORD_MAX, &why);
    if (moved == NULL) {
        (void)!moved_name(config, "json", record->path, &why);
        return;
    }
    const struct moved_file *file = &moved->files[moved->counts];
    const char *context = json_string_value(json_object_get(file->root, "context"));
    snprintf(record->path, sizeof record->path, "%s", file->path);
    kek_text_copy(record->context, sizeof record->context, context == NULL ? "" : context);
}

bool record_has_version(const struct kek_config *config)
{
    struct kek_why why;
    KEK_AUTO(moved) moved = moved_find(config, RECORD_MAX, &why);
    if (moved == NULL) {
        return why.rc != KEK_NOT_FOUND;
    }
    const json_t *versions = json_object_get(moved->files[moved->counts].root, "versions");
    return !json_is_array(versions) || json_array_size(versions) > 0;
}

/* As it is there now, byte by byte. */
static void take_digest(struct kek_keyring *ring)
{
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, RECORD_MAX);
    if (kek_durable_read(ring->record_path, RECORD_MAX, &content, NULL) != KEK_OK ||
        !kek_sha256_text(kek_buf_bytes(&content), ring->home.digest)) {
        ring->home.digest[0] = '\0';
    }
}

static enum kek_rc load(struct kek_keyring *ring, bool is_ours, struct kek_why *why)
{
    const struct kek_config *config = ring->settings.config;
    char path[PATH_MAX];
    enum kek_rc rc = moved_name(config, "json", path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    ring->record_path = strdup(path);
    if (ring->record_path == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory for the state file's name");
    }
    struct kek_why missing;
    KEK_AUTO(moved) moved = moved_find(config, RECORD_MAX, &missing);
    if (moved == NULL && missing.rc == KEK_NOT_FOUND) {
        return KEK_OK;
    }
    if (moved == NULL) {
        *why = missing;
        return missing.rc;
    }
    KEK_AUTO_FREE char *text = moved_text(moved);
    if (text == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory for the state file");
    }
    rc = parse_found(ring, moved, text, why);
    if (rc == KEK_OK && is_ours && moved_is_open(moved) && !moved_is_in_use(moved, config)) {
        settle(ring, moved, text);
    }
    take_digest(ring);
    return rc;
}

enum kek_rc record_load(struct kek_keyring *ring, struct kek_why *why)
{
    return load(ring, false, why);
}

enum kek_rc record_open(struct kek_keyring *ring, struct kek_why *why)
{
    enum kek_rc rc = lock(ring, why);
    return rc == KEK_OK ? load(ring, true, why) : rc;
}

void record_close(struct kek_keyring *ring)
{
    kek_lock_release(&ring->lock);
    free(ring->record_path);
}

static json_t *version_json(const struct version *version, bool announced)
{
    char id[KEK_ID_TEXT];
    char base64[KEK_BASE64(WITNESS_MAX)];
    kek_id_format(&version->id, id);
    kek_base64(kek_bytes(version->witness, version->witness_len), base64);
    return json_pack("{s:I, s:s, s:s, s:I, s:b, s:b}", "number", (json_int_t)version->number,
                     "kek_id", id, "witness", base64, "gcm_wraps",
                     (json_int_t)version->gcm_reserved, "announced", announced, "compromised",
                     version->compromised);
}

char *record_text(const struct kek_keyring *ring, const struct version *next)
{
    char id[KEK_ID_TEXT];
    const struct kek_generation *last = &ring->primary.generation;
    kek_id_format(next != NULL ? &next->id : &last->kek_ids[0], id);
    json_int_t number = next != NULL ? next->number : last->numbers[0];
    json_int_t announced_ms = next != NULL ? ring->announcing_ms : ring->primary.announced_ms;
    json_t *primary = next != NULL || ring->announced
                          ? json_pack("{s:I, s:s, s:I}", "number", number, "kek_id", id,
                                      "announced_ms", announced_ms)
                          : json_null();
    json_t *versions = json_array();
    json_t *root =
        json_pack("{s:i, s:s, s:s, s:o, s:o, s:o, s:o, s:o*}", "format", FORMAT, "keyring",
                  ring->settings.config->keyring, "context", ring->settings.config->context,
                  "primary", primary, "versions", versions, "history", history_json(ring), "tokens",
                  tokens_json(ring), "lapse", lapse_json(ring));
    bool whole = root != NULL;
    const struct version *version;
    DL_FOREACH (ring->versions, version) {
        if (whole && version->agreed) {
            bool announced = version->announced || version == next;
            whole = json_array_append_new(versions, version_json(version, announced)) == 0;
        }
    }
    char *text = whole ? kek_json_text(root, JSON_INDENT(2) | JSON_PRESERVE_ORDER) : NULL;
    json_decref(root);
    return text;
}

static void write_record(struct kek_keyring *ring);

static void wrote(struct kek_keyring *ring)
{
    if (!ring->stopped) {
        ring_dirty(ring);
    } else if (!ring->record_announces) {
        ring->announcing = NULL; /* nor will it be */
    }
    if (ring->record_dirty) {
        write_record(ring); /* what was to be saved before a stop, too */
    }
}

/* What was written to announce something: is it where the next kekd will look for it? */
static void confirmed(struct kek_keyring *ring, bool here)
{
    ring->record_writing = false;
    ring->record_holds = here && ring->announcing != NULL;
    if (here) {
        wrote(ring);
        return;
    }
    ring->record_dirty = true; /* without it, at the next refresh */
    ring->announcing = NULL;
    if (!ring->stopped) {
        ring_dirty(ring);
    }
}

/* Nobody else is to write the file as long as the folder is locked.  What somebody put there on purpose stays until there is
 * something new to be put on record. */
static void judge_file(struct kek_keyring *ring)
{
    struct home *home = &ring->home;
    if (home->moved) {
        ring_notice(ring, KEK_LOG_WARN,
                    "state_dir %s was removed: the folder that is there now is locked, and the "
                    "record is put there from memory",
                    ring->settings.config->state_dir);
        home->moved = false;
        record_save(ring);
        return;
    }
    if (ring->record_writing || ring->record_dirty) {
        return;
    }
    if (home->lost) {
        ring_notice(ring, KEK_LOG_WARN, "the state file %s was removed: it is written anew",
                    ring->record_path);
        record_save(ring);
    } else if (home->changed) {
        ring_notice(ring, KEK_LOG_WARN,
                    "the state file %s was changed by somebody else: this kekd writes over it with "
                    "its next change, and one that is started before knows what stands there alone",
                    ring->record_path);
        memcpy(home->digest, home->found, sizeof home->digest); /* told once */
    }
}

void record_seen(struct kek_keyring *ring, bool confirms)
{
    if (confirms) {
        confirmed(ring, home_is_here(ring));
    } else if (!ring->stopped) {
        judge_file(ring);
        ring_dirty(ring);
    }
}

static void saved(void *arg, enum kek_rc rc, const struct kek_why *why)
{
    struct kek_keyring *ring = arg;
    ring->record_writing = false;
    if (rc != KEK_OK) {
        ring->record_dirty = true; /* tried again at the next refresh */
        ring->announcing = NULL;
        if (ring->home.is != HOME_REMOVED) { /* else it is told, and no try is better */
            ring_notice(ring, KEK_LOG_ERROR,
                        "the state file cannot be written, so nothing new is announced: %s",
                        why->text);
        }
        return;
    }
    memcpy(ring->home.digest, ring->home.written, sizeof ring->home.digest);
    if (!ring->record_announces || ring->announcing == NULL || ring->stopped) {
        wrote(ring);
        return;
    }
    ring->record_writing = true;
    if (!home_confirm(ring, record_seen)) {
        confirmed(ring, false);
    }
}

static void write_record(struct kek_keyring *ring)
{
    struct kek_why why;
    ring->announcing_ms = kek_clock_wall_ms();
    char *text = record_text(ring, ring->announcing);
    ring->record_announces = ring->announcing != NULL;
    enum kek_rc rc = text == NULL
                         ? kek_fail(&why, KEK_NO_MEMORY, "no memory")
                         : kek_durable_write_in(ring->loop, ring->lock.folder, ring->record_path,
                                                kek_bytes_of(text), saved, ring, &why);
    if (text == NULL || !kek_sha256_text(kek_bytes_of(text), ring->home.written)) {
        ring->home.written[0] = '\0';
    }
    free(text);
    if (rc != KEK_OK) {
        ring->announcing = NULL;
        ring->record_holds = false;
        ring_notice(ring, KEK_LOG_ERROR, "the state file cannot be written: %s", why.text);
        return;
    }
    lapse_saved(ring);
    ring->home.writes++;
    ring->record_dirty = false;
    ring->record_writing = true;
}

void record_save(struct kek_keyring *ring)
{
    ring->record_dirty = true;
    if (!ring->record_writing && !ring->stopped) {
        write_record(ring);
    }
}

/*
 * How often a KEK has wrapped by AES-GCM on this node.  Its IVs are 96 random bits, ours or the token's:
 * after 2^32 wraps under one key a repetition is no longer out of the question (NIST SP 800-38D, 8.3), and
 * one gives the authentication key away.  All nodes share that limit, so each warns at a sixteenth of it.
 * Only strict mode gets there.  The count is on disk ahead of its use, so that it is never too low; a
 * restart skips what is left.
 */
#define GCM_WARN_AT (UINT64_C(1) << 28)
#define GCM_RESERVE (UINT64_C(1) << 14)

void kek_keyring_wrapped(struct kek_keyring *ring, const struct kek_id *kek_id,
                         enum kek_wrap_alg alg)
{
    struct version *version = version_find(ring, kek_id);
    if (alg != KEK_WRAP_AES_GCM || version == NULL || ring->stopped) {
        return;
    }
    version->gcm_wraps++;
    if (version->gcm_wraps > version->gcm_reserved) {
        version->gcm_reserved = version->gcm_wraps + GCM_RESERVE;
        record_save(ring);
    }
    if (version->gcm_wraps >= GCM_WARN_AT && !version->gcm_warned) {
        version->gcm_warned = true;
        ring_notice(
            ring, KEK_LOG_WARN,
            "version %u has wrapped more than 2^28 data keys by AES-GCM on this node: a new "
            "version should take its place, or data_key.max_uses be more than 1",
            version->number);
    }
}
