/* Several roots of trust: which providers hold the KEKs of each, and whether one of them opens or all are needed. */
#include <stdlib.h>
#include <string.h>

#include "load.h"
#include "root_list.h"

#define AT(type, member) \
    .offset = offsetof(struct type, member), .size = sizeof(((struct type *)0)->member)
#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static const struct field root_fields[] = {
    {"name", load_text, AT(kek_config_root, name), 1, 32, true, .with = &provider_rule},
    {"keyring", load_text, AT(kek_config_root, keyring), 1, 63, .with = &keyring_rule},
    {"seals", load_choice, AT(kek_config_root, seals), .preset = "true", .with = &boolean_choice},
    {"needed", load_choice, AT(kek_config_root, needed), .preset = "true", .with = &boolean_choice},
    {"providers", load_texts, AT(kek_config_root, names), 1, 32, true, .with = &provider_rule},
};
static const struct schema root_schema = {root_fields, COUNT(root_fields), .check = NULL};
const struct list root_list = {&root_schema, sizeof(struct kek_config_root),
                               offsetof(struct kek_config, root_count)};

static const char *const modes[] = {"any", "all"};
const struct choice mode_choice = {modes, COUNT(modes)};

_Static_assert(KEK_CONFIG_ANY == 0 && KEK_CONFIG_ALL == 1, "modes[]");

/* "expected WHAT, found "FOUND"MORE". */
static enum kek_rc refuse(struct load *load, const struct kek_doc_node *roots, size_t root,
                          const char *key, const char *expected, const char *found,
                          const char *more)
{
    size_t mark = load_enter(load, "roots");
    load_enter_item(load, root);
    load_enter(load, key);
    const struct kek_doc_node *item = load_item(roots, root), *at = load_find(item, key);
    enum kek_rc rc = load_refuse(load, at == NULL ? item : at, "expected %s, found \"%s\"%s",
                                 expected, found, more);
    load_leave(load, mark);
    return rc;
}

static size_t provider_at(const struct kek_config *config, const char *name)
{
    size_t i = 0;
    while (i < config->provider_count && strcmp(config->providers[i].name, name) != 0) {
        i++;
    }
    return i;
}

/* The root's providers come to stand after those of the roots before it. */
static enum kek_rc take_providers(struct load *load, const struct kek_doc_node *roots,
                                  struct kek_config *config, size_t root, size_t *taken)
{
    struct kek_config_root *at = &config->roots[root];
    at->first_provider = *taken;
    for (char **name = at->names; name != NULL && *name != NULL; name++) {
        size_t found = provider_at(config, *name);
        if (found == config->provider_count) {
            return refuse(load, roots, root, "providers", "names of `providers`", *name, "");
        }
        if (found < *taken) {
            return refuse(load, roots, root, "providers", "each provider in one root", *name,
                          " again");
        }
        struct kek_config_provider moved = config->providers[found];
        memmove(&config->providers[*taken + 1], &config->providers[*taken],
                (found - *taken) * sizeof moved);
        config->providers[(*taken)++] = moved;
        at->provider_count++;
    }
    if (at->provider_count == 0) {
        return refuse(load, roots, root, "providers", "at least one provider", "", "");
    }
    return KEK_OK;
}

static enum kek_rc check_one(struct load *load, const struct kek_doc_node *roots,
                             struct kek_config *config, size_t root)
{
    struct kek_config_root *at = &config->roots[root];
    for (size_t i = 0; i < root; i++) {
        if (strcmp(config->roots[i].name, at->name) == 0) {
            return refuse(load, roots, root, "name", "each name once", at->name, " again");
        }
    }
    if (at->keyring == NULL) {
        at->keyring = strdup(config->keyring);
    }
    if (at->keyring == NULL) {
        return load_no_memory(load);
    }
    at->is_first = true;
    for (size_t i = 0; i < root; i++) {
        at->is_first = at->is_first && strcmp(config->roots[i].keyring, at->keyring) != 0;
    }
    return KEK_OK;
}

/* Every root's, for who has one root alone. */
static enum kek_rc list_keyrings(struct load *load, struct kek_config *config)
{
    config->keyrings = calloc(config->root_count + 1, sizeof *config->keyrings);
    if (config->keyrings == NULL) {
        return load_no_memory(load);
    }
    for (size_t i = 0; i < config->root_count; i++) {
        config->keyrings[i] = strdup(config->roots[i].keyring);
        if (config->keyrings[i] == NULL) {
            return load_no_memory(load);
        }
    }
    return KEK_OK;
}

static enum kek_rc make_view(struct load *load, struct kek_config *config,
                             struct kek_config_root *root)
{
    root->view = malloc(sizeof *root->view);
    if (root->view == NULL) {
        return load_no_memory(load);
    }
    *root->view = *config;
    root->view->root = root->name;
    root->view->state_name = config->keyring;
    root->view->root_is_first = root->is_first;
    root->view->keyring = root->keyring;
    root->view->providers = &config->providers[root->first_provider];
    root->view->provider_count = root->provider_count;
    root->view->roots = NULL;
    root->view->root_count = 0;
    return KEK_OK;
}

static enum kek_rc refuse_key(struct load *load, const char *key, const struct kek_doc_node *at,
                              const char *what, const char *more)
{
    size_t mark = load_enter(load, key);
    enum kek_rc rc = load_refuse(load, at, "%s%s", what, more);
    load_leave(load, mark);
    return rc;
}

/* Who takes part in sealing, and whom no envelope of mode `all` may lack. */
static enum kek_rc check_sealing(struct load *load, const struct kek_doc_node *roots,
                                 const struct kek_config *config)
{
    bool any_only = config->mode == KEK_CONFIG_ANY && config->mode_accept == KEK_CONFIG_ANY;
    bool seals = false;
    size_t needed = 0;
    for (size_t i = 0; i < config->root_count; i++) {
        const struct kek_config_root *root = &config->roots[i];
        seals = seals || root->seals;
        needed += root->seals && root->needed ? 1 : 0;
        if (any_only && !root->needed) {
            return refuse(load, roots, i, "needed", "`mode` or `mode_accept` all beside it",
                          "false", ": in mode any no root is needed");
        }
    }
    if (!seals) {
        return refuse_key(load, "roots", roots, "expected a root that seals, ", "found none");
    }
    if (config->mode == KEK_CONFIG_ALL && needed < 2) {
        return refuse_key(load, "roots", roots,
                          "expected with mode all two or more roots that seal and are needed: ",
                          needed == 1 ? "found one, whose HSM alone would open everything"
                                      : "found none");
    }
    return KEK_OK;
}

enum kek_rc roots_check(struct load *load, const struct kek_doc_node *node,
                        struct kek_config *config)
{
    const struct kek_doc_node *roots = load_find(node, "roots"), *mode = load_find(node, "mode"),
                              *accept = load_find(node, "mode_accept");
    size_t taken = 0;
    if (config->root_count < 2 && accept != NULL) {
        return refuse_key(load, "mode_accept", accept, "expected several `roots` beside it: ",
                          "with one root of trust there is one mode");
    }
    if (config->root_count == 0) {
        return mode == NULL ? KEK_OK
                            : refuse_key(load, "mode", mode, "expected `roots` beside it: ",
                                         "with one root of trust there is nothing to choose");
    }
    for (size_t i = 0; i < config->root_count; i++) {
        enum kek_rc rc = check_one(load, roots, config, i);
        if (rc == KEK_OK) {
            rc = take_providers(load, roots, config, i, &taken);
        }
        if (rc != KEK_OK) {
            return rc;
        }
    }
    if (taken < config->provider_count) {
        return refuse_key(load, "roots", roots,
                          "expected each provider in one root, found one in none: ",
                          config->providers[taken].name);
    }
    if (config->root_count > 1 && mode == NULL) {
        return refuse_key(load, "roots", roots,
                          "expected `mode` beside it: any (each root opens alone) or ",
                          "all (every one is needed)");
    }
    if (config->root_count == 1 && config->mode == KEK_CONFIG_ALL) {
        return refuse_key(load, "mode", mode, "expected several `roots`, or no mode: ",
                          "with one root of trust nothing is shared out");
    }
    if (accept == NULL) {
        config->mode_accept = config->mode;
    }
    if (accept != NULL && config->mode_accept == config->mode) {
        return refuse_key(load, "mode_accept", accept, "expected the other mode than `mode`, ",
                          "which opens anyhow");
    }
    enum kek_rc checked = check_sealing(load, roots, config);
    if (checked == KEK_OK) {
        checked = list_keyrings(load, config);
    }
    if (checked != KEK_OK) {
        return checked;
    }
    for (size_t i = 0; i < config->root_count; i++) {
        enum kek_rc rc = make_view(load, config, &config->roots[i]);
        if (rc != KEK_OK) {
            return rc;
        }
    }
    return KEK_OK;
}

void roots_free(struct kek_config *config)
{
    for (size_t i = 0; i < config->root_count; i++) {
        struct kek_config_root *root = &config->roots[i];
        for (size_t n = 0; root->names != NULL && root->names[n] != NULL; n++) {
            free(root->names[n]);
        }
        free(root->names);
        free(root->name);
        free(root->keyring);
        free(root->view);
    }
    free(config->roots);
}
