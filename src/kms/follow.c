/* Which generation an Encrypt takes after a change, and which ones any may still take. */
#include "kms/call.h"

#include <string.h>

#include "kek/clock.h"

/* How long after a change an Encrypt still follows its own connection's last Status: the API server
 * takes a new seed only if Encrypt's key_id is the one Status gave it. */
#define FOLLOW_STATUS_MS 90000u
/* What began within that time may end as much later as a call may last. */
#define CALL_MS 10000u

static struct told *find_told(struct kek_kms *kms, const struct kek_generation *generation)
{
    for (size_t i = kms->told_count; i > 0; i--) {
        if (kek_generation_equal(&kms->told[i - 1].generation, generation)) {
            return &kms->told[i - 1];
        }
    }
    return NULL;
}

static void take_out(struct kek_kms *kms, size_t at)
{
    kms->told_count--;
    memmove(&kms->told[at], &kms->told[at + 1], (kms->told_count - at) * sizeof kms->told[0]);
}

/* It is announced now, and every other one no more.  Nothing is told or taken but what was met here, so that none of them
 * left later than this one came. */
static void meet(struct kek_kms *kms, const struct kek_keyring_primary *primary)
{
    struct told *told = find_told(kms, &primary->generation);
    size_t last = kms->told_count - 1;
    if (told != NULL && told == &kms->told[last] && told->left_ms == 0) {
        return;
    }
    if (told != NULL) {
        take_out(kms, (size_t)(told - kms->told));
    } else if (kms->told_count == TOLD_MAX) {
        take_out(kms, 0);
    }
    for (size_t i = 0; i < kms->told_count; i++) {
        if (kms->told[i].left_ms == 0) {
            kms->told[i].left_ms = primary->since_ms;
        }
    }
    kms->told[kms->told_count++] = (struct told){.generation = primary->generation};
}

void follow_told(struct call *call, const struct kek_keyring_primary *primary)
{
    struct peer_room *room = (struct peer_room *)call->rpc->peer->room;
    room->said = true;
    room->generation = primary->generation;
    meet(call->kms, primary);
}

static bool is_within(uint64_t since_ms, uint64_t ms)
{
    return since_ms > 0 && kek_clock_ms() - since_ms < ms;
}

void follow_choose(const struct call *call, const struct kek_keyring_primary *primary,
                   struct kek_generation *generation)
{
    struct kek_kms *kms = call->kms;
    const struct peer_room *room = (const struct peer_room *)call->rpc->peer->room;
    *generation = primary->generation;
    meet(kms, primary);
    if (call->method != KEK_KMS_V2_ENCRYPT || !room->said || call->turns > 0 ||
        kek_generation_equal(&room->generation, &primary->generation)) {
        return;
    }
    const struct told *told = find_told(kms, &room->generation);
    if (told != NULL && is_within(told->left_ms, FOLLOW_STATUS_MS) &&
        kek_roots_wraps(kms->settings.roots, &room->generation, NULL) == KEK_OK) {
        *generation = room->generation;
    }
}

size_t kek_kms_sealing(const struct kek_kms *kms, struct kek_generation *generations, size_t max)
{
    struct kek_keyring_primary primary;
    size_t count = 0;
    if (max == 0 || !kek_roots_primary(kms->settings.roots, &primary)) {
        return 0;
    }
    generations[count++] = primary.generation;
    for (size_t i = kms->told_count; i > 0 && count < max; i--) {
        const struct told *told = &kms->told[i - 1];
        uint64_t left_ms = told->left_ms > 0 ? told->left_ms : primary.since_ms;
        if (!kek_generation_equal(&told->generation, &primary.generation) &&
            is_within(left_ms, FOLLOW_STATUS_MS + CALL_MS)) {
            generations[count++] = told->generation;
        }
    }
    return count;
}
