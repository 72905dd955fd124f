#include "sections.h"

#include <stdio.h>

const struct report_part report_parts[REPORT_PARTS] = {
    {.name = "software",
     .title = "Software",
     .says = "Which programs are installed here, and how this one was built.",
     .make = report_software,
     .show = report_software_show},
    {.name = "configuration",
     .title = "Configuration",
     .says = "The file that this report was made by, and what of it bears on keys.",
     .make = report_configuration,
     .show = report_configuration_show},
    {.name = "tokens",
     .title = "Tokens",
     .says = "Which HSMs or services hold the KEK, as they tell of themselves.",
     .make_of_root = report_tokens,
     .show = report_tokens_show},
    {.name = "versions",
     .title = "KEK versions",
     .says = "Every version on every provider, its state, and the attributes of its key.",
     .make_of_root = report_versions,
     .show = report_versions_show},
    {.name = "history",
     .title = "Dates of states",
     .says = "What is on record of each version's life.",
     .make_of_root = report_history,
     .show = report_history_show},
    {.name = "cryptoperiods",
     .title = "Cryptoperiods",
     .says = "How long each version has sealed and may open, against what NIST recommends.",
     .make_of_root = report_cryptoperiods,
     .show = report_cryptoperiods_show},
    {.name = "objects",
     .title = "Objects by version",
     .says = "What share of the objects in etcd is under which version, by the last inventory.",
     .make_of_root = report_objects,
     .show = report_objects_show},
    {.name = "proofs",
     .title = "What the tokens were proven to do",
     .says = "Tried while this report was made, with keys that end with the session and with each "
             "version's witness. Changes of states were not tried: kekctl probe does that.",
     .make_of_root = report_proofs,
     .show = report_proofs_show},
    {.name = "fitness",
     .title = "Fitness of the tokens",
     .says = "What the last kekctl conformance found, with keys that were made for it.",
     .make_of_root = report_fitness,
     .show = report_fitness_show},
    {.name = "usage",
     .title = "Who used each key when",
     .says = "By this node's audit log alone. Other nodes have logs of their own.",
     .make = report_usage,
     .show = report_usage_show},
    {.name = "boundary",
     .title = "What stays inside the HSM and what does not",
     .says = "By how kekd is made; nothing here was measured.",
     .make = report_boundary,
     .show = report_boundary_show},
    {.name = "algorithms",
     .title = "Algorithms outside the HSM",
     .says = "Which of OpenSSL's providers serves each.",
     .make = report_algorithms,
     .show = report_algorithms_show},
};

static bool add(json_t *list, const struct report_part *part, const json_t *section,
                const char *root)
{
    char name[64], title[128];
    bool named = root[0] != '\0';
    snprintf(name, sizeof name, "%s%s%s", part->name, named ? "-" : "", root);
    snprintf(title, sizeof title, "%s%s%s", named ? root : "", named ? ": " : "", part->title);
    return report_add(list, json_pack("{s:s, s:s, s:O, s:O}", "name", name, "title", title,
                                      "filled", json_object_get(section, "filled"), "why",
                                      json_object_get(section, "why")));
}

static bool add_part(json_t *list, const struct report_part *part, const json_t *json)
{
    size_t i;
    const json_t *root;
    bool whole = true;
    if (part->make != NULL) {
        return add(list, part, json_object_get(json, part->name), "");
    }
    json_array_foreach(json_object_get(json, "roots"), i, root)
    {
        whole =
            whole && add(list, part, json_object_get(root, part->name), report_text(root, "root"));
    }
    return whole;
}

json_t *report_overview(const json_t *json)
{
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < REPORT_PARTS; i++) {
        if (!add_part(list, &report_parts[i], json)) {
            json_decref(list);
            return NULL;
        }
    }
    return list;
}
