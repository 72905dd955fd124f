#include "p11.h"

#include <stdio.h>
#include <string.h>

#include <openssl/core_names.h>
#include <openssl/evp.h>
#include <openssl/rsa.h>

#include "exporters.h"

/* CKA_EXTRACTABLE=false is what a token says of a key; some hand it out all the same (NSS wraps such a key
 * with CKR_OK). So a throw-away key, made like a KEK, is asked for in every way that PKCS#11 has: its value;
 * wrapped by another key, of the token's making or from outside; a copy that is extractable; made so
 * itself. Nothing of it is kept. */

#define CALL_STEP KEK__PROVIDER__STEP__PROVIDER_CALL
#define RSA_BITS 2048
#define WRAPPED_MAX 1024 /* an RSA block, and what RSA_AES_KEY_WRAP puts behind it */

struct hunt {
    const struct kek_provider *provider;
    CK_SESSION_HANDLE session;
    struct {
        CK_OBJECT_HANDLE handle;
        bool exists;
    } aes, rsa; /* what wraps */
    struct kek_provider_keeping *keeping;
    struct kek_p11_outcome last; /* a failure of the token rather than a refusal */
};

/* True: the token gave the key away, by this. */
static bool found(struct hunt *hunt, const char *before, const char *by, const char *with)
{
    hunt->keeping->outcome = KEK_KEEPING_HANDED_OUT;
    snprintf(hunt->keeping->text, sizeof hunt->keeping->text, "%s%s%s", before, by, with);
    return true;
}

static bool reads_value(struct hunt *hunt, CK_OBJECT_HANDLE key, const char *before)
{
    KEK_AUTO(kek_secret) value = kek_secret_new(KEK_DATA_KEY_LEN);
    if (value == NULL) {
        hunt->last = (struct kek_p11_outcome){.rv = CKR_HOST_MEMORY, .call = "kek_secret_new"};
        return false;
    }
    CK_ATTRIBUTE attribute = {CKA_VALUE, kek_secret_data(value), KEK_DATA_KEY_LEN};
    struct kek_p11_outcome outcome =
        kek_p11_get_attributes(hunt->provider->f, hunt->session, key, &attribute, 1);
    return kek_p11_good(outcome) && attribute.ulValueLen == KEK_DATA_KEY_LEN &&
           found(hunt, before, "C_GetAttributeValue", " of CKA_VALUE");
}

static bool wraps(struct hunt *hunt, const struct kek_p11_exporter *exporter, CK_OBJECT_HANDLE key,
                  const char *before)
{
    struct kek_p11_exporter_call call;
    uint8_t out[WRAPPED_MAX];
    CK_ULONG len = sizeof out;
    bool by_rsa = exporter->by_rsa;
    if (by_rsa ? !hunt->rsa.exists : !hunt->aes.exists) {
        return false;
    }
    kek_p11_exporter_prepare(exporter, &call);
    CK_OBJECT_HANDLE by = by_rsa ? hunt->rsa.handle : hunt->aes.handle;
    struct kek_p11_outcome outcome =
        kek_p11_wrap_key(hunt->provider->f, hunt->session, &call.mechanism, by, key, out, &len);
    if (kek_p11_class_of(outcome.rv) == KEK_P11_BUSY) {
        /* No room for it is no refusal. */
        const struct kek_p11_outcome first = outcome;
        len = sizeof out;
        outcome =
            kek_p11_wrap_key(hunt->provider->f, hunt->session, &call.mechanism, by, key, out, &len);
        if (kek_p11_passed(first, outcome)) {
            kek_p11_again(first);
        }
    }
    if (!kek_p11_good(outcome) || len == 0) {
        return false;
    }
    char with[80];
    snprintf(with, sizeof with, " by %s%s", exporter->name,
             by_rsa ? " under a foreign RSA key" : "");
    return found(hunt, before, "C_WrapKey", with);
}

/* A mechanism that nobody here knows, but the token says that it wraps. */
static bool wraps_by_listed(struct hunt *hunt, CK_MECHANISM_TYPE type, CK_OBJECT_HANDLE key,
                            const char *before)
{
    const struct kek_provider *provider = hunt->provider;
    CK_MECHANISM_INFO info = {0};
    if (kek_p11_exporter_is_known(type) ||
        !kek_p11_good(kek_p11_get_mechanism_info(provider->f, provider->slot, type, &info)) ||
        (info.flags & CKF_WRAP) == 0) {
        return false;
    }
    char name[32];
    snprintf(name, sizeof name, "mechanism 0x%lx", type);
    struct kek_p11_exporter exporter = {.type = type, .name = name};
    if (wraps(hunt, &exporter, key, before)) {
        return true;
    }
    exporter.by_rsa = true;
    return wraps(hunt, &exporter, key, before);
}

static bool is_handed_out(struct hunt *hunt, CK_OBJECT_HANDLE key, const char *before)
{
    if (reads_value(hunt, key, before)) {
        return true;
    }
    size_t count;
    const struct kek_p11_exporter *exporters = kek_p11_exporters(&count);
    for (size_t i = 0; i < count; i++) {
        if (wraps(hunt, &exporters[i], key, before)) {
            return true;
        }
    }
    for (size_t i = 0; i < hunt->provider->mechanism_count; i++) {
        if (wraps_by_listed(hunt, hunt->provider->mechanisms[i], key, before)) {
            return true;
        }
    }
    return false;
}

/* What a key is told to be, so that it may leave. */
static CK_ULONG loosened(int variant, CK_ATTRIBUTE attributes[static 2])
{
    static CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    CK_ULONG count = 0;
    if (variant != 2) {
        attributes[count++] = (CK_ATTRIBUTE){CKA_EXTRACTABLE, &yes, sizeof yes};
    }
    if (variant != 1) {
        attributes[count++] = (CK_ATTRIBUTE){CKA_SENSITIVE, &no, sizeof no};
    }
    return count;
}
#define LOOSENED 3

static bool is_handed_out_as_a_copy(struct hunt *hunt, CK_OBJECT_HANDLE key)
{
    for (int variant = 0; variant < LOOSENED; variant++) {
        CK_ATTRIBUTE attributes[2];
        CK_OBJECT_HANDLE copy;
        CK_ULONG count = loosened(variant, attributes);
        if (!kek_p11_good(kek_p11_copy_object(hunt->provider->f, hunt->session, key, attributes,
                                              count, &copy))) {
            continue;
        }
        bool out = is_handed_out(hunt, copy, "C_CopyObject, then ");
        (void)kek_p11_destroy_object(hunt->provider->f, hunt->session, copy);
        if (out) {
            return true;
        }
    }
    return false;
}

static bool is_handed_out_after_a_change(struct hunt *hunt, CK_OBJECT_HANDLE key)
{
    for (int variant = 0; variant < LOOSENED; variant++) {
        CK_ATTRIBUTE attributes[2];
        CK_ULONG count = loosened(variant, attributes);
        if (kek_p11_good(
                kek_p11_set_attributes(hunt->provider->f, hunt->session, key, attributes, count)) &&
            is_handed_out(hunt, key, "C_SetAttributeValue, then ")) {
            return true;
        }
    }
    return false;
}

/* An RSA key whose other half somebody outside would have. */
static bool make_foreign_key(struct hunt *hunt)
{
    static uint8_t exponent[] = {1, 0, 1};
    uint8_t modulus[RSA_BITS / 8];
    CK_OBJECT_CLASS class = CKO_PUBLIC_KEY;
    CK_KEY_TYPE type = CKK_RSA;
    CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    BIGNUM *n = NULL;
    EVP_PKEY *pair = EVP_RSA_gen(RSA_BITS);
    bool made = pair != NULL && EVP_PKEY_get_bn_param(pair, OSSL_PKEY_PARAM_RSA_N, &n) == 1 &&
                BN_bn2binpad(n, modulus, sizeof modulus) == (int)sizeof modulus;
    BN_free(n);
    EVP_PKEY_free(pair);
    if (!made) {
        hunt->last = (struct kek_p11_outcome){.rv = CKR_HOST_MEMORY, .call = "EVP_RSA_gen"};
        return false;
    }
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &no, sizeof no},
        {CKA_WRAP, &yes, sizeof yes},
        {CKA_MODULUS, modulus, sizeof modulus},
        {CKA_PUBLIC_EXPONENT, exponent, sizeof exponent},
    };
    return kek_p11_good(kek_p11_create_object(hunt->provider->f, hunt->session, attributes,
                                              sizeof attributes / sizeof attributes[0],
                                              &hunt->rsa.handle));
}

static bool make_token_key(struct hunt *hunt)
{
    static const struct kek_id any = {{0}};
    const struct kek_p11_making making = {.label = "kekd-probe",
                                          .kek_id = &any,
                                          .strategy = KEK_P11_BY_WRAP_KEY,
                                          .state = KEK_STATE_ACTIVE};
    return kek_p11_good(
        kek_p11_make_key(hunt->provider, hunt->session, &making, &hunt->aes.handle));
}

/* Refusals count only of a key that is still there. */
static struct kek_p11_outcome is_there(const struct hunt *hunt, CK_OBJECT_HANDLE key)
{
    CK_OBJECT_CLASS class = 0;
    CK_ATTRIBUTE attribute = {CKA_CLASS, &class, sizeof class};
    return kek_p11_get_attributes(hunt->provider->f, hunt->session, key, &attribute, 1);
}

bool kek_p11_keep(const struct kek_provider *provider, enum kek_p11_strategy strategy,
                  struct kek_provider_keeping *keeping, struct kek_provider_failure *failure)
{
    struct kek_p11_throwaway kek;
    struct kek_p11_outcome outcome = kek_p11_throwaway_make(provider, strategy, &kek);
    switch (kek_p11_class_of(outcome.rv)) {
    case KEK_P11_OK:
        break;
    case KEK_P11_LINK:
    case KEK_P11_BUSY:
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    default:
        keeping->outcome = KEK_KEEPING_UNTRIED;
        keeping->native = outcome.rv;
        snprintf(keeping->text, sizeof keeping->text, "%s: %s (0x%lx)", outcome.call,
                 kek_p11_rv_name(outcome.rv), outcome.rv);
        return true;
    }
    struct hunt hunt = {.provider = provider, .session = kek.session, .keeping = keeping};
    hunt.last = outcome;
    hunt.aes.exists = make_token_key(&hunt);
    hunt.rsa.exists = make_foreign_key(&hunt);
    bool out = is_handed_out(&hunt, kek.key, "") || is_handed_out_as_a_copy(&hunt, kek.key) ||
               is_handed_out_after_a_change(&hunt, kek.key);
    if (!out && kek_p11_good(hunt.last)) {
        hunt.last = is_there(&hunt, kek.key);
    }
    if (hunt.rsa.exists) {
        (void)kek_p11_destroy_object(provider->f, kek.session, hunt.rsa.handle);
    }
    if (hunt.aes.exists) {
        (void)kek_p11_destroy_object(provider->f, kek.session, hunt.aes.handle);
    }
    kek_p11_throwaway_end(provider, &kek);
    if (!out && !kek_p11_good(hunt.last)) {
        return kek_p11_fail_as(failure, CALL_STEP, KEK__PROVIDER__CAUSE__LINK, hunt.last);
    }
    keeping->outcome = out ? KEK_KEEPING_HANDED_OUT : KEK_KEEPING_KEPT;
    return true;
}
