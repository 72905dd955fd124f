/*
 * The token that a service lets us in by: got once, kept, renewed ahead of its end.
 *
 * `flight` is held by the one thread that asks the service; `lock` for a moment by whoever looks at what is there.
 * A thread that finds its token refused asks for `flight`, and finds a new one there if another was quicker.
 */
#include "kek/bridge.h"

#include <pthread.h>
#include <stdlib.h>
#include <time.h>

#include "kek/clock.h"
#include "kek/log.h"

#include "provider.pb-c.h"

#define AGAIN_MS 1000u /* between two refusals that are asked for */
#define RETRY_MS 5000u /* between two renewals that fail */
#define LIFETIME_MIN_MS \
    1000 /* of what is renewed: a service that grants less is asked each second */

struct kek_bridge_token {
    kek_bridge_grant_fn *grant;
    void *arg;
    uint64_t patience_ms;
    pthread_mutex_t flight;
    /* Of the thread that holds `flight`. */
    struct kek_provider_failure failure; /* the last refusal */
    uint64_t failed_ms;                  /* 0: the last one worked */
    bool refused; /* our credential was: it is not shown again, since services count that */
    pthread_mutex_t lock;
    pthread_cond_t changed;
    struct kek_secret *line;
    uint64_t serial;     /* of the line; 0: there is none */
    uint64_t renewal_ms; /* of kek_clock_ms(); UINT64_MAX: never */
    uint64_t
        full_ms; /* the lifetime of a new one; of the thread that holds `flight`, as is the next */
    uint64_t last_ms; /* what was granted last */
};

struct kek_bridge_token *kek_bridge_token_new(kek_bridge_grant_fn *grant, void *arg,
                                              uint64_t patience_ms)
{
    struct kek_bridge_token *token = calloc(1, sizeof *token);
    if (token == NULL) {
        return NULL;
    }
    token->grant = grant;
    token->arg = arg;
    token->patience_ms = patience_ms;
    token->renewal_ms = UINT64_MAX;
    (void)pthread_mutex_init(&token->flight, NULL);
    (void)pthread_mutex_init(&token->lock, NULL);
    (void)pthread_cond_init(&token->changed, NULL);
    return token;
}

void kek_bridge_token_free(struct kek_bridge_token *token)
{
    if (token != NULL) {
        kek_secret_free(token->line);
        (void)pthread_cond_destroy(&token->changed);
        (void)pthread_mutex_destroy(&token->lock);
        (void)pthread_mutex_destroy(&token->flight);
        free(token);
    }
}

static struct timespec at_ms(uint64_t ms)
{
    return (struct timespec){.tv_sec = (time_t)(ms / 1000), .tv_nsec = (long)(ms % 1000) * 1000000};
}

/* A renewal that gives the same line back leaves the sessions theirs. */
static void keep(struct kek_bridge_token *token, struct kek_bridge_grant *grant)
{
    uint64_t lifetime = grant->lifetime_ms;
    uint64_t now = kek_clock_ms();
    (void)pthread_mutex_lock(&token->lock);
    if (token->line == NULL || !kek_secret_equal(token->line, grant->token)) {
        kek_secret_free(token->line);
        token->line = grant->token;
        token->serial++;
    } else {
        kek_secret_free(grant->token);
    }
    grant->token = NULL;
    lifetime = lifetime != 0 && lifetime < LIFETIME_MIN_MS ? LIFETIME_MIN_MS : lifetime;
    token->renewal_ms = lifetime == 0 ? UINT64_MAX : now + lifetime - lifetime / 3;
    (void)pthread_cond_signal(&token->changed);
    (void)pthread_mutex_unlock(&token->lock);
}

/* With `flight` held. */
static bool get(struct kek_bridge_token *token, const struct kek_secret *renew,
                uint64_t deadline_ms, struct kek_provider_failure *failure)
{
    struct kek_bridge_grant grant = {.token = NULL};
    if (token->refused && renew == NULL) {
        *failure = token->failure;
        return false;
    }
    if (!token->grant(token->arg, renew, deadline_ms, &grant, failure)) {
        token->failure = *failure;
        token->failed_ms = kek_clock_ms();
        token->refused = token->refused || failure->cause == KEK__PROVIDER__CAUSE__PIN_REFUSED;
        return false;
    }
    token->failed_ms = 0;
    token->last_ms = grant.lifetime_ms;
    token->full_ms = renew == NULL ? grant.lifetime_ms : token->full_ms;
    keep(token, &grant);
    return true;
}

bool kek_bridge_token_get(struct kek_bridge_token *token, uint64_t deadline_ms,
                          struct kek_provider_failure *failure)
{
    (void)pthread_mutex_lock(&token->flight);
    bool good = get(token, NULL, deadline_ms, failure);
    (void)pthread_mutex_unlock(&token->flight);
    return good;
}

bool kek_bridge_token_line(struct kek_bridge_token *token, struct kek_bridge_line *line)
{
    struct kek_secret *copy = NULL;
    (void)pthread_mutex_lock(&token->lock);
    bool same = line->line != NULL && line->serial == token->serial;
    uint64_t serial = token->serial;
    if (!same) {
        copy = kek_secret_dup(kek_secret_bytes(token->line));
    }
    (void)pthread_mutex_unlock(&token->lock);
    if (same || copy == NULL) {
        return same;
    }
    kek_secret_free(line->line);
    *line = (struct kek_bridge_line){.line = copy, .serial = serial};
    return true;
}

void kek_bridge_line_done(struct kek_bridge_line *line)
{
    kek_secret_free(line->line);
    line->line = NULL;
}

static uint64_t serial_of(struct kek_bridge_token *token)
{
    (void)pthread_mutex_lock(&token->lock);
    uint64_t serial = token->serial;
    (void)pthread_mutex_unlock(&token->lock);
    return serial;
}

bool kek_bridge_token_refused(struct kek_bridge_token *token, const struct kek_bridge_line *line,
                              uint64_t deadline_ms, struct kek_provider_failure *failure)
{
    struct timespec until = at_ms(deadline_ms);
    if (pthread_mutex_clocklock(&token->flight, CLOCK_MONOTONIC, &until) != 0) {
        return kek_bridge_fail(failure, KEK__PROVIDER__STEP__PROVIDER_CALL,
                               KEK__PROVIDER__CAUSE__LINK,
                               "no new token within the time of the call");
    }
    bool good = serial_of(token) != line->serial;
    if (!good && token->failed_ms != 0 && kek_clock_ms() - token->failed_ms < AGAIN_MS) {
        *failure = token->failure;
    } else if (!good) {
        good = get(token, NULL, deadline_ms, failure);
    }
    (void)pthread_mutex_unlock(&token->flight);
    return good;
}

/* ---- the thread that renews it ---- */

static void wait_for_renewal(struct kek_bridge_token *token)
{
    (void)pthread_mutex_lock(&token->lock);
    while (token->renewal_ms > kek_clock_ms()) {
        uint64_t now = kek_clock_ms(), hour = now + 3600 * 1000;
        struct timespec until = at_ms(token->renewal_ms < hour ? token->renewal_ms : hour);
        (void)pthread_cond_clockwait(&token->changed, &token->lock, CLOCK_MONOTONIC, &until);
    }
    (void)pthread_mutex_unlock(&token->lock);
}

/* What cannot be renewed is got anew: some services end a token whatever is done. */
static void renew(struct kek_bridge_token *token, struct kek_bridge_line *line, bool *failing)
{
    struct kek_provider_failure failure = {0};
    uint64_t deadline_ms = kek_clock_ms() + token->patience_ms;
    bool good = kek_bridge_token_line(token, line);
    (void)pthread_mutex_lock(&token->flight);
    bool renewed = good && get(token, line->line, deadline_ms, &failure);
    /* What lives for less and less comes to an end that no renewal moves. */
    bool ends = renewed && token->last_ms != 0 && token->last_ms < token->full_ms / 2;
    good = good && ((renewed && !ends) || get(token, NULL, deadline_ms, &failure) || renewed);
    (void)pthread_mutex_unlock(&token->flight);
    if (!good) {
        (void)pthread_mutex_lock(&token->lock);
        token->renewal_ms = kek_clock_ms() + RETRY_MS;
        (void)pthread_mutex_unlock(&token->lock);
    }
    if (!good && !*failing) {
        kek_log(KEK_LOG_WARN, "the token could not be renewed, and is tried again: %s",
                failure.why.text);
    }
    *failing = !good;
}

static void *keep_renewed(void *arg)
{
    struct kek_bridge_token *token = arg;
    struct kek_bridge_line line = {.line = NULL};
    bool failing = false;
    for (;;) {
        wait_for_renewal(token);
        renew(token, &line, &failing);
    }
    return NULL;
}

bool kek_bridge_token_keep(struct kek_bridge_token *token)
{
    pthread_t id;
    if (pthread_create(&id, NULL, keep_renewed, token) != 0) {
        return false;
    }
    (void)pthread_detach(id);
    return true;
}
