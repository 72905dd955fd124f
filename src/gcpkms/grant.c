#include "grant.h"

#include <stdio.h>
#include <string.h>
#include <time.h>

#include "credential.h"
#include "fields.h"
#include "jwt.h"
#include "kek/clock.h"
#include "kek/text.h"

#define BEARER "Authorization: Bearer " /* what each line begins with */
#define SCOPE "https://www.googleapis.com/auth/cloudkms"
/* google-auth's constant: what the assertion is for, whatever the file's token_uri is. */
#define AUDIENCE "https://oauth2.googleapis.com/token"
#define METADATA_HOST "metadata.google.internal"
#define METADATA_PATH "/computeMetadata/v1/instance/service-accounts/default/token"
#define LIFE_MAX 3600 /* seconds; what is asked for where it can be */
#define LIFE_UNTOLD 300
#define REQUEST_MAX (64u * 1024)
#define ANSWER_MAX (32u * 1024)
#define CLOCK_OFF 120 /* seconds between two clocks that are worth a word */

/* One request to a token endpoint, and its answer. */
struct ask {
    const struct kek_gcp_way *way;
    const char *what; /* for messages */
    const char *url;
    bool plain;
    uint64_t deadline_ms;
    struct kek_bytes secret; /* what no message may have of what is sent */
    struct kek_buf body, answer;
    struct kek_remote_header date, flavor;
    long status;
};

static void ask_init(struct ask *ask, const struct kek_gcp_way *way, uint64_t deadline_ms)
{
    *ask = (struct ask){.way = way, .deadline_ms = deadline_ms};
    kek_buf_init(&ask->body, REQUEST_MAX);
    kek_buf_init(&ask->answer, ANSWER_MAX);
}

static void ask_done(struct ask *ask)
{
    kek_buf_done(&ask->body);
    kek_buf_done(&ask->answer);
}
#define AUTO_ASK __attribute__((cleanup(ask_done))) struct ask

/* ---- what goes out ---- */

static bool add(struct ask *ask, const char *text)
{
    return kek_buf_append(&ask->body, kek_bytes_of(text), NULL) == KEK_OK;
}

/* RFC 3986: what is not unreserved, as %XX. */
static bool add_escaped(struct ask *ask, struct kek_bytes text)
{
    static const char hex[] = "0123456789ABCDEF", plain[] = "-._~";
    char *at = (char *)kek_buf_reserve(&ask->body, 3 * text.len + 1, NULL);
    if (at == NULL) {
        return false;
    }
    char *begin = at;
    for (size_t i = 0; i < text.len; i++) {
        uint8_t byte = text.data[i];
        bool letter = (byte | 0x20) >= 'a' && (byte | 0x20) <= 'z';
        if (letter || (byte >= '0' && byte <= '9') || (byte != 0 && strchr(plain, byte) != NULL)) {
            *at++ = (char)byte;
        } else {
            *at++ = '%';
            *at++ = hex[byte >> 4];
            *at++ = hex[byte & 15];
        }
    }
    ask->body.len += (size_t)(at - begin);
    return true;
}

static bool add_pair(struct ask *ask, const char *name, struct kek_bytes value)
{
    return (ask->body.len == 0 || add(ask, "&")) && add(ask, name) && add(ask, "=") &&
           add_escaped(ask, value);
}

/* ---- what comes back ---- */

/* A clock that is off has every assertion refused; the answer's own Date tells it from a key that is. */
static void say_clock(const struct ask *ask, char *text, size_t size)
{
    struct tm tm = {0};
    const char *end = strptime(ask->date.value, "%a, %d %b %Y %H:%M:%S", &tm);
    int64_t off = end == NULL ? 0 : (int64_t)timegm(&tm) - kek_clock_wall_ms() / 1000;
    text[0] = '\0';
    if (off > CLOCK_OFF || off < -CLOCK_OFF) {
        snprintf(text, size, "; this machine's clock is %lld s %s that of the answer: set it",
                 (long long)(off > 0 ? off : -off), off > 0 ? "behind" : "ahead of");
    }
}

static bool say_refusal(const struct ask *ask, struct kek_gcp_fault *fault)
{
    KEK_GCP_AUTO_JSON answer = kek_bridge_parse(kek_buf_bytes(&ask->answer), NULL);
    const char *word = kek_gcp_json_text(answer, "error");
    const char *more = kek_gcp_json_text(answer, "error_description");
    if (word == NULL) { /* iamcredentials is a Google API as any other */
        const json_t *error = json_object_get(answer, "error");
        word = kek_gcp_json_text(error, "status");
        more = kek_gcp_json_text(error, "message");
    }
    char shown[64], told[200], clock[120];
    kek_text_copy(shown, sizeof shown, word);
    kek_text_copy(told, sizeof told, more);
    say_clock(ask, clock, sizeof clock);
    bool refused = ask->status == 400 || ask->status == 401 || ask->status == 404;
    enum kek_gcp_class class = ask->status == 403 ? KEK_GCP_AUTHZ
                               : refused          ? KEK_GCP_AUTH
                                                  : KEK_GCP_TRANSIENT;
    return kek_gcp_fail(fault, class, ask->status, "%s: HTTP status %ld%s%s%s%s%s", ask->what,
                        ask->status, shown[0] == '\0' ? "" : " ", shown,
                        told[0] == '\0' ? "" : ": ", told, clock);
}

/* With one header more, if there is one. */
static bool run(struct ask *ask, const char *header, const struct kek_secret *credential,
                struct kek_gcp_fault *fault)
{
    const char *const headers[] = {header == NULL ? "Accept: application/json" : header, NULL};
    struct kek_remote_header wanted[] = {{.name = "Date"}, {.name = "Metadata-Flavor"}};
    struct kek_why why;
    const struct kek_remote_settings settings = {.peer = ask->what,
                                                 .ca = ask->way->ca,
                                                 .system_ca = ask->way->ca == NULL,
                                                 .ca_name = "ca",
                                                 .proxy = ask->way->proxy};
    KEK_AUTO(kek_remote) remote = kek_remote_new(&settings, &why);
    if (remote == NULL) {
        return kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "%s", why.text);
    }
    struct kek_remote_call call = {.method = ask->body.len > 0 ? "POST" : "GET",
                                   .url = ask->url,
                                   .plain = ask->plain,
                                   .headers = headers,
                                   .credential = credential,
                                   .send = kek_buf_bytes(&ask->body),
                                   .send_secret = ask->body.len > 0,
                                   .deadline_ms = ask->deadline_ms,
                                   .body = ask->answer,
                                   .wanted = wanted,
                                   .wanted_count = sizeof wanted / sizeof wanted[0]};
    enum kek_rc rc = kek_remote_run(remote, &call);
    ask->answer = call.body;
    ask->status = call.status;
    ask->date = wanted[0];
    ask->flavor = wanted[1];
    if (call.status >= 300) {
        say_refusal(ask, fault);
        return kek_gcp_conceal(fault, ask->secret);
    }
    return rc == KEK_OK ||
           kek_gcp_fail(fault, KEK_GCP_TRANSIENT, call.status, "%s: %s", ask->what, call.why.text);
}

static bool is_token(const char *text)
{
    size_t len = text == NULL ? 0 : strlen(text);
    for (size_t i = 0; i < len; i++) {
        if (text[i] <= ' ' || text[i] >= 0x7f) {
            return false;
        }
    }
    return len > 0 && len <= KEK_GCP_TOKEN_MAX;
}

/* The token in the member of that name. */
static bool take_token(const struct ask *ask, const char *member, struct kek_bridge_grant *grant,
                       struct kek_gcp_fault *fault)
{
    struct kek_why why;
    KEK_GCP_AUTO_JSON answer = kek_bridge_parse(kek_buf_bytes(&ask->answer), &why);
    const char *text = kek_gcp_json_text(answer, member);
    if (answer == NULL || !is_token(text)) {
        return kek_gcp_fail(fault, KEK_GCP_TRANSIENT, ask->status,
                            "%s: the answer has no access token in it%s%s", ask->what,
                            answer == NULL ? ": " : "", answer == NULL ? why.text : "");
    }
    size_t size = strlen(BEARER) + strlen(text) + 1;
    grant->token = kek_secret_new(size);
    if (grant->token == NULL) {
        return kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "the arena for keys is full");
    }
    snprintf((char *)kek_secret_data(grant->token), size, BEARER "%s", text);
    json_int_t life = json_integer_value(json_object_get(answer, "expires_in"));
    life = life <= 0 ? LIFE_UNTOLD : life > LIFE_MAX ? LIFE_MAX : life;
    grant->lifetime_ms = (uint64_t)life * 1000;
    return true;
}

struct kek_bytes kek_gcp_grant_token(const struct kek_secret *line)
{
    struct kek_bytes bytes = kek_secret_bytes(line);
    size_t begin = strlen(BEARER);
    return kek_bytes(bytes.data + begin, bytes.len - begin - 1);
}

/* ---- a service account's key ---- */

static bool by_account(struct ask *ask, const struct kek_gcp_credential *credential,
                       struct kek_bridge_grant *grant, struct kek_gcp_fault *fault)
{
    struct kek_why why;
    KEK_AUTO_BUF struct kek_buf jwt;
    kek_buf_init(&jwt, KEK_GCP_JWT_MAX);
    const struct kek_gcp_claims claims = {.issuer = credential->email,
                                          .key_id = credential->key_id,
                                          .scope = SCOPE,
                                          .audience = AUDIENCE,
                                          .now = kek_clock_wall_ms() / 1000};
    if (kek_gcp_jwt_sign(&claims, credential->key, &jwt, &why) != KEK_OK) {
        return kek_gcp_fail(fault, KEK_GCP_AUTH, 0, "credentials: %s", why.text);
    }
    ask->secret = kek_buf_bytes(&jwt);
    ask->what = "the token endpoint";
    return ((add_pair(ask, "grant_type",
                      kek_bytes_of("urn:ietf:params:oauth:grant-type:jwt-bearer")) &&
             add_pair(ask, "assertion", kek_buf_bytes(&jwt))) ||
            kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "no memory for an assertion")) &&
           run(ask, NULL, NULL, fault) && take_token(ask, "access_token", grant, fault);
}

/* ---- workload identity federation ---- */

static bool impersonate(const struct ask *before, const char *url, const struct kek_secret *line,
                        struct kek_bridge_grant *grant, struct kek_gcp_fault *fault)
{
    AUTO_ASK ask;
    ask_init(&ask, before->way, before->deadline_ms);
    ask.what = "the account's impersonation";
    ask.url = url;
    ask.secret = kek_gcp_grant_token(line);
    if (!kek_gcp_url_allowed(url, &ask.plain) ||
        !add(&ask, "{\"scope\":[\"" SCOPE "\"],\"lifetime\":\"3600s\"}")) {
        return kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "no memory for a request");
    }
    if (!run(&ask, "Content-Type: application/json", line, fault) ||
        !take_token(&ask, "accessToken", grant, fault)) {
        return false;
    }
    grant->lifetime_ms = LIFE_MAX * 1000; /* as asked for: expireTime is by another clock */
    return true;
}

static bool by_federation(struct ask *ask, const struct kek_gcp_credential *credential,
                          struct kek_bridge_grant *grant, struct kek_gcp_fault *fault)
{
    bool impersonates = credential->impersonate_url[0] != '\0';
    struct kek_bridge_grant federated = {0};
    ask->secret = kek_secret_bytes(credential->subject);
    ask->what = "the security token service";
    bool made =
        add_pair(ask, "grant_type",
                 kek_bytes_of("urn:ietf:params:oauth:grant-type:token-exchange")) &&
        add_pair(ask, "audience", kek_bytes_of(credential->audience)) &&
        add_pair(ask, "scope",
                 kek_bytes_of(impersonates ? "https://www.googleapis.com/auth/cloud-platform"
                                           : SCOPE)) &&
        add_pair(ask, "requested_token_type",
                 kek_bytes_of("urn:ietf:params:oauth:token-type:access_token")) &&
        add_pair(ask, "subject_token_type", kek_bytes_of(credential->subject_type)) &&
        add_pair(ask, "subject_token", kek_secret_bytes(credential->subject));
    if (!made) {
        return kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "no memory for a request");
    }
    if (!run(ask, NULL, NULL, fault) || !take_token(ask, "access_token", &federated, fault)) {
        return false;
    }
    if (!impersonates) {
        *grant = federated;
        return true;
    }
    bool good = impersonate(ask, credential->impersonate_url, federated.token, grant, fault);
    kek_secret_free(federated.token);
    return good;
}

/* ---- the metadata server ---- */

static bool by_metadata(struct ask *ask, struct kek_bridge_grant *grant,
                        struct kek_gcp_fault *fault)
{
    const char *host = getenv("GCE_METADATA_HOST");
    const struct kek_gcp_way direct = {.credentials = ask->way->credentials};
    char url[KEK_GCP_URL_MAX];
    int len = snprintf(url, sizeof url, "http://%s" METADATA_PATH,
                       host == NULL || host[0] == '\0' ? METADATA_HOST : host);
    ask->what = "the metadata server";
    ask->url = url;
    ask->plain = true;
    ask->way = &direct; /* by no proxy: it is the machine's own */
    if (len < 0 || (size_t)len >= sizeof url) {
        return kek_gcp_fail(fault, KEK_GCP_AUTH, 0, "GCE_METADATA_HOST is too long");
    }
    if (!run(ask, "Metadata-Flavor: Google", NULL, fault)) {
        return false;
    }
    if (strcmp(ask->flavor.value, "Google") != 0) {
        return kek_gcp_fail(fault, KEK_GCP_AUTH, ask->status,
                            "%s: the answer is without Metadata-Flavor: Google, so it is none of "
                            "Google's",
                            ask->what);
    }
    return take_token(ask, "access_token", grant, fault);
}

static bool by_credential(struct ask *ask, const struct kek_gcp_credential *credential,
                          struct kek_bridge_grant *grant, struct kek_gcp_fault *fault)
{
    ask->url = credential->token_url;
    if (credential->kind != KEK_GCP_METADATA && !kek_gcp_url_allowed(ask->url, &ask->plain)) {
        return kek_gcp_fail(fault, KEK_GCP_AUTH, 0, "credentials: no token endpoint");
    }
    switch (credential->kind) {
    case KEK_GCP_SERVICE_ACCOUNT:
        return by_account(ask, credential, grant, fault);
    case KEK_GCP_FEDERATED:
        return by_federation(ask, credential, grant, fault);
    default:
        return by_metadata(ask, grant, fault);
    }
}

bool kek_gcp_grant_get(const struct kek_gcp_way *way, uint64_t deadline_ms,
                       struct kek_bridge_grant *grant, struct kek_gcp_fault *fault)
{
    struct kek_gcp_credential credential = {0};
    struct kek_why why;
    AUTO_ASK ask;
    ask_init(&ask, way, deadline_ms);
    bool good = kek_gcp_credential_read(way->credentials, &credential, &why) == KEK_OK
                    ? by_credential(&ask, &credential, grant, fault)
                    : kek_gcp_fail(fault, KEK_GCP_AUTH, 0, "%s", why.text);
    kek_gcp_credential_done(&credential);
    return good;
}
