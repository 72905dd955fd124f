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
    struct kek_p11_outcome outcome =
        kek_p11_open_session(provider->f, provider->slot, &trial->session);
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

/* NULL: nothing works. */
static const struct kek_p11_way *way_by(struct kek_provider_session *session,
                                        enum kek_p11_strategy strategy)
{
    struct kek_p11_trial trial;
    if (!kek_p11_good(kek_p11_trial_begin(session->provider, strategy, &trial))) {
        return NULL;
    }
    const struct kek_p11_way *way = NULL;
    struct kek_p11_known known;
    struct kek_p11_outcome outcome;
    if (!kek_p11_prove(session, strategy, trial.key, &way, &known, &outcome)) {
        way = NULL;
    }
    kek_p11_trial_end(session->provider, &trial);
    return way;
}

static bool authenticates(const struct kek_p11_way *way)
{
    return way != NULL && way->alg != KEK_WRAP_AES_CBC;
}

enum kek_p11_strategy kek_p11_choose(struct kek_provider_session *session,
                                     const struct kek_p11_way **way)
{
    if (session->provider->strategy == KEK__PROVIDER__STRATEGY__ENCRYPT) {
        *way = way_by(session, KEK_P11_BY_ENCRYPT);
        return KEK_P11_BY_ENCRYPT;
    }
    *way = way_by(session, KEK_P11_BY_WRAP_KEY);
    if (session->provider->strategy == KEK__PROVIDER__STRATEGY__WRAP_KEY || authenticates(*way)) {
        return KEK_P11_BY_WRAP_KEY;
    }
    const struct kek_p11_way *encrypts = way_by(session, KEK_P11_BY_ENCRYPT);
    if (*way != NULL && !authenticates(encrypts)) {
        return KEK_P11_BY_WRAP_KEY;
    }
    *way = encrypts;
    return KEK_P11_BY_ENCRYPT;
}
