#include "key_remarks.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "key_views.h"
#include "new_keyring.h"

#define NAMES_MAX (KEK_CONFIG_PROVIDERS_MAX * (REMARKS_TOKEN + 2))

/* The names of some providers, "a, b". */
struct names {
    char text[NAMES_MAX];
    size_t len, count;
};

static void names_add(struct names *names, const char *name)
{
    names->len += (size_t)snprintf(names->text + names->len, sizeof names->text - names->len,
                                   "%s%s", names->count > 0 ? ", " : "", name);
    names->count++;
}

static const char *name_of(const struct keys *keys, size_t provider)
{
    return keys->config->providers[provider].name;
}

void remarks_token(const struct keys *keys, size_t provider, char text[static REMARKS_TOKEN])
{
    struct kek_pool_provider status;
    kek_pool_provider_get(keys->pool, provider, &status);
    snprintf(text, REMARKS_TOKEN, "%s ('%s' serial %s)", name_of(keys, provider), status.label,
             status.serial);
}

static void names_add_token(struct names *names, const struct keys *keys, size_t provider)
{
    char text[REMARKS_TOKEN];
    remarks_token(keys, provider, text);
    names_add(names, text);
}

static bool answered(const struct keys *keys, size_t provider)
{
    return keys->listings[provider].rc == KEK_OK;
}

static size_t answered_count(const struct keys *keys)
{
    size_t count = 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        count += answered(keys, p);
    }
    return count;
}

static const struct kek_version *find_number(const struct keys *keys, size_t provider,
                                             uint32_t number)
{
    const struct listing *listing = &keys->listings[provider];
    for (size_t i = 0; answered(keys, provider) && i < listing->count; i++) {
        if (listing->versions[i].eligible && listing->versions[i].number == number) {
            return &listing->versions[i];
        }
    }
    return NULL;
}

/* Each usable version of all providers once: `visit` gets the first provider that shows it. Not those that are back. */
static size_t each_version(const struct keys *keys, const struct destroy_back *back,
                           size_t (*visit)(const struct keys *keys, size_t provider,
                                           const struct kek_version *version))
{
    size_t found = 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        for (size_t i = 0; answered(keys, p) && i < listing->count; i++) {
            const struct kek_version *v = &listing->versions[i];
            bool seen = !v->eligible || view_find(keys, p, &v->id) != v ||
                        (back != NULL && destroy_back_has(back, &v->id));
            for (size_t q = 0; !seen && q < p; q++) {
                const struct kek_version *other = view_find(keys, q, &v->id);
                seen = other != NULL && other->eligible;
            }
            found += seen ? 0 : visit(keys, p, v);
        }
    }
    return found;
}

enum remarks_primary remarks_primary(const struct keys *keys, struct kek_generation *last,
                                     struct kek_why *why)
{
    enum kek_rc rc = kek_keyring_recorded(keys->config, last, why);
    if (rc != KEK_OK) {
        return rc == KEK_NOT_FOUND ? REMARKS_PRIMARY_NONE : REMARKS_PRIMARY_UNREAD;
    }
    enum remarks_primary found = REMARKS_PRIMARY_GONE;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_version *v = view_find(keys, p, &last->kek_ids[0]);
        if (v != NULL && v->eligible && v->can_unwrap) {
            return REMARKS_PRIMARY_THERE;
        }
        found = v != NULL ? REMARKS_PRIMARY_CLOSED : found;
    }
    return found;
}

static size_t say_primary(const struct keys *keys)
{
    struct kek_generation last;
    struct kek_why why;
    char id[KEK_ID_TEXT];
    enum remarks_primary primary = remarks_primary(keys, &last, &why);
    if (primary == REMARKS_PRIMARY_UNREAD) {
        ctl_say(keys->ctl, "which version this node announced last is not known: %s", why.text);
        return 1;
    }
    if (primary == REMARKS_PRIMARY_NONE || primary == REMARKS_PRIMARY_THERE) {
        return 0;
    }
    kek_id_format(&last.kek_ids[0], id);
    ctl_say(keys->ctl,
            "version %" PRIu32 " (kek id %s), which this node announced last, %s: what it sealed "
            "cannot be opened; %s",
            last.numbers[0], id,
            primary == REMARKS_PRIMARY_CLOSED ? "may unwrap on no provider"
            : answered_count(keys) == keys->config->provider_count
                ? "is on no provider"
                : "is on no provider that answers",
            primary == REMARKS_PRIMARY_CLOSED ? "give the key its use back"
                                              : "restore the key, and generate no other");
    return 1;
}

static bool is_surplus(const struct keys *keys, const struct kek_version *version)
{
    struct announced announced;
    struct kek_why why;
    (void)announced_on_record(keys, &announced, &why);
    return view_surplus(keys, version, &announced);
}

/* Two keys of one number: said for the first pair of it. */
static size_t say_clash(const struct keys *keys, size_t provider, const struct kek_version *version)
{
    char one[KEK_ID_TEXT], two[KEK_ID_TEXT];
    if (version != find_number(keys, provider, version->number)) {
        return 0;
    }
    for (size_t q = 0; q < provider; q++) {
        if (find_number(keys, q, version->number) != NULL) {
            return 0;
        }
    }
    for (size_t q = provider; q < keys->config->provider_count; q++) {
        const struct listing *listing = &keys->listings[q];
        for (size_t i = 0; answered(keys, q) && i < listing->count; i++) {
            const struct kek_version *other = &listing->versions[i];
            if (!other->eligible || other->number != version->number ||
                kek_id_equal(&other->id, &version->id)) {
                continue;
            }
            kek_id_format(&version->id, one);
            kek_id_format(&other->id, two);
            ctl_say(
                keys->ctl,
                "version %" PRIu32 " is two different keys, kek id %s on %s and %s on %s: %s is "
                "surplus, and kekd seals nothing under it; destroy neither, since each may have "
                "sealed something, and bring to each provider the one that it lacks",
                version->number, one, name_of(keys, provider), two, name_of(keys, q),
                is_surplus(keys, version) ? one : two);
            return 1;
        }
    }
    return 0;
}

/* Where a provider has another key of that number, say_clash() speaks. */
static size_t say_missing(const struct keys *keys, size_t provider,
                          const struct kek_version *version)
{
    struct names have = {0}, lack = {0};
    (void)provider;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_version *v = view_find(keys, p, &version->id);
        if (v != NULL && v->eligible) {
            names_add_token(&have, keys, p);
        } else if (v == NULL && answered(keys, p) &&
                   find_number(keys, p, version->number) == NULL) {
            names_add_token(&lack, keys, p);
        }
    }
    if (lack.count == 0) {
        return 0;
    }
    ctl_say(keys->ctl, "version %" PRIu32 " is on %s and not on %s: bring its key there",
            version->number, have.text, lack.text);
    return 1;
}

static bool may_wrap(const struct kek_version *version)
{
    return version->can_wrap;
}

static bool may_unwrap(const struct kek_version *version)
{
    return version->can_unwrap;
}

static size_t say_use(const struct keys *keys, const struct kek_version *version,
                      bool (*may)(const struct kek_version *version), const char *use)
{
    struct names can = {0}, cannot = {0};
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_version *v = view_find(keys, p, &version->id);
        if (v != NULL && v->eligible) {
            names_add(may(v) ? &can : &cannot, name_of(keys, p));
        }
    }
    if (can.count == 0 || cannot.count == 0) {
        return 0;
    }
    ctl_say(keys->ctl, "version %" PRIu32 " may %s on %s and not on %s: finish its change there",
            version->number, use, can.text, cannot.text);
    return 1;
}

static size_t say_uses(const struct keys *keys, size_t provider, const struct kek_version *version)
{
    (void)provider;
    return say_use(keys, version, may_wrap, "wrap") + say_use(keys, version, may_unwrap, "unwrap");
}

static size_t is_active(const struct keys *keys, size_t provider, const struct kek_version *version)
{
    (void)provider;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_version *v = view_find(keys, p, &version->id);
        if (v != NULL && v->eligible && v->can_wrap) {
            return 1;
        }
    }
    return 0;
}

static size_t count_one(const struct keys *keys, size_t provider, const struct kek_version *version)
{
    (void)keys;
    (void)provider;
    (void)version;
    return 1;
}

static size_t say_none_active(const struct keys *keys)
{
    if (each_version(keys, NULL, count_one) == 0 || each_version(keys, NULL, is_active) > 0) {
        return 0;
    }
    ctl_say(keys->ctl, "no version is active, so nothing can be sealed: let the newest one wrap");
    return 1;
}

/* What the configuration's `versions` say and the token does not let be. */
static size_t say_named(const struct keys *keys)
{
    size_t found = 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct kek_config_provider *config = &keys->config->providers[p];
        for (size_t i = 0; answered(keys, p) && i < config->version_count; i++) {
            const struct kek_config_version *named = &config->versions[i];
            const char *unmet = kek_config_version_unmet(named, keys->listings[p].versions,
                                                         keys->listings[p].count);
            if (unmet == NULL) {
                continue;
            }
            ctl_say(keys->ctl, "%s: versions says that version %" PRIu32 " is %s, and the token %s",
                    config->name, named->number, kek_state_name(named->state), unmet);
            found++;
        }
    }
    return found;
}

size_t remarks_same_token(const struct keys *keys)
{
    size_t found = 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        struct kek_pool_provider status;
        size_t twin = kek_pool_twin(keys->pool, p);
        if (twin < p) {
            kek_pool_provider_get(keys->pool, p, &status);
            ctl_say(keys->ctl,
                    "%s and %s are one token (serial %s): together they are no safer than one",
                    name_of(keys, twin), name_of(keys, p), status.serial);
            found++;
        }
    }
    return found;
}

static bool is_similar(const char *keyring, const char *other)
{
    size_t len = strlen(keyring), other_len = strlen(other);
    return !kek_wire_is_trial(other) &&
           (kek_text_slip(keyring, other) != SIZE_MAX ||
            strncmp(keyring, other, len < other_len ? len : other_len) == 0);
}

bool remarks_misspelt(const struct keys *keys, char keyring[static KEK_PROVIDER_OTHER_LEN_MAX])
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        struct kek_pool_provider status;
        kek_pool_provider_get(keys->pool, p, &status);
        for (size_t i = 0; i < KEK_PROVIDER_OTHERS_MAX && status.others[i][0] != '\0'; i++) {
            if (is_similar(keys->config->keyring, status.others[i])) {
                memcpy(keyring, status.others[i], KEK_PROVIDER_OTHER_LEN_MAX);
                return true;
            }
        }
    }
    return false;
}

/* No version anywhere, and none on record. */
static size_t say_empty(const struct keys *keys)
{
    struct kek_generation last;
    struct kek_why why;
    char hint[NEW_KEYRING_HINT], other[KEK_KEYRING_NAME_TEXT];
    size_t found = 0;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        if (keys->listings[p].count > 0) {
            return 0;
        }
    }
    if (remarks_primary(keys, &last, &why) != REMARKS_PRIMARY_NONE) {
        return 0;
    }
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        struct kek_pool_provider status;
        kek_pool_provider_get(keys->pool, p, &status);
        for (size_t i = 0; i < KEK_PROVIDER_OTHERS_MAX && status.others[i][0] != '\0'; i++) {
            if (is_similar(keys->config->keyring, status.others[i])) {
                ctl_say(keys->ctl,
                        "%s has keys of keyring %s and none of %s: is the configuration's keyring "
                        "misspelt?",
                        name_of(keys, p), status.others[i], keys->config->keyring);
                found++;
            }
        }
    }
    bool beside = kek_keyring_beside(keys->config, other);
    if (found == 0 || beside) {
        new_keyring_hint(keys, hint);
        ctl_say(keys->ctl, "the keyring %s has no version yet: %s", keys->config->keyring, hint);
        found += beside;
    }
    return found;
}

size_t remarks_say_lacks(const struct keys *keys)
{
    return say_primary(keys) + say_empty(keys) + say_none_active(keys);
}

size_t remarks_say_missing(const struct keys *keys, const struct destroy_back *back)
{
    return each_version(keys, back, say_missing);
}

size_t remarks_say_differences(const struct keys *keys, const struct destroy_back *back)
{
    return each_version(keys, NULL, say_clash) + each_version(keys, back, say_uses) +
           say_named(keys);
}

size_t remarks_say(const struct keys *keys, const struct destroy_back *back)
{
    return remarks_say_lacks(keys) + remarks_say_missing(keys, back) +
           remarks_say_differences(keys, back);
}
