/* Describe: what the keys of one name are, as the token tells it and as they would be judged. */
#include "p11.h"

#include <stdio.h>
#include <string.h>

#define CALL_STEP KEK__PROVIDER__STEP__PROVIDER_CALL
#define MATCHES_MAX 1024 /* objects of one name that are looked at */

_Static_assert(KEK_P11_FLAGS < KEK_PROVIDER_ATTRIBUTES_MAX, "CKA_MODIFIABLE fits too");

/* Objects of the token with one name, each once. */
struct matches {
    size_t key_count, other_count;
    CK_OBJECT_HANDLE keys[MATCHES_MAX];
    CK_OBJECT_HANDLE others[MATCHES_MAX]; /* of other classes */
};

static bool is_among(const CK_OBJECT_HANDLE *objects, size_t count, CK_OBJECT_HANDLE object)
{
    for (size_t i = 0; i < count; i++) {
        if (objects[i] == object) {
            return true;
        }
    }
    return false;
}

static void add(CK_OBJECT_HANDLE *objects, size_t *count, CK_OBJECT_HANDLE object)
{
    if (*count < MATCHES_MAX && !is_among(objects, *count, object)) {
        objects[(*count)++] = object;
    }
}

/* Adds what has this label or CKA_ID. */
static struct kek_p11_outcome gather(struct kek_provider_session *session, CK_ATTRIBUTE_TYPE type,
                                     const void *value, size_t len, struct matches *matches)
{
    static CK_BBOOL yes = CK_TRUE;
    CK_ATTRIBUTE any[] = {{CKA_TOKEN, &yes, sizeof yes}, {type, (void *)value, len}};
    CK_OBJECT_HANDLE keys[MATCHES_MAX], objects[MATCHES_MAX];
    size_t key_count = 0, count = 0;
    struct kek_p11_outcome outcome =
        kek_p11_find_exact(session, type, value, len, keys, MATCHES_MAX, &key_count);
    if (kek_p11_good(outcome)) {
        outcome = kek_p11_find(session->provider->f, session->handle, any, 2, objects, MATCHES_MAX,
                               &count);
    }
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    for (size_t i = 0; i < key_count; i++) {
        add(matches->keys, &matches->key_count, keys[i]);
    }
    for (size_t i = 0; i < count; i++) {
        if (!is_among(keys, key_count, objects[i])) {
            add(matches->others, &matches->other_count, objects[i]);
        }
    }
    return outcome;
}

/* The bytes that the text stands for in hexadecimal; 0: it is not that. */
static size_t id_of(struct kek_bytes text, uint8_t id[static KEK_PROVIDER_NAME_MAX / 2])
{
    static const char digits[] = "0123456789abcdef";
    if (text.len == 0 || text.len % 2 != 0 || text.len > KEK_PROVIDER_NAME_MAX) {
        return 0;
    }
    for (size_t i = 0; i < text.len; i++) {
        uint8_t c = text.data[i];
        const char *at = c == '\0' ? NULL : strchr(digits, c >= 'A' && c <= 'F' ? c + 32 : c);
        if (at == NULL) {
            return 0;
        }
        id[i / 2] = (uint8_t)(16 * (i % 2 == 0 ? 0 : id[i / 2]) + (at - digits));
    }
    return text.len / 2;
}

static struct kek_p11_outcome gather_named(struct kek_provider_session *session,
                                           struct kek_bytes name, struct matches *matches)
{
    uint8_t id[KEK_PROVIDER_NAME_MAX / 2];
    size_t id_len = id_of(name, id);
    struct kek_p11_outcome outcome = gather(session, CKA_LABEL, name.data, name.len, matches);
    if (kek_p11_good(outcome) && id_len > 0) {
        outcome = gather(session, CKA_ID, id, id_len, matches);
    }
    return outcome;
}

/* ---- one key ---- */

static void put_attribute(struct kek_provider_object *object, const char *name,
                          enum kek_p11_tri value)
{
    struct kek_provider_attribute *attribute = &object->attributes[object->attribute_count++];
    snprintf(attribute->name, sizeof attribute->name, "%s", name);
    attribute->value = value == KEK_P11_UNTOLD ? KEK_TRI_UNTOLD
                       : value == KEK_P11_YES  ? KEK_TRI_YES
                                               : KEK_TRI_NO;
}

/* Whether the token lets it be changed at all; most do not tell of a key that they would not change. */
static enum kek_p11_tri is_modifiable(const struct kek_provider_session *session,
                                      CK_OBJECT_HANDLE key)
{
    CK_BBOOL value = CK_FALSE;
    CK_ATTRIBUTE attribute = {CKA_MODIFIABLE, &value, sizeof value};
    struct kek_p11_outcome outcome =
        kek_p11_get_attributes(session->provider->f, session->handle, key, &attribute, 1);
    if (!kek_p11_good(outcome) || attribute.ulValueLen != sizeof value) {
        return KEK_P11_UNTOLD;
    }
    return value == CK_FALSE ? KEK_P11_NO : KEK_P11_YES;
}

/* One that is longer than a KEK's is read for people. */
static struct kek_p11_outcome read_id(const struct kek_provider_session *session,
                                      CK_OBJECT_HANDLE key, const struct kek_p11_facts *facts,
                                      struct kek_provider_object *object)
{
    CK_ATTRIBUTE attribute = {CKA_ID, object->id, sizeof object->id};
    struct kek_p11_outcome outcome = {.rv = CKR_OK};
    if (facts->id_len <= sizeof facts->id) {
        memcpy(object->id, facts->id, facts->id_len);
        object->id_len = facts->id_len;
        return outcome;
    }
    outcome = kek_p11_get_attributes(session->provider->f, session->handle, key, &attribute, 1);
    object->id_len = attribute.ulValueLen;
    if (outcome.rv == CKR_BUFFER_TOO_SMALL) {
        memset(object->id, 0, sizeof object->id);
        object->id_len = sizeof object->id + 1;
        outcome.rv = CKR_OK;
    }
    return outcome;
}

/* What else has its label or its CKA_ID. */
static struct kek_p11_outcome count_namesakes(struct kek_provider_session *session,
                                              struct kek_provider_object *object)
{
    KEK_AUTO_FREE struct matches *matches = calloc(2, sizeof *matches);
    struct kek_p11_outcome outcome = {.rv = CKR_OK};
    if (matches == NULL) {
        return (struct kek_p11_outcome){.rv = CKR_HOST_MEMORY, .call = "calloc"};
    }
    if (object->label_len > 0 && object->label_len < sizeof object->label) {
        outcome = gather(session, CKA_LABEL, object->label, object->label_len, &matches[0]);
    }
    if (kek_p11_good(outcome) && object->id_len > 0 && object->id_len <= sizeof object->id) {
        outcome = gather(session, CKA_ID, object->id, object->id_len, &matches[1]);
    }
    for (size_t i = 0; i < matches[1].other_count; i++) {
        add(matches[0].others, &matches[0].other_count, matches[1].others[i]);
    }
    object->label_keys = (uint32_t)(matches[0].key_count > 0 ? matches[0].key_count - 1 : 0);
    object->id_keys = (uint32_t)(matches[1].key_count > 0 ? matches[1].key_count - 1 : 0);
    object->shared = (uint32_t)matches[0].other_count;
    return outcome;
}

/* How kekd would judge it, as nobody's key and as one that the configuration names. */
static void judge(const struct kek_provider *provider, const struct kek_p11_facts *facts,
                  struct kek_provider_object *object)
{
    struct kek_p11_named named = {.number = 1, .state = KEK_STATE_ACTIVE};
    struct kek_version version = {.number = 1};
    enum kek_p11_strategy strategy;
    char plain[KEK_LABEL_MAX];
    snprintf(named.label, sizeof named.label, "%s", facts->label);
    kek_p11_judge(facts, provider->strategy, NULL, true, &version, &strategy);
    snprintf(object->refusal, sizeof object->refusal, "%s", version.refusal);
    kek_p11_judge(facts, provider->strategy, &named, true, &version, &strategy);
    snprintf(object->named_refusal, sizeof object->named_refusal, "%s", version.refusal);
    bool is_text = strlen(facts->label) == object->label_len;
    (void)kek_p11_label_unmark(facts->label, plain);
    if (is_text && !kek_p11_label_number(provider->keyring, plain, &object->number)) {
        object->number = 0;
    }
    object->named = is_text && kek_p11_named_of(provider, facts->label) != NULL;
}

static bool same_names(const struct kek_provider_object *a, const struct kek_provider_object *b)
{
    return a->label_len == b->label_len && a->id_len == b->id_len &&
           memcmp(a->label, b->label, sizeof a->label) == 0 &&
           memcmp(a->id, b->id, sizeof a->id) == 0;
}

static struct kek_p11_outcome read_object(struct kek_provider_session *session,
                                          CK_OBJECT_HANDLE key, struct kek_provider_object *object)
{
    struct kek_p11_facts facts = {0};
    CK_ULONG label_len = 0;
    *object = (struct kek_provider_object){.handle = key};
    struct kek_p11_outcome outcome = kek_p11_read_facts(session, key, &facts, &label_len);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    object->label_len = label_len == CK_UNAVAILABLE_INFORMATION ? 0 : label_len;
    memcpy(object->label, facts.label, sizeof object->label - 1);
    if (facts.flags[KEK_P11_LOCAL] == KEK_P11_NO && !kek_p11_tells_local(session)) {
        facts.flags[KEK_P11_LOCAL] = KEK_P11_UNTOLD;
    }
    outcome = read_id(session, key, &facts, object);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    object->key_type = facts.key_type == KEK_P11_UNKNOWN_ULONG ? UINT64_MAX : facts.key_type;
    object->value_len = facts.value_len == KEK_P11_UNKNOWN_ULONG ? UINT64_MAX : facts.value_len;
    for (size_t i = 0; i < KEK_P11_FLAGS; i++) {
        put_attribute(object, kek_p11_flag_names[i], facts.flags[i]);
    }
    put_attribute(object, "CKA_MODIFIABLE", is_modifiable(session, key));
    judge(session->provider, &facts, object);
    return outcome;
}

/* A key that cannot be read is told of as such. */
static void say_unreadable(struct kek_p11_outcome outcome, struct kek_provider_object *object)
{
    *object = (struct kek_provider_object){
        .handle = object->handle, .key_type = UINT64_MAX, .value_len = UINT64_MAX};
    snprintf(object->refusal, sizeof object->refusal, "it cannot be read: %s: %s (0x%lx)",
             outcome.call, kek_p11_rv_name(outcome.rv), outcome.rv);
    memcpy(object->named_refusal, object->refusal, sizeof object->named_refusal);
}

/* `last`: the one before it in this answer, NULL for the first; what is called alike is looked for once.
 * A failure is the token's. */
static struct kek_p11_outcome describe_one(struct kek_provider_session *session,
                                           CK_OBJECT_HANDLE key,
                                           const struct kek_provider_object *last,
                                           struct kek_provider_object *object)
{
    struct kek_p11_outcome outcome = read_object(session, key, object);
    if (!kek_p11_good(outcome)) {
        if (kek_p11_is_of_object(outcome) || kek_p11_is_gone(outcome)) {
            say_unreadable(outcome, object);
            outcome.rv = CKR_OK;
        }
        return outcome;
    }
    if (last != NULL && last->attribute_count > 0 && same_names(last, object)) {
        object->label_keys = last->label_keys;
        object->id_keys = last->id_keys;
        object->shared = last->shared;
        return outcome;
    }
    return count_namesakes(session, object);
}

bool kek_p11_describe(struct kek_provider_session *session, struct kek_bytes name, uint32_t skip,
                      struct kek_provider_described *described,
                      struct kek_provider_failure *failure)
{
    KEK_AUTO_FREE struct matches *matches = calloc(1, sizeof *matches);
    if (matches == NULL) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__BUSY,
                            "no memory for a list of objects");
    }
    struct kek_p11_outcome outcome = gather_named(session, name, matches);
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    described->total = (uint32_t)matches->key_count;
    described->others = (uint32_t)matches->other_count;
    described->object_count = 0;
    for (size_t i = skip; i < matches->key_count; i++) {
        if (described->object_count == KEK_PROVIDER_OBJECTS_MAX) {
            break;
        }
        size_t at = described->object_count++;
        struct kek_provider_object *object = &described->objects[at];
        outcome = describe_one(session, matches->keys[i], at == 0 ? NULL : object - 1, object);
        if (!kek_p11_good(outcome)) {
            return kek_p11_fail_rv(failure, CALL_STEP, outcome);
        }
    }
    return true;
}
