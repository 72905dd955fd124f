#include "p11.h"

#include <stdio.h>
#include <string.h>

/* SetState.  What a key may do, and that it is compromised, stands in the key's own attributes, one of which
 * changes in each call, since no token promises that several change together.  The process may end between
 * any two, so the order is: first the mark, which alone keeps every worker from wrapping by the key; what takes
 * wrapping away before what takes unwrapping away, and what gives unwrapping before what gives wrapping.  So a
 * key that wraps may always unwrap too, and the same SetState again does the rest. */

#define CALL_STEP KEK__PROVIDER__STEP__PROVIDER_CALL

#define HOLD "versions: in the configuration can hold its state"

/* One attempt to change one key. */
struct change {
    struct kek_provider_session *session;
    CK_OBJECT_HANDLE key;
    char done[96]; /* what was changed before, for messages */
    struct kek_provider_failure *failure;
};

static bool says_no(CK_RV rv)
{
    enum kek_p11_class class = kek_p11_class_of(rv);
    return class == KEK_P11_TEMPLATE || class == KEK_P11_STATE || class == KEK_P11_UNSUPPORTED;
}

/* Setting one value twice does no harm, so a session that is lost and a general failure are tried once more.
 * The second general failure of a token that answers is taken for its refusal. */
static struct kek_p11_outcome set(struct change *change, CK_ATTRIBUTE_TYPE type, const void *value,
                                  size_t len, bool *refused)
{
    struct kek_provider_session *session = change->session;
    CK_ATTRIBUTE attribute = {type, (void *)value, len};
    struct kek_p11_outcome outcome = {.rv = CKR_OK}, first = outcome;
    for (int attempt = 0; attempt < 2; attempt++) {
        outcome = kek_p11_session_ready(session);
        if (!kek_p11_good(outcome)) {
            return outcome;
        }
        outcome = kek_p11_set_attributes(session->provider->f, session->handle, change->key,
                                         &attribute, 1);
        enum kek_p11_class class = kek_p11_class_of(outcome.rv);
        *refused = says_no(outcome.rv);
        if (class == KEK_P11_SESSION) {
            session->broken = true;
        } else if (class != KEK_P11_AMBIGUOUS || !kek_p11_session_alive(session)) {
            break;
        } else {
            *refused = true;
        }
        first = attempt == 0 ? outcome : first;
    }
    if (kek_p11_good(outcome) && !kek_p11_good(first)) {
        kek_p11_again(first);
    }
    return outcome;
}

static bool change_one(struct change *change, CK_ATTRIBUTE_TYPE type, const char *name,
                       const void *value, size_t len)
{
    bool refused = false;
    struct kek_p11_outcome outcome = set(change, type, value, len, &refused);
    if (kek_p11_good(outcome)) {
        size_t at = strlen(change->done);
        snprintf(change->done + at, sizeof change->done - at, "%s%s", at == 0 ? "" : ", ", name);
        return true;
    }
    struct kek_provider_failure *failure = change->failure;
    if (!refused) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    kek_p11_fail_as(failure, CALL_STEP, KEK__PROVIDER__CAUSE__UNSUPPORTED, outcome);
    bool partly = change->done[0] != '\0';
    (void)kek_fail_within(&failure->why, failure->why.rc,
                          "the token does not change %s of this key%s%s%s; " HOLD, name,
                          partly ? " (" : "", change->done, partly ? " it did change)" : "");
    return false;
}

static bool change_flag(struct change *change, CK_ATTRIBUTE_TYPE type, bool value)
{
    static const CK_BBOOL yes = CK_TRUE, no = CK_FALSE;
    const char *name = type == CKA_WRAP      ? "CKA_WRAP"
                       : type == CKA_UNWRAP  ? "CKA_UNWRAP"
                       : type == CKA_ENCRYPT ? "CKA_ENCRYPT"
                                             : "CKA_DECRYPT";
    return change_one(change, type, name, value ? &yes : &no, sizeof yes);
}

/* Some tokens cut a label, and a key without its name is nobody's: it gets the old one back. */
static bool change_label(struct change *change, const char *old)
{
    char new[KEK_LABEL_MAX], shown[KEK_LABEL_MAX] = "";
    int len = snprintf(new, sizeof new, "%s" KEK_P11_MARK, old);
    if (len < 0 || (size_t)len >= sizeof new) {
        return kek_p11_fail(change->failure, CALL_STEP, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                            "the label %s is too long to be marked", old);
    }
    if (!change_one(change, CKA_LABEL, "CKA_LABEL", new, (size_t)len)) {
        return false;
    }
    CK_ATTRIBUTE attribute = {CKA_LABEL, shown, sizeof shown - 1};
    struct kek_provider_session *session = change->session;
    struct kek_p11_outcome outcome =
        kek_p11_get_attributes(session->provider->f, session->handle, change->key, &attribute, 1);
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_rv(change->failure, CALL_STEP, outcome);
    }
    if (attribute.ulValueLen == (CK_ULONG)len && memcmp(shown, new, (size_t)len) == 0) {
        return true;
    }
    bool refused;
    bool restored = kek_p11_good(set(change, CKA_LABEL, old, strlen(old), &refused));
    return kek_p11_fail(change->failure, CALL_STEP, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                        "the token was told to call the key %s and calls it '%.60s'%s; " HOLD, new,
                        shown,
                        restored ? " (it has its old name again)"
                                 : ", and does not take its old name: set that by its vendor's "
                                   "tools");
}

/* Of a key without any usage flag: nothing on it tells which one it had.  Beside the configuration, the
 * keyring's other versions do, and what else this token could have made.  No guess can be proven, since
 * nothing is at hand that the key has wrapped, so where these do not agree a person must tell. */
static bool strategy_of(struct kek_provider_session *session, const struct kek_p11_entry *entry,
                        enum kek_p11_strategy *strategy, struct kek_provider_failure *failure)
{
    *strategy = entry->strategy;
    if (*strategy != KEK_P11_BY_NOTHING) {
        return true;
    }
    bool others[3] = {false};
    for (size_t i = 0; i < session->table.count; i++) {
        const struct kek_p11_entry *other = &session->table.entries[i];
        others[other->strategy] = others[other->strategy] || other->version.eligible;
    }
    if (others[KEK_P11_BY_WRAP_KEY]) {
        *strategy = others[KEK_P11_BY_ENCRYPT] ? KEK_P11_BY_NOTHING : KEK_P11_BY_WRAP_KEY;
    } else {
        struct kek_p11_outcome outcome =
            kek_p11_guess_strategy(session, others[KEK_P11_BY_ENCRYPT], strategy);
        if (!kek_p11_good(outcome)) {
            return kek_p11_fail_rv(failure, CALL_STEP, outcome);
        }
    }
    return *strategy != KEK_P11_BY_NOTHING ||
           kek_p11_fail(
               failure, CALL_STEP, KEK__PROVIDER__CAUSE__STATE,
               "key %s has no usage flag that would tell what it was made for, and neither "
               "do the keyring's other versions: set strategy: of this provider to "
               "wrap-key or encrypt, as it was when the key was made, and do this again",
               entry->version.label);
}

static bool change_flags(struct change *change, enum kek_p11_strategy strategy,
                         enum kek_state state)
{
    bool encrypts = strategy == KEK_P11_BY_ENCRYPT;
    CK_ATTRIBUTE_TYPE wrap = encrypts ? CKA_ENCRYPT : CKA_WRAP;
    CK_ATTRIBUTE_TYPE unwrap = encrypts ? CKA_DECRYPT : CKA_UNWRAP;
    if (state == KEK_STATE_ACTIVE) {
        return change_flag(change, unwrap, true) && change_flag(change, wrap, true);
    }
    return change_flag(change, wrap, false) &&
           change_flag(change, unwrap, state != KEK_STATE_SUSPENDED);
}

static bool may_become(const struct kek_provider *provider, const struct kek_p11_entry *entry,
                       enum kek_state state, struct kek_provider_failure *failure)
{
    if (!entry->version.eligible) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_UNFIT, "key %s: %s",
                            entry->version.label, entry->version.refusal);
    }
    if (kek_p11_named_of(provider, entry->version.label) != NULL) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                            "the state of key %s stands in the configuration (versions:)",
                            entry->version.label);
    }
    if (state == KEK_STATE_ACTIVE && entry->version.compromised) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__STATE,
                            "key %s is marked compromised, and such a key never becomes active",
                            entry->version.label);
    }
    return true;
}

bool kek_p11_set_state(struct kek_provider_session *session, const struct kek_id *kek_id,
                       enum kek_state state, struct kek_provider_failure *failure)
{
    struct kek_p11_entry *entry = kek_p11_pick(session, kek_id, failure);
    if (entry == NULL) {
        if (session->provider->read_only) {
            (void)kek_fail_within(&failure->why, failure->why.rc, "the key was not changed; " HOLD);
        }
        return false;
    }
    enum kek_p11_strategy strategy = entry->strategy;
    if (!may_become(session->provider, entry, state, failure) ||
        (state != KEK_STATE_SUSPENDED && !strategy_of(session, entry, &strategy, failure))) {
        return false;
    }
    struct change change = {.session = session, .key = entry->handle, .failure = failure};
    if (state == KEK_STATE_COMPROMISED && !entry->version.compromised &&
        !change_label(&change, entry->version.label)) {
        return false;
    }
    /* Without a strategy it has no flag that could be taken away. */
    if (strategy != KEK_P11_BY_NOTHING && !change_flags(&change, strategy, state)) {
        return false;
    }
    if (kek_p11_is_in_state(session, kek_id, state, failure)) {
        return true;
    }
    if (failure->cause == KEK__PROVIDER__CAUSE__UNSUPPORTED) {
        (void)kek_fail_within(&failure->why, failure->why.rc, "the key was not changed; " HOLD);
    }
    return false;
}
