#include "audit_line.h"

#include <time.h>

#include "kek/text.h"

/* Bytes of a text from outside that a line shows, at most. Escaping makes at most six of one. */
#define NODE_MAX 64
#define UID_MAX 128
#define KEY_ID_MAX 64
#define PATH_MAX_SHOWN 128
#define PROVIDER_MAX 64
#define TOKEN_MAX 64
#define ERROR_MAX 256

struct line {
    char *at;
    char *end;
    bool full;
};

static void put(struct line *line, const char *bytes, size_t len)
{
    if ((size_t)(line->end - line->at) < len) {
        line->full = true;
        return;
    }
    memcpy(line->at, bytes, len);
    line->at += len;
}

#define PUT(line, literal) put(line, literal, sizeof(literal) - 1)

static void put_uint(struct line *line, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    put(line, digits + at, sizeof digits - at);
}

/* `text` in quotes, at most `max` of its bytes; "..." after what was cut. */
static void put_text(struct line *line, const char *text, size_t max)
{
    const char *rest = text;
    PUT(line, "\"");
    line->at += kek_text_json(&rest, max, line->at, (size_t)(line->end - line->at));
    if (*rest != '\0' && (size_t)(rest - text) < max) {
        line->full = true;
    }
    if (*rest != '\0') {
        PUT(line, "...");
    }
    PUT(line, "\"");
}

static void put_two(char *out, int value)
{
    out[0] = (char)('0' + value / 10);
    out[1] = (char)('0' + value % 10);
}

static struct line begin(char *out, struct audit_stamp *stamp, const char *event)
{
    struct line line = {.at = out, .end = out + AUDIT_LINE_MAX};
    int64_t second = stamp->wall_ms / 1000;
    int ms = (int)(stamp->wall_ms % 1000);
    if (second != stamp->second) {
        struct tm utc;
        time_t when = (time_t)second;
        gmtime_r(&when, &utc);
        strftime(stamp->date, sizeof stamp->date, "%Y-%m-%dT%H:%M:%S", &utc);
        stamp->second = second;
    }
    char fraction[5] = {'.', (char)('0' + ms / 100)};
    put_two(fraction + 2, ms % 100);
    fraction[4] = 'Z';
    PUT(&line, "{\"time\":\"");
    put(&line, stamp->date, strlen(stamp->date));
    put(&line, fraction, sizeof fraction);
    PUT(&line, "\",\"seq\":");
    put_uint(&line, stamp->seq);
    PUT(&line, ",\"node\":");
    put_text(&line, stamp->node, NODE_MAX);
    PUT(&line, ",\"event\":\"");
    put(&line, event, strlen(event));
    PUT(&line, "\"");
    return line;
}

static size_t finish(struct line *line, const char *out)
{
    PUT(line, "}\n");
    return line->full ? 0 : (size_t)(line->at - out);
}

static void put_peer(struct line *line, const struct kek_rpc_peer *peer)
{
    PUT(line, ",\"peer_uid\":");
    put_uint(line, peer->uid);
    PUT(line, ",\"peer_pid\":");
    put_uint(line, peer->pid < 0 ? 0 : (uint64_t)peer->pid);
}

static void put_status(struct line *line, enum kek_rpc_status status)
{
    PUT(line, ",\"status\":");
    put_text(line, kek_rpc_status_name(status), SIZE_MAX);
}

static const char *native_name(enum kek_native native)
{
    switch (native) {
    case KEK_NATIVE_ERRNO:
        return "errno";
    case KEK_NATIVE_PKCS11:
        return "pkcs11";
    case KEK_NATIVE_UV:
        return "uv";
    case KEK_NATIVE_NGHTTP2:
        return "nghttp2";
    case KEK_NATIVE_HTTP:
        return "http";
    case KEK_NATIVE_NONE:
        break;
    }
    return NULL;
}

static void put_why(struct line *line, const struct kek_why *why)
{
    PUT(line, ",\"error\":");
    put_text(line, why->text, ERROR_MAX);
    const char *origin = native_name(why->native);
    if (origin != NULL) {
        PUT(line, ",\"origin\":");
        put_text(line, origin, SIZE_MAX);
        PUT(line, ",\"code\":");
        put_uint(line, why->code);
    }
}

static void put_version(struct line *line, uint32_t number)
{
    PUT(line, ",\"version\":");
    put_uint(line, number);
}

static void put_kek_id(struct line *line, const struct kek_id *kek_id)
{
    char id[KEK_ID_TEXT];
    kek_id_format(kek_id, id);
    PUT(line, ",\"kek_id\":");
    put_text(line, id, SIZE_MAX);
}

static void put_key_id(struct line *line, const char *key_id)
{
    PUT(line, ",\"key_id\":");
    put_text(line, key_id, KEY_ID_MAX);
}

static void put_provider(struct line *line, const char *provider)
{
    PUT(line, ",\"provider\":");
    put_text(line, provider, PROVIDER_MAX);
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

size_t audit_line_call(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                       const struct kek_kms_event *event)
{
    struct method method = method_of(event->method);
    struct line line = begin(out, stamp, "call");
    PUT(&line, ",\"api\":\"");
    put(&line, method.api, strlen(method.api));
    PUT(&line, "\",\"method\":\"");
    put(&line, method.name, strlen(method.name));
    PUT(&line, "\",\"uid\":");
    put_text(&line, event->uid, UID_MAX);
    put_key_id(&line, event->key_id);
    if (event->kek_id != NULL) {
        put_kek_id(&line, event->kek_id);
    }
    if (event->version > 0) {
        put_version(&line, event->version);
    }
    put_peer(&line, event->peer);
    put_status(&line, event->status);
    PUT(&line, ",\"duration_us\":");
    put_uint(&line, event->duration_us);
    if (event->hsm) {
        PUT(&line, ",\"hsm\":true");
    } else {
        PUT(&line, ",\"hsm\":false");
    }
    if (event->provider != NULL) {
        put_provider(&line, event->provider);
    }
    if (event->why != NULL) {
        put_why(&line, event->why);
    }
    return finish(&line, out);
}

size_t audit_line_rejected(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                           const struct kek_rpc_peer *peer, const char *path,
                           enum kek_rpc_status status, const char *message)
{
    struct line line = begin(out, stamp, "rejected");
    PUT(&line, ",\"path\":");
    put_text(&line, path, PATH_MAX_SHOWN);
    put_peer(&line, peer);
    put_status(&line, status);
    PUT(&line, ",\"error\":");
    put_text(&line, message, ERROR_MAX);
    return finish(&line, out);
}

size_t audit_line_start(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp, pid_t pid,
                        const char *program_version)
{
    struct line line = begin(out, stamp, "start");
    PUT(&line, ",\"pid\":");
    put_uint(&line, (uint64_t)pid);
    PUT(&line, ",\"program\":");
    put_text(&line, program_version, KEY_ID_MAX);
    return finish(&line, out);
}

size_t audit_line_stop(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp, pid_t pid)
{
    struct line line = begin(out, stamp, "stop");
    PUT(&line, ",\"pid\":");
    put_uint(&line, (uint64_t)pid);
    return finish(&line, out);
}

size_t audit_line_dropped(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          uint64_t lines)
{
    struct line line = begin(out, stamp, "dropped");
    PUT(&line, ",\"lines\":");
    put_uint(&line, lines);
    return finish(&line, out);
}

size_t audit_line_login(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                        const struct kek_pool_login *login, const char *provider)
{
    static const char *const outcomes[] = {[KEK_POOL_LOGIN_OK] = "ok",
                                           [KEK_POOL_LOGIN_REFUSED] = "refused",
                                           [KEK_POOL_LOGIN_UNCLEAR] = "unclear"};
    struct line line = begin(out, stamp, "login");
    put_provider(&line, provider);
    PUT(&line, ",\"token\":");
    put_text(&line, login->token, TOKEN_MAX);
    PUT(&line, ",\"worker\":");
    put_uint(&line, login->worker);
    PUT(&line, ",\"outcome\":");
    put_text(&line, outcomes[login->outcome], SIZE_MAX);
    if (login->why != NULL) {
        put_why(&line, login->why);
    }
    return finish(&line, out);
}

size_t audit_line_primary(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          const struct kek_keyring_primary *primary)
{
    const struct kek_generation *generation = &primary->generation;
    struct line line = begin(out, stamp, "primary");
    put_version(&line, generation->numbers[0]);
    put_kek_id(&line, &generation->kek_ids[0]);
    put_key_id(&line, generation->key_id);
    return finish(&line, out);
}

size_t audit_line_version(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          const struct kek_keyring_version *version, const char *provider,
                          enum kek_keyring_key key)
{
    struct line line = begin(out, stamp, "version");
    put_version(&line, version->number);
    put_kek_id(&line, &version->kek_id);
    put_key_id(&line, version->key_id);
    put_provider(&line, provider);
    PUT(&line, ",\"state\":");
    put_text(&line, kek_keyring_key_name(key), SIZE_MAX);
    return finish(&line, out);
}

size_t audit_line_health(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                         const struct kek_keyring_verdict *verdict, const char *provider)
{
    struct line line = begin(out, stamp, "health");
    PUT(&line, ",\"health\":");
    put_text(&line, kek_keyring_state_name(verdict->state), KEY_ID_MAX);
    if (verdict->what[0] != '\0') {
        PUT(&line, ",\"error\":");
        put_text(&line, verdict->what, ERROR_MAX);
    }
    if (verdict->version > 0) {
        put_version(&line, verdict->version);
    }
    if (provider != NULL) {
        put_provider(&line, provider);
    }
    return finish(&line, out);
}
