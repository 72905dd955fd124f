#include "key_views.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"
#include "kekctl/options.h"
#include "new_keyring.h"

const struct kek_version *view_find(const struct keys *keys, size_t provider,
                                    const struct kek_id *kek_id)
{
    const struct listing *listing = &keys->listings[provider];
    const struct kek_version *found = NULL;
    for (size_t i = 0; listing->rc == KEK_OK && i < listing->count; i++) {
        const struct kek_version *v = &listing->versions[i];
        if (kek_id_equal(&v->id, kek_id) && (found == NULL || (!found->eligible && v->eligible))) {
            found = v;
        }
    }
    return found;
}

bool view_active(const struct kek_version *version)
{
    return version->eligible && version->can_wrap && version->can_unwrap && !version->compromised;
}

/* Is `other` the version of their number rather than this one? */
static bool stands_before(const struct kek_version *other, const struct kek_version *version,
                          const struct announced *announced)
{
    bool announced_other = announced_where(announced, &other->id) != NULL;
    return announced_other || memcmp(other->id.bytes, version->id.bytes, KEK_ID_LEN) < 0;
}

bool view_surplus(const struct keys *keys, const struct kek_version *version,
                  const struct announced *announced)
{
    bool surplus = false;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        for (size_t i = 0; listing->rc == KEK_OK && i < listing->count; i++) {
            const struct kek_version *other = &listing->versions[i];
            surplus = surplus || (other->eligible && other->number == version->number &&
                                  !kek_id_equal(&other->id, &version->id) &&
                                  stands_before(other, version, announced));
        }
    }
    return surplus && version->eligible && announced_where(announced, &version->id) == NULL;
}

static bool newer_is_active(const struct keys *keys, const struct kek_version *version)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        for (size_t i = 0; listing->rc == KEK_OK && i < listing->count; i++) {
            const struct kek_version *other = &listing->versions[i];
            if (other->number > version->number && view_active(other)) {
                return true;
            }
        }
    }
    return false;
}

/* It is not newer than what was announced or is active. */
static bool had_its_time(const struct keys *keys, const struct kek_version *version,
                         const struct announced *announced)
{
    return version->number <= announced_newest(announced) || newer_is_active(keys, version);
}

enum kek_state view_state(const struct keys *keys, size_t provider, size_t i,
                          const struct announced *announced)
{
    const struct listing *listing = &keys->listings[provider];
    const struct kek_version *version = &listing->versions[i];
    enum kek_state state = kek_version_state(listing->versions, listing->count, i);
    return state == KEK_STATE_PRE_ACTIVE && had_its_time(keys, version, announced)
               ? KEK_STATE_DEACTIVATED
               : state;
}

enum kek_state view_state_resumed(const struct keys *keys, const struct kek_version *version,
                                  const struct announced *announced)
{
    if (version->compromised) {
        return KEK_STATE_COMPROMISED;
    }
    return had_its_time(keys, version, announced) ? KEK_STATE_DEACTIVATED : KEK_STATE_PRE_ACTIVE;
}

/* ---- which key is meant ---- */

/* A kek id of 32 hexadecimal digits. */
static bool take_id(const char *text, struct kek_id *kek_id)
{
    static const char digits[] = "0123456789abcdef";
    if (strlen(text) != 2 * KEK_ID_LEN) {
        return false;
    }
    for (size_t i = 0; i < 2 * KEK_ID_LEN; i++) {
        char c = text[i] >= 'A' && text[i] <= 'F' ? (char)(text[i] - 'A' + 'a') : text[i];
        const char *at = strchr(digits, c);
        if (at == NULL) {
            return false;
        }
        uint8_t value = (uint8_t)(at - digits);
        kek_id->bytes[i / 2] =
            i % 2 == 0 ? (uint8_t)(value << 4) : (uint8_t)(kek_id->bytes[i / 2] | value);
    }
    return true;
}

/* What the text asks for, and the keys that answer to it. */
struct search {
    bool by_id;
    struct kek_id kek_id;
    uint32_t number;
    const struct kek_version *found, *second; /* of another kek id; NULL: there is none */
    size_t provider, second_provider;
};

static bool matches(const struct search *search, const struct kek_version *version)
{
    return search->by_id ? kek_id_equal(&version->id, &search->kek_id)
                         : version->number == search->number;
}

/* Of keys that nobody may use, whoever planted them, one is found only where there is no other. */
static void look_for(const struct keys *keys, bool eligible, struct search *search)
{
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        const struct listing *listing = &keys->listings[p];
        for (size_t i = 0; listing->rc == KEK_OK && i < listing->count; i++) {
            const struct kek_version *v = &listing->versions[i];
            if (v->eligible != eligible || !matches(search, v)) {
                continue;
            }
            if (search->found == NULL) {
                search->found = v;
                search->provider = p;
            } else if (search->second == NULL && !kek_id_equal(&v->id, &search->found->id)) {
                search->second = v;
                search->second_provider = p;
            }
        }
    }
}

/* "1, 2, 5": the numbers that there are, lowest first. */
static void list_numbers(const struct keys *keys, char *text, size_t size)
{
    uint64_t last = 0;
    size_t at = 0;
    text[0] = '\0';
    for (;;) {
        uint64_t next = UINT64_MAX;
        for (size_t p = 0; p < keys->config->provider_count; p++) {
            for (size_t i = 0; i < keys->listings[p].count; i++) {
                uint64_t n = keys->listings[p].versions[i].number;
                next = n > last && n < next ? n : next;
            }
        }
        if (next == UINT64_MAX || at + 16 > size) {
            return;
        }
        at += (size_t)snprintf(text + at, size - at, "%s%" PRIu64, at == 0 ? "" : ", ", next);
        last = next;
    }
}

static bool all_answered(const struct keys *keys)
{
    bool all = true;
    for (size_t p = 0; p < keys->config->provider_count; p++) {
        all = all && keys->listings[p].rc == KEK_OK;
    }
    return all;
}

static bool fail_unknown(const struct keys *keys, const char *text, struct kek_why *why)
{
    char numbers[160];
    list_numbers(keys, numbers, sizeof numbers);
    if (!all_answered(keys)) {
        kek_fail(why, KEK_NOT_FOUND,
                 "no provider that answers shows a version %s of keyring %s, and not every one "
                 "answers: mend the HSM or the way to it",
                 text, keys->config->keyring);
    } else if (numbers[0] == '\0') {
        char hint[NEW_KEYRING_HINT];
        new_keyring_hint(keys, hint);
        kek_fail(why, KEK_NOT_FOUND, "the keyring %s has no version: %s", keys->config->keyring,
                 hint);
    } else {
        kek_fail(why, KEK_NOT_FOUND, "no provider shows a version %s of keyring %s, only %s", text,
                 keys->config->keyring, numbers);
    }
    return false;
}

enum ctl_exit view_check_argument(const struct ctl *ctl)
{
    struct kek_id kek_id;
    uint64_t number;
    if (take_id(ctl->argument, &kek_id) || kek_text_decimal(ctl->argument, UINT32_MAX, &number)) {
        return CTL_GOOD;
    }
    return ctl_usage(
        ctl, "\"%s\" is no version: expected its number, or its kek id as 32 hexadecimal digits",
        ctl->argument);
}

bool view_pick(const struct keys *keys, const char *text, struct kek_version *version,
               struct kek_why *why)
{
    struct search search = {.by_id = false};
    uint64_t number = 0;
    search.by_id = take_id(text, &search.kek_id);
    if (!search.by_id && !kek_text_decimal(text, UINT32_MAX, &number)) {
        return fail_unknown(keys, text, why);
    }
    search.number = (uint32_t)number;
    look_for(keys, true, &search);
    if (search.found == NULL) {
        look_for(keys, false, &search);
    }
    if (search.found == NULL) {
        return fail_unknown(keys, text, why);
    }
    if (search.second != NULL) {
        char one[KEK_ID_TEXT], two[KEK_ID_TEXT];
        kek_id_format(&search.found->id, one);
        kek_id_format(&search.second->id, two);
        kek_fail(why, KEK_INVALID,
                 "version %s is two different keys, %s on %s and %s on %s: say which by its kek id",
                 text, one, keys->config->providers[search.provider].name, two,
                 keys->config->providers[search.second_provider].name);
        return false;
    }
    *version = *search.found;
    return true;
}
