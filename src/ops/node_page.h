/* The page of kek/node_status.h, for whichever server is asked for it. */
#ifndef KEK_OPS_NODE_PAGE_H
#define KEK_OPS_NODE_PAGE_H

#include "http.h"
#include "kek/node_status.h"

/* Answers later, or returns a status at once. */
int node_page(struct kek_node_status *status, struct http_reply *reply);

#endif
