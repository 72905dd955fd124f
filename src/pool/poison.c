#include "front.h"

#include <string.h>

/* Blobs on which two workers ended, so that they do not end the next ones. */

bool kek_poison_is(const struct kek_pool *pool, struct kek_bytes blob)
{
    uint64_t now = 0;
    for (size_t i = 0; i < KEK_POISON_MAX && i < pool->poison_next; i++) {
        const struct kek_poison *poison = &pool->poison[i];
        if (kek_bytes_equal(kek_bytes(poison->blob, poison->len), blob)) {
            now = now == 0 ? kek_clock_ms() : now;
            if (now < poison->until_ms) {
                return true;
            }
        }
    }
    return false;
}

/* A blob of a call that names a provider is not remembered: it is kekd's own, by which the next worker
 * is to be judged too. */
void kek_poison_remember(struct kek_pool_call *call)
{
    struct kek_pool *pool = call->pool;
    if (call->lane->op != KEK_POOL_UNWRAP || call->lane->provider != KEK_POOL_ANY) {
        return;
    }
    struct kek_poison *poison = &pool->poison[pool->poison_next++ % KEK_POISON_MAX];
    poison->until_ms = kek_pool_later(kek_clock_ms(), pool->times.poison);
    poison->len = call->blob_len;
    memcpy(poison->blob, call->blob, call->blob_len);
}
