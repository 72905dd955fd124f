#include "front.h"

#include <errno.h>
#include <signal.h>
#include <stdio.h>
#include <string.h>
#include <sys/socket.h>

#include "kek/text.h"

/* Unpacked replies live in one arena, which holds one reply at a time and is wiped after it: a data
 * key leaves no copy behind, and a reply made to unpack into something huge runs out of arena. */

Kek__Provider__Reply *kek_message_unpack(struct kek_pool *pool, size_t len)
{
    pool->arena = (struct kek_arena){.bytes = pool->arena_bytes, .size = sizeof pool->arena_bytes};
    ProtobufCAllocator allocator = {
        .alloc = kek_arena_take,
        .free = kek_arena_give,
        .allocator_data = &pool->arena,
    };
    return kek__provider__reply__unpack(&allocator, len, pool->in);
}

void kek_message_wipe(struct kek_pool *pool)
{
    kek_arena_wipe(&pool->arena);
}

size_t kek_message_pack(struct kek_pool *pool, const Kek__Provider__Request *request)
{
    if (kek__provider__request__get_packed_size(request) > sizeof pool->out) {
        return 0;
    }
    return kek__provider__request__pack(request, pool->out);
}

void kek_message_send(struct kek_worker *worker, size_t len)
{
    struct kek_pool *pool = worker->backend->pool;
    ssize_t sent;
    do {
        sent = send(worker->fd, pool->out, len, MSG_NOSIGNAL | MSG_DONTWAIT);
    } while (sent < 0 && errno == EINTR);
    int error = errno;
    kek_wipe(pool->out, len);
    if (sent == (ssize_t)len) {
        return;
    }
    /* Either the worker has closed its end of the socket, which reading will find; or the socket is full,
     * though it has room for the few requests that are ever on their way, and the worker is broken. */
    worker->deaf = true;
    if (error != EPIPE && error != ECONNRESET && !worker->exited) {
        (void)uv_process_kill(&worker->process, SIGKILL);
    }
}

/* protobuf-c's text fields are not const; packing only reads them. */
static char *text_or_empty(char *text)
{
    static char empty[] = "";
    return text == NULL ? empty : text;
}

static ProtobufCBinaryData binary(const void *data, size_t len)
{
    /* protobuf-c has no const; packing only reads. */
    return (ProtobufCBinaryData){.len = len, .data = (uint8_t *)(uintptr_t)data};
}

size_t kek_message_hello(struct kek_backend *backend, uint64_t id)
{
    const struct kek_config_provider *config = backend->config;
    Kek__Provider__NamedVersion versions[KEK_PROVIDER_VERSIONS_MAX];
    Kek__Provider__NamedVersion *pointers[KEK_PROVIDER_VERSIONS_MAX];
    Kek__Provider__Setting settings[KEK_PROVIDER_SETTINGS_MAX];
    Kek__Provider__Setting *setting_pointers[KEK_PROVIDER_SETTINGS_MAX];
    Kek__Provider__Known known[KEK_PROVIDER_VERSIONS_MAX];
    Kek__Provider__Known *known_pointers[KEK_PROVIDER_VERSIONS_MAX];
    if (config->version_count > KEK_PROVIDER_VERSIONS_MAX ||
        config->setting_count > KEK_PROVIDER_SETTINGS_MAX) {
        return 0;
    }
    for (size_t i = 0; i < config->setting_count; i++) {
        kek__provider__setting__init(&settings[i]);
        settings[i].key = config->settings[i].key;
        settings[i].value = config->settings[i].value;
        setting_pointers[i] = &settings[i];
    }
    for (size_t i = 0; i < config->version_count; i++) {
        kek__provider__named_version__init(&versions[i]);
        versions[i].number = config->versions[i].number;
        versions[i].label = text_or_empty(config->versions[i].label);
        versions[i].state = (Kek__Provider__State)config->versions[i].state;
        pointers[i] = &versions[i];
    }
    for (size_t i = 0; i < backend->known_count; i++) {
        kek__provider__known__init(&known[i]);
        known[i].number = backend->known[i].number;
        known[i].kek_id = binary(backend->known[i].id.bytes, KEK_ID_LEN);
        known_pointers[i] = &known[i];
    }
    Kek__Provider__Hello hello = KEK__PROVIDER__HELLO__INIT;
    hello.protocol = KEK_PROVIDER_PROTOCOL;
    hello.provider = config->name;
    hello.keyring = backend->pool->config->keyring;
    hello.sessions = backend->slots;
    hello.n_settings = config->setting_count;
    hello.settings = setting_pointers;
    hello.n_versions = config->version_count;
    hello.versions = pointers;
    hello.n_known = backend->known_count;
    hello.known = known_pointers;
    hello.alg = (Kek__Provider__WrapAlg)backend->alg;
    hello.peak_sessions = backend->status.peak_sessions;
    hello.call_ms = (uint32_t)config->timeout_ms;
    hello.start_ms = (uint32_t)config->start_timeout_ms;
    Kek__Provider__Seen seen = KEK__PROVIDER__SEEN__INIT;
    seen.slot = backend->slot;
    seen.serial = backend->status.serial;
    hello.seen = backend->slot_known && !backend->slot_doubted ? &seen : NULL;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    request.id = id;
    request.op_case = KEK__PROVIDER__REQUEST__OP_HELLO;
    request.hello = &hello;
    return kek_message_pack(backend->pool, &request);
}

_Static_assert((int)KEK_STATE_COMPROMISED == (int)KEK__PROVIDER__STATE__COMPROMISED, "states");

static bool is_zero(const struct kek_id *id)
{
    static const struct kek_id zero = {{0}};
    return kek_id_equal(id, &zero);
}

/* What a request points at. */
struct parts {
    union {
        Kek__Provider__List list;
        Kek__Provider__Wrap wrap;
        Kek__Provider__Unwrap unwrap;
        Kek__Provider__Mac mac;
        Kek__Provider__Generate generate;
        Kek__Provider__SetState set_state;
        Kek__Provider__Destroy destroy;
        Kek__Provider__Probe probe;
        Kek__Provider__Describe describe;
        Kek__Provider__TryKey try_key;
        Kek__Provider__Attest attest;
    };
    Kek__Provider__Witness witness;
};

static ProtobufCBinaryData kek_id_of(const struct kek_lane *lane)
{
    return binary(lane->kek_id.bytes, KEK_ID_LEN);
}

static void fill_wrap(const struct kek_flight *flight, struct parts *parts)
{
    const struct kek_pool_call *call = flight->call;
    struct kek_bytes key = kek_secret_bytes(call->data_key);
    kek__provider__wrap__init(&parts->wrap);
    kek__provider__witness__init(&parts->witness);
    parts->wrap.kek_id = kek_id_of(call->lane);
    parts->wrap.data_key = binary(key.data, key.len);
    parts->witness.alg = (Kek__Provider__WrapAlg)call->alg;
    parts->witness.blob = binary(call->blob, call->blob_len);
    parts->wrap.witness = flight->opens ? &parts->witness : NULL;
}

static void fill_unwrap(const struct kek_pool_call *call, Kek__Provider__Unwrap *unwrap)
{
    kek__provider__unwrap__init(unwrap);
    unwrap->kek_id = kek_id_of(call->lane);
    unwrap->alg = (Kek__Provider__WrapAlg)call->alg;
    unwrap->blob = binary(call->blob, call->blob_len);
    unwrap->handle = call->handle;
}

static void fill_mac(const struct kek_pool_call *call, Kek__Provider__Mac *mac)
{
    kek__provider__mac__init(mac);
    mac->kek_id = is_zero(&call->lane->kek_id) ? binary(NULL, 0) : kek_id_of(call->lane);
    mac->text = binary(call->blob, call->blob_len);
}

static void fill_generate(const struct kek_pool_call *call, Kek__Provider__Generate *generate)
{
    kek__provider__generate__init(generate);
    generate->number = call->number;
    generate->kek_id = kek_id_of(call->lane);
    generate->state = (Kek__Provider__State)call->state;
    generate->audit = call->audit;
}

static void fill_try_key(const struct kek_pool_call *call, Kek__Provider__TryKey *try_key)
{
    kek__provider__try_key__init(try_key);
    try_key->kek_id = kek_id_of(call->lane);
    try_key->alg = (Kek__Provider__WrapAlg)call->alg;
    try_key->blob = binary(call->blob, call->blob_len);
    try_key->copy = call->copy;
}

/* What looks at a keyring or its keys, and changes none. */
static void fill_look(const struct kek_pool_call *call, Kek__Provider__Request *request,
                      struct parts *parts)
{
    switch (call->lane->op) {
    case KEK_POOL_PROBE:
        kek__provider__probe__init(&parts->probe);
        request->op_case = KEK__PROVIDER__REQUEST__OP_PROBE;
        request->probe = &parts->probe;
        break;
    case KEK_POOL_DESCRIBE:
        kek__provider__describe__init(&parts->describe);
        parts->describe.name = binary(call->blob, call->blob_len);
        parts->describe.skip = call->number;
        request->op_case = KEK__PROVIDER__REQUEST__OP_DESCRIBE;
        request->describe = &parts->describe;
        break;
    case KEK_POOL_ATTEST:
        kek__provider__attest__init(&parts->attest);
        parts->attest.kek_id = kek_id_of(call->lane);
        parts->attest.skip = call->number;
        request->op_case = KEK__PROVIDER__REQUEST__OP_ATTEST;
        request->attest = &parts->attest;
        break;
    default:
        kek__provider__list__init(&parts->list);
        request->op_case = KEK__PROVIDER__REQUEST__OP_LIST;
        request->list = &parts->list;
        break;
    }
}

size_t kek_message_call(struct kek_pool *pool, const struct kek_flight *flight, bool say_memory)
{
    const struct kek_pool_call *call = flight->call;
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    struct parts parts;
    request.id = flight->id;
    request.say_memory = say_memory;
    switch (call->lane->op) {
    case KEK_POOL_LIST:
    case KEK_POOL_PROBE:
    case KEK_POOL_DESCRIBE:
    case KEK_POOL_ATTEST:
        fill_look(call, &request, &parts);
        break;
    case KEK_POOL_WRAP:
        fill_wrap(flight, &parts);
        request.op_case = KEK__PROVIDER__REQUEST__OP_WRAP;
        request.wrap = &parts.wrap;
        break;
    case KEK_POOL_UNWRAP:
        fill_unwrap(call, &parts.unwrap);
        request.op_case = KEK__PROVIDER__REQUEST__OP_UNWRAP;
        request.unwrap = &parts.unwrap;
        break;
    case KEK_POOL_MAC:
        fill_mac(call, &parts.mac);
        request.op_case = KEK__PROVIDER__REQUEST__OP_MAC;
        request.mac = &parts.mac;
        break;
    case KEK_POOL_GENERATE:
        fill_generate(call, &parts.generate);
        request.op_case = KEK__PROVIDER__REQUEST__OP_GENERATE;
        request.generate = &parts.generate;
        break;
    case KEK_POOL_SET_STATE:
        kek__provider__set_state__init(&parts.set_state);
        parts.set_state.kek_id = kek_id_of(call->lane);
        parts.set_state.state = (Kek__Provider__State)call->state;
        request.op_case = KEK__PROVIDER__REQUEST__OP_SET_STATE;
        request.set_state = &parts.set_state;
        break;
    case KEK_POOL_DESTROY:
        kek__provider__destroy__init(&parts.destroy);
        parts.destroy.kek_id = kek_id_of(call->lane);
        request.op_case = KEK__PROVIDER__REQUEST__OP_DESTROY;
        request.destroy = &parts.destroy;
        break;
    case KEK_POOL_TRY_KEY:
        fill_try_key(call, &parts.try_key);
        request.op_case = KEK__PROVIDER__REQUEST__OP_TRY_KEY;
        request.try_key = &parts.try_key;
        break;
    }
    return kek_message_pack(pool, &request);
}

bool kek_message_maced(const Kek__Provider__Maced *message, struct kek_provider_maced *maced)
{
    if (message->kek_id.len != KEK_ID_LEN || message->mac.len < KEK_PROVIDER_MAC_MIN ||
        message->mac.len > sizeof maced->mac) {
        return false;
    }
    memcpy(maced->key_id.bytes, message->kek_id.data, KEK_ID_LEN);
    kek_text_copy(maced->mechanism, sizeof maced->mechanism, message->mechanism);
    maced->len = message->mac.len;
    memcpy(maced->mac, message->mac.data, maced->len);
    return true;
}

bool kek_message_is_alg(Kek__Provider__WrapAlg alg)
{
    return alg == KEK__PROVIDER__WRAP_ALG__NONE || kek_wrap_alg_known((enum kek_wrap_alg)alg);
}

bool kek_message_versions(size_t count, Kek__Provider__Version *const *wire,
                          struct kek_provider_versions *versions)
{
    if (count > KEK_PROVIDER_VERSIONS_MAX) {
        return false;
    }
    for (size_t i = 0; i < count; i++) {
        size_t len = wire[i]->kek_id.len;
        if (len > KEK_ID_LEN || (len < KEK_ID_LEN && wire[i]->eligible) || wire[i]->number == 0 ||
            !kek_message_is_alg(wire[i]->alg) || (int)wire[i]->attestation < 0 ||
            wire[i]->attestation > KEK__PROVIDER__ATTESTATION__REQUIRED) {
            return false;
        }
    }
    versions->count = count;
    for (size_t i = 0; i < count; i++) {
        struct kek_version *version = &versions->items[i];
        version->number = wire[i]->number;
        memset(version->id.bytes, 0, KEK_ID_LEN);
        if (wire[i]->kek_id.len > 0) {
            memcpy(version->id.bytes, wire[i]->kek_id.data, wire[i]->kek_id.len);
        }
        version->id_pad = (uint8_t)(KEK_ID_LEN - wire[i]->kek_id.len);
        version->alg = (enum kek_wrap_alg)wire[i]->alg;
        version->can_wrap = wire[i]->can_wrap;
        version->can_unwrap = wire[i]->can_unwrap;
        version->compromised = wire[i]->compromised;
        version->eligible = wire[i]->eligible;
        version->destroy_s = wire[i]->destroy_s;
        version->attestation = (enum kek_attestation)wire[i]->attestation;
        kek_text_copy(version->label, sizeof version->label, wire[i]->label);
        kek_text_copy(version->refusal, sizeof version->refusal, wire[i]->refusal);
        version->refused_for = wire[i]->refused_for == KEK__PROVIDER__REFUSAL__STRATEGY
                                   ? KEK_REFUSAL_STRATEGY
                                   : KEK_REFUSAL_KEY;
    }
    return true;
}

bool kek_message_probed(const Kek__Provider__Probed *message, struct kek_provider_probed *probed)
{
    const Kek__Provider__Keeping *keeping = message->keeping;
    if (message->n_trials > KEK_PROVIDER_TRIALS_MAX || keeping == NULL ||
        (int)keeping->outcome < 0 || keeping->outcome > KEK__PROVIDER__KEEP__HANDED_OUT) {
        return false;
    }
    probed->keeping.outcome = (enum kek_keeping)keeping->outcome;
    probed->keeping.native = keeping->native;
    kek_text_copy(probed->keeping.text, sizeof probed->keeping.text, keeping->text);
    for (size_t i = 0; i < message->n_trials; i++) {
        const Kek__Provider__Trial *wire = message->trials[i];
        struct kek_provider_trial *trial = &probed->trials[i];
        if (!kek_message_is_alg(wire->alg) || (int)wire->verdict < 0 ||
            wire->verdict > KEK__PROVIDER__VERDICT__REFUSED ||
            (wire->strategy != KEK__PROVIDER__STRATEGY__WRAP_KEY &&
             wire->strategy != KEK__PROVIDER__STRATEGY__ENCRYPT)) {
            return false;
        }
        *trial = (struct kek_provider_trial){
            .encrypts = wire->strategy == KEK__PROVIDER__STRATEGY__ENCRYPT,
            .type = wire->type,
            .alg = (enum kek_wrap_alg)wire->alg,
            .advertised = wire->advertised,
            .verdict = (enum kek_verdict)wire->verdict,
            .native = wire->native,
            .chosen = wire->chosen,
        };
        kek_text_copy(trial->mechanism, sizeof trial->mechanism, wire->mechanism);
        kek_text_copy(trial->text, sizeof trial->text, wire->text);
        kek_text_copy(trial->key, sizeof trial->key, wire->key);
    }
    probed->trial_count = message->n_trials;
    return true;
}

static void take_attempt(const Kek__Provider__Attempt *wire, struct kek_provider_attempt *attempt)
{
    if (wire != NULL) {
        attempt->made = wire->made;
        attempt->done = wire->done;
        attempt->native = wire->native;
        kek_text_copy(attempt->text, sizeof attempt->text, wire->text);
    }
}

void kek_message_tried(const Kek__Provider__Tried *message, struct kek_provider_tried *tried)
{
    *tried = (struct kek_provider_tried){
        .shown = message->shown,
        .flag_wrap = message->flag_wrap,
        .flag_unwrap = message->flag_unwrap,
        .compromised = message->compromised,
        .reopened = message->reopened,
    };
    take_attempt(message->wrap, &tried->wrap);
    take_attempt(message->unwrap, &tried->unwrap);
    take_attempt(message->copy, &tried->copy);
    kek_text_copy(tried->lost, sizeof tried->lost, message->lost);
}

/* A number that is not known says nothing. */
static enum kek_reason reason_of(const Kek__Provider__Failed *failed)
{
    if (failed->step == KEK__PROVIDER__STEP__PIN_FILE) {
        return KEK_REASON_PIN_FILE;
    }
    return (unsigned)failed->reason < KEK_REASONS_OF_WORKERS ? (enum kek_reason)failed->reason
                                                             : KEK_REASON_NONE;
}

void kek_message_failed(const struct kek_backend *backend, const Kek__Provider__Failed *failed,
                        struct kek_why *why)
{
    char text[KEK_WHY_TEXT];
    kek_text_copy(text, sizeof text, failed->text);
    kek_fail(why, kek_wire_rc((int)failed->cause), "%s: %s", backend->config->name,
             text[0] == '\0' ? "failed without a word" : text);
    (void)kek_fail_reason(why, reason_of(failed));
    if (failed->native != 0) {
        why->native = failed->native_is_errno  ? KEK_NATIVE_ERRNO
                      : failed->native_is_http ? KEK_NATIVE_HTTP
                                               : KEK_NATIVE_PKCS11;
        why->code = (unsigned long)failed->native;
    }
}
