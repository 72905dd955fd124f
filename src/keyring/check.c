/* One worker being asked: does it open a version's witness? */
#include "keyring/ring.h"

#include "kek/clock.h"

/* Who waits to have his wrap proven: a check begins once the worker has nothing else to do, or that many
 * wait, or the first has waited so long.  So one check proves many wraps of a busy worker. */
#define BATCH 16
#define BATCH_MS 20u

/* ---- its answer ---- */

/* The worker came to use another key, or the right one again: what it opened of other versions before says
 * nothing of now. */
static void ask_of_all_others(struct kek_keyring *ring, struct member *member,
                              const struct version *but)
{
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        struct view *view = &member->views[version->slot];
        if (version != but && view->witness == OPENED) {
            view_forget(view);
        }
    }
}

void check_note(struct member *member, struct version *version, enum kek_rc rc)
{
    struct kek_keyring *ring = member->source->ring;
    struct view *view = &member->views[version->slot];
    int before = view->witness;
    bool state = rc == KEK_NOT_FOUND || rc == KEK_PRECONDITION;
    bool awaited = view->again; /* somebody's word hangs on it */
    view->asked_ms = kek_clock_ms();
    view->again = false;
    if (rc == KEK_OK) {
        view->witness = OPENED;
        view->opened_ms = view->asked_ms;
        view->doubted = false;
        if (canary_opened(member, version)) {
            ring_dirty(ring);
        }
        member_worked(member, version, KEK_POOL_UNWRAP);
        source_worked(member->source, KEK_POOL_UNWRAP);
    } else if (rc == KEK_DAMAGED && !view->doubted && view->witness != FAILED) {
        /* Asked twice: a failure that passes must not end a worker. */
        view->witness = UNKNOWN;
        view->doubted = true;
        view->asked_ms = 0;
        ring_dirty(ring);
        return;
    } else if (rc == KEK_DAMAGED) {
        view->witness = FAILED;
    } else if (state) {
        view->witness = UNKNOWN; /* the list that follows says what it shows now */
        member->relist = true;
    }
    if (rc == KEK_PRECONDITION) {
        member_refused(member, version, KEK_POOL_UNWRAP);
    }
    if ((before == FAILED) != (view->witness == FAILED)) {
        ask_of_all_others(ring, member, version);
    }
    if ((int)view->witness != before) {
        view->since_ms = view->asked_ms;
    }
    if ((int)view->witness != before || state || awaited) {
        ring_dirty(ring);
    }
}

static void begin_if_time(struct check *check);

static void failed(const struct check *check, const struct kek_why *why)
{
    struct member *member = check->member;
    const struct source *source = member->source;
    bool news = canary_failed(member, check->version, check->begun_us, why->rc, why->text);
    if (news) {
        ring_dirty(source->ring);
    }
    ring_notice_with(source->ring, news ? KEK_LOG_WARN : KEK_LOG_DEBUG,
                     KEK_LOG_FIELDS(kek_log_text("provider", source_name(source)),
                                    kek_log_number("worker", member->serial)),
                     "KEK version %u is not proven: %s", check->version->number, why->text);
}

static void opened(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                   const struct kek_why *why)
{
    struct check *check = arg;
    struct member *member = check->member;
    struct kek_keyring *ring = member->source->ring;
    struct kek_why said;
    check->call = NULL;
    if (rc == KEK_OK) {
        rc = witness_open(check->version, result->data_key);
        why = &said;
        kek_fail(&said, rc, "what it unwrapped does not open the witness");
    }
    if (rc != KEK_OK) {
        failed(check, why);
    }
    check_note(member, check->version, rc);
    bool wrong = member->views[check->version->slot].witness == FAILED;
    wait_end(ring, &check->now, rc == KEK_DAMAGED && !wrong ? KEK_UNAVAILABLE : rc);
    begin_if_time(check);
}

/* Those who wait for the object that the first of them names, and those who name none, are asked for now.
 * Returns that object's handle. */
static uint64_t take_batch(struct check *check)
{
    uint64_t handle = 0;
    struct kek_keyring_wait *wait, *next;
    check->now = NULL;
    check->next_count = 0;
    DL_FOREACH_SAFE (check->next, wait, next) {
        handle = handle == 0 ? wait->handle : handle;
        if (wait->handle == 0 || wait->handle == handle) {
            DL_DELETE(check->next, wait);
            DL_APPEND(check->now, wait);
            wait->list = &check->now;
        } else {
            check->next_count++;
        }
    }
    return handle;
}

/* False: it could not be asked. */
static bool begin(struct check *check)
{
    struct version *version = check->version;
    struct source *source = check->member->source;
    const struct kek_config_provider *config =
        &source->ring->settings.config->providers[source->index];
    enum kek_wrap_alg alg;
    struct kek_bytes wrapped;
    if (!witness_wrapped(version, &alg, &wrapped)) {
        return false;
    }
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = source->index,
        .worker = check->member->serial,
        .kek_id = version->id,
        .alg = alg,
        .blob = wrapped,
        .handle = take_batch(check),
        /* Soon, so that it is sent before the calls that wait for it to prove theirs. */
        .deadline_ms = kek_clock_ms() + 2 * config->timeout_ms,
    };
    check->begun_us = kek_clock_us();
    check->call = kek_pool_submit(source->ring->settings.pool, &request, opened, check, NULL);
    return check->call != NULL;
}

bool kek_keyring_opened(struct kek_keyring *ring, uint64_t worker, const struct kek_id *kek_id,
                        const struct kek_secret *data_key)
{
    struct version *version = version_find(ring, kek_id);
    struct member *member = member_find(ring, worker);
    bool opened = version != NULL && version->witness_len > 0 && member != NULL && !member->ended &&
                  !ring->stopped && witness_open(version, data_key) == KEK_OK;
    if (opened) {
        check_note(member, version, KEK_OK);
    }
    return opened;
}

static void check_free(struct check *check)
{
    check->member->views[check->version->slot].check = NULL;
    free(check);
}

/* Begins for those who wait, now or a little later; without any, the check is over. */
static void begin_if_time(struct check *check)
{
    struct kek_keyring *ring = check->member->source->ring;
    if (check->next == NULL) {
        check_free(check);
        return;
    }
    uint64_t age = kek_clock_ms() - check->next_ms;
    if (check->next_count < BATCH && age < BATCH_MS &&
        !kek_pool_idle(ring->settings.pool, check->member->serial)) {
        if (!uv_is_active((uv_handle_t *)&ring->pace)) {
            uv_timer_start(&ring->pace, check_pace, BATCH_MS - age, 0);
        }
        return;
    }
    if (!begin(check)) {
        wait_end(ring, &check->now, KEK_UNAVAILABLE);
        wait_end(ring, &check->next, KEK_UNAVAILABLE);
        check_free(check);
    }
}

static struct check *check_of(struct member *member, struct version *version)
{
    struct view *view = &member->views[version->slot];
    if (view->check == NULL) {
        view->check = calloc(1, sizeof *view->check);
        if (view->check != NULL) {
            view->check->member = member;
            view->check->version = version;
        }
    }
    return view->check;
}

void check_pace(uv_timer_t *timer)
{
    struct kek_keyring *ring = timer->data;
    struct member *member;
    MEMBER_FOREACH (ring, member) {
        for (size_t i = 0; i < VERSIONS_MAX; i++) {
            struct check *check = member->views[i].check;
            if (check != NULL && check->call == NULL) {
                begin_if_time(check);
            }
        }
    }
}

struct kek_keyring_wait *kek_keyring_check(struct kek_keyring *ring, uint64_t worker,
                                           const struct kek_id *kek_id, uint64_t handle,
                                           kek_keyring_checked_fn *done, void *arg)
{
    struct version *version = version_find(ring, kek_id);
    struct member *member = member_find(ring, worker);
    if (ring->stopped || version == NULL || version->witness_len == 0 || member == NULL ||
        member->ended) {
        return NULL;
    }
    struct check *check = check_of(member, version);
    struct kek_keyring_wait *wait = check == NULL ? NULL : wait_add(&check->next, arg);
    if (wait != NULL) {
        wait->checked = done;
        wait->handle = handle;
        check->next_ms = check->next_count == 0 ? kek_clock_ms() : check->next_ms;
        check->next_count++;
    }
    if (check != NULL && check->call == NULL) {
        begin_if_time(check);
    }
    return wait;
}

/* ---- what is to be asked ---- */

/* What is not known, or in doubt.  Once one worker failed at it, the others are asked what they make of it now. */
static bool is_due(const struct source *source, const struct version *version,
                   const struct view *view)
{
    const struct canary *canary = &version->held[source->index].canary;
    uint64_t age = source->ring->now_ms - view->asked_ms;
    if (version->witness_len == 0 || view->check != NULL || !view_may(view, KEK_POOL_UNWRAP)) {
        return false;
    }
    switch (view->witness) {
    case OPENED:
        return (view->again && (view->asked_ms == view->opened_ms || age >= TICK_MS)) ||
               (canary->failures > 0 &&
                (view->failures > 0 ? age >= TICK_MS : view->asked_ms < canary->failed_ms));
    case FAILED:
        return age >= source->ring->settings.config->refresh_ms;
    default:
        return view->asked_ms == 0 || age >= TICK_MS;
    }
}

/* A key at which the library hangs or crashes takes the worker that is asked for it.  So an older version is asked of
 * one worker of its provider at a time; where one has failed, once that one's successor is there, later and
 * later, and of none beside another version. */
static bool must_wait(const struct source *source, const struct version *version)
{
    const struct version *primary = version_primary(source->ring), *other;
    const struct member *member;
    if (!version->agreed || version == primary) {
        return false;
    }
    const struct canary *canary = &version->held[source->index].canary;
    bool alone = canary->failures > 0;
    bool recovers = source->ring->now_ms - canary->failed_ms < CALL_MS &&
                    kek_pool_starts(source->ring->settings.pool, source->index);
    if (alone && (recovers || source->ring->now_ms < canary_pause_ms(source, version))) {
        return true;
    }
    DL_FOREACH (source->members, member) {
        DL_FOREACH (source->ring->versions, other) {
            const struct check *check = member->views[other->slot].check;
            if (check != NULL && check->call != NULL && other != primary &&
                (alone || other == version)) {
                return true;
            }
        }
    }
    return false;
}

static void ask(struct member *member, struct version *version)
{
    struct check *check = check_of(member, version);
    if (check != NULL && !begin(check)) {
        member->views[version->slot].asked_ms = member->source->ring->now_ms;
        check_free(check);
    }
}

static void check_member(struct member *member)
{
    struct version *version;
    DL_FOREACH (member->source->ring->versions, version) {
        struct view *view = &member->views[version->slot];
        if (!member->ended && is_due(member->source, version, view) &&
            (view->again || !must_wait(member->source, version))) {
            ask(member, version);
        }
    }
}

/* Of what its workers have opened, the one that was asked longest ago, if there is one; how many there are is returned. */
static size_t find_oldest(const struct source *source, struct member **oldest, struct version **of)
{
    size_t count = 0;
    struct member *member;
    struct version *version;
    DL_FOREACH (source->members, member) {
        DL_FOREACH (source->ring->versions, version) {
            const struct view *view = &member->views[version->slot];
            if (member->ended || view->witness != OPENED || !view_may(view, KEK_POOL_UNWRAP)) {
                continue;
            }
            count++;
            if (view->check == NULL &&
                (*oldest == NULL || view->asked_ms < (*oldest)->views[(*of)->slot].asked_ms)) {
                *oldest = member;
                *of = version;
            }
        }
    }
    return count;
}

/* Every worker opens again what it has opened, one after the other, evenly over the interval; what traffic or a
 * probe has opened meanwhile is not due.  For a quiet moment it waits until the interval is over, and for a
 * login to end as long again. */
static void drive_canary(struct source *source)
{
    const struct kek_keyring *ring = source->ring;
    uint64_t interval = ring->settings.config->health.canary_interval_ms;
    struct member *member = NULL;
    struct version *version = NULL;
    size_t count = find_oldest(source, &member, &version);
    if (member == NULL || version == NULL || ring->now_ms - source->canary_ms < interval / count) {
        return;
    }
    uint64_t age = ring->now_ms - member->views[version->slot].asked_ms;
    bool waits = (age < interval && !kek_pool_idle(ring->settings.pool, member->serial)) ||
                 (age < 2 * interval && kek_pool_starts(ring->settings.pool, source->index));
    if (age >= interval / 2 && !waits && !must_wait(source, version)) {
        source->canary_ms = ring->now_ms;
        ask(member, version);
    }
}

void check_drive(struct kek_keyring *ring)
{
    struct member *member;
    MEMBER_FOREACH (ring, member) {
        check_member(member);
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        drive_canary(&ring->sources[p]);
    }
}
