/*
 * What is agreed on, and what is announced.
 *
 * A version's first witness is a proposal: it was made by one worker, which may be the wrong one.  It is
 * agreed on once every worker of every provider that counts has opened it; from then on it is on record,
 * and who cannot open it is wrong.  On a node without a record every configured provider counts, since
 * nobody else can say which key is right; later, those that answer, of which one at least must show a version
 * that was agreed on before: a token that shows none may be another, with keys of its own under the same names.
 */
#include "keyring/ring.h"

#include <string.h>

#include "kek/clock.h"

#define AWAIT_MS 2000u /* that somebody waits for another primary: an API server gives Status 3 s */

/* ---- agreement ---- */

enum consent { SILENT, WAIT, AGREES };

/* Has it opened the primary's witness before it opened this one, and after?  Its library may have been on another token in
 * between, and every key of that is another. */
static bool was_right(const struct kek_keyring *ring, struct member *member,
                      const struct version *version)
{
    const struct version *primary = version_primary(ring);
    if (primary == NULL) {
        return true;
    }
    struct view *known = &member->views[primary->slot], *view = &member->views[version->slot];
    if (!view_may(known, KEK_POOL_UNWRAP)) {
        return true; /* it was suspended, or destroyed: it tells nothing any more */
    }
    if (known->witness != OPENED) {
        return false;
    }
    bool before = view->opened_ms > known->since_ms, after = known->opened_ms > view->opened_ms;
    view->again = view->again || !before;
    known->again = known->again || (before && !after);
    return before && after;
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
                   !was_right(source->ring, member, version)) {
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
        any = any || (consent == AGREES && (!ring->announced || source_vouches(source)));
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
    if (tokens_learn(ring)) {
        record_save(ring);
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
    return answered && version->agreed && !version->surplus && !version->compromised &&
           !version_unattested(ring, version);
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
        if (version_is_newer(ring, version) && (best == NULL || version->number > best->number)) {
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
    next->announced = true;
    ring->succession_ms = 0;
    wait_end(ring, &ring->awaiting, KEK_OK);
    generation_of(next, &ring->primary.generation);
    ring->primary.since_ms = kek_clock_ms();
    ring->primary.announced_ms = ring->primary.each_announced_ms[0] = ring->announcing_ms;
    ring_notice_with(ring, KEK_LOG_INFO, KEK_LOG_FIELDS(kek_log_text("key_id", next->key_id)),
                     "%s primary: version %u", first ? "first" : "new", next->number);
}

static void drive_succession(struct kek_keyring *ring)
{
    bool under_way = primary_is_past(ring) && version_next(ring) != NULL;
    if (!under_way) {
        ring->succession_ms = 0;
    } else if (ring->succession_ms == 0) {
        ring->succession_ms = ring->now_ms;
    }
    if (version_next(ring) == NULL || ring->now_ms - ring->awaiting_ms >= AWAIT_MS) {
        wait_end(ring, &ring->awaiting, KEK_UNAVAILABLE);
    }
}

struct kek_keyring_wait *kek_keyring_await(struct kek_keyring *ring, void (*done)(void *arg),
                                           void *arg)
{
    bool first = ring->awaiting == NULL;
    bool may_come = !ring->stopped && version_next(ring) != NULL &&
                    (is_succession(ring) || !primary_is_past(ring));
    struct kek_keyring_wait *wait = may_come ? wait_add(&ring->awaiting, arg) : NULL;
    if (wait != NULL) {
        wait->looked = done;
        ring->awaiting_ms = first ? kek_clock_ms() : ring->awaiting_ms;
    }
    return wait;
}

bool kek_keyring_is_changing(const struct kek_keyring *ring)
{
    return is_succession(ring);
}

void primary_drive(struct kek_keyring *ring)
{
    drive_agreement(ring);
    drive_succession(ring);
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
    /* At once where nobody has seen an older one from here, and where the older one seals nothing more: other
     * nodes had their time before it was retired. */
    bool at_once = !ring->announced || primary_is_past(ring);
    uint64_t settle = at_once ? 0 : ring->settings.config->settle_ms;
    if (next == NULL || ring->now_ms - next->ready_ms < settle) {
        return;
    }
    if (next->prepared && !home_is_here(ring)) {
        return; /* what is on record there alone the next kekd would not know */
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
