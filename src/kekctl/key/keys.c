#include "keys.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <stdlib.h>
#include <string.h>
#include <unistd.h>

#include "kek/clock.h"
#include "kek/keyring.h"
#include "kek/text.h"

#define ARENA (256u * 1024)
#define PATIENCE_MS 10000 /* beyond a provider's start_timeout */
#define STRIKES_MAX 3
#define SILENCE_MS 3000 /* that a person bears */

bool keys_open(struct keys *keys, const struct ctl *ctl)
{
    *keys = (struct keys){.ctl = ctl, .code = CTL_FAILED};
    keys->config = ctl_config(ctl);
    if (keys->config == NULL) {
        keys->code = CTL_USAGE;
    }
    login_log_init(&keys->logins, ctl, keys->config);
    return keys->config != NULL;
}

/* The pool tries a provider for ever; an operator wants to know. */
static void provider_changed(void *arg, size_t provider)
{
    struct keys *keys = arg;
    struct listing *listing = &keys->listings[provider];
    struct kek_pool_provider status;
    kek_pool_provider_get(keys->pool, provider, &status);
    if (status.health == KEK_POOL_READY) {
        listing->strikes = 0;
    } else if (status.health == KEK_POOL_DOWN && status.why.rc == KEK_DENIED) {
        listing->strikes = STRIKES_MAX;
    } else if (status.health == KEK_POOL_DOWN) {
        listing->strikes++;
    }
}

static void logged_in(void *arg, const struct kek_pool_login *login)
{
    struct keys *keys = arg;
    struct kek_pool_provider status;
    kek_pool_provider_get(keys->pool, login->provider, &status);
    keys->counted_low[login->provider] = keys->counted_low[login->provider] || status.pin_count_low;
    login_log_put(&keys->logins, keys->audit, login);
}

/* What this node's kekd has seen: a service does not show a version that is closed. A record that cannot be read says
 * nothing; whoever needs it says so. */
static void know_recorded(const struct keys *keys)
{
    struct kek_why why;
    KEK_AUTO(kek_keyring) ring = kek_keyring_read(keys->config, &why);
    KEK_AUTO_FREE struct kek_keyring_version *versions =
        ring == NULL ? NULL : calloc(KEK_PROVIDER_VERSIONS_MAX, sizeof *versions);
    size_t count =
        versions == NULL ? 0 : kek_keyring_versions(ring, versions, KEK_PROVIDER_VERSIONS_MAX);
    for (size_t i = 0; i < count; i++) {
        kek_pool_know(keys->pool, versions[i].number, &versions[i].kek_id);
    }
}

bool keys_start(struct keys *keys, bool officer)
{
    struct kek_why why = {.rc = KEK_OK};
    bool locked;
    /* A worker that dies is an answer that does not come, not the end of kekctl. */
    (void)signal(SIGPIPE, SIG_IGN);
    if (kek_secret_setup(ARENA, &locked, &why) != KEK_OK) {
        ctl_say(keys->ctl, "%s", why.text);
        return false;
    }
    int rc = uv_loop_init(&keys->loop);
    if (rc != 0) {
        ctl_say(keys->ctl, "cannot make an event loop: %s", uv_strerror(rc));
        return false;
    }
    keys->has_loop = true;
    (void)uv_timer_init(&keys->loop, &keys->waiting);
    keys->waiting.data = keys;
    const struct kek_pool_settings settings = {.config = keys->config,
                                               .officer = officer,
                                               .provider_changed = provider_changed,
                                               .logged_in = logged_in,
                                               .arg = keys};
    keys->pool = kek_pool_new(&keys->loop, &settings, &why);
    if (keys->pool == NULL) {
        ctl_say(keys->ctl, "%s", why.text);
        return false;
    }
    know_recorded(keys);
    kek_pool_start(keys->pool);
    return true;
}

static void pool_closed(void *arg)
{
    struct keys *keys = arg;
    kek_pool_free(keys->pool);
    keys->pool = NULL;
}

void keys_close(struct keys *keys)
{
    if (keys->pool != NULL) {
        kek_pool_close(keys->pool, pool_closed, keys);
    }
    if (keys->has_loop) {
        uv_close((uv_handle_t *)&keys->waiting, NULL);
        (void)uv_run(&keys->loop, UV_RUN_DEFAULT);
        (void)uv_loop_close(&keys->loop);
    }
    for (size_t i = 0; i < KEK_CONFIG_PROVIDERS_MAX; i++) {
        free(keys->listings[i].versions);
        free(keys->listings[i].probed);
        free(keys->listings[i].described);
        free(keys->listings[i].attested);
    }
    login_log_done(&keys->logins);
    kek_config_free(keys->config);
    kek_audit_acts_free(keys->audit);
}

static uint64_t deadline(const struct keys *keys)
{
    uint64_t slowest = 0;
    for (size_t i = 0; i < keys->config->provider_count; i++) {
        uint64_t timeout = keys->config->providers[i].start_timeout_ms;
        slowest = timeout > slowest ? timeout : slowest;
    }
    return kek_clock_ms() + slowest + PATIENCE_MS;
}

/* A library that hangs says nothing of its own. */
static void tell_who_is_waited_for(uv_timer_t *timer)
{
    const struct keys *keys = timer->data;
    struct ctl aloud = *keys->ctl;
    aloud.hear = NULL; /* whoever waits there is told now, also where the rest is gathered */
    for (size_t i = 0; i < keys->config->provider_count; i++) {
        const struct listing *listing = &keys->listings[i];
        uint64_t now = kek_clock_ms();
        if (listing->call != NULL && listing->deadline_ms > now) {
            ctl_say(&aloud, "%s has not answered yet: waiting for %" PRIu64 " s more",
                    keys->config->providers[i].name, (listing->deadline_ms - now + 999) / 1000);
        }
    }
}

static void give_up(struct keys *keys, size_t provider)
{
    struct listing *listing = &keys->listings[provider];
    struct kek_pool_provider status;
    kek_pool_provider_get(keys->pool, provider, &status);
    kek_pool_cancel(listing->call);
    listing->call = NULL;
    listing->why = status.why;
    listing->rc = status.why.rc == KEK_OK ? KEK_UNAVAILABLE : status.why.rc;
}

static void wait_for_answers(struct keys *keys)
{
    if (isatty(STDERR_FILENO) == 1) {
        (void)uv_timer_start(&keys->waiting, tell_who_is_waited_for, SILENCE_MS, 0);
    }
    for (;;) {
        bool waiting = false;
        for (size_t i = 0; i < keys->config->provider_count; i++) {
            struct listing *listing = &keys->listings[i];
            if (listing->call != NULL && listing->strikes >= STRIKES_MAX) {
                give_up(keys, i);
            }
            waiting = waiting || listing->call != NULL;
        }
        if (!waiting) {
            uv_timer_stop(&keys->waiting);
            return;
        }
        (void)uv_run(&keys->loop, UV_RUN_ONCE);
    }
}

static void answered(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                     const struct kek_why *why)
{
    struct listing *listing = arg;
    listing->call = NULL;
    listing->rc = rc;
    if (rc != KEK_OK) {
        listing->why = *why;
        return;
    }
    if (result->version_count > 0) {
        listing->versions = calloc(result->version_count, sizeof *listing->versions);
        if (listing->versions == NULL) {
            listing->rc = kek_fail(&listing->why, KEK_NO_MEMORY, "no memory for the versions");
            return;
        }
        memcpy(listing->versions, result->versions,
               result->version_count * sizeof *listing->versions);
    }
    listing->count = result->version_count;
    listing->made = result->made;
    if (result->probed != NULL) {
        listing->probed = malloc(sizeof *listing->probed);
        if (listing->probed == NULL) {
            listing->rc = kek_fail(&listing->why, KEK_NO_MEMORY, "no memory for the answer");
            return;
        }
        *listing->probed = *result->probed;
    }
    if (result->described != NULL) {
        listing->described = malloc(sizeof *listing->described);
        if (listing->described == NULL) {
            listing->rc = kek_fail(&listing->why, KEK_NO_MEMORY, "no memory for the answer");
            return;
        }
        *listing->described = *result->described;
    }
    if (result->attested != NULL) {
        listing->attested = malloc(sizeof *listing->attested);
        if (listing->attested == NULL) {
            listing->rc = kek_fail(&listing->why, KEK_NO_MEMORY, "no memory for the answer");
            return;
        }
        *listing->attested = *result->attested;
    }
}

static void ask(struct keys *keys, const struct kek_pool_request *request)
{
    struct listing *listing = &keys->listings[request->provider];
    free(listing->versions);
    free(listing->probed);
    free(listing->described);
    free(listing->attested);
    *listing = (struct listing){.keys = keys, .deadline_ms = request->deadline_ms};
    listing->call = kek_pool_submit(keys->pool, request, answered, listing, &listing->why);
    if (listing->call == NULL) {
        listing->rc = listing->why.rc;
    }
}

static void ask_for_list(struct keys *keys, size_t provider, bool fresh)
{
    const struct kek_pool_request request = {
        .op = KEK_POOL_LIST, .provider = provider, .fresh = fresh, .deadline_ms = deadline(keys)};
    ask(keys, &request);
}

/* Who sees a library work by hand and not here may have told it something else by hand. */
static void compare_environments(const struct keys *keys, size_t provider)
{
    const struct kek_config_provider *config = &keys->config->providers[provider];
    for (char **at = config->env; at != NULL && *at != NULL; at++) {
        char name[64];
        size_t len = strcspn(*at, "=");
        snprintf(name, sizeof name, "%.*s", (int)len, *at);
        const char *here = len < sizeof name ? getenv(name) : NULL;
        if (here != NULL && strcmp(here, *at + len + 1) != 0) {
            ctl_say(keys->ctl,
                    "%s: `env` in %s sets %s, and this shell has %s=%s: the former counts",
                    config->name, keys->config->path, *at, name, here);
        }
    }
}

static void complain(const struct keys *keys, size_t provider)
{
    const struct listing *listing = &keys->listings[provider];
    const char *name = keys->config->providers[provider].name;
    if (listing->rc != KEK_OK) {
        ctl_say(keys->ctl, "%s: %s", name, kek_text_after_name(listing->why.text, name));
        compare_environments(keys, provider);
    }
}

void keys_list_one(struct keys *keys, size_t provider, bool fresh)
{
    ask_for_list(keys, provider, fresh);
    wait_for_answers(keys);
}

size_t keys_look(struct keys *keys, bool fresh)
{
    for (size_t i = 0; i < keys->config->provider_count; i++) {
        ask_for_list(keys, i, fresh);
    }
    wait_for_answers(keys);
    size_t good = 0;
    for (size_t i = 0; i < keys->config->provider_count; i++) {
        good += keys->listings[i].rc == KEK_OK;
    }
    return good;
}

size_t keys_list(struct keys *keys, bool fresh)
{
    size_t good = keys_look(keys, fresh);
    for (size_t i = 0; i < keys->config->provider_count; i++) {
        complain(keys, i);
    }
    return good;
}

/* The answer to what is sent once. */
static enum kek_rc ask_once(struct keys *keys, const struct kek_pool_request *request,
                            struct kek_why *why)
{
    const struct listing *listing = &keys->listings[request->provider];
    ask(keys, request);
    wait_for_answers(keys);
    if (listing->rc != KEK_OK) {
        *why = listing->why;
    }
    return listing->rc;
}

bool keys_names_keys(const struct keys *keys, size_t provider)
{
    struct kek_pool_provider status;
    kek_pool_provider_get(keys->pool, provider, &status);
    return status.names_keys;
}

bool keys_pin_count_low(const struct keys *keys, size_t provider)
{
    struct kek_pool_provider status;
    kek_pool_provider_get(keys->pool, provider, &status);
    return status.pin_count_low || keys->counted_low[provider];
}

/* Of what was made although its making was not confirmed, where the provider names its keys. */
static void find_name(struct keys *keys, size_t provider, uint32_t number, struct kek_id *kek_id)
{
    const struct listing *listing = &keys->listings[provider];
    keys_list_one(keys, provider, true);
    for (size_t i = 0; listing->rc == KEK_OK && i < listing->count; i++) {
        if (listing->versions[i].number == number && listing->versions[i].id_pad == 0) {
            *kek_id = listing->versions[i].id;
        }
    }
}

enum kek_rc keys_generate(struct keys *keys, size_t provider, uint32_t number,
                          struct kek_id *kek_id, enum kek_state state, struct kek_why *why)
{
    const struct kek_pool_request request = {.op = KEK_POOL_GENERATE,
                                             .provider = provider,
                                             .kek_id = *kek_id,
                                             .number = number,
                                             .state = state,
                                             .deadline_ms = deadline(keys)};
    enum kek_rc rc = ask_once(keys, &request, why);
    if (rc == KEK_OK) {
        *kek_id = keys->listings[provider].made;
    } else if (keys_names_keys(keys, provider)) {
        find_name(keys, provider, number, kek_id);
    }
    return rc;
}

enum kek_rc keys_make_audit_key(struct keys *keys, size_t provider, const struct kek_id *key_id,
                                struct kek_why *why)
{
    const struct kek_pool_request request = {.op = KEK_POOL_GENERATE,
                                             .provider = provider,
                                             .kek_id = *key_id,
                                             .audit = true,
                                             .deadline_ms = deadline(keys)};
    return ask_once(keys, &request, why);
}

bool keys_makes_macs(struct keys *keys, size_t provider)
{
    const struct kek_pool_request request = {.op = KEK_POOL_MAC,
                                             .provider = provider,
                                             .blob = kek_bytes_of("kekctl: is there a key?"),
                                             .deadline_ms = deadline(keys)};
    struct kek_why why;
    return ask_once(keys, &request, &why) == KEK_OK;
}

enum kek_rc keys_set_state(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                           enum kek_state state, struct kek_why *why)
{
    const struct kek_pool_request request = {.op = KEK_POOL_SET_STATE,
                                             .provider = provider,
                                             .kek_id = *kek_id,
                                             .state = state,
                                             .deadline_ms = deadline(keys)};
    return ask_once(keys, &request, why);
}

enum kek_rc keys_destroy(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                         struct kek_why *why)
{
    const struct kek_pool_request request = {.op = KEK_POOL_DESTROY,
                                             .provider = provider,
                                             .kek_id = *kek_id,
                                             .deadline_ms = deadline(keys)};
    return ask_once(keys, &request, why);
}

enum kek_rc keys_describe(struct keys *keys, size_t provider, const char *name, uint32_t skip)
{
    const struct kek_pool_request request = {.op = KEK_POOL_DESCRIBE,
                                             .provider = provider,
                                             .blob = kek_bytes_of(name),
                                             .number = skip,
                                             .deadline_ms = deadline(keys)};
    struct kek_why why;
    return ask_once(keys, &request, &why);
}

/* The certificates behind those that are there, if it is the same statement. */
static enum kek_rc join(struct listing *listing, const struct kek_provider_attested *before)
{
    struct kek_provider_attested *more = listing->attested;
    size_t have = before->certificate_count, room = KEK_PROVIDER_CERTIFICATES_MAX - have;
    bool same = more->total == before->total && more->statement_len == before->statement_len &&
                memcmp(more->statement, before->statement, before->statement_len) == 0;
    if (!same || more->certificate_count == 0 || more->certificate_count > room) {
        return listing->rc = kek_fail(&listing->why, KEK_UNAVAILABLE,
                                      "its statement changed while it was read: try again");
    }
    memmove(&more->certificates[have], &more->certificates[0],
            more->certificate_count * sizeof more->certificates[0]);
    memcpy(&more->certificates[0], &before->certificates[0], have * sizeof before->certificates[0]);
    more->certificate_count += have;
    return KEK_OK;
}

enum kek_rc keys_attest(struct keys *keys, size_t provider, const struct kek_id *kek_id)
{
    struct listing *listing = &keys->listings[provider];
    struct kek_pool_request request = {.op = KEK_POOL_ATTEST,
                                       .provider = provider,
                                       .kek_id = *kek_id,
                                       .deadline_ms = deadline(keys)};
    struct kek_why why;
    enum kek_rc rc = ask_once(keys, &request, &why);
    while (rc == KEK_OK && listing->attested->certificate_count < listing->attested->total) {
        KEK_AUTO_FREE struct kek_provider_attested *before = listing->attested;
        listing->attested = NULL;
        request.number = (uint32_t)before->certificate_count;
        rc = ask_once(keys, &request, &why);
        rc = rc == KEK_OK ? join(listing, before) : rc;
    }
    return rc;
}

bool keys_named(struct keys *keys, size_t *provider)
{
    for (size_t i = 0; i < keys->config->provider_count; i++) {
        if (strcmp(keys->config->providers[i].name, keys->ctl->provider) == 0) {
            *provider = i;
            return true;
        }
    }
    ctl_say(keys->ctl, "the configuration has no provider \"%s\"", keys->ctl->provider);
    keys->code = CTL_USAGE;
    return false;
}

size_t keys_probe(struct keys *keys)
{
    size_t first = 0, last = keys->config->provider_count, good = 0;
    if (keys->ctl->provider != NULL) {
        if (!keys_named(keys, &first)) {
            return 0;
        }
        last = first + 1;
    }
    for (size_t i = first; i < last; i++) {
        const struct kek_pool_request request = {
            .op = KEK_POOL_PROBE, .provider = i, .deadline_ms = deadline(keys)};
        ask(keys, &request);
    }
    wait_for_answers(keys);
    for (size_t i = first; i < last; i++) {
        complain(keys, i);
        good += keys->listings[i].rc == KEK_OK;
    }
    return good;
}
