/*
 * A wrap, and an unwrap of what came: either the making of a version's first witness, by one worker, or a probe
 * of a provider under the primary, by two of its workers where it has two.
 */
#include "keyring/ring.h"

#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

#define PROBE_AGAIN_MS 5000u /* between probes of a provider whose last one failed */

struct trip {
    struct kek_keyring *ring;
    struct version *version;
    struct source *probed; /* NULL: it makes a witness */
    size_t provider;
    uint64_t wrapper, opener; /* workers */
    struct kek_secret *data_key;
    enum kek_wrap_alg alg;
    size_t len;
    uint8_t blob[KEK_WRAPPED_MAX];
    struct kek_pool_call *call;
};

static void trip_free(struct trip *trip)
{
    if (trip->call != NULL) {
        kek_pool_cancel(trip->call);
    }
    *(trip->probed != NULL ? &trip->probed->probe : &trip->version->making) = NULL;
    trip->version->trips--;
    kek_secret_free(trip->data_key);
    free(trip);
}

static bool trip_ask(struct trip *trip, enum kek_pool_op op, kek_pool_done_fn *done)
{
    struct kek_pool_request request = {
        .op = op,
        .provider = trip->provider,
        .worker = op == KEK_POOL_WRAP ? trip->wrapper : trip->opener,
        .kek_id = trip->version->id,
        .data_key = trip->data_key,
        .alg = trip->alg,
        .blob = kek_bytes(trip->blob, trip->len),
        .deadline_ms = kek_clock_ms() + CALL_MS,
    };
    trip->call = kek_pool_submit(trip->ring->settings.pool, &request, done, trip, NULL);
    return trip->call != NULL;
}

/* Both workers are to open the witness: one of them may use another key, or both the same wrong one. */
static void check_both(const struct trip *trip)
{
    uint64_t serials[] = {trip->wrapper, trip->opener};
    for (size_t i = 0; i < 2; i++) {
        struct member *member = member_find(trip->ring, serials[i]);
        if (member != NULL) {
            member->views[trip->version->slot].again = true;
        }
    }
}

/* The probe failed at `op`.  That a key is gone or may not be used does not count against its provider; nor
 * does a lack of room here.  A data key that came out as another is one worker's fault the first time, and then the
 * provider's, as is any other failure. */
static void probe_failed(struct trip *trip, enum kek_pool_op op, enum kek_rc rc, const char *text)
{
    struct kek_keyring *ring = trip->ring;
    struct source *source = trip->probed;
    bool mismatch = op == KEK_POOL_PROBE || (op == KEK_POOL_UNWRAP && rc == KEK_DAMAGED);
    bool state = rc == KEK_PRECONDITION || rc == KEK_NOT_FOUND;
    bool ours = rc == KEK_NO_MEMORY || rc == KEK_EXHAUSTED;
    const struct member *wrapper = member_find(ring, trip->wrapper);
    if (mismatch && wrapper != NULL && wrapper->views[trip->version->slot].wraps_wrongly) {
        trip_free(trip); /* as before, which is told */
        return;
    }
    if (mismatch) {
        source->mismatches++;
        check_both(trip);
    }
    struct member *member = member_find(ring, op == KEK_POOL_WRAP ? trip->wrapper : trip->opener);
    if (state && member != NULL) {
        member->relist = true;
    }
    if (!state && !ours && (!mismatch || source->mismatches > 1)) {
        ring_notice(ring, source->broken ? KEK_LOG_DEBUG : KEK_LOG_WARN,
                    "the probe of provider %s failed: %s", source_name(source),
                    kek_text_after_name(text, source_name(source)));
        source->broken = true;
        /* That a witness opens does not show that what was wrapped comes back. */
        source->broken_at = mismatch ? KEK_POOL_PROBE : op;
    }
    trip_free(trip);
    ring_dirty(ring);
}

static void witness_failed(struct trip *trip, const char *text)
{
    const char *name = source_name(&trip->ring->sources[trip->provider]);
    ring_notice(trip->ring, KEK_LOG_DEBUG, "no witness of version %u from provider %s: %s",
                trip->version->number, name, kek_text_after_name(text, name));
    trip_free(trip);
}

static void trip_failed(struct trip *trip, enum kek_pool_op op, enum kek_rc rc, const char *text)
{
    if (trip->probed != NULL) {
        probe_failed(trip, op, rc, text);
    } else {
        witness_failed(trip, text);
    }
}

static void trip_done(struct trip *trip)
{
    struct kek_keyring *ring = trip->ring;
    struct member *member = member_find(ring, trip->wrapper);
    struct kek_why why;
    source_worked(&ring->sources[trip->provider], KEK_POOL_WRAP);
    source_worked(&ring->sources[trip->provider], KEK_POOL_UNWRAP);
    if (trip->probed != NULL) {
        trip->probed->broken = false;
        trip->probed->mismatches = 0;
        if (member != NULL) {
            member->views[trip->version->slot].wraps_wrongly = false;
        }
        check_both(trip);
    } else if (witness_seal(trip->version, trip->data_key, trip->alg,
                            kek_bytes(trip->blob, trip->len), &why) != KEK_OK) {
        witness_failed(trip, why.text);
        return;
    } else if (member != NULL) {
        check_note(member, trip->version, KEK_OK);
    }
    trip_free(trip);
    ring_dirty(ring);
}

static void trip_opened(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                        const struct kek_why *why)
{
    struct trip *trip = arg;
    trip->call = NULL;
    if (rc != KEK_OK) {
        trip_failed(trip, KEK_POOL_UNWRAP, rc, why->text);
    } else if (!kek_secret_equal(result->data_key, trip->data_key)) {
        trip_failed(trip, KEK_POOL_PROBE, KEK_INTERNAL,
                    "it unwrapped another data key than it wrapped");
    } else {
        trip_done(trip);
    }
}

static void trip_wrapped(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                         const struct kek_why *why)
{
    struct trip *trip = arg;
    trip->call = NULL;
    if (rc != KEK_OK) {
        trip_failed(trip, KEK_POOL_WRAP, rc, why->text);
        return;
    }
    trip->alg = result->alg;
    trip->len = result->blob.len;
    memcpy(trip->blob, result->blob.data, result->blob.len);
    if (!trip_ask(trip, KEK_POOL_UNWRAP, trip_opened)) {
        trip_free(trip); /* that worker left meanwhile: its provider is not to blame */
    }
}

static void trip_begin(struct version *version, struct source *source, bool probe,
                       const struct member *wrapper, const struct member *opener)
{
    struct trip *trip = calloc(1, sizeof *trip);
    if (trip == NULL) {
        return;
    }
    trip->ring = source->ring;
    trip->version = version;
    version->trips++;
    trip->provider = source->index;
    trip->wrapper = wrapper->serial;
    trip->opener = opener->serial;
    trip->probed = probe ? source : NULL;
    *(probe ? &source->probe : &version->making) = trip;
    trip->data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    if (trip->data_key == NULL || !trip_ask(trip, KEK_POOL_WRAP, trip_wrapped)) {
        trip_free(trip);
    }
}

/* `anew`: its workers wrapped wrongly, and may do so no more. */
static bool probe_is_due(const struct source *source, bool anew)
{
    const struct kek_keyring *ring = source->ring;
    uint64_t interval = ring->settings.config->health.probe_interval_ms;
    uint64_t least = interval < PROBE_AGAIN_MS ? interval : PROBE_AGAIN_MS;
    least = anew ? TICK_MS : least;
    return source->probe == NULL && ring->now_ms - source->probed_ms >= least &&
           (anew || source->broken || source->mismatches > 0 ||
            ring->now_ms - source->wrapped_ms >= interval ||
            ring->now_ms - source->unwrapped_ms >= interval);
}

/* Those that may wrap, or those that wrapped wrongly. */
static size_t list_able(const struct source *source, const struct version *version, bool wrongly,
                        const struct member *able[static KEK_POOL_WORKERS_MAX])
{
    const struct member *member;
    size_t count = 0;
    DL_FOREACH (source->members, member) {
        const struct view *view = &member->views[version->slot];
        bool is = wrongly ? view->wraps_wrongly && view_unwraps(version, view)
                          : view_wraps(version, view);
        if (is && !member->ended && count < KEK_POOL_WORKERS_MAX) {
            able[count++] = member;
        }
    }
    return count;
}

/* Each time another worker wraps, and the one after it unwraps. */
void trip_probe(struct source *source)
{
    struct version *primary = version_primary(source->ring);
    const struct member *able[KEK_POOL_WORKERS_MAX];
    size_t count = primary == NULL ? 0 : list_able(source, primary, false, able);
    bool anew = false;
    if (primary != NULL && count == 0) {
        count = list_able(source, primary, true, able);
        anew = count > 0;
    }
    if (!probe_is_due(source, anew)) {
        return;
    }
    if (count == 0) {
        source->broken = false; /* there is nothing to probe it with, and so nothing against it */
        return;
    }
    source->probed_ms = source->ring->now_ms;
    source->probes++;
    trip_begin(primary, source, true, able[source->probes % count],
               able[(source->probes + 1) % count]);
}

static void make_witness(struct kek_keyring *ring, struct version *version)
{
    if (version->making != NULL || ring->now_ms - version->making_ms < TICK_MS) {
        return;
    }
    struct member *member;
    MEMBER_FOREACH (ring, member) {
        if (member_trusted(member) && view_may(&member->views[version->slot], KEK_POOL_WRAP)) {
            version->making_ms = ring->now_ms;
            trip_begin(version, member->source, false, member, member);
            return;
        }
    }
}

void trip_drive(struct kek_keyring *ring)
{
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        if (version->witness_len == 0 && !version->surplus && !version->compromised) {
            make_witness(ring, version);
        }
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        trip_probe(&ring->sources[p]);
    }
}

void trip_stop(struct kek_keyring *ring)
{
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        if (version->making != NULL) {
            trip_free(version->making);
        }
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        if (ring->sources[p].probe != NULL) {
            trip_free(ring->sources[p].probe);
        }
    }
}
