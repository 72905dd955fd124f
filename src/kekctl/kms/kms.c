#include "kms.h"

#include <errno.h>
#include <poll.h>
#include <stdio.h>
#include <string.h>
#include <sys/random.h>
#include <unistd.h>

#include <openssl/evp.h>

#include "kek/clock.h"
#include "kek/descriptors.h"
#include "kekctl/output.h"

/* Input, request, answer and its parsed form, each at most 128 KiB in the arena. */
#define ARENA (1024u * 1024)
#define TRIES_MAX 10 /* of a call that nobody has taken, PAUSE_MS apart */
#define PAUSE_MS 20

enum ctl_exit kms_no_memory(struct kms *kms)
{
    ctl_say(kms->ctl, "no memory");
    kms->code = CTL_FAILED;
    return CTL_FAILED;
}

/* A protobuf-c allocator whose memory is kek_secret: each block begins with the pointer to it. */
static void *secret_alloc(void *arg, size_t size)
{
    (void)arg;
    struct kek_secret *secret = NULL;
    if (size <= SIZE_MAX - sizeof secret) {
        secret = kek_secret_new(size + sizeof secret);
    }
    if (secret == NULL) {
        return NULL;
    }
    memcpy(kek_secret_data(secret), &secret, sizeof secret);
    return kek_secret_data(secret) + sizeof secret;
}

static void secret_free(void *arg, void *block)
{
    (void)arg;
    if (block != NULL) {
        struct kek_secret *secret;
        memcpy(&secret, (char *)block - sizeof secret, sizeof secret);
        kek_secret_free(secret);
    }
}

static ProtobufCAllocator secret_allocator = {.alloc = secret_alloc, .free = secret_free};

void kms_answer_free(void *answer)
{
    if (answer != NULL) {
        protobuf_c_message_free_unpacked(answer, &secret_allocator);
    }
}

/* The socket, from the option or from the configuration. */
static char *find_socket(struct kms *kms)
{
    static const char scheme[] = "unix://";
    const char *given = kms->ctl->socket;
    if (given == NULL || kms->ctl->config_given) {
        kms->config = ctl_config(kms->ctl);
        if (kms->config == NULL) {
            kms->code = CTL_USAGE;
            return NULL;
        }
        given = given == NULL ? kms->config->listen : given;
    }
    bool is_url = strncmp(given, scheme, sizeof scheme - 1) == 0;
    char *path = strdup(is_url ? given + sizeof scheme - 1 : given);
    if (path == NULL) {
        ctl_say(kms->ctl, "no memory for the socket's path");
    }
    return path;
}

bool kms_open(struct kms *kms, const struct ctl *ctl)
{
    *kms = (struct kms){.ctl = ctl, .code = CTL_FAILED};
    struct kek_why why = {.rc = KEK_OK};
    bool locked;
    if (kek_secret_setup(ARENA, &locked, &why) != KEK_OK) {
        ctl_say(ctl, "%s", why.text);
        return false;
    }
    if (!locked) {
        ctl_say(ctl, "warning: memory cannot be locked here (RLIMIT_MEMLOCK), it may be swapped");
    }
    kek_secret_harden_process();
    kms->socket = find_socket(kms);
    return kms->socket != NULL;
}

bool kms_connect(struct kms *kms)
{
    struct kek_why why = {.rc = KEK_OK};
    kms->client = grpc_client_connect(kms->socket, kms->ctl->timeout_ms, &why);
    if (kms->client == NULL) {
        bool given = kms->ctl->socket != NULL;
        ctl_say(kms->ctl, "%s; %s The path is %s%s", why.text, grpc_client_advice(&why),
                given ? "that of --socket" : "`listen` of ", given ? "" : kms->config->path);
    }
    return kms->client != NULL;
}

void kms_close(struct kms *kms)
{
    grpc_client_free(kms->client);
    kms->client = NULL;
    kek_config_free(kms->config);
    kms->config = NULL;
    free(kms->socket);
    kms->socket = NULL;
}

static ProtobufCMessage *failed(struct kms *kms, const struct grpc_status *status)
{
    const char *name = kek_rpc_status_name((enum kek_rpc_status)status->code);
    ctl_say(kms->ctl, "%s: %s", name, status->message);
    kms->code = CTL_FAILED;
    return NULL;
}

/* A kekd that is restarted ends connections that it has not looked at yet: the next one, or the next kekd, takes the call. */
static bool call_taken(struct kms *kms, const char *method, struct kek_bytes message,
                       struct grpc_reply *reply, struct grpc_status *status)
{
    struct kek_why why;
    uint64_t deadline_ms = kek_clock_ms() + kms->ctl->timeout_ms;
    for (int tries = 1; !grpc_client_call(kms->client, method, message, deadline_ms, reply, status);
         tries++) {
        (void)poll(NULL, 0, PAUSE_MS);
        uint64_t now = kek_clock_ms();
        if (!grpc_client_untaken(kms->client) || now >= deadline_ms || tries == TRIES_MAX) {
            return false;
        }
        struct grpc_client *other = grpc_client_connect(kms->socket, deadline_ms - now, &why);
        if (other == NULL) {
            return false;
        }
        grpc_client_free(kms->client);
        kms->client = other;
    }
    return true;
}

ProtobufCMessage *kms_call(struct kms *kms, const char *method, const ProtobufCMessage *request,
                           const ProtobufCMessageDescriptor *answer)
{
    struct grpc_status status = {.code = KEK_RPC_INTERNAL};
    size_t len = protobuf_c_message_get_packed_size(request);
    KEK_AUTO(kek_secret) packed = kek_secret_new(len + 1);
    if (packed == NULL) {
        kms_no_memory(kms);
        return NULL;
    }
    protobuf_c_message_pack(request, kek_secret_data(packed));
    struct grpc_reply reply = {0};
    if (!call_taken(kms, method, kek_bytes(kek_secret_data(packed), len), &reply, &status)) {
        return failed(kms, &status);
    }
    ProtobufCMessage *message =
        protobuf_c_message_unpack(answer, &secret_allocator, reply.message.len, reply.message.data);
    grpc_reply_done(&reply);
    if (message == NULL) {
        status.code = KEK_RPC_INTERNAL;
        snprintf(status.message, sizeof status.message, "the answer is not a %s", answer->name);
        return failed(kms, &status);
    }
    return message;
}

/* Standard input as far as it goes; NULL after saying why. */
static struct kek_secret *read_input(struct kms *kms, size_t *len)
{
    KEK_AUTO(kek_secret) input = kek_secret_new(KMS_INPUT_MAX + 1);
    if (input == NULL) {
        kms_no_memory(kms);
        return NULL;
    }
    size_t have;
    if (!kek_descriptor_read(STDIN_FILENO, kek_secret_data(input), KMS_INPUT_MAX + 1, &have)) {
        ctl_say(kms->ctl, "cannot read standard input: %s", strerror(errno));
        kms->code = CTL_FAILED;
        return NULL;
    }
    if (have > KMS_INPUT_MAX) {
        ctl_say(kms->ctl, "standard input is larger than %u bytes", KMS_INPUT_MAX);
        kms->code = CTL_FAILED;
        return NULL;
    }
    *len = have;
    return KEK_STEAL(input);
}

enum ctl_exit kms_with_input(const struct ctl *ctl, kms_input_fn *use)
{
    KMS_AUTO struct kms kms;
    if (!kms_open(&kms, ctl)) {
        return kms.code;
    }
    size_t len;
    KEK_AUTO(kek_secret) input = read_input(&kms, &len);
    if (input == NULL || !kms_connect(&kms)) {
        return kms.code;
    }
    return use(&kms, (ProtobufCBinaryData){.data = kek_secret_data(input), .len = len});
}

bool kms_uid(struct kms *kms, char uid[static KMS_UID_TEXT])
{
    uint8_t raw[16];
    if (getentropy(raw, sizeof raw) != 0) {
        ctl_say(kms->ctl, "no random numbers: %s", strerror(errno));
        kms->code = CTL_FAILED;
        return false;
    }
    raw[6] = (uint8_t)((raw[6] & 0x0f) | 0x40); /* RFC 9562 section 5.4 */
    raw[8] = (uint8_t)((raw[8] & 0x3f) | 0x80);
    char hex[33];
    kek_hex(kek_bytes(raw, sizeof raw), hex);
    snprintf(uid, KMS_UID_TEXT, "%.8s-%.4s-%.4s-%.4s-%.12s", hex, hex + 8, hex + 12, hex + 16,
             hex + 20);
    return true;
}

enum ctl_exit kms_print_base64(struct kms *kms, const char *name, struct kek_bytes bytes)
{
    size_t size = strlen(name) + 4 * (bytes.len / 3 + 1) + 16;
    KEK_AUTO(kek_secret) line = kek_secret_new(size);
    if (line == NULL) {
        return kms_no_memory(kms);
    }
    uint8_t *out = kek_secret_data(line);
    size_t at = (size_t)snprintf((char *)out, size, "{\"%s\": \"", name);
    at += (size_t)EVP_EncodeBlock(out + at, bytes.data, (int)bytes.len);
    at += (size_t)snprintf((char *)out + at, size - at, "\"}\n");
    return output_bytes(kms->ctl, kek_bytes(out, at));
}
