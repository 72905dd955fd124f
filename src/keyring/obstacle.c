/*
 * What keeps a version from being announced, in words: the first that is missing of what primary.c asks for.
 */
#include "keyring/ring.h"

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
    verdict->provider = fails;
    verdict_say(verdict, "remove the wrong key, or take its provider out of the configuration",
                "workers hold different keys under the name of version %u (%s against %s), and no "
                "record of this node says which is right",
                version->number, source_name(&ring->sources[fails]),
                source_name(&ring->sources[opens]));
}

void obstacle_two_keys(const struct kek_keyring *ring, const struct version *version,
                       const struct version *other, struct kek_keyring_verdict *verdict)
{
    size_t at = version_active_on(ring, version), other_at = version_active_on(ring, other);
    char ids[2][KEK_ID_TEXT], todo[sizeof verdict->todo];
    /* The same advice on every node, whichever of them it has announced: two that retire one each would end
     * with none. */
    const struct version *larger =
        memcmp(version->id.bytes, other->id.bytes, KEK_ID_LEN) < 0 ? other : version;
    kek_id_format(&version->id, ids[0]);
    kek_id_format(&other->id, ids[1]);
    snprintf(todo, sizeof todo,
             "retire kek id %s on every provider, or the other one if all nodes announce this",
             ids[larger == other]);
    verdict->version = version->number;
    if (at == other_at || at == ring->source_count || other_at == ring->source_count) {
        verdict_say(verdict, todo, "two keys are active as version %u (kek ids %s and %s)",
                    version->number, ids[0], ids[1]);
        return;
    }
    verdict_say(verdict, todo, "%s and %s each have a v%u of their own (kek ids %s and %s)",
                source_name(&ring->sources[at]), source_name(&ring->sources[other_at]),
                version->number, ids[0], ids[1]);
}

/* Without a record every provider counts. */
static bool say_silent(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    for (size_t p = 0; p < ring->source_count && !ring->announced; p++) {
        const struct source *source = &ring->sources[p];
        if (!source_answers(source) && !source_starting(source)) {
            verdict->provider = p;
            verdict_say(verdict, "bring it back, or take it out of the configuration",
                        "provider %s does not answer, and this node has no record yet by which to "
                        "know the right key without it",
                        source_name(source));
            return true;
        }
    }
    return false;
}

/* A version that one provider has active, and another has not. */
static bool say_behind(const struct kek_keyring *ring, const struct version *version,
                       struct kek_keyring_verdict *verdict)
{
    size_t ahead = version_active_on(ring, version);
    for (size_t p = 0; p < ring->source_count && ahead < ring->source_count; p++) {
        if (source_answers(&ring->sources[p]) && !version->held[p].active) {
            bool suspended = version->held[p].key == KEK_KEYRING_KEY_SUSPENDED;
            verdict->provider = p;
            verdict_say(verdict,
                        suspended ? ring_todo(ring, "resume it there: ", "key resume", "").text
                                  : "bring that provider up to date, or take it out of the "
                                    "configuration",
                        "KEK version %u is active on provider %s and not on %s", version->number,
                        source_name(&ring->sources[ahead]), source_name(&ring->sources[p]));
            return true;
        }
    }
    return false;
}

/* Another token, or one on which nothing is left of what this node knows. */
static bool say_unknown(const struct kek_keyring *ring, struct kek_keyring_verdict *verdict)
{
    if (!ring->announced || ring_vouches(ring)) {
        return false;
    }
    verdict_say(verdict,
                "compare the tokens' serials and labels; where all was destroyed on purpose while "
                "this node was away: docs/operations.md, After a loss",
                "no HSM that answers shows a KEK version that is on record here, so none that it "
                "does show is taken: it may be the wrong token");
    return true;
}

/* One that uses a wrong key for another version is not asked to agree on this one. */
static bool say_unproven(const struct kek_keyring *ring, const struct version *version,
                         struct kek_keyring_verdict *verdict)
{
    size_t trusted = 0;
    for (size_t p = 0; p < ring->source_count; p++) {
        const struct member *member;
        DL_FOREACH (ring->sources[p].members, member) {
            bool counts = member_trusted(member);
            trusted += counts;
            if (counts && member->views[version->slot].witness != OPENED) {
                verdict->provider = p;
                verdict_say(verdict, "see the log for what its workers meet",
                            "not every worker of provider %s has proven KEK version %u",
                            source_name(&ring->sources[p]), version->number);
                return true;
            }
        }
    }
    if (trusted == 0) {
        verdict_say(verdict, "mend the other version first",
                    "every worker that could prove KEK version %u uses a different key under the "
                    "name of another version",
                    version->number);
    }
    return trusted == 0;
}

void obstacle_say(const struct kek_keyring *ring, const struct version *version,
                  struct kek_keyring_verdict *verdict)
{
    const struct version *other = version_namesake(ring, version);
    verdict->version = version->number;
    if (version_disputed(ring, version)) {
        say_dispute(ring, version, verdict);
        return;
    }
    if (other != NULL && (version->surplus || !version_is_active_on_all(ring, version))) {
        obstacle_two_keys(ring, version, other, verdict);
        return;
    }
    if (say_silent(ring, verdict) || say_behind(ring, version, verdict) ||
        say_unproven(ring, version, verdict) || say_unknown(ring, verdict)) {
        return;
    }
    if (version_unattested(ring, version)) {
        verdict_say(verdict, ring_todo(ring, "", "key attest", " says what of it does not").text,
                    "KEK version %u has no attestation that holds, and `attestation` requires one",
                    version->number);
        return;
    }
    if (version->ready_ms == 0) {
        verdict_say(verdict, "see the log for what its workers meet",
                    "KEK version %u is not proven on every provider", version->number);
    } else if (ring->now_ms - version->ready_ms < ring->settings.config->settle_ms) {
        verdict_say(verdict, "", "KEK version %u is proven, and waits for `settle` to pass",
                    version->number);
    } else if (!version->prepared) {
        verdict_say(verdict, "see the log for what its workers meet",
                    "no data key was wrapped under KEK version %u yet", version->number);
    } else if (!home_is_here(ring)) {
        bool removed = ring->home.is == HOME_REMOVED;
        verdict_say(verdict,
                    removed ? "make it again, empty and for kekd's user" : "bring that folder back",
                    "KEK version %u waits until state_dir %s is the folder again that kekd locked",
                    version->number, ring->settings.config->state_dir);
    } else {
        verdict_say(verdict, "see whether the disk of state_dir is full",
                    "KEK version %u is not on record yet", version->number);
    }
}
