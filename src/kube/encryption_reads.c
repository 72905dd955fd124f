/* Who reads what is stored: as the API server looks for a provider. */
#include <stdio.h>
#include <string.h>

#include "encryption_list.h"

static bool provider_reads(const struct kek_encryption_provider *provider, enum kek_kube_kind kind,
                           struct kek_bytes name)
{
    if (provider->kind != kind) {
        return false;
    }
    for (size_t i = 0; i < provider->key_count; i++) {
        if (kek_bytes_equal(kek_bytes_of(provider->keys[i].name), name)) {
            return true;
        }
    }
    return kind == KEK_KUBE_PLAIN ||
           (provider->name != NULL && kek_bytes_equal(kek_bytes_of(provider->name), name));
}

/* Of all lists that have this very name; *found: there is one. */
static bool named_reads(const struct kek_encryption_config *config, const char *name,
                        enum kek_kube_kind kind, struct kek_bytes provider, bool *found)
{
    bool reads = false;
    for (size_t i = 0; i < config->rule_count; i++) {
        const struct kek_encryption_rule *rule = &config->rules[i];
        if (encryption_find_resource(rule, name) == ENCRYPTION_NONE) {
            continue;
        }
        *found = true;
        for (size_t j = 0; j < rule->provider_count; j++) {
            reads |= provider_reads(rule->providers[j], kind, provider);
        }
    }
    return reads;
}

bool kek_encryption_config_reads(const struct kek_encryption_config *config, const char *resource,
                                 enum kek_kube_kind kind, struct kek_bytes provider)
{
    char group[256];
    bool found = false;
    size_t dot = strcspn(resource, ".");
    snprintf(group, sizeof group, "*.%s", resource + dot + (resource[dot] == '.' ? 1 : 0));
    const char *const names[] = {resource, group, "*.*"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        bool reads = named_reads(config, names[i], kind, provider, &found);
        if (found) {
            return reads;
        }
    }
    return kind == KEK_KUBE_PLAIN; /* what no list has is plain */
}
