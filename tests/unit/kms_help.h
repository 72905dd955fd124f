/* KMS messages, sent to a rig and taken apart: what the tests of kms share. */
#ifndef KEK_TEST_KMS_HELP_H
#define KEK_TEST_KMS_HELP_H

#include "suite.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kms_v1beta1.pb-c.h"
#include "kms_v2.pb-c.h"
#include "rig.h"

static const struct kek_id id_1 = {{1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};
static const struct kek_id id_2
    __attribute__((unused)) = {{2, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16}};

static const char seed[] = "0123456789abcdef0123456789abcdef";

static struct rig rig;
static struct kek_rpc_peer peer;
static struct answer answer;

static inline void call(const char *path, const ProtobufCMessage *message)
{
    uint8_t bytes[70000];
    ck_assert_uint_le(protobuf_c_message_get_packed_size(message), sizeof bytes);
    size_t len = protobuf_c_message_pack(message, bytes);
    rig_call(&rig, path, kek_bytes(bytes, len), &peer, &answer);
}

struct sealed {
    size_t len;
    uint8_t bytes[1024];
    char key_id[64];
};

static inline void encrypt_v2(const char *text, size_t len, struct sealed *sealed)
{
    V2__EncryptRequest request = V2__ENCRYPT_REQUEST__INIT;
    request.plaintext = (ProtobufCBinaryData){.data = (uint8_t *)text, .len = len};
    request.uid = (char *)"uid-1";
    call("/v2.KeyManagementService/Encrypt", &request.base);
    ck_assert_msg(answer.status == KEK_RPC_OK, "%s", answer.message);
    V2__EncryptResponse *response = v2__encrypt_response__unpack(NULL, answer.len, answer.reply);
    ck_assert_ptr_nonnull(response);
    ck_assert_uint_le(response->ciphertext.len, sizeof sealed->bytes);
    memcpy(sealed->bytes, response->ciphertext.data, response->ciphertext.len);
    sealed->len = response->ciphertext.len;
    snprintf(sealed->key_id, sizeof sealed->key_id, "%s", response->key_id);
    v2__encrypt_response__free_unpacked(response, NULL);
}

static inline enum kek_rpc_status decrypt_v2(const uint8_t *bytes, size_t len, const char *key_id)
{
    V2__DecryptRequest request = V2__DECRYPT_REQUEST__INIT;
    request.ciphertext = (ProtobufCBinaryData){.data = (uint8_t *)bytes, .len = len};
    request.uid = (char *)"uid-2";
    request.key_id = (char *)key_id;
    call("/v2.KeyManagementService/Decrypt", &request.base);
    return answer.status;
}

static inline void opens(const struct sealed *sealed, const char *text)
{
    ck_assert_msg(decrypt_v2(sealed->bytes, sealed->len, sealed->key_id) == KEK_RPC_OK, "%s",
                  answer.message);
    V2__DecryptResponse *response = v2__decrypt_response__unpack(NULL, answer.len, answer.reply);
    ck_assert_ptr_nonnull(response);
    ck_assert_uint_eq(response->plaintext.len, strlen(text));
    ck_assert_mem_eq(response->plaintext.data, text, strlen(text));
    v2__decrypt_response__free_unpacked(response, NULL);
}

static inline void status_says(const char *healthz, char *key_id)
{
    rig_call(&rig, "/v2.KeyManagementService/Status", kek_bytes(NULL, 0), &peer, &answer);
    ck_assert_msg(answer.status == KEK_RPC_OK, "%s", answer.message);
    V2__StatusResponse *response = v2__status_response__unpack(NULL, answer.len, answer.reply);
    ck_assert_ptr_nonnull(response);
    ck_assert_str_eq(response->version, "v2");
    ck_assert_str_eq(response->healthz, healthz);
    snprintf(key_id, KEK_KEY_ID_TEXT, "%s", response->key_id);
    v2__status_response__free_unpacked(response, NULL);
}

static inline void start_with_one_version(const char *yaml)
{
    memset(&peer, 0, sizeof peer);
    rig_make_token(&rig);
    ck_assert_int_eq(rig_officer(&rig, KEK_POOL_GENERATE, 1, &id_1, KEK_STATE_ACTIVE), KEK_OK);
    rig_start(&rig, yaml);
    rig_until_primary(&rig, 1);
}

static inline void finish(void)
{
    rig_stop(&rig);
    rig_remove(&rig);
}

#endif
