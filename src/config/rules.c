/* Rules that several tables have: of texts, choices and versions. */
#include <string.h>

#include "load.h"

#define LOWER "abcdefghijklmnopqrstuvwxyz"
#define UPPER "ABCDEFGHIJKLMNOPQRSTUVWXYZ"
#define DIGIT "0123456789"

static bool spelled(const char *text, const char *first, const char *rest)
{
    return text[0] != '\0' && strchr(first, text[0]) != NULL && text[strspn(text, rest)] == '\0';
}

static bool is_keyring(const char *text)
{
    return spelled(text, LOWER DIGIT, LOWER DIGIT ".-");
}

static bool is_provider_name(const char *text)
{
    return spelled(text, LOWER DIGIT "-", LOWER DIGIT "-");
}

static bool is_account(const char *text)
{
    return spelled(text, LOWER UPPER "_", LOWER UPPER DIGIT "_.-");
}

const struct text_rule keyring_rule = {
    is_keyring, "1 to 63 of a-z, 0-9, \".\" and \"-\", first a letter or digit"};
const struct text_rule provider_rule = {is_provider_name, "1 to 32 of a-z, 0-9 and \"-\""};
const struct text_rule account_rule = {
    is_account, "an account's name of 1 to 32 letters, digits, \"_\", \".\" and \"-\""};

/* What goes there is a credential: in the clear only where it does not leave the machine. */
static bool is_service(const char *text)
{
    return kek_config_is_endpoint(text) && !kek_config_endpoint_is_open(text);
}

const struct text_rule service_rule = {
    is_service, "https://HOST:PORT (or http:// to 127.0.0.1, [::1] or localhost)"};

static const char *const booleans[] = {"false", "true"};
const struct choice boolean_choice = {booleans, sizeof booleans / sizeof booleans[0]};

enum kek_rc numbers_alone(struct load *load, const struct kek_doc_node *node,
                          const struct kek_config_provider *provider, const char *service)
{
    for (size_t i = 0; i < provider->version_count; i++) {
        if (provider->versions[i].label != NULL) {
            const struct kek_doc_node *item = load_item(load_find(node, "versions"), i);
            size_t mark = load_enter(load, "versions");
            load_enter_item(load, i);
            load_enter(load, "label");
            enum kek_rc rc =
                load_refuse(load, load_find(item, "label")->key,
                            "expected no such key: a version of %s has only its number", service);
            load_leave(load, mark);
            return rc;
        }
    }
    return KEK_OK;
}
