#include "front.h"

#include <stdio.h>
#include <string.h>

#include <utlist.h>

/* ms before its deadline that a waiting call gives up, so that its caller hears why */
#define GIVE_UP_MAX 50

static const struct kek_pool_times default_times = {
    .lock_retry = 20,
    .leave = 500,
    .login = 2000,
    .ghost = 500,
    .eof = 500,
    .pin_stat = 1000,
    .pin_look = 15000,
    .unready = 5000,
    .storm = 10000,
    .poison = 60000,
    .memory = 10000,
    .busy = 10,
};

struct kek_pool_times *kek_pool_times(struct kek_pool *pool)
{
    return &pool->times;
}

static void on_login_written(void *arg, const struct kek_why *why)
{
    struct kek_backend *backend = arg;
    if (why != NULL) {
        kek_backend_judge(backend, why);
    }
    kek_pool_check_closed(backend->pool);
}

static enum kek_rc init_backend(struct kek_pool *pool, size_t index, struct kek_why *why)
{
    struct kek_backend *backend = &pool->backends[index];
    const struct kek_config_provider *config = &pool->config->providers[index];
    bool officer = pool->settings.officer;
    backend->pool = pool;
    backend->index = index;
    backend->config = config;
    backend->logins = (struct kek_login_provider){
        .loop = pool->loop,
        .state_dir = pool->config->state_dir,
        .config = config,
        .officer = officer,
        .unsure_ms = 1000,
        .written = on_login_written,
        .arg = backend,
    };
    backend->unready_since_ms = backend->status.since_ms = kek_clock_ms();
    backend->status.name = config->name;
    /* Of the workers as configured, while one is replaced; each has a session besides those that serve. */
    backend->status.peak_sessions = (config->processes + 1) * (config->sessions + 1);
    backend->target = officer ? 1 : config->processes;
    backend->sessions = officer ? 1 : config->sessions;
    if (backend->target == 0 || backend->sessions == 0 ||
        backend->sessions > KEK_CONFIG_SESSIONS_MAX) {
        return kek_fail(why, KEK_INVALID, "provider %s: bad number of processes or sessions",
                        config->name);
    }
    /* With as many sessions as may be, named calls share them with the traffic; an officer names no worker. */
    backend->slots = backend->sessions + (officer || backend->sessions == KEK_FLIGHTS_MAX ? 0 : 1);
    if (kek_message_hello(backend, 1) == 0) {
        return kek_fail(why, KEK_TOO_LARGE,
                        "provider %s: its settings exceed a message of %u bytes", config->name,
                        KEK_PROVIDER_MESSAGE_MAX);
    }
    return kek_program_find(&backend->program, pool->settings.worker_dir, config, officer, why);
}

void kek_pool_free(struct kek_pool *pool)
{
    if (pool == NULL) {
        return;
    }
    for (size_t i = 0; i < pool->backend_count; i++) {
        kek_program_done(&pool->backends[i].program);
    }
    kek_message_wipe(pool);
    free(pool->backends);
    free(pool);
}

static void init_timer(struct kek_pool *pool, uv_timer_t *timer, void *data)
{
    uv_timer_init(pool->loop, timer);
    timer->data = data;
    pool->handles++;
}

struct kek_pool *kek_pool_new(uv_loop_t *loop, const struct kek_pool_settings *settings,
                              struct kek_why *why)
{
    enum kek_rc rc = kek_login_state_dir(settings->config->state_dir, why);
    if (rc != KEK_OK) {
        return NULL;
    }
    struct kek_pool *pool = calloc(1, sizeof *pool);
    if (pool == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the pool");
        return NULL;
    }
    pool->loop = loop;
    pool->settings = *settings;
    pool->config = settings->config;
    pool->times = default_times;
    pool->armed_ms = KEK_NEVER;
    pool->on_due = kek_due;
    pool->backend_count = settings->config->provider_count;
    pool->backends = calloc(pool->backend_count, sizeof *pool->backends);
    if (pool->backends == NULL) {
        pool->backend_count = 0;
        rc = kek_fail(why, KEK_NO_MEMORY, "no memory for the pool");
    }
    for (size_t i = 0; rc == KEK_OK && i < pool->backend_count; i++) {
        rc = init_backend(pool, i, why);
    }
    if (rc != KEK_OK) {
        kek_pool_free(pool);
        return NULL;
    }
    init_timer(pool, &pool->timer, pool);
    for (size_t i = 0; i < pool->backend_count; i++) {
        init_timer(pool, &pool->backends[i].timer, &pool->backends[i]);
        uv_fs_poll_init(loop, &pool->backends[i].pin_poll); /* never fails */
        pool->backends[i].pin_poll.data = &pool->backends[i];
        pool->handles++;
    }
    return pool;
}

void kek_pool_prefer(struct kek_pool *pool, enum kek_wrap_alg alg)
{
    for (size_t i = 0; i < pool->backend_count; i++) {
        pool->backends[i].alg = alg;
    }
}

void kek_pool_start(struct kek_pool *pool)
{
    uint64_t now = kek_clock_ms();
    pool->started = true;
    for (size_t i = 0; i < pool->backend_count; i++) {
        pool->backends[i].unready_since_ms = now;
        pool->backends[i].status.since_ms = now;
        kek_backend_ensure(&pool->backends[i]);
    }
}

static enum kek_rc check_provider(const struct kek_pool *pool,
                                  const struct kek_pool_request *request, struct kek_why *why)
{
    bool either = request->op == KEK_POOL_WRAP || request->op == KEK_POOL_UNWRAP;
    bool named = request->fresh || request->worker != 0;
    if (request->provider == KEK_POOL_ANY ? !either || named
                                          : request->provider >= pool->backend_count) {
        return kek_fail(why, KEK_INVALID, "%s needs a provider", kek_pool_op_name(request->op));
    }
    if (request->worker == 0) {
        return KEK_OK;
    }
    const struct kek_worker *worker = kek_pool_worker(pool, request->worker);
    if (request->fresh || request->worker == request->not_worker ||
        (worker != NULL && worker->backend->index != request->provider)) {
        return kek_fail(why, KEK_INVALID, "%s names a worker that may not answer it",
                        kek_pool_op_name(request->op));
    }
    return KEK_OK;
}

static enum kek_rc check_request(const struct kek_pool *pool,
                                 const struct kek_pool_request *request, struct kek_why *why)
{
    if (pool->closing) {
        return kek_fail(why, KEK_UNAVAILABLE, "the pool is closing");
    }
    if (kek_pool_op_once(request->op) && !pool->settings.officer) {
        return kek_fail(why, KEK_INVALID, "%s needs an officer's pool",
                        kek_pool_op_name(request->op));
    }
    enum kek_rc rc = check_provider(pool, request, why);
    if (rc != KEK_OK) {
        return rc;
    }
    if (request->op == KEK_POOL_WRAP &&
        (request->data_key == NULL ||
         kek_secret_bytes(request->data_key).len != KEK_DATA_KEY_LEN)) {
        return kek_fail(why, KEK_INVALID, "a data key has %d bytes", KEK_DATA_KEY_LEN);
    }
    if (request->op == KEK_POOL_DESCRIBE) {
        return request->blob.len > 0 && request->blob.len <= KEK_PROVIDER_NAME_MAX
                   ? KEK_OK
                   : kek_fail(why, KEK_INVALID, "a key's name has 1 to %d bytes",
                              KEK_PROVIDER_NAME_MAX);
    }
    if (request->op == KEK_POOL_MAC) {
        return request->blob.len > 0 && request->blob.len <= KEK_PROVIDER_MAC_TEXT_MAX
                   ? KEK_OK
                   : kek_fail(why, KEK_INVALID, "a text to be MACed has 1 to %d bytes",
                              KEK_PROVIDER_MAC_TEXT_MAX);
    }
    if (request->op != KEK_POOL_UNWRAP && request->blob.len == 0) {
        return KEK_OK;
    }
    if (request->blob.len == 0 || request->blob.len > KEK_WRAPPED_MAX) {
        return kek_fail(why, KEK_INVALID, "a wrapped data key has 1 to %d bytes", KEK_WRAPPED_MAX);
    }
    if (request->provider == KEK_POOL_ANY && kek_poison_is(pool, request->blob)) {
        return kek_fail(why, KEK_INTERNAL,
                        "two workers ended while they worked on it, less than a minute ago");
    }
    return KEK_OK;
}

static struct kek_pool_call *new_call(struct kek_pool *pool, const struct kek_pool_request *request)
{
    size_t blob_len = request->blob.len;
    struct kek_pool_call *call = calloc(1, sizeof *call + blob_len);
    if (call == NULL) {
        return NULL;
    }
    if (request->op == KEK_POOL_WRAP) {
        call->data_key = kek_secret_dup(kek_secret_bytes(request->data_key));
        if (call->data_key == NULL) {
            free(call);
            return NULL;
        }
    }
    if (blob_len > 0) {
        memcpy(call->blob, request->blob.data, blob_len);
    }
    call->blob_len = blob_len;
    call->pool = pool;
    call->sequence = ++pool->sequence;
    call->avoid = KEK_POOL_ANY;
    call->number = request->number;
    call->state = request->state;
    call->alg = request->alg;
    call->handle = request->handle;
    call->copy = request->copy;
    call->audit = request->audit;
    return call;
}

static void set_times(struct kek_pool_call *call, uint64_t deadline_ms)
{
    uint64_t now = kek_clock_ms();
    call->deadline_ms = call->give_up_ms = deadline_ms;
    call->hedge_ms = KEK_NEVER;
    if (deadline_ms == KEK_NEVER || deadline_ms <= now) {
        return;
    }
    call->span_ms = deadline_ms - now;
    uint64_t tenth = call->span_ms / 10;
    call->give_up_ms -= tenth < GIVE_UP_MAX ? tenth : GIVE_UP_MAX;
    if (call->lane->op == KEK_POOL_WRAP || call->lane->op == KEK_POOL_UNWRAP) {
        call->hedge_ms = now + 1 + call->span_ms / 3;
    }
}

struct kek_pool_call *kek_pool_submit(struct kek_pool *pool, const struct kek_pool_request *request,
                                      kek_pool_done_fn *done, void *arg, struct kek_why *why)
{
    enum kek_rc rc = check_request(pool, request, why);
    if (rc != KEK_OK) {
        return NULL;
    }
    if (pool->calls >= KEK_POOL_QUEUE_MAX) {
        kek_fail(why, KEK_EXHAUSTED, "%d calls are waiting or running", KEK_POOL_QUEUE_MAX);
        return NULL;
    }
    /* A worker that was spawned before now may have cached what the caller wants to see. */
    uint64_t newer_than = request->fresh ? pool->serial : 0;
    struct kek_lane *lane = kek_lane_join(pool, request, newer_than);
    if (lane == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a call");
        return NULL;
    }
    rc = kek_choose_hope(pool, lane, why);
    struct kek_pool_call *call = rc == KEK_OK ? new_call(pool, request) : NULL;
    if (call == NULL) {
        kek_lane_leave(pool, lane);
        if (rc == KEK_OK) {
            kek_fail(why, KEK_NO_MEMORY, "no memory for a call");
        }
        return NULL;
    }
    call->lane = lane;
    call->done = done;
    call->arg = arg;
    set_times(call, request->deadline_ms);
    pool->calls++;
    if (request->fresh) {
        call->fresh = true;
        struct kek_backend *backend = &pool->backends[request->provider];
        backend->fresh_serial = newer_than;
        backend->fresh_calls++;
        kek_pool_due(pool, 0);
    }
    bool expired = call->span_ms == 0 && call->deadline_ms != KEK_NEVER;
    if (expired || lane->queue != NULL || !kek_dispatch_one(call)) {
        kek_call_wait(call);
    }
    return call;
}

void kek_pool_cancel(struct kek_pool_call *call)
{
    call->done = NULL;
    kek_call_finish(call, KEK_CANCELLED, NULL, NULL);
}

size_t kek_pool_provider_count(const struct kek_pool *pool)
{
    return pool->backend_count;
}

void kek_pool_recheck(struct kek_pool *pool)
{
    pool->recheck = true;
    kek_pool_due(pool, 0);
}

size_t kek_pool_queued(const struct kek_pool *pool)
{
    return pool->waiting;
}

void kek_pool_provider_get(const struct kek_pool *pool, size_t provider,
                           struct kek_pool_provider *status)
{
    const struct kek_backend *backend = &pool->backends[provider];
    *status = backend->status;
    const struct kek_worker *worker;
    DL_FOREACH (backend->workers, worker) {
        status->workers_ready += worker->state == KEK_WORKER_READY;
        status->calls_running += worker->running;
    }
}

bool kek_pool_is_serial(const char *serial)
{
    return serial[strspn(serial, "0 ")] != '\0';
}

size_t kek_pool_twin(const struct kek_pool *pool, size_t provider)
{
    const struct kek_backend *one = &pool->backends[provider];
    for (size_t i = 0; kek_pool_is_serial(one->status.serial) && i < pool->config->provider_count;
         i++) {
        const struct kek_backend *other = &pool->backends[i];
        if (i != provider && strcmp(one->status.serial, other->status.serial) == 0 &&
            strcmp(one->status.model, other->status.model) == 0) {
            return i;
        }
    }
    return KEK_POOL_ANY;
}

size_t kek_pool_workers(const struct kek_pool *pool, size_t provider,
                        struct kek_pool_worker workers[static KEK_POOL_WORKERS_MAX])
{
    size_t count = 0;
    const struct kek_worker *worker;
    DL_FOREACH (pool->backends[provider].workers, worker) {
        if (worker->state == KEK_WORKER_READY && count < KEK_POOL_WORKERS_MAX) {
            workers[count++] = (struct kek_pool_worker){
                .serial = worker->serial,
                .token = worker->token,
                .versions = worker->versions,
                .version_count = worker->version_count,
            };
        }
    }
    return count;
}

bool kek_pool_idle(const struct kek_pool *pool, uint64_t worker)
{
    const struct kek_worker *found = kek_pool_worker(pool, worker);
    return found == NULL || found->running == found->aside;
}

bool kek_pool_starts(const struct kek_pool *pool, size_t provider)
{
    const struct kek_worker *worker;
    DL_FOREACH (pool->backends[provider].workers, worker) {
        if (worker->state < KEK_WORKER_READY) {
            return true;
        }
    }
    return false;
}

void kek_pool_retire(struct kek_pool *pool, uint64_t worker)
{
    struct kek_worker *found = kek_pool_worker(pool, worker);
    if (found != NULL) {
        found->worn = true;
        kek_pool_recheck(pool);
    }
}

void kek_pool_end(struct kek_pool *pool, uint64_t worker, const struct kek_why *why)
{
    struct kek_worker *found = kek_pool_worker(pool, worker);
    if (found != NULL) {
        kek_worker_end(found, why);
    }
}

static void on_handle_closed(uv_handle_t *handle)
{
    struct kek_pool *pool = handle->data;
    pool->handles--;
    kek_pool_check_closed(pool);
}

static void close_handle(struct kek_pool *pool, uv_handle_t *handle)
{
    handle->data = pool;
    uv_close(handle, on_handle_closed);
}

static struct kek_pool_call *any_call(struct kek_pool *pool)
{
    if (pool->later != NULL) {
        return pool->later;
    }
    struct kek_lane *lane;
    DL_FOREACH (pool->lanes, lane) {
        if (lane->queue != NULL) {
            return lane->queue;
        }
    }
    const struct kek_worker *worker;
    WORKER_FOREACH (pool, worker) {
        for (unsigned slot = 0; slot < worker->backend->slots; slot++) {
            if (worker->flights[slot].call != NULL) {
                return worker->flights[slot].call;
            }
        }
    }
    return NULL;
}

static void close_workers(struct kek_backend *backend)
{
    struct kek_worker *worker;
    DL_FOREACH (backend->workers, worker) {
        if (kek_start_hear_out(worker)) {
            continue;
        }
        if (worker->state < KEK_WORKER_LEAVING) {
            kek_login_unlock(&worker->login);
            kek_worker_close(worker);
        } else if (worker->state == KEK_WORKER_GHOST) {
            kek_worker_gone(worker);
        }
    }
    close_handle(backend->pool, (uv_handle_t *)&backend->timer);
    close_handle(backend->pool, (uv_handle_t *)&backend->pin_poll);
}

void kek_pool_close(struct kek_pool *pool, void (*closed)(void *arg), void *arg)
{
    pool->closing = true;
    pool->closed = closed;
    pool->closed_arg = arg;
    struct kek_why why;
    kek_fail(&why, KEK_UNAVAILABLE, "the pool is closing");
    while (pool->calls > 0) {
        kek_call_finish(any_call(pool), KEK_UNAVAILABLE, NULL, &why);
    }
    for (size_t i = 0; i < pool->backend_count; i++) {
        close_workers(&pool->backends[i]);
    }
    close_handle(pool, (uv_handle_t *)&pool->timer);
}
