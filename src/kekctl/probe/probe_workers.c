#include "probe_workers.h"

#include <inttypes.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>

#include "kek/clock.h"

#define PREFIX "kekd-probe-"
#define PATIENCE_MS 10000 /* beyond the provider's start_timeout */
#define STRIKES_MAX 3

static void on_signal(uv_signal_t *handle, int number)
{
    struct probe_workers *workers = handle->data;
    (void)number;
    workers->interrupted++;
}

bool probe_workers_open(struct probe_workers *workers, const struct ctl *ctl,
                        const struct kek_config *config, size_t provider)
{
    static const int numbers[] = {SIGINT, SIGTERM};
    uint64_t name;
    *workers = (struct probe_workers){.ctl = ctl, .config = *config, .place = provider};
    login_log_init(&workers->logins, ctl, config);
    if (getentropy(&name, sizeof name) != 0) {
        ctl_say(ctl, "no random numbers");
        return false;
    }
    snprintf(workers->keyring, sizeof workers->keyring, PREFIX "%016" PRIx64, name);
    workers->provider = config->providers[provider];
    workers->provider.versions = NULL;
    workers->provider.version_count = 0;
    workers->config.keyring = workers->keyring;
    workers->config.providers = &workers->provider;
    workers->config.provider_count = 1;
    int rc = uv_loop_init(&workers->loop);
    if (rc != 0) {
        ctl_say(ctl, "cannot make an event loop: %s", uv_strerror(rc));
        return false;
    }
    workers->has_loop = true;
    for (size_t i = 0; i < 2; i++) {
        (void)uv_signal_init(&workers->loop, &workers->signals[i]);
        workers->signals[i].data = workers;
        (void)uv_signal_start(&workers->signals[i], on_signal, numbers[i]);
        uv_unref((uv_handle_t *)&workers->signals[i]);
    }
    return true;
}

static void provider_changed(void *arg, size_t provider)
{
    struct probe_pool *pool = arg;
    struct kek_pool_provider status;
    kek_pool_provider_get(pool->pool, provider, &status);
    if (status.health == KEK_POOL_PIN_REFUSED || status.why.rc == KEK_DENIED) {
        pool->strikes = STRIKES_MAX;
    } else if (status.why.rc != KEK_OK && status.spawned > pool->spawned) {
        pool->strikes++; /* an older one may be ready all the while */
    }
    pool->spawned = status.spawned;
}

static uint64_t spawned(const struct probe_pool *pool)
{
    struct kek_pool_provider status;
    kek_pool_provider_get(pool->pool, 0, &status);
    return status.spawned;
}

static void logged_in(void *arg, const struct kek_pool_login *login)
{
    struct probe_pool *pool = arg;
    struct probe_workers *workers = pool->workers;
    struct kek_pool_login told = *login;
    told.provider = workers->place;
    login_log_put(&workers->logins, NULL, &told);
}

static bool start(struct probe_workers *workers, struct probe_pool *pool, struct kek_why *why)
{
    const struct kek_pool_settings settings = {.config = &workers->config,
                                               .officer = true,
                                               .provider_changed = provider_changed,
                                               .logged_in = logged_in,
                                               .arg = pool};
    pool->workers = workers;
    pool->pool = kek_pool_new(&workers->loop, &settings, why);
    if (pool->pool != NULL) {
        kek_pool_start(pool->pool);
    }
    return pool->pool != NULL;
}

static void answered(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                     const struct kek_why *why)
{
    struct probe_answer *answer = arg;
    answer->call = NULL;
    answer->rc = rc;
    if (rc != KEK_OK) {
        answer->why = *why;
        return;
    }
    for (size_t i = 0; i < result->version_count; i++) {
        answer->listed = answer->listed || kek_id_equal(&result->versions[i].id, answer->kek_id);
    }
    answer->alg = result->alg;
    if (result->blob.len > 0 && result->blob.len <= sizeof answer->blob) {
        answer->blob_len = result->blob.len;
        memcpy(answer->blob, result->blob.data, result->blob.len);
    }
    if (result->tried != NULL) {
        answer->tried = *result->tried;
    }
}

static void give_up(struct probe_workers *workers, struct probe_pool *pool,
                    struct probe_answer *answer)
{
    struct kek_pool_provider status;
    kek_pool_cancel(answer->call);
    answer->call = NULL;
    if (workers->interrupted > workers->interruptible) {
        answer->rc = kek_fail(&answer->why, KEK_CANCELLED, "interrupted");
        return;
    }
    kek_pool_provider_get(pool->pool, 0, &status);
    answer->why = status.why;
    answer->rc = status.why.rc == KEK_OK ? KEK_UNAVAILABLE : status.why.rc;
}

/* The provider's name stands before each reason, and the row says it too. */
static void shorten(const struct probe_workers *workers, struct kek_why *why)
{
    size_t len = strlen(workers->provider.name);
    if (strncmp(why->text, workers->provider.name, len) == 0 &&
        strncmp(why->text + len, ": ", 2) == 0) {
        memmove(why->text, why->text + len + 2, strlen(why->text + len + 2) + 1);
    }
}

void probe_workers_ask(struct probe_workers *workers, enum probe_worker which,
                       struct kek_pool_request *request, struct probe_answer *answer)
{
    struct probe_pool *pool = &workers->pools[which];
    *answer = (struct probe_answer){.kek_id = &request->kek_id};
    if (pool->pool == NULL && !start(workers, pool, &answer->why)) {
        answer->rc = answer->why.rc;
        return;
    }
    request->provider = 0;
    request->fresh = which == PROBE_FRESH && pool->asked;
    request->deadline_ms = kek_clock_ms() + workers->provider.start_timeout_ms + PATIENCE_MS;
    pool->asked = true;
    pool->strikes = 0;
    pool->spawned = spawned(pool);
    answer->call = kek_pool_submit(pool->pool, request, answered, answer, &answer->why);
    if (answer->call == NULL) {
        answer->rc = answer->why.rc;
    }
    while (answer->call != NULL) {
        if (pool->strikes >= STRIKES_MAX || workers->interrupted > workers->interruptible) {
            give_up(workers, pool, answer);
            break;
        }
        (void)uv_run(&workers->loop, UV_RUN_ONCE);
    }
    shorten(workers, &answer->why);
}

const char *probe_workers_other(const struct probe_workers *workers, size_t i)
{
    static struct kek_pool_provider status;
    const struct probe_pool *pool = &workers->pools[PROBE_OFFICER];
    if (pool->pool == NULL) {
        return NULL;
    }
    kek_pool_provider_get(pool->pool, 0, &status);
    for (size_t n = 0; n < KEK_PROVIDER_OTHERS_MAX && status.others[n][0] != '\0'; n++) {
        if (strncmp(status.others[n], PREFIX, strlen(PREFIX)) == 0 && i-- == 0) {
            return status.others[n];
        }
    }
    return NULL;
}

static void pool_closed(void *arg)
{
    struct probe_pool *pool = arg;
    kek_pool_free(pool->pool);
    pool->pool = NULL;
}

void probe_workers_close(struct probe_workers *workers)
{
    if (!workers->has_loop) {
        return;
    }
    for (size_t i = 0; i < PROBE_WORKERS; i++) {
        if (workers->pools[i].pool != NULL) {
            kek_pool_close(workers->pools[i].pool, pool_closed, &workers->pools[i]);
        }
    }
    for (size_t i = 0; i < 2; i++) {
        uv_close((uv_handle_t *)&workers->signals[i], NULL);
    }
    (void)uv_run(&workers->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&workers->loop);
    login_log_done(&workers->logins);
}
