/*
 * KMS messages to and from bytes, with protobuf-c.  What it unpacks goes into an arena that is wiped
 * after the call: a request carries a plaintext.
 */
#include "kms/call.h"

#include <string.h>

#include "kms_v1beta1.pb-c.h"
#include "kms_v2.pb-c.h"

#define KMS_V1_VERSION "v1beta1"
#define KMS_V2_VERSION "v2"

static struct kek_bytes bytes_of(ProtobufCBinaryData data)
{
    return kek_bytes(data.data, data.len);
}

bool message_read(enum kek_kms_method method, struct kek_bytes message, struct kek_arena *arena,
                  struct request *request)
{
    ProtobufCAllocator allocator = {
        .alloc = kek_arena_take, .free = kek_arena_give, .allocator_data = arena};
    *request = (struct request){.uid = ""};
    switch (method) {
    case KEK_KMS_V2_STATUS:
        return v2__status_request__unpack(&allocator, message.len, message.data) != NULL;
    case KEK_KMS_V2_ENCRYPT: {
        V2__EncryptRequest *read =
            v2__encrypt_request__unpack(&allocator, message.len, message.data);
        if (read == NULL) {
            return false;
        }
        request->payload = bytes_of(read->plaintext);
        request->uid = read->uid;
        return true;
    }
    case KEK_KMS_V2_DECRYPT: {
        V2__DecryptRequest *read =
            v2__decrypt_request__unpack(&allocator, message.len, message.data);
        if (read == NULL) {
            return false;
        }
        request->payload = bytes_of(read->ciphertext);
        request->uid = read->uid;
        request->key_id = bytes_of(read->key_id);
        return true;
    }
    case KEK_KMS_V1_VERSION:
        return v1beta1__version_request__unpack(&allocator, message.len, message.data) != NULL;
    case KEK_KMS_V1_ENCRYPT: {
        V1beta1__EncryptRequest *read =
            v1beta1__encrypt_request__unpack(&allocator, message.len, message.data);
        if (read == NULL) {
            return false;
        }
        request->payload = bytes_of(read->plain);
        return true;
    }
    case KEK_KMS_V1_DECRYPT: {
        V1beta1__DecryptRequest *read =
            v1beta1__decrypt_request__unpack(&allocator, message.len, message.data);
        if (read == NULL) {
            return false;
        }
        request->payload = bytes_of(read->cipher);
        return true;
    }
    case KEK_KMS_METHODS:
        break;
    }
    return false;
}

static bool pack(const ProtobufCMessage *message, struct kek_buf *out)
{
    uint8_t *at = kek_buf_reserve(out, protobuf_c_message_get_packed_size(message), NULL);
    if (at == NULL) {
        return false;
    }
    out->len += protobuf_c_message_pack(message, at);
    return true;
}

static ProtobufCBinaryData binary(struct kek_bytes bytes)
{
    return (ProtobufCBinaryData){.data = (uint8_t *)bytes.data, .len = bytes.len};
}

bool message_write_status(const char *healthz, const char *key_id, struct kek_buf *out)
{
    V2__StatusResponse message = V2__STATUS_RESPONSE__INIT;
    message.version = (char *)KMS_V2_VERSION;
    message.healthz = (char *)healthz;
    message.key_id = (char *)key_id;
    return pack(&message.base, out);
}

bool message_write_version(struct kek_buf *out)
{
    V1beta1__VersionResponse message = V1BETA1__VERSION_RESPONSE__INIT;
    message.version = (char *)KMS_V1_VERSION;
    message.runtime_name = (char *)"kekd";
    message.runtime_version = (char *)PACKAGE_VERSION;
    return pack(&message.base, out);
}

bool message_write_payload(enum kek_kms_method method, struct kek_bytes payload, const char *key_id,
                           struct kek_buf *out)
{
    if (method == KEK_KMS_V2_ENCRYPT) {
        V2__EncryptResponse message = V2__ENCRYPT_RESPONSE__INIT;
        message.ciphertext = binary(payload);
        message.key_id = (char *)key_id;
        return pack(&message.base, out);
    }
    if (method == KEK_KMS_V2_DECRYPT) {
        V2__DecryptResponse message = V2__DECRYPT_RESPONSE__INIT;
        message.plaintext = binary(payload);
        return pack(&message.base, out);
    }
    if (method == KEK_KMS_V1_ENCRYPT) {
        V1beta1__EncryptResponse message = V1BETA1__ENCRYPT_RESPONSE__INIT;
        message.cipher = binary(payload);
        return pack(&message.base, out);
    }
    V1beta1__DecryptResponse message = V1BETA1__DECRYPT_RESPONSE__INIT;
    message.plain = binary(payload);
    return pack(&message.base, out);
}
