/* The start of a worker: what Hello says, the first access token, the list, and a proof of the newest version. */
#include "gcp.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"

#define ENDPOINT "https://cloudkms.googleapis.com"
#define RENEWAL_MS 10000u /* for a new access token that nobody waits for */

/* ---- the access token ---- */

/* Google renews none: each one is a new one. */
static bool grant(void *arg, const struct kek_secret *renew, uint64_t deadline_ms,
                  struct kek_bridge_grant *granted, struct kek_provider_failure *failure)
{
    const struct kek_provider *provider = arg;
    struct kek_gcp_fault fault;
    (void)renew;
    return kek_gcp_grant_get(&provider->way, deadline_ms, granted, &fault) ||
           kek_gcp_say_start(failure, &fault);
}

/* ---- Hello ---- */

static bool bad_setting(struct kek_provider_failure *failure, const char *format, ...)
    KEK_PRINTF(2, 3);
static bool bad_setting(struct kek_provider_failure *failure, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    (void)kek_provider_fail(failure, KEK__PROVIDER__STEP__URI, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                            format, args);
    va_end(args);
    return false;
}

/* A setting, or what stands for it. */
static bool take(const Kek__Provider__Hello *hello, const char *name, const char *preset, char *out,
                 size_t size, struct kek_provider_failure *failure)
{
    const char *value = kek_provider_setting(hello, name);
    value = value == NULL ? preset : value;
    if (value == NULL || strlen(value) >= size) {
        return bad_setting(failure, "%s is missing, or has more than %zu bytes", name, size - 1);
    }
    snprintf(out, size, "%s", value);
    return true;
}

static bool take_protection(const Kek__Provider__Hello *hello, struct kek_provider *provider,
                            struct kek_provider_failure *failure)
{
    static const char *const words[] = {"any", "hsm", "hsm-single-tenant"};
    const char *value = kek_provider_setting(hello, "protection");
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(value == NULL ? "hsm" : value, words[i]) == 0) {
            provider->protection = (enum kek_gcp_protection)i;
            return true;
        }
    }
    return bad_setting(failure, "protection: expected hsm, hsm-single-tenant or any");
}

/* Where the roots are there and nothing else is said, a statement is wanted. */
static bool take_attestation(const Kek__Provider__Hello *hello, struct kek_provider *provider,
                             struct kek_provider_failure *failure)
{
    static const char *const words[] = {"off", "warn", "require"};
    const char *value = kek_provider_setting(hello, "attestation");
    if (!take(hello, "manufacturer_root", "", provider->manufacturer_root,
              sizeof provider->manufacturer_root, failure) ||
        !take(hello, "owner_root", "", provider->owner_root, sizeof provider->owner_root,
              failure)) {
        return false;
    }
    bool roots = provider->manufacturer_root[0] != '\0' && provider->owner_root[0] != '\0';
    value = value == NULL ? words[roots] : value;
    for (size_t i = 0; i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(value, words[i]) == 0 && (i == 0 || roots)) {
            provider->attestation = (enum kek_attestation)i;
            return true;
        }
    }
    return bad_setting(failure, "attestation: expected off, or warn or require with both "
                                "manufacturer_root and owner_root");
}

static bool take_endpoint(const Kek__Provider__Hello *hello, struct kek_provider *provider,
                          struct kek_provider_failure *failure)
{
    if (!take(hello, "endpoint", ENDPOINT, provider->endpoint, sizeof provider->endpoint,
              failure)) {
        return false;
    }
    size_t len = strlen(provider->endpoint);
    if (len > 0 && provider->endpoint[len - 1] == '/') {
        provider->endpoint[len - 1] = '\0';
    }
    return kek_gcp_url_allowed(provider->endpoint, &provider->plain) ||
           bad_setting(failure, "endpoint: expected https://HOST");
}

/* An officer may be somebody else to Google. */
static bool take_credentials(const Kek__Provider__Hello *hello, struct kek_provider *provider,
                             struct kek_provider_failure *failure)
{
    bool own = provider->officer && kek_provider_setting(hello, "admin_credentials") != NULL;
    return take(hello, own ? "admin_credentials" : "credentials", NULL, provider->credentials,
                sizeof provider->credentials, failure);
}

static bool take_key(const Kek__Provider__Hello *hello, struct kek_provider *provider,
                     struct kek_provider_failure *failure)
{
    char ring[64];
    struct kek_why why;
    struct kek_id digest;
    if (!take(hello, "key", NULL, provider->key, sizeof provider->key, failure)) {
        return false;
    }
    if (kek_gcp_key_check(provider->key, &why) != KEK_OK) {
        return bad_setting(failure, "%s", why.text);
    }
    kek_bridge_id(provider->key, &digest);
    kek_id_format(&digest, provider->serial);
    kek_gcp_key_part(provider->key, "keyRings", ring, sizeof ring);
    kek_gcp_key_part(provider->key, "cryptoKeys", provider->name, sizeof provider->name);
    snprintf(provider->label, sizeof provider->label, "%s/%s", ring, provider->name);
    return true;
}

static bool take_all(const Kek__Provider__Hello *hello, struct kek_provider *provider,
                     struct kek_provider_failure *failure)
{
    provider->call_ms = kek_bridge_call_ms(hello);
    provider->start_ms = kek_bridge_start_ms(hello);
    return take_key(hello, provider, failure) && take_endpoint(hello, provider, failure) &&
           take_protection(hello, provider, failure) &&
           take_attestation(hello, provider, failure) &&
           take_credentials(hello, provider, failure) &&
           take(hello, "ca", "", provider->ca, sizeof provider->ca, failure) &&
           take(hello, "proxy", "", provider->proxy, sizeof provider->proxy, failure) &&
           kek_bridge_names_read(hello, &provider->named, failure);
}

static bool no_memory(struct kek_provider_failure *failure)
{
    return kek_bridge_fail(failure, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__BUSY,
                           "no memory to start");
}

bool kek_gcp_open(const Kek__Provider__Hello *hello, bool officer, struct kek_provider **provider,
                  Kek__Provider__Token *token, struct kek_provider_failure *failure)
{
    static char maker[] = "Google", model[] = "Cloud KMS", version[] = "v1";
    struct kek_provider *made = calloc(1, sizeof *made);
    kek_bridge_setup();
    if (made == NULL) {
        return no_memory(failure);
    }
    made->officer = officer;
    if (!take_all(hello, made, failure)) {
        free(made);
        return false;
    }
    made->way = (struct kek_gcp_way){.credentials = made->credentials,
                                     .ca = made->ca[0] == '\0' ? NULL : made->ca,
                                     .proxy = made->proxy[0] == '\0' ? NULL : made->proxy};
    made->token = kek_bridge_token_new(grant, made, RENEWAL_MS);
    if (made->token == NULL) {
        free(made);
        return no_memory(failure);
    }
    token->serial = made->serial;
    token->label = made->label;
    token->manufacturer = maker;
    token->model = model;
    token->firmware = version;
    token->names_keys = true;
    *provider = made;
    return true;
}

/* ---- the start ---- */

/* The one that would wrap next. */
static struct kek_gcp_version *newest(struct kek_provider_session *session)
{
    for (size_t i = 0; i < session->table.count; i++) {
        struct kek_gcp_version *version = &session->table.items[i];
        if (version->fit && version->enabled &&
            kek_gcp_versions_limit(session->provider, version->number) == KEK_STATE_ACTIVE) {
            return version;
        }
    }
    return NULL;
}

/* What the service itself says against the version is the version's; all else keeps the worker from starting. */
static bool prove_newest(struct kek_provider_session *session, enum kek_wrap_alg *alg,
                         struct kek_provider_failure *failure)
{
    struct kek_gcp_version *version = newest(session);
    struct kek_gcp_fault fault;
    if (version == NULL) {
        return true;
    }
    if (kek_gcp_prove(session, version, &fault)) {
        *alg = KEK_WRAP_GCP_KMS;
        return true;
    }
    if (fault.class == KEK_GCP_STATE || fault.class == KEK_GCP_NOT_FOUND) {
        version->enabled = false; /* since it was listed */
        return true;
    }
    if (fault.class == KEK_GCP_POLICY || fault.class == KEK_GCP_DATA ||
        fault.class == KEK_GCP_REQUEST) {
        version->fit = false;
        kek_text_copy(version->refusal, sizeof version->refusal, fault.why.text);
        session->provider->unproven = *version;
        return true;
    }
    return kek_gcp_say_start(failure, &fault);
}

bool kek_gcp_login(struct kek_provider *provider, struct kek_provider_versions *versions,
                   enum kek_wrap_alg *alg, struct kek_provider_failure *failure)
{
    struct kek_gcp_fault fault;
    struct kek_provider_session *session = kek_gcp_session_new(provider, failure);
    if (session == NULL) {
        return false;
    }
    session->deadline_ms = kek_clock_ms() + provider->start_ms;
    bool good = kek_bridge_token_get(provider->token, session->deadline_ms, failure) &&
                (kek_gcp_versions_read(session, &fault) || kek_gcp_say_start(failure, &fault)) &&
                prove_newest(session, alg, failure);
    if (good && !kek_bridge_token_keep(provider->token)) {
        good = kek_bridge_fail(failure, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__BUSY,
                               "no thread for the access token");
    }
    if (good) {
        kek_gcp_session_begin(session); /* no statement holds up a start */
        kek_gcp_attest_wanted(session);
        kek_gcp_versions_show(session, versions);
        provider->table = session->table;
        session->table = (struct kek_gcp_table){0};
    }
    kek_gcp_session_free(session);
    return good;
}

static bool copy_table(const struct kek_gcp_table *from, struct kek_gcp_table *to)
{
    if (from->count == 0) {
        return true;
    }
    to->items = malloc(from->count * sizeof *to->items);
    if (to->items == NULL) {
        return false;
    }
    memcpy(to->items, from->items, from->count * sizeof *to->items);
    to->count = from->count;
    return true;
}

bool kek_gcp_session_open(struct kek_provider *provider, struct kek_provider_session **session,
                          struct kek_provider_failure *failure)
{
    struct kek_provider_session *made = kek_gcp_session_new(provider, failure);
    if (made == NULL) {
        return false;
    }
    if (!copy_table(&provider->table, &made->table)) {
        kek_gcp_session_free(made);
        return kek_bridge_fail(failure, KEK__PROVIDER__STEP__MODULE, KEK__PROVIDER__CAUSE__BUSY,
                               "no memory for a session");
    }
    *session = made;
    return true;
}
