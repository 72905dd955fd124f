/*
 * What a provider of type transit has beyond the keys of every provider: where the server is, which key, and how
 * the worker is let in.
 */
#include <string.h>

#include "kek/wire.h"
#include "load.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])
#define SIGNS "ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789_.-"

/* ---- texts ---- */

/* Names joined by "/"; what needs no escape in a URL, and no "." or ".." that would lead elsewhere. */
static bool is_path(const char *text)
{
    for (;; text++) {
        size_t len = strspn(text, SIGNS);
        if (len == 0 || text[0] == '.') {
            return false;
        }
        text += len;
        if (*text != '/') {
            return *text == '\0';
        }
    }
}

static bool is_name(const char *text)
{
    return is_path(text) && strchr(text, '/') == NULL;
}

static const struct text_rule names_rule = {
    is_path, "1 to 255 letters, digits, \"_\", \".\" and \"-\", or several such joined by \"/\""};
static const struct text_rule name_rule = {is_name,
                                           "1 to 255 letters, digits, \"_\", \".\" and \"-\""};

static const char *const auths[] = {"token", "approle", "jwt", "cert"};
static const struct choice auth_choice = {auths, COUNT(auths)};

/* ---- what several keys must be to each other ---- */

static const char *of(const struct kek_config_provider *provider, const char *key)
{
    return kek_config_setting(provider, key);
}

static enum kek_rc missing(struct load *load, const struct kek_doc_node *node, const char *key,
                           const char *auth)
{
    size_t mark = load_enter(load, key);
    enum kek_rc rc =
        load_refuse(load, node, "expected this key beside auth: %s, found it missing", auth);
    load_leave(load, mark);
    return rc;
}

static enum kek_rc foreign(struct load *load, const struct kek_doc_node *node, const char *key,
                           const char *why)
{
    const struct kek_doc_node *at = load_find(node, key);
    size_t mark = load_enter(load, key);
    enum kek_rc rc = load_refuse(load, at->key, "expected no such key %s", why);
    load_leave(load, mark);
    return rc;
}

/* The keys that each way in needs; NULL ends them. */
static const char *const needs[][3] = {
    {"token_file", NULL},
    {"role", "secret_id_file", NULL},
    {"role", "jwt_file", NULL},
    {"cert", NULL},
};
_Static_assert(COUNT(needs) == COUNT(auths), "auths[]");

static enum kek_rc check_auth(struct load *load, const struct kek_doc_node *node,
                              const struct kek_config_provider *provider)
{
    static const char *const files[] = {"token_file", "secret_id_file", "jwt_file"};
    const char *auth = of(provider, "auth");
    size_t which = 0;
    while (strcmp(auths[which], auth) != 0) {
        which++;
    }
    for (size_t i = 0; needs[which][i] != NULL; i++) {
        if (of(provider, needs[which][i]) == NULL) {
            return missing(load, node, needs[which][i], auth);
        }
    }
    for (size_t i = 0; i < COUNT(files); i++) {
        if (i != which && of(provider, files[i]) != NULL) {
            return foreign(load, node, files[i], "beside another auth");
        }
    }
    return KEK_OK;
}

static enum kek_rc check(struct load *load, const struct kek_doc_node *node, void *object)
{
    const struct kek_config_provider *provider = object;
    bool plain = strncmp(of(provider, "address"), "http://", 7) == 0;
    bool has_cert = of(provider, "cert") != NULL, has_key = of(provider, "cert_key") != NULL;
    if (has_cert != has_key) {
        return foreign(load, node, has_cert ? "cert" : "cert_key",
                       "without its partner (cert and cert_key)");
    }
    if (plain && (has_cert || of(provider, "ca") != NULL)) {
        return foreign(load, node, has_cert ? "cert" : "ca", "beside http://");
    }
    enum kek_rc rc = numbers_alone(load, node, provider, "Transit");
    return rc == KEK_OK ? check_auth(load, node, provider) : rc;
}

static const struct field fields[] = {
    {"address", load_setting_text, .min = 1, .max = 300, .required = true, .with = &service_rule},
    {"ca", load_setting_text, .min = 1, .max = 4000, .with = &path_rule},
    {"namespace", load_setting_text, .min = 1, .max = 255, .with = &names_rule},
    {"mount", load_setting_text, .min = 1, .max = 255, .preset = "transit", .with = &names_rule},
    {"key", load_setting_text, .min = 1, .max = 255, .with = &name_rule},
    {"auth", load_setting_choice, .preset = "token", .with = &auth_choice},
    {"auth_mount", load_setting_text, .min = 1, .max = 255, .with = &names_rule},
    {"role", load_setting_text, .min = 1, .max = 255, .with = &name_rule},
    {"token_file", load_setting_text, .min = 1, .max = 4000, .with = &path_rule},
    {"secret_id_file", load_setting_text, .min = 1, .max = 4000, .with = &path_rule},
    {"jwt_file", load_setting_text, .min = 1, .max = 4000, .with = &path_rule},
    {"cert", load_setting_text, .min = 1, .max = 4000, .with = &path_rule},
    {"cert_key", load_setting_text, .min = 1, .max = 4000, .with = &path_rule},
    {"admin_token_file", load_setting_text, .min = 1, .max = 4000, .with = &path_rule},
    {"allow_exportable", load_setting_choice, .preset = "false", .with = &boolean_choice},
};
const struct schema transit_schema = {fields, COUNT(fields), check};

_Static_assert(COUNT(fields) <= KEK_PROVIDER_SETTINGS_MAX, "settings of one provider");
