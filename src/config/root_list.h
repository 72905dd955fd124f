/* The keys `roots` and `mode`, for the table of the whole file. */
#ifndef CONFIG_ROOT_LIST_H
#define CONFIG_ROOT_LIST_H

#include "load.h"

extern const struct list root_list;
extern const struct choice mode_choice;

/* What roots and providers must be to each other. Reorders the providers: those of a root stand together. */
enum kek_rc roots_check(struct load *load, const struct kek_doc_node *node,
                        struct kek_config *config);
void roots_free(struct kek_config *config);

#endif
