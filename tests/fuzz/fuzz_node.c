/* A node's page, as another machine may send it to kekctl. */
#include "fuzz.h"

#include <string.h>

#include "kekctl/node/node_parse.h"

static void is_text(const char *text, size_t size)
{
    FUZZ_CHECK(memchr(text, '\0', size) != NULL);
    FUZZ_CHECK(strpbrk(text, "\n\r\x1b") == NULL);
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static struct node_status status; /* too large for a stack */
    struct kek_why why;
    json_t *page = json_loadb((const char *)data, size, JSON_REJECT_DUPLICATES, NULL);
    if (page == NULL) {
        return 0;
    }
    bool good = node_parse(page, "", &status, &why);
    is_text(status.node, sizeof status.node);
    is_text(status.what, sizeof status.what);
    is_text(status.health, sizeof status.health);
    FUZZ_CHECK(status.version_count <= KEK_PROVIDER_VERSIONS_MAX);
    FUZZ_CHECK(status.sealing_count <= KEK_PROVIDER_VERSIONS_MAX);
    FUZZ_CHECK(status.provider_count <= KEK_CONFIG_PROVIDERS_MAX);
    if (good) {
        FUZZ_CHECK(status.now_ms != 0);
        is_text(status.primary.key_id, sizeof status.primary.key_id);
        is_text(status.primary.key_id_hash, sizeof status.primary.key_id_hash);
        for (size_t i = 0; i < status.version_count; i++) {
            FUZZ_CHECK(status.versions[i].state <= KEK_KEYRING_KEY_ACTIVE);
        }
    } else {
        is_text(why.text, sizeof why.text);
    }
    json_decref(page);
    return 0;
}
