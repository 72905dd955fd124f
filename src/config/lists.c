/* Readers of values that are lists or free mappings. */
#include "load.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

static enum kek_rc expect_list(struct load *load, const struct kek_doc_node *node,
                               const struct field *field, const char *what, size_t *count)
{
    *count = kek_doc_node_count(node);
    if (node->kind != KEK_DOC_LIST) {
        return load_expected(load, node, "a list of %" PRIu64 " to %" PRIu64 " %s", field->min,
                             field->max, what);
    }
    if (*count < field->min || *count > field->max) {
        return load_refuse(load, node,
                           "expected a list of %" PRIu64 " to %" PRIu64 " %s, found one of %zu",
                           field->min, field->max, what, *count);
    }
    return KEK_OK;
}

enum kek_rc load_items(struct load *load, const struct kek_doc_node *node,
                       const struct field *field, void *object)
{
    const struct list *list = field->with;
    size_t count;
    enum kek_rc rc = expect_list(load, node, field, "mappings", &count);
    if (rc != KEK_OK || count == 0) {
        return rc;
    }
    char *items = calloc(count, list->item_size);
    if (items == NULL) {
        return load_no_memory(load);
    }
    /* In place before they are filled: whoever frees the object frees them. */
    memcpy((char *)object + field->offset, &items, sizeof items);
    memcpy((char *)object + list->count_offset, &count, sizeof count);
    const struct kek_doc_node *member = node->members;
    for (size_t i = 0; rc == KEK_OK && member != NULL; i++, member = member->next) {
        size_t mark = load_enter_item(load, i);
        rc = load_mapping(load, member, list->schema, items + i * list->item_size);
        load_leave(load, mark);
    }
    return rc;
}

/* NULL-terminated; an empty list leaves NULL. */
enum kek_rc load_texts(struct load *load, const struct kek_doc_node *node,
                       const struct field *field, void *object)
{
    size_t count;
    struct field whole = *field;
    whole.min = 0;
    whole.max = 16;
    enum kek_rc rc = expect_list(load, node, &whole, "strings", &count);
    if (rc != KEK_OK || count == 0) {
        return rc;
    }
    char **texts = calloc(count + 1, sizeof *texts);
    if (texts == NULL) {
        return load_no_memory(load);
    }
    memcpy((char *)object + field->offset, &texts, sizeof texts);
    const struct kek_doc_node *member = node->members;
    for (size_t i = 0; rc == KEK_OK && member != NULL; i++, member = member->next) {
        size_t mark = load_enter_item(load, i);
        rc = load_scalar_text(load, member, field, &texts[i]);
        load_leave(load, mark);
    }
    return rc;
}

enum kek_rc load_uids(struct load *load, const struct kek_doc_node *node, const struct field *field,
                      void *object)
{
    struct kek_config *config = object;
    size_t count;
    enum kek_rc rc = expect_list(load, node, field, "user ids", &count);
    if (rc != KEK_OK) {
        return rc;
    }
    config->allow_uids = calloc(count, sizeof *config->allow_uids);
    if (config->allow_uids == NULL) {
        return load_no_memory(load);
    }
    config->allow_uid_count = count;
    /* (uid_t)-1 is no user: the kernel's "unchanged". */
    const struct field uid = {.size = sizeof(uid_t), .max = UINT32_MAX - 1};
    const struct kek_doc_node *member = node->members;
    for (size_t i = 0; rc == KEK_OK && member != NULL; i++, member = member->next) {
        size_t mark = load_enter_item(load, i);
        rc = load_number(load, member, &uid, &config->allow_uids[i]);
        load_leave(load, mark);
    }
    return rc;
}

static bool is_variable_name(const char *name)
{
    static const char letters[] = "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_";
    return name[0] != '\0' && strchr(letters, name[0]) != NULL && strlen(name) <= 64 &&
           name[strspn(name, "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz_0123456789")] ==
               '\0';
}

/* An environment is no place for a secret: it is inherited and shown by /proc. LD_LIBRARY_PATH and its
 * kin are allowed: vendors need them, and whoever writes this file chooses the library anyway. */
static const char *why_no_variable(const char *name)
{
    static const char *const secrets[] = {"PIN", "PASSWORD", "PASSWD", "PASSPHRASE", "SECRET"};
    const char *last = strrchr(name, '_');
    last = last == NULL ? name : last + 1;
    for (size_t i = 0; i < sizeof secrets / sizeof secrets[0]; i++) {
        if (strcasecmp(last, secrets[i]) == 0) {
            return "expected no secret in an environment, a PIN comes from pin-source of the uri";
        }
    }
    if (strncmp(name, "LISTEN_", 7) == 0 || strncmp(name, "WATCHDOG_", 9) == 0 ||
        strcmp(name, "NOTIFY_SOCKET") == 0) {
        return "expected no variable of the service manager's protocol with kekd";
    }
    return NULL;
}

static enum kek_rc load_variable(struct load *load, const struct kek_doc_node *member, char **out)
{
    const char *name = member->key->text;
    if (!is_variable_name(name)) {
        return load_refuse(load, member->key, "expected a variable name of letters, digits and _");
    }
    const char *refusal = why_no_variable(name);
    if (refusal != NULL) {
        return load_refuse(load, member->key, "%s", refusal);
    }
    if (member->kind != KEK_DOC_SCALAR || kek_doc_node_is_null(member) ||
        strlen(member->text) > 4096) {
        return load_expected_hidden(load, member, "a string of at most 4096 bytes");
    }
    size_t size = strlen(name) + 1 + strlen(member->text) + 1;
    *out = malloc(size);
    if (*out == NULL) {
        return load_no_memory(load);
    }
    snprintf(*out, size, "%s=%s", name, member->text);
    return KEK_OK;
}

enum kek_rc load_environment(struct load *load, const struct kek_doc_node *node,
                             const struct field *field, void *object)
{
    size_t count = kek_doc_node_count(node);
    if (node->kind != KEK_DOC_MAPPING) {
        return load_expected(load, node, "a mapping of at most %" PRIu64 " names to strings",
                             field->max);
    }
    if (count > field->max) {
        return load_refuse(load, node,
                           "expected a mapping of at most %" PRIu64
                           " names to strings, found one of %zu",
                           field->max, count);
    }
    enum kek_rc rc = load_no_duplicates(load, node);
    if (rc != KEK_OK || count == 0) {
        return rc;
    }
    char **variables = calloc(count + 1, sizeof *variables);
    if (variables == NULL) {
        return load_no_memory(load);
    }
    memcpy((char *)object + field->offset, &variables, sizeof variables);
    const struct kek_doc_node *member = node->members;
    for (size_t i = 0; rc == KEK_OK && member != NULL; i++, member = member->next) {
        size_t mark = load_enter(load, member->key->text);
        rc = load_variable(load, member, &variables[i]);
        load_leave(load, mark);
    }
    return rc;
}

enum kek_rc load_setting_choice(struct load *load, const struct kek_doc_node *node,
                                const struct field *field, void *object)
{
    uint32_t which;
    struct field into = *field;
    into.offset = 0;
    into.size = sizeof which;
    enum kek_rc rc = load_choice(load, node, &into, &which);
    return rc == KEK_OK ? load_add_setting(load, object, field->name, node->text) : rc;
}

enum kek_rc load_setting_text(struct load *load, const struct kek_doc_node *node,
                              const struct field *field, void *object)
{
    KEK_AUTO_FREE char *text = NULL;
    enum kek_rc rc = load_scalar_text(load, node, field, &text);
    return rc == KEK_OK ? load_add_setting(load, object, field->name, text) : rc;
}

enum kek_rc load_add_setting(struct load *load, struct kek_config_provider *provider,
                             const char *key, const char *value)
{
    size_t count = provider->setting_count;
    struct kek_config_setting *settings =
        realloc(provider->settings, (count + 1) * sizeof *settings);
    if (settings == NULL) {
        return load_no_memory(load);
    }
    provider->settings = settings;
    settings[count] = (struct kek_config_setting){.key = strdup(key), .value = strdup(value)};
    provider->setting_count++; /* before it is looked at: whoever frees the provider frees it */
    return settings[count].key == NULL || settings[count].value == NULL ? load_no_memory(load)
                                                                        : KEK_OK;
}
