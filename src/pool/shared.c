#include "front.h"

#include <stdlib.h>

#include <utlist.h>

/* What all files of the pool need, and which needs none of them. */

const char *kek_pool_op_name(enum kek_pool_op op)
{
    static const char *const names[] = {
        [KEK_POOL_LIST] = "list",
        [KEK_POOL_WRAP] = "wrap",
        [KEK_POOL_UNWRAP] = "unwrap",
        [KEK_POOL_GENERATE] = "generate",
        [KEK_POOL_SET_STATE] = "set_state",
        [KEK_POOL_DESTROY] = "destroy",
        [KEK_POOL_PROBE] = "probe",
        [KEK_POOL_DESCRIBE] = "describe",
        [KEK_POOL_TRY_KEY] = "try_key",
        [KEK_POOL_ATTEST] = "attest",
        [KEK_POOL_MAC] = "mac",
    };
    return names[op];
}

const char *kek_pool_login_name(enum kek_pool_login_outcome outcome)
{
    static const char *const names[] = {[KEK_POOL_LOGIN_OK] = "ok",
                                        [KEK_POOL_LOGIN_REFUSED] = "refused",
                                        [KEK_POOL_LOGIN_UNCLEAR] = "unclear"};
    return names[outcome];
}

bool kek_pool_op_once(enum kek_pool_op op)
{
    return op >= KEK_POOL_GENERATE && op != KEK_POOL_MAC;
}

uint64_t kek_pool_jitter(uint64_t value)
{
    uint64_t fifth = value / 5, random;
    arc4random_buf(&random, sizeof random);
    return value - fifth + random % (2 * fifth + 1);
}

uint64_t kek_pool_later(uint64_t at, uint64_t span)
{
    uint64_t sum;
    return __builtin_add_overflow(at, span, &sum) ? KEK_NEVER : sum;
}

void kek_pool_due(struct kek_pool *pool, uint64_t at_ms)
{
    if (at_ms >= pool->armed_ms || pool->closing) {
        return;
    }
    pool->armed_ms = at_ms;
    uint64_t now = kek_clock_ms();
    uv_timer_start(&pool->timer, pool->on_due, at_ms > now ? at_ms - now : 0, 0);
}

struct kek_worker *kek_worker_next(const struct kek_pool *pool, const struct kek_worker *worker)
{
    struct kek_worker *next = worker == NULL ? NULL : worker->next;
    for (size_t i = worker == NULL ? 0 : worker->backend->index + 1;
         next == NULL && i < pool->backend_count; i++) {
        next = pool->backends[i].workers;
    }
    return next;
}

struct kek_worker *kek_pool_worker(const struct kek_pool *pool, uint64_t serial)
{
    struct kek_worker *worker;
    WORKER_FOREACH (pool, worker) {
        if (worker->serial == serial) {
            return worker;
        }
    }
    return NULL;
}

void kek_pool_check_closed(struct kek_pool *pool)
{
    bool busy = !pool->closing || pool->handles > 0;
    for (size_t i = 0; i < pool->backend_count; i++) {
        busy = busy || pool->backends[i].logins.writes > 0;
    }
    if (busy) {
        return;
    }
    pool->closed(pool->closed_arg);
}
