/* kekctl key adopt: what keeps a key that kekd did not make from being one of the keyring. */
#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "key_findings.h"
#include "key_views.h"
#include "kekctl/output.h"
#include "new_keyring.h"
#include "version_entry.h"

#define NUMBERED_MAX 64

/* What was found, on all providers. */
struct adoption {
    struct keys *keys;
    json_t *providers, *found, *rows;
    bool has_active; /* the keyring has a version that is */
    uint32_t next;   /* the number that the next key gets */
    /* Keys that were given a number: one is the same key on every provider. */
    size_t numbered_count;
    struct numbered {
        uint8_t id[KEK_ID_LEN];
        uint32_t number;
    } numbered[NUMBERED_MAX];
    size_t with_key; /* providers */
    bool all_as_it_is;
};

static const char *name_of(const struct adoption *adoption, size_t provider)
{
    return adoption->keys->config->providers[provider].name;
}

/* By the listings and the configuration: which number is free, and is there one to seal under? */
static void look_at_versions(struct adoption *adoption)
{
    const struct keys *keys = adoption->keys;
    uint32_t highest = 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_config_provider *config = &keys->config->providers[p];
        for (size_t i = 0; i < keys->listings[p].count; i++) {
            const struct kek_version *v = &keys->listings[p].versions[i];
            highest = v->number > highest ? v->number : highest;
            adoption->has_active = adoption->has_active || view_active(v);
        }
        for (size_t i = 0; i < config->version_count; i++) {
            highest = config->versions[i].number > highest ? config->versions[i].number : highest;
        }
    }
    adoption->next = highest == UINT32_MAX ? highest : highest + 1;
}

static uint32_t number_for(struct adoption *adoption, const struct kek_provider_object *object)
{
    if (object->number > 0) {
        return object->number;
    }
    for (size_t i = 0; i < adoption->numbered_count; i++) {
        if (memcmp(adoption->numbered[i].id, object->id, KEK_ID_LEN) == 0) {
            return adoption->numbered[i].number;
        }
    }
    uint32_t number = adoption->next;
    if (adoption->numbered_count < NUMBERED_MAX) {
        struct numbered *numbered = &adoption->numbered[adoption->numbered_count++];
        memcpy(numbered->id, object->id, KEK_ID_LEN);
        numbered->number = number;
        adoption->next += adoption->next < UINT32_MAX;
    }
    return number;
}

/* A key that may wrap becomes the one to seal under only once every node knows it. */
static enum kek_state state_for(const struct adoption *adoption,
                                const struct kek_provider_object *object)
{
    if (!finding_is_set(object, "CKA_WRAP") && !finding_is_set(object, "CKA_ENCRYPT")) {
        return KEK_STATE_DEACTIVATED;
    }
    return adoption->has_active ? KEK_STATE_PRE_ACTIVE : KEK_STATE_ACTIVE;
}

static json_t *describe_finding(const struct finding *finding)
{
    return json_pack("{s:s, s:o, s:s}", "weight", finding_weight_name(finding->weight), "what",
                     output_text(finding->what), "means", finding->means);
}

/* A line of the table for each finding, and for a key without any. */
static bool add_rows(struct adoption *adoption, size_t provider, const char *label, const char *id,
                     const struct findings *findings)
{
    static const struct finding none = {.what = "nothing is wrong with it", .means = ""};
    size_t count = findings->count == 0 ? 1 : findings->count;
    for (size_t i = 0; i < count; i++) {
        const struct finding *finding = findings->count == 0 ? &none : &findings->items[i];
        json_t *row =
            json_pack("{s:s, s:o, s:s, s:s, s:o, s:s}", "provider", name_of(adoption, provider),
                      "label", output_text(label), "id", id, "weight",
                      findings->count == 0 ? "" : finding_weight_name(finding->weight), "what",
                      output_text(finding->what), "means", finding->means);
        if (json_array_append_new(adoption->rows, row) != 0) {
            return false;
        }
    }
    return true;
}

static bool add_key(struct adoption *adoption, size_t provider,
                    const struct kek_provider_object *object)
{
    struct findings findings;
    char label[KEK_LABEL_MAX], id[2 * KEK_PROVIDER_OBJECT_ID_MAX + 1];
    char entry[VERSION_ENTRY_TEXT] = "";
    const char *keyring = adoption->keys->config->keyring;
    enum finding_verdict verdict = findings_of(keyring, object, &findings);
    size_t id_len = object->id_len < sizeof object->id ? object->id_len : sizeof object->id;
    kek_text_copy(label, sizeof label, (const char *)object->label);
    kek_hex(kek_bytes(object->id, id_len), id);
    if (verdict == FINDING_BY_ENTRY) {
        version_entry(keyring, number_for(adoption, object), (const char *)object->label,
                      state_for(adoption, object), entry);
    }
    adoption->all_as_it_is = adoption->all_as_it_is && verdict == FINDING_AS_IT_IS;
    json_t *list = json_array();
    for (size_t i = 0; list != NULL && i < findings.count; i++) {
        (void)json_array_append_new(list, describe_finding(&findings.items[i]));
    }
    if (list == NULL || json_array_size(list) != findings.count) {
        json_decref(list);
        return false;
    }
    json_t *key =
        json_pack("{s:s, s:o, s:s, s:s, s:o, s:o}", "provider", name_of(adoption, provider),
                  "label", output_text(label), "cka_id", id, "verdict",
                  finding_verdict_name(verdict), "entry", output_text(entry), "findings", list);
    return json_array_append_new(adoption->found, key) == 0 &&
           add_rows(adoption, provider, label, id, &findings);
}

/* All keys of that name on one provider, in as many answers as it takes. False: no memory. */
static bool ask(struct adoption *adoption, size_t provider)
{
    struct keys *keys = adoption->keys;
    const struct listing *listing = &keys->listings[provider];
    uint32_t seen = 0, total = 0, others = 0;
    do {
        if (keys_describe(keys, provider, keys->ctl->argument, seen) != KEK_OK) {
            break;
        }
        total = listing->described->total;
        others = listing->described->others;
        for (size_t i = 0; i < listing->described->object_count; i++) {
            if (!add_key(adoption, provider, &listing->described->objects[i])) {
                return false;
            }
        }
        seen += (uint32_t)listing->described->object_count;
    } while (listing->described->object_count > 0 && seen < total);
    adoption->with_key += seen > 0;
    json_t *answer =
        json_pack("{s:s, s:b, s:I, s:I, s:o}", "name", name_of(adoption, provider), "answered",
                  listing->rc == KEK_OK, "keys", (json_int_t)total, "others", (json_int_t)others,
                  "error", output_text(listing->rc == KEK_OK ? "" : listing->why.text));
    if (json_array_append_new(adoption->providers, answer) != 0) {
        return false;
    }
    if (listing->rc != KEK_OK) {
        ctl_say(keys->ctl, "%s: %s", name_of(adoption, provider),
                kek_text_after_name(listing->why.text, name_of(adoption, provider)));
        adoption->all_as_it_is = false;
    } else if (total == 0) {
        ctl_say(keys->ctl, "%s has no secret key of label or CKA_ID \"%s\"%s",
                name_of(adoption, provider), keys->ctl->argument,
                others > 0 ? ", though other objects are called so" : "");
    }
    return true;
}

static enum ctl_exit print(const struct adoption *adoption)
{
    static const struct column columns[] = {{"provider", "PROVIDER"}, {"label", "LABEL"},
                                            {"id", "CKA-ID"},         {"weight", "WEIGHT"},
                                            {"what", "FOUND"},        {"means", "WHICH-MEANS"}};
    const struct ctl *ctl = adoption->keys->ctl;
    return output_rows(ctl,
                       json_pack("{s:s, s:O, s:O}", "name", ctl->argument, "providers",
                                 adoption->providers, "keys", adoption->found),
                       adoption->rows, columns, sizeof columns / sizeof columns[0]);
}

static const char *text_of(const json_t *object, const char *key)
{
    return json_string_value(json_object_get(object, key));
}

/* What to do about each key, once the table stands above. */
static void say_verdicts(const struct adoption *adoption)
{
    const struct ctl *ctl = adoption->keys->ctl;
    size_t i;
    const json_t *key;
    json_array_foreach(adoption->found, i, key)
    {
        const char *provider = text_of(key, "provider"), *verdict = text_of(key, "verdict");
        const char *label = text_of(key, "label"), *id = text_of(key, "cka_id");
        if (strcmp(verdict, finding_verdict_name(FINDING_NEVER)) == 0) {
            ctl_say(ctl, "%s: nothing lets kekd use key \"%s\" (CKA_ID %s) as it is", provider,
                    label, id);
        } else if (strcmp(verdict, finding_verdict_name(FINDING_BY_ENTRY)) == 0) {
            ctl_say(ctl,
                    "%s: key \"%s\" (CKA_ID %s) would be used by an entry in every node's "
                    "kekd.yaml, under providers: %s: versions:, and whoever writes it accepts "
                    "what is found above",
                    provider, label, id, provider);
            fprintf(stderr, "      - %s\n", text_of(key, "entry"));
        }
    }
}

static enum ctl_exit adopt(struct adoption *adoption)
{
    struct keys *keys = adoption->keys;
    size_t answered = keys_list(keys, true);
    size_t providers = keys->config->provider_count;
    bool good = adoption->providers != NULL && adoption->found != NULL && adoption->rows != NULL;
    look_at_versions(adoption);
    for (size_t p = 0; good && p < providers; p++) {
        good = keys->listings[p].rc != KEK_OK || ask(adoption, p);
    }
    if (!good) {
        ctl_say(keys->ctl, "no memory for the output");
        return CTL_FAILED;
    }
    if (adoption->with_key == 0 && !keys->ctl->json) {
        return CTL_FAILED;
    }
    enum ctl_exit code = print(adoption);
    if (code != CTL_GOOD || adoption->with_key == 0) {
        return CTL_FAILED;
    }
    say_verdicts(adoption);
    bool everywhere = answered == providers && adoption->with_key == providers;
    return everywhere && adoption->all_as_it_is ? CTL_GOOD : CTL_CHECK;
}

enum ctl_exit ctl_key_adopt(struct ctl *ctl)
{
    if (ctl->argument[0] == '\0' || strlen(ctl->argument) > KEK_PROVIDER_NAME_MAX) {
        ctl_say(ctl, "expected a label or a CKA_ID in hexadecimal, of 1 to %d bytes",
                KEK_PROVIDER_NAME_MAX);
        return CTL_USAGE;
    }
    KEYS_AUTO struct keys keys;
    if (!keys_open(&keys, ctl) || !new_keyring_is_meant(&keys, "no key was looked for") ||
        !keys_start(&keys, true)) {
        return keys.code;
    }
    struct adoption adoption = {.keys = &keys,
                                .providers = json_array(),
                                .found = json_array(),
                                .rows = json_array(),
                                .all_as_it_is = true};
    enum ctl_exit code = adopt(&adoption);
    json_decref(adoption.providers);
    json_decref(adoption.found);
    json_decref(adoption.rows);
    return code;
}
