#include "headers.h"

#include <stdio.h>
#include <string.h>

#include <nghttp2/nghttp2.h>

#include "kek/text.h"

/* Members of head->seen and head->bad. */
enum {
    FIELD_METHOD = 1 << 0,
    FIELD_SCHEME = 1 << 1,
    FIELD_PATH = 1 << 2,
    FIELD_AUTHORITY = 1 << 3,
    FIELD_CONTENT_TYPE = 1 << 4,
    FIELD_TIMEOUT = 1 << 5,
    FIELD_ENCODING = 1 << 6,
};

/* RFC 9113 section 6.5.2: what each field costs on top of its name and value. */
#define FIELD_OVERHEAD 32u

static bool is(struct kek_bytes text, const char *word, size_t len)
{
    return text.len == len && memcmp(text.data, word, len) == 0;
}
#define IS(text, word) is(text, word, sizeof(word) - 1)

static bool starts(struct kek_bytes text, const char *word, size_t len)
{
    return text.len >= len && memcmp(text.data, word, len) == 0;
}
#define STARTS(text, word) starts(text, word, sizeof(word) - 1)

/* A path as messages and logs may show it: printable ASCII, "..." where it was cut. */
static void show_path(struct kek_bytes path, char out[static KEK_GRPC_PATH_SHOWN])
{
    static const char digits[] = "0123456789abcdef";
    size_t at = 0;
    for (size_t i = 0; i < path.len; i++) {
        uint8_t c = path.data[i];
        bool plain = c > 0x20 && c < 0x7f && c != '\\';
        if (at + (plain ? 1 : 4) + sizeof "..." > KEK_GRPC_PATH_SHOWN) {
            memcpy(out + at, "...", 3);
            at += 3;
            break;
        }
        if (plain) {
            out[at++] = (char)c;
        } else {
            out[at++] = '\\';
            out[at++] = 'x';
            out[at++] = digits[c >> 4];
            out[at++] = digits[c & 15];
        }
    }
    out[at] = '\0';
}

static void route(struct kek_grpc_head *head, const struct kek_grpc_settings *settings,
                  struct kek_bytes path)
{
    for (size_t i = 0; i < settings->method_count; i++) {
        const char *known = settings->methods[i].path;
        if (is(path, known, strlen(known))) {
            head->method = &settings->methods[i];
            return;
        }
    }
    show_path(path, head->path);
}

static void malformed(struct kek_grpc_head *head, const char *what)
{
    if (head->malformed == NULL) {
        head->malformed = what;
    }
}

/* Notes that a field has come; false if it had come before. */
static bool first(struct kek_grpc_head *head, unsigned field)
{
    bool again = (head->seen & field) != 0;
    head->seen |= field;
    return !again;
}

static void pseudo_field(struct kek_grpc_head *head, const struct kek_grpc_settings *settings,
                         struct kek_bytes name, struct kek_bytes value)
{
    unsigned field;
    if (IS(name, ":path")) {
        field = FIELD_PATH;
    } else if (IS(name, ":method")) {
        field = FIELD_METHOD;
    } else if (IS(name, ":scheme")) {
        field = FIELD_SCHEME;
    } else if (IS(name, ":authority")) {
        field = FIELD_AUTHORITY;
    } else {
        malformed(head, "unknown pseudo-header field");
        return;
    }
    if (head->past_pseudo) {
        malformed(head, "pseudo-header field after a regular one");
    } else if (!first(head, field)) {
        malformed(head, "repeated pseudo-header field");
    } else if (field == FIELD_PATH) {
        route(head, settings, value);
    } else if (field == FIELD_METHOD && !IS(value, "POST")) {
        head->bad |= FIELD_METHOD;
    }
}

/* "application/grpc", alone or followed by "+format" or ";parameters". */
static bool is_grpc(struct kek_bytes type)
{
    static const char base[] = "application/grpc";
    if (!STARTS(type, "application/grpc")) {
        return false;
    }
    size_t len = sizeof base - 1;
    return type.len == len || type.data[len] == '+' || type.data[len] == ';';
}

/* What is not known here is ignored, but must be well-formed: RFC 9113 section 8.2. */
static void ignored_field(struct kek_grpc_head *head, struct kek_bytes name, struct kek_bytes value)
{
    if (IS(name, "connection") || IS(name, "keep-alive") || IS(name, "proxy-connection") ||
        IS(name, "transfer-encoding") || IS(name, "upgrade")) {
        malformed(head, "connection-specific header field");
    } else if (!nghttp2_check_header_name(name.data, name.len)) {
        malformed(head, "bad character in a header field's name");
    } else if (memchr(value.data, '\0', value.len) != NULL ||
               memchr(value.data, '\r', value.len) != NULL ||
               memchr(value.data, '\n', value.len) != NULL) {
        malformed(head, "bad character in a header field's value");
    }
}

static void regular_field(struct kek_grpc_head *head, struct kek_bytes name, struct kek_bytes value)
{
    head->past_pseudo = true;
    if (IS(name, "content-type")) {
        if (!first(head, FIELD_CONTENT_TYPE) || !is_grpc(value)) {
            head->bad |= FIELD_CONTENT_TYPE;
        }
    } else if (IS(name, "grpc-timeout")) {
        if (!first(head, FIELD_TIMEOUT) || !kek_grpc_timeout_parse(value, &head->timeout_ms)) {
            head->bad |= FIELD_TIMEOUT;
        }
    } else if (IS(name, "grpc-encoding")) {
        if (!IS(value, "identity")) {
            head->bad |= FIELD_ENCODING;
        }
    } else {
        ignored_field(head, name, value);
    }
}

void kek_grpc_head_field(struct kek_grpc_head *head, const struct kek_grpc_settings *settings,
                         struct kek_bytes name, struct kek_bytes value)
{
    head->list_size += name.len + value.len + FIELD_OVERHEAD;
    if (head->list_size > settings->max_header_list || head->malformed != NULL) {
        return;
    }
    if (name.len > 0 && name.data[0] == ':') {
        pseudo_field(head, settings, name, value);
    } else {
        regular_field(head, name, value);
    }
}

bool kek_grpc_refuse(struct kek_grpc_refusal *refusal, int http_status, enum kek_rpc_status status,
                     const char *format, ...)
{
    refusal->http_status = http_status;
    refusal->status = status;
    va_list args;
    va_start(args, format);
    vsnprintf(refusal->message, sizeof refusal->message, format, args);
    va_end(args);
    return false;
}

static const char *missing(unsigned seen)
{
    if ((seen & FIELD_METHOD) == 0) {
        return ":method is missing";
    }
    if ((seen & FIELD_SCHEME) == 0) {
        return ":scheme is missing";
    }
    return (seen & FIELD_PATH) == 0 ? ":path is missing" : NULL;
}

bool kek_grpc_head_check(const struct kek_grpc_head *head, const struct kek_grpc_settings *settings,
                         uint64_t *timeout_ms, struct kek_grpc_refusal *refusal)
{
    if (head->list_size > settings->max_header_list) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_RESOURCE_EXHAUSTED,
                               "request headers are over the limit of %u bytes",
                               (unsigned)settings->max_header_list);
    }
    const char *wrong = head->malformed != NULL ? head->malformed : missing(head->seen);
    if (wrong != NULL) {
        return kek_grpc_refuse(refusal, 400, KEK_RPC_INVALID_ARGUMENT, "malformed request: %s",
                               wrong);
    }
    if ((head->bad & FIELD_METHOD) != 0) {
        return kek_grpc_refuse(refusal, 405, KEK_RPC_INVALID_ARGUMENT,
                               "the HTTP method must be POST");
    }
    if ((head->seen & FIELD_CONTENT_TYPE) == 0 || (head->bad & FIELD_CONTENT_TYPE) != 0) {
        return kek_grpc_refuse(refusal, 415, KEK_RPC_INVALID_ARGUMENT,
                               "the content-type must be application/grpc");
    }
    if (head->method == NULL) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_UNIMPLEMENTED, "unknown method %s",
                               head->path);
    }
    if ((head->bad & FIELD_ENCODING) != 0) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_UNIMPLEMENTED,
                               "the only grpc-encoding is identity");
    }
    if ((head->bad & FIELD_TIMEOUT) != 0) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_INVALID_ARGUMENT, "malformed grpc-timeout");
    }
    uint64_t timeout = settings->default_timeout_ms;
    if ((head->seen & FIELD_TIMEOUT) != 0 && head->timeout_ms < timeout) {
        timeout = head->timeout_ms;
    }
    if (timeout == 0) {
        return kek_grpc_refuse(refusal, 200, KEK_RPC_DEADLINE_EXCEEDED,
                               "no time was left for this call");
    }
    *timeout_ms = timeout;
    return true;
}

bool kek_grpc_timeout_parse(struct kek_bytes text, uint64_t *ms)
{
    if (text.len < 2 || text.len > 9) {
        return false;
    }
    uint64_t number = 0;
    for (size_t i = 0; i < text.len - 1; i++) {
        if (text.data[i] < '0' || text.data[i] > '9') {
            return false;
        }
        number = number * 10 + (uint64_t)(text.data[i] - '0');
    }
    switch (text.data[text.len - 1]) {
    case 'H':
        *ms = number * 3600000u;
        return true;
    case 'M':
        *ms = number * 60000u;
        return true;
    case 'S':
        *ms = number * 1000u;
        return true;
    case 'm':
        *ms = number;
        return true;
    case 'u':
        *ms = (number + 999u) / 1000u;
        return true;
    case 'n':
        *ms = (number + 999999u) / 1000000u;
        return true;
    default:
        return false;
    }
}

size_t kek_grpc_message_encode(const char *text, char out[static KEK_GRPC_ENCODED_MAX])
{
    static const char digits[] = "0123456789ABCDEF";
    size_t at = 0;
    while (*text != '\0') {
        size_t len = kek_text_char_len((const unsigned char *)text);
        char c = len == 0 ? '?' : *text;
        bool plain = c >= 0x20 && c <= 0x7e && c != '%';
        len = len == 0 ? 1 : len;
        if (at + (plain ? 1 : 3 * len) > KEK_GRPC_ENCODED_MAX) {
            break;
        }
        if (plain) {
            out[at++] = c;
        } else {
            for (size_t i = 0; i < len; i++) {
                out[at++] = '%';
                out[at++] = digits[(uint8_t)text[i] >> 4];
                out[at++] = digits[(uint8_t)text[i] & 15];
            }
        }
        text += len;
    }
    return at;
}
