/*
 * Which versions the nodes of the cluster announce: what nobody may take out of use.
 *
 * The one place that knows where this is learned from: this node's record, and what its kekd says.
 */
#ifndef KEKCTL_ANNOUNCED_H
#define KEKCTL_ANNOUNCED_H

#include "keys.h"

#define ANNOUNCED_MAX 64
#define ANNOUNCED_NODE 128

struct announced {
    struct {
        char node[ANNOUNCED_NODE]; /* who says so, as messages name it */
        struct kek_id kek_id;
        uint32_t number;
    } by[ANNOUNCED_MAX];
    size_t count; /* 0: nothing has been announced yet */
};

/* What this node's kekd announced last, whether it runs or not. False: the record cannot be read. */
bool announced_on_record(const struct keys *keys, struct announced *announced, struct kek_why *why);

/* What all nodes announce; the listings tell which key a key_id names.  False: what some node announces could
 * not be learned, and `why` says of which. */
bool announced_by(const struct keys *keys, struct announced *announced, struct kek_why *why);

/* The first node that announces this key; NULL: none does. Borrowed. */
const char *announced_where(const struct announced *announced, const struct kek_id *kek_id);

/* The highest number that is announced; 0: nothing is. */
uint32_t announced_newest(const struct announced *announced);

#endif
