/*
 * What a provider of type gcpkms has beyond the keys of every provider: which key of Google Cloud KMS, how much must
 * protect it, and who kekd is to Google.
 */
#include <string.h>

#include "kek/wire.h"
#include "load.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define LETTER LOWER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

/* ---- texts ---- */

/* The parts of a key's name, in their order. */
static const struct part {
    const char *collection, *bytes;
} parts[] = {
    {"projects/", LOWER DIGIT "-.:"},
    {"/locations/", LOWER DIGIT "-"},
    {"/keyRings/", LETTER DIGIT "-_"},
    {"/cryptoKeys/", LETTER DIGIT "-_"},
};

static bool is_key(const char *text)
{
    for (size_t i = 0; i < COUNT(parts); i++) {
        size_t begin = strlen(parts[i].collection);
        if (strncmp(text, parts[i].collection, begin) != 0) {
            return false;
        }
        size_t len = strspn(text + begin, parts[i].bytes);
        if (len == 0 || len > 63) {
            return false;
        }
        text += begin + len;
    }
    return *text == '\0';
}

static bool is_credentials(const char *text)
{
    static const char file[] = "file:/", credential[] = "credential:";
    const char *name = text + sizeof credential - 1;
    if (strcmp(text, "metadata") == 0 || strncmp(text, file, sizeof file - 1) == 0) {
        return true;
    }
    return strncmp(text, credential, sizeof credential - 1) == 0 && name[0] != '\0' &&
           name[0] != '.' && strchr(name, '/') == NULL;
}

/* libcurl's words for what it tunnels through. */
static bool is_proxy(const char *text)
{
    static const char *const schemes[] = {"http://", "https://", "socks5h://"};
    for (size_t i = 0; i < COUNT(schemes); i++) {
        size_t len = strlen(schemes[i]);
        if (strncmp(text, schemes[i], len) == 0) {
            return text[len] != '\0' && strpbrk(text + len, "/@ ") == NULL;
        }
    }
    return false;
}

static const struct text_rule key_rule = {
    is_key, "projects/P/locations/L/keyRings/R/cryptoKeys/K, without a version"};
static const struct text_rule credentials_rule = {
    is_credentials, "file:/absolute/path, credential:NAME or metadata"};
static const struct text_rule proxy_rule = {is_proxy, "http://, https:// or socks5h://HOST:PORT"};

static const char *const levels[] = {"hsm", "hsm-single-tenant", "any"};
static const struct choice level_choice = {levels, COUNT(levels)};

static const char *const attestations[] = {"off", "warn", "require"};
static const struct choice attestation_choice = {attestations, COUNT(attestations)};

/* ---- what several keys must be to each other ---- */

static enum kek_rc check(struct load *load, const struct kek_doc_node *node, void *object)
{
    const struct kek_config_provider *provider = object;
    /* Transit has a key of this name that may be absent, and the manual page has them as one. */
    if (kek_config_setting(provider, "key") == NULL) {
        size_t mark = load_enter(load, "key");
        enum kek_rc rc = load_refuse(load, node, "expected this key, found it missing");
        load_leave(load, mark);
        return rc;
    }
    bool wants = kek_config_setting(provider, "attestation") != NULL &&
                 strcmp(kek_config_setting(provider, "attestation"), "off") != 0;
    if (wants && (kek_config_setting(provider, "manufacturer_root") == NULL ||
                  kek_config_setting(provider, "owner_root") == NULL)) {
        size_t mark = load_enter(load, "attestation");
        enum kek_rc rc = load_refuse(load, node,
                                     "expected manufacturer_root and owner_root beside it: a "
                                     "statement is verified by both");
        load_leave(load, mark);
        return rc;
    }
    return numbers_alone(load, node, provider, "Cloud KMS");
}

static const struct field fields[] = {
    {"key", load_setting_text, .min = 1, .max = 255, .with = &key_rule},
    {"credentials", load_setting_text, .min = 1, .max = 4000, .required = true,
     .with = &credentials_rule},
    {"admin_credentials", load_setting_text, .min = 1, .max = 4000, .with = &credentials_rule},
    {"protection", load_setting_choice, .preset = "hsm", .with = &level_choice},
    {"endpoint", load_setting_text, .min = 1, .max = 300, .with = &service_rule},
    {"ca", load_setting_text, .min = 1, .max = 4000, .with = &path_rule},
    {"attestation", load_setting_choice, .with = &attestation_choice},
    {"manufacturer_root", load_setting_text, .min = 1, .max = 4000, .with = &path_rule},
    {"owner_root", load_setting_text, .min = 1, .max = 4000, .with = &path_rule},
    {"proxy", load_setting_text, .min = 1, .max = 300, .with = &proxy_rule},
};
const struct schema gcpkms_schema = {fields, COUNT(fields), check};

_Static_assert(COUNT(fields) <= KEK_PROVIDER_SETTINGS_MAX, "settings of one provider");
