#include "p11.h"

#include <stdio.h>
#include <string.h>

/* TryKey: what the token does with a key, whatever the key's flags say.  The key is used by the handle that this
 * process knows, since whether an old one notices a change is part of the question. */

#define CALL_STEP KEK__PROVIDER__STEP__PROVIDER_CALL

/* What is tried. */
struct
try {
    struct kek_provider_session *session;
    enum kek_p11_strategy strategy; /* BY_NOTHING: nobody knows, either counts */
    CK_OBJECT_HANDLE key;
    enum kek_wrap_alg alg;
    struct kek_bytes blob; /* empty: it wraps */
};

static struct kek_p11_outcome try_way(const struct try *try, enum kek_p11_strategy strategy,
                                      const struct kek_p11_way *way)
{
    struct kek_p11_outcome outcome = kek_p11_session_ready(try->session);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    KEK_AUTO(kek_secret) data_key = NULL;
    struct kek_provider_wrapped wrapped;
    if (try->blob.len > 0) {
        outcome = kek_p11_unwrap_by(try->session, strategy, way, try->key, try->blob, &data_key);
    } else {
        data_key = kek_secret_random(KEK_DATA_KEY_LEN);
        outcome = (struct kek_p11_outcome){.rv = CKR_HOST_MEMORY, .call = "kek_secret_random"};
        if (data_key != NULL) {
            outcome = kek_p11_wrap_by(try->session, strategy, way, try->key, data_key, &wrapped);
        }
    }
    try->session->broken = try->session->broken || kek_p11_class_of(outcome.rv) == KEK_P11_SESSION;
    return outcome;
}

/* By every way that makes such a blob; a mechanism that the token has not says nothing of the key. */
static struct kek_p11_outcome try_strategy(const struct try *try, enum kek_p11_strategy strategy)
{
    struct kek_p11_outcome outcome = {.rv = CKR_MECHANISM_INVALID, .call = "C_WrapKey"};
    size_t count;
    const struct kek_p11_way *ways = kek_p11_ways(&count);
    for (size_t i = 0; i < count; i++) {
        if (ways[i].alg != try->alg ||
            (ways[i].vendor && !kek_p11_way_listed(try->session->provider, &ways[i]))) {
            continue;
        }
        outcome = try_way(try, strategy, &ways[i]);
        if (kek_p11_class_of(outcome.rv) != KEK_P11_UNSUPPORTED) {
            break;
        }
    }
    return outcome;
}

static struct kek_p11_outcome try_all(const struct try *try)
{
    if (try->strategy != KEK_P11_BY_NOTHING) {
        return try_strategy(try, try->strategy);
    }
    struct kek_p11_outcome outcome = try_strategy(try, KEK_P11_BY_WRAP_KEY);
    if (kek_p11_good(outcome)) {
        return outcome;
    }
    struct kek_p11_outcome other = try_strategy(try, KEK_P11_BY_ENCRYPT);
    bool says_more = kek_p11_class_of(outcome.rv) == KEK_P11_UNSUPPORTED;
    return kek_p11_good(other) || says_more ? other : outcome;
}

static void note(struct kek_provider_attempt *attempt, struct kek_p11_outcome outcome)
{
    attempt->made = true;
    attempt->done = kek_p11_good(outcome);
    if (!attempt->done) {
        attempt->native = outcome.rv;
        snprintf(attempt->text, sizeof attempt->text, "%s: %s (0x%lx)", outcome.call,
                 kek_p11_rv_name(outcome.rv), outcome.rv);
    }
}

/* An attribute that a copy should have as its original has it. */
static const struct {
    CK_ATTRIBUTE_TYPE type;
    const char *name;
} copied[] = {
    {CKA_LABEL, "CKA_LABEL"},
    {CKA_ID, "CKA_ID"},
    {CKA_WRAP, "CKA_WRAP"},
    {CKA_UNWRAP, "CKA_UNWRAP"},
    {CKA_ENCRYPT, "CKA_ENCRYPT"},
    {CKA_DECRYPT, "CKA_DECRYPT"},
    {CKA_SENSITIVE, "CKA_SENSITIVE"},
    {CKA_EXTRACTABLE, "CKA_EXTRACTABLE"},
    {CKA_LOCAL, "CKA_LOCAL"},
    {CKA_ALWAYS_SENSITIVE, "CKA_ALWAYS_SENSITIVE"},
    {CKA_NEVER_EXTRACTABLE, "CKA_NEVER_EXTRACTABLE"},
};

/* False: they differ, or one of the two tells it and the other does not. */
static bool have_the_same(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE a,
                          CK_OBJECT_HANDLE b, CK_ATTRIBUTE_TYPE type)
{
    uint8_t of_a[KEK_LABEL_MAX] = {0}, of_b[KEK_LABEL_MAX] = {0};
    CK_ATTRIBUTE first = {type, of_a, sizeof of_a}, second = {type, of_b, sizeof of_b};
    bool told_a = kek_p11_good(kek_p11_get_attributes(f, session, a, &first, 1));
    bool told_b = kek_p11_good(kek_p11_get_attributes(f, session, b, &second, 1));
    return told_a == told_b && (!told_a || (first.ulValueLen == second.ulValueLen &&
                                            memcmp(of_a, of_b, first.ulValueLen) == 0));
}

static bool is_set(CK_FUNCTION_LIST *f, CK_SESSION_HANDLE session, CK_OBJECT_HANDLE key,
                   CK_ATTRIBUTE_TYPE type)
{
    CK_BBOOL flag = CK_FALSE;
    CK_ATTRIBUTE attribute = {type, &flag, sizeof flag};
    return kek_p11_good(kek_p11_get_attributes(f, session, key, &attribute, 1)) && flag != CK_FALSE;
}

/* Session objects in a session of their own, which end with it. */
static struct kek_p11_outcome try_copies(const struct try *try, bool may_wrap,
                                         struct kek_provider_tried *tried)
{
    const struct kek_provider *provider = try->session->provider;
    CK_BBOOL no = CK_FALSE, yes = CK_TRUE;
    bool encrypts = try->strategy == KEK_P11_BY_ENCRYPT;
    CK_ATTRIBUTE template[] = {
        {CKA_TOKEN, &no, sizeof no},
        {encrypts ? CKA_ENCRYPT : CKA_WRAP, &yes, sizeof yes},
    };
    CK_SESSION_HANDLE session;
    CK_OBJECT_HANDLE copy;
    struct kek_p11_outcome outcome = kek_p11_session_handle(provider, &session);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    outcome = kek_p11_copy_object(provider->f, session, try->key, template, 1, &copy);
    note(&tried->copy, outcome);
    for (size_t i = 0; tried->copy.done && i < sizeof copied / sizeof copied[0]; i++) {
        if (!have_the_same(provider->f, session, try->key, copy, copied[i].type)) {
            size_t at = strlen(tried->lost);
            snprintf(tried->lost + at, sizeof tried->lost - at, "%s%s", at == 0 ? "" : ", ",
                     copied[i].name);
        }
    }
    if (!may_wrap &&
        kek_p11_good(kek_p11_copy_object(provider->f, session, try->key, template, 2, &copy))) {
        tried->reopened = is_set(provider->f, session, copy, template[1].type);
    }
    (void)kek_p11_close_session(provider->f, session);
    return outcome;
}

static bool is_lost(struct kek_p11_outcome outcome)
{
    enum kek_p11_class class = kek_p11_class_of(outcome.rv);
    return class == KEK_P11_LINK || class == KEK_P11_BUSY;
}

bool kek_p11_try_key(struct kek_provider_session *session, const struct kek_id *kek_id,
                     enum kek_wrap_alg alg, struct kek_bytes blob, bool copy,
                     struct kek_provider_tried *tried, struct kek_provider_failure *failure)
{
    struct kek_provider_tried found = {.shown = false};
    struct kek_p11_outcome outcome = kek_p11_session_ready(session);
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    const struct kek_p11_entry *entry = kek_p11_session_entry(session, kek_id);
    if (entry == NULL) {
        *tried = found;
        return true;
    }
    struct kek_p11_entry now;
    outcome = kek_p11_read_entry(session, entry->handle, &now, &found.shown);
    if (!kek_p11_good(outcome) && !kek_p11_is_gone(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    if (!found.shown) {
        *tried = found;
        return true;
    }
    found.flag_wrap = now.flag_wrap;
    found.flag_unwrap = now.flag_unwrap;
    found.compromised = now.version.compromised;
    struct try try = {
        .session = session, .strategy = entry->strategy, .key = entry->handle, .alg = alg};
    outcome = try_all(&try);
    note(&found.wrap, outcome);
    if (!is_lost(outcome) && blob.len > 0) {
        try.blob = blob;
        outcome = try_all(&try);
        note(&found.unwrap, outcome);
    }
    if (!is_lost(outcome) && copy) {
        outcome = try_copies(&try, now.flag_wrap, &found);
    }
    if (is_lost(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    *tried = found;
    return true;
}
