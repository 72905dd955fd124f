/* kekctl kms decrypt: standard input is the ciphertext, standard output the plaintext. */
#include "kms.h"

#include <string.h>

#include "kek/keyring.h"
#include "kekctl/output.h"
#include "kms_v1beta1.pb-c.h"
#include "kms_v2.pb-c.h"

static enum ctl_exit print(struct kms *kms, ProtobufCBinaryData plaintext)
{
    struct kek_bytes bytes = kek_bytes(plaintext.data, plaintext.len);
    return kms->ctl->json ? kms_print_base64(kms, "plaintext", bytes)
                          : output_bytes(kms->ctl, bytes);
}

/* The key_id that Status announces; NULL after saying why. */
static V2__StatusResponse *ask_key_id(struct kms *kms)
{
    V2__StatusRequest request = V2__STATUS_REQUEST__INIT;
    return (V2__StatusResponse *)kms_call(kms, "/v2.KeyManagementService/Status", &request.base,
                                          &v2__status_response__descriptor);
}

/* What the API server keeps beside the ciphertext follows from its kek ids and the context, which only the
 * configuration says. False: it is not known, or this is no envelope of ours. */
static bool own_key_id(const struct kms *kms, ProtobufCBinaryData ciphertext,
                       char key_id[static KEK_KEY_ID_TEXT])
{
    struct kek_envelope envelope;
    struct kek_id kek_ids[KEK_ENVELOPE_ENTRIES_MAX];
    if (kms->config == NULL ||
        kek_envelope_parse(kek_bytes(ciphertext.data, ciphertext.len), &envelope, NULL) != KEK_OK) {
        return false;
    }
    for (size_t i = 0; i < envelope.count; i++) {
        kek_ids[i] = envelope.entries[i].kek_id;
    }
    return kek_key_id(kek_bytes_of(kms->config->context), envelope.mode, kek_ids, envelope.count,
                      key_id, NULL) == KEK_OK;
}

static enum ctl_exit decrypt_with(struct kms *kms, ProtobufCBinaryData ciphertext,
                                  const char *key_id)
{
    char uid[KMS_UID_TEXT];
    if (!kms_uid(kms, uid)) {
        return kms->code;
    }
    V2__DecryptRequest request = V2__DECRYPT_REQUEST__INIT;
    request.ciphertext = ciphertext;
    request.uid = uid;
    request.key_id = (char *)(uintptr_t)key_id;
    V2__DecryptResponse *answer = (V2__DecryptResponse *)kms_call(
        kms, "/v2.KeyManagementService/Decrypt", &request.base, &v2__decrypt_response__descriptor);
    if (answer == NULL) {
        return kms->code;
    }
    enum ctl_exit code = print(kms, answer->plaintext);
    kms_answer_free(answer);
    return code;
}

static enum ctl_exit decrypt_v2(struct kms *kms, ProtobufCBinaryData ciphertext)
{
    char own[KEK_KEY_ID_TEXT];
    if (kms->ctl->key_id != NULL) {
        return decrypt_with(kms, ciphertext, kms->ctl->key_id);
    }
    if (own_key_id(kms, ciphertext, own)) {
        return decrypt_with(kms, ciphertext, own);
    }
    V2__StatusResponse *status = ask_key_id(kms);
    if (status == NULL) {
        return kms->code;
    }
    enum ctl_exit code = decrypt_with(kms, ciphertext, status->key_id);
    kms_answer_free(status);
    return code;
}

static enum ctl_exit decrypt_v1(struct kms *kms, ProtobufCBinaryData ciphertext)
{
    V1beta1__DecryptRequest request = V1BETA1__DECRYPT_REQUEST__INIT;
    request.version = (char *)(uintptr_t) "v1beta1";
    request.cipher = ciphertext;
    V1beta1__DecryptResponse *answer =
        (V1beta1__DecryptResponse *)kms_call(kms, "/v1beta1.KeyManagementService/Decrypt",
                                             &request.base, &v1beta1__decrypt_response__descriptor);
    if (answer == NULL) {
        return kms->code;
    }
    enum ctl_exit code = print(kms, answer->plain);
    kms_answer_free(answer);
    return code;
}

enum ctl_exit ctl_kms_decrypt(struct ctl *ctl)
{
    return kms_with_input(ctl, ctl->api == CTL_API_V1 ? decrypt_v1 : decrypt_v2);
}
