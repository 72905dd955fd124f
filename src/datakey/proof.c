/*
 * A data key, wrapped and proven: a leg for each KEK of its generation.
 *
 * Two processes on one token may see different keys under one name, so nothing that a worker wrapped is
 * believed on its own word.  Once it has wrapped, the same object opens its version's witness: the wrap used
 * the right key.  Outside strict mode, another worker unwraps the data key meanwhile, and it is compared; if no other
 * can, any does.  What is not proven is thrown away, and the data key is wrapped anew, by another worker if
 * there is one.  Where both have the right key and still disagree, the one that wrapped unwraps it too: a worker
 * that cannot wraps with another key than it unwraps with, and wraps nothing more.
 */
#include "datakey/store.h"

#include <string.h>

struct leg {
    struct proof *proof;
    const struct kek_root *root;
    struct kek_id kek_id;
    const struct kek_secret *secret; /* what it wraps */
    struct kek_secret *share;        /* that, in mode `all`: its own */
    unsigned tries;
    uint64_t not_worker; /* the wrap is not to be this one's; 0: anybody's */
    bool wrong_key;      /* since that one uses another key */
    /* What was wrapped, once wrapped_len is not 0, and by whom. */
    size_t provider; /* of its root */
    uint64_t worker, handle;
    enum kek_wrap_alg alg;
    size_t wrapped_len;
    uint8_t wrapped[KEK_WRAPPED_MAX];
    /* Its proof. */
    struct kek_pool_call *call;     /* the wrap, then the unwrap */
    bool elsewhere;                 /* the unwrap is not to be `worker`'s */
    struct kek_keyring_wait *check; /* of `worker` */
    enum kek_rc checked;            /* what it said, once it is NULL again */
    bool came_back;                 /* the data key did */
    uint64_t other;                 /* the worker that gave something else back; 0: none did */
    struct kek_keyring_wait *other_check;
    enum kek_rc other_checked;
    bool proven;
};

struct proof {
    struct flight *flight;
    struct kek_generation generation;
    const struct kek_secret *data_key;
    proof_done_fn *done;
    void *arg;
    uint8_t count;
    struct leg legs[];
};

static void call_off(struct leg *leg)
{
    if (leg->call != NULL) {
        kek_pool_cancel(leg->call);
        leg->call = NULL;
    }
    if (leg->check != NULL) {
        kek_keyring_cancel(leg->check);
        leg->check = NULL;
    }
    if (leg->other_check != NULL) {
        kek_keyring_cancel(leg->other_check);
        leg->other_check = NULL;
    }
}

void proof_end(struct proof *proof)
{
    if (proof == NULL) {
        return;
    }
    for (size_t i = 0; i < proof->count; i++) {
        call_off(&proof->legs[i]);
        kek_secret_free(proof->legs[i].share);
    }
    free(proof);
}

/* ---- the ends ---- */

static void fail(struct leg *leg, enum kek_rc rc, const struct kek_why *why)
{
    struct proof *proof = leg->proof;
    proof->done(proof->arg, rc, kek_bytes(NULL, 0), why);
}

static void finish(struct proof *proof)
{
    struct kek_envelope_entry entries[KEK_ENVELOPE_ENTRIES_MAX];
    struct kek_why why;
    for (size_t i = 0; i < proof->count; i++) {
        const struct leg *leg = &proof->legs[i];
        if (!leg->proven) {
            return;
        }
        entries[i] =
            (struct kek_envelope_entry){.alg = leg->alg,
                                        .kek_id = leg->kek_id,
                                        .wrapped = kek_bytes(leg->wrapped, leg->wrapped_len)};
    }
    KEK_AUTO_BUF struct kek_buf header;
    kek_buf_init(&header, HEADER_MAX);
    enum kek_rc rc =
        kek_envelope_header(proof->generation.mode, entries, proof->count, &header, &why);
    proof->done(proof->arg, rc, kek_buf_bytes(&header), rc == KEK_OK ? NULL : &why);
}

/* ---- from the back: once more, judged, checked, given back, wrapped ---- */

static bool wrap(struct leg *leg, uint64_t deadline_ms, struct kek_why *why);

static void wrap_again(struct leg *leg)
{
    struct kek_why why;
    call_off(leg);
    if (!wrap(leg, flight_deadline(leg->proof->flight), &why)) {
        fail(leg, why.rc, &why);
    }
}

/* It is not asked again if it uses another key, or if another can be asked. */
static void avoid(struct leg *leg, uint64_t worker, bool wrong_key)
{
    bool other = wrong_key || kek_keyring_other_unwraps(leg->root->ring, worker, &leg->kek_id);
    leg->not_worker = other ? worker : 0;
    leg->wrong_key = wrong_key;
}

/* What this leg wrapped cannot be proven: `worker` did not open its witness, or could not be asked. */
static void throw_away(struct leg *leg, uint64_t worker, enum kek_rc checked)
{
    struct kek_why why;
    if (!kek_keyring_has_witness(leg->root->ring, &leg->kek_id)) {
        kek_fail(&why, KEK_UNAVAILABLE, "nothing is known yet by which a wrap could be proven");
        fail(leg, KEK_UNAVAILABLE, &why);
        return;
    }
    if (++leg->tries >= TRIES_MAX || !flight_may_go_on(leg->proof->flight)) {
        kek_fail(&why, KEK_UNAVAILABLE,
                 "a data key was wrapped %u times, and never proven to be under the right KEK",
                 leg->tries);
        fail(leg, KEK_UNAVAILABLE, &why);
        return;
    }
    avoid(leg, worker, checked == KEK_DAMAGED);
    wrap_again(leg);
}

/* The one that wrapped opened its witness, and was asked for its own wrap. */
static void itself_gave_back(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                             const struct kek_why *why)
{
    struct leg *leg = arg;
    (void)why;
    leg->call = NULL;
    bool other = rc == KEK_OK && !kek_secret_equal(result->data_key, leg->secret);
    if (other || rc == KEK_DAMAGED) {
        kek_keyring_observe(leg->root->ring, result->provider, leg->worker, &leg->kek_id,
                            KEK_POOL_WRAP, KEK_DAMAGED);
    }
    throw_away(leg, leg->worker, KEK_UNAVAILABLE);
}

/* False: it could not be asked. */
static bool ask_itself(struct leg *leg)
{
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = leg->provider,
        .worker = leg->worker,
        .kek_id = leg->kek_id,
        .alg = leg->alg,
        .blob = kek_bytes(leg->wrapped, leg->wrapped_len),
        .deadline_ms = flight_deadline(leg->proof->flight),
    };
    leg->elsewhere = false;
    leg->proof->flight->store->stats.unwraps++;
    leg->call = kek_pool_submit(leg->root->pool, &request, itself_gave_back, leg, NULL);
    return leg->call != NULL;
}

/* Another data key came back. Whose fault was it? */
static void judge_disagreement(struct leg *leg)
{
    if (leg->check != NULL || leg->other_check != NULL) {
        return;
    }
    if (leg->checked != KEK_OK) {
        throw_away(leg, leg->worker, leg->checked);
    } else if (leg->other_checked != KEK_OK) {
        throw_away(leg, leg->other, leg->other_checked);
    } else if (!ask_itself(leg)) {
        throw_away(leg, leg->worker, KEK_UNAVAILABLE);
    }
}

static void judge(struct leg *leg)
{
    if (leg->other != 0) {
        judge_disagreement(leg);
    } else if (leg->check == NULL && leg->checked != KEK_OK) {
        throw_away(leg, leg->worker, leg->checked);
    } else if (leg->check == NULL && leg->came_back) {
        leg->proven = true;
        finish(leg->proof);
    }
}

static void checked(void *arg, enum kek_rc rc)
{
    struct leg *leg = arg;
    leg->check = NULL;
    leg->checked = rc;
    judge(leg);
}

static void other_checked(void *arg, enum kek_rc rc)
{
    struct leg *leg = arg;
    leg->other_check = NULL;
    leg->other_checked = rc;
    judge(leg);
}

/* Tries once more where that can help: somebody who waits has more time than the one who asked, or one
 * worker refused what another may do. */
static void failed(struct leg *leg, enum kek_rc rc, const struct kek_pool_result *result,
                   const struct kek_why *why)
{
    struct flight *flight = leg->proof->flight;
    if (rc == KEK_DEADLINE && flight_has_time(flight)) {
        wrap_again(leg);
        return;
    }
    bool refused = rc == KEK_NOT_FOUND || rc == KEK_PRECONDITION;
    if (!refused || ++leg->tries >= TRIES_MAX || !flight_may_go_on(flight) ||
        kek_roots_wraps(flight->store->settings.roots, &leg->proof->generation, NULL) != KEK_OK) {
        fail(leg, rc, why);
        return;
    }
    if (result != NULL) {
        avoid(leg, result->worker, false);
    }
    wrap_again(leg);
}

static void observe(const struct leg *leg, enum kek_pool_op op, enum kek_rc rc,
                    const struct kek_pool_result *result)
{
    kek_keyring_observe(leg->root->ring, result == NULL ? KEK_POOL_ANY : result->provider,
                        result == NULL ? 0 : result->worker, &leg->kek_id, op, rc);
}

static void answered(const struct leg *leg, const struct kek_pool_result *result)
{
    flight_answered(leg->proof->flight, (size_t)(leg - leg->proof->legs), leg->root,
                    result == NULL ? KEK_POOL_ANY : result->provider);
}

static void given_back(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                       const struct kek_why *why)
{
    struct leg *leg = arg;
    leg->call = NULL;
    bool same = rc == KEK_OK && kek_secret_equal(result->data_key, leg->secret);
    bool disagrees = result != NULL && ((rc == KEK_OK && !same) || rc == KEK_DAMAGED);
    if (disagrees) {
        leg->other = result->worker;
        leg->other_checked = KEK_UNAVAILABLE;
        leg->other_check =
            kek_keyring_check(leg->root->ring, leg->other, &leg->kek_id, 0, other_checked, leg);
        judge(leg);
        return;
    }
    observe(leg, KEK_POOL_UNWRAP, rc, result);
    if (!same) {
        answered(leg, result);
        failed(leg, rc, result, why);
        return;
    }
    leg->came_back = true;
    judge(leg);
}

static bool ask_back(struct leg *leg, struct kek_why *why)
{
    leg->elsewhere = kek_keyring_other_unwraps(leg->root->ring, leg->worker, &leg->kek_id);
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = KEK_POOL_ANY,
        .kek_id = leg->kek_id,
        .alg = leg->alg,
        .blob = kek_bytes(leg->wrapped, leg->wrapped_len),
        .not_worker = leg->elsewhere ? leg->worker : 0,
        .deadline_ms = flight_deadline(leg->proof->flight),
    };
    leg->proof->flight->store->stats.unwraps++;
    leg->call = kek_pool_submit(leg->root->pool, &request, given_back, leg, why);
    return leg->call != NULL;
}

/* Both halves side by side. Strict mode leaves the second out: each Encrypt is one operation there.  `opened`: what the
 * worker's witness gave it, where it was opened in the same go; else NULL. */
static void prove(struct leg *leg, const struct kek_secret *opened)
{
    struct kek_keyring *ring = leg->root->ring;
    struct kek_why why;
    leg->other = 0;
    leg->came_back = store_strict(leg->proof->flight->store);
    if (opened != NULL && kek_keyring_opened(ring, leg->worker, &leg->kek_id, opened)) {
        leg->checked = KEK_OK;
        judge(leg);
        return;
    }
    leg->checked = KEK_UNAVAILABLE;
    leg->check = kek_keyring_check(ring, leg->worker, &leg->kek_id, leg->handle, checked, leg);
    if (leg->check == NULL) {
        throw_away(leg, leg->worker, KEK_UNAVAILABLE);
        return;
    }
    if (!leg->came_back && !ask_back(leg, &why)) {
        fail(leg, why.rc, &why);
    }
}

static void wrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                    const struct kek_why *why)
{
    struct leg *leg = arg;
    struct kek_why mine;
    leg->call = NULL;
    answered(leg, result);
    observe(leg, KEK_POOL_WRAP, rc, result);
    if (rc != KEK_OK) {
        failed(leg, rc, result, why);
        return;
    }
    kek_keyring_wrapped(leg->root->ring, &leg->kek_id, result->alg);
    if (result->blob.len == 0 || result->blob.len > sizeof leg->wrapped) {
        kek_fail(&mine, KEK_INTERNAL, "a wrapped data key of %zu bytes", result->blob.len);
        fail(leg, KEK_INTERNAL, &mine);
        return;
    }
    leg->provider = result->provider;
    leg->worker = result->worker;
    leg->handle = result->handle;
    leg->alg = result->alg;
    leg->wrapped_len = result->blob.len;
    memcpy(leg->wrapped, result->blob.data, result->blob.len);
    prove(leg, result->data_key);
}

static bool wrap(struct leg *leg, uint64_t deadline_ms, struct kek_why *why)
{
    struct kek_pool_request request = {
        .op = KEK_POOL_WRAP,
        .provider = KEK_POOL_ANY,
        .kek_id = leg->kek_id,
        .data_key = leg->secret,
        .not_worker = leg->not_worker,
        .deadline_ms = deadline_ms,
    };
    if (store_strict(leg->proof->flight->store)) {
        (void)kek_keyring_witness(leg->root->ring, &leg->kek_id, &request.alg, &request.blob);
    }
    leg->wrapped_len = 0;
    leg->proof->flight->store->stats.wraps++;
    flight_asked(leg->proof->flight, (size_t)(leg - leg->proof->legs));
    leg->call = kek_pool_submit(leg->root->pool, &request, wrapped, leg, why);
    return leg->call != NULL;
}

/* In mode `any` every KEK wraps the data key itself, in mode `all` a part of its own. */
static bool take_secret(struct leg *leg, size_t place)
{
    const struct proof *proof = leg->proof;
    if (proof->generation.mode == KEK_ENVELOPE_MODE_ANY) {
        leg->secret = proof->data_key;
        return true;
    }
    const uint8_t *bytes = kek_secret_bytes(proof->data_key).data;
    leg->share = kek_secret_dup(kek_bytes(bytes + place * KEK_DATA_KEY_LEN, KEK_DATA_KEY_LEN));
    leg->secret = leg->share;
    return leg->share != NULL;
}

static bool start_leg(struct proof *proof, size_t place, uint64_t deadline_ms, struct kek_why *why)
{
    struct leg *leg = &proof->legs[place];
    leg->proof = proof;
    leg->kek_id = proof->generation.kek_ids[place];
    leg->root = kek_roots_at(proof->flight->store->settings.roots, proof->generation.roots[place]);
    if (!take_secret(leg, place)) {
        kek_fail(why, KEK_EXHAUSTED, "no locked memory for a data key");
        return false;
    }
    return wrap(leg, deadline_ms, why);
}

struct proof *proof_start(struct flight *flight, const struct kek_generation *generation,
                          const struct kek_secret *data_key, uint64_t deadline_ms,
                          proof_done_fn *done, void *arg, struct kek_why *why)
{
    size_t legs = generation->count * sizeof(struct leg);
    struct proof *proof = calloc(1, sizeof *proof + legs);
    if (proof == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to ask the HSM");
        return NULL;
    }
    proof->flight = flight;
    proof->generation = *generation;
    proof->data_key = data_key;
    proof->done = done;
    proof->arg = arg;
    proof->count = generation->count;
    for (size_t i = 0; i < proof->count; i++) {
        if (!start_leg(proof, i, deadline_ms, why)) {
            proof_end(proof);
            return NULL;
        }
    }
    return proof;
}

/* False: the proof is over. */
static bool review_leg(struct leg *leg)
{
    struct kek_keyring *ring = leg->root->ring;
    struct kek_why why;
    bool wrapping = leg->wrapped_len == 0;
    bool waits_for_another = wrapping ? leg->not_worker != 0 && !leg->wrong_key : leg->elsewhere;
    uint64_t worker = wrapping ? leg->not_worker : leg->worker;
    if (leg->call == NULL || !waits_for_another ||
        kek_keyring_other_unwraps(ring, worker, &leg->kek_id)) {
        return true;
    }
    kek_pool_cancel(leg->call);
    leg->not_worker = wrapping ? 0 : leg->not_worker;
    bool asked =
        wrapping ? wrap(leg, flight_deadline(leg->proof->flight), &why) : ask_back(leg, &why);
    if (!asked) {
        fail(leg, why.rc, &why);
    }
    return asked;
}

void proof_review(struct proof *proof)
{
    for (size_t i = 0; i < proof->count; i++) {
        if (!review_leg(&proof->legs[i])) {
            return;
        }
    }
}
