/* The table of methods, how every call begins and ends, and Status. */
#include "kms/call.h"

#include <stdio.h>
#include <string.h>

#include "kek/clock.h"
#include "kek/log.h"
#include "kek/text.h"

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

/* ---- endings ---- */

void call_free(struct call *call)
{
    if (call->wait != NULL) {
        kek_datakey_cancel(call->wait);
    }
    kek_secret_free(call->plaintext);
    kek_buf_done(&call->sealed_copy);
    free(call);
}

static void log_failure(const struct call *call, enum kek_rpc_status status,
                        const struct kek_why *why)
{
    kek_log(KEK_LOG_WARN, "%s failed: %s status=%s uid=%s key_id=%s native=0x%lx",
            kek_kms_method_name(call->method), why->text, kek_rpc_status_name(status),
            call->uid[0] == '\0' ? "-" : call->uid, call->key_id[0] == '\0' ? "-" : call->key_id,
            why->code);
}

static void observe(const struct call *call, enum kek_rpc_status status, const struct kek_why *why)
{
    const struct kek_kms_settings *settings = &call->kms->settings;
    if (settings->observer == NULL) {
        return;
    }
    struct kek_kms_event event = {
        .method = call->method,
        .status = status,
        .duration_us = kek_clock_us() - call->rpc->started_us,
        .peer = call->rpc->peer,
        .uid = call->uid,
        .key_id = call->key_id,
        .hsm = call->hsm,
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
    call->rpc = NULL;
    if (!call->refreshing) {
        call_free(call);
    }
}

/* ---- Status ---- */

/* What providers say of themselves may be cut, and in any bytes: a client takes UTF-8 only, and one that
 * fails to read a Status stops writing. */
static enum kek_rc say(char *text, size_t size, const char *what)
{
    kek_text_copy(text, size, what);
    return KEK_OK;
}

enum kek_rc kek_kms_healthz(const struct kek_kms *kms, char *text, size_t size, struct kek_why *why)
{
    struct kek_keyring_health health;
    struct kek_keyring_primary primary;
    kek_keyring_health(kms->settings.ring, &health);
    if (!kek_keyring_primary(kms->settings.ring, &primary)) {
        return kek_fail(why, KEK_UNAVAILABLE, "%s", health.text);
    }
    if (health.state == KEK_KEYRING_LOSS) {
        return kek_fail(why, KEK_PRECONDITION, "%s", health.text);
    }
    bool seals = kek_datakey_can_seal(kms->settings.store, &primary.kek_id);
    if (health.state == KEK_KEYRING_OUTAGE) {
        uint64_t age = kek_clock_ms() - health.since_ms;
        bool bridged = seals && age < kms->settings.config->health.grace_ms;
        return say(text, size, bridged ? "ok" : health.text);
    }
    if (!seals && !kek_keyring_wraps(kms->settings.ring, &primary.kek_id)) {
        snprintf(text, size, "KEK version %u is not active on any HSM, or not proven there yet",
                 primary.number);
        return KEK_OK;
    }
    return say(text, size, "ok");
}

static void status(struct call *call)
{
    char healthz[192];
    struct kek_why why;
    struct kek_keyring_primary primary = {0};
    enum kek_rc rc = kek_kms_healthz(call->kms, healthz, sizeof healthz, &why);
    if (rc != KEK_OK) {
        call_fail(call, rc, &why);
        return;
    }
    (void)kek_keyring_primary(call->kms->settings.ring, &primary);
    struct peer_room *room = (struct peer_room *)call->rpc->peer->room;
    room->said = true;
    room->kek_id = primary.kek_id;
    memcpy(call->key_id, primary.key_id, sizeof call->key_id);
    KEK_AUTO_BUF struct kek_buf message;
    kek_buf_init(&message, 512);
    if (!message_write_status(healthz, primary.key_id, &message)) {
        kek_fail(&why, KEK_NO_MEMORY, "no memory for the answer");
        call_fail(call, KEK_NO_MEMORY, &why);
        return;
    }
    call_reply(call, kek_buf_bytes(&message));
}

static void version(struct call *call)
{
    struct kek_why why;
    KEK_AUTO_BUF struct kek_buf message;
    kek_buf_init(&message, 128);
    if (!message_write_version(&message)) {
        kek_fail(&why, KEK_NO_MEMORY, "no memory for the answer");
        call_fail(call, KEK_NO_MEMORY, &why);
        return;
    }
    call_reply(call, kek_buf_bytes(&message));
}

/* ---- beginnings ---- */

static void begin(struct kek_kms *kms, struct kek_rpc *rpc, enum kek_kms_method method,
                  struct kek_bytes message)
{
    static struct arena arena; /* one thread, and done with when this returns */
    struct request request;
    struct kek_why why;
    struct call *call = calloc(1, sizeof *call);
    if (call == NULL) {
        const struct call none = {.kms = kms, .rpc = rpc, .method = method};
        kek_fail(&why, KEK_NO_MEMORY, "no memory for another call");
        tell_failure(&none, KEK_NO_MEMORY, &why);
        return;
    }
    call->kms = kms;
    call->rpc = rpc;
    call->method = method;
    rpc->state = call;
    rpc->ended = ended;
    if (!message_read(method, message, &arena, &request)) {
        kek_fail(&why, KEK_INVALID, "the request is not a %s message", kek_kms_method_name(method));
        arena_wipe(&arena);
        call_fail(call, KEK_INVALID, &why);
        return;
    }
    memcpy(call->uid, request.uid, strnlen(request.uid, sizeof call->uid - 1));
    switch (method) {
    case KEK_KMS_V2_STATUS:
        status(call);
        break;
    case KEK_KMS_V2_ENCRYPT:
    case KEK_KMS_V1_ENCRYPT:
        call_encrypt(call, request.payload);
        break;
    case KEK_KMS_V2_DECRYPT:
    case KEK_KMS_V1_DECRYPT:
        call_decrypt(call, request.payload, request.key_id);
        break;
    case KEK_KMS_V1_VERSION:
    case KEK_KMS_METHODS:
        version(call);
        break;
    }
    arena_wipe(&arena);
}

static void start_status(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V2_STATUS, message);
}

static void start_v2_encrypt(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V2_ENCRYPT, message);
}

static void start_v2_decrypt(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V2_DECRYPT, message);
}

static void start_version(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V1_VERSION, message);
}

static void start_v1_encrypt(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V1_ENCRYPT, message);
}

static void start_v1_decrypt(void *kms, struct kek_rpc *rpc, struct kek_bytes message)
{
    begin(kms, rpc, KEK_KMS_V1_DECRYPT, message);
}

const struct kek_rpc_method *kek_kms_methods(size_t *count)
{
    static const struct kek_rpc_method methods[] = {
        {"/v2.KeyManagementService/Status", start_status},
        {"/v2.KeyManagementService/Encrypt", start_v2_encrypt},
        {"/v2.KeyManagementService/Decrypt", start_v2_decrypt},
        {"/v1beta1.KeyManagementService/Version", start_version},
        {"/v1beta1.KeyManagementService/Encrypt", start_v1_encrypt},
        {"/v1beta1.KeyManagementService/Decrypt", start_v1_decrypt},
    };
    *count = sizeof methods / sizeof methods[0];
    return methods;
}

bool kek_kms_allowed(void *service, const struct kek_rpc_peer *peer)
{
    const struct kek_kms *kms = service;
    const struct kek_config *config = kms->settings.config;
    for (size_t i = 0; i < config->allow_uid_count; i++) {
        if (config->allow_uids[i] == peer->uid) {
            return true;
        }
    }
    return false;
}

struct kek_kms *kek_kms_new(const struct kek_kms_settings *settings, struct kek_why *why)
{
    struct kek_kms *kms = malloc(sizeof *kms);
    if (kms == NULL) {
        kek_fail(why, KEK_NO_MEMORY, "no memory for the service");
        return NULL;
    }
    kms->settings = *settings;
    return kms;
}

void kek_kms_free(struct kek_kms *kms)
{
    free(kms);
}
