/* Which changes of a key's state lose nothing: the rules that are held before any of it is done. */
#include "changes.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "key_views.h"

/* One question of a rule. */
struct asked {
    const struct changes *changes;
    const struct keys *keys;
    const struct announced *announced;
    struct kek_why *why;
};

static const char *name_of(const struct asked *asked, size_t provider)
{
    return asked->keys->config->providers[provider].name;
}

static const struct kek_version *key_on(const struct asked *asked, size_t provider)
{
    return view_find(asked->keys, provider, &asked->changes->kek_id);
}

static struct kek_command command(const struct asked *asked, const char *words)
{
    return kek_command(asked->keys->config->root, words);
}

static bool refuse(const struct asked *asked, const char *format, ...) KEK_PRINTF(2, 3);

static bool refuse(const struct asked *asked, const char *format, ...)
{
    char text[KEK_WHY_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    kek_fail(asked->why, KEK_PRECONDITION, "version %" PRIu32 " %s", asked->changes->number, text);
    return false;
}

/* Where it is, kekd must take it for a key, and it must be one. */
static bool is_fit(const struct asked *asked)
{
    for (size_t p = 0; p < asked->keys->config->provider_count; p++) {
        const struct listing *listing = &asked->keys->listings[p];
        const struct kek_version *key = key_on(asked, p);
        if (key != NULL && !key->eligible) {
            return refuse(asked,
                          "is refused by kekd on %s: %s; mend that key by the vendor's tools, or "
                          "see %s; remove it only if kekctl inventory finds nothing under it",
                          name_of(asked, p), key->refusal, command(asked, "key adopt").text);
        }
        for (size_t i = 0; i < listing->count; i++) {
            const struct kek_version *other = &listing->versions[i];
            if (key != NULL && other != key && kek_id_equal(&other->id, &key->id)) {
                return refuse(asked,
                              "is two keys with one CKA_ID on %s, %s and %.100s: remove the wrong "
                              "one by the vendor's tools",
                              name_of(asked, p), key->label, other->label);
            }
        }
    }
    return true;
}

/* On no provider may it be so. */
static bool is_nowhere(const struct asked *asked, enum kek_state state, const char *says)
{
    for (size_t p = 0; p < asked->keys->config->provider_count; p++) {
        const struct kek_version *key = key_on(asked, p);
        bool so =
            key != NULL && (state == KEK_STATE_COMPROMISED ? key->compromised : !key->can_unwrap);
        if (so) {
            return refuse(asked, "is %s on %s: %s", kek_state_name(state), name_of(asked, p), says);
        }
    }
    return true;
}

static bool is_everywhere(const struct asked *asked)
{
    for (size_t p = 0; p < asked->keys->config->provider_count; p++) {
        if (key_on(asked, p) == NULL) {
            return refuse(asked,
                          "is not on %s, which could not open what it seals: bring the key there "
                          "first",
                          name_of(asked, p));
        }
    }
    return true;
}

static bool is_not_announced(const struct asked *asked, const char *says)
{
    const char *node = announced_where(asked->announced, &asked->changes->kek_id);
    if (node != NULL) {
        return refuse(asked, "is in use, %s announces it or still seals under it: %s", node, says);
    }
    return true;
}

/* Is that version, not the one in question, active on every provider, and one that kekd may announce? */
static bool stands_in(const struct asked *asked, const struct kek_version *other)
{
    if (kek_id_equal(&other->id, &asked->changes->kek_id) ||
        other->number < announced_newest(asked->announced) ||
        view_surplus(asked->keys, other, asked->announced)) {
        return false;
    }
    for (size_t p = 0; p < asked->keys->config->provider_count; p++) {
        const struct kek_version *there = view_find(asked->keys, p, &other->id);
        if (there == NULL || !view_active(there)) {
            return false;
        }
    }
    return true;
}

/* What is taken out of use must leave a version that can be sealed under, the same on every provider. */
static bool is_not_the_last(const struct asked *asked)
{
    const struct listing *first = &asked->keys->listings[0];
    bool wraps = false, other = false;
    for (size_t p = 0; p < asked->keys->config->provider_count; p++) {
        const struct kek_version *key = key_on(asked, p);
        wraps = wraps || (key != NULL && key->can_wrap);
    }
    for (size_t i = 0; i < first->count; i++) {
        other = other || stands_in(asked, &first->versions[i]);
    }
    if (wraps && !other && asked->keys->config->provider_count == 1) {
        return refuse(asked, "is the only active one: promote another one first");
    }
    if (wraps && !other) {
        return refuse(asked,
                      "is needed, since no other version that kekd could seal under is active "
                      "on every provider: promote another one first");
    }
    return true;
}

static bool may_promote(const struct asked *asked)
{
    const struct kek_version *key = key_on(asked, 0);
    if (!is_everywhere(asked) ||
        !is_nowhere(asked, KEK_STATE_COMPROMISED, "it is never made active again") ||
        !is_nowhere(asked, KEK_STATE_SUSPENDED, "resume it first")) {
        return false;
    }
    uint32_t newest = announced_newest(asked->announced);
    if (asked->changes->number < newest) {
        return refuse(asked,
                      "is older than version %" PRIu32
                      ", which is announced, and a node never goes "
                      "back: %s makes a new one",
                      newest, command(asked, "key generate").text);
    }
    if (view_surplus(asked->keys, key, asked->announced)) {
        return refuse(asked,
                      "is also the number of another key, which stands, and kekd seals nothing "
                      "under this one: %s makes the next version",
                      command(asked, "key rotate").text);
    }
    return true;
}

/* By the first provider that shows it. */
static enum kek_state state_of(const struct asked *asked)
{
    size_t p = 0;
    while (key_on(asked, p) == NULL) {
        p++;
    }
    size_t i = (size_t)(key_on(asked, p) - asked->keys->listings[p].versions);
    return view_state(asked->keys, p, i, asked->announced);
}

/* A compromised one that is in quarantine opens again, and stays marked.  Where a provider does not answer, that is
 * what is left. */
static bool may_resume(const struct asked *asked)
{
    for (size_t p = 0; p < asked->keys->config->provider_count; p++) {
        const struct kek_version *key = key_on(asked, p);
        if ((key != NULL && !key->can_unwrap) || asked->keys->listings[p].rc != KEK_OK) {
            return true;
        }
    }
    if (!is_nowhere(asked, KEK_STATE_COMPROMISED, "it is not resumed")) {
        return false;
    }
    return refuse(asked, "is %s, not suspended on any provider: there is nothing to resume",
                  kek_state_name(state_of(asked)));
}

bool changes_allowed(const struct changes *changes, const struct announced *announced,
                     struct kek_why *why)
{
    static const char promote_first[] = "promote a newer one, and wait until no node does";
    const struct asked asked = {changes, changes->keys, announced, why};
    if (!is_fit(&asked)) {
        return false;
    }
    switch (changes->kind) {
    case CHANGE_PROMOTE:
        return may_promote(&asked);
    case CHANGE_RETIRE:
        return is_nowhere(&asked, KEK_STATE_COMPROMISED, "it stays so") &&
               is_nowhere(&asked, KEK_STATE_SUSPENDED, "resume it first") &&
               is_not_announced(&asked, promote_first) && is_not_the_last(&asked);
    case CHANGE_COMPROMISE:
        return is_not_announced(&asked, promote_first) && is_not_the_last(&asked);
    case CHANGE_SUSPEND:
        return is_nowhere(&asked, KEK_STATE_COMPROMISED, "it stays so") &&
               is_not_announced(&asked, promote_first) && is_not_the_last(&asked);
    case CHANGE_RESUME:
        break;
    }
    return may_resume(&asked);
}

bool changes_on_one_token(const struct changes *changes, const struct announced *announced)
{
    const struct keys *keys = changes->keys;
    size_t tokens = 0;
    bool others = announced->count > 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        const struct kek_version *key = view_find(keys, p, &changes->kek_id);
        for (size_t i = 0; i < listing->count; i++) {
            others = others || !kek_id_equal(&listing->versions[i].id, &changes->kek_id);
        }
        tokens += key != NULL && key->eligible && kek_pool_twin(keys->pool, p) > p;
    }
    return others && tokens < 2;
}
