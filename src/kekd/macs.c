#include "kekd/macs.h"

#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"
#include "kekd/rooms.h"

#define FIRST_MS 5000     /* after the start, when the workers have logged in */
#define DEADLINE_MS 10000 /* of one MAC */
#define SKIP_MAX 16       /* rounds that are left out after one that failed */

static void ask_next(struct macs *macs);

static const struct kek_config *config_of(const struct macs *macs)
{
    return macs->daemon->all[macs->root].config;
}

/* A service MACs nothing: only a token may have a key for it. */
static bool can_mac(const struct kek_config_provider *provider)
{
    return strcmp(provider->type, "pkcs11") == 0;
}

static bool anybody_can(const struct macs *macs)
{
    const struct kek_config *config = macs->daemon->config;
    for (size_t i = 0; i < config->provider_count; i++) {
        if (can_mac(&config->providers[i])) {
            return true;
        }
    }
    return false;
}

/* Did the provider's token say, when it answered last, that it has no key? */
static bool *is_without(struct macs *macs)
{
    return &macs->without[macs->daemon->all[macs->root].provider + macs->provider];
}

static void tell_without(struct macs *macs)
{
    if (macs->told != MACS_WITHOUT) {
        kek_log(KEK_LOG_INFO, "audit: the chain is not MACed, since %s",
                anybody_can(macs) ? "no token has a key for it (kekctl audit generate makes one)"
                                  : "no provider is of a type that can (pkcs11)");
    }
    if (macs->told == MACS_FAILING) {
        kek_audit_mac_none(macs->daemon->audit);
    }
    macs->told = MACS_WITHOUT;
}

/* Nobody could. */
static void give_up_round(struct macs *macs)
{
    if (macs->failed == NULL) {
        tell_without(macs);
        return;
    }
    if (macs->told != MACS_FAILING) {
        kek_log(KEK_LOG_WARN, "audit: the chain cannot be MACed now: %s: %s", macs->failed,
                kek_text_after_name(macs->why.text, macs->failed));
        kek_audit_mac_failed(macs->daemon->audit, macs->failed, &macs->why);
    }
    macs->told = MACS_FAILING;
    macs->skip = macs->failures == 0 ? 0 : 1u << (macs->failures - 1);
    macs->failures += macs->skip < SKIP_MAX ? 1 : 0;
}

/* A token without such a key is no failure, nor is one that is away and had none. */
static void take_failure(struct macs *macs, enum kek_rc rc, const struct kek_why *why)
{
    if (rc == KEK_NOT_FOUND || rc == KEK_UNIMPLEMENTED) {
        *is_without(macs) = true;
    } else if (!*is_without(macs) && macs->failed == NULL) {
        macs->failed = config_of(macs)->providers[macs->provider].name;
        macs->why = *why;
    }
    macs->provider++;
    ask_next(macs);
}

static void take_mac(struct macs *macs, const struct kek_provider_maced *maced)
{
    struct kek_audit_end now;
    const char *provider = config_of(macs)->providers[macs->provider].name;
    /* What lies too far back could not be compared any more: the next round has it. */
    bool late = !kek_audit_where(macs->daemon->audit, &now) ||
                strcmp(now.chain, macs->asked.chain) != 0 ||
                now.n - macs->asked.n > KEK_AUDIT_MAC_SPAN / 2;
    if (late) {
        return;
    }
    kek_audit_mac(
        macs->daemon->audit,
        &(struct kek_audit_mac){.provider = provider, .covers = &macs->asked, .maced = maced});
    macs->covered = macs->asked.n;
    macs->failures = 0;
    if (macs->told != MACS_GOOD) {
        kek_log(KEK_LOG_INFO, "audit: the chain is MACed by %s", provider);
    }
    macs->told = MACS_GOOD;
}

static void on_mac(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                   const struct kek_why *why)
{
    struct macs *macs = arg;
    macs->call = NULL;
    if (rc == KEK_OK) {
        *is_without(macs) = false;
        take_mac(macs, result->maced);
    } else {
        take_failure(macs, rc, why);
    }
}

/* The provider that is next, if there is one. */
static void ask_next(struct macs *macs)
{
    char text[KEK_AUDIT_MAC_TEXT];
    struct kek_why why;
    while (macs->root < macs->daemon->root_count &&
           (macs->provider >= config_of(macs)->provider_count ||
            !can_mac(&config_of(macs)->providers[macs->provider]))) {
        bool over = macs->provider >= config_of(macs)->provider_count;
        macs->root += over ? 1 : 0;
        macs->provider = over ? 0 : macs->provider + 1;
    }
    if (macs->root >= macs->daemon->root_count) {
        give_up_round(macs);
        return;
    }
    kek_audit_mac_text(&macs->asked, text);
    const struct kek_pool_request request = {.op = KEK_POOL_MAC,
                                             .provider = macs->provider,
                                             .blob = kek_bytes_of(text),
                                             .deadline_ms = kek_clock_ms() + DEADLINE_MS};
    macs->call = kek_pool_submit(macs->daemon->all[macs->root].pool, &request, on_mac, macs, &why);
    if (macs->call == NULL) {
        take_failure(macs, why.rc, &why);
    }
}

/* The line of the last MAC alone is nothing new. */
static void on_timer(uv_timer_t *timer)
{
    struct macs *macs = timer->data;
    if (macs->call != NULL || !kek_audit_where(macs->daemon->audit, &macs->asked) ||
        (macs->covered > 0 && macs->asked.n == macs->covered + 1)) {
        return;
    }
    if (macs->skip > 0) {
        macs->skip--;
        return;
    }
    macs->root = macs->provider = 0;
    macs->failed = NULL;
    ask_next(macs);
}

void macs_start(struct macs *macs, struct daemon *daemon)
{
    uint64_t every = daemon->config->audit_mac_interval_ms;
    macs->daemon = daemon;
    if (daemon->audit != NULL) {
        uv_timer_init(&daemon->loop, &macs->timer);
        macs->timer.data = macs;
        uv_timer_start(&macs->timer, on_timer, every < FIRST_MS ? every : FIRST_MS, every);
    }
}

void macs_stop(struct macs *macs)
{
    if (macs->timer.data == NULL) {
        return;
    }
    uv_timer_stop(&macs->timer);
    if (macs->call != NULL) {
        kek_pool_cancel(macs->call);
        macs->call = NULL;
    }
}

void macs_close(struct macs *macs)
{
    if (macs->timer.data != NULL && !uv_is_closing((uv_handle_t *)&macs->timer)) {
        uv_close((uv_handle_t *)&macs->timer, NULL);
    }
}
