/*
 * What a provider of type pkcs11 has beyond the keys of every provider.
 *
 * A reader checks a value and leaves it in the provider's settings as the file has it: only the worker
 * makes something of it.
 */
#include <inttypes.h>
#include <string.h>

#include "kek/wire.h"
#include "load.h"

#define COUNT(array) (sizeof(array) / sizeof(array)[0])

static enum kek_rc read_uri(struct load *load, const struct kek_doc_node *node,
                            const struct field *field, void *object)
{
    if (node->kind != KEK_DOC_SCALAR) {
        return load_expected(load, node, "a PKCS#11 URI");
    }
    if (strlen(node->text) > field->max) {
        return load_refuse(load, node, "expected a PKCS#11 URI of at most %" PRIu64 " bytes",
                           field->max);
    }
    struct kek_why inner;
    if (kek_config_check_pkcs11_uri(node->text, &inner) != KEK_OK) {
        return load_refuse(load, node, "%s", inner.text);
    }
    return load_add_setting(load, object, field->name, node->text);
}

static const struct text_rule init_args_rule = {load_any_text, "a string of 1 to 1024 bytes"};
static const char *const strategies[] = {"auto", "wrap-key", "encrypt"};
static const struct choice strategy_choice = {strategies, COUNT(strategies)};

static const struct field fields[] = {
    {"uri", read_uri, .max = KEK_CONFIG_URI_MAX, .required = true},
    {"strategy", load_setting_choice, .preset = "auto", .with = &strategy_choice},
    {"init_args", load_setting_text, .min = 1, .max = 1024, .with = &init_args_rule},
};
const struct schema pkcs11_schema = {fields, COUNT(fields), .check = NULL};

_Static_assert(COUNT(fields) <= KEK_PROVIDER_SETTINGS_MAX, "settings of one provider");
