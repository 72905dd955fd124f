#include "api.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/small_file.h"
#include "objects.h"

struct kek_kubeapi {
    const struct kek_kubeconfig *config;
    char *server;     /* its URL: with the name that its certificate must have */
    char *connect_to; /* where it is, if that is not where the URL says */
    struct kek_remote *remote;
    struct kek_secret *token;        /* the header line; NULL: none */
    struct stat token_file;          /* as it was when it was read */
    struct kek_kubeapi_call **calls; /* under way */
    size_t call_count, call_room;
};

/* A tls-server-name takes the host's place in the URL, since libcurl checks the certificate against that. */
static bool set_server(struct kek_kubeapi *api)
{
    static const char scheme[] = "https://";
    const char *url = api->config->server, *name = api->config->server_name;
    if (name == NULL || strncmp(url, scheme, sizeof scheme - 1) != 0) {
        api->server = strdup(url);
        return api->server != NULL;
    }
    const char *host = url + sizeof scheme - 1;
    int host_len = (int)(host[0] == '[' ? strcspn(host, "]/") + 1 : strcspn(host, ":/"));
    const char *port = host[host_len] == ':' ? host + host_len : ":443";
    int port_len = (int)strcspn(port, "/");
    const char *path = host + strcspn(host, "/");
    if (asprintf(&api->server, "%s%s%.*s%s", scheme, name, port_len, port, path) < 0) {
        api->server = NULL;
    }
    if (asprintf(&api->connect_to, "%.*s%.*s", host_len, host, port_len, port) < 0) {
        api->connect_to = NULL;
    }
    return api->server != NULL && api->connect_to != NULL;
}

struct kek_kubeapi *kek_kubeapi_new(const struct kek_kubeconfig *config, struct kek_why *why)
{
    KEK_AUTO(kek_kubeapi) api = calloc(1, sizeof *api);
    if (api != NULL) {
        api->config = config;
    }
    if (api == NULL || !set_server(api)) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for a connection to %s", config->server);
        return NULL;
    }
    struct kek_remote_settings settings = {
        .peer = "the API server",
        .cert = config->cert_file,
        .key = config->key_file,
        .cert_pem = kek_buf_bytes(&config->cert),
        .ca = config->ca_file,
        .ca_pem = kek_buf_bytes(&config->ca),
        .system_ca = config->ca_file == NULL && config->ca.len == 0,
        .ca_name = "the kubeconfig's certificate-authority",
        .cert_name = "its client-certificate",
        .key_name = "its client-key",
        .proxy = config->proxy,
        .connect_to = api->connect_to,
    };
    if (config->key != NULL) {
        settings.key_pem = kek_secret_bytes(config->key);
    }
    api->remote = kek_remote_new(&settings, why);
    return api->remote == NULL ? NULL : KEK_STEAL(api);
}

void kek_kubeapi_free(struct kek_kubeapi *api)
{
    if (api != NULL) {
        kek_remote_free(api->remote);
        kek_secret_free(api->token);
        free(api->calls);
        free(api->server);
        free(api->connect_to);
        free(api);
    }
}

const char *api_server(const struct kek_kubeapi *api)
{
    return api->server;
}

/* ---- the token ---- */

static enum kek_rc set_token(struct kek_kubeapi *api, struct kek_bytes token, struct kek_why *why)
{
    static const char prefix[] = "Authorization: Bearer ";
    struct kek_secret *line = kek_secret_new(sizeof prefix + token.len); /* with its NUL */
    if (line == NULL) {
        return kek_fail(why, KEK_NO_MEMORY, "no locked memory for a token");
    }
    memcpy(kek_secret_data(line), prefix, sizeof prefix - 1);
    memcpy(kek_secret_data(line) + sizeof prefix - 1, token.data, token.len);
    kek_secret_free(api->token);
    api->token = line;
    return KEK_OK;
}

static bool is_same(const struct stat *a, const struct stat *b)
{
    return a->st_ino == b->st_ino && a->st_dev == b->st_dev && a->st_size == b->st_size &&
           a->st_mtim.tv_sec == b->st_mtim.tv_sec && a->st_mtim.tv_nsec == b->st_mtim.tv_nsec;
}

/* Tokens of a ServiceAccount are exchanged under our feet, before they expire. */
static enum kek_rc read_token(struct kek_kubeapi *api, struct kek_why *why)
{
    const struct kek_small_file file = {
        .what = "tokenFile ", .path = api->config->token_file, .max = KEK_KUBEAPI_TOKEN_MAX};
    struct stat now;
    if (api->token != NULL && stat(file.path, &now) == 0 && is_same(&now, &api->token_file)) {
        return KEK_OK;
    }
    KEK_AUTO(kek_secret) token = NULL;
    enum kek_rc rc = kek_small_file_line(&file, &token, &now, why);
    if (rc == KEK_OK) {
        rc = set_token(api, kek_secret_bytes(token), why);
    }
    if (rc == KEK_OK) {
        api->token_file = now;
    }
    return rc;
}

/* A file that is away or empty while it is exchanged leaves the token that was: where that is no good any more, the
 * API server says so. */
static enum kek_rc have_token(struct kek_kubeapi *api, struct kek_why *why)
{
    if (api->config->token_file != NULL) {
        enum kek_rc rc = read_token(api, why);
        return api->token != NULL && rc != KEK_NO_MEMORY ? KEK_OK : rc;
    }
    return api->config->token != NULL && api->token == NULL
               ? set_token(api, kek_secret_bytes(api->config->token), why)
               : KEK_OK;
}

/* ---- calls ---- */

void api_failed(struct kek_kubeapi_call *call)
{
    call->done = true;
    call->answer = KEK_KUBEAPI_STOP;
}

static bool add(struct kek_kubeapi *api, struct kek_kubeapi_call *call)
{
    if (api->call_count == api->call_room) {
        size_t room = api->call_room == 0 ? 32 : 2 * api->call_room;
        struct kek_kubeapi_call **calls = reallocarray(api->calls, room, sizeof *calls);
        if (calls == NULL) {
            return false;
        }
        api->calls = calls;
        api->call_room = room;
    }
    api->calls[api->call_count++] = call;
    return true;
}

static void take_off(struct kek_kubeapi *api, const struct kek_kubeapi_call *call)
{
    for (size_t i = 0; i < api->call_count; i++) {
        if (api->calls[i] == call) {
            api->calls[i] = api->calls[--api->call_count];
            return;
        }
    }
}

void api_start(struct kek_kubeapi *api, struct kek_kubeapi_call *call, const char *method,
               const char *accept, const char *content_type)
{
    size_t headers = 0;
    if (have_token(api, &call->why) != KEK_OK || !add(api, call)) {
        api_failed(call);
        return;
    }
    call->headers[headers++] = accept;
    call->headers[headers++] = "User-Agent: kekctl";
    if (call->send != NULL) {
        call->headers[headers++] = content_type;
    }
    call->headers[headers] = NULL;
    call->wanted[0].name = "Retry-After";
    call->remote = (struct kek_remote_call){
        .method = method,
        .url = call->url,
        .plain = strncmp(call->url, "http://", 7) == 0,
        .http2 = strncmp(call->url, "http://", 7) != 0,
        .headers = call->headers,
        .credential = api->token,
        .send = kek_bytes_of(call->send),
        .deadline_ms = kek_clock_ms() + API_TIMEOUT_MS,
        .take = call->objects == NULL ? NULL : objects_take,
        .take_arg = call->objects,
        .wanted = call->wanted,
        .wanted_count = 1,
    };
    kek_buf_init(&call->remote.body, call->objects == NULL ? KEK_KUBEAPI_JSON_MAX : API_ERROR_MAX);
    kek_remote_start(api->remote, &call->remote);
    call->remote.credential = NULL; /* another may take its place */
}

static void finish(struct kek_kubeapi_call *call)
{
    answer_read(call);
    if (call->objects == NULL) {
        kek_buf_done(&call->text);
        call->text = call->remote.body;
        kek_buf_init(&call->remote.body, 1);
    }
    call->done = true;
}

size_t kek_kubeapi_turn(struct kek_kubeapi *api, const int *fds, size_t fd_count, uint64_t wait_ms)
{
    bool any = false;
    for (size_t i = 0; i < api->call_count; i++) {
        any = any || api->calls[i]->remote.done; /* that could not be begun */
    }
    (void)kek_remote_turn(api->remote, fds, fd_count, any ? 0 : wait_ms);
    for (size_t i = 0; i < api->call_count;) {
        struct kek_kubeapi_call *call = api->calls[i];
        if (call->remote.done) {
            take_off(api, call); /* another is in its place now */
            finish(call);
        } else {
            i++;
        }
    }
    return api->call_count;
}

enum kek_kubeapi_answer kek_kubeapi_wait(struct kek_kubeapi *api, struct kek_kubeapi_call *call)
{
    while (!call->done) {
        (void)kek_kubeapi_turn(api, NULL, 0, 1000);
    }
    return call->answer;
}

void kek_kubeapi_end(struct kek_kubeapi *api, struct kek_kubeapi_call *call)
{
    if (call->url != NULL && !call->done) {
        take_off(api, call);
        kek_remote_stop(api->remote, &call->remote);
    }
    kek_buf_done(&call->remote.body);
    kek_buf_done(&call->text);
    objects_free(call->objects);
    json_decref(call->json);
    free(call->continue_);
    free(call->url);
    free(call->send);
    *call = (struct kek_kubeapi_call){.done = false};
}
