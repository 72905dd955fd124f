#include "audit_text.h"

#include <string.h>
#include <time.h>

#include "kek/text.h"

void audit_put(struct audit_text *line, const char *bytes, size_t len)
{
    if ((size_t)(line->end - line->at) < len) {
        line->full = true;
        return;
    }
    memcpy(line->at, bytes, len);
    line->at += len;
}

void audit_put_uint(struct audit_text *line, uint64_t value)
{
    char digits[20];
    size_t at = sizeof digits;
    do {
        digits[--at] = (char)('0' + value % 10);
        value /= 10;
    } while (value > 0);
    audit_put(line, digits + at, sizeof digits - at);
}

void audit_put_text(struct audit_text *line, const char *text, size_t max)
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

struct audit_text audit_text_begin(char *out, struct audit_stamp *stamp, const char *event)
{
    struct audit_text line = {.at = out, .end = out + AUDIT_LINE_MAX};
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
    audit_put(&line, stamp->date, strlen(stamp->date));
    audit_put(&line, fraction, sizeof fraction);
    PUT(&line, "\",\"seq\":");
    audit_put_uint(&line, stamp->seq);
    PUT(&line, ",\"node\":");
    audit_put_text(&line, stamp->node, NODE_MAX);
    PUT(&line, ",\"event\":\"");
    audit_put(&line, event, strlen(event));
    PUT(&line, "\"");
    return line;
}

size_t audit_text_finish(struct audit_text *line, const char *out)
{
    PUT(line, "}\n");
    return line->full ? 0 : (size_t)(line->at - out);
}

void audit_put_why(struct audit_text *line, const struct kek_why *why)
{
    PUT(line, ",\"error\":");
    audit_put_text(line, why->text, ERROR_MAX);
    const char *origin = kek_native_name(why->native);
    if (origin != NULL) {
        PUT(line, ",\"origin\":");
        audit_put_text(line, origin, SIZE_MAX);
        PUT(line, ",\"code\":");
        audit_put_uint(line, why->code);
    }
}

void audit_put_version(struct audit_text *line, uint32_t number)
{
    PUT(line, ",\"version\":");
    audit_put_uint(line, number);
}

void audit_put_kek_id(struct audit_text *line, const struct kek_id *kek_id)
{
    char id[KEK_ID_TEXT];
    kek_id_format(kek_id, id);
    PUT(line, ",\"kek_id\":");
    audit_put_text(line, id, SIZE_MAX);
}

void audit_put_key_id(struct audit_text *line, const char *key_id)
{
    PUT(line, ",\"key_id\":");
    audit_put_text(line, key_id, KEY_ID_MAX);
}

void audit_put_provider(struct audit_text *line, const char *provider)
{
    PUT(line, ",\"provider\":");
    audit_put_text(line, provider, PROVIDER_MAX);
}

void audit_put_root(struct audit_text *line, const char *root)
{
    if (root != NULL && root[0] != '\0') {
        PUT(line, ",\"root\":");
        audit_put_text(line, root, ROOT_MAX);
    }
}

void audit_put_kek(struct audit_text *line, bool first, const char *root, uint32_t version,
                   const struct kek_id *kek_id)
{
    if (first) {
        PUT(line, ",\"keks\":[");
    } else {
        PUT(line, ",");
    }
    PUT(line, "{\"root\":");
    audit_put_text(line, root, ROOT_MAX);
    if (version > 0) {
        audit_put_version(line, version);
    }
    audit_put_kek_id(line, kek_id);
}
