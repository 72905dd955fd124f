/*
 * How things are, in one verdict.  Two kinds of trouble must not look alike: an outage (no provider
 * answers, or only those that do not have the primary while one that had it is away) and a loss (the primary is
 * gone from all that had it).
 */
#include "keyring/ring.h"

#include <stdio.h>
#include <string.h>

const char *kek_keyring_state_name(enum kek_keyring_state state)
{
    static const char *const names[] = {
        [KEK_KEYRING_GOOD] = "good",     [KEK_KEYRING_STARTING] = "starting",
        [KEK_KEYRING_OUTAGE] = "outage", [KEK_KEYRING_SHUT] = "shut",
        [KEK_KEYRING_LOSS] = "loss",
    };
    return names[state];
}

static void say(struct kek_keyring_verdict *verdict, const char *todo, const char *format, ...)
    KEK_PRINTF(3, 4);

static void say(struct kek_keyring_verdict *verdict, const char *todo, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    vsnprintf(verdict->what, sizeof verdict->what, format, args);
    va_end(args);
    snprintf(verdict->todo, sizeof verdict->todo, "%s", todo);
}

/* The most telling of the providers' own words. */
static void say_outage(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        struct kek_pool_provider status;
        kek_pool_provider_get(ring->settings.pool, p, &status);
        if (ring->sources[p].members != NULL || status.why.rc == KEK_OK) {
            continue;
        }
        verdict->provider = p;
        say(verdict, "mend the HSM or the way to it; restart no API server", "no HSM answers: %s",
            status.why.text);
        return;
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        if (ring->sources[p].broken) {
            verdict->provider = p;
            say(verdict, "see the log for what its probe met",
                "no HSM works: the last probe of %s failed", source_name(&ring->sources[p]));
            return;
        }
    }
    say(verdict, "mend the HSM or the way to it; restart no API server", "no HSM answers");
}

/* A version that one provider has active, and another has not. */
static bool say_behind(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    const struct version *version;
    DL_FOREACH (ring->versions, version) {
        size_t ahead = ring->source_count, behind = ring->source_count;
        for (size_t p = 0; p < ring->source_count; p++) {
            if (source_answers(&ring->sources[p])) {
                *(version->held[p].active ? &ahead : &behind) = p;
            }
        }
        if (ahead < ring->source_count && behind < ring->source_count) {
            verdict->version = version->number;
            verdict->provider = behind;
            say(verdict, "bring that provider up to date, or take it out of the configuration",
                "KEK version %u is active on provider %s and not on %s", version->number,
                source_name(&ring->sources[ahead]), source_name(&ring->sources[behind]));
            return true;
        }
    }
    return false;
}

static void say_dispute(const struct kek_keyring *ring, const struct version *version,
                        struct kek_keyring_verdict *verdict)
{
    size_t opens = 0, fails = 0;
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct member *member;
        DL_FOREACH (ring->sources[p].members, member) {
            const struct view *view = &member->views[version->slot];
            opens = view->witness == OPENED ? p : opens;
            fails = view->witness == FAILED ? p : fails;
        }
    }
    verdict->version = version->number;
    verdict->provider = fails;
    say(verdict, "remove the wrong key, or take its provider out of the configuration",
        "workers hold different keys under the name of version %u (%s against %s), and no record "
        "of this node says which is right",
        version->number, source_name(&ring->sources[fails]), source_name(&ring->sources[opens]));
}

/* What keeps the first primary from being announced. */
static void say_starting(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    const struct version *version;
    const char *keyring = ring->settings.config->keyring;
    DL_FOREACH (ring->versions, version) {
        if (version_disputed(ring, version)) {
            say_dispute(ring, version, verdict);
            return;
        }
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct source *source = &ring->sources[p];
        if (!source_answers(source) && !source_starting(source) && ring->versions != NULL) {
            verdict->provider = p;
            say(verdict, "bring it back, or take it out of the configuration",
                "provider %s does not answer, and this node has no record yet by which to know "
                "the right key without it",
                source_name(source));
            return;
        }
    }
    if (say_behind(ring, verdict)) {
        return;
    }
    say(verdict, "kekctl key list shows what each HSM has",
        "keyring %s has no active KEK version that is proven yet", keyring);
}

static bool anybody_starts(const struct kek_keyring *ring)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (source_starting(&ring->sources[p])) {
            return true;
        }
    }
    return false;
}

static size_t answering(const struct kek_keyring *ring)
{
    size_t count = 0;
    for (size_t p = 0; p < ring->source_count; p++) {
        count += source_answers(&ring->sources[p]);
    }
    return count;
}

/* Was everybody who answers asked, and does nobody of them open it? */
static bool is_missing(const struct kek_keyring *ring, const struct version *primary)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct holding *holding = &primary->held[p];
        if (source_answers(&ring->sources[p]) && (holding->unwraps || !holding->settled)) {
            return false;
        }
    }
    return true;
}

/* The first provider that does not answer and had it, or may have it. NULL: there is none. */
static const struct source *silent_holder(const struct kek_keyring *ring,
                                          const struct version *primary)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct holding *holding = &primary->held[p];
        if (!source_answers(&ring->sources[p]) && (holding->unwraps || !holding->known)) {
            return &ring->sources[p];
        }
    }
    return NULL;
}

/* Those that answer do not have it.  Whether it is lost, only a provider that is away can say. */
static void say_holder_away(const struct version *primary, const struct source *holder,
                            struct kek_keyring_verdict *verdict)
{
    verdict->state = KEK_KEYRING_OUTAGE;
    verdict->version = primary->number;
    verdict->provider = holder->index;
    say(verdict, "mend that HSM, and bring the others up to date",
        "KEK version %u is on no HSM that answers, and provider %s does not answer",
        primary->number, source_name(holder));
}

static bool is_wrong_everywhere(const struct kek_keyring *ring, const struct version *primary)
{
    for (size_t p = 0; p < ring->source_count; p++) {
        if (source_answers(&ring->sources[p]) && primary->held[p].wrong == 0) {
            return false;
        }
    }
    return true;
}

static void say_loss(const struct kek_keyring *ring, const struct version *primary,
                     struct kek_keyring_verdict *verdict)
{
    verdict->state = KEK_KEYRING_LOSS;
    verdict->version = primary->number;
    if (is_wrong_everywhere(ring, primary)) {
        say(verdict, "restore the token's backup that has the right key",
            "every HSM that answers holds a different key under the name of KEK version %u: "
            "writes are refused",
            primary->number);
        return;
    }
    say(verdict, "restore the token's backup, or give the key its use back",
        "KEK version %u is missing from the HSM or may not unwrap: writes are refused",
        primary->number);
}

static void work_out(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    const struct version *primary = version_primary(ring);
    struct kek_why why;
    bool was_lost = ring->verdict.state == KEK_KEYRING_LOSS;
    if (answering(ring) == 0 && was_lost) {
        *verdict = ring->verdict; /* without an answer it stays what it was last known to be */
    } else if (answering(ring) == 0 &&
               (!anybody_starts(ring) || ring->verdict.state == KEK_KEYRING_OUTAGE)) {
        verdict->state = ring->announced ? KEK_KEYRING_OUTAGE : KEK_KEYRING_STARTING;
        say_outage(ring, verdict);
    } else if (!ring->announced) {
        verdict->state = KEK_KEYRING_STARTING;
        say_starting(ring, verdict);
    } else if (answering(ring) > 0 && is_missing(ring, primary)) {
        const struct source *holder = silent_holder(ring, primary);
        if (holder != NULL) {
            say_holder_away(primary, holder, verdict);
        } else {
            say_loss(ring, primary, verdict);
        }
    } else if (kek_keyring_wraps(ring, &ring->primary.generation, &why) != KEK_OK) {
        verdict->state = KEK_KEYRING_SHUT;
        verdict->version = primary->number;
        say(verdict, "make a newer version active, or give this one its use back", "%s", why.text);
    }
}

static void tell(const struct kek_keyring *ring, const struct kek_keyring_verdict *verdict)
{
    enum kek_keyring_state before = ring->verdict.state;
    if (verdict->state == KEK_KEYRING_OUTAGE) {
        ring_notice(ring, KEK_LOG_ERROR, "%s: outage: %s",
                    answering(ring) == 0 ? "no provider answers" : "nobody who answers has the key",
                    verdict->what);
    } else if (verdict->state == KEK_KEYRING_LOSS) {
        ring_notice(ring, KEK_LOG_ERROR,
                    "the primary KEK (version %u) is gone from every token that answers: loss: %s",
                    verdict->version, verdict->what);
    } else if (verdict->state == KEK_KEYRING_SHUT) {
        ring_notice(ring, KEK_LOG_ERROR, "nothing new can be sealed: %s", verdict->what);
    } else if (before == KEK_KEYRING_OUTAGE) {
        ring_notice(ring, KEK_LOG_INFO, "a provider answers again");
    } else if (before == KEK_KEYRING_LOSS) {
        ring_notice(ring, KEK_LOG_INFO, "the primary KEK is there again");
    } else if (before == KEK_KEYRING_SHUT) {
        ring_notice(ring, KEK_LOG_INFO, "the primary KEK wraps again");
    }
}

void verdict_drive(struct kek_keyring *ring)
{
    struct kek_keyring_verdict verdict = {.since_ms = ring->verdict.since_ms,
                                          .provider = KEK_POOL_ANY};
    work_out(ring, &verdict);
    if (verdict.state != ring->verdict.state) {
        verdict.since_ms = ring->now_ms;
        tell(ring, &verdict);
    }
    ring->verdict = verdict;
}

void kek_keyring_verdict(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    *verdict = ring->verdict;
}
