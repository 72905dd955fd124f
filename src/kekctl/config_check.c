/* kekctl config check: is the configuration good? */
#include <stdio.h>

#include "kek/durable.h"
#include "output.h"

enum ctl_exit ctl_config_check(struct ctl *ctl)
{
    KEK_AUTO(kek_config) config = ctl_config(ctl);
    if (config == NULL) {
        return CTL_USAGE;
    }
    static const struct column columns[] = {
        {"file", "file"}, {"ok", "ok"}, {"mode", "mode"}, {"providers", "providers"}};
    bool strict = config->data_key.max_uses == 1;
    json_t *object =
        json_pack("{s:o, s:b, s:s, s:I}", "file", output_text(config->path), "ok", 1, "mode",
                  strict ? "strict: the HSM is asked for every request" : "data keys are reused",
                  "providers", (json_int_t)config->provider_count);
    if (object == NULL) {
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(ctl, object, columns, sizeof columns / sizeof columns[0]);
    json_decref(object);
    ctl_warn_of_short(ctl, config);
    if (code == CTL_GOOD && kek_durable_forgets(config->state_dir)) {
        ctl_say(ctl,
                "state_dir: %s is in memory (a tmpfs) here: after the machine's next start nobody "
                "knows which key is the right one; put it on a disk",
                config->state_dir);
        return CTL_CHECK;
    }
    return code;
}
