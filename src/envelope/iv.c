#include "iv.h"

#include <string.h>

#include <openssl/rand.h>

#define BATCH_MAX 64

struct kek_iv_pool {
    size_t left;  /* ivs[0..left) are unused */
    size_t batch; /* how many were drawn the last time */
    uint8_t ivs[BATCH_MAX][ENVELOPE_IV_LEN];
};

struct kek_iv_pool *kek_iv_pool_new(void)
{
    return calloc(1, sizeof(struct kek_iv_pool));
}

void kek_iv_pool_free(struct kek_iv_pool *pool)
{
    if (pool != NULL) {
        kek_wipe(pool->ivs, pool->left * sizeof pool->ivs[0]);
        free(pool);
    }
}

/* One first, then twice as many each time: a key of strict mode takes no second. */
static bool draw(struct kek_iv_pool *pool)
{
    size_t batch = pool->batch == 0 ? 1 : 2 * pool->batch;
    batch = batch < BATCH_MAX ? batch : BATCH_MAX;
    pool->left = 0;
    if (RAND_bytes(pool->ivs[0], (int)(batch * sizeof pool->ivs[0])) != 1) {
        return false;
    }
    pool->left = pool->batch = batch;
    return true;
}

bool kek_iv_take(struct kek_iv_pool *pool, uint8_t iv[static ENVELOPE_IV_LEN])
{
    if (pool->left == 0 && !draw(pool)) {
        return false;
    }
    pool->left--;
    memcpy(iv, pool->ivs[pool->left], ENVELOPE_IV_LEN);
    kek_wipe(pool->ivs[pool->left], ENVELOPE_IV_LEN);
    return true;
}
