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

static const ProtobufCMessageDescriptor *const requests[KEK_KMS_METHODS] = {
    [KEK_KMS_V2_STATUS] = &v2__status_request__descriptor,
    [KEK_KMS_V2_ENCRYPT] = &v2__encrypt_request__descriptor,
    [KEK_KMS_V2_DECRYPT] = &v2__decrypt_request__descriptor,
    [KEK_KMS_V1_VERSION] = &v1beta1__version_request__descriptor,
    [KEK_KMS_V1_ENCRYPT] = &v1beta1__encrypt_request__descriptor,
    [KEK_KMS_V1_DECRYPT] = &v1beta1__decrypt_request__descriptor,
};

enum kek_rc message_read(enum kek_kms_method method, struct kek_bytes message,
                         struct kek_arena *arena, struct request *request, struct kek_why *why)
{
    enum { KEY_ID = 3 };
    ProtobufCAllocator allocator = {
        .alloc = kek_arena_take, .free = kek_arena_give, .allocator_data = arena};
    const void *read =
        protobuf_c_message_unpack(requests[method], &allocator, message.len, message.data);
    if (read == NULL) {
        return kek_fail(why, KEK_INVALID, "the request is not this method's message");
    }
    if (!strings_are_utf8(requests[method], message)) {
        return kek_fail(why, KEK_INVALID,
                        "a string of the request is not UTF-8, or a field is none of protobuf's");
    }
    *request = (struct request){.uid = ""};
    switch (method) {
    case KEK_KMS_V2_ENCRYPT:
        request->payload = bytes_of(((const V2__EncryptRequest *)read)->plaintext);
        request->uid = ((const V2__EncryptRequest *)read)->uid;
        break;
    case KEK_KMS_V2_DECRYPT:
        request->payload = bytes_of(((const V2__DecryptRequest *)read)->ciphertext);
        request->uid = ((const V2__DecryptRequest *)read)->uid;
        request->key_id = string_as_sent(message, KEY_ID);
        break;
    case KEK_KMS_V1_ENCRYPT:
        request->payload = bytes_of(((const V1beta1__EncryptRequest *)read)->plain);
        break;
    case KEK_KMS_V1_DECRYPT:
        request->payload = bytes_of(((const V1beta1__DecryptRequest *)read)->cipher);
        break;
    case KEK_KMS_V2_STATUS:
    case KEK_KMS_V1_VERSION:
    case KEK_KMS_METHODS:
        break;
    }
    return KEK_OK;
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
