#include "kekd/warnings.h"

#include <inttypes.h>
#include <string.h>

#include "kek/durable.h"
#include "kek/log.h"
#include "kek/text.h"

void warnings_of_start(const struct kek_config *config)
{
    if (kek_durable_forgets(config->state_dir)) {
        kek_log(KEK_LOG_WARN,
                "state_dir: %s is in memory (a tmpfs): after the machine's next start nobody knows "
                "which key is the right one; put it on a disk",
                config->state_dir);
    }
}

void warnings_of_state(struct warnings *warnings, const struct kek_config *config,
                       const struct kek_roots *roots)
{
    struct kek_keyring_verdict first;
    bool replaced =
        kek_roots_remarks(roots, &first, 1) == 1 && first.remark == KEK_KEYRING_STATE_DIR_REPLACED;
    char text[sizeof first.what + sizeof first.todo + 2];
    if (replaced && strcmp(warnings->state, first.what) != 0) {
        kek_keyring_verdict_text(&first, text, sizeof text);
        kek_log(KEK_LOG_WARN, "%s", text);
    } else if (!replaced && warnings->state[0] != '\0') {
        kek_log(KEK_LOG_INFO, "state_dir: %s is the folder again that this kekd locked",
                config->state_dir);
    }
    kek_text_copy(warnings->state, sizeof warnings->state, replaced ? first.what : "");
}

#define CERTIFICATE_ENDS_S (INT64_C(30) * 24 * 3600)

void warnings_of_certificate(struct warnings *warnings, const struct kek_config *config,
                             int64_t expires, int64_t now)
{
    int64_t left = expires - now;
    enum certificate is = left <= 0                    ? CERTIFICATE_OVER
                          : left <= CERTIFICATE_ENDS_S ? CERTIFICATE_ENDS
                                                       : CERTIFICATE_GOOD;
    bool renewed = warnings->expires != expires;
    if (is == CERTIFICATE_ENDS && (warnings->certificate < is || renewed)) {
        kek_log(KEK_LOG_WARN,
                "status.cert: %s ends to be valid in %s: renew it, then reload kekd "
                "(SIGHUP), or the other nodes will not hear this one",
                config->status.cert, kek_counted((uint64_t)left / (24 * 3600), "day").text);
    } else if (is == CERTIFICATE_OVER && warnings->certificate < is) {
        kek_log(
            KEK_LOG_ERROR,
            "status.cert: %s is not valid any more: the other nodes do not hear this one; renew "
            "it, then reload kekd (SIGHUP)",
            config->status.cert);
    }
    warnings->certificate = is;
    warnings->expires = expires;
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

/* Once a run. */
static bool is_news(bool *told, bool holds)
{
    bool news = holds && !*told;
    *told = *told || holds;
    return news;
}

static void warn_of_limits(struct warnings *warnings, size_t provider,
                           const struct kek_pool_provider *status)
{
    bool few = status->max_sessions != 0 && status->max_sessions < status->peak_sessions;
    if (is_news(&warnings->of[provider].pin_count_low, status->pin_count_low)) {
        kek_log(KEK_LOG_WARN,
                "provider %s: the token says that its PIN was tried wrongly before: few tries are "
                "left",
                status->name);
    }
    /* A wrong try after a right one is told again. */
    warnings->of[provider].pin_count_low = status->pin_count_low;
    if (is_news(&warnings->of[provider].birth_memory, status->birth_memory > 0)) {
        kek_log(KEK_LOG_WARN,
                "provider %s: a fresh worker has %" PRIu64 " MiB, more than recycle_memory, and is "
                "replaced once it has grown by that much more",
                status->name, status->birth_memory >> 20);
    }
    if (is_news(&warnings->of[provider].sessions, few)) {
        kek_log(KEK_LOG_WARN,
                "provider %s: the token allows %s, and kekd opens up to %u, "
                "(processes + 1) x (sessions + 1): lower sessions: or processes:",
                status->name, kek_counted(status->max_sessions, "session").text,
                status->peak_sessions);
    }
}

void warnings_of_provider(struct warnings *warnings, const struct kek_config *config,
                          const struct kek_pool *pool, size_t provider)
{
    struct kek_pool_provider status;
    kek_pool_provider_get(pool, provider, &status);
    warn_of_limits(warnings, provider, &status);
    if (status.health == KEK_POOL_READY) {
        warn_of_same_token(warnings, config, pool, provider);
        warn_of_versions(warnings, config, pool, provider);
    }
}
