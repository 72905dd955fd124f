/* A kubeconfig, as anybody may hand it to kekctl. */
#include "fuzz.h"

#include <string.h>

#include "kek/kubeapi.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kek_why why = {.text = ""};
    bool locked;
    FUZZ_CHECK(kek_secret_setup(1 << 20, &locked, NULL) == KEK_OK);
    KEK_AUTO(kek_kubeconfig)
    config = kek_kubeconfig_parse(kek_bytes(data, size), "k", NULL, &why);
    FUZZ_CHECK((config != NULL) == (why.text[0] == '\0'));
    FUZZ_CHECK(strpbrk(why.text, "\n\r\x1b") == NULL);
    if (config != NULL) {
        FUZZ_CHECK(config->server != NULL && config->context != NULL);
        FUZZ_CHECK((config->cert.len > 0 || config->cert_file != NULL) ==
                   (config->key != NULL || config->key_file != NULL));
    }
    return 0;
}
