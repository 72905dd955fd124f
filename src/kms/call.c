/* How every call begins and ends. */
#include "kms/call.h"

#include <string.h>

#include "kek/clock.h"
#include "kek/log.h"

#define DAMAGED_MESSAGE "the ciphertext is damaged, or not one of this cluster's"

const char *kek_kms_method_name(enum kek_kms_method method)
{
    static const char *const names[KEK_KMS_METHODS] = {
        [KEK_KMS_V2_STATUS] = "v2.Status",   [KEK_KMS_V2_ENCRYPT] = "v2.Encrypt",
        [KEK_KMS_V2_DECRYPT] = "v2.Decrypt", [KEK_KMS_V1_VERSION] = "v1.Version",
        [KEK_KMS_V1_ENCRYPT] = "v1.Encrypt", [KEK_KMS_V1_DECRYPT] = "v1.Decrypt",
    };
    return method < KEK_KMS_METHODS ? names[method] : "other";
}

static void call_free(struct call *call)
{
    if (call->wait != NULL) {
        kek_datakey_cancel(call->wait);
    }
    if (call->look != NULL) {
        kek_keyring_cancel(call->look);
    }
    call->kms->waiting -= call->kept;
    kek_secret_free(call->plaintext);
    kek_buf_done(&call->sealed_copy);
    free(call);
}

static void log_failure(const struct call *call, enum kek_rpc_status status,
                        const struct kek_why *why)
{
    kek_log_often(KEK_LOG_WARN, kek_rpc_status_name(status),
                  KEK_LOG_FIELDS(kek_log_text("status", kek_rpc_status_name(status)),
                                 kek_log_text("uid", call->uid),
                                 kek_log_text("key_id", call->key_id), kek_log_origin(why),
                                 kek_log_code(why)),
                  "%s failed: %s", kek_kms_method_name(call->method), why->text);
}

static void observe(const struct call *call, enum kek_rpc_status status, const struct kek_why *why)
{
    const struct kek_kms_settings *settings = &call->kms->settings;
    if (settings->observer == NULL) {
        return;
    }
    size_t provider = call->wait != NULL ? kek_datakey_wait_provider(call->wait) : call->provider;
    const struct kek_config *config = settings->config;
    uint32_t number = 0;
    char key_id[KEK_KEY_ID_TEXT];
    if (call->has_kek) {
        (void)kek_keyring_name(settings->ring, &call->kek_id, &number, key_id);
    }
    struct kek_kms_event event = {
        .method = call->method,
        .status = status,
        .duration_us = kek_clock_us() - call->rpc->started_us,
        .peer = call->rpc->peer,
        .uid = call->uid,
        .key_id = call->key_id,
        .kek_id = call->has_kek ? &call->kek_id : NULL,
        .version = number,
        .hsm = call->hsm,
        .provider = provider < config->provider_count ? config->providers[provider].name : NULL,
        .why = why,
    };
    settings->observer(settings->arg, &event);
}

void call_reply(struct call *call, struct kek_bytes message)
{
    observe(call, KEK_RPC_OK, NULL);
    kek_rpc_reply(call->rpc, message);
    call_free(call);
}

/* What the API server is told: a PIN refused or a key missing is not the caller's doing. */
static enum kek_rpc_status status_for(enum kek_rc rc)
{
    if (rc == KEK_DENIED) {
        return KEK_RPC_UNAVAILABLE;
    }
    return rc == KEK_NOT_FOUND ? KEK_RPC_FAILED_PRECONDITION : kek_rpc_status_of(rc);
}

static void tell_failure(const struct call *call, enum kek_rc rc, const struct kek_why *why)
{
    enum kek_rpc_status status = status_for(rc);
    struct kek_why damaged = *why;
    if (rc == KEK_DAMAGED) { /* the cause alone may be no more than a general error of the HSM */
        kek_fail_within(&damaged, rc, "the ciphertext is damaged");
        why = &damaged;
    }
    log_failure(call, status, why);
    observe(call, status, why);
    kek_rpc_fail(call->rpc, status, rc == KEK_DAMAGED ? DAMAGED_MESSAGE : why->text);
}

void call_fail(struct call *call, enum kek_rc rc, const struct kek_why *why)
{
    tell_failure(call, rc, why);
    call_free(call);
}

static void ended(struct kek_rpc *rpc, enum kek_rpc_status status)
{
    struct call *call = rpc->state;
    struct kek_why why;
    if (status == KEK_RPC_DEADLINE_EXCEEDED) {
        kek_fail(&why, KEK_DEADLINE, "the deadline passed while waiting for the HSM");
        log_failure(call, status, &why);
    } else if (status == KEK_RPC_UNAVAILABLE) {
        kek_fail(&why, KEK_UNAVAILABLE, "kekd stopped while this waited for the HSM");
        log_failure(call, status, &why);
    } else {
        kek_fail(&why, KEK_CANCELLED, "the client gave up");
    }
    observe(call, status, &why);
    call_free(call);
}

static void tell_no_memory(struct kek_kms *kms, struct kek_rpc *rpc, enum kek_kms_method method)
{
    const struct call none = {.kms = kms, .rpc = rpc, .method = method, .provider = KEK_POOL_ANY};
    struct kek_why why;
    kek_fail(&why, KEK_NO_MEMORY, "no memory for another call");
    tell_failure(&none, KEK_NO_MEMORY, &why);
}

struct call *call_new(struct kek_kms *kms, struct kek_rpc *rpc, enum kek_kms_method method)
{
    struct call *call = malloc(sizeof *call);
    if (call == NULL) {
        tell_no_memory(kms, rpc, method);
        return NULL;
    }
    /* glibc's calloc() does not take from the blocks that were freed last, which are the fastest to have. */
    *call = (struct call){.kms = kms, .rpc = rpc, .method = method, .provider = KEK_POOL_ANY};
    rpc->state = call;
    rpc->ended = ended;
    return call;
}

bool call_keeps(struct call *call, size_t len)
{
    struct kek_kms *kms = call->kms;
    struct kek_why why;
    if (len > WAITING_MAX - kms->waiting) {
        kek_fail(&why, KEK_EXHAUSTED,
                 "the calls that wait for an HSM hold %zu bytes already, and may hold %u",
                 kms->waiting, WAITING_MAX);
        call_fail(call, KEK_EXHAUSTED, &why);
        return false;
    }
    call->kept = len;
    kms->waiting += len;
    return true;
}
