#include "exporters.h"

#include <string.h>

static const struct kek_p11_exporter exporters[] = {
    {CKM_AES_KEY_WRAP, "CKM_AES_KEY_WRAP", KEK_P11_EXPORT_BARE, false},
    {CKM_AES_KEY_WRAP_KWP, "CKM_AES_KEY_WRAP_KWP", KEK_P11_EXPORT_BARE, false},
    {CKM_AES_KEY_WRAP_PAD, "CKM_AES_KEY_WRAP_PAD", KEK_P11_EXPORT_BARE, false},
    {0x210CUL, "CKM_AES_KEY_WRAP_PKCS7", KEK_P11_EXPORT_BARE, false}, /* PKCS#11 3.1 */
    {CKM_AES_ECB, "CKM_AES_ECB", KEK_P11_EXPORT_BARE, false},
    {CKM_AES_CBC, "CKM_AES_CBC", KEK_P11_EXPORT_IV, false},
    {CKM_AES_CBC_PAD, "CKM_AES_CBC_PAD", KEK_P11_EXPORT_IV, false},
    {CKM_AES_CTR, "CKM_AES_CTR", KEK_P11_EXPORT_COUNTER, false},
    {CKM_AES_GCM, "CKM_AES_GCM", KEK_P11_EXPORT_GCM, false},
    {CKM_RSA_PKCS, "CKM_RSA_PKCS", KEK_P11_EXPORT_BARE, true},
    {CKM_RSA_X_509, "CKM_RSA_X_509", KEK_P11_EXPORT_BARE, true},
    {CKM_RSA_PKCS_OAEP, "CKM_RSA_PKCS_OAEP", KEK_P11_EXPORT_OAEP, true},
    {CKM_RSA_AES_KEY_WRAP, "CKM_RSA_AES_KEY_WRAP", KEK_P11_EXPORT_RSA_AES, true},
};
#define COUNT (sizeof exporters / sizeof exporters[0])

const struct kek_p11_exporter *kek_p11_exporters(size_t *count)
{
    *count = COUNT;
    return exporters;
}

bool kek_p11_exporter_is_known(CK_MECHANISM_TYPE type)
{
    for (size_t i = 0; i < COUNT; i++) {
        if (exporters[i].type == type) {
            return true;
        }
    }
    return false;
}

static void take(struct kek_p11_exporter_call *call, void *parameter, CK_ULONG len)
{
    call->mechanism.pParameter = parameter;
    call->mechanism.ulParameterLen = len;
}

void kek_p11_exporter_prepare(const struct kek_p11_exporter *exporter,
                              struct kek_p11_exporter_call *call)
{
    memset(call, 0, sizeof *call);
    call->mechanism.mechanism = exporter->type;
    /* With SHA-1, which more tokens know than any other. */
    call->oaep.hash_alg = CKM_SHA_1;
    call->oaep.mgf = CKG_MGF1_SHA1;
    call->oaep.source = CKZ_DATA_SPECIFIED;
    switch (exporter->parameter) {
    case KEK_P11_EXPORT_BARE:
        break;
    case KEK_P11_EXPORT_IV:
        take(call, call->iv, sizeof call->iv);
        break;
    case KEK_P11_EXPORT_COUNTER:
        call->counter.counter_bits = 32;
        take(call, &call->counter, sizeof call->counter);
        break;
    case KEK_P11_EXPORT_GCM:
        call->gcm.pIv = call->iv;
        call->gcm.ulIvLen = 12;
        call->gcm.ulIvBits = 96;
        call->gcm.ulTagBits = 128;
        take(call, &call->gcm, sizeof call->gcm);
        break;
    case KEK_P11_EXPORT_OAEP:
        take(call, &call->oaep, sizeof call->oaep);
        break;
    case KEK_P11_EXPORT_RSA_AES:
        call->rsa_aes.bits = 256;
        call->rsa_aes.oaep = &call->oaep;
        take(call, &call->rsa_aes, sizeof call->rsa_aes);
        break;
    }
}
