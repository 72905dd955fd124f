/* What every command needs. */
#include "kekctl.h"

#include <errno.h>
#include <limits.h>
#include <stdio.h>

#include "kek/log.h"

void ctl_say(const struct ctl *ctl, const char *format, ...)
{
    char text[PATH_MAX + 2 * KEK_WHY_TEXT]; /* a place in a file, and what is wrong there */
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    if (ctl->hear != NULL) {
        ctl->hear(ctl->hear_arg, text);
        return;
    }
    fprintf(stderr, "%skekctl: %s%s%s\n", kek_log_priority(KEK_LOG_ERROR),
            ctl->command == NULL ? "" : ctl->command, ctl->command == NULL ? "" : ": ", text);
}

/* A change of one root's keys is never taken for another's. */
static bool choose_root(const struct ctl *ctl, struct kek_config *config)
{
    struct kek_why why;
    char names[KEK_CONFIG_ROOTS_MAX * 40] = "";
    if (ctl->roots == CTL_ROOTS_JOINED && config->root_count > 1 && ctl->root != NULL) {
        ctl_say(ctl,
                "--root %s: what lies in etcd is under all roots of trust of %s together: leave it "
                "away",
                ctl->root, ctl->config_path);
        return false;
    }
    /* One entry is that root, with its record, whether or not it is named. */
    const char *root =
        ctl->root == NULL && config->root_count == 1 ? config->roots[0].name : ctl->root;
    if (root != NULL) {
        bool kept = kek_config_keep_root(config, root, &why) == KEK_OK;
        if (!kept) {
            ctl_say(ctl, "%s", why.text);
        }
        return kept;
    }
    if (ctl->roots != CTL_ROOTS_ONE || config->root_count == 0) {
        return true;
    }
    for (size_t i = 0, at = 0; i < config->root_count && at < sizeof names; i++) {
        at += (size_t)snprintf(names + at, sizeof names - at, "%s%s", i == 0 ? "" : ", ",
                               config->roots[i].name);
    }
    ctl_say(ctl, "--root NAME is missing: %s has the roots of trust %s", ctl->config_path, names);
    return false;
}

struct kek_config *ctl_config(const struct ctl *ctl)
{
    struct kek_why why = {.rc = KEK_OK};
    struct kek_config *config = kek_config_load(ctl->config_path, &why);
    if (config == NULL) {
        bool missing = why.native == KEK_NATIVE_ERRNO && why.code == ENOENT && !ctl->config_given;
        ctl_say(ctl, "%s%s", why.text,
                missing ? " (--config names another, kekctl config example prints one)" : "");
    }
    if (config != NULL && !choose_root(ctl, config)) {
        kek_config_free(config);
        return NULL;
    }
    return config;
}

void ctl_warn_of_change(const struct ctl *ctl, const struct kek_config *config)
{
    for (size_t i = 0; i < config->root_count; i++) {
        if (!config->roots[i].needed) {
            ctl_say(
                ctl,
                "roots: what has no share of %s opens, too, as long as it has \"needed: false\": "
                "that is for the time of a change",
                config->roots[i].name);
        }
    }
}

#define SHORT_MS (UINT64_C(24) * 3600 * 1000)

void ctl_warn_of_short(const struct ctl *ctl, const struct kek_config *config)
{
    if (config->destroy_after_ms < SHORT_MS) {
        ctl_say(ctl, "destroy_after is less than 24h: backups that still need a version are likely "
                     "younger than that when it is destroyed");
    }
    if (config->quarantine_ms < SHORT_MS) {
        ctl_say(ctl, "quarantine is less than 24h: who needs a version may not come by in that "
                     "time");
    }
}
