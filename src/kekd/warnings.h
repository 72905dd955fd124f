/*
 * What does not stop kekd and an operator should know: each is logged once.
 */
#ifndef KEKD_WARNINGS_H
#define KEKD_WARNINGS_H

#include "kek/pool.h"
#include "kek/roots.h"

enum certificate { CERTIFICATE_GOOD = 0, CERTIFICATE_ENDS, CERTIFICATE_OVER };

/* What was warned of already. */
struct warnings {
    struct {
        bool pin_count_low, birth_memory, sessions;
        bool same_token;   /* as an earlier one */
        uint64_t versions; /* bit i: versions[i] of the configuration */
    } of[KEK_CONFIG_PROVIDERS_MAX];
    enum certificate certificate;   /* as it was last */
    int64_t expires;                /* its end */
    char state[KEK_WHY_TEXT + 128]; /* what was told of state_dir; empty: it is as it was locked */
};

/* Of the configuration, once it is read. */
void warnings_of_start(const struct kek_config *config);
/* Of state_dir's folder, whenever the roots changed: once when it is not the one that was locked, and once when it is again. */
void warnings_of_state(struct warnings *warnings, const struct kek_config *config,
                       const struct kek_roots *roots);
/* Of the certificate of `status`, as often as one likes: it is told when it comes near its end, also of each that
 * takes its place, and when it is over. Both are seconds since 1970. */
void warnings_of_certificate(struct warnings *warnings, const struct kek_config *config,
                             int64_t expires, int64_t now);
/* Of a provider, whenever it changed. */
void warnings_of_provider(struct warnings *warnings, const struct kek_config *config,
                          const struct kek_pool *pool, size_t provider);

#endif
