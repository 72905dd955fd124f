/*
 * Looking at the tokens.  At each `refresh` every worker lists its keys.  A library may cache what it
 * listed, for the life of its process; so now and then, and before it is said that no HSM has a key, a
 * fresh worker looks.  It is started beside the others: none that works is ended so that it may confirm.
 */
#include "keyring/ring.h"

#include "kek/clock.h"

#define LOOK_PAUSE_MS \
    5000u /* between looks that traffic asks for; doubled while they find nothing new */
#define LOOK_PAUSE_MAX_MS 40000u
#define FRESH_AFTER 20     /* refreshes after the youngest worker's start */
#define FRESH_AFTER_SOON 4 /* where a library was seen to cache, or nothing is announced yet */

/* A provider that is down says so by itself; one that answers and cannot list is news. */
static void tell_no_list(const struct source *source, enum kek_rc rc, const struct kek_why *why)
{
    bool down = rc == KEK_UNAVAILABLE || rc == KEK_DEADLINE;
    ring_notice_with(source->ring, down ? KEK_LOG_DEBUG : KEK_LOG_WARN,
                     KEK_LOG_FIELDS(kek_log_text("provider", source_name(source))),
                     "the keys cannot be listed: %s", why->text);
}

static void listed(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                   const struct kek_why *why)
{
    struct member *member = arg;
    member->list = NULL;
    if (rc == KEK_OK) {
        member->asked_ms = member->begun_ms;
        member_take(member, result->versions, result->version_count);
    } else {
        tell_no_list(member->source, rc, why);
    }
}

void look_list(struct member *member)
{
    if (member->list != NULL || member->ended) {
        return;
    }
    struct kek_pool_request request = {
        .op = KEK_POOL_LIST,
        .provider = member->source->index,
        .worker = member->serial,
        .deadline_ms = kek_clock_ms() + CALL_MS,
    };
    member->list =
        kek_pool_submit(member->source->ring->settings.pool, &request, listed, member, NULL);
    if (member->list != NULL) {
        member->relist = false;
        member->begun_ms = kek_clock_ms();
    }
}

void look_due(uv_timer_t *timer)
{
    struct kek_keyring *ring = timer->data;
    struct member *member;
    MEMBER_FOREACH (ring, member) {
        look_list(member);
    }
    lapse_due(ring);
    home_look(ring, record_seen);
    if (ring->record_dirty && ring->home.is != HOME_REMOVED) { /* where nothing can be written */
        record_save(ring); /* what could not be written the last time */
    }
}

/* ---- fresh workers ---- */

static void fresh_listed(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                         const struct kek_why *why)
{
    struct source *source = arg;
    source->fresh = NULL;
    source->fresh_ms = kek_clock_ms();
    if (rc == KEK_OK) {
        source_sync(source);
        struct member *member = member_find(source->ring, result->worker);
        if (member != NULL) {
            member_take(member, result->versions, result->version_count);
        }
    } else {
        tell_no_list(source, rc, why);
    }
    ring_dirty(source->ring);
}

/* Where no worker is ready, the next one is as fresh as any. */
static void ask_fresh(struct source *source)
{
    struct kek_pool_request request = {
        .op = KEK_POOL_LIST,
        .provider = source->index,
        .fresh = source->members != NULL,
        .deadline_ms = kek_clock_ms() + CALL_MS,
    };
    if (source->fresh == NULL) {
        source->fresh =
            kek_pool_submit(source->ring->settings.pool, &request, fresh_listed, source, NULL);
    }
}

/* A version that a provider held, or that is in use, is missed there. */
static bool misses(const struct source *source)
{
    const struct version *version;
    DL_FOREACH (source->ring->versions, version) {
        const struct holding *holding = &version->held[source->index];
        if (holding->missed &&
            (holding->key > KEK_KEYRING_KEY_GONE || version_is_in_use(source->ring, version))) {
            return true;
        }
    }
    return false;
}

static bool anything_disputed(const struct kek_keyring *ring)
{
    const struct version *version;
    DL_FOREACH (ring->versions, version) {
        if (version_disputed(ring, version)) {
            return true;
        }
    }
    return false;
}

static bool wants_fresh(const struct source *source)
{
    const struct kek_keyring *ring = source->ring;
    uint64_t refresh = ring->settings.config->refresh_ms;
    uint64_t age = ring->now_ms - source->youngest_ms;
    bool lost = ring->verdict.state == KEK_KEYRING_LOSS;
    if (source->members == NULL || source->fresh != NULL ||
        ring->now_ms - source->fresh_ms < TICK_MS || anything_disputed(ring)) {
        return false;
    }
    return misses(source) || (lost && age >= refresh) ||
           age >= refresh * (source->caches || !ring->announced ? FRESH_AFTER_SOON : FRESH_AFTER);
}

/* A look is over once everything is listed and nothing of it is still being asked; there are keys that no
 * answer ever comes of. */
static bool is_over(const struct kek_keyring *ring)
{
    const struct version *version;
    bool late = ring->now_ms - ring->looked_ms >= CALL_MS;
    for (size_t p = 0; p < ring->source_count; p++) {
        if (ring->sources[p].fresh != NULL) {
            return false;
        }
        DL_FOREACH (ring->versions, version) {
            if (version->held[p].asked && !late) {
                return false;
            }
        }
    }
    return true;
}

void look_drive(struct kek_keyring *ring)
{
    if (ring->looking != NULL && is_over(ring)) {
        wait_end(ring, &ring->looking, KEK_OK);
    }
    struct member *member;
    MEMBER_FOREACH (ring, member) {
        if (member->relist) {
            look_list(member);
        }
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        if (wants_fresh(&ring->sources[p])) {
            ask_fresh(&ring->sources[p]);
        }
    }
}

/* Each costs a login at every provider, and ciphertexts of a key that is nowhere may be asked for without
 * end. */
static bool look_may_begin(struct kek_keyring *ring)
{
    uint64_t now = kek_clock_ms();
    bool news = ring->looked_sum != ring->told_sum;
    if (ring->looked_ms != 0 &&
        now - ring->looked_ms < (news ? LOOK_PAUSE_MS : ring->look_pause_ms)) {
        return false;
    }
    uint64_t pause = news ? LOOK_PAUSE_MS : 2 * ring->look_pause_ms;
    ring->look_pause_ms = pause < LOOK_PAUSE_MAX_MS ? pause : LOOK_PAUSE_MAX_MS;
    ring->looked_ms = now;
    ring->looked_sum = ring->told_sum;
    return true;
}

struct kek_keyring_wait *kek_keyring_look(struct kek_keyring *ring, void (*done)(void *arg),
                                          void *arg)
{
    struct kek_keyring_wait *wait = ring->stopped ? NULL : wait_add(&ring->looking, arg);
    if (wait == NULL) {
        return NULL;
    }
    wait->looked = done;
    bool may = look_may_begin(ring);
    for (size_t p = 0; p < ring->source_count; p++) {
        if (may || ring->sources[p].members == NULL) {
            ask_fresh(&ring->sources[p]);
        }
    }
    ring_dirty(ring); /* it may be over already */
    return wait;
}

void look_stop(struct kek_keyring *ring)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (ring->sources[p].fresh != NULL) {
            kek_pool_cancel(ring->sources[p].fresh);
            ring->sources[p].fresh = NULL;
        }
    }
    wait_end(ring, &ring->looking, KEK_UNAVAILABLE);
}
