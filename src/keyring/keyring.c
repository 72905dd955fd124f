/* The versions, what each provider shows of them, and who is primary. */
#include "kek/keyring.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#include <openssl/evp.h>

#include "kek/clock.h"
#include "keyring/ring.h"

#define CANARY_MS (10u * 60 * 1000)

/* ---- key_id ---- */

void kek_keyring_key_id(struct kek_bytes context, uint8_t mode, const struct kek_id *kek_ids,
                        size_t count, char key_id[static KEK_KEY_ID_TEXT])
{
    static const char domain[] = "kekd/key_id/1";
    uint8_t input[sizeof domain + 2 + KEK_ENVELOPE_CONTEXT_MAX + 1 +
                  KEK_ENVELOPE_ENTRIES_MAX * KEK_ID_LEN];
    uint8_t digest[32];
    size_t at = sizeof domain - 1;
    size_t len = context.len <= KEK_ENVELOPE_CONTEXT_MAX ? context.len : KEK_ENVELOPE_CONTEXT_MAX;

    memcpy(input, domain, at);
    input[at++] = (uint8_t)(len >> 8);
    input[at++] = (uint8_t)len;
    if (len > 0) {
        memcpy(input + at, context.data, len);
    }
    at += len;
    input[at++] = mode;
    for (size_t i = 0; i < count && i < KEK_ENVELOPE_ENTRIES_MAX; i++) {
        memcpy(input + at, kek_ids[i].bytes, KEK_ID_LEN);
        at += KEK_ID_LEN;
    }
    if (EVP_Digest(input, at, digest, NULL, EVP_sha256(), NULL) != 1) {
        abort(); /* out of memory; nobody may ever be told another key_id than the right one */
    }
    memcpy(key_id, "kek1-", 5);
    kek_hex(kek_bytes(digest, 16), key_id + 5);
}

/* ---- versions ---- */

struct version *ring_find(const struct kek_keyring *ring, const struct kek_id *kek_id)
{
    for (size_t i = 0; i < ring->version_count; i++) {
        if (kek_id_equal(&ring->versions[i]->id, kek_id)) {
            return ring->versions[i];
        }
    }
    return NULL;
}

struct version *ring_add(struct kek_keyring *ring, const struct kek_id *kek_id, uint32_t number)
{
    struct version *version = ring_find(ring, kek_id);
    if (version != NULL) {
        return version;
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
    ring->versions[ring->version_count++] = version;
    return version;
}

static bool is_nowhere(const struct kek_keyring *ring, const struct version *version)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (!ring->sources[p].listed || version->held[p].present ||
            version->held[p].proof != NULL) {
            return false;
        }
    }
    return version != ring->announcing &&
           !(ring->announced && kek_id_equal(&version->id, &ring->primary.kek_id));
}

void ring_make_room(struct kek_keyring *ring)
{
    size_t oldest = VERSIONS_MAX;
    for (size_t i = 0; ring->version_count == VERSIONS_MAX && i < VERSIONS_MAX; i++) {
        if (is_nowhere(ring, ring->versions[i]) &&
            (oldest == VERSIONS_MAX ||
             ring->versions[i]->number < ring->versions[oldest]->number)) {
            oldest = i;
        }
    }
    if (oldest == VERSIONS_MAX) {
        return;
    }
    free(ring->versions[oldest]);
    ring->version_count--;
    memmove(&ring->versions[oldest], &ring->versions[oldest + 1],
            (ring->version_count - oldest) * sizeof ring->versions[0]);
    for (size_t p = 0; p < ring->source_count; p++) {
        ring->sources[p].vouch_at -= ring->sources[p].vouch_at > oldest;
    }
}

void ring_notice(const struct kek_keyring *ring, enum kek_log_level level, const char *format, ...)
{
    if (ring->settings.notice == NULL) {
        return;
    }
    char text[512];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    ring->settings.notice(ring->settings.arg, level, text);
}

/* Unwrapping asks for no proof beforehand: the envelope's tag proves what comes back, and a "damaged"
 * from a provider that did not open its witness lately is not believed. */
bool held_unwraps(const struct version *version, size_t provider)
{
    const struct held *held = &version->held[provider];
    return held->present && held->eligible && held->can_unwrap && !held->refused;
}

bool held_wraps(const struct version *version, size_t provider)
{
    const struct held *held = &version->held[provider];
    return held_unwraps(version, provider) && held->can_wrap && held->opened_ms > 0 &&
           !version->disputed;
}

bool ring_answers(const struct kek_keyring *ring, size_t provider)
{
    struct kek_pool_provider status;
    kek_pool_provider_get(ring->settings.pool, provider, &status);
    return status.health == KEK_POOL_READY && ring->sources[provider].listed &&
           !ring->sources[provider].probe_failed;
}

void ring_worked(struct kek_keyring *ring, size_t provider, enum kek_pool_op op)
{
    struct source *source = &ring->sources[provider];
    *(op == KEK_POOL_WRAP ? &source->wrapped_ms : &source->unwrapped_ms) = kek_clock_ms();
    source->probe_failed = source->probe_failed && source->probe_failed_at != op;
}

bool ring_any(const struct kek_keyring *ring, const struct version *version,
              bool (*holds)(const struct version *, size_t))
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (holds(version, p)) {
            return true;
        }
    }
    return false;
}

bool kek_keyring_may(struct kek_keyring *ring, size_t provider, enum kek_pool_op op,
                     const struct kek_id *kek_id)
{
    const struct version *version = ring_find(ring, kek_id);
    if (version == NULL) {
        return false;
    }
    return op == KEK_POOL_WRAP ? held_wraps(version, provider) : held_unwraps(version, provider);
}

bool kek_keyring_wraps(const struct kek_keyring *ring, const struct kek_id *kek_id)
{
    const struct version *version = ring_find(ring, kek_id);
    return version != NULL && ring_any(ring, version, held_wraps);
}

enum kek_keyring_knows kek_keyring_find(const struct kek_keyring *ring, const struct kek_id *kek_id)
{
    const struct version *version = ring_find(ring, kek_id);
    if (version != NULL && ring_any(ring, version, held_unwraps)) {
        return KEK_KEYRING_OPENS;
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        if (!ring_answers(ring, p)) {
            return KEK_KEYRING_UNSEEN;
        }
    }
    return version == NULL ? KEK_KEYRING_UNKNOWN : KEK_KEYRING_CLOSED;
}

bool kek_keyring_takes(const struct kek_keyring *ring, const struct kek_id *kek_id,
                       enum kek_wrap_alg alg)
{
    const struct version *version = ring_find(ring, kek_id);
    struct kek_envelope witness;
    bool known = false;
    if (version == NULL || (alg != KEK_WRAP_NONE && alg != KEK_WRAP_AES_CBC)) {
        return true;
    }
    if (version->witness_len > 0 &&
        kek_envelope_parse(kek_bytes(version->witness, version->witness_len), &witness, NULL) ==
            KEK_OK) {
        if (witness.entries[0].alg == alg) {
            return true;
        }
        known = true;
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        if (version->held[p].alg == alg) {
            return true;
        }
        known = known || version->held[p].alg != KEK_WRAP_NONE;
    }
    return !known;
}

/* ---- primary ---- */

/* Could it be primary: active on every provider that answers, and proven there? */
static bool could_lead(const struct kek_keyring *ring, const struct version *version)
{
    bool answered = false;
    for (size_t p = 0; p < ring->source_count; p++) {
        if (!ring_answers(ring, p)) {
            continue;
        }
        if (!held_wraps(version, p)) {
            return false;
        }
        answered = true;
    }
    return answered;
}

static void settle_due(uv_timer_t *timer)
{
    ring_evaluate(timer->data);
}

/* The newest version that could lead and is newer than what was announced. */
static struct version *candidate(struct kek_keyring *ring)
{
    struct version *best = NULL;
    for (size_t i = 0; i < ring->version_count; i++) {
        struct version *version = ring->versions[i];
        if (!could_lead(ring, version)) {
            version->ready_ms = 0;
            version->prepared = false; /* what was wrapped may have gone with it */
            continue;
        }
        if (version->ready_ms == 0) {
            version->ready_ms = kek_clock_ms();
        }
        if (ring->announced && version->number <= ring->primary.number) {
            continue;
        }
        if (best == NULL || version->number > best->number) {
            best = version;
        }
    }
    return best;
}

void ring_evaluate(struct kek_keyring *ring)
{
    if (ring->stopped) {
        return;
    }
    kek_pool_recheck(ring->settings.pool);
    health_evaluate(ring);
    struct version *next = candidate(ring);
    if (next == NULL || ring->announcing != NULL) {
        return;
    }
    /* Nobody has told this node yet which key is the right one: all who may object are heard first. */
    if (!ring->announced && health_any_starting(ring)) {
        return;
    }
    /* Without a record nobody has seen an older one from here: announced at once. */
    uint64_t settle = ring->announced ? ring->settings.config->settle_ms : 0;
    uint64_t now = kek_clock_ms();
    if (now - next->ready_ms < settle) {
        uv_timer_start(&ring->timers[SETTLE], settle_due, settle - (now - next->ready_ms) + 1, 0);
        return;
    }
    if (next->prepared) {
        ring->announcing = next;
        record_save(ring);
        return;
    }
    /* Asked again at each refresh until a data key is wrapped. */
    ring->settings.prepare(ring->settings.arg, &next->id);
}

void kek_keyring_prepared(struct kek_keyring *ring, const struct kek_id *kek_id)
{
    struct version *version = ring_find(ring, kek_id);
    if (version != NULL && !version->prepared) {
        version->prepared = true;
        ring_evaluate(ring);
    }
}

bool kek_keyring_primary(const struct kek_keyring *ring, struct kek_keyring_primary *primary)
{
    if (ring->announced) {
        *primary = ring->primary;
    }
    return ring->announced;
}

/* ---- what traffic shows ---- */

static void nothing(void *arg)
{
    (void)arg;
}

void kek_keyring_observe(struct kek_keyring *ring, size_t provider, const struct kek_id *kek_id,
                         enum kek_pool_op op, enum kek_rc rc)
{
    if (ring->stopped) {
        return;
    }
    if (rc == KEK_OK && provider < ring->source_count) {
        bool failed = ring->sources[provider].probe_failed;
        ring_worked(ring, provider, op);
        if (failed != ring->sources[provider].probe_failed) {
            ring_evaluate(ring);
        }
    } else if (rc == KEK_PRECONDITION || rc == KEK_NOT_FOUND) {
        if (provider < ring->source_count) {
            look_refused(ring, provider, kek_id, op, rc);
        }
        (void)kek_keyring_refresh(ring, nothing, NULL);
    }
}

bool kek_keyring_has_witness(const struct kek_keyring *ring, const struct kek_id *kek_id)
{
    const struct version *version = ring_find(ring, kek_id);
    return version != NULL && (version->witness_len > 0 || version->disputed);
}

bool kek_keyring_trusts(const struct kek_keyring *ring, size_t provider,
                        const struct kek_id *kek_id)
{
    const struct version *version = ring_find(ring, kek_id);
    if (version != NULL && version->disputed) {
        return false;
    }
    if (version == NULL || provider >= ring->source_count || version->witness_len == 0) {
        return true;
    }
    uint64_t opened = version->held[provider].opened_ms;
    return opened > 0 && kek_clock_ms() - opened < WITNESS_TRUST_MS;
}

/* What its token lets it do, proven or not: a state is the token's word. */
static bool held_may_wrap(const struct version *version, size_t provider)
{
    return held_unwraps(version, provider) && version->held[provider].can_wrap;
}

size_t kek_keyring_versions(const struct kek_keyring *ring, struct kek_keyring_version *versions,
                            size_t max)
{
    size_t count = 0;
    uint32_t newest_active = 0;
    for (size_t i = 0; i < ring->version_count; i++) {
        if (ring_any(ring, ring->versions[i], held_may_wrap) &&
            ring->versions[i]->number > newest_active) {
            newest_active = ring->versions[i]->number;
        }
    }
    for (size_t i = 0; i < ring->version_count && count < max; i++) {
        const struct version *version = ring->versions[i];
        struct kek_keyring_version *out = &versions[count++];
        *out = (struct kek_keyring_version){
            .number = version->number,
            .kek_id = version->id,
            .primary = ring->announced && kek_id_equal(&ring->primary.kek_id, &version->id),
            .state = KEK_STATE_DISABLED,
        };
        for (size_t p = 0; p < ring->source_count; p++) {
            out->providers += version->held[p].present;
            out->providers_proven += version->held[p].opened_ms > 0;
        }
        if (ring_any(ring, version, held_may_wrap)) {
            out->state = KEK_STATE_ACTIVE;
        } else if (ring_any(ring, version, held_unwraps)) {
            out->state =
                version->number > newest_active ? KEK_STATE_PRE_ACTIVE : KEK_STATE_DEACTIVATED;
        }
    }
    return count;
}

/* ---- life ---- */

static void canary_due(uv_timer_t *timer)
{
    struct kek_keyring *ring = timer->data;
    for (size_t p = 0; p < ring->source_count; p++) {
        for (size_t i = 0; i < ring->version_count; i++) {
            if (ring->versions[i]->held[p].present && ring_answers(ring, p)) {
                witness_prove(ring, p, ring->versions[i]);
            }
        }
    }
}

/* That a provider lists its keys says nothing of what it does with them. */
static void probe_due(uv_timer_t *timer)
{
    struct kek_keyring *ring = timer->data;
    uint64_t interval = ring->settings.config->health.probe_interval_ms;
    uint64_t now = kek_clock_ms();
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct source *source = &ring->sources[p];
        if (source->probe_failed || now - source->wrapped_ms >= interval ||
            now - source->unwrapped_ms >= interval) {
            witness_probe(ring, p);
        }
    }
}

/* Neither a restart nor a token's new firmware changes a version's algorithm: its witness has it. */
static void prefer_recorded(struct kek_keyring *ring)
{
    const struct version *version = ring->announced ? ring_find(ring, &ring->primary.kek_id) : NULL;
    struct kek_envelope witness;
    if (version != NULL && ring->settings.pool != NULL &&
        kek_envelope_parse(kek_bytes(version->witness, version->witness_len), &witness, NULL) ==
            KEK_OK) {
        kek_pool_prefer(ring->settings.pool, witness.entries[0].alg);
    }
}

void ring_probe_soon(struct kek_keyring *ring)
{
    uint64_t usual = uv_timer_get_repeat(&ring->timers[PROBE]);
    uv_timer_start(&ring->timers[PROBE], probe_due, usual < PROBE_AGAIN_MS ? usual : PROBE_AGAIN_MS,
                   usual);
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
    ring->good_since_ms = kek_clock_ms();
    ring->source_count = settings->config->provider_count;
    for (size_t p = 0; p < ring->source_count; p++) {
        ring->sources[p].ring = ring;
        ring->sources[p].index = p;
    }
    if (record_load(ring, why) != KEK_OK) {
        kek_keyring_free(ring);
        return NULL;
    }
    prefer_recorded(ring);
    for (size_t i = 0; i < TIMERS; i++) {
        uv_timer_init(loop, &ring->timers[i]); /* never fails */
        ring->timers[i].data = ring;
    }
    return ring;
}

void kek_keyring_start(struct kek_keyring *ring)
{
    const struct kek_config *config = ring->settings.config;
    uint64_t probe = config->health.probe_interval_ms / 4; /* how late one may be */
    uv_timer_start(&ring->timers[REFRESH], look_due, config->refresh_ms, config->refresh_ms);
    uv_timer_start(&ring->timers[PROBE], probe_due, probe, probe);
    uv_timer_start(&ring->timers[CANARY], canary_due, CANARY_MS, CANARY_MS);
    health_evaluate(ring);
}

void kek_keyring_stop(struct kek_keyring *ring)
{
    if (ring->stopped) {
        return;
    }
    ring->stopped = true;
    witness_stop(ring);
    look_stop(ring);
    for (size_t i = 0; i < TIMERS; i++) {
        uv_close((uv_handle_t *)&ring->timers[i], NULL);
    }
}

void kek_keyring_free(struct kek_keyring *ring)
{
    if (ring == NULL) {
        return;
    }
    for (size_t i = 0; i < ring->version_count; i++) {
        free(ring->versions[i]);
    }
    free(ring->record_path);
    free(ring);
}
