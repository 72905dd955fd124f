/*
 * Which of the keys of one number is the version, and what may come after the primary.
 *
 * Two nodes may each make a v4 at the same moment.  What this node has announced stands while it may wrap.
 * Else the key with the smaller CKA_ID is the version, which every node works out alike from the tokens;
 * the other is surplus: it opens, and never wraps.  A key that is not active yet holds the larger one
 * back only where that costs nothing: where the primary still wraps.  So nodes that came to announce
 * different keys of one number come together as soon as only one of the two is active.
 */
#include "keyring/ring.h"

#include <string.h>

size_t version_active_on(const struct kek_keyring *ring, const struct version *version)
{
    size_t p = 0;
    while (p < ring->source_count && !version->held[p].active) {
        p++;
    }
    return p;
}

bool version_is_active(const struct kek_keyring *ring, const struct version *version)
{
    return version_active_on(ring, version) < ring->source_count;
}

bool version_is_active_on_all(const struct kek_keyring *ring, const struct version *version)
{
    size_t count = 0;
    for (size_t p = 0; p < ring->source_count; p++) {
        if (!source_answers(&ring->sources[p])) {
            continue;
        }
        if (!version->held[p].active) {
            return false;
        }
        count++;
    }
    return count > 0;
}

const struct version *version_namesake(const struct kek_keyring *ring,
                                       const struct version *version)
{
    const struct version *other;
    DL_FOREACH (ring->versions, other) {
        if (other != version && other->number == version->number &&
            version_is_active(ring, other)) {
            return other;
        }
    }
    return NULL;
}

/* Does some provider that answers show it? */
static bool is_shown(const struct kek_keyring *ring, const struct version *version)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (source_answers(&ring->sources[p]) && version->held[p].present) {
            return true;
        }
    }
    return false;
}

/* One that nobody shows was destroyed, or is not seen: by a token that lacks it while those that have it are away, or by
 * another token altogether. */
bool primary_is_past(const struct kek_keyring *ring)
{
    const struct version *primary = version_primary(ring);
    for (size_t p = 0; primary != NULL && p < ring->source_count; p++) {
        const struct holding *holding = &primary->held[p];
        if (source_answers(&ring->sources[p]) &&
            (!holding->known || holding->active || holding->wraps)) {
            return false;
        }
    }
    return primary != NULL && (is_shown(ring, primary) ||
                               (ring_answering(ring) == ring->source_count && ring_vouches(ring)));
}

/* Its number's other key may take its place only once a token shows what became of it. */
static bool primary_gives_way(const struct kek_keyring *ring)
{
    const struct version *primary = version_primary(ring);
    return primary != NULL && is_shown(ring, primary) && primary_is_past(ring);
}

bool version_is_newer(const struct kek_keyring *ring, const struct version *version)
{
    uint32_t last = ring->primary.generation.numbers[0];
    if (!ring->announced || version->number > last) {
        return true;
    }
    return version->number == last && !version->announced && !version->surplus &&
           primary_gives_way(ring);
}

/* ---- two keys of one number ---- */

bool version_is_present(const struct kek_keyring *ring, const struct version *version)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (version->held[p].present) {
            return true;
        }
    }
    return false;
}

/* Is it there as a KEK must be, whatever it may do now? */
static bool is_fit(const struct kek_keyring *ring, const struct version *version)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct holding *holding = &version->held[p];
        if (holding->present && holding->key >= KEK_KEYRING_KEY_SUSPENDED) {
            return true;
        }
    }
    return false;
}

/* May it be the primary, now or once it is made active, as far as its number's other keys are concerned? */
static bool may_be_meant(const struct kek_keyring *ring, const struct version *version, bool past)
{
    if (!ring->announced) {
        return version_is_active(ring, version);
    }
    return past ? version_is_active_on_all(ring, version)
                : is_fit(ring, version) && !version->compromised;
}

/* How much speaks for it as the version of its number. */
static int claim_of(const struct kek_keyring *ring, const struct version *version, bool past)
{
    if (version == version_primary(ring)) {
        return past ? 2 : 4;
    }
    if (version->announced) {
        return 1;
    }
    if (may_be_meant(ring, version, past)) {
        return 3;
    }
    return version_is_active(ring, version);
}

static bool is_surplus(const struct kek_keyring *ring, const struct version *version, bool past)
{
    int claim = claim_of(ring, version, past);
    const struct version *other;
    DL_FOREACH (ring->versions, other) {
        if (other == version || other->number != version->number) {
            continue;
        }
        int others = claim_of(ring, other, past);
        if (others > claim || (others == claim && memcmp(other->id.bytes, version->id.bytes,
                                                         sizeof other->id.bytes) < 0)) {
            return true;
        }
    }
    return false;
}

/* Once for each key: it stays until somebody destroys it. */
static void tell_surplus(struct kek_keyring *ring, struct version *version)
{
    char id[KEK_ID_TEXT];
    if (!version->surplus || version->told_surplus || !version_is_present(ring, version)) {
        return;
    }
    version->told_surplus = true;
    kek_id_format(&version->id, id);
    ring_notice_with(ring, KEK_LOG_WARN, KEK_LOG_FIELDS(kek_log_text("key_id", version->key_id)),
                     "a surplus key is named version %u (kek id %s): it opens, and is never "
                     "sealed under",
                     version->number, id);
}

void rank_drive(struct kek_keyring *ring)
{
    bool past = primary_gives_way(ring);
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        version->surplus = is_surplus(ring, version, past);
        tell_surplus(ring, version);
    }
}

/* ---- what comes after the primary ---- */

const struct version *version_next(const struct kek_keyring *ring)
{
    const struct version *version, *next = NULL;
    DL_FOREACH (ring->versions, version) {
        size_t p = 0;
        while (p < ring->source_count &&
               !(version->held[p].active && source_answers(&ring->sources[p]))) {
            p++;
        }
        if (p < ring->source_count && !version->surplus && version_is_newer(ring, version) &&
            (next == NULL || version->number > next->number)) {
            next = version;
        }
    }
    return next;
}

bool is_succession(const struct kek_keyring *ring)
{
    return ring->succession_ms > 0 && ring->now_ms - ring->succession_ms < CALL_MS;
}
