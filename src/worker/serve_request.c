/* What a worker that has started answers, of either role. */
#include "serve.h"

#include <fcntl.h>
#include <string.h>
#include <unistd.h>

#include "kek/text.h"

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

static bool is_blob(enum kek_wrap_alg alg, ProtobufCBinaryData blob)
{
    return kek_wrap_alg_known(alg) && kek_wrap_alg_fits(alg, blob.len);
}

/* What came with a wrap, by the object that wrapped. NULL: it did not open. Why not, the asker hears when he asks
 * for that alone. */
static struct kek_secret *open_witness(const struct kek_serve *serve,
                                       struct kek_provider_session *session,
                                       const struct kek_id *kek_id, uint64_t handle,
                                       const Kek__Provider__Witness *witness)
{
    struct kek_secret *opened;
    struct kek_provider_failure failure = {0};
    enum kek_wrap_alg alg = (enum kek_wrap_alg)witness->alg;
    bool good =
        is_blob(alg, witness->blob) &&
        serve->ops->unwrap(session, kek_id, handle, alg,
                           kek_bytes(witness->blob.data, witness->blob.len), &opened, &failure);
    return good ? opened : NULL;
}

static ProtobufCBinaryData key_bytes(struct kek_secret *key)
{
    return (ProtobufCBinaryData){.data = kek_secret_data(key), .len = kek_secret_bytes(key).len};
}

static bool answer_wrap(const struct kek_serve *serve, struct kek_provider_session *session,
                        uint64_t id, const Kek__Provider__Wrap *wrap, struct kek_buf *reply)
{
    struct kek_id kek_id;
    if (!kek_serve_take_id(wrap->kek_id, &kek_id) || wrap->data_key.len != KEK_DATA_KEY_LEN) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                     "a kek id has 16 bytes and a data key has 32");
    }
    KEK_AUTO(kek_secret)
    data_key = kek_secret_dup(kek_bytes(wrap->data_key.data, wrap->data_key.len));
    if (data_key == NULL) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__INTERNAL,
                                     "the arena for keys is full");
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
    Kek__Provider__Unwrapped opened = KEK__PROVIDER__UNWRAPPED__INIT;
    KEK_AUTO(kek_secret) key = NULL;
    if (wrap->witness != NULL) {
        key = open_witness(serve, session, &kek_id, wrapped.handle, wrap->witness);
    }
    if (key != NULL) {
        opened.data_key = key_bytes(key);
        result.opened = &opened;
    }
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
    if (!kek_serve_take_id(unwrap->kek_id, &kek_id) || !kek_wrap_alg_known(alg)) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                     KEK_SERVE_BAD_ID ", and a blob is of a known algorithm");
    }
    if (!kek_wrap_alg_fits(alg, len)) {
        struct kek_provider_failure misfit = {.cause = KEK__PROVIDER__CAUSE__DATA};
        kek_fail(&misfit.why, KEK_DAMAGED, "%s never wraps a data key in %s",
                 kek_wrap_alg_name(alg), kek_counted(len, "byte").text);
        return kek_serve_message_failed(reply, id, &misfit);
    }
    KEK_AUTO(kek_secret) data_key = NULL;
    struct kek_provider_failure failure = {0};
    if (!serve->ops->unwrap(session, &kek_id, unwrap->handle, alg,
                            kek_bytes(unwrap->blob.data, len), &data_key, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    Kek__Provider__Unwrapped result = KEK__PROVIDER__UNWRAPPED__INIT;
    result.data_key = key_bytes(data_key);
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_UNWRAPPED;
    message.unwrapped = &result;
    return kek_serve_message_reply(reply, &message);
}

static bool answer_mac(const struct kek_serve *serve, struct kek_provider_session *session,
                       uint64_t id, const Kek__Provider__Mac *wanted, struct kek_buf *reply)
{
    struct kek_id key_id;
    bool any = wanted->kek_id.len == 0;
    if ((!any && !kek_serve_take_id(wanted->kek_id, &key_id)) || wanted->text.len == 0 ||
        wanted->text.len > KEK_PROVIDER_MAC_TEXT_MAX) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                     "a CKA_ID has 16 bytes or none, and a text 1 to 256");
    }
    if (serve->ops->mac == NULL) {
        return kek_serve_refuse_with(reply, id, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                                     KEK_SERVE_NO_AUDIT_KEYS);
    }
    struct kek_provider_maced maced = {.len = 0};
    struct kek_provider_failure failure = {0};
    if (!serve->ops->mac(session, any ? NULL : &key_id,
                         kek_bytes(wanted->text.data, wanted->text.len), &maced, &failure)) {
        return kek_serve_message_failed(reply, id, &failure);
    }
    Kek__Provider__Maced result = KEK__PROVIDER__MACED__INIT;
    result.kek_id = (ProtobufCBinaryData){.data = maced.key_id.bytes, .len = KEK_ID_LEN};
    result.mechanism = maced.mechanism;
    result.mac = (ProtobufCBinaryData){.data = maced.mac, .len = maced.len};
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_MACED;
    message.maced = &result;
    return kek_serve_message_reply(reply, &message);
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
    case KEK__PROVIDER__REQUEST__OP_MAC:
        return answer_mac(serve, session, request->id, request->mac, reply);
    case KEK__PROVIDER__REQUEST__OP_GENERATE:
    case KEK__PROVIDER__REQUEST__OP_SET_STATE:
    case KEK__PROVIDER__REQUEST__OP_DESTROY:
    case KEK__PROVIDER__REQUEST__OP_PROBE:
    case KEK__PROVIDER__REQUEST__OP_DESCRIBE:
    case KEK__PROVIDER__REQUEST__OP_TRY_KEY:
    case KEK__PROVIDER__REQUEST__OP_ATTEST:
        if (!serve->officer) {
            return kek_serve_refuse_with(reply, request->id, KEK__PROVIDER__CAUSE__UNSUPPORTED,
                                         "a worker of role serve changes no key");
        }
        return kek_serve_officer(serve, session, request, reply);
    case KEK__PROVIDER__REQUEST__OP_HELLO:
    case KEK__PROVIDER__REQUEST__OP_LOGIN:
        return kek_serve_refuse_with(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
                                     "Hello and Login come once, at the start");
    default:
        return kek_serve_refuse_with(reply, request->id, KEK__PROVIDER__CAUSE__BAD_REQUEST,
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
