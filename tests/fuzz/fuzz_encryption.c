/* An EncryptionConfiguration: what is read is written so that it is read again, and of a phase and the next each reads
 * what the other writes. */
#include "fuzz.h"

#include <string.h>

#include "kek/encryption_config.h"

static void write_out(const struct kek_encryption_config *config, struct kek_buf *out)
{
    kek_buf_init(out, 4u << 20);
    FUZZ_CHECK(kek_encryption_config_write(config, "# comment\n", out, NULL) == KEK_OK);
}

static struct kek_encryption_config *check_again(const struct kek_encryption_config *config)
{
    KEK_AUTO_BUF struct kek_buf first, second;
    struct kek_why why = {.rc = KEK_OK};
    write_out(config, &first);
    struct kek_encryption_config *again =
        kek_encryption_config_parse(kek_buf_bytes(&first), "f", &why);
    FUZZ_CHECK(again != NULL);
    write_out(again, &second);
    FUZZ_CHECK(kek_bytes_equal(kek_buf_bytes(&first), kek_buf_bytes(&second)));
    return again;
}

static struct kek_bytes name_of(const struct kek_encryption_provider *provider)
{
    return kek_bytes_of(provider->key_count > 0 ? provider->keys[0].name : provider->name);
}

/* What the first provider of each list writes, for a resource that is in no other list. */
static void check_read(const struct kek_encryption_config *writes,
                       const struct kek_encryption_config *reads)
{
    for (size_t i = 0; i < writes->rule_count; i++) {
        const struct kek_encryption_rule *rule = &writes->rules[i];
        for (size_t j = 0; j < rule->resource_count; j++) {
            FUZZ_CHECK(kek_encryption_config_reads(
                writes, rule->resources[j], rule->providers[0]->kind, name_of(rule->providers[0])));
            FUZZ_CHECK(kek_encryption_config_reads(
                reads, rule->resources[j], rule->providers[0]->kind, name_of(rule->providers[0])));
        }
    }
}

static void check_phase(const struct kek_encryption_config *config, enum kek_encryption_phase phase)
{
    struct kek_encryption_target target = {.name = "kekd", .endpoint = "unix:///run/kekd/kms.sock"};
    struct kek_encryption_step step;
    struct kek_why why = {.rc = KEK_OK};
    KEK_AUTO(kek_encryption_config) after = check_again(config);
    enum kek_rc rc = kek_encryption_config_advance(after, phase, &target, &step, &why);
    FUZZ_CHECK(rc == KEK_OK || rc == KEK_PRECONDITION || rc == KEK_INVALID);
    if (rc == KEK_OK) {
        KEK_AUTO(kek_encryption_config) again = check_again(after);
        check_read(config, again);
        if (config->rule_count == again->rule_count) {
            check_read(again, config);
        }
    }
}

int LLVMFuzzerTestOneInput(const uint8_t *data, size_t size)
{
    struct kek_why why = {.rc = KEK_OK};
    KEK_AUTO(kek_encryption_config)
    config = kek_encryption_config_parse(kek_bytes(data, size), "f", &why);
    if (config == NULL) {
        FUZZ_CHECK(why.rc == KEK_INVALID || why.rc == KEK_TOO_LARGE);
        FUZZ_CHECK(strncmp(why.text, "f:", 2) == 0);
        return 0;
    }
    for (int phase = KEK_ENCRYPTION_ADD_READER; phase <= KEK_ENCRYPTION_DISABLE; phase++) {
        check_phase(config, (enum kek_encryption_phase)phase);
    }
    return 0;
}
