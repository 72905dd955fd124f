/* A data key under a version of the key, and back. */
#include "gcp.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"

static bool encrypt(struct kek_provider_session *session, const struct kek_gcp_version *version,
                    const char *aad, const struct kek_secret *data_key,
                    struct kek_provider_wrapped *wrapped, struct kek_gcp_fault *fault)
{
    char name[KEK_GCP_VERSION_MAX], path[KEK_GCP_VERSION_MAX + 16];
    KEK_AUTO_BUF struct kek_buf body;
    KEK_GCP_AUTO_JSON answer = NULL;
    kek_buf_init(&body, KEK_GCP_BODY_MAX);
    kek_gcp_version_name(session->provider->key, version->number, name);
    snprintf(path, sizeof path, "%s:encrypt", name);
    if (!kek_gcp_message_encrypt(&body, kek_secret_bytes(data_key), kek_bytes_of(aad))) {
        return kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "no memory for a request");
    }
    const struct kek_gcp_ask ask = {.call = "encrypt",
                                    .method = "POST",
                                    .path = path,
                                    .send = kek_buf_bytes(&body),
                                    .secret = kek_gcp_message_secret(&body),
                                    .max = KEK_GCP_BODY_MAX};
    return kek_gcp_ask(session, &ask, &answer, fault) &&
           kek_gcp_message_encrypted(answer, name, session->provider->protection, wrapped, fault);
}

static bool decrypt(struct kek_provider_session *session, const char *aad, struct kek_bytes blob,
                    struct kek_secret **data_key, struct kek_gcp_fault *fault)
{
    char path[KEK_GCP_KEY_MAX + 16];
    KEK_AUTO_BUF struct kek_buf body;
    KEK_GCP_AUTO_JSON answer = NULL;
    kek_buf_init(&body, KEK_GCP_BODY_MAX);
    snprintf(path, sizeof path, "%s:decrypt", session->provider->key);
    if (!kek_gcp_message_decrypt(&body, blob, kek_bytes_of(aad))) {
        return kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "no memory for a request");
    }
    const struct kek_gcp_ask ask = {.call = "decrypt",
                                    .method = "POST",
                                    .path = path,
                                    .send = kek_buf_bytes(&body),
                                    .max = KEK_GCP_BODY_MAX};
    return kek_gcp_ask(session, &ask, &answer, fault) &&
           kek_gcp_message_decrypted(answer, session->provider->protection, data_key, fault);
}

/* ---- whether a version does what it must ---- */

/* It must not open what was damaged or bound to something else. */
static bool refuses(struct kek_provider_session *session, const char *aad, struct kek_bytes blob,
                    const char *what, struct kek_gcp_fault *fault)
{
    KEK_AUTO(kek_secret) other = NULL;
    if (decrypt(session, aad, blob, &other, fault)) {
        return kek_gcp_fail(fault, KEK_GCP_POLICY, 200,
                            "decrypt: it opens %s: this service protects nothing", what);
    }
    return fault->class == KEK_GCP_DATA;
}

bool kek_gcp_prove(struct kek_provider_session *session, const struct kek_gcp_version *version,
                   struct kek_gcp_fault *fault)
{
    char aad[KEK_GCP_AAD_TEXT];
    struct kek_provider_wrapped wrapped;
    KEK_AUTO(kek_secret) key = kek_secret_random(KEK_DATA_KEY_LEN);
    KEK_AUTO(kek_secret) back = NULL;
    if (key == NULL) {
        return kek_gcp_fail(fault, KEK_GCP_LOCAL, 0, "the arena for keys is full");
    }
    kek_gcp_aad(&version->id, aad);
    if (!encrypt(session, version, aad, key, &wrapped, fault) ||
        !decrypt(session, aad, kek_bytes(wrapped.blob, wrapped.len), &back, fault)) {
        return false;
    }
    if (!kek_secret_equal(key, back)) {
        return kek_gcp_fail(fault, KEK_GCP_POLICY, 200, "decrypt: another data key comes back");
    }
    if (!refuses(session, "kekd/gcpkms/1/nothing", kek_bytes(wrapped.blob, wrapped.len),
                 "what is bound to something else", fault)) {
        return false;
    }
    wrapped.blob[wrapped.len - 1] ^= 1;
    return refuses(session, aad, kek_bytes(wrapped.blob, wrapped.len), "what is damaged", fault);
}

/* ---- which version ---- */

/* Looks on the list, and once more on a fresh one. NULL, and *failure filled: it may not be used. */
static const struct kek_gcp_version *find(struct kek_provider_session *session,
                                          const struct kek_id *kek_id,
                                          struct kek_provider_failure *failure)
{
    struct kek_gcp_fault fault;
    const struct kek_gcp_version *version = kek_gcp_versions_find(session, kek_id);
    if (version == NULL) {
        if (!kek_gcp_versions_read(session, &fault)) {
            kek_gcp_say(failure, &fault);
            return NULL;
        }
        version = kek_gcp_versions_find(session, kek_id);
    }
    if (version == NULL) {
        kek_bridge_fail(
            failure, KEK__PROVIDER__STEP__PROVIDER_CALL, KEK__PROVIDER__CAUSE__KEY_MISSING,
            "no version of %s has this kek id, or it is destroyed", session->provider->label);
        return NULL;
    }
    if (!version->fit) {
        kek_bridge_fail(failure, KEK__PROVIDER__STEP__PROVIDER_CALL,
                        KEK__PROVIDER__CAUSE__KEY_UNFIT, "version %u is refused: %s",
                        version->number, version->refusal);
        return NULL;
    }
    return version;
}

static bool refuse_state(const struct kek_gcp_version *version, const char *what,
                         struct kek_provider_failure *failure)
{
    return kek_bridge_fail(failure, KEK__PROVIDER__STEP__PROVIDER_CALL, KEK__PROVIDER__CAUSE__STATE,
                           "version %u may not %s: `versions` in the configuration says so",
                           version->number, what);
}

bool kek_gcp_wrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                  const struct kek_secret *data_key, struct kek_provider_wrapped *wrapped,
                  struct kek_provider_failure *failure)
{
    char aad[KEK_GCP_AAD_TEXT];
    struct kek_gcp_fault fault;
    kek_gcp_session_begin(session);
    const struct kek_gcp_version *version = find(session, kek_id, failure);
    if (version == NULL) {
        return false;
    }
    if (kek_gcp_versions_limit(session->provider, version->number) != KEK_STATE_ACTIVE) {
        return refuse_state(version, "wrap", failure);
    }
    kek_gcp_aad(kek_id, aad);
    return encrypt(session, version, aad, data_key, wrapped, &fault) ||
           kek_gcp_say(failure, &fault);
}

bool kek_gcp_unwrap(struct kek_provider_session *session, const struct kek_id *kek_id,
                    uint64_t handle, enum kek_wrap_alg alg, struct kek_bytes blob,
                    struct kek_secret **data_key, struct kek_provider_failure *failure)
{
    char aad[KEK_GCP_AAD_TEXT];
    struct kek_gcp_fault fault;
    (void)handle; /* Google has none */
    if (alg != KEK_WRAP_GCP_KMS) {
        return kek_bridge_fail(failure, KEK__PROVIDER__STEP__PROVIDER_CALL,
                               KEK__PROVIDER__CAUSE__DATA, "Cloud KMS never wraps with %s",
                               kek_wrap_alg_name(alg));
    }
    kek_gcp_session_begin(session);
    const struct kek_gcp_version *version = find(session, kek_id, failure);
    if (version == NULL) {
        return false;
    }
    if (kek_gcp_versions_limit(session->provider, version->number) == KEK_STATE_SUSPENDED) {
        return refuse_state(version, "unwrap", failure);
    }
    kek_gcp_aad(kek_id, aad);
    return decrypt(session, aad, blob, data_key, &fault) || kek_gcp_say(failure, &fault);
}

bool kek_gcp_list(struct kek_provider_session *session, struct kek_provider_versions *versions,
                  struct kek_provider_failure *failure)
{
    struct kek_gcp_fault fault;
    kek_gcp_session_begin_long(session);
    if (!kek_gcp_versions_read(session, &fault)) {
        return kek_gcp_say(failure, &fault);
    }
    kek_gcp_attest_wanted(session);
    kek_gcp_versions_show(session, versions);
    return true;
}
