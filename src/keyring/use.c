/*
 * Which versions are still in use, and which of them nobody opens.
 *
 * What kekd and the API servers have in memory hides for hours or days that an older version opens no more, until one
 * of them is restarted.  So each version that this node has a witness of is in use until it was given up in order.
 */
#include "keyring/ring.h"

#include <stdio.h>

/* In order means: suspended on all first, so that whoever misses it resumes it, and then destroyed. */
bool version_is_in_use(const struct kek_keyring *ring, const struct version *version)
{
    struct kek_keyring_history history;
    history_copy(ring, version, &history);
    return version->agreed && (!history_is_given_up(&history) || version == version_primary(ring) ||
                               version_is_present(ring, version));
}

bool version_fails_on(const struct source *source, const struct version *version)
{
    const struct holding *holding = &version->held[source->index];
    const struct member *member;
    if (!holding->unwraps || holding->canary.failures < CANARY_FAILURES) {
        return false;
    }
    DL_FOREACH (source->members, member) {
        const struct view *view = &member->views[version->slot];
        if (!member->ended && view->witness == OPENED && view->failures == 0) {
            return false; /* it is asked next */
        }
    }
    return true;
}

const struct member *version_failing_worker(const struct source *source,
                                            const struct version *version)
{
    const struct member *member;
    DL_FOREACH (source->members, member) {
        const struct view *view = &member->views[version->slot];
        if (!member->ended && view->failures >= CANARY_FAILURES && view->witness != FAILED &&
            view_may(view, KEK_POOL_UNWRAP)) {
            return member;
        }
    }
    return NULL;
}

/* How the provider stands to it; NULL: it opens there, or what it says is not final. */
static const char *closed_on(const struct source *source, const struct version *version)
{
    const struct holding *holding = &version->held[source->index];
    if (version_fails_on(source, version)) {
        return "does not open it";
    }
    bool closed = holding->known && (holding->settled || holding->closed) && !holding->unwraps;
    return closed ? kek_keyring_key_name(holding->key) : NULL;
}

bool version_is_lost(const struct kek_keyring *ring, const struct version *version, char *words,
                     size_t size)
{
    size_t len = 0;
    for (size_t p = 0; p < ring->source_count; p++) {
        const char *word = closed_on(&ring->sources[p], version);
        if (word == NULL) {
            return false;
        }
        int more = snprintf(words + len, size - len, "%s%s: %s", p > 0 ? ", " : "",
                            source_name(&ring->sources[p]), word);
        len = more < 0 || (size_t)more >= size - len ? size - 1 : len + (size_t)more;
    }
    return !version_is_suspended(ring, version);
}
