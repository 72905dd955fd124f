/*
 * The token: from a file, or by a login with AppRole, a JWT or a client certificate; and its renewal.
 *
 * A file is read anew each time: an agent may have written another token.  Only the server knows whether a token is
 * good, and for how long.
 */
#include "transit.h"

#include <stdio.h>
#include <string.h>

#define LINE "X-Vault-Token: "
#define LOGIN_MAX (KEK_BRIDGE_SECRET_MAX + 1024) /* bytes of a request */

static void ask(const struct kek_provider *provider, const char *method, const char *path,
                const struct kek_secret *line, const struct kek_buf *body, uint64_t deadline_ms,
                struct kek_bridge_answer *answer)
{
    char url[TRANSIT_URL_MAX];
    transit_url(provider, url, "%s", path);
    struct kek_bridge_request request = transit_request(provider, method, url, body, deadline_ms);
    request.credential = line;
    kek_bridge_ask(provider->token_remote, &request, answer);
}

/* Not the credential's fault: the server is away, sealed, or busy. */
static bool is_outage(const struct kek_bridge_answer *answer)
{
    return answer->status != 400 && answer->status != 401 && answer->status != 403;
}

/* The header line of a token. */
static struct kek_secret *line_of(struct kek_bytes token)
{
    size_t skip = sizeof LINE - 1;
    struct kek_secret *line = kek_secret_new(skip + token.len + 1);
    if (line != NULL) {
        memcpy(kek_secret_data(line), LINE, skip);
        memcpy(kek_secret_data(line) + skip, token.data, token.len);
    }
    return line;
}

static bool no_arena(struct kek_provider_failure *failure)
{
    return kek_bridge_fail(failure, CALL_STEP, CAUSE(BUSY), "the arena for secrets is full");
}

/* ---- a token that was given to us ---- */

struct standing {
    json_int_t left_s; /* 0: it does not end */
    bool renewable;
};

/* Who looks a token up shows that it is good. */
static bool look_up(const struct kek_provider *provider, const struct kek_secret *line,
                    uint64_t deadline_ms, struct standing *standing,
                    struct kek_provider_failure *failure)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    ask(provider, "GET", "auth/token/lookup-self", line, NULL, deadline_ms, &answer);
    if (answer.rc != KEK_OK) {
        (void)transit_refused(&answer, line, failure);
        failure->step = STEP(TOKEN);
        if (!is_outage(&answer)) {
            failure->step = STEP(PIN_FILE);
            failure->cause = CAUSE(PIN_UNUSABLE);
            (void)kek_fail_within(&failure->why, KEK_DENIED,
                                  "%s %s: the server does not take this token (it has ended, was "
                                  "revoked, or is of another server or namespace)",
                                  provider->settings.credential_name,
                                  provider->settings.credential);
        }
        return false;
    }
    const json_t *data = json_object_get(answer.json, "data");
    standing->left_s = json_integer_value(json_object_get(data, "ttl"));
    standing->renewable = json_is_true(json_object_get(data, "renewable"));
    return true;
}

static bool grant(struct kek_secret **line, json_int_t left_s, struct kek_bridge_grant *grant)
{
    grant->token = KEK_STEAL(*line);
    grant->lifetime_ms = left_s > 0 ? (uint64_t)left_s * 1000 : 0;
    return true;
}

/* Of the whole token: "auth" of an answer says what it is now. */
static bool prolong(const struct kek_provider *provider, const struct kek_secret *renew,
                    uint64_t deadline_ms, struct kek_bridge_grant *out,
                    struct kek_provider_failure *failure)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    KEK_AUTO_BUF struct kek_buf body;
    kek_buf_init(&body, LOGIN_MAX);
    if (!transit_add(&body, "{}")) {
        return no_arena(failure);
    }
    ask(provider, "POST", "auth/token/renew-self", renew, &body, deadline_ms, &answer);
    if (answer.rc != KEK_OK) {
        return transit_refused(&answer, renew, failure);
    }
    const json_t *auth = json_object_get(answer.json, "auth");
    KEK_AUTO(kek_secret) line = kek_secret_dup(kek_secret_bytes(renew));
    if (line == NULL) {
        return no_arena(failure);
    }
    return grant(&line, json_integer_value(json_object_get(auth, "lease_duration")), out);
}

static bool read_credential(const struct kek_provider *provider, struct kek_secret **secret,
                            struct kek_provider_failure *failure)
{
    struct kek_bridge_file file;
    struct kek_why why;
    const struct transit_settings *settings = &provider->settings;
    enum kek_rc rc = kek_bridge_read_secret(settings->credential, settings->credential_name, secret,
                                            &file, &why);
    return rc == KEK_OK ? true
                        : kek_bridge_fail_why(failure, STEP(PIN_FILE), CAUSE(PIN_UNUSABLE), &why);
}

static bool grant_from_file(const struct kek_provider *provider, const struct kek_secret *renew,
                            uint64_t deadline_ms, struct kek_bridge_grant *out,
                            struct kek_provider_failure *failure)
{
    KEK_AUTO(kek_secret) token = NULL;
    if (!read_credential(provider, &token, failure)) {
        return false;
    }
    KEK_AUTO(kek_secret) line = line_of(kek_secret_bytes(token));
    struct standing standing;
    if (line == NULL) {
        return no_arena(failure);
    }
    if (!look_up(provider, line, deadline_ms, &standing, failure)) {
        return false;
    }
    bool same = renew != NULL && kek_secret_equal(renew, line);
    if (same && standing.renewable) {
        return prolong(provider, renew, deadline_ms, out, failure);
    }
    return grant(&line, standing.left_s, out);
}

/* ---- a login ---- */

/* A secret is read where it is written into the request, and nowhere else. */
static bool write_login(const struct kek_provider *provider, const struct kek_secret *secret,
                        struct kek_buf *body)
{
    const struct transit_settings *settings = &provider->settings;
    struct kek_bytes bytes = secret == NULL ? kek_bytes("", 0) : kek_secret_bytes(secret);
    bool good;
    if (settings->auth == TRANSIT_CERT) {
        return settings->role[0] == '\0' ? transit_add(body, "{}")
                                         : transit_add(body, "{\"name\":\"%s\"}", settings->role);
    }
    good = settings->auth == TRANSIT_APPROLE
               ? transit_add(body, "{\"role_id\":\"%s\",\"secret_id\":\"", settings->role)
               : transit_add(body, "{\"role\":\"%s\",\"jwt\":\"", settings->role);
    return good && kek_buf_append(body, bytes, NULL) == KEK_OK && transit_add(body, "\"}");
}

/* AppRole counts wrong secret ids (user lockout), so a refusal is one of a PIN; the others count nothing. */
static bool refuse_login(const struct kek_provider *provider,
                         const struct kek_bridge_answer *answer, const struct kek_secret *secret,
                         struct kek_provider_failure *failure)
{
    const struct transit_settings *settings = &provider->settings;
    (void)transit_refused(answer, secret, failure);
    failure->step = STEP(TOKEN);
    if (is_outage(answer)) {
        return false;
    }
    bool counted = settings->auth == TRANSIT_APPROLE;
    failure->step = counted ? STEP(LOGIN) : STEP(PIN_FILE);
    failure->cause = counted ? CAUSE(PIN_REFUSED) : CAUSE(PIN_UNUSABLE);
    (void)kek_fail_within(&failure->why, KEK_DENIED, "the server refuses the login by %s",
                          settings->credential_name == NULL ? "cert" : settings->credential_name);
    return false;
}

static bool grant_by_login(const struct kek_provider *provider, uint64_t deadline_ms,
                           struct kek_bridge_grant *out, struct kek_provider_failure *failure)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    KEK_AUTO(kek_secret) secret = NULL;
    KEK_AUTO_BUF struct kek_buf body;
    char path[TRANSIT_TEXT_MAX + 32];
    kek_buf_init(&body, LOGIN_MAX);
    if (provider->settings.credential_name != NULL &&
        !read_credential(provider, &secret, failure)) {
        return false;
    }
    if (!write_login(provider, secret, &body)) {
        return no_arena(failure);
    }
    snprintf(path, sizeof path, "auth/%s/login", provider->settings.auth_mount);
    ask(provider, "POST", path, NULL, &body, deadline_ms, &answer);
    if (answer.rc != KEK_OK) {
        return refuse_login(provider, &answer, secret, failure);
    }
    const json_t *auth = json_object_get(answer.json, "auth");
    const char *text = json_string_value(json_object_get(auth, "client_token"));
    if (text == NULL || text[0] == '\0' || strlen(text) > KEK_BRIDGE_SECRET_MAX ||
        strpbrk(text, " \t\r\n") != NULL) {
        return kek_bridge_fail(failure, STEP(TOKEN), CAUSE(LINK),
                               "the answer to the login by %s has no token in it",
                               provider->settings.auth_mount);
    }
    KEK_AUTO(kek_secret) line = line_of(kek_bytes(text, strlen(text)));
    if (line == NULL) {
        return no_arena(failure);
    }
    return grant(&line, json_integer_value(json_object_get(auth, "lease_duration")), out);
}

bool transit_grant(void *arg, const struct kek_secret *renew, uint64_t deadline_ms,
                   struct kek_bridge_grant *out, struct kek_provider_failure *failure)
{
    const struct kek_provider *provider = arg;
    if (provider->settings.auth == TRANSIT_TOKEN) {
        return grant_from_file(provider, renew, deadline_ms, out, failure);
    }
    if (renew != NULL) {
        return prolong(provider, renew, deadline_ms, out, failure);
    }
    return grant_by_login(provider, deadline_ms, out, failure);
}
