/* Looking at the tokens: what each provider shows, by itself or when asked. */
#include "keyring/ring.h"

#include <string.h>

#include "kek/clock.h"

#define LIST_TIMEOUT_MS 10000u

static void take_one(struct kek_keyring *ring, size_t provider, const struct kek_version *seen)
{
    struct version *version = ring_add(ring, &seen->id, seen->number);
    if (version == NULL) {
        ring_notice(ring, KEK_LOG_ERROR,
                    "a version of the keyring cannot be kept: more than %d are known; label=%s",
                    VERSIONS_MAX, seen->label);
        return;
    }
    struct held *held = &version->held[provider];
    if (!seen->eligible && !held->told) {
        struct kek_pool_provider status;
        kek_pool_provider_get(ring->settings.pool, provider, &status);
        ring_notice(ring, KEK_LOG_WARN, "a key is not used: %s provider=%s label=%s", seen->refusal,
                    status.name, seen->label);
    }
    held->present = true;
    held->eligible = seen->eligible;
    held->told = !seen->eligible;
    held->can_wrap = seen->can_wrap;
    held->can_unwrap = seen->can_unwrap;
    if (seen->alg != KEK_WRAP_NONE) {
        held->alg = seen->alg;
    }
}

/* What was lost between two looks is told once, when the last provider has lost it. */
static void tell_losses(struct kek_keyring *ring, const bool *wrapped, const bool *unwrapped)
{
    for (size_t i = 0; i < ring->version_count; i++) {
        const struct version *version = ring->versions[i];
        if (wrapped[i] && !ring_any(ring, version, held_wraps)) {
            ring->settings.lost_wrap(ring->settings.arg, &version->id);
        }
        if (unwrapped[i] && !ring_any(ring, version, held_unwraps)) {
            ring->settings.lost_unwrap(ring->settings.arg, &version->id);
        }
    }
}

/* Of a key that is disputed: a token whose store is away may list nothing, and agrees to nothing by it. */
static void believe_absence(struct kek_keyring *ring, size_t provider, struct version *version)
{
    if (!version->held[provider].party) {
        return;
    }
    if (ring->sources[provider].confirmed) {
        version->held[provider].party = false;
        witness_settle_dispute(ring, version);
    } else {
        ring_confirm_loss(ring, provider);
    }
}

/* Takes in what one provider shows now. */
static void take_versions(struct kek_keyring *ring, size_t provider, const struct kek_version *seen,
                          size_t count)
{
    bool wrapped[VERSIONS_MAX], unwrapped[VERSIONS_MAX];
    ring_make_room(ring);
    for (size_t i = 0; i < ring->version_count; i++) {
        wrapped[i] = ring_any(ring, ring->versions[i], held_wraps);
        unwrapped[i] = ring_any(ring, ring->versions[i], held_unwraps);
    }
    size_t before = ring->version_count;
    for (size_t i = 0; i < before; i++) {
        ring->versions[i]->held[provider].present = false;
    }
    for (size_t i = 0; i < count; i++) {
        take_one(ring, provider, &seen[i]);
    }
    for (size_t i = 0; i < before; i++) {
        struct held *held = &ring->versions[i]->held[provider];
        if (!held->present) {
            held->opened_ms = 0;
            held->refused = false;
            believe_absence(ring, provider, ring->versions[i]);
        }
    }
    memset(wrapped + before, 0, sizeof wrapped - before * sizeof wrapped[0]);
    memset(unwrapped + before, 0, sizeof unwrapped - before * sizeof unwrapped[0]);
    ring->sources[provider].listed = true;
    tell_losses(ring, wrapped, unwrapped);
    witness_prove_all(ring, provider);
    ring_evaluate(ring);
}

/* It was asked after the last look: until the next one, others are. */
void look_refused(struct kek_keyring *ring, size_t provider, const struct kek_id *kek_id,
                  enum kek_pool_op op, enum kek_rc rc)
{
    struct version *version = ring_find(ring, kek_id);
    if (version == NULL) {
        return;
    }
    struct held *held = &version->held[provider];
    bool wrapped = ring_any(ring, version, held_wraps);
    bool unwrapped = ring_any(ring, version, held_unwraps);
    if (rc == KEK_NOT_FOUND) {
        held->present = false;
        held->opened_ms = 0;
        held->refused = false;
    } else if (op == KEK_POOL_WRAP) {
        held->can_wrap = false;
    } else {
        held->can_unwrap = false;
    }
    if (wrapped && !ring_any(ring, version, held_wraps)) {
        ring->settings.lost_wrap(ring->settings.arg, &version->id);
    }
    if (unwrapped && !ring_any(ring, version, held_unwraps)) {
        ring->settings.lost_unwrap(ring->settings.arg, &version->id);
    }
    ring_evaluate(ring);
}

void kek_keyring_provider_changed(struct kek_keyring *ring, size_t provider)
{
    if (ring->stopped) {
        return;
    }
    struct kek_pool_provider status;
    kek_pool_provider_get(ring->settings.pool, provider, &status);
    struct source *source = &ring->sources[provider];
    bool came_back = status.health == KEK_POOL_READY && !source->ready;
    source->ready = status.health == KEK_POOL_READY;
    if (came_back) {
        /* Whatever came back may not be what went away: proven anew before anything is wrapped. */
        for (size_t i = 0; i < ring->version_count; i++) {
            ring->versions[i]->held[provider].opened_ms = 0;
        }
    }
    if (source->ready) {
        source->probe_failed = false;
        take_versions(ring, provider, status.versions, status.version_count);
        witness_vouch(ring, provider);
        return;
    }
    ring_evaluate(ring);
}

/* ---- refresh ---- */

static void look_wake(struct kek_keyring *ring)
{
    struct refresh_waiter *waiters = ring->waiters;
    ring->waiters = NULL;
    while (waiters != NULL) {
        struct refresh_waiter *next = waiters->next;
        waiters->done(waiters->arg);
        free(waiters);
        waiters = next;
    }
}

static void listed(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                   const struct kek_why *why)
{
    struct source *source = arg;
    struct kek_keyring *ring = source->ring;
    source->list = NULL;
    source->confirmed = rc == KEK_OK && source->confirming;
    source->confirming = false;
    ring->lists_running--;
    if (rc == KEK_OK) {
        take_versions(ring, source->index, result->versions, result->version_count);
        witness_vouch(ring, source->index); /* what could not be asked before is asked now */
    } else {
        /* A provider that is down says so by itself; one that answers and cannot list is news. */
        bool down = rc == KEK_UNAVAILABLE || rc == KEK_DEADLINE;
        ring_notice(ring, down ? KEK_LOG_DEBUG : KEK_LOG_WARN, "the keys cannot be listed: %s",
                    why->text);
    }
    source->confirmed = false;
    if (ring->lists_running == 0) {
        look_wake(ring);
    }
}

static void ask_list(struct kek_keyring *ring, size_t provider, bool fresh)
{
    struct source *source = &ring->sources[provider];
    if (source->list != NULL) {
        return;
    }
    struct kek_pool_request request = {
        .op = KEK_POOL_LIST,
        .provider = provider,
        .fresh = fresh,
        .deadline_ms = kek_clock_ms() + LIST_TIMEOUT_MS,
    };
    source->list = kek_pool_submit(ring->settings.pool, &request, listed, source, NULL);
    if (source->list != NULL) {
        source->confirming = fresh;
        ring->lists_running++;
    }
}

void ring_confirm_loss(struct kek_keyring *ring, size_t provider)
{
    ask_list(ring, provider, true);
}

static void look_now(struct kek_keyring *ring)
{
    ring->refreshed_ms = kek_clock_ms();
    if (ring->record_dirty) {
        record_save(ring); /* what could not be written the last time */
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        ask_list(ring, p, false);
    }
}

void look_due(uv_timer_t *timer)
{
    look_now(timer->data);
}

static void waiters_due(uv_timer_t *timer)
{
    struct kek_keyring *ring = timer->data;
    if (ring->lists_running == 0) {
        look_wake(ring);
    }
}

bool kek_keyring_refresh(struct kek_keyring *ring, void (*done)(void *arg), void *arg)
{
    struct refresh_waiter *waiter = malloc(sizeof *waiter);
    if (waiter == NULL) {
        return false;
    }
    *waiter = (struct refresh_waiter){.done = done, .arg = arg, .next = ring->waiters};
    ring->waiters = waiter;
    if (ring->lists_running == 0 && !ring->stopped &&
        kek_clock_ms() - ring->refreshed_ms >= REFRESH_LIMIT_MS) {
        look_now(ring);
    }
    if (ring->lists_running == 0) {
        uv_timer_start(&ring->timers[SOON], waiters_due, 0, 0);
    }
    return true;
}

void look_stop(struct kek_keyring *ring)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (ring->sources[p].list != NULL) {
            kek_pool_cancel(ring->sources[p].list);
            ring->sources[p].list = NULL;
        }
    }
    ring->lists_running = 0;
    look_wake(ring);
}
