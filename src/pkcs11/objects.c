#include "p11.h"

#include <stdio.h>
#include <string.h>

#include "kek/log.h"
#include "kek/text.h"

#define FACTS 4 /* label, id, type, length: before the flags */

bool kek_p11_is_gone(struct kek_p11_outcome outcome)
{
    return outcome.rv == CKR_OBJECT_HANDLE_INVALID || outcome.rv == CKR_KEY_HANDLE_INVALID;
}

bool kek_p11_is_of_object(struct kek_p11_outcome outcome)
{
    switch (kek_p11_class_of(outcome.rv)) {
    case KEK_P11_OK:
    case KEK_P11_SESSION:
    case KEK_P11_HANDLE:
    case KEK_P11_BUSY:
    case KEK_P11_LINK:
        return false;
    default:
        return true;
    }
}

/* The token cannot or will not tell this attribute: not a failure. */
static bool is_untold(struct kek_p11_outcome outcome)
{
    return outcome.rv == CKR_ATTRIBUTE_TYPE_INVALID || outcome.rv == CKR_ATTRIBUTE_SENSITIVE ||
           outcome.rv == CKR_ATTRIBUTE_VALUE_INVALID;
}

/* One attribute; *len is CK_UNAVAILABLE_INFORMATION if untold, more than size if it is longer. */
static struct kek_p11_outcome read_once(struct kek_provider_session *session,
                                        CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                                        void *value, CK_ULONG size, CK_ULONG *len)
{
    CK_ATTRIBUTE attribute = {type, value, size};
    struct kek_p11_outcome outcome =
        kek_p11_get_attributes(session->provider->f, session->handle, object, &attribute, 1);
    *len = attribute.ulValueLen;
    if (outcome.rv == CKR_BUFFER_TOO_SMALL) {
        *len = size + 1;
        outcome.rv = CKR_OK;
    } else if (is_untold(outcome)) {
        *len = CK_UNAVAILABLE_INFORMATION;
        outcome.rv = CKR_OK;
    }
    return outcome;
}

/* Tried twice where the failure may be transient. */
static struct kek_p11_outcome read_one(struct kek_provider_session *session,
                                       CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *value,
                                       CK_ULONG size, CK_ULONG *len)
{
    struct kek_p11_outcome outcome = read_once(session, object, type, value, size, len);
    if (kek_p11_is_of_object(outcome)) {
        const struct kek_p11_outcome first = outcome;
        outcome = read_once(session, object, type, value, size, len);
        if (kek_p11_good(outcome)) {
            kek_p11_again(first);
        }
    }
    return outcome;
}

static CK_ULONG ulong_of(CK_ULONG value, CK_ULONG len)
{
    return len == sizeof value ? value : KEK_P11_UNKNOWN_ULONG;
}

static enum kek_p11_tri tri_of(CK_BBOOL value, CK_ULONG len)
{
    if (len != sizeof value) {
        return KEK_P11_UNTOLD;
    }
    return value == CK_FALSE ? KEK_P11_NO : KEK_P11_YES;
}

/* A key is as good without the token's word on these (keys.c), so a token that fails at one has not
 * told it.  What a key may do and what keeps it inside is never guessed. */
static bool is_optional(enum kek_p11_flag flag)
{
    switch (flag) {
    case KEK_P11_LOCAL:
    case KEK_P11_ALWAYS_SENSITIVE:
    case KEK_P11_NEVER_EXTRACTABLE:
    case KEK_P11_SIGN:
    case KEK_P11_VERIFY:
    case KEK_P11_DERIVE:
        return true;
    default:
        return false;
    }
}

/* One by one: some tokens stop at the first attribute that they do not know. */
static struct kek_p11_outcome read_facts_singly(struct kek_provider_session *session,
                                                CK_OBJECT_HANDLE object,
                                                struct kek_p11_facts *facts, CK_ULONG *label_len)
{
    CK_ULONG len, value;
    *facts = (struct kek_p11_facts){0};
    struct kek_p11_outcome outcome =
        read_one(session, object, CKA_LABEL, facts->label, sizeof facts->label - 1, label_len);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    outcome = read_one(session, object, CKA_ID, facts->id, sizeof facts->id, &len);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    facts->id_len = len == CK_UNAVAILABLE_INFORMATION ? 0 : len;
    outcome = read_one(session, object, CKA_KEY_TYPE, &value, sizeof value, &len);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    facts->key_type = ulong_of(value, len);
    outcome = read_one(session, object, CKA_VALUE_LEN, &value, sizeof value, &len);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    facts->value_len = ulong_of(value, len);
    for (size_t i = 0; i < KEK_P11_FLAGS; i++) {
        CK_BBOOL flag = CK_FALSE;
        outcome = read_one(session, object, kek_p11_flag_types[i], &flag, sizeof flag, &len);
        if (kek_p11_is_of_object(outcome) && is_optional((enum kek_p11_flag)i)) {
            len = CK_UNAVAILABLE_INFORMATION;
            outcome.rv = CKR_OK;
        }
        if (!kek_p11_good(outcome)) {
            return outcome;
        }
        facts->flags[i] = tri_of(flag, len);
    }
    return outcome;
}

/* In one call where the token can. */
struct kek_p11_outcome kek_p11_read_facts(struct kek_provider_session *session,
                                          CK_OBJECT_HANDLE object, struct kek_p11_facts *facts,
                                          CK_ULONG *label_len)
{
    CK_ULONG key_type = 0, value_len = 0;
    CK_BBOOL flags[KEK_P11_FLAGS] = {0};
    CK_ATTRIBUTE attributes[FACTS + KEK_P11_FLAGS] = {
        {CKA_LABEL, facts->label, sizeof facts->label - 1},
        {CKA_ID, facts->id, sizeof facts->id},
        {CKA_KEY_TYPE, &key_type, sizeof key_type},
        {CKA_VALUE_LEN, &value_len, sizeof value_len},
    };
    for (size_t i = 0; i < KEK_P11_FLAGS; i++) {
        attributes[FACTS + i] = (CK_ATTRIBUTE){kek_p11_flag_types[i], &flags[i], sizeof flags[i]};
    }
    struct kek_p11_outcome outcome = kek_p11_get_attributes(
        session->provider->f, session->handle, object, attributes, FACTS + KEK_P11_FLAGS);
    if (!kek_p11_good(outcome)) {
        bool lost = !kek_p11_is_of_object(outcome);
        return lost ? outcome : read_facts_singly(session, object, facts, label_len);
    }
    *label_len = attributes[0].ulValueLen;
    CK_ULONG id_len = attributes[1].ulValueLen;
    facts->id_len = id_len == CK_UNAVAILABLE_INFORMATION ? 0 : id_len;
    facts->key_type = ulong_of(key_type, attributes[2].ulValueLen);
    facts->value_len = ulong_of(value_len, attributes[3].ulValueLen);
    for (size_t i = 0; i < KEK_P11_FLAGS; i++) {
        facts->flags[i] = tri_of(flags[i], attributes[FACTS + i].ulValueLen);
    }
    return outcome;
}

/* Ends the label; *named is the configuration's word on it. False: it is no version's. */
static bool is_ours(const struct kek_provider *provider, char label[static KEK_LABEL_MAX],
                    CK_ULONG len, const struct kek_p11_named **named, uint32_t *number)
{
    if (len >= KEK_LABEL_MAX || memchr(label, '\0', len) != NULL) {
        return false;
    }
    label[len] = '\0';
    *named = kek_p11_named_of(provider, label);
    if (*named != NULL) {
        *number = (*named)->number;
        return true;
    }
    char plain[KEK_LABEL_MAX];
    (void)kek_p11_label_unmark(label, plain);
    return kek_p11_label_number(provider->keyring, plain, number);
}

/* The keyring's name in a label that has the form of a version's; empty if it has not. */
static void keyring_of(const char *label, char name[static KEK_PROVIDER_OTHER_LEN_MAX])
{
    const char *dot = NULL;
    uint64_t number = 0;
    char plain[KEK_LABEL_MAX];
    (void)kek_p11_label_unmark(label, plain);
    for (const char *at = strstr(plain, ".v"); at != NULL; at = strstr(at + 1, ".v")) {
        dot = at;
    }
    size_t len = dot == NULL ? 0 : (size_t)(dot - plain);
    bool is_version = len > 0 && len < KEK_PROVIDER_OTHER_LEN_MAX &&
                      kek_text_decimal(dot + 2, UINT32_MAX, &number);
    snprintf(name, KEK_PROVIDER_OTHER_LEN_MAX, "%.*s", is_version ? (int)len : 0, plain);
}

struct kek_p11_outcome kek_p11_read_label(struct kek_provider_session *session,
                                          CK_OBJECT_HANDLE object, bool *ours,
                                          char other[static KEK_PROVIDER_OTHER_LEN_MAX])
{
    char label[KEK_LABEL_MAX];
    const struct kek_p11_named *named;
    uint32_t number;
    CK_ULONG len;
    struct kek_p11_outcome outcome =
        read_one(session, object, CKA_LABEL, label, sizeof label - 1, &len);
    *ours = kek_p11_good(outcome) && is_ours(session->provider, label, len, &named, &number);
    other[0] = '\0';
    if (kek_p11_good(outcome) && !*ours && len < sizeof label) {
        label[len] = '\0';
        keyring_of(label, other);
        other[0] = strcmp(other, session->provider->keyring) == 0 ? '\0' : other[0];
    }
    return outcome;
}

bool kek_p11_tells_local(struct kek_provider_session *session)
{
    if (session->local != KEK_P11_LOCAL_UNASKED) {
        return session->local == KEK_P11_LOCAL_TOLD;
    }
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_KEY_TYPE type = CKK_AES;
    CK_ULONG value_len = 32;
    CK_BBOOL no = CK_FALSE, local = CK_FALSE;
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_KEY_TYPE, &type, sizeof type},
        {CKA_TOKEN, &no, sizeof no},
        {CKA_VALUE_LEN, &value_len, sizeof value_len},
    };
    CK_MECHANISM mechanism = {CKM_AES_KEY_GEN, NULL, 0};
    CK_FUNCTION_LIST *f = session->provider->f;
    CK_OBJECT_HANDLE key;
    if (!kek_p11_good(kek_p11_generate_key(f, session->handle, &mechanism, attributes,
                                           sizeof attributes / sizeof attributes[0], &key))) {
        return true;
    }
    CK_ULONG len;
    struct kek_p11_outcome outcome = read_one(session, key, CKA_LOCAL, &local, sizeof local, &len);
    bool untold = kek_p11_good(outcome) && tri_of(local, len) != KEK_P11_YES;
    if (!kek_p11_good(kek_p11_destroy_object(f, session->handle, key))) {
        session->broken = true;
    }
    session->local = untold ? KEK_P11_LOCAL_UNTOLD : KEK_P11_LOCAL_TOLD;
    return !untold;
}

struct kek_p11_outcome kek_p11_read_entry(struct kek_provider_session *session,
                                          CK_OBJECT_HANDLE object, struct kek_p11_entry *entry,
                                          bool *ours)
{
    struct kek_p11_facts facts = {0};
    const struct kek_p11_named *named;
    uint32_t number;
    CK_ULONG len;
    struct kek_p11_outcome outcome = kek_p11_read_facts(session, object, &facts, &len);
    *ours = kek_p11_good(outcome) && is_ours(session->provider, facts.label, len, &named, &number);
    if (!*ours) {
        return outcome;
    }
    memset(entry, 0, sizeof *entry);
    entry->handle = object;
    entry->has_id = facts.id_len == KEK_ID_LEN;
    entry->version.number = number;
    entry->flag_wrap =
        facts.flags[KEK_P11_WRAP] == KEK_P11_YES || facts.flags[KEK_P11_ENCRYPT] == KEK_P11_YES;
    entry->flag_unwrap =
        facts.flags[KEK_P11_UNWRAP] == KEK_P11_YES || facts.flags[KEK_P11_DECRYPT] == KEK_P11_YES;
    bool told =
        facts.flags[KEK_P11_LOCAL] != KEK_P11_NO || named != NULL || kek_p11_tells_local(session);
    kek_p11_judge(&facts, session->provider->strategy, named, told, &entry->version,
                  &entry->strategy);
    return outcome;
}

void kek_p11_name_unreadable(const struct kek_provider *provider, CK_OBJECT_HANDLE object,
                             struct kek_p11_outcome outcome)
{
    _Atomic CK_OBJECT_HANDLE *named = provider->shared->unreadable;
    for (size_t i = 0; i < KEK_P11_UNREADABLE_MAX; i++) {
        CK_OBJECT_HANDLE there = 0;
        if (atomic_compare_exchange_strong(&named[i], &there, object)) {
            kek_log_with(KEK_LOG_WARN,
                         KEK_LOG_FIELDS(kek_log_text("token", provider->label),
                                        kek_log_number("handle", object)),
                         "a key on the token cannot be read and is passed over%s: %s: %s (0x%lx)",
                         i + 1 == KEK_P11_UNREADABLE_MAX ? " (no more are named)" : "",
                         outcome.call, kek_p11_rv_name(outcome.rv), outcome.rv);
            return;
        }
        if (there == object) {
            return;
        }
    }
}
