/*
 * How long each version has been out of use, who asked for it since, and that it was destroyed.
 *
 * Nobody else can say since when: a token knows no times, and its flags tell what is so now.  Time counts while
 * kekd runs, every provider answers, and all of them show it so; by the monotonic clock, since the wall clock is
 * set.  What cannot be seen at the moment neither counts nor begins anew.  It is on record at each change, at
 * the stop, and every ten minutes: that much a kill may lose.
 */
#include "keyring/ring.h"

#include <stdio.h>

#include "kek/clock.h"

#define STEP_MAX_MS (5 * TICK_MS) /* longer between two turns, and nobody has looked */
#define SAVE_MS 600000u           /* between writes that only say that more time has passed */
#define ASKED_SAVE_MS 10000u      /* likewise, that it was asked for once more */
#define TELL_MS 60000u
#define NAMES_TEXT (KEK_CONFIG_PROVIDERS_MAX * 36)

/* What the providers show together. */
enum shown { SHOWN_UNCLEAR, SHOWN_SO, SHOWN_OTHERWISE };

static bool all_answer(const struct kek_keyring *ring)
{
    return ring_answering(ring) == ring->source_count;
}

/* May it wrap nowhere, after it had its time? */
static enum shown shows_inactive(const struct kek_keyring *ring, const struct version *version)
{
    bool out = false, was = version_was_active(ring, version);
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct holding *holding = &version->held[p];
        bool waits = holding->key == KEK_KEYRING_KEY_PRE_ACTIVE;
        if (holding->wraps || holding->key == KEK_KEYRING_KEY_ACTIVE || (waits && !was)) {
            return SHOWN_OTHERWISE;
        }
        out = out || waits || holding->key == KEK_KEYRING_KEY_COMPROMISED ||
              holding->key == KEK_KEYRING_KEY_SUSPENDED;
    }
    return out && all_answer(ring) ? SHOWN_SO : SHOWN_UNCLEAR;
}

static enum shown shows_superseded(const struct kek_keyring *ring, const struct version *version)
{
    return ring->announced && version->number < ring->primary.generation.numbers[0]
               ? SHOWN_SO
               : SHOWN_OTHERWISE;
}

static enum shown shows_suspended(const struct kek_keyring *ring, const struct version *version)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (version->held[p].unwraps) {
            return SHOWN_OTHERWISE;
        }
    }
    return version_is_suspended(ring, version) && all_answer(ring) ? SHOWN_SO : SHOWN_UNCLEAR;
}

/* True: it has begun, or has ended. */
static bool count(struct kek_keyring_lasting *lasting, enum shown shown, uint64_t step_ms)
{
    bool was = lasting->since_ms != 0;
    if (shown == SHOWN_SO && was) {
        lasting->ms += step_ms;
    } else if (shown == SHOWN_SO) {
        *lasting = (struct kek_keyring_lasting){.since_ms = kek_clock_wall_ms()};
    } else if (shown == SHOWN_OTHERWISE) {
        *lasting = (struct kek_keyring_lasting){0};
    }
    return was != (lasting->since_ms != 0);
}

/* Gone from every provider that had it, after it could do nothing on any: so a destruction goes, and no loss. */
static bool is_destroyed(const struct kek_keyring *ring, const struct version *version,
                         const struct kek_keyring_history *history)
{
    if (!history_is_given_up(history) || !all_answer(ring) || version == version_primary(ring)) {
        return false;
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct holding *holding = &version->held[p];
        if (!holding->known || !holding->settled || holding->present ||
            holding->key > KEK_KEYRING_KEY_GONE) {
            return false;
        }
    }
    return true;
}

static void forget_destroyed(struct kek_keyring *ring, struct version *version,
                             struct kek_keyring_history *history)
{
    const uint32_t number = version->number;
    const bool suspended = history->suspended.since_ms > 0;
    if (!version_forget(ring, version)) {
        return; /* in a later turn */
    }
    history->destroyed_ms = kek_clock_wall_ms();
    history->returned_ms = history->used_ms = 0;
    ring_notice(ring, KEK_LOG_WARN,
                "KEK version %u was destroyed: every HSM that had it shows it no more, after it "
                "was %s",
                number, suspended ? "suspended on all of them" : "destroyed before, and came back");
    record_save(ring);
}

/* The providers that show it, or with `used` those that let it be used: "hsm-a, hsm-b". */
static void name_sources(const struct kek_keyring *ring, const struct version *version, bool used,
                         char *names, size_t size)
{
    size_t len = 0;
    names[0] = '\0';
    for (size_t p = 0; p < ring->source_count && len < size; p++) {
        const struct holding *holding = &version->held[p];
        if (used ? holding->unwraps : holding->present) {
            len += (size_t)snprintf(names + len, size - len, "%s%s", len > 0 ? ", " : "",
                                    source_name(&ring->sources[p]));
        }
    }
}

/* A token was restored that had it. */
static void come_back(struct kek_keyring *ring, struct version *version,
                      struct kek_keyring_history *history)
{
    char names[NAMES_TEXT];
    *history = (struct kek_keyring_history){.number = version->number,
                                            .kek_id = version->id,
                                            .destroyed_ms = history->destroyed_ms,
                                            .returned_ms = kek_clock_wall_ms()};
    name_sources(ring, version, false, names, sizeof names);
    ring_notice(ring, KEK_LOG_WARN,
                "KEK version %u, which was destroyed, is on an HSM again, on %s: a backup of the "
                "token may have been restored",
                version->number, names);
}

static void tell_reopened(struct kek_keyring *ring, const struct version *version)
{
    char names[NAMES_TEXT];
    name_sources(ring, version, true, names, sizeof names);
    ring_notice(ring, KEK_LOG_WARN,
                "KEK version %u, which was suspended on every HSM, may be used again on %s: by "
                "%s, or since the token was restored to an older state",
                version->number, names, ring_todo(ring, "", "key resume", "").text);
}

static void age(struct kek_keyring *ring, struct version *version, uint64_t step_ms)
{
    struct history *kept = history_of(ring, version);
    if (kept == NULL) {
        return;
    }
    struct kek_keyring_history *history = &kept->is;
    bool back = history_is_destroyed(history) && version_is_present(ring, version);
    if (back) {
        come_back(ring, version, history);
    }
    version->back = history->returned_ms > 0;
    bool inactive = count(&history->inactive, shows_inactive(ring, version), step_ms);
    bool superseded = count(&history->superseded, shows_superseded(ring, version), step_ms);
    enum shown shown = shows_suspended(ring, version);
    bool suspended = count(&history->suspended, shown, step_ms);
    if (suspended && shown == SHOWN_OTHERWISE) {
        tell_reopened(ring, version);
    }
    if (shown == SHOWN_OTHERWISE && history->asked > 0) {
        history->asked = 0;
        history->asked_ms = 0;
        suspended = true;
    }
    if (back || inactive || superseded || suspended) {
        record_save(ring);
    }
    if (is_destroyed(ring, version, history)) {
        forget_destroyed(ring, version, history);
    }
}

/* Does time pass for some version? */
static bool counts_time(const struct kek_keyring *ring)
{
    for (size_t i = 0; i < ring->history_count; i++) {
        const struct kek_keyring_history *history = &ring->histories[i].is;
        if (!history_is_destroyed(history) &&
            (history->inactive.since_ms > 0 || history->superseded.since_ms > 0)) {
            return true;
        }
    }
    return false;
}

/* Is there more to be put on record than time that may be lost? */
static bool is_due(const struct kek_keyring *ring)
{
    uint64_t since_ms = ring->now_ms - ring->aged_saved_ms;
    return (counts_time(ring) && since_ms >= SAVE_MS) ||
           (ring->asked_unsaved && since_ms >= ASKED_SAVE_MS);
}

void ageing_stop(struct kek_keyring *ring)
{
    if (counts_time(ring) || ring->asked_unsaved) {
        record_save(ring);
    }
}

void ageing_drive(struct kek_keyring *ring)
{
    struct version *version, *next;
    bool first = ring->aged_ms == 0;
    uint64_t step_ms = first ? 0 : ring->now_ms - ring->aged_ms;
    step_ms = step_ms > STEP_MAX_MS ? STEP_MAX_MS : step_ms;
    ring->aged_ms = ring->now_ms;
    ring->aged_saved_ms = first ? ring->now_ms : ring->aged_saved_ms;
    DL_FOREACH_SAFE (ring->versions, version, next) {
        age(ring, version, step_ms);
    }
    if (is_due(ring)) {
        ring->aged_saved_ms = ring->now_ms;
        ring->asked_unsaved = false;
        record_save(ring);
    }
}

bool version_is_quarantined(struct kek_keyring *ring, const struct version *version)
{
    struct kek_keyring_history history;
    history_copy(ring, version, &history);
    return history.suspended.since_ms > 0 && history.asked == 0 &&
           history.inactive.ms >= history.suspended.ms &&
           history.inactive.ms - history.suspended.ms >= ring->settings.config->destroy_after_ms;
}

static void tell_asked(struct kek_keyring *ring, struct history *history)
{
    uint64_t now_ms = kek_clock_ms();
    if (history->told_ms > 0 && now_ms - history->told_ms < TELL_MS) {
        return;
    }
    history->told_ms = now_ms;
    if (history_is_destroyed(&history->is)) {
        ring_notice(ring, KEK_LOG_ERROR,
                    "a Decrypt asked for KEK version %u, which was destroyed: what it sealed does "
                    "not open any more; restore the token's backup if that is needed",
                    history->is.number);
    } else {
        ring_notice(ring, KEK_LOG_ERROR,
                    "a Decrypt asked for KEK version %u, which is suspended: it is in use, and "
                    "must not be destroyed; %s",
                    history->is.number,
                    ring_todo(ring, "", "key resume", " gives it its use back").text);
    }
}

void ageing_met(struct kek_keyring *ring, const struct version *version)
{
    struct history *history = history_find(ring, &version->id);
    if (history != NULL && history->is.used_ms == 0 && !ring->stopped) {
        history->is.used_ms = kek_clock_wall_ms();
        record_save(ring);
        ring_dirty(ring);
    }
}

void kek_keyring_asked(struct kek_keyring *ring, const struct kek_id *kek_id)
{
    const struct version *version = version_find(ring, kek_id);
    struct history *history = history_find(ring, kek_id);
    if (ring->stopped || history == NULL ||
        (version == NULL ? !history_is_destroyed(&history->is)
                         : !version_is_suspended(ring, version))) {
        return;
    }
    history->is.asked_ms = kek_clock_wall_ms();
    history->is.asked++;
    tell_asked(ring, history);
    ring->asked_unsaved = true;
    if (history->is.asked == 1) {
        ring->asked_unsaved = false;
        record_save(ring);
        ring_dirty(ring);
    }
}
