#include "backup.h"

#include <stdio.h>
#include <string.h>

#include <jansson.h>

#include "kek/clock.h"
#include "kek/durable.h"
#include "kek/json.h"

#define SUFFIX "backup"
#define FILE_MAX 1024

static bool parse(struct kek_bytes content, struct backup_word *word)
{
    json_int_t said = 0, version = 0;
    json_t *object =
        json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, NULL);
    bool good = json_unpack(object, "{s:I, s:I}", "said_ms", &said, "version", &version) == 0 &&
                said > 0 && version >= 1 && version <= UINT32_MAX;
    json_decref(object);
    if (good) {
        *word = (struct backup_word){.said_ms = said, .version = (uint32_t)version};
    }
    return good;
}

static bool has_root(const struct kek_config *config)
{
    return config->root != NULL && config->root[0] != '\0';
}

/* Where the word about this root is. */
static enum kek_rc name_file(const struct kek_config *config, char path[static PATH_MAX],
                             struct kek_why *why)
{
    if (!has_root(config)) {
        return kek_config_state_file(config, SUFFIX, path, why);
    }
    int len = snprintf(path, PATH_MAX, "%s/%s@%s." SUFFIX, config->state_dir, config->keyring,
                       config->root);
    return len > 0 && len < PATH_MAX - 8 /* it may have .new beside it */
               ? KEK_OK
               : kek_fail(why, KEK_INVALID, "state_dir: the path is too long");
}

/* One word was of all roots once, and of the one that was there before there were others. */
static bool takes_over(const struct kek_config *config)
{
    return has_root(config) && config->root_is_first &&
           strcmp(config->keyring, kek_config_file_keyring(config)) == 0;
}

enum kek_rc backup_read(const struct kek_config *config, struct backup_word *word,
                        struct kek_why *why)
{
    char path[PATH_MAX];
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, FILE_MAX);
    enum kek_rc rc = name_file(config, path, why);
    rc = rc == KEK_OK ? kek_durable_read(path, FILE_MAX, &content, why) : rc;
    if (rc == KEK_NOT_FOUND && takes_over(config)) {
        rc = kek_config_state_file(config, SUFFIX, path, why);
        rc = rc == KEK_OK ? kek_durable_read(path, FILE_MAX, &content, why) : rc;
    }
    if (rc == KEK_NOT_FOUND) {
        *word = (struct backup_word){.said_ms = 0};
        return KEK_OK;
    }
    if (rc == KEK_OK && !parse(kek_buf_bytes(&content), word)) {
        return kek_fail(why, KEK_DAMAGED, "%s is not what kekctl writes", path);
    }
    return rc;
}

static enum kek_rc put(const struct kek_config *config, const struct backup_word *word,
                       struct kek_why *why)
{
    char path[PATH_MAX];
    enum kek_rc rc = name_file(config, path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    json_t *object = json_pack("{s:I, s:I}", "said_ms", (json_int_t)word->said_ms, "version",
                               (json_int_t)word->version);
    KEK_AUTO_FREE char *text = object == NULL ? NULL : kek_json_text(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", path);
    }
    return kek_durable_write_now(path, kek_bytes_of(text), why);
}

enum kek_rc backup_say(const struct kek_config *config, uint32_t version, struct kek_why *why)
{
    struct backup_word before, word = {.said_ms = kek_clock_wall_ms(), .version = version};
    bool newer = backup_read(config, &before, why) == KEK_OK && before.version > version;
    word.version = newer ? before.version : version;
    return put(config, &word, why);
}

enum backup_state backup_judge(const struct backup_word *word, uint32_t newest, int64_t now_ms)
{
    return word->said_ms == 0                       ? BACKUP_NEVER
           : word->version < newest                 ? BACKUP_BEHIND
           : now_ms - word->said_ms > BACKUP_OLD_MS ? BACKUP_OLD
                                                    : BACKUP_GOOD;
}
