/* What every command needs. */
#include "kekctl.h"

#include <errno.h>
#include <stdio.h>

#include "kek/log.h"

void ctl_say(const struct ctl *ctl, const char *format, ...)
{
    char text[KEK_WHY_TEXT + 64];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    fprintf(stderr, "%skekctl: %s%s%s\n", kek_log_priority(KEK_LOG_ERROR),
            ctl->command == NULL ? "" : ctl->command, ctl->command == NULL ? "" : ": ", text);
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
    return config;
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
