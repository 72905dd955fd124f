/* A node's page, taken apart. Pure: whatever another machine sent, the result is bounded and fit to print. */
#ifndef KEKCTL_NODE_PARSE_H
#define KEKCTL_NODE_PARSE_H

#include "nodes.h"

/* False: it is no such page, and why says which part is not. `partial` in it makes all optional that only the
 * page of kekd has. */
bool node_parse(const json_t *page, struct node_status *status, struct kek_why *why);

/* As the page writes a moment (RFC 3339 in UTC, with milliseconds); 0: it is none. */
int64_t node_parse_date(const char *text);

#endif
