#include "destroy_file.h"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/auto.h"
#include "kek/durable.h"
#include "kek/json.h"
#include "kek/text.h"
#include "kekctl/rotate/rotation.h"

#define FILE_MAX (64u * 1024)

/* ---- reading ---- */

/* By the clock that nobody sets; a kekctl before this one wrote none. */
static bool parse_boot(const json_t *object, struct moment *moment)
{
    const char *id;
    json_int_t ms;
    const json_t *boot = json_object_get(object, "boot");
    if (boot == NULL) {
        return true;
    }
    if (json_unpack((json_t *)(uintptr_t)boot, "{s:s, s:I}", "id", &id, "quarantined_ms", &ms) !=
            0 ||
        !moment_is_boot(id) || ms < 0) {
        return false;
    }
    kek_text_copy(moment->boot, sizeof moment->boot, id);
    moment->up_ms = ms;
    return true;
}

/* When a word was said; 0: it was not, and a kekctl before this one wrote none.  False: it is no date. */
static bool parse_word(const json_t *object, const char *name, int64_t *ms)
{
    const json_t *word = json_object_get(object, name);
    *ms = word == NULL ? 0 : kek_clock_parse(json_string_value(word));
    return word == NULL || *ms > 0;
}

static bool parse_step(const json_t *object, struct destroy_progress *progress)
{
    const char *step, *kek_id, *since, *quarantined, *who, *root = "";
    json_int_t number;
    *progress = (struct destroy_progress){.step = DESTROY_NONE};
    if (json_unpack((json_t *)(uintptr_t)object, "{s:s, s?:s, s:I, s:s, s:s, s:s, s:s}", "step",
                    &step, "root", &root, "version", &number, "kek_id", &kek_id, "since", &since,
                    "quarantined", &quarantined, "who", &who) != 0) {
        return false;
    }
    kek_text_copy(progress->root, sizeof progress->root, root);
    progress->number = (uint32_t)number;
    progress->since_ms = kek_clock_parse(since);
    progress->quarantined.wall_ms = kek_clock_parse(quarantined);
    kek_text_copy(progress->who, sizeof progress->who, who);
    return destroy_step_parse(step, &progress->step) && progress->step != DESTROY_NONE &&
           number >= 1 && number <= UINT32_MAX && kek_id_parse(kek_id, &progress->kek_id) &&
           progress->since_ms > 0 &&
           (quarantined[0] == '\0' || progress->quarantined.wall_ms > 0) &&
           parse_word(object, "backups_checked", &progress->backups_checked_ms) &&
           parse_word(object, "api_servers_restarted", &progress->api_servers_restarted_ms) &&
           parse_boot(object, &progress->quarantined);
}

/* `gone` is empty where it is not. */
static bool parse_token(const json_t *object, struct destroy_token *token)
{
    const char *provider, *serial, *gone;
    if (json_unpack((json_t *)(uintptr_t)object, "{s:s, s:s, s:s}", "provider", &provider, "serial",
                    &serial, "gone", &gone) != 0) {
        return false;
    }
    kek_text_copy(token->provider, sizeof token->provider, provider);
    kek_text_copy(token->serial, sizeof token->serial, serial);
    token->gone_ms = kek_clock_parse(gone);
    return gone[0] == '\0' || token->gone_ms > 0;
}

/* A kekctl before this one wrote none. */
static bool parse_tokens(const json_t *list, struct destroy_record *record)
{
    bool good =
        list == NULL || (json_is_array(list) && json_array_size(list) <= DESTROY_TOKENS_MAX);
    for (size_t i = 0; good && i < json_array_size(list); i++) {
        good = parse_token(json_array_get(list, i), &record->tokens[record->token_count++]);
    }
    return good;
}

static bool parse(struct kek_bytes content, struct destroy_record *record)
{
    json_t *root =
        json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *past = json_object_get(root, "past");
    const json_t *now = json_object_get(root, "now");
    bool good = json_is_array(past) && json_array_size(past) <= DESTROY_PAST_MAX &&
                (json_is_null(now) || parse_step(now, &record->now)) &&
                parse_tokens(json_object_get(root, "tokens"), record);
    for (size_t i = 0; good && i < json_array_size(past); i++) {
        good = parse_step(json_array_get(past, i), &record->past[record->past_count++]);
    }
    json_decref(root);
    return good;
}

enum kek_rc destroy_file_read(const struct kek_config *config, struct destroy_record *record,
                              struct kek_why *why)
{
    char path[PATH_MAX];
    KEK_AUTO_BUF struct kek_buf content;
    *record = (struct destroy_record){.past_count = 0};
    enum kek_rc rc = kek_config_state_file(config, "destroy", path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    kek_buf_init(&content, FILE_MAX);
    rc = kek_durable_read(path, FILE_MAX, &content, why);
    if (rc == KEK_NOT_FOUND) {
        return KEK_OK;
    }
    if (rc == KEK_OK && !parse(kek_buf_bytes(&content), record)) {
        return kek_fail(why, KEK_DAMAGED,
                        "%s is not what a destruction writes: look at key list, and move the file "
                        "away; a quarantine then begins anew",
                        path);
    }
    return rc;
}

/* ---- writing ---- */

/* NULL: it was not said. */
static const char *word_text(int64_t ms, char text[static ROTATION_TIME_TEXT])
{
    if (ms == 0) {
        return NULL;
    }
    rotation_time_format(ms, text);
    return text;
}

static json_t *step_json(const struct destroy_progress *progress)
{
    char backups[ROTATION_TIME_TEXT], restarted[ROTATION_TIME_TEXT];
    char id[KEK_ID_TEXT], since[ROTATION_TIME_TEXT], quarantined[ROTATION_TIME_TEXT] = "";
    const struct moment *moment = &progress->quarantined;
    json_t *boot = NULL;
    kek_id_format(&progress->kek_id, id);
    rotation_time_format(progress->since_ms, since);
    if (moment->wall_ms > 0) {
        /* To the second, and never earlier than it was. */
        rotation_time_format(moment->wall_ms + 999, quarantined);
    }
    if (moment->wall_ms > 0 && moment->boot[0] != '\0') {
        boot = json_pack("{s:s, s:I}", "id", moment->boot, "quarantined_ms",
                         (json_int_t)moment->up_ms);
    }
    return json_pack(
        "{s:s, s:s*, s:I, s:s, s:s, s:s, s:o*, s:s*, s:s*, s:s}", "step",
        destroy_step_name(progress->step), "root",
        progress->root[0] == '\0' ? NULL : progress->root, "version", (json_int_t)progress->number,
        "kek_id", id, "since", since, "quarantined", quarantined, "boot", boot, "backups_checked",
        word_text(progress->backups_checked_ms, backups), "api_servers_restarted",
        word_text(progress->api_servers_restarted_ms, restarted), "who", progress->who);
}

json_t *destroy_file_tokens_json(const struct destroy_record *record)
{
    json_t *list = json_array();
    for (size_t i = 0; i < record->token_count; i++) {
        const struct destroy_token *token = &record->tokens[i];
        char gone[ROTATION_TIME_TEXT] = "";
        if (token->gone_ms > 0) {
            rotation_time_format(token->gone_ms, gone);
        }
        if (json_array_append_new(list, json_pack("{s:s, s:s, s:s}", "provider", token->provider,
                                                  "serial", token->serial, "gone", gone)) != 0) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}

static enum kek_rc write_file(const struct kek_config *config, const struct destroy_record *record,
                              struct kek_why *why)
{
    char path[PATH_MAX];
    enum kek_rc rc = kek_config_state_file(config, "destroy", path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    json_t *past = json_array();
    bool good = past != NULL;
    for (size_t i = 0; good && i < record->past_count; i++) {
        good = json_array_append_new(past, step_json(&record->past[i])) == 0;
    }
    json_t *now = record->now.step == DESTROY_NONE ? json_null() : step_json(&record->now);
    json_t *root = json_pack("{s:s, s:o, s:o, s:o}", "node", config->status.name, "now", now,
                             "tokens", destroy_file_tokens_json(record), "past", past);
    KEK_AUTO_FREE char *text = good && root != NULL ? kek_json_text(root, JSON_INDENT(2)) : NULL;
    json_decref(root);
    if (text == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", path);
    }
    return kek_durable_write_now(path, kek_bytes_of(text), why);
}

static void keep(struct destroy_record *record, const struct destroy_progress *destroyed)
{
    if (record->past_count == DESTROY_PAST_MAX) {
        memmove(&record->past[0], &record->past[1],
                (DESTROY_PAST_MAX - 1) * sizeof record->past[0]);
        record->past_count--;
    }
    record->past[record->past_count++] = *destroyed;
}

enum kek_rc destroy_file_write(const struct kek_config *config, struct destroy_record *record,
                               const struct destroy_progress *now, struct kek_why *why)
{
    struct destroy_record next = *record;
    if (next.now.step == DESTROY_DESTROYED) {
        keep(&next, &next.now);
    }
    next.now = *now;
    if (now->step < DESTROY_DESTROYING) {
        next.token_count = 0;
    }
    enum kek_rc rc = write_file(config, &next, why);
    if (rc == KEK_OK) {
        *record = next;
    }
    return rc;
}

const struct destroy_token *destroy_file_token(const struct destroy_record *record,
                                               const char *provider, const char *serial)
{
    for (size_t i = 0; i < record->token_count; i++) {
        const struct destroy_token *token = &record->tokens[i];
        if (strcmp(token->serial, serial) == 0 &&
            (serial[0] != '\0' || strcmp(token->provider, provider) == 0)) {
            return token;
        }
    }
    return NULL;
}

bool destroy_file_is_of(const struct destroy_progress *progress, const struct kek_config *config)
{
    return config->root == NULL || strcmp(progress->root, config->root) == 0 ||
           (progress->root[0] == '\0' && config->root_is_first); /* from before there were roots */
}

bool destroy_file_names(const struct destroy_record *record, const struct kek_config *config,
                        const char *version)
{
    const struct destroy_progress *now = &record->now;
    char id[KEK_ID_TEXT];
    uint64_t number;
    kek_id_format(&now->kek_id, id);
    return now->step != DESTROY_NONE && destroy_file_is_of(now, config) &&
           (strcmp(version, id) == 0 ||
            (kek_text_decimal(version, UINT32_MAX, &number) && number == now->number));
}

enum kek_rc destroy_file_give_up(const struct kek_config *config, const struct kek_id *kek_id,
                                 bool *gave_up, struct kek_why *why)
{
    struct destroy_record record;
    enum kek_rc rc = destroy_file_read(config, &record, why);
    *gave_up = rc == KEK_OK && record.now.step != DESTROY_NONE &&
               record.now.step != DESTROY_DESTROYED && kek_id_equal(&record.now.kek_id, kek_id);
    if (!*gave_up) {
        return rc;
    }
    record.now = (struct destroy_progress){.step = DESTROY_NONE};
    record.token_count = 0;
    return write_file(config, &record, why);
}

void destroy_who(char who[static DESTROY_WHO_MAX])
{
    char text[16] = "";
    uid_t uid = getuid();
    KEK_AUTO_CLOSE int fd = open("/proc/self/loginuid", O_RDONLY | O_CLOEXEC);
    uint64_t login;
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (len > 0 && kek_text_decimal(text, UINT32_MAX - 1, &login)) {
        uid = (uid_t)login;
    }
    const struct passwd *user = getpwuid(uid);
    if (user == NULL) {
        snprintf(who, DESTROY_WHO_MAX, "uid %u", (unsigned)uid);
    } else {
        snprintf(who, DESTROY_WHO_MAX, "%s (uid %u)", user->pw_name, (unsigned)uid);
    }
}
