/* Every KEK version on every provider, with the attributes of its key: yes, no, and what the token does not tell. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "report.h"

#define KEY_TYPE_AES 0x1f /* CKK_AES, PKCS#11 2.40 */

/* The names of the attributes of which the token says this. */
static json_t *attributes(const struct kek_provider_object *object, enum kek_tri value)
{
    json_t *names = json_array();
    for (size_t i = 0; i < object->attribute_count; i++) {
        if (object->attributes[i].value == value) {
            (void)report_say(names, "%s", object->attributes[i].name);
        }
    }
    return names;
}

static json_t *key_type(uint64_t type)
{
    char text[32];
    snprintf(text, sizeof text, "0x%" PRIx64, type);
    return json_string(type == UINT64_MAX ? "not told" : type == KEY_TYPE_AES ? "AES" : text);
}

static json_t *describe(const struct kek_provider_object *object, const json_t *version)
{
    char id[2 * KEK_PROVIDER_OBJECT_ID_MAX + 1], label[KEK_LABEL_MAX], bits[32] = "not told";
    size_t id_len = object->id_len < sizeof object->id ? object->id_len : sizeof object->id;
    kek_hex(kek_bytes(object->id, id_len), id);
    kek_text_copy(label, sizeof label, (const char *)object->label);
    if (object->value_len != UINT64_MAX) {
        snprintf(bits, sizeof bits, "%" PRIu64, 8 * object->value_len);
    }
    return json_pack(
        "{s:O, s:s, s:o, s:s, s:o, s:s, s:o, s:o, s:o, s:I, s:o}", "version",
        json_object_get(version, "version"), "provider", report_text(version, "provider"), "label",
        output_text(label), "cka_id", id, "key_type", key_type(object->key_type), "bits", bits,
        "yes", attributes(object, KEK_TRI_YES), "no", attributes(object, KEK_TRI_NO), "not_told",
        attributes(object, KEK_TRI_UNTOLD), "other_keys_with_its_id", (json_int_t)object->id_keys,
        "refusal", output_text(object->named ? object->named_refusal : object->refusal));
}

/* The key of this version on this provider; there may be more of its CKA_ID, which are shown too. */
static bool ask(const struct report_root *root, const json_t *version, json_t *list, json_t *why)
{
    struct keys *keys = root->keys;
    size_t provider = report_provider(keys, report_text(version, "provider"));
    const char *type = keys->config->providers[provider].type;
    if (strcmp(type, "pkcs11") != 0) {
        return report_say(why, "%s is a service (%s): its versions have no attributes to show",
                          report_text(version, "provider"), type);
    }
    if (keys_describe(keys, provider, report_text(version, "kek_id"), 0) != KEK_OK) {
        return report_say(why, "%s did not tell of version %" JSON_INTEGER_FORMAT ": %s",
                          report_text(version, "provider"),
                          json_integer_value(json_object_get(version, "version")),
                          kek_text_after_name(keys->listings[provider].why.text,
                                              keys->config->providers[provider].name));
    }
    const struct kek_provider_described *described = keys->listings[provider].described;
    for (size_t i = 0; i < described->object_count; i++) {
        if (!report_add(list, describe(&described->objects[i], version))) {
            return false;
        }
    }
    return true;
}

/* A sentence once. */
static bool has(const json_t *sentences, size_t before)
{
    for (size_t i = 0; i < before; i++) {
        if (json_equal(json_array_get(sentences, i), json_array_get(sentences, before)) == 1) {
            return true;
        }
    }
    return false;
}

static bool is_on(const json_t *versions, const char *member, const json_t *version,
                  const char *provider)
{
    size_t i;
    const json_t *row;
    json_array_foreach(versions, i, row)
    {
        if (strcmp(report_text(row, "provider"), provider) == 0 &&
            json_equal(json_object_get(row, member), json_object_get(version, member)) == 1) {
            return true;
        }
    }
    return false;
}

/* What only one provider opens is lost with it; of one that did not answer nothing is known. */
static void judge_version(const struct report_root *root, const json_t *version)
{
    const struct kek_config *config = root->keys->config;
    const json_t *shown = json_object_get(root->shown, "versions");
    for (size_t p = 0; p < config->provider_count; p++) {
        const char *name = config->providers[p].name;
        if (!root->answers[p] || is_on(shown, "kek_id", version, name)) {
            continue;
        }
        report_attend(root->report,
                      "version %" JSON_INTEGER_FORMAT " (kek id %s) is not on %s, which has %s",
                      json_integer_value(json_object_get(version, "version")),
                      report_text(version, "kek_id"), name,
                      is_on(shown, "version", version, name) ? "another key of that number"
                                                             : "no key of that number");
    }
}

/* What was announced last must open somewhere. */
static void judge_announced(const struct report_root *root)
{
    struct kek_generation last;
    struct kek_why why;
    char id[KEK_ID_TEXT];
    bool there = false, opens = false;
    size_t i;
    const json_t *row;
    if (kek_keyring_recorded(root->keys->config, &last, &why) != KEK_OK) {
        return; /* the section with the record's dates says so */
    }
    kek_id_format(&last.kek_ids[0], id);
    json_array_foreach(json_object_get(root->shown, "versions"), i, row)
    {
        bool it =
            strcmp(report_text(row, "kek_id"), id) == 0 && report_text(row, "provider")[0] != '\0';
        there = there || it;
        opens = opens || (it && json_is_true(json_object_get(row, "eligible")) &&
                          json_is_true(json_object_get(row, "can_unwrap")));
    }
    if (!opens) {
        report_attend(
            root->report, "version %" PRIu32 " (kek id %s), which this node announced last, %s",
            last.numbers[0], id,
            there ? "may unwrap on no provider that answers" : "is on no provider that answers");
    }
}

/* False: no memory. */
static bool judge(const struct report_root *root)
{
    json_t *once = report_versions_once(root);
    bool whole = once != NULL;
    size_t i;
    const json_t *version;
    json_array_foreach(once, i, version)
    {
        if (json_is_true(json_object_get(version, "eligible"))) {
            judge_version(root, version);
        }
    }
    json_decref(once);
    if (root->answered > 0) {
        judge_announced(root);
    }
    return whole;
}

json_t *report_versions(struct report_root *root)
{
    json_t *list = json_array(), *why = json_array(), *version;
    json_t *shown = json_object_get(root->shown, "versions");
    bool whole = list != NULL && why != NULL;
    size_t i;
    json_array_foreach(shown, i, version)
    {
        const char *provider = report_text(version, "provider");
        const char *refusal = report_text(version, "refusal");
        size_t before = json_array_size(why);
        whole = whole && (provider[0] == '\0' || ask(root, version, list, why));
        if (json_array_size(why) > before && has(why, before)) {
            (void)json_array_remove(why, before);
        }
        if (refusal[0] != '\0') {
            report_attend(root->report, "a key of the keyring on %s is not used: %s", provider,
                          refusal);
        }
    }
    whole = judge(root) && whole;
    if (root->answered < root->keys->config->provider_count) {
        (void)report_say(why, "what is on a provider that did not answer is not known");
    }
    json_t *content = json_pack("{s:O, s:o}", "versions", shown, "keys", list);
    if (!whole) {
        json_decref(content);
        content = NULL;
    }
    return report_section(content, why, root->answered > 0);
}

void report_versions_show(struct page *page, const json_t *section)
{
    static const struct column versions[] = {
        {"version", "Version"},   {"state", "State"},           {"kek_id", "KEK id"},
        {"key_id", "key_id"},     {"provider", "Provider"},     {"label", "Label"},
        {"can_wrap", "May wrap"}, {"can_unwrap", "May unwrap"}, {"eligible", "As a KEK must be"},
        {"refusal", "Why not"}};
    static const struct column keys[] = {
        {"version", "Version"}, {"provider", "Provider"}, {"label", "Label"},
        {"key_type", "Type"},   {"bits", "Bits"},         {"yes", "Yes"},
        {"no", "No"},           {"not_told", "Not told"}, {"refusal", "Refused since"}};
    page_table(page, json_object_get(section, "versions"), versions,
               sizeof versions / sizeof versions[0], "No version is shown.");
    page_heading(page, 3, NULL, "Attributes of the keys");
    page_paragraph(page, "\"Not told\": the token does not support the attribute, or does not say "
                         "what it is. It is neither yes nor no.");
    page_table(page, json_object_get(section, "keys"), keys, sizeof keys / sizeof keys[0],
               "No attributes are known.");
}
