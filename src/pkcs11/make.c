#include "p11.h"

#include <string.h>

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_OBJECT_CLASS secret_key = CKO_SECRET_KEY;
static CK_KEY_TYPE aes = CKK_AES;
static CK_ULONG key_len = 32;

static CK_BBOOL *flag(bool value)
{
    return value ? &yes : &no;
}

struct usage {
    bool wrap, unwrap, encrypt, decrypt;
};

static struct usage usage_of(enum kek_p11_strategy strategy, enum kek_state state)
{
    bool active = state == KEK_STATE_ACTIVE;
    if (strategy == KEK_P11_BY_WRAP_KEY) {
        return (struct usage){.wrap = active, .unwrap = true};
    }
    return (struct usage){.encrypt = active, .decrypt = true};
}

/* Every flag is said: what a token does by default differs (SoftHSM lets a key sign). */
struct kek_p11_outcome kek_p11_make_key(const struct kek_provider *provider,
                                        CK_SESSION_HANDLE session,
                                        const struct kek_p11_making *making, CK_OBJECT_HANDLE *key)
{
    struct usage usage = usage_of(making->strategy, making->state);
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &secret_key, sizeof secret_key},
        {CKA_KEY_TYPE, &aes, sizeof aes},
        {CKA_VALUE_LEN, &key_len, sizeof key_len},
        {CKA_TOKEN, flag(making->on_token), sizeof yes},
        {CKA_PRIVATE, &yes, sizeof yes},
        {CKA_SENSITIVE, &yes, sizeof yes},
        {CKA_EXTRACTABLE, &no, sizeof no},
        {CKA_WRAP, flag(usage.wrap), sizeof yes},
        {CKA_UNWRAP, flag(usage.unwrap), sizeof yes},
        {CKA_ENCRYPT, flag(usage.encrypt), sizeof yes},
        {CKA_DECRYPT, flag(usage.decrypt), sizeof yes},
        {CKA_SIGN, &no, sizeof no},
        {CKA_VERIFY, &no, sizeof no},
        {CKA_DERIVE, &no, sizeof no},
        {CKA_LABEL, (void *)making->label, strlen(making->label)},
        {CKA_ID, (void *)making->kek_id->bytes, sizeof making->kek_id->bytes},
    };
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    return kek_p11_generate_key(provider->f, session, &mechanism, attributes,
                                sizeof attributes / sizeof attributes[0], key);
}

/* In a session of its own: sessions that break while it is used leave it be. */
static struct kek_p11_outcome make_once(const struct kek_provider *provider,
                                        enum kek_p11_strategy strategy,
                                        struct kek_p11_throwaway *throwaway)
{
    static const struct kek_id any = {{0}};
    const struct kek_p11_making making = {
        .label = "kekd-probe", .kek_id = &any, .strategy = strategy, .state = KEK_STATE_ACTIVE};
    struct kek_p11_outcome outcome = kek_p11_session_handle(provider, &throwaway->session);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    outcome = kek_p11_make_key(provider, throwaway->session, &making, &throwaway->key);
    if (!kek_p11_good(outcome)) {
        (void)kek_p11_close_session(provider->f, throwaway->session);
    }
    return outcome;
}

struct kek_p11_outcome kek_p11_throwaway_make(const struct kek_provider *provider,
                                              enum kek_p11_strategy strategy,
                                              struct kek_p11_throwaway *throwaway)
{
    const struct kek_p11_outcome first = make_once(provider, strategy, throwaway);
    if (kek_p11_good(first)) {
        return first;
    }
    const struct kek_p11_outcome second = make_once(provider, strategy, throwaway);
    if (kek_p11_good(second)) {
        kek_p11_again(first);
    }
    return second;
}

void kek_p11_throwaway_end(const struct kek_provider *provider,
                           const struct kek_p11_throwaway *throwaway)
{
    (void)kek_p11_destroy_object(provider->f, throwaway->session, throwaway->key);
    (void)kek_p11_close_session(provider->f, throwaway->session);
}
