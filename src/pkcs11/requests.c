/* Wrap, unwrap and list on one session: what is tried again, and who is blamed for what fails. */
#include "p11.h"

#include <string.h>

#define CALL_STEP KEK__PROVIDER__STEP__PROVIDER_CALL

enum ability { TO_WRAP, TO_UNWRAP };

static bool may(const struct kek_p11_entry *entry, enum ability ability)
{
    return ability == TO_WRAP ? entry->version.can_wrap : entry->version.can_unwrap;
}

/* The key, as the token shows it now if the table does not know it or thinks that it may not. */
static struct kek_p11_entry *find_for(struct kek_provider_session *session,
                                      const struct kek_id *kek_id, enum ability ability,
                                      struct kek_provider_failure *failure)
{
    char id[KEK_ID_TEXT];
    kek_id_format(kek_id, id);
    struct kek_p11_entry *entry = kek_p11_session_entry(session, kek_id);
    if (entry == NULL || !entry->version.eligible || !may(entry, ability)) {
        if (!kek_p11_find_key(session, kek_id, failure)) {
            return NULL;
        }
        entry = kek_p11_session_entry(session, kek_id);
    }
    if (entry == NULL) {
        if (!kek_p11_session_alive(session)) {
            kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__LINK,
                         "the token does not answer, so key %s cannot be looked for", id);
            return NULL;
        }
        kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_MISSING,
                     "the token has no key of keyring %s with CKA_ID %s",
                     session->provider->keyring, id);
        return NULL;
    }
    if (!entry->version.eligible) {
        kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_UNFIT, "key %s is refused: %s",
                     entry->version.label, entry->version.refusal);
        return NULL;
    }
    if (!may(entry, ability)) {
        const char *why = !entry->version.can_unwrap   ? ": it is suspended"
                          : entry->version.compromised ? ": it is compromised"
                                                       : "";
        kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__STATE, "key %s may not %s%s",
                     entry->version.label, ability == TO_WRAP ? "wrap" : "unwrap", why);
        return NULL;
    }
    return entry;
}

/* Those that use a KEK: what it may do is theirs to say. */
static bool uses_kek(struct kek_p11_outcome outcome)
{
    static const char *const calls[] = {"C_WrapKey", "C_UnwrapKey",   "C_EncryptInit",
                                        "C_Encrypt", "C_DecryptInit", "C_Decrypt"};
    for (size_t i = 0; i < sizeof calls / sizeof calls[0]; i++) {
        if (strcmp(outcome.call, calls[i]) == 0) {
            return true;
        }
    }
    return false;
}

/* What a failure of a way says here.  One that was proven exists, only C_Login speaks of a PIN, only
 * those calls that read a blob can blame it, and only those that use the key can blame that. */
static enum kek_p11_class class_of(struct kek_p11_outcome outcome, bool proven, bool unwrapping)
{
    enum kek_p11_class class = kek_p11_class_of(outcome.rv);
    switch (class) {
    case KEK_P11_TEMPLATE:
    case KEK_P11_UNSUPPORTED:
        return proven ? KEK_P11_AMBIGUOUS : class;
    case KEK_P11_PIN:
        return KEK_P11_AMBIGUOUS;
    case KEK_P11_STATE:
        return uses_kek(outcome) ? class : KEK_P11_AMBIGUOUS;
    case KEK_P11_DATA:
        return unwrapping && kek_p11_read_blob(outcome) ? class : KEK_P11_AMBIGUOUS;
    default:
        return class;
    }
}

/* What is left to do after a failure: true, and nothing is said yet, if a second try makes sense: in a
 * new session, with the key found again, or because the token does its work otherwise.  A bad blob is
 * believed the second time: good ciphertexts must not be called damaged for one answer of a bad moment. */
static bool can_try_again(struct kek_provider_session *session, const struct kek_id *kek_id,
                          struct kek_p11_outcome outcome, bool proven, bool unwrapping, int attempt,
                          struct kek_provider_failure *failure)
{
    enum kek_p11_class class = class_of(outcome, proven, unwrapping);
    Kek__Provider__Cause blame = KEK__PROVIDER__CAUSE__LINK;
    bool again = attempt == 0;
    switch (class) {
    case KEK_P11_SESSION:
        session->broken = true;
        break;
    case KEK_P11_HANDLE:
        if (again) {
            return kek_p11_find_key(session, kek_id, failure);
        }
        break;
    case KEK_P11_AMBIGUOUS:
    case KEK_P11_DATA:
        if (kek_p11_session_alive(session)) {
            blame = unwrapping && kek_p11_read_blob(outcome) ? KEK__PROVIDER__CAUSE__DATA : blame;
        } else {
            again = false;
        }
        if (!again) {
            kek_p11_fail_as(failure, CALL_STEP, blame, outcome);
        }
        return again;
    default:
        again = false;
        break;
    }
    return again || kek_p11_fail_rv(failure, CALL_STEP, outcome);
}

/* A way that was inherited or is missing becomes proven by the first wrap with it. */
static bool prove_now(struct kek_provider_session *session, struct kek_p11_entry *entry,
                      struct kek_provider_failure *failure)
{
    if (entry->known.len > 0) {
        return true;
    }
    if (!kek_p11_prove_all(session, failure)) {
        return false;
    }
    if (entry->version.eligible) {
        return true;
    }
    /* It may have been taken away while it was tried: then it is missing, not bad. */
    struct kek_version tried = entry->version;
    if (!kek_p11_find_key(session, &tried.id, failure)) {
        return false;
    }
    if (kek_p11_session_entry(session, &tried.id) == NULL) {
        return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_MISSING,
                            "key %s is gone from the token", tried.label);
    }
    return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_UNFIT,
                        "key %s is refused: %s", tried.label, tried.refusal);
}

/* What was wrapped under the wrong one of them would be lost. */
static bool fail_contested(const struct kek_p11_entry *entry, struct kek_provider_failure *failure)
{
    return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__KEY_UNFIT,
                        "key %s is not alone: another key has the same CKA_ID, and none has opened "
                        "anything yet that would tell which is meant",
                        entry->version.label);
}

bool kek_p11_wrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                  const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                  struct kek_provider_failure *failure)
{
    struct kek_provider_wrapped blob;
    struct kek_p11_outcome first = {.rv = CKR_OK};
    for (int attempt = 0;; attempt++) {
        struct kek_p11_entry *entry = find_for(session, kek_id, TO_WRAP, failure);
        if (entry == NULL) {
            return false;
        }
        struct kek_p11_entry *contested = entry;
        entry = kek_p11_meant(session, contested);
        if (entry == NULL) {
            return fail_contested(contested, failure);
        }
        if (!prove_now(session, entry, failure)) {
            return false;
        }
        struct kek_p11_outcome outcome =
            kek_p11_wrap_by(session, entry->strategy, entry->way, entry->handle, data_key, &blob);
        if (kek_p11_good(outcome)) {
            if (attempt > 0) {
                kek_p11_again(first);
            }
            blob.handle = entry->handle;
            *wrapped = blob;
            return true;
        }
        first = outcome;
        if (!can_try_again(session, kek_id, outcome, true, false, attempt, failure)) {
            return false;
        }
    }
}

static bool is_own(const struct kek_p11_entry *entry, enum kek_wrap_alg alg)
{
    return entry->way != NULL && entry->way->alg == alg;
}

/* By the version's own way where the blob is of its algorithm, else by every way that makes such. */
static struct kek_p11_outcome unwrap_any(struct kek_provider_session *session,
                                         const struct kek_p11_entry *entry, enum kek_wrap_alg alg,
                                         struct kek_bytes blob, struct kek_secret **data_key)
{
    if (is_own(entry, alg)) {
        return kek_p11_unwrap_by(session, entry->strategy, entry->way, entry->handle, blob,
                                 data_key);
    }
    struct kek_p11_outcome outcome = {.rv = CKR_MECHANISM_INVALID, .call = "C_UnwrapKey"};
    size_t count;
    const struct kek_p11_way *ways = kek_p11_ways(&count);
    for (size_t i = 0; i < count; i++) {
        if (ways[i].alg != alg ||
            (ways[i].vendor && !kek_p11_way_listed(session->provider, &ways[i]))) {
            continue;
        }
        outcome =
            kek_p11_unwrap_by(session, entry->strategy, &ways[i], entry->handle, blob, data_key);
        if (kek_p11_class_of(outcome.rv) != KEK_P11_UNSUPPORTED) {
            break;
        }
    }
    return outcome;
}

/* Did the token refuse the blob for an algorithm that is not the key's?  Whoever can write to etcd chose that
 * algorithm.  So "not permitted" does not count against a key that still opens its own blobs, nor against a
 * blob where nothing was proven of the key. */
static bool is_never(struct kek_provider_session *session, const struct kek_p11_entry *entry,
                     enum kek_wrap_alg alg, struct kek_p11_outcome outcome)
{
    enum kek_p11_class class = kek_p11_class_of(outcome.rv);
    if (entry->way == NULL || is_own(entry, alg)) {
        return false;
    }
    bool same = false;
    if (class == KEK_P11_STATE && entry->known.len > 0) {
        (void)kek_p11_ask_known(session, entry, entry->handle, &same);
    }
    return same || class == KEK_P11_UNSUPPORTED;
}

/* Of several keys with one CKA_ID any that opens the blob will do, and is then the one that is meant.
 * What says no is the first one's to explain. */
static struct kek_p11_outcome unwrap_contested(struct kek_provider_session *session,
                                               struct kek_p11_entry *entry, enum kek_wrap_alg alg,
                                               struct kek_bytes blob, struct kek_secret **data_key)
{
    struct kek_p11_outcome outcome = unwrap_any(session, entry, alg, blob, data_key);
    if (kek_p11_good(outcome)) {
        kek_p11_settle_copies(session, entry);
        return outcome;
    }
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_p11_entry *rival = &session->table.entries[i];
        if (rival->standing == KEK_P11_CHOSEN || !rival->has_id || !rival->version.can_unwrap ||
            !kek_id_equal(&rival->version.id, &entry->version.id)) {
            continue;
        }
        struct kek_p11_outcome other = unwrap_any(session, rival, alg, blob, data_key);
        if (kek_p11_good(other)) {
            kek_p11_settle_copies(session, rival);
            return other;
        }
    }
    return outcome;
}

/* A library that numbers its keys anew after a lost connection can let an old handle mean another key.  This
 * session may have found the key anew while another one still wraps by the old handle.  So that handle must
 * give the same data key as this session's own; what it gives is not handed out. */
static bool gives_the_same(struct kek_provider_session *session, const struct kek_p11_entry *entry,
                           uint64_t handle, enum kek_wrap_alg alg, struct kek_bytes blob,
                           const struct kek_secret *data_key, struct kek_provider_failure *failure)
{
    if (handle == 0 || handle == entry->handle) {
        return true;
    }
    KEK_AUTO(kek_secret) other = NULL;
    struct kek_p11_entry named = *entry;
    named.handle = (CK_OBJECT_HANDLE)handle;
    struct kek_p11_outcome outcome = unwrap_any(session, &named, alg, blob, &other);
    return (kek_p11_good(outcome) && kek_secret_equal(other, data_key)) ||
           kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__LINK,
                        "the handle of key %s means another key now, or none",
                        entry->version.label);
}

bool kek_p11_unwrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                    uint64_t handle, enum kek_wrap_alg alg, struct kek_bytes blob,
                    struct kek_secret **data_key, struct kek_provider_failure *failure)
{
    struct kek_p11_outcome first = {.rv = CKR_OK};
    for (int attempt = 0;; attempt++) {
        struct kek_p11_entry *entry = find_for(session, kek_id, TO_UNWRAP, failure);
        if (entry == NULL) {
            return false;
        }
        struct kek_p11_entry *meant = kek_p11_meant(session, entry);
        if (meant == NULL && alg == KEK_WRAP_AES_CBC) {
            return fail_contested(entry, failure); /* either would open it, to something */
        }
        entry = meant == NULL ? entry : meant;
        KEK_AUTO(kek_secret) opened = NULL;
        struct kek_p11_outcome outcome = meant == NULL
                                             ? unwrap_contested(session, entry, alg, blob, &opened)
                                             : unwrap_any(session, entry, alg, blob, &opened);
        if (kek_p11_good(outcome)) {
            if (!gives_the_same(session, entry, handle, alg, blob, opened, failure)) {
                return false;
            }
            if (attempt > 0) {
                kek_p11_again(first);
            }
            *data_key = KEK_STEAL(opened);
            return true;
        }
        first = outcome;
        if (is_never(session, entry, alg, outcome)) {
            return kek_p11_fail(failure, CALL_STEP, KEK__PROVIDER__CAUSE__DATA,
                                "key %s never wraps with %s: %s: %s (0x%lx)", entry->version.label,
                                kek_wrap_alg_name(alg), outcome.call, kek_p11_rv_name(outcome.rv),
                                outcome.rv);
        }
        bool proven = entry->known.len > 0 && entry->way->alg == alg;
        if (!can_try_again(session, kek_id, outcome, proven, true, attempt, failure)) {
            return false;
        }
    }
}

bool kek_p11_list(struct kek_provider_session *session, struct kek_provider_versions *versions,
                  struct kek_provider_failure *failure)
{
    if (!kek_p11_refresh(session, failure) || !kek_p11_prove_all(session, failure) ||
        !kek_p11_prove_old(session, failure)) {
        return false;
    }
    kek_p11_compare_copies(session);
    kek_p11_session_versions(session, versions);
    return true;
}
