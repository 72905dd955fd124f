/* The keyring's face, and the turn in which everything that follows of the facts is worked out. */
#include "kek/keyring.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "keyring/ring.h"

#define ROUNDS_MAX 8 /* of one turn: what follows may change facts itself */

/* ---- what versions may do ---- */

bool kek_keyring_may(const struct kek_keyring *ring, size_t provider, uint64_t worker,
                     enum kek_pool_op op, const struct kek_id *kek_id)
{
    const struct version *version = version_find(ring, kek_id);
    if (version == NULL || provider >= ring->source_count) {
        return false;
    }
    if (worker == 0) {
        const struct holding *holding = &version->held[provider];
        return op == KEK_POOL_WRAP ? holding->wraps : holding->unwraps;
    }
    const struct member *member = member_find(ring, worker);
    if (member == NULL || member->ended) {
        return false;
    }
    const struct view *view = &member->views[version->slot];
    return op == KEK_POOL_WRAP ? view_wraps(version, view) : view_unwraps(version, view);
}

bool kek_keyring_judged(const struct kek_keyring *ring, size_t provider, uint64_t worker)
{
    const struct member *member = member_find(ring, worker);
    (void)provider;
    return member != NULL && member_judged(member);
}

enum kek_keyring_knows kek_keyring_find(const struct kek_keyring *ring, const struct kek_id *kek_id)
{
    const struct version *version = version_find(ring, kek_id);
    bool all = true;
    for (size_t p = 0; p < ring->source_count; p++) {
        if (version != NULL && version->held[p].unwraps) {
            return KEK_KEYRING_OPENS;
        }
        all = all && source_answers(&ring->sources[p]) &&
              (version == NULL || version->held[p].settled || version->held[p].closed);
    }
    if (!all) {
        return KEK_KEYRING_UNSEEN;
    }
    return version == NULL ? KEK_KEYRING_UNKNOWN : KEK_KEYRING_CLOSED;
}

void kek_keyring_met(struct kek_keyring *ring, const struct kek_id *kek_id)
{
    struct version *version = version_find(ring, kek_id);
    if (version != NULL) {
        version->asked_ms = kek_clock_ms();
    }
    if (version != NULL && version->back) {
        ageing_met(ring, version);
    }
}

bool kek_keyring_name(const struct kek_keyring *ring, const struct kek_id *kek_id, uint32_t *number,
                      char key_id[static KEK_KEY_ID_TEXT])
{
    const struct version *version = version_find(ring, kek_id);
    if (version != NULL) {
        *number = version->number;
        memcpy(key_id, version->key_id, KEK_KEY_ID_TEXT);
    }
    return version != NULL;
}

bool kek_keyring_takes(const struct kek_keyring *ring, const struct kek_id *kek_id,
                       enum kek_wrap_alg alg)
{
    const struct version *version = version_find(ring, kek_id), *other;
    const struct member *member;
    if (kek_wrap_alg_authenticates(alg)) {
        return true;
    }
    if (version == NULL || version->witness_len > 0) {
        return version != NULL && version->witness_alg == alg;
    }
    /* A token that wraps so under any of its keys may have under this one, which only unwraps by now. */
    MEMBER_FOREACH (ring, member) {
        DL_FOREACH (ring->versions, other) {
            if (member->views[version->slot].present && member->views[other->slot].alg == alg) {
                return true;
            }
        }
    }
    return false;
}

bool kek_keyring_has_witness(const struct kek_keyring *ring, const struct kek_id *kek_id)
{
    const struct version *version = version_find(ring, kek_id);
    return version != NULL && version->agreed;
}

bool kek_keyring_doubts(const struct kek_keyring *ring, const struct kek_id *kek_id)
{
    const struct version *version = version_find(ring, kek_id);
    const struct member *member;
    MEMBER_FOREACH (ring, member) {
        const struct view *view = version == NULL ? NULL : &member->views[version->slot];
        if (view != NULL && view_may(view, KEK_POOL_UNWRAP) && !view_unwraps(version, view)) {
            return true;
        }
    }
    return false;
}

bool kek_keyring_other_unwraps(const struct kek_keyring *ring, uint64_t worker,
                               const struct kek_id *kek_id)
{
    const struct version *version = version_find(ring, kek_id);
    const struct member *member;
    MEMBER_FOREACH (ring, member) {
        if (version != NULL && member->serial != worker && !member->ended &&
            view_unwraps(version, &member->views[version->slot])) {
            return true;
        }
    }
    return false;
}

/* ---- the primary ---- */

bool kek_keyring_primary(const struct kek_keyring *ring, struct kek_keyring_primary *primary)
{
    if (ring->announced) {
        *primary = ring->primary;
    }
    return ring->announced;
}

const struct kek_generation *kek_keyring_wanted(const struct kek_keyring *ring)
{
    return ring->wanted.count > 0 ? &ring->wanted : NULL;
}

void kek_keyring_prepared(struct kek_keyring *ring, const struct kek_generation *generation)
{
    struct version *version = version_find(ring, &generation->kek_ids[0]);
    if (version != NULL && version->ready_ms > 0 && !version->prepared) {
        version->prepared = true;
        ring_dirty(ring);
    }
}

/* ---- what happens ---- */

void kek_keyring_provider_changed(struct kek_keyring *ring, size_t provider)
{
    if (!ring->stopped) {
        source_sync(&ring->sources[provider]);
        ring_dirty(ring);
    }
}

/* "May not" is the token's word on the key, believed of that worker at once. */
void kek_keyring_observe(struct kek_keyring *ring, size_t provider, uint64_t worker,
                         const struct kek_id *kek_id, enum kek_pool_op op, enum kek_rc rc)
{
    if (ring->stopped || provider >= ring->source_count) {
        return;
    }
    if (rc == KEK_OK) {
        source_worked(&ring->sources[provider], op);
    }
    struct version *version = version_find(ring, kek_id);
    struct member *member = member_find(ring, worker);
    if (version == NULL || member == NULL) {
        return;
    }
    struct view *view = &member->views[version->slot];
    if (rc == KEK_OK) {
        member_worked(member, version, op);
    } else if (rc == KEK_PRECONDITION) {
        member_refused(member, version, op);
    } else if (rc == KEK_DAMAGED && op == KEK_POOL_WRAP) {
        view->wraps_wrongly = true;
        ring_dirty(ring);
    } else if (rc == KEK_NOT_FOUND) {
        view->present = false;
        view_forget(view); /* what is found under that id again may be another key */
        member->relist = true;
        ring_dirty(ring);
    }
}

/* ---- the turn ---- */

static uint64_t mix(uint64_t sum, const void *data, size_t len)
{
    const uint8_t *at = data;
    for (size_t i = 0; i < len; i++) {
        sum = (sum ^ at[i]) * UINT64_C(0x100000001b3); /* FNV-1a */
    }
    return sum;
}

/* Everything that the face answers differently when it differs. */
static uint64_t sum_of(const struct kek_keyring *ring)
{
    uint64_t sum = UINT64_C(0xcbf29ce484222325);
    const struct version *version;
    sum = mix(sum, &ring->verdict.state, sizeof ring->verdict.state);
    sum = mix(sum, &ring->verdict.pending, sizeof ring->verdict.pending);
    sum = mix(sum, ring->verdict.what, strlen(ring->verdict.what));
    struct kek_keyring_verdict remarks[KEK_KEYRING_REMARKS_MAX];
    size_t count = kek_keyring_remarks(ring, remarks, KEK_KEYRING_REMARKS_MAX);
    for (size_t i = 0; i < count; i++) {
        sum = mix(sum, remarks[i].what, strlen(remarks[i].what));
    }
    sum = mix(sum, ring->primary.generation.key_id, sizeof ring->primary.generation.key_id);
    sum = mix(sum, ring->wanted.key_id, ring->wanted.count > 0 ? sizeof ring->wanted.key_id : 0);
    DL_FOREACH (ring->versions, version) {
        const bool marks[] = {version->surplus, version->compromised};
        sum = mix(sum, &version->id, sizeof version->id);
        sum = mix(sum, marks, sizeof marks);
        for (size_t p = 0; p < ring->source_count; p++) {
            const struct holding *holding = &version->held[p];
            const bool facts[] = {holding->known,   holding->present, holding->active,
                                  holding->unwraps, holding->wraps,   holding->proven,
                                  holding->settled};
            sum = mix(sum, facts, sizeof facts);
            sum = mix(sum, &holding->key, sizeof holding->key);
        }
    }
    return sum;
}

static void work_out(struct kek_keyring *ring)
{
    ring->now_ms = kek_clock_ms();
    judge_members(ring);
    judge_holdings(ring);
    rank_drive(ring);
    primary_drive(ring);
    check_drive(ring);
    trip_drive(ring);
    ageing_drive(ring);
    verdict_drive(ring);
    remarks_drive(ring);
    look_drive(ring);
    kek_pool_recheck(ring->settings.pool);
    uint64_t sum = sum_of(ring);
    if (sum != ring->told_sum) {
        ring->told_sum = sum;
        if (ring->settings.changed != NULL) {
            ring->settings.changed(ring->settings.arg);
        }
    }
}

/* Time alone may change a verdict; and a worker that there was no memory for is taken in now. */
static void tick(uv_timer_t *timer)
{
    struct kek_keyring *ring = timer->data;
    for (size_t p = 0; p < ring->source_count; p++) {
        source_sync(&ring->sources[p]);
    }
    ring_dirty(ring);
}

static void take_turn(uv_prepare_t *handle)
{
    struct kek_keyring *ring = handle->data;
    uv_prepare_stop(handle);
    for (int round = 0; round < ROUNDS_MAX && (ring->dirty || ring->due != NULL); round++) {
        wait_tell(ring);
        if (ring->dirty && !ring->stopped) {
            ring->dirty = false;
            work_out(ring);
        }
    }
    if ((ring->dirty || ring->due != NULL) && !ring->stopped) {
        uv_timer_start(&ring->tick, tick, 0, TICK_MS); /* the rest comes in the next turn */
    }
}

/* ---- life ---- */

static void init_handles(struct kek_keyring *ring)
{
    uv_timer_t *timers[] = {&ring->tick, &ring->refresh, &ring->pace};
    for (size_t i = 0; i < sizeof timers / sizeof timers[0]; i++) {
        uv_timer_init(ring->loop, timers[i]); /* never fails */
        timers[i]->data = ring;
    }
    uv_prepare_init(ring->loop, &ring->turn);
    ring->turn.data = ring;
    ring->on_turn = take_turn;
}

struct kek_keyring *kek_keyring_new(uv_loop_t *loop, const struct kek_keyring_settings *settings,
                                    struct kek_why *why)
{
    struct kek_keyring *ring = calloc(1, sizeof *ring);
    if (ring == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the keyring");
        return NULL;
    }
    ring->settings = *settings;
    ring->loop = loop;
    ring->lock = KEK_LOCK_NONE;
    ring->source_count = settings->config->provider_count;
    for (size_t p = 0; p < ring->source_count; p++) {
        ring->sources[p].ring = ring;
        ring->sources[p].index = p;
    }
    if (record_open(ring, why) != KEK_OK) {
        kek_keyring_free(ring);
        return NULL;
    }
    if (!kek_keyring_beside(settings->config, ring->beside)) {
        ring->beside[0] = '\0';
    }
    const struct version *primary = version_primary(ring);
    if (primary != NULL && settings->pool != NULL) {
        /* Neither a restart nor a token's new firmware changes a version's algorithm. */
        kek_pool_prefer(settings->pool, primary->witness_alg);
    }
    const struct version *version;
    DL_FOREACH (ring->versions, version) {
        if (settings->pool != NULL) {
            kek_pool_know(settings->pool, version->number, &version->id);
        }
    }
    ring->verdict.state = KEK_KEYRING_STARTING;
    ring->verdict.since_ms = kek_clock_ms();
    init_handles(ring);
    return ring;
}

void kek_keyring_start(struct kek_keyring *ring)
{
    uint64_t refresh = ring->settings.config->refresh_ms;
    uv_timer_start(&ring->tick, tick, TICK_MS, TICK_MS);
    uv_timer_start(&ring->refresh, look_due, refresh, refresh);
    ring->now_ms = kek_clock_ms();
    if (ring->beside[0] != '\0') {
        const struct kek_config *config = ring->settings.config;
        ring_notice(ring, KEK_LOG_WARN,
                    "%s has a record of keyring %s, and none of %s: compare `keyring` with %s, "
                    "since what that one sealed opens under no key of %s",
                    config->state_dir, ring->beside, config->keyring, ring->beside,
                    config->keyring);
    }
    verdict_drive(ring);
}

void kek_keyring_stop(struct kek_keyring *ring)
{
    if (ring->stopped) {
        return;
    }
    if (ring->dirty) {
        judge_holdings(ring); /* what was heard in this turn; nothing follows of it any more */
    }
    ageing_stop(ring);
    lapse_stop(ring);
    ring->stopped = true;
    trip_stop(ring);
    look_stop(ring);
    wait_end(ring, &ring->awaiting, KEK_UNAVAILABLE);
    while (member_next(ring, NULL) != NULL) {
        member_drop(member_next(ring, NULL));
    }
    wait_tell(ring);
    uv_handle_t *handles[] = {(uv_handle_t *)&ring->tick, (uv_handle_t *)&ring->refresh,
                              (uv_handle_t *)&ring->pace, (uv_handle_t *)&ring->turn};
    for (size_t i = 0; i < sizeof handles / sizeof handles[0]; i++) {
        uv_close(handles[i], NULL);
    }
}

void kek_keyring_free(struct kek_keyring *ring)
{
    if (ring == NULL) {
        return;
    }
    struct version *version, *next;
    DL_FOREACH_SAFE (ring->versions, version, next) {
        DL_DELETE(ring->versions, version);
        free(version);
    }
    record_close(ring);
    free(ring);
}

/* Who asks before the turn ends hears of it: the root is not out any more. */
void kek_keyring_lapse_over(struct kek_keyring *ring)
{
    if (lapse_end(ring)) {
        remarks_lapse(ring);
    }
}

struct kek_keyring *kek_keyring_read(const struct kek_config *config, struct kek_why *why)
{
    KEK_AUTO(kek_keyring) ring = calloc(1, sizeof *ring);
    if (ring == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory to read the state file");
        return NULL;
    }
    ring->settings.config = config;
    ring->lock = KEK_LOCK_NONE;
    return record_load(ring, why) == KEK_OK ? KEK_STEAL(ring) : NULL;
}

enum kek_rc
kek_keyring_recorded_destroyed(const struct kek_config *config,
                               struct kek_keyring_history list[static KEK_KEYRING_HISTORY_MAX],
                               size_t *count, struct kek_why *why)
{
    struct kek_why own; /* where nobody wants to know, the code is needed all the same */
    why = why == NULL ? &own : why;
    KEK_AUTO(kek_keyring) ring = kek_keyring_read(config, why);
    if (ring == NULL) {
        return why->rc;
    }
    *count = history_destroyed(ring, true, list, KEK_KEYRING_HISTORY_MAX);
    return KEK_OK;
}

enum kek_rc kek_keyring_recorded(const struct kek_config *config, struct kek_generation *last,
                                 struct kek_why *why)
{
    struct kek_why own; /* where nobody wants to know, the code is needed all the same */
    why = why == NULL ? &own : why;
    KEK_AUTO(kek_keyring) ring = kek_keyring_read(config, why);
    if (ring == NULL) {
        return why->rc;
    }
    if (!ring->announced) {
        return kek_fail(why, KEK_NOT_FOUND, "%s names no primary", ring->record_path);
    }
    *last = ring->primary.generation;
    return KEK_OK;
}
