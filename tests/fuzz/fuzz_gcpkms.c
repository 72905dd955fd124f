/* Answers of Cloud KMS: encrypt, decrypt, a page of versions, an error. */
#include "fuzz.h"

#include <string.h>

#include "gcp.h"

#define KEY "projects/p/locations/l/keyRings/r/cryptoKeys/k"

static struct kek_provider provider = {.key = KEY, .protection = KEK_GCP_HSM};

static void read_page(const json_t *answer)
{
    struct kek_gcp_table table = {0};
    struct kek_gcp_fault fault = {0};
    char next[64];
    if (kek_gcp_versions_page(&provider, answer, &table, next, sizeof next, &fault)) {
        FUZZ_CHECK(strlen(next) < sizeof next);
    } else {
        FUZZ_CHECK(fault.why.text[0] != '\0');
    }
    for (size_t i = 0; i < table.count; i++) {
        FUZZ_CHECK(table.items[i].number > 0);
        FUZZ_CHECK(table.items[i].fit == (table.items[i].refusal[0] == '\0'));
    }
    kek_gcp_table_done(&table);
}

static void read_calls(const json_t *answer)
{
    struct kek_gcp_fault fault = {0};
    struct kek_provider_wrapped wrapped = {.len = 0};
    KEK_AUTO(kek_secret) key = NULL;
    if (kek_gcp_message_encrypted(answer, KEY "/cryptoKeyVersions/1", KEK_GCP_HSM, &wrapped,
                                  &fault)) {
        FUZZ_CHECK(kek_wrap_alg_fits(wrapped.alg, wrapped.len));
    } else {
        FUZZ_CHECK(wrapped.len == 0 && fault.why.text[0] != '\0');
    }
    if (kek_gcp_message_decrypted(answer, KEK_GCP_HSM, &key, &fault)) {
        FUZZ_CHECK(kek_secret_bytes(key).len == KEK_DATA_KEY_LEN);
    } else {
        FUZZ_CHECK(key == NULL);
    }
    for (long status = 300; status < 600; status += 51) {
        FUZZ_CHECK(!kek_gcp_message_error(answer, status, "decrypt", &fault));
        FUZZ_CHECK(fault.why.code == (unsigned long)status);
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    static bool ready;
    bool locked;
    struct kek_why why;
    if (!ready) {
        kek_bridge_setup();
        ready = kek_secret_setup(64 * 1024, &locked, &why) == KEK_OK;
    }
    KEK_GCP_AUTO_JSON answer = kek_bridge_parse(kek_bytes(data, size), &why);
    if (answer != NULL) {
        read_page(answer);
        read_calls(answer);
    }
    return 0;
}
