/* Status and Version: answered from memory. */
#include "kms/call.h"

#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

/* A start is calm while an answer is under way, an outage for its grace while this node can seal. */
static bool is_calm(const struct kek_kms *kms, const struct kek_keyring_verdict *verdict,
                    const struct kek_generation *generation)
{
    if (verdict->state == KEK_KEYRING_GOOD || verdict->pending) {
        return true;
    }
    return (verdict->state == KEK_KEYRING_OUTAGE || verdict->state == KEK_KEYRING_STARTING) &&
           kek_clock_ms() - verdict->since_ms < kms->settings.config->health.grace_ms &&
           kek_datakey_can_seal(kms->settings.store, generation);
}

enum kek_rc kek_kms_healthz(const struct kek_kms *kms, char *text, size_t size, struct kek_why *why)
{
    struct kek_keyring_verdict verdict;
    struct kek_keyring_primary primary;
    kek_roots_verdict(kms->settings.roots, &verdict);
    if (!kek_roots_primary(kms->settings.roots, &primary)) {
        return kek_fail(why, KEK_UNAVAILABLE, "%s", verdict.what);
    }
    if (verdict.state == KEK_KEYRING_LOSS) {
        return kek_fail(why, KEK_PRECONDITION, "%s", verdict.what);
    }
    if (is_calm(kms, &verdict, &primary.generation)) {
        kek_text_copy(text, size, "ok");
    } else {
        kek_keyring_verdict_text(&verdict, text, size);
    }
    return KEK_OK;
}

static void answer_status(void *arg)
{
    struct call *call = arg;
    call->look = NULL;
    char healthz[KEK_KMS_HEALTHZ_MAX];
    struct kek_why why;
    struct kek_keyring_primary primary = {0};
    enum kek_rc rc = kek_kms_healthz(call->kms, healthz, sizeof healthz, &why);
    if (rc != KEK_OK) {
        call_fail(call, rc, &why);
        return;
    }
    (void)kek_roots_primary(call->kms->settings.roots, &primary);
    const struct kek_generation *generation = &primary.generation;
    follow_told(call, &primary);
    memcpy(call->key_id, generation->key_id, KEK_KEY_ID_TEXT);
    KEK_AUTO_BUF struct kek_buf message;
    kek_buf_init(&message, KEK_KMS_HEALTHZ_MAX + 128);
    if (!message_write_status(healthz, generation->key_id, &message)) {
        kek_fail(&why, KEK_NO_MEMORY, "no memory for the answer");
        call_fail(call, KEK_NO_MEMORY, &why);
        return;
    }
    call_reply(call, kek_buf_bytes(&message));
}

/* The tokens show that another key is announced by now: the older one is not announced once more for the moment
 * that this node takes to prove it. */
void call_status(struct call *call)
{
    struct kek_roots *roots = call->kms->settings.roots;
    call->look = kek_roots_is_changing(roots) ? kek_roots_await(roots, answer_status, call) : NULL;
    if (call->look == NULL) {
        answer_status(call);
    }
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
