#include "p11.h"

#include <string.h>

#include <openssl/rand.h>

#define GCM_IV 12
#define GCM_TAG 16
#define CBC_IV 16
#define OUT_MAX 256 /* some tokens ask for more room than they use */

/* Results that are no CK_RV of the module. */
#define RV_LENGTH CKR_WRAPPED_KEY_LEN_RANGE
#define BLOB "what was unwrapped" /* the call that said so of a blob */

static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
static CK_OBJECT_CLASS secret_key = CKO_SECRET_KEY;
static CK_KEY_TYPE aes = CKK_AES;

/* In the order of preference, what authenticates a blob first; all do for either strategy.  The vendors'
 * numbers are those of Luna's cryptoki_v2.h, the CloudHSM SDK's headers and NSS's pkcs11n.h.  WRAP_PAD is
 * RFC 5649 on some tokens and PKCS#7 with RFC 3394 on others: the length, 40 bytes, tells. */
static const struct kek_p11_way ways[] = {
    {CKM_AES_KEY_WRAP, "CKM_AES_KEY_WRAP", KEK_WRAP_AES_KW, KEK_P11_IV_NONE, false},
    {CKM_AES_KEY_WRAP_KWP, "CKM_AES_KEY_WRAP_KWP", KEK_WRAP_AES_KWP, KEK_P11_IV_NONE, false},
    {0x80000170UL, "CKM_AES_KW (Luna)", KEK_WRAP_AES_KW, KEK_P11_IV_NONE, true},
    {0x80000171UL, "CKM_AES_KWP (Luna)", KEK_WRAP_AES_KWP, KEK_P11_IV_NONE, true},
    {0x80002109UL, "CKM_CLOUDHSM_AES_KEY_WRAP_NO_PAD", KEK_WRAP_AES_KW, KEK_P11_IV_NONE, true},
    {0x8000216FUL, "CKM_CLOUDHSM_AES_KEY_WRAP_ZERO_PAD", KEK_WRAP_AES_KWP, KEK_P11_IV_NONE, true},
    {0xCE534351UL, "CKM_NSS_AES_KEY_WRAP", KEK_WRAP_AES_KW, KEK_P11_IV_NONE, true},
    {CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD", KEK_WRAP_AES_KWP, KEK_P11_IV_NONE, false},
    {CKM_AES_GCM, "CKM_AES_GCM", KEK_WRAP_AES_GCM, KEK_P11_IV_OURS, false},
    {CKM_AES_GCM, "CKM_AES_GCM with the token's IV", KEK_WRAP_AES_GCM, KEK_P11_IV_TOKEN, false},
    {CKM_AES_CBC, "CKM_AES_CBC", KEK_WRAP_AES_CBC, KEK_P11_IV_OURS, false},
};
_Static_assert(sizeof ways / sizeof ways[0] == KEK_P11_WAYS, "their number is known");

const struct kek_p11_way *kek_p11_ways(size_t *count)
{
    *count = KEK_P11_WAYS;
    return ways;
}

bool kek_p11_way_listed(const struct kek_provider *provider, const struct kek_p11_way *way)
{
    for (size_t i = 0; i < provider->mechanism_count; i++) {
        if (provider->mechanisms[i] == way->type) {
            return true;
        }
    }
    return false;
}

static struct kek_p11_outcome said(CK_RV rv, const char *call)
{
    return (struct kek_p11_outcome){.rv = rv, .call = call};
}

/* A mechanism with its parameter, and where the IV stands. */
struct cipher {
    CK_MECHANISM mechanism;
    CK_GCM_PARAMS gcm;
    uint8_t iv[16];
    size_t iv_len;
};

static void cipher_init(const struct kek_p11_way *way, struct cipher *cipher)
{
    memset(cipher, 0, sizeof *cipher);
    cipher->mechanism.mechanism = way->type;
    if (way->alg == KEK_WRAP_AES_GCM) {
        cipher->iv_len = GCM_IV;
        cipher->gcm.pIv = cipher->iv;
        cipher->gcm.ulIvLen = GCM_IV;
        cipher->gcm.ulIvBits = 8 * GCM_IV;
        cipher->gcm.ulTagBits = 8 * GCM_TAG;
        cipher->mechanism.pParameter = &cipher->gcm;
        cipher->mechanism.ulParameterLen = sizeof cipher->gcm;
    } else if (way->alg == KEK_WRAP_AES_CBC) {
        cipher->iv_len = CBC_IV;
        cipher->mechanism.pParameter = cipher->iv;
        cipher->mechanism.ulParameterLen = CBC_IV;
    }
}

/* Sixteen cost little more than one, whose drawing is a fifteenth of a wrap by C_Encrypt.  Each is given out once. */
static bool take_iv(uint8_t *iv, size_t len)
{
    static _Thread_local uint8_t ivs[16][CBC_IV];
    static _Thread_local size_t left;
    if (left == 0) {
        if (RAND_bytes(ivs[0], sizeof ivs) != 1) {
            return false;
        }
        left = sizeof ivs / sizeof ivs[0];
    }
    left--;
    memcpy(iv, ivs[left], len);
    kek_wipe(ivs[left], sizeof ivs[left]);
    return true;
}

/* With an IV to wrap with. */
static bool cipher_begin(const struct kek_p11_way *way, struct cipher *cipher)
{
    cipher_init(way, cipher);
    return way->iv != KEK_P11_IV_OURS || take_iv(cipher->iv, cipher->iv_len);
}

/* With a blob's IV; what follows it in the blob. */
static struct kek_bytes cipher_resume(const struct kek_p11_way *way, struct kek_bytes blob,
                                      struct cipher *cipher)
{
    cipher_init(way, cipher);
    memcpy(cipher->iv, blob.data, cipher->iv_len);
    return kek_bytes(blob.data + cipher->iv_len, blob.len - cipher->iv_len);
}

/* The blob out of what the token gave, if it is as long as it must be. */
static bool cipher_finish(const struct kek_p11_way *way, const struct cipher *cipher,
                          const uint8_t *out, size_t len, struct kek_provider_wrapped *wrapped)
{
    /* A token that makes the IV itself writes it where ours would have stood. */
    static const uint8_t no_iv[16];
    bool without_iv = way->iv == KEK_P11_IV_TOKEN && memcmp(cipher->iv, no_iv, cipher->iv_len) == 0;
    if (len > OUT_MAX || !kek_wrap_alg_fits(way->alg, cipher->iv_len + len) || without_iv) {
        return false;
    }
    wrapped->alg = way->alg;
    wrapped->len = cipher->iv_len + len;
    memcpy(wrapped->blob, cipher->iv, cipher->iv_len);
    memcpy(wrapped->blob + cipher->iv_len, out, len);
    return true;
}

bool kek_p11_read_blob(struct kek_p11_outcome outcome)
{
    static const char *const calls[] = {"C_UnwrapKey", "C_Decrypt", BLOB};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if (strcmp(outcome.call, calls[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* A session object that stays behind dies with its session. */
static void destroy(struct kek_provider_session *session, CK_OBJECT_HANDLE object)
{
    if (!kek_p11_good(kek_p11_destroy_object(session->provider->f, session->handle, object))) {
        session->broken = true;
    }
}

static struct kek_p11_outcome wrap_key(struct kek_provider_session *session,
                                       const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                                       const struct kek_secret *data_key,
                                       struct kek_provider_wrapped *wrapped)
{
    CK_FUNCTION_LIST *f = session->provider->f;
    struct cipher cipher;
    if (!cipher_begin(way, &cipher)) {
        return said(CKR_RANDOM_NO_RNG, "RAND_bytes");
    }
    struct kek_bytes value = kek_secret_bytes(data_key);
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &secret_key, sizeof secret_key},
        {CKA_KEY_TYPE, &aes, sizeof aes},
        {CKA_TOKEN, &no, sizeof no},
        {CKA_SENSITIVE, &no, sizeof no},
        {CKA_EXTRACTABLE, &yes, sizeof yes},
        {CKA_VALUE, (void *)value.data, value.len},
    };
    CK_OBJECT_HANDLE object;
    struct kek_p11_outcome outcome = kek_p11_create_object(
        f, session->handle, attributes, sizeof attributes / sizeof attributes[0], &object);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    uint8_t out[OUT_MAX];
    CK_ULONG len = sizeof out;
    outcome = kek_p11_wrap_key(f, session->handle, &cipher.mechanism, kek, object, out, &len);
    destroy(session, object);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    return cipher_finish(way, &cipher, out, len, wrapped) ? outcome : said(RV_LENGTH, outcome.call);
}

/* The data key out of an unwrapped session key. */
static struct kek_p11_outcome read_value(struct kek_provider_session *session,
                                         CK_OBJECT_HANDLE object, struct kek_secret **data_key)
{
    KEK_AUTO(kek_secret) value = kek_secret_new(KEK_DATA_KEY_LEN);
    if (value == NULL) {
        return said(CKR_HOST_MEMORY, "kek_secret_new");
    }
    /* Another length counts against the blob, so it is believed the second time. */
    for (int round = 0; round < 2; round++) {
        CK_ATTRIBUTE attribute = {CKA_VALUE, kek_secret_data(value), KEK_DATA_KEY_LEN};
        struct kek_p11_outcome outcome =
            kek_p11_get_attributes(session->provider->f, session->handle, object, &attribute, 1);
        bool fits = kek_p11_good(outcome) && attribute.ulValueLen == KEK_DATA_KEY_LEN;
        if (!kek_p11_good(outcome) && outcome.rv != CKR_BUFFER_TOO_SMALL) {
            return outcome;
        }
        if (fits) {
            *data_key = KEK_STEAL(value);
            return outcome;
        }
    }
    return said(RV_LENGTH, BLOB);
}

/* No one template is taken by every token (openCryptoki refuses SENSITIVE and EXTRACTABLE, old Lunas
 * want VALUE_LEN, SoftHSM refuses it): rungs of a ladder, and the one that worked is kept. */
#define RUNGS 4

static CK_ULONG template_of(int rung, CK_ATTRIBUTE attributes[static 6])
{
    static CK_ULONG value_len = KEK_DATA_KEY_LEN;
    CK_ULONG count = 0;
    attributes[count++] = (CK_ATTRIBUTE){CKA_CLASS, &secret_key, sizeof secret_key};
    attributes[count++] = (CK_ATTRIBUTE){CKA_KEY_TYPE, &aes, sizeof aes};
    attributes[count++] = (CK_ATTRIBUTE){CKA_TOKEN, &no, sizeof no};
    if (rung < 2) {
        attributes[count++] = (CK_ATTRIBUTE){CKA_SENSITIVE, &no, sizeof no};
        attributes[count++] = (CK_ATTRIBUTE){CKA_EXTRACTABLE, &yes, sizeof yes};
    }
    if (rung % 2 == 1) {
        attributes[count++] = (CK_ATTRIBUTE){CKA_VALUE_LEN, &value_len, sizeof value_len};
    }
    return count;
}

static struct kek_p11_outcome unwrap_at(struct kek_provider_session *session, int rung,
                                        CK_MECHANISM *mechanism, CK_OBJECT_HANDLE kek,
                                        struct kek_bytes blob, struct kek_secret **data_key)
{
    CK_ATTRIBUTE attributes[6];
    CK_ULONG count = template_of(rung, attributes);
    CK_OBJECT_HANDLE object;
    struct kek_p11_outcome outcome =
        kek_p11_unwrap_key(session->provider->f, session->handle, mechanism, kek, blob.data,
                           blob.len, attributes, count, &object);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    outcome = read_value(session, object, data_key);
    destroy(session, object);
    return outcome;
}

static struct kek_p11_outcome unwrap_key(struct kek_provider_session *session,
                                         const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                                         struct kek_bytes blob, struct kek_secret **data_key)
{
    struct cipher cipher;
    struct kek_bytes rest = cipher_resume(way, blob, &cipher);
    if (session->rung >= 0) {
        return unwrap_at(session, session->rung, &cipher.mechanism, kek, rest, data_key);
    }
    struct kek_p11_outcome outcome = said(CKR_TEMPLATE_INCONSISTENT, "C_UnwrapKey");
    for (int rung = 0; rung < RUNGS; rung++) {
        outcome = unwrap_at(session, rung, &cipher.mechanism, kek, rest, data_key);
        if (kek_p11_good(outcome)) {
            session->rung = rung;
            return outcome;
        }
        if (kek_p11_class_of(outcome.rv) != KEK_P11_TEMPLATE &&
            outcome.rv != CKR_ATTRIBUTE_SENSITIVE) {
            return outcome;
        }
    }
    return outcome;
}

static struct kek_p11_outcome encrypt(struct kek_provider_session *session,
                                      const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                                      const struct kek_secret *data_key,
                                      struct kek_provider_wrapped *wrapped)
{
    CK_FUNCTION_LIST *f = session->provider->f;
    struct cipher cipher;
    if (!cipher_begin(way, &cipher)) {
        return said(CKR_RANDOM_NO_RNG, "RAND_bytes");
    }
    struct kek_p11_outcome outcome =
        kek_p11_encrypt_init(f, session->handle, &cipher.mechanism, kek);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    uint8_t out[OUT_MAX];
    CK_ULONG len = sizeof out;
    struct kek_bytes in = kek_secret_bytes(data_key);
    outcome = kek_p11_encrypt(f, session->handle, in.data, in.len, out, &len);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    return cipher_finish(way, &cipher, out, len, wrapped) ? outcome : said(RV_LENGTH, outcome.call);
}

static struct kek_p11_outcome decrypt(struct kek_provider_session *session,
                                      const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                                      struct kek_bytes blob, struct kek_secret **data_key)
{
    CK_FUNCTION_LIST *f = session->provider->f;
    struct cipher cipher;
    struct kek_bytes rest = cipher_resume(way, blob, &cipher);
    /* Room for what some tokens write before they look at a tag. */
    KEK_AUTO(kek_secret) out = kek_secret_new(OUT_MAX);
    if (out == NULL) {
        return said(CKR_HOST_MEMORY, "kek_secret_new");
    }
    struct kek_p11_outcome outcome =
        kek_p11_decrypt_init(f, session->handle, &cipher.mechanism, kek);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    CK_ULONG len = OUT_MAX;
    outcome = kek_p11_decrypt(f, session->handle, rest.data, rest.len, kek_secret_data(out), &len);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    if (len != KEK_DATA_KEY_LEN) {
        return said(RV_LENGTH, outcome.call);
    }
    struct kek_secret *value = kek_secret_dup(kek_bytes(kek_secret_data(out), KEK_DATA_KEY_LEN));
    if (value == NULL) {
        return said(CKR_HOST_MEMORY, "kek_secret_new");
    }
    *data_key = value;
    return outcome;
}

struct kek_p11_outcome kek_p11_wrap_by(struct kek_provider_session *session,
                                       enum kek_p11_strategy strategy,
                                       const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                                       const struct kek_secret *data_key,
                                       struct kek_provider_wrapped *wrapped)
{
    struct kek_p11_outcome ready = kek_p11_session_ready(session);
    if (!kek_p11_good(ready)) {
        return ready;
    }
    if (strategy == KEK_P11_BY_WRAP_KEY) {
        return wrap_key(session, way, kek, data_key, wrapped);
    }
    struct kek_p11_outcome outcome = encrypt(session, way, kek, data_key, wrapped);
    session->broken = session->broken || !kek_p11_good(outcome);
    return outcome;
}

struct kek_p11_outcome kek_p11_unwrap_by(struct kek_provider_session *session,
                                         enum kek_p11_strategy strategy,
                                         const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                                         struct kek_bytes blob, struct kek_secret **data_key)
{
    struct kek_p11_outcome ready = kek_p11_session_ready(session);
    if (!kek_p11_good(ready)) {
        return ready;
    }
    if (!kek_wrap_alg_fits(way->alg, blob.len)) {
        return said(RV_LENGTH, BLOB);
    }
    if (strategy == KEK_P11_BY_WRAP_KEY) {
        return unwrap_key(session, way, kek, blob, data_key);
    }
    /* A failed C_Decrypt leaves the operation open on some tokens (tpm2-pkcs11). */
    struct kek_p11_outcome outcome = decrypt(session, way, kek, blob, data_key);
    session->broken = session->broken || !kek_p11_good(outcome);
    return outcome;
}
