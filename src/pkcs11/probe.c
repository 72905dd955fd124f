#include "p11.h"

#include <stdio.h>
#include <string.h>

#include <openssl/evp.h>

#include "kek/clock.h"

#define PROOF_MS (24u * 60 * 60 * 1000) /* how long a proof is taken for good */

/* SoftHSM advertises mechanisms that always fail, and other tokens take damaged blobs with CKR_OK:
 * only a round trip tells. */

static enum kek_verdict judge(struct kek_p11_outcome outcome)
{
    return kek_p11_class_of(outcome.rv) == KEK_P11_LINK ? KEK_VERDICT_LOST : KEK_VERDICT_REFUSED;
}

static struct kek_p11_outcome digest(const struct kek_secret *data_key, uint8_t sum[static 32])
{
    struct kek_bytes key = kek_secret_bytes(data_key);
    bool good = EVP_Digest(key.data, key.len, sum, NULL, EVP_sha256(), NULL) == 1;
    return (struct kek_p11_outcome){.rv = good ? CKR_OK : CKR_HOST_MEMORY, .call = "EVP_Digest"};
}

struct kek_p11_outcome kek_p11_ask_known(struct kek_provider_session *session,
                                         const struct kek_p11_entry *entry, CK_OBJECT_HANDLE kek,
                                         bool *same)
{
    KEK_AUTO(kek_secret) value = NULL;
    uint8_t sum[sizeof entry->known.sum];
    *same = false;
    struct kek_p11_outcome outcome =
        kek_p11_unwrap_by(session, entry->strategy, entry->way, kek,
                          kek_bytes(entry->known.blob, entry->known.len), &value);
    if (kek_p11_good(outcome)) {
        outcome = digest(value, sum);
    }
    *same = kek_p11_good(outcome) && memcmp(sum, entry->known.sum, sizeof sum) == 0;
    return outcome;
}

/* Unwraps and compares; *same says whether it was the data key. */
static struct kek_p11_outcome unwraps_to(struct kek_provider_session *session,
                                         enum kek_p11_strategy strategy,
                                         const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                                         const struct kek_provider_wrapped *wrapped,
                                         const struct kek_secret *data_key, bool *same)
{
    KEK_AUTO(kek_secret) value = NULL;
    *same = false;
    struct kek_p11_outcome outcome = kek_p11_unwrap_by(
        session, strategy, way, kek, kek_bytes(wrapped->blob, wrapped->len), &value);
    if (kek_p11_good(outcome)) {
        *same = kek_secret_equal(value, data_key);
    }
    return outcome;
}

enum kek_verdict kek_p11_try(struct kek_provider_session *session, enum kek_p11_strategy strategy,
                             const struct kek_p11_way *way, CK_OBJECT_HANDLE kek,
                             struct kek_p11_known *known, struct kek_p11_outcome *outcome)
{
    KEK_AUTO(kek_secret) data_key = kek_secret_random(KEK_DATA_KEY_LEN);
    if (data_key == NULL) {
        *outcome = (struct kek_p11_outcome){.rv = CKR_HOST_MEMORY, .call = "kek_secret_random"};
        return KEK_VERDICT_REFUSED;
    }
    struct kek_provider_wrapped wrapped;
    *outcome = kek_p11_wrap_by(session, strategy, way, kek, data_key, &wrapped);
    if (!kek_p11_good(*outcome)) {
        return judge(*outcome);
    }
    bool same, damage_hidden;
    *outcome = unwraps_to(session, strategy, way, kek, &wrapped, data_key, &same);
    if (!kek_p11_good(*outcome)) {
        return judge(*outcome);
    }
    if (!same) {
        return KEK_VERDICT_WRONG;
    }
    struct kek_provider_wrapped damaged = wrapped;
    damaged.blob[damaged.len / 2] ^= 1;
    *outcome = unwraps_to(session, strategy, way, kek, &damaged, data_key, &damage_hidden);
    bool taken = kek_p11_good(*outcome);
    /* Once more: what failed above failed for the damage, not because the token went away. */
    *outcome = unwraps_to(session, strategy, way, kek, &wrapped, data_key, &same);
    if (!kek_p11_good(*outcome)) {
        return judge(*outcome);
    }
    if (!same || damage_hidden) {
        return KEK_VERDICT_WRONG;
    }
    *outcome = digest(data_key, known->sum);
    if (!kek_p11_good(*outcome)) {
        return KEK_VERDICT_REFUSED;
    }
    known->proven_ms = kek_clock_ms();
    known->len = wrapped.len;
    memcpy(known->blob, wrapped.blob, wrapped.len);
    return taken ? KEK_VERDICT_MALLEABLE : KEK_VERDICT_WORKS;
}

/* AES-CBC cannot tell a damaged blob; the envelope's tag does. */
static bool is_good_enough(enum kek_verdict verdict, const struct kek_p11_way *way)
{
    return verdict == KEK_VERDICT_WORKS ||
           (verdict == KEK_VERDICT_MALLEABLE && way->alg == KEK_WRAP_AES_CBC);
}

static bool is_no(struct kek_p11_outcome outcome)
{
    enum kek_p11_class class = kek_p11_class_of(outcome.rv);
    return class == KEK_P11_TEMPLATE || class == KEK_P11_UNSUPPORTED || class == KEK_P11_STATE;
}

enum kek_verdict kek_p11_try_twice(struct kek_provider_session *session,
                                   enum kek_p11_strategy strategy, const struct kek_p11_way *way,
                                   CK_OBJECT_HANDLE kek, bool believes_no,
                                   struct kek_p11_known *known, struct kek_p11_outcome *outcome)
{
    enum kek_verdict verdict = kek_p11_try(session, strategy, way, kek, known, outcome);
    if (verdict != KEK_VERDICT_REFUSED || (believes_no && is_no(*outcome))) {
        return verdict;
    }
    const struct kek_p11_outcome first = *outcome;
    session->broken = session->broken || kek_p11_class_of(first.rv) == KEK_P11_SESSION;
    verdict = kek_p11_try(session, strategy, way, kek, known, outcome);
    bool done = verdict != KEK_VERDICT_REFUSED && verdict != KEK_VERDICT_LOST;
    if (done || kek_p11_passed(first, *outcome)) {
        kek_p11_again(first);
    }
    return verdict;
}

bool kek_p11_prove(struct kek_provider_session *session, enum kek_p11_strategy strategy,
                   CK_OBJECT_HANDLE kek, const struct kek_p11_way **way,
                   struct kek_p11_known *known, struct kek_p11_outcome *outcome)
{
    size_t count;
    const struct kek_p11_way *ways = kek_p11_ways(&count);
    *outcome = (struct kek_p11_outcome){.rv = CKR_MECHANISM_INVALID, .call = "C_WrapKey"};
    /* First what an earlier start proved, so that a token's new firmware changes no version's
     * algorithm; then all others. */
    for (int round = 0; round < 2; round++) {
        for (size_t i = 0; i < count; i++) {
            bool preferred = ways[i].alg == session->provider->preferred;
            if (preferred != (round == 0) ||
                (ways[i].vendor && !kek_p11_way_listed(session->provider, &ways[i]))) {
                continue;
            }
            enum kek_verdict verdict =
                kek_p11_try_twice(session, strategy, &ways[i], kek, false, known, outcome);
            if (is_good_enough(verdict, &ways[i])) {
                *way = &ways[i];
                return true;
            }
            if (verdict == KEK_VERDICT_LOST) {
                return false;
            }
        }
    }
    return false;
}

/* The version is refused, unless it is the token that fails; *doubt is a refusal that may be so too. */
static bool prove_entry(struct kek_provider_session *session, struct kek_p11_entry *entry,
                        struct kek_p11_outcome *doubt, struct kek_provider_failure *failure)
{
    struct kek_p11_known known;
    struct kek_p11_outcome outcome;
    if (kek_p11_prove(session, entry->strategy, entry->handle, &entry->way, &known, &outcome)) {
        entry->known = known;
        return true;
    }
    CK_TOKEN_INFO info;
    if (kek_p11_class_of(outcome.rv) == KEK_P11_LINK ||
        !kek_p11_good(
            kek_p11_get_token_info(session->provider->f, session->provider->slot, &info))) {
        return kek_p11_fail_as(failure, KEK__PROVIDER__STEP__PROBE, KEK__PROVIDER__CAUSE__LINK,
                               outcome);
    }
    switch (kek_p11_class_of(outcome.rv)) {
    case KEK_P11_SESSION:
    case KEK_P11_HANDLE:
    case KEK_P11_BUSY:
    case KEK_P11_AMBIGUOUS:
    case KEK_P11_DATA:
    case KEK_P11_PIN:
        *doubt = outcome;
        break;
    default:
        break;
    }
    entry->version.eligible = false;
    if (kek_p11_good(outcome)) {
        snprintf(entry->version.refusal, sizeof entry->version.refusal,
                 "no mechanism both returns a data key and rejects a damaged one");
    } else {
        snprintf(entry->version.refusal, sizeof entry->version.refusal,
                 "no mechanism wraps and unwraps a data key with it; the last one tried said %s: "
                 "%s (0x%lx)",
                 outcome.call, kek_p11_rv_name(outcome.rv), outcome.rv);
    }
    return true;
}

bool kek_p11_prove_all(struct kek_provider_session *session, struct kek_provider_failure *failure)
{
    const struct kek_p11_way *proven[3] = {NULL};
    struct kek_p11_outcome doubt = {.rv = CKR_OK};
    bool any = false;
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_p11_entry *entry = &session->table.entries[i];
        if (!entry->version.eligible) {
            continue;
        }
        if (entry->version.can_wrap && entry->known.len == 0 &&
            !prove_entry(session, entry, &doubt, failure)) {
            return false;
        }
        if (entry->known.len > 0) {
            proven[entry->strategy] = entry->way;
            any = true;
        }
    }
    /* A token on which nothing works is not one with bad keys: an outage must not look like a loss. */
    if (!any && !kek_p11_good(doubt)) {
        return kek_p11_fail_as(failure, KEK__PROVIDER__STEP__PROBE, KEK__PROVIDER__CAUSE__LINK,
                               doubt);
    }
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_p11_entry *entry = &session->table.entries[i];
        if (entry->way == NULL) {
            entry->way = proven[entry->strategy];
        }
        /* What was proven with another key says nothing certain of this one. */
        entry->version.alg = entry->known.len == 0 ? KEK_WRAP_NONE : entry->way->alg;
    }
    return true;
}

/* By the same way alone: another one is for a fresh process to find. */
static bool prove_entry_again(struct kek_provider_session *session, struct kek_p11_entry *entry,
                              struct kek_provider_failure *failure)
{
    struct kek_p11_known known;
    struct kek_p11_outcome outcome;
    enum kek_verdict verdict = kek_p11_try_twice(session, entry->strategy, entry->way,
                                                 entry->handle, false, &known, &outcome);
    if (is_good_enough(verdict, entry->way)) {
        entry->known = known;
        return true;
    }
    if (verdict == KEK_VERDICT_MALLEABLE || verdict == KEK_VERDICT_WRONG) {
        return kek_p11_fail(failure, KEK__PROVIDER__STEP__PROVIDER_CALL, KEK__PROVIDER__CAUSE__LINK,
                            "key %s: %s no longer returns a data key and rejects a damaged one",
                            entry->version.label, entry->way->name);
    }
    enum kek_p11_class class = kek_p11_class_of(outcome.rv);
    if (class == KEK_P11_STATE || class == KEK_P11_HANDLE || class == KEK_P11_BUSY) {
        return true; /* retired, destroyed or busy meanwhile: the next look tries again, or finds none */
    }
    return kek_p11_fail_as(failure, KEK__PROVIDER__STEP__PROVIDER_CALL, KEK__PROVIDER__CAUSE__LINK,
                           outcome);
}

bool kek_p11_prove_old(struct kek_provider_session *session, struct kek_provider_failure *failure)
{
    uint64_t now = kek_clock_ms();
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_p11_entry *entry = &session->table.entries[i];
        if (entry->version.eligible && entry->version.can_wrap && entry->known.len > 0 &&
            now - entry->known.proven_ms >= PROOF_MS &&
            !prove_entry_again(session, entry, failure)) {
            return false;
        }
    }
    return true;
}
