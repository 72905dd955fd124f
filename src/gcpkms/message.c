#include "message.h"

#include <stdio.h>
#include <string.h>

#include "crc32c.h"
#include "fields.h"
#include "kek/text.h"

bool kek_gcp_protects(enum kek_gcp_protection least, const char *level)
{
    if (level == NULL) {
        return false;
    }
    bool single = strcmp(level, "HSM_SINGLE_TENANT") == 0;
    bool hsm = strcmp(level, "HSM") == 0;
    bool lower = strcmp(level, "SOFTWARE") == 0 || strcmp(level, "EXTERNAL") == 0 ||
                 strcmp(level, "EXTERNAL_VPC") == 0;
    return single || (hsm && least <= KEK_GCP_HSM) || (lower && least == KEK_GCP_ANY);
}

void kek_gcp_aad(const struct kek_id *kek_id, char aad[static KEK_GCP_AAD_TEXT])
{
    char id[KEK_ID_TEXT];
    kek_id_format(kek_id, id);
    snprintf(aad, KEK_GCP_AAD_TEXT, "kekd/gcpkms/1/data-key/%s", id);
}

/* ---- requests ---- */

static bool add(struct kek_buf *body, const char *text)
{
    return kek_buf_append(body, kek_bytes_of(text), NULL) == KEK_OK;
}

/* "name":"base64","nameCrc32c":"number" */
static bool add_field(struct kek_buf *body, const char *name, struct kek_bytes bytes)
{
    char sum[96];
    size_t size = KEK_BASE64(bytes.len);
    snprintf(sum, sizeof sum, "\",\"%sCrc32c\":\"%u\"", name, kek_gcp_crc32c(bytes));
    if (!add(body, "\"") || !add(body, name) || !add(body, "\":\"")) {
        return false;
    }
    uint8_t *at = kek_buf_reserve(body, size, NULL);
    if (at == NULL) {
        return false;
    }
    kek_base64(bytes, (char *)at);
    body->len += size - 1;
    return add(body, sum);
}

static bool make(struct kek_buf *body, const char *name, struct kek_bytes bytes,
                 struct kek_bytes aad)
{
    return add(body, "{") && add_field(body, name, bytes) && add(body, ",") &&
           add_field(body, "additionalAuthenticatedData", aad) && add(body, "}");
}

bool kek_gcp_message_encrypt(struct kek_buf *body, struct kek_bytes plaintext, struct kek_bytes aad)
{
    return make(body, "plaintext", plaintext, aad);
}

struct kek_bytes kek_gcp_message_secret(const struct kek_buf *body)
{
    size_t begin = sizeof "{\"plaintext\":\"" - 1;
    const uint8_t *end = memchr(body->data + begin, '"', body->len - begin);
    return kek_bytes(body->data + begin, end == NULL ? 0 : (size_t)(end - body->data) - begin);
}

bool kek_gcp_message_decrypt(struct kek_buf *body, struct kek_bytes ciphertext,
                             struct kek_bytes aad)
{
    return make(body, "ciphertext", ciphertext, aad);
}

/* ---- answers ---- */

static bool check_level(const json_t *answer, const char *call, enum kek_gcp_protection least,
                        struct kek_gcp_fault *fault)
{
    const char *level = kek_gcp_json_text(answer, "protectionLevel");
    char shown[32];
    kek_text_copy(shown, sizeof shown, level == NULL ? "none" : level);
    return kek_gcp_protects(least, level) ||
           kek_gcp_fail(fault, KEK_GCP_POLICY, 200,
                        "%s: the answer is of protection level %s: not taken (protection)", call,
                        shown);
}

/* The answer's own field, and its checksum. `out` has `size` bytes. */
static bool take_field(const json_t *answer, const char *call, const char *name, uint8_t *out,
                       size_t size, size_t *len, struct kek_gcp_fault *fault)
{
    char crc[48];
    uint64_t sum = 0;
    const char *text = kek_gcp_json_text(answer, name);
    snprintf(crc, sizeof crc, "%sCrc32c", name);
    if (text != NULL && strlen(text) >= KEK_BASE64(size)) {
        return kek_gcp_fail(fault, KEK_GCP_REQUEST, 200, "%s: %s has more than %zu bytes", call,
                            name, size);
    }
    bool whole = text != NULL && kek_unbase64(text, out, size, len) &&
                 kek_gcp_json_number(answer, crc, UINT32_MAX, &sum) &&
                 kek_gcp_crc32c(kek_bytes(out, *len)) == sum;
    return whole || kek_gcp_fail(fault, KEK_GCP_TRANSIENT, 200,
                                 "%s: the answer was damaged on its way: %s and its CRC32C do not "
                                 "match, or one is missing",
                                 call, name);
}

static bool verified(const json_t *answer, struct kek_gcp_fault *fault)
{
    static const char *const names[] = {"verifiedPlaintextCrc32c",
                                        "verifiedAdditionalAuthenticatedDataCrc32c"};
    for (size_t i = 0; i < sizeof names / sizeof names[0]; i++) {
        if (!json_is_true(json_object_get(answer, names[i]))) {
            return kek_gcp_fail(fault, KEK_GCP_TRANSIENT, 200,
                                "encrypt: the request was damaged on its way: the answer is "
                                "without %s",
                                names[i]);
        }
    }
    return true;
}

bool kek_gcp_message_encrypted(const json_t *answer, const char *version,
                               enum kek_gcp_protection least, struct kek_provider_wrapped *wrapped,
                               struct kek_gcp_fault *fault)
{
    struct kek_provider_wrapped taken = {.alg = KEK_WRAP_GCP_KMS};
    if (!verified(answer, fault)) {
        return false;
    }
    const char *name = kek_gcp_json_text(answer, "name");
    if (name == NULL || strcmp(name, version) != 0) {
        return kek_gcp_fail(fault, KEK_GCP_POLICY, 200,
                            "encrypt: the answer is of another key version than the one asked");
    }
    if (!check_level(answer, "encrypt", least, fault) ||
        !take_field(answer, "encrypt", "ciphertext", taken.blob, sizeof taken.blob, &taken.len,
                    fault)) {
        return false;
    }
    if (!kek_wrap_alg_fits(taken.alg, taken.len)) {
        return kek_gcp_fail(fault, KEK_GCP_REQUEST, 200,
                            "encrypt: a ciphertext of %zu bytes is none of a data key", taken.len);
    }
    *wrapped = taken;
    return true;
}

bool kek_gcp_message_decrypted(const json_t *answer, enum kek_gcp_protection least,
                               struct kek_secret **data_key, struct kek_gcp_fault *fault)
{
    size_t len = 0;
    if (!check_level(answer, "decrypt", least, fault)) {
        return false;
    }
    KEK_AUTO(kek_secret) key = kek_secret_new(KEK_DATA_KEY_LEN);
    if (key == NULL) {
        return kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "the arena for keys is full");
    }
    if (!take_field(answer, "decrypt", "plaintext", kek_secret_data(key), KEK_DATA_KEY_LEN, &len,
                    fault)) {
        return false;
    }
    if (len != KEK_DATA_KEY_LEN) {
        return kek_gcp_fail(fault, KEK_GCP_DATA, 200,
                            "decrypt: a plaintext of %zu bytes is no data key", len);
    }
    *data_key = KEK_STEAL(key);
    return true;
}

/* ---- errors ---- */

/* By Google's word (google.rpc.Code).  That a key is not there, not enabled, or did not make a ciphertext is believed
 * by that word alone: a status may be a proxy's. */
static enum kek_gcp_class class_of(const char *word, long status, const char *call)
{
    static const struct {
        const char *word;
        enum kek_gcp_class class;
    } words[] = {
        {"RESOURCE_EXHAUSTED", KEK_GCP_TRANSIENT},
        {"UNAVAILABLE", KEK_GCP_TRANSIENT},
        {"INTERNAL", KEK_GCP_TRANSIENT},
        {"DEADLINE_EXCEEDED", KEK_GCP_TRANSIENT},
        {"ABORTED", KEK_GCP_TRANSIENT},
        {"CANCELLED", KEK_GCP_TRANSIENT},
        {"UNKNOWN", KEK_GCP_TRANSIENT},
        {"UNAUTHENTICATED", KEK_GCP_AUTH},
        {"PERMISSION_DENIED", KEK_GCP_AUTHZ},
        {"FAILED_PRECONDITION", KEK_GCP_STATE},
        {"NOT_FOUND", KEK_GCP_NOT_FOUND},
    };
    for (size_t i = 0; word != NULL && i < sizeof words / sizeof words[0]; i++) {
        if (strcmp(words[i].word, word) == 0) {
            return words[i].class;
        }
    }
    switch (status) {
    case 401:
        return KEK_GCP_AUTH;
    case 403:
        return KEK_GCP_AUTHZ;
    case 400:
        return word != NULL && strcmp(word, "INVALID_ARGUMENT") == 0 && strcmp(call, "decrypt") == 0
                   ? KEK_GCP_DATA
                   : KEK_GCP_REQUEST;
    default:
        return KEK_GCP_TRANSIENT;
    }
}

bool kek_gcp_message_error(const json_t *answer, long status, const char *call,
                           struct kek_gcp_fault *fault)
{
    const json_t *error = json_object_get(answer, "error");
    const char *word = kek_gcp_json_text(error, "status");
    char shown[40], message[280];
    kek_text_copy(shown, sizeof shown, word);
    kek_text_copy(message, sizeof message, kek_gcp_json_text(error, "message"));
    if (status >= 300 && status < 400) {
        return kek_gcp_fail(fault, KEK_GCP_TRANSIENT, status,
                            "%s: HTTP status %ld: a redirect, which is not followed: who answers "
                            "there is not Cloud KMS",
                            call, status);
    }
    return kek_gcp_fail(fault, class_of(word, status, call), status, "%s: HTTP status %ld%s%s%s%s",
                        call, status, word == NULL ? "" : " ", shown,
                        message[0] == '\0' ? "" : ": ", message);
}
