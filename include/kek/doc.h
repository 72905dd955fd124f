/*
 * A YAML document as a tree that remembers where everything stood.
 *
 * Only the part of YAML that configurations need: one document of mappings with scalar keys, lists
 * and scalars.  Anchors, aliases, tags and further documents are refused, as is anything that is not
 * UTF-8.  Limits: DOC_BYTES_MAX bytes, DOC_DEPTH_MAX levels, DOC_NODES_MAX nodes.  Every
 * failure says "file:line:column: ..."; lines and columns count from 1, columns in characters.
 */
#ifndef KEK_DOC_H
#define KEK_DOC_H

#include "kek/bytes.h"

#define DOC_BYTES_MAX (256 * 1024)
#define DOC_DEPTH_MAX 8
#define DOC_NODES_MAX 4096

enum doc_kind { DOC_SCALAR, DOC_LIST, DOC_MAPPING };

struct doc_node {
    enum doc_kind kind;
    size_t line, column;
    char *text;               /* a scalar's, NUL-terminated and without another NUL */
    bool plain;               /* a scalar without quotes */
    struct doc_node *key;     /* in a mapping: the scalar before the colon */
    struct doc_node *members; /* of a list or a mapping, in the order of the file */
    struct doc_node *next;    /* the next member of the list or mapping that this one is in */
};

/* NULL on failure. `name` stands for the file in messages. */
struct doc_node *doc_node_parse(struct kek_bytes yaml, const char *name, struct kek_why *why);
/* With its key, its members and what follows it; texts are wiped. */
void doc_node_free(struct doc_node *node);
KEK_DEFINE_AUTO(doc_node);

/* A plain scalar that YAML reads as no value: empty, "~" or "null". */
bool doc_node_is_null(const struct doc_node *node);

size_t doc_node_count(const struct doc_node *node); /* members */

/* Text for a message: at most 40 characters, then "..."; what is not printable ASCII as \xNN. */
#define DOC_SHOWN_MAX (4 * 40 + 4)
void doc_show(const char *text, char shown[static DOC_SHOWN_MAX]);

#endif
