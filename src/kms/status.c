/* Status and Version: answered from memory. */
#include "kms/call.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

/* What providers say of themselves may be in any bytes: a client takes UTF-8 only, and one that fails to
 * read a Status stops writing. */
static enum kek_rc say(char *text, size_t size, const char *what, const char *todo)
{
    char whole[KEK_KMS_HEALTHZ_MAX];
    snprintf(whole, sizeof whole, "%s%s%s", what, todo[0] == '\0' ? "" : "; ", todo);
    kek_text_copy(text, size, whole);
    return KEK_OK;
}

enum kek_rc kek_kms_healthz(const struct kek_kms *kms, char *text, size_t size, struct kek_why *why)
{
    struct kek_keyring_verdict verdict;
    struct kek_keyring_primary primary;
    struct kek_why none;
    kek_keyring_verdict(kms->settings.ring, &verdict);
    bool announced = kek_keyring_primary(kms->settings.ring, &primary);
    if (!announced || verdict.state == KEK_KEYRING_STARTING) {
        return kek_fail(why, KEK_UNAVAILABLE, "%s", verdict.what);
    }
    if (verdict.state == KEK_KEYRING_LOSS) {
        return kek_fail(why, KEK_PRECONDITION, "%s", verdict.what);
    }
    bool seals = kek_datakey_can_seal(kms->settings.store, &primary.generation);
    if (verdict.state == KEK_KEYRING_OUTAGE) {
        uint64_t age = kek_clock_ms() - verdict.since_ms;
        bool bridged = seals && age < kms->settings.config->health.grace_ms;
        return bridged ? say(text, size, "ok", "") : say(text, size, verdict.what, verdict.todo);
    }
    if (seals) {
        return say(text, size, "ok", "");
    }
    if (verdict.state == KEK_KEYRING_SHUT) {
        return say(text, size, verdict.what, verdict.todo);
    }
    enum kek_rc rc = kek_keyring_wraps(kms->settings.ring, &primary.generation, &none);
    return say(text, size, rc == KEK_OK ? "ok" : none.text, "");
}

void call_status(struct call *call)
{
    char healthz[KEK_KMS_HEALTHZ_MAX];
    struct kek_why why;
    struct kek_keyring_primary primary = {0};
    enum kek_rc rc = kek_kms_healthz(call->kms, healthz, sizeof healthz, &why);
    if (rc != KEK_OK) {
        call_fail(call, rc, &why);
        return;
    }
    (void)kek_keyring_primary(call->kms->settings.ring, &primary);
    const struct kek_generation *generation = &primary.generation;
    struct peer_room *room = (struct peer_room *)call->rpc->peer->room;
    room->said = true;
    room->generation = *generation;
    memcpy(call->key_id, generation->key_id, sizeof call->key_id);
    KEK_AUTO_BUF struct kek_buf message;
    kek_buf_init(&message, KEK_KMS_HEALTHZ_MAX + 128);
    if (!message_write_status(healthz, generation->key_id, &message)) {
        kek_fail(&why, KEK_NO_MEMORY, "no memory for the answer");
        call_fail(call, KEK_NO_MEMORY, &why);
        return;
    }
    call_reply(call, kek_buf_bytes(&message));
}

void call_version(struct call *call)
{
    struct kek_why why;
    KEK_AUTO_BUF struct kek_buf message;
    kek_buf_init(&message, 128);
    if (!message_write_version(&message)) {
        kek_fail(&why, KEK_NO_MEMORY, "no memory for the answer");
        call_fail(call, KEK_NO_MEMORY, &why);
        return;
    }
    call_reply(call, kek_buf_bytes(&message));
}
