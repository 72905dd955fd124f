/*
 * Two kinds of trouble that must not look alike: an outage (no provider answers) and a loss (a token
 * answers, and the primary is gone from all that do).  A loss is believed only once a fresh worker
 * process has seen it too: libraries cache, and a token whose store is away may list nothing.
 */
#include "keyring/ring.h"

#include <stdio.h>

#include "kek/clock.h"

static void set_outage(struct kek_keyring *ring, bool outage)
{
    if (outage == ring->outage) {
        return;
    }
    ring->outage = outage;
    ring->outage_since_ms = kek_clock_ms();
    ring->good_since_ms = kek_clock_ms();
    ring_notice(ring, outage ? KEK_LOG_ERROR : KEK_LOG_INFO,
                outage ? "no provider answers: outage" : "a provider answers again");
}

static void set_loss(struct kek_keyring *ring, bool loss)
{
    if (loss == ring->loss) {
        return;
    }
    ring->loss = loss;
    ring->loss_since_ms = kek_clock_ms();
    ring->good_since_ms = kek_clock_ms();
    ring_notice(ring, loss ? KEK_LOG_ERROR : KEK_LOG_INFO,
                loss ? "the primary KEK (version %u) is gone from every token that answers: loss"
                     : "the primary KEK (version %u) is there again",
                ring->primary.number);
}

/* Nobody can answer before its first worker had a chance to start, and its keys were looked at. */
bool health_any_starting(const struct kek_keyring *ring)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        struct kek_pool_provider status;
        kek_pool_provider_get(ring->settings.pool, p, &status);
        if (status.health == KEK_POOL_STARTING ||
            (status.health == KEK_POOL_READY && !ring->sources[p].listed)) {
            return true;
        }
    }
    return false;
}

void health_evaluate(struct kek_keyring *ring)
{
    size_t answering = 0, opening = 0, unconfirmed = 0;
    const struct version *primary = ring->announced ? ring_find(ring, &ring->primary.kek_id) : NULL;
    for (size_t p = 0; p < ring->source_count; p++) {
        if (!ring_answers(ring, p)) {
            ring->sources[p].gone = false;
            continue;
        }
        answering++;
        if (primary == NULL || held_unwraps(primary, p)) {
            ring->sources[p].gone = false;
            opening++;
            continue;
        }
        if (ring->sources[p].confirmed) {
            ring->sources[p].gone = true;
        }
        unconfirmed += !ring->sources[p].gone;
    }
    set_outage(ring, answering == 0 && (ring->outage || !health_any_starting(ring)));
    if (answering == 0 || opening > 0) {
        /* Without an answer a loss stays what it was last known to be, only where nothing opened. */
        set_loss(ring, ring->loss && answering == 0);
        return;
    }
    if (unconfirmed == 0) {
        set_loss(ring, true);
        return;
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        if (ring_answers(ring, p) && !ring->sources[p].gone) {
            ring_confirm_loss(ring, p);
        }
    }
}

/* The most telling of the providers' own words. */
static void outage_text(const struct kek_keyring *ring, char *text, size_t size)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        struct kek_pool_provider status;
        kek_pool_provider_get(ring->settings.pool, p, &status);
        if (status.health == KEK_POOL_READY && ring->sources[p].probe_failed) {
            snprintf(text, size, "no HSM works: the last probe of %s failed", status.name);
            return;
        }
        if (status.why.rc != KEK_OK) {
            snprintf(text, size, "no HSM answers: %s: %.100s", status.name, status.why.text);
            return;
        }
    }
    snprintf(text, size, "no HSM answers");
}

void kek_keyring_health(const struct kek_keyring *ring, struct kek_keyring_health *health)
{
    *health =
        (struct kek_keyring_health){.state = KEK_KEYRING_GOOD, .since_ms = ring->good_since_ms};
    if (!ring->announced) {
        health->state = KEK_KEYRING_STARTING;
        if (ring->outage) {
            outage_text(ring, health->text, sizeof health->text);
        } else {
            snprintf(health->text, sizeof health->text,
                     "keyring %s has no active KEK version that is proven yet",
                     ring->settings.config->keyring);
        }
    } else if (ring->loss) {
        health->state = KEK_KEYRING_LOSS;
        health->since_ms = ring->loss_since_ms;
        snprintf(health->text, sizeof health->text,
                 "KEK version %u is missing from the HSM or may not unwrap: writes are refused",
                 ring->primary.number);
    } else if (ring->outage) {
        health->state = KEK_KEYRING_OUTAGE;
        health->since_ms = ring->outage_since_ms;
        outage_text(ring, health->text, sizeof health->text);
    }
}
