/* A node's page, taken apart. Pure: whatever another machine sent, the result is bounded and fit to print. */
#ifndef KEKCTL_NODE_PARSE_H
#define KEKCTL_NODE_PARSE_H

#include "nodes.h"

/* False: it is no such page, and why says which part is not. `partial` in it makes all optional that only the
 * page of kekd has.  `root`: what it says of this root of trust; "": of the first, and of the versions of all. */
bool node_parse(const json_t *page, const char *root, struct node_status *status,
                struct kek_why *why);

#endif
