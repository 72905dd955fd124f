#include "encryption_read.h"

#include <stdio.h>
#include <string.h>

#include "encryption_rules.h"
#include "kek/text.h"

enum kek_rc encryption_refuse(struct encryption_reader *reader, const struct kek_doc_node *node,
                              const char *format, ...)
{
    char text[KEK_WHY_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return kek_fail(reader->why, KEK_INVALID, "%s:%zu:%zu: %s%s%s", reader->file, node->line,
                    node->column, reader->path, reader->path[0] == '\0' ? "" : ": ", text);
}

enum kek_rc encryption_no_memory(struct encryption_reader *reader)
{
    return kek_fail(reader->why, KEK_NO_MEMORY, "no memory to read %s", reader->file);
}

size_t encryption_enter(struct encryption_reader *reader, const char *format, ...)
{
    size_t mark = strlen(reader->path);
    va_list args;
    va_start(args, format);
    vsnprintf(reader->path + mark, sizeof reader->path - mark, format, args);
    va_end(args);
    return mark;
}

void encryption_leave(struct encryption_reader *reader, size_t mark)
{
    reader->path[mark] = '\0';
}

/* The one of the names that a key is written wrongly for; NULL: none. */
static const char *meant(const char *key, const char *const *names)
{
    const char *best = NULL;
    size_t least = SIZE_MAX;
    for (size_t i = 0; names[i] != NULL; i++) {
        size_t slip = kek_text_slip(key, names[i]);
        if (slip < least) {
            least = slip;
            best = names[i];
        }
    }
    return best;
}

static enum kek_rc refuse_key(struct encryption_reader *reader, const struct kek_doc_node *key,
                              const char *const *names)
{
    char shown[KEK_DOC_SHOWN_MAX];
    const char *name = meant(key->text, names);
    kek_doc_show(key->text, shown);
    return encryption_refuse(reader, key, "unknown field \"%s\"%s%s%s", shown,
                             name == NULL ? "" : ": is it \"", name == NULL ? "" : name,
                             name == NULL ? "" : "\"?");
}

/* The values by the order of the names, which end with NULL; one that is not there or null is NULL. */
enum kek_rc encryption_take_mapping(struct encryption_reader *reader,
                                    const struct kek_doc_node *node, const char *const *names,
                                    const struct kek_doc_node *values[static ENCRYPTION_NAMES_MAX])
{
    const struct kek_doc_node *seen[ENCRYPTION_NAMES_MAX] = {NULL};
    memset(values, 0, ENCRYPTION_NAMES_MAX * sizeof values[0]);
    if (node->kind != KEK_DOC_MAPPING) {
        return encryption_refuse(reader, node, "expected a mapping");
    }
    for (const struct kek_doc_node *member = node->members; member != NULL; member = member->next) {
        size_t i = 0;
        while (names[i] != NULL && strcmp(names[i], member->key->text) != 0) {
            i++;
        }
        if (names[i] == NULL) {
            return refuse_key(reader, member->key, names);
        }
        if (seen[i] != NULL) {
            return encryption_refuse(reader, member->key,
                                     "\"%s\" stands here twice (first at %zu:%zu)", names[i],
                                     seen[i]->key->line, seen[i]->key->column);
        }
        seen[i] = member;
        values[i] = kek_doc_node_is_null(member) ? NULL : member;
    }
    return KEK_OK;
}

/* A list that is not empty. at: where it would have stood. */
enum kek_rc encryption_take_list(struct encryption_reader *reader, const struct kek_doc_node *node,
                                 const struct kek_doc_node *at)
{
    if (node == NULL || node->kind != KEK_DOC_LIST || node->members == NULL) {
        return encryption_refuse(reader, node == NULL ? at : node,
                                 "expected a list with at least one item");
    }
    return KEK_OK;
}

enum kek_rc encryption_take_text(struct encryption_reader *reader, const struct kek_doc_node *node,
                                 const struct kek_doc_node *at, char **text)
{
    if (node == NULL || node->kind != KEK_DOC_SCALAR || node->text[0] == '\0') {
        return encryption_refuse(reader, node == NULL ? at : node, "expected a text");
    }
    if (node->plain && !encryption_is_text(node->text)) {
        return encryption_refuse(reader, node,
                                 "expected a text: a number, yes or no must stand in quotes");
    }
    *text = strdup(node->text);
    return *text == NULL ? encryption_no_memory(reader) : KEK_OK;
}

/* A text for which the rule holds. */
enum kek_rc encryption_take_ruled(struct encryption_reader *reader, const struct kek_doc_node *node,
                                  const struct kek_doc_node *at, bool (*good)(const char *),
                                  const char *expected, char **text)
{
    char shown[KEK_DOC_SHOWN_MAX];
    enum kek_rc rc = encryption_take_text(reader, node, at, text);
    if (rc != KEK_OK || good(*text)) {
        return rc;
    }
    kek_doc_show(*text, shown);
    return encryption_refuse(reader, node, "expected %s, found \"%s\"", expected, shown);
}
