/* kekctl kms encrypt: standard input is the plaintext, standard output the ciphertext. */
#include <stdio.h>

#include <openssl/evp.h>

#include "kms.h"
#include "kekctl/output.h"
#include "kms_v1beta1.pb-c.h"
#include "kms_v2.pb-c.h"

/* A ciphertext is no secret. */
static enum ctl_exit print(struct kms *kms, struct kek_bytes ciphertext, const char *key_id)
{
    if (!kms->ctl->json) {
        enum ctl_exit code = output_bytes(kms->ctl, ciphertext);
        if (code == CTL_GOOD && key_id != NULL) {
            fprintf(stderr, "key_id: %s\n", key_id);
        }
        return code;
    }
    KEK_AUTO_FREE char *base64 = malloc(4 * (ciphertext.len / 3 + 1) + 1);
    if (base64 == NULL) {
        return kms_no_memory(kms);
    }
    EVP_EncodeBlock((unsigned char *)base64, ciphertext.data, (int)ciphertext.len);
    json_t *object = json_pack("{s:s}", "ciphertext", base64);
    if (object == NULL ||
        (key_id != NULL && json_object_set_new(object, "key_id", output_text(key_id)) != 0)) {
        json_decref(object);
        return kms_no_memory(kms);
    }
    enum ctl_exit code = output_object(kms->ctl, object, NULL, 0);
    json_decref(object);
    return code;
}

static enum ctl_exit encrypt_v2(struct kms *kms, ProtobufCBinaryData plaintext)
{
    char uid[KMS_UID_TEXT];
    if (!kms_uid(kms, uid)) {
        return kms->code;
    }
    V2__EncryptRequest request = V2__ENCRYPT_REQUEST__INIT;
    request.plaintext = plaintext;
    request.uid = uid;
    V2__EncryptResponse *answer = (V2__EncryptResponse *)kms_call(
        kms, "/v2.KeyManagementService/Encrypt", &request.base, &v2__encrypt_response__descriptor);
    if (answer == NULL) {
        return kms->code;
    }
    enum ctl_exit code =
        print(kms, kek_bytes(answer->ciphertext.data, answer->ciphertext.len), answer->key_id);
    kms_answer_free(answer);
    return code;
}

static enum ctl_exit encrypt_v1(struct kms *kms, ProtobufCBinaryData plaintext)
{
    V1beta1__EncryptRequest request = V1BETA1__ENCRYPT_REQUEST__INIT;
    request.version = (char *)(uintptr_t) "v1beta1";
    request.plain = plaintext;
    V1beta1__EncryptResponse *answer =
        (V1beta1__EncryptResponse *)kms_call(kms, "/v1beta1.KeyManagementService/Encrypt",
                                             &request.base, &v1beta1__encrypt_response__descriptor);
    if (answer == NULL) {
        return kms->code;
    }
    enum ctl_exit code = print(kms, kek_bytes(answer->cipher.data, answer->cipher.len), NULL);
    kms_answer_free(answer);
    return code;
}

enum ctl_exit ctl_kms_encrypt(struct ctl *ctl)
{
    return kms_with_input(ctl, ctl->api == CTL_API_V1 ? encrypt_v1 : encrypt_v2);
}
