/* MACs of the audit log: by a key of its own, found by its label each time, since that is seldom. */
#include "p11.h"

#include <stdio.h>
#include <string.h>

#define CALL_STEP KEK__PROVIDER__STEP__PROVIDER_CALL
#define KEYS_MAX 16 /* that have the label; more are not looked at */

void kek_p11_audit_label(const struct kek_provider *provider,
                         char label[static KEK_P11_AUDIT_LABEL])
{
    snprintf(label, KEK_P11_AUDIT_LABEL, "%s.audit", provider->keyring);
}

struct kek_p11_mac_way kek_p11_mac_way_of(CK_KEY_TYPE key_type)
{
    static const struct kek_p11_mac_way ways[] = {
        {CKK_GENERIC_SECRET, CKM_SHA256_HMAC, "CKM_SHA256_HMAC"},
        {CKK_SHA256_HMAC, CKM_SHA256_HMAC, "CKM_SHA256_HMAC"},
        {CKK_AES, CKM_AES_CMAC, "CKM_AES_CMAC"},
    };
    for (size_t i = 0; i < sizeof ways / sizeof ways[0]; i++) {
        if (ways[i].key_type == key_type) {
            return ways[i];
        }
    }
    return (struct kek_p11_mac_way){.name = NULL};
}

/* A key that could do more, or that somebody may have a copy of, proves less. NULL: it is fit. */
static const char *unfit(struct kek_provider_session *session, const struct kek_p11_facts *facts)
{
    static const enum kek_p11_flag others[] = {KEK_P11_WRAP, KEK_P11_UNWRAP, KEK_P11_ENCRYPT,
                                               KEK_P11_DECRYPT, KEK_P11_DERIVE};
    if (facts->id_len != KEK_ID_LEN) {
        return "its CKA_ID has not 16 bytes";
    }
    if (kek_p11_mac_way_of(facts->key_type).name == NULL) {
        return "it is neither a generic secret nor an AES key";
    }
    if (facts->flags[KEK_P11_SENSITIVE] == KEK_P11_NO ||
        facts->flags[KEK_P11_EXTRACTABLE] == KEK_P11_YES) {
        return "it can leave the token";
    }
    if (facts->flags[KEK_P11_LOCAL] == KEK_P11_NO && kek_p11_tells_local(session)) {
        return "it was not made in the token";
    }
    if (facts->flags[KEK_P11_SIGN] == KEK_P11_NO) {
        return "it may not sign";
    }
    for (size_t i = 0; i < sizeof others / sizeof others[0]; i++) {
        if (facts->flags[others[i]] == KEK_P11_YES) {
            return "it may do more than sign and verify";
        }
    }
    return NULL;
}

struct found {
    CK_OBJECT_HANDLE handle;
    struct kek_id id;
    struct kek_p11_mac_way way;
    const char *refusal; /* of a key that was passed over */
    bool any;
};

/* Takes the key if it is the one that is meant, or the smallest so far. */
static struct kek_p11_outcome look_at(struct kek_provider_session *session, CK_OBJECT_HANDLE object,
                                      const struct kek_id *wanted, struct found *found)
{
    struct kek_p11_facts facts = {0};
    struct kek_id id;
    CK_ULONG len;
    struct kek_p11_outcome outcome = kek_p11_read_facts(session, object, &facts, &len);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    const char *refusal = unfit(session, &facts);
    if (refusal != NULL) {
        found->refusal = refusal;
        return outcome;
    }
    memcpy(id.bytes, facts.id, sizeof id.bytes);
    bool meant = wanted == NULL
                     ? !found->any || memcmp(id.bytes, found->id.bytes, sizeof id.bytes) < 0
                     : kek_id_equal(&id, wanted);
    if (meant) {
        found->handle = object;
        found->id = id;
        found->way = kek_p11_mac_way_of(facts.key_type);
        found->any = true;
    }
    return outcome;
}

static bool find(struct kek_provider_session *session, const struct kek_id *wanted,
                 struct found *found, struct kek_provider_failure *failure)
{
    char label[KEK_P11_AUDIT_LABEL];
    CK_OBJECT_HANDLE objects[KEYS_MAX];
    size_t count = 0;
    kek_p11_audit_label(session->provider, label);
    struct kek_p11_outcome outcome =
        kek_p11_find_exact(session, CKA_LABEL, label, strlen(label), objects, KEYS_MAX, &count);
    for (size_t i = 0; kek_p11_good(outcome) && i < count; i++) {
        outcome = look_at(session, objects[i], wanted, found);
    }
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    if (found->any) {
        return true;
    }
    if (wanted == NULL && found->refusal != NULL) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_UNFIT,
                            "key %s is refused: %s", label, found->refusal);
    }
    return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_MISSING,
                        "the token has no key %s%s", label,
                        wanted == NULL ? "" : " with this CKA_ID");
}

struct kek_p11_outcome kek_p11_mac_by(struct kek_provider_session *session, CK_OBJECT_HANDLE key,
                                      const struct kek_p11_mac_way *way, struct kek_bytes text,
                                      struct kek_provider_maced *maced)
{
    CK_FUNCTION_LIST *f = session->provider->f;
    CK_MECHANISM mechanism = {way->type, NULL, 0};
    CK_ULONG len = sizeof maced->mac;
    struct kek_p11_outcome outcome = kek_p11_session_ready(session);
    if (kek_p11_good(outcome)) {
        outcome = kek_p11_sign_init(f, session->handle, &mechanism, key);
    }
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    outcome = kek_p11_sign(f, session->handle, text.data, text.len, maced->mac, &len);
    if (kek_p11_good(outcome) && (len < KEK_PROVIDER_MAC_MIN || len > sizeof maced->mac)) {
        outcome.rv = CKR_DATA_LEN_RANGE;
    }
    session->broken = session->broken || !kek_p11_good(outcome); /* it may still be under way */
    maced->len = len;
    snprintf(maced->mechanism, sizeof maced->mechanism, "%s", way->name);
    return outcome;
}

bool kek_p11_mac(struct kek_provider_session *session, const struct kek_id *key_id,
                 struct kek_bytes text, struct kek_provider_maced *maced,
                 struct kek_provider_failure *failure)
{
    struct kek_p11_outcome first = {.rv = CKR_OK};
    for (int attempt = 0;; attempt++) {
        struct found found = {.any = false};
        if (!find(session, key_id, &found, failure)) {
            return false;
        }
        struct kek_provider_maced made = {.key_id = found.id};
        struct kek_p11_outcome outcome =
            kek_p11_mac_by(session, found.handle, &found.way, text, &made);
        if (kek_p11_good(outcome)) {
            if (attempt > 0) {
                kek_p11_again(first);
            }
            *maced = made;
            return true;
        }
        first = outcome;
        enum kek_p11_class class = kek_p11_class_of(outcome.rv);
        session->broken = session->broken || class == KEK_P11_SESSION;
        if (attempt > 0 || (class != KEK_P11_SESSION && class != KEK_P11_HANDLE)) {
            return kek_p11_fail_rv(failure, CALL_STEP, outcome);
        }
    }
}
