#include "p11.h"

#include <stdio.h>
#include <string.h>

#define CALL_STEP KEK__PROVIDER__STEP__PROVIDER_CALL

/* A trial: one way by one strategy, gone through with a throw-away key.  Only a round trip tells what a
 * token can do, and a new key must be made for the one thing that it will do: kek_p11_choose() finds that
 * out.  An operator gets all of them as rows, kek_p11_probe(); where the token makes no throw-away key, with
 * a version of the keyring, on which a trial changes nothing (a TPM). */

/* Did the token say that it makes no such key, rather than that something failed? */
static bool is_no(struct kek_provider_session *session, struct kek_p11_outcome outcome)
{
    switch (kek_p11_class_of(outcome.rv)) {
    case KEK_P11_TEMPLATE:
    case KEK_P11_UNSUPPORTED:
    case KEK_P11_STATE:
        return true;
    case KEK_P11_BUSY:
    case KEK_P11_LINK:
        return false;
    default:
        return kek_p11_session_alive(session);
    }
}

/* *way is NULL if nothing works. */
static struct kek_p11_outcome way_by(struct kek_provider_session *session,
                                     enum kek_p11_strategy strategy, const struct kek_p11_way **way)
{
    const struct kek_p11_outcome decided = {.rv = CKR_OK, .call = "C_GenerateKey"};
    struct kek_p11_throwaway throwaway;
    *way = NULL;
    struct kek_p11_outcome outcome =
        kek_p11_throwaway_make(session->provider, strategy, &throwaway);
    if (!kek_p11_good(outcome)) {
        return is_no(session, outcome) ? decided : outcome;
    }
    const struct kek_p11_way *found;
    struct kek_p11_known known;
    bool proven = kek_p11_prove(session, strategy, throwaway.key, &found, &known, &outcome);
    kek_p11_throwaway_end(session->provider, &throwaway);
    if (proven) {
        *way = found;
    } else if (kek_p11_class_of(outcome.rv) == KEK_P11_LINK) {
        return outcome;
    }
    return decided;
}

static bool authenticates(const struct kek_p11_way *way)
{
    return way != NULL && way->alg != KEK_WRAP_AES_CBC;
}

struct kek_p11_outcome kek_p11_choose(struct kek_provider_session *session,
                                      enum kek_p11_strategy *strategy,
                                      const struct kek_p11_way **way)
{
    Kek__Provider__Strategy wanted = session->provider->strategy;
    *strategy =
        wanted == KEK__PROVIDER__STRATEGY__ENCRYPT ? KEK_P11_BY_ENCRYPT : KEK_P11_BY_WRAP_KEY;
    struct kek_p11_outcome outcome = way_by(session, *strategy, way);
    if (!kek_p11_good(outcome) || wanted != KEK__PROVIDER__STRATEGY__AUTO || authenticates(*way)) {
        return outcome;
    }
    const struct kek_p11_way *encrypts;
    outcome = way_by(session, KEK_P11_BY_ENCRYPT, &encrypts);
    if (kek_p11_good(outcome) && (*way == NULL || authenticates(encrypts))) {
        *strategy = KEK_P11_BY_ENCRYPT;
        *way = encrypts;
    }
    return outcome;
}

struct kek_p11_outcome kek_p11_guess_strategy(struct kek_provider_session *session,
                                              bool others_encrypt, enum kek_p11_strategy *strategy)
{
    const struct kek_p11_way *way, *wraps = NULL;
    enum kek_p11_strategy would;
    *strategy = KEK_P11_BY_NOTHING;
    struct kek_p11_outcome outcome = kek_p11_choose(session, &would, &way);
    if (kek_p11_good(outcome) && would == KEK_P11_BY_ENCRYPT && !others_encrypt) {
        outcome = way_by(session, KEK_P11_BY_WRAP_KEY, &wraps);
    }
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    if (would == KEK_P11_BY_WRAP_KEY) {
        *strategy = others_encrypt ? KEK_P11_BY_NOTHING : would;
    } else if (others_encrypt || (way != NULL && wraps == NULL)) {
        *strategy = would;
    }
    return outcome;
}

/* What a row is tried with. */
struct subject {
    bool is_throwaway;
    struct kek_p11_throwaway throwaway;
    const struct kek_p11_entry *entry; /* NULL: there is no key at all */
    struct kek_p11_outcome refusal;    /* why there is no session key */
};

static const struct kek_p11_entry *newest(const struct kek_p11_table *table,
                                          enum kek_p11_strategy strategy)
{
    for (size_t i = table->count; i > 0; i--) {
        const struct kek_p11_entry *entry = &table->entries[i - 1];
        if (entry->version.eligible && entry->version.can_wrap &&
            (strategy == KEK_P11_BY_NOTHING || entry->strategy == strategy)) {
            return entry;
        }
    }
    return NULL;
}

static struct subject subject_for(const struct kek_provider_session *session,
                                  enum kek_p11_strategy strategy)
{
    struct subject subject = {.is_throwaway = true};
    subject.refusal = kek_p11_throwaway_make(session->provider, strategy, &subject.throwaway);
    if (!kek_p11_good(subject.refusal)) {
        subject.is_throwaway = false;
        subject.entry = newest(&session->table, strategy);
        if (subject.entry == NULL) {
            subject.entry = newest(&session->table, KEK_P11_BY_NOTHING);
        }
    }
    return subject;
}

/* A token that advertises one half of a strategy counts as advertising it: what it claims and does not do
 * is worth knowing. */
static bool is_advertised(const struct kek_provider *provider, enum kek_p11_strategy strategy,
                          const struct kek_p11_way *way)
{
    CK_FLAGS wanted =
        strategy == KEK_P11_BY_WRAP_KEY ? CKF_WRAP | CKF_UNWRAP : CKF_ENCRYPT | CKF_DECRYPT;
    /* SoftHSM 2.6.1 adds its flags to those that are there. */
    CK_MECHANISM_INFO info = {0};
    struct kek_p11_outcome outcome =
        kek_p11_get_mechanism_info(provider->f, provider->slot, way->type, &info);
    return kek_p11_good(outcome) && (info.flags & wanted) != 0;
}

static void say(struct kek_provider_trial *trial, const struct kek_p11_way *way,
                struct kek_p11_outcome outcome)
{
    /* A wrap that went well and gave another length: not this algorithm (PKCS#7 under WRAP_PAD). */
    bool odd = outcome.rv == CKR_WRAPPED_KEY_LEN_RANGE && strcmp(outcome.call, "C_UnwrapKey") != 0;
    trial->verdict = KEK_VERDICT_REFUSED;
    if (odd) {
        snprintf(trial->text, sizeof trial->text, "%s: %s %s", outcome.call,
                 way->iv == KEK_P11_IV_TOKEN ? "no IV of the token's in" : "not as long as",
                 kek_wrap_alg_name(trial->alg));
        return;
    }
    trial->native = outcome.rv;
    snprintf(trial->text, sizeof trial->text, "%s: %s (0x%lx)", outcome.call,
             kek_p11_rv_name(outcome.rv), outcome.rv);
}

/* False: the token is gone. */
static bool fill(struct kek_provider_session *session, enum kek_p11_strategy strategy,
                 const struct kek_p11_way *way, const struct subject *subject,
                 struct kek_provider_trial *trial, struct kek_p11_outcome *outcome)
{
    *trial =
        (struct kek_provider_trial){.encrypts = strategy == KEK_P11_BY_ENCRYPT,
                                    .type = way->type,
                                    .alg = way->alg,
                                    .advertised = is_advertised(session->provider, strategy, way)};
    snprintf(trial->mechanism, sizeof trial->mechanism, "%s", way->name);
    if (!subject->is_throwaway && subject->entry == NULL) {
        say(trial, way, subject->refusal);
        return true;
    }
    snprintf(trial->key, sizeof trial->key, "%s",
             subject->is_throwaway ? "session key" : subject->entry->version.label);
    struct kek_p11_known known;
    CK_OBJECT_HANDLE key = subject->is_throwaway ? subject->throwaway.key : subject->entry->handle;
    trial->verdict = kek_p11_try_twice(session, strategy, way, key, true, &known, outcome);
    if (trial->verdict == KEK_VERDICT_REFUSED) {
        say(trial, way, *outcome);
    }
    return trial->verdict != KEK_VERDICT_LOST;
}

static bool fill_all(struct kek_provider_session *session, enum kek_p11_strategy strategy,
                     struct kek_provider_probed *probed, struct kek_p11_outcome *outcome)
{
    struct subject subject = subject_for(session, strategy);
    size_t count;
    const struct kek_p11_way *ways = kek_p11_ways(&count);
    bool good = true;
    for (size_t i = 0; good && i < count; i++) {
        if (!ways[i].vendor || kek_p11_way_listed(session->provider, &ways[i])) {
            good = fill(session, strategy, &ways[i], &subject, &probed->trials[probed->trial_count],
                        outcome);
            probed->trial_count += good ? 1 : 0;
        }
    }
    if (subject.is_throwaway) {
        kek_p11_throwaway_end(session->provider, &subject.throwaway);
    }
    return good;
}

static void mark_chosen(const struct kek_provider_session *session, enum kek_p11_strategy strategy,
                        const struct kek_p11_way *way, struct kek_provider_probed *probed)
{
    const struct kek_p11_entry *entry = newest(&session->table, KEK_P11_BY_NOTHING);
    if (way == NULL && entry != NULL && entry->known.len > 0) {
        strategy = entry->strategy;
        way = entry->way;
    }
    for (size_t i = 0; way != NULL && i < probed->trial_count; i++) {
        struct kek_provider_trial *trial = &probed->trials[i];
        trial->chosen = trial->encrypts == (strategy == KEK_P11_BY_ENCRYPT) &&
                        strcmp(trial->mechanism, way->name) == 0;
    }
}

bool kek_p11_probe(struct kek_provider_session *session, struct kek_provider_probed *probed,
                   struct kek_provider_failure *failure)
{
    _Static_assert(2 * KEK_P11_WAYS <= KEK_PROVIDER_TRIALS_MAX, "every way by both strategies");
    struct kek_p11_outcome outcome;
    if (!kek_p11_scan(session, CALL_STEP, failure) || !kek_p11_prove_all(session, failure)) {
        return false;
    }
    probed->trial_count = 0;
    if (!fill_all(session, KEK_P11_BY_WRAP_KEY, probed, &outcome) ||
        !fill_all(session, KEK_P11_BY_ENCRYPT, probed, &outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    const struct kek_p11_way *way;
    enum kek_p11_strategy strategy;
    outcome = kek_p11_choose(session, &strategy, &way);
    if (!kek_p11_good(outcome)) {
        return kek_p11_fail_rv(failure, CALL_STEP, outcome);
    }
    mark_chosen(session, strategy, way, probed);
    return kek_p11_keep(session->provider, strategy, &probed->keeping, failure);
}
