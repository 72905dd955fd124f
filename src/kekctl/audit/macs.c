#include "macs.h"

#include <openssl/crypto.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

#define BEYOND_MS 5000 /* start_timeout, for the login, and the MAC itself */

struct asking {
    bool over;
    enum kek_rc rc;
    struct kek_why why;
    struct kek_provider_maced maced;
};

static void on_mac(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                   const struct kek_why *why)
{
    struct asking *asking = arg;
    asking->over = true;
    asking->rc = rc;
    if (rc == KEK_OK) {
        asking->maced = *result->maced;
    } else {
        asking->why = *why;
    }
}

static enum kek_rc ask(struct macs *macs, size_t provider, const struct check_mac *mac,
                       struct asking *asking)
{
    char text[KEK_AUDIT_MAC_TEXT];
    struct keys *keys = &macs->keys;
    kek_audit_mac_text(&mac->covers, text);
    const struct kek_pool_request request = {
        .op = KEK_POOL_MAC,
        .provider = provider,
        .kek_id = mac->telling.mac_key,
        .blob = kek_bytes_of(text),
        .deadline_ms =
            kek_clock_ms() + keys->config->providers[provider].start_timeout_ms + BEYOND_MS};
    *asking = (struct asking){.rc = KEK_OK};
    if (kek_pool_submit(keys->pool, &request, on_mac, asking, &asking->why) == NULL) {
        return asking->why.rc;
    }
    while (!asking->over) {
        (void)uv_run(&keys->loop, UV_RUN_ONCE);
    }
    return asking->rc;
}

static bool start(struct macs *macs)
{
    if (!macs->opened) {
        macs->opened = true;
        macs->started = keys_open(&macs->keys, macs->ctl);
        macs->keys.logins.holds = true;
        macs->started = macs->started && keys_start(&macs->keys, true);
    }
    return macs->started;
}

static bool is_same(const struct kek_provider_maced *maced, const struct telling *telling)
{
    return maced->len == telling->mac_len &&
           CRYPTO_memcmp(maced->mac, telling->mac, maced->len) == 0;
}

/* The provider that the line names first: a key that moved, or a provider that was renamed, is found with another. */
static void check_one(struct macs *macs, struct check *check, struct check_chain *chain)
{
    struct asking asking;
    char text[KEK_WHY_TEXT + 64] = "no provider is configured that has its key";
    if (!start(macs)) {
        check_mac_problem(check, chain, "it was not checked: no token can be asked");
        return;
    }
    const struct kek_config *config = macs->keys.config;
    bool missing = false;
    for (size_t i = 0; i < 2 * config->provider_count; i++) {
        size_t provider = i % config->provider_count;
        bool named = strcmp(config->providers[provider].name, chain->mac.telling.provider) == 0;
        if (named != (i < config->provider_count)) {
            continue;
        }
        enum kek_rc rc = ask(macs, provider, &chain->mac, &asking);
        if (rc == KEK_OK && is_same(&asking.maced, &chain->mac.telling)) {
            check_mac_good(chain, config->providers[provider].name);
            return;
        }
        if (rc == KEK_OK) {
            check_mac_problem(check, chain,
                              "it is not the one that the token makes of that line: another "
                              "line, or another chain, was put in its place");
            return;
        }
        if (!missing) {
            snprintf(text, sizeof text, "it was not checked: %s: %s",
                     config->providers[provider].name,
                     kek_text_after_name(asking.why.text, config->providers[provider].name));
        }
        missing = true;
    }
    check_mac_problem(check, chain, text);
}

void macs_check(struct macs *macs, struct check *check)
{
    for (size_t i = 0; i < check->chain_count; i++) {
        struct check_chain *chain = &check->chains[i];
        if (chain->mac_waits) {
            chain->mac_waits = false;
            check_one(macs, check, chain);
        }
    }
}

void macs_close(struct macs *macs)
{
    if (macs->opened) {
        keys_close(&macs->keys);
    }
}
