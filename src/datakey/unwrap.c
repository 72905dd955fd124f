/*
 * One entry of an envelope: its data key, or share, from a worker that is believed.
 *
 * A worker's "damaged" is believed only once that worker has opened its witness of the version after it said
 * so; until then another is asked.  "No such key" and "may not" are believed only after another look at the
 * tokens.  A wrap that does not authenticate unwraps to something under any key: a key that opened nothing
 * is doubted in the same way.
 */
#include "datakey/store.h"

#include "kek/clock.h"

static const struct kek_id *kek_of(const struct unwrap *unwrap)
{
    return &unwrap->entry->kek_id;
}

static struct kek_keyring *ring_of(const struct unwrap *unwrap)
{
    return unwrap->root->ring;
}

void unwrap_init(struct unwrap *unwrap, struct flight *flight, const struct kek_envelope *header,
                 size_t place, unwrap_done_fn *done)
{
    const struct kek_envelope_entry *entry = &header->entries[place];
    *unwrap = (struct unwrap){
        .flight = flight,
        .root = kek_roots_of(flight->store->settings.roots, &entry->kek_id),
        .entry = entry,
        .place = place,
        .done = done,
        .only = KEK_POOL_ANY,
    };
}

void unwrap_end(struct unwrap *unwrap)
{
    if (unwrap->call != NULL) {
        kek_pool_cancel(unwrap->call);
        unwrap->call = NULL;
    }
    if (unwrap->wait != NULL) {
        kek_keyring_cancel(unwrap->wait);
        unwrap->wait = NULL;
    }
}

static uint64_t deadline_of(const struct unwrap *unwrap)
{
    uint64_t flight_ms = flight_deadline(unwrap->flight);
    return unwrap->until_ms != 0 && unwrap->until_ms < flight_ms ? unwrap->until_ms : flight_ms;
}

/* ---- what is made of a failure: from the back ---- */

/* These go on. KEK_OK: something is under way again; else it fails so, and `why` says why. */

static void end_unless_ok(struct unwrap *unwrap, enum kek_rc rc)
{
    if (rc != KEK_OK) {
        unwrap->done(unwrap, rc, NULL);
    }
}

static enum kek_rc unproven(struct unwrap *unwrap)
{
    return kek_fail_within(&unwrap->why, KEK_UNAVAILABLE,
                           "it is not known whether that key is the right one");
}

static bool may_try_again(struct unwrap *unwrap)
{
    return ++unwrap->tries < TRIES_MAX && flight_may_go_on(unwrap->flight);
}

/* It is not asked again if it uses another key, or if another can be asked. */
static void avoid(struct unwrap *unwrap, uint64_t worker, bool wrong_key)
{
    bool other = wrong_key || kek_keyring_other_unwraps(ring_of(unwrap), worker, kek_of(unwrap));
    unwrap->not_worker = other ? worker : 0;
    unwrap->wrong_key = wrong_key;
}

static enum kek_rc ask_another_worker(struct unwrap *unwrap, bool wrong_key)
{
    if (!may_try_again(unwrap)) {
        return unproven(unwrap);
    }
    avoid(unwrap, unwrap->worker, wrong_key);
    return unwrap_ask(unwrap);
}

/* The worker opened its witness: the blob is bad.  It did not: someone else is asked. */
static void checked(void *arg, enum kek_rc rc)
{
    struct unwrap *unwrap = arg;
    unwrap->wait = NULL;
    end_unless_ok(unwrap,
                  rc == KEK_OK ? KEK_DAMAGED : ask_another_worker(unwrap, rc == KEK_DAMAGED));
}

/* May one of its workers that are ready unwrap that, but for one, or, where none is ready, one that will be? */
static bool provider_may(const struct kek_root *root, size_t provider, bool ready, uint64_t except,
                         const struct kek_id *kek_id)
{
    struct kek_pool_worker workers[KEK_POOL_WORKERS_MAX];
    if (!ready) {
        return kek_keyring_may(root->ring, provider, 0, KEK_POOL_UNWRAP, kek_id);
    }
    size_t count = kek_pool_workers(root->pool, provider, workers);
    for (size_t i = 0; i < count; i++) {
        if (workers[i].serial != except &&
            kek_keyring_may(root->ring, provider, workers[i].serial, KEK_POOL_UNWRAP, kek_id)) {
            return true;
        }
    }
    return false;
}

/* Without a witness (a version that may only unwrap, on a node that never saw it wrap) no provider's word
 * is worth more than another's: all that have the key are asked, by two workers where they have two. */
static enum kek_rc ask_another_provider(struct unwrap *unwrap, size_t provider, uint64_t worker)
{
    const struct kek_root *root = unwrap->root;
    const uint32_t bit = UINT32_C(1) << provider;
    bool silent = kek_keyring_doubts(root->ring, kek_of(unwrap));
    bool once = (unwrap->denied_once & bit) != 0;
    unwrap->denied_once |= bit;
    if (!once && provider_may(root, provider, true, worker, kek_of(unwrap))) {
        unwrap->only = provider;
        unwrap->not_worker = worker;
        return unwrap_ask(unwrap);
    }
    unwrap->denied |= bit;
    unwrap->not_worker = 0;
    for (size_t p = 0; p < kek_pool_provider_count(root->pool); p++) {
        struct kek_pool_provider status;
        kek_pool_provider_get(root->pool, p, &status);
        bool ready = status.health == KEK_POOL_READY;
        if ((unwrap->denied >> p & 1) != 0 || !provider_may(root, p, ready, 0, kek_of(unwrap))) {
            continue;
        }
        if (ready) {
            unwrap->only = p;
            return unwrap_ask(unwrap);
        }
        silent = true;
    }
    return silent ? unproven(unwrap) : KEK_DAMAGED;
}

/* This worker says that the blob is damaged, or gave a key that opened nothing. Does it use the right key? */
static enum kek_rc doubt(struct unwrap *unwrap, size_t provider, uint64_t worker)
{
    if (!kek_keyring_has_witness(ring_of(unwrap), kek_of(unwrap))) {
        return ask_another_provider(unwrap, provider, worker);
    }
    unwrap->worker = worker;
    unwrap->wait = kek_keyring_check(ring_of(unwrap), worker, kek_of(unwrap), 0, checked, unwrap);
    /* A worker that is gone cannot be asked any more, and nobody will know. */
    return unwrap->wait != NULL ? KEK_OK : ask_another_worker(unwrap, false);
}

enum kek_rc unwrap_doubt(struct unwrap *unwrap, const struct source *source)
{
    unwrap->denied = source->denied;
    unwrap->denied_once = source->denied_once;
    kek_fail(&unwrap->why, KEK_DAMAGED, "its tag does not match, and its wrap proves nothing");
    return doubt(unwrap, source->provider, source->worker);
}

static void looked(void *arg)
{
    struct unwrap *unwrap = arg;
    unwrap->wait = NULL;
    bool opens = kek_keyring_find(ring_of(unwrap), kek_of(unwrap)) == KEK_KEYRING_OPENS;
    if (opens) {
        avoid(unwrap, unwrap->worker, false);
    }
    end_unless_ok(unwrap, opens ? unwrap_ask(unwrap) : unwrap->rc);
}

/* Looks into a failure that may be that of one worker alone. */
static enum kek_rc look_into(struct unwrap *unwrap, enum kek_rc rc,
                             const struct kek_pool_result *result)
{
    if (rc == KEK_DEADLINE && unwrap->flight->waits != NULL &&
        deadline_of(unwrap) > kek_clock_ms()) {
        return unwrap_ask(unwrap);
    }
    if (rc == KEK_DAMAGED && result != NULL) {
        return doubt(unwrap, result->provider, result->worker);
    }
    if ((rc != KEK_NOT_FOUND && rc != KEK_PRECONDITION) || !may_try_again(unwrap)) {
        return rc;
    }
    unwrap->rc = rc;
    unwrap->worker = result == NULL ? 0 : result->worker;
    unwrap->wait = kek_keyring_look(ring_of(unwrap), looked, unwrap);
    return unwrap->wait != NULL ? KEK_OK : rc;
}

static void unwrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                      const struct kek_why *why)
{
    struct unwrap *unwrap = arg;
    size_t provider = result == NULL ? KEK_POOL_ANY : result->provider;
    unwrap->call = NULL;
    flight_answered(unwrap->flight, unwrap->place, unwrap->root, provider);
    kek_keyring_observe(ring_of(unwrap), provider, result == NULL ? 0 : result->worker,
                        kek_of(unwrap), KEK_POOL_UNWRAP, rc);
    if (rc != KEK_OK) {
        unwrap->why = *why;
        end_unless_ok(unwrap, look_into(unwrap, rc, result));
        return;
    }
    unwrap->source = (struct source){.provider = result->provider,
                                     .worker = result->worker,
                                     .denied = unwrap->denied,
                                     .denied_once = unwrap->denied_once};
    unwrap->done(unwrap, KEK_OK, result);
}

/* Who can write to etcd chooses the algorithm of each entry, and one of them decides nothing of the others. */
static enum kek_rc check_alg(struct unwrap *unwrap)
{
    char id[KEK_ID_TEXT];
    if (kek_keyring_takes(ring_of(unwrap), kek_of(unwrap), unwrap->entry->alg)) {
        return KEK_OK;
    }
    kek_id_format(kek_of(unwrap), id);
    return kek_fail(&unwrap->why, KEK_DAMAGED, "one of its KEKs does not wrap with %s: kek_id=%s",
                    kek_wrap_alg_name(unwrap->entry->alg), id);
}

enum kek_rc unwrap_ask(struct unwrap *unwrap)
{
    enum kek_rc rc = check_alg(unwrap);
    if (rc != KEK_OK) {
        return rc;
    }
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = unwrap->only,
        .kek_id = unwrap->entry->kek_id,
        .alg = unwrap->entry->alg,
        .blob = unwrap->entry->wrapped,
        .not_worker = unwrap->not_worker,
        .deadline_ms = deadline_of(unwrap),
    };
    unwrap->flight->store->stats.unwraps++;
    flight_asked(unwrap->flight, unwrap->place);
    unwrap->call = kek_pool_submit(unwrap->root->pool, &request, unwrapped, unwrap, &unwrap->why);
    return unwrap->call != NULL ? KEK_OK : unwrap->why.rc;
}

enum kek_rc unwrap_review(struct unwrap *unwrap)
{
    if (kek_keyring_find(ring_of(unwrap), kek_of(unwrap)) == KEK_KEYRING_CLOSED) {
        unwrap_end(unwrap);
        return kek_fail(&unwrap->why, KEK_PRECONDITION,
                        "the KEK of this data key is missing or may not unwrap");
    }
    if (unwrap->call != NULL && unwrap->not_worker != 0 && !unwrap->wrong_key &&
        !kek_keyring_other_unwraps(ring_of(unwrap), unwrap->not_worker, kek_of(unwrap))) {
        unwrap_end(unwrap);
        unwrap->not_worker = 0;
        return unwrap_ask(unwrap);
    }
    return KEK_OK;
}
