/*
 * A YAML document as a tree that remembers where everything stood.
 *
 * Only the part of YAML that configurations need: one document of mappings with scalar keys, lists
 * and scalars.  Anchors, aliases, tags and further documents are refused, as is anything that is not
 * UTF-8.  Every failure says "file:line:column: ..."; lines and columns count from 1, columns in
 * characters.  A document may hold keys: what libyaml is known to keep of it is wiped.
 */
#ifndef KEK_DOC_H
#define KEK_DOC_H

#include "kek/bytes.h"

#define KEK_DOC_BYTES_MAX (256 * 1024)
#define KEK_DOC_DEPTH_MAX 8
#define KEK_DOC_NODES_MAX 4096

struct kek_doc_limits {
    size_t bytes;
    size_t depth; /* levels of lists and mappings, at most 32 */
    size_t nodes; /* keys and values */
};

enum kek_doc_kind { KEK_DOC_SCALAR, KEK_DOC_LIST, KEK_DOC_MAPPING };

struct kek_doc_node {
    enum kek_doc_kind kind;
    size_t line, column;
    char *text;                   /* a scalar's, NUL-terminated and without another NUL */
    bool plain;                   /* a scalar without quotes */
    struct kek_doc_node *key;     /* in a mapping: the scalar before the colon */
    struct kek_doc_node *members; /* of a list or a mapping, in the order of the file */
    struct kek_doc_node *next;    /* the next member of the list or mapping that this one is in */
};

/* NULL on failure. `name` stands for the file in messages. Limits of NULL are the three above. */
struct kek_doc_node *kek_doc_node_parse(struct kek_bytes yaml, const char *name,
                                        const struct kek_doc_limits *limits, struct kek_why *why);
/* With its key, its members and what follows it; texts are wiped. */
void kek_doc_node_free(struct kek_doc_node *node);
KEK_DEFINE_AUTO(kek_doc_node);

/* A plain scalar that YAML reads as no value: empty, "~" or "null". */
bool kek_doc_node_is_null(const struct kek_doc_node *node);

size_t kek_doc_node_count(const struct kek_doc_node *node); /* members */

/* Text for a message: at most 40 characters, then "..."; what is not printable ASCII as \xNN. */
#define KEK_DOC_SHOWN_MAX (4 * 40 + 4)
void kek_doc_show(const char *text, char shown[static KEK_DOC_SHOWN_MAX]);

#endif
