/* Login, sessions, and the list. */
#include "transit.h"

#include <inttypes.h>
#include <stdio.h>

#include "kek/log.h"

static struct kek_provider_session *make_session(const struct kek_provider *provider,
                                                 struct kek_provider_failure *failure)
{
    struct kek_why why;
    struct kek_provider_session *session = calloc(1, sizeof *session);
    struct kek_remote *remote = session == NULL ? NULL : kek_remote_new(&provider->remote, &why);
    if (remote == NULL) {
        free(session);
        (void)kek_bridge_fail(failure, STEP(PROBE), CAUSE(BUSY), "no memory for a session");
        return NULL;
    }
    session->provider = provider;
    session->remote = remote;
    session->key = provider->key;
    return session;
}

static void free_session(struct kek_provider_session *session)
{
    kek_remote_free(session->remote);
    kek_bridge_line_done(&session->line);
    free(session);
}

/* A server that is away, or a limit: it says nothing of the key. */
static bool passes(const struct kek_provider_failure *failure)
{
    return failure->cause == CAUSE(LINK) || failure->cause == CAUSE(BUSY) ||
           failure->cause == CAUSE(INTERNAL);
}

static const char *failed_of(const struct kek_provider_session *session, uint32_t number)
{
    for (size_t i = 0; i < session->key.count; i++) {
        if (session->key.versions[i].number == number) {
            return session->key.versions[i].failed;
        }
    }
    return "";
}

/* Each version that wraps, once. One that cannot do it is shown as refused, with the reason. */
static bool prove_all(struct kek_provider_session *session, struct kek_provider_versions *versions,
                      struct kek_provider_failure *failure)
{
    for (size_t i = 0; i < session->key.count; i++) {
        struct transit_version *version = &session->key.versions[i];
        bool wanted = transit_refusal(session, version) == NULL &&
                      transit_may_wrap(session, version) && !version->proven;
        if (wanted && !transit_prove(session, version, failure)) {
            if (passes(failure)) {
                return false;
            }
            snprintf(version->failed, sizeof version->failed, "%.120s", failure->why.text);
        }
    }
    transit_show(session, versions);
    for (size_t i = 0; i < versions->count; i++) {
        struct kek_version *shown = &versions->items[i];
        if (shown->eligible && shown->can_wrap && shown->alg == KEK_WRAP_NONE) {
            shown->eligible = false;
            snprintf(shown->refusal, sizeof shown->refusal, "it was tried and failed: %s",
                     failed_of(session, shown->number));
        }
    }
    return true;
}

bool transit_list(struct kek_provider_session *session, struct kek_provider_versions *versions,
                  struct kek_provider_failure *failure)
{
    transit_begin(session);
    return transit_look(session, failure) && prove_all(session, versions, failure);
}

static bool first_look(struct kek_provider *provider, struct kek_provider_session *session,
                       struct kek_provider_versions *versions, struct kek_provider_failure *failure)
{
    session->due_ms = provider->start_due_ms;
    if (!transit_look(session, failure) || !prove_all(session, versions, failure)) {
        failure->step = STEP(PROBE);
        return false;
    }
    provider->key = session->key;
    if (session->key.deletion_allowed) {
        kek_log(KEK_LOG_WARN,
                "key %s may be deleted (deletion_allowed): whoever may configure it can lose all "
                "that is sealed under it",
                provider->settings.key);
    }
    return true;
}

bool transit_login(struct kek_provider *provider, struct kek_provider_versions *versions,
                   enum kek_wrap_alg *alg, struct kek_provider_failure *failure)
{
    if (!kek_bridge_token_get(provider->token, provider->start_due_ms, failure)) {
        return false;
    }
    if (!kek_bridge_token_keep(provider->token)) {
        return kek_bridge_fail(failure, STEP(PROBE), CAUSE(BUSY),
                               "no thread to renew the token by");
    }
    struct kek_provider_session *session = make_session(provider, failure);
    if (session == NULL) {
        return false;
    }
    bool good = first_look(provider, session, versions, failure);
    free_session(session);
    for (size_t i = 0; good && i < versions->count; i++) {
        *alg = versions->items[i].alg != KEK_WRAP_NONE ? versions->items[i].alg : *alg;
    }
    return good;
}

bool transit_session_open(struct kek_provider *provider, struct kek_provider_session **session,
                          struct kek_provider_failure *failure)
{
    *session = make_session(provider, failure);
    return *session != NULL;
}
