#include "gcp.h"

#include <stdio.h>
#include <time.h>

#include "kek/clock.h"

#define PAUSE_MS 40u   /* before the second try, and up to twice that */
#define ENOUGH_MS 200u /* that must be left for it */

/* One request, with the session's token. */
static bool ask_once(struct kek_provider_session *session, const struct kek_gcp_ask *ask,
                     json_t **answer, struct kek_gcp_fault *fault)
{
    static const char *const headers[] = {"Content-Type: application/json",
                                          "Accept: application/json", NULL};
    char url[KEK_GCP_URL_MAX + KEK_GCP_PATH_MAX];
    const struct kek_provider *provider = session->provider;
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer came = {.status = 0};
    int len = snprintf(url, sizeof url, "%s/v1/%s", provider->endpoint, ask->path);
    if (len < 0 || (size_t)len >= sizeof url) {
        return kek_gcp_fail(fault, KEK_GCP_REQUEST, 0, "%s: the URL is too long", ask->call);
    }
    const struct kek_bridge_request request = {.method = ask->method,
                                               .url = url,
                                               .plain = provider->plain,
                                               .headers = headers,
                                               .credential = session->line.line,
                                               .body = ask->send,
                                               .body_is_secret = ask->send.len > 0,
                                               .max = ask->max,
                                               .deadline_ms = session->deadline_ms};
    kek_bridge_ask(session->remote, &request, &came);
    if (came.status >= 300) {
        kek_gcp_message_error(came.json, came.status, ask->call, fault);
        kek_gcp_conceal(fault, ask->secret);
        return kek_gcp_conceal(fault, kek_gcp_grant_token(session->line.line));
    }
    if (came.rc != KEK_OK) {
        return kek_gcp_fail(fault, KEK_GCP_TRANSIENT, came.status, "%s: %s", ask->call,
                            came.why.text);
    }
    *answer = KEK_STEAL(came.json);
    return true;
}

static bool has_time(const struct kek_provider_session *session)
{
    return kek_clock_ms() + 2 * PAUSE_MS + ENOUGH_MS < session->deadline_ms;
}

/* Others that were refused at the same moment are not to come back at the same moment. */
static void pause_briefly(void)
{
    long ms = (long)(PAUSE_MS + kek_clock_us() % PAUSE_MS);
    (void)nanosleep(&(struct timespec){.tv_nsec = ms * 1000000}, NULL);
}

/* With the token that there is, or the next one where Google takes that no more. */
static bool ask_by_token(struct kek_provider_session *session, const struct kek_gcp_ask *ask,
                         json_t **answer, struct kek_gcp_fault *fault)
{
    struct kek_bridge_token *token = session->provider->token;
    struct kek_provider_failure failure;
    if (!kek_bridge_token_line(token, &session->line)) {
        return kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "the arena for secrets is full");
    }
    if (ask_once(session, ask, answer, fault)) {
        return true;
    }
    if (fault->class != KEK_GCP_AUTH) {
        return false;
    }
    if (!kek_bridge_token_refused(token, &session->line, session->deadline_ms, &failure) ||
        !kek_bridge_token_line(token, &session->line)) {
        return false; /* what was refused says it */
    }
    return ask_once(session, ask, answer, fault);
}

bool kek_gcp_ask(struct kek_provider_session *session, const struct kek_gcp_ask *ask,
                 json_t **answer, struct kek_gcp_fault *fault)
{
    if (ask_by_token(session, ask, answer, fault)) {
        return true;
    }
    if (fault->class != KEK_GCP_TRANSIENT || ask->once || !has_time(session)) {
        return false;
    }
    pause_briefly();
    return ask_by_token(session, ask, answer, fault);
}
