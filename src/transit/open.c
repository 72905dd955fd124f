/* Hello: the settings, and whether the server serves.  No credential is sent yet. */
#include "transit.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/text.h"

static void set_up(struct kek_provider *provider)
{
    const struct transit_settings *settings = &provider->settings;
    bool has_ca = settings->ca[0] != '\0', has_cert = settings->cert[0] != '\0';
    provider->remote = (struct kek_remote_settings){
        .peer = "OpenBao or Vault",
        .cert = has_cert ? settings->cert : NULL,
        .key = has_cert ? settings->cert_key : NULL,
        .ca = has_ca ? settings->ca : NULL,
        .system_ca = !has_ca,
        .ca_name = "ca",
        .cert_name = "cert",
        .key_name = "cert_key",
    };
    size_t count = 0;
    provider->headers[count++] = "X-Vault-Request: true";
    provider->headers[count++] = "Content-Type: application/json";
    if (settings->space[0] != '\0') {
        snprintf(provider->space_line, sizeof provider->space_line, "X-Vault-Namespace: %s",
                 settings->space);
        provider->headers[count++] = provider->space_line;
    }
}

/* A server that tells nobody about its health is taken as one that serves. */
static bool is_silent(const struct kek_bridge_answer *answer)
{
    return answer->status == 400 || answer->status == 403 || answer->status == 404 ||
           answer->status == 405;
}

static bool look_at_server(struct kek_provider *provider, struct kek_provider_failure *failure)
{
    KEK_BRIDGE_ANSWER_AUTO struct kek_bridge_answer answer = {.rc = KEK_INTERNAL};
    char url[TRANSIT_URL_MAX];
    transit_url(provider, url, "sys/health?standbyok=true&perfstandbyok=true");
    struct kek_bridge_request request = {.url = url,
                                         .plain = provider->settings.plain,
                                         .max = TRANSIT_ANSWER_MAX,
                                         .deadline_ms = provider->start_due_ms};
    kek_bridge_ask(provider->token_remote, &request, &answer);
    if (answer.rc != KEK_OK && !is_silent(&answer)) {
        (void)transit_refused(&answer, NULL, failure);
        failure->step = STEP(TOKEN);
        return false;
    }
    const char *cluster = json_string_value(json_object_get(answer.json, "cluster_id"));
    const char *version = json_string_value(json_object_get(answer.json, "version"));
    kek_text_copy(provider->serial, sizeof provider->serial,
                  cluster == NULL || cluster[0] == '\0' ? provider->settings.address : cluster);
    kek_text_copy(provider->version, sizeof provider->version, version);
    return true;
}

/* A wrong AppRole secret id is remembered by its file, as a wrong PIN is; of the other ways in nothing locks. */
static bool look_at_credential(struct kek_provider *provider, Kek__Provider__Token *token,
                               struct kek_provider_failure *failure)
{
    struct transit_settings *settings = &provider->settings;
    KEK_AUTO(kek_secret) secret = NULL;
    struct kek_bridge_file file;
    struct kek_why why;
    if (settings->credential_name == NULL) {
        return true;
    }
    if (kek_bridge_read_secret(settings->credential, settings->credential_name, &secret, &file,
                               &why) != KEK_OK) {
        return kek_bridge_fail_why(failure, STEP(PIN_FILE), CAUSE(PIN_UNUSABLE), &why);
    }
    if (settings->auth == TRANSIT_APPROLE) {
        token->pin_inode = file.inode;
        token->pin_mtime_ns = file.mtime_ns;
        token->pin_size = file.size;
        token->pin_path = settings->credential;
    }
    return true;
}

static bool start(struct kek_provider *provider, struct kek_provider_failure *failure)
{
    struct kek_why why;
    provider->token_remote = kek_remote_new(&provider->remote, &why);
    if (provider->token_remote == NULL) {
        return kek_bridge_fail_why(failure, STEP(MODULE), CAUSE(BUSY), &why);
    }
    provider->token = kek_bridge_token_new(transit_grant, provider, provider->start_ms);
    return provider->token != NULL
               ? true
               : kek_bridge_fail(failure, STEP(MODULE), CAUSE(BUSY), "no memory to start");
}

/* What earlier workers saw, so that one that is closed now has its name. */
static void remember(const Kek__Provider__Hello *hello, struct transit_key *key)
{
    for (size_t i = 0; i < hello->n_known; i++) {
        struct transit_version *version = &key->versions[key->count++];
        version->number = hello->known[i]->number;
        memcpy(version->id.bytes, hello->known[i]->kek_id.data, KEK_ID_LEN);
    }
}

bool transit_open(const Kek__Provider__Hello *hello, bool officer, struct kek_provider **out,
                  Kek__Provider__Token *token, struct kek_provider_failure *failure)
{
    static char model[] = "transit", maker[] = "OpenBao or Vault";
    struct kek_provider *provider = calloc(1, sizeof *provider); /* lives as long as the process */
    kek_bridge_setup();
    if (provider == NULL) {
        return kek_bridge_fail(failure, STEP(MODULE), CAUSE(BUSY), "no memory to start");
    }
    provider->officer = officer;
    provider->call_ms = kek_bridge_call_ms(hello);
    provider->start_ms = kek_bridge_start_ms(hello);
    provider->start_due_ms = kek_clock_ms() + provider->start_ms;
    if (!transit_settings_read(hello, officer, &provider->settings, failure)) {
        free(provider);
        return false;
    }
    set_up(provider);
    remember(hello, &provider->key);
    if (!start(provider, failure) || !look_at_server(provider, failure) ||
        !look_at_credential(provider, token, failure)) {
        return false; /* the process ends by it */
    }
    token->serial = provider->serial;
    token->label = provider->settings.key;
    token->manufacturer = maker;
    token->model = model;
    token->firmware = provider->version;
    token->library = (char *)(uintptr_t) "kekd-transit";
    token->names_keys = true;
    *out = provider;
    return true;
}
