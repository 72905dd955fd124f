/* kekctl key list: the versions of the keyring, as every provider shows them. */
#include <stdio.h>
#include <string.h>

#include "kekctl/destroy/destroy_back.h"
#include "joint.h"
#include "key_canary.h"
#include "key_describe.h"
#include "key_remarks.h"
#include "root_twins.h"
#include "kekctl/output.h"

static bool all_eligible(const struct keys *keys)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        for (size_t i = 0; i < keys->listings[p].count; i++) {
            if (!keys->listings[p].versions[i].eligible) {
                return false;
            }
        }
    }
    return true;
}

/* For people: an algorithm that no use of the key has shown yet is none in particular. */
static void say_unproven(const json_t *object)
{
    size_t i;
    json_t *version;
    json_array_foreach(json_object_get(object, "versions"), i, version)
    {
        const char *alg = json_string_value(json_object_get(version, "alg"));
        if (alg != NULL && strcmp(alg, kek_wrap_alg_name(KEK_WRAP_NONE)) == 0) {
            (void)json_object_set_new(version, "alg", json_string("not known"));
        }
    }
}

/* `all`: where the object goes, if it is one of several; NULL: it is printed as it is. */
static enum ctl_exit print(const struct keys *keys, json_t *all)
{
    static const struct column columns[] = {{"version", "VERSION"}, {"state", "STATE"},
                                            {"kek_id", "KEK-ID"},   {"key_id", "KEY-ID"},
                                            {"alg", "ALG"},         {"provider", "PROVIDER"},
                                            {"label", "LABEL"},     {"refusal", "REFUSAL"}};
    json_t *object = key_describe(keys);
    if (object == NULL) {
        ctl_say(keys->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    if (all != NULL && keys->ctl->json == 1) {
        return json_array_append_new(all, object) == 0 ? CTL_GOOD : CTL_FAILED;
    }
    if (all != NULL) {
        printf("%sroot of trust %s:\n", json_array_size(all) == 0 ? "" : "\n", keys->config->root);
        (void)json_array_append_new(all, json_null());
    }
    if (!keys->ctl->json) {
        say_unproven(object);
    }
    size_t count = sizeof columns / sizeof columns[0] - (all_eligible(keys) ? 1 : 0);
    enum ctl_exit code = output_list(keys->ctl, object, "versions", columns, count);
    json_decref(object);
    return code;
}

/* Those of several roots, one after the other. */
struct listed {
    const struct kek_config *config; /* the whole one */
    size_t root;
    size_t answered; /* roots of which a provider answered */
    json_t *all;
    struct root_twins twins;
};

/* several: the root is one of them; NULL: it is the only one. */
static enum ctl_exit list_one(struct ctl *ctl, struct listed *several)
{
    KEYS_AUTO struct keys keys;
    json_t *all = several == NULL ? NULL : several->all;
    if (!keys_open(&keys, ctl) || !keys_start(&keys, false)) {
        return keys.code;
    }
    size_t answered = keys_list(&keys, false);
    if (several != NULL) {
        root_twins_take(&several->twins, several->config, several->root, &keys);
    }
    /* A root that is out is told beside those that are not. */
    enum ctl_exit code = answered > 0 || all != NULL ? print(&keys, all) : CTL_FAILED;
    if (code != CTL_GOOD) {
        return CTL_FAILED;
    }
    if (answered == 0) {
        return CTL_CHECK;
    }
    if (several != NULL) {
        several->answered++;
    }
    struct destroy_back back;
    destroy_back_look(&keys, &back);
    bool good = remarks_say(&keys, &back) + remarks_same_token(&keys) == 0 && back.count == 0;
    good = canary_say(&keys) == 0 && good;
    good = good && answered == keys.config->provider_count && all_eligible(&keys);
    return good ? CTL_GOOD : CTL_CHECK;
}

/* What is announced of all of them, behind what each has. */
static enum ctl_exit print_joint(const struct ctl *ctl, const struct kek_config *config,
                                 json_t *roots, const struct joint *joint)
{
    char text[JOINT_TEXT];
    if (ctl->json == 0) {
        joint_text(config, joint, text);
        printf("\n%s\n", text);
        return output_end(ctl);
    }
    json_t *object =
        json_pack("{s:O, s:o}", "roots", roots, "announced", joint_json(config, joint));
    if (object == NULL) {
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    enum ctl_exit code = output_object(ctl, object, NULL, 0);
    json_decref(object);
    return code;
}

/* One after the other, each with what is to be said of it. The worst counts. */
static enum ctl_exit list_all(struct ctl *ctl, const struct kek_config *config)
{
    enum ctl_exit worst = CTL_GOOD;
    struct listed several = {.config = config, .all = json_array()};
    if (several.all == NULL) {
        ctl_say(ctl, "no memory for the output");
        return CTL_FAILED;
    }
    for (several.root = 0; several.root < config->root_count; several.root++) {
        ctl->root = config->roots[several.root].name;
        enum ctl_exit listed = list_one(ctl, &several);
        bool worse = worst == CTL_GOOD || listed == CTL_FAILED;
        worst = worse ? listed : worst;
    }
    ctl->root = NULL;
    worst = several.answered > 0 ? worst : CTL_FAILED;
    size_t twins = root_twins_say(&several.twins, ctl) + root_twins_say_shared(&several.twins, ctl);
    worst = worst == CTL_GOOD && twins > 0 ? CTL_CHECK : worst;
    struct joint joint;
    joint_find(ctl, config, &joint);
    worst = worst == CTL_GOOD && (joint.unheard || joint.unread) ? CTL_CHECK : worst;
    enum ctl_exit code = print_joint(ctl, config, several.all, &joint);
    json_decref(several.all);
    return code == CTL_GOOD ? worst : code;
}

enum ctl_exit ctl_key_list(struct ctl *ctl)
{
    KEK_AUTO(kek_config) config = ctl_config(ctl);
    if (config == NULL) {
        return CTL_USAGE;
    }
    return config->root_count > 1 ? list_all(ctl, config) : list_one(ctl, NULL);
}
