#include "p11.h"

#include <stdio.h>
#include <string.h>

#define CALL_STEP KEK__PROVIDER__STEP__PROVIDER_CALL

/* A fresh look, so that nothing is decided on an old list. */
static bool look(struct kek_provider_session *session, struct kek_provider_failure *failure)
{
    return kek_p11_scan(session, CALL_STEP, failure);
}

bool kek_p11_may_change(const struct kek_provider *provider, struct kek_provider_failure *failure)
{
    if (provider->read_only) {
        return kek_p11_fail(
            failure, CALL_STEP, KEK__PROVIDER__CAUSE__UNSUPPORTED,
            "token '%s' is write-protected and gives read-only sessions alone: keys "
            "are made and changed where it can be written, by its vendor's tools",
            provider->label);
    }
    return true;
}

static bool is_free(struct kek_provider_session *session, uint32_t number,
                    const struct kek_id *kek_id, struct kek_provider_failure *failure)
{
    if (kek_p11_session_entry(session, kek_id) != NULL) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__STATE,
                            "a key with this CKA_ID exists already");
    }
    for (size_t i = 0; i < session->table.count; i++) {
        const struct kek_version *version = &session->table.entries[i].version;
        if (version->number == number) {
            return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__STATE,
                                "version %u exists already (%s)", number, version->label);
        }
    }
    if (session->table.count >= KEK_PROVIDER_VERSIONS_MAX) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__STATE,
                            "the keyring has %d versions already", KEK_PROVIDER_VERSIONS_MAX);
    }
    return true;
}

static bool is_as_told(const struct kek_p11_entry *entry, enum kek_state state)
{
    return entry->flag_wrap == (state == KEK_STATE_ACTIVE) &&
           entry->flag_unwrap == (state != KEK_STATE_SUSPENDED) &&
           (state != KEK_STATE_ACTIVE || entry->version.can_wrap) &&
           (state != KEK_STATE_COMPROMISED || entry->version.compromised);
}

bool kek_p11_is_in_state(struct kek_provider_session *session, const struct kek_id *kek_id,
                         enum kek_state state, struct kek_provider_failure *failure)
{
    if (!look(session, failure) || !kek_p11_prove_all(session, failure)) {
        return false;
    }
    const struct kek_p11_entry *entry = kek_p11_session_entry(session, kek_id);
    if (entry == NULL) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_MISSING,
                            "the token does not show the key");
    }
    if (!entry->version.eligible) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_UNFIT, "key %s: %s",
                            entry->version.label, entry->version.refusal);
    }
    if (!is_as_told(entry, state)) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                            "the token took the flags of key %s and shows others",
                            entry->version.label);
    }
    return true;
}

#define ID_SHOWN 32

/* What a token calls a key that it has just made, whatever it was told to. */
struct name {
    uint8_t label[KEK_LABEL_MAX], id[ID_SHOWN];
    size_t label_len, id_len; /* 0 too where the token does not tell, or it is longer than that */
};

static struct kek_p11_outcome read_some(const struct kek_provider_session *session,
                                        CK_OBJECT_HANDLE key, CK_ATTRIBUTE_TYPE type,
                                        uint8_t *value, size_t size, size_t *len)
{
    CK_ATTRIBUTE attribute = {type, value, size};
    struct kek_p11_outcome outcome =
        kek_p11_get_attributes(session->provider->f, session->handle, key, &attribute, 1);
    *len = kek_p11_good(outcome) && attribute.ulValueLen <= size ? attribute.ulValueLen : 0;
    return outcome;
}

static bool is_untold(struct kek_p11_outcome outcome)
{
    return outcome.rv == CKR_BUFFER_TOO_SMALL || outcome.rv == CKR_ATTRIBUTE_TYPE_INVALID ||
           outcome.rv == CKR_ATTRIBUTE_SENSITIVE || outcome.rv == CKR_ATTRIBUTE_VALUE_INVALID;
}

static struct kek_p11_outcome read_name(const struct kek_provider_session *session,
                                        CK_OBJECT_HANDLE key, struct name *name)
{
    struct kek_p11_outcome id =
        read_some(session, key, CKA_ID, name->id, sizeof name->id, &name->id_len);
    struct kek_p11_outcome label =
        read_some(session, key, CKA_LABEL, name->label, sizeof name->label, &name->label_len);
    return kek_p11_good(id) ? label : id;
}

/* "label 'ring.v1', CKA_ID 00112233" */
static void say_name(const struct name *name, char *out, size_t size)
{
    char id[2 * ID_SHOWN + 1] = "";
    for (size_t i = 0; i < name->id_len; i++) {
        snprintf(id + 2 * i, 3, "%02x", name->id[i]);
    }
    snprintf(out, size, "label '%.*s', CKA_ID %s", name->label_len < 64 ? (int)name->label_len : 64,
             (const char *)name->label, name->id_len > 0 ? id : "unknown");
}

/* Some tokens cut a CKA_ID or a label, and a search for what was asked would not find their key. */
static bool is_named_as_asked(const struct kek_provider_session *session, CK_OBJECT_HANDLE key,
                              const struct kek_p11_making *making,
                              struct kek_provider_failure *failure)
{
    struct name name = {.label_len = 0};
    char text[192];
    struct kek_p11_outcome outcome = read_name(session, key, &name);
    if (!kek_p11_good(outcome) && !is_untold(outcome)) {
        /* Tried twice: a transient failure must not cost a good key. */
        const struct kek_p11_outcome first = outcome;
        outcome = read_name(session, key, &name);
        if (kek_p11_good(outcome) || is_untold(outcome)) {
            kek_p11_again(first);
        }
    }
    if (!kek_p11_good(outcome) && !is_untold(outcome)) {
        return kek_p11_fail_as(failure, CALL_STEP, KEK__PROVIDER__CAUSE__LINK, outcome);
    }
    if (name.id_len == sizeof making->kek_id->bytes &&
        memcmp(name.id, making->kek_id->bytes, name.id_len) == 0 &&
        name.label_len == strlen(making->label) &&
        memcmp(name.label, making->label, name.label_len) == 0) {
        return true;
    }
    say_name(&name, text, sizeof text);
    return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                        "the token names the new key otherwise than it was told to: %s", text);
}

void kek_p11_take_back(struct kek_provider_session *session, CK_OBJECT_HANDLE key,
                       struct kek_provider_failure *failure)
{
    struct kek_p11_outcome outcome =
        kek_p11_destroy_object(session->provider->f, session->handle, key);
    if (kek_p11_good(outcome)) {
        (void)kek_fail_within(&failure->why, failure->why.rc, "the new key was destroyed again");
        return;
    }
    struct name name = {.label_len = 0};
    char text[192];
    (void)read_name(session, key, &name);
    say_name(&name, text, sizeof text);
    (void)kek_fail_within(&failure->why, failure->why.rc,
                          "a key is left on the token, destroy it by the vendor's tools: %s "
                          "(%s: %s)",
                          text, outcome.call, kek_p11_rv_name(outcome.rv));
}

bool kek_p11_generate(struct kek_provider_session *session, uint32_t number,
                      const struct kek_id *kek_id, enum kek_state state, struct kek_id *made,
                      struct kek_provider_failure *failure)
{
    char label[KEK_LABEL_MAX];
    int len = snprintf(label, sizeof label, "%s.v%u", session->provider->keyring, number);
    if (len < 0 || (size_t)len >= sizeof label) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                            "the keyring's name is too long for a label");
    }
    if (!kek_p11_may_change(session->provider, failure) || !look(session, failure) ||
        !is_free(session, number, kek_id, failure)) {
        return false;
    }
    const struct kek_p11_way *way;
    struct kek_p11_making making = {
        .on_token = true, .label = label, .kek_id = kek_id, .state = state};
    struct kek_p11_outcome outcome = kek_p11_choose(session, &making.strategy, &way);
    if (kek_p11_good(outcome)) {
        outcome = kek_p11_session_ready(session);
    }
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    CK_OBJECT_HANDLE key;
    outcome = kek_p11_make_key(session->provider, session->handle, &making, &key);
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    if (is_named_as_asked(session, key, &making, failure) &&
        kek_p11_is_in_state(session, kek_id, state, failure)) {
        *made = *kek_id;
        return true;
    }
    /* A token that is away or busy has said nothing of the key: whoever asked for it looks later. */
    if (failure->cause != KEK__PROVIDER__CAUSE__LINK &&
        failure->cause != KEK__PROVIDER__CAUSE__BUSY) {
        kek_p11_take_back(session, key, failure);
    }
    return false;
}

/* Two keys with one id are a matter for a person with the token's own tools. */
struct kek_p11_entry *kek_p11_pick(struct kek_provider_session *session,
                                   const struct kek_id *kek_id,
                                   struct kek_provider_failure *failure)
{
    if (!kek_p11_may_change(session->provider, failure) || !look(session, failure)) {
        return NULL;
    }
    struct kek_p11_entry *found = NULL;
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_p11_entry *entry = &session->table.entries[i];
        if (!entry->has_id || !kek_id_equal(&entry->version.id, kek_id)) {
            continue;
        }
        if (found != NULL) {
            kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_UNFIT,
                         "two keys have this CKA_ID: %s and %.60s", found->version.label,
                         entry->version.label);
            return NULL;
        }
        found = entry;
    }
    if (found == NULL) {
        kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_MISSING,
                     "the token has no key of keyring %s with this CKA_ID",
                     session->provider->keyring);
    }
    return found;
}

bool kek_p11_destroy(struct kek_provider_session *session, const struct kek_id *kek_id,
                     struct kek_provider_failure *failure)
{
    struct kek_p11_entry *entry = kek_p11_pick(session, kek_id, failure);
    if (entry == NULL) {
        return false;
    }
    struct kek_p11_outcome outcome =
        kek_p11_destroy_object(session->provider->f, session->handle, entry->handle);
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    /* The last key may go: an empty list is then what was asked for. */
    session->table.count = 0;
    if (!look(session, failure)) {
        return false;
    }
    if (kek_p11_session_entry(session, kek_id) != NULL) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                            "the token took the key's destruction and still shows it");
    }
    return true;
}
