/* kekctl config check: is the configuration good? */
#include <stdio.h>

#include "kek/durable.h"
#include "output.h"

#define ROOTS_TEXT (KEK_CONFIG_ROOTS_MAX * 64)

/* Several roots of trust in their order, which is part of what is sealed, and how many of them open it. */
static bool add_roots(const struct ctl *ctl, const struct kek_config *config, json_t *object)
{
    const bool all = config->mode == KEK_CONFIG_ALL;
    char text[ROOTS_TEXT] = "";
    json_t *names = json_array();
    bool good = names != NULL;
    for (size_t i = 0, at = 0; i < config->root_count && at < sizeof text; i++) {
        const struct kek_config_root *root = &config->roots[i];
        at += (size_t)snprintf(text + at, sizeof text - at, "%s%s%s", i == 0 ? "" : ", ",
                               root->name, root->seals ? "" : " (only opens)");
        good = good && json_array_append_new(names, json_string(root->name)) == 0;
    }
    json_t *shown = ctl->json == 1 ? json_incref(names) : json_string(text);
    json_decref(names);
    const char *mode = ctl->json == 1 ? (all ? "all" : "any")
                       : all          ? "all: every root is needed to open"
                                      : "any: each root opens alone";
    return json_object_set_new(object, "roots", shown) == 0 && good &&
           json_object_set_new(object, "roots_mode", json_string(mode)) == 0;
}

enum ctl_exit ctl_config_check(struct ctl *ctl)
{
    KEK_AUTO(kek_config) config = ctl_config(ctl);
    if (config == NULL) {
        return CTL_USAGE;
    }
    static const struct column columns[] = {{"file", "file"},
                                            {"ok", "ok"},
                                            {"mode", "mode"},
                                            {"providers", "providers"},
                                            {"roots", "roots of trust"},
                                            {"roots_mode", "mode of the roots"}};
    const bool several = config->root_count > 1;
    const size_t count = sizeof columns / sizeof columns[0] - (several ? 0 : 2);
    bool strict = config->data_key.max_uses == 1;
    json_t *object =
        json_pack("{s:o, s:b, s:s, s:I}", "file", output_text(config->path), "ok", 1, "mode",
                  strict ? "strict: the HSM is asked for every request" : "data keys are reused",
                  "providers", (json_int_t)config->provider_count);
    if (object == NULL || (several && !add_roots(ctl, config, object))) {
        json_decref(object);
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(ctl, object, columns, count);
    json_decref(object);
    ctl_warn_of_short(ctl, config);
    ctl_warn_of_change(ctl, config);
    if (code == CTL_GOOD && kek_durable_forgets(config->state_dir)) {
        ctl_say(ctl,
                "state_dir: %s is in memory (a tmpfs) here: after the machine's next start nobody "
                "knows which key is the right one; put it on a disk",
                config->state_dir);
        return CTL_CHECK;
    }
    return code;
}
