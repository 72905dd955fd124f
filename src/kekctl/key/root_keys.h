/*
 * The keys of each root of trust, for a command that is about all of them at once: a pool of workers for each, as kekd has.
 */
#ifndef KEKCTL_ROOT_KEYS_H
#define KEKCTL_ROOT_KEYS_H

#include "keys.h"

struct root_keys {
    struct ctl ctls[KEK_CONFIG_ROOTS_MAX]; /* the same, with the root named */
    struct keys list[KEK_CONFIG_ROOTS_MAX];
    size_t count;
    struct kek_config *config; /* of all of them */
    bool owned;                /* else it is that of the only one */
};

/* Of each root that the configuration has. False after saying why, then *code is the exit code. */
bool root_keys_open(struct root_keys *keys, const struct ctl *ctl, enum ctl_exit *code);

/* Starts the workers. Of a root whose workers cannot be started each listing says so, and that is said. */
void root_keys_start(struct root_keys *keys);
void root_keys_start_one(struct keys *keys); /* the same of one */

void root_keys_close(struct root_keys *keys);
#define ROOT_KEYS_AUTO __attribute__((cleanup(root_keys_close)))

/* The provider's place among those of all roots. */
size_t root_keys_provider(const struct root_keys *keys, size_t root, size_t provider);

#endif
