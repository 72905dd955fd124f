#include "reencrypt_record.h"

#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kek/durable.h"
#include "kek/json.h"

#define RECORD_MAX (256u * 1024)

enum kek_rc reencrypt_record_open(struct reencrypt_record *record, const struct kek_config *config,
                                  struct kek_why *why)
{
    char lock[PATH_MAX + 8], who[KEK_LOCK_WHO];
    record->lock = KEK_LOCK_NONE;
    enum kek_rc rc = kek_config_state_file(config, "reencrypt", record->path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    snprintf(lock, sizeof lock, "%s.lock", record->path);
    rc = kek_lock_take(lock, &record->lock, who, why);
    if (rc == KEK_UNAVAILABLE) {
        return kek_fail(why, KEK_UNAVAILABLE,
                        "another kekctl reencrypt runs on this node (%s; it holds %s)", who, lock);
    }
    return rc;
}

void reencrypt_record_close(struct reencrypt_record *record)
{
    kek_lock_release(&record->lock);
}

static json_t *names(const struct reencrypt *reencrypt)
{
    json_t *list = json_array();
    for (size_t i = 0; i < reencrypt->resource_count; i++) {
        json_array_append_new(list, json_string(reencrypt->resources[i].name));
    }
    return list;
}

/* NULL: there is none, or none that can be read. */
static json_t *load(const char *path)
{
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, RECORD_MAX);
    if (kek_durable_read(path, RECORD_MAX, &content, NULL) != KEK_OK) {
        return NULL;
    }
    return json_loadb((const char *)content.data, content.len, 0, NULL);
}

static bool is_text(const json_t *json, const char *key, const char *expected)
{
    const char *text = json_string_value(json_object_get(json, key));
    return text != NULL && strcmp(text, expected) == 0;
}

bool reencrypt_record_read(const struct reencrypt_record *record, const struct reencrypt *reencrypt,
                           const char *server, const char *key_id, struct reencrypt_place *place,
                           bool *stale)
{
    json_t *json = load(record->path), *same = names(reencrypt);
    const json_t *resource = json_object_get(json, "resource");
    const char *from = json_string_value(json_object_get(json, "continue"));
    bool good = is_text(json, "server", server) && is_text(json, "key_id", key_id) &&
                json_equal(json_object_get(json, "resources"), same) == 1 &&
                json_is_integer(resource) && json_integer_value(resource) >= 0 &&
                (size_t)json_integer_value(resource) < reencrypt->resource_count;
    *stale = json != NULL && !good;
    if (good) {
        *place = (struct reencrypt_place){.resource = (size_t)json_integer_value(resource)};
        place->from = from == NULL ? NULL : strdup(from);
        good = from == NULL || place->from != NULL;
    }
    json_decref(same);
    json_decref(json);
    return good;
}

enum kek_rc reencrypt_record_write(const struct reencrypt_record *record,
                                   const struct reencrypt *reencrypt, const char *server,
                                   const char *key_id, const struct reencrypt_place *place,
                                   struct kek_why *why)
{
    json_t *json = json_pack("{s:s, s:s, s:o, s:I, s:s?}", "server", server, "key_id", key_id,
                             "resources", names(reencrypt), "resource", (json_int_t)place->resource,
                             "continue", place->from);
    KEK_AUTO_FREE char *text = json == NULL ? NULL : kek_json_text(json, JSON_COMPACT);
    json_decref(json);
    if (text == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", record->path);
    }
    return kek_durable_write_now(record->path, kek_bytes_of(text), why);
}

void reencrypt_record_remove(const struct reencrypt_record *record)
{
    (void)unlink(record->path);
}
