/*
 * Roots of trust with one and the same KEK.  They are one root: kekd never announces the two together, and goes on with
 * what it announced before (roots/twins.c); what kekctl sees on the tokens says so before kekd is started.
 *
 * Pure but for what is said.  A root is taken in while its keys are listed, and all are compared when every one was.
 */
#ifndef KEKCTL_ROOT_TWINS_H
#define KEKCTL_ROOT_TWINS_H

#include "keys.h"

struct root_kek {
    struct kek_id kek_id;
    uint32_t number;
    /* What is sealed by the root is under it, or would be next: it was announced last, or is the newest that may wrap. */
    bool seals;
    bool announced; /* it was last, by this node's record */
};

struct root_keks {
    const char *name; /* borrowed, as long as these are compared */
    bool seals;       /* of its configuration */
    struct root_kek list[KEK_PROVIDER_VERSIONS_MAX + 1];
    size_t count;
};

struct root_twins {
    bool all; /* mode `all` */
    struct root_keks roots[KEK_CONFIG_ROOTS_MAX];
    size_t count;
};

/* One root more, of the configuration `whole`, by its place there: what its providers list, and what this node has on
 * record as announced. */
void root_twins_take(struct root_twins *twins, const struct kek_config *whole, size_t root,
                     const struct keys *keys);

/* The same of what is known of it already. False: it has no room. */
bool root_twins_add(struct root_keks *keks, const struct root_kek *kek);

/* Says of each pair of roots that seal under the same KEK which one, and what to do. Returns how many pairs those are. */
size_t root_twins_say(const struct root_twins *twins, const struct ctl *ctl);

/* The same of pairs that have another KEK in common.  In mode `all` that must not stay so, and it returns how many those
 * are; else each is a remark, and it returns 0. */
size_t root_twins_say_shared(const struct root_twins *twins, const struct ctl *ctl);

#endif
