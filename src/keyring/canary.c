/*
 * How each provider does at opening each version's witness, time after time.  A token may show a key as it should
 * be and not open by it any more: its material is damaged, a policy of the HSM forbids it, a restore was partial.  No
 * list tells, and the data keys in memory hide it.
 */
#include "keyring/ring.h"

#include <stdio.h>

#include "kek/clock.h"

/* Did the provider open another version since?  Then what failed is not the way to it. */
static bool opened_others(const struct source *source, const struct version *but, uint64_t since_us)
{
    const struct version *version;
    DL_FOREACH (source->ring->versions, version) {
        if (version != but && version->held[source->index].unwrapped_us > since_us) {
            return true;
        }
    }
    return false;
}

/* That the key's state forbids it is a fact of its own (member_refused()), a lack of room is ours, and which worker
 * uses another key is judged by itself. */
static bool counts(const struct source *source, const struct version *version, uint64_t begun_us,
                   enum kek_rc rc)
{
    switch (rc) {
    case KEK_PRECONDITION:
    case KEK_NO_MEMORY:
    case KEK_EXHAUSTED:
    case KEK_DAMAGED:
        return false;
    case KEK_UNAVAILABLE:
    case KEK_DEADLINE:
        return opened_others(source, version, begun_us);
    default:
        return true;
    }
}

bool canary_opened(struct member *member, struct version *version)
{
    struct canary *canary = &version->held[member->source->index].canary;
    struct view *view = &member->views[version->slot];
    bool news = canary->failures > 0 || view->failures > 0;
    canary->opened_ms = kek_clock_ms();
    canary->failures = view->failures = 0;
    return news;
}

bool canary_failed(struct member *member, struct version *version, uint64_t begun_us,
                   enum kek_rc rc, const char *why)
{
    struct canary *canary = &version->held[member->source->index].canary;
    canary->failed_ms = kek_clock_ms();
    snprintf(canary->why, sizeof canary->why, "%s", why);
    if (!counts(member->source, version, begun_us, rc)) {
        return false;
    }
    canary->failures++;
    member->views[version->slot].failures++;
    return true;
}

uint64_t canary_pause_ms(const struct source *source, const struct version *version)
{
    const struct canary *canary = &version->held[source->index].canary;
    uint64_t pause = TICK_MS, most = source->ring->settings.config->health.canary_interval_ms;
    if (canary->failures == 0) {
        return 0;
    }
    for (unsigned i = 1; i < canary->failures && pause < most; i++) {
        pause *= 2;
    }
    return canary->failed_ms + (pause < most ? pause : most);
}
