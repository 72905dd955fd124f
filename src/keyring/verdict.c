/*
 * How things are, in one verdict.  Two kinds of trouble must not look alike: an outage (no provider
 * answers, or only those that do not have the primary while one that had it is away) and a loss (the primary is
 * gone from all that had it).
 */
#include "keyring/ring.h"

#include <stdio.h>
#include <string.h>

#include "kek/text.h"

#define BEGIN_MS 1000u /* of a start, in which nobody answers, before it is an outage */

const char *kek_keyring_state_name(enum kek_keyring_state state)
{
    static const char *const names[] = {
        [KEK_KEYRING_GOOD] = "good",     [KEK_KEYRING_STARTING] = "starting",
        [KEK_KEYRING_OUTAGE] = "outage", [KEK_KEYRING_SHUT] = "shut",
        [KEK_KEYRING_LOSS] = "loss",
    };
    return names[state];
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
        verdict_say(verdict, "mend the HSM or the way to it; restart no API server",
                    "no HSM answers: %s", status.why.text);
        return;
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        if (ring->sources[p].broken) {
            verdict->provider = p;
            verdict_say(verdict, "see the log for what its probe met",
                        "no HSM works: the last probe of %s failed",
                        source_name(&ring->sources[p]));
            return;
        }
    }
    if (verdict->pending) {
        verdict_say(verdict, "", "no worker is ready yet");
    } else {
        verdict_say(verdict, "mend the HSM or the way to it; restart no API server",
                    "no HSM answers");
    }
}

/* What keeps the first primary from being announced: of the newest version that is active somewhere. */
static void say_starting(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    const struct version *version, *newest = NULL, *idle = NULL;
    const char *keyring = ring->settings.config->keyring;
    DL_FOREACH (ring->versions, version) {
        if (!version->surplus &&
            (version_is_active(ring, version) || version_disputed(ring, version)) &&
            (newest == NULL || version->number > newest->number)) {
            newest = version;
        }
        if (version_is_present(ring, version) &&
            (version->compromised || version_is_suspended(ring, version)) &&
            (idle == NULL || version->number > idle->number)) {
            idle = version;
        }
    }
    if (newest != NULL) {
        obstacle_say(ring, newest, verdict);
    } else if (idle != NULL) {
        verdict_say(verdict,
                    idle->compromised
                        ? ring_todo(ring, "", "key rotate", " makes another one").text
                        : ring_todo(ring, "", "key resume", " gives it its use back").text,
                    "no KEK version of keyring %s is active: version %u is %s", keyring,
                    idle->number, idle->compromised ? "compromised" : "suspended");
    } else if (ring->versions != NULL) {
        verdict_say(verdict, "kekctl key list shows what each HSM has",
                    "no KEK version of keyring %s is active", keyring);
    } else if (ring->beside[0] != '\0') {
        char todo[sizeof verdict->todo];
        snprintf(todo, sizeof todo, "compare keyring: with %s, of which state_dir has a record",
                 ring->beside);
        verdict_say(verdict, todo, "no HSM that answers has a key of keyring %s", keyring);
    } else {
        verdict_say(verdict,
                    ring_todo(ring, "compare keyring: with the labels on the token, or ",
                              "key generate", "")
                        .text,
                    "no HSM that answers has a key of keyring %s", keyring);
    }
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

/* What those who answer make of a version, all together. */
enum found { OPEN, ASKED, SUSPECTED, MISSING };

static enum found look_for(const struct kek_keyring *ring, const struct version *version)
{
    enum found found = MISSING;
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct holding *holding = &version->held[p];
        if (!source_answers(&ring->sources[p])) {
            continue;
        }
        if (holding->proven && holding->unwraps) {
            return OPEN;
        }
        if (holding->asked || !holding->known) {
            found = ASKED;
        } else if (!holding->settled && !holding->closed && found == MISSING) {
            found = SUSPECTED;
        }
    }
    return found;
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
    verdict_say(verdict, "mend that HSM, and bring the others up to date",
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
        verdict_say(
            verdict, "restore the token's backup that has the right key",
            "every HSM that answers holds a different key under the name of KEK version %u: "
            "writes are refused",
            primary->number);
        return;
    }
    verdict_say(verdict,
                ring_vouches(ring)
                    ? "restore the token's backup, or give the key its use back"
                    : "see whether it is the right token: nothing that is on record here is on it, "
                      "and its serial is not; else restore its backup",
                "KEK version %u is missing from the HSM or may not unwrap: writes are refused",
                primary->number);
}

/* Nobody who answers has opened it since it was last opened, or since the start. */
static void say_unproven(const struct version *primary, enum found found,
                         struct kek_keyring_verdict *verdict)
{
    verdict->state = KEK_KEYRING_STARTING;
    verdict->version = primary->number;
    verdict->pending = found == ASKED;
    verdict_say(verdict, "",
                found == ASKED
                    ? "KEK version %u is being proven: no worker that is ready has opened it yet"
                    : "no worker that is ready opens KEK version %u: fresh ones are asked",
                primary->number);
}

/* The token has it, and does not let it be used: nothing is lost. */
static void say_suspended(const struct kek_keyring *ring, const struct version *primary,
                          struct kek_keyring_verdict *verdict)
{
    const char *root = ring->settings.config->root;
    char todo[sizeof verdict->todo];
    snprintf(todo, sizeof todo, "kekctl %s gives it its use back, kekctl %s makes another one",
             kek_command(root, "key resume").text, kek_command(root, "key rotate").text);
    verdict->state = KEK_KEYRING_SHUT;
    verdict->version = primary->number;
    verdict_say(
        verdict, todo,
        "KEK version %u is suspended: nothing is lost, and it neither seals nor opens until "
        "it is resumed",
        primary->number);
}

/* Its successor is on its way: nobody need hear more of it. */
static void say_succession(const struct kek_keyring *ring, const struct version *primary,
                           struct kek_keyring_verdict *verdict)
{
    verdict->state = KEK_KEYRING_STARTING;
    verdict->version = version_next(ring)->number;
    verdict->pending = true;
    verdict_say(verdict, "", "KEK version %u seals nothing more, and version %u is being proven",
                primary->number, verdict->version);
}

/* A worker's first try may fail at a token that another process writes at that moment: the next one is a tenth of a second
 * away. As a worker that goes, that is no outage for a while. */
static bool has_just_begun(const struct kek_keyring *ring)
{
    return ring->announced && ring->verdict.state == KEK_KEYRING_STARTING &&
           ring->now_ms - ring->verdict.since_ms < BEGIN_MS;
}

static void work_out_silence(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    if (ring->verdict.state == KEK_KEYRING_LOSS) {
        *verdict = ring->verdict; /* without an answer it stays what it was last known to be */
        return;
    }
    bool starts =
        ring->verdict.state != KEK_KEYRING_OUTAGE && (anybody_starts(ring) || has_just_begun(ring));
    verdict->state = starts || !ring->announced ? KEK_KEYRING_STARTING : KEK_KEYRING_OUTAGE;
    verdict->pending = starts;
    say_outage(ring, verdict);
}

static void work_out_absence(const struct kek_keyring *ring, const struct version *primary,
                             enum found found, struct kek_keyring_verdict *verdict)
{
    const struct source *holder = silent_holder(ring, primary);
    if (found == MISSING && version_is_suspended(ring, primary) && holder == NULL) {
        say_suspended(ring, primary, verdict);
    } else if (ring->verdict.state == KEK_KEYRING_LOSS &&
               ring->verdict.version == primary->number && (found != MISSING || holder == NULL)) {
        *verdict = ring->verdict; /* until somebody opens it */
    } else if (found != MISSING) {
        say_unproven(primary, found, verdict);
    } else if (holder == NULL) {
        say_loss(ring, primary, verdict);
    } else if (source_starting(holder)) {
        say_unproven(primary, ASKED, verdict);
        verdict->provider = holder->index;
    } else {
        say_holder_away(primary, holder, verdict);
    }
}

static void work_out(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    const struct version *primary = version_primary(ring);
    enum found found = primary == NULL ? ASKED : look_for(ring, primary);
    struct kek_why why;
    if (ring_answering(ring) == 0) {
        work_out_silence(ring, verdict);
    } else if (primary == NULL) {
        verdict->state = KEK_KEYRING_STARTING;
        say_starting(ring, verdict);
    } else if (is_succession(ring)) {
        say_succession(ring, primary, verdict);
    } else if (found != OPEN) {
        work_out_absence(ring, primary, found, verdict);
    } else if (kek_keyring_wraps(ring, &ring->primary.generation, &why) != KEK_OK) {
        verdict->state = KEK_KEYRING_SHUT;
        verdict->version = primary->number;
        verdict_say(verdict,
                    primary->compromised
                        ? ring_todo(ring, "", "key rotate", " makes another one").text
                        : "make a newer version active, or give this one its use back",
                    "%s", why.text);
    }
}

/* ---- telling ---- */

void kek_keyring_verdict_text(const struct kek_keyring_verdict *verdict, char *text, size_t size)
{
    char whole[sizeof verdict->what + sizeof verdict->todo + 2];
    snprintf(whole, sizeof whole, "%s%s%s", verdict->what[0] == '\0' ? "ok" : verdict->what,
             verdict->todo[0] == '\0' ? "" : "; ", verdict->todo);
    kek_text_copy(text, size, whole);
}

static void tell_end(const struct kek_keyring *ring)
{
    static const char *const ends[] = {
        [KEK_KEYRING_STARTING] = "the primary KEK is announced and proven",
        [KEK_KEYRING_OUTAGE] = "a provider answers again",
        [KEK_KEYRING_SHUT] = "the primary KEK wraps again",
        [KEK_KEYRING_LOSS] = "the primary KEK is there again",
    };
    const struct version *primary = version_primary(ring);
    if (ring->told.state == KEK_KEYRING_LOSS && primary != NULL &&
        primary->number != ring->told.version) {
        ring_notice(ring, KEK_LOG_WARN,
                    "KEK version %u is the primary now; what version %u sealed opens on no HSM",
                    primary->number, ring->told.version);
    } else if (ends[ring->told.state] != NULL) {
        ring_notice(ring, KEK_LOG_INFO, "%s", ends[ring->told.state]);
    }
}

/* A start is told of once it has lasted a refresh, in which every worker has listed anew; what keeps it from
 * ending may change many times, and is told once in that time. */
static bool is_news(const struct kek_keyring *ring)
{
    const struct kek_keyring_verdict *verdict = &ring->verdict, *told = &ring->told;
    uint64_t refresh = ring->settings.config->refresh_ms;
    if (verdict->state != KEK_KEYRING_STARTING) {
        return verdict->state != told->state;
    }
    return ring->now_ms - verdict->since_ms >= refresh &&
           ring->now_ms - told->since_ms >= refresh &&
           (told->state != KEK_KEYRING_STARTING || strcmp(verdict->what, told->what) != 0);
}

static void tell(struct kek_keyring *ring)
{
    static const char *const words[] = {
        [KEK_KEYRING_STARTING] = "no key is announced and proven",
        [KEK_KEYRING_OUTAGE] = "outage",
        [KEK_KEYRING_SHUT] = "nothing new can be sealed",
        [KEK_KEYRING_LOSS] = "loss",
    };
    char text[sizeof ring->verdict.what + sizeof ring->verdict.todo + 2];
    if (!is_news(ring)) {
        return;
    }
    kek_keyring_verdict_text(&ring->verdict, text, sizeof text);
    if (ring->verdict.state == KEK_KEYRING_GOOD) {
        tell_end(ring);
    } else {
        ring_notice(ring, KEK_LOG_ERROR, "%s: %s", words[ring->verdict.state], text);
    }
    ring->told = ring->verdict;
    ring->told.since_ms = ring->now_ms;
}

void verdict_drive(struct kek_keyring *ring)
{
    struct kek_keyring_verdict verdict = {.since_ms = ring->verdict.since_ms,
                                          .provider = KEK_POOL_ANY};
    for (size_t p = 0; p < ring->source_count; p++) {
        if (source_answers(&ring->sources[p])) {
            ring->sources[p].answered_ms = ring->now_ms;
        }
    }
    work_out(ring, &verdict);
    if (verdict.state != ring->verdict.state) {
        verdict.since_ms = ring->now_ms;
    }
    ring->verdict = verdict;
    tell(ring);
}

void kek_keyring_verdict(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    *verdict = ring->verdict;
}

enum kek_keyring_state kek_keyring_state(const struct kek_keyring *ring)
{
    return ring->verdict.state;
}
