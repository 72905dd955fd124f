/* A flight: one data key on its way to or from the HSM, and everybody who waits for it. */
#include "datakey/store.h"

#include "kek/clock.h"

bool flight_init(struct flight *flight, struct kek_datakey_store *store, struct fleet *fleet,
                 void (*end)(struct flight *flight), struct kek_why *why)
{
    if (store->stopped) {
        kek_fail(why, KEK_UNAVAILABLE, "kekd is stopping");
        return false;
    }
    if (fleet->count >= KEK_DATAKEY_FLIGHTS_MAX) {
        kek_fail(why, KEK_EXHAUSTED, "%d data keys are on their way %s the HSM already",
                 KEK_DATAKEY_FLIGHTS_MAX, fleet == &store->to_seal ? "to" : "from");
        return false;
    }
    *flight = (struct flight){.store = store, .fleet = fleet, .end = end, .provider = KEK_POOL_ANY};
    DL_APPEND(fleet->flights, flight);
    fleet->count++;
    return true;
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

void flight_asked(struct flight *flight, size_t place)
{
    flight->keks.asked |= (uint8_t)(1u << place);
}

void flight_answered(struct flight *flight, size_t place, const struct kek_root *root,
                     size_t provider)
{
    flight->provider = provider == KEK_POOL_ANY ? KEK_POOL_ANY : root->provider + provider;
    if (provider != KEK_POOL_ANY) {
        flight->keks.answered[place] = (uint8_t)(1 + flight->provider);
    }
}

bool flight_may_go_on(const struct flight *flight)
{
    return flight->waits == NULL ? flight->lingers : flight_has_time(flight);
}

static void take_off(struct flight *flight)
{
    DL_DELETE(flight->fleet->flights, flight);
    flight->fleet->count--;
    flight->end(flight);
}

void flight_land(struct flight *flight, enum kek_rc rc, struct kek_datakey_ref *ref,
                 const struct kek_why *why)
{
    struct kek_datakey_wait *waits = flight->waits, *wait, *next;
    struct kek_why said;
    struct kek_datakey_damage damage = {.root = NULL};
    const struct kek_datakey_keks keks = flight->keks;
    size_t provider = flight->provider;
    flight->waits = NULL;
    if (why != NULL) {
        said = *why; /* it may live in the flight */
    }
    if (flight->damage.root != NULL && rc == KEK_OK) {
        damage = flight->damage;
    }
    take_off(flight);
    DL_FOREACH_SAFE (waits, wait, next) {
        wait->flight = NULL;
        wait->provider = provider;
        wait->keks = &keks;
        wait->damage = damage.root != NULL ? &damage : NULL;
        wait->done(wait->arg, rc, rc == KEK_OK ? ref_share(ref) : NULL,
                   rc == KEK_OK ? NULL : &said);
        free(wait);
    }
}

size_t kek_datakey_wait_provider(const struct kek_datakey_wait *wait)
{
    return wait->flight != NULL ? wait->flight->provider : wait->provider;
}

const struct kek_datakey_keks *kek_datakey_wait_keks(const struct kek_datakey_wait *wait)
{
    return wait->flight != NULL ? &wait->flight->keks : wait->keks;
}

const struct kek_datakey_damage *kek_datakey_wait_damage(const struct kek_datakey_wait *wait)
{
    return wait->damage;
}

void kek_datakey_cancel(struct kek_datakey_wait *wait)
{
    struct flight *flight = wait->flight;
    DL_DELETE(flight->waits, wait);
    flight->waiting--;
    free(wait);
    /* Without anyone waiting an unwrap is useless; a sealing key serves whoever comes next. */
    if (flight->waits == NULL && !flight->lingers) {
        take_off(flight);
    }
}
