/* What is known: the versions, the workers, and what each worker showed of each version. */
#include "keyring/ring.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

void ring_dirty(struct kek_keyring *ring)
{
    ring->dirty = true;
    if (!ring->stopped) {
        uv_prepare_start(&ring->turn, ring->on_turn);
    }
}

void ring_notice_with(const struct kek_keyring *ring, enum kek_log_level level,
                      const struct kek_log_field *fields, const char *format, ...)
{
    if (ring->settings.notice == NULL) {
        return;
    }
    char text[KEK_WHY_TEXT + 192];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ring->settings.notice(ring->settings.arg, level, fields, text);
}

/* ---- versions ---- */

struct version *version_find(const struct kek_keyring *ring, const struct kek_id *kek_id)
{
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        if (kek_id_equal(&version->id, kek_id)) {
            return version;
        }
    }
    return NULL;
}

struct version *version_primary(const struct kek_keyring *ring)
{
    return ring->announced ? version_find(ring, &ring->primary.generation.kek_ids[0]) : NULL;
}

/* Destroyed versions stay known and recorded, as long as they keep no new one out. */
static bool is_needed(const struct kek_keyring *ring, const struct version *version)
{
    if (version == ring->announcing || version == version_primary(ring) || version->trips > 0) {
        return true;
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        if (version->held[p].present || !version->held[p].known) {
            return true;
        }
    }
    return false;
}

/* Why its worker went while it was asked is not known here: it may have been the key. */
static void check_drop(struct kek_keyring *ring, struct view *view)
{
    struct check *check = view->check;
    if (check == NULL) {
        return;
    }
    if (check->call != NULL && !ring->stopped) {
        (void)canary_failed(check->member, check->version, check->begun_us, KEK_UNAVAILABLE,
                            "the worker that was asked for it ended");
    }
    if (check->call != NULL) {
        kek_pool_cancel(check->call);
    }
    view->check = NULL;
    wait_end(ring, &check->now, KEK_UNAVAILABLE);
    wait_end(ring, &check->next, KEK_UNAVAILABLE);
    free(check);
}

void view_forget(struct view *view)
{
    view->witness = UNKNOWN;
    view->asked_ms = view->opened_ms = 0;
}

void version_forget_witness(struct kek_keyring *ring, struct version *version)
{
    struct member *member;
    MEMBER_FOREACH (ring, member) {
        struct view *view = &member->views[version->slot];
        check_drop(ring, view);
        view_forget(view);
    }
    version->witness_len = 0;
    ring_dirty(ring);
}

static void version_drop(struct kek_keyring *ring, struct version *version)
{
    version_forget_witness(ring, version);
    struct member *member;
    MEMBER_FOREACH (ring, member) {
        member->views[version->slot] = (struct view){0};
    }
    ring->slots &= ~(UINT64_C(1) << version->slot);
    ring->version_count--;
    DL_DELETE(ring->versions, version);
    free(version);
}

bool version_forget(struct kek_keyring *ring, struct version *version)
{
    if (is_needed(ring, version)) {
        return false;
    }
    version_drop(ring, version);
    return true;
}

static void make_room(struct kek_keyring *ring)
{
    struct version *version, *oldest = NULL;
    DL_FOREACH (ring->versions, version) {
        if (!is_needed(ring, version) && (oldest == NULL || version->number < oldest->number)) {
            oldest = version;
        }
    }
    if (oldest != NULL) {
        version_drop(ring, oldest);
    }
}

struct version *version_add(struct kek_keyring *ring, const struct kek_id *kek_id, uint32_t number)
{
    struct version *version = version_find(ring, kek_id);
    if (version != NULL) {
        return version;
    }
    if (ring->version_count == VERSIONS_MAX) {
        make_room(ring);
    }
    if (ring->version_count == VERSIONS_MAX) {
        return NULL;
    }
    version = calloc(1, sizeof *version);
    if (version == NULL) {
        return NULL;
    }
    version->id = *kek_id;
    version->number = number;
    if (kek_key_id(kek_bytes_of(ring->settings.config->context), KEK_ENVELOPE_MODE_ANY, kek_id, 1,
                   version->key_id, NULL) != KEK_OK) {
        free(version);
        return NULL;
    }
    version->slot = (unsigned)__builtin_ctzll(~ring->slots);
    ring->slots |= UINT64_C(1) << version->slot;
    ring->version_count++;
    DL_APPEND(ring->versions, version);
    return version;
}

/* ---- what a worker may be sent ---- */

/* What a use met counts for more than a list, which a library may have from memory.  The first refusal may
 * be of a moment that passes, and counts until the worker lists again; those that follow count longer and
 * longer (1 s to 32 s), so that neither a call nor the verdict goes back and forth with each list. */
static bool is_refused(const struct refusal *refusal)
{
    unsigned doublings = refusal->count < 2 ? 0 : refusal->count - 2;
    uint64_t pause_us = UINT64_C(1000) * TICK_MS << (doublings < 5 ? doublings : 5);
    return refusal->unheard || (refusal->count >= 2 && kek_clock_us() - refusal->us < pause_us);
}

bool view_may(const struct view *view, enum kek_pool_op op)
{
    bool unwraps =
        view->present && view->eligible && view->can_unwrap && !is_refused(&view->to_unwrap);
    return unwraps &&
           (op != KEK_POOL_WRAP || (view->can_wrap && !view->compromised && !view->wraps_wrongly &&
                                    !is_refused(&view->to_wrap)));
}

static struct refusal *refusal_of(struct member *member, const struct version *version,
                                  enum kek_pool_op op)
{
    struct view *view = &member->views[version->slot];
    return op == KEK_POOL_WRAP ? &view->to_wrap : &view->to_unwrap;
}

void member_refused(struct member *member, struct version *version, enum kek_pool_op op)
{
    struct refusal *refusal = refusal_of(member, version, op);
    *refusal = (struct refusal){.count = refusal->count + 1, .us = kek_clock_us(), .unheard = true};
    member->relist = true;
    ring_dirty(member->source->ring);
}

void member_worked(struct member *member, struct version *version, enum kek_pool_op op)
{
    struct holding *holding = &version->held[member->source->index];
    *(op == KEK_POOL_WRAP ? &holding->wrapped_us : &holding->unwrapped_us) = kek_clock_us();
    refusal_of(member, version, op)->count = 0;
}

/* Where there is no witness, an unwrap needs no proof: the envelope's tag proves what comes back. */
bool view_unwraps(const struct version *version, const struct view *view)
{
    return view_may(view, KEK_POOL_UNWRAP) && view->witness != FAILED &&
           (view->witness == OPENED || version->witness_len == 0);
}

bool view_wraps(const struct version *version, const struct view *view)
{
    return view_may(view, KEK_POOL_WRAP) && view->witness == OPENED && version->agreed &&
           !version->surplus && !version->compromised;
}

bool member_trusted(const struct member *member)
{
    const struct version *version;
    DL_FOREACH (member->source->ring->versions, version) {
        if (version->agreed && member->views[version->slot].witness == FAILED) {
            return false;
        }
    }
    return !member->ended;
}

bool version_disputed(const struct kek_keyring *ring, const struct version *version)
{
    const struct member *member;
    MEMBER_FOREACH (ring, member) {
        if (!version->agreed && member->views[version->slot].witness == FAILED) {
            return true;
        }
    }
    return false;
}

enum kek_attestation version_attestation(const struct source *source, const struct version *version)
{
    const struct member *member;
    enum kek_attestation least = KEK_ATTESTATION_REQUIRED;
    bool shown = false;
    DL_FOREACH (source->members, member) {
        const struct view *view = &member->views[version->slot];
        least = view->present && view->attestation < least ? view->attestation : least;
        shown = shown || view->present;
    }
    return shown ? least : KEK_ATTESTATION_FREE;
}

bool version_unattested(const struct kek_keyring *ring, const struct version *version)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (version_attestation(&ring->sources[p], version) == KEK_ATTESTATION_REQUIRED) {
            return true;
        }
    }
    return false;
}

/* ---- workers ---- */

struct member *member_next(const struct kek_keyring *ring, const struct member *member)
{
    struct member *next = member == NULL ? NULL : member->next;
    for (size_t p = member == NULL ? 0 : member->source->index + 1;
         next == NULL && p < ring->source_count; p++) {
        next = ring->sources[p].members;
    }
    return next;
}

struct member *member_find(const struct kek_keyring *ring, uint64_t serial)
{
    struct member *member;
    MEMBER_FOREACH (ring, member) {
        if (member->serial == serial) {
            return member;
        }
    }
    return NULL;
}

static void tell_unfit(struct source *source, struct version *version,
                       const struct kek_version *seen)
{
    struct holding *holding = &version->held[source->index];
    if (!holding->told_unfit) {
        holding->told_unfit = true;
        ring_notice_with(source->ring, KEK_LOG_WARN,
                         KEK_LOG_FIELDS(kek_log_text("provider", source_name(source)),
                                        kek_log_text("label", seen->label)),
                         "a key is not used: %s", seen->refusal);
    }
}

/* Of two objects with one kek id the one that is fit counts. */
static void take_one(struct member *member, const struct kek_version *seen)
{
    struct source *source = member->source;
    struct version *version = version_add(source->ring, &seen->id, seen->number);
    if (version == NULL) {
        ring_notice_with(source->ring, KEK_LOG_ERROR,
                         KEK_LOG_FIELDS(kek_log_text("provider", source_name(source)),
                                        kek_log_text("label", seen->label)),
                         "a version of the keyring cannot be kept: more than %d are known",
                         VERSIONS_MAX);
        return;
    }
    struct view *view = &member->views[version->slot];
    if (!seen->eligible) {
        tell_unfit(source, version, seen);
    }
    if (view->present && view->eligible) {
        return;
    }
    if (seen->eligible && !version->agreed) {
        version->number = seen->number; /* a copy that is not used may have another name */
    }
    view->present = true;
    view->eligible = seen->eligible;
    view->can_wrap = seen->can_wrap;
    view->can_unwrap = seen->can_unwrap;
    view->compromised = seen->compromised;
    view->destroy_s = seen->destroy_s;
    view->attestation = seen->attestation;
    view->alg = seen->alg != KEK_WRAP_NONE ? seen->alg : view->alg;
}

static bool same_listing(const struct view *a, const struct view *b)
{
    return a->present == b->present && a->eligible == b->eligible && a->can_wrap == b->can_wrap &&
           a->can_unwrap == b->can_unwrap && a->compromised == b->compromised &&
           a->destroy_s == b->destroy_s && a->attestation == b->attestation;
}

void member_take(struct member *member, const struct kek_version *seen, size_t count)
{
    struct view before[VERSIONS_MAX];
    memcpy(before, member->views, sizeof before);
    member->listed_ms = kek_clock_ms();
    for (size_t i = 0; i < VERSIONS_MAX; i++) {
        struct view *view = &member->views[i];
        view->present = view->eligible = view->can_wrap = view->can_unwrap = false;
        view->compromised = false;
        view->destroy_s = 0;
        view->attestation = KEK_ATTESTATION_FREE;
    }
    for (size_t i = 0; i < count; i++) {
        take_one(member, &seen[i]);
    }
    for (size_t i = 0; i < VERSIONS_MAX; i++) {
        struct view *view = &member->views[i];
        view->to_wrap.unheard = view->to_unwrap.unheard = false;
        if (!same_listing(view, &before[i]) || view->shown_ms == 0) {
            view->shown_ms = member->listed_ms;
            view->to_wrap = view->to_unwrap = (struct refusal){0};
        }
        /* What a worker opened counts while it shows the key: one that comes back may be another. */
        if (!view->present) {
            view_forget(view);
        }
    }
    ring_dirty(member->source->ring);
}

void member_drop(struct member *member)
{
    if (member->list != NULL) {
        kek_pool_cancel(member->list);
    }
    for (size_t i = 0; i < VERSIONS_MAX; i++) {
        check_drop(member->source->ring, &member->views[i]);
    }
    DL_DELETE(member->source->members, member);
    ring_dirty(member->source->ring);
    free(member);
}

/* A fresh worker that misses a version, or finds that its key is not fit, is a sign of it; two a tick apart are
 * believed. */
static void count_missing(struct source *source, const struct member *member)
{
    struct version *version;
    uint64_t now = kek_clock_ms();
    DL_FOREACH (source->ring->versions, version) {
        struct holding *holding = &version->held[source->index];
        const struct view *view = &member->views[version->slot];
        if (view->present && view->eligible) {
            holding->missing = 0;
        } else if (holding->missing == 0 || now - holding->missing_ms >= TICK_MS) {
            holding->missing += holding->missing < UINT8_MAX;
            holding->missing_ms = now;
        }
    }
}

static void member_add(struct source *source, const struct kek_pool_worker *worker)
{
    struct member *member = calloc(1, sizeof *member);
    if (member == NULL) {
        return; /* it serves nobody; the next sync tries again */
    }
    member->source = source;
    member->serial = worker->serial;
    kek_text_copy(member->token, sizeof member->token, worker->token);
    member->born_ms = source->youngest_ms = kek_clock_ms();
    DL_APPEND(source->members, member);
    member_take(member, worker->versions, worker->version_count);
    count_missing(source, member);
}

void source_sync(struct source *source)
{
    struct kek_pool_worker workers[KEK_POOL_WORKERS_MAX];
    size_t count = kek_pool_workers(source->ring->settings.pool, source->index, workers);
    struct member *member, *next;
    DL_FOREACH_SAFE (source->members, member, next) {
        bool there = false;
        for (size_t i = 0; i < count && !there; i++) {
            there = workers[i].serial == member->serial;
        }
        if (!there) {
            member_drop(member);
        }
    }
    for (size_t i = 0; i < count; i++) {
        if (member_find(source->ring, workers[i].serial) == NULL) {
            member_add(source, &workers[i]);
        }
    }
}

/* ---- providers ---- */

const char *source_name(const struct source *source)
{
    return source->ring->settings.config->providers[source->index].name;
}

bool source_answers(const struct source *source)
{
    return source->members != NULL && !source->broken;
}

size_t ring_answering(const struct kek_keyring *ring)
{
    size_t count = 0;
    for (size_t p = 0; p < ring->source_count; p++) {
        count += source_answers(&ring->sources[p]);
    }
    return count;
}

/* The workers of a token whose keys are gone go all at once; what their successors say comes a moment later. */
bool source_starting(const struct source *source)
{
    struct kek_pool_provider status;
    kek_pool_provider_get(source->ring->settings.pool, source->index, &status);
    return (source->members == NULL &&
            (status.health == KEK_POOL_STARTING || status.health == KEK_POOL_READY)) ||
           (source->answered_ms > 0 && source->ring->now_ms - source->answered_ms < TICK_MS);
}

void source_worked(struct source *source, enum kek_pool_op op)
{
    *(op == KEK_POOL_WRAP ? &source->wrapped_ms : &source->unwrapped_ms) = kek_clock_ms();
    if (source->broken && source->broken_at == op) {
        source->broken = false;
        ring_dirty(source->ring);
    }
}
