/*
 * What follows of the facts: for a worker that uses another key or misses one, and for what a provider is
 * known to hold.
 *
 * A worker that cannot open a witness that was agreed on is ended, at once the first time; the next one
 * that is wrong in the same provider later and later, so that a library that is wrong now and then costs
 * little.  When workers in a row are wrong and none is right, the provider holds another key: it is
 * refused for that version, and its workers stay for the others.
 */
#include "keyring/ring.h"

#include <string.h>

#include "kek/clock.h"

#define WRONG_WORKERS 2 /* in a row, with none that is right, and the provider is refused */
#define ODD_PAUSE_MAX_MS 30000u

/* ---- workers ---- */

static bool has_opener(const struct source *source, const struct version *version,
                       const struct member *except)
{
    const struct member *member;
    DL_FOREACH (source->members, member) {
        if (member != except && !member->ended && member->views[version->slot].witness == OPENED) {
            return true;
        }
    }
    return false;
}

/* The next one that is odd is ended later. */
static void pause_longer(struct source *source)
{
    uint64_t pause = source->odd_pause_ms == 0 ? TICK_MS : 2 * source->odd_pause_ms;
    source->odd_pause_ms = pause < ODD_PAUSE_MAX_MS ? pause : ODD_PAUSE_MAX_MS;
    source->odd_next_ms = source->ring->now_ms + source->odd_pause_ms;
}

static void end_member(struct member *member, const struct version *version, const char *what)
{
    struct source *source = member->source;
    struct kek_why why;
    kek_fail(&why, KEK_UNAVAILABLE, "%s: a worker %s version %u, and was ended",
             source_name(source), what, version->number);
    ring_notice_with(source->ring, KEK_LOG_ERROR,
                     KEK_LOG_FIELDS(kek_log_text("provider", source_name(source)),
                                    kek_log_text("token", member->token),
                                    kek_log_number("worker", member->serial)),
                     "%s", why.text);
    member->ended = true;
    pause_longer(source);
    kek_pool_end(source->ring->settings.pool, member->serial, &why);
}

/* Its siblings may have gone the same way since they were asked. */
static void doubt_siblings(const struct member *wrong, const struct version *version)
{
    struct member *member;
    DL_FOREACH (wrong->source->members, member) {
        struct view *view = &member->views[version->slot];
        const struct view *failed = &wrong->views[version->slot];
        view->again = view->again || (member != wrong && view->asked_ms < failed->since_ms);
    }
}

static void judge_wrong(struct member *member, struct version *version)
{
    struct source *source = member->source;
    struct holding *holding = &version->held[source->index];
    bool right = has_opener(source, version, member);
    doubt_siblings(member, version);
    if (!right && holding->wrong >= WRONG_WORKERS) {
        return; /* refused */
    }
    if (source->ring->now_ms < source->odd_next_ms) {
        return; /* it stays, unused */
    }
    holding->wrong += !right;
    if (!right && holding->wrong >= WRONG_WORKERS) {
        ring_notice(source->ring, KEK_LOG_ERROR,
                    "provider %s holds a different key under the name of version %u: refused for "
                    "it",
                    source_name(source), version->number);
        return;
    }
    end_member(member, version, "uses a different key under the name of");
}

/* What it unwraps is right, so that its provider still unwraps.  Where nobody else could wrap it stays, and is
 * tried again (trip.c): a fresh one would find the key unfit, and call for a loss what may last a moment. */
static void judge_wraps(struct member *member, const struct version *version)
{
    const struct source *source = member->source;
    const struct member *other;
    bool wraps = false;
    MEMBER_FOREACH (source->ring, other) {
        wraps = wraps || (!other->ended && view_wraps(version, &other->views[version->slot]));
    }
    if (wraps && source->ring->now_ms >= source->odd_next_ms) {
        end_member(member, version, "wraps with a different key than it unwraps with, under");
    }
}

static bool is_looking(const struct member *member)
{
    return member->relist || member->list != NULL;
}

/* What it lists is old news: its library caches. */
static void retire(struct member *member)
{
    if (!member->retired) {
        member->source->caches = true;
        member->retired = true;
        kek_pool_retire(member->source->ring->settings.pool, member->serial);
    }
}

/* One that misses what a sibling opened both before it last listed its keys, and after: a library that was
 * blind at the wrong moment and caches that, if it is the younger; one that caches what it saw long ago, if
 * it is the older. */
static void judge_missing(struct member *member, const struct version *version)
{
    struct source *source = member->source;
    struct member *sibling;
    DL_FOREACH (source->members, sibling) {
        struct view *view = &sibling->views[version->slot];
        if (sibling == member || sibling->ended || view->witness != OPENED) {
            continue;
        }
        if (member->asked_ms == 0 || view->since_ms > member->asked_ms) {
            member->relist = true; /* it may just not have looked since */
        } else if (view->asked_ms < member->listed_ms) {
            view->again = true; /* and the sibling is asked first */
        } else if (member->serial < sibling->serial && !member->retired) {
            retire(member);
            return;
        } else {
            if (source->ring->now_ms >= source->odd_next_ms) {
                end_member(member, version, "does not see the key of");
            }
            return;
        }
    }
}

/* An older worker that still shows of a key what a younger one, before it was asked, no longer did. */
static void judge_stale(struct member *member, const struct version *version)
{
    const struct view *view = &member->views[version->slot];
    const struct member *younger;
    DL_FOREACH (member->source->members, younger) {
        const struct view *news = &younger->views[version->slot];
        bool differs = news->can_wrap != view->can_wrap || news->can_unwrap != view->can_unwrap;
        if (younger->serial <= member->serial || younger->ended || !news->present ||
            !news->eligible || !differs || news->shown_ms <= view->shown_ms) {
            continue;
        }
        if (member->asked_ms < news->shown_ms) {
            member->relist = true;
        } else {
            retire(member);
        }
        return;
    }
}

/* A witness that no answer comes of is waited for as long as a call may last, and then only if a sibling opens
 * it.  One that was not agreed on judges nobody. */
bool member_judged(const struct member *member)
{
    const struct source *source = member->source;
    const struct version *version;
    bool young = kek_clock_ms() - member->born_ms < CALL_MS;
    DL_FOREACH (source->ring->versions, version) {
        const struct view *view = &member->views[version->slot];
        const struct holding *holding = &version->held[source->index];
        if (view_may(view, KEK_POOL_UNWRAP) && version->witness_len > 0 &&
            view->witness == UNKNOWN && (young || has_opener(source, version, member))) {
            return false;
        }
        if (view->witness == FAILED && version->agreed && holding->wrong < WRONG_WORKERS) {
            return false;
        }
        if (view->wraps_wrongly || (!view->present && version->agreed && holding->unwraps)) {
            return false;
        }
    }
    return !member->ended;
}

static void judge_member(struct member *member)
{
    struct version *version;
    DL_FOREACH (member->source->ring->versions, version) {
        const struct view *view = &member->views[version->slot];
        if (member->ended) {
            return;
        }
        if (view->witness == FAILED && version->agreed) {
            judge_wrong(member, version);
        } else if (view->wraps_wrongly) {
            judge_wraps(member, version);
        } else if (is_looking(member)) {
            continue;
        } else if (!view->present) {
            judge_missing(member, version);
        } else {
            judge_stale(member, version);
        }
    }
}

void judge_members(struct kek_keyring *ring)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        struct source *source = &ring->sources[p];
        struct member *member;
        bool all = source->members != NULL;
        DL_FOREACH (source->members, member) {
            judge_member(member);
            all = all && member_judged(member);
        }
        if (all && ring->now_ms >= source->odd_next_ms) {
            source->odd_pause_ms = 0;
        }
    }
}

/* ---- what a provider is known to hold ---- */

struct sum {
    bool any, fit, present, active, unwraps, wraps, proven, asked, absent, failed;
    bool eligible, may_unwrap, may_wrap,
        compromised; /* as the token shows it, whatever it is worth */
};

/* Does the token let it be used so?  What was refused twice in a row is not, whatever is listed, until a use
 * works again. */
static bool is_let(const struct view *view, enum kek_pool_op op)
{
    bool unwraps = view->present && view->eligible && view->can_unwrap && view->to_unwrap.count < 2;
    return unwraps && (op != KEK_POOL_WRAP || (view->can_wrap && view->to_wrap.count < 2));
}

static struct sum sum_up(const struct source *source, const struct version *version)
{
    struct sum sum = {0};
    const struct member *member;
    DL_FOREACH (source->members, member) {
        const struct view *view = &member->views[version->slot];
        bool fit = view_may(view, KEK_POOL_UNWRAP);
        bool can_wrap = view_may(view, KEK_POOL_WRAP) && !version->compromised;
        if (member->ended) {
            continue;
        }
        sum.any = true;
        sum.fit |= fit;
        sum.present |= view->present;
        sum.absent |= !view->present;
        sum.eligible |= view->present && view->eligible;
        sum.may_unwrap |= is_let(view, KEK_POOL_UNWRAP);
        sum.may_wrap |= is_let(view, KEK_POOL_WRAP);
        sum.compromised |= view->present && view->compromised;
        sum.active |= can_wrap && view->witness != FAILED;
        sum.unwraps |= view_unwraps(version, view);
        sum.wraps |= view_wraps(version, view);
        sum.proven |= view->witness == OPENED;
        sum.failed |= view->witness == FAILED;
        sum.asked |= fit && view->witness == UNKNOWN &&
                     (version->witness_len > 0 || (can_wrap && !version->surplus));
    }
    return sum;
}

/* Workers show the key and none may do now what one could until `could_ms`: has each listed since, or refused
 * more than once?  The one that could may be gone, and another still say what it met or was told before. */
static bool all_said_so(const struct source *source, const struct version *version,
                        enum kek_pool_op op, uint64_t could_ms)
{
    const struct holding *holding = &version->held[source->index];
    uint64_t did_us = op == KEK_POOL_WRAP ? holding->wrapped_us : holding->unwrapped_us;
    struct member *member;
    bool all = true;
    DL_FOREACH (source->members, member) {
        struct view *view = &member->views[version->slot];
        struct refusal *refusal = op == KEK_POOL_WRAP ? &view->to_wrap : &view->to_unwrap;
        if (!view->present || member->ended) {
            continue;
        }
        if (refusal->count > 0 && refusal->us < did_us) {
            *refusal = (struct refusal){0}; /* it is tried again */
            ring_dirty(source->ring);
            all = false;
        }
        if (member->asked_ms <= could_ms && refusal->count < 2) {
            member->relist = member->relist || member->list == NULL;
            all = false;
        }
    }
    return all;
}

static enum kek_keyring_key key_of(const struct version *version, const struct holding *holding,
                                   const struct sum *sum)
{
    if (!sum->present) {
        return holding->key > KEK_KEYRING_KEY_ABSENT ? KEK_KEYRING_KEY_GONE
               : version->agreed                     ? KEK_KEYRING_KEY_ABSENT
                                                     : KEK_KEYRING_KEY_UNSEEN;
    }
    if (!sum->eligible) {
        return KEK_KEYRING_KEY_UNFIT;
    }
    if (holding->wrong >= WRONG_WORKERS) {
        return KEK_KEYRING_KEY_FOREIGN;
    }
    if (!sum->may_unwrap) {
        return KEK_KEYRING_KEY_SUSPENDED;
    }
    if (sum->compromised) {
        return KEK_KEYRING_KEY_COMPROMISED;
    }
    return sum->may_wrap ? KEK_KEYRING_KEY_ACTIVE : KEK_KEYRING_KEY_PRE_ACTIVE;
}

static void judge_holding(const struct source *source, struct version *version)
{
    struct holding *holding = &version->held[source->index];
    struct sum sum = sum_up(source, version);
    if (!sum.any) {
        holding->missed = holding->asked = false;
        return;
    }
    /* A start at which the token refused for a moment what the key is tried with: the next may find it fit. */
    bool unfit = !sum.eligible && holding->key == KEK_KEYRING_KEY_UNSEEN;
    bool lacking = (sum.absent || unfit) && !sum.unwraps && !sum.asked;
    holding->missed = lacking && version->agreed && holding->missing < ABSENT_LOOKS;
    holding->asked = sum.asked;
    /* One wrong worker does not make its provider wrong: the next may be right. */
    bool wrong = sum.failed && version->agreed && holding->wrong < WRONG_WORKERS;
    holding->unwrappable_ms = sum.unwraps ? source->ring->now_ms : holding->unwrappable_ms;
    holding->wrappable_ms = sum.wraps ? source->ring->now_ms : holding->wrappable_ms;
    enum kek_pool_op op = sum.unwraps ? KEK_POOL_WRAP : KEK_POOL_UNWRAP;
    uint64_t could_ms = sum.unwraps ? holding->wrappable_ms : holding->unwrappable_ms;
    bool unsure = could_ms > 0 && !sum.wraps && !all_said_so(source, version, op, could_ms);
    holding->settled = !unsure && !sum.asked && !holding->missed && !wrong;
    holding->known = true;
    holding->present = sum.present;
    holding->compromised = sum.present ? sum.compromised : holding->compromised;
    holding->active = sum.active;
    holding->proven = sum.proven;
    holding->wrong = sum.proven ? 0 : holding->wrong;
    holding->missing = sum.unwraps ? 0 : holding->missing;
    if (!holding->missed && !unsure && (sum.proven || !wrong)) {
        holding->key = key_of(version, holding, &sum);
    }
    holding->unwraps = sum.unwraps || (holding->unwraps && !holding->settled);
    holding->wraps = sum.wraps || (holding->wraps && !holding->settled);
    /* A worker that comes later and says the same opens no question. */
    holding->shut = !sum.active && !holding->wraps && (holding->shut || holding->settled);
    holding->closed = !sum.fit && !holding->unwraps && (holding->closed || holding->settled);
}

/* One mark counts, whichever provider has it, and over a restart: a token that the mark has not reached, or
 * that is alone in answering, must not seal under the key.  It is over once every provider shows the key
 * without it. */
static void judge_mark(struct kek_keyring *ring, struct version *version)
{
    bool marked = false, unmarked = true;
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct holding *holding = &version->held[p];
        marked = marked || holding->compromised;
        unmarked = unmarked && holding->present && source_answers(&ring->sources[p]);
    }
    if (version->compromised ? !unmarked || marked : !marked) {
        return;
    }
    version->compromised = marked;
    record_save(ring);
    ring_notice_with(ring, KEK_LOG_WARN, KEK_LOG_FIELDS(kek_log_text("key_id", version->key_id)),
                     marked ? "KEK version %u is marked compromised: nothing is sealed under it"
                            : "KEK version %u is not marked compromised any more",
                     version->number);
    ring_dirty(ring);
}

void judge_holdings(struct kek_keyring *ring)
{
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        for (size_t p = 0; p < ring->source_count; p++) {
            judge_holding(&ring->sources[p], version);
        }
        judge_mark(ring, version);
    }
}

bool version_is_suspended(const struct kek_keyring *ring, const struct version *version)
{
    bool suspended = false;
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct holding *holding = &version->held[p];
        if (holding->unwraps) {
            return false;
        }
        suspended = suspended || holding->key == KEK_KEYRING_KEY_SUSPENDED;
    }
    return suspended;
}

bool kek_keyring_suspended(const struct kek_keyring *ring, const struct kek_id *kek_id)
{
    const struct version *version = version_find(ring, kek_id);
    return version != NULL && version_is_suspended(ring, version);
}

enum kek_rc kek_keyring_wraps(const struct kek_keyring *ring,
                              const struct kek_generation *generation, struct kek_why *why)
{
    bool anybody = ring_answering(ring) > 0;
    for (size_t i = 0; i < generation->count; i++) {
        const struct version *version = version_find(ring, &generation->kek_ids[i]);
        bool may = version == NULL || !anybody; /* in an outage nobody says no */
        bool never = version != NULL && version->compromised;
        /* What had its time waits for nobody who may yet come to wrap. */
        bool past = version != NULL && version->announced && version != version_primary(ring);
        for (size_t p = 0; p < ring->source_count && !may; p++) {
            const struct holding *holding = &version->held[p];
            may = holding->wraps ||
                  (!past && !holding->shut && (!holding->known || !holding->settled));
        }
        if (!may || never) {
            return kek_fail(
                why, KEK_PRECONDITION,
                version->compromised ? "KEK version %u is compromised: nothing is sealed under it"
                : version_is_suspended(ring, version)
                    ? "KEK version %u is suspended: it neither seals nor opens"
                    : "KEK version %u may wrap on no HSM: it was retired, or it is gone",
                generation->numbers[i]);
        }
    }
    return KEK_OK;
}
