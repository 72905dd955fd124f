#include "kubeconfig.h"

#include <stdio.h>
#include <string.h>

#define NAME_SHOWN 80

enum kek_rc reading_refuse(const struct reading *reading, const struct kek_doc_node *node,
                           const char *format, ...)
{
    char text[KEK_WHY_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    node = node == NULL ? reading->root : node;
    return kek_fail(reading->why, KEK_INVALID, "%s:%zu:%zu: %s", reading->file, node->line,
                    node->column, text);
}

enum kek_rc reading_member(const struct reading *reading, const struct kek_doc_node *mapping,
                           const char *key, const struct kek_doc_node **found)
{
    const struct kek_doc_node *first = NULL;
    *found = NULL;
    if (mapping == NULL || kek_doc_node_is_null(mapping)) {
        return KEK_OK;
    }
    if (mapping->kind != KEK_DOC_MAPPING) {
        return reading_refuse(reading, mapping, "expected a mapping that may have %s", key);
    }
    for (const struct kek_doc_node *member = mapping->members; member != NULL;
         member = member->next) {
        if (strcmp(member->key->text, key) != 0) {
            continue;
        }
        if (first != NULL) {
            return reading_refuse(reading, member->key, "%s is here twice", key);
        }
        first = member;
    }
    *found = first == NULL || kek_doc_node_is_null(first) ? NULL : first;
    return KEK_OK;
}

enum kek_rc reading_scalar(const struct reading *reading, const struct kek_doc_node *mapping,
                           const char *key, const struct kek_doc_node **scalar)
{
    enum kek_rc rc = reading_member(reading, mapping, key, scalar);
    if (rc != KEK_OK || *scalar == NULL) {
        return rc;
    }
    if ((*scalar)->kind != KEK_DOC_SCALAR) {
        return reading_refuse(reading, *scalar, "%s: expected a text", key);
    }
    if ((*scalar)->text[0] == '\0') {
        *scalar = NULL;
    }
    return KEK_OK;
}

enum kek_rc reading_text(const struct reading *reading, const struct kek_doc_node *mapping,
                         const char *key, const char **text)
{
    const struct kek_doc_node *scalar;
    enum kek_rc rc = reading_scalar(reading, mapping, key, &scalar);
    *text = rc == KEK_OK && scalar != NULL ? scalar->text : NULL;
    return rc;
}

static enum kek_rc match(const struct reading *reading, const struct kek_doc_node *item,
                         const char *key, const char *name, const char *of,
                         const struct kek_doc_node **found)
{
    const char *own;
    const struct kek_doc_node *value;
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
                          const char *of, const struct kek_doc_node **found)
{
    const struct kek_doc_node *list;
    *found = NULL;
    enum kek_rc rc = reading_member(reading, reading->root, key, &list);
    if (rc == KEK_OK && list != NULL && list->kind != KEK_DOC_LIST) {
        return reading_refuse(reading, list, "%s: expected a list", key);
    }
    const struct kek_doc_node *item = list == NULL ? NULL : list->members;
    for (; rc == KEK_OK && item != NULL; item = item->next) {
        rc = match(reading, item, key, name, of, found);
    }
    if (rc == KEK_OK && *found == NULL) {
        return reading_refuse(reading, list, "%s: none is called \"%.*s\"", key, NAME_SHOWN, name);
    }
    return rc;
}
