#include "last_run.h"

#include <limits.h>
#include <stdio.h>
#include <string.h>
#include <time.h>

#include "kek/durable.h"
#include "kek/json.h"
#include "kek/lock_file.h"
#include "suite_json.h"

#define FILE_MAX (1u << 20)
#define LOCK_TRIES 100
#define LOCK_PAUSE_MS 50

static enum kek_rc find(const struct kek_config *config, const char *provider, const char *end,
                        char path[static PATH_MAX], struct kek_why *why)
{
    char suffix[80];
    snprintf(suffix, sizeof suffix, "conformance-%.40s%s", provider, end);
    return kek_config_state_file(config, suffix, path, why);
}

/* Two that write at once would share the file beside it. */
static enum kek_rc take_lock(const struct kek_config *config, const char *provider, int *lock,
                             struct kek_why *why)
{
    char path[PATH_MAX];
    const struct timespec pause = {.tv_nsec = LOCK_PAUSE_MS * 1000000L};
    enum kek_rc rc = find(config, provider, ".lock", path, why);
    for (int tries = LOCK_TRIES; rc == KEK_OK && tries > 0; tries--) {
        rc = kek_lock_file_take(path, lock, why);
        if (rc != KEK_UNAVAILABLE) {
            return rc;
        }
        rc = tries > 1 ? KEK_OK : rc;
        nanosleep(&pause, NULL);
    }
    return rc;
}

enum kek_rc last_run_write(const struct kek_config *config, const char *provider, const json_t *run,
                           struct kek_why *why)
{
    KEK_AUTO_CLOSE int lock = -1;
    char path[PATH_MAX];
    enum kek_rc rc = find(config, provider, "", path, why);
    if (rc == KEK_OK) {
        rc = take_lock(config, provider, &lock, why);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    KEK_AUTO_FREE char *text = kek_json_text(run, JSON_INDENT(1));
    if (text == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no memory to write %s", path);
    }
    return kek_durable_write_now(path, kek_bytes_of(text), why);
}

static bool is_run(const json_t *run, const char *provider)
{
    const char *name = json_string_value(json_object_get(run, "provider"));
    return json_integer_value(json_object_get(run, "format")) == CONFORMANCE_FORMAT &&
           name != NULL && strcmp(name, provider) == 0 &&
           json_is_object(json_object_get(run, "summary")) &&
           json_is_array(json_object_get(run, "cases"));
}

json_t *last_run_read(const struct kek_config *config, const char *provider, struct kek_why *why)
{
    char path[PATH_MAX];
    KEK_AUTO_BUF struct kek_buf content;
    kek_buf_init(&content, FILE_MAX);
    if (find(config, provider, "", path, why) != KEK_OK ||
        kek_durable_read(path, FILE_MAX, &content, why) != KEK_OK) {
        return NULL;
    }
    json_t *run = json_loadb((const char *)content.data, content.len, JSON_REJECT_DUPLICATES, NULL);
    if (!is_run(run, provider)) {
        json_decref(run);
        kek_fail(why, KEK_DAMAGED, "%s is not what kekctl conformance writes", path);
        return NULL;
    }
    return run;
}
