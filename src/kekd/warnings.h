/*
 * What does not stop kekd and an operator should know: each is logged once.
 */
#ifndef KEKD_WARNINGS_H
#define KEKD_WARNINGS_H

#include "kek/pool.h"

/* What was warned of already. */
struct warnings {
    struct {
        bool pin_count_low, birth_memory, sessions;
        bool same_token;   /* as an earlier one */
        uint64_t versions; /* bit i: versions[i] of the configuration */
    } of[KEK_CONFIG_PROVIDERS_MAX];
};

/* Of the configuration, once it is read. */
void warnings_of_start(const struct kek_config *config);
/* Of a provider, whenever it changed. */
void warnings_of_provider(struct warnings *warnings, const struct kek_config *config,
                          const struct kek_pool *pool, size_t provider);

#endif
