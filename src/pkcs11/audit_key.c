/* The audit log's key is made: a generic secret for HMAC-SHA256 or, where the token cannot, an AES key for CMAC. */
#include "p11.h"

#include <string.h>

#define CALL_STEP KEK__PROVIDER__STEP__PROVIDER_CALL

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_OBJECT_CLASS secret_key = CKO_SECRET_KEY;
static CK_ULONG key_len = 32;

struct kind {
    CK_KEY_TYPE key_type;
    CK_MECHANISM_TYPE generation;
};

/* As a KEK's, every flag is said (make.c). */
static struct kek_p11_outcome make(struct kek_provider_session *session, const struct kind *kind,
                                   const struct kek_id *key_id, CK_OBJECT_HANDLE *key)
{
    char label[KEK_P11_AUDIT_LABEL];
    CK_KEY_TYPE type = kind->key_type;
    kek_p11_audit_label(session->provider, label);
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &secret_key, sizeof secret_key},
        {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_VALUE_LEN, &key_len, sizeof key_len},
        {CKA_TOKEN, &yes, sizeof yes},
        {CKA_PRIVATE, &yes, sizeof yes},
        {CKA_SENSITIVE, &yes, sizeof yes},
        {CKA_EXTRACTABLE, &no, sizeof no},
        {CKA_SIGN, &yes, sizeof yes},
        {CKA_VERIFY, &yes, sizeof yes},
        {CKA_WRAP, &no, sizeof no},
        {CKA_UNWRAP, &no, sizeof no},
        {CKA_ENCRYPT, &no, sizeof no},
        {CKA_DECRYPT, &no, sizeof no},
        {CKA_DERIVE, &no, sizeof no},
        {CKA_LABEL, label, strlen(label)},
        {CKA_ID, (void *)(uintptr_t)key_id->bytes, sizeof key_id->bytes},
    };
    CK_MECHANISM mechanism = {kind->generation, NULL, 0};
    struct kek_p11_outcome outcome = kek_p11_session_ready(session);
    return kek_p11_good(outcome)
               ? kek_p11_generate_key(session->provider->f, session->handle, &mechanism, attributes,
                                      sizeof attributes / sizeof attributes[0], key)
               : outcome;
}

/* Makes one that is found again, and signs. */
static bool try_kind(struct kek_provider_session *session, const struct kind *kind,
                     const struct kek_id *key_id, struct kek_provider_failure *failure)
{
    static const uint8_t text[] = "kekd";
    CK_OBJECT_HANDLE key;
    struct kek_provider_maced maced;
    struct kek_p11_outcome outcome = make(session, kind, key_id, &key);
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    if (kek_p11_mac(session, key_id, kek_bytes(text, sizeof text - 1), &maced, failure)) {
        return true;
    }
    if (failure->cause != KEK__PROVIDER__CAUSE__LINK &&
        failure->cause != KEK__PROVIDER__CAUSE__BUSY) {
        kek_p11_take_back(session, key, failure);
    }
    return false;
}

bool kek_p11_make_audit_key(struct kek_provider_session *session, const struct kek_id *key_id,
                            struct kek_provider_failure *failure)
{
    static const struct kind kinds[] = {{CKK_GENERIC_SECRET, CKM_GENERIC_SECRET_KEY_GEN},
                                        {CKK_AES, CKM_AES_KEY_GEN}};
    char label[KEK_P11_AUDIT_LABEL];
    CK_OBJECT_HANDLE there;
    size_t count = 0;
    if (!kek_p11_may_change(session->provider, failure)) {
        return false;
    }
    kek_p11_audit_label(session->provider, label);
    struct kek_p11_outcome outcome =
        kek_p11_find_exact(session, CKA_LABEL, label, strlen(label), &there, 1, &count);
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    if (count > 0) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__STATE,
                            "a key %s exists already", label);
    }
    for (size_t i = 0; i < sizeof kinds / sizeof kinds[0]; i++) {
        if (try_kind(session, &kinds[i], key_id, failure)) {
            return true;
        }
        if (failure->cause == KEK__PROVIDER__CAUSE__LINK ||
            failure->cause == KEK__PROVIDER__CAUSE__BUSY) {
            return false;
        }
    }
    return false;
}
