/*
 * Proofs: a witness is a small envelope whose data key one KEK version wrapped.  A provider that opens
 * it holds that very key; one that cannot holds another key under the same name.
 */
#include "keyring/ring.h"

#include <string.h>

#include "kek/clock.h"

#define PROOF_TIMEOUT_MS 10000u

/* Witnesses have a context of their own, so that no cluster's ciphertext passes for one. */
static const char witness_context[] = "kekd/witness/1";
static const char witness_text[] = "kekd";

enum step { MAKE, OPEN };

struct proof_waiter {
    void (*done)(void *arg, bool opens);
    void *arg;
    struct proof_waiter *next;
};

/* One provider being asked about one version. */
struct proof {
    struct kek_keyring *ring;
    struct version *version;
    size_t provider;
    uint64_t from_serial; /* the worker that is to open it, or a later one; 0: any */
    enum step step;
    bool made_here; /* the witness is this proof's own, and not adopted yet */
    struct kek_secret *data_key;
    size_t witness_len;
    uint8_t witness[WITNESS_MAX];
    struct kek_pool_call *call;
    struct proof_waiter *waiters;
};

/* A periodic wrap and unwrap under the primary. */
struct probe {
    struct kek_keyring *ring;
    size_t provider;
    struct kek_id kek_id;
    struct kek_secret *data_key;
    struct kek_pool_call *call;
};

static const char *provider_name(const struct kek_keyring *ring, size_t provider)
{
    return ring->settings.config->providers[provider].name;
}

static void proof_free(struct proof *proof)
{
    kek_secret_free(proof->data_key);
    free(proof);
}

static void vouch_next(struct kek_keyring *ring, size_t provider);

/* told: the provider has said whether it opens the witness. */
static void proof_finish(struct proof *proof, bool opens, bool told)
{
    struct kek_keyring *ring = proof->ring;
    struct proof_waiter *waiter = proof->waiters;
    size_t provider = proof->provider;
    struct source *source = &ring->sources[provider];
    uint64_t from_serial = proof->from_serial;
    proof->version->held[provider].proof = NULL;
    proof_free(proof);
    while (waiter != NULL) {
        struct proof_waiter *next = waiter->next;
        waiter->done(waiter->arg, opens);
        free(waiter);
        waiter = next;
    }
    if (source->vouching > 0 && from_serial == source->vouching) {
        source->vouch_at++;
        source->vouching = told ? from_serial : 0;
    }
    if (source->vouching > 0) {
        vouch_next(ring, provider);
    }
    ring_evaluate(ring);
}

/* No record and no announcement say whose key is the version's: that of whoever was first proves
 * nothing.  Nobody wraps under it until all who have it agree. */
static void dispute(struct proof *proof)
{
    struct kek_keyring *ring = proof->ring;
    struct version *version = proof->version;
    if (!version->disputed) {
        ring_notice(
            ring, KEK_LOG_ERROR,
            "provider %s holds a different key under the name of version %u than another, and "
            "no record of this node says which is right: nothing is sealed under it",
            provider_name(ring, proof->provider), version->number);
    }
    bool wrapped = ring_any(ring, version, held_wraps);
    version->disputed = true;
    version->witness_len = 0;
    version->ready_ms = 0;
    for (size_t p = 0; p < ring->source_count; p++) {
        version->held[p].opened_ms = 0;
        version->held[p].refused = false;
        version->held[p].party = version->held[p].party || version->held[p].present;
    }
    record_save(ring);
    if (wrapped) {
        ring->settings.lost_wrap(ring->settings.arg, &version->id);
    }
}

void witness_settle_dispute(struct kek_keyring *ring, struct version *version)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (version->held[p].party) {
            return;
        }
    }
    if (version->disputed) {
        version->disputed = false;
        record_save(ring);
    }
}

/* This provider's key of that name does not open what the version sealed. */
static void refuse(struct proof *proof)
{
    struct kek_keyring *ring = proof->ring;
    struct version *version = proof->version;
    if (!version->recorded && !proof->made_here) {
        dispute(proof);
        return;
    }
    struct held *held = &version->held[proof->provider];
    bool wrapped = ring_any(ring, version, held_wraps);
    bool unwrapped = ring_any(ring, version, held_unwraps);
    if (!held->refused) {
        ring_notice(
            ring, KEK_LOG_ERROR,
            "provider %s holds a different key under the name of version %u: refused for it",
            provider_name(ring, proof->provider), version->number);
    }
    held->refused = true;
    held->opened_ms = 0;
    if (wrapped && !ring_any(ring, version, held_wraps)) {
        ring->settings.lost_wrap(ring->settings.arg, &version->id);
    }
    if (unwrapped && !ring_any(ring, version, held_unwraps)) {
        ring->settings.lost_unwrap(ring->settings.arg, &version->id);
    }
}

static void adopt(struct proof *proof)
{
    struct version *version = proof->version;
    if (version->witness_len > 0) {
        return;
    }
    memcpy(version->witness, proof->witness, proof->witness_len);
    version->witness_len = proof->witness_len;
    record_save(proof->ring);
    for (size_t p = 0; p < proof->ring->source_count; p++) {
        if (p != proof->provider && version->held[p].present) {
            witness_prove(proof->ring, p, version);
        }
    }
}

/* KEK_DAMAGED: it is another key's. Anything else that is not KEK_OK says nothing of the key. */
static enum kek_rc open_witness(const struct proof *proof, const struct kek_secret *data_key,
                                struct kek_why *why)
{
    struct kek_envelope envelope;
    struct kek_bytes context = kek_bytes_of(witness_context);
    KEK_AUTO(kek_envelope_key) key = kek_envelope_key_new(data_key, context, why);
    KEK_AUTO(kek_secret) text = NULL;
    if (key == NULL) {
        return why->rc;
    }
    enum kek_rc rc =
        kek_envelope_parse(kek_bytes(proof->witness, proof->witness_len), &envelope, why);
    return rc != KEK_OK ? rc : kek_envelope_open(key, &envelope, context, &text, why);
}

/* Another witness has taken its place since it was sent: a dispute was in between. */
static bool is_stale(const struct proof *proof)
{
    const struct version *version = proof->version;
    if (proof->made_here) {
        return version->witness_len > 0;
    }
    return !kek_bytes_equal(kek_bytes(proof->witness, proof->witness_len),
                            kek_bytes(version->witness, version->witness_len));
}

static void opened(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                   const struct kek_why *why)
{
    struct proof *proof = arg;
    struct held *held = &proof->version->held[proof->provider];
    struct kek_why mine;
    proof->call = NULL;
    if (is_stale(proof)) {
        proof_finish(proof, false, false);
        return;
    }
    if (rc == KEK_OK) {
        rc = open_witness(proof, result->data_key, &mine);
        why = &mine;
    }
    if (rc == KEK_OK) {
        held->refused = false;
        held->opened_ms = kek_clock_ms();
        ring_worked(proof->ring, proof->provider, KEK_POOL_UNWRAP);
        if (proof->made_here) {
            adopt(proof);
        }
        held->party = false;
        witness_settle_dispute(proof->ring, proof->version);
    } else if (rc == KEK_DAMAGED) {
        refuse(proof);
    } else {
        ring_notice(proof->ring, why == &mine ? KEK_LOG_ERROR : KEK_LOG_DEBUG,
                    "version %u is not proven on provider %s: %s", proof->version->number,
                    provider_name(proof->ring, proof->provider), why->text);
    }
    /* A key that is gone or may not unwrap is nobody's: the next list says so. */
    proof_finish(proof, rc == KEK_OK,
                 rc == KEK_OK || rc == KEK_DAMAGED || rc == KEK_NOT_FOUND ||
                     rc == KEK_PRECONDITION);
}

static bool ask_open(struct proof *proof)
{
    struct kek_envelope envelope;
    if (kek_envelope_parse(kek_bytes(proof->witness, proof->witness_len), &envelope, NULL) !=
        KEK_OK) {
        return false;
    }
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = proof->provider,
        .kek_id = proof->version->id,
        .alg = envelope.entries[0].alg,
        .blob = envelope.entries[0].wrapped,
        .from_serial = proof->from_serial,
        .deadline_ms = kek_clock_ms() + PROOF_TIMEOUT_MS,
    };
    proof->step = OPEN;
    proof->call = kek_pool_submit(proof->ring->settings.pool, &request, opened, proof, NULL);
    return proof->call != NULL;
}

static bool seal_witness(struct proof *proof, const struct kek_pool_result *wrapped,
                         struct kek_why *why)
{
    struct kek_envelope_entry entry = {
        .alg = wrapped->alg, .kek_id = proof->version->id, .wrapped = wrapped->blob};
    struct kek_bytes context = kek_bytes_of(witness_context);
    KEK_AUTO_BUF struct kek_buf header;
    kek_buf_init(&header, WITNESS_MAX);
    KEK_AUTO_BUF struct kek_buf sealed;
    kek_buf_init(&sealed, WITNESS_MAX);
    KEK_AUTO(kek_envelope_key) key = kek_envelope_key_new(proof->data_key, context, why);
    if (key == NULL ||
        kek_envelope_header(KEK_ENVELOPE_MODE_ANY, &entry, 1, &header, why) != KEK_OK ||
        kek_envelope_seal(key, kek_buf_bytes(&header), context, kek_bytes_of(witness_text), &sealed,
                          why) != KEK_OK) {
        return false;
    }
    memcpy(proof->witness, sealed.data, sealed.len);
    proof->witness_len = sealed.len;
    proof->made_here = true;
    return true;
}

static void made(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                 const struct kek_why *why)
{
    struct proof *proof = arg;
    proof->call = NULL;
    if (rc != KEK_OK) {
        ring_notice(proof->ring, KEK_LOG_DEBUG, "no witness of version %u from provider %s: %s",
                    proof->version->number, provider_name(proof->ring, proof->provider), why->text);
        proof_finish(proof, false, false);
        return;
    }
    struct kek_why mine;
    if (!seal_witness(proof, result, &mine)) {
        ring_notice(proof->ring, KEK_LOG_ERROR, "a witness of version %u cannot be sealed: %s",
                    proof->version->number, mine.text);
        proof_finish(proof, false, false);
    } else if (!ask_open(proof)) {
        proof_finish(proof, false, false);
    }
}

static bool ask_make(struct proof *proof)
{
    proof->data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    if (proof->data_key == NULL) {
        return false;
    }
    struct kek_pool_request request = {
        .op = KEK_POOL_WRAP,
        .provider = proof->provider,
        .kek_id = proof->version->id,
        .data_key = proof->data_key,
        .deadline_ms = kek_clock_ms() + PROOF_TIMEOUT_MS,
    };
    proof->step = MAKE;
    proof->call = kek_pool_submit(proof->ring->settings.pool, &request, made, proof, NULL);
    return proof->call != NULL;
}

/* Only one provider makes a version's first witness; the others open it. */
static bool being_made(const struct kek_keyring *ring, const struct version *version)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct proof *proof = version->held[p].proof;
        if (proof != NULL && (proof->step == MAKE || proof->made_here)) {
            return true;
        }
    }
    return false;
}

static void prove(struct kek_keyring *ring, size_t provider, struct version *version,
                  uint64_t from_serial)
{
    struct held *held = &version->held[provider];
    if (held->proof != NULL || !held->eligible || !held->can_unwrap) {
        return;
    }
    bool make = version->witness_len == 0;
    if (make && (!held->can_wrap || being_made(ring, version))) {
        return;
    }
    struct proof *proof = calloc(1, sizeof *proof);
    if (proof == NULL) {
        return;
    }
    proof->ring = ring;
    proof->version = version;
    proof->provider = provider;
    proof->from_serial = from_serial;
    memcpy(proof->witness, version->witness, version->witness_len);
    proof->witness_len = version->witness_len;
    if (make ? ask_make(proof) : ask_open(proof)) {
        held->proof = proof;
        return;
    }
    proof_free(proof);
}

void witness_prove(struct kek_keyring *ring, size_t provider, struct version *version)
{
    prove(ring, provider, version, 0);
}

/* ---- new workers ---- */

/* A fresh process finds its keys anew, and may find others: a token restored, replaced, or replicated
 * wrongly.  Until it has opened the witness of each version, it serves nobody. */
static void vouch_next(struct kek_keyring *ring, size_t provider)
{
    struct source *source = &ring->sources[provider];
    for (; source->vouch_at < ring->version_count && !ring->stopped; source->vouch_at++) {
        struct version *version = ring->versions[source->vouch_at];
        const struct held *held = &version->held[provider];
        if (held->proof != NULL) {
            return; /* its end leads here again */
        }
        if (version->witness_len == 0 || !held->present || !held->eligible || !held->can_unwrap) {
            continue;
        }
        prove(ring, provider, version, source->vouching);
        if (held->proof == NULL) {
            source->vouching = 0; /* it cannot be asked now: when the provider is looked at again */
        }
        return;
    }
    uint64_t serial = source->vouching;
    source->vouching = 0;
    if (ring->stopped) {
        return;
    }
    kek_pool_vouch(ring->settings.pool, provider, serial);
    witness_vouch(ring, provider);
}

void witness_vouch(struct kek_keyring *ring, size_t provider)
{
    struct source *source = &ring->sources[provider];
    struct kek_pool_provider status;
    kek_pool_provider_get(ring->settings.pool, provider, &status);
    if (source->vouching > 0 || status.unvouched == 0 || ring->stopped) {
        return;
    }
    source->vouching = status.unvouched;
    source->vouch_at = 0;
    vouch_next(ring, provider);
}

void witness_prove_all(struct kek_keyring *ring, size_t provider)
{
    for (size_t i = 0; i < ring->version_count; i++) {
        struct version *version = ring->versions[i];
        if (version->held[provider].present && version->held[provider].opened_ms == 0) {
            witness_prove(ring, provider, version);
        }
    }
}

bool kek_keyring_check(struct kek_keyring *ring, size_t provider, const struct kek_id *kek_id,
                       void (*done)(void *arg, bool opens), void *arg)
{
    struct version *version = ring_find(ring, kek_id);
    if (ring->stopped || version == NULL || provider >= ring->source_count ||
        version->witness_len == 0 || version->disputed) {
        return false;
    }
    struct proof_waiter *waiter = malloc(sizeof *waiter);
    if (waiter == NULL) {
        return false;
    }
    witness_prove(ring, provider, version);
    struct proof *proof = version->held[provider].proof;
    if (proof == NULL) {
        free(waiter);
        return false;
    }
    *waiter = (struct proof_waiter){.done = done, .arg = arg, .next = proof->waiters};
    proof->waiters = waiter;
    return true;
}

/* ---- the probe ---- */

static void probe_free(struct probe *probe)
{
    probe->ring->sources[probe->provider].probe = NULL;
    kek_secret_free(probe->data_key);
    free(probe);
}

/* What `op` said was no. That the key is gone or may not is the key's state; that there is no room here
 * is nobody's fault. Anything else is the provider's. */
static void probe_fails(struct probe *probe, enum kek_pool_op op, enum kek_rc rc, const char *text)
{
    struct kek_keyring *ring = probe->ring;
    size_t provider = probe->provider;
    struct kek_id kek_id = probe->kek_id;
    struct source *source = &ring->sources[provider];
    bool state = rc == KEK_PRECONDITION || rc == KEK_NOT_FOUND;
    bool ours = rc == KEK_NO_MEMORY || rc == KEK_EXHAUSTED;
    probe_free(probe);
    if (state) {
        kek_keyring_observe(ring, provider, &kek_id, op, rc);
        return;
    }
    ring_notice(ring, source->probe_failed || ours ? KEK_LOG_DEBUG : KEK_LOG_WARN,
                "the probe of provider %s failed: %s", provider_name(ring, provider), text);
    if (!ours) {
        source->probe_failed = true;
        source->probe_failed_at = op;
    }
    ring_probe_soon(ring);
    ring_evaluate(ring);
}

static void probe_unwrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                            const struct kek_why *why)
{
    struct probe *probe = arg;
    struct kek_keyring *ring = probe->ring;
    probe->call = NULL;
    if (rc != KEK_OK) {
        probe_fails(probe, KEK_POOL_UNWRAP, rc, why->text);
        return;
    }
    if (!kek_secret_equal(result->data_key, probe->data_key)) {
        probe_fails(probe, KEK_POOL_PROBE, KEK_INTERNAL,
                    "it unwrapped another data key than it wrapped");
        return;
    }
    ring_worked(ring, probe->provider, KEK_POOL_WRAP);
    ring_worked(ring, probe->provider, KEK_POOL_UNWRAP);
    ring->sources[probe->provider].probe_failed = false;
    probe_free(probe);
    ring_evaluate(ring);
}

static void probe_wrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                          const struct kek_why *why)
{
    struct probe *probe = arg;
    struct kek_why mine;
    probe->call = NULL;
    if (rc != KEK_OK) {
        probe_fails(probe, KEK_POOL_WRAP, rc, why->text);
        return;
    }
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = probe->provider,
        .kek_id = probe->kek_id,
        .alg = result->alg,
        .blob = result->blob,
        .deadline_ms = kek_clock_ms() + PROOF_TIMEOUT_MS,
    };
    probe->call =
        kek_pool_submit(probe->ring->settings.pool, &request, probe_unwrapped, probe, &mine);
    if (probe->call == NULL) {
        probe_fails(probe, KEK_POOL_UNWRAP, mine.rc, mine.text);
    }
}

void witness_probe(struct kek_keyring *ring, size_t provider)
{
    struct source *source = &ring->sources[provider];
    const struct version *version = ring->announced ? ring_find(ring, &ring->primary.kek_id) : NULL;
    struct kek_pool_provider status;
    kek_pool_provider_get(ring->settings.pool, provider, &status);
    if (source->probe != NULL || status.health != KEK_POOL_READY) {
        return;
    }
    if (version == NULL || !held_wraps(version, provider)) {
        source->probe_failed =
            false; /* there is nothing to probe it with, and so nothing against it */
        return;
    }
    struct probe *probe = calloc(1, sizeof *probe);
    if (probe == NULL) {
        return;
    }
    probe->ring = ring;
    probe->provider = provider;
    probe->kek_id = version->id;
    probe->data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    if (probe->data_key != NULL) {
        struct kek_pool_request request = {
            .op = KEK_POOL_WRAP,
            .provider = provider,
            .kek_id = version->id,
            .data_key = probe->data_key,
            .deadline_ms = kek_clock_ms() + PROOF_TIMEOUT_MS,
        };
        probe->call = kek_pool_submit(ring->settings.pool, &request, probe_wrapped, probe, NULL);
    }
    if (probe->call == NULL) {
        kek_secret_free(probe->data_key);
        free(probe);
        return;
    }
    source->probe = probe;
}

void witness_stop(struct kek_keyring *ring)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        struct probe *probe = ring->sources[p].probe;
        if (probe != NULL) {
            kek_pool_cancel(probe->call);
            probe_free(probe);
        }
        for (size_t i = 0; i < ring->version_count; i++) {
            struct proof *proof = ring->versions[i]->held[p].proof;
            if (proof != NULL) {
                kek_pool_cancel(proof->call);
                proof_finish(proof, false, false);
            }
        }
    }
}
