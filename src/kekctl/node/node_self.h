/*
 * This node, where there is no page of it to be had: what its KMS socket's Status says, and what it has on
 * record, as a page with "partial": true.
 */
#ifndef KEKCTL_NODE_SELF_H
#define KEKCTL_NODE_SELF_H

#include <jansson.h>

#include "kek/config.h"

/* Blocks until the deadline at most. NULL: nobody answers on the socket, or no memory. */
json_t *node_self(const struct kek_config *config, uint64_t deadline_ms, struct kek_why *why);

#endif
