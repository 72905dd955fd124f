/* PKCS#11 URIs. */
#include "fuzz.h"

#include <string.h>

#include "kek/config.h"

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    char *uri = malloc(size + 1);
    if (uri == NULL) {
        return 0;
    }
    if (size > 0) {
        memcpy(uri, data, size);
    }
    uri[size] = '\0';
    struct kek_why why = {.rc = KEK_OK};
    if (kek_config_check_pkcs11_uri(uri, &why) == KEK_OK) {
        FUZZ_CHECK(strncmp(uri, "pkcs11:", 7) == 0);
        FUZZ_CHECK(strstr(uri, "module-path=/") != NULL || strstr(uri, "module-name=") != NULL ||
                   strchr(uri, '%') != NULL);
        /* Further question marks are part of a value. */
        const char *query = strchr(uri, '?');
        FUZZ_CHECK(query != NULL && strncmp(query, "?pin-value=", 11) != 0);
        FUZZ_CHECK(strstr(query, "&pin-value=") == NULL);
    } else {
        FUZZ_CHECK(why.rc == KEK_INVALID && why.text[0] != '\0');
    }
    free(uri);
    return 0;
}
