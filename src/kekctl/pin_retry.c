/* kekctl pin retry: a PIN that was refused may be tried once more. */
#include <string.h>

#include "kekctl/key/on_record.h"
#include "kek/auto.h"
#include "kek/login.h"
#include "output.h"

static bool is_provider(const struct kek_config *config, const char *name)
{
    for (size_t i = 0; i < config->provider_count; i++) {
        if (strcmp(config->providers[i].name, name) == 0) {
            return true;
        }
    }
    return false;
}

enum ctl_exit ctl_pin_retry(struct ctl *ctl)
{
    KEK_AUTO(kek_config) config = ctl_config(ctl);
    if (config == NULL) {
        return CTL_USAGE;
    }
    if (ctl->provider != NULL && !is_provider(config, ctl->provider)) {
        ctl_say(ctl, "the configuration has no provider \"%s\"", ctl->provider);
        return CTL_USAGE;
    }
    KEK_AUTO(kek_audit_acts) audit = NULL;
    size_t forgotten = 0;
    const struct kek_audit_act retry = {.event = "pin-retry", .provider = ctl->provider};
    if (!ctl_audit_open(ctl, config, &audit) || !ctl_audit_begin(ctl, audit, &retry)) {
        return CTL_FAILED;
    }
    struct kek_why why;
    bool good = kek_login_retry(config->state_dir, ctl->provider, &forgotten, &why) == KEK_OK;
    const struct kek_audit_act act = {
        .event = "pin-retry",
        .outcome = good ? "ok" : "failed",
        .provider = ctl->provider,
        .forgotten = &forgotten,
        .why = good ? NULL : &why,
    };
    ctl_audit(ctl, audit, &act);
    if (!good) {
        ctl_say(ctl, "%s", why.text);
        return CTL_FAILED;
    }
    if (forgotten == 0) {
        ctl_say(ctl, "no refused PIN is on record%s%s", ctl->provider == NULL ? "" : " for ",
                ctl->provider == NULL ? "" : ctl->provider);
    }
    static const struct column columns[] = {{"forgotten", "forgotten"}};
    json_t *object = json_pack("{s:I}", "forgotten", (json_int_t)forgotten);
    if (object == NULL) {
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(ctl, object, columns, 1);
    json_decref(object);
    return code;
}
