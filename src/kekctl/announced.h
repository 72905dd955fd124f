/*
 * Which versions the nodes of the cluster announce: what nobody may take out of use.
 *
 * The one place that knows where this is learned from.
 */
#ifndef KEKCTL_ANNOUNCED_H
#define KEKCTL_ANNOUNCED_H

#include "kek/keyring.h"
#include "kekctl.h"

#define ANNOUNCED_MAX 64

struct announced {
    struct {
        char node[128]; /* who says so, as messages name it */
        struct kek_id kek_id;
        uint32_t number; /* 0: it is not known */
    } by[ANNOUNCED_MAX];
    size_t count; /* 0: nothing has been announced yet */
};

/* False: what some node announces could not be learned, and `why` says of which. */
bool announced_by(const struct ctl *ctl, const struct kek_config *config,
                  struct announced *announced, struct kek_why *why);

/* The first node that announces this key; NULL: none does. Borrowed. */
const char *announced_where(const struct announced *announced, const struct kek_id *kek_id);

/* The highest number that is announced; 0: none is known. */
uint32_t announced_newest(const struct announced *announced);

#endif
