#include "audit_line.h"

#include <time.h>

#include "kek/text.h"

/* Bytes of a text from outside that a line shows, at most. Escaping makes at most six of one. */
#define NODE_MAX 64
#define UID_MAX 128
#define KEY_ID_MAX 64
#define PATH_MAX_SHOWN 128
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

static void put_why(struct line *line, const struct kek_why *why)
{
    PUT(line, ",\"error\":");
    put_text(line, why->text, ERROR_MAX);
    const char *origin = kek_native_name(why->native);
    if (origin != NULL) {
        PUT(line, ",\"origin\":");
        put_text(line, origin, SIZE_MAX);
        PUT(line, ",\"code\":");
        put_uint(line, why->code);
    }
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
    PUT(&line, ",\"key_id\":");
    put_text(&line, event->key_id, KEY_ID_MAX);
    put_peer(&line, event->peer);
    put_status(&line, event->status);
    PUT(&line, ",\"duration_us\":");
    put_uint(&line, event->duration_us);
    if (event->hsm) {
        PUT(&line, ",\"hsm\":true");
    } else {
        PUT(&line, ",\"hsm\":false");
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

size_t audit_line_primary(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          const struct kek_keyring_primary *primary)
{
    struct line line = begin(out, stamp, "primary");
    PUT(&line, ",\"version\":");
    put_uint(&line, primary->generation.numbers[0]);
    PUT(&line, ",\"key_id\":");
    put_text(&line, primary->generation.key_id, KEY_ID_MAX);
    return finish(&line, out);
}

size_t audit_line_version(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                          uint32_t number, const char *state)
{
    struct line line = begin(out, stamp, "version");
    PUT(&line, ",\"version\":");
    put_uint(&line, number);
    PUT(&line, ",\"state\":");
    put_text(&line, state, KEY_ID_MAX);
    return finish(&line, out);
}

size_t audit_line_health(char out[static AUDIT_LINE_MAX], struct audit_stamp *stamp,
                         const struct kek_keyring_verdict *verdict)
{
    struct line line = begin(out, stamp, "health");
    PUT(&line, ",\"health\":");
    put_text(&line, kek_keyring_state_name(verdict->state), KEY_ID_MAX);
    if (verdict->what[0] != '\0') {
        PUT(&line, ",\"error\":");
        put_text(&line, verdict->what, ERROR_MAX);
    }
    return finish(&line, out);
}
