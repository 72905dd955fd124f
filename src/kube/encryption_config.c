/* From YAML to the struct: strictly, and with the place of whatever is wrong. */
#include "kek/encryption_config.h"

#include <string.h>

#include "encryption_read.h"
#include "encryption_rules.h"

/* Rules, and what they must be to each other. */

/* A v2 name is one provider's; of v1 two may have one, as the API server takes it without automatic reload. */
static enum kek_rc check_name(struct encryption_reader *reader,
                              const struct kek_encryption_config *config,
                              const struct kek_encryption_provider *provider,
                              const struct kek_doc_node *node)
{
    char shown[KEK_DOC_SHOWN_MAX];
    for (size_t i = 0; provider->name != NULL && i < config->rule_count; i++) {
        const struct kek_encryption_rule *rule = &config->rules[i];
        for (size_t j = 0; j < rule->provider_count; j++) {
            const struct kek_encryption_provider *other = rule->providers[j];
            bool v1 = provider->kind == KEK_KUBE_KMS_V1 && other->kind == KEK_KUBE_KMS_V1;
            if (other == provider || other->name == NULL || v1 ||
                strcmp(other->name, provider->name) != 0) {
                continue;
            }
            kek_doc_show(provider->name, shown);
            return encryption_refuse(
                reader, node,
                "the kms name \"%s\" is taken at %zu:%zu: each has one of its own, for "
                "one list of resources",
                shown, other->line, other->column);
        }
    }
    return KEK_OK;
}

static enum kek_rc check_resource(struct encryption_reader *reader,
                                  const struct kek_encryption_config *config,
                                  const struct kek_encryption_rule *rule, const char *resource,
                                  const struct kek_doc_node *node)
{
    const char *problem = encryption_resource_problem(resource);
    if (problem != NULL) {
        return encryption_refuse(reader, node, "%s", problem);
    }
    for (size_t i = 0; i < rule->resource_count; i++) {
        if (rule->resources[i] != resource && encryption_overlap(rule->resources[i], resource)) {
            return encryption_refuse(reader, node, "overlaps with item %zu of the same list", i);
        }
    }
    for (size_t i = 0; i < config->rule_count && &config->rules[i] != rule; i++) {
        const struct kek_encryption_rule *before = &config->rules[i];
        for (size_t j = 0; j < before->resource_count; j++) {
            if (before->resources[j][0] == '*' &&
                encryption_covers(before->resources[j], resource)) {
                return encryption_refuse(reader, node, "is masked by resources[%zu] before it", i);
            }
        }
    }
    return KEK_OK;
}

static enum kek_rc take_resources(struct encryption_reader *reader, const struct kek_doc_node *list,
                                  const struct kek_encryption_config *config,
                                  struct kek_encryption_rule *rule)
{
    rule->resources = calloc(kek_doc_node_count(list), sizeof rule->resources[0]);
    if (rule->resources == NULL) {
        return encryption_no_memory(reader);
    }
    for (const struct kek_doc_node *item = list->members; item != NULL; item = item->next) {
        size_t mark = encryption_enter(reader, "[%zu]", rule->resource_count);
        char **resource = &rule->resources[rule->resource_count];
        enum kek_rc rc = encryption_take_text(reader, item, list, resource);
        if (rc != KEK_OK) {
            return rc;
        }
        rule->resource_count++;
        rc = check_resource(reader, config, rule, *resource, item);
        if (rc != KEK_OK) {
            return rc;
        }
        encryption_leave(reader, mark);
    }
    return KEK_OK;
}

static enum kek_rc take_providers(struct encryption_reader *reader, const struct kek_doc_node *list,
                                  const struct kek_encryption_config *config,
                                  struct kek_encryption_rule *rule)
{
    rule->providers = calloc(kek_doc_node_count(list), sizeof(struct kek_encryption_provider *));
    if (rule->providers == NULL) {
        return encryption_no_memory(reader);
    }
    for (const struct kek_doc_node *item = list->members; item != NULL; item = item->next) {
        size_t mark = encryption_enter(reader, "[%zu]", rule->provider_count);
        struct kek_encryption_provider *provider = calloc(1, sizeof *provider);
        if (provider == NULL) {
            return encryption_no_memory(reader);
        }
        rule->providers[rule->provider_count++] = provider;
        enum kek_rc rc = encryption_take_provider(reader, item, provider);
        if (rc == KEK_OK) {
            rc = check_name(reader, config, provider, item);
        }
        if (rc != KEK_OK) {
            return rc;
        }
        encryption_leave(reader, mark);
    }
    return KEK_OK;
}

static enum kek_rc take_rule(struct encryption_reader *reader, const struct kek_doc_node *node,
                             const struct kek_encryption_config *config,
                             struct kek_encryption_rule *rule)
{
    static const char *const names[] = {"resources", "providers", NULL};
    const struct kek_doc_node *values[ENCRYPTION_NAMES_MAX];
    rule->line = node->line;
    rule->column = node->column;
    enum kek_rc rc = encryption_take_mapping(reader, node, names, values);
    for (size_t i = 0; rc == KEK_OK && i < 2; i++) {
        size_t mark = encryption_enter(reader, ".%s", names[i]);
        rc = encryption_take_list(reader, values[i], node);
        if (rc == KEK_OK) {
            rc = i == 0 ? take_resources(reader, values[i], config, rule)
                        : take_providers(reader, values[i], config, rule);
        }
        encryption_leave(reader, mark);
    }
    return rc;
}

/* The file as a whole. */

static bool is_text(const struct kek_doc_node *node, const char *text)
{
    return node != NULL && node->kind == KEK_DOC_SCALAR && strcmp(node->text, text) == 0;
}

/* The second pair of names is an early one that the API server still takes. */
static enum kek_rc check_kind(struct encryption_reader *reader, const struct kek_doc_node *root,
                              const struct kek_doc_node *version, const struct kek_doc_node *kind)
{
    if ((is_text(version, "apiserver.config.k8s.io/v1") &&
         is_text(kind, "EncryptionConfiguration")) ||
        (is_text(version, "v1") && is_text(kind, "EncryptionConfig"))) {
        return KEK_OK;
    }
    char shown[KEK_DOC_SHOWN_MAX] = "";
    if (is_text(kind, "EncryptionConfiguration") && version != NULL &&
        version->kind == KEK_DOC_SCALAR) {
        kek_doc_show(version->text, shown);
        return encryption_refuse(reader, version,
                                 "expected apiVersion apiserver.config.k8s.io/v1, found %s", shown);
    }
    bool named = kind != NULL && kind->kind == KEK_DOC_SCALAR;
    if (named) {
        kek_doc_show(kind->text, shown);
    }
    return encryption_refuse(
        reader, kind != NULL ? kind : root,
        "expected kind EncryptionConfiguration of apiVersion apiserver.config.k8s.io/v1%s%s",
        named ? ", found kind " : "", shown);
}

static const struct kek_doc_node *find_member(const struct kek_doc_node *root, const char *name)
{
    const struct kek_doc_node *member = root->kind == KEK_DOC_MAPPING ? root->members : NULL;
    while (member != NULL && strcmp(member->key->text, name) != 0) {
        member = member->next;
    }
    return member;
}

/* Another file altogether is told by what it is, and not by the first of its fields that stands in none of these. */
static enum kek_rc check_other_file(struct encryption_reader *reader,
                                    const struct kek_doc_node *root)
{
    const struct kek_doc_node *version = find_member(root, "apiVersion"),
                              *kind = find_member(root, "kind");
    bool is_of_kind = is_text(kind, "EncryptionConfiguration") || is_text(kind, "EncryptionConfig");
    bool says_nothing = root->kind == KEK_DOC_MAPPING && version == NULL && kind == NULL;
    return (kind != NULL && !is_of_kind) || says_nothing ? check_kind(reader, root, version, kind)
                                                         : KEK_OK;
}

static enum kek_rc take_config(struct encryption_reader *reader, const struct kek_doc_node *root,
                               struct kek_encryption_config *config)
{
    static const char *const names[] = {"apiVersion", "kind", "resources", NULL};
    const struct kek_doc_node *values[ENCRYPTION_NAMES_MAX];
    enum kek_rc rc = check_other_file(reader, root);
    if (rc == KEK_OK) {
        rc = encryption_take_mapping(reader, root, names, values);
    }
    if (rc == KEK_OK) {
        rc = check_kind(reader, root, values[0], values[1]);
    }
    if (rc != KEK_OK) {
        return rc;
    }
    encryption_enter(reader, "resources");
    rc = encryption_take_list(reader, values[2], root);
    if (rc != KEK_OK) {
        return rc;
    }
    config->rules = calloc(kek_doc_node_count(values[2]), sizeof config->rules[0]);
    if (config->rules == NULL) {
        return encryption_no_memory(reader);
    }
    for (const struct kek_doc_node *item = values[2]->members; item != NULL; item = item->next) {
        size_t mark = encryption_enter(reader, "[%zu]", config->rule_count);
        rc = take_rule(reader, item, config, &config->rules[config->rule_count++]);
        if (rc != KEK_OK) {
            return rc;
        }
        encryption_leave(reader, mark);
    }
    return KEK_OK;
}

struct kek_encryption_config *kek_encryption_config_new(void)
{
    return calloc(1, sizeof(struct kek_encryption_config));
}

struct kek_encryption_config *kek_encryption_config_parse(struct kek_bytes yaml, const char *file,
                                                          struct kek_why *why)
{
    struct kek_why unheard;
    struct encryption_reader reader = {.file = file, .why = why == NULL ? &unheard : why};
    KEK_AUTO(kek_doc_node) root = kek_doc_node_parse(yaml, file, NULL, reader.why);
    if (root == NULL) {
        return NULL;
    }
    KEK_AUTO(kek_encryption_config) config = kek_encryption_config_new();
    if (config != NULL) {
        config->file = strdup(file);
    }
    if (config == NULL || config->file == NULL) {
        encryption_no_memory(&reader);
        return NULL;
    }
    return take_config(&reader, root, config) == KEK_OK ? KEK_STEAL(config) : NULL;
}

void kek_encryption_config_free(struct kek_encryption_config *config)
{
    if (config == NULL) {
        return;
    }
    for (size_t i = 0; i < config->rule_count; i++) {
        struct kek_encryption_rule *rule = &config->rules[i];
        for (size_t j = 0; j < rule->resource_count; j++) {
            free(rule->resources[j]);
        }
        for (size_t j = 0; j < rule->provider_count; j++) {
            encryption_provider_free(rule->providers[j]);
        }
        free(rule->resources);
        free(rule->providers);
    }
    free(config->rules);
    free(config->file);
    free(config);
}
