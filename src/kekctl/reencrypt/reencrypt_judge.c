/* Is it the time to rewrite anything, by what the nodes said? Pure. */
#include "reencrypt_guard.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kekctl/rotate/rotation.h"

static const char *name_of(const struct node *node)
{
    return node->reachable && node->status.node[0] != '\0' ? node->status.node : node->name;
}

bool guard_is_well(const struct node_status *status)
{
    return strcmp(status->health, "good") == 0 || strcmp(status->health, "ok") == 0;
}

static enum guard_verdict say(enum guard_verdict verdict, struct kek_why *why, const char *format,
                              ...) KEK_PRINTF(3, 4);

static enum guard_verdict say(enum guard_verdict verdict, struct kek_why *why, const char *format,
                              ...)
{
    char text[KEK_WHY_TEXT];
    va_list args;
    va_start(args, format);
    vsnprintf(text, sizeof text, format, args);
    va_end(args);
    kek_fail(why, KEK_PRECONDITION, "%s", text);
    return verdict;
}

/* One node, against the first. */
static enum guard_verdict judge_one(const struct node *node, const struct node *first,
                                    const char *keyring, struct kek_why *why)
{
    const struct node_status *status = &node->status;
    const char *name = name_of(node);
    if (!node->reachable) {
        return say(GUARD_WAIT, why,
                   "%s does not answer, and its API server may still write under an older key "
                   "(--without leaves a node out that is down with its API server): %s",
                   name, node->why.text);
    }
    if (strcmp(status->keyring, keyring) != 0) {
        return say(GUARD_REFUSED, why, "%s serves keyring %s, and this configuration %s", name,
                   status->keyring, keyring);
    }
    if (!guard_is_well(status)) {
        return say(GUARD_WAIT, why, "kekd of %s is not well: %s", name,
                   status->what[0] != '\0' ? status->what : status->health);
    }
    if (!status->announces) {
        return say(GUARD_WAIT, why, "%s announces no key yet", name);
    }
    if (strcmp(status->primary.key_id, first->status.primary.key_id) != 0) {
        return say(GUARD_WAIT, why,
                   "%s announces version %" PRIu32 " and %s version %" PRIu32
                   ": what one API server rewrites would be under the older of them",
                   name_of(first), first->status.primary.version, name, status->primary.version);
    }
    return GUARD_GOOD;
}

/* By our clock: since when its API server can have heard of the key. 0: not known. */
static int64_t since_of(const struct node *node, int64_t record_ms)
{
    const struct node_status *status = &node->status;
    int64_t there =
        status->primary.announced_ms > 0 ? status->primary.announced_ms : status->since_ms;
    if (there > 0) {
        return there - node->skew_ms;
    }
    return status->partial ? record_ms : 0;
}

int64_t guard_needed_ms(const struct kek_config *config, bool is_blind)
{
    uint64_t looks =
        is_blind ? ROTATION_LOOKS : 1; /* until a kekd has seen a change, even by a cache */
    return (int64_t)(config->settle_ms + looks * config->refresh_ms) + REENCRYPT_API_SERVER_MS;
}

enum guard_verdict guard_judge(const struct node *nodes, size_t count, const bool *left_out,
                               const char *keyring, int64_t needed_ms, int64_t now_ms,
                               int64_t record_ms, int64_t *wait_ms, struct kek_why *why)
{
    const struct node *first = NULL;
    *wait_ms = 0;
    for (size_t i = 0; i < count; i++) {
        if (left_out[i]) {
            continue;
        }
        first = first == NULL ? &nodes[i] : first;
        enum guard_verdict verdict = judge_one(&nodes[i], first, keyring, why);
        if (verdict != GUARD_GOOD) {
            return verdict;
        }
        int64_t since = since_of(&nodes[i], record_ms);
        int64_t left = since == 0 ? needed_ms : since + needed_ms - now_ms;
        if (left > *wait_ms) {
            *wait_ms = left > needed_ms ? needed_ms : left;
            (void)say(GUARD_WAIT, why,
                      "%s announces its key since %s; an API server may write under the one before "
                      "until %" PRId64 " s from now",
                      name_of(&nodes[i]), since == 0 ? "an unknown time" : "a short time",
                      (*wait_ms + 999) / 1000);
        }
    }
    if (first == NULL) {
        return say(GUARD_REFUSED, why, "every node was left out");
    }
    return *wait_ms > 0 ? GUARD_WAIT : GUARD_GOOD;
}
