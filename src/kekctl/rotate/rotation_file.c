#include "rotation_file.h"

#include <errno.h>
#include <inttypes.h>
#include <stdio.h>

#include "kek/clock.h"
#include "kek/durable.h"
#include "kek/json.h"

#define FILE_MAX 4096

static bool parse(struct kek_bytes content, struct rotation_progress *progress)
{
    const char *node, *step, *since, *id;
    json_int_t number, pid, up_ms;
    json_t *object =
        json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, NULL);
    bool good = json_unpack(object, "{s:s, s:s, s:I, s:s, s:s, s:I, s:I}", "node", &node, "step",
                            &step, "version", &number, "kek_id", &id, "since", &since,
                            "since_boot_ms", &up_ms, "pid", &pid) == 0;
    *progress = (struct rotation_progress){.step = ROTATION_CHECK,
                                           .since_ms = good ? kek_clock_parse(since) : 0};
    good = good && rotation_step_parse(step, &progress->step) && progress->step >= ROTATION_CLAIM &&
           progress->since_ms > 0 && number >= 1 && number <= UINT32_MAX && up_ms >= 0 && pid > 0 &&
           pid <= INT_MAX;
    if (good) {
        progress->since_up_ms = up_ms;
        progress->key.number = (uint32_t)number;
        progress->pid = (long)pid;
        good = kek_id_parse(id, &progress->key.id);
    }
    json_decref(object);
    return good;
}

static enum kek_rc read_progress(const struct rotation_file *file,
                                 struct rotation_progress *progress, struct kek_why *why)
{
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, FILE_MAX);
    enum kek_rc rc = kek_durable_read(file->path, FILE_MAX, &content, why);
    if (rc == KEK_NOT_FOUND) {
        *progress = (struct rotation_progress){.step = ROTATION_CHECK};
        return KEK_OK;
    }
    if (rc == KEK_OK && !parse(kek_buf_bytes(&content), progress)) {
        return kek_fail(why, KEK_DAMAGED,
                        "%s is not what a rotation writes: look at key list, and remove the file; "
                        "the next run goes on from what the tokens show",
                        file->path);
    }
    return rc;
}

static enum kek_rc name_files(struct rotation_file *file, const struct kek_config *config,
                              const char *node, struct kek_why *why)
{
    *file = (struct rotation_file){.node = node, .lock = KEK_LOCK_NONE};
    enum kek_rc rc = kek_config_state_file(config, "rotation", file->path, why);
    if (rc == KEK_OK) {
        snprintf(file->lock_path, sizeof file->lock_path, "%s.lock", file->path);
    }
    return rc;
}

static enum kek_rc refuse_second(const struct rotation_file *file, struct kek_why *why)
{
    struct rotation_progress first;
    char since[ROTATION_TIME_TEXT];
    if (read_progress(file, &first, NULL) != KEK_OK || first.step == ROTATION_CHECK) {
        return kek_fail(why, KEK_UNAVAILABLE,
                        "a rotation has just begun on this node, %s: let it end, or interrupt it",
                        file->node);
    }
    rotation_time_format(first.since_ms, since);
    return kek_fail(why, KEK_UNAVAILABLE,
                    "a rotation runs on this node, %s, already: step %s since %s, version %" PRIu32
                    ", pid %ld; let it end, or interrupt it",
                    file->node, rotation_step_name(first.step), since, first.key.number, first.pid);
}

enum kek_rc rotation_file_look(struct rotation_file *file, const struct kek_config *config,
                               const char *node, struct rotation_progress *progress,
                               struct kek_why *why)
{
    enum kek_rc rc = name_files(file, config, node, why);
    return rc == KEK_OK ? read_progress(file, progress, why) : rc;
}

enum kek_rc rotation_file_open(struct rotation_file *file, const struct kek_config *config,
                               const char *node, struct rotation_progress *progress,
                               struct kek_why *why)
{
    char who[KEK_LOCK_WHO];
    enum kek_rc rc = name_files(file, config, node, why);
    if (rc == KEK_OK) {
        rc = kek_lock_take(file->lock_path, &file->lock, who, why);
    }
    if (rc == KEK_UNAVAILABLE) {
        return refuse_second(file, why);
    }
    if (rc == KEK_OK) {
        rc = read_progress(file, progress, why);
    }
    if (rc != KEK_OK) {
        rotation_file_close(file);
    }
    return rc;
}

enum kek_rc rotation_file_write(const struct rotation_file *file,
                                const struct rotation_progress *progress, struct kek_why *why)
{
    char id[KEK_ID_TEXT], since[ROTATION_TIME_TEXT];
    kek_id_format(&progress->key.id, id);
    rotation_time_format(progress->since_ms, since);
    json_t *object =
        json_pack("{s:s, s:s, s:I, s:s, s:s, s:I, s:I}", "node", file->node, "step",
                  rotation_step_name(progress->step), "version", (json_int_t)progress->key.number,
                  "kek_id", id, "since", since, "since_boot_ms", (json_int_t)progress->since_up_ms,
                  "pid", (json_int_t)progress->pid);
    KEK_AUTO_FREE char *text = object == NULL ? NULL : kek_json_text(object, JSON_COMPACT);
    json_decref(object);
    if (text == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", file->path);
    }
    return kek_durable_write_now(file->path, kek_bytes_of(text), why);
}

enum kek_rc rotation_file_remove(const struct rotation_file *file, struct kek_why *why)
{
    if (unlink(file->path) != 0 && errno != ENOENT) {
        return kek_fail_native(why, KEK_UNAVAILABLE, KEK_NATIVE_ERRNO, (unsigned long)errno,
                               "removing %s", file->path);
    }
    return KEK_OK;
}

void rotation_file_close(struct rotation_file *file)
{
    if (file->lock.file >= 0) {
        (void)unlink(file->lock_path);
        kek_lock_release(&file->lock);
    }
}
