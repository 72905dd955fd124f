/*
 * What the files of the room share of a kubeconfig: a document that is asked for members, and messages that
 * name file, place and key.  Values are never in a message: any of them may be a credential.
 */
#ifndef KUBEAPI_KUBECONFIG_H
#define KUBEAPI_KUBECONFIG_H

#include "kek/doc.h"
#include "kek/kubeapi.h"

struct reading {
    const struct kek_doc_node *root;
    const char *file; /* as messages name it */
    struct kek_why *why;
};

/* "FILE:LINE:COLUMN: <...>". A node of NULL is the root. */
enum kek_rc reading_refuse(const struct reading *reading, const struct kek_doc_node *node,
                           const char *format, ...) KEK_PRINTF(3, 4);

/* The member of this key. NULL in *found: it is not there, or has no value. Two of one key are refused. */
enum kek_rc reading_member(const struct reading *reading, const struct kek_doc_node *mapping,
                           const char *key, const struct kek_doc_node **found) KEK_MUST_CHECK;

/* The same of a text; borrowed of the document. NULL: not there, null or empty. */
enum kek_rc reading_scalar(const struct reading *reading, const struct kek_doc_node *mapping,
                           const char *key, const struct kek_doc_node **scalar) KEK_MUST_CHECK;
enum kek_rc reading_text(const struct reading *reading, const struct kek_doc_node *mapping,
                         const char *key, const char **text) KEK_MUST_CHECK;

/* The only item of the list `key` of the root whose `name` is this; its member `of`. */
enum kek_rc reading_named(const struct reading *reading, const char *key, const char *name,
                          const char *of, const struct kek_doc_node **found) KEK_MUST_CHECK;

/* Fills what the user's and the cluster's mapping say. */
enum kek_rc kubeconfig_cluster(const struct reading *reading, const struct kek_doc_node *cluster,
                               struct kek_kubeconfig *config) KEK_MUST_CHECK;
enum kek_rc kubeconfig_user(const struct reading *reading, const struct kek_doc_node *user,
                            const char *name, struct kek_kubeconfig *config) KEK_MUST_CHECK;

#endif
