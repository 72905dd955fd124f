#include "iv.h"

#include <pthread.h>
#include <string.h>

#include <openssl/rand.h>

#define BATCH_MAX 64

struct kek_iv_pool {
    size_t left;         /* ivs[0..left) are unused */
    size_t batch;        /* how many were drawn the last time */
    unsigned generation; /* of the process that drew them */
    uint8_t ivs[BATCH_MAX][ENVELOPE_IV_LEN];
};

static unsigned generation; /* changes in the child of each fork, before it can run anything else */

static void new_generation(void)
{
    generation++;
}

static bool watching;

static void watch_forks(void)
{
    watching = pthread_atfork(NULL, NULL, new_generation) == 0;
}

struct kek_iv_pool *kek_iv_pool_new(void)
{
    static pthread_once_t once = PTHREAD_ONCE_INIT;
    pthread_once(&once, watch_forks);
    return watching ? calloc(1, sizeof(struct kek_iv_pool)) : NULL;
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
    pool->generation = generation;
    return true;
}

bool kek_iv_take(struct kek_iv_pool *pool, uint8_t iv[static ENVELOPE_IV_LEN])
{
    if ((pool->left == 0 || pool->generation != generation) && !draw(pool)) {
        return false;
    }
    pool->left--;
    memcpy(iv, pool->ivs[pool->left], ENVELOPE_IV_LEN);
    kek_wipe(pool->ivs[pool->left], ENVELOPE_IV_LEN);
    return true;
}
