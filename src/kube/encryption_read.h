/* What the readers of an EncryptionConfiguration share: the path to where they are, and values of each kind. */
#ifndef KUBE_ENCRYPTION_READ_H
#define KUBE_ENCRYPTION_READ_H

#include "kek/doc.h"
#include "kek/encryption_config.h"

#define ENCRYPTION_NAMES_MAX 5 /* fields of a mapping */

struct encryption_reader {
    const char *file;
    char path[160]; /* of what is being read: "resources[0].providers[1].kms" */
    struct kek_why *why;
};

/* "FILE:LINE:COLUMN: PATH: ..." */
enum kek_rc encryption_refuse(struct encryption_reader *reader, const struct kek_doc_node *node,
                              const char *format, ...) KEK_PRINTF(3, 4);
enum kek_rc encryption_no_memory(struct encryption_reader *reader);

/* The path goes one step down and back up. */
size_t encryption_enter(struct encryption_reader *reader, const char *format, ...) KEK_PRINTF(2, 3);
void encryption_leave(struct encryption_reader *reader, size_t mark);

/* The values by the order of the names, which end with NULL; one that is not there or null is NULL. */
enum kek_rc encryption_take_mapping(struct encryption_reader *reader,
                                    const struct kek_doc_node *node, const char *const *names,
                                    const struct kek_doc_node *values[static ENCRYPTION_NAMES_MAX]);

/* For all below, `at` is where the value would have stood if node is NULL: it must be there. */

/* A list that is not empty. */
enum kek_rc encryption_take_list(struct encryption_reader *reader, const struct kek_doc_node *node,
                                 const struct kek_doc_node *at);

/* A text that is not empty. The message does not show it. */
enum kek_rc encryption_take_text(struct encryption_reader *reader, const struct kek_doc_node *node,
                                 const struct kek_doc_node *at, char **text);

/* A text for which the rule holds. The message shows it. */
enum kek_rc encryption_take_ruled(struct encryption_reader *reader, const struct kek_doc_node *node,
                                  const struct kek_doc_node *at, bool (*good)(const char *),
                                  const char *expected, char **text);

/* An item of `providers`: encryption_provider.c. It is freed whatever became of it. */
enum kek_rc encryption_take_provider(struct encryption_reader *reader,
                                     const struct kek_doc_node *node,
                                     struct kek_encryption_provider *provider);
void encryption_provider_free(struct kek_encryption_provider *provider);

#endif
