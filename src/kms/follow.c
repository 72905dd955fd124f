/* Which generation an Encrypt takes after a change, and which ones any may still take. */
#include "kms/call.h"

#include <string.h>

#include "kek/clock.h"

/* How long after a change an Encrypt still follows its own connection's last Status: the API server
 * takes a new seed only if Encrypt's key_id is the one Status gave it. */
#define FOLLOW_STATUS_MS 90000u
/* What began within that time may end as much later as a call may last. */
#define CALL_MS 10000u

static bool was_told(const struct kek_kms *kms, const struct kek_generation *generation)
{
    for (size_t i = kms->told_count; i > 0; i--) {
        if (kek_generation_equal(&kms->told[i - 1], generation)) {
            return true;
        }
    }
    return false;
}

static void remember(struct kek_kms *kms, const struct kek_generation *generation)
{
    if (was_told(kms, generation)) {
        return;
    }
    if (kms->told_count == TOLD_MAX) {
        kms->told_count--;
        memmove(&kms->told[0], &kms->told[1], kms->told_count * sizeof kms->told[0]);
    }
    kms->told[kms->told_count++] = *generation;
}

void follow_told(struct call *call, const struct kek_generation *generation)
{
    struct peer_room *room = (struct peer_room *)call->rpc->peer->room;
    room->said = true;
    room->generation = *generation;
    remember(call->kms, generation);
}

static bool has_changed_within(const struct kek_keyring_primary *primary, uint64_t ms)
{
    return primary->since_ms > 0 && kek_clock_ms() - primary->since_ms < ms;
}

void follow_choose(const struct call *call, const struct kek_keyring_primary *primary,
                   struct kek_generation *generation)
{
    struct kek_kms *kms = call->kms;
    const struct peer_room *room = (const struct peer_room *)call->rpc->peer->room;
    *generation = primary->generation;
    if (call->method == KEK_KMS_V2_ENCRYPT && room->said &&
        !kek_generation_equal(&room->generation, &primary->generation) &&
        has_changed_within(primary, FOLLOW_STATUS_MS) && was_told(kms, &room->generation) &&
        kek_keyring_wraps(kms->settings.ring, &room->generation, NULL) == KEK_OK) {
        *generation = room->generation;
    }
    remember(kms, generation);
}

size_t kek_kms_sealing(const struct kek_kms *kms, struct kek_generation *generations, size_t max)
{
    struct kek_keyring_primary primary;
    size_t count = 0;
    if (max == 0 || !kek_keyring_primary(kms->settings.ring, &primary)) {
        return 0;
    }
    generations[count++] = primary.generation;
    if (!has_changed_within(&primary, FOLLOW_STATUS_MS + CALL_MS)) {
        return count;
    }
    for (size_t i = 0; i < kms->told_count && count < max; i++) {
        if (!kek_generation_equal(&kms->told[i], &primary.generation)) {
            generations[count++] = kms->told[i];
        }
    }
    return count;
}
