#include "kekd/warnings.h"

#include <inttypes.h>

#include "kek/durable.h"
#include "kek/log.h"

void warnings_of_start(const struct kek_config *config)
{
    if (kek_durable_forgets(config->state_dir)) {
        kek_log(KEK_LOG_WARN,
                "state_dir: %s is in memory (a tmpfs): after the machine's next start nobody knows "
                "which key is the right one; put it on a disk",
                config->state_dir);
    }
}

static void warn_of_same_token(struct warnings *warnings, const struct kek_config *config,
                               const struct kek_pool *pool, size_t provider)
{
    size_t twin = kek_pool_twin(pool, provider);
    size_t later = twin > provider ? twin : provider;
    if (twin == KEK_POOL_ANY || warnings->of[later].same_token) {
        return;
    }
    warnings->of[later].same_token = true;
    struct kek_pool_provider status;
    kek_pool_provider_get(pool, provider, &status);
    kek_log(KEK_LOG_WARN,
            "providers %s and %s are one token (serial %s): together they are no safer than one",
            config->providers[twin].name, config->providers[provider].name, status.serial);
}

/* By what a worker's start showed, the youngest's. */
static void warn_of_versions(struct warnings *warnings, const struct kek_config *config,
                             const struct kek_pool *pool, size_t provider)
{
    struct kek_pool_worker workers[KEK_POOL_WORKERS_MAX];
    size_t count = kek_pool_workers(pool, provider, workers);
    const struct kek_config_provider *p = &config->providers[provider];
    for (size_t i = 0; count > 0 && i < p->version_count; i++) {
        const struct kek_config_version *named = &p->versions[i];
        const struct kek_pool_worker *worker = &workers[count - 1];
        uint64_t bit = UINT64_C(1) << i;
        const char *unmet =
            kek_config_version_unmet(named, worker->versions, worker->version_count);
        if (unmet != NULL && (warnings->of[provider].versions & bit) == 0) {
            kek_log(KEK_LOG_WARN,
                    "provider %s: versions says that version %" PRIu32 " is %s, and the token %s",
                    p->name, named->number, kek_state_name(named->state), unmet);
        }
        warnings->of[provider].versions &= ~bit;
        warnings->of[provider].versions |= unmet != NULL ? bit : 0;
    }
}

void warnings_of_provider(struct warnings *warnings, const struct kek_config *config,
                          const struct kek_pool *pool, size_t provider)
{
    struct kek_pool_provider status;
    kek_pool_provider_get(pool, provider, &status);
    if (status.health == KEK_POOL_READY) {
        warn_of_same_token(warnings, config, pool, provider);
        warn_of_versions(warnings, config, pool, provider);
    }
}
