/*
 * The mechanisms by which a key may leave a token in C_WrapKey, with the parameter that each wants.
 *
 * More than kekd itself wraps by (wrap.c): what counts here is what anybody with the PIN may use.
 */
#ifndef KEK_PKCS11_EXPORTERS_H
#define KEK_PKCS11_EXPORTERS_H

#include "calls.h"

struct kek_p11_exporter {
    CK_MECHANISM_TYPE type;
    const char *name;
    enum {
        KEK_P11_EXPORT_BARE = 0,
        KEK_P11_EXPORT_IV,
        KEK_P11_EXPORT_COUNTER,
        KEK_P11_EXPORT_GCM,
        KEK_P11_EXPORT_OAEP,
        KEK_P11_EXPORT_RSA_AES
    } parameter;
    bool by_rsa; /* the wrapping key is an RSA public key, else AES */
};

/* One call's mechanism, which points into the rest: it stays where it was prepared. */
struct kek_p11_exporter_call {
    CK_MECHANISM mechanism;
    uint8_t iv[16];
    CK_AES_CTR_PARAMS counter;
    CK_GCM_PARAMS gcm;
    CK_RSA_PKCS_OAEP_PARAMS oaep;
    struct { /* CK_RSA_AES_KEY_WRAP_PARAMS, PKCS#11 2.40 section 2.1.21 */
        CK_ULONG bits;
        CK_RSA_PKCS_OAEP_PARAMS *oaep;
    } rsa_aes;
};

const struct kek_p11_exporter *kek_p11_exporters(size_t *count);
bool kek_p11_exporter_is_known(CK_MECHANISM_TYPE type);
void kek_p11_exporter_prepare(const struct kek_p11_exporter *exporter,
                              struct kek_p11_exporter_call *call);

#endif
