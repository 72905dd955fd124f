/* Configuration files. */
#include "fuzz.h"

#include <string.h>

#include "kek/config.h"

/* What must hold of everything that is accepted. */
static void check_config(const struct kek_config *config)
{
    FUZZ_CHECK(config->listen[0] == '/' && strlen(config->listen) <= 107);
    FUZZ_CHECK(strlen(config->keyring) <= 63 && strlen(config->context) <= 255);
    FUZZ_CHECK(config->context_accept != NULL && config->allow_uid_count >= 1);
    FUZZ_CHECK(config->data_key.max_uses >= 1 && config->data_key.cache_entries >= 1);
    FUZZ_CHECK(config->provider_count >= 1 && config->provider_count <= KEK_CONFIG_PROVIDERS_MAX);
    for (size_t i = 0; i < config->provider_count; i++) {
        const struct kek_config_provider *p = &config->providers[i];
        FUZZ_CHECK(p->processes >= 1 && p->processes <= KEK_CONFIG_PROCESSES_MAX);
        FUZZ_CHECK(p->sessions >= 1 && p->sessions <= KEK_CONFIG_SESSIONS_MAX);
        FUZZ_CHECK(p->timeout_ms > 0 && p->timeout_ms < p->start_timeout_ms);
        FUZZ_CHECK(kek_config_setting(p, "strategy") != NULL);
        FUZZ_CHECK(kek_config_check_pkcs11_uri(kek_config_setting(p, "uri"), NULL) == KEK_OK);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kek_why why = {.rc = KEK_OK};
    KEK_AUTO(kek_config) config = kek_config_parse(kek_bytes(data, size), "f", &why);
    if (config == NULL) {
        FUZZ_CHECK(why.rc == KEK_INVALID || why.rc == KEK_TOO_LARGE);
        FUZZ_CHECK(strncmp(why.text, "f:", 2) == 0);
        for (const char *c = why.text; *c != '\0'; c++) {
            FUZZ_CHECK(*c >= ' ' && *c < 0x7f);
        }
        return 0;
    }
    check_config(config);
    return 0;
}
