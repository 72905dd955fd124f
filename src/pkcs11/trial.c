#include "p11.h"

/* Only a round trip tells what a token can do, and a new key must be made for the one thing that it
 * will do: so a key of the moment tries it first. */

struct kek_p11_outcome kek_p11_trial_begin(const struct kek_provider *provider,
                                           enum kek_p11_strategy strategy,
                                           struct kek_p11_trial *trial)
{
    static const struct kek_id any = {{0}};
    const struct kek_p11_making making = {
        .label = "kekd-probe", .kek_id = &any, .strategy = strategy, .state = KEK_STATE_ACTIVE};
    struct kek_p11_outcome outcome = kek_p11_session_handle(provider, &trial->session);
    if (!kek_p11_good(outcome)) {
        return outcome;
    }
    outcome = kek_p11_make_key(provider, trial->session, &making, &trial->key);
    if (!kek_p11_good(outcome)) {
        (void)kek_p11_close_session(provider->f, trial->session);
    }
    return outcome;
}

void kek_p11_trial_end(const struct kek_provider *provider, const struct kek_p11_trial *trial)
{
    (void)kek_p11_destroy_object(provider->f, trial->session, trial->key);
    (void)kek_p11_close_session(provider->f, trial->session);
}

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

/* *way is NULL if nothing works.  Twice, as in kek_p11_prove(): what passes makes no other kind of key. */
static struct kek_p11_outcome way_by(struct kek_provider_session *session,
                                     enum kek_p11_strategy strategy, const struct kek_p11_way **way)
{
    const struct kek_p11_outcome decided = {.rv = CKR_OK, .call = "C_GenerateKey"};
    struct kek_p11_trial trial;
    *way = NULL;
    struct kek_p11_outcome outcome = kek_p11_trial_begin(session->provider, strategy, &trial);
    if (!kek_p11_good(outcome)) {
        outcome = kek_p11_trial_begin(session->provider, strategy, &trial);
    }
    if (!kek_p11_good(outcome)) {
        return is_no(session, outcome) ? decided : outcome;
    }
    const struct kek_p11_way *found;
    struct kek_p11_known known;
    bool proven = kek_p11_prove(session, strategy, trial.key, &found, &known, &outcome);
    kek_p11_trial_end(session->provider, &trial);
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
