#include "serve.h"

#include <stdio.h>
#include <stdlib.h>
#include <string.h>

/* A 16 KiB packet of the densest submessages unpacks to less than this. */
#define MEMORY_MAX (1024u * 1024)
/* 64 versions with the longest label and this much of a refusal fit in one message. */
#define REFUSAL_SHORT 80

/* What stands before every block that protobuf-c asks for, so that free knows what to wipe. */
union block {
    size_t len;
    max_align_t align;
};

static void *memory_alloc(void *data, size_t size)
{
    struct kek_serve_memory *memory = data;
    size_t whole;
    if (__builtin_add_overflow(size, sizeof(union block), &whole) || whole > memory->left) {
        return NULL;
    }
    union block *block = malloc(whole);
    if (block == NULL) {
        return NULL;
    }
    memory->left -= whole;
    block->len = whole;
    return block + 1;
}

static void memory_free(void *data, void *pointer)
{
    struct kek_serve_memory *memory = data;
    if (pointer != NULL) {
        union block *block = (union block *)pointer - 1;
        size_t whole = block->len;
        kek_wipe(block, whole);
        free(block);
        memory->left += whole;
    }
}

static ProtobufCAllocator allocator_of(struct kek_serve_memory *memory)
{
    return (ProtobufCAllocator){
        .alloc = memory_alloc, .free = memory_free, .allocator_data = memory};
}

Kek__Provider__Request *kek_serve_message_read(struct kek_bytes packet,
                                               struct kek_serve_memory *memory)
{
    memory->left = MEMORY_MAX;
    ProtobufCAllocator allocator = allocator_of(memory);
    return kek__provider__request__unpack(&allocator, packet.len, packet.data);
}

void kek_serve_message_free(Kek__Provider__Request *request, struct kek_serve_memory *memory)
{
    ProtobufCAllocator allocator = allocator_of(memory);
    kek__provider__request__free_unpacked(request, &allocator);
}

bool kek_serve_message_reply(struct kek_buf *reply, const Kek__Provider__Reply *message)
{
    size_t len = kek__provider__reply__get_packed_size(message);
    uint8_t *at = kek_buf_reserve(reply, len, NULL);
    if (at == NULL) {
        return false;
    }
    reply->len += kek__provider__reply__pack(message, at);
    return true;
}

bool kek_serve_message_failed(struct kek_buf *reply, uint64_t id,
                              const struct kek_provider_failure *failure)
{
    Kek__Provider__Failed failed = KEK__PROVIDER__FAILED__INIT;
    failed.step = (Kek__Provider__Step)failure->step;
    failed.cause = (Kek__Provider__Cause)failure->cause;
    failed.native = failure->why.code;
    failed.native_is_errno = failure->why.native == KEK_NATIVE_ERRNO;
    failed.native_is_http = failure->why.native == KEK_NATIVE_HTTP;
    failed.reason = failure->why.reason < KEK_REASONS_OF_WORKERS
                        ? (Kek__Provider__Reason)failure->why.reason
                        : KEK__PROVIDER__REASON__UNTOLD_REASON;
    failed.text = (char *)failure->why.text;
    char *alike[KEK_PROVIDER_ALIKE_MAX];
    if (failure->why.reason == KEK_REASON_TOKENS_ALIKE) {
        failed.alike = alike;
        while (failed.n_alike < KEK_PROVIDER_ALIKE_MAX &&
               failure->alike[failed.n_alike][0] != '\0') {
            alike[failed.n_alike] = (char *)failure->alike[failed.n_alike];
            failed.n_alike++;
        }
    }
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_FAILED;
    message.failed = &failed;
    return kek_serve_message_reply(reply, &message);
}

static void version_message(const struct kek_version *version, Kek__Provider__Version *message)
{
    kek__provider__version__init(message);
    message->number = version->number;
    message->kek_id.data = (uint8_t *)version->id.bytes;
    message->kek_id.len = sizeof version->id.bytes - version->id_pad;
    message->alg = (Kek__Provider__WrapAlg)version->alg;
    message->can_wrap = version->can_wrap;
    message->can_unwrap = version->can_unwrap;
    message->compromised = version->compromised;
    message->eligible = version->eligible;
    message->destroy_s = version->destroy_s;
    message->attestation = (Kek__Provider__Attestation)version->attestation;
    message->label = (char *)version->label;
    message->refusal = (char *)version->refusal;
    message->refused_for = (Kek__Provider__Refusal)version->refused_for;
}

static size_t other_names(const struct kek_provider_versions *versions,
                          char *names[static KEK_PROVIDER_OTHERS_MAX])
{
    size_t count = 0;
    while (count < KEK_PROVIDER_OTHERS_MAX && versions->others[count][0] != '\0') {
        names[count] = (char *)(uintptr_t)versions->others[count];
        count++;
    }
    return count;
}

bool kek_serve_message_versions(struct kek_buf *reply, uint64_t id, bool ready,
                                const struct kek_provider_versions *versions, enum kek_wrap_alg alg)
{
    Kek__Provider__Version items[KEK_PROVIDER_VERSIONS_MAX];
    Kek__Provider__Version *pointers[KEK_PROVIDER_VERSIONS_MAX];
    char refusals[KEK_PROVIDER_VERSIONS_MAX][REFUSAL_SHORT + 1];
    char *others[KEK_PROVIDER_OTHERS_MAX];
    for (size_t i = 0; i < versions->count; i++) {
        version_message(&versions->items[i], &items[i]);
        pointers[i] = &items[i];
    }
    Kek__Provider__Ready ready_message = KEK__PROVIDER__READY__INIT;
    Kek__Provider__Listed listed = KEK__PROVIDER__LISTED__INIT;
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    if (ready) {
        ready_message.n_versions = versions->count;
        ready_message.versions = pointers;
        ready_message.alg = (Kek__Provider__WrapAlg)alg;
        ready_message.n_others = other_names(versions, others);
        ready_message.others = others;
        ready_message.more_others = versions->more_others;
        message.result_case = KEK__PROVIDER__REPLY__RESULT_READY;
        message.ready = &ready_message;
    } else {
        listed.n_versions = versions->count;
        listed.versions = pointers;
        message.result_case = KEK__PROVIDER__REPLY__RESULT_LISTED;
        message.listed = &listed;
    }
    if (kek__provider__reply__get_packed_size(&message) > reply->max) {
        for (size_t i = 0; i < versions->count; i++) {
            snprintf(refusals[i], sizeof refusals[i], "%.*s", REFUSAL_SHORT,
                     versions->items[i].refusal);
            items[i].refusal = refusals[i];
        }
    }
    return kek_serve_message_reply(reply, &message);
}

bool kek_serve_message_probed(struct kek_buf *reply, uint64_t id,
                              const struct kek_provider_probed *probed)
{
    Kek__Provider__Trial items[KEK_PROVIDER_TRIALS_MAX];
    Kek__Provider__Trial *pointers[KEK_PROVIDER_TRIALS_MAX];
    for (size_t i = 0; i < probed->trial_count; i++) {
        const struct kek_provider_trial *trial = &probed->trials[i];
        kek__provider__trial__init(&items[i]);
        items[i].strategy =
            trial->encrypts ? KEK__PROVIDER__STRATEGY__ENCRYPT : KEK__PROVIDER__STRATEGY__WRAP_KEY;
        items[i].mechanism = (char *)trial->mechanism;
        items[i].type = trial->type;
        items[i].alg = (Kek__Provider__WrapAlg)trial->alg;
        items[i].advertised = trial->advertised;
        items[i].verdict = (Kek__Provider__Verdict)trial->verdict;
        items[i].native = trial->native;
        items[i].text = (char *)trial->text;
        items[i].key = (char *)trial->key;
        items[i].chosen = trial->chosen;
        pointers[i] = &items[i];
    }
    Kek__Provider__Probed result = KEK__PROVIDER__PROBED__INIT;
    result.n_trials = probed->trial_count;
    result.trials = pointers;
    Kek__Provider__Keeping keeping = KEK__PROVIDER__KEEPING__INIT;
    keeping.outcome = (Kek__Provider__Keep)probed->keeping.outcome;
    keeping.native = probed->keeping.native;
    keeping.text = (char *)probed->keeping.text;
    result.keeping = &keeping;
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_PROBED;
    message.probed = &result;
    return kek_serve_message_reply(reply, &message);
}

static void attempt_message(const struct kek_provider_attempt *attempt,
                            Kek__Provider__Attempt *message)
{
    kek__provider__attempt__init(message);
    message->made = attempt->made;
    message->done = attempt->done;
    message->native = attempt->native;
    message->text = (char *)attempt->text;
}

bool kek_serve_message_tried(struct kek_buf *reply, uint64_t id,
                             const struct kek_provider_tried *tried)
{
    Kek__Provider__Tried result = KEK__PROVIDER__TRIED__INIT;
    Kek__Provider__Attempt wrap, unwrap, copy;
    attempt_message(&tried->wrap, &wrap);
    attempt_message(&tried->unwrap, &unwrap);
    attempt_message(&tried->copy, &copy);
    result.shown = tried->shown;
    result.flag_wrap = tried->flag_wrap;
    result.flag_unwrap = tried->flag_unwrap;
    result.compromised = tried->compromised;
    result.wrap = &wrap;
    result.unwrap = &unwrap;
    result.copy = &copy;
    result.lost = (char *)tried->lost;
    result.reopened = tried->reopened;
    Kek__Provider__Reply message = KEK__PROVIDER__REPLY__INIT;
    message.id = id;
    message.result_case = KEK__PROVIDER__REPLY__RESULT_TRIED;
    message.tried = &result;
    return kek_serve_message_reply(reply, &message);
}

bool kek_serve_refuse_with(struct kek_buf *reply, uint64_t id, Kek__Provider__Cause cause,
                           const char *text)
{
    struct kek_provider_failure failure = {.step = KEK__PROVIDER__STEP__PROTOCOL, .cause = cause};
    kek_fail(&failure.why, KEK_INVALID, "%s", text);
    return kek_serve_message_failed(reply, id, &failure);
}

bool kek_serve_refuse(struct kek_buf *reply, const char *text)
{
    return kek_serve_refuse_with(reply, 0, KEK__PROVIDER__CAUSE__BAD_REQUEST, text);
}

bool kek_serve_take_id(ProtobufCBinaryData bytes, struct kek_id *id)
{
    if (bytes.len != sizeof id->bytes) {
        return false;
    }
    memcpy(id->bytes, bytes.data, sizeof id->bytes);
    return true;
}
