/*
 * What is agreed on, and what is announced.
 *
 * A version's first witness is a proposal: it was made by one worker, which may be the wrong one.  It is
 * agreed on once every worker of every provider that counts has opened it; from then on it is on record,
 * and who cannot open it is wrong.  On a node without a record every configured provider counts, since
 * nobody else can say which key is right; later, those that answer.
 */
#include "keyring/ring.h"

#include <string.h>

#include "kek/clock.h"

/* ---- agreement ---- */

enum consent { SILENT, WAIT, AGREES };

/* Has it opened the primary's witness since it opened this one?  Its library may have gone over to another
 * token in between, and every key of that is another. */
static bool is_still_right(const struct kek_keyring *ring, struct member *member,
                           const struct version *version)
{
    const struct version *primary = version_primary(ring);
    if (primary == NULL) {
        return true;
    }
    struct view *known = &member->views[primary->slot];
    if (known->witness != OPENED || known->asked_ms > member->views[version->slot].since_ms) {
        return known->witness == OPENED || !known->present;
    }
    known->again = true;
    return false;
}

/* All workers that the provider is to have must open it; where some do not start, those that do, once the
 * others had their time.  One that is wrong about another version is not asked. */
static enum consent consent_of(const struct source *source, const struct version *version)
{
    const struct kek_config_provider *config =
        &source->ring->settings.config->providers[source->index];
    struct member *member;
    size_t count = 0, wrong = 0;
    DL_FOREACH (source->members, member) {
        if (!member_trusted(member)) {
            wrong++;
        } else if (member->views[version->slot].witness != OPENED ||
                   !is_still_right(source->ring, member, version)) {
            return WAIT;
        } else {
            count++;
        }
    }
    if (count == 0) {
        return SILENT;
    }
    bool late = source->ring->now_ms - source->youngest_ms >= config->start_timeout_ms;
    return count + wrong >= config->processes || late ? AGREES : WAIT;
}

static bool is_agreed(const struct kek_keyring *ring, const struct version *version)
{
    bool any = false;
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct source *source = &ring->sources[p];
        enum consent consent = source_answers(source) ? consent_of(source, version) : SILENT;
        if (consent == WAIT || (consent == SILENT && !ring->announced)) {
            return false;
        }
        any = any || consent == AGREES;
    }
    return any;
}

static bool anybody_opens(const struct kek_keyring *ring, const struct version *version)
{
    const struct member *member;
    MEMBER_FOREACH (ring, member) {
        const struct view *view = &member->views[version->slot];
        if (view->witness == OPENED || view->check != NULL) {
            return true;
        }
    }
    return false;
}

/* Without an agreement nobody can say who is right, and kekd does not guess: workers are asked again until they
 * agree, and none is replaced, since two that are wrong alike would agree too.  A proposal that nobody opens
 * any more makes room for another. */
static void drive_dispute(struct kek_keyring *ring, struct version *version)
{
    if (!anybody_opens(ring, version)) {
        version_forget_witness(ring, version);
    }
}

static void drive_agreement(struct kek_keyring *ring)
{
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        if (version->agreed || version->witness_len == 0) {
            continue;
        }
        if (version_disputed(ring, version)) {
            drive_dispute(ring, version);
        } else if (is_agreed(ring, version)) {
            version->agreed = true;
            record_save(ring);
        } else if (!anybody_opens(ring, version) && version->making == NULL) {
            version_forget_witness(ring, version); /* whoever made it is gone */
        }
    }
}

/* ---- the primary ---- */

/* Active on every provider that answers, and proven there; the first one on every provider there is. */
static bool could_lead(const struct kek_keyring *ring, const struct version *version)
{
    bool answered = false;
    for (size_t p = 0; p < ring->source_count; p++) {
        if (!source_answers(&ring->sources[p])) {
            if (!ring->announced) {
                return false;
            }
            continue;
        }
        if (!version->held[p].wraps || !version->held[p].settled) {
            return false;
        }
        answered = true;
    }
    return answered && version->agreed;
}

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

bool version_is_newer(const struct kek_keyring *ring, const struct version *version)
{
    return !ring->announced || version->number > ring->primary.generation.numbers[0];
}

/* Which one the others mean cannot be known. */
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

/* The newest version that could lead and is newer than what was announced. */
static struct version *candidate(struct kek_keyring *ring)
{
    struct version *version, *best = NULL;
    DL_FOREACH (ring->versions, version) {
        if (!could_lead(ring, version)) {
            version->ready_ms = 0;
            version->prepared = false; /* what was wrapped may have gone with it */
            continue;
        }
        if (version->ready_ms == 0) {
            version->ready_ms = ring->now_ms;
        }
        if (version_is_newer(ring, version) && version_namesake(ring, version) == NULL &&
            (best == NULL || version->number > best->number)) {
            best = version;
        }
    }
    return best;
}

/* It is on disk.  Whoever may not wrap by now is not announced, and the file is written without it. */
static void announce(struct kek_keyring *ring)
{
    struct version *next = ring->announcing;
    ring->announcing = NULL;
    ring->record_holds = false;
    if (!next->prepared) {
        record_save(ring);
        return;
    }
    bool first = !ring->announced;
    ring->announced = true;
    generation_of(next, &ring->primary.generation);
    ring->primary.since_ms = kek_clock_ms();
    ring_notice_with(ring, KEK_LOG_INFO, KEK_LOG_FIELDS(kek_log_text("key_id", next->key_id)),
                     "%s primary: version %u", first ? "first" : "new", next->number);
}

void primary_drive(struct kek_keyring *ring)
{
    drive_agreement(ring);
    struct version *next = candidate(ring);
    ring->wanted.count = 0;
    if (ring->record_holds) {
        announce(ring);
        return;
    }
    if (ring->announcing != NULL && !ring->announcing->prepared && !ring->record_writing) {
        ring->announcing = NULL; /* it was taken back before it was written */
    }
    if (ring->announcing != NULL) {
        return;
    }
    /* Without a record nobody has seen an older one from here: announced at once. */
    uint64_t settle = ring->announced ? ring->settings.config->settle_ms : 0;
    if (next == NULL || ring->now_ms - next->ready_ms < settle) {
        return;
    }
    if (next->prepared) {
        ring->announcing = next;
        if (!ring->record_dirty) {
            record_save(ring); /* else it is written with what could not be, at the next refresh */
        }
        return;
    }
    generation_of(next, &ring->wanted);
}
