#include "serve.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kek/text.h"

/* One failure of the protocol itself. */
static bool refuse(struct kek_buf *reply, uint64_t id, Kek__Provider__Cause cause, const char *text)
{
    struct kek_provider_failure failure = {.step = KEK__PROVIDER__STEP__PROTOCOL, .cause = cause};
    kek_fail(&failure.why, KEK_INVALID, "%s", text);
    return kek_serve_message_failed(reply, id, &failure);
}

bool kek_serve_refuse(struct kek_buf *reply, const char *text)
{
    return refuse(reply, 0, KEK__PROVIDER__CAUSE__BAD_REQUEST, text);
}

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
        return refuse(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST, fault);
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
        return refuse(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                      "the first request must be Hello");
    case KEK_SERVE_WANTS_LOGIN:
        if (request->op_case == KEK__PROVIDER__REQUEST__OP_LOGIN) {
            return answer_login(serve, request->id, reply);
        }
        return refuse(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                      "the request after Hello must be Login");
    case KEK_SERVE_READY:
    case KEK_SERVE_FAILED:
        break;
    }
    return refuse(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
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

/* False: not 16 bytes. */
static bool take_id(ProtobufCBinaryData bytes, struct kek_id *id)
{
    if (bytes.len != sizeof id->bytes) {
        return false;
    }
    memcpy(id->bytes, bytes.data, sizeof id->bytes);
    return true;
}

#define BAD_ID "a kek id has 16 bytes"

static bool answer_list(const struct kek_serve *serve, struct kek_provider_session *session,
                        uint64_t id, struct kek_buf *reply)
{
    struct kek_provider_versions versions = {0};
    struct kek_provider_failure failure = {0};
    if (!serve->ops->list(session, &versions, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    return kek_serve_message_versions(reply, id, false, &versions, KEK_WRAP_NONE);
}

static bool answer_wrap(const struct kek_serve *serve, struct kek_provider_session *session,
                        uint64_t id, const Kek__Provider__Wrap *wrap, struct kek_buf *reply)
{
    struct kek_id kek_id;
    if (!take_id(wrap->kek_id, &kek_id) || wrap->data_key.len != KEK_DATA_KEY_LEN) {
        return refuse(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                      "a kek id has 16 bytes and a data key has 32");
    }
    KEK_AUTO(kek_secret)
    data_key = kek_secret_dup(kek_bytes(wrap->data_key.data, wrap->data_key.len));
    if (data_key == NULL) {
        return refuse(reply, id, KEK__PROVIDER__CAUSE__INTERNAL, "the arena for keys is full");
    }
    struct kek_provider_wrapped wrapped = {0};
    struct kek_provider_failure failure = {0};
    if (!serve->ops->wrap(session, &kek_id, data_key, &wrapped, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    Kek__Provider__Wrapped result = KEK__PROVIDER__WRAPPED__INIT;
    result.alg = (Kek__Provider__WrapAlg)wrapped.alg;
    result.blob.data = wrapped.blob;
    result.blob.len = wrapped.len;
    result.handle = wrapped.handle;
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_WRAPPED;
    message.wrapped = &result;
    return kek_serve_message_reply(reply, &message);
}

static bool answer_unwrap(const struct kek_serve *serve, struct kek_provider_session *session,
                          uint64_t id, const Kek__Provider__Unwrap *unwrap, struct kek_buf *reply)
{
    struct kek_id kek_id;
    enum kek_wrap_alg alg = (enum kek_wrap_alg)unwrap->alg;
    size_t len = unwrap->blob.len;
    if (!take_id(unwrap->kek_id, &kek_id) || !kek_wrap_alg_known(alg)) {
        return refuse(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                      BAD_ID ", and a blob is of a known algorithm");
    }
    if (!kek_wrap_alg_fits(alg, len)) {
        struct kek_provider_failure misfit = {.cause = KEK__PROVIDER__CAUSE__DATA};
        kek_fail(&misfit.why, KEK_DAMAGED, "%s never wraps a data key in %zu bytes",
                 kek_wrap_alg_name(alg), len);
        return kek_serve_message_failed(reply, id, &misfit);
    }
    KEK_AUTO(kek_secret) data_key = NULL;
    struct kek_provider_failure failure = {0};
    if (!serve->ops->unwrap(session, &kek_id, unwrap->handle, alg,
                            kek_bytes(unwrap->blob.data, len), &data_key, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    Kek__Provider__Unwrapped result = KEK__PROVIDER__UNWRAPPED__INIT;
    result.data_key.data = kek_secret_data(data_key);
    result.data_key.len = kek_secret_bytes(data_key).len;
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_UNWRAPPED;
    message.unwrapped = &result;
    return kek_serve_message_reply(reply, &message);
}

/* The end of an officer operation. */
static bool answer_done(uint64_t id, bool good, const struct kek_provider_failure *failure,
                        struct kek_buf *reply)
{
    if (!good) {
        return kek_serve_message_failed(reply, id, failure);
    }
    Kek__Provider__Done done = KEK__PROVIDER__DONE__INIT;
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_DONE;
    message.done = &done;
    return kek_serve_message_reply(reply, &message);
}

static bool state_of(Kek__Provider__State wire, enum kek_state *state)
{
    switch (wire) {
    case KEK__PROVIDER__STATE__PRE_ACTIVE:
        *state = KEK_STATE_PRE_ACTIVE;
        return true;
    case KEK__PROVIDER__STATE__ACTIVE:
        *state = KEK_STATE_ACTIVE;
        return true;
    case KEK__PROVIDER__STATE__DEACTIVATED:
        *state = KEK_STATE_DEACTIVATED;
        return true;
    case KEK__PROVIDER__STATE__SUSPENDED:
        *state = KEK_STATE_SUSPENDED;
        return true;
    case KEK__PROVIDER__STATE__COMPROMISED:
        *state = KEK_STATE_COMPROMISED;
        return true;
    default:
        return false;
    }
}

static bool answer_officer(const struct kek_serve *serve, struct kek_provider_session *session,
                           const Kek__Provider__Request *request, struct kek_buf *reply)
{
    struct kek_id kek_id;
    enum kek_state state;
    struct kek_provider_failure failure = {0};
    bool good;
    switch (request->op_case) {
    case KEK__PROVIDER__REQUEST__OP_GENERATE:
        if (!take_id(request->generate->kek_id, &kek_id) || request->generate->number == 0 ||
            !state_of(request->generate->state, &state) ||
            (state != KEK_STATE_ACTIVE && state != KEK_STATE_PRE_ACTIVE)) {
            return refuse(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                          BAD_ID ", a number of at least 1, and starts active or pre-active");
        }
        good = serve->ops->generate(session, request->generate->number, &kek_id, state, &failure);
        break;
    case KEK__PROVIDER__REQUEST__OP_SET_STATE:
        if (!take_id(request->set_state->kek_id, &kek_id) ||
            !state_of(request->set_state->state, &state)) {
            return refuse(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                          BAD_ID ", and its state is one that this worker knows");
        }
        good = serve->ops->set_state(session, &kek_id, state, &failure);
        break;
    default:
        if (!take_id(request->destroy->kek_id, &kek_id)) {
            return refuse(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST, BAD_ID);
        }
        good = serve->ops->destroy(session, &kek_id, &failure);
        break;
    }
    return answer_done(request->id, good, &failure, reply);
}

static bool answer_probe(const struct kek_serve *serve, struct kek_provider_session *session,
                         uint64_t id, struct kek_buf *reply)
{
    struct kek_provider_probed probed = {0};
    struct kek_provider_failure failure = {0};
    if (!serve->ops->probe(session, &probed, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    return kek_serve_message_probed(reply, id, &probed);
}

static bool answer_describe(const struct kek_serve *serve, struct kek_provider_session *session,
                            uint64_t id, const Kek__Provider__Describe *describe,
                            struct kek_buf *reply)
{
    KEK_AUTO_FREE struct kek_provider_described *described = calloc(1, sizeof *described);
    struct kek_provider_failure failure = {0};
    struct kek_bytes name = kek_bytes(describe->name.data, describe->name.len);
    if (name.len == 0 || name.len > KEK_PROVIDER_NAME_MAX) {
        return refuse(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                      "a key's name has 1 to 128 bytes");
    }
    if (described == NULL) {
        return refuse(reply, id, KEK__PROVIDER__CAUSE__BUSY, "no memory for an answer");
    }
    if (!serve->ops->describe(session, name, describe->skip, described, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    return kek_serve_message_described(reply, id, described);
}

static bool answer_try_key(const struct kek_serve *serve, struct kek_provider_session *session,
                           uint64_t id, const Kek__Provider__TryKey *wanted, struct kek_buf *reply)
{
    struct kek_id kek_id;
    enum kek_wrap_alg alg = (enum kek_wrap_alg)wanted->alg;
    size_t len = wanted->blob.len;
    if (!take_id(wanted->kek_id, &kek_id) || !kek_wrap_alg_known(alg) ||
        (len > 0 && !kek_wrap_alg_fits(alg, len))) {
        return refuse(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                      BAD_ID ", and a blob is of a known algorithm and of its length");
    }
    struct kek_provider_tried tried = {0};
    struct kek_provider_failure failure = {0};
    if (!serve->ops->try_key(session, &kek_id, alg, kek_bytes(wanted->blob.data, len), wanted->copy,
                             &tried, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    return kek_serve_message_tried(reply, id, &tried);
}

static bool dispatch(const struct kek_serve *serve, struct kek_provider_session *session,
                     const Kek__Provider__Request *request, struct kek_buf *reply)
{
    switch (request->op_case) {
    case KEK__PROVIDER__REQUEST__OP_LIST:
        return answer_list(serve, session, request->id, reply);
    case KEK__PROVIDER__REQUEST__OP_WRAP:
        return answer_wrap(serve, session, request->id, request->wrap, reply);
    case KEK__PROVIDER__REQUEST__OP_UNWRAP:
        return answer_unwrap(serve, session, request->id, request->unwrap, reply);
    case KEK__PROVIDER__REQUEST__OP_GENERATE:
    case KEK__PROVIDER__REQUEST__OP_SET_STATE:
    case KEK__PROVIDER__REQUEST__OP_DESTROY:
    case KEK__PROVIDER__REQUEST__OP_PROBE:
    case KEK__PROVIDER__REQUEST__OP_DESCRIBE:
    case KEK__PROVIDER__REQUEST__OP_TRY_KEY:
        if (!serve->officer) {
            return refuse(reply, request->id, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                          "a worker of role serve changes no key");
        }
        if (request->op_case == KEK__PROVIDER__REQUEST__OP_PROBE) {
            return answer_probe(serve, session, request->id, reply);
        }
        if (request->op_case == KEK__PROVIDER__REQUEST__OP_DESCRIBE) {
            return answer_describe(serve, session, request->id, request->describe, reply);
        }
        if (request->op_case == KEK__PROVIDER__REQUEST__OP_TRY_KEY) {
            return answer_try_key(serve, session, request->id, request->try_key, reply);
        }
        return answer_officer(serve, session, request, reply);
    case KEK__PROVIDER__REQUEST__OP_HELLO:
    case KEK__PROVIDER__REQUEST__OP_LOGIN:
        return refuse(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                      "Hello and Login come once, at the start");
    default:
        return refuse(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                      "the request asks for nothing that this worker knows");
    }
}

/* Anonymous memory of this process in bytes; 0 if it cannot be read. */
static uint64_t own_memory(void)
{
    static const char name[] = "RssAnon:";
    char text[4096];
    KEK_AUTO_CLOSE int fd = open("/proc/self/status", O_RDONLY | O_CLOEXEC);
    ssize_t len = fd < 0 ? -1 : read(fd, text, sizeof text - 1);
    if (len <= 0) {
        return 0;
    }
    text[len] = '\0';
    const char *at = strstr(text, name);
    uint64_t kib = 0;
    if (at == NULL) {
        return 0;
    }
    at += strlen(name);
    at += strspn(at, " \t");
    return kek_text_digits(&at, UINT64_MAX / 1024, &kib) ? kib * 1024 : 0;
}

/* A message that is appended to another adds its fields (Protocol Buffers, encoding, "Last One
 * Wins"). A reply that leaves no room for it does without. */
static void add_memory(struct kek_buf *reply)
{
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.memory = own_memory();
    (void)!kek_serve_message_reply(reply, &message);
}

bool kek_serve_request(const struct kek_serve *serve, struct kek_provider_session *session,
                       struct kek_bytes packet, struct kek_buf *reply)
{
    struct kek_serve_memory memory;
    Kek__Provider__Request *request = kek_serve_message_read(packet, &memory);
    if (request == NULL) {
        return kek_serve_refuse(reply, "not a request");
    }
    bool answered = dispatch(serve, session, request, reply);
    if (answered && request->say_memory) {
        add_memory(reply);
    }
    kek_serve_message_free(request, &memory);
    return answered;
}
