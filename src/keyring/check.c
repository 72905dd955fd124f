/*
 * One worker being asked: does it open a version's witness; does what it wraps come out again?
 *
 * A witness is a small envelope whose data key one KEK wrapped.  A worker that opens it uses that very
 * key; one that cannot uses another under the same name.  AES-CBC opens anything to something, and the
 * envelope's tag tells.
 */
#include "keyring/ring.h"

#include <string.h>

#include "kek/clock.h"

#define CANARY_MS (10u * 60 * 1000) /* between two times that a worker opens a witness unasked */
#define PROBE_AGAIN_MS 5000u        /* between probes of a provider whose last one failed */
/* Who waits to have his wrap proven: a check begins once the worker has nothing else to do, or that many
 * wait, or the first has waited so long.  So one check proves many wraps of a busy worker. */
#define BATCH 16
#define BATCH_MS 20u

/* Witnesses have a context of their own, so that no cluster's ciphertext passes for one. */
static const char witness_context[] = "kekd/witness/1";
static const char witness_text[] = "kekd";

/* ---- opening a witness ---- */

/* KEK_DAMAGED: the worker uses another key.  Any other failure leaves open which key it uses. */
static enum kek_rc open_witness(const struct version *version, const struct kek_secret *data_key)
{
    struct kek_envelope envelope;
    struct kek_why why;
    struct kek_bytes context = kek_bytes_of(witness_context);
    KEK_AUTO(kek_envelope_key) key = kek_envelope_key_new(data_key, context, &why);
    KEK_AUTO(kek_secret) text = NULL;
    if (key == NULL) {
        return why.rc;
    }
    enum kek_rc rc =
        kek_envelope_parse(kek_bytes(version->witness, version->witness_len), &envelope, &why);
    return rc != KEK_OK ? rc : kek_envelope_open(key, &envelope, context, &text, &why);
}

/* The worker came to use another key, or the right one again: what it opened of other versions before says
 * nothing of now. */
static void ask_of_all_others(struct kek_keyring *ring, struct member *member,
                              const struct version *but)
{
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        struct view *view = &member->views[version->slot];
        if (version != but && view->witness == OPENED) {
            view->witness = UNKNOWN;
            view->asked_ms = 0;
        }
    }
}

/* What the worker's answer says of its key. */
static void note_answer(struct member *member, struct version *version, enum kek_rc rc)
{
    struct kek_keyring *ring = member->source->ring;
    struct view *view = &member->views[version->slot];
    int before = view->witness;
    bool state = rc == KEK_NOT_FOUND || rc == KEK_PRECONDITION;
    view->asked_ms = kek_clock_ms();
    view->again = false;
    if (rc == KEK_OK) {
        view->witness = OPENED;
        view->doubted = false;
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
    if ((int)view->witness != before || state) {
        ring_dirty(ring);
    }
}

static void begin_if_time(struct check *check);

static void opened(void *arg, enum kek_rc rc, struct kek_pool_result *result,
                   const struct kek_why *why)
{
    struct check *check = arg;
    struct member *member = check->member;
    struct kek_keyring *ring = member->source->ring;
    check->call = NULL;
    if (rc == KEK_OK) {
        rc = open_witness(check->version, result->data_key);
    } else if (rc != KEK_DAMAGED) {
        ring_notice_with(ring, KEK_LOG_DEBUG,
                         KEK_LOG_FIELDS(kek_log_text("provider", source_name(member->source)),
                                        kek_log_number("worker", member->serial)),
                         "version %u is not proven: %s", check->version->number, why->text);
    }
    note_answer(member, check->version, rc);
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
    struct kek_envelope envelope;
    enum kek_rc rc =
        kek_envelope_parse(kek_bytes(version->witness, version->witness_len), &envelope, NULL);
    if (rc != KEK_OK) {
        return false;
    }
    struct kek_pool_request request = {
        .op = KEK_POOL_UNWRAP,
        .provider = source->index,
        .worker = check->member->serial,
        .kek_id = version->id,
        .alg = envelope.entries[0].alg,
        .blob = envelope.entries[0].wrapped,
        .handle = take_batch(check),
        /* Soon, so that it is sent before the calls that wait for it to prove theirs. */
        .deadline_ms = kek_clock_ms() + 2 * config->timeout_ms,
    };
    check->call = kek_pool_submit(source->ring->settings.pool, &request, opened, check, NULL);
    return check->call != NULL;
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

/* ---- a wrap and an unwrap ---- */

/* Either the making of a version's first witness, by one worker, or a probe of a provider under the
 * primary, by two of its workers where it has two. */
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
                    "the probe of provider %s failed: %s", source_name(source), text);
        source->broken = true;
        source->broken_at = op;
    }
    trip_free(trip);
    ring_dirty(ring);
}

static void witness_failed(struct trip *trip, const char *text)
{
    ring_notice(trip->ring, KEK_LOG_DEBUG, "no witness of version %u from provider %s: %s",
                trip->version->number, source_name(&trip->ring->sources[trip->provider]), text);
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

/* The version's witness, proposed: every other worker is to open it before it counts. */
static enum kek_rc seal_witness(const struct trip *trip, struct kek_why *why)
{
    struct version *version = trip->version;
    struct kek_envelope_entry entry = {
        .alg = trip->alg, .kek_id = version->id, .wrapped = kek_bytes(trip->blob, trip->len)};
    struct kek_bytes context = kek_bytes_of(witness_context);
    KEK_AUTO_BUF struct kek_buf header;
    kek_buf_init(&header, WITNESS_MAX);
    KEK_AUTO_BUF struct kek_buf sealed;
    kek_buf_init(&sealed, WITNESS_MAX);
    KEK_AUTO(kek_envelope_key) key = kek_envelope_key_new(trip->data_key, context, why);
    if (key == NULL) {
        return why->rc;
    }
    enum kek_rc rc = kek_envelope_header(KEK_ENVELOPE_MODE_ANY, &entry, 1, &header, why);
    if (rc == KEK_OK) {
        rc = kek_envelope_seal(key, kek_buf_bytes(&header), context, kek_bytes_of(witness_text),
                               &sealed, why);
    }
    if (rc == KEK_OK) {
        memcpy(version->witness, sealed.data, sealed.len);
        version->witness_len = sealed.len;
        version->witness_alg = trip->alg;
    }
    return rc;
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
        check_both(trip);
    } else if (seal_witness(trip, &why) != KEK_OK) {
        witness_failed(trip, why.text);
        return;
    } else if (member != NULL) {
        note_answer(member, trip->version, KEK_OK);
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

static bool probe_is_due(const struct source *source)
{
    const struct kek_keyring *ring = source->ring;
    uint64_t interval = ring->settings.config->health.probe_interval_ms;
    uint64_t least = interval < PROBE_AGAIN_MS ? interval : PROBE_AGAIN_MS;
    return source->probe == NULL && ring->now_ms - source->probed_ms >= least &&
           (source->broken || source->mismatches > 0 ||
            ring->now_ms - source->wrapped_ms >= interval ||
            ring->now_ms - source->unwrapped_ms >= interval);
}

/* Each time another worker wraps, and the one after it unwraps. */
void check_probe(struct source *source)
{
    struct version *primary = version_primary(source->ring);
    const struct member *member, *able[KEK_POOL_WORKERS_MAX];
    size_t count = 0;
    if (!probe_is_due(source)) {
        return;
    }
    DL_FOREACH (source->members, member) {
        if (primary != NULL && !member->ended && count < KEK_POOL_WORKERS_MAX &&
            view_wraps(primary, &member->views[primary->slot])) {
            able[count++] = member;
        }
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

/* ---- what is to be asked ---- */

static bool is_due(const struct kek_keyring *ring, const struct version *version,
                   const struct view *view)
{
    uint64_t age = ring->now_ms - view->asked_ms;
    if (version->witness_len == 0 || view->check != NULL || !view_may(view, KEK_POOL_UNWRAP)) {
        return false;
    }
    switch (view->witness) {
    case OPENED:
        return view->again || age >= CANARY_MS;
    case FAILED:
        return age >= ring->settings.config->refresh_ms;
    default:
        return view->asked_ms == 0 || age >= TICK_MS;
    }
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

static void check_member(struct kek_keyring *ring, struct member *member)
{
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        struct view *view = &member->views[version->slot];
        if (member->ended || !is_due(ring, version, view)) {
            continue;
        }
        struct check *check = check_of(member, version);
        if (check != NULL && !begin(check)) {
            view->asked_ms = ring->now_ms;
            check_free(check);
        }
    }
}

void check_drive(struct kek_keyring *ring)
{
    struct version *version;
    DL_FOREACH (ring->versions, version) {
        if (version->witness_len == 0) {
            make_witness(ring, version);
        }
    }
    struct member *member;
    MEMBER_FOREACH (ring, member) {
        check_member(ring, member);
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        check_probe(&ring->sources[p]);
    }
}

void check_stop(struct kek_keyring *ring)
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
