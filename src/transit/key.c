/*
 * The key and its versions, as the server shows them.
 *
 * The engine has no attributes for each version, only three numbers: below min_available_version a version is gone
 * for good; below min_decryption_version it is closed, and opened again by lowering that number; below
 * min_encryption_version it wraps no more.  The server shows a closed version no more than one that is gone, so its
 * creation time, which its kek id is made of, is not to be had: Hello brings the ids that kekd has on record.
 */
#include "transit.h"

#include <inttypes.h>
#include <stdio.h>
#include <string.h>

#include "kek/text.h"

#define CLOSED_MAX 8 /* of the versions that are closed and were never seen, so many are named */

/* ---- reading ---- */

static uint32_t number_of(const json_t *data, const char *name)
{
    json_int_t value = json_integer_value(json_object_get(data, name));
    return value > 0 && value <= UINT32_MAX ? (uint32_t)value : 0;
}

static bool says_true(const json_t *data, const char *name)
{
    return json_is_true(json_object_get(data, name));
}

/* What of the key itself stands against its use; one at a time, the worst first. */
static void judge(const struct transit_settings *settings, const json_t *data,
                  struct transit_key *key)
{
    static const char *const types[] = {"aes256-gcm96", "chacha20-poly1305", "xchacha20-poly1305"};
    bool fit = false;
    for (size_t i = 0; i < sizeof types / sizeof types[0]; i++) {
        fit = fit || strcmp(key->type, types[i]) == 0;
    }
    key->kept_in = !says_true(data, "exportable") && !says_true(data, "allow_plaintext_backup");
    key->imported = says_true(data, "imported_key") || says_true(data, "imported");
    key->deletion_allowed = says_true(data, "deletion_allowed");
    const char *against = NULL;
    if (says_true(data, "derived")) {
        against = "derived is true: each call would need a context, and no two share a key";
    } else if (says_true(data, "convergent_encryption")) {
        against = "convergent_encryption is true: equal data keys would be seen to be equal";
    } else if (!key->kept_in && !settings->allow_exportable) {
        against =
            says_true(data, "exportable")
                ? "exportable is true: the key can leave the server (allow_exportable takes it)"
                : "allow_plaintext_backup is true: the key can leave the server "
                  "(allow_exportable takes it)";
    }
    if (!fit) {
        snprintf(key->refusal, sizeof key->refusal,
                 "type is %s, expected aes256-gcm96, chacha20-poly1305 or xchacha20-poly1305: 256 "
                 "bits, with associated data",
                 key->type);
    } else if (against != NULL) {
        snprintf(key->refusal, sizeof key->refusal, "%s", against);
    }
}

/* `created`: seconds since 1970. */
static void name_version(const struct transit_settings *settings, int64_t created,
                         struct transit_version *version)
{
    char resource[4 * TRANSIT_TEXT_MAX];
    snprintf(resource, sizeof resource, "kekd/transit/1\n%s\n%s\n%s\n%" PRIu32 "\n%" PRId64,
             settings->space, settings->mount, settings->key, version->number, created);
    kek_bridge_id(resource, &version->id);
}

static void insert(struct transit_key *key, const struct transit_version *version)
{
    size_t at = 0;
    while (at < key->count && key->versions[at].number < version->number) {
        at++;
    }
    if (key->count == KEK_PROVIDER_VERSIONS_MAX) {
        if (at == 0) {
            return; /* older than all that there is room for */
        }
        key->count--;
        at--;
        memmove(&key->versions[0], &key->versions[1], key->count * sizeof *version);
    }
    memmove(&key->versions[at + 1], &key->versions[at], (key->count - at) * sizeof *version);
    key->versions[at] = *version;
    key->count++;
}

/* What was known of the same version stays. */
static void add_version(const struct transit_settings *settings, const struct transit_key *before,
                        struct transit_key *key, uint32_t number, int64_t created)
{
    struct transit_version version = {.number = number};
    name_version(settings, created, &version);
    for (size_t i = 0; i < before->count; i++) {
        if (kek_id_equal(&before->versions[i].id, &version.id)) {
            version = before->versions[i];
        }
    }
    insert(key, &version);
}

/* Closed ones that this process saw before, or that Hello knew, if the key is the same: a version that is still open has the id it had. */
static void keep_closed(const struct transit_key *before, struct transit_key *key)
{
    bool same = before->count > 0;
    size_t shown = key->count;
    for (size_t i = 0; i < before->count; i++) {
        for (size_t j = 0; j < shown; j++) {
            bool other = before->versions[i].number == key->versions[j].number &&
                         !kek_id_equal(&before->versions[i].id, &key->versions[j].id);
            same = same && !other;
        }
    }
    for (size_t i = 0; same && i < before->count; i++) {
        const struct transit_version *version = &before->versions[i];
        if (version->number < key->min_decryption && version->number >= key->min_available) {
            insert(key, version);
        }
    }
}

static bool malformed(const struct kek_provider_session *session, const char *what,
                      struct kek_provider_failure *failure)
{
    return kek_bridge_fail(failure, CALL_STEP, CAUSE(LINK), "the answer on key %s has no good %s",
                           session->provider->settings.key, what);
}

static bool read_versions(struct kek_provider_session *session, const json_t *data,
                          struct transit_key *key, struct kek_provider_failure *failure)
{
    json_t *keys = json_object_get(data, "keys"), *value;
    const char *name;
    if (!json_is_object(keys)) {
        return malformed(session, "keys", failure);
    }
    json_object_foreach(keys, name, value)
    {
        uint64_t number;
        if (!kek_text_decimal(name, UINT32_MAX, &number) || number == 0 || name[0] == '0') {
            return malformed(session, "keys", failure);
        }
        if (!json_is_integer(value) || json_integer_value(value) <= 0) {
            /* An asymmetric key's versions are objects; the type says why it is refused. */
            if (key->refusal[0] == '\0') {
                return malformed(session, "creation time of a version", failure);
            }
            continue;
        }
        if (number >= key->min_decryption) {
            add_version(&session->provider->settings, &session->key, key, (uint32_t)number,
                        json_integer_value(value));
        }
    }
    return true;
}

static bool read_key(struct kek_provider_session *session, const json_t *data,
                     struct transit_key *key, struct kek_provider_failure *failure)
{
    const char *type = json_string_value(json_object_get(data, "type"));
    if (type == NULL) {
        return malformed(session, "type", failure);
    }
    kek_text_copy(key->type, sizeof key->type, type);
    key->read = true;
    key->soft_deleted = says_true(data, "soft_deleted");
    key->latest = number_of(data, "latest_version");
    key->min_available = number_of(data, "min_available_version");
    key->min_decryption = number_of(data, "min_decryption_version");
    key->min_encryption = number_of(data, "min_encryption_version");
    key->min_available = key->min_available == 0 ? 1 : key->min_available;
    key->min_decryption = key->min_decryption == 0 ? 1 : key->min_decryption;
    if (key->latest == 0) {
        return malformed(session, "latest_version", failure);
    }
    judge(&session->provider->settings, data, key);
    if (!read_versions(session, data, key, failure)) {
        return false;
    }
    keep_closed(&session->key, key);
    return true;
}

/* 404 is said of a key that is not there and of an engine that is not. What was there and is gone at once is another
 * server, or one that was set back: a fresh process is to look. */
static bool not_there(struct kek_provider_session *session, const struct kek_bridge_answer *answer,
                      struct kek_provider_failure *failure)
{
    const json_t *errors = json_object_get(answer->json, "errors");
    if (json_array_size(errors) > 0 || !json_is_array(errors)) {
        return false; /* "no handler for route": failure has it */
    }
    if (session->key.read) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(LINK),
                               "key %s was there and is not any more",
                               session->provider->settings.key);
    }
    session->key.count = 0;
    return true;
}

bool transit_look(struct kek_provider_session *session, struct kek_provider_failure *failure)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    const struct transit_settings *settings = &session->provider->settings;
    char url[TRANSIT_URL_MAX];
    transit_url(session->provider, url, "%s/keys/%s", settings->mount, settings->key);
    if (!transit_ask(session, "GET", url, NULL, &answer, failure)) {
        return answer.status == 404 && not_there(session, &answer, failure);
    }
    KEK_AUTO_FREE struct transit_key *key = calloc(1, sizeof *key);
    if (key == NULL) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(BUSY), "no memory");
    }
    if (!read_key(session, json_object_get(answer.json, "data"), key, failure)) {
        return false;
    }
    session->key = *key;
    return true;
}

/* ---- what they may do ---- */

bool transit_may_unwrap(const struct kek_provider_session *session,
                        const struct transit_version *version)
{
    const struct kek_bridge_named *named =
        kek_bridge_names_find(&session->provider->settings.named, version->number);
    return !session->key.soft_deleted && version->number >= session->key.min_decryption &&
           (named == NULL || named->state != KEK_STATE_SUSPENDED);
}

bool transit_may_wrap(const struct kek_provider_session *session,
                      const struct transit_version *version)
{
    const struct kek_bridge_named *named =
        kek_bridge_names_find(&session->provider->settings.named, version->number);
    return transit_may_unwrap(session, version) && version->number >= session->key.min_encryption &&
           (named == NULL || named->state == KEK_STATE_ACTIVE);
}

struct transit_version *transit_find(struct kek_provider_session *session,
                                     const struct kek_id *kek_id)
{
    for (size_t i = 0; i < session->key.count; i++) {
        if (kek_id_equal(&session->key.versions[i].id, kek_id)) {
            return &session->key.versions[i];
        }
    }
    return NULL;
}

struct transit_version *transit_need(struct kek_provider_session *session,
                                     const struct kek_id *kek_id,
                                     struct kek_provider_failure *failure)
{
    struct transit_version *version = transit_find(session, kek_id);
    if (version == NULL) {
        if (!transit_look(session, failure)) {
            return NULL;
        }
        version = transit_find(session, kek_id);
    }
    if (version == NULL) {
        (void)kek_bridge_fail(failure, CALL_STEP, CAUSE(KEY_MISSING),
                              "key %s has no version with this kek id",
                              session->provider->settings.key);
        return NULL;
    }
    const char *refusal = transit_refusal(session, version);
    if (refusal != NULL) {
        (void)kek_bridge_fail(failure, CALL_STEP, CAUSE(KEY_UNFIT), "key %s: %s",
                              session->provider->settings.key, refusal);
        return NULL;
    }
    return version;
}

const char *transit_refusal(const struct kek_provider_session *session,
                            const struct transit_version *version)
{
    const struct transit_key *key = &session->key;
    if (key->refusal[0] != '\0') {
        return key->refusal;
    }
    bool named = kek_bridge_names_find(&session->provider->settings.named, version->number) != NULL;
    return key->imported && !named ? "imported_key is true: it was made elsewhere, and is used "
                                     "only if versions: names it"
                                   : NULL;
}

/* ---- the list ---- */

static void show_one(const struct kek_provider_session *session,
                     const struct transit_version *version, struct kek_version *shown)
{
    const struct kek_bridge_named *named =
        kek_bridge_names_find(&session->provider->settings.named, version->number);
    const char *refusal = transit_refusal(session, version);
    *shown = (struct kek_version){.number = version->number, .id = version->id};
    shown->can_unwrap = transit_may_unwrap(session, version);
    shown->can_wrap = transit_may_wrap(session, version);
    shown->compromised = named != NULL && named->state == KEK_STATE_COMPROMISED;
    shown->eligible = refusal == NULL;
    shown->alg = shown->can_wrap && version->proven ? KEK_WRAP_TRANSIT : KEK_WRAP_NONE;
    snprintf(shown->label, sizeof shown->label, "%.100s.v%" PRIu32, session->provider->settings.key,
             version->number);
    snprintf(shown->refusal, sizeof shown->refusal, "%s", refusal == NULL ? "" : refusal);
}

/* One that is closed and was never seen has no kek id here: it is named as refused, so that nobody takes it for gone. */
static void show_closed(const struct kek_provider_session *session,
                        struct kek_provider_versions *versions)
{
    const struct transit_key *key = &session->key;
    uint32_t first = key->min_available;
    first = key->min_decryption > first + CLOSED_MAX ? key->min_decryption - CLOSED_MAX : first;
    for (uint32_t n = first; n < key->min_decryption; n++) {
        bool known = false;
        for (size_t i = 0; i < key->count; i++) {
            known = known || key->versions[i].number == n;
        }
        if (known || versions->count == KEK_PROVIDER_VERSIONS_MAX) {
            continue;
        }
        struct kek_version *shown = &versions->items[versions->count++];
        *shown = (struct kek_version){.number = n, .id_pad = KEK_ID_LEN};
        snprintf(shown->label, sizeof shown->label, "%.100s.v%" PRIu32,
                 session->provider->settings.key, n);
        snprintf(shown->refusal, sizeof shown->refusal,
                 "closed by min_decryption_version %" PRIu32 ", not gone: lower that to %" PRIu32
                 " to have it again",
                 key->min_decryption, n);
    }
}

void transit_show(struct kek_provider_session *session, struct kek_provider_versions *versions)
{
    const struct transit_key *key = &session->key;
    versions->count = 0;
    if (key->read) {
        show_closed(session, versions);
    }
    size_t room = KEK_PROVIDER_VERSIONS_MAX - versions->count;
    size_t first = key->count > room ? key->count - room : 0;
    for (size_t i = first; i < key->count; i++) {
        show_one(session, &key->versions[i], &versions->items[versions->count++]);
    }
}
