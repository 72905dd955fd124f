/* The table of methods, and where each begins. */
#include "kms/call.h"

#include <string.h>

static void begin(struct kek_kms *kms, struct kek_rpc *rpc, enum kek_kms_method method,
                  struct kek_bytes message)
{
    static _Alignas(16) uint8_t unpacked[ARENA_BYTES]; /* free when this returns */
    struct kek_arena arena = {.bytes = unpacked, .size = sizeof unpacked};
    KEK_UNFILLED struct kek_why why;
    struct request request;
    struct call *call = call_new(kms, rpc, method);
    if (call == NULL) {
        return;
    }
    enum kek_rc rc = message_read(method, message, &arena, &request, &why);
    if (rc != KEK_OK) {
        kek_arena_wipe(&arena);
        call_fail(call, rc, &why);
        return;
    }
    memcpy(call->uid, request.uid, strnlen(request.uid, sizeof call->uid - 1));
    switch (method) {
    case KEK_KMS_V2_STATUS:
        call_status(call);
        break;
    case KEK_KMS_V2_ENCRYPT:
    case KEK_KMS_V1_ENCRYPT:
        call_encrypt(call, request.payload);
        break;
    case KEK_KMS_V2_DECRYPT:
    case KEK_KMS_V1_DECRYPT:
        call_decrypt(call, request.payload, request.key_id);
        break;
    case KEK_KMS_V1_VERSION:
    case KEK_KMS_METHODS:
        call_version(call);
        break;
    }
    kek_arena_wipe(&arena);
}

static void start_status(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V2_STATUS, message);
}

static void start_v2_encrypt(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V2_ENCRYPT, message);
}

static void start_v2_decrypt(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V2_DECRYPT, message);
}

static void start_version(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V1_VERSION, message);
}

static void start_v1_encrypt(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V1_ENCRYPT, message);
}

static void start_v1_decrypt(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V1_DECRYPT, message);
}

const struct kek_rpc_method *kek_kms_methods(size_t *count)
{
    static const struct kek_rpc_method methods[] = {
        {"/v2.KeyManagementService/Status", start_status},
        {"/v2.KeyManagementService/Encrypt", start_v2_encrypt},
        {"/v2.KeyManagementService/Decrypt", start_v2_decrypt},
        {"/v1beta1.KeyManagementService/Version", start_version},
        {"/v1beta1.KeyManagementService/Encrypt", start_v1_encrypt},
        {"/v1beta1.KeyManagementService/Decrypt", start_v1_decrypt},
    };
    *count = sizeof methods / sizeof methods[0];
    return methods;
}

bool kek_kms_allowed(void *service, const struct kek_rpc_peer *peer)
{
    const struct kek_kms *kms = service;
    const struct kek_config *config = kms->settings.config;
    for (size_t i = 0; i < config->allow_uid_count; i++) {
        if (config->allow_uids[i] == peer->uid) {
            return true;
        }
    }
    return false;
}

struct kek_kms *kek_kms_new(const struct kek_kms_settings *settings, struct kek_why *why)
{
    struct kek_kms *kms = calloc(1, sizeof *kms);
    if (kms == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the service");
        return NULL;
    }
    kms->settings = *settings;
    return kms;
}

void kek_kms_free(struct kek_kms *kms)
{
    free(kms);
}
