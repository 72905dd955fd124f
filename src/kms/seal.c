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
    KEK_UNFILLED struct kek_why why;
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

static void seal(struct call *call, struct kek_bytes plaintext);

/* The request's bytes go when its start returns. False: there is no room, and the call has failed. */
static bool keep_plaintext(struct call *call, struct kek_bytes plaintext)
{
    struct kek_why why;
    if (call->plaintext != NULL) {
        return true;
    }
    if (!call_keeps(call, plaintext.len)) {
        return false;
    }
    call->plaintext = kek_secret_dup(plaintext);
    if (call->plaintext == NULL) {
        kek_fail(&why, KEK_EXHAUSTED, "no locked memory to keep a plaintext of %zu bytes",
                 plaintext.len);
        call_fail(call, KEK_EXHAUSTED, &why);
        return false;
    }
    return true;
}

static void primary_came(void *arg)
{
    struct call *call = arg;
    call->look = NULL;
    seal(call, kek_secret_bytes(call->plaintext));
}

/* What it was to be sealed under seals nothing more: it is sealed under what comes after it. False: nothing does. */
static bool seal_under_next(struct call *call, struct kek_bytes plaintext)
{
    struct kek_roots *roots = call->kms->settings.roots;
    struct kek_keyring_primary primary;
    if (call->turns == TURNS_MAX) {
        return false;
    }
    call->turns++;
    if (kek_roots_primary(roots, &primary) &&
        !kek_generation_equal(&primary.generation, &call->generation)) {
        seal(call, plaintext);
        return true;
    }
    call->look = kek_roots_await(roots, primary_came, call);
    if (call->look == NULL) {
        return false;
    }
    (void)keep_plaintext(call, plaintext);
    return true;
}

static void seal_failed(struct call *call, struct kek_bytes plaintext, enum kek_rc rc,
                        const struct kek_why *why)
{
    if (rc != KEK_PRECONDITION || !seal_under_next(call, plaintext)) {
        call_fail(call, rc, why);
    }
}

static void key_came(void *arg, enum kek_rc rc, struct kek_datakey_ref *ref,
                     const struct kek_why *why)
{
    struct call *call = arg;
    call_heard(call);
    if (rc != KEK_OK) {
        seal_failed(call, kek_secret_bytes(call->plaintext), rc, why);
        return;
    }
    seal_with(call, ref, kek_secret_bytes(call->plaintext));
    kek_datakey_ref_free(ref);
}

static bool fail_with_verdict(const struct kek_roots *roots, enum kek_rc rc, struct kek_why *why)
{
    struct kek_keyring_verdict verdict;
    kek_roots_verdict(roots, &verdict);
    kek_fail(why, rc, "%s", verdict.what);
    return false;
}

/* What to seal under, and its key_id: one snapshot. */
static bool choose_generation(struct call *call, struct kek_why *why)
{
    const struct kek_roots *roots = call->kms->settings.roots;
    KEK_UNFILLED struct kek_keyring_primary primary;
    if (!kek_roots_primary(roots, &primary)) {
        return fail_with_verdict(roots, KEK_UNAVAILABLE, why);
    }
    if (kek_roots_state(roots) == KEK_KEYRING_LOSS) {
        return fail_with_verdict(roots, KEK_PRECONDITION, why);
    }
    follow_choose(call, &primary, &call->generation);
    call->keks = (struct kek_datakey_keks){.asked = 0}; /* places are those of the generation */
    memcpy(call->key_id, call->generation.key_id, sizeof call->generation.key_id);
    call->has_kek = true;
    call->kek_id = call->generation.kek_ids[0];
    return true;
}

static void seal(struct call *call, struct kek_bytes plaintext)
{
    KEK_UNFILLED struct kek_why why;
    if (!choose_generation(call, &why)) {
        call_fail(call, why.rc, &why);
        return;
    }
    struct kek_datakey_ref *ref = NULL;
    enum kek_rc rc =
        kek_datakey_for_sealing(call->kms->settings.store, &call->generation,
                                call->rpc->deadline_ms, key_came, call, &ref, &call->wait, &why);
    if (rc != KEK_OK) {
        seal_failed(call, plaintext, rc, &why);
        return;
    }
    if (ref != NULL) {
        seal_with(call, ref, plaintext);
        kek_datakey_ref_free(ref);
        return;
    }
    call->hsm = true;
    (void)keep_plaintext(call, plaintext);
}

void call_encrypt(struct call *call, struct kek_bytes plaintext)
{
    KEK_UNFILLED struct kek_why why;
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
    seal(call, plaintext);
}
