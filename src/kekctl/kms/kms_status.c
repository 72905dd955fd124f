/* kekctl kms status: what the API server is told about the plugin. */
#include <string.h>

#include "kek/keyring.h"
#include "kms.h"
#include "kekctl/output.h"
#include "kms_v1beta1.pb-c.h"
#include "kms_v2.pb-c.h"

static enum ctl_exit print(struct kms *kms, json_t *object, const struct column *columns,
                           size_t count, const char *complaint)
{
    if (object == NULL) {
        return kms_no_memory(kms);
    }
    enum ctl_exit code = output_object(kms->ctl, object, columns, count);
    json_decref(object);
    if (code == CTL_GOOD && complaint != NULL) {
        ctl_say(kms->ctl, "%s", complaint);
        return CTL_CHECK;
    }
    return code;
}

/* What of it the API server refuses (KMS contract, section 2); NULL: nothing. */
static const char *complaint_v2(const V2__StatusResponse *status)
{
    if (strcmp(status->healthz, "ok") != 0) {
        return "healthz is not ok: the API server takes the plugin for unhealthy";
    }
    if (strcmp(status->version, "v2") != 0) {
        return "the version is not v2: the API server takes the plugin for unhealthy";
    }
    if (status->key_id[0] == '\0') {
        return "the key_id is empty: the API server refuses it";
    }
    return NULL;
}

static enum ctl_exit status_v2(struct kms *kms)
{
    static const struct column columns[] = {{"version", "version"},
                                            {"healthz", "healthz"},
                                            {"key_id", "key_id"},
                                            {"key_id_hash", "key_id_hash"}};
    char hash[KEK_KEY_ID_HASH_TEXT];
    V2__StatusRequest request = V2__STATUS_REQUEST__INIT;
    V2__StatusResponse *status = (V2__StatusResponse *)kms_call(
        kms, "/v2.KeyManagementService/Status", &request.base, &v2__status_response__descriptor);
    if (status == NULL) {
        return kms->code;
    }
    kek_key_id_hash(status->key_id, hash);
    json_t *object = json_pack("{s:o, s:o, s:o, s:s}", "version", output_text(status->version),
                               "healthz", output_text(status->healthz), "key_id",
                               output_text(status->key_id), "key_id_hash", hash);
    enum ctl_exit code = print(kms, object, columns, 4, complaint_v2(status));
    kms_answer_free(status);
    return code;
}

static enum ctl_exit status_v1(struct kms *kms)
{
    static const struct column columns[] = {{"version", "version"},
                                            {"runtime_name", "runtime_name"},
                                            {"runtime_version", "runtime_version"}};
    V1beta1__VersionRequest request = V1BETA1__VERSION_REQUEST__INIT;
    request.version = (char *)(uintptr_t) "v1beta1";
    V1beta1__VersionResponse *version =
        (V1beta1__VersionResponse *)kms_call(kms, "/v1beta1.KeyManagementService/Version",
                                             &request.base, &v1beta1__version_response__descriptor);
    if (version == NULL) {
        return kms->code;
    }
    json_t *object = json_pack("{s:o, s:o, s:o}", "version", output_text(version->version),
                               "runtime_name", output_text(version->runtime_name),
                               "runtime_version", output_text(version->runtime_version));
    const char *complaint = strcmp(version->version, "v1beta1") == 0
                                ? NULL
                                : "the version is not v1beta1: the API server refuses the plugin";
    enum ctl_exit code = print(kms, object, columns, 3, complaint);
    kms_answer_free(version);
    return code;
}

enum ctl_exit ctl_kms_status(struct ctl *ctl)
{
    KMS_AUTO struct kms kms;
    if (!kms_open(&kms, ctl) || !kms_connect(&kms)) {
        return kms.code;
    }
    return ctl->api == CTL_API_V1 ? status_v1(&kms) : status_v2(&kms);
}
