#include "load.h"

#include <stdio.h>
#include <string.h>

#include "kek/text.h"

/* Messages. */

static enum kek_rc complain(struct load *load, const struct kek_doc_node *node, const char *text)
{
    return kek_fail(load->why, KEK_INVALID, "%s:%zu:%zu: %s%s%s", load->file, node->line,
                    node->column, load->path, load->path[0] == '\0' ? "" : ": ", text);
}

static void describe(const struct kek_doc_node *node, char *text, size_t size)
{
    char shown[KEK_DOC_SHOWN_MAX];
    if (node->kind == KEK_DOC_LIST) {
        snprintf(text, size, "a list");
    } else if (node->kind == KEK_DOC_MAPPING) {
        snprintf(text, size, "a mapping");
    } else if (kek_doc_node_is_null(node)) {
        snprintf(text, size, "nothing");
    } else {
        kek_doc_show(node->text, shown);
        snprintf(text, size, "\"%s\"", shown);
    }
}

enum kek_rc load_expected(struct load *load, const struct kek_doc_node *node, const char *format,
                          ...)
{
    char wanted[200], found[KEK_DOC_SHOWN_MAX + 2], text[sizeof wanted + sizeof found + 24];
    va_list args;
    va_start(args, format);
    vsnprintf(wanted, sizeof wanted, format, args);
    va_end(args);
    describe(node, found, sizeof found);
    snprintf(text, sizeof text, "expected %s, found %s", wanted, found);
    return complain(load, node, text);
}

enum kek_rc load_expected_hidden(struct load *load, const struct kek_doc_node *node,
                                 const char *format, ...)
{
    char wanted[200], text[sizeof wanted + 48];
    va_list args;
    va_start(args, format);
    vsnprintf(wanted, sizeof wanted, format, args);
    va_end(args);
    snprintf(text, sizeof text, "expected %s, found %s", wanted,
             node->kind == KEK_DOC_SCALAR ? "something else" : "a list or a mapping");
    return complain(load, node, text);
}

enum kek_rc load_refuse(struct load *load, const struct kek_doc_node *node, const char *format, ...)
{
    char text[KEK_WHY_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    return complain(load, node, text);
}

enum kek_rc load_no_memory(struct load *load)
{
    return kek_fail(load->why, KEK_NO_MEMORY, "no memory to read %s", load->file);
}

/* The path. */

size_t load_enter(struct load *load, const char *key)
{
    char shown[KEK_DOC_SHOWN_MAX];
    size_t mark = strlen(load->path);
    kek_doc_show(key, shown);
    snprintf(load->path + mark, sizeof load->path - mark, "%s%s", mark == 0 ? "" : ".", shown);
    return mark;
}

size_t load_enter_item(struct load *load, size_t index)
{
    size_t mark = strlen(load->path);
    snprintf(load->path + mark, sizeof load->path - mark, "[%zu]", index);
    return mark;
}

void load_leave(struct load *load, size_t mark)
{
    load->path[mark] = '\0';
}

/* Mappings. */

const struct kek_doc_node *load_find(const struct kek_doc_node *mapping, const char *name)
{
    const struct kek_doc_node *member = mapping == NULL ? NULL : mapping->members;
    while (member != NULL && strcmp(member->key->text, name) != 0) {
        member = member->next;
    }
    return member;
}

const struct kek_doc_node *load_item(const struct kek_doc_node *list, size_t index)
{
    const struct kek_doc_node *item = list->members;
    while (index > 0) {
        item = item->next;
        index--;
    }
    return item;
}

enum kek_rc load_no_duplicates(struct load *load, const struct kek_doc_node *mapping)
{
    for (const struct kek_doc_node *member = mapping->members; member != NULL;
         member = member->next) {
        const struct kek_doc_node *first = load_find(mapping, member->key->text);
        if (first != member) {
            size_t mark = load_enter(load, member->key->text);
            enum kek_rc rc =
                load_refuse(load, member->key, "expected once, found again (first at %zu:%zu)",
                            first->key->line, first->key->column);
            load_leave(load, mark);
            return rc;
        }
    }
    return KEK_OK;
}

/* The keys that a mapping may have: a schema's own, then those of its variant. */
struct keys {
    const struct schema *own, *more;
};

static struct keys keys_of(const struct schema *schema, const struct kek_doc_node *mapping)
{
    struct keys keys = {.own = schema};
    if (schema->variant_count == 0) {
        return keys;
    }
    /* Of a type that is missing or unknown, something is said in any case. */
    keys.more = schema->variants[0].schema;
    const struct kek_doc_node *type = load_find(mapping, "type");
    for (size_t i = 0; type != NULL && type->kind == KEK_DOC_SCALAR && i < schema->variant_count;
         i++) {
        if (strcmp(schema->variants[i].type, type->text) == 0) {
            keys.more = schema->variants[i].schema;
        }
    }
    return keys;
}

/* NULL past the last. */
static const struct field *key_at(const struct keys *keys, size_t i)
{
    if (i < keys->own->count) {
        return &keys->own->fields[i];
    }
    i -= keys->own->count;
    return keys->more != NULL && i < keys->more->count ? &keys->more->fields[i] : NULL;
}

static const char *nearest(const struct keys *keys, const char *name)
{
    const char *found = NULL;
    size_t best = SIZE_MAX;
    for (size_t i = 0; key_at(keys, i) != NULL; i++) {
        size_t slip = kek_text_slip(name, key_at(keys, i)->name);
        if (slip < best) {
            best = slip;
            found = key_at(keys, i)->name;
        }
    }
    return found;
}

static enum kek_rc unknown_key(struct load *load, const struct kek_doc_node *member,
                               const struct keys *keys)
{
    const char *meant = nearest(keys, member->key->text);
    if (meant != NULL) {
        return load_refuse(load, member->key, "expected a known key, did you mean \"%s\"?", meant);
    }
    char known[KEK_WHY_TEXT] = "";
    for (size_t i = 0, at = 0; key_at(keys, i) != NULL && at < sizeof known; i++) {
        at += (size_t)snprintf(known + at, sizeof known - at, "%s%s", i == 0 ? "" : ", ",
                               key_at(keys, i)->name);
    }
    return load_refuse(load, member->key, "expected one of %s", known);
}

static enum kek_rc read_member(struct load *load, const struct kek_doc_node *member,
                               const struct keys *keys, void *object, uint64_t *seen)
{
    size_t i = 0;
    while (key_at(keys, i) != NULL && strcmp(key_at(keys, i)->name, member->key->text) != 0) {
        i++;
    }
    size_t mark = load_enter(load, member->key->text);
    enum kek_rc rc = KEK_OK;
    const struct field *field = key_at(keys, i);
    if (field == NULL) {
        rc = unknown_key(load, member, keys);
    } else {
        rc = field->read(load, member, field, object);
        *seen |= UINT64_C(1) << i;
    }
    load_leave(load, mark);
    return rc;
}

/* A key that is not there. */
static enum kek_rc read_absent(struct load *load, const struct kek_doc_node *mapping,
                               const struct field *field, void *object)
{
    if (field->required && mapping != NULL) {
        size_t mark = load_enter(load, field->name);
        enum kek_rc rc = load_refuse(load, mapping, "expected this key, found it missing");
        load_leave(load, mark);
        return rc;
    }
    if (field->read == load_section) {
        return load_mapping(load, NULL, field->with, object);
    }
    if (field->preset == NULL) {
        return KEK_OK;
    }
    char text[32];
    snprintf(text, sizeof text, "%s", field->preset);
    struct kek_doc_node node = {.kind = KEK_DOC_SCALAR, .text = text, .plain = text[0] != '\0'};
    return field->read(load, &node, field, object);
}

enum kek_rc load_mapping(struct load *load, const struct kek_doc_node *node,
                         const struct schema *schema, void *object)
{
    const struct keys keys = keys_of(schema, node);
    uint64_t seen = 0;
    if (node != NULL) {
        if (node->kind != KEK_DOC_MAPPING) {
            return load_expected(load, node, "a mapping");
        }
        enum kek_rc rc = load_no_duplicates(load, node);
        const struct kek_doc_node *member = node->members;
        for (; rc == KEK_OK && member != NULL; member = member->next) {
            rc = read_member(load, member, &keys, object, &seen);
        }
        if (rc != KEK_OK) {
            return rc;
        }
    }
    for (size_t i = 0; key_at(&keys, i) != NULL; i++) {
        if ((seen >> i & 1) == 0) {
            enum kek_rc rc = read_absent(load, node, key_at(&keys, i), object);
            if (rc != KEK_OK) {
                return rc;
            }
        }
    }
    enum kek_rc rc = schema->check == NULL ? KEK_OK : schema->check(load, node, object);
    bool more = rc == KEK_OK && keys.more != NULL && keys.more->check != NULL;
    return more ? keys.more->check(load, node, object) : rc;
}

/* A mapping whose keys are members of the same object. */
enum kek_rc load_section(struct load *load, const struct kek_doc_node *node,
                         const struct field *field, void *object)
{
    return load_mapping(load, node, field->with, object);
}
