/* Asking the server, and what its refusals mean. */
#include "transit.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

void transit_begin(struct kek_provider_session *session)
{
    const struct kek_provider *provider = session->provider;
    session->due_ms = kek_clock_ms() + (provider->officer ? provider->start_ms : provider->call_ms);
}

void transit_url(const struct kek_provider *provider, char url[static TRANSIT_URL_MAX],
                 const char *format, ...)
{
    va_list args;
    int len = snprintf(url, TRANSIT_URL_MAX, "%s/v1/", provider->settings.address);
    va_start(args, format);
    vsnprintf(url + len, TRANSIT_URL_MAX - (size_t)len, format, args);
    va_end(args);
}

struct kek_bridge_request transit_request(const struct kek_provider *provider, const char *method,
                                          const char *url, const struct kek_buf *body,
                                          uint64_t deadline_ms)
{
    return (struct kek_bridge_request){
        .method = method,
        .url = url,
        .plain = provider->settings.plain,
        .headers = provider->headers,
        .body = body == NULL ? kek_bytes(NULL, 0) : kek_buf_bytes(body),
        .body_is_secret = body != NULL,
        .max = TRANSIT_ANSWER_MAX,
        .deadline_ms = deadline_ms,
    };
}

bool transit_add(struct kek_buf *buf, const char *format, ...)
{
    char text[TRANSIT_URL_MAX];
    va_list args;
    va_start(args, format);
    int len = vsnprintf(text, sizeof text, format, args);
    va_end(args);
    bool good = len >= 0 && (size_t)len < sizeof text &&
                kek_buf_append(buf, kek_bytes(text, (size_t)len), NULL) == KEK_OK;
    kek_wipe(text, sizeof text);
    return good;
}

/* "errors" is a list of texts; what a server echoes of ours is not shown. */
void transit_words(const struct kek_bridge_answer *answer, const struct kek_secret *line,
                   char *text, size_t size)
{
    const char *said =
        json_string_value(json_array_get(json_object_get(answer->json, "errors"), 0));
    text[0] = '\0';
    if (said == NULL || said[0] == '\0') {
        return;
    }
    bool hidden = line != NULL && kek_bridge_reveals(said, kek_secret_bytes(line));
    snprintf(text, size, ": %.160s", hidden ? "it says what nobody else may read" : said);
    for (char *at = text; *at != '\0'; at++) {
        *at = *at == '\n' || *at == '\t' ? ' ' : *at;
    }
    kek_text_clean(text);
}

static int cause_of(const struct kek_bridge_answer *answer)
{
    switch (answer->status) {
    case 0:
        return answer->rc == KEK_NO_MEMORY ? CAUSE(BUSY) : CAUSE(LINK);
    case 403:
        return CAUSE(STATE);
    case 412: /* Vault: a node that has not caught up */
    case 429: /* a quota */
        return CAUSE(BUSY);
    default:
        return CAUSE(LINK);
    }
}

static const char *hint_of(const struct kek_bridge_answer *answer)
{
    switch (answer->status) {
    case 301:
    case 302:
    case 303:
    case 307:
    case 308:
        return ": it sends us elsewhere, and no redirect is followed: name a node, or a balancer, "
               "that answers itself";
    case 403:
        return ": the token's policy does not allow this";
    case 429:
        return ": a rate limit";
    case 472:
    case 473:
        return ": it is a secondary that does not serve";
    case 501:
        return ": it is not initialised";
    case 503:
        return ": it is sealed, or in maintenance";
    default:
        return "";
    }
}

bool transit_refused(const struct kek_bridge_answer *answer, const struct kek_secret *line,
                     struct kek_provider_failure *failure)
{
    char said[200];
    transit_words(answer, line, said, sizeof said);
    failure->step = CALL_STEP;
    failure->cause = cause_of(answer);
    if (answer->status == 0 || answer->rc == KEK_OK || answer->why.native != KEK_NATIVE_HTTP) {
        return kek_bridge_fail_why(failure, CALL_STEP, failure->cause, &answer->why);
    }
    kek_fail_native(&failure->why, kek_wire_rc(failure->cause), KEK_NATIVE_HTTP,
                    (unsigned long)answer->status, "%.240s%s%s", answer->why.text, hint_of(answer),
                    said);
    return false;
}

static void ask_once(struct kek_provider_session *session, const char *method, const char *url,
                     const struct kek_buf *body, struct kek_bridge_answer *answer)
{
    struct kek_bridge_request request =
        transit_request(session->provider, method, url, body, session->due_ms);
    request.credential = session->line.line;
    kek_bridge_ask(session->remote, &request, answer);
}

/* 403 is said of a token that has ended and of one whose policy forbids this. */
static long look_at_token(struct kek_provider_session *session)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    char url[TRANSIT_URL_MAX];
    transit_url(session->provider, url, "auth/token/lookup-self");
    ask_once(session, "GET", url, NULL, &answer);
    return answer.status;
}

/* Whoever asks is to be replaced: a login is the start's business, where it is put on record. */
static bool get_new_token(struct kek_provider_session *session,
                          struct kek_provider_failure *failure)
{
    if (!kek_bridge_token_refused(session->provider->token, &session->line, session->due_ms,
                                  failure)) {
        failure->step = CALL_STEP;
        failure->cause = CAUSE(LINK);
        failure->why.rc = KEK_UNAVAILABLE;
        return false;
    }
    return true;
}

static bool take_line(struct kek_provider_session *session, struct kek_provider_failure *failure)
{
    return kek_bridge_token_line(session->provider->token, &session->line)
               ? true
               : kek_bridge_fail(failure, CALL_STEP, CAUSE(BUSY), "the arena for secrets is full");
}

bool transit_ask(struct kek_provider_session *session, const char *method, const char *url,
                 const struct kek_buf *body, struct kek_bridge_answer *answer,
                 struct kek_provider_failure *failure)
{
    *answer = (struct kek_bridge_answer){.rc = KEK_INTERNAL};
    if (!take_line(session, failure)) {
        return false;
    }
    ask_once(session, method, url, body, answer);
    long token = answer->status == 403 ? look_at_token(session) : 0;
    if (answer->status == 403 && token != 403 && token / 100 != 2) {
        return kek_bridge_fail(failure, CALL_STEP, CAUSE(LINK),
                               "the server refused, and does not say whether the token is good");
    }
    if (token == 403) {
        if (!get_new_token(session, failure) || !take_line(session, failure)) {
            return false;
        }
        kek_bridge_answer_done(answer);
        ask_once(session, method, url, body, answer);
    }
    return answer->rc == KEK_OK ? true : transit_refused(answer, session->line.line, failure);
}
