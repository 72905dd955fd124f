#include "rig.h"

#include <signal.h>
#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

#define PATIENCE_MS 10000 /* beyond the provider's start_timeout */
#define STRIKES_MAX 3
#define ARENA (256u * 1024)

static const struct {
    bool officer, many_processes, many_sessions;
} roles[RIG_ROLES] = {
    [RIG_OFFICER] = {.officer = true},
    [RIG_RUNNING] = {.officer = true},
    [RIG_FRESH] = {.officer = true},
    [RIG_SESSIONS] = {.many_sessions = true},
    [RIG_PROCESSES] = {.many_processes = true, .many_sessions = true},
};

static void on_signal(uv_signal_t *handle, int number)
{
    struct rig *rig = handle->data;
    (void)number;
    rig->interrupted++;
}

/* What ends a program; SIGHUP does not where it is ignored, as under nohup(1). */
static bool is_watched(int number)
{
    struct sigaction before;
    return number != SIGHUP || sigaction(SIGHUP, NULL, &before) != 0 ||
           before.sa_handler != SIG_IGN;
}

static bool start_loop(struct rig *rig)
{
    static const int numbers[RIG_SIGNALS] = {SIGINT, SIGTERM, SIGHUP, SIGQUIT};
    int rc = uv_loop_init(&rig->loop);
    if (rc != 0) {
        ctl_say(rig->ctl, "cannot make an event loop: %s", uv_strerror(rc));
        return false;
    }
    rig->has_loop = true;
    for (size_t i = 0; i < RIG_SIGNALS; i++) {
        (void)uv_signal_init(&rig->loop, &rig->signals[i]);
        rig->signals[i].data = rig;
        if (is_watched(numbers[i])) {
            (void)uv_signal_start(&rig->signals[i], on_signal, numbers[i]);
        }
        uv_unref((uv_handle_t *)&rig->signals[i]);
    }
    return true;
}

bool rig_open(struct rig *rig, const struct ctl *ctl, const struct kek_config *config,
              size_t provider, const char *keyring, struct kek_config_version *versions,
              size_t version_count)
{
    struct kek_why why;
    bool locked;
    *rig = (struct rig){.ctl = ctl, .place = provider, .processes = 1, .sessions = 1};
    login_log_init(&rig->logins, ctl, config);
    snprintf(rig->keyring, sizeof rig->keyring, "%s", keyring);
    for (size_t i = 0; i < RIG_ROLES; i++) {
        struct rig_pool *pool = &rig->pools[i];
        pool->rig = rig;
        pool->config = *config;
        pool->provider = config->providers[provider];
        pool->provider.versions = versions;
        pool->provider.version_count = version_count;
        pool->config.keyring = rig->keyring;
        pool->config.providers = &pool->provider;
        pool->config.provider_count = 1;
    }
    (void)signal(SIGPIPE, SIG_IGN); /* a worker that dies is an answer that does not come */
    if (kek_secret_setup(ARENA, &locked, &why) != KEK_OK) {
        ctl_say(ctl, "%s", why.text);
        return false;
    }
    return start_loop(rig);
}

static void provider_changed(void *arg, size_t provider)
{
    struct rig_pool *pool = arg;
    struct kek_pool_provider status;
    kek_pool_provider_get(pool->pool, provider, &status);
    if (status.why.rc != KEK_OK) {
        pool->rig->last = status.why;
    }
    if (status.health == KEK_POOL_PIN_REFUSED || status.why.rc == KEK_DENIED) {
        pool->strikes = STRIKES_MAX;
    } else if (status.why.rc != KEK_OK && status.spawned > pool->spawned) {
        pool->strikes++; /* an older one may be ready all the while */
    }
    pool->spawned = status.spawned;
}

static void logged_in(void *arg, const struct kek_pool_login *login)
{
    struct rig *rig = ((struct rig_pool *)arg)->rig;
    struct kek_pool_login told = *login;
    told.provider = rig->place;
    login_log_put(&rig->logins, NULL, &told);
}

struct kek_pool *rig_pool(struct rig *rig, enum rig_role role, struct kek_why *why)
{
    struct rig_pool *pool = &rig->pools[role];
    if (pool->pool != NULL) {
        return pool->pool;
    }
    const struct kek_pool_settings settings = {.config = &pool->config,
                                               .officer = roles[role].officer,
                                               .provider_changed = provider_changed,
                                               .logged_in = logged_in,
                                               .arg = pool};
    pool->provider.processes = roles[role].many_processes ? rig->processes : 1;
    pool->provider.sessions = roles[role].many_sessions ? rig->sessions : 1;
    pool->asked = false;
    pool->noted = 0;
    pool->pool = kek_pool_new(&rig->loop, &settings, why);
    if (pool->pool != NULL) {
        kek_pool_start(pool->pool);
    }
    return pool->pool;
}

static void add_troubles(struct rig_pool *from, struct rig_troubles *troubles)
{
    const struct kek_pool *pool = from->pool;
    struct kek_pool_provider status;
    kek_pool_provider_get(pool, 0, &status);
    if (status.resent + status.again > from->noted) {
        from->noted = status.resent + status.again;
        from->rig->last = status.again_why;
    }
    troubles->resent += status.resent;
    troubles->again += status.again;
    troubles->spawned += status.spawned;
    troubles->crashed += status.crashed;
    troubles->killed += status.killed;
    troubles->failures += status.failures;
    for (enum kek_pool_op op = 0; op < KEK_POOL_OPS_TIMED; op++) {
        const struct kek_pool_timing *timing = kek_pool_timing(pool, 0, op);
        troubles->calls += timing->failed + timing->timeouts + timing->lost;
    }
}

struct rig_troubles rig_troubles(struct rig *rig)
{
    struct rig_troubles troubles = rig->gone;
    for (size_t i = 0; i < RIG_ROLES; i++) {
        if (rig->pools[i].pool != NULL) {
            add_troubles(&rig->pools[i], &troubles);
        }
    }
    return troubles;
}

void rig_status(const struct rig *rig, enum rig_role role, struct kek_pool_provider *status)
{
    *status = (struct kek_pool_provider){.name = rig->pools[role].provider.name};
    if (rig->pools[role].pool != NULL) {
        kek_pool_provider_get(rig->pools[role].pool, 0, status);
    }
}

bool rig_trials_unseen(const struct kek_pool_provider *status)
{
    for (size_t i = 0; i < KEK_PROVIDER_OTHERS_MAX; i++) {
        if (!kek_wire_is_trial(status->others[i])) {
            return false; /* which one of them would stand in its place */
        }
    }
    return status->more_others;
}

void rig_take_signals(struct rig *rig)
{
    (void)uv_run(&rig->loop, UV_RUN_NOWAIT);
}

static void pool_closed(void *arg)
{
    struct rig_pool *pool = arg;
    kek_pool_free(pool->pool);
    pool->pool = NULL;
}

void rig_end(struct rig *rig, enum rig_role role)
{
    struct rig_pool *pool = &rig->pools[role];
    if (pool->pool == NULL) {
        return;
    }
    add_troubles(pool, &rig->gone);
    kek_pool_close(pool->pool, pool_closed, pool);
    while (pool->pool != NULL) {
        (void)uv_run(&rig->loop, UV_RUN_ONCE);
    }
}

static void wipe(struct rig_answer *answer)
{
    kek_secret_free(answer->data_key);
    memset(answer, 0, sizeof *answer);
}

void rig_close(struct rig *rig)
{
    wipe(&rig->answer);
    if (!rig->has_loop) {
        login_log_done(&rig->logins);
        return;
    }
    for (size_t i = 0; i < RIG_ROLES; i++) {
        if (rig->pools[i].pool != NULL) {
            kek_pool_close(rig->pools[i].pool, pool_closed, &rig->pools[i]);
        }
    }
    for (size_t i = 0; i < RIG_SIGNALS; i++) {
        uv_close((uv_handle_t *)&rig->signals[i], NULL);
    }
    (void)uv_run(&rig->loop, UV_RUN_DEFAULT);
    (void)uv_loop_close(&rig->loop);
    rig->has_loop = false;
    login_log_done(&rig->logins);
}

static void answered(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                     const struct kek_why *why)
{
    struct rig_answer *answer = arg;
    answer->call = NULL;
    answer->rc = rc;
    if (rc != KEK_OK) {
        answer->why = *why;
        return;
    }
    answer->made = result->made;
    answer->alg = result->alg;
    answer->data_key = KEK_STEAL(result->data_key);
    if (result->blob.len > 0 && result->blob.len <= sizeof answer->blob) {
        answer->blob_len = result->blob.len;
        memcpy(answer->blob, result->blob.data, result->blob.len);
    }
    if (result->version_count > 0) {
        answer->version_count = result->version_count;
        memcpy(answer->versions, result->versions,
               result->version_count * sizeof *result->versions);
    }
    if (result->tried != NULL) {
        answer->tried = *result->tried;
    }
    if (result->probed != NULL) {
        answer->probed = *result->probed;
    }
}

static void give_up(struct rig *rig, struct rig_pool *pool, struct rig_answer *answer)
{
    struct kek_pool_provider status;
    kek_pool_cancel(answer->call);
    answer->call = NULL;
    if (rig->interrupted > rig->interruptible) {
        answer->rc = kek_fail(&answer->why, KEK_CANCELLED, "interrupted");
        return;
    }
    kek_pool_provider_get(pool->pool, 0, &status);
    answer->why = status.why;
    answer->rc = status.why.rc == KEK_OK ? KEK_UNAVAILABLE : status.why.rc;
}

/* The provider's name stands before each reason, and whoever asked knows it. */
static void shorten(const char *name, struct kek_why *why)
{
    const char *rest = kek_text_after_name(why->text, name);
    memmove(why->text, rest, strlen(rest) + 1);
}

uint64_t rig_deadline(const struct rig *rig)
{
    return kek_clock_ms() + rig->pools[0].provider.start_timeout_ms + PATIENCE_MS;
}

const struct rig_answer *rig_ask(struct rig *rig, enum rig_role role,
                                 struct kek_pool_request *request)
{
    struct rig_answer *answer = &rig->answer;
    struct rig_pool *pool = &rig->pools[role];
    struct kek_pool_provider status;
    wipe(answer);
    if (rig_pool(rig, role, &answer->why) == NULL) {
        answer->rc = answer->why.rc;
        return answer;
    }
    request->provider = 0;
    request->fresh = request->fresh && pool->asked; /* the first one's is fresh already */
    request->deadline_ms = rig_deadline(rig);
    kek_pool_provider_get(pool->pool, 0, &status);
    pool->asked = true;
    pool->strikes = 0;
    pool->spawned = status.spawned;
    answer->call = kek_pool_submit(pool->pool, request, answered, answer, &answer->why);
    if (answer->call == NULL) {
        answer->rc = answer->why.rc;
    }
    while (answer->call != NULL) {
        if (pool->strikes >= STRIKES_MAX || rig->interrupted > rig->interruptible) {
            give_up(rig, pool, answer);
            break;
        }
        (void)uv_run(&rig->loop, UV_RUN_ONCE);
    }
    shorten(pool->provider.name, &answer->why);
    return answer;
}

const struct kek_version *rig_version(const struct rig_answer *answer, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < answer->version_count; i++) {
        if (kek_id_equal(&answer->versions[i].id, kek_id)) {
            return &answer->versions[i];
        }
    }
    return NULL;
}

const struct rig_answer *rig_wrap(struct rig *rig, enum rig_role role, const struct kek_id *kek_id,
                                  const struct kek_secret *data_key)
{
    struct kek_pool_request request = {
        .op = KEK_POOL_WRAP, .kek_id = *kek_id, .data_key = data_key};
    return rig_ask(rig, role, &request);
}

const struct rig_answer *rig_unwrap(struct rig *rig, enum rig_role role,
                                    const struct kek_id *kek_id, enum kek_wrap_alg alg,
                                    struct kek_bytes blob)
{
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP, .kek_id = *kek_id, .alg = alg, .blob = blob};
    return rig_ask(rig, role, &request);
}
