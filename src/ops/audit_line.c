#include "audit_line.h"

#include <string.h>

#include "audit_text.h"

static void put_peer(struct audit_text *line, const struct kek_rpc_peer *peer)
{
    PUT(line, ",\"peer_uid\":");
    audit_put_uint(line, peer->uid);
    PUT(line, ",\"peer_pid\":");
    audit_put_uint(line, peer->pid < 0 ? 0 : (uint64_t)peer->pid);
}

static void put_status(struct audit_text *line, enum kek_rpc_status status)
{
    PUT(line, ",\"status\":");
    audit_put_text(line, kek_rpc_status_name(status), SIZE_MAX);
}

struct method {
    const char *api, *name;
};

static struct method method_of(enum kek_kms_method method)
{
    static const struct method methods[KEK_KMS_METHODS] = {
        [KEK_KMS_V2_STATUS] = {"v2", "Status"},
        [KEK_KMS_V2_ENCRYPT] = {"v2", "Encrypt"},
        [KEK_KMS_V2_DECRYPT] = {"v2", "Decrypt"},
        [KEK_KMS_V1_VERSION] = {"v1beta1", "Version"},
        [KEK_KMS_V1_ENCRYPT] = {"v1beta1", "Encrypt"},
        [KEK_KMS_V1_DECRYPT] = {"v1beta1", "Decrypt"},
    };
    if ((size_t)method >= KEK_KMS_METHODS) {
        return (struct method){"other", "other"};
    }
    return methods[method];
}

/* The KEKs of a call, where there are several roots of trust. */
static void put_keks(struct audit_text *line, const struct kek_kms_kek *keks, size_t count)
{
    for (size_t i = 0; i < count; i++) {
        audit_put_kek(line, i == 0, keks[i].root, keks[i].version, &keks[i].kek_id);
        if (keks[i].provider != NULL) {
            audit_put_provider(line, keks[i].provider);
        }
        if (keks[i].unopened) {
            PUT(line, ",\"opened\":false");
        }
        PUT(line, "}");
    }
    if (count > 0) {
        PUT(line, "]");
    }
}

size_t audit_line_call(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                       const struct kek_kms_event *event)
{
    struct method method = method_of(event->method);
    struct audit_text line = audit_text_begin(out, stamp, "call");
    PUT(&line, ",\"api\":\"");
    audit_put(&line, method.api, strlen(method.api));
    PUT(&line, "\",\"method\":\"");
    audit_put(&line, method.name, strlen(method.name));
    PUT(&line, "\",\"uid\":");
    audit_put_text(&line, event->uid, UID_MAX);
    audit_put_key_id(&line, event->key_id);
    if (event->kek_id != NULL) {
        audit_put_kek_id(&line, event->kek_id);
    }
    if (event->version > 0) {
        audit_put_version(&line, event->version);
    }
    put_peer(&line, event->peer);
    put_status(&line, event->status);
    PUT(&line, ",\"duration_us\":");
    audit_put_uint(&line, event->duration_us);
    if (event->hsm) {
        PUT(&line, ",\"hsm\":true");
    } else {
        PUT(&line, ",\"hsm\":false");
    }
    if (event->provider != NULL) {
        audit_put_provider(&line, event->provider);
    }
    put_keks(&line, event->keks, event->kek_count);
    if (event->damaged_root != NULL) {
        PUT(&line, ",\"damaged_root\":");
        audit_put_text(&line, event->damaged_root, ROOT_MAX);
    }
    if (event->why != NULL) {
        audit_put_why(&line, event->why);
    }
    return audit_text_finish(&line, out);
}

size_t audit_line_rejected(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                           const struct kek_rpc_peer *peer, const char *path,
                           enum kek_rpc_status status, const char *message)
{
    struct audit_text line = audit_text_begin(out, stamp, "rejected");
    PUT(&line, ",\"path\":");
    audit_put_text(&line, path, PATH_MAX_SHOWN);
    put_peer(&line, peer);
    put_status(&line, status);
    PUT(&line, ",\"error\":");
    audit_put_text(&line, message, ERROR_MAX);
    return audit_text_finish(&line, out);
}

size_t audit_line_start(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp, pid_t pid,
                        const char *program_version)
{
    struct audit_text line = audit_text_begin(out, stamp, "start");
    PUT(&line, ",\"pid\":");
    audit_put_uint(&line, (uint64_t)pid);
    PUT(&line, ",\"program\":");
    audit_put_text(&line, program_version, KEY_ID_MAX);
    return audit_text_finish(&line, out);
}

size_t audit_line_stop(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp, pid_t pid)
{
    struct audit_text line = audit_text_begin(out, stamp, "stop");
    PUT(&line, ",\"pid\":");
    audit_put_uint(&line, (uint64_t)pid);
    return audit_text_finish(&line, out);
}

size_t audit_line_dropped(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          uint64_t lines)
{
    struct audit_text line = audit_text_begin(out, stamp, "dropped");
    PUT(&line, ",\"lines\":");
    audit_put_uint(&line, lines);
    return audit_text_finish(&line, out);
}

size_t audit_line_login(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                        const struct kek_pool_login *login, const char *root, const char *provider)
{
    struct audit_text line = audit_text_begin(out, stamp, "login");
    audit_put_root(&line, root);
    audit_put_provider(&line, provider);
    PUT(&line, ",\"token\":");
    audit_put_text(&line, login->token, TOKEN_MAX);
    PUT(&line, ",\"worker\":");
    audit_put_uint(&line, login->worker);
    PUT(&line, ",\"outcome\":");
    audit_put_text(&line, kek_pool_login_name(login->outcome), SIZE_MAX);
    if (login->why != NULL) {
        audit_put_why(&line, login->why);
    }
    return audit_text_finish(&line, out);
}

size_t audit_line_primary(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          const struct kek_keyring_primary *primary, const char *const *roots,
                          bool several)
{
    const struct kek_generation *generation = &primary->generation;
    struct kek_kms_kek keks[KEK_ENVELOPE_ENTRIES_MAX];
    struct audit_text line = audit_text_begin(out, stamp, "primary");
    audit_put_version(&line, generation->numbers[0]);
    audit_put_kek_id(&line, &generation->kek_ids[0]);
    audit_put_key_id(&line, generation->key_id);
    for (size_t i = 0; several && i < generation->count; i++) {
        keks[i] = (struct kek_kms_kek){
            .root = roots[i], .kek_id = generation->kek_ids[i], .version = generation->numbers[i]};
    }
    put_keks(&line, keks, several ? generation->count : 0);
    return audit_text_finish(&line, out);
}

size_t audit_line_canary(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                         const struct kek_keyring_version *version, const char *provider,
                         bool fails)
{
    struct audit_text line = audit_text_begin(out, stamp, "canary");
    audit_put_root(&line, version->root);
    audit_put_version(&line, version->number);
    audit_put_kek_id(&line, &version->kek_id);
    audit_put_key_id(&line, version->key_id);
    audit_put_provider(&line, provider);
    PUT(&line, ",\"outcome\":");
    audit_put_text(&line, fails ? "failed" : "ok", SIZE_MAX);
    return audit_text_finish(&line, out);
}

size_t audit_line_version(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          const struct kek_keyring_version *version, const char *provider,
                          enum kek_keyring_key key)
{
    struct audit_text line = audit_text_begin(out, stamp, "version");
    audit_put_root(&line, version->root);
    audit_put_version(&line, version->number);
    audit_put_kek_id(&line, &version->kek_id);
    audit_put_key_id(&line, version->key_id);
    audit_put_provider(&line, provider);
    PUT(&line, ",\"state\":");
    audit_put_text(&line, kek_keyring_key_name(key), SIZE_MAX);
    if (version->surplus) {
        PUT(&line, ",\"surplus\":true");
    }
    return audit_text_finish(&line, out);
}

static void put_hex(struct audit_text *line, struct kek_bytes bytes)
{
    char hex[2 * KEK_PROVIDER_MAC_MAX + 1];
    kek_hex(bytes, hex);
    audit_put_text(line, hex, SIZE_MAX);
}

size_t audit_line_mac(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                      const struct kek_audit_mac *mac)
{
    struct audit_text line = audit_text_begin(out, stamp, "mac");
    audit_put_provider(&line, mac->provider);
    PUT(&line, ",\"outcome\":\"ok\",\"covers\":");
    audit_put_uint(&line, mac->covers->n);
    PUT(&line, ",\"mechanism\":");
    audit_put_text(&line, mac->maced->mechanism, SIZE_MAX);
    PUT(&line, ",\"mac_key\":");
    put_hex(&line, kek_bytes(mac->maced->key_id.bytes, KEK_ID_LEN));
    PUT(&line, ",\"mac\":");
    put_hex(&line, kek_bytes(mac->maced->mac, mac->maced->len));
    return audit_text_finish(&line, out);
}

size_t audit_line_mac_failed(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                             const char *provider, const struct kek_why *why)
{
    struct audit_text line = audit_text_begin(out, stamp, "mac");
    audit_put_provider(&line, provider);
    PUT(&line, ",\"outcome\":\"failed\"");
    audit_put_why(&line, why);
    return audit_text_finish(&line, out);
}

size_t audit_line_mac_none(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp)
{
    struct audit_text line = audit_text_begin(out, stamp, "mac");
    PUT(&line, ",\"outcome\":\"none\"");
    return audit_text_finish(&line, out);
}

size_t audit_line_health(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                         const struct kek_keyring_verdict *verdict, const char *provider)
{
    struct audit_text line = audit_text_begin(out, stamp, "health");
    PUT(&line, ",\"health\":");
    audit_put_text(&line, kek_keyring_state_name(verdict->state), KEY_ID_MAX);
    if (verdict->what[0] != '\0') {
        PUT(&line, ",\"error\":");
        audit_put_text(&line, verdict->what, ERROR_MAX);
    }
    if (verdict->version > 0) {
        audit_put_version(&line, verdict->version);
    }
    if (provider != NULL) {
        audit_put_provider(&line, provider);
    }
    return audit_text_finish(&line, out);
}
