/* Values of a kubeconfig: texts, paths, and PEM in base64. */
#ifndef KUBEAPI_VALUES_H
#define KUBEAPI_VALUES_H

#include "kubeconfig.h"

enum kek_rc values_no_memory(const struct reading *reading);

/* A copy; NULL if it is not there. */
enum kek_rc values_text(const struct reading *reading, const struct kek_doc_node *mapping,
                        const char *key, char **text) KEK_MUST_CHECK;

/* The same, made absolute from the folder of `file`. */
enum kek_rc values_path(const struct reading *reading, const struct kek_doc_node *mapping,
                        const char *key, const char *file, char **path) KEK_MUST_CHECK;

/* What `KEY-data` holds in base64: a PEM text with a `kind` in it. Empty if it is not there. */
enum kek_rc values_pem(const struct reading *reading, const struct kek_doc_node *mapping,
                       const char *key, const char *kind, struct kek_buf *pem) KEK_MUST_CHECK;
enum kek_rc values_pem_secret(const struct reading *reading, const struct kek_doc_node *mapping,
                              const char *key, const char *kind,
                              struct kek_secret **pem) KEK_MUST_CHECK;

#endif
