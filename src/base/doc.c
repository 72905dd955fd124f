#include "kek/doc.h"

#include <stdio.h>
#include <string.h>

#include <yaml.h>

/* A mapping or list that is still open. */
struct open_node {
    struct kek_doc_node *node;
    struct kek_doc_node **tail; /* where its next member goes */
    struct kek_doc_node *key;   /* read already, waiting for its value */
};

#define DEPTH_LIMIT 32

struct builder {
    yaml_parser_t parser;
    const char *name;
    struct kek_doc_limits limits;
    struct kek_doc_node *root;
    struct open_node open[DEPTH_LIMIT];
    size_t depth, nodes, documents;
    struct kek_why *why;
};

void kek_doc_node_free(struct kek_doc_node *node)
{
    while (node != NULL) {
        struct kek_doc_node *next = node->next;
        kek_doc_node_free(node->key);
        kek_doc_node_free(node->members);
        if (node->text != NULL) {
            kek_wipe(node->text, strlen(node->text));
        }
        free(node->text);
        free(node);
        node = next;
    }
}

bool kek_doc_node_is_null(const struct kek_doc_node *node)
{
    return node->kind == KEK_DOC_SCALAR && node->plain &&
           (node->text[0] == '\0' || strcmp(node->text, "~") == 0 ||
            strcasecmp(node->text, "null") == 0);
}

size_t kek_doc_node_count(const struct kek_doc_node *node)
{
    size_t count = 0;
    for (const struct kek_doc_node *member = node->members; member != NULL; member = member->next) {
        count++;
    }
    return count;
}

void kek_doc_show(const char *text, char shown[static KEK_DOC_SHOWN_MAX])
{
    char *out = shown;
    size_t i = 0;
    for (; text[i] != '\0' && i < 40; i++) {
        unsigned char c = (unsigned char)text[i];
        if (c >= 0x20 && c < 0x7f) {
            *out++ = (char)c;
        } else {
            out += snprintf(out, 5, "\\x%02x", c);
        }
    }
    memcpy(out, text[i] == '\0' ? "" : "...", text[i] == '\0' ? 1 : 4);
}

static enum kek_rc refuse(struct builder *b, yaml_mark_t mark, const char *what)
{
    return kek_fail(b->why, KEK_INVALID, "%s:%zu:%zu: %s", b->name, mark.line + 1, mark.column + 1,
                    what);
}

static enum kek_rc refuse_more(struct builder *b, yaml_mark_t mark, size_t max, const char *of)
{
    return kek_fail(b->why, KEK_INVALID, "%s:%zu:%zu: more than %zu %s", b->name, mark.line + 1,
                    mark.column + 1, max, of);
}

/* libyaml's reader knows only the offset of what it cannot decode. */
static yaml_mark_t mark_of_offset(struct kek_bytes yaml, size_t offset)
{
    yaml_mark_t mark = {.index = offset};
    for (size_t i = 0; i < offset && i < yaml.len; i++) {
        if (yaml.data[i] == '\n') {
            mark.line++;
            mark.column = 0;
        } else if ((yaml.data[i] & 0xc0) != 0x80) {
            mark.column++;
        }
    }
    return mark;
}

static enum kek_rc parser_failed(struct builder *b, struct kek_bytes yaml)
{
    const yaml_parser_t *parser = &b->parser;
    if (parser->error == YAML_MEMORY_ERROR) {
        return kek_fail(b->why, KEK_NO_MEMORY, "no memory to read %s", b->name);
    }
    yaml_mark_t mark = parser->problem_mark;
    const char *kind = "not YAML";
    if (parser->error == YAML_READER_ERROR) {
        mark = mark_of_offset(yaml, parser->problem_offset);
        kind = "not UTF-8 text";
    }
    char what[160];
    snprintf(what, sizeof what, "%s: %s", kind,
             parser->problem == NULL ? "cannot be read" : parser->problem);
    return refuse(b, mark, what);
}

static struct kek_doc_node *node_new(struct builder *b, enum kek_doc_kind kind, yaml_mark_t mark)
{
    if (b->nodes == b->limits.nodes) {
        refuse_more(b, mark, b->limits.nodes, "keys and values");
        return NULL;
    }
    struct kek_doc_node *node = calloc(1, sizeof *node);
    if (node == NULL) {
        kek_fail(b->why, KEK_NO_MEMORY, "no memory to read %s", b->name);
        return NULL;
    }
    b->nodes++;
    node->kind = kind;
    node->line = mark.line + 1;
    node->column = mark.column + 1;
    return node;
}

/* Takes the node and puts it where the document has come to. */
static enum kek_rc place(struct builder *b, struct kek_doc_node *node, yaml_mark_t mark)
{
    if (b->depth == 0) {
        b->root = node;
        return KEK_OK;
    }
    struct open_node *top = &b->open[b->depth - 1];
    if (top->node->kind == KEK_DOC_MAPPING && top->key == NULL) {
        if (node->kind != KEK_DOC_SCALAR || kek_doc_node_is_null(node)) {
            kek_doc_node_free(node);
            return refuse(b, mark, "expected a key, found something else");
        }
        top->key = node;
        return KEK_OK;
    }
    node->key = KEK_STEAL(top->key);
    *top->tail = node;
    top->tail = &node->next;
    return KEK_OK;
}

static enum kek_rc add_scalar(struct builder *b, const yaml_event_t *event)
{
    const char *text = (const char *)event->data.scalar.value;
    if (strlen(text) != event->data.scalar.length) {
        return refuse(b, event->start_mark, "a text with a NUL character in it");
    }
    KEK_AUTO(kek_doc_node) node = node_new(b, KEK_DOC_SCALAR, event->start_mark);
    if (node == NULL) {
        return b->why->rc;
    }
    node->plain = event->data.scalar.style == YAML_PLAIN_SCALAR_STYLE;
    node->text = strdup(text);
    if (node->text == NULL) {
        return kek_fail(b->why, KEK_NO_MEMORY, "no memory to read %s", b->name);
    }
    return place(b, KEK_STEAL(node), event->start_mark);
}

static enum kek_rc add_open(struct builder *b, enum kek_doc_kind kind, yaml_mark_t mark)
{
    if (b->depth == b->limits.depth) {
        return refuse_more(b, mark, b->limits.depth, "levels of lists and mappings");
    }
    struct kek_doc_node *node = node_new(b, kind, mark);
    if (node == NULL) {
        return b->why->rc;
    }
    enum kek_rc rc = place(b, node, mark);
    if (rc != KEK_OK) {
        return rc;
    }
    struct open_node *top = &b->open[b->depth];
    *top = (struct open_node){.node = node, .tail = &node->members};
    /* A mapping in the place of a key was refused above, so `node` is in the tree now. */
    b->depth++;
    return KEK_OK;
}

static enum kek_rc refuse_extras(struct builder *b, const yaml_event_t *event,
                                 const yaml_char_t *anchor, const yaml_char_t *tag)
{
    if (anchor != NULL) {
        return refuse(b, event->start_mark, "anchors (&) are not accepted");
    }
    if (tag != NULL) {
        return refuse(b, event->start_mark, "tags (!) are not accepted");
    }
    return KEK_OK;
}

static enum kek_rc take_document(struct builder *b, const yaml_event_t *event)
{
    if (b->documents++ > 0) {
        return refuse(b, event->start_mark, "expected one document, found a second one");
    }
    if (event->data.document_start.tag_directives.start !=
        event->data.document_start.tag_directives.end) {
        return refuse(b, event->start_mark, "tags (!) are not accepted");
    }
    return KEK_OK;
}

static enum kek_rc take_event(struct builder *b, const yaml_event_t *event)
{
    enum kek_rc rc;
    switch (event->type) {
    case YAML_DOCUMENT_START_EVENT:
        return take_document(b, event);
    case YAML_ALIAS_EVENT:
        return refuse(b, event->start_mark, "aliases (*) are not accepted");
    case YAML_SCALAR_EVENT:
        rc = refuse_extras(b, event, event->data.scalar.anchor, event->data.scalar.tag);
        return rc == KEK_OK ? add_scalar(b, event) : rc;
    case YAML_SEQUENCE_START_EVENT:
        rc = refuse_extras(b, event, event->data.sequence_start.anchor,
                           event->data.sequence_start.tag);
        return rc == KEK_OK ? add_open(b, KEK_DOC_LIST, event->start_mark) : rc;
    case YAML_MAPPING_START_EVENT:
        rc = refuse_extras(b, event, event->data.mapping_start.anchor,
                           event->data.mapping_start.tag);
        return rc == KEK_OK ? add_open(b, KEK_DOC_MAPPING, event->start_mark) : rc;
    case YAML_SEQUENCE_END_EVENT:
    case YAML_MAPPING_END_EVENT:
        b->depth--;
        return KEK_OK;
    case YAML_NO_EVENT:
    case YAML_STREAM_START_EVENT:
    case YAML_STREAM_END_EVENT:
    case YAML_DOCUMENT_END_EVENT:
        break;
    }
    return KEK_OK;
}

/* libyaml frees without wiping. */
static void wipe_event(yaml_event_t *event)
{
    if (event->type == YAML_SCALAR_EVENT) {
        kek_wipe(event->data.scalar.value, event->data.scalar.length);
    }
    yaml_event_delete(event);
}

static void wipe_parser(yaml_parser_t *parser)
{
    kek_wipe(parser->raw_buffer.start, (size_t)(parser->raw_buffer.end - parser->raw_buffer.start));
    kek_wipe(parser->buffer.start, (size_t)(parser->buffer.end - parser->buffer.start));
    yaml_parser_delete(parser);
}

static enum kek_rc build(struct builder *b, struct kek_bytes yaml)
{
    for (;;) {
        yaml_event_t event;
        if (!yaml_parser_parse(&b->parser, &event)) {
            return parser_failed(b, yaml);
        }
        bool last = event.type == YAML_STREAM_END_EVENT;
        enum kek_rc rc = take_event(b, &event);
        wipe_event(&event);
        if (rc != KEK_OK) {
            return rc;
        }
        if (last) {
            break;
        }
    }
    if (b->root == NULL) {
        return refuse(b, (yaml_mark_t){0}, "expected a mapping, found nothing");
    }
    return KEK_OK;
}

struct kek_doc_node *kek_doc_node_parse(struct kek_bytes yaml, const char *name,
                                        const struct kek_doc_limits *limits, struct kek_why *why)
{
    static const struct kek_doc_limits preset = {
        .bytes = KEK_DOC_BYTES_MAX, .depth = KEK_DOC_DEPTH_MAX, .nodes = KEK_DOC_NODES_MAX};
    struct kek_why unheard;
    struct builder b = {.name = name,
                        .limits = limits == NULL ? preset : *limits,
                        .why = why == NULL ? &unheard : why};
    if (yaml.len > b.limits.bytes) {
        kek_fail(b.why, KEK_TOO_LARGE, "%s: larger than %zu bytes", name, b.limits.bytes);
        return NULL;
    }
    if (!yaml_parser_initialize(&b.parser)) {
        kek_fail(b.why, KEK_NO_MEMORY, "no memory to read %s", name);
        return NULL;
    }
    /* libyaml would count a byte order mark as a column. */
    if (yaml.len >= 3 && memcmp(yaml.data, "\xef\xbb\xbf", 3) == 0) {
        yaml = kek_bytes(yaml.data + 3, yaml.len - 3);
    }
    yaml_parser_set_encoding(&b.parser, YAML_UTF8_ENCODING);
    yaml_parser_set_input_string(&b.parser, yaml.len == 0 ? (const uint8_t *)"" : yaml.data,
                                 yaml.len);
    enum kek_rc rc = build(&b, yaml);
    wipe_parser(&b.parser);
    if (rc == KEK_OK) {
        return b.root;
    }
    /* Keys that never got their value hang on the open mappings alone. */
    for (size_t i = 0; i < b.depth; i++) {
        kek_doc_node_free(b.open[i].key);
    }
    kek_doc_node_free(b.root);
    return NULL;
}
