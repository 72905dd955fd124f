/* Who reads what is stored: as the API server looks for a provider. */
#include <stdio.h>
#include <string.h>

#include "encryption_list.h"
#include "encryption_rules.h"

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

/* The name by which lists have the resource: its own, all of its group, all of everything.  NULL: none has it. */
#define GROUP_TEXT 256
static const char *governing(const struct kek_encryption_config *config, const char *resource,
                             char group[static GROUP_TEXT])
{
    size_t dot = strcspn(resource, ".");
    snprintf(group, GROUP_TEXT, "*.%s", resource + dot + (resource[dot] == '.' ? 1 : 0));
    const char *const names[] = {resource, group, "*.*"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        for (size_t j = 0; j < config->rule_count; j++) {
            if (encryption_find_resource(&config->rules[j], names[i]) != ENCRYPTION_NONE) {
                return names[i];
            }
        }
    }
    return NULL;
}

bool kek_encryption_config_reads(const struct kek_encryption_config *config, const char *resource,
                                 enum kek_kube_kind kind, struct kek_bytes provider)
{
    char group[GROUP_TEXT];
    const char *name = governing(config, resource, group);
    bool reads = name == NULL && kind == KEK_KUBE_PLAIN; /* what no list has is plain */
    for (size_t i = 0; name != NULL && i < config->rule_count; i++) {
        const struct kek_encryption_rule *rule = &config->rules[i];
        bool has = encryption_find_resource(rule, name) != ENCRYPTION_NONE;
        for (size_t j = 0; has && j < rule->provider_count; j++) {
            reads |= provider_reads(rule->providers[j], kind, provider);
        }
    }
    return reads;
}

const struct kek_encryption_provider *
kek_encryption_config_writer(const struct kek_encryption_config *config, const char *resource)
{
    char group[GROUP_TEXT];
    const char *name = governing(config, resource, group);
    for (size_t i = 0; name != NULL && i < config->rule_count; i++) {
        const struct kek_encryption_rule *rule = &config->rules[i];
        if (encryption_find_resource(rule, name) != ENCRYPTION_NONE && rule->provider_count > 0) {
            return rule->providers[0];
        }
    }
    return NULL;
}

/* ---- by the keys that stand in the file ---- */

/* Base64 that was read as such. NULL: the arena is full. */
static struct kek_secret *decode(const char *base64)
{
    size_t len = 0, at = 0;
    uint32_t bits = 0;
    unsigned have = 0;
    struct kek_secret *secret =
        encryption_secret_len(base64, &len) && len > 0 ? kek_secret_new(len) : NULL;
    for (; secret != NULL && at < len; base64++) {
        const char *letter = strchr(encryption_base64, *base64);
        if (letter == NULL) {
            continue; /* the end of a line */
        }
        bits = bits << 6 | (uint32_t)(letter - encryption_base64);
        have += 6;
        if (have >= 8) {
            have -= 8;
            kek_secret_data(secret)[at++] = (uint8_t)(bits >> have);
        }
    }
    return secret;
}

/* Takes the value apart behind this name, as the API server does, whatever ':' there are.  False: it is another. */
static bool split_behind(const char *name, struct kek_kube_stored *stored)
{
    const uint8_t *begin = stored->provider.data, *end = stored->data.data + stored->data.len;
    size_t len = strlen(name), all = begin == NULL ? 0 : (size_t)(end - begin);
    if (all <= len || memcmp(begin, name, len) != 0 || begin[len] != ':') {
        return false;
    }
    stored->provider = kek_bytes(begin, len);
    stored->data = kek_bytes(begin + len + 1, all - len - 1);
    stored->ambiguous = false;
    return true;
}

void kek_encryption_config_name(const struct kek_encryption_config *config, const char *resource,
                                struct kek_kube_stored *stored)
{
    char group[GROUP_TEXT];
    const char *name = governing(config, resource, group);
    for (size_t i = 0; name != NULL && i < config->rule_count; i++) {
        const struct kek_encryption_rule *rule = &config->rules[i];
        bool has = encryption_find_resource(rule, name) != ENCRYPTION_NONE;
        for (size_t j = 0; has && j < rule->provider_count; j++) {
            const struct kek_encryption_provider *provider = rule->providers[j];
            for (size_t k = 0; provider->kind == stored->kind && k < provider->key_count; k++) {
                if (split_behind(provider->keys[k].name, stored)) {
                    return;
                }
            }
        }
    }
}

/* KEK_NOT_FOUND: the value is not under a key of this name. */
static enum kek_rc open_by(const struct kek_encryption_key *key,
                           const struct kek_kube_stored *stored, struct kek_bytes etcd_key,
                           struct kek_why *why)
{
    struct kek_kube_stored under = *stored;
    if (!split_behind(key->name, &under)) {
        return KEK_NOT_FOUND;
    }
    KEK_AUTO(kek_secret) secret = decode(key->secret);
    if (secret == NULL) {
        return kek_fail(why, KEK_EXHAUSTED, "locked arena is full: no room for a key");
    }
    return kek_kube_open(&under, etcd_key, secret, why);
}

/* Of one list. The first that opens it does, as for the API server; *rc stays what it was where no key has the name. */
static void open_in(const struct kek_encryption_rule *rule, const struct kek_kube_stored *stored,
                    struct kek_bytes etcd_key, enum kek_rc *rc, struct kek_why *why)
{
    for (size_t i = 0; i < rule->provider_count; i++) {
        const struct kek_encryption_provider *provider = rule->providers[i];
        for (size_t j = 0; provider->kind == stored->kind && j < provider->key_count; j++) {
            enum kek_rc tried = open_by(&provider->keys[j], stored, etcd_key, why);
            *rc = tried == KEK_NOT_FOUND ? *rc : tried;
            if (tried != KEK_NOT_FOUND && tried != KEK_DAMAGED) {
                return;
            }
        }
    }
}

enum kek_rc kek_encryption_config_open(const struct kek_encryption_config *config,
                                       const char *resource, const struct kek_kube_stored *stored,
                                       struct kek_bytes etcd_key, struct kek_why *why)
{
    char group[GROUP_TEXT];
    const char *name = governing(config, resource, group);
    enum kek_rc rc = kek_fail(why, KEK_NOT_FOUND, "the configuration has no key of that name");
    for (size_t i = 0; name != NULL && i < config->rule_count; i++) {
        const struct kek_encryption_rule *rule = &config->rules[i];
        if (encryption_find_resource(rule, name) != ENCRYPTION_NONE) {
            open_in(rule, stored, etcd_key, &rc, why);
        }
        if (rc != KEK_NOT_FOUND && rc != KEK_DAMAGED) {
            return rc;
        }
    }
    return rc;
}
