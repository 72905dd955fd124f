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
        kek_roots_cancel(call->look);
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

static void hear(struct call *call, const struct kek_datakey_wait *wait)
{
    const struct kek_datakey_keks *keks = kek_datakey_wait_keks(wait);
    call->provider = kek_datakey_wait_provider(wait);
    call->keks.asked |= keks->asked;
    for (size_t i = 0; i < KEK_ENVELOPE_ENTRIES_MAX; i++) {
        call->keks.answered[i] =
            keks->answered[i] != 0 ? keks->answered[i] : call->keks.answered[i];
    }
}

void call_heard(struct call *call)
{
    hear(call, call->wait);
    call->wait = NULL;
}

static const char *provider_at(const struct call *call, size_t provider)
{
    const struct kek_config *config = call->kms->settings.config;
    return provider < config->provider_count ? config->providers[provider].name : NULL;
}

static uint32_t number_of(const struct kek_root *root, const struct kek_id *kek_id)
{
    uint32_t number = 0;
    char key_id[KEK_KEY_ID_TEXT];
    (void)kek_keyring_name(root->ring, kek_id, &number, key_id);
    return number;
}

/* Whose KEK that was: what is sealed says it, and what is opened by who answered; else who would open it. */
static const struct kek_root *root_of(const struct call *call, size_t place, bool seals)
{
    const struct kek_roots *roots = call->kms->settings.roots;
    size_t provider = call->keks.answered[place];
    if (seals) {
        return kek_roots_at(roots, call->generation.roots[place]);
    }
    for (size_t i = 0; provider > 0 && i < kek_roots_count(roots); i++) {
        const struct kek_root *root = kek_roots_at(roots, i);
        size_t end = root->provider + kek_pool_provider_count(root->pool);
        if (provider - 1 >= root->provider && provider - 1 < end) {
            return root;
        }
    }
    return kek_roots_of(roots, &call->envelope.entries[place].kek_id);
}

/* Of several roots: what a data key is wrapped under is used as a whole, of an envelope what was asked for or opened. */
static size_t list_keks(const struct call *call,
                        struct kek_kms_kek keks[static KEK_ENVELOPE_ENTRIES_MAX])
{
    const struct kek_roots *roots = call->kms->settings.roots;
    bool seals = call->generation.count > 0;
    size_t count = 0, all = seals ? call->generation.count : call->envelope.count;
    for (size_t i = 0; kek_roots_count(roots) > 1 && call->has_kek && i < all; i++) {
        const struct kek_id *kek_id =
            seals ? &call->generation.kek_ids[i] : &call->envelope.entries[i].kek_id;
        bool opened = (call->opened >> i & 1) != 0;
        if (!seals && !opened && (call->keks.asked >> i & 1) == 0) {
            continue;
        }
        const struct kek_root *root = root_of(call, i, seals);
        uint8_t answered = call->keks.answered[i];
        keks[count++] = (struct kek_kms_kek){
            .root = root->name,
            .kek_id = *kek_id,
            .version = number_of(root, kek_id),
            .provider = answered == 0 ? NULL : provider_at(call, answered - 1u),
            .unopened = !seals && !opened,
        };
    }
    return count;
}

static void observe(struct call *call, enum kek_rpc_status status, const struct kek_why *why)
{
    const struct kek_kms_settings *settings = &call->kms->settings;
    if (settings->observer == NULL) {
        return;
    }
    if (call->wait != NULL) {
        hear(call, call->wait);
    }
    struct kek_kms_kek keks[KEK_ENVELOPE_ENTRIES_MAX];
    size_t kek_count = list_keks(call, keks);
    struct kek_kms_event event = {
        .method = call->method,
        .status = status,
        .duration_us = kek_clock_us() - call->rpc->started_us,
        .peer = call->rpc->peer,
        .uid = call->uid,
        .key_id = call->key_id,
        .kek_id = call->has_kek ? &call->kek_id : NULL,
        .version = call->has_kek
                       ? number_of(kek_roots_of(settings->roots, &call->kek_id), &call->kek_id)
                       : 0,
        .hsm = call->hsm,
        .provider = provider_at(call, call->provider),
        .keks = keks,
        .kek_count = kek_count,
        .damaged_root = status == KEK_RPC_OK && call->damage != NULL ? call->damage->root : NULL,
        .why = why,
    };
    settings->observer(settings->arg, &event);
}

void call_reply(struct call *call, struct kek_bytes message)
{
    observe(call, KEK_RPC_OK, call->damage == NULL ? NULL : &call->damage->why);
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

static void tell_failure(struct call *call, enum kek_rc rc, const struct kek_why *why)
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
    struct call none = {.kms = kms, .rpc = rpc, .method = method, .provider = KEK_POOL_ANY};
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
