/*
 * Which versions the nodes of the cluster announce or still seal under: what nobody may take out of use.
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

/* What all nodes say (nodes.h), and this one's record; the listings tell which key a key_id names.
 * False: the record cannot be read, or who the nodes are is not known. *all: false where a node did not say it, and `why`
 * says which; what the others said is there. */
bool announced_by(const struct keys *keys, struct announced *announced, bool *all,
                  struct kek_why *why);

/* The first node that said so of this key; NULL: none did. Borrowed. */
const char *announced_where(const struct announced *announced, const struct kek_id *kek_id);

/* The highest number of all; 0: there is none. */
uint32_t announced_newest(const struct announced *announced);

#endif
