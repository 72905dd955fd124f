/* What a worker answers while it starts: Hello, then Login. */
#include "serve.h"

#include <string.h>

const char *kek_provider_setting(const Kek__Provider__Hello *hello, const char *key)
{
    for (size_t i = 0; i < hello->n_settings; i++) {
        if (strcmp(hello->settings[i]->key, key) == 0) {
            return hello->settings[i]->value;
        }
    }
    return NULL;
}

static const char *fault_of_hello(const Kek__Provider__Hello *hello)
{
    if (hello->protocol != KEK_PROVIDER_PROTOCOL) {
        return "Hello asks for another protocol than 2: kekd and its workers are of different "
               "versions";
    }
    if (hello->sessions < 1 || hello->sessions > KEK_SERVE_SESSIONS_MAX) {
        return "Hello asks for a number of sessions that is not 1 to 64";
    }
    if (hello->keyring[0] == '\0') {
        return "Hello names no keyring";
    }
    if (hello->n_versions > KEK_PROVIDER_VERSIONS_MAX) {
        return "Hello names more than 64 versions";
    }
    if (hello->n_known > KEK_PROVIDER_VERSIONS_MAX) {
        return "Hello knows more than 64 versions";
    }
    for (size_t i = 0; i < hello->n_known; i++) {
        if (hello->known[i]->number == 0 || hello->known[i]->kek_id.len != KEK_ID_LEN) {
            return "Hello knows a version with number 0 or a kek id that has not 16 bytes";
        }
    }
    if (hello->n_settings > KEK_PROVIDER_SETTINGS_MAX) {
        return "Hello has more than 16 settings";
    }
    for (size_t i = 0; i < hello->n_settings; i++) {
        if (kek_provider_setting(hello, hello->settings[i]->key) != hello->settings[i]->value) {
            return "Hello has a setting twice";
        }
    }
    for (size_t i = 0; i < hello->n_versions; i++) {
        const Kek__Provider__NamedVersion *version = hello->versions[i];
        if (version->number == 0 || strlen(version->label) >= KEK_LABEL_MAX ||
            version->state < KEK__PROVIDER__STATE__PRE_ACTIVE ||
            version->state > KEK__PROVIDER__STATE__COMPROMISED) {
            return "Hello names a version with number 0, an unknown state or a label over 127 "
                   "bytes";
        }
    }
    return NULL;
}

static bool answer_hello(struct kek_serve *serve, uint64_t id, const Kek__Provider__Hello *hello,
                         struct kek_buf *reply)
{
    serve->stage = KEK_SERVE_FAILED;
    const char *fault = fault_of_hello(hello);
    if (fault != NULL) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST, fault);
    }
    Kek__Provider__Token token = KEK__PROVIDER__TOKEN__INIT;
    struct kek_provider_failure failure = {0};
    if (!serve->ops->open(hello, serve->officer, &serve->provider, &token, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    serve->stage = KEK_SERVE_WANTS_LOGIN;
    serve->session_count = hello->sessions;
    token.protocol = KEK_PROVIDER_PROTOCOL;
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_TOKEN;
    message.token = &token;
    return kek_serve_message_reply(reply, &message);
}

static bool answer_login(struct kek_serve *serve, uint64_t id, struct kek_buf *reply)
{
    serve->stage = KEK_SERVE_FAILED;
    struct kek_provider_versions versions = {0};
    enum kek_wrap_alg alg = KEK_WRAP_NONE;
    struct kek_provider_failure failure = {0};
    if (!serve->ops->login(serve->provider, &versions, &alg, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    for (uint32_t i = 0; i < serve->session_count; i++) {
        if (!serve->ops->session_open(serve->provider, &serve->sessions[i], &failure)) {
            return kek_serve_message_failed(reply, id, &failure);
        }
    }
    serve->stage = KEK_SERVE_READY;
    return kek_serve_message_versions(reply, id, true, &versions, alg);
}

static bool start_with(struct kek_serve *serve, const Kek__Provider__Request *request,
                       struct kek_buf *reply)
{
    switch (serve->stage) {
    case KEK_SERVE_WANTS_HELLO:
        if (request->op_case == KEK__PROVIDER__REQUEST__OP_HELLO) {
            return answer_hello(serve, request->id, request->hello, reply);
        }
        return kek_serve_refuse_with(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                     "the first request must be Hello");
    case KEK_SERVE_WANTS_LOGIN:
        if (request->op_case == KEK__PROVIDER__REQUEST__OP_LOGIN) {
            return answer_login(serve, request->id, reply);
        }
        return kek_serve_refuse_with(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                     "the request after Hello must be Login");
    case KEK_SERVE_READY:
    case KEK_SERVE_FAILED:
        break;
    }
    return kek_serve_refuse_with(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                 "this worker's start has failed");
}

bool kek_serve_start(struct kek_serve *serve, struct kek_bytes packet, struct kek_buf *reply)
{
    struct kek_serve_memory memory;
    Kek__Provider__Request *request = kek_serve_message_read(packet, &memory);
    if (request == NULL) {
        return kek_serve_refuse(reply, "not a request");
    }
    bool answered = start_with(serve, request, reply);
    kek_serve_message_free(request, &memory);
    return answered;
}
