/*
 * From when on is what is rewritten sealed under the key that is announced now, whichever API server writes it?
 *
 * An API server asks for Status each minute, and goes on under the seed that it has for 3 minutes after the last good
 * one (docs/operations.md, "What the API server does").  So it is known of each node since when it announces the key,
 * by what is on record there, and the last of them counts: `key rotate` tells that moment, and `reencrypt` waits for
 * it.  Pure.
 */
#ifndef KEKCTL_REWRITE_TIME_H
#define KEKCTL_REWRITE_TIME_H

#include "kekctl/node/nodes.h"

#define REWRITE_API_SERVER_MS INT64_C(240000) /* the poll, and the life of a seed */

/* How long the key must have been announced: settle, a refresh and the API server's time; and longer where other nodes
 * may be that nobody named (is_blind), since they may see the key later. */
int64_t rewrite_needed_ms(const struct kek_config *config, bool is_blind);

/* By our clock: since when the node announces its key, at the latest. now_ms: where nothing says it. */
int64_t rewrite_since_ms(const struct node *node, int64_t now_ms);

/* By our clock. 0: it is not known, since a node that counts does not answer, or announces another key than `kek_id`.
 * left_out: by node; one that answers counts all the same. */
int64_t rewrite_after_ms(const struct node *nodes, size_t count, const bool *left_out,
                         const struct kek_id *kek_id, int64_t needed_ms, int64_t now_ms);

/* The next full second in RFC 3339. */
#define REWRITE_TIME_TEXT 32
void rewrite_time_format(int64_t ms, char text[static REWRITE_TIME_TEXT]);

#endif
