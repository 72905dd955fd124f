#include "p11.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

#define KEYS_MAX 4096 /* secret keys on one token, ours and others' */

/* A key that another process destroyed between the search and the look at it. */
static bool is_gone(struct kek_p11_outcome outcome)
{
    return outcome.rv == CKR_OBJECT_HANDLE_INVALID || outcome.rv == CKR_KEY_HANDLE_INVALID;
}

/* The token cannot or will not tell this attribute: not a failure. */
static bool is_untold(struct kek_p11_outcome outcome)
{
    return outcome.rv == CKR_ATTRIBUTE_TYPE_INVALID || outcome.rv == CKR_ATTRIBUTE_SENSITIVE ||
           outcome.rv == CKR_ATTRIBUTE_VALUE_INVALID;
}

/* A search uses no key: what it says of one's use is said of the token. */
static bool fail_scan(struct kek_provider_failure *failure, Kek__Provider__Step step,
                      struct kek_p11_outcome outcome)
{
    if (kek_p11_class_of(outcome.rv) == KEK_P11_STATE) {
        return kek_p11_fail_as(failure, step, KEK__PROVIDER__CAUSE__LINK, outcome);
    }
    return kek_p11_fail_rv(failure, step, outcome);
}

/* One attribute; *len is CK_UNAVAILABLE_INFORMATION if untold, more than size if it is longer. */
static struct kek_p11_outcome read_one(struct kek_provider_session *session,
                                       CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type, void *value,
                                       CK_ULONG size, CK_ULONG *len)
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

static struct kek_p11_outcome read_ulong(struct kek_provider_session *session,
                                         CK_OBJECT_HANDLE object, CK_ATTRIBUTE_TYPE type,
                                         CK_ULONG *value)
{
    CK_ULONG told = 0, len;
    struct kek_p11_outcome outcome = read_one(session, object, type, &told, sizeof told, &len);
    *value = len == sizeof told ? told : KEK_P11_UNKNOWN_ULONG;
    return outcome;
}

static enum kek_p11_tri tri_of(CK_BBOOL value, CK_ULONG len)
{
    if (len != sizeof value) {
        return KEK_P11_UNTOLD;
    }
    return value == CK_FALSE ? KEK_P11_NO : KEK_P11_YES;
}

/* All at once where the token can, else one by one: some stop at the first that they do not know. */
static struct kek_p11_outcome read_flags(struct kek_provider_session *session,
                                         CK_OBJECT_HANDLE object,
                                         enum kek_p11_tri flags[static KEK_P11_FLAGS])
{
    CK_BBOOL values[KEK_P11_FLAGS] = {0};
    CK_ATTRIBUTE attributes[KEK_P11_FLAGS];
    for (size_t i = 0; i < KEK_P11_FLAGS; i++) {
        attributes[i] = (CK_ATTRIBUTE){kek_p11_flag_types[i], &values[i], sizeof values[i]};
    }
    struct kek_p11_outcome outcome = kek_p11_get_attributes(session->provider->f, session->handle,
                                                            object, attributes, KEK_P11_FLAGS);
    if (kek_p11_good(outcome)) {
        for (size_t i = 0; i < KEK_P11_FLAGS; i++) {
            flags[i] = tri_of(values[i], attributes[i].ulValueLen);
        }
        return outcome;
    }
    for (size_t i = 0; i < KEK_P11_FLAGS; i++) {
        CK_BBOOL value = CK_FALSE;
        CK_ULONG len;
        outcome = read_one(session, object, kek_p11_flag_types[i], &value, sizeof value, &len);
        if (!kek_p11_good(outcome)) {
            return outcome;
        }
        flags[i] = tri_of(value, len);
    }
    return outcome;
}

/* Reads the label; *ours is false, and number untouched, if this is no version of the keyring. */
static struct kek_p11_outcome read_label(struct kek_provider_session *session,
                                         CK_OBJECT_HANDLE object, struct kek_p11_facts *facts,
                                         const struct kek_p11_named **named, uint32_t *number,
                                         bool *ours)
{
    CK_ULONG len;
    struct kek_p11_outcome outcome =
        read_one(session, object, CKA_LABEL, facts->label, sizeof facts->label - 1, &len);
    *ours = false;
    if (!kek_p11_good(outcome) || len >= sizeof facts->label ||
        memchr(facts->label, '\0', len) != NULL) {
        return outcome;
    }
    facts->label[len] = '\0';
    *named = kek_p11_named_of(session->provider, facts->label);
    if (*named != NULL) {
        *number = (*named)->number;
        *ours = true;
    } else {
        *ours = kek_p11_label_number(session->provider->keyring, facts->label, number);
    }
    return outcome;
}

static struct kek_p11_outcome read_facts(struct kek_provider_session *session,
                                         CK_OBJECT_HANDLE object, struct kek_p11_facts *facts)
{
    CK_ULONG len;
    struct kek_p11_outcome outcome =
        read_one(session, object, CKA_ID, facts->id, sizeof facts->id, &len);
    facts->id_len = len == CK_UNAVAILABLE_INFORMATION ? 0 : len;
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    outcome = read_ulong(session, object, CKA_KEY_TYPE, &facts->key_type);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    outcome = read_ulong(session, object, CKA_VALUE_LEN, &facts->value_len);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    return read_flags(session, object, facts->flags);
}

/* Does the token say LOCAL=true of a key that it just made? NSS does not. A token that makes no
 * session key is believed: what it then calls not local is refused. */
static bool tells_local(struct kek_provider_session *session)
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

/* Adds the object to the table if it is one of the keyring's. */
static struct kek_p11_outcome look_at(struct kek_provider_session *session, CK_OBJECT_HANDLE object,
                                      struct kek_p11_table *table, bool *full)
{
    struct kek_p11_facts facts = {0};
    const struct kek_p11_named *named = NULL;
    uint32_t number;
    bool ours;
    struct kek_p11_outcome outcome = read_label(session, object, &facts, &named, &number, &ours);
    if (!kek_p11_good(outcome) || !ours) {
        return outcome;
    }
    outcome = read_facts(session, object, &facts);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    if (table->count == KEK_PROVIDER_VERSIONS_MAX) {
        *full = true;
        return outcome;
    }
    struct kek_p11_entry *entry = &table->entries[table->count++];
    memset(entry, 0, sizeof *entry);
    entry->handle = object;
    entry->has_id = facts.id_len == KEK_ID_LEN;
    entry->version.number = number;
    bool told = facts.flags[KEK_P11_LOCAL] != KEK_P11_NO || named != NULL || tells_local(session);
    kek_p11_judge(&facts, session->provider->strategy, named, told, &entry->version,
                  &entry->strategy);
    return outcome;
}

static void refuse_twin(struct kek_version *version, const struct kek_version *other,
                        const char *what)
{
    version->eligible = false;
    snprintf(version->refusal, sizeof version->refusal, "another key (%.60s) has the same %s",
             other->label, what);
}

/* Which of two keys is meant cannot be known, so neither is used. */
static void refuse_twins(struct kek_p11_table *table)
{
    for (size_t i = 0; i < table->count; i++) {
        for (size_t j = i + 1; j < table->count; j++) {
            struct kek_version *a = &table->entries[i].version, *b = &table->entries[j].version;
            bool both = table->entries[i].has_id && table->entries[j].has_id;
            const char *what = NULL;
            if (a->number == b->number) {
                what = "version number";
            } else if (both && kek_id_equal(&a->id, &b->id)) {
                what = "CKA_ID";
            }
            if (what != NULL) {
                refuse_twin(a, b, what);
                refuse_twin(b, a, what);
            }
        }
    }
}

enum same { SAME, ANOTHER, UNCERTAIN };

/* The same id under a new handle: does what the old one wrapped come out? */
static enum same is_same_key(struct kek_provider_session *session,
                             const struct kek_p11_entry *before, const struct kek_p11_entry *entry)
{
    if (entry->handle == before->handle) {
        return SAME;
    }
    if (before->known.len == 0 || !entry->version.can_unwrap || !entry->version.eligible) {
        return UNCERTAIN;
    }
    bool same;
    struct kek_p11_outcome outcome = kek_p11_ask_known(session, before, entry->handle, &same);
    enum kek_p11_class class = kek_p11_class_of(outcome.rv);
    if (class == KEK_P11_OK) {
        return same ? SAME : ANOTHER;
    }
    return class == KEK_P11_DATA || class == KEK_P11_AMBIGUOUS ? ANOTHER : UNCERTAIN;
}

/* What was proven of a key stays proven; an ability that is new is proven anew.  A key that was
 * exchanged under its name is for a fresh process, which nobody trusts yet. */
static bool carry_over(struct kek_provider_session *session, struct kek_p11_table *new,
                       Kek__Provider__Step step, struct kek_provider_failure *failure)
{
    const struct kek_p11_table *old = &session->table;
    for (size_t i = 0; i < new->count; i++) {
        struct kek_p11_entry *entry = &new->entries[i];
        for (size_t j = 0; j < old->count; j++) {
            const struct kek_p11_entry *before = &old->entries[j];
            if (!entry->has_id || !kek_id_equal(&entry->version.id, &before->version.id) ||
                entry->strategy != before->strategy) {
                continue;
            }
            enum same same = is_same_key(session, before, entry);
            if (same == ANOTHER) {
                return kek_p11_fail(failure, step, KEK__PROVIDER__CAUSE__LINK,
                                    "key %s is not the one that it was", entry->version.label);
            }
            if (same == SAME) {
                entry->way = before->way;
                entry->known = before->known;
                entry->version.alg = entry->known.len == 0 ? KEK_WRAP_NONE : entry->way->alg;
            }
        }
    }
    return true;
}

static int by_number(const void *a, const void *b)
{
    const struct kek_p11_entry *left = a, *right = b;
    return (left->version.number > right->version.number) -
           (left->version.number < right->version.number);
}

/* Every secret key on the token, in a new session if that one is gone. */
static bool search(struct kek_provider_session *session, CK_OBJECT_HANDLE *objects, size_t *count,
                   Kek__Provider__Step step, struct kek_provider_failure *failure)
{
    CK_OBJECT_CLASS class = CKO_SECRET_KEY;
    CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE attributes[] = {
        {CKA_CLASS, &class, sizeof class},
        {CKA_TOKEN, &yes, sizeof yes},
    };
    struct kek_p11_outcome outcome = {.rv = CKR_OK};
    for (int round = 0; round < 2; round++) {
        struct kek_p11_outcome ready = kek_p11_session_ready(session);
        if (!kek_p11_good(ready)) {
            return fail_scan(failure, step, ready);
        }
        outcome = kek_p11_find(session->provider->f, session->handle, attributes, 2, objects,
                               KEYS_MAX + 1, count);
        if (kek_p11_class_of(outcome.rv) != KEK_P11_SESSION) {
            break;
        }
        session->broken = true;
    }
    if (!kek_p11_good(outcome)) {
        return fail_scan(failure, step, outcome);
    }
    if (*count > KEYS_MAX) {
        return kek_p11_fail(failure, step, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                            "more than %d secret keys are on the token", KEYS_MAX);
    }
    return true;
}

/* *gone of them were not there any more; *last is what the last such one said. */
static bool look_at_all(struct kek_provider_session *session, const CK_OBJECT_HANDLE *objects,
                        size_t count, struct kek_p11_table *table, size_t *gone,
                        struct kek_p11_outcome *last, Kek__Provider__Step step,
                        struct kek_provider_failure *failure)
{
    bool full = false;
    table->count = 0;
    *gone = 0;
    for (size_t i = 0; i < count; i++) {
        struct kek_p11_outcome outcome = look_at(session, objects[i], table, &full);
        if (is_gone(outcome)) {
            ++*gone;
            *last = outcome;
        } else if (!kek_p11_good(outcome)) {
            return fail_scan(failure, step, outcome);
        }
    }
    if (full) {
        return kek_p11_fail(failure, step, KEK__PROVIDER__CAUSE__KEY_UNFIT,
                            "more than %d keys on the token are named %s.v<N>",
                            KEK_PROVIDER_VERSIONS_MAX, session->provider->keyring);
    }
    return true;
}

/* A key that went while it was looked at is looked for once more: one that was destroyed is then not
 * found, and one whose handle failed in passing must not be called missing. */
static bool read_keys(struct kek_provider_session *session, CK_OBJECT_HANDLE *objects,
                      struct kek_p11_table *table, Kek__Provider__Step step,
                      struct kek_provider_failure *failure)
{
    struct kek_p11_outcome last;
    size_t count = 0, gone = 0;
    for (int round = 0; round < 2; round++) {
        if (!search(session, objects, &count, step, failure) ||
            !look_at_all(session, objects, count, table, &gone, &last, step, failure)) {
            return false;
        }
        if (gone == 0) {
            return true;
        }
    }
    /* Nobody destroys all keys of a token in a moment: it is the token that went. */
    return gone < count || kek_p11_fail_as(failure, step, KEK__PROVIDER__CAUSE__LINK, last);
}

bool kek_p11_scan(struct kek_provider_session *session, Kek__Provider__Step step,
                  struct kek_provider_failure *failure)
{
    KEK_AUTO_FREE CK_OBJECT_HANDLE *objects = calloc(KEYS_MAX + 1, sizeof *objects);
    KEK_AUTO_FREE struct kek_p11_table *table = calloc(1, sizeof *table);
    if (objects == NULL || table == NULL) {
        return kek_p11_fail(failure, step, KEK__PROVIDER__CAUSE__BUSY, "no memory for a key list");
    }
    if (!read_keys(session, objects, table, step, failure)) {
        return false;
    }
    /* A token that was taken away shows no keys rather than an error (SoftHSM). */
    if (table->count == 0 && session->table.count > 0) {
        return kek_p11_fail(failure, step, KEK__PROVIDER__CAUSE__LINK,
                            "the token shows no key of keyring %s any more",
                            session->provider->keyring);
    }
    qsort(table->entries, table->count, sizeof table->entries[0], by_number);
    refuse_twins(table);
    if (!carry_over(session, table, step, failure)) {
        return false;
    }
    session->table = *table;
    return true;
}
