#include "keys.h"

#include <inttypes.h>
#include <signal.h>
#include <string.h>
#include <unistd.h>

#include "on_record.h"
#include "kek/clock.h"

#define ARENA (256u * 1024)
#define PATIENCE_MS 10000 /* beyond a provider's start_timeout */
#define STRIKES_MAX 3
#define SILENCE_MS 3000 /* that a person bears */

bool keys_open(struct keys *keys, const struct ctl *ctl)
{
    *keys = (struct keys){.ctl = ctl, .code = CTL_FAILED, .audit = -1};
    keys->config = ctl_config(ctl);
    if (keys->config == NULL) {
        keys->code = CTL_USAGE;
    }
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
    const struct keys *keys = arg;
    const struct kek_audit_act act = {
        .event = "login",
        .outcome = kek_pool_login_name(login->outcome),
        .provider = keys->config->providers[login->provider].name,
        .token = login->token,
        .why = login->why,
    };
    (void)ctl_audit(keys->ctl, keys->audit, &act);
}

bool keys_start(struct keys *keys, bool officer)
{
    struct kek_why why = {.rc = KEK_OK};
    bool locked;
    /* A worker that dies is an answer that does not come, not the end of kekctl. */
    (void)signal(SIGPIPE, SIG_IGN);
    (void)signal(SIGXFSZ, SIG_IGN); /* a limit on file sizes is a full disk: the write says so */
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
    }
    kek_config_free(keys->config);
    if (keys->audit >= 0) {
        close(keys->audit);
    }
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
    for (size_t i = 0; i < keys->config->provider_count; i++) {
        const struct listing *listing = &keys->listings[i];
        uint64_t now = kek_clock_ms();
        if (listing->call != NULL && listing->deadline_ms > now) {
            ctl_say(keys->ctl, "%s has not answered yet: waiting for %" PRIu64 " s more",
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
}

static void ask(struct keys *keys, const struct kek_pool_request *request)
{
    struct listing *listing = &keys->listings[request->provider];
    free(listing->versions);
    free(listing->probed);
    free(listing->described);
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

static void complain(const struct keys *keys, size_t provider)
{
    const struct listing *listing = &keys->listings[provider];
    const char *name = keys->config->providers[provider].name;
    bool named = strncmp(listing->why.text, name, strlen(name)) == 0;
    if (listing->rc != KEK_OK) {
        ctl_say(keys->ctl, "%s%s%s", named ? "" : name, named ? "" : ": ", listing->why.text);
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

enum kek_rc keys_generate(struct keys *keys, size_t provider, uint32_t number,
                          const struct kek_id *kek_id, enum kek_state state, struct kek_why *why)
{
    const struct kek_pool_request request = {.op = KEK_POOL_GENERATE,
                                             .provider = provider,
                                             .kek_id = *kek_id,
                                             .number = number,
                                             .state = state,
                                             .deadline_ms = deadline(keys)};
    return ask_once(keys, &request, why);
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

struct unwrapping {
    bool over;
    enum kek_rc rc;
    struct kek_why why;
    struct kek_secret *data_key;
};

static void unwrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                      const struct kek_why *why)
{
    struct unwrapping *unwrapping = arg;
    unwrapping->over = true;
    unwrapping->rc = rc;
    if (rc == KEK_OK) {
        unwrapping->data_key = KEK_STEAL(result->data_key);
    } else {
        unwrapping->why = *why;
    }
}

enum kek_rc keys_unwrap(struct keys *keys, size_t provider, const struct kek_id *kek_id,
                        enum kek_wrap_alg alg, struct kek_bytes wrapped,
                        struct kek_secret **data_key, struct kek_why *why)
{
    const struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = provider,
        .kek_id = *kek_id,
        .alg = alg,
        .blob = wrapped,
        .deadline_ms = kek_clock_ms() + 2 * keys->config->providers[provider].timeout_ms,
    };
    struct unwrapping unwrapping = {.rc = KEK_OK};
    if (kek_pool_submit(keys->pool, &request, unwrapped, &unwrapping, why) == NULL) {
        return why->rc;
    }
    while (!unwrapping.over) {
        (void)uv_run(&keys->loop, UV_RUN_ONCE);
    }
    if (unwrapping.rc == KEK_OK) {
        *data_key = unwrapping.data_key;
    } else {
        *why = unwrapping.why;
    }
    return unwrapping.rc;
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
