/* Which list is meant, and whether kekd's entry may stand in it. */
#include "encryption_list.h"

#include <string.h>

#include "encryption_read.h"
#include "encryption_rules.h"

enum kek_rc encryption_no_room(const struct encryption_advance *advance)
{
    return kek_fail(advance->why, KEK_NO_MEMORY, "no memory for the configuration");
}

const char *encryption_file(const struct encryption_advance *advance)
{
    return advance->config->file == NULL ? "the configuration" : advance->config->file;
}

bool encryption_copy_text(const char *text, char **copy)
{
    *copy = text == NULL ? NULL : strdup(text);
    return text == NULL || *copy != NULL;
}

enum kek_rc encryption_insert_provider(const struct encryption_advance *advance,
                                       struct kek_encryption_rule *rule, size_t at,
                                       struct kek_encryption_provider *provider)
{
    struct kek_encryption_provider **grown =
        reallocarray(rule->providers, rule->provider_count + 1, sizeof *grown);
    if (grown == NULL) {
        encryption_provider_free(provider);
        return encryption_no_room(advance);
    }
    rule->providers = grown;
    memmove(grown + at + 1, grown + at, (rule->provider_count - at) * sizeof *grown);
    grown[at] = provider;
    rule->provider_count++;
    return KEK_OK;
}

size_t encryption_find_resource(const struct kek_encryption_rule *rule, const char *resource)
{
    for (size_t i = 0; i < rule->resource_count; i++) {
        if (strcmp(rule->resources[i], resource) == 0) {
            return i;
        }
    }
    return ENCRYPTION_NONE;
}

/* Is this kms entry, of the target's name, kekd's? The name is for ever its first owner's: it stands in etcd. */
static enum kek_rc check_owner(const struct encryption_advance *advance,
                               const struct kek_encryption_provider *entry)
{
    const struct kek_encryption_target *target = advance->target;
    char shown[KEK_DOC_SHOWN_MAX];
    if (entry->kind == KEK_KUBE_KMS_V1) {
        return kek_fail(
            advance->why, KEK_INVALID,
            "%s:%zu:%zu: \"%s\" is the name of a KMS v1 entry here; kekd's v2 entry needs "
            "another one (--name %s-v2), for both are read until all is rewritten",
            encryption_file(advance), entry->line, entry->column, target->name, target->name);
    }
    if (strcmp(entry->endpoint, target->endpoint) != 0) {
        kek_doc_show(entry->endpoint, shown);
        return kek_fail(
            advance->why, KEK_INVALID,
            "%s:%zu:%zu: \"%s\" is the name of the plugin at %s, and its objects are known "
            "by it; kekd at %s needs another one (--name).  If they are one kekd that "
            "has moved, correct the endpoint there first",
            encryption_file(advance), entry->line, entry->column, target->name, shown,
            target->endpoint);
    }
    return KEK_OK;
}

static bool is_kekd(const struct encryption_advance *advance,
                    const struct kek_encryption_provider *provider)
{
    return provider->name != NULL && strcmp(provider->name, advance->target->name) == 0;
}

size_t encryption_find_kekd(const struct encryption_advance *advance,
                            const struct kek_encryption_rule *rule)
{
    for (size_t i = 0; i < rule->provider_count; i++) {
        if (is_kekd(advance, rule->providers[i])) {
            return i;
        }
    }
    return ENCRYPTION_NONE;
}

/* The rule that has it; ENCRYPTION_NONE: none. */
static enum kek_rc find_entry(const struct encryption_advance *advance, size_t *at)
{
    const struct kek_encryption_config *config = advance->config;
    *at = ENCRYPTION_NONE;
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct kek_encryption_rule *rule = &config->rules[i];
        for (size_t j = 0; j < rule->provider_count; j++) {
            if (is_kekd(advance, rule->providers[j])) {
                enum kek_rc rc = check_owner(advance, rule->providers[j]);
                if (rc != KEK_OK) {
                    return rc;
                }
                *at = i;
            }
        }
    }
    return KEK_OK;
}

enum kek_rc encryption_check_target(const struct encryption_advance *advance)
{
    const struct kek_encryption_target *target = advance->target;
    const char *name = target->name;
    if (name[0] == '\0' || strchr(name, ':') != NULL || strlen(name) > 253) {
        return kek_fail(advance->why, KEK_INVALID,
                        "--name: expected 1 to 253 characters without \":\"");
    }
    for (const char *at = name; *at != '\0'; at++) {
        if ((unsigned char)*at <= ' ' || (unsigned char)*at >= 0x7f) {
            return kek_fail(advance->why, KEK_INVALID,
                            "--name: expected printable ASCII without blanks");
        }
    }
    for (size_t i = 0; i < target->resource_count; i++) {
        const char *problem = encryption_resource_problem(target->resources[i]);
        if (problem != NULL) {
            return kek_fail(advance->why, KEK_INVALID, "--resource %.60s: %s", target->resources[i],
                            problem);
        }
        for (size_t j = 0; j < i; j++) {
            if (encryption_overlap(target->resources[i], target->resources[j])) {
                return kek_fail(advance->why, KEK_INVALID, "--resource %.60s overlaps with %.60s",
                                target->resources[i], target->resources[j]);
            }
        }
    }
    return KEK_OK;
}

/* The first list that names the resource; else the one with a wildcard that covers it. *named: which of both. */
static size_t governing(const struct kek_encryption_config *config, const char *resource,
                        bool *named)
{
    *named = true;
    for (size_t i = 0; i < config->rule_count; i++) {
        if (encryption_find_resource(&config->rules[i], resource) != ENCRYPTION_NONE) {
            return i;
        }
    }
    *named = false;
    for (size_t i = 0; i < config->rule_count; i++) {
        for (size_t j = 0; j < config->rules[i].resource_count; j++) {
            if (encryption_covers(config->rules[i].resources[j], resource)) {
                return i;
            }
        }
    }
    return ENCRYPTION_NONE;
}

/* An empty list of providers for the target's resources, or for secrets, before rule `at`. */
static enum kek_rc insert_rule(const struct encryption_advance *advance, size_t at)
{
    static const char *const secrets[] = {"secrets"};
    struct kek_encryption_config *config = advance->config;
    bool named = advance->target->resource_count > 0;
    const char *const *names = named ? advance->target->resources : secrets;
    size_t count = named ? advance->target->resource_count : 1;
    struct kek_encryption_rule *grown =
        reallocarray(config->rules, config->rule_count + 1, sizeof *grown);
    if (grown == NULL) {
        return encryption_no_room(advance);
    }
    config->rules = grown;
    memmove(grown + at + 1, grown + at, (config->rule_count - at) * sizeof *grown);
    grown[at] = (struct kek_encryption_rule){.resources = calloc(count, sizeof(char *))};
    config->rule_count++;
    if (grown[at].resources == NULL) {
        return encryption_no_room(advance);
    }
    for (size_t i = 0; i < count; i++) {
        if (!encryption_copy_text(names[i], &grown[at].resources[i])) {
            return encryption_no_room(advance);
        }
        grown[at].resource_count++;
    }
    return KEK_OK;
}

static enum kek_rc copy_provider(const struct encryption_advance *advance,
                                 struct kek_encryption_rule *to,
                                 const struct kek_encryption_provider *from)
{
    struct kek_encryption_provider *copy = calloc(1, sizeof *copy);
    if (copy == NULL) {
        return encryption_no_room(advance);
    }
    copy->kind = from->kind;
    copy->keys = from->key_count == 0 ? NULL : calloc(from->key_count, sizeof copy->keys[0]);
    bool good = from->key_count == 0 || copy->keys != NULL;
    for (size_t i = 0; good && i < from->key_count; i++) {
        copy->key_count++;
        good = encryption_copy_text(from->keys[i].name, &copy->keys[i].name) &&
               encryption_copy_text(from->keys[i].secret, &copy->keys[i].secret);
    }
    if (!good) {
        encryption_provider_free(copy);
        return encryption_no_room(advance);
    }
    return encryption_insert_provider(advance, to, to->provider_count, copy);
}

/* The target's resources get a list of their own, with the same providers, before the one that has them. */
static enum kek_rc split_rule(const struct encryption_advance *advance, size_t at)
{
    const struct kek_encryption_rule *whole = &advance->config->rules[at];
    for (size_t i = 0; i < whole->provider_count; i++) {
        if (whole->providers[i]->name != NULL) {
            return kek_fail(
                advance->why, KEK_INVALID,
                "%s:%zu:%zu: this list has more resources than those of --resource, and "
                "a kms entry, which cannot stand in two lists: name them all",
                encryption_file(advance), whole->line, whole->column);
        }
    }
    enum kek_rc rc = insert_rule(advance, at);
    if (rc != KEK_OK) {
        return rc;
    }
    struct kek_encryption_rule *own = &advance->config->rules[at], *rest = own + 1;
    for (size_t i = 0; rc == KEK_OK && i < rest->provider_count; i++) {
        rc = copy_provider(advance, own, rest->providers[i]);
    }
    for (size_t i = 0; i < own->resource_count; i++) {
        size_t found = encryption_find_resource(rest, own->resources[i]);
        if (found != ENCRYPTION_NONE) {
            free(rest->resources[found]);
            rest->resource_count--;
            memmove(rest->resources + found, rest->resources + found + 1,
                    (rest->resource_count - found) * sizeof(char *));
        }
    }
    return rc;
}

/* The API server strings lists together that name one resource: what writes it is then in another list. */
static enum kek_rc check_alone(const struct encryption_advance *advance, size_t at)
{
    const struct kek_encryption_config *config = advance->config;
    const struct kek_encryption_rule *rule = &config->rules[at];
    for (size_t i = 0; i < config->rule_count; i++) {
        for (size_t j = 0; i != at && j < rule->resource_count; j++) {
            if (encryption_find_resource(&config->rules[i], rule->resources[j]) !=
                ENCRYPTION_NONE) {
                return kek_fail(
                    advance->why, KEK_INVALID,
                    "%s: %s stands in the lists at %zu:%zu and %zu:%zu: make them one first",
                    encryption_file(advance), rule->resources[j], config->rules[i].line,
                    config->rules[i].column, rule->line, rule->column);
            }
        }
    }
    return KEK_OK;
}

/* Of named resources: all must be of one list, all of it or a part, or of none. */
static enum kek_rc find_named(const struct encryption_advance *advance, size_t *at)
{
    const struct kek_encryption_target *target = advance->target;
    size_t named_count = 0;
    for (size_t i = 0; i < target->resource_count; i++) {
        bool named;
        size_t rule = governing(advance->config, target->resources[i], &named);
        named_count += named ? 1 : 0;
        if (i > 0 && (rule != *at || named_count != (named ? i + 1 : 0))) {
            return kek_fail(
                advance->why, KEK_INVALID,
                "%s: %s and %s are not in one list there, and a kms name is for one list: "
                "do one list after the other, each with a --name of its own",
                encryption_file(advance), target->resources[0], target->resources[i]);
        }
        *at = rule;
    }
    if (*at == ENCRYPTION_NONE) {
        *at = advance->config->rule_count;
        return insert_rule(advance, *at);
    }
    enum kek_rc rc = check_alone(advance, *at);
    if (rc != KEK_OK || named_count == advance->config->rules[*at].resource_count) {
        return rc;
    }
    return split_rule(advance, *at);
}

enum kek_rc encryption_find_rule(const struct encryption_advance *advance, size_t *at)
{
    size_t entry;
    enum kek_rc rc = find_entry(advance, &entry);
    if (rc != KEK_OK) {
        return rc;
    }
    if (advance->target->resource_count > 0) {
        rc = find_named(advance, at);
        if (rc == KEK_OK && entry != ENCRYPTION_NONE && entry != *at) {
            return kek_fail(
                advance->why, KEK_INVALID,
                "%s: \"%s\" stands in the list of other resources, and a kms name is for "
                "one list: give this one another --name",
                encryption_file(advance), advance->target->name);
        }
        return rc;
    }
    bool named;
    *at = entry != ENCRYPTION_NONE ? entry : governing(advance->config, "secrets", &named);
    if (*at == ENCRYPTION_NONE) {
        *at = advance->config->rule_count;
        return insert_rule(advance, *at);
    }
    return check_alone(advance, *at);
}
