/* The store over all of it: its life, and what it looks at from time to time. */
#include "datakey/store.h"

#include "kek/clock.h"

void kek_datakey_verified(struct kek_datakey_store *store, struct kek_datakey_ref *ref)
{
    kek_secret_free(ref->data_key);
    ref->data_key = NULL;
    ref->verified = true;
    cache_put(store, ref);
}

void kek_datakey_review(struct kek_datakey_store *store)
{
    if (store->stopped) {
        return;
    }
    cache_review(store);
    damaged_forget(store);
    opening_review(store);
    sealing_review(store);
}

/* That one worker of several is gone is no news of the keyring's: those under way look for themselves. */

static void tend_due(uv_timer_t *timer)
{
    struct kek_datakey_store *store = timer->data;
    if (kek_clock_ms() - store->swept_ms >= SWEEP_MS) {
        cache_sweep(store);
    }
    opening_review(store);
    sealing_review(store);
    sealing_tend(store);
}

struct kek_datakey_store *kek_datakey_store_new(uv_loop_t *loop,
                                                const struct kek_datakey_settings *settings,
                                                struct kek_why *why)
{
    struct kek_datakey_store *store = calloc(1, sizeof *store);
    if (store == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the data keys");
        return NULL;
    }
    store->settings = *settings;
    store->swept_ms = kek_clock_ms();
    uv_timer_init(loop, &store->timer); /* never fails */
    store->timer.data = store;
    uv_timer_start(&store->timer, tend_due, TEND_MS, TEND_MS);
    uv_timer_init(loop, &store->late);
    store->late.data = store;
    return store;
}

static void land_all(struct fleet *fleet)
{
    struct kek_why why;
    kek_fail(&why, KEK_UNAVAILABLE, "kekd is stopping");
    while (fleet->flights != NULL) {
        flight_land(fleet->flights, KEK_UNAVAILABLE, NULL, &why);
    }
}

void kek_datakey_store_stop(struct kek_datakey_store *store)
{
    if (store->stopped) {
        return;
    }
    store->stopped = true;
    uv_close((uv_handle_t *)&store->timer, NULL);
    uv_close((uv_handle_t *)&store->late, NULL);
    sealing_stop(store);
    land_all(&store->to_seal);
    land_all(&store->to_open);
    cache_clear(store);
}

void kek_datakey_store_free(struct kek_datakey_store *store)
{
    free(store);
}

void kek_datakey_stats(const struct kek_datakey_store *store, struct kek_datakey_stats *stats)
{
    *stats = store->stats;
    stats->flights = store->to_seal.count + store->to_open.count;
}
