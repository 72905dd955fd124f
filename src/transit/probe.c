/* What the key can do, for kekctl probe. */
#include "transit.h"

#include <stdio.h>

#include "kek/text.h"

static void try_version(struct kek_provider_session *session, struct transit_version *version,
                        struct kek_provider_trial *trial)
{
    struct kek_provider_failure failure = {0};
    *trial =
        (struct kek_provider_trial){.encrypts = true, .alg = KEK_WRAP_TRANSIT, .advertised = true};
    snprintf(trial->mechanism, sizeof trial->mechanism, "%.40s", session->key.type);
    snprintf(trial->key, sizeof trial->key, "%.100s.v%u", session->provider->settings.key,
             version->number);
    const char *refusal = transit_refusal(session, version);
    if (refusal != NULL) {
        trial->verdict = KEK_VERDICT_REFUSED;
        kek_text_copy(trial->text, sizeof trial->text, refusal);
    } else if (!transit_prove(session, version, &failure)) {
        trial->verdict =
            failure.cause == CAUSE(KEY_UNFIT) ? KEK_VERDICT_WRONG : KEK_VERDICT_REFUSED;
        trial->native = failure.why.code;
        kek_text_copy(trial->text, sizeof trial->text, failure.why.text);
    }
    trial->chosen = trial->verdict == KEK_VERDICT_WORKS;
}

/* With the newest version that may wrap: none is made for it. */
bool transit_probe(struct kek_provider_session *session, struct kek_provider_probed *probed,
                   struct kek_provider_failure *failure)
{
    transit_begin(session);
    if (!transit_look(session, failure)) {
        return false;
    }
    struct transit_version *newest = NULL;
    for (size_t i = 0; i < session->key.count; i++) {
        struct transit_version *version = &session->key.versions[i];
        newest = transit_may_wrap(session, version) ? version : newest;
    }
    if (newest != NULL) {
        try_version(session, newest, &probed->trials[0]);
        probed->trial_count = 1;
    }
    if (!session->key.read) {
        probed->keeping.outcome = KEK_KEEPING_UNTRIED;
        snprintf(probed->keeping.text, sizeof probed->keeping.text, "there is no key %.80s yet",
                 session->provider->settings.key);
    } else if (session->key.kept_in) {
        probed->keeping.outcome = KEK_KEEPING_KEPT;
    } else {
        probed->keeping.outcome = KEK_KEEPING_HANDED_OUT;
        snprintf(probed->keeping.text, sizeof probed->keeping.text,
                 "exportable or allow_plaintext_backup is true");
    }
    return true;
}

bool transit_describe(struct kek_provider_session *session, struct kek_bytes name, uint32_t skip,
                      struct kek_provider_described *described,
                      struct kek_provider_failure *failure)
{
    (void)session;
    (void)name;
    (void)skip;
    (void)described;
    return kek_bridge_fail(failure, CALL_STEP, CAUSE(UNSUPPORTED),
                           "a version of Transit has no name of its own to be adopted by: the "
                           "provider's `key` names the key that is used");
}
