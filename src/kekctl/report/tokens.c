/* The tokens of a root of trust, as they tell of themselves. */
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "report.h"

static const char *told_by(const char *type)
{
    return strcmp(type, "pkcs11") == 0 ? "the token, by PKCS#11" : "the service, by its API";
}

/* Of one that said nothing it is not known. */
static json_t *is_low(const struct report_root *root, size_t provider, bool low)
{
    return low || root->answers[provider] ? json_boolean(low) : json_string("not known");
}

static json_t *describe(const struct report_root *root, size_t provider)
{
    const struct keys *keys = root->keys;
    const struct kek_config_provider *config = &keys->config->providers[provider];
    const struct listing *listing = &keys->listings[provider];
    struct kek_pool_provider status = {.name = config->name};
    size_t twin = KEK_POOL_ANY;
    bool low = false;
    if (keys->pool != NULL) {
        kek_pool_provider_get(keys->pool, provider, &status);
        twin = kek_pool_twin(keys->pool, provider);
        low = keys_pin_count_low(keys, provider);
    }
    return json_pack("{s:s, s:s, s:b, s:o, s:o, s:o, s:o, s:o, s:s, s:s, s:o, s:o}", "provider",
                     config->name, "type", config->type, "answered", listing->rc == KEK_OK,
                     "token_label", output_text(status.label), "serial", output_text(status.serial),
                     "model", output_text(status.model), "firmware", output_text(status.firmware),
                     "library", output_text(status.library), "told_by", told_by(config->type),
                     "same_token_as",
                     twin == KEK_POOL_ANY ? "" : keys->config->providers[twin].name,
                     "pin_count_low", is_low(root, provider, low), "error",
                     output_text(root->answers[provider] ? "" : listing->why.text));
}

json_t *report_tokens(struct report_root *root)
{
    const struct keys *keys = root->keys;
    json_t *list = json_array(), *why = json_array();
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const char *name = keys->config->providers[p].name;
        if (!report_add(list, describe(root, p))) {
            json_decref(list);
            list = NULL;
        }
        if (!root->answers[p]) {
            const char *text = kek_text_after_name(keys->listings[p].why.text, name);
            (void)report_say(why, "%s did not answer: %s", name, text);
            report_attend(root->report, "provider %s did not answer: %s", name, text);
        }
    }
    return report_section(list == NULL ? NULL : json_pack("{s:o}", "tokens", list), why,
                          root->answered > 0);
}

void report_tokens_show(struct page *page, const json_t *section)
{
    static const struct column columns[] = {{"provider", "Provider"},
                                            {"type", "Type"},
                                            {"answered", "Answered"},
                                            {"token_label", "Label"},
                                            {"serial", "Serial"},
                                            {"model", "Model"},
                                            {"firmware", "Firmware"},
                                            {"library", "Library"},
                                            {"told_by", "Told by"},
                                            {"same_token_as", "Same token as"},
                                            {"pin_count_low", "A wrong PIN was tried"}};
    page_table(page, json_object_get(section, "tokens"), columns,
               sizeof columns / sizeof columns[0], "No provider is configured.");
}
