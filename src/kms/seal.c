/* Encrypt, v1 and v2. */
#include "kms/call.h"

#include <string.h>

static size_t ciphertext_max(const struct call *call)
{
    return call->method == KEK_KMS_V2_ENCRYPT ? V2_CIPHERTEXT_MAX : V1_CIPHERTEXT_MAX;
}

static const char *api_of(const struct call *call)
{
    return call->method == KEK_KMS_V2_ENCRYPT ? "v2" : "v1";
}

static void seal_with(struct call *call, struct kek_datakey_ref *ref, struct kek_bytes plaintext)
{
    struct kek_bytes context = kek_bytes_of(call->kms->settings.config->context);
    struct kek_bytes header = kek_datakey_ref_header(ref);
    struct kek_why why;
    size_t len = kek_envelope_sealed_len(header.len, plaintext.len);
    if (len > ciphertext_max(call)) {
        kek_fail(&why, KEK_INVALID,
                 "a plaintext of %zu bytes would make a ciphertext of %zu, over KMS %s's %zu",
                 plaintext.len, len, api_of(call), ciphertext_max(call));
        call_fail(call, KEK_INVALID, &why);
        return;
    }
    KEK_AUTO_BUF struct kek_buf sealed;
    kek_buf_init(&sealed, len);
    enum kek_rc rc =
        kek_envelope_seal(kek_datakey_ref_key(ref), header, context, plaintext, &sealed, &why);
    if (rc != KEK_OK) {
        call_fail(call, rc, &why);
        return;
    }
    KEK_AUTO_BUF struct kek_buf message;
    kek_buf_init(&message, len + 256);
    if (!message_write_payload(call->method, kek_buf_bytes(&sealed), call->key_id, &message)) {
        kek_fail(&why, KEK_NO_MEMORY, "no memory for the answer");
        call_fail(call, KEK_NO_MEMORY, &why);
        return;
    }
    call_reply(call, kek_buf_bytes(&message));
}

static void key_came(void *arg, enum kek_rc rc, struct kek_datakey_ref *ref,
                     const struct kek_why *why)
{
    struct call *call = arg;
    call->provider = kek_datakey_wait_provider(call->wait);
    call->wait = NULL;
    if (rc != KEK_OK) {
        call_fail(call, rc, why);
        return;
    }
    seal_with(call, ref, kek_secret_bytes(call->plaintext));
    kek_datakey_ref_free(ref);
}

/* What to seal under, and its key_id: one snapshot. */
static bool choose_generation(struct call *call, struct kek_generation *generation,
                              struct kek_why *why)
{
    const struct kek_keyring *ring = call->kms->settings.ring;
    struct kek_keyring_primary primary;
    struct kek_keyring_verdict verdict;
    kek_keyring_verdict(ring, &verdict);
    if (!kek_keyring_primary(ring, &primary)) {
        kek_fail(why, KEK_UNAVAILABLE, "%s", verdict.what);
        return false;
    }
    if (verdict.state == KEK_KEYRING_LOSS) {
        kek_fail(why, KEK_PRECONDITION, "%s", verdict.what);
        return false;
    }
    follow_choose(call, &primary, generation);
    memcpy(call->key_id, generation->key_id, sizeof generation->key_id);
    call->has_kek = true;
    call->kek_id = generation->kek_ids[0];
    return true;
}

/* The request's bytes go when its start returns. */
static void keep_plaintext(struct call *call, struct kek_bytes plaintext)
{
    struct kek_why why;
    if (!call_keeps(call, plaintext.len)) {
        return;
    }
    call->plaintext = kek_secret_dup(plaintext);
    if (call->plaintext == NULL) {
        kek_fail(&why, KEK_EXHAUSTED, "no locked memory to keep a plaintext of %zu bytes",
                 plaintext.len);
        call_fail(call, KEK_EXHAUSTED, &why);
    }
}

void call_encrypt(struct call *call, struct kek_bytes plaintext)
{
    struct kek_generation generation;
    struct kek_why why;
    if (plaintext.len == 0) {
        kek_fail(&why, KEK_INVALID, "the plaintext is empty");
        call_fail(call, KEK_INVALID, &why);
        return;
    }
    if (plaintext.len > ciphertext_max(call)) {
        kek_fail(&why, KEK_INVALID, "a plaintext of %zu bytes is over what KMS %s can carry",
                 plaintext.len, api_of(call));
        call_fail(call, KEK_INVALID, &why);
        return;
    }
    if (!choose_generation(call, &generation, &why)) {
        call_fail(call, why.rc, &why);
        return;
    }
    struct kek_datakey_ref *ref = NULL;
    enum kek_rc rc =
        kek_datakey_for_sealing(call->kms->settings.store, &generation, call->rpc->deadline_ms,
                                key_came, call, &ref, &call->wait, &why);
    if (rc != KEK_OK) {
        call_fail(call, rc, &why);
        return;
    }
    if (ref != NULL) {
        seal_with(call, ref, plaintext);
        kek_datakey_ref_free(ref);
        return;
    }
    call->hsm = true;
    keep_plaintext(call, plaintext);
}
