#include "key_findings.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"

#define CKK_AES 0x1f /* PKCS#11 3.0, section A */
#define UNTOLD UINT64_MAX

const char *finding_weight_name(enum finding_weight weight)
{
    static const char *const names[] = {
        [FINDING_MUST] = "must", [FINDING_RISK] = "risk", [FINDING_NOTE] = "note"};
    return names[weight];
}

const char *finding_verdict_name(enum finding_verdict verdict)
{
    static const char *const names[] = {[FINDING_AS_IT_IS] = "as-it-is",
                                        [FINDING_BY_ENTRY] = "by-entry",
                                        [FINDING_NEVER] = "never"};
    return names[verdict];
}

static void add(struct findings *findings, enum finding_weight weight, const char *means,
                const char *format, ...) KEK_PRINTF(4, 5);

static void add(struct findings *findings, enum finding_weight weight, const char *means,
                const char *format, ...)
{
    if (findings->count == FINDINGS_MAX) {
        return;
    }
    struct finding *finding = &findings->items[findings->count++];
    *finding = (struct finding){.weight = weight, .means = means};
    va_list args;
    va_start(args, format);
    vsnprintf(finding->what, sizeof finding->what, format, args);
    va_end(args);
}

static bool has(const struct findings *findings, enum finding_weight weight)
{
    for (size_t i = 0; i < findings->count; i++) {
        if (findings->items[i].weight == weight) {
            return true;
        }
    }
    return false;
}

static enum kek_tri told(const struct kek_provider_object *object, const char *name)
{
    for (size_t i = 0; i < object->attribute_count; i++) {
        if (strcmp(object->attributes[i].name, name) == 0) {
            return object->attributes[i].value;
        }
    }
    return KEK_TRI_UNTOLD;
}

bool finding_is_set(const struct kek_provider_object *object, const char *name)
{
    return told(object, name) == KEK_TRI_YES;
}

/* What a yes-or-no attribute must be, and what it means if it is not. */
struct rule {
    const char *name;
    enum kek_tri wanted;
    bool untold_is_good;
    enum finding_weight weight;
    const char *means;
};

static const struct rule rules[] = {
    {"CKA_SENSITIVE", KEK_TRI_YES, false, FINDING_MUST,
     "whoever has the PIN can read the key's value"},
    {"CKA_EXTRACTABLE", KEK_TRI_NO, false, FINDING_MUST,
     "whoever has the PIN can take the key out of the token"},
    {"CKA_PRIVATE", KEK_TRI_YES, false, FINDING_MUST,
     "whoever reaches the token can use the key without a PIN"},
    {"CKA_LOCAL", KEK_TRI_YES, true, FINDING_RISK,
     "it was not made in this token, so a copy may be elsewhere"},
    {"CKA_ALWAYS_SENSITIVE", KEK_TRI_YES, true, FINDING_RISK,
     "its value could be read at some time, so a copy may be elsewhere"},
    {"CKA_NEVER_EXTRACTABLE", KEK_TRI_YES, true, FINDING_RISK,
     "it could be taken out of the token at some time, so a copy may be elsewhere"},
    {"CKA_SIGN", KEK_TRI_NO, true, FINDING_RISK,
     "another application may use it, and what one does by the key may weaken the other"},
    {"CKA_VERIFY", KEK_TRI_NO, true, FINDING_RISK, "another application may use it"},
    {"CKA_DERIVE", KEK_TRI_NO, true, FINDING_RISK,
     "keys derived from it can be taken out, and another application may use it"},
    {"CKA_MODIFIABLE", KEK_TRI_YES, true, FINDING_NOTE,
     "its state can be changed in the configuration alone"},
};

static void find_attributes(const struct kek_provider_object *object, struct findings *findings)
{
    for (size_t i = 0; i < sizeof rules / sizeof rules[0]; i++) {
        const struct rule *rule = &rules[i];
        enum kek_tri value = told(object, rule->name);
        if (value == rule->wanted || (value == KEK_TRI_UNTOLD && rule->untold_is_good)) {
            continue;
        }
        if (value == KEK_TRI_UNTOLD) {
            add(findings, rule->weight, rule->means, "the token does not tell %s", rule->name);
        } else {
            add(findings, rule->weight, rule->means, "%s is %s", rule->name,
                value == KEK_TRI_YES ? "true" : "false");
        }
    }
}

static void find_name(const char *keyring, const struct kek_provider_object *object,
                      struct findings *findings)
{
    bool is_text = object->label_len > 0 && object->label_len < sizeof object->label;
    size_t at = 0;
    while (is_text && at < object->label_len) {
        size_t len = kek_text_char_len(&object->label[at]);
        is_text = len > 0 && object->label[at] != '\0';
        at += len;
    }
    if (!is_text) {
        add(findings, FINDING_MUST,
            "a version is found by its label, and the configuration could not name this one: give "
            "it a label of 1 to 127 bytes of text",
            "its label is %s",
            object->label_len == 0                      ? "empty"
            : object->label_len >= sizeof object->label ? "too long"
                                                        : "no UTF-8 text");
    } else if (object->number == 0 && !object->named) {
        add(findings, FINDING_NOTE, "kekd finds it only where the configuration names it",
            "its label is not that of a version, %s.v1 and so on", keyring);
    }
    if (object->id_len != KEK_ID_LEN) {
        add(findings, FINDING_MUST,
            "whatever is sealed names its KEK by 16 bytes: give the key a random CKA_ID of 16 "
            "bytes by the vendor's tools",
            "CKA_ID has %s%s, not 16", object->id_len > sizeof object->id ? "more than " : "",
            kek_counted(object->id_len > sizeof object->id ? sizeof object->id : object->id_len,
                        "byte")
                .text);
    }
}

static void find_company(const struct kek_provider_object *object, struct findings *findings)
{
    if (object->label_keys > 0) {
        add(findings, FINDING_MUST,
            "kekd finds a version by its label and would take them all for this one: give this key "
            "a label of its own",
            "%s %s its label", kek_counted(object->label_keys, "other key").text,
            object->label_keys == 1 ? "has" : "have");
    }
    if (object->id_keys > 0) {
        add(findings, FINDING_RISK,
            "kekd cannot tell them apart by it, and uses the one that opens what was sealed",
            "%s %s its CKA_ID", kek_counted(object->id_keys, "other key").text,
            object->id_keys == 1 ? "has" : "have");
    }
    if (object->shared > 0) {
        add(findings, FINDING_RISK, "another application may use what goes by this name",
            "%s of another class %s its label or CKA_ID",
            kek_counted(object->shared, "object").text, object->shared == 1 ? "has" : "have");
    }
}

static void find_type(const struct kek_provider_object *object, struct findings *findings)
{
    if (object->key_type != CKK_AES) {
        add(findings, FINDING_MUST, "kekd's keys are AES keys",
            object->key_type == UNTOLD ? "the token does not tell CKA_KEY_TYPE"
                                       : "CKA_KEY_TYPE is 0x%" PRIx64 ", not CKK_AES",
            object->key_type);
    }
    if (object->value_len == UNTOLD || object->value_len == 0) {
        add(findings, FINDING_RISK,
            "nobody would notice a key of fewer than 256 bits: whoever names it vouches for that",
            "the token does not tell CKA_VALUE_LEN");
    } else if (object->value_len != 32) {
        add(findings, FINDING_MUST, "kekd's keys have 256 bits",
            "CKA_VALUE_LEN is %" PRIu64 ", not 32", object->value_len);
    }
}

static void find_uses(const struct kek_provider_object *object, struct findings *findings)
{
    bool wraps = finding_is_set(object, "CKA_WRAP"), unwraps = finding_is_set(object, "CKA_UNWRAP");
    bool encrypts = finding_is_set(object, "CKA_ENCRYPT");
    bool decrypts = finding_is_set(object, "CKA_DECRYPT");
    if (!unwraps && !decrypts) {
        add(findings, FINDING_MUST,
            "it could open nothing: give it its use back by the vendor's tools",
            "neither CKA_UNWRAP nor CKA_DECRYPT is true");
    }
    if ((wraps || unwraps) && (encrypts || decrypts)) {
        add(findings, FINDING_RISK,
            "another application may use it, and who may decrypt by it gets at wrapped keys",
            "it may both wrap keys and encrypt data");
    }
    if ((unwraps && !wraps) || (decrypts && !encrypts && !unwraps)) {
        add(findings, FINDING_NOTE, "it opens, and nothing is sealed under it", "%s is not true",
            unwraps ? "CKA_WRAP" : "CKA_ENCRYPT");
    }
}

enum finding_verdict findings_of(const char *keyring, const struct kek_provider_object *object,
                                 struct findings *findings)
{
    findings->count = 0;
    if (object->attribute_count == 0) {
        add(findings, FINDING_MUST, "what it is like is not known", "%s", object->refusal);
        return FINDING_NEVER;
    }
    find_type(object, findings);
    find_attributes(object, findings);
    find_uses(object, findings);
    find_name(keyring, object, findings);
    find_company(object, findings);
    if (object->named_refusal[0] != '\0' && !has(findings, FINDING_MUST)) {
        add(findings, FINDING_MUST, "kekd refuses it", "%s", object->named_refusal);
    } else if (object->refusal[0] != '\0' && !has(findings, FINDING_MUST) &&
               !has(findings, FINDING_RISK)) {
        add(findings, FINDING_RISK, "kekd refuses it unless it is named", "%s", object->refusal);
    }
    if (has(findings, FINDING_MUST)) {
        return FINDING_NEVER;
    }
    bool found = object->number > 0 && object->refusal[0] == '\0';
    return found || object->named ? FINDING_AS_IT_IS : FINDING_BY_ENTRY;
}
