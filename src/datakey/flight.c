/* A flight: one data key on its way to or from the HSM, and everybody who waits for it. */
#include "datakey/store.h"

#include "kek/clock.h"

struct flight *flight_new(struct kek_datakey_store *store, struct kek_why *why)
{
    if (store->stopped) {
        kek_fail(why, KEK_UNAVAILABLE, "kekd is stopping");
        return NULL;
    }
    if (store->stats.flights >= KEK_DATAKEY_FLIGHTS_MAX) {
        kek_fail(why, KEK_EXHAUSTED, "%d data keys are on their way to the HSM already",
                 KEK_DATAKEY_FLIGHTS_MAX);
        return NULL;
    }
    struct flight *flight = calloc(1, sizeof *flight);
    if (flight == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to ask the HSM");
        return NULL;
    }
    flight->store = store;
    DL_APPEND(store->flights, flight);
    store->stats.flights++;
    return flight;
}

struct kek_datakey_wait *flight_join(struct flight *flight, uint64_t deadline_ms,
                                     kek_datakey_done_fn *done, void *arg, struct kek_why *why)
{
    struct kek_datakey_wait *wait = malloc(sizeof *wait);
    if (wait == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to wait for the HSM");
        return NULL;
    }
    *wait = (struct kek_datakey_wait){
        .flight = flight, .deadline_ms = deadline_ms, .done = done, .arg = arg};
    DL_APPEND(flight->waits, wait);
    flight->waiting++;
    return wait;
}

uint64_t flight_deadline(const struct flight *flight)
{
    const struct kek_datakey_wait *wait;
    uint64_t deadline = 0;
    DL_FOREACH (flight->waits, wait) {
        if (wait->deadline_ms > deadline) {
            deadline = wait->deadline_ms;
        }
    }
    return deadline > 0 ? deadline : kek_clock_ms() + FLIGHT_MS;
}

bool flight_has_time(const struct flight *flight)
{
    return flight->waits != NULL && flight_deadline(flight) > kek_clock_ms();
}

/* Takes the flight off every list; its waiters are the caller's now. */
static void unlink_flight(struct flight *flight)
{
    struct kek_datakey_store *store = flight->store;
    if (flight->call != NULL) {
        kek_pool_cancel(flight->call);
        flight->call = NULL;
    }
    if (flight->slot != NULL) {
        flight->slot->flight = NULL;
        flight->slot = NULL;
    }
    if (flight->shared) {
        HASH_DEL(store->opening, flight);
        flight->shared = false;
    }
    DL_DELETE(store->flights, flight);
    store->stats.flights--;
}

/* A step of the keyring's cannot be called off: the flight then stays, empty, until it comes back. */
static void release(struct flight *flight)
{
    kek_secret_free(flight->data_key);
    flight->data_key = NULL;
    if (flight->step == CHECKING || flight->step == REFRESHING) {
        flight->dropped = true;
        return;
    }
    free(flight);
}

void flight_land(struct flight *flight, enum kek_rc rc, struct kek_datakey_ref *ref,
                 const struct kek_why *why)
{
    unlink_flight(flight);
    struct kek_datakey_wait *waits = flight->waits, *wait, *next;
    flight->waits = NULL;
    struct kek_why said;
    if (why != NULL) {
        said = *why; /* it may live in the flight */
    }
    release(flight);
    DL_FOREACH_SAFE (waits, wait, next) {
        wait->done(wait->arg, rc, rc == KEK_OK ? ref_share(ref) : NULL,
                   rc == KEK_OK ? NULL : &said);
        free(wait);
    }
}

void kek_datakey_cancel(struct kek_datakey_wait *wait)
{
    struct flight *flight = wait->flight;
    DL_DELETE(flight->waits, wait);
    flight->waiting--;
    free(wait);
    /* Without anyone waiting an unwrap is useless; a sealing key serves whoever comes next. */
    if (flight->waits == NULL && flight->slot == NULL) {
        unlink_flight(flight);
        release(flight);
    }
}
