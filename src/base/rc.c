#include "kek/rc.h"

#include <stdio.h>
#include <string.h>

#include "kek/rpc.h"

const char *kek_rc_name(enum kek_rc rc)
{
    static const char *const names[] = {
        [KEK_OK] = "ok",
        [KEK_INVALID] = "invalid",
        [KEK_DAMAGED] = "damaged",
        [KEK_TOO_LARGE] = "too-large",
        [KEK_NOT_FOUND] = "not-found",
        [KEK_DENIED] = "denied",
        [KEK_PRECONDITION] = "precondition",
        [KEK_UNAVAILABLE] = "unavailable",
        [KEK_DEADLINE] = "deadline",
        [KEK_CANCELLED] = "cancelled",
        [KEK_EXHAUSTED] = "exhausted",
        [KEK_NO_MEMORY] = "no-memory",
        [KEK_UNIMPLEMENTED] = "unimplemented",
        [KEK_INTERNAL] = "internal",
    };
    if ((size_t)rc >= sizeof names / sizeof names[0]) {
        return "unknown";
    }
    return names[rc];
}

const char *kek_native_name(enum kek_native native)
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

/* Marks a text that did not fit. `wanted` is what vsnprintf would have written. */
static void mark_truncated(char *text, int wanted)
{
    if (wanted < 0) {
        text[0] = '\0';
    } else if ((size_t)wanted >= KEK_WHY_TEXT) {
        memcpy(text + KEK_WHY_TEXT - 4, "...", 4);
    }
}

KEK_PRINTF(5, 0)
static void fill(struct kek_why *why, enum kek_rc rc, enum kek_native native, unsigned long code,
                 const char *format, va_list args)
{
    why->rc = rc;
    why->reason = KEK_REASON_NONE;
    why->native = native;
    why->code = code;
    mark_truncated(why->text, vsnprintf(why->text, sizeof why->text, format, args));
}

enum kek_rc kek_fail(struct kek_why *why, enum kek_rc rc, const char *format, ...)
{
    if (why == NULL) {
        return rc;
    }
    va_list args;
    va_start(args, format);
    fill(why, rc, KEK_NATIVE_NONE, 0, format, args);
    va_end(args);
    return rc;
}

enum kek_rc kek_fail_native(struct kek_why *why, enum kek_rc rc, enum kek_native native,
                            unsigned long code, const char *format, ...)
{
    if (why == NULL) {
        return rc;
    }
    va_list args;
    va_start(args, format);
    fill(why, rc, native, code, format, args);
    va_end(args);
    if (native == KEK_NATIVE_ERRNO) {
        char reason[128];
        const char *said = strerror_r((int)code, reason, sizeof reason);
        size_t len = strlen(why->text);
        mark_truncated(why->text,
                       (int)len + snprintf(why->text + len, sizeof why->text - len, ": %s", said));
    }
    return rc;
}

enum kek_rc kek_fail_reason(struct kek_why *why, enum kek_reason reason)
{
    why->reason = reason;
    return why->rc;
}

enum kek_rc kek_fail_within(struct kek_why *why, enum kek_rc rc, const char *format, ...)
{
    if (why == NULL) {
        return rc;
    }
    char inner[KEK_WHY_TEXT];
    memcpy(inner, why->text, sizeof inner);
    va_list args;
    va_start(args, format);
    int len = vsnprintf(why->text, sizeof why->text, format, args);
    va_end(args);
    if (len < 0 || (size_t)len >= sizeof why->text) {
        mark_truncated(why->text, len);
        return rc;
    }
    size_t at = (size_t)len;
    mark_truncated(why->text, len + snprintf(why->text + at, sizeof why->text - at, ": %s", inner));
    why->rc = rc;
    return rc;
}

const char *kek_rpc_status_name(enum kek_rpc_status status)
{
    static const char *const names[] = {
        [KEK_RPC_OK] = "OK",
        [KEK_RPC_CANCELLED] = "CANCELLED",
        [KEK_RPC_UNKNOWN] = "UNKNOWN",
        [KEK_RPC_INVALID_ARGUMENT] = "INVALID_ARGUMENT",
        [KEK_RPC_DEADLINE_EXCEEDED] = "DEADLINE_EXCEEDED",
        [KEK_RPC_NOT_FOUND] = "NOT_FOUND",
        [KEK_RPC_PERMISSION_DENIED] = "PERMISSION_DENIED",
        [KEK_RPC_RESOURCE_EXHAUSTED] = "RESOURCE_EXHAUSTED",
        [KEK_RPC_FAILED_PRECONDITION] = "FAILED_PRECONDITION",
        [KEK_RPC_UNIMPLEMENTED] = "UNIMPLEMENTED",
        [KEK_RPC_INTERNAL] = "INTERNAL",
        [KEK_RPC_UNAVAILABLE] = "UNAVAILABLE",
    };
    if ((size_t)status >= sizeof names / sizeof names[0] || names[status] == NULL) {
        return "UNKNOWN";
    }
    return names[status];
}

enum kek_rpc_status kek_rpc_status_of(enum kek_rc rc)
{
    switch (rc) {
    case KEK_OK:
        return KEK_RPC_OK;
    case KEK_INVALID:
    case KEK_DAMAGED:
        return KEK_RPC_INVALID_ARGUMENT;
    case KEK_TOO_LARGE:
    case KEK_EXHAUSTED:
    case KEK_NO_MEMORY:
        return KEK_RPC_RESOURCE_EXHAUSTED;
    case KEK_NOT_FOUND:
        return KEK_RPC_NOT_FOUND;
    case KEK_DENIED:
        return KEK_RPC_PERMISSION_DENIED;
    case KEK_PRECONDITION:
        return KEK_RPC_FAILED_PRECONDITION;
    case KEK_UNAVAILABLE:
        return KEK_RPC_UNAVAILABLE;
    case KEK_DEADLINE:
        return KEK_RPC_DEADLINE_EXCEEDED;
    case KEK_CANCELLED:
        return KEK_RPC_CANCELLED;
    case KEK_UNIMPLEMENTED:
        return KEK_RPC_UNIMPLEMENTED;
    case KEK_INTERNAL:
        break;
    }
    return KEK_RPC_INTERNAL;
}
