#include "destroy_file.h"

#include <fcntl.h>
#include <limits.h>
#include <pwd.h>
#include <stdio.h>
#include <string.h>
#include <unistd.h>

#include "kek/auto.h"
#include "kek/durable.h"
#include "kek/json.h"
#include "kek/text.h"
#include "kekctl/node/node_parse.h"
#include "kekctl/rotate/rotation.h"

#define FILE_MAX (64u * 1024)

static enum kek_rc name_file(const struct kek_config *config, char path[static PATH_MAX],
                             struct kek_why *why)
{
    int len = snprintf(path, PATH_MAX, "%s/%s.destroy", config->state_dir, config->keyring);
    return len < 0 || len >= PATH_MAX ? kek_fail(why, KEK_INVALID, "state_dir is too long a path")
                                      : KEK_OK;
}

/* ---- reading ---- */

static bool parse_step(const json_t *object, struct destroy_progress *progress)
{
    const char *step, *kek_id, *since, *quarantined, *who;
    json_int_t number;
    *progress = (struct destroy_progress){.step = DESTROY_NONE};
    if (json_unpack((json_t *)(uintptr_t)object, "{s:s, s:I, s:s, s:s, s:s, s:s}", "step", &step,
                    "version", &number, "kek_id", &kek_id, "since", &since, "quarantined",
                    &quarantined, "who", &who) != 0) {
        return false;
    }
    progress->number = (uint32_t)number;
    progress->since_ms = node_parse_date(since);
    progress->quarantined_ms = node_parse_date(quarantined);
    kek_text_copy(progress->who, sizeof progress->who, who);
    return destroy_step_parse(step, &progress->step) && progress->step != DESTROY_NONE &&
           number >= 1 && number <= UINT32_MAX && kek_id_parse(kek_id, &progress->kek_id) &&
           progress->since_ms > 0 && (quarantined[0] == '\0' || progress->quarantined_ms > 0);
}

static bool parse(struct kek_bytes content, struct destroy_record *record)
{
    json_t *root =
        json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, NULL);
    json_t *past = json_object_get(root, "past");
    const json_t *now = json_object_get(root, "now");
    bool good = json_is_array(past) && json_array_size(past) <= DESTROY_PAST_MAX &&
                (json_is_null(now) || parse_step(now, &record->now));
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
    enum kek_rc rc = name_file(config, path, why);
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

static json_t *step_json(const struct destroy_progress *progress)
{
    char id[KEK_ID_TEXT], since[ROTATION_TIME_TEXT], quarantined[ROTATION_TIME_TEXT] = "";
    kek_id_format(&progress->kek_id, id);
    rotation_time_format(progress->since_ms, since);
    if (progress->quarantined_ms > 0) {
        /* To the second, and never earlier than it was. */
        rotation_time_format(progress->quarantined_ms + 999, quarantined);
    }
    return json_pack("{s:s, s:I, s:s, s:s, s:s, s:s}", "step", destroy_step_name(progress->step),
                     "version", (json_int_t)progress->number, "kek_id", id, "since", since,
                     "quarantined", quarantined, "who", progress->who);
}

static enum kek_rc write_file(const struct kek_config *config, const struct destroy_record *record,
                              struct kek_why *why)
{
    char path[PATH_MAX];
    enum kek_rc rc = name_file(config, path, why);
    if (rc != KEK_OK) {
        return rc;
    }
    json_t *past = json_array();
    bool good = past != NULL;
    for (size_t i = 0; good && i < record->past_count; i++) {
        good = json_array_append_new(past, step_json(&record->past[i])) == 0;
    }
    json_t *now = record->now.step == DESTROY_NONE ? json_null() : step_json(&record->now);
    json_t *root =
        json_pack("{s:s, s:o, s:o}", "node", config->status.name, "now", now, "past", past);
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
    enum kek_rc rc = write_file(config, &next, why);
    if (rc == KEK_OK) {
        *record = next;
    }
    return rc;
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
