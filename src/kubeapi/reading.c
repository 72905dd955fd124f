#include "kubeconfig.h"

#include <stdio.h>
#include <string.h>

#define NAME_SHOWN 80

enum kek_rc reading_refuse(const struct reading *reading, const yaml_node_t *node,
                           const char *format, ...)
{
    char text[KEK_WHY_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return kek_fail(reading->why, KEK_INVALID, "%s:%zu: %s", reading->file,
                    node == NULL ? (size_t)1 : node->start_mark.line + 1, text);
}

static bool is_key(const yaml_node_t *node, const char *key)
{
    return node != NULL && node->type == YAML_SCALAR_NODE &&
           node->data.scalar.length == strlen(key) &&
           memcmp(node->data.scalar.value, key, node->data.scalar.length) == 0;
}

static bool is_null(const yaml_node_t *node)
{
    return node->type == YAML_SCALAR_NODE && node->data.scalar.style == YAML_PLAIN_SCALAR_STYLE &&
           (node->data.scalar.length == 0 || is_key(node, "~") || is_key(node, "null"));
}

enum kek_rc reading_member(const struct reading *reading, yaml_node_t *mapping, const char *key,
                           yaml_node_t **found)
{
    *found = NULL;
    if (mapping == NULL || is_null(mapping)) {
        return KEK_OK;
    }
    if (mapping->type != YAML_MAPPING_NODE) {
        return reading_refuse(reading, mapping, "expected a mapping that may have %s", key);
    }
    for (yaml_node_pair_t *pair = mapping->data.mapping.pairs.start;
         pair < mapping->data.mapping.pairs.top; pair++) {
        if (!is_key(yaml_document_get_node(reading->doc, pair->key), key)) {
            continue;
        }
        yaml_node_t *value = yaml_document_get_node(reading->doc, pair->value);
        if (*found != NULL) {
            return reading_refuse(reading, value, "%s is here twice", key);
        }
        *found = value;
    }
    if (*found != NULL && is_null(*found)) {
        *found = NULL;
    }
    return KEK_OK;
}

enum kek_rc reading_text(const struct reading *reading, yaml_node_t *mapping, const char *key,
                         const char **text)
{
    yaml_node_t *node;
    *text = NULL;
    enum kek_rc rc = reading_member(reading, mapping, key, &node);
    if (rc != KEK_OK || node == NULL) {
        return rc;
    }
    if (node->type != YAML_SCALAR_NODE) {
        return reading_refuse(reading, node, "%s: expected a text", key);
    }
    const char *value = (const char *)node->data.scalar.value;
    if (strlen(value) != node->data.scalar.length) {
        return reading_refuse(reading, node, "%s: a text with a NUL character in it", key);
    }
    *text = value[0] == '\0' ? NULL : value;
    return KEK_OK;
}

static enum kek_rc match(const struct reading *reading, yaml_node_t *item, const char *key,
                         const char *name, const char *of, yaml_node_t **found)
{
    const char *own;
    yaml_node_t *value;
    enum kek_rc rc = reading_text(reading, item, "name", &own);
    if (rc != KEK_OK || own == NULL || strcmp(own, name) != 0) {
        return rc;
    }
    if (*found != NULL) {
        return reading_refuse(reading, item, "%s: two are called \"%.*s\": rename one", key,
                              NAME_SHOWN, name);
    }
    rc = reading_member(reading, item, of, &value);
    if (rc == KEK_OK && value == NULL) {
        return reading_refuse(reading, item, "%s: \"%.*s\" has no %s", key, NAME_SHOWN, name, of);
    }
    *found = value;
    return rc;
}

enum kek_rc reading_named(const struct reading *reading, const char *key, const char *name,
                          const char *of, yaml_node_t **found)
{
    yaml_node_t *list, *root = yaml_document_get_root_node(reading->doc);
    *found = NULL;
    enum kek_rc rc = reading_member(reading, root, key, &list);
    if (rc == KEK_OK && list != NULL && list->type != YAML_SEQUENCE_NODE) {
        return reading_refuse(reading, list, "%s: expected a list", key);
    }
    yaml_node_item_t *item = list == NULL ? NULL : list->data.sequence.items.start;
    for (; rc == KEK_OK && item != NULL && item < list->data.sequence.items.top; item++) {
        rc = match(reading, yaml_document_get_node(reading->doc, *item), key, name, of, found);
    }
    if (rc == KEK_OK && *found == NULL) {
        return reading_refuse(reading, list, "%s: none is called \"%.*s\"", key, NAME_SHOWN, name);
    }
    return rc;
}
