#include "front.h"

#include <stdio.h>
#include <string.h>

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

/* protobuf-c's text fields are not const; packing only reads them. */
static char *text_or_empty(char *text)
{
    static char empty[] = "";
    return text == NULL ? empty : text;
}

size_t kek_message_hello(struct kek_backend *backend, uint64_t id)
{
    const struct kek_config_provider *config = backend->config;
    Kek__Provider__NamedVersion versions[KEK_PROVIDER_VERSIONS_MAX];
    Kek__Provider__NamedVersion *pointers[KEK_PROVIDER_VERSIONS_MAX];
    Kek__Provider__Setting settings[KEK_PROVIDER_SETTINGS_MAX];
    Kek__Provider__Setting *setting_pointers[KEK_PROVIDER_SETTINGS_MAX];
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
    Kek__Provider__Hello hello = KEK__PROVIDER__HELLO__INIT;
    hello.protocol = KEK_PROVIDER_PROTOCOL;
    hello.provider = config->name;
    hello.keyring = backend->pool->config->keyring;
    hello.sessions = backend->slots;
    hello.n_settings = config->setting_count;
    hello.settings = setting_pointers;
    hello.n_versions = config->version_count;
    hello.versions = pointers;
    hello.alg = (Kek__Provider__WrapAlg)backend->alg;
    hello.peak_sessions = backend->status.peak_sessions;
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

static ProtobufCBinaryData binary(const void *data, size_t len)
{
    /* protobuf-c has no const; packing only reads. */
    return (ProtobufCBinaryData){.len = len, .data = (uint8_t *)(uintptr_t)data};
}

size_t kek_message_call(struct kek_pool *pool, const struct kek_pool_call *call, uint64_t id,
                        bool say_memory)
{
    const struct kek_lane *lane = call->lane;
    ProtobufCBinaryData kek_id = binary(lane->kek_id.bytes, KEK_ID_LEN);
    Kek__Provider__Request request = KEK__PROVIDER__REQUEST__INIT;
    Kek__Provider__List list = KEK__PROVIDER__LIST__INIT;
    Kek__Provider__Wrap wrap = KEK__PROVIDER__WRAP__INIT;
    Kek__Provider__Unwrap unwrap = KEK__PROVIDER__UNWRAP__INIT;
    Kek__Provider__Generate generate = KEK__PROVIDER__GENERATE__INIT;
    Kek__Provider__SetState set_state = KEK__PROVIDER__SET_STATE__INIT;
    Kek__Provider__Destroy destroy = KEK__PROVIDER__DESTROY__INIT;
    Kek__Provider__Probe probe = KEK__PROVIDER__PROBE__INIT;
    Kek__Provider__Describe describe = KEK__PROVIDER__DESCRIBE__INIT;
    Kek__Provider__TryKey try_key = KEK__PROVIDER__TRY_KEY__INIT;
    request.id = id;
    request.say_memory = say_memory;
    switch (lane->op) {
    case KEK_POOL_LIST:
        request.op_case = KEK__PROVIDER__REQUEST__OP_LIST;
        request.list = &list;
        break;
    case KEK_POOL_WRAP: {
        struct kek_bytes key = kek_secret_bytes(call->data_key);
        wrap.kek_id = kek_id;
        wrap.data_key = binary(key.data, key.len);
        request.op_case = KEK__PROVIDER__REQUEST__OP_WRAP;
        request.wrap = &wrap;
        break;
    }
    case KEK_POOL_UNWRAP:
        unwrap.kek_id = kek_id;
        unwrap.alg = (Kek__Provider__WrapAlg)call->alg;
        unwrap.blob = binary(call->blob, call->blob_len);
        unwrap.handle = call->handle;
        request.op_case = KEK__PROVIDER__REQUEST__OP_UNWRAP;
        request.unwrap = &unwrap;
        break;
    case KEK_POOL_GENERATE:
        generate.number = call->number;
        generate.kek_id = kek_id;
        generate.state = (Kek__Provider__State)call->state;
        request.op_case = KEK__PROVIDER__REQUEST__OP_GENERATE;
        request.generate = &generate;
        break;
    case KEK_POOL_SET_STATE:
        set_state.kek_id = kek_id;
        set_state.state = (Kek__Provider__State)call->state;
        request.op_case = KEK__PROVIDER__REQUEST__OP_SET_STATE;
        request.set_state = &set_state;
        break;
    case KEK_POOL_DESTROY:
        destroy.kek_id = kek_id;
        request.op_case = KEK__PROVIDER__REQUEST__OP_DESTROY;
        request.destroy = &destroy;
        break;
    case KEK_POOL_PROBE:
        request.op_case = KEK__PROVIDER__REQUEST__OP_PROBE;
        request.probe = &probe;
        break;
    case KEK_POOL_DESCRIBE:
        describe.name = binary(call->blob, call->blob_len);
        describe.skip = call->number;
        request.op_case = KEK__PROVIDER__REQUEST__OP_DESCRIBE;
        request.describe = &describe;
        break;
    case KEK_POOL_TRY_KEY:
        try_key.kek_id = kek_id;
        try_key.alg = (Kek__Provider__WrapAlg)call->alg;
        try_key.blob = binary(call->blob, call->blob_len);
        try_key.copy = call->copy;
        request.op_case = KEK__PROVIDER__REQUEST__OP_TRY_KEY;
        request.try_key = &try_key;
        break;
    }
    return kek_message_pack(pool, &request);
}

/* What was proven of a key, if anything was. */
static bool is_alg(Kek__Provider__WrapAlg alg)
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
            !is_alg(wire[i]->alg)) {
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
        kek_text_copy(version->label, sizeof version->label, wire[i]->label);
        kek_text_copy(version->refusal, sizeof version->refusal, wire[i]->refusal);
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
        if (!is_alg(wire->alg) || (int)wire->verdict < 0 ||
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

void kek_message_failed(const struct kek_backend *backend, const Kek__Provider__Failed *failed,
                        struct kek_why *why)
{
    char text[KEK_WHY_TEXT];
    kek_text_copy(text, sizeof text, failed->text);
    kek_fail(why, kek_wire_rc((int)failed->cause), "%s: %s", backend->config->name,
             text[0] == '\0' ? "failed without a word" : text);
    if (failed->native != 0) {
        why->native = failed->native_is_errno ? KEK_NATIVE_ERRNO : KEK_NATIVE_PKCS11;
        why->code = (unsigned long)failed->native;
    }
}
