#include "grpc_status.h"

#include <stdio.h>

#include <nghttp2/nghttp2.h>

bool grpc_status_fail(struct grpc_status *status, enum kek_rpc_status code, const char *format, ...)
{
    va_list args;
    va_start(args, format);
    status->code = code;
    vsnprintf(status->message, sizeof status->message, format, args);
    va_end(args);
    return false;
}

void grpc_status_message(struct grpc_status *status, const uint8_t *value, size_t len)
{
    size_t out = 0;
    for (size_t i = 0; i < len && out < sizeof status->message - 1; i++) {
        uint8_t c = value[i];
        if (c == '%' && i + 2 < len && kek_hex_digit((char)value[i + 1]) >= 0 &&
            kek_hex_digit((char)value[i + 2]) >= 0) {
            c = (uint8_t)(kek_hex_digit((char)value[i + 1]) << 4 |
                          kek_hex_digit((char)value[i + 2]));
            i += 2;
        }
        status->message[out++] = c >= 0x20 && c < 0x7f ? (char)c : '?';
    }
    status->message[out] = '\0';
}

enum kek_rpc_status grpc_status_of_http(unsigned http)
{
    switch (http) {
    case 400:
        return KEK_RPC_INTERNAL;
    case 403:
        return KEK_RPC_PERMISSION_DENIED;
    case 404:
        return KEK_RPC_UNIMPLEMENTED;
    case 429:
    case 502:
    case 503:
    case 504:
        return KEK_RPC_UNAVAILABLE;
    default:
        return KEK_RPC_UNKNOWN;
    }
}

enum kek_rpc_status grpc_status_of_reset(uint32_t code)
{
    switch (code) {
    case NGHTTP2_REFUSED_STREAM:
        return KEK_RPC_UNAVAILABLE;
    case NGHTTP2_CANCEL:
        return KEK_RPC_CANCELLED;
    case NGHTTP2_ENHANCE_YOUR_CALM:
        return KEK_RPC_RESOURCE_EXHAUSTED;
    case NGHTTP2_INADEQUATE_SECURITY:
        return KEK_RPC_PERMISSION_DENIED;
    default:
        return KEK_RPC_INTERNAL;
    }
}
