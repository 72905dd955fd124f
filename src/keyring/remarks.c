/*
 * What is to be mended although this node serves: a state_dir that was replaced, a provider that does not answer, one that uses a wrong key or
 * lacks a version or fails to open one, a version that opens nowhere, two keys of one number, a version that waits to
 * be announced.
 *
 * The list is worked out anew each turn; what was on it before keeps its time.  What ends by itself while keys
 * are made, activated and replicated counts once it has lasted as long as that may take: settle and a refresh.
 */
#include "keyring/ring.h"

#include <string.h>
#include <time.h>

#include "kek/clock.h"
#include "kek/text.h"

static const struct {
    const char *name;
    bool late;   /* it may be no more than work under way */
    bool logged; /* here; of the others the pool and the judge have told already */
} kinds[] = {
    [KEK_KEYRING_NO_REMARK] = {"none", false, false},
    [KEK_KEYRING_STATE_DIR_REPLACED] = {"state_dir_replaced", false,
                                        false}, /* once for all roots */
    [KEK_KEYRING_PROVIDER_DOWN] = {"provider_down", false, false},
    [KEK_KEYRING_WRONG_KEY] = {"wrong_key", false, false},
    [KEK_KEYRING_TWO_KEYS] = {"two_keys", false, true},
    [KEK_KEYRING_COMPROMISED] = {"compromised", false, true},
    [KEK_KEYRING_SUSPENDED] = {"suspended", false, true},
    [KEK_KEYRING_DESTRUCTION_SCHEDULED] = {"destruction_scheduled", false, true},
    [KEK_KEYRING_UNATTESTED] = {"unattested", false, true},
    [KEK_KEYRING_VERSION_LOST] = {"version_lost", false, true},
    [KEK_KEYRING_CANARY_FAILED] = {"canary_failed", false, true},
    [KEK_KEYRING_VERSION_BACK] = {"version_back", false, true},
    [KEK_KEYRING_VERSION_LACKING] = {"version_lacking", true, true},
    [KEK_KEYRING_VERSION_WAITS] = {"version_waits", true, true},
    [KEK_KEYRING_UNDER_PROTECTED] = {"under_protected", false, true},
    /* Of all keyrings, so never one's own: */
    [KEK_KEYRING_ROOT_OUT] = {"root_out", false, false},
    [KEK_KEYRING_ROOT_NOT_NEEDED] = {"root_not_needed", false, false},
    [KEK_KEYRING_SOCKET_GONE] = {"socket_gone", false, false},
};

const char *kek_keyring_remark_name(enum kek_keyring_remark remark)
{
    return kinds[remark].name;
}

static struct remark *find(struct kek_keyring *ring, enum kek_keyring_remark kind, uint32_t version,
                           size_t provider)
{
    for (size_t i = 0; i < ring->remark_count; i++) {
        const struct kek_keyring_verdict *is = &ring->remarks[i].is;
        if (is->remark == kind && ring->remarks[i].version == version &&
            ring->remarks[i].provider == provider) {
            return &ring->remarks[i];
        }
    }
    return NULL;
}

/* It is so in this turn.  Returned to be worded. */
static struct kek_keyring_verdict *note(struct kek_keyring *ring, enum kek_keyring_remark kind,
                                        uint32_t version, size_t provider)
{
    struct remark *remark = find(ring, kind, version, provider);
    if (remark == NULL) {
        remark = &ring->remarks[ring->remark_count];
        *remark = (struct remark){
            .version = version,
            .provider = provider,
            .is = {.remark = kind, .since_ms = ring->now_ms},
        };
        ring->remark_count += ring->remark_count < KEK_KEYRING_REMARKS_MAX;
    }
    remark->seen = true;
    remark->is.version = version;
    remark->is.provider = provider;
    return &remark->is;
}

static bool stands(const struct kek_keyring *ring, const struct remark *remark)
{
    const struct kek_config *config = ring->settings.config;
    uint64_t wait = kinds[remark->is.remark].late ? config->settle_ms + config->refresh_ms : 0;
    return ring->now_ms - remark->is.since_ms >= wait;
}

/* ---- what there is to remark ---- */

static void note_provider(struct kek_keyring *ring, size_t p)
{
    const struct source *source = &ring->sources[p];
    struct kek_pool_provider status;
    bool was_down = find(ring, KEK_KEYRING_PROVIDER_DOWN, 0, p) != NULL;
    /* Where nobody answers, the verdict says so. */
    if (ring_answering(ring) == 0 || source_answers(source) ||
        (source_starting(source) && !was_down)) {
        return;
    }
    kek_pool_provider_get(ring->settings.pool, p, &status);
    struct kek_keyring_verdict *is = note(ring, KEK_KEYRING_PROVIDER_DOWN, 0, p);
    if (source->broken) {
        verdict_say(is, "see the log for what its probe met",
                    "the last probe of provider %s failed", source_name(source));
    } else if (status.why.rc != KEK_OK) {
        verdict_say(is, "mend it before another one goes", "one provider does not answer: %s",
                    status.why.text);
    }
}

static void note_wrong(struct kek_keyring *ring, const struct version *version, size_t p)
{
    const struct source *source = &ring->sources[p];
    const struct member *member;
    const char *said = version->held[p].canary.why;
    DL_FOREACH (source->members, member) {
        if (version->agreed && member->views[version->slot].witness == FAILED) {
            struct kek_keyring_verdict *is = note(ring, KEK_KEYRING_WRONG_KEY, version->number, p);
            is->worker = member->serial;
            verdict_say(
                is, "find out which member of the HSM group has another key",
                "%s of provider %s uses a different key under the name of KEK version %u, or "
                "cannot use it%s%s",
                version->held[p].proven ? "a worker" : "every worker", source_name(source),
                version->number, said[0] == '\0' ? "" : ": ", said);
        }
    }
}

/* One that answers may not do with it what another may: unwrap, or wrap under the primary. */
static void note_lacking(struct kek_keyring *ring, const struct version *version, size_t p)
{
    const struct holding *holding = &version->held[p];
    bool by_wrap = version == version_primary(ring) && holding->unwraps;
    bool may = by_wrap ? holding->wraps : holding->unwraps;
    size_t has = 0;
    while (has < ring->source_count &&
           !(by_wrap ? version->held[has].wraps : version->held[has].unwraps)) {
        has++;
    }
    if (has < ring->source_count && source_answers(&ring->sources[p]) && holding->settled && !may &&
        holding->wrong == 0) {
        const char *what = by_wrap ? "may wrap" : holding->present ? "may unwrap" : "is";
        verdict_say(note(ring, KEK_KEYRING_VERSION_LACKING, version->number, p),
                    "finish its replication, or set the key's state alike on both",
                    "KEK version %u %s on provider %s and not on %s", version->number, what,
                    source_name(&ring->sources[has]), source_name(&ring->sources[p]));
    }
}

/* What is to be destroyed is not to be mended, unless somebody asks for it. */
static void note_suspended(struct kek_keyring *ring, const struct version *version)
{
    struct kek_keyring_history history;
    history_copy(ring, version, &history);
    if (version_is_quarantined(ring, version)) {
        return;
    }
    verdict_say(note(ring, KEK_KEYRING_SUSPENDED, version->number, KEK_POOL_ANY),
                ring_todo(ring, "", "key resume",
                          " gives it its use back; restart no API server before, for what it has "
                          "in memory still opens")
                    .text,
                history.asked > 0 ? "KEK version %u is suspended, and was asked for: nothing that "
                                    "it sealed opens"
                                  : "KEK version %u is suspended: nothing that it sealed opens",
                version->number);
}

static void note_use(struct kek_keyring *ring, const struct version *version)
{
    if (version->compromised && version_is_present(ring, version)) {
        verdict_say(note(ring, KEK_KEYRING_COMPROMISED, version->number, KEK_POOL_ANY),
                    "seal anew what it sealed, and destroy it", "KEK version %u is compromised",
                    version->number);
    } else if (version != version_primary(ring) && version_is_suspended(ring, version)) {
        note_suspended(ring, version);
    }
}

static void note_back(struct kek_keyring *ring, const struct version *version, size_t p)
{
    if (version->back && version->held[p].present) {
        verdict_say(note(ring, KEK_KEYRING_VERSION_BACK, version->number, p),
                    ring_todo(ring, "", "key destroy",
                              " ends it there too, unless it was restored to open what it sealed")
                        .text,
                    "KEK version %u, which was destroyed, is back on %s: its token was restored "
                    "from a backup that has the key",
                    version->number, source_name(&ring->sources[p]));
    }
}

/* Its provider destroys it by itself, at a time that it says. */
static void note_destruction(struct kek_keyring *ring, const struct version *version, size_t p)
{
    const struct member *member;
    int64_t destroy_s = 0;
    DL_FOREACH (ring->sources[p].members, member) {
        const struct view *view = &member->views[version->slot];
        destroy_s = view->present && view->destroy_s != 0 ? view->destroy_s : destroy_s;
    }
    time_t at = (time_t)destroy_s;
    struct tm tm;
    char date[32];
    if (destroy_s == 0 || version_is_quarantined(ring, version) || gmtime_r(&at, &tm) == NULL ||
        strftime(date, sizeof date, "%Y-%m-%d %H:%M UTC", &tm) == 0) {
        return;
    }
    verdict_say(note(ring, KEK_KEYRING_DESTRUCTION_SCHEDULED, version->number, p),
                "take the schedule back at the provider and enable the version, unless kekctl "
                "inventory finds nothing under it",
                "provider %s destroys KEK version %u at %s: what it sealed is lost then",
                source_name(&ring->sources[p]), version->number, date);
}

/* Of what is sealed under, or may be next. One that is required keeps it from being announced, and is told as what it
 * waits for. */
static void note_attestation(struct kek_keyring *ring, const struct version *version, size_t p)
{
    enum kek_attestation attestation = version_attestation(&ring->sources[p], version);
    bool leads = version == version_primary(ring);
    if ((attestation == KEK_ATTESTATION_WANTED && (leads || version_is_newer(ring, version))) ||
        (attestation == KEK_ATTESTATION_REQUIRED && leads)) {
        verdict_say(note(ring, KEK_KEYRING_UNATTESTED, version->number, p),
                    ring_todo(ring, "", "key attest", " says what of it does not").text,
                    "KEK version %u of provider %s has no attestation that holds, or it could not "
                    "be fetched",
                    version->number, source_name(&ring->sources[p]));
    }
}

/* Of the primary the verdict says it, and the probe. */
static void note_lost(struct kek_keyring *ring, const struct version *version)
{
    char words[KEK_WHY_TEXT];
    if (version != version_primary(ring) && version_is_in_use(ring, version) &&
        ring_answering(ring) > 0 && version_is_lost(ring, version, words, sizeof words)) {
        verdict_say(note(ring, KEK_KEYRING_VERSION_LOST, version->number, KEK_POOL_ANY),
                    "restart neither kekd nor an API server; bring the key back from the token's "
                    "backup, then kekctl key list",
                    "KEK version %u opens on no HSM (%s): what it sealed is read from memory alone",
                    version->number, words);
    }
}

/* Its token shows the key, fit to unwrap, and so no list tells. */
static void note_canary(struct kek_keyring *ring, const struct version *version, size_t p)
{
    const struct source *source = &ring->sources[p];
    const struct member *member = version_failing_worker(source, version);
    bool all = version_fails_on(source, version);
    if (!all && member == NULL) {
        return;
    }
    struct kek_keyring_verdict *is = note(ring, KEK_KEYRING_CANARY_FAILED, version->number, p);
    is->worker = all ? 0 : member->serial;
    verdict_say(is,
                "restart neither kekd nor an API server, whose memory may hide it; mend the key on "
                "that HSM, then kekctl key list",
                "%s of provider %s fails to open KEK version %u: %s",
                all ? "every worker" : "a worker", source_name(source), version->number,
                kek_text_after_name(version->held[p].canary.why, source_name(source)));
}

static void note_version(struct kek_keyring *ring, const struct version *version)
{
    const struct version *other = version_namesake(ring, version);
    bool waits = version_is_newer(ring, version) && version_is_active(ring, version);
    note_use(ring, version);
    note_lost(ring, version);
    if (waits && !version->surplus) {
        obstacle_say(ring, version,
                     note(ring, KEK_KEYRING_VERSION_WAITS, version->number, KEK_POOL_ANY));
    }
    if (other != NULL && !version->surplus && version_is_active(ring, version)) {
        obstacle_two_keys(ring, version, other,
                          note(ring, KEK_KEYRING_TWO_KEYS, version->number, KEK_POOL_ANY));
    }
    for (size_t p = 0; p < ring->source_count; p++) {
        note_wrong(ring, version, p);
        note_destruction(ring, version, p);
        note_attestation(ring, version, p);
        note_canary(ring, version, p);
        note_back(ring, version, p);
        if (other == NULL && !waits && !version->back) {
            note_lacking(ring, version, p);
        }
    }
}

void remarks_lapse(struct kek_keyring *ring)
{
    char since[KEK_CLOCK_TEXT], until[KEK_CLOCK_TEXT];
    if (lapse_is_over(ring)) {
        int64_t until_ms = lapse_until(ring), since_ms = ring->lapse.since_ms;
        verdict_say(note(ring, KEK_KEYRING_UNDER_PROTECTED, 0, KEK_POOL_ANY),
                    "rewrite it: kekctl reencrypt; then kekctl inventory, which ends this once "
                    "nothing lacks it",
                    "what was sealed from %s to %s may not open by this root of trust",
                    kek_clock_text_seconds(since_ms < until_ms ? since_ms : until_ms, since),
                    kek_clock_text_seconds(until_ms, until));
    }
}

static void note_home(struct kek_keyring *ring)
{
    if (!home_is_here(ring)) {
        home_say(ring, note(ring, KEK_KEYRING_STATE_DIR_REPLACED, 0, KEK_POOL_ANY));
    }
}

/* ---- telling ---- */

static void tell(struct kek_keyring *ring, struct remark *remark)
{
    char text[sizeof remark->is.what + sizeof remark->is.todo + 2];
    bool waits = remark->is.remark == KEK_KEYRING_VERSION_WAITS;
    /* What keeps the first primary from being announced is the verdict, and told as that. */
    bool new = remark->told[0] == '\0' ||
               (strcmp(remark->told, remark->is.what) != 0 &&
                ring->now_ms - remark->told_ms >= ring->settings.config->refresh_ms);
    if (!kinds[remark->is.remark].logged || (waits && !ring->announced) || !new) {
        return;
    }
    memcpy(remark->told, remark->is.what, sizeof remark->told);
    remark->told_ms = ring->now_ms;
    kek_keyring_verdict_text(&remark->is, text, sizeof text);
    ring_notice(ring, KEK_LOG_WARN, "%s%s",
                waits ? "a version is active and not announced: " : "to be mended: ", text);
}

/* It is no more remarked for now, since there will be more of it. */
static bool grows(const struct kek_keyring *ring, const struct remark *remark)
{
    return remark->is.remark == KEK_KEYRING_UNDER_PROTECTED && lapse_goes_on(ring);
}

void remarks_drive(struct kek_keyring *ring)
{
    const struct version *version;
    size_t kept = 0;
    for (size_t i = 0; i < ring->remark_count; i++) {
        ring->remarks[i].seen = false;
    }
    note_home(ring); /* the first, so that there is room for it */
    for (size_t p = 0; p < ring->source_count; p++) {
        note_provider(ring, p);
    }
    DL_FOREACH (ring->versions, version) {
        note_version(ring, version);
    }
    remarks_lapse(ring);
    for (size_t i = 0; i < ring->remark_count; i++) {
        struct remark *remark = &ring->remarks[i];
        if (remark->seen && stands(ring, remark)) {
            tell(ring, remark);
        } else if (!remark->seen && remark->told[0] != '\0' && !grows(ring, remark)) {
            ring_notice(ring, KEK_LOG_INFO, "no longer so: %s", remark->told);
        }
        if (remark->seen) {
            ring->remarks[kept++] = *remark;
        }
    }
    ring->remark_count = kept;
}

size_t kek_keyring_remarks(const struct kek_keyring *ring, struct kek_keyring_verdict *remarks,
                           size_t max)
{
    size_t count = 0;
    for (size_t i = 0; i < ring->remark_count && count < max; i++) {
        if (stands(ring, &ring->remarks[i])) {
            remarks[count++] = ring->remarks[i].is;
        }
    }
    return count;
}
