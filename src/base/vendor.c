#include "kek/vendor.h"

#include <string.h>

/* Groups as their packages make them, variables as the vendors' manuals have them. */
static const struct kek_vendor vendors[] = {
    {"libsofthsm2", "SOFTHSM2_CONF", "softhsm", true},
    {"libopencryptoki", NULL, "pkcs11", false},
    {"libtpm2_pkcs11", "TPM2_PKCS11_STORE", "tss", false},
    {"libcknfast", NULL, "nfast", false},                        /* nShield */
    {"libCryptoki2", "ChrystokiConfigurationPath", NULL, false}, /* Thales Luna */
    {"libcs_pkcs11_R3", "CS_PKCS11_R3_CFG", NULL, false},        /* Utimaco */
    {"libcs_pkcs11_R2", "CS_PKCS11_R2_CFG", NULL, false},
    {"yubihsm_pkcs11", "YUBIHSM_PKCS11_CONF", NULL, false},
};

static const struct kek_vendor *find(const char *name, bool bare)
{
    for (size_t i = 0; i < sizeof vendors / sizeof vendors[0]; i++) {
        const char *library = vendors[i].library;
        library += bare && strncmp(library, "lib", 3) == 0 ? 3 : 0;
        if (strncmp(name, library, strlen(library)) == 0) {
            return &vendors[i];
        }
    }
    return NULL;
}

const struct kek_vendor *kek_vendor_of_file(const char *path)
{
    const char *slash = strrchr(path, '/');
    return find(slash == NULL ? path : slash + 1, false);
}

const struct kek_vendor *kek_vendor_of_name(const char *name)
{
    return find(name, true);
}
